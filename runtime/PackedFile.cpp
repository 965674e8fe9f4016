// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A safetensors file with one tensor for every parameter, a table being one too. Between them stand tensors of no
// meaning that keep every payload at a multiple of 64.
#include "runtime/PackedFile.h"
#include "runtime/Sources.h"

#include <algorithm>
#include <cstdio>
#include <sys/statvfs.h>

namespace v4 {
namespace {

constexpr uint64_t payloadAlignment = 64;
constexpr std::string_view paddingPrefix = "__padding__.";
constexpr std::string_view hashKey = "v4.layout_hash", layoutsKey = "v4.layouts";

const fbs::Parameter &parameterOf(const fbs::Module &module, uint32_t index) {
  return *module.parameters()->Get(index);
}

uint32_t parameterCount(const fbs::Module &module) {
  return module.parameters() ? module.parameters()->size() : 0;
}

TensorInfo tensorOf(const fbs::Parameter &parameter) {
  return {parameter.name()->str(), dtypeName(parameter.dtype()), layoutShape(parameter)};
}

Status checkDisk(const std::string &path, uint64_t bytes) {
  size_t slash = path.rfind('/');
  std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  struct statvfs disk;
  if (::statvfs(directory.c_str(), &disk) != 0)
    return {}; // opening the file says what is wrong
  uint64_t available = disk.f_bavail * disk.f_frsize;
  if (bytes > available)
    return environment("the packed weights take ", bytes, " bytes, and '", directory, "' has ", available);
  return {};
}

} // namespace

std::string layoutHash(const fbs::Module &module) {
  std::vector<std::string> lines;
  for (uint32_t i = 0; i != parameterCount(module); ++i) {
    const fbs::Parameter &parameter = parameterOf(module, i);
    const fbs::Source &source = *parameter.source();
    lines.push_back(concat(parameter.name()->string_view(), '\0', dtypeName(parameter.dtype()),
                           shapeText(*parameter.shape()), parameter.rows(), parameter.layout()->string_view(), '\0',
                           source.tensor()->string_view(), '\0', dtypeName(source.dtype()), shapeText(*source.shape()),
                           source.offset(), ",", source.stride(), "\n"));
  }
  // Modules of one model list their parameters in any order.
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string &line : lines)
    text += line;
  char out[17];
  std::snprintf(out, sizeof out, "%016llx",
                static_cast<unsigned long long>(fnv1a({reinterpret_cast<const std::byte *>(text.data()), text.size()})));
  return out;
}

Expected<SafetensorsFile> openPackedFile(const fbs::Module &module, const std::string &path) {
  Expected<SafetensorsFile> file = SafetensorsFile::open(path);
  V4_RETURN_IF_ERROR(file);
  const std::string *hash = file->metadata(hashKey);
  if (!hash)
    return invalid(path, ": this is not a file of v4-pack; give the checkpoint directory, or pack it with v4-pack");
  constexpr std::string_view remedy = "; pack the checkpoint for this module: v4-pack M.v4m --weights=CHECKPOINT -o P";
  uint64_t used = 0;
  for (uint32_t i = 0; i != parameterCount(module); ++i) {
    const fbs::Parameter &parameter = parameterOf(module, i);
    TensorInfo want = tensorOf(parameter);
    const TensorInfo *have = file->find(want.name);
    if (!have)
      return invalid(path, ": parameter '", want.name, "' is missing", remedy);
    if (have->dtype != want.dtype || have->shape != want.shape)
      return invalid(path, ": parameter '", want.name, "' is ", have->dtype, " ", shapeText(have->shape),
                     ", the module's layout ", parameter.layout()->string_view(), " needs ", want.dtype, " ",
                     shapeText(want.shape), remedy);
    if (reinterpret_cast<uintptr_t>(file->bytes(*have).data()) % payloadAlignment != 0)
      return invalid(path, ": parameter '", want.name, "' is not at a multiple of ", payloadAlignment, " bytes",
                     remedy);
    ++used;
  }
  for (const TensorInfo &tensor : file->tensors())
    used += tensor.name.starts_with(paddingPrefix);
  std::string wanted = layoutHash(module);
  if (*hash != wanted || used != file->tensors().size())
    return invalid(path, ": packed for the layouts ", *hash, ", the module has ", wanted, remedy);
  return file;
}

Status writePackedFile(const fbs::Module &module, const std::string &checkpoint, const std::string &path,
                       uint32_t threads, const MoveProgress &progress) {
  Expected<Sources> sources = Sources::open(module, checkpoint);
  V4_RETURN_IF_ERROR(sources);

  std::vector<TensorInfo> tensors;
  std::vector<std::string_view> layouts;
  uint64_t total = 0;
  std::vector<uint64_t> padding; // behind every parameter
  for (uint32_t i = 0; i != parameterCount(module); ++i) {
    const fbs::Parameter &parameter = parameterOf(module, i);
    uint64_t bytes = arrayBytes(parameter.dtype(), *parameter.shape());
    tensors.push_back(tensorOf(parameter));
    padding.push_back((payloadAlignment - bytes % payloadAlignment) % payloadAlignment);
    if (padding.back())
      tensors.push_back({concat(paddingPrefix, i), "U8", {padding.back()}});
    total += bytes + padding.back();
    layouts.push_back(parameter.layout()->string_view());
  }
  std::sort(layouts.begin(), layouts.end());
  layouts.erase(std::unique(layouts.begin(), layouts.end()), layouts.end());
  std::string list;
  for (std::string_view layout : layouts)
    list += concat(list.empty() ? "" : ",", layout);
  std::string header = safetensorsHeader(tensors, {{std::string(hashKey), layoutHash(module)},
                                                   {std::string(layoutsKey), list}});
  V4_RETURN_IF_ERROR(checkDisk(path, header.size() + total));
  Expected<OutputFile> file = OutputFile::create(path);
  V4_RETURN_IF_ERROR(file);
  V4_RETURN_IF_ERROR(file->write(header));

  constexpr uint64_t blockBytes = uint64_t(16) << 20;
  Mover mover;
  V4_RETURN_IF_ERROR(mover.start(threads));
  Pages buffer;
  uint64_t done = 0;
  for (uint32_t i = 0; i != parameterCount(module); ++i) {
    const fbs::Parameter &parameter = parameterOf(module, i);
    Rows16 layout = rows16Of(parameter).value_or(Rows16());
    for (const Sources::View &view : sources->views(i))
      for (Transfer part :
           cutTransfer({view.bytes.data(), nullptr, view.bytes.size(), layout, &sources->file(view)}, blockBytes)) {
        if (buffer.size() < part.bytes) {
          Expected<Pages> pages = Pages::allocate(std::max(part.bytes, blockBytes), "packing");
          V4_RETURN_IF_ERROR(pages);
          buffer = std::move(*pages);
        }
        part.to = buffer.data();
        V4_RETURN_IF_ERROR(mover.run({&part, 1}, {}));
        V4_RETURN_IF_ERROR(file->write(part.to, part.bytes));
        done += part.bytes;
        if (progress && !progress(done, total))
          return environment("packing the weights was ended after ", done, " of ", total, " bytes");
      }
    constexpr std::byte zeros[payloadAlignment] = {};
    V4_RETURN_IF_ERROR(file->write(zeros, padding[i]));
    done += padding[i];
  }
  return file->commit();
}

} // namespace v4
