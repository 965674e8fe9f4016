// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Templates of GPUs `append_rows` (v4.window_append and v4.cache_append) and `window_context`.
//
// A warp has a row. Eight lanes have a block of a packed row: its largest magnitude is three exchanges away, and every
// lane writes its codes at once.

#include "lowering/nvptx/templates/Rows.h"

#include "lowering/nvptx/templates/CacheRows.h"
#include "lowering/templates/Templates.h"

using namespace mlir;
using namespace mlir::v4;

using Pred = arith::CmpIPredicate;

/// Threads of a block that appends many rows.
constexpr int64_t kManyThreads = 512;

bool v4::selectBlockAppend(Operation *tile, const GpuTarget &target) {
  if (!isa<WindowAppendOp, CacheAppendOp>(tile))
    return false;
  bool isCache = isa<CacheAppendOp>(tile);
  Value rows = tile->getOperand(0), state = cast<TileInterface>(tile).getTiedOperand(0)->get();
  if (cast<RankedTensorType>(state.getType()).getRank() != 2)
    return false;
  ImplicitLocOpBuilder b(tile->getLoc(), tile);
  Value where = isCache ? cast<CacheAppendOp>(tile).getPositions() : cast<WindowAppendOp>(tile).getSpan();
  auto kernel = KernelOp::create(b, tile->getResultTypes(), "append_rows", ValueRange{rows, where}, ValueRange{state});
  // A phase of few rows may have other ops.
  int64_t warps = cast<RankedTensorType>(rows.getType()).getDimSize(0);
  setThreads(kernel, warps * kWarp <= kBlockThreads ? kBlockThreads : kManyThreads);
  if (isCache)
    kernel->setAttr("ratio", tile->getAttr("ratio"));
  tile->replaceAllUsesWith(kernel);
  tile->erase();
  return true;
}

/// Numbers of row `from` of `rows` as codes with scales, and bf16, into row `to` of `bytes`.
static void packRow(BlockBuilder &b, Value rows, Value from, Value bytes, Value to) {
  CacheRow form = *CacheRow::fromBytes(typeOf(rows).getDimSize(1), typeOf(bytes).getDimSize(1));
  int64_t lanes = form.block() / kScaleLanes, blocks = kWarp / kScaleLanes;
  int64_t size = form.format == QuantFormat::e4m3 ? lanes : lanes / 2;
  bool rowsAligned = b.isAligned(rows, lanes), bytesAligned = b.isAligned(bytes, size);
  Value place = b.rem(b.lane(), kScaleLanes);
  for (int64_t first = 0; first < form.blocks(); first += blocks) {
    Value block = b.add(b.div(b.lane(), kScaleLanes), first),
          isThere = b.compare(Pred::ult, block, b.index(form.blocks()));
    block = b.min(block, b.index(form.blocks() - 1));
    Value column = b.add(b.mul(block, form.block()), b.mul(place, lanes));
    Value numbers = b.widen(b.loadRow(rows, {from, column}, lanes, rowsAligned));
    SmallVector<Value> codes;
    for (int64_t i = 0; i < lanes; ++i)
      codes.push_back(vector::ExtractOp::create(b, numbers, i));
    Value scale = buildScaleBits(b, largestOfLanes(b, codes), form.format);
    SmallVector<Value> packed;
    for (Value &code : codes)
      code = buildCode(b, code, scale, form.format);
    for (int64_t i = 0; i < size; ++i) {
      Value byte = size == lanes ? codes[i] : b.bitOr(codes[2 * i], b.shiftLeft(codes[2 * i + 1], 4));
      packed.push_back(arith::TruncIOp::create(b, b.getI8Type(), byte));
    }
    Value vector = vector::FromElementsOp::create(b, VectorType::get({size}, b.getI8Type()), packed);
    Value at = b.add(b.mul(block, form.block() * size / lanes), b.mul(place, size));
    b.when(isThere, [&] {
      b.storeRow(vector, bytes, {to, at}, bytesAligned);
      b.when(b.compare(Pred::eq, place, b.index(0)), [&] {
        b.store(arith::TruncIOp::create(b, b.getI8Type(), scale), bytes, {to, b.add(block, form.scaleOffset())});
      });
    });
  }
  // The other columns.
  bool pairsAligned = b.isAligned(bytes, 2);
  b.loop(b.lane(), b.index(form.columns - form.quantized), kWarp, [&](Value column) {
    Value number = b.load(rows, {from, b.add(column, form.quantized)});
    if (!number.getType().isBF16())
      number = arith::TruncFOp::create(b, b.getBF16Type(), number);
    Value one = vector::FromElementsOp::create(b, VectorType::get({1}, b.getBF16Type()), number);
    Value pair = vector::BitCastOp::create(b, VectorType::get({2}, b.getI8Type()), one);
    b.storeRow(pair, bytes, {to, b.add(b.mul(column, 2), form.codeBytes())}, pairsAligned);
  });
}

