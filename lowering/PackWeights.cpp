// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-pack-weights: weights of linears in the layout that their kernels read as a stream.

#include "lowering/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/EquivalenceClasses.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_PACKWEIGHTSPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

namespace {
/// Weight and scale of a linear.
struct Product {
  OpOperand *weight = nullptr, *scale = nullptr;

  static std::optional<Product> of(Operation *op) {
    auto make = [](auto linear) {
      Product product{&linear.getWeightMutable(), nullptr};
      if (!linear.getScaleMutable().empty())
        product.scale = &*linear.getScaleMutable().begin();
      return product;
    };
    if (auto linear = dyn_cast<LinearOp>(op))
      return make(linear);
    if (auto linear = dyn_cast<GroupedLinearOp>(op))
      return make(linear);
    return std::nullopt;
  }

  Type element() const { return cast<RankedTensorType>(weight->get().getType()).getElementType(); }
  /// The scale of an fp4 weight belongs to its rows and is packed with it; a scale per 128 rows is not.
  bool packsScale() const { return scale && element().isInteger(8); }
};

/// Arguments that must have one layout: those of the entries that name one tensor, those that a call joins, and an fp4
/// weight with its scale. A class is packed when every use of every member is a linear's.
class Layouts {
public:
  explicit Layouts(ModuleOp module) : module(module) {
    module.walk([&](func::FuncOp func) {
      for (BlockArgument argument : func.getArguments())
        if (isa<RankedTensorType>(argument.getType()))
          add(func, argument);
    });
    module.walk([&](Operation *op) {
      std::optional<Product> product = Product::of(op);
      if (!product || !product->packsScale())
        return;
      BlockArgument weight = rootOf(product->weight->get()), scale = rootOf(product->scale->get());
      if (weight && scale)
        join(weight, scale);
      else if (weight || scale)
        stored.insert(weight ? weight : scale);
    });
    for (BlockArgument argument : stored)
      storedClasses.insert(classes.getLeaderValue(argument));
    for (BlockArgument argument : weights)
      weightClasses.insert(classes.getLeaderValue(argument));
  }

  bool isPacked(BlockArgument argument) const {
    Value leader = classes.getLeaderValue(argument);
    return !storedClasses.contains(leader) && weightClasses.contains(leader);
  }

  /// The argument that a value is or splits the first dimension of.
  static BlockArgument rootOf(Value value) {
    if (auto expand = value.getDefiningOp<tensor::ExpandShapeOp>())
      value = expand.getSrc();
    return dyn_cast<BlockArgument>(value);
  }

private:
  void join(BlockArgument a, BlockArgument b) { classes.unionSets(a, b); }

  void add(func::FuncOp func, BlockArgument argument) {
    classes.insert(argument);
    if (auto weight = func.getArgAttrOfType<WeightAttr>(argument.getArgNumber(), "v4.weight")) {
      weights.insert(argument);
      auto [entry, inserted] = tensors.try_emplace(weight, argument);
      if (!inserted)
        join(argument, entry->second);
      if (entry->second.getType() != argument.getType())
        stored.insert(argument);
    } else if (func.isPublic()) {
      stored.insert(argument);
    }
    if (!packedType(cast<RankedTensorType>(argument.getType())))
      stored.insert(argument);
    for (OpOperand &use : argument.getUses())
      if (failed(addUse(argument, use)))
        stored.insert(argument);
  }

  LogicalResult addUse(BlockArgument argument, OpOperand &use) {
    if (auto call = dyn_cast<func::CallOp>(use.getOwner())) {
      auto callee = module.lookupSymbol<func::FuncOp>(call.getCallee());
      if (!callee || callee.isExternal())
        return failure();
      join(argument, callee.getArgument(use.getOperandNumber()));
      return success();
    }
    if (auto expand = dyn_cast<tensor::ExpandShapeOp>(use.getOwner())) {
      // The groups of an output projection: whole groups of rows each.
      if (expand.getSrcType().getRank() != 2 || expand.getReassociationIndices()[0].size() != 2 ||
          !packedType(expand.getResultType()))
        return failure();
      return success(llvm::all_of(expand->getUses(), [](OpOperand &inner) { return isOperandOfLinear(inner); }));
    }
    return success(isOperandOfLinear(use));
  }

  static bool isOperandOfLinear(OpOperand &use) {
    std::optional<Product> product = Product::of(use.getOwner());
    return product && (&use == product->weight || (&use == product->scale && product->packsScale()));
  }

  ModuleOp module;
  llvm::EquivalenceClasses<Value> classes;
  DenseMap<WeightAttr, BlockArgument> tensors;
  DenseSet<BlockArgument> stored, weights;
  DenseSet<Value> storedClasses, weightClasses;
};

struct PackWeightsPass : v4::impl::PackWeightsPassBase<PackWeightsPass> {
  void runOnOperation() override {
    Layouts layouts(getOperation());
    SmallVector<BlockArgument> packed;
    getOperation().walk([&](func::FuncOp func) {
      for (BlockArgument argument : func.getArguments())
        if (isa<RankedTensorType>(argument.getType()) && layouts.isPacked(argument))
          packed.push_back(argument);
    });
    for (BlockArgument argument : packed)
      pack(argument);
  }

private:
  static void pack(BlockArgument argument) {
    auto func = cast<func::FuncOp>(argument.getOwner()->getParentOp());
    unsigned number = argument.getArgNumber();
    argument.setType(*packedType(cast<RankedTensorType>(argument.getType())));
    SmallVector<Type> types(func.getArgumentTypes());
    types[number] = argument.getType();
    func.setFunctionType(FunctionType::get(func.getContext(), types, func.getResultTypes()));
    if (func.getArgAttr(number, "v4.weight"))
      func.setArgAttr(number, "v4.layout", StringAttr::get(func.getContext(), "rows16"));
    for (Operation *user : llvm::make_early_inc_range(argument.getUsers()))
      if (auto expand = dyn_cast<tensor::ExpandShapeOp>(user)) {
        OpBuilder b(expand);
        SmallVector<ReassociationIndices> groups = {{0, 1}};
        for (int64_t dim = 1; dim < cast<RankedTensorType>(argument.getType()).getRank(); ++dim)
          groups.push_back({dim + 1});
        expand.replaceAllUsesWith(
            tensor::ExpandShapeOp::create(b, expand.getLoc(), *packedType(expand.getResultType()), argument, groups)
                .getResult());
        expand.erase();
      }
  }
};
} // namespace
