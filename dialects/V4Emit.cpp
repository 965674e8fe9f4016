// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The builders of V4Emit.h.

#include "dialects/V4Emit.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace mlir::v4;

//===----------------------------------------------------------------------===//
// Scalars
//===----------------------------------------------------------------------===//

Value Emit::index(int64_t value) {
  return arith::ConstantIndexOp::create(*this, value);
}
Value Emit::i32(int64_t value) {
  return arith::ConstantOp::create(*this, getIntegerAttr(getI32Type(), static_cast<int32_t>(value)));
}
Value Emit::f32(double value) {
  return arith::ConstantOp::create(*this, getF32FloatAttr(static_cast<float>(value)));
}
Value Emit::f64(double value) {
  return arith::ConstantOp::create(*this, getF64FloatAttr(value));
}

template <typename FloatOp, typename IntOp> static Value binary(Emit &e, Value a, Value b) {
  if (isa<FloatType>(a.getType()))
    return FloatOp::create(e, a, b);
  return IntOp::create(e, a, b);
}

Value Emit::add(Value a, Value b) {
  return binary<arith::AddFOp, arith::AddIOp>(*this, a, b);
}
Value Emit::sub(Value a, Value b) {
  return binary<arith::SubFOp, arith::SubIOp>(*this, a, b);
}
Value Emit::mul(Value a, Value b) {
  return binary<arith::MulFOp, arith::MulIOp>(*this, a, b);
}
Value Emit::div(Value a, Value b) {
  return binary<arith::DivFOp, arith::DivSIOp>(*this, a, b);
}
Value Emit::rem(Value a, Value b) {
  return binary<arith::RemFOp, arith::RemSIOp>(*this, a, b);
}
Value Emit::min(Value a, Value b) {
  return binary<arith::MinimumFOp, arith::MinSIOp>(*this, a, b);
}
Value Emit::max(Value a, Value b) {
  return binary<arith::MaximumFOp, arith::MaxSIOp>(*this, a, b);
}

Value Emit::less(Value a, Value b) {
  if (isa<FloatType>(a.getType()))
    return arith::CmpFOp::create(*this, arith::CmpFPredicate::OLT, a, b);
  return arith::CmpIOp::create(*this, arith::CmpIPredicate::slt, a, b);
}
Value Emit::select(Value condition, Value a, Value b) {
  return arith::SelectOp::create(*this, condition, a, b);
}
Value Emit::bitAnd(Value a, int64_t mask) {
  return arith::AndIOp::create(*this, a, i32(mask));
}
Value Emit::shiftLeft(Value a, int64_t bits) {
  return arith::ShLIOp::create(*this, a, i32(bits));
}
Value Emit::shiftRight(Value a, int64_t bits) {
  return arith::ShRUIOp::create(*this, a, i32(bits));
}
Value Emit::bitsOf(Value number) {
  return arith::BitcastOp::create(*this, getI32Type(), number);
}
Value Emit::numberOf(Value bits) {
  return arith::BitcastOp::create(*this, getF32Type(), bits);
}

