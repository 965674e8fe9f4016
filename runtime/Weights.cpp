// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Everything is found and checked before the first byte of payload is read or memory for it is taken.
#include "runtime/Weights.h"
#include "runtime/PackedFile.h"
#include "runtime/RandomTensor.h"

#include <algorithm>
#include <sys/stat.h>

namespace v4 {
namespace {

constexpr uint64_t viewAlignment = 64;

uint64_t alignUp(uint64_t bytes) {
  return (bytes + viewAlignment - 1) / viewAlignment * viewAlignment;
}

/// All weights are touched sooner or later, mapped or not: a run that cannot hold them would not end.
Status checkMemory(const fbs::Module &module, std::string_view what) {
  uint64_t total = 0;
  for (uint32_t i = 0; module.parameters() && i != module.parameters()->size(); ++i) {
    const fbs::Parameter &parameter = *module.parameters()->Get(i);
    total += arrayBytes(parameter.dtype(), *parameter.shape());
  }
  if (std::optional<uint64_t> available = availableMemory(); available && total > *available)
    return environment(what, " take ", total, " bytes of memory, and ", *available, " are available");
  return {};
}

} // namespace

Expected<std::shared_ptr<const Weights>> Weights::load(std::shared_ptr<const Module> module, const std::string &path,
                                                       const Options &options) {
  struct stat info;
  bool file = ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
  return file ? loadPacked(std::move(module), path, options) : loadCheckpoint(std::move(module), path, options);
}

void Weights::bind(const fbs::Parameter &parameter, const std::vector<const std::byte *> &addresses) {
  Bound out;
  out.base = *std::min_element(addresses.begin(), addresses.end());
  if (parameter.rows())
    for (const std::byte *address : addresses)
      out.offsets.push_back(
          static_cast<int64_t>(reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(out.base)));
  bound.push_back(std::move(out));
}

Expected<std::shared_ptr<const Weights>> Weights::loadCheckpoint(std::shared_ptr<const Module> module,
                                                                 const std::string &path, const Options &options) {
  auto weights = std::make_shared<Weights>();
  weights->owner = std::move(module);
  const fbs::Module &root = weights->owner->root();
  Expected<Sources> sources = Sources::open(root, path);
  V4_RETURN_IF_ERROR(sources);
  weights->sources = std::move(*sources);
  V4_RETURN_IF_ERROR(checkMemory(root, concat("the weights of '", path, "'")));

  // A view that stays has an address; one that moves has a place in memory that is not there yet.
  uint32_t count = root.parameters() ? root.parameters()->size() : 0;
  std::vector<Transfer> transfers;
  std::vector<uint64_t> places;
  uint64_t total = 0;
  auto moves = [](const fbs::Parameter &parameter, const Sources::View &view) {
    // Kernels rely on element alignment, which a safetensors payload does not promise.
    return rows16Of(parameter) ||
           reinterpret_cast<uintptr_t>(view.bytes.data()) % elementBytes(parameter.dtype()) != 0;
  };
  for (uint32_t i = 0; i != count; ++i) {
    const fbs::Parameter &parameter = *root.parameters()->Get(i);
    for (const Sources::View &view : weights->sources.views(i)) {
      if (!moves(parameter, view))
        continue;
      transfers.push_back({view.bytes.data(), nullptr, view.bytes.size(),
                           rows16Of(parameter).value_or(Rows16()), &weights->sources.file(view)});
      places.push_back(total);
      total += alignUp(view.bytes.size());
      weights->moved += view.bytes.size();
    }
  }
  Expected<Pages> memory = Pages::allocate(total, "packed weights");
  V4_RETURN_IF_ERROR(memory);
  memory->useHugePages();
  for (size_t i = 0; i != transfers.size(); ++i)
    transfers[i].to = memory->data() + places[i];
  Mover mover;
  if (total)
    V4_RETURN_IF_ERROR(mover.start(options.threads));
  V4_RETURN_IF_ERROR(mover.run(transfers, options.progress));

  size_t next = 0;
  for (uint32_t i = 0; i != count; ++i) {
    const fbs::Parameter &parameter = *root.parameters()->Get(i);
    std::vector<const std::byte *> addresses;
    for (const Sources::View &view : weights->sources.views(i))
      addresses.push_back(moves(parameter, view) ? transfers[next++].to : view.bytes.data());
    weights->bind(parameter, addresses);
  }
  weights->memory.push_back(std::move(*memory));
  return std::shared_ptr<const Weights>(std::move(weights));
}

Expected<std::shared_ptr<const Weights>> Weights::loadPacked(std::shared_ptr<const Module> module,
                                                             const std::string &path, const Options &options) {
  auto weights = std::make_shared<Weights>();
  weights->owner = std::move(module);
  const fbs::Module &root = weights->owner->root();
  Expected<SafetensorsFile> file = openPackedFile(root, path);
  V4_RETURN_IF_ERROR(file);
  weights->packed = std::move(*file);
  V4_RETURN_IF_ERROR(checkMemory(root, concat("the weights of '", path, "'")));
  for (uint32_t i = 0; root.parameters() && i != root.parameters()->size(); ++i) {
    const fbs::Parameter &parameter = *root.parameters()->Get(i);
    const std::byte *base = weights->packed.bytes(*weights->packed.find(parameter.name()->string_view())).data();
    std::vector<const std::byte *> addresses;
    for (uint32_t row = 0; row != std::max(parameter.rows(), 1u); ++row)
      addresses.push_back(base + row * viewBytes(parameter));
    weights->bind(parameter, addresses);
  }
  if (options.progress && !options.progress(0, 0))
    return environment("loading the weights was ended");
  return std::shared_ptr<const Weights>(std::move(weights));
}

Expected<std::shared_ptr<const Weights>> Weights::random(std::shared_ptr<const Module> module, uint64_t seed) {
  auto weights = std::make_shared<Weights>();
  weights->owner = std::move(module);
  const auto *parameters = weights->owner->root().parameters();
  // Token tables hold expert numbers; the expert tables say how many there are.
  uint64_t experts = 1;
  for (uint32_t i = 0; parameters && i != parameters->size(); ++i) {
    const fbs::Parameter &parameter = *parameters->Get(i);
    if (!RandomTensor::supports(dtypeName(parameter.source()->dtype())))
      return invalid("parameter '", parameter.name()->string_view(), "' is ", dtypeName(parameter.source()->dtype()),
                     ", for which there are no random values; load a checkpoint");
    experts = std::max<uint64_t>(experts, parameter.rows());
  }
  V4_RETURN_IF_ERROR(checkMemory(weights->owner->root(), "the random weights"));
  for (uint32_t i = 0; parameters && i != parameters->size(); ++i)
    V4_RETURN_IF_ERROR(weights->generate(*parameters->Get(i), seed, experts));
  return std::shared_ptr<const Weights>(std::move(weights));
}

Status Weights::generate(const fbs::Parameter &parameter, uint64_t seed, uint64_t experts) {
  const fbs::Source &source = *parameter.source();
  std::string_view pattern = source.tensor()->string_view();
  bool perRow = pattern.find("{e}") != std::string_view::npos;
  uint32_t rows = std::max(parameter.rows(), 1u);
  uint64_t rowBytes = viewBytes(parameter), step = alignUp(rowBytes);
  uint64_t columns = source.shape()->Get(source.shape()->size() - 1);
  RandomIds ids = {columns, std::max(experts, columns)};
  Expected<Pages> pages = Pages::allocate(step * rows, "random weights");
  V4_RETURN_IF_ERROR(pages);
  pages->useHugePages();
  constexpr uint64_t pieceBytes = uint64_t(1) << 20;
  Rows16 layout = rows16Of(parameter).value_or(Rows16());
  std::vector<std::byte> piece;
  std::vector<const std::byte *> addresses;
  for (uint32_t row = 0; row != rows; ++row) {
    uint64_t offset = source.offset() + (perRow ? 0 : row * source.stride());
    RandomTensor values(seed, rowName(pattern, row), dtypeName(source.dtype()), ids);
    std::byte *to = pages->data() + row * step;
    addresses.push_back(to);
    if (!layout.blocks) {
      values.fill(offset, {to, rowBytes});
      continue;
    }
    for (const Transfer &part : cutTransfer({nullptr, to, rowBytes, layout, nullptr}, pieceBytes)) {
      piece.resize(part.bytes);
      values.fill(offset + static_cast<uint64_t>(part.to - to), piece);
      packRows16(part.layout, piece.data(), part.to);
    }
  }
  moved += rowBytes * rows;
  bind(parameter, addresses);
  memory.push_back(std::move(*pages));
  return {};
}

} // namespace v4
