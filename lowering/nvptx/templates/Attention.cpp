// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Templates `attention` and `combine_attention` of GPUs: v4.sparse_attention of one row and some of its heads, or of a
// part of its keys, and the combination of the parts.
//
// A block has up to eight heads at a time. Keys pass sixteen by sixteen: each is read and widened once, into shared
// memory, and serves both products: logits by warps, a warp two keys, channels in the lanes; weighted sums by threads,
// which keep two channels of every head in registers. Maximum, sum and weighted sum are carried from one set of keys
// to the next. Keys of a row are numbered through, window first; parts hold whole blocks of 64 keys, as on the CPU.
//
// Sums are in f32 throughout, in an order that the shape alone fixes.

#include "lowering/nvptx/templates/Rows.h"

#include "lowering/nvptx/templates/CacheRows.h"

#include "lowering/templates/AttentionKeys.h"

using namespace mlir;
using namespace mlir::v4;

using Pred = arith::CmpIPredicate;

/// Heads of a pass, one for each warp; keys of a set, two for each warp.
constexpr int64_t kHeads = 8, kKeys = 16;

namespace {
class Attention : BlockBuilder {
public:
  explicit Attention(KernelOp op)
      : BlockBuilder(op), query(op.getInputs()[0]), window(op.getInputs()[1]), sink(op.getInputs()[2]),
        result(op.getOutputs().back()), seen(*this), isPart(op->hasAttr("parts")) {
    heads = sizeOf(query, 1), width = sizeOf(query, 2);
    group = largestDivisor(heads, kHeads);
    // Pairs of channels, dealt out to the threads.
    passes = llvm::divideCeil(llvm::divideCeil(width, 2), threads());
  }

  void expand();

private:
  void expandHeads(Value first);
  void loadKeys(Value first, Value count);
  void multiply(Value first, Value count);
  void weigh(Value count);
  SmallVector<Value> accumulate(Value count, ValueRange sums);
  void finish(Value first, ValueRange sums);
  void finishEmpty();
  /// The channels of this thread in a pass, the first of two; a thread without any has the last ones.
  Value channel(int64_t pass);
  /// A row of `group` numbers.
  SmallVector<Value> loadHeads(Value memory, Value row);
  /// Place of a channel in the result, or of a part in the weighted sums.
  SmallVector<Value> place(Value head, Value column) {
    SmallVector<Value> at(cast<MemRefType>(result.getType()).getRank() - 2, index(0));
    at.append({head, column});
    return at;
  }

  Value query, window, sink, result;
  AttentionKeys seen;
  bool isPart;
  int64_t heads, width, group, passes;
  /// Keys of a set; logits, then weights [key, head]; by head: maximum, sum, and what the sums so far are to
  /// be multiplied by.
  Value tile, logits, top, sum, shrink;
};
} // namespace

void Attention::loadKeys(Value first, Value count) {
  int64_t units = CacheRows::units(width);
  CacheRows windowRows(*this, window, width);
  forThreads(mul(count, units), [&](Value number) {
    Value i = div(number, units), unit = rem(number, units), key = add(first, i);
    auto fromWindow = [&] { windowRows.widen(add(seen.windowRow, key), unit, tile, i); };
    if (!seen.entries)
      return fromWindow();
    when(compare(Pred::ult, key, seen.windowKeys), fromWindow, [&] {
      CacheRows(*this, seen.entries, width).widen(seen.entryOf(*this, key), unit, tile, i);
    });
  });
}

SmallVector<Value> Attention::loadHeads(Value memory, Value row) {
  SmallVector<Value> at, numbers;
  if (row)
    at.push_back(row);
  at.push_back(Value());
  int64_t lanes = group % 4 == 0 ? 4 : 1;
  for (int64_t head = 0; head < group; head += lanes) {
    at.back() = index(head);
    Value some = loadAligned(memory, at, lanes);
    for (int64_t i = 0; i < lanes; ++i)
      numbers.push_back(vector::ExtractOp::create(*this, some, i));
  }
  return numbers;
}