Value Emit::mulAdd(Value a, Value b, Value c) {
  auto flags = arith::FastMathFlags::contract;
  Value product = arith::MulFOp::create(*this, a, b, flags);
  return arith::AddFOp::create(*this, product, c, flags);
}
Value Emit::sigmoid(Value x) {
  Value one = f32(1);
  Value negated = arith::NegFOp::create(*this, x);
  return div(one, add(one, math::ExpOp::create(*this, negated)));
}
Value Emit::inverseRoot(Value sum, int64_t count, const APFloat &eps) {
  Value mean = div(sum, f32(count));
  return div(f32(1), math::SqrtOp::create(*this, add(mean, f32(eps.convertToFloat()))));
}
Value Emit::toF32(Value number) {
  return number.getType().isF32() ? number : arith::ExtFOp::create(*this, getF32Type(), number);
}
Value Emit::roundToBF16(Value number) {
  return toF32(arith::TruncFOp::create(*this, getBF16Type(), number));
}
Value Emit::toIndex(Value integer) {
  return arith::IndexCastOp::create(*this, getIndexType(), integer);
}
Value Emit::toI32(Value index) {
  return arith::IndexCastOp::create(*this, getI32Type(), index);
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

Value Emit::empty(ArrayRef<int64_t> shape, Type element) {
  return tensor::EmptyOp::create(*this, shape, element ? element : getF32Type());
}
Value Emit::fill(Value scalar, Value into) {
  return linalg::FillOp::create(*this, scalar, into).getResult(0);
}

static SmallVector<Value> materialize(Emit &e, ArrayRef<OpFoldResult> indices) {
  return getValueOrCreateConstantIndexOp(e, e.getLoc(), indices);
}
Value Emit::at(Value tensor, ArrayRef<OpFoldResult> indices) {
  return tensor::ExtractOp::create(*this, tensor, materialize(*this, indices));
}
Value Emit::set(Value tensor, Value scalar, ArrayRef<OpFoldResult> indices) {
  return tensor::InsertOp::create(*this, scalar, tensor, materialize(*this, indices));
}

static SmallVector<OpFoldResult> attributes(Emit &e, ArrayRef<int64_t> values, size_t rank) {
  SmallVector<OpFoldResult> result =
      llvm::map_to_vector(values, [&](int64_t v) -> OpFoldResult { return e.getIndexAttr(v); });
  result.resize(rank, e.getIndexAttr(1));
  return result;
}

Value Emit::slice(Value tensor, ArrayRef<OpFoldResult> offsets, ArrayRef<int64_t> sizes, ArrayRef<int64_t> drop,
                  ArrayRef<int64_t> strides) {
  if (sizes == shapeOf(tensor) && drop.empty())
    return tensor;
  SmallVector<int64_t> shape;
  for (auto [dim, size] : llvm::enumerate(sizes))
    if (!llvm::is_contained(drop, static_cast<int64_t>(dim)))
      shape.push_back(size);
  auto type = RankedTensorType::get(shape, tensorType(tensor).getElementType());
  return tensor::ExtractSliceOp::create(*this, type, tensor, offsets, attributes(*this, sizes, sizes.size()),
                                        attributes(*this, strides, sizes.size()));
}
Value Emit::insert(Value part, Value tensor, ArrayRef<OpFoldResult> offsets, ArrayRef<int64_t> sizes,
                   ArrayRef<int64_t> strides) {
  if (part.getType() == tensor.getType())
    return part;
  return tensor::InsertSliceOp::create(*this, part, tensor, offsets, attributes(*this, sizes, sizes.size()),
                                       attributes(*this, strides, sizes.size()));
}

/// Offsets and sizes of one row.
static std::pair<SmallVector<OpFoldResult>, SmallVector<int64_t>> rowAt(Emit &e, Value tensor, OpFoldResult index) {
  SmallVector<OpFoldResult> offsets(tensorType(tensor).getRank(), e.getIndexAttr(0));
  SmallVector<int64_t> sizes(shapeOf(tensor));
  offsets[0] = index;
  sizes[0] = 1;
  return {offsets, sizes};
}
Value Emit::row(Value tensor, OpFoldResult index) {
  auto [offsets, sizes] = rowAt(*this, tensor, index);
  return slice(tensor, offsets, sizes, {0});
}
Value Emit::setRow(Value part, Value tensor, OpFoldResult index) {
  auto [offsets, sizes] = rowAt(*this, tensor, index);
  return insert(part, tensor, offsets, sizes);
}

static SmallVector<int64_t> lastStride(int64_t rank, int64_t stride) {
  SmallVector<int64_t> strides(rank, 1);
  strides.back() = stride;
  return strides;
}
Value Emit::columns(Value tensor, int64_t offset, int64_t size, int64_t stride) {
  SmallVector<OpFoldResult> offsets(tensorType(tensor).getRank(), getIndexAttr(0));
  SmallVector<int64_t> sizes(shapeOf(tensor));
  offsets.back() = getIndexAttr(offset);
  sizes.back() = size;
  return slice(tensor, offsets, sizes, {}, lastStride(sizes.size(), stride));
}
Value Emit::setColumns(Value part, Value tensor, int64_t offset, int64_t stride) {
  SmallVector<OpFoldResult> offsets(tensorType(tensor).getRank(), getIndexAttr(0));
  offsets.back() = getIndexAttr(offset);
  return insert(part, tensor, offsets, shapeOf(part), lastStride(offsets.size(), stride));
}

static SmallVector<ReassociationIndices> lastGroup(int64_t leading, int64_t count) {
  SmallVector<ReassociationIndices> groups;
  for (int64_t i = 0; i < leading; ++i)
    groups.push_back({i});
  groups.emplace_back(llvm::to_vector(llvm::seq(leading, leading + count)));
  return groups;
}
Value Emit::split(Value tensor, ArrayRef<int64_t> sizes) {
  SmallVector<int64_t> shape(shapeOf(tensor).drop_back());
  int64_t leading = shape.size();
  shape.append(sizes.begin(), sizes.end());
  auto type = RankedTensorType::get(shape, tensorType(tensor).getElementType());
  return tensor::ExpandShapeOp::create(*this, type, tensor, lastGroup(leading, sizes.size()));
}
Value Emit::join(Value tensor, unsigned count) {
  return tensor::CollapseShapeOp::create(*this, tensor, lastGroup(tensorType(tensor).getRank() - count, count));
}

Value Emit::copyInto(Value source, Value target) {
  SmallVector<unsigned> loops = llvm::to_vector(llvm::seq<unsigned>(0, tensorType(target).getRank()));
  ArrayRef<unsigned> inner = ArrayRef(loops).take_back(tensorType(source).getRank());
  return generic({{source, SmallVector<unsigned>(inner)}}, {target, loops}, [&](ValueRange a) { return a[0]; });
}
Value Emit::copyRow(Value source, OpFoldResult from, Value target, OpFoldResult to) {
  auto [offsets, sizes] = rowAt(*this, target, to);
  Value part = slice(target, offsets, sizes);
  bool fromBytes = tensorType(source).getElementType().isInteger(8);
  if (fromBytes == tensorType(target).getElementType().isInteger(8))
    return insert(copyInto(row(source, from), part), target, offsets, sizes);
  auto [sourceOffsets, sourceSizes] = rowAt(*this, source, from);
  Value whole = slice(source, sourceOffsets, sourceSizes);
  return insert(fromBytes ? unpackRow(whole, part) : packRow(whole, part), target, offsets, sizes);
}
Value Emit::copyRows(int64_t count, Value source, OpFoldResult from, Value target, OpFoldResult to) {
  auto advance = [&](OpFoldResult first, OpFoldResult i) -> OpFoldResult {
    if (isConstantIntValue(i, 0))
      return first;
    return isConstantIntValue(first, 0) ? i
                                        : add(getValueOrCreateConstantIndexOp(*this, getLoc(), first), cast<Value>(i));
  };
  return repeat(count, target, [&](OpFoldResult i, ValueRange iter) -> SmallVector<Value> {
    return {copyRow(source, advance(from, i), iter[0], advance(to, i))};
  })[0];
}
Value Emit::copyColumns(Value x, Value y, int64_t first, int64_t count) {
  auto part = [&](Value tensor, OpFoldResult row, ArrayRef<int64_t> drop) {
    SmallVector<OpFoldResult> offsets(tensorType(tensor).getRank(), getIndexAttr(0));
    SmallVector<int64_t> sizes(shapeOf(tensor));
    offsets.front() = row, offsets.back() = getIndexAttr(first);
    sizes.front() = 1, sizes.back() = count;
    return std::tuple(slice(tensor, offsets, sizes, drop), offsets, sizes);
  };
  return repeat(sizeOf(x, 0), y, [&](OpFoldResult s, ValueRange iter) -> SmallVector<Value> {
    auto [target, offsets, sizes] = part(iter[0], s, {});
    return {insert(copyInto(std::get<0>(part(x, s, {0})), target), iter[0], offsets, sizes)};
  })[0];
}
Value Emit::widen(Value tensor) {
  if (tensorType(tensor).getElementType().isF32())
    return tensor;
  return map(tensor, empty(shapeOf(tensor)), [&](ValueRange a) { return toF32(a[0]); });
}

Value Emit::narrow(Value tensor) {
  return finish(tensor, empty(shapeOf(tensor), getBF16Type()));
}
Value Emit::finish(Value sums, Value target) {
  if (sums.getType() == target.getType())
    return sums;
  return map(sums, target, [](ValueRange a) { return a[0]; });
}

//===----------------------------------------------------------------------===//
// Loops
//===----------------------------------------------------------------------===//

Value Emit::generic(ArrayRef<Arg> inputs, Arg out, function_ref<Value(ValueRange)> body) {
  unsigned loops = 0;
  SmallVector<Value> operands;
  for (const Arg &arg : llvm::concat<const Arg>(inputs, ArrayRef<Arg>(out)))
    for (unsigned loop : arg.loops)
      loops = std::max(loops, loop + 1);
  SmallVector<AffineMap> maps;
  for (const Arg &arg : llvm::concat<const Arg>(inputs, ArrayRef<Arg>(out)))
    maps.push_back(AffineMap::get(
        loops, 0, llvm::map_to_vector(arg.loops, [&](unsigned loop) { return getAffineDimExpr(loop); }), getContext()));
  SmallVector<utils::IteratorType> iterators(loops, utils::IteratorType::reduction);
  for (unsigned loop : out.loops)
    iterators[loop] = utils::IteratorType::parallel;
  for (const Arg &arg : inputs)
    operands.push_back(arg.value);
  auto op = linalg::GenericOp::create(
      *this, out.value.getType(), operands, out.value, maps, iterators,
      [&](OpBuilder &, Location, ValueRange args) {
        SmallVector<Value> wide;
        for (Value arg : args)
          wide.push_back(arg.getType().isBF16() ? toF32(arg) : arg);
        Value result = body(wide);
        if (args.back().getType().isBF16())
          result = arith::TruncFOp::create(*this, getBF16Type(), result);
        linalg::YieldOp::create(*this, result);
        // An element that the body does not look at must not count as read.
        for (auto [arg, value] : llvm::zip_equal(args, wide))
          if (arg != value && value.use_empty())
            value.getDefiningOp()->erase();
      });
  return op.getResult(0);
}
Value Emit::map(ValueRange inputs, Value out, function_ref<Value(ValueRange)> body) {
  SmallVector<unsigned> loops = llvm::to_vector(llvm::seq<unsigned>(0, tensorType(out).getRank()));
  SmallVector<Arg> args;
  for (Value input : inputs)
    args.push_back({input, loops});
  return generic(args, {out, loops}, body);
}
Value Emit::iteration(unsigned loop) {
  return toI32(linalg::IndexOp::create(*this, loop));
}

SmallVector<Value> Emit::repeat(int64_t count, ValueRange inits,
                                function_ref<SmallVector<Value>(OpFoldResult, ValueRange)> body) {
  if (count == 1)
    return body(getIndexAttr(0), inits);
  return loop(index(0), index(count), 1, inits, [&](Value i, ValueRange values) { return body(i, values); });
}
SmallVector<Value> Emit::loop(Value lower, Value upper, int64_t step, ValueRange inits,
                              function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto op = scf::ForOp::create(
      *this, lower, upper, index(step), inits,
      [&](OpBuilder &, Location, Value i, ValueRange values) { scf::YieldOp::create(*this, body(i, values)); });
  return llvm::to_vector(ValueRange(op.getResults()));
}
SmallVector<Value> Emit::when(Value condition, ValueRange inits, function_ref<SmallVector<Value>(ValueRange)> body) {
  auto op = scf::IfOp::create(
      *this, condition, [&](OpBuilder &, Location) { scf::YieldOp::create(*this, body(inits)); },
      [&](OpBuilder &, Location) { scf::YieldOp::create(*this, inits); });
  return llvm::to_vector(ValueRange(op.getResults()));
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

Value Emit::reduce(ArrayRef<Arg> inputs, Arg out, unsigned k, Value identity, function_ref<Value(Value, Value)> combine,
                   function_ref<Value(ValueRange)> body) {
  auto step = [&](ValueRange args) { return combine(body(args.drop_back()), args.back()); };
  int64_t size = 1;
  for (const Arg &arg : inputs)
    if (!arg.loops.empty() && arg.loops.back() == k)
      size = shapeOf(arg.value).back();
  if (size <= kLanes)
    return generic(inputs, out, step);

  int64_t lanes = largestDivisor(size, kLanes);
  SmallVector<Arg> parts(inputs);
  for (Arg &arg : parts)
    if (!arg.loops.empty() && arg.loops.back() == k) {
      arg.value = split(arg.value, {size / lanes, lanes});
      arg.loops.push_back(k + 1);
    }
  SmallVector<int64_t> shape(shapeOf(out.value));
  shape.push_back(lanes);
  SmallVector<unsigned> loops(out.loops);
  loops.push_back(k + 1);
  Value partial = generic(parts, {filled(shape, identity), loops}, step);

  loops.back() = k;
  return generic({{partial, loops}}, out, [&](ValueRange args) { return combine(args[0], args[1]); });
}
Value Emit::sum(ArrayRef<Arg> inputs, Arg out, unsigned k, function_ref<Value(ValueRange)> body) {
  // A product contracts with the addition that follows it.
  return reduce(
      inputs, out, k, f32(0),
      [&](Value a, Value b) { return arith::AddFOp::create(*this, a, b, arith::FastMathFlags::contract); }, body);
}
Value Emit::maximum(ArrayRef<Arg> inputs, Arg out, unsigned k, function_ref<Value(ValueRange)> body) {
  return reduce(
      inputs, out, k, f32(-std::numeric_limits<float>::infinity()), [&](Value a, Value b) { return max(a, b); }, body);
}
Value Emit::contract(Arg x, Arg w, Arg out, unsigned k) {
  return sum({x, w}, out, k, [&](ValueRange args) {
    return arith::MulFOp::create(*this, args[0], args[1], arith::FastMathFlags::contract);
  });
}
Value Emit::multiplyInto(Arg x, Arg w, Arg lanes) {
  return generic({x, w}, lanes, [&](ValueRange args) { return mulAdd(args[0], args[1], args[2]); });
}
Value Emit::closeLanes(Value lanes, Value out) {
  unsigned rank = tensorType(out).getRank();
  SmallVector<unsigned> loops = llvm::to_vector(llvm::seq(0u, rank)), all = llvm::to_vector(llvm::seq(0u, rank + 1));
  return generic({{lanes, all}}, {out, loops}, [&](ValueRange args) {
    return arith::AddFOp::create(*this, args[0], args[1], arith::FastMathFlags::contract);
  });
}
