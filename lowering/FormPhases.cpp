// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-form-phases: the ops of a kernel become phases, each one grid of workgroups over tiles.

#include "lowering/Passes.h"
#include "lowering/nvptx/GpuTemplates.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_FORMPHASESPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

namespace {
/// Consecutive ops that share one grid: the same loops, and every value that passes between them is walked by the
/// same loops on both sides, so that a tile of the consumer needs just the same tile of the producer.
struct Nest {
  SmallVector<TileInterface> ops;
  SmallVector<int64_t> counts, sizes;
};

/// Offsets and sizes of a tile in a tensor.
struct Slice {
  SmallVector<OpFoldResult> offsets, sizes, strides;
  /// With every dimension, and without those that tiles lack.
  RankedTensorType fullType, type;
  bool isWhole = true;

  /// The dimensions of `fullType` by those of `type`; the dropped ones come first.
  SmallVector<ReassociationIndices> reassociation() const {
    int64_t dropped = fullType.getRank() - type.getRank();
    SmallVector<ReassociationIndices> groups(type.getRank());
    for (int64_t i = 0; i < fullType.getRank(); ++i)
      groups[std::max<int64_t>(0, i - dropped)].push_back(i);
    return groups;
  }
};
} // namespace

static Slice sliceOf(OpBuilder &b, Location loc, RankedTensorType type, ArrayRef<TileDim> dims,
                     ArrayRef<OpFoldResult> offsets, ArrayRef<int64_t> sizes) {
  Slice slice;
  SmallVector<int64_t> full, shape;
  for (auto [i, dim] : llvm::enumerate(dims)) {
    OpFoldResult offset = b.getIndexAttr(0);
    int64_t size = type.getDimSize(i);
    if (dim.loop >= 0) {
      size = dim.step == 1 ? sizes[dim.loop] : llvm::divideCeil(sizes[dim.loop], dim.step);
      slice.isWhole &= size == type.getDimSize(i) && !dim.dropped;
      AffineExpr d0 = b.getAffineDimExpr(0);
      offset = dim.step == 1
                   ? offsets[dim.loop]
                   : affine::makeComposedFoldedAffineApply(b, loc, d0.floorDiv(dim.step), {offsets[dim.loop]});
    }
    full.push_back(size);
    if (!dim.dropped)
      shape.push_back(size);
    slice.offsets.push_back(offset);
    slice.sizes.push_back(b.getIndexAttr(size));
    slice.strides.push_back(b.getIndexAttr(1));
  }
  slice.fullType = RankedTensorType::get(full, type.getElementType());
  slice.type = RankedTensorType::get(shape, type.getElementType());
  return slice;
}

static bool canJoin(const Nest &nest, TileInterface op, ArrayRef<int64_t> sizes) {
  if (op.getLoopSizes() != nest.counts || sizes != ArrayRef(nest.sizes) || nest.counts.empty())
    return false;
  for (OpOperand &operand : op->getOpOperands()) {
    Operation *producer = operand.get().getDefiningOp();
    if (!producer)
      continue;
    if (llvm::is_contained(nest.ops, producer)) {
      unsigned number = cast<OpResult>(operand.get()).getResultNumber();
      if (cast<TileInterface>(producer).getResultTile(number) != op.getOperandTile(operand))
        return false;
      continue;
    }
    // A value computed between the ops of the nest (a view of one of them) is not there yet where the nest runs.
    if (!isa<TileInterface>(producer) && producer->getBlock() == op->getBlock() &&
        nest.ops.front()->isBeforeInBlock(producer))
      return false;
  }
  return true;
}

namespace {
struct FormPhasesPass : v4::impl::FormPhasesPassBase<FormPhasesPass> {
  using FormPhasesPassBase::FormPhasesPassBase;

  void runOnOperation() override {
    func::FuncOp func = getOperation();
    SmallVector<Nest> nests;
    for (Operation &op : func.getBody().front()) {
      auto tile = dyn_cast<TileInterface>(op);
      if (!tile)
        continue;
      SmallVector<int64_t> sizes = tileSizes(tile);
      if (!nests.empty() && canJoin(nests.back(), tile, sizes)) {
        nests.back().ops.push_back(tile);
        continue;
      }
      nests.push_back(Nest{{tile}, tile.getLoopSizes(), sizes});
    }
    for (Nest &nest : nests)
      createPhase(func, nest);
  }

private:
  SmallVector<int64_t> tileSizes(TileInterface op) {
    if (const GpuTarget *gpu = findGpuTarget(target))
      for (const GpuTemplate &entry : getGpuTemplates())
        if (entry.tileSizes)
          if (std::optional<SmallVector<int64_t>> sizes = entry.tileSizes(op, *gpu))
            return *sizes;
    return op.getTileSizes();
  }

