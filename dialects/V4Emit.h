// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Private to this folder: builds the linalg, tensor, scf and arith ops of which the decompositions consist.

#ifndef V4_DIALECTS_V4EMIT_H
#define V4_DIALECTS_V4EMIT_H

#include "dialects/V4.h"

#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::v4 {

/// Most parallel partial sums of a reduction along a contiguous dimension: one vector of f32.
constexpr int64_t kLanes = 16;

inline RankedTensorType tensorType(Value value) {
  return cast<RankedTensorType>(value.getType());
}
inline ArrayRef<int64_t> shapeOf(Value value) {
  return tensorType(value).getShape();
}
inline int64_t sizeOf(Value value, int dim) {
  return shapeOf(value)[dim];
}

/// A tensor operand of a `linalg.generic` and the loops that walk its dimensions.
struct Arg {
  Value value;
  SmallVector<unsigned> loops;
};

/// A builder that inserts before the op to be decomposed. Bodies of `generic` and of the loops are built by the same
/// object. Float arithmetic has no fast-math flags, except that `mulAdd` may be contracted to one rounding.
class Emit : public ImplicitLocOpBuilder {
public:
  Emit(OpBuilder &builder, Operation *op) : ImplicitLocOpBuilder(op->getLoc(), builder) { setInsertionPoint(op); }
  /// Inserts where `builder` does.
  explicit Emit(const ImplicitLocOpBuilder &builder) : ImplicitLocOpBuilder(builder) {}

  // Scalars. Arithmetic is of the type of the first operand: f32, f64, i32 or index.
  Value index(int64_t value);
  Value i32(int64_t value);
  Value f32(double value);
  Value f64(double value);
  Value add(Value a, Value b);
  Value sub(Value a, Value b);
  Value mul(Value a, Value b);
  Value div(Value a, Value b);
  Value rem(Value a, Value b);
  Value min(Value a, Value b);
  Value max(Value a, Value b);
  Value clamp(Value value, Value low, Value high) { return min(max(value, low), high); }
  Value less(Value a, Value b);
  Value select(Value condition, Value a, Value b);
  Value bitAnd(Value a, int64_t mask);
  Value shiftLeft(Value a, int64_t bits);
  Value shiftRight(Value a, int64_t bits);
  Value bitsOf(Value number);
  Value numberOf(Value bits);
  /// a * b + c, as a multiply-add where the target has one.
  Value mulAdd(Value a, Value b, Value c);
  Value sigmoid(Value x);
  /// 1 / sqrt(x / count + eps).
  Value inverseRoot(Value sum, int64_t count, const APFloat &eps);
  /// A stored number as f32.
  Value toF32(Value number);
  /// The nearest bf16, ties to even, as f32.
  Value roundToBF16(Value number);
  Value toIndex(Value integer);
  Value toI32(Value index);

  // Tensors.
  Value empty(ArrayRef<int64_t> shape, Type element = {});
  Value emptyLike(Value tensor) { return empty(shapeOf(tensor), tensorType(tensor).getElementType()); }
  Value fill(Value scalar, Value into);
  Value filled(ArrayRef<int64_t> shape, Value scalar) { return fill(scalar, empty(shape, scalar.getType())); }
  /// An element as a scalar; indices may be constants.
  Value at(Value tensor, ArrayRef<OpFoldResult> indices);
  Value at(Value tensor, OpFoldResult index) { return at(tensor, ArrayRef(index)); }
  Value set(Value tensor, Value scalar, ArrayRef<OpFoldResult> indices);
  Value set(Value tensor, Value scalar, OpFoldResult index) { return set(tensor, scalar, ArrayRef(index)); }
  /// Part of a tensor; unit dimensions listed in `drop` disappear. The whole tensor is returned as it is.
  Value slice(Value tensor, ArrayRef<OpFoldResult> offsets, ArrayRef<int64_t> sizes, ArrayRef<int64_t> drop = {},
              ArrayRef<int64_t> strides = {});
  Value insert(Value part, Value tensor, ArrayRef<OpFoldResult> offsets, ArrayRef<int64_t> sizes,
               ArrayRef<int64_t> strides = {});
  /// The slice at `index` of the leading dimension, without that dimension.
  Value row(Value tensor, OpFoldResult index);
  Value setRow(Value part, Value tensor, OpFoldResult index);
  /// Columns of the last dimension.
  Value columns(Value tensor, int64_t offset, int64_t size, int64_t stride = 1);
  Value setColumns(Value part, Value tensor, int64_t offset, int64_t stride = 1);
  /// The last dimension as several.
  Value split(Value tensor, ArrayRef<int64_t> sizes);
  /// The inverse: the last `count` dimensions as one.
  Value join(Value tensor, unsigned count);
  /// Copies, converted between f32 and bf16. An identity between tensors of one shape would be erased as a value that
  /// is already there, and come back as a call when buffers are made, so `source` lacks the leading dimension, of size
  /// 1, of `target`.
  Value copyInto(Value source, Value target);
  /// Row `from` of `source` into row `to` of `target`. Rows of bytes are packed ones (CacheRow): they are unpacked into
  /// numbers and made from numbers.
  Value copyRow(Value source, OpFoldResult from, Value target, OpFoldResult to);
  Value copyRows(int64_t count, Value source, OpFoldResult from, Value target, OpFoldResult to);
  /// Columns of the last dimension that an op passes on.
  Value copyColumns(Value source, Value target, int64_t first, int64_t count);
  /// The elements as f32 (itself when they are).
  Value widen(Value tensor);
  /// The elements as bf16, rounded once.
  Value narrow(Value tensor);
  /// A tensor to add up in: `target` itself when it is f32, else one of f32, which `finish` rounds to `target`.
  Value accumulator(Value target) {
    return tensorType(target).getElementType().isF32() ? target : empty(shapeOf(target));
  }
  Value finish(Value sums, Value target);

