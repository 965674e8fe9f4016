// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Templates `top_k`, `index_top_k` and `merge_top_k` of GPUs: the best of a row of scores, of a row's index keys or a
// part of them, and of the candidates of the parts.
//
// Scores pass in blocks, one for each thread, and are never kept: what may be among the k best goes to a list in shared
// memory, in the order of columns. When the list is full, the k best of it stay, and the worst of those becomes the
// bound for what follows. The k-th best is found by radix: four digits of eight bits, the keys that agree with the
// digits so far counted in bins, a thread a bin. Keys are the scores as integers in the same order, NaN lowest. Bins
// are the only thing that threads add to in any order, and they are integers.

#include "lowering/nvptx/templates/Rows.h"

#include "lowering/nvptx/templates/CacheRows.h"

using namespace mlir;
using namespace mlir::v4;

using Pred = arith::CmpIPredicate;

/// Bits of a digit.
constexpr int64_t kDigit = 8, kBins = int64_t(1) << kDigit;
static_assert(kBins == kRowThreads);
/// Candidates that the list has room for, at least.
constexpr int64_t kCandidates = 2048;
/// Keys of a set of index scores; keys and heads of a thread.
constexpr int64_t kSet = 32, kPair = 2, kTile = 4;

/// Room of the list, in candidates.
static int64_t mostCandidates(int64_t k) {
  return llvm::alignTo(std::max(kCandidates, 2 * k + kRowThreads), kRowThreads);
}
/// Bytes of shared memory that the list takes, with what goes with it.
static int64_t listBytes(int64_t k) {
  return 8 * mostCandidates(k) + 8 * kRowThreads;
}

namespace {
/// The list of candidates. `count` and `bound`, the least key that may still be among the k best, are values that loops
/// carry; all threads have the same.
class Candidates {
public:
  struct State {
    Value count, bound;
  };

  /// At most `columns` scores pass.
  Candidates(BlockBuilder &b, int64_t k, int64_t columns) : b(b), k(k) {
    int64_t block = b.threads();
    capacity = std::min(mostCandidates(k), static_cast<int64_t>(llvm::alignTo(columns, block)) + block);
    keys = b.shared({capacity}, b.getI32Type());
    columnsOf = b.shared({capacity}, b.getI32Type());
    bins = b.shared({kBins}, b.getI32Type());
    totals = b.shared({2, b.warps()}, b.getI32Type());
    found = b.shared({2}, b.getI32Type());
  }

  State begin() { return {b.index(0), b.i32(0)}; }
  /// Adds the key of every thread that has one and reaches the bound, in the order of threads. All threads call it.
  State add(State state, Value key, Value column, Value isThere);
  /// The k best, or all when they are fewer.
  State close(State state) { return shrinkIf(b.compare(Pred::ugt, state.count, b.index(k)), state); }
  /// Writes the columns, then -1.
  void write(State state, Value out);

  BlockBuilder &b;
  int64_t k, capacity;
  Value keys, columnsOf;

private:
  State shrinkIf(Value condition, State state);
  State shrink(State state);
  std::pair<Value, Value> findWorst(Value count);
  /// How many threads before this one have `flag`, and how many there are, for either flag.
  SmallVector<std::pair<Value, Value>> countFlags(ArrayRef<Value> flags);

  Value bins, totals, found;
};
} // namespace

SmallVector<std::pair<Value, Value>> Candidates::countFlags(ArrayRef<Value> flags) {
  Value below = b.lanesBelow();
  SmallVector<Value> ahead;
  for (auto [i, flag] : llvm::enumerate(flags)) {
    Value votes = b.ballot(flag);
    ahead.push_back(b.count(arith::AndIOp::create(b, votes, below)));
    Value number = b.count(votes), at = b.index(i);
    b.when(b.compare(Pred::eq, b.lane(), b.index(0)), [&] { b.store(number, totals, {at, b.warp()}); });
  }
  b.barrier();
  SmallVector<std::pair<Value, Value>> result;
  for (auto [i, before] : llvm::enumerate(ahead)) {
    Value all = b.i32(0);
    for (int64_t warp = 0; warp < b.warps(); ++warp) {
      Value number = b.load(totals, {b.index(i), b.index(warp)});
      Value isBefore = b.compare(Pred::ult, b.index(warp), b.warp());
      before = b.add(before, b.select(isBefore, number, b.i32(0)));
      all = b.add(all, number);
    }
    result.push_back({b.toIndex(before), b.toIndex(all)});
  }
  // The numbers are read before the next ones are written.
  b.barrier();
  return result;
}

