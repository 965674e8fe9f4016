// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Decompositions of the quantisers, and packed rows of caches (CacheRow).

#include "dialects/V4Emit.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace mlir::v4;

using Results = FailureOr<SmallVector<Value>>;

/// 0, 1, .., count - 1.
static SmallVector<unsigned> loops(unsigned count) {
  return llvm::to_vector(llvm::seq(0u, count));
}

/// Exponent bits of the power-of-two scale of a block (spec 7.1); 255 where the maximum is infinite or not a number.
static Value scaleBits(Emit &e, Value largest, QuantFormat format) {
  bool byte = format == QuantFormat::e4m3;
  Value floor = e.f32(byte ? 1e-4f : 6 * 0x1p-126f);
  Value ratio = e.mul(e.max(largest, floor), e.f32(byte ? 1.0f / 448 : 1.0f / 6));
  Value bits = e.shiftRight(e.add(e.bitsOf(ratio), e.i32(0x7fffff)), 23);
  return e.min(bits, e.i32(255));
}

/// 1 / scale, exact; not a number for 255.
static Value inverseScale(Emit &e, Value bits) {
  Value inverse = e.shiftLeft(e.sub(e.i32(254), bits), 23);
  Value invalid = arith::CmpIOp::create(e, arith::CmpIPredicate::eq, bits, e.i32(255));
  return e.numberOf(e.select(invalid, e.i32(0x7fc00000), inverse));
}

/// |x| rounded to the format, and its code, where |x| is already clamped. Numbers below the smallest normal one are
/// rounded by an addition whose result has the format's smallest step as its last bit.
static std::pair<Value, Value> roundMagnitude(Emit &e, Value magnitude, QuantFormat format) {
  bool byte = format == QuantFormat::e4m3;
  int64_t drop = byte ? 20 : 22, bias = byte ? 120 << 3 : 126 << 1;
  double smallest = byte ? 0x1p-6 : 1, shifter = byte ? 0x1p14 : 0x1p22;
  Value bits = e.bitsOf(magnitude), odd = e.bitAnd(e.shiftRight(bits, drop), 1);
  Value rounded = e.shiftRight(e.add(e.add(bits, e.i32((1 << (drop - 1)) - 1)), odd), drop);
  Value normal = e.numberOf(e.shiftLeft(rounded, drop)), normalCode = e.sub(rounded, e.i32(bias));
  Value shift = e.f32(shifter), shifted = e.add(magnitude, shift);
  Value small = e.sub(shifted, shift), smallCode = e.sub(e.bitsOf(shifted), e.bitsOf(shift));
  Value isSmall = e.less(magnitude, e.f32(smallest));
  return {e.select(isSmall, small, normal), e.select(isSmall, smallCode, normalCode)};
}

/// The exponent bits of the scales of blocks [.., block].
static Value scaleBitsOf(Emit &e, Value blocks, QuantFormat format) {
  unsigned last = tensorType(blocks).getRank() - 1;
  Value zero = e.filled(shapeOf(blocks).drop_back(), e.f32(0));
  Value largest = e.maximum({{blocks, loops(last + 1)}}, {zero, loops(last)}, last,
                            [&](ValueRange args) -> Value { return math::AbsFOp::create(e, args[0]); });
  return e.map(largest, e.empty(shapeOf(largest), e.getI32Type()),
               [&](ValueRange args) { return scaleBits(e, args[0], format); });
}

/// The blocks of x [.., D] as [.., D/block, block], and the exponent bits of their scales.
static std::pair<Value, Value> scaleBlocks(Emit &e, Value x, int64_t block, QuantFormat format) {
  Value blocks = e.split(x, {shapeOf(x).back() / block, block});
  return {blocks, scaleBitsOf(e, blocks, format)};
}

/// x / scale, clamped: sign bit and magnitude.
static std::pair<Value, Value> scaled(Emit &e, Value x, Value bits, QuantFormat format) {
  Value ratio = e.mul(x, inverseScale(e, bits));
  Value sign = e.bitAnd(e.bitsOf(ratio), 0x80000000);
  Value limit = e.f32(format == QuantFormat::e4m3 ? 448 : 6);
  return {sign, e.min(math::AbsFOp::create(e, ratio), limit)};
}

static Value isNumber(Emit &e, Value x) {
  return arith::CmpFOp::create(e, arith::CmpFPredicate::ORD, x, x);
}

/// The code of a number, as i32, for the scale of the given exponent bits.
static Value codeOf(Emit &e, Value x, Value bits, QuantFormat format) {
  auto [sign, magnitude] = scaled(e, x, bits, format);
  Value code = roundMagnitude(e, magnitude, format).second;
  if (format == QuantFormat::e4m3)
    code = e.select(isNumber(e, magnitude), code, e.i32(0x7f));
  else
    code = e.bitAnd(code, 7);
  return arith::OrIOp::create(e, code, e.shiftRight(sign, format == QuantFormat::e4m3 ? 24 : 28));
}

