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
    RewritePatternSet patterns(&getContext());
    vector::populateFlattenVectorTransferPatterns(patterns);
    vector::populateVectorTransferPermutationMapLoweringPatterns(patterns);
    vector::populateVectorShapeCastLoweringPatterns(patterns);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace
