// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-select-templates: which tiles a template computes.

#include "lowering/Passes.h"
#include "lowering/templates/Templates.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_SELECTTEMPLATESPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;

namespace {
struct SelectTemplatesPass : v4::impl::SelectTemplatesPassBase<SelectTemplatesPass> {
  void runOnOperation() override {
    SmallVector<Operation *> tiles;
    getOperation()->walk([&](v4::TileInterface op) { tiles.push_back(op); });
    for (Operation *op : tiles)
      for (const v4::KernelTemplate &entry : v4::getKernelTemplates())
        if (entry.select && entry.select(op))
          break;
  }
};
} // namespace
