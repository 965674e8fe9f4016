// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a session needs of the place where kernels run. A device holds the code of one module's target; memory and queues
// belong to a device and go before it. Everything above this interface is the same for all devices.
#ifndef V4_RUNTIME_DEVICE_H
#define V4_RUNTIME_DEVICE_H

#include "runtime/Mover.h"

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace v4 {

/// Memory that the kernels of a device reach. Given back by the destructor.
class DeviceMemory {
public:
  virtual ~DeviceMemory() = default;
  DeviceMemory(const DeviceMemory &) = delete;
  DeviceMemory &operator=(const DeviceMemory &) = delete;

  /// An address of the device: the host may follow it only if Device::sharesHostMemory().
  std::byte *data() const { return base; }
  uint64_t size() const { return length; }

protected:
  DeviceMemory(std::byte *base, uint64_t length) : base(base), length(length) {}

private:
  std::byte *base;
  uint64_t length;
};

/// An entry with every address resolved: running it touches no metadata.
struct Program {
  struct Launch {
    const fbs::Launch *launch;
    uint32_t firstBinding, bindingCount; // in `bindings`
  };
  const fbs::Entry *entry = nullptr;
  std::vector<Launch> launches;
  std::vector<void *> bindings;
  std::vector<uint64_t> extents; // bytes behind every binding that a kernel may touch
  std::byte *arena = nullptr;
  uint32_t variant = 0; // which of several sets of bindings these are: the same number, the same addresses
};

/// Bytes that travel between a device and the host's staging memory with a run.
struct Copy {
  std::byte *device, *host;
  uint64_t bytes;
};

/// What the host wants to see of a run's single launches. A run without it is free to hide them.
struct RunHooks {
  /// Launch `index` began at `begin` and took `duration`, in nanoseconds of steadyNow(). Empty: no clock is read.
  std::function<void(uint32_t index, uint64_t begin, uint64_t duration)> timed;
  /// Ascending numbers of launches; `stopped` is called when all work up to such a one has finished and nothing later has
  /// begun.
  std::vector<uint32_t> stops;
  std::function<Status(uint32_t index)> stopped;
};

/// Runs programs, one at a time and in order. Used by one thread at a time.
class Queue {
public:
  virtual ~Queue() = default;

  /// Copies the inputs to the device, runs every launch, copies the outputs to the host, and returns when all of it has
  /// happened; a device that shares the host's memory has nothing to copy. `hooks` may be null. After a failure the memory
  /// that the program writes holds anything. The program stays where it is, and alive, as long as the queue.
  virtual Status run(const Program &program, std::span<const Copy> inputs, std::span<const Copy> outputs,
                     const RunHooks *hooks) = 0;
};

struct QueueOptions {
  uint32_t threads = 0;   // of the host; 0: all available
  uint64_t emuOrder = 0;  // emulator: seed of the order of threads
  bool emuRaces = true;   // emulator: checks for races and for shared memory that was never written
};

class Device {
public:
  virtual ~Device() = default;

  const fbs::Target &target() const { return *selected; }
  /// "cpu", "GPU 0 (NVIDIA H100, compute capability 9.0, driver CUDA 13.0)".
  const std::string &description() const { return text; }

  /// Whether addresses are the host's: nothing needs to be copied, and weights are used where they are mapped.
  virtual bool sharesHostMemory() const = 0;
  /// What kernels rely on that the address of a parameter is a multiple of, beside its element: one that is not is moved.
  virtual uint64_t parameterAlignment() const { return 1; }
  /// Bytes that allocate() can still give, about; nothing when the system does not say.
  virtual std::optional<uint64_t> freeMemory() const = 0;

  /// Zeroed memory, aligned to 256 bytes; V4_ENVIRONMENT with both figures when there is not enough. `what` names the purpose.
  virtual Expected<std::unique_ptr<DeviceMemory>> allocate(uint64_t bytes, std::string_view what) = 0;
  /// Memory of the host that copies to and from the device go through; its address is the host's.
  virtual Expected<std::unique_ptr<DeviceMemory>> allocateStaging(uint64_t bytes, std::string_view what) = 0;

  /// These return when the bytes are there. `to` of fill() and `bytes` are multiples of 4 unless the bytes of the pattern are
  /// equal.
  virtual Status fill(std::byte *to, uint64_t bytes, uint32_t pattern) = 0;
  virtual Status write(std::byte *to, const void *from, uint64_t bytes) = 0;
  virtual Status read(void *to, const std::byte *from, uint64_t bytes) = 0;
  /// Fills memory of the device from mapped files: the next piece is read while the last one travels. Otherwise as
  /// Mover::run; Transfer::to is an address of the device.
  virtual Status upload(std::span<const Transfer> transfers, uint32_t threads, const MoveProgress &progress) = 0;

  virtual Expected<std::unique_ptr<Queue>> createQueue(const QueueOptions &options) = 0;

protected:
  const fbs::Target *selected = nullptr;
  std::string text;
};

/// Opens the device called `name` (cpu, cuda, cuda:1, emu) with the code that the verified `module`, which outlives it,
/// has for it. V4_MISUSE for another name.
Expected<std::unique_ptr<Device>> openDevice(const fbs::Module &module, std::string_view name);

/// The number of the GPU that the name of a device means: 1 for "cuda:1".
std::optional<uint32_t> gpuOrdinal(std::string_view name);

/// V4_INVALID when a phase of `kernel` wants a launch that the device called `device` does not have: a cluster, a
/// cooperative or a programmatic one.
Status requirePlainLaunch(const fbs::Kernel &kernel, const fbs::Phase &phase, std::string_view device);

/// One per device, called by openDevice.
Expected<std::unique_ptr<Device>> openCpu(const fbs::Module &module);
Expected<std::unique_ptr<Device>> openCuda(const fbs::Module &module, uint32_t ordinal);
Expected<std::unique_ptr<Device>> openEmu(const fbs::Module &module);

/// "cpu, nvptx:sm_90a": the names of a module's targets, for messages.
std::string targetNames(const fbs::Module &module);

/// Nanoseconds of the steady clock.
uint64_t steadyNow();

/// What runs now, for a crash handler: best effort when several sessions run at once. Null: nothing.
void setCurrentEntry(const char *entry);
void setCurrentLaunch(const char *launch);
/// "entry/launch" that runs now in this process, or "". Async-signal-safe.
const char *currentLaunch();

} // namespace v4

#endif // V4_RUNTIME_DEVICE_H