Candidates::State Candidates::shrinkIf(Value condition, State state) {
  SmallVector<Value> next = b.when(condition, {state.count, state.bound}, [&]() -> SmallVector<Value> {
    State small = shrink(state);
    return {small.count, small.bound};
  });
  return {next[0], next[1]};
}

Candidates::State Candidates::add(State state, Value key, Value column, Value isThere) {
  state = shrinkIf(b.compare(Pred::ugt, state.count, b.index(capacity - b.threads())), state);
  Value isAdded = arith::AndIOp::create(b, isThere, b.compare(Pred::uge, key, state.bound));
  auto [before, all] = countFlags({isAdded})[0];
  b.when(isAdded, [&, before = before] {
    Value place = b.add(state.count, before);
    b.store(key, keys, place);
    b.store(column, columnsOf, place);
  });
  return {b.add(state.count, all), state.bound};
}

/// The k-th largest of the first `count` keys, more than k, and how many equal ones are among the k best.
std::pair<Value, Value> Candidates::findWorst(Value count) {
  Value prefix = b.i32(0), left = b.i32(k);
  for (int64_t shift = 32 - kDigit; shift >= 0; shift -= kDigit) {
    b.store(b.i32(0), bins, b.thread());
    // Also behind it the list is complete.
    b.barrier();
    b.forThreads(count, [&](Value i) {
      Value key = b.load(keys, i), digit = b.mask(b.shiftRight(key, shift), kBins - 1);
      auto addOne = [&] {
        memref::AtomicRMWOp::create(b, arith::AtomicRMWKind::addi, b.i32(1), bins, ValueRange{b.toIndex(digit)});
      };
      if (shift + kDigit == 32)
        return addOne();
      b.when(b.compare(Pred::eq, b.shiftRight(key, shift + kDigit), prefix), addOne);
    });
    b.barrier();
    // Keys in this bin and those above it: within the warp, then of the warps above.
    Value own = b.load(bins, b.thread()), above = own;
    for (int64_t distance = 1; distance < kWarp; distance *= 2) {
      Value other = gpu::ShuffleOp::create(b, above, distance, kWarp, gpu::ShuffleMode::DOWN).getShuffleResult();
      Value has = b.compare(Pred::ult, b.add(b.lane(), distance), b.index(kWarp));
      above = b.add(above, b.zeroIfNot(has, other));
    }
    b.when(b.compare(Pred::eq, b.lane(), b.index(0)), [&] { b.store(above, totals, {b.index(0), b.warp()}); });
    b.barrier();
    for (int64_t warp = 1; warp < b.warps(); ++warp) {
      Value isAbove = b.compare(Pred::ugt, b.index(warp), b.warp());
      above = b.add(above, b.zeroIfNot(isAbove, b.load(totals, {b.index(0), b.index(warp)})));
    }
    Value without = b.sub(above, own);
    Value isHere = arith::AndIOp::create(b, b.compare(Pred::ult, without, left), b.compare(Pred::uge, above, left));
    b.when(isHere, [&] {
      b.store(b.toI32(b.thread()), found, b.index(0));
      b.store(b.sub(left, without), found, b.index(1));
    });
    b.barrier();
    prefix = b.bitOr(b.shiftLeft(prefix, kDigit), b.load(found, b.index(0)));
    left = b.load(found, b.index(1));
  }
  return {prefix, left};
}

