// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The .npy header is a Python dictionary of three known keys; only that form is read.
#include "runtime/Npy.h"
#include "runtime/Checked.h"
#include "runtime/Safetensors.h"

#include <cstring>

namespace v4 {
namespace {

/// Reads the header's dictionary. Every step skips blanks first.
class HeaderReader {
public:
  explicit HeaderReader(std::string_view text) : text(text) {}

  bool take(std::string_view token) {
    while (text.starts_with(' ') || text.starts_with('\n'))
      text.remove_prefix(1);
    if (!text.starts_with(token))
      return false;
    text.remove_prefix(token.size());
    return true;
  }
  bool string(std::string &out) {
    if (!take("'"))
      return false;
    size_t end = text.find('\'');
    if (end == std::string_view::npos)
      return false;
    out = text.substr(0, end);
    text.remove_prefix(end + 1);
    return true;
  }
  bool number(uint64_t &out) {
    take("");
    size_t digits = 0;
    out = 0;
    for (; digits < text.size() && text[digits] >= '0' && text[digits] <= '9'; ++digits) {
      uint64_t digit = static_cast<uint64_t>(text[digits] - '0');
      if (out > (UINT64_MAX - digit) / 10)
        return false;
      out = out * 10 + digit;
    }
    text.remove_prefix(digits);
    return digits != 0;
  }
  bool shape(std::vector<uint64_t> &out) {
    if (!take("("))
      return false;
    while (!take(")")) {
      uint64_t extent;
      if (!number(extent))
        return false;
      out.push_back(extent);
      if (take(","))
        continue;
      return take(")");
    }
    return true;
  }
  bool atEnd() {
    take("");
    return text.empty();
  }

private:
  std::string_view text;
};

} // namespace

Expected<NpyArray> parseNpy(Bytes file) {
  std::string_view text(reinterpret_cast<const char *>(file.data()), file.size());
  if (!text.starts_with("\x93NUMPY"))
    return invalid("this is not a .npy file: it does not begin with \\x93NUMPY");
  if (text.size() < 10)
    return invalid("the .npy header is truncated");
  auto byte = [&](size_t i) { return static_cast<uint64_t>(static_cast<unsigned char>(text[i])); };
  if (byte(6) < 1 || byte(6) > 3)
    return invalid(".npy version ", byte(6), " is unknown; versions 1 to 3 are read");
  size_t lengthBytes = byte(6) == 1 ? 2 : 4;
  if (text.size() < 8 + lengthBytes)
    return invalid("the .npy header is truncated");
  uint64_t length = 0;
  for (size_t i = lengthBytes; i-- > 0;)
    length = length << 8 | byte(8 + i);
  if (length > text.size() - 8 - lengthBytes)
    return invalid("the .npy header is truncated");

  HeaderReader reader(text.substr(8 + lengthBytes, length));
  NpyArray array;
  std::string descr;
  bool fortran = false, haveShape = false, haveOrder = false, ok = reader.take("{");
  while (ok && !reader.take("}")) {
    std::string key;
    ok = reader.string(key) && reader.take(":");
    if (ok && key == "descr" && descr.empty()) {
      ok = reader.string(descr) && !descr.empty();
    } else if (ok && key == "fortran_order" && !haveOrder) {
      fortran = reader.take("True");
      ok = haveOrder = fortran || reader.take("False");
    } else if (ok && key == "shape" && !haveShape) {
      ok = haveShape = reader.shape(array.shape);
    } else {
      ok = false;
    }
    if (ok && !reader.take(",")) {
      ok = reader.take("}");
      break;
    }
  }
  if (!ok || !reader.atEnd() || descr.empty() || !haveShape || !haveOrder)
    return invalid("the .npy header is malformed");
  if (fortran)
    return invalid("the array is in Fortran order; save it with numpy.ascontiguousarray");
  if (descr == "<f4")
    array.type = NpyArray::Type::F32;
  else if (descr == "<i4")
    array.type = NpyArray::Type::I32;
  else if (descr == "<i8")
    array.type = NpyArray::Type::I64;
  else
    return invalid("elements of type '", descr, "' are not read; use float32, int32 or int64");
  std::optional<uint64_t> count = elementCount(array.shape);
  std::optional<uint64_t> bytes = count ? checkedMul(*count, array.type == NpyArray::Type::I64 ? 8 : 4) : std::nullopt;
  array.data = file.subspan(8 + lengthBytes + length);
  if (!bytes || *bytes != array.data.size())
    return invalid("shape ", shapeText(array.shape), " does not match the ", array.data.size(), " bytes of data");
  return array;
}

std::string npyHeader(const std::vector<uint64_t> &shape) {
  std::string extents;
  for (uint64_t extent : shape)
    extents += concat(extent, shape.size() == 1 ? "," : ", ");
  if (shape.size() > 1)
    extents.resize(extents.size() - 2);
  std::string dictionary = concat("{'descr': '<f4', 'fortran_order': False, 'shape': (", extents, "), }");
  dictionary.append((64 - (dictionary.size() + 11) % 64) % 64, ' ');
  dictionary += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(dictionary.size() & 0xFF);
  out += static_cast<char>(dictionary.size() >> 8);
  return out + dictionary;
}

} // namespace v4
