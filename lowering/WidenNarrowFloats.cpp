// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-widen-narrow-floats: fp8 to fp32 by integer operations.

#include "lowering/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_WIDENNARROWFLOATSPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;

/// `type` with another element type.
static Type withElement(Type type, Type element) {
  if (auto shaped = dyn_cast<ShapedType>(type))
    return shaped.clone(element);
  return element;
}

namespace {
struct WidenE4M3 : OpRewritePattern<arith::ExtFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::ExtFOp op, PatternRewriter &b) const override {
    if (!isa<Float8E4M3FNType>(getElementTypeOrSelf(op.getIn().getType())) ||
        !getElementTypeOrSelf(op.getType()).isF32())
      return failure();
    Location loc = op.getLoc();
    Type byteType = withElement(op.getIn().getType(), b.getI8Type());
    Type intType = withElement(op.getType(), b.getI32Type());
    auto constant = [&](int64_t value) -> Value {
      TypedAttr attr = b.getI32IntegerAttr(static_cast<int32_t>(value));
      if (auto shaped = dyn_cast<ShapedType>(intType))
        attr = DenseElementsAttr::get(shaped, b.getI32IntegerAttr(static_cast<int32_t>(value)));
      return arith::ConstantOp::create(b, loc, attr);
    };
    Value byte = arith::BitcastOp::create(b, loc, byteType, op.getIn());
    Value code = arith::ExtUIOp::create(b, loc, intType, byte);
    Value sign = arith::ShLIOp::create(b, loc, arith::AndIOp::create(b, loc, code, constant(0x80)), constant(24));
    Value magnitude = arith::AndIOp::create(b, loc, code, constant(0x7f));
    // Normal codes: 4 exponent and 3 mantissa bits to the top of fp32's, bias 7 to 127.
    Value normal =
        arith::AddIOp::create(b, loc, arith::ShLIOp::create(b, loc, magnitude, constant(20)), constant(120 << 23));
    // Codes below 8 are multiples of 2^-9; the conversion from integers is exact and makes no fp32 subnormal.
    Value multiple = arith::SIToFPOp::create(b, loc, op.getType(), magnitude);
    TypedAttr unit = b.getF32FloatAttr(0x1p-9f);
    if (auto shaped = dyn_cast<ShapedType>(op.getType()))
      unit = DenseElementsAttr::get(shaped, b.getF32FloatAttr(0x1p-9f));
    Value small = arith::MulFOp::create(b, loc, multiple, arith::ConstantOp::create(b, loc, unit));
    small = arith::BitcastOp::create(b, loc, intType, small);
    Value isSmall = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, magnitude, constant(8));
    Value isNan = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, magnitude, constant(0x7f));
    Value bits = arith::SelectOp::create(b, loc, isSmall, small, normal);
    bits = arith::SelectOp::create(b, loc, isNan, constant(0x7fc00000), bits);
    bits = arith::OrIOp::create(b, loc, bits, sign);
    b.replaceOpWithNewOp<arith::BitcastOp>(op, op.getType(), bits);
    return success();
  }
};

struct WidenNarrowFloatsPass : v4::impl::WidenNarrowFloatsPassBase<WidenNarrowFloatsPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<WidenE4M3>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace
