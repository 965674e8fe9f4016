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
Status checkMemory(const Module &module, std::string_view what) {
  uint64_t total = module.weightBytes();
  const Device &device = module.device();
  if (std::optional<uint64_t> available = device.freeMemory(); available && total > *available)
    return environment(what, " take ", total, " bytes of memory",
                       device.sharesHostMemory() ? std::string() : concat(" of ", device.description()), ", and ",
                       *available, " are available; end what else uses it",
                       device.sharesHostMemory() ? "" : ", or take a GPU with more");
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
  if (!addresses.empty())
    out.base = *std::min_element(addresses.begin(), addresses.end());
  if (parameter.rows())
    for (const std::byte *address : addresses)
      out.offsets.push_back(
          static_cast<int64_t>(reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(out.base)));
  bound.push_back(std::move(out));
  bound.back().table = reinterpret_cast<const std::byte *>(bound.back().offsets.data());
}

/// Of the offsets of all tables in the memory of a device.
uint64_t Weights::tableBytes() const {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i != owner->parameterCount(); ++i)
    if (owner->uses(i))
      bytes += alignUp(uint64_t(owner->root().parameters()->Get(i)->rows()) * sizeof(int64_t));
  return bytes;
}

/// Gives the offsets of every bound table a place from `to` on.
void Weights::placeTables(std::byte *to, std::vector<Transfer> &transfers) {
  for (Bound &parameter : bound) {
    if (parameter.offsets.empty())
      continue;
    uint64_t bytes = parameter.offsets.size() * sizeof(int64_t);
    transfers.push_back({parameter.table, to, bytes, Rows16(), nullptr});
    parameter.table = to;
    to += alignUp(bytes);
  }
}

/// Binds every parameter to its views, where they are or moved into the memory of the device.
Status Weights::bring(const std::vector<std::vector<View>> &views, const Options &options) {
  Device &device = owner->device();
  bool shared = device.sharesHostMemory();
  // A view that stays has an address; one that moves has a place in memory that is not there yet.
  auto moves = [&](const fbs::Parameter &parameter, const View &view) {
    // A safetensors payload promises no alignment at all.
    uint64_t alignment = std::max<uint64_t>(elementBytes(parameter.dtype()), device.parameterAlignment());
    return !shared || view.layout.blocks || reinterpret_cast<uintptr_t>(view.bytes.data()) % alignment != 0;
  };
  std::vector<Transfer> transfers;
  std::vector<uint64_t> places;
  uint64_t total = 0;
  for (uint32_t i = 0; i != views.size(); ++i)
    for (const View &view : views[i]) {
      if (!moves(*owner->root().parameters()->Get(i), view))
        continue;
      transfers.push_back({view.bytes.data(), nullptr, view.bytes.size(), view.layout, view.file});
      places.push_back(total);
      total += alignUp(view.bytes.size());
      moved += view.bytes.size();
    }
  Expected<std::unique_ptr<DeviceMemory>> allocated =
      device.allocate(total + (shared ? 0 : tableBytes()), shared ? "packed weights" : "the weights");
  V4_RETURN_IF_ERROR(allocated);
  memory = std::move(*allocated);
  if (shared)
    useHugePages(memory->data(), memory->size());
  for (size_t i = 0; i != transfers.size(); ++i)
    transfers[i].to = memory->data() + places[i];

  size_t next = 0;
  for (uint32_t i = 0; i != views.size(); ++i) {
    const fbs::Parameter &parameter = *owner->root().parameters()->Get(i);
    std::vector<const std::byte *> addresses;
    for (const View &view : views[i])
      addresses.push_back(moves(parameter, view) ? transfers[next++].to : view.bytes.data());
    bind(parameter, addresses);
  }
  if (!shared)
    placeTables(memory->data() + total, transfers);
  return device.upload(transfers, options.threads, options.progress);
}

