// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Weights in the layout rows16: lines of 64 bytes, one dword of K for each of 16 output rows.

#ifndef V4_LOWERING_TEMPLATES_PACKEDWEIGHT_H
#define V4_LOWERING_TEMPLATES_PACKEDWEIGHT_H

#include "lowering/templates/Templates.h"

#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::v4 {

/// A weight `[N/16, D, 16, e]` in memory and its scales: fp8 `[ceil(N/128), ceil(K/128)]`, fp4 `[N/16, ceil(K/32),
/// 16]`. A group is 16 output rows, a line one dword of K of each.
class PackedWeight {
public:
  enum class Format { F32, BF16, E4M3, E2M1 };

  /// `scale` is null for f32 and bf16. Builds views and tables at the place of `b`.
  PackedWeight(ImplicitLocOpBuilder &b, Value weight, Value scale, const TemplateTarget &target);

  /// Whether a memref of this type is a packed weight.
  static bool isPacked(ShapedType type);
  static Format formatOf(ShapedType type);
  static bool hasScale(ShapedType type) { return perLine(formatOf(type)) > 2; }
  /// Elements of K in a dword.
  static int64_t perLine(Format format);

  Format getFormat() const { return format; }
  int64_t getPerLine() const { return perLine(format); }
  bool isScaled() const { return static_cast<bool>(scale); }
  int64_t getGroups() const { return groups; }
  /// The dimension K.
  int64_t getInner() const { return lines * getPerLine(); }
  /// Elements of K that share a scale; all of them without scales.
  int64_t getBlock() const;

  /// Line `line` of `group` as 16 dwords.
  Value load(ImplicitLocOpBuilder &b, Value group, Value line) const;
  /// Asks for a line that will be loaded soon; it may lie past the last one.
  void prefetch(ImplicitLocOpBuilder &b, Value group, Value line) const;
  /// The same for the scales of a block of elements: those of fp4, which are as many as to be missed.
  void prefetchScale(ImplicitLocOpBuilder &b, Value group, Value block) const;
  /// The scales of elements `block * getBlock() ..` of the rows of `group`, `vector<16xf32>`; null without scales.
  Value loadScale(ImplicitLocOpBuilder &b, Value group, Value block) const;
  /// The elements of a line in the order of K, each `vector<16xf32>`, times `scale` unless that is null. Exact: scales
  /// are powers of two.
  SmallVector<Value> widen(ImplicitLocOpBuilder &b, Value line, Value scale) const;
  /// The same in two steps, for code that must not hold all elements in registers: what they have in common, and then
  /// element `i`.
  SmallVector<Value> prepare(ImplicitLocOpBuilder &b, Value line) const;
  Value element(ImplicitLocOpBuilder &b, ArrayRef<Value> prepared, int64_t i) const;

private:
  Value view, scale;
  Format format;
  int64_t groups, lines;
  bool tables, permutes;
  /// High and low bytes of the bf16 numbers of 128 E4M3 codes; the 16 values of E2M1.
  Value high[2], low[2], values;
};

/// Checks the operands of a kernel that multiplies rows with a packed weight, those of `v4.linear` on a tile of one
/// group, or with a table of weights, those of `v4.grouped_linear`. A failure is a diagnostic.
LogicalResult verifyProduct(KernelOp op, bool table);

} // namespace mlir::v4

#endif
