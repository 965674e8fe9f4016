// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Every parameter finds its tensor and every tensor its parameter; payloads stay where they are mapped.
#include "runtime/Weights.h"
#include "runtime/RandomTensor.h"

#include <algorithm>
#include <cstring>

namespace v4 {

std::string rowName(std::string_view pattern, uint32_t row) {
  size_t at = pattern.find("{e}");
  if (at == std::string_view::npos)
    return std::string(pattern);
  return concat(pattern.substr(0, at), row, pattern.substr(at + 3));
}

Expected<std::shared_ptr<const Weights>> Weights::load(std::shared_ptr<const Module> module, const std::string &path) {
  auto weights = std::make_shared<Weights>();
  weights->owner = std::move(module);
  Expected<Checkpoint> checkpoint = Checkpoint::open(path);
  V4_RETURN_IF_ERROR(checkpoint);
  weights->checkpoint = std::move(*checkpoint);

  const fbs::Module &root = weights->owner->root();
  std::vector<bool> seen(weights->checkpoint.tensors().size());
  if (root.parameters())
    for (const fbs::Parameter *parameter : *root.parameters())
      V4_RETURN_IF_ERROR(weights->bind(*parameter, seen));

  for (size_t i = 0; i != seen.size(); ++i) {
    if (seen[i])
      continue;
    const std::string &name = weights->checkpoint.tensors()[i].info->name;
    const auto *ignored = root.provenance()->ignored();
    bool accepted = ignored && std::any_of(ignored->begin(), ignored->end(), [&](const flatbuffers::String *prefix) {
                      return name.starts_with(prefix->string_view());
                    });
    if (!accepted)
      return invalid(weights->checkpoint.shard(weights->checkpoint.tensors()[i].shard).mapping().path(), ": tensor '",
                     name,
                     "' is not used by the module; the checkpoint is of another model, or the module must be "
                     "compiled from this one");
  }
  return std::shared_ptr<const Weights>(std::move(weights));
}

Expected<std::shared_ptr<const Weights>> Weights::random(std::shared_ptr<const Module> module, uint64_t seed) {
  auto weights = std::make_shared<Weights>();
  weights->owner = std::move(module);
  const auto *parameters = weights->owner->root().parameters();
  // Token tables hold expert numbers; the expert tables say how many there are.
  uint64_t total = 0, experts = 1;
  for (uint32_t i = 0; parameters && i != parameters->size(); ++i) {
    const fbs::Parameter &parameter = *parameters->Get(i);
    if (!RandomTensor::supports(dtypeName(parameter.source()->dtype())))
      return invalid("parameter '", parameter.name()->string_view(), "' is ", dtypeName(parameter.source()->dtype()),
                     ", for which there are no random values; load a checkpoint");
    total += arrayBytes(parameter.dtype(), *parameter.shape());
    experts = std::max<uint64_t>(experts, parameter.rows());
  }
  if (std::optional<uint64_t> available = availableMemory(); available && total > *available)
    return environment("the random weights take ", total, " bytes of memory, and ", *available, " are available");
  for (uint32_t i = 0; parameters && i != parameters->size(); ++i)
    V4_RETURN_IF_ERROR(weights->generate(*parameters->Get(i), seed, experts));
  return std::shared_ptr<const Weights>(std::move(weights));
}

Status Weights::generate(const fbs::Parameter &parameter, uint64_t seed, uint64_t experts) {
  const fbs::Source &source = *parameter.source();
  std::string_view pattern = source.tensor()->string_view();
  bool perRow = pattern.find("{e}") != std::string_view::npos;
  uint32_t rows = std::max(parameter.rows(), 1u);
  uint64_t rowBytes = arrayBytes(parameter.dtype(), *parameter.shape(), parameter.rows() ? 1 : 0);
  uint64_t columns = source.shape()->Get(source.shape()->size() - 1);
  RandomIds ids = {columns, std::max(experts, columns)};
  Expected<Pages> pages = Pages::allocate(rowBytes * rows, "random weights");
  V4_RETURN_IF_ERROR(pages);
  Bound out;
  out.base = pages->data();
  for (uint32_t row = 0; row != rows; ++row) {
    uint64_t offset = source.offset() + (perRow ? 0 : row * source.stride());
    RandomTensor(seed, rowName(pattern, row), dtypeName(source.dtype()), ids)
        .fill(offset, {pages->data() + row * rowBytes, rowBytes});
    if (parameter.rows())
      out.offsets.push_back(static_cast<int64_t>(row * rowBytes));
  }
  copies.push_back(std::move(*pages));
  bound.push_back(std::move(out));
  return {};
}

Status Weights::checkTensor(const fbs::Parameter &parameter, const std::string &name, std::vector<bool> &seen,
                            const Checkpoint::Tensor *&out) const {
  const fbs::Source &source = *parameter.source();
  out = checkpoint.find(name);
  if (!out)
    return invalid(checkpoint.directory(), ": tensor '", name, "' is missing; parameter '",
                   parameter.name()->string_view(), "' of the module reads it");
  const TensorInfo &info = *out->info;
  if (info.dtype != dtypeName(source.dtype()) ||
      !std::equal(info.shape.begin(), info.shape.end(), source.shape()->begin(), source.shape()->end()))
    return invalid(checkpoint.shard(out->shard).mapping().path(), ": tensor '", name, "' is ", info.dtype, " ",
                   shapeText(info.shape), ", the module expects ", dtypeName(source.dtype()), " ",
                   shapeText(*source.shape()), "; compile the module from this checkpoint");
  seen[static_cast<size_t>(out - checkpoint.tensors().data())] = true;
  return {};
}

Expected<const std::byte *> Weights::aligned(const Checkpoint::Tensor &tensor, Bytes range, unsigned alignment) {
  if (reinterpret_cast<uintptr_t>(range.data()) % alignment == 0)
    return range.data();
  // Kernels rely on element alignment, which a safetensors payload does not promise: the same bytes, moved. Piece by
  // piece, so that the two copies are never resident together.
  constexpr size_t piece = size_t(4) << 20;
  Expected<std::byte *> copy = allocate(range.size());
  V4_RETURN_IF_ERROR(copy);
  for (size_t at = 0; at < range.size(); at += piece) {
    size_t size = std::min(piece, range.size() - at);
    std::memcpy(*copy + at, range.data() + at, size);
    checkpoint.shard(tensor.shard).mapping().drop(range.subspan(at, size));
  }
  copied += range.size();
  return *copy;
}

Expected<std::byte *> Weights::allocate(uint64_t size) {
  // Experts can be a hundred thousand small rows: sharing blocks keeps the number of mappings below the system's limit.
  constexpr uint64_t block = uint64_t(1) << 20, alignment = 64;
  if (copies.empty() || used + size > copies.back().size()) {
    Expected<Pages> pages = Pages::allocate(std::max(size, block), "weights that are not aligned in their file");
    V4_RETURN_IF_ERROR(pages);
    copies.push_back(std::move(*pages));
    used = 0;
  }
  std::byte *out = copies.back().data() + used;
  used += (size + alignment - 1) / alignment * alignment;
  return out;
}

Status Weights::bind(const fbs::Parameter &parameter, std::vector<bool> &seen) {
  const fbs::Source &source = *parameter.source();
  std::string_view pattern = source.tensor()->string_view();
  bool perRow = pattern.find("{e}") != std::string_view::npos;
  uint32_t rows = std::max(parameter.rows(), 1u);
  uint64_t rowBytes = arrayBytes(parameter.dtype(), *parameter.shape(), parameter.rows() ? 1 : 0);
  unsigned alignment = elementBytes(parameter.dtype());

  const Checkpoint::Tensor *tensor = nullptr;
  std::vector<const std::byte *> addresses;
  addresses.reserve(rows);
  for (uint32_t row = 0; row != rows; ++row) {
    if (row == 0 || perRow)
      V4_RETURN_IF_ERROR(checkTensor(parameter, rowName(pattern, row), seen, tensor));
    uint64_t offset = source.offset() + (perRow ? 0 : row * source.stride());
    Bytes range = checkpoint.bytes(*tensor).subspan(offset, rowBytes);
    Expected<const std::byte *> address = aligned(*tensor, range, alignment);
    V4_RETURN_IF_ERROR(address);
    addresses.push_back(*address);
  }

  Bound out;
  out.base = *std::min_element(addresses.begin(), addresses.end());
  if (parameter.rows())
    for (const std::byte *address : addresses)
      out.offsets.push_back(
          static_cast<int64_t>(reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(out.base)));
  bound.push_back(std::move(out));
  return {};
}

} // namespace v4
