// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Arithmetic on sizes that come from a file: every product and sum says whether it fits.
#ifndef V4_RUNTIME_CHECKED_H
#define V4_RUNTIME_CHECKED_H

#include <cstdint>
#include <optional>

namespace v4 {

inline std::optional<uint64_t> checkedMul(uint64_t a, uint64_t b) {
  uint64_t out;
  if (__builtin_mul_overflow(a, b, &out))
    return std::nullopt;
  return out;
}

inline std::optional<uint64_t> checkedAdd(uint64_t a, uint64_t b) {
  uint64_t out;
  if (__builtin_add_overflow(a, b, &out))
    return std::nullopt;
  return out;
}

/// Product of the extents, from dimension `first` on. Overflow is reported even when a later extent is 0: such a shape
/// is nonsense.
template <typename Shape> std::optional<uint64_t> elementCount(const Shape &shape, size_t first = 0) {
  uint64_t count = 1;
  bool zero = false;
  for (size_t i = first; i < shape.size(); ++i) {
    uint64_t extent = static_cast<uint64_t>(shape[i]);
    if (extent == 0) {
      zero = true;
      continue;
    }
    std::optional<uint64_t> next = checkedMul(count, extent);
    if (!next)
      return std::nullopt;
    count = *next;
  }
  return zero ? 0 : count;
}

/// offset + bytes <= size, without overflow.
inline bool rangeFits(uint64_t offset, uint64_t bytes, uint64_t size) {
  return offset <= size && bytes <= size - offset;
}

} // namespace v4

#endif // V4_RUNTIME_CHECKED_H
