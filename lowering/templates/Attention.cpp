// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Templates `attention` (v4.sparse_attention of one row, or of a part of its keys) and `combine_attention` (its parts).
//
// Keys are shared by all heads of a row, so a row is two products: queries with keys, heads in the lanes, and weights
// with keys, channels in the lanes. Keys pass in blocks: every row is read and widened once, into a tile that stays in
// the second-level cache and serves both products. Maximum, sum and weighted sum are carried from block to block. The
// keys of a row are numbered through, window first; parts hold whole blocks, and which ones depends on the number of
// keys alone.

#include "lowering/templates/AttentionKeys.h"

using namespace mlir;
using namespace mlir::v4;

/// Keys of a block.
constexpr int64_t kBlock = AttentionKeys::kBlock;
/// Rows between the one that is read and the one that is asked for.
constexpr int64_t kAhead = 4;
/// Register tiles: keys and groups of heads; heads and vectors of channels.
constexpr int64_t kKeys = 8, kGroups = 2, kHeads = 4, kChannels = 4;

namespace {
class Attention : KernelBuilder {
public:
  explicit Attention(KernelOp op)
      : KernelBuilder(op), query(op.getInputs()[0]), window(op.getInputs()[1]), sink(op.getInputs()[2]),
        result(op.getOutputs().back()), seen(*this), isPart(op->hasAttr("parts")) {
    auto type = cast<MemRefType>(query.getType());
    heads = type.getDimSize(1), width = type.getDimSize(2);
    groups = llvm::divideCeil(heads, kVector), vectors = llvm::divideCeil(width, kVector);
  }

  LogicalResult expand();

private:
  void loadBlock(Value first, Value count);
  void weigh(Value count);
  void accumulate(Value count, Value isFirst);
  void finish();
  void finishEmpty();
  /// Place of a channel in the result, or in `values`.
  SmallVector<Value> place(Value head, Value column, Value memory);
  /// A vector of channels of the result; the last one may be shorter.
  void storeChannels(Value vector, Value head, Value column, int64_t lanes);
  void forChannels(function_ref<void(Value column, int64_t lanes)> body);

  Value query, window, sink, result;
  AttentionKeys seen;
  bool isPart;
  int64_t heads, width, groups, vectors;
  /// Queries, heads in the lanes; keys of a block; logits, then weights [key, head]; weighted sums [head, channel], in
  /// the result itself when its rows are whole vectors.
  Value packed, tile, logits, values;
  /// By head: maximum, sum, and what the sums so far are to be multiplied by.
  Value top, sum, shrink;
};
} // namespace

void Attention::loadBlock(Value first, Value count) {
  Value zero = index(0);
  // Keys of the block that are window rows, then those that are entries.
  Value own = min(sub(max(seen.windowKeys, first), first), count);
  loop(zero, own, 1, [&](Value i) { widenRow(window, {add(seen.windowRow, add(first, i))}, width, tile, i); });
  if (seen.entries)
    loop(own, count, 1, [&](Value i) {
      auto rowOf = [&](Value i) { return seen.entryOf(*this, add(first, i)); };
      // Selected rows lie anywhere: the processor does not foresee the next ones.
      if (seen.selected)
        prefetchRow(seen.entries, rowOf(min(add(i, kAhead), sub(count, index(1)))), width);
      widenRow(seen.entries, rowOf(i), width, tile, i);
    });
}

void Attention::weigh(Value count) {
  Value zero = index(0);
  Value factor = splat(f32s(), number("scale"));
  // 1. Logits. Rows of the tile past `count` hold what was there before; nothing reads their logits.
  auto product = [&](Value group, int64_t size) {
    loop(zero, count, kKeys, [&](Value key) {
      SmallVector<Value> sums = dots(tile, key, packed, group, {kKeys, size}, width);
      for (int64_t i = 0; i < kKeys; ++i)
        for (int64_t j = 0; j < size; ++j)
          store(mul(sums[i * size + j], factor), logits, {add(key, i), mul(add(group, j), kVector)});
    });
  };
  loop(zero, index(groups / kGroups * kGroups), kGroups, [&](Value group) { product(group, kGroups); });
  if (groups % kGroups)
    product(index(groups - 1), 1);

  // 2. Weights, and what becomes of the sums so far.
  loop(zero, index(groups * kVector), kVector, [&](Value head) {
    Value old = load(top, head, kVector);
    Value now = loop(zero, count, 1, {old}, [&](Value key, ValueRange top) -> SmallVector<Value> {
      return {max(load(logits, {key, head}, kVector), top[0])};
    })[0];
    Value factor = exp(sub(old, now));
    Value total = mul(load(sum, head, kVector), factor);
    total = loop(zero, count, 1, {total}, [&](Value key, ValueRange total) -> SmallVector<Value> {
      Value weight = exp(sub(load(logits, {key, head}, kVector), now));
      store(weight, logits, {key, head});
      return {add(total[0], weight)};
    })[0];
    store(now, top, head);
    store(factor, shrink, head);
    store(total, sum, head);
  });
}

