// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Templates of GPUs `rms_norm` and `round_trip`: rows that stay in registers between their reduction and what follows.
//
// One row is shared by the block, several are one for each warp. Both have the threads of their phase, in which other
// ops may be.

#include "lowering/nvptx/templates/Rows.h"

#include "lowering/templates/Templates.h"

using namespace mlir;
using namespace mlir::v4;

using Pred = arith::CmpIPredicate;

/// Most elements of a row that a thread holds; elements of a block of `round_trip` in a lane.
constexpr int64_t kHeld = 64, kMaxLane = 16;

//===----------------------------------------------------------------------===//
// rms_norm
//===----------------------------------------------------------------------===//

/// Turns of `threads` threads over a row of `type`.
static int64_t turnsOf(ShapedType type, int64_t threads) {
  return llvm::divideCeil(type.getShape().back() / rowLanes(type), threads);
}

static bool fitsRegisters(ShapedType type, int64_t blockThreads) {
  return turnsOf(type, rowsOf(type) == 1 ? blockThreads : kWarp) * rowLanes(type) <= kHeld;
}

bool v4::selectBlockNorm(Operation *tile, const GpuTarget &target) {
  auto op = dyn_cast<RmsNormOp>(tile);
  if (!op || op.getRounded() || !fitsRegisters(op.getInput().getType(), kBlockThreads))
    return false;
  KernelOp kernel = replaceByKernel(op, "rms_norm");
  kernel->setAttr("eps", op.getEpsAttr());
  op.erase();
  return true;
}

/// inputs: x [.., width] and, if there is one, weight [width]; output [.., width]. Attribute `eps`.
LogicalResult v4::expandBlockNorm(KernelOp op, const GpuTarget &target) {
  OperandRange inputs = op.getInputs();
  if (failed(verifyOperands(op, inputs.size() == 1 ? 1 : 2, 1)))
    return failure();
  BlockBuilder b(op);
  Value x = inputs[0], weight = inputs.size() == 2 ? inputs[1] : Value(), y = op.getOutputs()[0];
  MemRefType type = typeOf(x);
  if (!fitsRegisters(type, b.threads()))
    return op.emitOpError() << "expected at most " << kHeld << " elements of a row in a thread, found rows of "
                            << type.getShape().back();
  int64_t rows = rowsOf(type), width = type.getShape().back(), lanes = rowLanes(type);
  int64_t group = rows == 1 ? b.threads() : kWarp, turns = turnsOf(type, group), units = width / lanes;
  bool xAligned = b.isAligned(x, lanes), yAligned = b.isAligned(y, lanes);
  bool weightAligned = weight && b.isAligned(weight, lanes);
  Value member = rows == 1 ? b.thread() : b.lane();
  auto norm = [&](Value row, function_ref<Value(Value)> total) {
    SmallVector<Value> numbers, isThere, columns;
    for (int64_t turn = 0; turn < turns; ++turn) {
      Value unit = b.add(member, turn * group);
      bool isWhole = (turn + 1) * group <= units;
      isThere.push_back(isWhole ? Value() : b.compare(Pred::ult, unit, b.index(units)));
      columns.push_back(b.mul(isWhole ? unit : b.min(unit, b.index(units - 1)), lanes));
      numbers.push_back(b.loadRow(x, placeOf(b, type, row, columns.back()), lanes, xAligned));
    }
    Value sum = b.f32(0);
    for (auto [number, is] : llvm::zip_equal(numbers, isThere)) {
      number = b.widen(number);
      if (is)
        number = b.zeroIfNot(is, number);
      for (int64_t i = 0; i < lanes; ++i) {
        Value element = vector::ExtractOp::create(b, number, i);
        sum = b.fma(element, element, sum);
      }
    }
    Value mean = b.div(total(sum), b.f32(width));
    Value scale = b.div(b.f32(1), math::SqrtOp::create(b, b.add(mean, b.f32(b.number("eps")))));
    for (auto [number, is, column] : llvm::zip_equal(numbers, isThere, columns)) {
      auto put = [&, number = number, column = column] {
        Value result = b.mul(number, b.broadcast(scale, lanes));
        if (weight)
          result = b.mul(b.widen(b.loadRow(weight, column, lanes, weightAligned)), result);
        b.storeRow(result, y, placeOf(b, type, row, column), yAligned);
      };
      is ? b.when(is, put) : put();
    }
  };
  if (rows > 1) {
    b.loop(b.warp(), b.index(rows), b.warps(),
           [&](Value row) { norm(row, [&](Value sum) { return b.warpSum(sum); }); });
    return success();
  }
  Value parts = b.shared({b.warps()}, b.getF32Type()), zero = b.index(0);
  norm(zero, [&](Value sum) {
    sum = b.warpSum(sum);
    b.when(b.compare(Pred::eq, b.lane(), zero), [&] { b.store(sum, parts, b.warp()); });
    b.barrier();
    Value total = b.load(parts, zero);
    for (int64_t warp = 1; warp < b.warps(); ++warp)
      total = b.add(total, b.load(parts, b.index(warp)));
    return total;
  });
  return success();
}

