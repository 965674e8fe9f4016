// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Weights in the layout rows16 as the lanes of a warp read them.

#include "lowering/nvptx/templates/BlockWeight.h"

using namespace mlir;
using namespace mlir::v4;

using Pred = arith::CmpIPredicate;

BlockWeight::BlockWeight(BlockBuilder &b, Value weight, Value scale) : b(b), scales(scale) {
  auto type = cast<MemRefType>(weight.getType());
  format = PackedWeight::formatOf(type);
  groups = type.getDimSize(0);
  lines = type.getDimSize(1);
  perLine = PackedWeight::perLine(format);
  view = memref::CollapseShapeOp::create(b, weight, ArrayRef<ReassociationIndices>{{0}, {1}, {2, 3}});
  g = b.div(b.lane(), 4);
  t = b.rem(b.lane(), 4);
  quad = b.rem(g, 4);
  groupInPair = b.div(g, 4);
}

void BlockWeight::setPair(Value pair) {
  group = b.add(b.mul(pair, 2), groupInPair);
  if (groups % 2)
    group = b.min(group, b.index(groups - 1));
}

Value BlockWeight::resultRow(int64_t row) {
  return b.add(b.add(b.mul(groupInPair, kPackedRows), b.mul(quad, 4)), row);
}

SmallVector<Value> BlockWeight::loadLine(Value line) {
  int64_t elements = cast<MemRefType>(view.getType()).getDimSize(2) / 4;
  return b.dwords(b.loadAligned(view, {group, line, b.mul(quad, elements)}, elements));
}

SmallVector<Value> BlockWeight::load(Value tile, bool isWhole) {
  SmallVector<Value> loaded;
  int64_t count = linesPerLane();
  Value first = b.add(b.mul(tile, 4 * count), b.mul(t, count));
  for (int64_t i = 0; i < count; ++i) {
    Value line = b.add(first, i);
    if (isWhole) {
      llvm::append_range(loaded, loadLine(line));
      continue;
    }
    Value exists = b.compare(Pred::ult, line, b.index(lines));
    for (Value dword : loadLine(b.min(line, b.index(lines - 1))))
      loaded.push_back(b.zeroIfNot(exists, dword));
  }
  return loaded;
}

Value BlockWeight::loadScales(Value block) {
  if (!scales)
    return {};
  if (format == Format::E2M1)
    return b.dwords(b.loadAligned(scales, {group, block, b.mul(quad, 4)}, 4))[0];
  // One for all rows of the group.
  Value code = b.load(scales, {b.div(group, kByteBlock / kPackedRows), block});
  return arith::ExtUIOp::create(b, b.getI32Type(), b.bitcast(b.getI8Type(), code));
}

SmallVector<Value> BlockWeight::scalesOf(Value codes) {
  if (!scales)
    return {};
  if (format == Format::E4M3) {
    Value code = arith::TruncIOp::create(b, b.getI8Type(), codes);
    Value number = arith::ExtFOp::create(b, b.getF32Type(), b.bitcast(b.getType<Float8E8M0FNUType>(), code));
    return SmallVector<Value>(4, number);
  }
  SmallVector<Value> numbers;
  for (int64_t row = 0; row < 4; ++row) {
    int64_t up = 23 - 8 * row;
    Value moved = up < 0 ? b.shiftRight(codes, -up) : b.shiftLeft(codes, up);
    numbers.push_back(b.bitcast(b.getF32Type(), b.mask(moved, 0x7f800000)));
  }
  return numbers;
}

SmallVector<Value> BlockWeight::scalePairsOf(Value codes) {
  SmallVector<Value> pairs;
  for (int64_t row = 0; row < (format == Format::E2M1 ? 4 : 1); ++row) {
    // The exponent of a bf16 number, in both halves.
    Value code = row == 3 ? b.shiftRight(codes, 24) : b.mask(b.shiftRight(codes, 8 * row), 255);
    pairs.push_back(b.mul(code, b.i32(0x00800080)));
  }
  pairs.resize(4, pairs[0]);
  return pairs;
}

