// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-split-reductions: keys of attention and indexer, and columns of hyper-connections, become parts when rows are
// few; on GPUs channels of compressors and rows of contexts are parts too.

#include "lowering/Passes.h"
#include "lowering/nvptx/templates/Rows.h"
#include "lowering/templates/KernelBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_SPLITREDUCTIONSPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

/// Calls of this many rows occupy the threads with whole rows.
constexpr int64_t kManyRows = 8;
/// Most parts, and the fewest keys for which one is worth starting.
constexpr int64_t kMaxParts = 16, kPartKeys = 64;
/// Most columns of a part of hyper-connections, and the fewest parts that are worth a second phase.
constexpr int64_t kPartColumns = 1024, kFewParts = 4;
/// Rows of a context that one workgroup makes.
constexpr int64_t kContextRows = 16;
/// Heads that one workgroup combines.
constexpr int64_t kCombinedHeads = 4;

static int64_t countParts(int64_t rows, int64_t keys) {
  return rows >= kManyRows ? 1 : std::min<int64_t>(kMaxParts, llvm::divideCeil(keys, kPartKeys));
}

static ArrayRef<int64_t> shapeOf(Value value) { return cast<RankedTensorType>(value.getType()).getShape(); }
/// Rows of a state, [rows, c] or with slots [slots, rows, c].
static int64_t rowsOf(Value state) { return *(shapeOf(state).end() - 2); }

namespace {
/// Builds phases in front of an op.
class PhaseBuilder : ImplicitLocOpBuilder {
public:
  PhaseBuilder(Operation *op, bool isGpu) : ImplicitLocOpBuilder(op->getLoc(), op), op(op), isGpu(isGpu) {}

  Value zero() { return arith::ConstantIndexOp::create(*this, 0); }
  Value empty(ArrayRef<int64_t> shape, Type element) { return tensor::EmptyOp::create(*this, shape, element); }

  /// Where the kernel wants a result of the op: an output, or a temporary.
  Value findDestination(unsigned result = 0) {
    auto func = op->getParentOfType<func::FuncOp>();
    Operation *end = func.getBody().front().getTerminator();
    for (OpOperand &use : op->getResult(result).getUses())
      if (use.getOwner() == end)
        return func.getArgument(func.getNumArguments() - end->getNumOperands() + use.getOperandNumber());
    auto type = cast<RankedTensorType>(op->getResult(result).getType());
    return empty(type.getShape(), type.getElementType());
  }

  /// The slice of the leading dimensions at `offsets`, of `sizes`; without the first one when `dropped`.
  Value slice(Value tensor, ValueRange offsets, ArrayRef<int64_t> sizes, bool dropped = false) {
    auto type = cast<RankedTensorType>(tensor.getType());
    SmallVector<OpFoldResult> at, extents, strides(type.getRank(), getIndexAttr(1));
    SmallVector<int64_t> shape(type.getShape());
    for (int64_t i = 0; i < type.getRank(); ++i) {
      bool isCut = i < static_cast<int64_t>(offsets.size());
      at.push_back(isCut ? OpFoldResult(offsets[i]) : getIndexAttr(0));
      if (isCut)
        shape[i] = sizes[i];
      extents.push_back(getIndexAttr(shape[i]));
    }
    type = type.clone(ArrayRef(shape).drop_front(dropped ? 1 : 0));
    return tensor::ExtractSliceOp::create(*this, type, tensor, at, extents, strides);
  }

  /// A phase with a grid of kernels `name`. The loops of the grid walk the leading dimensions of `outs`; `inputs` gets
  /// their induction variables.
  ValueRange phase(StringRef name, ArrayRef<int64_t> counts, ArrayRef<int64_t> steps, ValueRange outs,
                   function_ref<SmallVector<Value>(ValueRange)> inputs, function_ref<void(KernelOp)> setAttributes) {
    auto phase = PhaseOp::create(*this, outs.getTypes());
    OpBuilder::InsertionGuard guard(*this);
    setInsertionPointToStart(&phase.getBody().emplaceBlock());
    SmallVector<OpFoldResult> lower(counts.size(), getIndexAttr(0)), upper, step;
    for (auto [count, size] : llvm::zip_equal(counts, steps)) {
      upper.push_back(getIndexAttr(count));
      step.push_back(getIndexAttr(size));
    }
    auto forall = scf::ForallOp::create(*this, lower, upper, step, outs, std::nullopt);
    YieldOp::create(*this, forall.getResults());
    setInsertionPoint(forall.getTerminator());
    SmallVector<Value> ids = forall.getInductionVars();
    SmallVector<Value> tiles;
    for (Value out : forall.getRegionIterArgs())
      tiles.push_back(slice(out, ids, steps));
    auto kernel = KernelOp::create(*this, ValueRange(tiles).getTypes(), name, inputs(ids), tiles);
    setAttributes(kernel);
    if (isGpu)
      setThreads(kernel, kRowThreads);
    setInsertionPointToStart(forall.getTerminator().getBody());
    for (auto [tile, out, result] : llvm::zip(tiles, forall.getRegionIterArgs(), kernel.getResults())) {
      auto part = tile.getDefiningOp<tensor::ExtractSliceOp>();
      tensor::ParallelInsertSliceOp::create(*this, result, out, part.getMixedOffsets(), part.getMixedSizes(),
                                            part.getMixedStrides());
    }
    return phase.getResults();
  }

