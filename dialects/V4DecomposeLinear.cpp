// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Decompositions of the products with stored weights.

#include "dialects/V4Emit.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::v4;

/// Value of an E2M1 code (bit 3 = sign; 0, .5, 1, 1.5, 2, 3, 4, 6) held in the low bits of an i32. Subnormal f32
/// numbers would be slow, hence integer operations: codes from 2 on are a shifted exponent and mantissa, 1 is 0.5, 0 is
/// 0.
static Value e2m1ToF32(Emit &e, Value code) {
  Value magnitude = e.bitAnd(code, 7);
  Value normal = e.shiftLeft(e.add(magnitude, e.i32(252)), 22);
  Value small = e.mul(magnitude, e.i32(0x3f000000));
  Value bits = e.select(e.less(magnitude, e.i32(2)), small, normal);
  Value sign = e.shiftLeft(e.bitAnd(code, 8), 28);
  return e.numberOf(arith::OrIOp::create(e, bits, sign));
}

Value v4::nibbleToF32(Emit &e, Value byte, bool high) {
  Value code = arith::ExtUIOp::create(e, e.getI32Type(), byte);
  return e2m1ToF32(e, high ? e.shiftRight(code, 4) : code);
}

/// Products of columns of x [M, columns] and w [N, columns] added to out [M, N]. `columns` is cut into blocks that
/// share a scale (`scale [blocks]`, or `[N, blocks]`, or none), each of them into lanes; `element` widens a stored
/// number.
static Value addColumns(Emit &e, Value x, Value weight, Value scale, int64_t block, Value out,
                        function_ref<Value(Value)> element) {
  int64_t width = sizeOf(weight, 1), blocks = width / block, lanes = largestDivisor(block, kLanes);
  SmallVector<int64_t> view = {blocks, block / lanes, lanes};
  Value w = e.split(weight, view), a = e.split(x, view);
  // Loops of the widening: n, block, step, lane. A scaled weight has one more operand.
  if (scale) {
    SmallVector<unsigned> scaleLoops = {0, 1};
    if (tensorType(scale).getRank() == 1)
      scaleLoops = {1};
    w = e.generic({{w, {0, 1, 2, 3}}, {e.widen(scale), scaleLoops}}, {e.empty(shapeOf(w)), {0, 1, 2, 3}},
                  [&](ValueRange args) { return e.mul(element(args[0]), args[1]); });
  } else if (!tensorType(w).getElementType().isF32()) {
    w = e.map(w, e.empty(shapeOf(w)), [&](ValueRange args) { return element(args[0]); });
  }
  // Loops of the product: m, n, block, step, lane.
  Value sums = e.filled({sizeOf(x, 0), sizeOf(weight, 0), lanes}, e.f32(0));
  sums = e.multiplyInto({a, {0, 2, 3, 4}}, {w, {1, 2, 3, 4}}, {sums, {0, 1, 4}});
  return e.closeLanes(sums, out);
}

/// `addColumns` over whole blocks, then over the rest, a shorter block.
static Value addBlocks(Emit &e, Value x, Value weight, Value scale, int64_t block, Value out,
                       function_ref<Value(Value)> element) {
  int64_t width = sizeOf(weight, 1), whole = width / block;
  if (whole)
    out = addColumns(e, e.columns(x, 0, whole * block), e.columns(weight, 0, whole * block), e.columns(scale, 0, whole),
                     block, out, element);
  if (int64_t rest = width % block)
    out = addColumns(e, e.columns(x, whole * block, rest), e.columns(weight, whole * block, rest),
                     e.columns(scale, whole, 1), rest, out, element);
  return out;
}

