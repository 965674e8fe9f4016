// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The part that devices on the host's processor share: memory is the host's, code is an ELF image of the module.
#ifndef V4_RUNTIME_HOSTDEVICE_H
#define V4_RUNTIME_HOSTDEVICE_H

#include "runtime/Device.h"
#include "runtime/ElfImage.h"

namespace v4 {

class HostDevice : public Device {
public:
  bool sharesHostMemory() const override { return true; }
  std::optional<uint64_t> freeMemory() const override { return availableMemory(); }
  Expected<std::unique_ptr<DeviceMemory>> allocate(uint64_t bytes, std::string_view what) override;
  Expected<std::unique_ptr<DeviceMemory>> allocateStaging(uint64_t bytes, std::string_view what) override;
  Status fill(std::byte *to, uint64_t bytes, uint32_t pattern) override;
  Status write(std::byte *to, const void *from, uint64_t bytes) override;
  Status read(void *to, const std::byte *from, uint64_t bytes) override;
  Status upload(std::span<const Transfer> transfers, uint32_t threads, const MoveProgress &progress) override;

protected:
  /// Checks that this CPU has the target's features and loads its x86-64 image. `remedy` says what to do where it has not.
  Status loadImage(const fbs::Target &target, std::string_view remedy);
  /// Calls `add` with every phase of every kernel, in order, and the address of its symbol.
  using AddPhase = std::function<Status(size_t kernel, const fbs::Phase &phase, void *address)>;
  Status forPhases(const AddPhase &add) const;

private:
  ElfImage image;
};

/// Runs the launches of a program one after another.
class HostQueue : public Queue {
public:
  Status run(const Program &program, std::span<const Copy> inputs, std::span<const Copy> outputs,
             const RunHooks *hooks) final;

private:
  virtual Status runLaunch(const Program &program, const Program::Launch &launch) = 0;
};

} // namespace v4

#endif // V4_RUNTIME_HOSTDEVICE_H
