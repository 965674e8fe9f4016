// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The safetensors format, read strictly and written: 8 bytes of header length, a JSON header, the payload.
#ifndef V4_RUNTIME_SAFETENSORS_H
#define V4_RUNTIME_SAFETENSORS_H

#include "runtime/FileIo.h"

#include <string>
#include <string_view>
#include <vector>

namespace v4 {

/// The longest header that is read; the format's own limit.
inline constexpr uint64_t maxSafetensorsHeader = 100'000'000;
inline constexpr size_t maxTensorRank = 8;

/// Bits of an element of a safetensors type, 0 when the name is unknown.
unsigned safetensorsBits(std::string_view dtype);

struct TensorInfo {
  std::string name;
  std::string_view dtype; // one of the format's names; static storage
  std::vector<uint64_t> shape;
  uint64_t begin = 0, end = 0; // bytes of the payload
};

/// "[2, 3]"
std::string shapeText(const std::vector<uint64_t> &shape);

/// Names and values of `__metadata__`.
using Metadata = std::vector<std::pair<std::string, std::string>>;

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors; // in the order of the payload
  Metadata metadata;
  uint64_t payload = 0;            // offset of the payload in the file
};

/// Checks that header and payload describe each other exactly: every range inside the file, of the size that type and
/// shape say, and no byte of the payload unused or used twice. Messages do not name the file.
Expected<SafetensorsHeader> parseSafetensors(Bytes file);

/// A file that was checked when it was opened.
class SafetensorsFile {
public:
  static Expected<SafetensorsFile> open(const std::string &path);

  const std::vector<TensorInfo> &tensors() const { return header.tensors; }
  const TensorInfo *find(std::string_view name) const;
  /// The value of that name in the metadata, or null.
  const std::string *metadata(std::string_view name) const;
  Bytes bytes(const TensorInfo &tensor) const {
    return file.bytes().subspan(header.payload + tensor.begin, tensor.end - tensor.begin);
  }
  const MappedFile &mapping() const { return file; }

private:
  MappedFile file;
  SafetensorsHeader header;
  std::vector<uint32_t> byName; // indices of the tensors, sorted by name
};

/// The length field and header of a file that holds `tensors` back to back in this order (begin and end are computed),
/// padded so that the payload starts at a multiple of 64.
std::string safetensorsHeader(const std::vector<TensorInfo> &tensors, const Metadata &metadata = {});

} // namespace v4

#endif // V4_RUNTIME_SAFETENSORS_H