/// out += x times rows of a packed weight [D, 16, e] (one group), over the dwords from `first` on.
static Value addDwords(Emit &e, ArrayRef<Value> x, Value weight, OpFoldResult first, int64_t count, Value out) {
  int64_t rows = sizeOf(out, 0), elements = sizeOf(weight, 2);
  OpFoldResult zero = e.getIndexAttr(0);
  Value w = e.slice(weight, {first, zero, zero}, {count, kPackedRows, elements});
  for (auto [odd, part] : llvm::enumerate(x)) {
    Value a = e.slice(e.split(part, {sizeOf(weight, 0), elements}), {zero, first, zero}, {rows, count, elements});
    bool nibbles = x.size() == 2;
    // Loops: m, dword, element, lane.
    out = e.generic({{a, {0, 1, 2}}, {w, {1, 3, 2}}}, {out, {0, 3}}, [&](ValueRange args) {
      return e.mulAdd(args[0], nibbles ? nibbleToF32(e, args[1], odd) : e.toF32(args[1]), args[2]);
    });
  }
  return out;
}

/// The product with one group of 16 rows: the blocks that share a scale are summed up on their own.
static Value packedGroup(Emit &e, ArrayRef<Value> x, Value weight, Value scale, OpFoldResult scaleRow, Value out) {
  int64_t rows = sizeOf(out, 0), dwords = sizeOf(weight, 0);
  out = e.fill(e.f32(0), out);
  if (!scale)
    return addDwords(e, x, weight, e.getIndexAttr(0), dwords, out);
  bool nibbles = x.size() == 2;
  int64_t block = nibbles ? kNibbleBlock / 2 / kPackedBytes : kByteBlock / kPackedBytes;
  auto add = [&](OpFoldResult b, OpFoldResult first, int64_t count, Value out) {
    Value sums = addDwords(e, x, weight, first, count, e.filled({rows, kPackedRows}, e.f32(0)));
    Arg factor;
    if (nibbles)
      factor = {e.row(scale, b), {1}};
    else
      factor = {e.slice(scale, {scaleRow, b}, {1, 1}, {0, 1}), {}};
    return e.generic({{sums, {0, 1}}, factor}, {out, {0, 1}},
                     [&](ValueRange args) { return e.mulAdd(args[0], e.toF32(args[1]), args[2]); });
  };
  int64_t whole = dwords / block;
  if (whole)
    out = e.repeat(whole, out, [&](OpFoldResult b, ValueRange y) -> SmallVector<Value> {
      OpFoldResult first = e.getIndexAttr(0);
      if (auto value = dyn_cast<Value>(b))
        first = e.mul(value, e.index(block));
      return {add(b, first, block, y[0])};
    })[0];
  if (int64_t rest = dwords % block)
    out = add(e.getIndexAttr(whole), e.getIndexAttr(whole * block), rest, out);
  return out;
}

/// out [M, N] = x times a packed weight [N/16, D, 16, e].
static Value packedLinear(Emit &e, ArrayRef<Value> x, Value weight, Value scale, Value out) {
  int64_t rows = sizeOf(out, 0);
  OpFoldResult zero = e.getIndexAttr(0);
  return e.repeat(sizeOf(weight, 0), out, [&](OpFoldResult g, ValueRange y) -> SmallVector<Value> {
    OpFoldResult first = zero, scaleRow = zero;
    if (auto value = dyn_cast<Value>(g)) {
      first = e.mul(value, e.index(kPackedRows));
      scaleRow = e.div(value, e.index(kByteBlock / kPackedRows));
    }
    Value part = scale;
    if (scale && tensorType(scale).getRank() == 3)
      part = e.row(scale, g);
    Value target = e.slice(y[0], {zero, first}, {rows, kPackedRows});
    target = packedGroup(e, x, e.row(weight, g), part, scaleRow, target);
    return {e.insert(target, y[0], {zero, first}, {rows, kPackedRows})};
  })[0];
}

