// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-thread-destinations: results are built where they belong.

#include "lowering/Passes.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_THREADDESTINATIONSPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

/// The operand that holds the `tensor.empty` in which `value` is built, step by step, or null.
static OpOperand *findRoot(Value value) {
  auto result = dyn_cast<OpResult>(value);
  if (!result)
    return nullptr;
  Operation *op = result.getOwner();
  OpOperand *step = nullptr;
  if (auto dps = dyn_cast<DestinationStyleOpInterface>(op))
    step = dps.getTiedOpOperand(result);
  else if (auto loop = dyn_cast<scf::ForOp>(op))
    step = &loop.getInitArgsMutable()[result.getResultNumber()];
  else if (auto insert = dyn_cast<tensor::InsertSliceOp>(op))
    step = &insert.getDestMutable();
  else if (auto insert = dyn_cast<tensor::InsertOp>(op))
    step = &insert.getDestMutable();
  if (!step)
    return nullptr;
  if (step->get().getDefiningOp<tensor::EmptyOp>())
    return step;
  // A value in between that something else reads must survive the steps behind it.
  return step->get().hasOneUse() ? findRoot(step->get()) : nullptr;
}

namespace {
struct ThreadDestinationsPass : v4::impl::ThreadDestinationsPassBase<ThreadDestinationsPass> {
  void runOnOperation() override {
    getOperation()->walk([&](bufferization::MaterializeInDestinationOp op) {
      OpOperand *root = findRoot(op.getSource());
      if (!root || root->get().getType() != op.getDest().getType())
        return;
      root->set(op.getDest());
      op.getResult().replaceAllUsesWith(op.getSource());
      op.erase();
    });
  }
};
} // namespace