  /// A phase with a grid of kernels `compress` over slots and channels: a phase of `op`, whose states it updates.
  ValueRange compressPhase(CompressOp op, int64_t channels) {
    int64_t halves = op.getOverlap() ? 2 : 1, width = shapeOf(op.getEntries())[1];
    int64_t slots = shapeOf(op.getKvRows()).size() == 3 ? shapeOf(op.getKvRows())[0] : 0;
    auto phase = PhaseOp::create(*this, op.getResultTypes());
    SmallVector<Value> states = {op.getKvRows(), op.getScoreRows()};
    Value entries = findDestination();
    OpBuilder::InsertionGuard guard(*this);
    setInsertionPointToStart(&phase.getBody().emplaceBlock());

    // 1. Channels as a dimension of their own, states with one for the slot.
    auto split = [&](Value tensor) {
      SmallVector<int64_t> shape(shapeOf(tensor).drop_back());
      shape.append({halves, width});
      return expand(tensor, shape, {{0}, {1, 2}});
    };
    SmallVector<ReassociationIndices> ofState = slots ? SmallVector<ReassociationIndices>{{0}, {1}, {2, 3}}
                                                      : SmallVector<ReassociationIndices>{{0, 1}, {2, 3}};
    SmallVector<Value> outs = {entries};
    for (Value state : states)
      outs.push_back(expand(state, {std::max<int64_t>(slots, 1), rowsOf(state), halves, width}, ofState));
    SmallVector<Value> rows = {split(op.getKv()), split(op.getGate()), split(op.getApe())};

    // 2. The grid. With slots a row of the call, and an entry, belongs to each.
    SmallVector<OpFoldResult> lower(2, getIndexAttr(0));
    SmallVector<OpFoldResult> upper = {getIndexAttr(std::max<int64_t>(slots, 1)), getIndexAttr(width)};
    SmallVector<OpFoldResult> step = {getIndexAttr(1), getIndexAttr(channels)};
    auto forall = scf::ForallOp::create(*this, lower, upper, step, outs, std::nullopt);
    setInsertionPoint(forall.getTerminator());
    Value slot = forall.getInductionVars()[0], channel = forall.getInductionVars()[1];
    auto cut = [&](Value tensor, bool ofSlot) {
      auto type = cast<RankedTensorType>(tensor.getType());
      SmallVector<OpFoldResult> at(type.getRank(), getIndexAttr(0)), extents, strides(type.getRank(), getIndexAttr(1));
      SmallVector<int64_t> shape(type.getShape());
      at.back() = channel;
      shape.back() = channels;
      if (ofSlot) {
        at.front() = slot;
        shape.front() = 1;
      }
      for (int64_t size : shape)
        extents.push_back(getIndexAttr(size));
      return tensor::ExtractSliceOp::create(*this, type.clone(shape), tensor, at, extents, strides);
    };
    SmallVector<Value> inputs = {cut(rows[0], slots), cut(rows[1], slots), cut(rows[2], false),
                                 slots ? slice(op.getSpan(), slot, 1) : op.getSpan()};
    SmallVector<tensor::ExtractSliceOp> tiles;
    for (auto [i, out] : llvm::enumerate(forall.getRegionIterArgs()))
      tiles.push_back(cut(out, slots || i > 0));
    auto kernel = KernelOp::create(*this, ValueRange(llvm::to_vector_of<Value>(tiles)).getTypes(), "compress", inputs,
                                   llvm::to_vector_of<Value>(tiles));
    setThreads(kernel, kRowThreads);
    setInsertionPointToStart(forall.getTerminator().getBody());
    for (auto [tile, out, result] : llvm::zip(tiles, forall.getRegionIterArgs(), kernel.getResults()))
      tensor::ParallelInsertSliceOp::create(*this, result, out, tile.getMixedOffsets(), tile.getMixedSizes(),
                                            tile.getMixedStrides());

    // 3. The states as they were.
    setInsertionPointAfter(forall);
    SmallVector<Value> results = {forall.getResult(0)};
    for (unsigned i : {1, 2})
      results.push_back(tensor::CollapseShapeOp::create(*this, cast<RankedTensorType>(op->getResult(i).getType()),
                                                        forall.getResult(i), ofState));
    YieldOp::create(*this, results);
    return phase.getResults();
  }

private:
  Value expand(Value tensor, ArrayRef<int64_t> shape, ArrayRef<ReassociationIndices> groups) {
    auto type = RankedTensorType::get(shape, cast<RankedTensorType>(tensor.getType()).getElementType());
    return tensor::ExpandShapeOp::create(*this, type, tensor, groups);
  }