Value Emit::linear(ArrayRef<Value> x, Value weight, Value scale, Value out) {
  Type stored = tensorType(weight).getElementType();
  if (isPackedWeight(weight, 0))
    return packedLinear(*this, x, weight, scale, out);
  out = fill(f32(0), out);
  if (stored.isInteger(8)) {
    for (bool odd : {false, true})
      out = addBlocks(*this, x[odd], weight, scale, kNibbleBlock / 2, out,
                      [&](Value byte) { return nibbleToF32(*this, byte, odd); });
    return out;
  }
  auto element = [&](Value number) { return toF32(number); };
  if (!scale)
    return addColumns(*this, x[0], weight, {}, sizeOf(weight, 1), out, element);

  // A scale row serves 128 weight rows.
  int64_t rows = sizeOf(x[0], 0), inner = sizeOf(weight, 1), whole = sizeOf(weight, 0) / kByteBlock;
  auto block = [&](OpFoldResult scaleRow, OpFoldResult first, int64_t count, Value y) {
    Value part = slice(weight, {first, getIndexAttr(0)}, {count, inner});
    Value target = slice(y, {getIndexAttr(0), first}, {rows, count});
    target = addBlocks(*this, x[0], part, row(scale, scaleRow), kByteBlock, target, element);
    return insert(target, y, {getIndexAttr(0), first}, {rows, count});
  };
  if (whole)
    out = repeat(whole, out, [&](OpFoldResult i, ValueRange y) -> SmallVector<Value> {
      OpFoldResult first = getIndexAttr(0);
      if (auto value = dyn_cast<Value>(i))
        first = mul(value, index(kByteBlock));
      return {block(i, first, kByteBlock, y[0])};
    })[0];
  if (int64_t rest = sizeOf(weight, 0) % kByteBlock)
    out = block(getIndexAttr(whole), getIndexAttr(whole * kByteBlock), rest, out);
  return out;
}

/// The activations in the form that `Emit::linear` wants for the storage format.
static SmallVector<Value> activations(Emit &e, Value x, Value weight) {
  if (!tensorType(weight).getElementType().isInteger(8))
    return {x};
  int64_t half = sizeOf(x, 1) / 2;
  SmallVector<Value> parts;
  OpFoldResult zero = e.getIndexAttr(0);
  for (int64_t odd : {0, 1})
    parts.push_back(e.copyRows(sizeOf(x, 0), e.columns(x, odd, half, 2), zero, e.empty({sizeOf(x, 0), half}), zero));
  return parts;
}

/// y = x times a stored weight. The even and the odd columns of x are copied for fp4: those of some rows at a time,
/// which a workgroup's stack has room for.
static Value linearRows(Emit &e, Value x, Value weight, Value scale, Value y) {
  constexpr int64_t kMostActivations = 128 * 1024;
  int64_t rows = sizeOf(x, 0), inner = sizeOf(x, 1), outer = sizeOf(y, 1), block = rows;
  if (tensorType(weight).getElementType().isInteger(8))
    block = std::clamp<int64_t>(kMostActivations / (4 * inner), 1, rows);
  auto part = [&](OpFoldResult first, int64_t count, Value y) {
    OpFoldResult zero = e.getIndexAttr(0);
    Value source = e.slice(x, {first, zero}, {count, inner}), target = e.slice(y, {first, zero}, {count, outer});
    target = e.finish(e.linear(activations(e, source, weight), weight, scale, e.accumulator(target)), target);
    return e.insert(target, y, {first, zero}, {count, outer});
  };
  y = e.repeat(rows / block, y, [&](OpFoldResult i, ValueRange iter) -> SmallVector<Value> {
    auto number = dyn_cast<Value>(i);
    return {part(number ? OpFoldResult(e.mul(number, e.index(block))) : i, block, iter[0])};
  })[0];
  if (int64_t rest = rows % block)
    y = part(e.getIndexAttr(rows - rest), rest, y);
  return y;
}

FailureOr<SmallVector<Value>> LinearOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  Value y = e.emptyLike(getResult());
  if (tensorType(getInput()).getRank() == 2)
    return SmallVector<Value>{linearRows(e, getInput(), getWeight(), getScale(), y)};

  int64_t rows = sizeOf(getInput(), 0), inner = sizeOf(getInput(), 2), outer = sizeOf(getResult(), 2);
  return e.repeat(sizeOf(getWeight(), 0), y, [&](OpFoldResult g, ValueRange iter) -> SmallVector<Value> {
    OpFoldResult zero = e.getIndexAttr(0);
    Value x = e.slice(getInput(), {zero, g, zero}, {rows, 1, inner}, {1});
    Value weight = e.row(getWeight(), g);
    Value scale = getScale() ? e.row(getScale(), g) : Value();
    Value part = e.slice(iter[0], {zero, g, zero}, {rows, 1, outer}, {1});
    part = linearRows(e, x, weight, scale, part);
    return {e.insert(part, iter[0], {zero, g, zero}, {rows, 1, outer})};
  });
}

