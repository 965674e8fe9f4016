// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-form-groups: which ops share a kernel.

#include "passes/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/MapVector.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_FORMGROUPSPASS
#include "passes/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;
using llvm::SmallSetVector;

ArrayRef<StringRef> v4::getFusionStrategies() {
  static const StringRef names[] = {"none", "basic"};
  return names;
}

static bool isCompute(Operation *op) { return isa<TileInterface>(op); }
static bool isView(Operation *op) { return isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(op); }

/// The compute ops that use a result of `op`, seen through views. Null stands for a use that is no compute op.
static void collectConsumers(Operation *op, SmallSetVector<Operation *, 4> &consumers) {
  for (Operation *user : op->getUsers()) {
    if (isView(user))
      collectConsumers(user, consumers);
    else
      consumers.insert(isCompute(user) ? user : nullptr);
  }
}

static StringRef pathOf(Operation *op) {
  auto name = op->getAttrOfType<StringAttr>("v4.name");
  return name ? name.getValue() : op->getName().stripDialect();
}

namespace {
struct FormGroupsPass : v4::impl::FormGroupsPassBase<FormGroupsPass> {
  using FormGroupsPassBase::FormGroupsPassBase;

  void runOnOperation() override {
    if (!llvm::is_contained(getFusionStrategies(), strategy.getValue())) {
      emitError(getOperation().getLoc()) << "unknown fusion strategy '" << strategy << "'; accepted: none, basic";
      return signalPassFailure();
    }
    for (auto func : getOperation().getOps<func::FuncOp>())
      if (!func.isExternal())
        formGroups(func.getBody().front());
  }

private:
  void formGroups(Block &block) {
    // The last op of a group stands for it.
    DenseMap<Operation *, Operation *> groupOf;
    SmallVector<Operation *> ops;
    for (Operation &op : block)
      if (isCompute(&op))
        ops.push_back(&op);
    for (Operation *op : llvm::reverse(ops)) {
      groupOf[op] = op;
      if (strategy == "none" || !op->hasTrait<OpTrait::v4::Rowwise>())
        continue;
      SmallSetVector<Operation *, 4> consumers, groups;
      collectConsumers(op, consumers);
      for (Operation *consumer : consumers)
        groups.insert(consumer ? groupOf.lookup(consumer) : nullptr);
      if (groups.size() == 1 && groups.front()) {
        groupOf[op] = groups.front();
        remark::passed(op->getLoc(), remark::RemarkOpts::name("fused").category("v4.fusion"))
            << remark::metric("op", pathOf(op)) << remark::metric("into", pathOf(groups.front()));
      } else {
        remark::missed(op->getLoc(), remark::RemarkOpts::name("cost.recompute").category("v4.fusion"))
            << remark::metric("op", pathOf(op)) << remark::metric("consumers", groups.size());
      }
    }
    llvm::MapVector<Operation *, SmallVector<Operation *>> members;
    for (Operation *op : ops)
      members[groupOf[op]].push_back(op);
    for (auto &[last, group] : members)
      createGroup(last, group);
  }

  /// Moves `ops`, and the views between them, into a `v4.group` in front of `last`.
  void createGroup(Operation *last, ArrayRef<Operation *> ops) {
    SmallSetVector<Operation *, 8> inside;
    // A view belongs to the group when it reads a member and all its users do too. Users come later in the block.
    for (Operation *op : ops)
      inside.insert(op);
    SmallVector<Operation *> views;
    std::function<bool(Operation *)> onlyUsedInside = [&](Operation *view) {
      return llvm::all_of(view->getUsers(), [&](Operation *user) {
        return inside.contains(user) || (isView(user) && onlyUsedInside(user));
      });
    };
    std::function<void(Operation *)> collectViews = [&](Operation *op) {
      for (Operation *user : op->getUsers())
        if (isView(user) && onlyUsedInside(user)) {
          views.push_back(user);
          collectViews(user);
        }
    };
    for (Operation *op : ops)
      if (op != last)
        collectViews(op);
    for (Operation *view : views)
      inside.insert(view);

    SmallVector<Operation *> ordered(inside.begin(), inside.end());
    llvm::sort(ordered, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
    SmallVector<Value> results;
    for (Operation *op : ordered)
      for (Value result : op->getResults())
        if (llvm::any_of(result.getUsers(), [&](Operation *user) { return !inside.contains(user); }) ||
            (op == last && result.use_empty()))
          results.push_back(result);

    OpBuilder builder(last);
    auto group = GroupOp::create(builder, last->getLoc(), TypeRange(ValueRange(results)), pathOf(last));
    Block &body = group.getBody().emplaceBlock();
    for (Operation *op : ordered)
      op->moveBefore(&body, body.end());
    OpBuilder end = OpBuilder::atBlockEnd(&body);
    YieldOp::create(end, last->getLoc(), results);
    for (auto [inner, outer] : llvm::zip_equal(results, group.getResults()))
      inner.replaceUsesWithIf(outer, [&](OpOperand &use) { return !group->isAncestor(use.getOwner()); });
  }
};
} // namespace
