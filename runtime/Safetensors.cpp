// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A strict safetensors reader: anything that two readers could understand differently is an error.
#include "runtime/Safetensors.h"
#include "runtime/Checked.h"
#include "runtime/Json.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace v4 {
namespace {

struct TypeName {
  std::string_view name;
  unsigned bits;
};
constexpr TypeName typeNames[] = {
    {"BOOL", 8},    {"U8", 8},      {"I8", 8},   {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F4", 4},
    {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"I16", 16}, {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},
    {"U32", 32},    {"F32", 32},    {"C64", 64}, {"F64", 64},    {"I64", 64},    {"U64", 64},
};

const TypeName *findType(std::string_view name) {
  for (const TypeName &type : typeNames)
    if (type.name == name)
      return &type;
  return nullptr;
}

Status parseTensor(const json::Value &value, uint64_t payloadBytes, TensorInfo &out) {
  if (!value.isObject())
    return invalid("its entry is not an object");
  const json::Value *dtype = value.find("dtype"), *shape = value.find("shape"), *offsets = value.find("data_offsets");
  if (!dtype || !dtype->isString())
    return invalid("'dtype' is missing or not a string");
  if (!shape || !shape->isArray())
    return invalid("'shape' is missing or not a list");
  if (!offsets || !offsets->isArray() || offsets->elements.size() != 2)
    return invalid("'data_offsets' is missing or not a list of two");
  if (value.members.size() != 3)
    return invalid("its entry has keys other than dtype, shape and data_offsets");
  const TypeName *type = findType(dtype->string);
  if (!type)
    return invalid("unknown dtype ", json::quoted(dtype->string));
  out.dtype = type->name;
  if (shape->elements.size() > maxTensorRank)
    return invalid("rank ", shape->elements.size(), " is above the limit of ", maxTensorRank);
  for (const json::Value &extent : shape->elements) {
    if (!extent.isUnsigned())
      return invalid("'shape' holds something that is not a whole number from 0");
    out.shape.push_back(extent.number);
  }
  for (const json::Value &offset : offsets->elements)
    if (!offset.isUnsigned())
      return invalid("'data_offsets' holds something that is not a whole number from 0");
  out.begin = offsets->elements[0].number;
  out.end = offsets->elements[1].number;
  if (out.begin > out.end)
    return invalid("its bytes ", out.begin, "..", out.end, " end before they begin");
  if (out.end > payloadBytes)
    return invalid("its bytes ", out.begin, "..", out.end, " lie beyond the file, which holds ", payloadBytes,
                   " bytes of payload; the file is truncated or its header is wrong");
  std::optional<uint64_t> count = elementCount(out.shape);
  std::optional<uint64_t> bits = count ? checkedMul(*count, type->bits) : std::nullopt;
  if (!bits)
    return invalid("shape ", shapeText(out.shape), " has more bytes than can be counted");
  if (*bits % 8 != 0)
    return invalid("shape ", shapeText(out.shape), " of ", type->name, " does not fill whole bytes");
  if (*bits / 8 != out.end - out.begin)
    return invalid("shape ", shapeText(out.shape), " of ", type->name, " needs ", *bits / 8, " bytes, its range ",
                   out.begin, "..", out.end, " has ", out.end - out.begin);
  return {};
}

uint64_t loadU64(const std::byte *bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i)
    value = value << 8 | static_cast<uint64_t>(bytes[i]);
  return value;
}

} // namespace

unsigned safetensorsBits(std::string_view dtype) {
  const TypeName *type = findType(dtype);
  return type ? type->bits : 0;
}

std::string shapeText(const std::vector<uint64_t> &shape) {
  std::string out = "[";
  for (size_t i = 0; i != shape.size(); ++i)
    out += concat(i ? ", " : "", shape[i]);
  return out + "]";
}

