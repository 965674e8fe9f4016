// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-expand-templates: the bodies of kernel templates.

#include "lowering/Passes.h"
#include "lowering/nvptx/GpuTemplates.h"
#include "lowering/templates/Templates.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
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
    const GpuTarget *gpu = findGpuTarget(target);
    TemplateTarget cpu;
    for (StringRef feature : llvm::split(features, ','))
      cpu.features.insert(feature);
    SmallVector<KernelOp> kernels;
    getOperation().walk([&](KernelOp op) { kernels.push_back(op); });
    for (KernelOp op : kernels) {
      if (llvm::any_of(op->getOperandTypes(), llvm::IsaPred<TensorType>)) {
        op.emitOpError() << "expected buffers, found a tensor";
        return signalPassFailure();
      }
      if (failed(gpu ? expand(getGpuTemplates(), op, *gpu) : expand(getKernelTemplates(), op, cpu)))
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

private:
  template <typename Template, typename Target>
  static LogicalResult expand(ArrayRef<Template> templates, KernelOp op, const Target &target) {
    for (const Template &entry : templates)
      if (entry.name == op.getName())
        return entry.expand(op, target);
    return op.emitOpError() << "names no template";
  }
};
} // namespace
