// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Template `rope` of GPUs: v4.rope with both numbers of a pair in the registers of a thread, 16 bytes at a time.

#include "lowering/nvptx/templates/Rows.h"

#include "lowering/templates/Templates.h"

#include <numeric>

using namespace mlir;
using namespace mlir::v4;

bool v4::selectBlockRope(Operation *tile, const GpuTarget &target) {
  auto op = dyn_cast<RopeOp>(tile);
  if (!op)
    return false;
  KernelOp kernel = replaceByKernel(op, "rope");
  if (op.getInverse())
    kernel->setAttr("inverse", op.getInverseAttr());
  op.erase();
  return true;
}

/// inputs: x [S, .., width], table [S, 2, half]; output as x. Attribute `inverse` of v4.rope.
LogicalResult v4::expandBlockRope(KernelOp op, const GpuTarget &target) {
  if (failed(verifyOperands(op, 2, 1)))
    return failure();
  Value x = op.getInputs()[0], table = op.getInputs()[1], y = op.getOutputs()[0];
  MemRefType type = typeOf(x);
  ArrayRef<int64_t> angles = typeOf(table).getShape();
  int64_t width = type.getShape().back();
  if (angles.size() != 3 || angles[0] != type.getDimSize(0) || angles[1] != 2 || 2 * angles[2] > width)
    return op.emitOpError() << "expected cosines and sines [" << type.getDimSize(0) << ", 2, half] of at most "
                            << width / 2 << " pairs, found " << typeOf(table);
  BlockBuilder b(op);
  int64_t columns = 2 * angles[2], first = width - columns, rows = rowsOf(type), heads = rows / angles[0];
  int64_t wide = 8 * kWideBytes / type.getElementTypeBitWidth();
  // The columns in front of the pairs.
  if (first) {
    int64_t lanes = std::gcd(first, wide), units = first / lanes;
    bool xAligned = b.isAligned(x, lanes), yAligned = b.isAligned(y, lanes);
    b.forThreads(rows * units, [&](Value i) {
      SmallVector<Value> at = placeOf(b, type, b.div(i, units), b.mul(b.rem(i, units), lanes));
      b.storeRow(b.loadRow(x, at, lanes, xAligned), y, at, yAligned);
    });
  }
  int64_t lanes = std::gcd(columns, wide), units = columns / lanes;
  bool isWhole = first % lanes == 0, xAligned = isWhole && b.isAligned(x, lanes),
       yAligned = isWhole && b.isAligned(y, lanes), tableAligned = b.isAligned(table, lanes / 2);
  b.forThreads(rows * units, [&](Value i) {
    Value row = b.div(i, units), unit = b.rem(i, units), angle = b.mul(unit, lanes / 2);
    SmallVector<Value> at = placeOf(b, type, row, b.add(b.mul(unit, lanes), first)), turned;
    Value numbers = b.widen(b.loadRow(x, at, lanes, xAligned)), token = b.div(row, heads);
    Value cosines = b.loadRow(table, {token, b.index(0), angle}, lanes / 2, tableAligned);
    Value sines = b.loadRow(table, {token, b.index(1), angle}, lanes / 2, tableAligned);
    for (int64_t pair = 0; pair < lanes / 2; ++pair) {
      auto extract = [&](Value vector, int64_t lane) -> Value { return vector::ExtractOp::create(b, vector, lane); };
      Value even = extract(numbers, 2 * pair), odd = extract(numbers, 2 * pair + 1);
      Value cosine = extract(cosines, pair), sine = extract(sines, pair);
      // Products and sums are rounded one by one, as in the definition.
      Value a = b.mul(even, cosine), c = b.mul(odd, sine), d = b.mul(odd, cosine), e = b.mul(even, sine);
      bool isInverse = op->hasAttr("inverse");
      turned.push_back(isInverse ? b.add(a, c) : b.sub(a, c));
      turned.push_back(isInverse ? b.sub(d, e) : b.add(d, e));
    }
    b.storeRow(vector::FromElementsOp::create(b, b.f32s(lanes), turned), y, at, yAligned);
  });
  return success();
}
