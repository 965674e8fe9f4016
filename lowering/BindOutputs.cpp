// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-bind-outputs: the results of an entry become arguments.

#include "lowering/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_BINDOUTPUTSPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

/// The buffer behind the results of phases.
static Value throughPhases(Value value) {
  while (auto phase = value.getDefiningOp<PhaseOp>())
    value = phase.getBody().front().getTerminator()->getOperand(cast<OpResult>(value).getResultNumber());
  return value;
}

namespace {
struct BindOutputsPass : v4::impl::BindOutputsPassBase<BindOutputsPass> {
  void runOnOperation() override {
    func::FuncOp func = getOperation();
    if (func->getParentOp()->hasAttr("v4.kernel"))
      return bindKernel(func);
    if (!func->hasAttr("v4.entry"))
      return;
    auto ret = cast<func::ReturnOp>(func.getBody().front().getTerminator());
    Location loc = func.getLoc();
    for (auto [i, value] : llvm::enumerate(ret.getOperands())) {
      if (auto state = func.getResultAttrOfType<StateAttr>(i, "v4.state")) {
        auto argument = dyn_cast<BlockArgument>(value);
        auto held = argument ? func.getArgAttrOfType<StateAttr>(argument.getArgNumber(), "v4.state") : StateAttr();
        if (held != state) {
          func.emitError() << "state '" << state.getName() << "' is not updated in place; its old contents are read after an update";
          return signalPassFailure();
        }
        continue;
      }
      auto output = func.getResultAttrOfType<StringAttr>(i, "v4.output");
      if (!output) {
        func.emitError() << "result " << i << " has neither v4.output nor v4.state";
        return signalPassFailure();
      }
      // The buffer itself, behind the views on it, becomes the argument.
      Value buffer = value;
      while (auto view = buffer.getDefiningOp<ViewLikeOpInterface>())
        buffer = view.getViewSource();
      auto alloc = buffer.getDefiningOp<memref::AllocOp>();
      if (!alloc) {
        func.emitError() << "output '" << output.getValue() << "' is not a value of its own; an entry cannot return an argument";
        return signalPassFailure();
      }
      BlockArgument argument = func.getBody().front().addArgument(alloc.getType(), loc);
      SmallVector<DictionaryAttr> attrs;
      func.getAllArgAttrs(attrs);
      attrs.push_back(DictionaryAttr::get(func.getContext(), NamedAttribute(StringAttr::get(func.getContext(), "v4.output"), output)));
      func.setFunctionType(FunctionType::get(func.getContext(), func.getBody().front().getArgumentTypes(), func.getResultTypes()));
      func.setAllArgAttrs(attrs);
      alloc.getResult().replaceAllUsesWith(argument);
      alloc.erase();
    }
    dropResults(func);
  }

  /// The last arguments of a kernel are its outputs, one per result.
  void bindKernel(func::FuncOp func) {
    Operation *ret = func.getBody().front().getTerminator();
    unsigned first = func.getNumArguments() - ret->getNumOperands();
    for (auto [i, value] : llvm::enumerate(ret->getOperands()))
      if (throughPhases(value) != func.getArgument(first + i)) {
        func.emitError() << "result " << i << " of kernel '" << func.getName() << "' is not built in output " << i;
        return signalPassFailure();
      }
    dropResults(func);
  }

  static void dropResults(func::FuncOp func) {
    func.getBody().front().getTerminator()->setOperands({});
    func.setAllResultAttrs(ArrayRef<DictionaryAttr>());
    func.setFunctionType(FunctionType::get(func.getContext(), func.getBody().front().getArgumentTypes(), {}));
  }
};
} // namespace