void Attention::accumulate(Value count, Value isFirst) {
  Value zero = index(0);
  int64_t tileHeads = largestDivisor(heads, kHeads), tileVectors = largestDivisor(vectors, kChannels);
  loop(zero, index(vectors * kVector), tileVectors * kVector, [&](Value column) {
    loop(zero, index(heads), tileHeads, [&](Value head) {
      SmallVector<Value> sums;
      auto at = [&](int64_t i, int64_t j) { return place(add(head, i), add(column, j * kVector), values); };
      for (int64_t i = 0; i < tileHeads; ++i) {
        Value factor = broadcast(load(shrink, add(head, i)));
        for (int64_t j = 0; j < tileVectors; ++j)
          sums.push_back(select(isFirst, splat(f32s(), 0), mul(load(values, at(i, j), kVector), factor)));
      }
      sums = loop(zero, count, 1, sums, [&](Value key, ValueRange sums) {
        SmallVector<Value> keys, next;
        for (int64_t j = 0; j < tileVectors; ++j)
          keys.push_back(load(tile, {key, add(column, j * kVector)}, kVector));
        for (int64_t i = 0; i < tileHeads; ++i) {
          Value weight = broadcast(load(logits, {key, add(head, i)}));
          for (int64_t j = 0; j < tileVectors; ++j)
            next.push_back(mulAdd(weight, keys[j], sums[i * tileVectors + j]));
        }
        return next;
      });
      for (int64_t i = 0; i < tileHeads; ++i)
        for (int64_t j = 0; j < tileVectors; ++j)
          store(sums[i * tileVectors + j], values, at(i, j));
    });
  });
}

SmallVector<Value> Attention::place(Value head, Value column, Value memory) {
  SmallVector<Value> at(cast<MemRefType>(memory.getType()).getRank() - 2, index(0));
  at.append({head, column});
  return at;
}

void Attention::storeChannels(Value vector, Value head, Value column, int64_t lanes) {
  if (lanes < kVector)
    vector = vector::ExtractStridedSliceOp::create(*this, vector, ArrayRef<int64_t>{0}, ArrayRef<int64_t>{lanes},
                                                   ArrayRef<int64_t>{1});
  store(vector, result, place(head, column, result));
}

void Attention::forChannels(function_ref<void(Value, int64_t)> body) {
  int64_t whole = width / kVector * kVector;
  loop(index(0), index(whole), kVector, [&](Value column) { body(column, kVector); });
  if (whole < width)
    body(index(whole), width - whole);
}

void Attention::finish() {
  Value zero = index(0);
  loop(zero, index(heads), 1, [&](Value head) {
    auto sums = [&](Value column) { return load(values, place(head, column, values), kVector); };
    if (isPart) {
      store(load(top, head), op.getOutputs()[0], {zero, zero, zero, head});
      store(load(sum, head), op.getOutputs()[0], {zero, zero, index(1), head});
      if (values != result)
        forChannels([&](Value column, int64_t lanes) { storeChannels(sums(column), head, column, lanes); });
      return;
    }
    Value total = broadcast(add(load(sum, head), exp(sub(load(sink, head), load(top, head)))));
    forChannels([&](Value column, int64_t lanes) { storeChannels(div(sums(column), total), head, column, lanes); });
  });
}

/// A part without keys has weight 0, and its weighted sum is never read. A row without keys gives 0.
void Attention::finishEmpty() {
  Value zero = index(0);
  loop(zero, index(heads), 1, [&](Value head) {
    if (isPart) {
      store(f32(-std::numeric_limits<float>::infinity()), op.getOutputs()[0], {zero, zero, zero, head});
      store(f32(0), op.getOutputs()[0], {zero, zero, index(1), head});
      return;
    }
    forChannels([&](Value column, int64_t lanes) { storeChannels(splat(f32s(), 0), head, column, lanes); });
  });
}

LogicalResult Attention::expand() {
  Value zero = index(0);
  Type element = getF32Type();
  // A row of the tile has one more vector than channels: rows of a power of two would share few sets of the cache.
  tile = scratch({kBlock, (vectors + 1) * kVector}, element);
  logits = scratch({kBlock, groups * kVector}, element);
  bool inPlace = width % kVector == 0 && cast<MemRefType>(result.getType()).getElementType() == element;
  values = inPlace ? result : scratch({heads, vectors * kVector}, element);
  for (Value *list : {&top, &sum, &shrink})
    *list = scratch({groups * kVector}, element);
  when(
      compare(arith::CmpIPredicate::ult, seen.begin, seen.end),
      [&] {
        packed = packHeads(query);
        loop(zero, index(groups * kVector), kVector, [&](Value head) {
          store(splat(f32s(), -std::numeric_limits<float>::infinity()), top, head);
          store(splat(f32s(), 0), sum, head);
        });
        loop(seen.begin, seen.end, kBlock, [&](Value first) {
          Value count = min(sub(seen.end, first), index(kBlock));
          loadBlock(first, count);
          weigh(count);
          accumulate(count, compare(arith::CmpIPredicate::eq, first, seen.begin));
        });
        finish();
      },
      [&] { finishEmpty(); });
  return success();
}