Expected<std::shared_ptr<const Weights>> Weights::loadCheckpoint(std::shared_ptr<const Module> module,
                                                                 const std::string &path, const Options &options) {
  auto weights = std::make_shared<Weights>();
  weights->owner = std::move(module);
  const fbs::Module &root = weights->owner->root();
  Expected<Sources> sources = Sources::open(root, path);
  V4_RETURN_IF_ERROR(sources);
  weights->sources = std::move(*sources);
  V4_RETURN_IF_ERROR(checkMemory(*weights->owner, concat("the weights of '", path, "'")));
  std::vector<std::vector<View>> views(weights->owner->parameterCount());
  for (uint32_t i = 0; i != views.size(); ++i)
    if (weights->owner->uses(i))
      for (const Sources::View &view : weights->sources.views(i))
        views[i].push_back(
            {view.bytes, rows16Of(*root.parameters()->Get(i)).value_or(Rows16()), &weights->sources.file(view)});
  V4_RETURN_IF_ERROR(weights->bring(views, options));
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
  V4_RETURN_IF_ERROR(checkMemory(*weights->owner, concat("the weights of '", path, "'")));
  std::vector<std::vector<View>> views(weights->owner->parameterCount());
  for (uint32_t i = 0; i != views.size(); ++i) {
    if (!weights->owner->uses(i))
      continue;
    const fbs::Parameter &parameter = *root.parameters()->Get(i);
    Bytes bytes = weights->packed.bytes(*weights->packed.find(parameter.name()->string_view()));
    for (uint32_t row = 0; row != std::max(parameter.rows(), 1u); ++row)
      views[i].push_back({bytes.subspan(row * viewBytes(parameter), viewBytes(parameter)), Rows16(), nullptr});
  }
  V4_RETURN_IF_ERROR(weights->bring(views, options));
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
  V4_RETURN_IF_ERROR(checkMemory(*weights->owner, "the random weights"));
  Device &device = weights->owner->device();
  bool shared = device.sharesHostMemory();
  std::vector<uint64_t> places;
  uint64_t total = 0;
  for (uint32_t i = 0; i != weights->owner->parameterCount(); ++i) {
    const fbs::Parameter &parameter = *parameters->Get(i);
    places.push_back(total);
    if (weights->owner->uses(i))
      total += alignUp(viewBytes(parameter)) * std::max(parameter.rows(), 1u);
  }
  if (!shared) {
    Expected<std::unique_ptr<DeviceMemory>> allocated =
        device.allocate(total + weights->tableBytes(), "the random weights");
    V4_RETURN_IF_ERROR(allocated);
    weights->memory = std::move(*allocated);
  }
  for (uint32_t i = 0; i != weights->owner->parameterCount(); ++i) {
    const fbs::Parameter &parameter = *parameters->Get(i);
    if (!weights->owner->uses(i)) {
      weights->bind(parameter, {});
      continue;
    }
    Expected<Pages> pages = generate(parameter, seed, experts);
    V4_RETURN_IF_ERROR(pages);
    std::byte *to = shared ? pages->data() : weights->memory->data() + places[i];
    std::vector<const std::byte *> addresses;
    for (uint32_t row = 0; row != std::max(parameter.rows(), 1u); ++row)
      addresses.push_back(to + row * alignUp(viewBytes(parameter)));
    weights->bind(parameter, addresses);
    weights->moved += viewBytes(parameter) * addresses.size();
    if (shared) {
      weights->generated.push_back(std::move(*pages));
    } else {
      Transfer transfer = {pages->data(), to, pages->size(), Rows16(), nullptr};
      V4_RETURN_IF_ERROR(device.upload({&transfer, 1}, 0, {}));
    }
  }
  if (!shared) {
    std::vector<Transfer> tables;
    weights->placeTables(weights->memory->data() + total, tables);
    V4_RETURN_IF_ERROR(device.upload(tables, 1, {}));
  }
  return std::shared_ptr<const Weights>(std::move(weights));
}

/// The bytes of a parameter in its layout; every row of a table begins at a multiple of viewAlignment.
Expected<Pages> Weights::generate(const fbs::Parameter &parameter, uint64_t seed, uint64_t experts) {
  const fbs::Source &source = *parameter.source();
  std::string_view pattern = source.tensor()->string_view();
  bool perRow = pattern.find("{e}") != std::string_view::npos;
  uint32_t rows = std::max(parameter.rows(), 1u);
  uint64_t rowBytes = viewBytes(parameter), step = alignUp(rowBytes);
  uint64_t columns = source.shape()->Get(source.shape()->size() - 1);
  RandomIds ids = {columns, std::max(experts, columns)};
  Expected<Pages> pages = Pages::allocate(step * rows, "random weights");
  V4_RETURN_IF_ERROR(pages);
  useHugePages(pages->data(), pages->size());
  constexpr uint64_t pieceBytes = uint64_t(1) << 20;
  Rows16 layout = rows16Of(parameter).value_or(Rows16());
  std::vector<std::byte> piece;
  for (uint32_t row = 0; row != rows; ++row) {
    uint64_t offset = source.offset() + (perRow ? 0 : row * source.stride());
    RandomTensor values(seed, rowName(pattern, row), dtypeName(source.dtype()), ids);
    std::byte *to = pages->data() + row * step;
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
  return pages;
}

} // namespace v4