/// Numbers of a dword as pairs of bf16, two numbers of K to a register: E4M3 (0, 1) and (2, 3); E2M1 (0, 4), (1, 5),
/// (2, 6) and (3, 7), which takes the fewest instructions. Times 2^-120 and 2^-126: the bits of the code are moved,
/// subnormal codes become subnormal numbers.
SmallVector<Value> BlockWeight::pairsOf(Value dword) {
  if (format == Format::E4M3) {
    SmallVector<Value> pairs;
    auto bytes = VectorType::get({4}, b.getI8Type());
    Value codes = LLVM::BitcastOp::create(b, bytes, dword), zero = LLVM::ZeroOp::create(b, bytes);
    for (int32_t first : {0, 2}) {
      // A code in the upper byte of either half.
      Value pair = LLVM::ShuffleVectorOp::create(b, codes, zero, ArrayRef<int32_t>{4, first, 4, first + 1});
      pair = LLVM::BitcastOp::create(b, b.getI32Type(), pair);
      pairs.push_back(b.bitOr(b.mask(pair, 0x80008000), b.mask(b.shiftRight(pair, 4), 0x07f007f0)));
    }
    return pairs;
  }
  SmallVector<Value> pairs;
  for (Value half : {dword, b.shiftRight(dword, 8)})
    for (int64_t nibble : {0, 1}) {
      // One product moves the sign to bit 15 and the magnitude to bits 8 .. 6 of either half; the copies do not meet.
      Value codes = b.mask(half, 0x000f000f << (4 * nibble));
      pairs.push_back(b.mask(b.mul(codes, b.i32(0x1040 >> (4 * nibble))), 0x81c081c0));
    }
  return pairs;
}

SmallVector<SmallVector<Value>> BlockWeight::multiplicands(ArrayRef<Value> loaded) {
  auto pair = VectorType::get({2}, b.getBF16Type());
  // 1. By row, the lane's four registers of the tile.
  SmallVector<SmallVector<Value>> rows(4);
  for (int64_t row = 0; row < 4; ++row)
    for (int64_t i = 0; i < linesPerLane(); ++i) {
      Value dword = loaded[4 * i + row];
      if (format == Format::BF16) {
        rows[row].push_back(dword);
        continue;
      }
      Value power = b.splat(pair, format == Format::E4M3 ? 0x1p120 : 0x1p126);
      for (Value numbers : pairsOf(dword))
        rows[row].push_back(
            LLVM::BitcastOp::create(b, b.getI32Type(), b.mul(LLVM::BitcastOp::create(b, pair, numbers), power)));
    }
  // 2. Rows 0 and 1 are rows g and g + 8 of one product, rows 2 and 3 of another.
  SmallVector<SmallVector<Value>> result;
  for (int64_t half : {0, 1})
    for (int64_t step : {0, 1}) {
      ArrayRef<Value> upper = ArrayRef(rows[2 * half]).slice(2 * step, 2),
                      lower = ArrayRef(rows[2 * half + 1]).slice(2 * step, 2);
      result.push_back({upper[0], lower[0], upper[1], lower[1]});
    }
  return result;
}

void BlockWeight::scale(SmallVector<SmallVector<Value>> &multiplicands, ArrayRef<Value> scalePairs) {
  auto pair = VectorType::get({2}, b.getBF16Type());
  for (auto [i, registers] : llvm::enumerate(multiplicands))
    for (auto [j, numbers] : llvm::enumerate(registers)) {
      Value factor = LLVM::BitcastOp::create(b, pair, scalePairs[2 * (i / 2) + j % 2]);
      numbers = LLVM::BitcastOp::create(b, b.getI32Type(), b.mul(LLVM::BitcastOp::create(b, pair, numbers), factor));
    }
}

SmallVector<SmallVector<Value>> BlockWeight::follow(Value x) {
  // Which numbers of eight the pairs of `multiplicands` hold.
  if (format == Format::E2M1)
    x = LLVM::ShuffleVectorOp::create(b, x, x, ArrayRef<int32_t>{0, 4, 1, 5, 2, 6, 3, 7});
  SmallVector<Value> words = b.dwords(x);
  return {{words[0], words[1]}, {words[2], words[3]}};
}

SmallVector<SmallVector<Value>> BlockWeight::widen(ArrayRef<Value> dwords) {
  SmallVector<SmallVector<Value>> rows(4);
  Type f32 = b.getF32Type();
  for (auto [row, dword] : llvm::enumerate(dwords)) {
    auto push = [&](Value bits) { rows[row].push_back(b.bitcast(f32, bits)); };
    switch (format) {
    case Format::F32:
      push(dword);
      break;
    case Format::BF16:
      push(b.shiftLeft(dword, 16));
      push(b.mask(dword, 0xffff0000));
      break;
    case Format::E4M3:
    case Format::E2M1: {
      // Sign and magnitude of the code in their places: the number times 2^-120 or 2^-126, which a product corrects.
      bool isByte = format == Format::E4M3;
      int64_t width = isByte ? 8 : 4, fraction = isByte ? 20 : 22;
      uint32_t magnitude = isByte ? 0x7f : 7;
      for (int64_t i = 0; i < perLine; ++i) {
        Value sign = b.mask(b.shiftLeft(dword, 32 - width * (i + 1)), 0x80000000);
        Value bits = b.shiftLeft(b.mask(b.shiftRight(dword, width * i), magnitude), fraction);
        rows[row].push_back(b.mul(b.bitcast(f32, b.bitOr(sign, bits)), b.f32(isByte ? 0x1p120 : 0x1p126)));
      }
      break;
    }
    }
  }
  return rows;
}
