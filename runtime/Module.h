// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A loaded module: verified metadata and, for one device, code ready to call. Immutable.
#ifndef V4_RUNTIME_MODULE_H
#define V4_RUNTIME_MODULE_H

#include "runtime/ElfImage.h"
#include "runtime/ModuleVerify.h"

#include <memory>
#include <string>
#include <vector>

namespace v4 {

/// A phase of a kernel on a CPU (docs/module-format.md).
using KernelFunction = void (*)(void *const *bindings, uint32_t workgroup);

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
  /// A phase ready to run.
  struct Phase {
    KernelFunction function;
    uint32_t workgroups;
  };

  /// Checks features and resolves every symbol of the `device` target.
  static Expected<std::shared_ptr<const Module>> load(ModuleFile file, std::string_view device);

  const fbs::Module &root() const { return file.root(); }
  const fbs::Model &model() const { return *file.root().model(); }
  const fbs::Target &target() const { return *selected; }
  const std::vector<Phase> &kernel(uint32_t index) const { return kernels[index]; }
  uint32_t slots() const { return model().slots(); }
  size_t stateCount() const { return root().states() ? root().states()->size() : 0; }

  uint64_t arenaBytes() const;
  /// Of all slots.
  uint64_t stateBytes(bool compressorRows) const;
  uint64_t ioBytes() const;
  uint32_t maxRows() const;
  /// Rows of logits that an entry call gives at most.
  uint32_t logitsRows() const;

private:
  ModuleFile file;
  const fbs::Target *selected = nullptr;
  ElfImage image;
  std::vector<std::vector<Phase>> kernels;
};

} // namespace v4

#endif // V4_RUNTIME_MODULE_H
