// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which buffers a value may be, and how they are aligned.

#include "lowering/nvptx/Buffers.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;
using namespace mlir::v4;

SetVector<Value> v4::rootsOf(Value buffer) {
  SetVector<Value> roots, seen;
  SmallVector<Value> work = {buffer};
  while (!work.empty()) {
    Value value = work.pop_back_val();
    if (!seen.insert(value))
      continue;
    auto result = dyn_cast<OpResult>(value);
    auto yielded = [&](Region &region) {
      work.push_back(region.front().getTerminator()->getOperand(result.getResultNumber()));
    };
    if (auto argument = dyn_cast<BlockArgument>(value)) {
      auto loop = dyn_cast<scf::ForOp>(argument.getOwner()->getParentOp());
      if (!loop || argument == loop.getInductionVar()) {
        roots.insert(value);
        continue;
      }
      work.push_back(loop.getTiedLoopInit(argument)->get());
      work.push_back(loop.getTiedLoopYieldedValue(argument)->get());
    } else if (auto view = value.getDefiningOp<ViewLikeOpInterface>()) {
      work.push_back(view.getViewSource());
    } else if (auto select = value.getDefiningOp<arith::SelectOp>()) {
      work.append({select.getTrueValue(), select.getFalseValue()});
    } else if (auto branch = value.getDefiningOp<scf::IfOp>()) {
      yielded(branch.getThenRegion());
      yielded(branch.getElseRegion());
    } else if (auto loop = value.getDefiningOp<scf::ForOp>()) {
      work.push_back(loop.getInitArgs()[result.getResultNumber()]);
      yielded(loop.getRegion());
    } else {
      roots.insert(value);
    }
  }
  return roots;
}

/// A number that `value` is known to be a multiple of; 0 for zero.
static int64_t divisorOf(OpFoldResult value) {
  if (std::optional<int64_t> constant = getConstantIntValue(value))
    return *constant;
  auto product = cast<Value>(value).getDefiningOp<arith::MulIOp>();
  return product ? divisorOf(product.getLhs()) * divisorOf(product.getRhs()) : 1;
}

/// Whether the first element of `memory` lies at a multiple of `bytes`.
static bool isAlignedBase(Value memory, int64_t bytes) {
  if (auto view = memory.getDefiningOp<memref::SubViewOp>()) {
    auto type = view.getSourceType();
    SmallVector<int64_t> strides;
    int64_t offset;
    if (failed(type.getStridesAndOffset(strides, offset)))
      return false;
    for (auto [at, stride] : llvm::zip_equal(view.getMixedOffsets(), strides)) {
      // A stride that is not known: any.
      int64_t elements = divisorOf(at) * (ShapedType::isDynamic(stride) ? 1 : stride);
      if (elements * type.getElementTypeBitWidth() / 8 % bytes)
        return false;
    }
    return isAlignedBase(view.getSource(), bytes);
  }
  if (isa_and_nonnull<memref::CollapseShapeOp, memref::ExpandShapeOp, memref::CastOp>(memory.getDefiningOp()))
    return isAlignedBase(memory.getDefiningOp()->getOperand(0), bytes);
  auto argument = dyn_cast<BlockArgument>(memory);
  bool isWhole = argument ? isa<FunctionOpInterface>(argument.getOwner()->getParentOp())
                          : isa_and_nonnull<memref::AllocaOp, memref::GetGlobalOp>(memory.getDefiningOp());
  int64_t offset;
  SmallVector<int64_t> strides;
  auto type = cast<MemRefType>(memory.getType());
  // The offset of an argument that is a view is not known; tests of templates have such.
  return isWhole && succeeded(type.getStridesAndOffset(strides, offset)) && !ShapedType::isDynamic(offset) &&
         offset * type.getElementTypeBitWidth() / 8 % bytes == 0;
}

int64_t v4::wideAlignment(Value memory, int64_t lanes) {
  return std::min(kWideBytes, cast<MemRefType>(memory.getType()).getElementTypeBitWidth() * lanes / 8);
}

bool v4::hasAlignedRows(Value memory, int64_t bytes) {
  auto type = cast<MemRefType>(memory.getType());
  SmallVector<int64_t> strides;
  int64_t offset;
  if (failed(type.getStridesAndOffset(strides, offset)) || strides.empty() || strides.back() != 1)
    return false;
  for (auto [size, stride] : llvm::drop_end(llvm::zip(type.getShape(), strides)))
    if (size != 1 && (ShapedType::isDynamic(stride) || stride * type.getElementTypeBitWidth() / 8 % bytes))
      return false;
  return isAlignedBase(memory, bytes);
}
