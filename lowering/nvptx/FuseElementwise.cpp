// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-fuse-elementwise: elementwise linalg ops into the only op that reads them.

#include "lowering/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Math/IR/Math.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_FUSEELEMENTWISEPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;

/// Whether to compute an element of `producer` once more costs next to nothing: conversions, products and bits.
static bool isCheap(linalg::GenericOp producer) {
  return !producer.getBody()
              ->walk([](Operation *op) {
                bool isCostly =
                    isa<math::MathDialect>(op->getDialect()) || isa<arith::DivFOp>(op) || op->getNumRegions() > 0;
                return isCostly ? WalkResult::interrupt() : WalkResult::advance();
              })
              .wasInterrupted();
}

/// Whether a fusion leaves every element of the producer to be computed once, or cheaply.
static bool isWorthwhile(OpOperand &operand) {
  auto producer = operand.get().getDefiningOp<linalg::GenericOp>();
  auto consumer = cast<linalg::GenericOp>(operand.getOwner());
  if (!producer || !producer->hasOneUse() || producer->getBlock() != consumer->getBlock() ||
      consumer.isDpsInit(&operand))
    return false;
  return consumer.getMatchingIndexingMap(&operand).isPermutation() || isCheap(producer);
}

namespace {
struct FuseElementwisePass : v4::impl::FuseElementwisePassBase<FuseElementwisePass> {
  void runOnOperation() override {
    SmallVector<linalg::GenericOp> ops;
    getOperation()->walk([&](linalg::GenericOp op) { ops.push_back(op); });
    IRRewriter rewriter(&getContext());
    // Producers stand in front of their consumers, and are fused into them with what was fused into them before.
    for (linalg::GenericOp &op : ops)
      fuseInto(rewriter, op);
  }

private:
  static void fuseInto(RewriterBase &rewriter, linalg::GenericOp op) {
    while (true) {
      auto operand = llvm::find_if(op->getOpOperands(), [](OpOperand &operand) {
        return isWorthwhile(operand) && linalg::areElementwiseOpsFusable(&operand);
      });
      if (operand == op->getOpOperands().end())
        return;
      Operation *producer = operand->get().getDefiningOp();
      rewriter.setInsertionPoint(op);
      FailureOr<linalg::ElementwiseOpFusionResult> fused = linalg::fuseElementwiseOps(rewriter, &*operand);
      if (failed(fused))
        return;
      rewriter.replaceOp(op, fused->fusedOp->getResults().take_back(op->getNumResults()));
      rewriter.eraseOp(producer);
      op = cast<linalg::GenericOp>(fused->fusedOp);
    }
  }
};
} // namespace
