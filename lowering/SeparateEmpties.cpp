// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-separate-empties: every use of a tensor.empty gets one of its own.

#include "lowering/Passes.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_SEPARATEEMPTIESPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;

namespace {
struct SeparateEmptiesPass : v4::impl::SeparateEmptiesPassBase<SeparateEmptiesPass> {
  void runOnOperation() override {
    SmallVector<tensor::EmptyOp> empties;
    getOperation()->walk([&](tensor::EmptyOp op) { empties.push_back(op); });
    for (tensor::EmptyOp op : empties) {
      OpBuilder b(op);
      for (OpOperand &use : llvm::make_early_inc_range(llvm::drop_begin(op->getUses(), op.use_empty() ? 0 : 1)))
        use.set(b.clone(*op)->getResult(0));
    }
  }
};
} // namespace