/// A number as the format holds it, for the scale of the given exponent bits.
static Value roundTrip(Emit &e, Value x, Value bits, QuantFormat format) {
  auto [sign, magnitude] = scaled(e, x, bits, format);
  Value rounded = roundMagnitude(e, magnitude, format).first;
  Value value = e.numberOf(arith::OrIOp::create(e, e.bitsOf(rounded), sign));
  Value result = e.mul(value, e.numberOf(e.shiftLeft(bits, 23)));
  return e.select(isNumber(e, magnitude), result, magnitude);
}

Value v4::buildScaleBits(const ImplicitLocOpBuilder &builder, Value largest, QuantFormat format) {
  Emit e(builder);
  return scaleBits(e, largest, format);
}

Value v4::buildCode(const ImplicitLocOpBuilder &builder, Value number, Value bits, QuantFormat format) {
  Emit e(builder);
  return codeOf(e, number, bits, format);
}

Value v4::buildRoundTrip(const ImplicitLocOpBuilder &builder, Value number, Value bits, QuantFormat format) {
  Emit e(builder);
  return roundTrip(e, number, bits, format);
}

static Value toByte(Emit &e, Value integer) {
  return arith::TruncIOp::create(e, e.getI8Type(), integer);
}

/// Codes of blocks [.., count, block] for the exponent bits [.., count] of their scales, into bytes [.., count, block]
/// or, two to a byte, [.., count, block/2].
static Value encode(Emit &e, Value blocks, Value bits, QuantFormat format, Value bytes) {
  unsigned rank = tensorType(blocks).getRank();
  int64_t width = shapeOf(blocks).back();
  if (format == QuantFormat::e4m3)
    return e.generic({{blocks, loops(rank)}, {bits, loops(rank - 1)}}, {bytes, loops(rank)},
                     [&](ValueRange args) { return toByte(e, codeOf(e, args[0], args[1], format)); });
  return e.generic({{e.columns(blocks, 0, width / 2, 2), loops(rank)},
                    {e.columns(blocks, 1, width / 2, 2), loops(rank)},
                    {bits, loops(rank - 1)}},
                   {bytes, loops(rank)}, [&](ValueRange args) {
                     Value high = e.shiftLeft(codeOf(e, args[1], args[2], format), 4);
                     return toByte(e, arith::OrIOp::create(e, codeOf(e, args[0], args[2], format), high));
                   });
}

Results QuantizeOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  QuantFormat format = getFormat();
  int64_t rows = sizeOf(getInput(), 0), count = sizeOf(getScale(), 1), block = getBlock();
  auto [blocks, bits] = scaleBlocks(e, getInput(), block, format);
  Type scaleType = getScale().getType().getElementType(), codeType = getCodes().getType().getElementType();
  Value scale = e.map(bits, e.empty(shapeOf(getScale()), scaleType), [&](ValueRange args) -> Value {
    return arith::BitcastOp::create(e, scaleType, toByte(e, args[0]));
  });
  if (format == QuantFormat::e2m1) {
    Value codes = encode(e, blocks, bits, format, e.empty({rows, count, block / 2}, codeType));
    return SmallVector<Value>{e.join(codes, 2), scale};
  }
  Value codes = e.generic({{blocks, {0, 1, 2}}, {bits, {0, 1}}}, {e.empty(shapeOf(blocks), codeType), {0, 1, 2}},
                          [&](ValueRange args) -> Value {
                            Value code = toByte(e, codeOf(e, args[0], args[1], format));
                            return arith::BitcastOp::create(e, codeType, code);
                          });
  return SmallVector<Value>{e.join(codes, 2), scale};
}

Results DequantizeOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  int64_t count = sizeOf(getScale(), 1), width = sizeOf(getResult(), 1);
  Value scale = e.widen(getScale());
  bool nibbles = getCodes().getType().getElementType().isInteger(8);
  Value codes = e.split(getCodes(), {count, sizeOf(getCodes(), 1) / count});
  Value y = e.empty({sizeOf(codes, 0), count, width / count}, getResult().getType().getElementType());
  for (int64_t odd = 0; odd < (nibbles ? 2 : 1); ++odd) {
    Value target = nibbles ? e.columns(y, odd, width / count / 2, 2) : y;
    target = e.generic({{codes, {0, 1, 2}}, {scale, {0, 1}}}, {target, {0, 1, 2}}, [&](ValueRange args) {
      return e.mul(nibbles ? nibbleToF32(e, args[0], odd) : e.toF32(args[0]), args[1]);
    });
    y = nibbles ? e.setColumns(target, y, odd, 2) : target;
  }
  return SmallVector<Value>{e.join(y, 2)};
}