//===----------------------------------------------------------------------===//
// round_trip
//===----------------------------------------------------------------------===//

/// Whether eight lanes share whole blocks.
static bool isShared(int64_t block, int64_t columns) {
  return block % kScaleLanes == 0 && block / kScaleLanes <= kMaxLane && columns % block == 0;
}

bool v4::selectBlockRoundTrip(Operation *tile, const GpuTarget &target) {
  auto op = dyn_cast<RoundTripOp>(tile);
  if (!op || !isShared(op.getBlock(), op.getColumns()))
    return false;
  KernelOp kernel = replaceByKernel(op, "round_trip");
  kernel->setAttr("format", op.getFormatAttr());
  kernel->setAttr("block", op.getBlockAttr());
  kernel->setAttr("columns", op.getColumnsAttr());
  op.erase();
  return true;
}

/// input, output: [.., width]. Attributes of v4.round_trip.
LogicalResult v4::expandBlockRoundTrip(KernelOp op, const GpuTarget &target) {
  if (failed(verifyOperands(op, 1, 1)))
    return failure();
  BlockBuilder b(op);
  Value x = op.getInputs()[0], y = op.getOutputs()[0];
  MemRefType type = typeOf(x);
  int64_t block = b.attribute("block"), columns = b.attribute("columns"), width = type.getShape().back();
  if (!isShared(block, columns) || columns > width)
    return op.emitOpError() << "expected whole blocks of a multiple of " << kScaleLanes << ", found " << columns
                            << " columns of " << width << " in blocks of " << block;
  QuantFormat format = cast<QuantFormatAttr>(op->getAttr("format")).getValue();
  int64_t lanes = block / kScaleLanes, blocks = columns / block, count = rowsOf(type) * blocks;
  int64_t ofWarp = kWarp / kScaleLanes;
  bool xAligned = b.isAligned(x, lanes), yAligned = b.isAligned(y, lanes);
  b.loop(b.warp(), b.index(llvm::divideCeil(count, ofWarp)), b.warps(), [&](Value set) {
    Value number = b.add(b.mul(set, ofWarp), b.div(b.lane(), kScaleLanes));
    Value isThere = b.compare(Pred::ult, number, b.index(count));
    number = b.min(number, b.index(count - 1));
    Value column = b.add(b.mul(b.rem(number, blocks), block), b.mul(b.rem(b.lane(), kScaleLanes), lanes));
    SmallVector<Value> at = placeOf(b, type, b.div(number, blocks), column), elements;
    Value vector = b.widen(b.loadRow(x, at, lanes, xAligned));
    for (int64_t i = 0; i < lanes; ++i)
      elements.push_back(vector::ExtractOp::create(b, vector, i));
    Value scale = buildScaleBits(b, largestOfLanes(b, elements), format);
    for (Value &element : elements)
      element = buildRoundTrip(b, element, scale, format);
    b.when(isThere, [&] { b.storeRow(vector::FromElementsOp::create(b, b.f32s(lanes), elements), y, at, yAligned); });
  });
  // The other columns.
  if (int64_t rest = width - columns)
    b.forThreads(b.index(rowsOf(type) * rest), [&](Value i) {
      SmallVector<Value> at = placeOf(b, type, b.div(i, rest), b.add(b.rem(i, rest), columns));
      b.store(b.widen(b.load(x, at)), y, at);
    });
  return success();
}
