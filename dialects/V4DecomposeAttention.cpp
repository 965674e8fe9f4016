// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Decompositions of the attention ops: window, compressor, caches, indexer, sparse attention.

#include "dialects/V4Emit.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace mlir::v4;

using Results = FailureOr<SmallVector<Value>>;
using Pred = arith::CmpIPredicate;

static constexpr float kInfinity = std::numeric_limits<float>::infinity();

static Value start(Emit &e, Value span) {
  return e.toIndex(e.at(span, e.getIndexAttr(0)));
}

/// Valid rows of the call, never more than it has.
static Value length(Emit &e, Value span, int64_t rows) {
  return e.toIndex(e.clamp(e.at(span, e.getIndexAttr(1)), e.i32(0), e.i32(rows)));
}
static Value compare(Emit &e, Pred pred, Value a, Value b) {
  return arith::CmpIOp::create(e, pred, a, b);
}

//===----------------------------------------------------------------------===//
// Slots
//===----------------------------------------------------------------------===//

static bool hasSlots(TileInterface op) {
  return llvm::any_of(op->getOpOperands(), [&](OpOperand &operand) {
    return llvm::any_of(op.getOperandTile(operand), [](const TileDim &dim) { return dim.dropped; });
  });
}

/// The definition of an op with slots: that of the op without, for one slot after the other.
static Results decomposeSlots(OpBuilder &b, TileInterface op) {
  Emit e(b, op);
  struct Part {
    SmallVector<OpFoldResult> offsets;
    SmallVector<int64_t> sizes, drop;
  };
  // What loop 0 walks, at one slot.
  auto partOf = [&](Value value, ArrayRef<TileDim> dims, OpFoldResult slot) {
    Part part{SmallVector<OpFoldResult>(dims.size(), e.getIndexAttr(0)), SmallVector<int64_t>(shapeOf(value)), {}};
    for (auto [i, dim] : llvm::enumerate(dims)) {
      if (dim.loop != 0)
        continue;
      part.offsets[i] = slot;
      part.sizes[i] = 1;
      if (dim.dropped)
        part.drop.push_back(i);
    }
    return part;
  };
  SmallVector<Value> inits;
  for (OpResult result : op->getResults()) {
    OpOperand *tied = op.getTiedOperand(result.getResultNumber());
    inits.push_back(tied ? tied->get() : e.empty(shapeOf(result), tensorType(result).getElementType()));
  }
  return e.repeat(op.getLoopSizes()[0], inits, [&](OpFoldResult slot, ValueRange values) {
    SmallVector<Value> operands(op->getOperands());
    for (auto [number, value] : llvm::enumerate(values))
      if (OpOperand *tied = op.getTiedOperand(number))
        operands[tied->getOperandNumber()] = value;
    for (auto [operand, value] : llvm::zip_equal(op->getOpOperands(), operands))
      if (isa<RankedTensorType>(value.getType())) {
        Part part = partOf(value, op.getOperandTile(operand), slot);
        value = e.slice(value, part.offsets, part.sizes, part.drop);
      }
    SmallVector<Type> types;
    SmallVector<Part> parts;
    for (auto [number, value] : llvm::enumerate(values)) {
      parts.push_back(partOf(value, op.getResultTile(number), slot));
      SmallVector<int64_t> shape;
      for (auto [i, size] : llvm::enumerate(parts.back().sizes))
        if (!llvm::is_contained(parts.back().drop, static_cast<int64_t>(i)))
          shape.push_back(size);
      types.push_back(tensorType(value).clone(shape));
    }
    Operation *single = mlir::clone(e, op, types, operands);
    SmallVector<Value> results = *cast<linalg::AggregatedOpInterface>(single).decomposeOperation(e);
    single->erase();
    for (auto [value, result, part] : llvm::zip_equal(values, results, parts))
      result = e.insert(result, value, part.offsets, part.sizes);
    return results;
  });
}

//===----------------------------------------------------------------------===//
// Window
//===----------------------------------------------------------------------===//

