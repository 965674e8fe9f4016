// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// From verified bytes to a device that has the code.
#include "runtime/Module.h"

#include <algorithm>
#include <cstring>

namespace v4 {

Expected<ModuleFile> ModuleFile::verify(Pages pages) {
  ModuleFile file;
  Expected<const fbs::Module *> module = verifyModule(pages.bytes());
  V4_RETURN_IF_ERROR(module);
  file.pages = std::move(pages);
  file.module = *module;
  return file;
}

Expected<ModuleFile> ModuleFile::read(const std::string &path) {
  // Read, not mapped: what was verified must not change afterwards.
  Expected<Pages> pages = readFile(path);
  V4_RETURN_IF_ERROR(pages);
  Expected<ModuleFile> file = verify(std::move(*pages));
  if (!file)
    return file.takeStatus().in(path);
  return file;
}

Expected<ModuleFile> ModuleFile::copy(Bytes bytes) {
  Expected<Pages> pages = Pages::allocate(bytes.size(), "the module");
  V4_RETURN_IF_ERROR(pages);
  if (!bytes.empty())
    std::memcpy(pages->data(), bytes.data(), bytes.size());
  return verify(std::move(*pages));
}

Expected<std::shared_ptr<const Module>> Module::load(ModuleFile file, std::string_view device) {
  auto module = std::make_shared<Module>();
  module->file = std::move(file);
  Expected<std::unique_ptr<Device>> opened = openDevice(module->root(), device);
  V4_RETURN_IF_ERROR(opened);
  module->opened = std::move(*opened);

  // Targets may want a weight in different layouts: each has a parameter of its own for it.
  module->used.assign(module->parameterCount(), true);
  for (const fbs::Target *target : *module->root().targets())
    markBound(*target, false, module->used);
  markBound(module->target(), true, module->used);
  return std::shared_ptr<const Module>(std::move(module));
}

/// Sets the marks of the parameters that the target's launches bind.
void Module::markBound(const fbs::Target &target, bool mark, std::vector<bool> &marks) {
  for (const fbs::Entry *entry : *target.entries())
    for (const fbs::Launch *launch : *entry->launches())
      for (uint32_t i = 0; launch->bindings() && i != launch->bindings()->size(); ++i) {
        const fbs::Binding &binding = *launch->bindings()->Get(i);
        if (binding.kind() == fbs::BindingKind::Parameter || binding.kind() == fbs::BindingKind::TableOffsets)
          marks[binding.index()] = mark;
      }
}

uint64_t Module::weightBytes() const {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i != used.size(); ++i)
    if (used[i])
      bytes += arrayBytes(root().parameters()->Get(i)->dtype(), *root().parameters()->Get(i)->shape());
  return bytes;
}

uint64_t Module::arenaBytes() const {
  uint64_t bytes = 0;
  for (const fbs::Entry *entry : *target().entries())
    bytes = std::max(bytes, entry->arena_bytes());
  return bytes;
}

uint64_t Module::stateBytes(bool compressorRows) const {
  uint64_t bytes = 0;
  for (size_t i = 0; i != stateCount(); ++i) {
    const fbs::State &state = *root().states()->Get(i);
    bool rows = state.kind() == fbs::StateKind::KvRows || state.kind() == fbs::StateKind::ScoreRows;
    if (rows == compressorRows)
      bytes += arrayBytes(state.dtype(), *state.shape());
  }
  return bytes * slots();
}

uint64_t Module::ioBytes() const {
  uint64_t rows = maxRows(), hidden = model().mtp() ? uint64_t(model().streams()) * model().hidden_size() : 0;
  uint64_t logits = logitsRows() + slots(); // and the copy of the last row of every slot
  return rows * 8 + slots() * 8 + logits * model().vocab_size() * 4 + (2 * rows + slots()) * hidden * 4;
}

uint32_t Module::logitsRows() const {
  return model().logits_all() ? maxRows() : slots();
}

uint32_t Module::maxRows() const {
  uint32_t rows = 0;
  for (const fbs::Entry *entry : *target().entries())
    rows = std::max(rows, entry->rows());
  return rows;
}

} // namespace v4