  Operation *op;
  bool isGpu;
};

struct SplitReductionsPass : v4::impl::SplitReductionsPassBase<SplitReductionsPass> {
  using SplitReductionsPassBase::SplitReductionsPassBase;

  void runOnOperation() override {
    isGpu = findGpuTarget(target);
    SmallVector<Operation *> ops;
    getOperation()->walk([&](Operation *op) {
      // Rounding points belong to the order of the decomposition.
      if (isa<HcPreOp, IndexTopKOp, SparseAttentionOp>(op) && !op->hasAttr("rounded"))
        ops.push_back(op);
      // A CPU has no templates for these.
      if (isGpu && isa<CompressOp, HcHeadOp, WindowContextOp>(op))
        ops.push_back(op);
    });
    for (Operation *op : ops)
      if (auto attention = dyn_cast<SparseAttentionOp>(op))
        splitAttention(attention);
      else if (auto index = dyn_cast<IndexTopKOp>(op))
        splitIndex(index);
      else if (auto compress = dyn_cast<CompressOp>(op))
        splitChannels(compress);
      else if (auto context = dyn_cast<WindowContextOp>(op))
        splitContext(context);
      else if (auto head = dyn_cast<HcHeadOp>(op))
        splitMix(head);
      else
        splitMix(cast<HcPreOp>(op));
  }

private:
  /// The operands of `op` at row `row`, then the number of the part.
  static SmallVector<Value> inputsOfPart(PhaseBuilder &b, TileInterface op, ValueRange ids) {
    SmallVector<Value> inputs;
    for (OpOperand &operand : op->getOpOperands()) {
      SmallVector<TileDim> dims = op.getOperandTile(operand);
      bool isCut = !dims.empty() && dims[0].loop == 0;
      inputs.push_back(isCut ? b.slice(operand.get(), ids[0], 1, dims[0].dropped) : operand.get());
    }
    inputs.push_back(ids[1]);
    return inputs;
  }

  /// v4.hc_pre or, on GPUs, v4.hc_head: they have the same operands and attributes up to those of Sinkhorn.
  template <typename Op>
  void splitMix(Op op) {
    ArrayRef<int64_t> shape = shapeOf(op.getStreams());
    int64_t rows = shape[0], streams = shape[1], width = shape[2], products = shapeOf(op.getFn())[0];
    int64_t columns = isGpu ? mixColumns(streams, width) : hostMixColumns(rows, streams, width);
    if (!columns)
      return;
    int64_t parts = streams * width / columns, tile = isGpu ? largestDivisor(rows, kMixRows) : 1;
    PhaseBuilder b(op, isGpu);
    auto integer = [&](int64_t value) { return IntegerAttr::get(IntegerType::get(op.getContext(), 64), value); };
    Value sums = b.phase(
        "hc_mix", {rows, parts}, {tile, 1}, b.empty({rows, parts, products + 1}, Float32Type::get(op.getContext())),
        [&](ValueRange ids) {
          return SmallVector<Value>{b.slice(op.getStreams(), ids[0], tile), op.getFn(), ids[1]};
        },
        [&](KernelOp kernel) { kernel->setAttr("columns", integer(columns)); })[0];
    SmallVector<Value> outs;
    for (unsigned i = 0; i < op->getNumResults(); ++i)
      outs.push_back(b.findDestination(i));
    ValueRange results = b.phase(
        "hc_close", {rows}, {1}, outs,
        [&](ValueRange ids) {
          return SmallVector<Value>{b.slice(sums, ids[0], 1), b.slice(op.getStreams(), ids[0], 1), op.getScale(),
                                    op.getBase()};
        },
        [&](KernelOp kernel) {
          kernel->setAttr("eps", op.getEpsAttr());
          kernel->setAttr("hc_eps", op.getHcEpsAttr());
          if constexpr (std::is_same_v<Op, HcPreOp>)
            kernel->setAttr("iterations", op.getIterationsAttr());
        });
    op->replaceAllUsesWith(results);
    op->erase();
  }

  /// Columns of a part on a CPU, or 0 where the rows occupy the threads or the parts are not worth a second phase.
  static int64_t hostMixColumns(int64_t rows, int64_t streams, int64_t width) {
    if (rows >= kManyRows || width % kVector)
      return 0;
    int64_t columns = largestDivisor(width / kVector, kPartColumns / kVector) * kVector;
    return columns < kPartColumns / 4 || streams * width / columns < kFewParts ? 0 : columns;
  }

