// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-bind-outputs: the results of kernels, bodies and entries become arguments.

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
    ModuleOp module = getOperation();
    SmallVector<func::FuncOp> funcs(module.getOps<func::FuncOp>());
    for (func::FuncOp func : funcs) {
      LogicalResult result = module->hasAttr("v4.kernel") ? bindKernel(func) : bindResults(module, func);
      if (failed(result))
        return signalPassFailure();
    }
  }

private:
  /// The last arguments of a kernel are its outputs, one per result.
  LogicalResult bindKernel(func::FuncOp func) {
    Operation *ret = func.getBody().front().getTerminator();
    unsigned first = func.getNumArguments() - ret->getNumOperands();
    for (auto [i, value] : llvm::enumerate(ret->getOperands()))
      if (throughPhases(value) != func.getArgument(first + i))
        return func.emitError() << "result " << i << " of kernel '" << func.getName() << "' is not built in output "
                                << i;
    dropResults(func);
    return success();
  }

  /// A result that is an argument is dropped; one in a buffer of its own becomes a new last argument.
  LogicalResult bindResults(ModuleOp module, func::FuncOp func) {
    Operation *ret = func.getBody().front().getTerminator();
    bool isEntry = func->hasAttr("v4.entry");
    SmallVector<DictionaryAttr> attrs;
    func.getAllArgAttrs(attrs);
    // For each result the argument that holds it.
    SmallVector<unsigned> holders;
    for (auto [i, value] : llvm::enumerate(ret->getOperands())) {
      auto state = func.getResultAttrOfType<StateAttr>(i, "v4.state");
      auto output = func.getResultAttrOfType<StringAttr>(i, "v4.output");
      if (isEntry && !state && !output)
        return func.emitError() << "result " << i << " has neither v4.output nor v4.state";
      // The buffer itself, behind the views on it.
      Value buffer = value;
      while (auto view = buffer.getDefiningOp<ViewLikeOpInterface>())
        buffer = view.getViewSource();
      if (auto argument = dyn_cast<BlockArgument>(buffer)) {
        if (state && func.getArgAttrOfType<StateAttr>(argument.getArgNumber(), "v4.state") != state)
          return func.emitError() << "state '" << state.getName() << "' is returned in the place of another one";
        if (output)
          return func.emitError() << "output '" << output.getValue() << "' is an argument; an entry cannot return one";
        holders.push_back(argument.getArgNumber());
        continue;
      }
      if (state)
        return func.emitError() << "state '" << state.getName()
                                << "' is not updated in place; its old contents are read after an update";
      auto alloc = buffer.getDefiningOp<memref::AllocOp>();
      if (!alloc)
        return func.emitError() << "result " << i << " is neither an argument nor a buffer of the function";
      BlockArgument argument = func.getBody().front().addArgument(alloc.getType(), func.getLoc());
      StringAttr name = StringAttr::get(func.getContext(), isEntry ? "v4.output" : "v4.result");
      Attribute attr = isEntry ? Attribute(output) : UnitAttr::get(func.getContext());
      attrs.push_back(DictionaryAttr::get(func.getContext(), NamedAttribute(name, attr)));
      alloc.getResult().replaceAllUsesWith(argument);
      alloc.erase();
      holders.push_back(argument.getArgNumber());
    }
    SmallVector<Type> resultTypes(func.getResultTypes());
    unsigned oldArguments = func.getNumArguments();
    dropResults(func);
    func.setAllArgAttrs(attrs);

    SmallVector<func::CallOp> calls;
    module.walk([&](func::CallOp call) {
      if (call.getCallee() == func.getName())
        calls.push_back(call);
    });
    for (func::CallOp call : calls) {
      OpBuilder b(call);
      SmallVector<Value> operands(call.getOperands());
      for (unsigned i = oldArguments; i < func.getNumArguments(); ++i)
        operands.push_back(memref::AllocOp::create(b, call.getLoc(), cast<MemRefType>(func.getArgumentTypes()[i])));
      auto bound = func::CallOp::create(b, call.getLoc(), call.getCalleeAttr(), TypeRange(), operands);
      bound->setDiscardableAttrs(call->getDiscardableAttrDictionary());
      for (auto [result, holder] : llvm::zip(call.getResults(), holders)) {
        if (result.getType() != operands[holder].getType() && !result.use_empty())
          return call.emitOpError() << "has a result that is a view of operand " << holder;
        result.replaceAllUsesWith(operands[holder]);
      }
      call.erase();
    }
    return success();
  }

  static void dropResults(func::FuncOp func) {
    func.getBody().front().getTerminator()->setOperands({});
    func.setAllResultAttrs(ArrayRef<DictionaryAttr>());
    func.setFunctionType(FunctionType::get(func.getContext(), func.getBody().front().getArgumentTypes(), {}));
  }
};
} // namespace
