// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Rows of a state tensor as numbers, and as the module keeps them (v4_module.fbs, State).
#ifndef V4_RUNTIME_STATEROWS_H
#define V4_RUNTIME_STATEROWS_H

#include "runtime/v4_module_generated.h"

#include <cstddef>
#include <cstdint>

namespace v4 {

/// Form of the rows of a state tensor.
struct StateRows {
  fbs::DType dtype;
  uint64_t columns;   // of a row as numbers
  uint64_t quantized; // leading columns that are codes, or hold only what codes can hold
  unsigned bits;      // of a code: 8, 4, or 0 for none
  uint64_t rowBytes;

  explicit StateRows(const fbs::State &state);
  /// A row of f32 or bf16 numbers.
  StateRows(fbs::DType dtype, uint64_t columns)
      : dtype(dtype), columns(columns), quantized(0), bits(0), rowBytes(columns * (dtype == fbs::DType::F32 ? 4 : 2)) {}

  uint64_t block() const { return bits == 8 ? 64 : 32; }
  /// Bytes of a packed row of these columns.
  uint64_t packedBytes() const;

  /// The number that every column holds, exactly.
  void read(const std::byte *row, float *out) const;
  /// Keeps the numbers as an append of the module would: f32 as they are; otherwise rounded to bf16, then the quantised
  /// columns to codes, both to nearest, ties to even.
  void write(const float *in, std::byte *row) const;
};

} // namespace v4

#endif // V4_RUNTIME_STATEROWS_H
