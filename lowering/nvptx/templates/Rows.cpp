// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the templates of one row share.

#include "lowering/nvptx/templates/Rows.h"

#include "lowering/templates/Templates.h"

#include <numeric>

using namespace mlir;
using namespace mlir::v4;

/// Heads of a tile: several share the keys that a block reads, and yet one row occupies several blocks.
constexpr int64_t kTileHeads = 8;

std::optional<SmallVector<int64_t>> v4::rowTileSizes(TileInterface op, const GpuTarget &target) {
  auto attention = dyn_cast<SparseAttentionOp>(op.getOperation());
  if (!attention || attention.getRounded())
    return std::nullopt;
  return SmallVector<int64_t>{1, largestDivisor(op.getLoopSizes()[1], kTileHeads)};
}

int64_t v4::rowLanes(ShapedType type) {
  return std::gcd<int64_t>(type.getShape().back(), 8 * kWideBytes / type.getElementTypeBitWidth());
}

int64_t v4::rowsOf(ShapedType type) {
  return ShapedType::getNumElements(type.getShape().drop_back());
}

SmallVector<Value> v4::placeOf(BlockBuilder &b, ShapedType type, Value row, Value column) {
  ArrayRef<int64_t> shape = type.getShape();
  SmallVector<Value> at(shape.size());
  at.back() = column;
  for (int64_t dim = shape.size() - 2; dim >= 0; --dim) {
    at[dim] = dim ? b.rem(row, shape[dim]) : row;
    row = dim ? b.div(row, shape[dim]) : row;
  }
  return at;
}

Value v4::largestOfLanes(BlockBuilder &b, ArrayRef<Value> numbers) {
  Value largest = b.f32(0);
  for (Value number : numbers)
    largest = arith::MaximumFOp::create(b, largest, math::AbsFOp::create(b, number));
  for (int64_t mask = 1; mask < kScaleLanes; mask *= 2)
    largest = arith::MaximumFOp::create(b, largest, b.shuffleXor(largest, mask));
  return largest;
}

LogicalResult v4::verifyOperands(KernelOp op, unsigned inputs, unsigned outputs) {
  if (op.getInputs().size() != inputs || op.getOutputs().size() != outputs)
    return op.emitOpError() << "expected " << inputs << " inputs and " << outputs << " outputs, found "
                            << op.getInputs().size() << " and " << op.getOutputs().size();
  return success();
}

LogicalResult v4::verifyBlockKernel(KernelOp op, unsigned inputs, unsigned outputs, int64_t count) {
  if (failed(verifyOperands(op, inputs, outputs)))
    return failure();
  auto threads = op->getAttrOfType<IntegerAttr>("threads");
  if (!threads || threads.getInt() != count)
    return op.emitOpError() << "expected blocks of " << count << " threads, found "
                            << (threads ? threads.getInt() : kBlockThreads);
  return success();
}

LogicalResult v4::verifyRowKernel(KernelOp op, unsigned inputs, unsigned outputs) {
  if (failed(verifyBlockKernel(op, inputs, outputs)))
    return failure();
  for (Value output : op.getOutputs())
    if (int64_t rows = cast<MemRefType>(output.getType()).getDimSize(0); rows != 1)
      return op.emitOpError() << "expected one row, found " << rows;
  return success();
}
