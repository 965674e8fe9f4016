// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-rotate-pairs: the vector form of v4.rope.

#include "lowering/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_ROTATEPAIRSPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

namespace {
struct RotatePairsPass : v4::impl::RotatePairsPassBase<RotatePairsPass> {
  void runOnOperation() override {
    SmallVector<RopeOp> ops;
    getOperation()->walk([&](RopeOp op) { ops.push_back(op); });
    for (RopeOp op : ops)
      rewrite(op);
  }

private:
  static void rewrite(RopeOp op) {
    ImplicitLocOpBuilder b(op.getLoc(), op);
    auto type = op.getInput().getType();
    int64_t columns = type.getShape().back(), half = op.getTable().getType().getDimSize(2), first = columns - 2 * half;
    int64_t heads = type.getRank() == 3 ? type.getDimSize(1) : 1;
    auto index = [&](int64_t value) -> Value { return arith::ConstantIndexOp::create(b, value); };
    Value y = tensor::EmptyOp::create(b, type.getShape(), type.getElementType());
    if (first > 0) {
      SmallVector<OpFoldResult> offsets(type.getRank(), b.getIndexAttr(0)), sizes,
          strides(type.getRank(), b.getIndexAttr(1));
      for (int64_t size : type.getShape())
        sizes.push_back(b.getIndexAttr(size));
      sizes.back() = b.getIndexAttr(first);
      Value still = tensor::ExtractSliceOp::create(b, op.getInput(), offsets, sizes, strides);
      y = tensor::InsertSliceOp::create(b, still, y, offsets, sizes, strides);
    }
    // One row and head at a time: its pairs are one vector, split into first and second components and joined again.
    auto loop = scf::ForOp::create(b, index(0), index(type.getDimSize(0) * heads), index(1), y,
                                   [](OpBuilder &, Location, Value, ValueRange) {});
    b.setInsertionPointToStart(loop.getBody());
    Value row = loop.getInductionVar(), head;
    if (type.getRank() == 3) {
      head = arith::RemUIOp::create(b, row, index(heads));
      row = arith::DivUIOp::create(b, row, index(heads));
    }
    SmallVector<Value> place = {row};
    if (head)
      place.push_back(head);
    place.push_back(index(first));
    auto pairsType = VectorType::get({2 * half}, type.getElementType()),
         halfType = VectorType::get({half}, b.getF32Type());
    bool wide = type.getElementType().isF32();
    auto read = [&](Value source, ValueRange indices, VectorType vector) -> Value {
      return vector::TransferReadOp::create(b, vector, source, indices, std::nullopt, ArrayRef<bool>{true});
    };
    Value input = read(op.getInput(), place, pairsType);
    if (!wide)
      input = arith::ExtFOp::create(b, pairsType.clone(b.getF32Type()), input);
    auto split = vector::DeinterleaveOp::create(b, input);
    Value cos = read(op.getTable(), {row, index(0), index(0)}, halfType),
          sin = read(op.getTable(), {row, index(1), index(0)}, halfType);
    auto mul = [&](Value x, Value by) -> Value { return arith::MulFOp::create(b, x, by); };
    Value a = split.getRes1(), c = split.getRes2(), newA, newC;
    if (op.getInverse()) {
      newA = arith::AddFOp::create(b, mul(a, cos), mul(c, sin));
      newC = arith::SubFOp::create(b, mul(c, cos), mul(a, sin));
    } else {
      newA = arith::SubFOp::create(b, mul(a, cos), mul(c, sin));
      newC = arith::AddFOp::create(b, mul(c, cos), mul(a, sin));
    }
    Value pairs = vector::InterleaveOp::create(b, newA, newC);
    if (!wide)
      pairs = arith::TruncFOp::create(b, pairsType, pairs);
    Value written =
        vector::TransferWriteOp::create(b, pairs, loop.getRegionIterArgs()[0], place, ArrayRef<bool>{true}).getResult();
    scf::YieldOp::create(b, written);
    op.replaceAllUsesWith(loop.getResult(0));
    op.erase();
  }
};
} // namespace
