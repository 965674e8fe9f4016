// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-split-phases: every phase of a kernel becomes a function of one workgroup.

#include "lowering/Passes.h"
#include "lowering/nvptx/GpuTarget.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_SPLITPHASESPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

namespace {
struct SplitPhasesPass : v4::impl::SplitPhasesPassBase<SplitPhasesPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<func::FuncOp> kernels(module.getOps<func::FuncOp>());
    for (func::FuncOp kernel : kernels)
      if (failed(split(module, kernel)))
        return signalPassFailure();
  }

private:
  LogicalResult split(ModuleOp module, func::FuncOp kernel) {
    SmallVector<PhaseOp> phases(kernel.getBody().front().getOps<PhaseOp>());
    for (PhaseOp phase : phases)
      for (auto [result, yielded] :
           llvm::zip(phase.getResults(), phase.getBody().front().getTerminator()->getOperands())) {
        if (phase->isAncestor(yielded.getParentRegion()->getParentOp()) && !result.use_empty())
          return phase.emitOpError("yields a buffer of its own; a phase writes its results to buffers outside");
        result.replaceAllUsesWith(yielded);
      }
    for (auto [number, phase] : llvm::enumerate(phases)) {
      OpBuilder b(module.getBodyRegion());
      b.setInsertionPointToEnd(module.getBody());
      SmallVector<Type> arguments(kernel.getArgumentTypes());
      arguments.push_back(b.getIndexType());
      auto func = func::FuncOp::create(b, phase.getLoc(), (kernel.getName() + "." + Twine(number)).str(),
                                       b.getFunctionType(arguments, {}));
      Block *body = func.addEntryBlock();
      b.setInsertionPointToEnd(body);
      IRMapping map;
      for (auto [from, to] : llvm::zip(kernel.getArguments(), body->getArguments()))
        map.map(from, to);
      // Views and constants between the phases are cheap: every phase has its own; the unused ones fold away.
      for (Operation &op : kernel.getBody().front())
        if (!isa<PhaseOp>(op) && !op.hasTrait<OpTrait::IsTerminator>())
          b.clone(op, map);
      scf::ForallOp grid;
      for (Operation &op : phase.getBody().front().without_terminator()) {
        Operation *clone = b.clone(op, map);
        if (auto forall = dyn_cast<scf::ForallOp>(clone)) {
          if (grid)
            return forall.emitOpError("is the second grid of a phase; this target runs one");
          grid = forall;
        }
      }
      func::ReturnOp::create(b, phase.getLoc());
      int64_t groups = 1;
      if (grid) {
        FailureOr<int64_t> count = distribute(grid, body->getArguments().back());
        if (failed(count))
          return failure();
        groups = *count;
        // Blocks with a workspace of their own (v4-hoist-workspaces).
        if (groups > kWorkspaceBlocks &&
            func.walk([](gpu::BlockIdOp) { return WalkResult::interrupt(); }).wasInterrupted()) {
          repeat(func, groups);
          groups = kWorkspaceBlocks;
        }
      }
      func->setAttr("v4.grid", b.getI64IntegerAttr(groups));
    }
    kernel.erase();
    return success();
  }

  /// Makes block b of kWorkspaceBlocks run the workgroups b, b + kWorkspaceBlocks and so on.
  static void repeat(func::FuncOp func, int64_t groups) {
    Block &body = func.getBody().front();
    Location loc = func.getLoc();
    OpBuilder b = OpBuilder::atBlockBegin(&body);
    Value block = body.getArguments().back();
    Value end = arith::ConstantIndexOp::create(b, loc, groups),
          step = arith::ConstantIndexOp::create(b, loc, kWorkspaceBlocks);
    auto loop = scf::ForOp::create(b, loc, block, end, step);
    block.replaceUsesWithIf(loop.getInductionVar(), [&](OpOperand &use) { return use.getOwner() != loop; });
    loop.getBody()->getOperations().splice(loop.getBody()->begin(), body.getOperations(),
                                           std::next(loop->getIterator()), std::prev(body.end()));
  }

  /// Replaces the grid's induction variables by the workgroup's and inlines the body. Upstream's `loop.forall_to_for`
  /// with `loop.coalesce` and `loop.outline` keeps the bounds of the loop inside and ignores the argument.
  FailureOr<int64_t> distribute(scf::ForallOp forall, Value workgroup) {
    IRRewriter rewriter(forall->getContext());
    rewriter.setInsertionPoint(forall);
    Location loc = forall.getLoc();
    SmallVector<int64_t> lower(forall.getStaticLowerBound()), upper(forall.getStaticUpperBound()),
        step(forall.getStaticStep());
    if (llvm::any_of(lower, ShapedType::isDynamic) || llvm::any_of(upper, ShapedType::isDynamic) ||
        llvm::any_of(step, ShapedType::isDynamic))
      return forall.emitOpError("has dynamic bounds; grids are sized from capacities"), failure();
    SmallVector<int64_t> counts;
    int64_t groups = 1;
    for (auto [from, to, by] : llvm::zip(lower, upper, step)) {
      counts.push_back(llvm::divideCeil(to - from, by));
      groups *= counts.back();
    }
    auto ids = affine::AffineDelinearizeIndexOp::create(rewriter, loc, workgroup, counts);
    for (auto [i, iv] : llvm::enumerate(forall.getInductionVars())) {
      Value value = ids.getResult(i);
      Value by = arith::ConstantIndexOp::create(rewriter, loc, step[i]);
      value = arith::MulIOp::create(rewriter, loc, value, by);
      if (lower[i] != 0) {
        Value from = arith::ConstantIndexOp::create(rewriter, loc, lower[i]);
        value = arith::AddIOp::create(rewriter, loc, value, from);
      }
      iv.replaceAllUsesWith(value);
    }
    Block *body = forall.getBody();
    rewriter.eraseOp(forall.getTerminator());
    body->eraseArguments(0, body->getNumArguments());
    rewriter.inlineBlockBefore(body, forall);
    rewriter.eraseOp(forall);
    return groups;
  }
};
} // namespace