/// Logits of the set for the heads from `first` on. Every warp has two keys; behind the last one that one again, for
/// logits that nobody reads.
void Attention::multiply(Value first, Value count) {
  Value last = sub(count, index(1));
  SmallVector<Value> keys;
  for (int64_t i = 0; i < kKeys / kHeads; ++i)
    keys.push_back(min(add(mul(warp(), kKeys / kHeads), i), last));
  int64_t number = keys.size() * group;
  SmallVector<Value> sums(number, f32(0));
  sums = loop(mul(lane(), 4), index(llvm::alignTo(width, 4)), 4 * kWarp, sums, [&](Value column, ValueRange sums) {
    SmallVector<Value> next(sums);
    SmallVector<SmallVector<Value>> rows;
    for (Value key : keys)
      rows.push_back(loadFour(*this, tile, key, column));
    for (int64_t head = 0; head < group; ++head) {
      SmallVector<Value> numbers = loadQuery(*this, query, add(first, head), column);
      for (auto [i, row] : llvm::enumerate(rows))
        for (int64_t j = 0; j < 4; ++j)
          next[i * group + head] = fma(row[j], numbers[j], next[i * group + head]);
    }
    return next;
  });
  // Sums over the lanes: every exchange halves the number of sums that a lane has, so that at the end it has one.
  Value mine = index(0);
  sums.resize(llvm::PowerOf2Ceil(number), f32(0));
  int64_t mask = kWarp / 2;
  for (; sums.size() > 1; mask /= 2) {
    int64_t half = sums.size() / 2;
    Value isUpper = compare(Pred::ne, rem(div(lane(), mask), 2), index(0));
    SmallVector<Value> next;
    for (int64_t i = 0; i < half; ++i) {
      Value kept = select(isUpper, sums[i + half], sums[i]), other = select(isUpper, sums[i], sums[i + half]);
      next.push_back(add(kept, shuffleXor(other, mask)));
    }
    mine = add(mine, select(isUpper, index(half), index(0)));
    sums = next;
  }
  Value logit = sums[0];
  for (int64_t rest = mask; rest; rest /= 2)
    logit = add(logit, shuffleXor(logit, rest));
  Value isFirst = compare(Pred::eq, rem(lane(), 2 * mask), index(0));
  isFirst = arith::AndIOp::create(*this, isFirst, compare(Pred::ult, mine, index(number)));
  when(isFirst, [&] {
    Value key = add(mul(warp(), kKeys / kHeads), div(mine, group));
    store(mul(logit, f32(KernelBuilder::number("scale"))), logits, {key, rem(mine, group)});
  });
}

/// Weights, and what becomes of the sums so far. A warp has a head, a lane a key.
void Attention::weigh(Value count) {
  when(compare(Pred::ult, warp(), index(group)), [&] {
    Value head = warp(), minusInfinity = f32(-std::numeric_limits<float>::infinity());
    Value has = compare(Pred::ult, lane(), count);
    Value logit = load(logits, {min(lane(), sub(count, index(1))), head});
    logit = select(has, logit, minusInfinity);
    Value old = load(top, head), before = load(sum, head);
    Value now = max(warpMax(logit), old), factor = exp(sub(old, now)), weight = exp(sub(logit, now));
    Value total = add(mul(before, factor), warpSum(weight));
    // The other lanes have read.
    warpBarrier();
    when(has, [&] { store(weight, logits, {lane(), head}); });
    when(compare(Pred::eq, lane(), index(0)), [&] {
      store(now, top, head);
      store(factor, shrink, head);
      store(total, sum, head);
    });
  });
}

Value Attention::channel(int64_t pass) {
  int64_t pairs = llvm::divideCeil(width, 2);
  Value pair = add(thread(), pass * threads());
  if ((pass + 1) * threads() > pairs)
    pair = min(pair, index(pairs - 1));
  return mul(pair, 2);
}