Results RoundTripOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  QuantFormat format = getFormat();
  Value x = getInput(), y = e.emptyLike(getResult());
  unsigned last = tensorType(x).getRank() - 1;
  int64_t width = shapeOf(x).back(), columns = getColumns(), block = getBlock(), whole = columns / block;
  if (columns < width)
    y = e.copyColumns(x, y, columns, width - columns);
  // Block by block, in the place of the result: a view of it as blocks would not be seen to be that place.
  auto round = [&](OpFoldResult first, int64_t size, Value y) {
    SmallVector<OpFoldResult> offsets(last + 1, e.getIndexAttr(0));
    SmallVector<int64_t> sizes(shapeOf(x));
    offsets.back() = first, sizes.back() = size;
    Value part = e.slice(x, offsets, sizes), bits = scaleBitsOf(e, part, format);
    Value target = e.generic({{part, loops(last + 1)}, {bits, loops(last)}},
                             {e.slice(y, offsets, sizes), loops(last + 1)}, [&](ValueRange args) {
                               return roundTrip(e, args[0], args[1], format);
                             });
    return e.insert(target, y, offsets, sizes);
  };
  if (whole)
    y = e.repeat(whole, y, [&](OpFoldResult i, ValueRange iter) -> SmallVector<Value> {
      OpFoldResult first = e.getIndexAttr(0);
      if (auto value = dyn_cast<Value>(i))
        first = e.mul(value, e.index(block));
      return {round(first, block, iter[0])};
    })[0];
  if (int64_t rest = columns % block)
    y = round(e.getIndexAttr(columns - rest), rest, y);
  return SmallVector<Value>{y};
}

//===----------------------------------------------------------------------===//
// Packed rows
//===----------------------------------------------------------------------===//

std::optional<CacheRow> CacheRow::fromBytes(int64_t columns, int64_t bytes) {
  CacheRow row{columns, columns, QuantFormat::e2m1};
  if (columns > 0 && columns % row.block() == 0 && row.bytes() == bytes)
    return row;
  row.format = QuantFormat::e4m3;
  for (row.quantized = row.block(); row.quantized <= columns; row.quantized += row.block())
    if (row.bytes() == bytes)
      return row;
  return std::nullopt;
}

Value Emit::packRow(Value numbers, Value bytes) {
  Emit &e = *this;
  CacheRow row = *CacheRow::fromBytes(shapeOf(numbers).back(), shapeOf(bytes).back());
  int64_t plain = row.columns - row.quantized;
  auto [blocks, bits] = scaleBlocks(e, columns(numbers, 0, row.quantized), row.block(), row.format);
  Value codes = split(columns(bytes, 0, row.codeBytes()), {row.blocks(), row.codeBytes() / row.blocks()});
  bytes = setColumns(join(encode(e, blocks, bits, row.format, codes), 2), bytes, 0);
  Value scales =
      map(bits, columns(bytes, row.scaleOffset(), row.blocks()), [&](ValueRange a) { return toByte(e, a[0]); });
  bytes = setColumns(scales, bytes, row.scaleOffset());
  for (int64_t high = 0; high < (plain ? 2 : 0); ++high) {
    int64_t first = row.codeBytes() + high;
    Value part = map(columns(numbers, row.quantized, plain), columns(bytes, first, plain, 2), [&](ValueRange a) {
      return toByte(e, shiftRight(bitsOf(roundToBF16(a[0])), 16 + 8 * high));
    });
    bytes = setColumns(part, bytes, first, 2);
  }
  return bytes;
}

Value Emit::unpackRow(Value bytes, Value numbers) {
  Emit &e = *this;
  CacheRow row = *CacheRow::fromBytes(shapeOf(numbers).back(), shapeOf(bytes).back());
  int64_t plain = row.columns - row.quantized, count = row.blocks();
  auto wide = [&](Value byte) -> Value { return arith::ExtUIOp::create(e, getI32Type(), byte); };
  Value codes = split(columns(bytes, 0, row.codeBytes()), {count, row.codeBytes() / count});
  Value scales = map(columns(bytes, row.scaleOffset(), count), empty({1, count}), [&](ValueRange a) {
    Value bits = wide(a[0]);
    Value invalid = arith::CmpIOp::create(e, arith::CmpIPredicate::eq, bits, i32(255));
    return numberOf(select(invalid, i32(0x7fc00000), shiftLeft(bits, 23)));
  });
  bool nibbles = row.format == QuantFormat::e2m1;
  for (int64_t odd = 0; odd < (nibbles ? 2 : 1); ++odd) {
    int64_t stride = nibbles ? 2 : 1, width = row.quantized / stride;
    Value target = split(columns(numbers, odd, width, stride), {count, width / count});
    target = generic({{codes, {0, 1, 2}}, {scales, {0, 1}}}, {target, {0, 1, 2}}, [&](ValueRange a) -> Value {
      if (nibbles)
        return mul(nibbleToF32(e, a[0], odd), a[1]);
      return mul(toF32(arith::BitcastOp::create(e, getType<Float8E4M3FNType>(), a[0])), a[1]);
    });
    numbers = setColumns(join(target, 2), numbers, odd, stride);
  }
  if (!plain)
    return numbers;
  Value low = columns(bytes, row.codeBytes(), plain, 2), high = columns(bytes, row.codeBytes() + 1, plain, 2);
  Value rest = map({low, high}, columns(numbers, row.quantized, plain), [&](ValueRange a) {
    return numberOf(arith::OrIOp::create(e, shiftLeft(wide(a[1]), 24), shiftLeft(wide(a[0]), 16)));
  });
  return setColumns(rest, numbers, row.quantized);
}
