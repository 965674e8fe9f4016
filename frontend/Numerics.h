// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a graph rounds, and how it keeps its caches.

#ifndef V4_FRONTEND_NUMERICS_H
#define V4_FRONTEND_NUMERICS_H

namespace mlir::v4 {

enum class Numerics {
  /// Nothing is rounded below f32.
  F32,
  /// The rounding points of the official code (spec 3 to 7).
  Reference,
  /// bf16 between ops and the rounding of the caches, whose entries are rounded once, from f32; linears and index queries
  /// see their inputs unquantised, index scores are f32.
  Fast
};

/// Packed: the bytes of spec 7.4 and 7.5, which hold the same values as bf16.
enum class KvFormat { F32, BF16, Packed };

struct NumericForm {
  Numerics numerics = Numerics::F32;
  KvFormat kv = KvFormat::F32;

  bool bf16() const { return numerics != Numerics::F32; }
};

} // namespace mlir::v4

#endif