  void splitChannels(CompressOp op) {
    int64_t channels = compressedChannels(op.getRatio(), op.getOverlap(), shapeOf(op.getEntries())[1]);
    if (!channels)
      return;
    op->replaceAllUsesWith(PhaseBuilder(op, isGpu).compressPhase(op, channels));
    op->erase();
  }

  void splitContext(WindowContextOp op) {
    int64_t rows = shapeOf(op.getResult())[0], tile = largestDivisor(rows, kContextRows);
    PhaseBuilder b(op, isGpu);
    ValueRange result = b.phase(
        "window_context", {rows}, {tile}, b.findDestination(),
        [&](ValueRange ids) { return SmallVector<Value>{op.getKv(), op.getRing(), op.getSpan(), ids[0]}; },
        [](KernelOp) {});
    op.replaceAllUsesWith(result[0]);
    op.erase();
  }

  void splitIndex(IndexTopKOp op) {
    int64_t rows = shapeOf(op.getResult())[0], k = shapeOf(op.getResult())[1], keys = rowsOf(op.getKeys());
    // Rows that see no more than k keys score none of them.
    int64_t parts = keys == k ? 1 : countParts(rows, keys);
    if (parts == 1 || (isGpu && !fitsBlock(op)))
      return;
    PhaseBuilder b(op, isGpu);
    Type element = op.getResult().getType().getElementType();
    SmallVector<Value> lists = {b.empty({rows, parts, 2, k}, element), b.empty({rows, parts}, element)};
    lists = b.phase(
        "index_top_k", {rows, parts}, {1, 1}, lists,
        [&](ValueRange ids) { return inputsOfPart(b, cast<TileInterface>(op.getOperation()), ids); },
        [&](KernelOp kernel) {
          setIndexAttributes(op, kernel);
          kernel->setAttr("parts", IntegerAttr::get(IntegerType::get(op.getContext(), 64), parts));
        });
    ValueRange result = b.phase(
        "merge_top_k", {rows}, {1}, b.findDestination(),
        [&](ValueRange ids) {
          return SmallVector<Value>{b.slice(lists[0], ids[0], 1), b.slice(lists[1], ids[0], 1),
                                    b.slice(op.getPositions(), ids[0], 1)};
        },
        [&](KernelOp kernel) {
          kernel->setAttr("ratio", op.getRatioAttr());
          kernel->setAttr("columns", IntegerAttr::get(IntegerType::get(op.getContext(), 64), keys));
        });
    op.replaceAllUsesWith(result[0]);
    op.erase();
  }

  void splitAttention(SparseAttentionOp op) {
    int64_t rows = shapeOf(op.getQuery())[0], heads = shapeOf(op.getQuery())[1], width = shapeOf(op.getQuery())[2];
    int64_t keys = op.getWindowSize();
    if (op.getSelected())
      keys += std::min(rowsOf(op.getEntries()), shapeOf(op.getSelected())[1]);
    else if (op.getEntries())
      keys += rowsOf(op.getEntries());
    int64_t parts = countParts(rows, keys);
    if (parts == 1 || (isGpu && !fitsBlock(op)))
      return;
    PhaseBuilder b(op, isGpu);
    Type element = Float32Type::get(op.getContext());
    // Maximum and sum of every part and head, and the weighted sum.
    SmallVector<Value> partial = {b.empty({rows, parts, 2, heads}, element),
                                  b.empty({rows, parts, heads, width}, element)};
    partial = b.phase(
        "attention", {rows, parts}, {1, 1}, partial,
        [&](ValueRange ids) { return inputsOfPart(b, cast<TileInterface>(op.getOperation()), ids); },
        [&](KernelOp kernel) {
          setAttentionAttributes(op, kernel);
          kernel->setAttr("parts", IntegerAttr::get(IntegerType::get(op.getContext(), 64), parts));
        });
    int64_t combined = largestDivisor(heads, kCombinedHeads);
    ValueRange result = b.phase(
        "combine_attention", {rows, heads}, {1, combined}, b.findDestination(),
        [&](ValueRange ids) {
          Value zero = b.zero();
          return SmallVector<Value>{b.slice(partial[0], {ids[0], zero, zero, ids[1]}, {1, parts, 2, combined}),
                                    b.slice(partial[1], {ids[0], zero, ids[1]}, {1, parts, combined}),
                                    b.slice(op.getSink(), ids[1], combined)};
        },
        [](KernelOp) {});
    op.replaceAllUsesWith(result[0]);
    op.erase();
  }

  bool isGpu = false;
};
} // namespace