Results WindowContextOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  int64_t window = sizeOf(getRing(), 0), rows = sizeOf(getKv(), 0);
  Value first = start(e, getSpan()), modulus = e.index(window);
  // The oldest position, start - w, is in the same slot as start.
  Value y = e.repeat(window, e.emptyLike(getResult()), [&](OpFoldResult i, ValueRange y) -> SmallVector<Value> {
    Value slot = isa<Value>(i) ? e.add(first, cast<Value>(i)) : first;
    return {e.copyRow(getRing(), e.rem(slot, modulus), y[0], i)};
  })[0];
  return SmallVector<Value>{e.copyRows(rows, getKv(), e.getIndexAttr(0), y, e.getIndexAttr(window))};
}

Results WindowAppendOp::decomposeOperation(OpBuilder &b) {
  if (hasSlots(*this))
    return decomposeSlots(b, *this);
  Emit e(b, *this);
  int64_t window = sizeOf(getRing(), 0), rows = sizeOf(getKv(), 0);
  Value first = start(e, getSpan()), count = length(e, getSpan(), rows), zero = e.index(0), modulus = e.index(window);
  if (rows == 1)
    return e.when(compare(e, Pred::sgt, count, zero), getRing(), [&](ValueRange ring) -> SmallVector<Value> {
      return {e.copyRow(getKv(), e.getIndexAttr(0), ring[0], e.rem(first, modulus))};
    });
  Value skipped = e.max(e.sub(count, modulus), zero);
  return e.loop(skipped, count, 1, getRing(), [&](Value i, ValueRange ring) -> SmallVector<Value> {
    return {e.copyRow(getKv(), i, ring[0], e.rem(e.add(first, i), modulus))};
  });
}

//===----------------------------------------------------------------------===//
// Compressed entries
//===----------------------------------------------------------------------===//

Results EntryPositionsOp::decomposeOperation(OpBuilder &b) {
  if (hasSlots(*this))
    return decomposeSlots(b, *this);
  Emit e(b, *this);
  Value ratio = e.i32(getRatio()), begin = e.at(getSpan(), e.getIndexAttr(0));
  Value end = e.add(begin, e.at(getSpan(), e.getIndexAttr(1))), block = e.div(begin, ratio);
  Value y = e.empty(shapeOf(getResult()), e.getI32Type());
  return SmallVector<Value>{e.generic({}, {y, {0}}, [&](ValueRange) {
    Value position = e.mul(e.add(block, e.iteration(0)), ratio);
    Value complete = compare(e, Pred::sle, e.add(position, ratio), end);
    return e.select(complete, position, e.i32(-1));
  })};
}

Results CacheAppendOp::decomposeOperation(OpBuilder &b) {
  if (hasSlots(*this))
    return decomposeSlots(b, *this);
  Emit e(b, *this);
  Value ratio = e.i32(getRatio()), zero = e.i32(0);
  return e.repeat(sizeOf(getEntries(), 0), getCache(), [&](OpFoldResult i, ValueRange cache) {
    Value position = e.at(getPositions(), i);
    return e.when(compare(e, Pred::sge, position, zero), cache, [&](ValueRange cache) -> SmallVector<Value> {
      return {e.copyRow(getEntries(), i, cache[0], e.toIndex(e.div(position, ratio)))};
    });
  });
}

namespace {
/// The rows that a compressor pools: values and scores [rows, m*c], m = 2 when blocks overlap.
struct Rows {
  Value kv, score;
};
} // namespace

/// Per channel, the softmax-weighted sum of a block whose rows begin at `first`; with overlap, the first half of the
/// channels of its r rows and the second half of the channels of the next r rows.
static Value poolBlock(Emit &e, Rows rows, OpFoldResult first, int64_t ratio, int64_t width, Value out) {
  int64_t parts = sizeOf(rows.kv, 1) / width;
  auto part = [&](Value tensor, int64_t index) {
    OpFoldResult row = first;
    if (index)
      row = isa<Value>(first) ? OpFoldResult(e.add(cast<Value>(first), e.index(ratio))) : e.getIndexAttr(ratio);
    return e.slice(tensor, {row, e.getIndexAttr(index * width)}, {ratio, width});
  };
  Value top = e.filled({width}, e.f32(-kInfinity));
  for (int64_t i = 0; i < parts; ++i)
    top = e.generic({{part(rows.score, i), {0, 1}}}, {top, {1}}, [&](ValueRange a) { return e.max(a[0], a[1]); });
  Value total = e.filled({width}, e.f32(0)), sum = total;
  for (int64_t i = 0; i < parts; ++i) {
    Value weight = e.generic({{part(rows.score, i), {0, 1}}, {top, {1}}}, {e.empty({ratio, width}), {0, 1}},
                             [&](ValueRange a) -> Value { return math::ExpOp::create(e, e.sub(a[0], a[1])); });
    total = e.generic({{weight, {0, 1}}}, {total, {1}}, [&](ValueRange a) { return e.add(a[0], a[1]); });
    sum = e.generic({{weight, {0, 1}}, {part(rows.kv, i), {0, 1}}}, {sum, {1}},
                    [&](ValueRange a) { return e.mulAdd(a[0], a[1], a[2]); });
  }
  return e.map({sum, total}, out, [&](ValueRange a) { return e.div(a[0], a[1]); });
}

