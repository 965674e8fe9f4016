// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-thread-destinations: results are built where they belong.

#include "lowering/Passes.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
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

/// The value at the start of the chain of steps in which `value` is built: a `tensor.empty` or `destination`. Null when
/// the chain starts elsewhere.
static Value findRoot(Value value, Value destination) {
  if (value == destination || value.getDefiningOp<tensor::EmptyOp>())
    return value;
  auto result = dyn_cast<OpResult>(value);
  if (!result || isCopy(result.getOwner()))
    return {};
  Operation *op = result.getOwner();
  if (auto branch = dyn_cast<scf::IfOp>(op); branch && branch.elseBlock()) {
    // The branch that does nothing yields what the other one builds on.
    auto yielded = [&](Region &region) { return region.front().getTerminator()->getOperand(result.getResultNumber()); };
    Value root = findRoot(yielded(branch.getThenRegion()), destination);
    return root && root == findRoot(yielded(branch.getElseRegion()), destination) ? root : Value();
  }
  Value step;
  if (auto dps = dyn_cast<DestinationStyleOpInterface>(op))
    step = dps.getTiedOpOperand(result)->get();
  else if (auto loop = dyn_cast<scf::ForOp>(op))
    step = loop.getInitArgs()[result.getResultNumber()];
  else if (auto insert = dyn_cast<tensor::InsertSliceOp>(op))
    step = insert.getDest();
  else if (auto insert = dyn_cast<tensor::InsertOp>(op))
    step = insert.getDest();
  else if (auto write = dyn_cast<vector::TransferWriteOp>(op))
    step = write.getBase();
  if (!step)
    return {};
  Value root = findRoot(step, destination);
  // A value in between that something else reads must survive the steps behind it.
  return root == step || step.hasOneUse() ? root : Value();
}

namespace {
struct ThreadDestinationsPass : v4::impl::ThreadDestinationsPassBase<ThreadDestinationsPass> {
  void runOnOperation() override {
    getOperation()->walk([&](bufferization::MaterializeInDestinationOp op) {
      Value destination = op.getDest();
      Value root = findRoot(op.getSource(), destination);
      if (!root || root.getType() != destination.getType())
        return;
      if (root != destination)
        root.replaceAllUsesWith(destination);
      op.getResult().replaceAllUsesWith(op.getSource());
      op.erase();
    });
    // The tile of a grid is built in its place. The insertion stays: it says so to the loop.
    getOperation()->walk([&](tensor::ParallelInsertSliceOp op) {
      Value root = findRoot(op.getSource(), {});
      if (!root || root.getType() != op.getSourceType())
        return;
      OpBuilder b(root.getDefiningOp());
      root.replaceAllUsesWith(tensor::ExtractSliceOp::create(b, op.getLoc(), op.getSourceType(), op.getDest(),
                                                             op.getMixedOffsets(), op.getMixedSizes(),
                                                             op.getMixedStrides()));
    });
  }
};
} // namespace