/// Pair rows per product: at least 4, so that a weight is read once for several tokens; no more than fill the
/// registers, than keep the gathered activations within 128 KiB, or than a few times what an expert gets on average.
/// One for a call of one token, whose experts differ; where tokens are not listed, few pairs are taken for those of one
/// token.
static int64_t pairBlock(GroupedLinearOp op) {
  int64_t pairs = sizeOf(op.getResult(), 0), inner = sizeOf(op.getInput(), 1), experts = sizeOf(op.getWeight(), 0);
  constexpr int64_t kMostOfOneToken = 8;
  int64_t tokens = op.getRows() ? sizeOf(op.getInput(), 0) : pairs <= kMostOfOneToken ? 1 : pairs;
  int64_t rows = 16, average = (pairs + experts - 1) / experts;
  while (rows > 4 && (rows * inner * 4 > 128 * 1024 || rows > 4 * average))
    rows /= 2;
  return std::min({rows, tokens, pairs});
}

FailureOr<SmallVector<Value>> GroupedLinearOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  int64_t outer = sizeOf(getResult(), 1), inner = sizeOf(getInput(), 1);
  int64_t block = pairBlock(*this);
  bool nibbles = getWeight().getType().getElementType().isInteger(8);

  Value last = e.index(sizeOf(getInput(), 0) - 1), zero = e.index(0), one = e.index(1);
  return e.repeat(sizeOf(getExperts(), 0), e.emptyLike(getResult()), [&](OpFoldResult a, ValueRange iter) {
    Value expert = e.toIndex(e.at(getExperts(), a));
    Value active = arith::CmpIOp::create(e, arith::CmpIPredicate::sge, expert, zero);
    return e.when(active, iter, [&](ValueRange iter) {
      Value weight = e.row(getWeight(), expert);
      Value scale = getScale() ? e.row(getScale(), expert) : Value();
      Value next = isa<Value>(a) ? e.add(cast<Value>(a), one) : one;
      Value begin = e.toIndex(e.at(getOffsets(), a)), end = e.toIndex(e.at(getOffsets(), next));
      return e.loop(begin, end, block, iter, [&](Value first, ValueRange iter) -> SmallVector<Value> {
        // Rows of the block past the expert's last pair repeat that pair; they are not stored.
        SmallVector<Value> x(nibbles ? 2 : 1, e.empty({block, nibbles ? inner / 2 : inner}));
        if (nibbles)
          x[1] = e.empty({block, inner / 2});
        x = e.repeat(block, x, [&](OpFoldResult m, ValueRange x) {
          Value pair = isa<Value>(m) ? e.min(e.add(first, cast<Value>(m)), e.sub(end, one)) : first;
          Value source = getRows() ? e.toIndex(e.at(getRows(), pair)) : pair;
          source = e.clamp(source, zero, last);
          SmallVector<Value> gathered;
          for (auto [odd, target] : llvm::enumerate(x)) {
            int64_t width = sizeOf(target, 1), stride = nibbles ? 2 : 1;
            gathered.push_back(e.copyRow(e.columns(getInput(), odd, width, stride), source, target, m));
          }
          return gathered;
        });
        Value y = e.linear(x, weight, scale, e.empty({block, outer}));
        if (block == 1)
          return {e.copyRow(y, e.getIndexAttr(0), iter[0], first)};
        Value count = e.min(e.index(block), e.sub(end, first));
        return e.loop(zero, count, 1, iter, [&](Value m, ValueRange iter) -> SmallVector<Value> {
          return {e.copyRow(y, m, iter[0], e.add(first, m))};
        });
      });
    });
  });
}