/// Fills `count` rows with those of a block that holds nothing: they have no weight in a later softmax, and make the
/// state independent of how a sequence was split into calls.
static Value clearRows(Emit &e, Value tensor, int64_t first, int64_t count, float value) {
  SmallVector<OpFoldResult> offsets = {e.getIndexAttr(first), e.getIndexAttr(0)};
  SmallVector<int64_t> sizes = {count, sizeOf(tensor, 1)};
  return e.insert(e.fill(e.f32(value), e.slice(tensor, offsets, sizes)), tensor, offsets, sizes);
}

/// Row `from` of the call into row `to`: the value, and the score with its positional bias.
static Rows putRow(Emit &e, CompressOp op, OpFoldResult from, Value position, Rows rows, OpFoldResult to) {
  int64_t width = sizeOf(rows.kv, 1);
  OpFoldResult zero = e.getIndexAttr(0);
  Value bias = e.slice(op.getApe(), {e.rem(position, e.index(op.getRatio())), zero}, {1, width});
  Value target = e.slice(rows.score, {to, zero}, {1, width});
  target = e.map({e.slice(op.getGate(), {from, zero}, {1, width}), bias}, target,
                 [&](ValueRange a) { return e.add(a[0], a[1]); });
  return {e.copyRow(op.getKv(), from, rows.kv, to), e.insert(target, rows.score, {to, zero}, {1, width})};
}

/// One token: works on the state rows themselves, and pools only when the token completes a block.
static SmallVector<Value> compressToken(Emit &e, CompressOp op) {
  int64_t ratio = op.getRatio(), current = op.getOverlap() ? ratio : 0, width = sizeOf(op.getEntries(), 1);
  Value position = start(e, op.getSpan()), place = e.rem(position, e.index(ratio));
  Value valid = compare(e, Pred::sgt, length(e, op.getSpan(), 1), e.index(0));
  SmallVector<Value> state = {e.emptyLike(op.getEntries()), op.getKvRows(), op.getScoreRows()};
  return e.when(valid, state, [&](ValueRange state) {
    Rows rows =
        putRow(e, op, e.getIndexAttr(0), position, {state[1], state[2]}, OpFoldResult(e.add(place, e.index(current))));
    SmallVector<Value> next = {state[0], rows.kv, rows.score};
    Value completes = compare(e, Pred::eq, place, e.index(ratio - 1));
    return e.when(completes, next, [&](ValueRange state) -> SmallVector<Value> {
      Value entry =
          poolBlock(e, {state[1], state[2]}, e.getIndexAttr(0), ratio, width, e.row(state[0], e.getIndexAttr(0)));
      SmallVector<Value> result = {e.setRow(entry, state[0], e.getIndexAttr(0))};
      for (auto [tensor, value] : {std::pair(state[1], 0.0f), std::pair(state[2], -kInfinity)}) {
        Value rows = tensor;
        if (current) {
          OpFoldResult zero = e.getIndexAttr(0);
          Value block = e.empty({ratio, sizeOf(rows, 1)});
          block = e.copyRows(ratio, rows, e.getIndexAttr(current), block, zero);
          rows = e.copyRows(ratio, block, zero, rows, zero);
        }
        result.push_back(clearRows(e, rows, current, ratio, value));
      }
      return result;
    });
  });
}

