// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-verify-stage: what the IR may hold at the end of a stage.

#include "lowering/Passes.h"
#include "lowering/Stages.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_VERIFYSTAGEPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

namespace {
struct VerifyStagePass : v4::impl::VerifyStagePassBase<VerifyStagePass> {
  using VerifyStagePassBase::VerifyStagePassBase;

  void runOnOperation() override {
    std::optional<Stage> parsed = parseStage(stage);
    if (!parsed) {
      emitError(getOperation().getLoc()) << "unknown stage '" << stage << "'";
      return signalPassFailure();
    }
    current = *parsed;
    WalkResult result = getOperation().walk([&](Operation *op) { return WalkResult(verify(op)); });
    if (result.wasInterrupted())
      signalPassFailure();
  }

private:
  Stage current;

  LogicalResult fail(Operation *op, const Twine &message, StringRef pass) {
    InFlightDiagnostic diag = op->emitOpError() << message << " at the end of stage '" << stage.getValue() << "'";
    diag.attachNote() << "--" << pass << " should have removed it";
    return diag;
  }

  static bool inKernel(Operation *op) {
    auto module = op->getParentOfType<ModuleOp>();
    return module && module->hasAttr("v4.kernel");
  }

  LogicalResult verify(Operation *op) {
    StringRef dialect = op->getName().getDialectNamespace();
    bool compute = isa<TileInterface>(op);
    if (current <= Stage::Groups) {
      if (!llvm::is_contained({"v4", "linalg", "tensor", "scf", "arith", "math", "func", "builtin"}, dialect))
        return op->emitOpError() << "does not belong to stage '" << stage.getValue()
                                 << "'; accepted dialects: v4, linalg, tensor, scf, arith, math, func";
      if (current < Stage::Groups && isa<GroupOp, PhaseOp, LaunchOp>(op))
        return op->emitOpError() << "does not belong to stage '" << stage.getValue() << "', groups are formed later";
      if (current == Stage::Groups && compute && !op->getParentOfType<GroupOp>())
        return op->emitOpError("is in no group at the end of stage 'groups'").attachNote()
               << "--v4-form-groups should have put it into one";
      return success();
    }
    if (isa<GroupOp>(op))
      return fail(op, "is left", "v4-outline-groups");
    if (compute)
      return fail(op, "is left", inKernel(op) ? "v4-decompose" : "v4-outline-groups");
    if (current == Stage::Tiles) {
      if (llvm::is_contained({"memref", "llvm"}, dialect))
        return op->emitOpError("does not belong to stage 'tiles', buffers are formed later");
      return success();
    }
    if (current == Stage::Buffers && dialect == "llvm")
      return op->emitOpError("does not belong to stage 'buffers', kernels are lowered later");

    for (Type type :
         llvm::concat<Type>(SmallVector<Type>(op->getOperandTypes()), SmallVector<Type>(op->getResultTypes())))
      if (isa<TensorType>(type))
        return fail(op, "still works on tensors", "one-shot-bufferize");
    if (isa<memref::AllocOp>(op))
      return fail(op, "allocates", inKernel(op) ? "v4-hoist-workspaces" : "v4-plan-arena");
    if (auto copy = dyn_cast<memref::CopyOp>(op))
      for (Value value : {copy.getSource(), copy.getTarget()})
        if (isWholeState(value))
          return op->emitOpError("copies a whole state at the end of stage 'buffers'").attachNote()
                 << "the old contents are read after an update, or an arith.select picks between old and new";
    if (current == Stage::Kernels && inKernel(op) && !isa<ModuleOp, gpu::GPUModuleOp>(op) &&
        !isa<LLVM::LLVMDialect, NVVM::NVVMDialect>(op->getDialect()))
      return fail(op, "is left", "convert-to-llvm");
    return success();
  }

  /// A state argument, or one slot of it.
  static bool isWholeState(Value value) {
    if (auto collapsed = value.getDefiningOp<memref::CollapseShapeOp>())
      value = collapsed.getSrc();
    if (auto slot = value.getDefiningOp<memref::SubViewOp>())
      if (slot.getSourceType().getRank() == 3 && slot.getStaticSizes().front() == 1 &&
          slot.getStaticSizes().drop_front() == slot.getSourceType().getShape().drop_front())
        value = slot.getSource();
    auto argument = dyn_cast<BlockArgument>(value);
    auto func = argument ? dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp()) : func::FuncOp();
    return func && (func.getArgAttr(argument.getArgNumber(), "v4.state") ||
                    func.getArgAttr(argument.getArgNumber(), "v4.tied"));
  }
};
} // namespace