Expected<SafetensorsHeader> parseSafetensors(Bytes file) {
  if (file.size() < 8)
    return invalid("the file has ", file.size(), " bytes, a safetensors file has at least 8; it is truncated");
  uint64_t headerBytes = loadU64(file.data());
  if (headerBytes > maxSafetensorsHeader)
    return invalid("the header claims ", headerBytes, " bytes, more than the limit of ", maxSafetensorsHeader,
                   "; this is not a safetensors file");
  if (headerBytes > file.size() - 8)
    return invalid("the header claims ", headerBytes, " bytes, the file has ", file.size() - 8,
                   " after the length; it is truncated");
  std::string_view text(reinterpret_cast<const char *>(file.data() + 8), headerBytes);
  if (!text.starts_with('{'))
    return invalid("the header does not begin with '{'; this is not a safetensors file");
  json::Limits limits;
  limits.maxBytes = maxSafetensorsHeader;
  limits.maxDepth = 4;
  Expected<json::Value> root = json::parse(text, limits);
  if (!root)
    return root.takeStatus().in("header");

  SafetensorsHeader header;
  header.payload = 8 + headerBytes;
  uint64_t payloadBytes = file.size() - header.payload;
  header.tensors.reserve(root->members.size());
  for (json::Member &member : root->members) {
    if (member.name == "__metadata__") {
      if (!member.value.isObject())
        return invalid("'__metadata__' is not an object");
      for (json::Member &entry : member.value.members) {
        if (!entry.value.isString())
          return invalid("'__metadata__' holds something that is not a string");
        header.metadata.emplace_back(std::move(entry.name), std::move(entry.value.string));
      }
      continue;
    }
    if (member.name.empty() || member.name.find('\0') != std::string::npos)
      return invalid("a tensor name is empty or contains a NUL character");
    TensorInfo tensor;
    tensor.name = std::move(member.name);
    Status status = parseTensor(member.value, payloadBytes, tensor);
    if (!status.ok())
      return std::move(status).in(concat("tensor '", tensor.name, "'"));
    header.tensors.push_back(std::move(tensor));
  }

  std::sort(header.tensors.begin(), header.tensors.end(), [](const TensorInfo &a, const TensorInfo &b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t covered = 0;
  for (const TensorInfo &tensor : header.tensors) {
    if (tensor.begin < covered)
      return invalid("tensor '", tensor.name, "' overlaps another: it begins at byte ", tensor.begin,
                     ", the one before ends at ", covered);
    if (tensor.begin > covered)
      return invalid("bytes ", covered, "..", tensor.begin, " of the payload belong to no tensor (before '",
                     tensor.name, "')");
    covered = tensor.end;
  }
  if (covered != payloadBytes)
    return invalid("bytes ", covered, "..", payloadBytes, " of the payload belong to no tensor (after the last one)");
  return header;
}

Expected<SafetensorsFile> SafetensorsFile::open(const std::string &path) {
  Expected<MappedFile> file = MappedFile::open(path);
  V4_RETURN_IF_ERROR(file);
  Expected<SafetensorsHeader> header = parseSafetensors(file->bytes());
  if (!header)
    return header.takeStatus().in(path);
  SafetensorsFile out;
  out.file = std::move(*file);
  out.header = std::move(*header);
  out.byName.resize(out.header.tensors.size());
  std::iota(out.byName.begin(), out.byName.end(), 0u);
  std::sort(out.byName.begin(), out.byName.end(),
            [&](uint32_t a, uint32_t b) { return out.header.tensors[a].name < out.header.tensors[b].name; });
  return out;
}

const TensorInfo *SafetensorsFile::find(std::string_view name) const {
  auto it = std::lower_bound(byName.begin(), byName.end(), name,
                             [&](uint32_t i, std::string_view key) { return header.tensors[i].name < key; });
  return it != byName.end() && header.tensors[*it].name == name ? &header.tensors[*it] : nullptr;
}

const std::string *SafetensorsFile::metadata(std::string_view name) const {
  for (const auto &[key, value] : header.metadata)
    if (key == name)
      return &value;
  return nullptr;
}

std::string safetensorsHeader(const std::vector<TensorInfo> &tensors, const Metadata &metadata) {
  std::string text = "{";
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto &[key, value] : metadata)
      text += concat(text.back() == '{' ? "" : ",", json::quoted(key), ":", json::quoted(value));
    text += "}";
  }
  uint64_t position = 0;
  for (const TensorInfo &tensor : tensors) {
    uint64_t bytes = *elementCount(tensor.shape) * safetensorsBits(tensor.dtype) / 8;
    text +=
        concat(text.size() > 1 ? "," : "", json::quoted(tensor.name), ":{\"dtype\":\"", tensor.dtype,
               "\",\"shape\":", shapeText(tensor.shape), ",\"data_offsets\":[", position, ",", position + bytes, "]}");
    position += bytes;
  }
  text += "}";
  text.append((64 - (text.size() + 8) % 64) % 64, ' ');
  std::string out(8, '\0');
  for (int i = 0; i != 8; ++i)
    out[i] = static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * i));
  return out + text;
}

} // namespace v4