Results CompressOp::decomposeOperation(OpBuilder &b) {
  if (hasSlots(*this))
    return decomposeSlots(b, *this);
  Emit e(b, *this);
  int64_t rows = sizeOf(getKv(), 0), ratio = getRatio(), kept = sizeOf(getKvRows(), 0);
  int64_t width = sizeOf(getEntries(), 1), channels = sizeOf(getKv(), 1);
  if (rows == 1)
    return compressToken(e, *this);

  // The state rows, then the rows of the call in the places after those that the unfinished block already holds.
  Value first = start(e, getSpan()), count = length(e, getSpan(), rows), zero = e.index(0), modulus = e.index(ratio);
  OpFoldResult none = e.getIndexAttr(0);
  int64_t size = kept + rows + ratio - 1;
  auto extend = [&](Value state, float value) {
    Value all = clearRows(e, e.empty({size, channels}), kept, size - kept, value);
    return e.copyRows(kept, state, none, all, none);
  };
  SmallVector<Value> all = {extend(getKvRows(), 0), extend(getScoreRows(), -kInfinity)};
  Value place = e.add(e.rem(first, modulus), e.index(kept - ratio));
  all = e.loop(zero, count, 1, all, [&](Value i, ValueRange iter) -> SmallVector<Value> {
    Rows next = putRow(e, *this, i, e.add(first, i), {iter[0], iter[1]}, OpFoldResult(e.add(place, i)));
    return {next.kv, next.score};
  });

  Value blocks = e.sub(e.div(e.add(first, count), modulus), e.div(first, modulus));
  auto pool = [&](OpFoldResult i, Value entries) {
    OpFoldResult row = none;
    if (auto value = dyn_cast<Value>(i))
      row = e.mul(value, modulus);
    Value entry = poolBlock(e, {all[0], all[1]}, row, ratio, width, e.row(entries, i));
    return SmallVector<Value>{e.setRow(entry, entries, i)};
  };
  Value entries = e.emptyLike(getEntries());
  if (sizeOf(entries, 0) == 1)
    entries = e.when(compare(e, Pred::sgt, blocks, zero), entries, [&](ValueRange y) { return pool(none, y[0]); })[0];
  else
    entries = e.loop(zero, blocks, 1, entries, [&](Value i, ValueRange y) { return pool(i, y[0]); })[0];

  Value shift = e.mul(blocks, modulus);
  SmallVector<Value> result = {entries};
  for (auto [source, state] : {std::pair(all[0], getKvRows()), std::pair(all[1], getScoreRows())})
    result.push_back(e.copyRows(kept, source, shift, state, none));
  return result;
}

//===----------------------------------------------------------------------===//
// Indexer and attention
//===----------------------------------------------------------------------===//

/// Entries that a query at `position` sees, at most `limit`; none for position -1.
static Value visibleEntries(Emit &e, Value position, int64_t ratio, int64_t limit) {
  Value count = e.div(e.add(position, e.i32(1)), e.i32(ratio));
  return e.min(e.toIndex(count), e.index(limit));
}

Results IndexScoresOp::decomposeOperation(OpBuilder &b) {
  if (hasSlots(*this))
    return decomposeSlots(b, *this);
  Emit e(b, *this);
  int64_t heads = sizeOf(getQuery(), 1), keys = sizeOf(getKeys(), 0);
  Value factor = e.f32(getScale().convertToFloat()), first = getFirstKey() ? getFirstKey() : e.index(0);
  return e.repeat(sizeOf(getQuery(), 0), e.emptyLike(getResult()), [&](OpFoldResult s, ValueRange iter) {
    Value position = e.at(getPositions(), s);
    Value visible = e.toIndex(e.div(e.add(position, e.i32(1)), e.i32(getRatio())));
    return e.when(e.less(first, visible), iter, [&](ValueRange iter) -> SmallVector<Value> {
      Value query = e.row(getQuery(), s), weights = e.row(getWeights(), s), rows = getKeys();
      if (getKeys().getType().getElementType().isInteger(8)) {
        OpFoldResult none = e.getIndexAttr(0);
        rows = e.copyRows(keys, rows, none, e.empty({keys, sizeOf(query, 1)}), none);
      }
      Value dots = e.contract({query, {0, 2}}, {rows, {1, 2}}, {e.filled({heads, keys}, e.f32(0)), {0, 1}}, 2);
      if (getRounded()) {
        dots = e.narrow(dots);
        weights = e.map(weights, e.empty(shapeOf(weights), e.getBF16Type()),
                        [&](ValueRange a) { return e.mul(a[0], factor); });
      }
      // Loops: head, key.
      Value sums = e.generic({{weights, {0}}, {dots, {0, 1}}}, {e.filled({keys}, e.f32(0)), {1}}, [&](ValueRange a) {
        Value dot = e.max(a[1], e.f32(0));
        return getRounded() ? e.add(e.roundToBF16(e.mul(a[0], dot)), a[2]) : e.mulAdd(a[0], dot, a[2]);
      });
      Value y = e.map(sums, e.row(iter[0], s),
                      [&](ValueRange a) { return getRounded() ? a[0] : e.mul(a[0], factor); });
      return {e.setRow(y, iter[0], s)};
    });
  });
}

