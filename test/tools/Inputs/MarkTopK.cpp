// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A plugin of v4-opt: a pass that uses the classes of the v4 dialect.

#include "dialects/V4.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Tools/Plugins/PassPlugin.h"

using namespace mlir;

namespace {
struct MarkTopK : PassWrapper<MarkTopK, OperationPass<func::FuncOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(MarkTopK)
  StringRef getArgument() const override { return "example-mark-top-k"; }
  StringRef getDescription() const override { return "marks functions that select"; }
  void runOnOperation() override {
    getOperation().walk([&](v4::TopKOp op) {
      int64_t count = op.getResult().getType().getDimSize(1);
      getOperation()->setAttr("example.selects", Builder(&getContext()).getI64IntegerAttr(count));
    });
  }
};
} // namespace

extern "C" LLVM_ATTRIBUTE_WEAK PassPluginLibraryInfo mlirGetPassPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "V4Example", LLVM_VERSION_STRING, [] { PassRegistration<MarkTopK>(); }};
}
