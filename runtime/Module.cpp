// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// From verified bytes to callable code: target choice, instruction-set check, image, symbols.
#include "runtime/Module.h"
#include "runtime/CpuFeatures.h"

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
  std::string found;
  for (const fbs::Target *target : *module->root().targets()) {
    if (target->name()->string_view() == device)
      module->selected = target;
    found += concat(found.empty() ? "" : ", ", target->name()->string_view());
  }
  if (!module->selected)
    return invalid("the module has no code for device '", device, "' (it has: ", found,
                   "); compile it with --target=", device);

  const fbs::Target &target = *module->selected;
  if (target.features())
    for (const flatbuffers::String *feature : *target.features())
      if (!cpuHasFeature(feature->string_view()))
        return environment("the module needs the instruction set '", feature->string_view(),
                           "', which this CPU does not have; compile it for an older one, "
                           "v4c --target=cpu:x86-64-v2");

  const fbs::Image *image = nullptr;
  for (const fbs::Image *candidate : *target.images())
    if (candidate->kind() == fbs::ImageKind::Elf && candidate->arch()->string_view() == "x86-64")
      image = candidate;
  if (!image)
    return invalid("the module has no x86-64 image for device '", device, "'; compile it with --target=cpu");
  Expected<ElfImage> loaded =
      ElfImage::load({reinterpret_cast<const std::byte *>(image->data()->data()), image->data()->size()});
  if (!loaded)
    return loaded.takeStatus().in("the module's image cannot be loaded");
  module->image = std::move(*loaded);

  for (size_t i = 0; target.kernels() && i != target.kernels()->size(); ++i) {
    std::vector<Phase> &phases = module->kernels.emplace_back();
    for (const fbs::Phase *phase : *target.kernels()->Get(i)->phases()) {
      void *address = module->image.symbol(phase->symbol()->str());
      if (!address)
        return invalid("the module's image does not define '", phase->symbol()->string_view(), "', which kernel '",
                       target.kernels()->Get(i)->name()->string_view(), "' needs; build the module again with v4c");
      const fbs::Dim3 &grid = *phase->grid();
      phases.push_back({reinterpret_cast<KernelFunction>(address), grid.x() * grid.y() * grid.z()});
    }
  }
  return std::shared_ptr<const Module>(std::move(module));
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