/// The scores of one row, a part of the keys at a time, then the best of them.
Results IndexTopKOp::decomposeOperation(OpBuilder &b) {
  if (hasSlots(*this))
    return decomposeSlots(b, *this);
  Emit e(b, *this);
  int64_t heads = sizeOf(getQuery(), 1), width = sizeOf(getQuery(), 2), keys = sizeOf(getKeys(), 0);
  int64_t part = largestDivisor(keys, 64);
  Type element = getRounded() ? Type(e.getBF16Type()) : e.getF32Type();
  OpFoldResult zero = e.getIndexAttr(0);
  return e.repeat(
      sizeOf(getQuery(), 0), e.empty(shapeOf(getResult()), e.getI32Type()), [&](OpFoldResult s, ValueRange iter) {
        Value query = e.slice(getQuery(), {s, zero, zero}, {1, heads, width});
        Value weights = e.slice(getWeights(), {s, zero}, {1, heads}), position = e.slice(getPositions(), {s}, {1});
        // Parts that the row does not see are left out; one part alone needs no loop.
        Value end = part == keys ? e.index(keys) : visibleEntries(e, e.at(getPositions(), s), getRatio(), keys);
        Value scores = e.loop(e.index(0), end, part, e.empty({1, keys}, element), [&](Value first, ValueRange scores) {
          Value some = e.slice(getKeys(), {first, zero}, {part, sizeOf(getKeys(), 1)});
          auto op = IndexScoresOp::create(e, RankedTensorType::get({1, part}, element), query, weights, some, position,
                                          first, getRatioAttr(), getScaleAttr(), getRoundedAttr());
          Value y = op.decomposeOperation(e)->front();
          op.erase();
          return SmallVector<Value>{e.insert(y, scores[0], {zero, first}, {1, part})};
        })[0];
        auto op = TopKOp::create(e, RankedTensorType::get({1, sizeOf(getResult(), 1)}, e.getI32Type()), scores,
                                 position, getRatioAttr());
        Value y = op.decomposeOperation(e)->front();
        op.erase();
        return SmallVector<Value>{e.insert(y, iter[0], {s, zero}, {1, sizeOf(getResult(), 1)})};
      });
}

namespace {
/// Online softmax over blocks of keys, for the heads of one row.
struct Softmax {
  Emit &e;
  Value query; // [h, c]
  float scale;
  int64_t block;
  bool rounded; // whether the products with the keys take bf16 weights

  /// Maximum [h], sum [h] and weighted sum of keys [h, c].
  SmallVector<Value> begin() {
    Value top = e.filled({sizeOf(query, 0)}, e.f32(-kInfinity)), sum = e.filled({sizeOf(query, 0)}, e.f32(0));
    return {top, sum, e.filled(shapeOf(query), e.f32(0))};
  }

  /// Adds `count` keys; `rowOf` is the row of `source` that holds a key. Rows of the last block past `count` repeat its
  /// last key and are masked.
  SmallVector<Value> add(SmallVector<Value> state, Value source, Value count, function_ref<Value(Value)> rowOf) {
    Value last = e.sub(count, e.index(1));
    return e.loop(e.index(0), count, block, state, [&](Value first, ValueRange state) -> SmallVector<Value> {
      Value keys = e.repeat(block, e.empty({block, sizeOf(query, 1)}), [&](OpFoldResult i, ValueRange keys) {
        Value key = isa<Value>(i) ? e.min(e.add(first, cast<Value>(i)), last) : first;
        return SmallVector<Value>{e.copyRow(source, rowOf(key), keys[0], i)};
      })[0];
      return step(state, keys, e.sub(count, first));
    });
  }

