// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Rows of a cache, widened into shared memory by the threads of a block.

#include "lowering/nvptx/templates/CacheRows.h"

using namespace mlir;
using namespace mlir::v4;

using Pred = arith::CmpIPredicate;

int64_t v4::tileStride(int64_t width) {
  return llvm::alignTo(width, 4) + 4;
}

Value v4::makeTile(BlockBuilder &b, int64_t rows, int64_t width) {
  return b.shared({rows, tileStride(width)}, b.getF32Type());
}

SmallVector<Value> v4::loadFour(BlockBuilder &b, Value tile, Value row, Value column) {
  SmallVector<Value> numbers;
  Value four = b.loadAligned(tile, {row, column}, 4);
  for (int64_t i = 0; i < 4; ++i)
    numbers.push_back(vector::ExtractOp::create(b, four, i));
  return numbers;
}

SmallVector<Value> v4::loadQuery(BlockBuilder &b, Value query, Value head, Value column) {
  auto type = cast<MemRefType>(query.getType());
  int64_t width = type.getDimSize(2);
  Value zero = b.index(0);
  SmallVector<Value> numbers;
  if (width % 4 == 0 && hasAlignedRows(query, type.getElementTypeBitWidth() / 2)) {
    Value four = b.widen(b.loadAligned(query, {zero, head, column}, 4));
    for (int64_t i = 0; i < 4; ++i)
      numbers.push_back(vector::ExtractOp::create(b, four, i));
    return numbers;
  }
  for (int64_t i = 0; i < 4; ++i)
    numbers.push_back(b.widen(b.load(query, {zero, head, b.min(b.add(column, i), b.index(width - 1))})));
  return numbers;
}

Value CacheRows::read(Value row, Value column, int64_t lanes) {
  auto type = cast<MemRefType>(memory.getType());
  int64_t size = type.getElementTypeBitWidth() / 8, part = std::min(lanes, 16 / size);
  while (part > 1 && !hasAlignedRows(memory, part * size))
    part /= 2;
  if (lanes == 1)
    return vector::FromElementsOp::create(b, VectorType::get({1}, type.getElementType()),
                                          b.load(memory, {row, column}));
  SmallVector<Value> elements;
  for (int64_t i = 0; i < lanes; i += part) {
    Value some = b.loadAligned(memory, {row, b.add(column, i)}, part);
    if (part == lanes)
      return some;
    for (int64_t j = 0; j < part; ++j)
      elements.push_back(vector::ExtractOp::create(b, some, j));
  }
  return vector::FromElementsOp::create(b, VectorType::get({lanes}, type.getElementType()), elements);
}

/// Codes times the scale of their block.
Value CacheRows::codes(const CacheRow &row, Value number, Value column, int64_t lanes) {
  Value place = b.add(b.div(column, row.block()), row.scaleOffset());
  Value exponent = arith::ExtUIOp::create(b, b.getI32Type(), b.load(memory, {number, place}));
  // The code of what is not a number.
  Value invalid = b.compare(Pred::eq, exponent, b.i32(255));
  Value scale = b.bitcast(b.getF32Type(), b.select(invalid, b.i32(0x7fc00000), b.shiftLeft(exponent, 23)));
  scale = b.broadcast(scale, lanes);
  if (row.format == QuantFormat::e4m3) {
    Value bytes = read(number, column, lanes);
    bytes = b.bitcast(VectorType::get({lanes}, b.getType<Float8E4M3FNType>()), bytes);
    return b.mul(arith::ExtFOp::create(b, b.f32s(lanes), bytes), scale);
  }
  SmallVector<Value> nibbles;
  if (lanes == 1) {
    Value byte = vector::ExtractOp::create(b, read(number, b.div(column, 2), 1), 0);
    byte = arith::ExtUIOp::create(b, b.getI32Type(), byte);
    Value isOdd = b.compare(Pred::eq, b.rem(column, 2), b.index(1));
    nibbles.push_back(b.mask(b.select(isOdd, b.shiftRight(byte, 4), byte), 15));
  } else {
    for (Value word : b.dwords(read(number, b.div(column, 2), lanes / 2)))
      for (int64_t i = 0; i < 8; ++i)
        nibbles.push_back(b.mask(b.shiftRight(word, 4 * i), 15));
  }
  return b.mul(b.e2m1(vector::FromElementsOp::create(b, b.i32s(lanes), nibbles)), scale);
}

void CacheRows::put(Value numbers, Value tile, Value to, Value column, int64_t lanes) {
  if (lanes == 1)
    return b.store(vector::ExtractOp::create(b, numbers, 0), tile, {to, column});
  int64_t size = std::min<int64_t>(lanes, 16 * 8 / cast<MemRefType>(tile.getType()).getElementTypeBitWidth());
  bool isAligned = b.isAligned(tile, size);
  for (int64_t i = 0; i < lanes; i += size) {
    Value part = numbers;
    if (size < lanes)
      part = vector::ExtractStridedSliceOp::create(b, numbers, ArrayRef<int64_t>{i}, ArrayRef<int64_t>{size},
                                                   ArrayRef<int64_t>{1});
    b.storeRow(part, tile, {to, b.add(column, i)}, isAligned);
  }
}

void CacheRows::widen(Value row, Value unit, Value tile, Value to) {
  int64_t lanes = CacheRows::unit(width);
  Value column = b.mul(unit, lanes);
  auto present = [&] {
    if (!cast<MemRefType>(memory.getType()).getElementType().isInteger(8))
      return put(b.widen(read(row, column, lanes)), tile, to, column, lanes);
    CacheRow form = *CacheRow::fromBytes(width, cast<MemRefType>(memory.getType()).getDimSize(1));
    auto quantized = [&] { put(codes(form, row, column, lanes), tile, to, column, lanes); };
    if (form.quantized == width)
      return quantized();
    b.when(b.compare(Pred::ult, column, b.index(form.quantized)), quantized, [&] {
      Value first = b.add(b.mul(b.sub(column, b.index(form.quantized)), 2), form.codeBytes());
      Value numbers =
          vector::BitCastOp::create(b, VectorType::get({lanes}, b.getBF16Type()), read(row, first, 2 * lanes));
      put(b.widen(numbers), tile, to, column, lanes);
    });
  };
  if (width % 4 == 0)
    return present();
  b.when(b.compare(Pred::ult, column, b.index(width)), present, [&] { b.store(b.f32(0), tile, {to, column}); });
}
