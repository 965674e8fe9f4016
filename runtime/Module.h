// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A loaded module: verified metadata and, for one device, code ready to run. Immutable.
#ifndef V4_RUNTIME_MODULE_H
#define V4_RUNTIME_MODULE_H

#include "runtime/Device.h"
#include "runtime/ModuleVerify.h"

#include <memory>
#include <string>
#include <vector>

namespace v4 {

/// Bytes and verified view; enough for v4-dump, which runs nothing.
class ModuleFile {
public:
  static Expected<ModuleFile> read(const std::string &path);
  static Expected<ModuleFile> copy(Bytes bytes);

  const fbs::Module &root() const { return *module; }
  Bytes bytes() const { return pages.bytes(); }

private:
  static Expected<ModuleFile> verify(Pages pages);

  Pages pages;
  const fbs::Module *module = nullptr;
};

class Module {
public:
  /// Opens the device (openDevice) and loads the code that the module has for it.
  static Expected<std::shared_ptr<const Module>> load(ModuleFile file, std::string_view device);

  const fbs::Module &root() const { return file.root(); }
  const fbs::Model &model() const { return *file.root().model(); }
  Device &device() const { return *opened; }
  const fbs::Target &target() const { return opened->target(); }
  /// Whether the device needs the parameter: false for one that only other targets bind.
  bool uses(uint32_t parameter) const { return used[parameter]; }
  /// Bytes of these.
  uint64_t weightBytes() const;
  uint32_t slots() const { return model().slots(); }
  uint32_t parameterCount() const { return root().parameters() ? root().parameters()->size() : 0; }
  size_t stateCount() const { return root().states() ? root().states()->size() : 0; }

  uint64_t arenaBytes() const;
  /// Of all slots.
  uint64_t stateBytes(bool compressorRows) const;
  uint64_t ioBytes() const;
  uint32_t maxRows() const;
  /// Rows of logits that an entry call gives at most.
  uint32_t logitsRows() const;

private:
  static void markBound(const fbs::Target &target, bool mark, std::vector<bool> &marks);

  ModuleFile file;
  std::unique_ptr<Device> opened; // keeps pointers into `file`
  std::vector<bool> used;
};

} // namespace v4

#endif // V4_RUNTIME_MODULE_H