/// inputs: rows [E, c], positions [E] with attribute `ratio`, else span [2]; output: the cache or ring [N, c], or its
/// packed form, which is updated.
LogicalResult v4::expandBlockAppend(KernelOp op, const GpuTarget &target) {
  if (failed(verifyOperands(op, 2, 1)))
    return failure();
  Value rows = op.getInputs()[0], where = op.getInputs()[1], state = op.getOutputs()[0];
  int64_t count = typeOf(rows).getDimSize(0), width = typeOf(rows).getDimSize(1);
  bool isPacked = typeOf(state).getElementType().isInteger(8);
  if (isPacked ? !CacheRow::fromBytes(width, typeOf(state).getDimSize(1)) : typeOf(state).getDimSize(1) != width)
    return op.emitOpError() << "expected rows for " << width << " columns, found " << typeOf(state).getDimSize(1);
  BlockBuilder b(op);
  auto append = [&](Value from, Value to) {
    if (isPacked)
      return packRow(b, rows, from, state, to);
    CacheRows source(b, rows, width);
    b.loop(b.lane(), b.index(width / CacheRows::unit(width)), kWarp,
           [&](Value unit) { source.widen(from, unit, state, to); });
  };
  if (op->hasAttr("ratio")) {
    b.loop(b.warp(), b.index(count), b.warps(), [&](Value row) {
      Value position = b.load(where, row);
      b.when(b.compare(Pred::sge, position, b.i32(0)),
             [&] { append(row, b.toIndex(b.div(position, b.attribute("ratio")))); });
    });
    return success();
  }
  int64_t window = typeOf(state).getDimSize(0);
  Value start = b.toIndex(b.load(where, b.index(0)));
  Value length = b.toIndex(arith::MaxSIOp::create(b, b.load(where, b.index(1)), b.i32(0)));
  length = b.min(length, b.index(count));
  // Rows that later ones of the call replace are left out.
  Value first =
      b.sub(b.select(b.compare(Pred::ugt, length, b.index(window)), length, b.index(window)), b.index(window));
  b.loop(b.add(first, b.warp()), length, b.warps(), [&](Value row) { append(row, b.rem(b.add(start, row), window)); });
  return success();
}

/// inputs: rows of the call [S, c], ring [w, c] or its packed form, span [2], number of the first row; output: rows
/// from that one on of what stands in the window before the call, then of the call [R, c].
LogicalResult v4::expandBlockContext(KernelOp op, const GpuTarget &target) {
  if (failed(verifyBlockKernel(op, 4, 1)))
    return failure();
  BlockBuilder b(op);
  Value rows = op.getInputs()[0], ring = op.getInputs()[1], out = op.getOutputs()[0];
  int64_t width = typeOf(rows).getDimSize(1), window = typeOf(ring).getDimSize(0),
          units = width / CacheRows::unit(width);
  CacheRows ofCall(b, rows, width), ofRing(b, ring, width);
  Value start = b.toIndex(b.load(op.getInputs()[2], b.index(0)));
  b.forThreads(b.index(typeOf(out).getDimSize(0) * units), [&](Value i) {
    Value to = b.div(i, units), unit = b.rem(i, units), row = b.add(op.getInputs()[3], to);
    // The oldest position, start - w, is in the same place as start.
    b.when(
        b.compare(Pred::ult, row, b.index(window)),
        [&] { ofRing.widen(b.rem(b.add(start, row), window), unit, out, to); },
        [&] { ofCall.widen(b.sub(row, b.index(window)), unit, out, to); });
  });
  return success();
}