/// Keeps the k best of more than k candidates, in order.
Candidates::State Candidates::shrink(State state) {
  auto [worst, equals] = findWorst(state.count);
  Value room = b.toIndex(equals), zero = b.index(0);
  // Candidates greater than the worst stay, and as many of the equal ones, from the first on, as there is room for. A
  // block of candidates is read before one is written, to places no further behind.
  SmallVector<Value> before = {zero, zero};
  b.loop(zero, state.count, b.threads(), before, [&, worst = worst](Value first, ValueRange before) {
    Value i = b.add(first, b.thread()), isThere = b.compare(Pred::ult, i, state.count);
    Value at = b.min(i, b.sub(state.count, b.index(1)));
    Value key = b.load(keys, at), column = b.load(columnsOf, at);
    Value isGreater = arith::AndIOp::create(b, isThere, b.compare(Pred::ugt, key, worst));
    Value isEqual = arith::AndIOp::create(b, isThere, b.compare(Pred::eq, key, worst));
    auto flags = countFlags({isGreater, isEqual});
    Value greater = b.add(before[0], flags[0].first), equal = b.add(before[1], flags[1].first);
    Value stays = arith::AndIOp::create(b, isEqual, b.compare(Pred::ult, equal, room));
    b.when(b.bitOr(isGreater, stays), [&] {
      Value place = b.add(greater, b.min(equal, room));
      b.store(key, keys, place);
      b.store(column, columnsOf, place);
    });
    return SmallVector<Value>{b.add(before[0], flags[0].second), b.add(before[1], flags[1].second)};
  });
  // Later columns lose against an equal key.
  return {b.index(k), b.add(worst, 1)};
}

