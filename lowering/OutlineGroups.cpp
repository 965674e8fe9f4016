// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-outline-groups: every group becomes a launch of a kernel; groups of the same structure share one.

#include "lowering/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/StringMap.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_OUTLINEGROUPSPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

/// The value outside the group that result `number` of the group updates in place, or null: follows tied operands
/// from the yielded value up to a captured value.
static Value findUpdatedState(GroupOp group, unsigned number) {
  Value value = group.getBody().front().getTerminator()->getOperand(number);
  bool tied = false;
  while (Operation *op = value.getDefiningOp()) {
    if (!group->isAncestor(op))
      break;
    auto tile = dyn_cast<TileInterface>(op);
    OpOperand *operand = tile ? tile.getTiedOperand(cast<OpResult>(value).getResultNumber()) : nullptr;
    if (!operand)
      return {};
    value = operand->get();
    tied = true;
  }
  return tied ? value : Value();
}

namespace {
struct OutlineGroupsPass : v4::impl::OutlineGroupsPassBase<OutlineGroupsPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<GroupOp> groups;
    module.walk([&](GroupOp group) { groups.push_back(group); });
    for (GroupOp group : groups)
      outline(module, group);
  }

private:
  void outline(ModuleOp module, GroupOp group) {
    // 1. What the kernel reads and what it writes. A state that is updated in place is an output only.
    SetVector<Value> captured;
    group.getBody().walk([&](Operation *op) {
      for (Value operand : op->getOperands())
        if (!group.getBody().isAncestor(operand.getParentRegion()))
          captured.insert(operand);
    });
    SmallVector<Value> outputs;
    OpBuilder builder(group);
    for (OpResult result : group->getResults()) {
      if (Value state = findUpdatedState(group, result.getResultNumber())) {
        outputs.push_back(state);
        continue;
      }
      auto type = cast<RankedTensorType>(result.getType());
      outputs.push_back(tensor::EmptyOp::create(builder, group.getLoc(), type.getShape(), type.getElementType()));
    }
    SmallVector<Value> inputs;
    for (Value value : captured)
      if (!llvm::is_contained(outputs, value))
        inputs.push_back(value);

    // 2. The kernel: a function of inputs and outputs in a module of its own.
    OpBuilder detached(group.getContext());
    SmallVector<Type> arguments;
    for (Value value : inputs)
      arguments.push_back(value.getType());
    for (Value value : outputs)
      arguments.push_back(value.getType());
    auto type = detached.getFunctionType(arguments, TypeRange(ValueRange(outputs)));
    auto func = func::FuncOp::create(group.getLoc(), "kernel", type);
    Block *body = func.addEntryBlock();
    IRMapping map;
    for (auto [outer, inner] : llvm::zip(inputs, body->getArguments()))
      map.map(outer, inner);
    for (auto [outer, inner] : llvm::zip(outputs, body->getArguments().drop_front(inputs.size())))
      if (captured.contains(outer))
        map.map(outer, inner);
    detached.setInsertionPointToEnd(body);
    SmallVector<StringRef> ops;
    for (Operation &op : group.getBody().front().without_terminator()) {
      Operation *clone = detached.clone(op, map);
      clone->removeAttr("v4.name");
      clone->walk([](Operation *inner) { inner->setLoc(UnknownLoc::get(inner->getContext())); });
      if (isa<TileInterface>(op))
        ops.push_back(op.getName().stripDialect());
    }
    SmallVector<Value> results;
    for (Value value : group.getBody().front().getTerminator()->getOperands())
      results.push_back(map.lookup(value));
    func::ReturnOp::create(detached, UnknownLoc::get(group.getContext()), results);
    SmallVector<int64_t> tables;
    for (size_t i = 0; i < inputs.size(); ++i) {
      func.setArgAttr(i, "bufferization.writable", detached.getBoolAttr(false));
      if (llvm::any_of(inputs[i].getUses(), [&](OpOperand &use) {
            auto op = dyn_cast<TileInterface>(use.getOwner());
            return op && group->isAncestor(op) && op.isTableOperand(use);
          }))
        tables.push_back(i);
    }
    for (size_t i = 0; i < outputs.size(); ++i)
      if (!outputs[i].getDefiningOp<tensor::EmptyOp>())
        func.setArgAttr(inputs.size() + i, "v4.tied", detached.getUnitAttr());
    func->setLoc(UnknownLoc::get(group.getContext()));

    // 3. One kernel per structure. The printed function, without names and locations, is the structure.
    std::string text;
    llvm::raw_string_ostream os(text);
    func->print(os, OpPrintingFlags().printGenericOpForm());
    auto [entry, inserted] = kernels.try_emplace(text);
    if (inserted) {
      std::string name = ops.empty() ? "copy" : llvm::join(ops, "_");
      unsigned number = counts[name]++;
      name += "_" + std::to_string(number);
      auto kernel = ModuleOp::create(UnknownLoc::get(group.getContext()), name);
      kernel->setAttr("v4.kernel", detached.getUnitAttr());
      if (!tables.empty())
        kernel->setAttr("v4.tables", detached.getDenseI64ArrayAttr(tables));
      func.setName(name);
      // Diagnostics about a kernel name it; the ops it was made from may stand anywhere in the model.
      Location loc = NameLoc::get(StringAttr::get(group.getContext(), name));
      func->walk([&](Operation *op) { op->setLoc(loc); });
      kernel.push_back(func);
      module.push_back(kernel);
      entry->second = name;
    } else {
      func->erase();
    }

    // 4. The launch.
    auto launch = LaunchOp::create(builder, group.getLoc(), TypeRange(ValueRange(outputs)),
                                   FlatSymbolRefAttr::get(group.getContext(), entry->second), group.getNameAttr(),
                                   inputs, outputs);
    group->replaceAllUsesWith(launch->getResults());
    group->erase();
  }

  llvm::StringMap<std::string> kernels;
  llvm::StringMap<unsigned> counts;
};
} // namespace
