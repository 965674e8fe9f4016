// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-contract-multiply-adds: products and the sums they enter as one operation.

#include "lowering/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_CONTRACTMULTIPLYADDSPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;

static bool mayContract(Operation *op) {
  auto flags = cast<arith::ArithFastMathInterface>(op).getFastMathFlagsAttr();
  return flags && bitEnumContainsAny(flags.getValue(), arith::FastMathFlags::contract);
}

namespace {
struct ContractMultiplyAddsPass : v4::impl::ContractMultiplyAddsPassBase<ContractMultiplyAddsPass> {
  void runOnOperation() override {
    SmallVector<arith::AddFOp> sums;
    getOperation()->walk([&](arith::AddFOp sum) {
      if (mayContract(sum))
        sums.push_back(sum);
    });
    for (arith::AddFOp sum : sums)
      contract(sum);
    getOperation()->walk([](arith::ArithFastMathInterface op) {
      op->setAttr(op.getFastMathAttrName(),
                  arith::FastMathFlagsAttr::get(op->getContext(), arith::FastMathFlags::none));
    });
  }

private:
  static void contract(arith::AddFOp sum) {
    for (auto [factor, other] : {std::pair(sum.getLhs(), sum.getRhs()), std::pair(sum.getRhs(), sum.getLhs())}) {
      auto product = factor.getDefiningOp<arith::MulFOp>();
      if (!product || !product->hasOneUse() || !mayContract(product))
        continue;
      OpBuilder b(sum);
      sum.replaceAllUsesWith(
          math::FmaOp::create(b, sum.getLoc(), product.getLhs(), product.getRhs(), other).getResult());
      sum.erase();
      product.erase();
      return;
    }
  }
};
} // namespace