LogicalResult v4::expandAttention(KernelOp op, const TemplateTarget &target) { return Attention(op).expand(); }

/// inputs: maxima and sums [1, P, 2, h], weighted sums [1, P, h, c], sink [h]; output [1, h, c].
LogicalResult v4::expandCombineAttention(KernelOp op, const TemplateTarget &target) {
  KernelBuilder b(op);
  Value statistics = op.getInputs()[0], values = op.getInputs()[1], sink = op.getInputs()[2];
  ArrayRef<int64_t> shape = cast<MemRefType>(values.getType()).getShape();
  int64_t parts = shape[1], heads = shape[2], width = shape[3];
  Value zero = b.index(0);
  // 1. The parts that have keys. The sum of such a part is at least 1, the weight of its largest logit.
  Value list = b.scratch({parts}, b.getIndexType());
  Value count = b.loop(zero, b.index(parts), 1, {zero}, [&](Value part, ValueRange count) -> SmallVector<Value> {
    Value isEmpty = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ,
                                          b.load(statistics, {zero, part, b.index(1), zero}), b.f32(0));
    b.store(part, list, count[0]);
    return {b.select(isEmpty, count[0], b.add(count[0], 1))};
  })[0];
  // 2. Their weights, heads in the lanes. Without keys the maximum is -inf: the sink's term is infinite, the result 0.
  Value weights = b.scratch({parts, heads}, b.getF32Type()), totals = b.scratch({heads}, b.getF32Type());
  auto maximum = [&](Value part) { return b.load(statistics, {zero, part, zero, zero}, heads); };
  auto sum = [&](Value part) { return b.load(statistics, {zero, part, b.index(1), zero}, heads); };
  Value top = b.splat(b.f32s(heads), -std::numeric_limits<float>::infinity());
  top = b.loop(zero, count, 1, {top}, [&](Value i, ValueRange top) -> SmallVector<Value> {
    return {b.max(maximum(b.load(list, i)), top[0])};
  })[0];
  Value total = b.exp(b.sub(b.load(sink, zero, heads), top));
  total = b.loop(zero, count, 1, {total}, [&](Value i, ValueRange total) -> SmallVector<Value> {
    Value part = b.load(list, i), weight = b.exp(b.sub(maximum(part), top));
    b.store(weight, weights, {i, zero});
    return {b.mulAdd(weight, sum(part), total[0])};
  })[0];
  b.store(total, totals, zero);
  // 3. The weighted sums, in the order of the parts.
  auto combine = [&](Value head, Value column, int64_t lanes) {
    Value sum = b.splat(b.f32s(lanes), 0);
    sum = b.loop(zero, count, 1, {sum}, [&](Value i, ValueRange sum) -> SmallVector<Value> {
      Value weight = b.broadcast(b.load(weights, {i, head}), lanes);
      return {b.mulAdd(weight, b.load(values, {zero, b.load(list, i), head, column}, lanes), sum[0])};
    })[0];
    Value y = b.div(sum, b.broadcast(b.load(totals, head), lanes));
    b.store(y, op.getOutputs()[0], {zero, head, column});
  };
  int64_t whole = width / kVector * kVector, step = largestDivisor(whole / kVector, 4) * kVector;
  b.loop(zero, b.index(heads), 1, [&](Value head) {
    if (whole)
      b.loop(zero, b.index(whole), step, [&](Value column) { combine(head, column, step); });
    if (whole < width)
      combine(head, b.index(whole), width - whole);
  });
  return success();
}

//===----------------------------------------------------------------------===//
// Selection
//===----------------------------------------------------------------------===//

bool v4::selectAttention(Operation *tile) {
  auto op = dyn_cast<SparseAttentionOp>(tile);
  if (!op || op.getRounded() || op.getQuery().getType().getDimSize(0) != 1)
    return false;
  setAttentionAttributes(op, replaceByKernel(op, "attention"));
  op.erase();
  return true;
}

void v4::setAttentionAttributes(SparseAttentionOp op, KernelOp kernel) {
  kernel->setAttr("window", op.getWindowSizeAttr());
  kernel->setAttr("scale", op.getScaleAttr());
  if (op.getEntries())
    kernel->setAttr("ratio", op.getRatioAttr());
  if (op.getSelected())
    kernel->setAttr("selected", UnitAttr::get(op.getContext()));
}
