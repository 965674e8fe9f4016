// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which buffers a value may be.

#ifndef V4_LOWERING_NVPTX_BUFFERS_H
#define V4_LOWERING_NVPTX_BUFFERS_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::v4 {

/// The values that a buffer may be a view of: arguments and allocations. Views, conditions and the values of loops are
/// looked through.
inline llvm::SetVector<Value> rootsOf(Value buffer) {
  llvm::SetVector<Value> roots, seen;
  SmallVector<Value> work = {buffer};
  while (!work.empty()) {
    Value value = work.pop_back_val();
    if (!seen.insert(value))
      continue;
    auto result = dyn_cast<OpResult>(value);
    auto yielded = [&](Region &region) { work.push_back(region.front().getTerminator()->getOperand(result.getResultNumber())); };
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

} // namespace mlir::v4

#endif
