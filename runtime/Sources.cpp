// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Every parameter finds its tensor and every tensor its parameter.
#include "runtime/Sources.h"

#include <algorithm>

namespace v4 {

std::string rowName(std::string_view pattern, uint32_t row) {
  size_t at = pattern.find("{e}");
  if (at == std::string_view::npos)
    return std::string(pattern);
  return concat(pattern.substr(0, at), row, pattern.substr(at + 3));
}

uint64_t viewBytes(const fbs::Parameter &parameter) {
  return arrayBytes(parameter.dtype(), *parameter.shape(), parameter.rows() ? 1 : 0);
}

Expected<Sources> Sources::open(const fbs::Module &module, const std::string &directory) {
  Sources sources;
  Expected<Checkpoint> checkpoint = Checkpoint::open(directory);
  V4_RETURN_IF_ERROR(checkpoint);
  sources.checkpoint = std::move(*checkpoint);
  std::vector<bool> seen(sources.checkpoint.tensors().size());
  if (module.parameters())
    for (const fbs::Parameter *parameter : *module.parameters())
      V4_RETURN_IF_ERROR(sources.find(*parameter, seen));
  V4_RETURN_IF_ERROR(sources.checkUnused(module, seen));
  return sources;
}

Status Sources::checkUnused(const fbs::Module &module, const std::vector<bool> &seen) const {
  const auto *ignored = module.provenance()->ignored();
  for (size_t i = 0; i != seen.size(); ++i) {
    if (seen[i])
      continue;
    const Checkpoint::Tensor &tensor = checkpoint.tensors()[i];
    const std::string &name = tensor.info->name;
    bool accepted = ignored && std::any_of(ignored->begin(), ignored->end(), [&](const flatbuffers::String *prefix) {
                      return name.starts_with(prefix->string_view());
                    });
    if (!accepted)
      return invalid(checkpoint.shard(tensor.shard).mapping().path(), ": tensor '", name,
                     "' is not used by the module; the checkpoint is of another model, or the module must be "
                     "compiled from this one");
  }
  return {};
}

Status Sources::checkTensor(const fbs::Parameter &parameter, const std::string &name, std::vector<bool> &seen,
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

Status Sources::find(const fbs::Parameter &parameter, std::vector<bool> &seen) {
  const fbs::Source &source = *parameter.source();
  std::string_view pattern = source.tensor()->string_view();
  bool perRow = pattern.find("{e}") != std::string_view::npos;
  uint32_t rows = std::max(parameter.rows(), 1u);
  const Checkpoint::Tensor *tensor = nullptr;
  for (uint32_t row = 0; row != rows; ++row) {
    if (row == 0 || perRow)
      V4_RETURN_IF_ERROR(checkTensor(parameter, rowName(pattern, row), seen, tensor));
    uint64_t offset = source.offset() + (perRow ? 0 : row * source.stride());
    all.push_back({checkpoint.bytes(*tensor).subspan(offset, viewBytes(parameter)), tensor->shard});
  }
  first.push_back(all.size());
  return {};
}

} // namespace v4
