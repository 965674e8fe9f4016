// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-expand-templates: the bodies of kernel templates.

#include "lowering/Passes.h"
#include "lowering/templates/Templates.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_EXPANDTEMPLATESPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

namespace {
struct ExpandTemplatesPass : v4::impl::ExpandTemplatesPassBase<ExpandTemplatesPass> {
  using ExpandTemplatesPassBase::ExpandTemplatesPassBase;

  void runOnOperation() override {
    TemplateTarget target;
    for (StringRef feature : llvm::split(features, ','))
      target.features.insert(feature);
    SmallVector<KernelOp> kernels;
    getOperation().walk([&](KernelOp op) { kernels.push_back(op); });
    for (KernelOp op : kernels) {
      const KernelTemplate *entry = llvm::find_if(
          getKernelTemplates(), [&](const KernelTemplate &entry) { return entry.name == op.getName(); });
      if (entry == getKernelTemplates().end()) {
        op.emitOpError() << "names no template";
        return signalPassFailure();
      }
      if (llvm::any_of(op->getOperandTypes(), llvm::IsaPred<TensorType>)) {
        op.emitOpError() << "expected buffers, found a tensor";
        return signalPassFailure();
      }
      if (failed(entry->expand(op, target)))
        return signalPassFailure();
      // A cut of all rows of a table that only the template used must not be left: nothing reads a table like that.
      SetVector<Operation *> views;
      for (Value operand : op->getOperands())
        if (Operation *view = operand.getDefiningOp())
          views.insert(view);
      op.erase();
      for (Operation *view : views)
        if (isOpTriviallyDead(view))
          view->erase();
    }
  }
};
} // namespace