  // Loops.
  /// Loops that `out` lacks are reductions. The body gets an element of every input, then of the output; bf16 is
  /// widened for it, and its result rounded to a bf16 output.
  Value generic(ArrayRef<Arg> inputs, Arg out, function_ref<Value(ValueRange)> body);
  /// All dimensions of all tensors walked together.
  Value map(ValueRange inputs, Value out, function_ref<Value(ValueRange)> body);
  /// Number of the current iteration of a loop, as i32.
  Value iteration(unsigned loop);
  /// `count` iterations; one iteration makes no loop.
  SmallVector<Value> repeat(int64_t count, ValueRange inits,
                            function_ref<SmallVector<Value>(OpFoldResult, ValueRange)> body);
  SmallVector<Value> loop(Value lower, Value upper, int64_t step, ValueRange inits,
                          function_ref<SmallVector<Value>(Value, ValueRange)> body);
  /// The tensors of `inits` where the condition fails.
  SmallVector<Value> when(Value condition, ValueRange inits, function_ref<SmallVector<Value>(ValueRange)> body);

  // Reductions over the last loop `k`, which is the last dimension of the operands that have it. The terms are added up
  // in interleaved partial sums ("lanes"), so that the innermost loop is parallel and contiguous.
  /// out += sum_k body(inputs).
  Value sum(ArrayRef<Arg> inputs, Arg out, unsigned k, function_ref<Value(ValueRange)> body);
  /// out = max(out, max_k body(inputs)).
  Value maximum(ArrayRef<Arg> inputs, Arg out, unsigned k, function_ref<Value(ValueRange)> body);
  /// out += sum_k x w.
  Value contract(Arg x, Arg w, Arg out, unsigned k);
  /// Sums of products into lanes: loops that `lanes` lacks are reductions, its last one is contiguous in x and w.
  Value multiplyInto(Arg x, Arg w, Arg lanes);
  /// out += the sum of the lanes, its last dimension.
  Value closeLanes(Value lanes, Value out);

  // Shared by several ops.
  /// out [M, N] = x [M, K] times a stored weight [N, K], packed or not. For fp4, `x` holds the even and the odd
  /// columns.
  Value linear(ArrayRef<Value> x, Value weight, Value scale, Value out);
  /// The `out` columns of a row of `scores` that are largest, of the first `count`, ascending, then -1. `out` is i32
  /// [k].
  Value largest(Value scores, Value count, Value out);

private:
  Value packRow(Value numbers, Value bytes);
  Value unpackRow(Value bytes, Value numbers);
  Value reduce(ArrayRef<Arg> inputs, Arg out, unsigned k, Value identity, function_ref<Value(Value, Value)> combine,
               function_ref<Value(ValueRange)> body);
};

/// The value of one of the two E2M1 codes of a byte.
Value nibbleToF32(Emit &e, Value byte, bool high);

} // namespace mlir::v4

#endif