SmallVector<Value> Attention::accumulate(Value count, ValueRange sums) {
  SmallVector<Value> columns, next, factors = loadHeads(shrink, Value());
  for (int64_t pass = 0; pass < passes; ++pass)
    columns.push_back(channel(pass));
  // By pass, head, channel.
  for (auto [i, value] : llvm::enumerate(sums))
    next.push_back(mul(value, factors[i / 2 % group]));
  return loop(index(0), count, 1, next, [&](Value key, ValueRange sums) {
    SmallVector<Value> next(sums), weights = loadHeads(logits, key);
    for (int64_t pass = 0; pass < passes; ++pass) {
      Value numbers = loadAligned(tile, {key, columns[pass]}, 2);
      for (int64_t i = 0; i < 2; ++i) {
        Value number = vector::ExtractOp::create(*this, numbers, i);
        for (int64_t head = 0; head < group; ++head) {
          Value &sum = next[(pass * group + head) * 2 + i];
          sum = fma(weights[head], number, sum);
        }
      }
    }
    return next;
  });
}

void Attention::finish(Value first, ValueRange sums) {
  if (isPart)
    forThreads(group, [&](Value head) {
      store(load(top, head), op.getOutputs()[0], {index(0), index(0), index(0), add(first, head)});
      store(load(sum, head), op.getOutputs()[0], {index(0), index(0), index(1), add(first, head)});
    });
  for (int64_t head = 0; head < group; ++head) {
    Value total, at = index(head);
    if (!isPart)
      total = add(load(sum, at), exp(sub(load(sink, add(first, head)), load(top, at))));
    for (int64_t pass = 0; pass < passes; ++pass)
      for (int64_t i = 0; i < 2; ++i) {
        Value value = sums[(pass * group + head) * 2 + i], column = add(mul(add(thread(), pass * threads()), 2), i);
        auto put = [&] { store(isPart ? value : div(value, total), result, place(add(first, head), column)); };
        if ((pass + 1) * threads() * 2 <= width)
          put();
        else
          when(compare(Pred::ult, column, index(width)), put);
      }
  }
}

/// A part without keys has weight 0, and its weighted sum is never read. A row without keys gives 0.
void Attention::finishEmpty() {
  if (!isPart)
    return forThreads(heads * width, [&](Value i) { store(f32(0), result, place(div(i, width), rem(i, width))); });
  forThreads(heads, [&](Value head) {
    store(f32(-std::numeric_limits<float>::infinity()), op.getOutputs()[0], {index(0), index(0), index(0), head});
    store(f32(0), op.getOutputs()[0], {index(0), index(0), index(1), head});
  });
}

void Attention::expandHeads(Value first) {
  forThreads(group, [&](Value head) {
    store(f32(-std::numeric_limits<float>::infinity()), top, head);
    store(f32(0), sum, head);
  });
  SmallVector<Value> sums(passes * group * 2, f32(0));
  sums = loop(seen.begin, seen.end, kKeys, sums, [&](Value key, ValueRange sums) {
    Value count = min(sub(seen.end, key), index(kKeys));
    loadKeys(key, count);
    barrier();
    multiply(first, count);
    barrier();
    weigh(count);
    barrier();
    SmallVector<Value> next = accumulate(count, sums);
    barrier();
    return next;
  });
  finish(first, sums);
}

void Attention::expand() {
  tile = makeTile(*this, kKeys, width);
  logits = shared({kKeys, kHeads}, getF32Type());
  for (Value *list : {&top, &sum, &shrink})
    *list = shared({kHeads}, getF32Type());
  when(
      compare(Pred::ult, seen.begin, seen.end),
      [&] {
        if (group == heads)
          return expandHeads(index(0));
        loop(index(0), index(heads), group, [&](Value first) {
          expandHeads(first);
          barrier();
        });
      },
      [&] { finishEmpty(); });
}

