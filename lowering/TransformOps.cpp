// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Transform ops of v4c's schedules.

#include "lowering/TransformOps.h"

#include "dialects/V4.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/Transforms/TileUsingInterface.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Transform/IR/TransformDialect.h"

using namespace mlir;

#define GET_OP_CLASSES
#include "lowering/TransformOps.cpp.inc"

static bool hasReduction(Operation *op) {
  auto linalgOp = dyn_cast<linalg::LinalgOp>(op);
  return linalgOp && linalgOp.getNumReductionLoops() > 0;
}

DiagnosedSilenceableFailure transform::TileTransformOp::applyToOne(transform::TransformRewriter &rewriter,
                                                                     Operation *target,
                                                                     transform::ApplyToEachResultList &results,
                                                                     transform::TransformState &state) {
  auto op = dyn_cast<linalg::LinalgOp>(target);
  if (!op || op.hasDynamicShape())
    return emitDefiniteFailure("expected a linalg op of static shape, found ") << target->getName();
  SmallVector<int64_t> counts = op.getStaticLoopRanges();
  SmallVector<utils::IteratorType> kinds = op.getIteratorTypesArray();
  int64_t points = 1;
  for (int64_t count : counts)
    points *= count;

  // Sizes by role: lanes for the last loop, rows right-aligned for the other parallel loops.
  SmallVector<int64_t> sizes(counts.size(), 0);
  ArrayRef<int64_t> rows = getRows();
  bool tiles = false;
  for (int64_t i = counts.size() - 1, row = rows.size() - 1; i >= 0; --i) {
    int64_t size = 0;
    if (i == static_cast<int64_t>(counts.size()) - 1)
      size = getLanes();
    else if (kinds[i] == utils::IteratorType::reduction)
      size = getReduction();
    else if (row >= 0)
      size = rows[row--];
    if (size == 0)
      continue;
    size = v4::largestDivisor(counts[i], size);
    if (size != counts[i])
      sizes[i] = size, tiles = true;
  }
  if (!tiles || points <= static_cast<int64_t>(getUnlessBelow())) {
    results.push_back(target);
    return DiagnosedSilenceableFailure::success();
  }

  // Reduction loops innermost: an accumulator then stays in registers.
  SmallVector<int64_t> order;
  for (auto kind : {utils::IteratorType::parallel, utils::IteratorType::reduction})
    for (auto [i, actual] : llvm::enumerate(kinds))
      if (actual == kind)
        order.push_back(i);

  scf::SCFTileAndFuseOptions options;
  SmallVector<OpFoldResult> foldedSizes;
  for (int64_t size : sizes)
    foldedSizes.push_back(rewriter.getIndexAttr(size));
  options.tilingOptions.setTileSizes(foldedSizes).setInterchange(order);
  std::optional<StringRef> fuse = getFuse();
  Block *block = target->getBlock();
  // Whether every loop that is made moves on in the operand that `producer` is: else its tiles are computed repeatedly.
  auto isWalkedByAll = [&](OpResult producer) {
    for (OpOperand &operand : op->getOpOperands())
      if (operand.get() == producer)
        for (auto [i, size] : llvm::enumerate(sizes))
          if (size != 0 && !op.getMatchingIndexingMap(&operand).isFunctionOfDim(i))
            return false;
    return true;
  };
  bool tilesReduction = false;
  for (auto [kind, size] : llvm::zip(kinds, sizes))
    tilesReduction |= kind == utils::IteratorType::reduction && size != 0;
  options.setFusionControlFn([&](tensor::ExtractSliceOp slice, OpResult producer, bool isDestination)
                                 -> std::optional<scf::SCFTileAndFuseOptions::ControlFnResult> {
    if (!fuse || slice.getSourceType() == slice.getResultType())
      return std::nullopt;
    // What a sum starts from is computed before its first step, not in every one.
    if (isDestination && tilesReduction)
      return std::nullopt;
    if (*fuse == "all" || hasReduction(producer.getOwner()) || isa<linalg::FillOp>(producer.getOwner()))
      return scf::SCFTileAndFuseOptions::ControlFnResult{};
    if (*fuse == "local" && producer.getOwner()->getBlock() == block && isWalkedByAll(producer))
      return scf::SCFTileAndFuseOptions::ControlFnResult{};
    return std::nullopt;
  });
  rewriter.setInsertionPoint(target);
  FailureOr<scf::SCFTileAndFuseResult> tiled =
      scf::tileConsumerAndFuseProducersUsingSCF(rewriter, cast<TilingInterface>(target), options);
  if (failed(tiled))
    return emitDefiniteFailure("tiling failed: ") << *target;
  SmallVector<Value> replacements;
  for (Value result : target->getResults())
    replacements.push_back(tiled->replacements.lookup(result));
  rewriter.replaceOp(target, replacements);
  results.push_back(tiled->tiledAndFusedOps.front());
  return DiagnosedSilenceableFailure::success();
}

namespace {
class V4TransformExtension : public transform::TransformDialectExtension<V4TransformExtension> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(V4TransformExtension)
  V4TransformExtension() {
    declareGeneratedDialect<scf::SCFDialect>();
    declareGeneratedDialect<tensor::TensorDialect>();
    registerTransformOps<
#define GET_OP_LIST
#include "lowering/TransformOps.cpp.inc"
        >();
  }
};
} // namespace

void v4::registerTransformOps(DialectRegistry &registry) { registry.addExtensions<V4TransformExtension>(); }
