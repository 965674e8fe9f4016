// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-flatten-vectors: transfers of contiguous rows as one-dimensional vectors.

#include "lowering/Passes.h"

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
struct FlattenVectorsPass : v4::impl::FlattenVectorsPassBase<FlattenVectorsPass> {
  void runOnOperation() override {
    // Broadcasts leave the transfers first: the patterns that flatten read past the shape of a buffer of lower rank.
    RewritePatternSet maps(&getContext());
    vector::populateVectorTransferPermutationMapLoweringPatterns(maps);
    RewritePatternSet flatten(&getContext());
    vector::populateFlattenVectorTransferPatterns(flatten);
    vector::populateVectorShapeCastLoweringPatterns(flatten);
    if (failed(applyPatternsGreedily(getOperation(), std::move(maps))) ||
        failed(applyPatternsGreedily(getOperation(), std::move(flatten))))
      signalPassFailure();
  }
};
} // namespace