  SmallVector<Value> step(ValueRange state, Value keys, Value valid) {
    int64_t heads = sizeOf(query, 0);
    SmallVector<int64_t> shape = {heads, block};
    Value dots = e.contract({query, {0, 2}}, {keys, {1, 2}}, {e.filled(shape, e.f32(0)), {0, 1}}, 2);
    Value bound = e.toI32(valid), factor = e.f32(scale), hidden = e.f32(-kInfinity);
    Value logits = e.generic({{dots, {0, 1}}}, {e.empty(shape), {0, 1}}, [&](ValueRange a) {
      return e.select(e.less(e.iteration(1), bound), e.mul(a[0], factor), hidden);
    });
    // The old maximum is needed until the end: the new one is written over it last.
    auto larger = [&](ValueRange a) { return e.max(a[0], a[1]); };
    Value top = e.maximum({{logits, {0, 1}}}, {e.filled({heads}, hidden), {0}}, 1, [&](ValueRange a) { return a[0]; });
    top = e.map({top, state[0]}, e.empty({heads}), larger);
    auto difference = [&](ValueRange a) -> Value { return math::ExpOp::create(e, e.sub(a[0], a[1])); };
    Value weights = e.generic({{logits, {0, 1}}, {top, {0}}}, {e.empty(shape), {0, 1}}, difference);
    Value shrink = e.map({state[0], top}, e.empty({heads}), difference);
    Value sum = e.map(shrink, state[1], [&](ValueRange a) { return e.mul(a[1], a[0]); });
    sum = e.sum({{weights, {0, 1}}}, {sum, {0}}, 1, [&](ValueRange a) { return a[0]; });
    Value out = e.generic({{shrink, {0}}}, {state[2], {0, 1}}, [&](ValueRange a) { return e.mul(a[1], a[0]); });
    if (rounded)
      weights = e.narrow(weights);
    // Loops: head, key, channel.
    out = e.generic({{weights, {0, 1}}, {keys, {1, 2}}}, {out, {0, 2}},
                    [&](ValueRange a) { return e.mulAdd(a[0], a[1], a[2]); });
    return {e.map(top, state[0], larger), sum, out};
  }

  /// The weighted sum over the sum; the sink only adds to the latter. Without keys the maximum is -inf, so that the
  /// sink's term is infinite and the result 0.
  Value finish(ValueRange state, Value sink, Value target) {
    Value total = e.map({state[0], state[1], sink}, e.empty(shapeOf(sink)),
                        [&](ValueRange a) { return e.add(a[1], math::ExpOp::create(e, e.sub(a[2], a[0]))); });
    return e.generic({{state[2], {0, 1}}, {total, {0}}}, {target, {0, 1}},
                     [&](ValueRange a) { return e.div(a[0], a[1]); });
  }
};
} // namespace

Results SparseAttentionOp::decomposeOperation(OpBuilder &b) {
  if (hasSlots(*this))
    return decomposeSlots(b, *this);
  Emit e(b, *this);
  constexpr int64_t kKeyBlock = 32;
  int64_t window = getWindowSize();
  bool isRing = sizeOf(getWindow(), 0) == window;
  Value one = e.index(1), zero = e.index(0);
  return e.repeat(
      sizeOf(getQuery(), 0), e.emptyLike(getResult()), [&](OpFoldResult s, ValueRange iter) -> SmallVector<Value> {
        Softmax softmax{e, e.row(getQuery(), s), getScale().convertToFloat(), std::min(kKeyBlock, window),
                        getRounded()};
        Value position = e.toIndex(e.at(getPositions(), s));
        Value count = e.min(e.add(position, one), e.index(window));
        // Row i of the call, the position less the start, is row w + i of a context.
        Value low = zero;
        if (!isRing) {
          Value row = e.sub(position, start(e, getSpan()));
          low = e.add(row, e.sub(e.index(window + 1), count));
        }
        SmallVector<Value> state = softmax.begin();
        state = softmax.add(state, getWindow(), count, [&](Value key) { return isRing ? key : e.add(low, key); });
        if (Value entries = getEntries()) {
          Value selected = getSelected();
          int64_t limit = sizeOf(entries, 0);
          if (selected)
            limit = std::min(limit, sizeOf(selected, 1));
          Value visible = visibleEntries(e, e.at(getPositions(), s), getRatio(), limit);
          state = softmax.add(state, entries, visible, [&](Value key) {
            return selected ? e.toIndex(e.at(selected, {s, key})) : key;
          });
        }
        Value y = softmax.finish(state, getSink(), e.row(iter[0], s));
        return {e.setRow(y, iter[0], s)};
      });
}