void Candidates::write(State state, Value out) {
  b.barrier();
  b.forThreads(k, [&](Value i) {
    Value at = b.min(i, b.index(capacity - 1)), column = b.i32(-1);
    column = b.when(b.compare(Pred::ult, i, state.count), {column},
                    [&] { return SmallVector<Value>{b.load(columnsOf, at)}; })[0];
    b.store(column, out, {b.index(0), i});
  });
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

/// Columns 0 .. count-1, then -1.
static void writeAll(BlockBuilder &b, Value count, Value out) {
  b.forThreads(sizeOf(out, 1), [&](Value i) {
    Value isThere = b.compare(Pred::ult, i, count);
    b.store(b.select(isThere, b.toI32(i), b.i32(-1)), out, {b.index(0), i});
  });
}

/// Carries candidates through a loop.
static Candidates::State loopOver(BlockBuilder &b, Value from, Value to, int64_t step, Candidates::State state,
                                  function_ref<Candidates::State(Value, Candidates::State)> body) {
  SmallVector<Value> inits = {state.count, state.bound};
  SmallVector<Value> result = b.loop(from, to, step, inits, [&](Value i, ValueRange carried) {
    Candidates::State next = body(i, {carried[0], carried[1]});
    return SmallVector<Value>{next.count, next.bound};
  });
  return {result[0], result[1]};
}

LogicalResult v4::expandBlockTopK(KernelOp op, const GpuTarget &target) {
  if (failed(verifyRowKernel(op, op->hasAttr("ratio") ? 2 : 1, 1)))
    return failure();
  BlockBuilder b(op);
  Value scores = op.getInputs()[0], out = op.getOutputs()[0], zero = b.index(0);
  int64_t columns = sizeOf(scores, 1), k = sizeOf(out, 1);
  Value visible = op->hasAttr("ratio") ? b.visibleEntries(op.getInputs()[1], columns) : b.index(columns);
  Candidates candidates(b, k, columns);
  b.when(
      b.compare(Pred::ule, visible, b.index(k)), [&] { writeAll(b, visible, out); },
      [&] {
        Value last = b.sub(visible, b.index(1));
        auto state = loopOver(b, zero, visible, b.threads(), candidates.begin(), [&](Value first, auto state) {
          Value column = b.add(first, b.thread());
          Value score = b.load(scores, {zero, b.min(column, last)});
          return candidates.add(state, b.orderKey(score), b.toI32(column), b.compare(Pred::ult, column, visible));
        });
        candidates.write(candidates.close(state), out);
      });
  return success();
}

namespace {
/// Scores of index keys (spec 4.9).
class IndexScores {
public:
  IndexScores(BlockBuilder &b, Value query, Value weights, Value keys)
      : b(b), query(query), heads(sizeOf(query, 1)), width(sizeOf(query, 2)), groups(llvm::divideCeil(heads, kTile)),
        rows(b, keys, width) {
    tile = makeTile(b, kSet, width);
    factors = b.shared({groups * kTile}, b.getF32Type());
    partial = b.shared({groups, kSet}, b.getF32Type());
    scores = b.shared({b.threads()}, b.getF32Type());
    // Heads past the last one have weight 0.
    b.forThreads(groups * kTile, [&](Value head) {
      Value number = b.widen(b.load(weights, {b.index(0), b.min(head, b.index(heads - 1))}));
      b.store(b.zeroIfNot(b.compare(Pred::ult, head, b.index(heads)), number), factors, head);
    });
  }

  /// `count` scores, at most one for each thread, from key `first` on, into `scores`; there is a barrier behind them.
  void compute(Value first, Value count) {
    b.loop(b.index(0), count, kSet, [&](Value set) {
      Value size = b.min(b.sub(count, set), b.index(kSet));
      int64_t units = CacheRows::units(width);
      b.forThreads(b.mul(size, units), [&](Value i) {
        Value key = b.div(i, units);
        rows.widen(b.add(b.add(first, set), key), b.rem(i, units), tile, key);
      });
      b.barrier();
      b.forThreads(groups * (kSet / kPair),
                   [&](Value i) { multiply(b.div(i, kSet / kPair), b.rem(i, kSet / kPair), size); });
      b.barrier();
      b.forThreads(kSet, [&](Value key) {
        b.when(b.compare(Pred::ult, key, size), [&] {
          Value sum = b.loop(b.index(0), b.index(groups), 1, {b.f32(0)}, [&](Value group, ValueRange sum) {
            return SmallVector<Value>{b.add(sum[0], b.load(partial, {group, key}))};
          })[0];
          b.store(b.mul(sum, b.f32(b.number("scale"))), scores, b.add(set, key));
        });
      });
      b.barrier();
    });
  }

  Value scores;

private:
  /// What heads of group `group` add to the scores of keys number `pair` and those 16 further. Keys behind the last one
  /// have its scores, which nobody reads.
  void multiply(Value group, Value pair, Value size) {
    SmallVector<Value> keys, sums(kPair * kTile, b.f32(0));
    // Past the last head that one again.
    auto headOf = [&](int64_t i) {
      Value head = b.add(b.mul(group, kTile), i);
      return heads % kTile ? b.min(head, b.index(heads - 1)) : head;
    };
    for (int64_t i = 0; i < kPair; ++i)
      keys.push_back(b.min(b.add(pair, i * (kSet / kPair)), b.sub(size, b.index(1))));
    sums = b.loop(b.index(0), b.index(llvm::alignTo(width, 4)), 4, sums, [&](Value column, ValueRange sums) {
      SmallVector<Value> next(sums);
      SmallVector<SmallVector<Value>> rows;
      for (Value key : keys)
        rows.push_back(loadFour(b, tile, key, column));
      for (int64_t head = 0; head < kTile; ++head) {
        SmallVector<Value> numbers = loadQuery(b, query, headOf(head), column);
        for (int64_t i = 0; i < kPair; ++i)
          for (int64_t j = 0; j < 4; ++j)
            next[i * kTile + head] = b.fma(rows[i][j], numbers[j], next[i * kTile + head]);
      }
      return next;
    });
    for (int64_t i = 0; i < kPair; ++i) {
      Value sum = b.f32(0);
      for (int64_t head = 0; head < kTile; ++head) {
        Value dot = arith::MaximumFOp::create(b, sums[i * kTile + head], b.f32(0));
        sum = b.fma(dot, b.load(factors, b.add(b.mul(group, kTile), head)), sum);
      }
      b.store(sum, partial, {group, b.add(pair, i * (kSet / kPair))});
    }
  }

  BlockBuilder &b;
  Value query;
  int64_t heads, width, groups;
  CacheRows rows;
  Value tile, factors, partial;
};
} // namespace

/// inputs: query [1, h, c], weights [1, h], keys [N, c], positions [1] and, of a part, its number; output [1, k], or of
/// a part keys and columns of its candidates [1, 1, 2, k] and their number [1, 1].
LogicalResult v4::expandBlockIndexTopK(KernelOp op, const GpuTarget &target) {
  bool isPart = op->hasAttr("parts");
  if (failed(verifyRowKernel(op, isPart ? 5 : 4, isPart ? 2 : 1)))
    return failure();
  BlockBuilder b(op);
  OperandRange inputs = op.getInputs();
  Value out = op.getOutputs()[0], zero = b.index(0);
  int64_t columns = sizeOf(inputs[2], 0), k = sizeOf(out, isPart ? 3 : 1), block = b.threads();
  Value visible = b.visibleEntries(inputs[3], columns);
  Candidates candidates(b, k, columns);
  auto isFirst = [&] { return b.compare(Pred::eq, b.thread(), zero); };
  b.when(
      b.compare(Pred::ule, visible, b.index(k)),
      [&] {
        if (isPart)
          b.when(isFirst(), [&] { b.store(b.i32(0), op.getOutputs()[1], {zero, zero}); });
        else
          writeAll(b, visible, out);
      },
      [&] {
        Value begin = zero, end = visible;
        if (isPart)
          std::tie(begin, end) = b.partOf(visible, block, inputs[4]);
        IndexScores scores(b, inputs[0], inputs[1], inputs[2]);
        auto state = loopOver(b, begin, end, block, candidates.begin(), [&](Value first, auto state) {
          Value count = b.min(b.sub(end, first), b.index(block));
          scores.compute(first, count);
          Value isThere = b.compare(Pred::ult, b.thread(), count);
          Value score = b.load(scores.scores, b.min(b.thread(), b.sub(count, b.index(1))));
          // The scores are read before the next ones are written: `add` has barriers.
          return candidates.add(state, b.orderKey(score), b.toI32(b.add(first, b.thread())), isThere);
        });
        state = candidates.close(state);
        if (!isPart)
          return candidates.write(state, out);
        b.barrier();
        b.when(isFirst(), [&] { b.store(b.toI32(state.count), op.getOutputs()[1], {zero, zero}); });
        b.forThreads(state.count, [&](Value i) {
          b.store(b.load(candidates.keys, i), out, {zero, zero, zero, i});
          b.store(b.load(candidates.columnsOf, i), out, {zero, zero, b.index(1), i});
        });
      });
  return success();
}

/// inputs: keys and columns of the candidates [1, P, 2, k], their numbers [1, P], positions [1]; output [1, k].
LogicalResult v4::expandBlockMergeTopK(KernelOp op, const GpuTarget &target) {
  if (failed(verifyRowKernel(op, 3, 1)))
    return failure();
  BlockBuilder b(op);
  Value lists = op.getInputs()[0], counts = op.getInputs()[1], out = op.getOutputs()[0], zero = b.index(0);
  int64_t parts = sizeOf(lists, 1), k = sizeOf(out, 1);
  Value visible = b.visibleEntries(op.getInputs()[2], b.attribute("columns"));
  Candidates candidates(b, k, parts * k);
  b.when(
      b.compare(Pred::ule, visible, b.index(k)), [&] { writeAll(b, visible, out); },
      [&] {
        auto state = loopOver(b, zero, b.index(parts), 1, candidates.begin(), [&](Value part, auto state) {
          Value count = b.toIndex(b.load(counts, {zero, part}));
          return loopOver(b, zero, count, b.threads(), state, [&](Value first, auto state) {
            Value i = b.add(first, b.thread()), at = b.min(i, b.sub(count, b.index(1)));
            return candidates.add(state, b.load(lists, {zero, part, zero, at}),
                                  b.load(lists, {zero, part, b.index(1), at}), b.compare(Pred::ult, i, count));
          });
        });
        candidates.write(candidates.close(state), out);
      });
  return success();
}

//===----------------------------------------------------------------------===//
// Selection
//===----------------------------------------------------------------------===//

bool v4::selectBlockTopK(Operation *tile, const GpuTarget &target) {
  auto op = dyn_cast<TopKOp>(tile);
  if (!op || op.getResult().getType().getDimSize(0) != 1 || !op.getScores().getType().getElementType().isF32() ||
      listBytes(op.getResult().getType().getDimSize(1)) > kStaticSharedBytes)
    return false;
  KernelOp kernel = replaceByBlockKernel(op, "top_k", kRowThreads);
  if (op.getPositions())
    kernel->setAttr("ratio", op.getRatioAttr());
  op.erase();
  return true;
}

bool v4::fitsBlock(IndexTopKOp op) {
  ArrayRef<int64_t> query = op.getQuery().getType().getShape();
  int64_t bytes = listBytes(op.getResult().getType().getDimSize(1)) + tileBytes(kSet, query[2]) +
                  4 * (llvm::alignTo(query[1], kTile) * (1 + kSet / kTile) + kRowThreads);
  return !op.getRounded() && bytes <= kStaticSharedBytes;
}

bool v4::selectBlockIndexTopK(Operation *tile, const GpuTarget &target) {
  auto op = dyn_cast<IndexTopKOp>(tile);
  if (!op || op.getResult().getType().getDimSize(0) != 1 || !fitsBlock(op))
    return false;
  setIndexAttributes(op, replaceByBlockKernel(op, "index_top_k", kRowThreads));
  op.erase();
  return true;
}
