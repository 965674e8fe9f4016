// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-flatten-vectors: transfers of contiguous rows as one-dimensional vectors.

#include "lowering/Passes.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Dialect/Vector/Transforms/LoweringPatterns.h"
#include "mlir/Dialect/Vector/Transforms/VectorRewritePatterns.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_FLATTENVECTORSPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;

namespace {
/// A broadcast along new leading dimensions that a transpose moves inward: the source gets unit dimensions in their
/// places and is stretched there. As a transpose, every element would move on its own.
struct StretchInPlace : OpRewritePattern<vector::TransposeOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(vector::TransposeOp op, PatternRewriter &rewriter) const override {
    auto broadcast = op.getVector().getDefiningOp<vector::BroadcastOp>();
    auto sourceType = broadcast ? dyn_cast<VectorType>(broadcast.getSourceType()) : VectorType();
    if (!sourceType || sourceType.isScalable() || sourceType.getRank() == 0)
      return failure();
    int64_t added = broadcast.getResultVectorType().getRank() - sourceType.getRank(), previous = -1;
    SmallVector<int64_t> shape;
    for (int64_t dim : op.getPermutation()) {
      int64_t size = dim < added ? 1 : sourceType.getDimSize(dim - added);
      shape.push_back(size);
      if (size == 1)
        continue;
      if (dim < previous)
        return failure();
      previous = dim;
    }
    auto placed = VectorType::get(shape, sourceType.getElementType());
    Value source = vector::ShapeCastOp::create(rewriter, op.getLoc(), placed, broadcast.getSource());
    rewriter.replaceOpWithNewOp<vector::BroadcastOp>(op, op.getResultVectorType(), source);
    return success();
  }
};

/// Every second element of a row, as one read of the pairs and a deinterleave. Element by element otherwise.
struct ReadPairs : OpRewritePattern<vector::TransferReadOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(vector::TransferReadOp op, PatternRewriter &rewriter) const override {
    auto view = op.getBase().getDefiningOp<memref::SubViewOp>();
    VectorType type = op.getVectorType();
    int64_t count = type.getNumElements();
    if (!view || op.getMask() || type.isScalable() || type.getShape().back() != count || op.hasOutOfBoundsDim() ||
        !llvm::all_of(op.getIndices(), [](Value index) { return isConstantIntValue(index, 0); }))
      return failure();
    // The view must be a row of the source with a stride of 2, read from its start to as many elements as it has.
    SmallVector<OpFoldResult> offsets = view.getMixedOffsets();
    ArrayRef<int64_t> sizes = view.getStaticSizes(), strides = view.getStaticStrides();
    MemRefType source = view.getSourceType();
    if (strides.back() != 2 || sizes.back() != count ||
        !llvm::all_of(sizes.drop_back(), [](int64_t size) { return size == 1; }) || !source.isLastDimUnitStride() ||
        source.getDimSize(source.getRank() - 1) % 2 != 0)
      return failure();
    std::optional<int64_t> odd = parity(offsets.back());
    if (!odd)
      return failure();
    Location loc = op.getLoc();
    SmallVector<Value> indices;
    for (OpFoldResult offset : offsets)
      indices.push_back(getValueOrCreateConstantIndexOp(rewriter, loc, offset));
    if (*odd)
      indices.back() =
          arith::SubIOp::create(rewriter, loc, indices.back(), arith::ConstantIndexOp::create(rewriter, loc, 1));
    auto pairsType = VectorType::get({2 * count}, type.getElementType());
    Value pairs = vector::TransferReadOp::create(rewriter, loc, pairsType, view.getSource(), indices, op.getPadding(),
                                                 ArrayRef<bool>{true});
    auto split = vector::DeinterleaveOp::create(rewriter, loc, pairs);
    rewriter.replaceOpWithNewOp<vector::ShapeCastOp>(op, type, *odd ? split.getRes2() : split.getRes1());
    return success();
  }

  /// 0 or 1 where it can be seen.
  static std::optional<int64_t> parity(OpFoldResult offset) {
    if (std::optional<int64_t> constant = getConstantIntValue(offset))
      return *constant % 2;
    auto apply = cast<Value>(offset).getDefiningOp<affine::AffineApplyOp>();
    if (!apply)
      return std::nullopt;
    AffineExpr expr = apply.getAffineMap().getResult(0);
    if (expr.isMultipleOf(2))
      return 0;
    return (expr + 1).isMultipleOf(2) ? std::optional<int64_t>(1) : std::nullopt;
  }
};

struct FlattenVectorsPass : v4::impl::FlattenVectorsPassBase<FlattenVectorsPass> {
  void runOnOperation() override {
    RewritePatternSet own(&getContext());
    own.add<ReadPairs, StretchInPlace>(&getContext());
    RewritePatternSet maps(&getContext());
    vector::populateVectorTransferPermutationMapLoweringPatterns(maps);
    if (failed(applyPatternsGreedily(getOperation(), std::move(own))) ||
        failed(applyPatternsGreedily(getOperation(), std::move(maps))))
      return signalPassFailure();
    // Not single elements, and not the broadcasts that are left: the patterns read past the end of the shape of a
    // vector of ones, and of a buffer of lower rank than the vector.
    SmallVector<Operation *> transfers;
    getOperation()->walk([&](VectorTransferOpInterface op) {
      VectorType type = op.getVectorType();
      if (type.getNumElements() > 1 && type.getRank() <= op.getShapedType().getRank())
        transfers.push_back(op);
    });
    RewritePatternSet flatten(&getContext()), casts(&getContext());
    vector::populateFlattenVectorTransferPatterns(flatten);
    vector::populateVectorShapeCastLoweringPatterns(casts);
    auto config = GreedyRewriteConfig().setStrictness(GreedyRewriteStrictness::ExistingAndNewOps);
    if (failed(applyOpPatternsGreedily(transfers, std::move(flatten), config)) ||
        failed(applyPatternsGreedily(getOperation(), std::move(casts))))
      signalPassFailure();
  }
};
} // namespace
