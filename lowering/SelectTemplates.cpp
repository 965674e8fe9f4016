// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-select-templates: which tiles a template computes.

#include "lowering/Passes.h"
#include "lowering/nvptx/GpuTemplates.h"
#include "lowering/templates/Templates.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_SELECTTEMPLATESPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;

namespace {
struct SelectTemplatesPass : v4::impl::SelectTemplatesPassBase<SelectTemplatesPass> {
  using SelectTemplatesPassBase::SelectTemplatesPassBase;

  void runOnOperation() override {
    const v4::GpuTarget *gpu = v4::findGpuTarget(target);
    SmallVector<Operation *> tiles;
    getOperation()->walk([&](v4::TileInterface op) { tiles.push_back(op); });
    for (Operation *op : tiles)
      gpu ? selectFor(op, *gpu) : selectFor(op);
  }

private:
  static void selectFor(Operation *op) {
    for (const v4::KernelTemplate &entry : v4::getKernelTemplates())
      if (entry.select && entry.select(op))
        return;
  }

  static void selectFor(Operation *op, const v4::GpuTarget &gpu) {
    for (const v4::GpuTemplate &entry : v4::getGpuTemplates())
      if (entry.select && entry.select(op, gpu))
        return;
  }
};
} // namespace
