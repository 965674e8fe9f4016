// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Builds the loops and vectors of a kernel template.

#ifndef V4_LOWERING_TEMPLATES_KERNELBUILDER_H
#define V4_LOWERING_TEMPLATES_KERNELBUILDER_H

#include "lowering/templates/Templates.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::v4 {

/// The type of a buffer that a kernel works on, and the size of one of its dimensions.
inline MemRefType typeOf(Value memory) {
  return cast<MemRefType>(memory.getType());
}
inline int64_t sizeOf(Value memory, int64_t dim) {
  return typeOf(memory).getDimSize(dim);
}

/// Elements of a vector.
constexpr int64_t kVector = 16;

/// A builder that inserts in front of a `v4.kernel`. Scalars and vectors alike are operands of its arithmetic, which is
/// chosen by the type of the first one; `index` and integers are unsigned unless a method says otherwise.
class KernelBuilder : public ImplicitLocOpBuilder {
public:
  explicit KernelBuilder(KernelOp op) : ImplicitLocOpBuilder(op.getLoc(), op), op(op) {}

  // Constants.
  Value index(int64_t value) { return arith::ConstantIndexOp::create(*this, value); }
  Value i32(int64_t value) { return arith::ConstantIntOp::create(*this, getI32Type(), value); }
  Value f32(double value) {
    return arith::ConstantOp::create(*this, getF32FloatAttr(value));
  }
  /// A constant in all lanes, or the scalar when `type` is none.
  Value splat(Type type, double value);
  VectorType f32s(int64_t lanes = kVector) { return VectorType::get({lanes}, getF32Type()); }
  VectorType i32s(int64_t lanes = kVector) { return VectorType::get({lanes}, getI32Type()); }

  // Arithmetic.
  Value add(Value a, Value b);
  Value add(Value a, int64_t b) { return b ? add(a, splat(a.getType(), b)) : a; }
  Value sub(Value a, Value b);
  Value mul(Value a, Value b);
  Value mul(Value a, int64_t b) { return b == 1 ? a : mul(a, splat(a.getType(), b)); }
  Value div(Value a, Value b);
  Value div(Value a, int64_t b) { return b == 1 ? a : div(a, splat(a.getType(), b)); }
  Value min(Value a, Value b);
  /// The larger one; `b` where `a` is NaN, so that a NaN among `a` does not spread.
  Value max(Value a, Value b);
  /// a * b + c, as one instruction where the target has it.
  Value mulAdd(Value a, Value b, Value c);
  Value exp(Value x) { return math::ExpOp::create(*this, x); }
  Value select(Value condition, Value a, Value b) { return arith::SelectOp::create(*this, condition, a, b); }
  Value compare(arith::CmpIPredicate predicate, Value a, Value b) {
    return arith::CmpIOp::create(*this, predicate, a, b);
  }
  Value broadcast(Value scalar, int64_t lanes = kVector) {
    return vector::BroadcastOp::create(*this, VectorType::get({lanes}, scalar.getType()), scalar);
  }
  /// A stored number or vector as f32.
  Value widen(Value value);
  /// The sum of the lanes, in an order that the target fixes.
  Value sum(Value vector);
  /// A signed integer as index, and back.
  Value toIndex(Value integer) { return arith::IndexCastOp::create(*this, getIndexType(), integer); }
  Value toI32(Value index) { return arith::IndexCastOp::create(*this, getI32Type(), index); }

  // Memory.
  /// Scratch of the workgroup, made where its function starts.
  Value scratch(ArrayRef<int64_t> shape, Type element);
  Value load(Value memory, ValueRange at) { return memref::LoadOp::create(*this, memory, at); }
  /// `lanes` elements of the last dimension, in the type that is stored.
  Value load(Value memory, ValueRange at, int64_t lanes);
  /// A scalar or a vector; f32 is rounded where the memory holds bf16.
  void store(Value value, Value memory, ValueRange at);

  // Control.
  void loop(Value from, Value to, int64_t step, function_ref<void(Value)> body);
  SmallVector<Value> loop(Value from, Value to, int64_t step, ValueRange inits,
                          function_ref<SmallVector<Value>(Value, ValueRange)> body);
  void when(Value condition, function_ref<void()> then, function_ref<void()> otherwise = nullptr);
  /// Values of either branch, of the types of `otherwise`, which is yielded as it is.
  SmallVector<Value> when(Value condition, ValueRange otherwise, function_ref<SmallVector<Value>()> then);

  // Shared by templates.
  /// Row `from` (indices of all but the last dimension) of `source`, also a packed one, widened to f32, into row `to`
  /// of `tile`, whose last dimension is `width` rounded up to whole vectors; zeros behind `width`.
  void widenRow(Value source, ValueRange from, int64_t width, Value tile, Value to);
  /// The numbers of E2M1 codes in the low bits of i32 lanes.
  Value e2m1(Value codes);
  /// Asks for the lines of a row that is read later.
  void prefetchRow(Value source, ValueRange from, int64_t width);
  /// Sixteen vectors of sixteen lanes, transposed.
  SmallVector<Value> transpose(SmallVector<Value> rows);
  /// The heads of `query` [1, h, c] in the lanes: [ceil(h/16), c rounded up, 16]. Lanes past the last head repeat it.
  Value packHeads(Value query);
  /// Dots of rows `first ..` of `tile` with heads of `packed` in the lanes: `count[0]` rows times `count[1]` groups of
  /// heads from group `group`, by row, then group. Each is one chain over ascending channels.
  SmallVector<Value> dots(Value tile, Value first, Value packed, Value group, std::pair<int64_t, int64_t> count,
                          int64_t width);

  /// Entries of attribute `ratio` tokens each that the row of `positions` [1] sees, at most `limit`.
  Value visibleEntries(Value positions, int64_t limit);
  /// First and past-the-end number of part `part` of `count`, when attribute `parts` parts share whole blocks of
  /// `block`.
  std::pair<Value, Value> partOf(Value count, int64_t block, Value part);
  /// Sums and differences of the elements at distance 1, then 2, 4 and so on: a Hadamard transform of a power of two.
  void butterfly(SmallVectorImpl<Value> &elements);

  // Parameters of the kernel.
  int64_t attribute(StringRef name) { return cast<IntegerAttr>(op->getAttr(name)).getInt(); }
  double number(StringRef name) { return cast<FloatAttr>(op->getAttr(name)).getValueAsDouble(); }

  KernelOp op;

private:
  /// The same for a packed row (CacheRow).
  void unpackRow(Value source, ValueRange from, int64_t width, Value tile, Value to);
};

} // namespace mlir::v4

#endif