  void createPhase(func::FuncOp func, Nest &nest) {
    Operation *last = nest.ops.back();
    Location loc = last->getLoc();
    OpBuilder b(last);
    Operation *terminator = func.getBody().front().getTerminator();

    // 1. Values that leave the nest, and where each is written: the state it updates, the kernel's output, or a
    //    temporary of the kernel.
    struct Escape {
      OpResult result;
      Value destination;
    };
    SmallVector<Escape> escapes;
    for (TileInterface op : nest.ops)
      for (OpResult result : op->getResults()) {
        if (llvm::all_of(result.getUsers(), [&](Operation *user) { return llvm::is_contained(nest.ops, user); }))
          continue;
        if (OpOperand *operand = op.getTiedOperand(result.getResultNumber())) {
          escapes.push_back({result, operand->get()});
          continue;
        }
        Value destination;
        for (OpOperand &use : result.getUses())
          if (use.getOwner() == terminator)
            destination =
                func.getArgument(func.getNumArguments() - terminator->getNumOperands() + use.getOperandNumber());
        if (!destination) {
          auto type = cast<RankedTensorType>(result.getType());
          // Not a tensor.empty: cse would make one of those of several phases.
          destination = bufferization::AllocTensorOp::create(b, loc, type, ValueRange());
        }
        escapes.push_back({result, destination});
      }

    SmallVector<Type> types;
    for (Escape &escape : escapes)
      types.push_back(escape.result.getType());
    auto phase = PhaseOp::create(b, loc, types);
    Block &body = phase.getBody().emplaceBlock();
    b.setInsertionPointToStart(&body);

    bool single = true;
    SmallVector<OpFoldResult> lower, upper, steps;
    for (auto [count, size] : llvm::zip(nest.counts, nest.sizes)) {
      single &= count == size;
      lower.push_back(b.getIndexAttr(0));
      upper.push_back(b.getIndexAttr(count));
      steps.push_back(b.getIndexAttr(size));
    }
    SmallVector<Value> yielded;
    if (single) {
      // 2a. One workgroup: the ops themselves, steered into their destinations.
      IRMapping map;
      for (TileInterface op : nest.ops)
        b.clone(*op, map);
      for (Escape &escape : escapes) {
        Value value = map.lookup(Value(escape.result));
        yielded.push_back(
            bufferization::MaterializeInDestinationOp::create(b, loc, value.getType(), value, escape.destination)
                .getResult());
      }
    } else {
      // 2b. A grid: cut the operands, clone the ops on the tiles, put the tiles in place.
      SmallVector<Value> outs;
      for (Escape &escape : escapes)
        outs.push_back(escape.destination);
      auto forall = scf::ForallOp::create(b, loc, lower, upper, steps, outs, std::nullopt);
      OpBuilder inner(forall.getTerminator());
      SmallVector<OpFoldResult> offsets = getAsOpFoldResult(forall.getInductionVars());
      // A state is read where its tile is written.
      DenseMap<OpOperand *, Value> statesOf;
      for (auto [escape, out] : llvm::zip(escapes, forall.getRegionIterArgs())) {
        auto op = cast<TileInterface>(escape.result.getOwner());
        if (OpOperand *tied = op.getTiedOperand(escape.result.getResultNumber()))
          statesOf[tied] = out;
      }
      IRMapping map;
      for (TileInterface op : nest.ops) {
        SmallVector<Value> operands;
        for (OpOperand &operand : op->getOpOperands()) {
          if (Value mapped = map.lookupOrNull(operand.get())) {
            operands.push_back(mapped);
            continue;
          }
          auto type = dyn_cast<RankedTensorType>(operand.get().getType());
          Value state = statesOf.lookup(&operand), value = state ? state : operand.get();
          if (type) {
            Slice slice = sliceOf(inner, loc, type, op.getOperandTile(operand), offsets, nest.sizes);
            // The slot of a state that is updated: taken out as a view, since parts of it are not merged with the slice
            // in front of a view, and bufferization must see that they are written into what they were read from.
            RankedTensorType cut = state ? slice.fullType : slice.type;
            if (!slice.isWhole)
              value = tensor::ExtractSliceOp::create(inner, loc, cut, value, slice.offsets, slice.sizes, slice.strides);
            if (cut != slice.type)
              value = tensor::CollapseShapeOp::create(inner, loc, slice.type, value, slice.reassociation());
          }
          operands.push_back(value);
        }
        SmallVector<Type> resultTypes;
        for (OpResult result : op->getResults())
          resultTypes.push_back(sliceOf(inner, loc, cast<RankedTensorType>(result.getType()),
                                        op.getResultTile(result.getResultNumber()), offsets, nest.sizes)
                                    .type);
        auto tile = cast<TileInterface>(mlir::clone(inner, op, resultTypes, operands));
        inner.setInsertionPoint(tile);
        tile.adjustTile(inner, offsets);
        inner.setInsertionPoint(forall.getTerminator());
        map.map(op->getResults(), tile->getResults());
      }
      OpBuilder end(forall.getTerminator().getBody(), forall.getTerminator().getBody()->begin());
      for (auto [escape, out] : llvm::zip(escapes, forall.getRegionIterArgs())) {
        auto op = cast<TileInterface>(escape.result.getOwner());
        inner.setInsertionPoint(forall.getTerminator());
        Slice slice = sliceOf(inner, loc, cast<RankedTensorType>(out.getType()),
                              op.getResultTile(escape.result.getResultNumber()), offsets, nest.sizes);
        end.setInsertionPointToEnd(forall.getTerminator().getBody());
        Value tile = map.lookup(Value(escape.result));
        if (op.getTiedOperand(escape.result.getResultNumber()) && slice.type != slice.fullType)
          tile = tensor::ExpandShapeOp::create(inner, loc, slice.fullType, tile, slice.reassociation());
        tensor::ParallelInsertSliceOp::create(end, loc, tile, out, slice.offsets, slice.sizes, slice.strides);
      }
      b.setInsertionPointAfter(forall);
      yielded.append(forall->result_begin(), forall->result_end());
    }
    YieldOp::create(b, loc, yielded);
    for (auto [escape, result] : llvm::zip(escapes, phase.getResults()))
      escape.result.replaceUsesWithIf(result, [&](OpOperand &use) {
        return !llvm::is_contained(nest.ops, use.getOwner()) && !phase->isAncestor(use.getOwner());
      });
    for (TileInterface op : llvm::reverse(nest.ops))
      op->erase();
  }
};
} // namespace