LogicalResult v4::expandBlockAttention(KernelOp op, const GpuTarget &target) {
  int64_t inputs = 5 + op->hasAttr("ratio") + op->hasAttr("selected") + op->hasAttr("parts");
  if (failed(verifyRowKernel(op, inputs, op->hasAttr("parts") ? 2 : 1)))
    return failure();
  Attention(op).expand();
  return success();
}

/// inputs: maxima and sums [1, P, 2, h], weighted sums [1, P, h, c], sink [h]; output [1, h, c].
LogicalResult v4::expandBlockCombineAttention(KernelOp op, const GpuTarget &target) {
  if (failed(verifyRowKernel(op, 3, 1)))
    return failure();
  BlockBuilder b(op);
  Value statistics = op.getInputs()[0], values = op.getInputs()[1], sink = op.getInputs()[2];
  int64_t parts = sizeOf(values, 1), heads = sizeOf(values, 2), width = sizeOf(values, 3);
  Value zero = b.index(0), one = b.index(1);
  Value weights = b.shared({parts, heads}, b.getF32Type()), totals = b.shared({heads}, b.getF32Type());
  // 1. Weights of the parts. The sum of one with keys is at least 1, the weight of its largest logit; one without has
  //    weight 0. Without keys at all the maximum is -inf: the sink's term is infinite, the result 0.
  b.forThreads(heads, [&](Value head) {
    auto maximum = [&](Value part) { return b.load(statistics, {zero, part, zero, head}); };
    auto sum = [&](Value part) { return b.load(statistics, {zero, part, one, head}); };
    Value top = b.f32(-std::numeric_limits<float>::infinity());
    top = b.loop(zero, b.index(parts), 1, {top}, [&](Value part, ValueRange top) -> SmallVector<Value> {
      return {b.max(maximum(part), top[0])};
    })[0];
    Value total = b.exp(b.sub(b.load(sink, head), top));
    total = b.loop(zero, b.index(parts), 1, {total}, [&](Value part, ValueRange total) -> SmallVector<Value> {
      Value isEmpty = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, sum(part), b.f32(0));
      Value weight = b.select(isEmpty, b.f32(0), b.exp(b.sub(maximum(part), top)));
      b.store(weight, weights, {part, head});
      return {b.fma(weight, sum(part), total[0])};
    })[0];
    b.store(total, totals, head);
  });
  b.barrier();
  // 2. The weighted sums, in the order of the parts. Those of a part without keys were never written.
  b.forThreads(heads * width, [&](Value i) {
    Value head = b.div(i, width), column = b.rem(i, width);
    Value sum = b.loop(zero, b.index(parts), 1, {b.f32(0)}, [&](Value part, ValueRange sum) -> SmallVector<Value> {
      Value weight = b.load(weights, {part, head});
      Value hasWeight = arith::CmpFOp::create(b, arith::CmpFPredicate::UNE, weight, b.f32(0));
      return {b.when(hasWeight, {sum[0]}, [&]() -> SmallVector<Value> {
        return {b.fma(weight, b.load(values, {zero, part, head, column}), sum[0])};
      })[0]};
    })[0];
    b.store(b.div(sum, b.load(totals, head)), op.getOutputs()[0], {zero, head, column});
  });
  return success();
}

//===----------------------------------------------------------------------===//
// Selection
//===----------------------------------------------------------------------===//

bool v4::fitsBlock(SparseAttentionOp op) {
  // Rounding points belong to the order of the decomposition.
  return !op.getRounded() && tileBytes(kKeys, op.getQuery().getType().getDimSize(2)) + (2 << 10) <= kStaticSharedBytes;
}

bool v4::selectBlockAttention(Operation *tile, const GpuTarget &target) {
  auto op = dyn_cast<SparseAttentionOp>(tile);
  if (!op || op.getQuery().getType().getDimSize(0) != 1 || !fitsBlock(op))
    return false;
  KernelOp kernel = replaceByBlockKernel(op, "attention", kRowThreads);
  setAttentionAttributes(op, kernel);
  op.erase();
  return true;
}
