// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-thread-destinations: results are built where they belong.

#include "lowering/Passes.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_THREADDESTINATIONSPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

/// Whether an op copies its input: canonicalization replaces it by the input.
static bool isCopy(Operation *op) {
  if (isa<linalg::CopyOp>(op))
    return true;
  auto generic = dyn_cast<linalg::GenericOp>(op);
  return generic && generic.getNumDpsInputs() == 1 && llvm::hasSingleElement(*generic.getBody()) &&
         llvm::all_of(generic.getIndexingMapsArray(), [](AffineMap map) { return map.isIdentity(); }) &&
         generic.getBody()->getTerminator()->getOperand(0) == generic.getBody()->getArgument(0);
}

/// The operand at the start of the chain of steps in which `value` is built: one that holds a `tensor.empty` or
/// `destination`. Null when there is none.
static OpOperand *findRoot(Value value, Value destination) {
  auto result = dyn_cast<OpResult>(value);
  if (!result || isCopy(result.getOwner()))
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
  else if (auto branch = dyn_cast<scf::IfOp>(op); branch && branch.elseBlock()) {
    // The branch that does nothing yields what the other one builds on.
    for (Region *region : {&branch.getThenRegion(), &branch.getElseRegion()}) {
      OpOperand &yielded = region->front().getTerminator()->getOpOperand(result.getResultNumber());
      if (yielded.get() == destination)
        return &yielded;
    }
    return nullptr;
  }
  if (!step)
    return nullptr;
  if (step->get() == destination || step->get().getDefiningOp<tensor::EmptyOp>())
    return step;
  // A value in between that something else reads must survive the steps behind it.
  return step->get().hasOneUse() ? findRoot(step->get(), destination) : nullptr;
}

namespace {
struct ThreadDestinationsPass : v4::impl::ThreadDestinationsPassBase<ThreadDestinationsPass> {
  void runOnOperation() override {
    getOperation()->walk([&](bufferization::MaterializeInDestinationOp op) {
      Value destination = op.getDest();
      OpOperand *root = op.getSource() == destination ? &op.getSourceMutable() : findRoot(op.getSource(), destination);
      if (!root || root->get().getType() != destination.getType())
        return;
      root->set(destination);
      op.getResult().replaceAllUsesWith(op.getSource());
      op.erase();
    });
  }
};
} // namespace
