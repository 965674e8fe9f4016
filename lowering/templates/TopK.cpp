// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Templates `top_k` (v4.top_k of one row), `index_top_k` (v4.index_top_k of one row, or of a part of its keys) and
// `merge_top_k` (the parts).
//
// Scores pass in blocks and are never kept: what may be among the k best goes to a list of candidates, in the order of
// columns. When the list is full, the k best of it stay, and the worst of those becomes the bound for what follows. The
// k-th best of a list is found bit by bit, as the largest number that k keys reach. Keys are the scores as integers in
// the same order, NaN lowest.

#include "lowering/templates/KernelBuilder.h"


using namespace mlir;
using namespace mlir::v4;

using Pred = arith::CmpIPredicate;

/// Scores of a block.
constexpr int64_t kBlock = 64;
/// Keys of a register tile.
constexpr int64_t kKeys = 4, kGroups = 4;

namespace {
/// The list of candidates. `count` and `bound`, the least key that may still be among the k best, are values that loops
/// carry.
class Candidates {
public:
  struct State {
    Value count, bound;
  };

  /// At most `columns` scores pass.
  Candidates(KernelBuilder &b, int64_t k, int64_t columns) : b(b), k(k) {
    capacity = std::min(llvm::alignTo(std::max(8 * k, int64_t(1024)), kBlock), llvm::alignTo(columns, kBlock) + kBlock);
    keys = b.scratch({capacity + kBlock}, b.getI32Type());
    columnsOf = b.scratch({capacity + kBlock}, b.getI32Type());
  }

  State begin() { return {b.index(0), b.i32(0)}; }

  /// Sixteen scores as keys.
  Value keysOf(Value scores);
  /// 0, 1, .., 15.
  Value lanes();
  /// Makes room for a block.
  State makeRoom(State state);
  /// Adds the lanes of `mask` that reach the bound. `columns` are their columns.
  State add(State state, Value keys, Value columns, Value mask);
  /// Adds `count` scores, at most a block, that lie at `at` of `source` and belong to columns from `column` on. A block
  /// that is not `whole` has `count` of them.
  State addBlock(State state, Value source, ValueRange at, Value column, Value count, bool isWhole);
  /// The k best, or all when they are fewer.
  State close(State state);
  /// Writes the columns, then -1.
  void write(State state, Value out);

  KernelBuilder &b;
  int64_t k, capacity;
  Value keys, columnsOf;

private:
  Value reach(Value padded, Value key);
  State shrink(State state);
  /// The lanes of a mask as bits, and back.
  Value bitsOf(Value mask);
  Value maskOf(Value bits);
  Value append(Value count, Value mask, Value bits, Value keys, Value columns);
};
} // namespace

Value Candidates::keysOf(Value scores) {
  // -0 becomes 0. Negative numbers: all bits turned; others: the sign.
  Value bits = arith::BitcastOp::create(b, b.i32s(), b.add(scores, b.splat(b.f32s(), 0)));
  Value sign = arith::ShRSIOp::create(b, bits, b.splat(b.i32s(), 31));
  Value turned = arith::OrIOp::create(b, sign, b.splat(b.i32s(), static_cast<double>(INT32_MIN)));
  Value isNan = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, scores, scores);
  return b.select(isNan, b.splat(b.i32s(), 0), arith::XOrIOp::create(b, bits, turned));
}

Value Candidates::lanes() {
  Value step = vector::StepOp::create(b, VectorType::get({kVector}, b.getIndexType()));
  return arith::IndexCastOp::create(b, b.i32s(), step);
}

Value Candidates::bitsOf(Value mask) {
  auto type = VectorType::get({1}, b.getIntegerType(kVector));
  return vector::ExtractOp::create(b, vector::BitCastOp::create(b, type, mask), 0);
}
Value Candidates::maskOf(Value bits) {
  auto one = VectorType::get({1}, bits.getType()), lanes = VectorType::get({kVector}, b.getI1Type());
  return vector::BitCastOp::create(b, lanes, vector::BroadcastOp::create(b, one, bits));
}

Value Candidates::append(Value count, Value mask, Value bits, Value newKeys, Value newColumns) {
  vector::CompressStoreOp::create(b, keys, count, newKeys, mask);
  vector::CompressStoreOp::create(b, columnsOf, count, newColumns, mask);
  Value number = math::CtPopOp::create(b, bits);
  return b.add(count, arith::IndexCastUIOp::create(b, b.getIndexType(), number));
}

Candidates::State Candidates::add(State state, Value newKeys, Value newColumns, Value mask) {
  mask = arith::AndIOp::create(b, b.compare(Pred::uge, newKeys, b.broadcast(state.bound)), mask);
  Value bits = bitsOf(mask), none = arith::ConstantOp::create(b, b.getIntegerAttr(bits.getType(), 0));
  Value count = b.when(b.compare(Pred::ne, bits, none), {state.count}, [&]() -> SmallVector<Value> {
    return {append(state.count, mask, bits, newKeys, newColumns)};
  })[0];
  return {count, state.bound};
}

/// How many of the first `padded` keys, a multiple of a block, are at least `key`.
Value Candidates::reach(Value padded, Value key) {
  Value bound = b.broadcast(key), zero = b.splat(b.i32s(), 0);
  constexpr int64_t kChains = kBlock / kVector;
  SmallVector<Value> sums(kChains, zero);
  sums = b.loop(b.index(0), padded, kBlock, sums, [&](Value i, ValueRange sums) {
    SmallVector<Value> next;
    for (int64_t chain = 0; chain < kChains; ++chain) {
      Value mask = b.compare(Pred::uge, b.load(keys, b.add(i, chain * kVector), kVector), bound);
      next.push_back(b.add(sums[chain], arith::ExtUIOp::create(b, b.i32s(), mask)));
    }
    return next;
  });
  Value sum = b.add(b.add(sums[0], sums[1]), b.add(sums[2], sums[3]));
  return vector::ReductionOp::create(b, vector::CombiningKind::ADD, sum);
}

/// Keeps the k best of more than k candidates, in order.
Candidates::State Candidates::shrink(State state) {
  Value zero = b.index(0), one = b.i32(1), goal = b.i32(k);
  // 1. The k-th best key. Bits from the top are set while k keys reach the number; once just k do, they are the k best.
  for (int64_t i = 0; i < kBlock; i += kVector)
    b.store(b.splat(b.i32s(), 0), keys, b.add(state.count, i));
  Value padded = b.mul(b.div(b.add(state.count, kBlock - 1), kBlock), kBlock);
  SmallVector<Value> inits = {b.i32(0), b.i32(INT32_MIN), b.i32(-1)};
  auto search = scf::WhileOp::create(
      b, TypeRange(ValueRange(inits)), inits,
      [&](OpBuilder &, Location, ValueRange state) {
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPointToEnd(state.front().getParentBlock());
        Value more = arith::AndIOp::create(b, b.compare(Pred::ne, state[1], b.i32(0)),
                                           b.compare(Pred::ne, state[2], goal));
        scf::ConditionOp::create(b, more, state);
      },
      [&](OpBuilder &, Location, ValueRange state) {
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPointToEnd(state.front().getParentBlock());
        Value tried = arith::OrIOp::create(b, state[0], state[1]), number = reach(padded, tried);
        Value enough = b.compare(Pred::uge, number, goal);
        SmallVector<Value> next = {b.select(enough, tried, state[0]), arith::ShRUIOp::create(b, state[1], one),
                                   b.select(enough, number, state[2])};
        scf::YieldOp::create(b, next);
      });
  Value worst = search.getResult(0), worsts = b.broadcast(worst);
  // 2. Candidates greater than that stay, and as many of the equal ones, from the first on, as there is room for.
  Value room = b.toIndex(b.sub(goal, reach(padded, b.add(worst, 1))));
  SmallVector<Value> carried = {zero, room};
  Type word = b.getIntegerType(kVector);
  carried = b.loop(zero, state.count, kVector, carried, [&](Value i, ValueRange carried) -> SmallVector<Value> {
    Value here = b.load(keys, i, kVector), columns = b.load(columnsOf, i, kVector);
    // Lanes past the last candidate have key 0, and are none.
    Value inside = b.compare(Pred::ult, lanes(), b.broadcast(b.toI32(b.sub(state.count, i))));
    Value greater = bitsOf(b.compare(Pred::ugt, here, worsts));
    Value equal = bitsOf(arith::AndIOp::create(b, b.compare(Pred::eq, here, worsts), inside));
    Value equals = arith::IndexCastUIOp::create(b, b.getIndexType(), math::CtPopOp::create(b, equal));
    Value taken = b.min(equals, carried[1]);
    // The lowest `taken` bits of `equal`.
    Value none = arith::ConstantOp::create(b, b.getIntegerAttr(word, 0));
    Value chosen = b.when(b.compare(Pred::ne, taken, equals), {equal}, [&] {
      return SmallVector<Value>{b.loop(zero, taken, 1, {none, equal}, [&](Value, ValueRange bits) {
        Value lowest = arith::AndIOp::create(b, bits[1], arith::SubIOp::create(b, none, bits[1]));
        return SmallVector<Value>{arith::OrIOp::create(b, bits[0], lowest), arith::XOrIOp::create(b, bits[1], lowest)};
      })[0]};
    })[0];
    chosen = arith::OrIOp::create(b, greater, chosen);
    Value count = b.when(b.compare(Pred::ne, chosen, none), {carried[0]}, [&]() -> SmallVector<Value> {
      return {append(carried[0], maskOf(chosen), chosen, here, columns)};
    })[0];
    return {count, b.sub(carried[1], taken)};
  });
  // Later columns lose against an equal key.
  return {carried[0], b.add(worst, 1)};
}

Candidates::State Candidates::makeRoom(State state) {
  Value isFull = b.compare(Pred::ugt, state.count, b.index(capacity - kBlock));
  SmallVector<Value> next = b.when(isFull, {state.count, state.bound}, [&]() -> SmallVector<Value> {
    State small = shrink(state);
    return {small.count, small.bound};
  });
  return {next[0], next[1]};
}

Candidates::State Candidates::close(State state) {
  SmallVector<Value> next =
      b.when(b.compare(Pred::ugt, state.count, b.index(k)), {state.count, state.bound}, [&]() -> SmallVector<Value> {
        State small = shrink(state);
        return {small.count, small.bound};
      });
  return {next[0], next[1]};
}

Candidates::State Candidates::addBlock(State state, Value source, ValueRange at, Value column, Value count,
                                       bool isWhole) {
  state = makeRoom(state);
  Value bound = b.broadcast(state.bound), first = b.toI32(column), number = b.toI32(count), any;
  SmallVector<Value> newKeys, masks;
  for (int64_t i = 0; i < kBlock; i += kVector) {
    SmallVector<Value> place(at);
    place.back() = b.add(place.back(), i);
    newKeys.push_back(keysOf(b.load(source, place, kVector)));
    Value mask = b.compare(Pred::uge, newKeys.back(), bound);
    if (!isWhole)
      mask = arith::AndIOp::create(b, mask, b.compare(Pred::ult, b.add(lanes(), i), b.broadcast(number)));
    any = any ? Value(arith::OrIOp::create(b, any, mask)) : mask;
    masks.push_back(mask);
  }
  // Few blocks hold a candidate.
  Value bits = bitsOf(any), none = arith::ConstantOp::create(b, b.getIntegerAttr(bits.getType(), 0));
  Value total = b.when(b.compare(Pred::ne, bits, none), {state.count}, [&] {
    State next = state;
    for (auto [i, mask] : llvm::enumerate(masks))
      next = add(next, newKeys[i], b.add(b.broadcast(b.add(first, i * kVector)), lanes()), mask);
    return SmallVector<Value>{next.count};
  })[0];
  return {total, state.bound};
}

void Candidates::write(State state, Value out) {
  Value zero = b.index(0), missing = b.i32(-1), all = b.toI32(state.count);
  int64_t whole = k / kVector * kVector;
  b.loop(zero, b.index(whole), kVector, [&](Value i) {
    Value isThere = b.compare(Pred::ult, b.add(lanes(), b.broadcast(b.toI32(i))), b.broadcast(all));
    b.store(b.select(isThere, b.load(columnsOf, i, kVector), b.broadcast(missing)), out, {zero, i});
  });
  b.loop(b.index(whole), b.index(k), 1, [&](Value i) {
    Value isThere = b.compare(Pred::ult, i, state.count);
    b.store(b.select(isThere, b.load(columnsOf, i), missing), out, {zero, i});
  });
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

/// Columns 0 .. count-1, then -1.
static void writeAll(KernelBuilder &b, Value count, Value out) {
  b.loop(b.index(0), b.index(sizeOf(out, 1)), 1, [&](Value i) {
    Value isThere = b.compare(Pred::ult, i, count);
    b.store(b.select(isThere, b.toI32(i), b.i32(-1)), out, {b.index(0), i});
  });
}

/// Carries candidates through a loop.
static Candidates::State loopOver(KernelBuilder &b, Value from, Value to, int64_t step, Candidates::State state,
                                  function_ref<Candidates::State(Value, Candidates::State)> body) {
  SmallVector<Value> inits = {state.count, state.bound};
  SmallVector<Value> result = b.loop(from, to, step, inits, [&](Value i, ValueRange carried) {
    Candidates::State next = body(i, {carried[0], carried[1]});
    return SmallVector<Value>{next.count, next.bound};
  });
  return {result[0], result[1]};
}

LogicalResult v4::expandTopK(KernelOp op, const TemplateTarget &target) {
  KernelBuilder b(op);
  Value scores = op.getInputs()[0], out = op.getOutputs()[0], zero = b.index(0);
  int64_t columns = sizeOf(scores, 1), k = sizeOf(out, 1);
  Value visible = op->hasAttr("ratio") ? b.visibleEntries(op.getInputs()[1], columns) : b.index(columns);
  Candidates candidates(b, k, columns);
  Value rest = b.scratch({kBlock}, b.getF32Type());
  b.when(
      b.compare(Pred::ule, visible, b.index(k)), [&] { writeAll(b, visible, out); },
      [&] {
        Value whole = b.mul(b.div(visible, kBlock), kBlock), size = b.index(kBlock);
        Candidates::State state = loopOver(b, zero, whole, kBlock, candidates.begin(), [&](Value i, auto state) {
          return candidates.addBlock(state, scores, {zero, i}, i, size, /*isWhole=*/true);
        });
        // The last block may end within the row: it is read from a copy.
        b.loop(whole, visible, 1, [&](Value i) { b.store(b.load(scores, {zero, i}), rest, b.sub(i, whole)); });
        state = candidates.addBlock(state, rest, zero, whole, b.sub(visible, whole), /*isWhole=*/false);
        candidates.write(candidates.close(state), out);
      });
  return success();
}

namespace {
/// Scores of a block of index keys (spec 4.9).
class IndexScores {
public:
  IndexScores(KernelBuilder &b, Value query, Value weights, Value keys) : b(b), query(query), keys(keys) {
    heads = sizeOf(query, 1), width = sizeOf(query, 2), groups = llvm::divideCeil(heads, kVector);
    tile = b.scratch({kBlock, static_cast<int64_t>(llvm::alignTo(width, kVector)) + kVector}, b.getF32Type());
    factors = b.scratch({groups * kVector}, b.getF32Type());
    scores = b.scratch({kBlock}, b.getF32Type());
    packed = b.packHeads(query);
    // Lanes past the last head have weight 0.
    b.store(b.splat(b.f32s(), 0), factors, b.index((groups - 1) * kVector));
    b.loop(b.index(0), b.index(heads), 1, [&](Value head) {
      b.store(b.widen(b.load(weights, {b.index(0), head})), factors, head);
    });
  }

  /// `count` scores from key `first` on, into `scores`.
  void compute(Value first, Value count) {
    Value zero = b.index(0);
    b.loop(zero, count, 1, [&](Value i) { b.widenRow(keys, {b.add(first, i)}, width, tile, i); });
    double scale = b.number("scale");
    b.loop(zero, count, kKeys, [&](Value key) {
      SmallVector<Value> sums(kKeys, b.splat(b.f32s(), 0));
      for (int64_t group = 0; group < groups; group += kGroups) {
        int64_t size = std::min(kGroups, groups - group);
        SmallVector<Value> dots = b.dots(tile, key, packed, b.index(group), {kKeys, size}, width);
        for (int64_t j = 0; j < size; ++j) {
          Value weight = b.load(factors, b.index((group + j) * kVector), kVector);
          for (int64_t i = 0; i < kKeys; ++i) {
            Value dot = arith::MaximumFOp::create(b, dots[i * size + j], b.splat(b.f32s(), 0));
            sums[i] = b.mulAdd(dot, weight, sums[i]);
          }
        }
      }
      for (int64_t i = 0; i < kKeys; ++i) {
        b.store(b.mul(b.sum(sums[i]), b.f32(scale)), scores, b.add(key, i));
      }
    });
  }

  Value scores;

private:
  KernelBuilder &b;
  Value query, keys, tile, factors, packed;
  int64_t heads, width, groups;
};
} // namespace

/// inputs: query [1, h, c], weights [1, h], keys [N, c], positions [1] and, of a part, its number; output [1, k], or of
/// a part keys and columns of its candidates [1, 1, 2, k] and their number [1, 1].
LogicalResult v4::expandIndexTopK(KernelOp op, const TemplateTarget &target) {
  KernelBuilder b(op);
  OperandRange inputs = op.getInputs();
  Value out = op.getOutputs()[0], zero = b.index(0);
  bool isPart = op->hasAttr("parts");
  int64_t columns = sizeOf(inputs[2], 0), k = sizeOf(out, isPart ? 3 : 1);
  Value visible = b.visibleEntries(inputs[3], columns);
  Candidates candidates(b, k, columns);
  b.when(
      b.compare(Pred::ule, visible, b.index(k)),
      [&] {
        if (isPart)
          b.store(b.i32(0), op.getOutputs()[1], {zero, zero});
        else
          writeAll(b, visible, out);
      },
      [&] {
        Value begin = zero, end = visible;
        if (isPart)
          std::tie(begin, end) = b.partOf(visible, kBlock, inputs[4]);
        IndexScores scores(b, inputs[0], inputs[1], inputs[2]);
        Candidates::State state = loopOver(b, begin, end, kBlock, candidates.begin(), [&](Value first, auto state) {
          Value count = b.min(b.sub(end, first), b.index(kBlock));
          scores.compute(first, count);
          return candidates.addBlock(state, scores.scores, zero, first, count, /*isWhole=*/false);
        });
        state = candidates.close(state);
        if (!isPart)
          return candidates.write(state, out);
        b.store(b.toI32(state.count), op.getOutputs()[1], {zero, zero});
        b.loop(zero, state.count, 1, [&](Value i) {
          b.store(b.load(candidates.keys, i), out, {zero, zero, zero, i});
          b.store(b.load(candidates.columnsOf, i), out, {zero, zero, b.index(1), i});
        });
      });
  return success();
}

/// inputs: keys and columns of the candidates [1, P, 2, k], their numbers [1, P], positions [1]; output [1, k].
LogicalResult v4::expandMergeTopK(KernelOp op, const TemplateTarget &target) {
  KernelBuilder b(op);
  Value lists = op.getInputs()[0], counts = op.getInputs()[1], out = op.getOutputs()[0], zero = b.index(0);
  int64_t parts = sizeOf(lists, 1), k = sizeOf(out, 1);
  Value visible = b.visibleEntries(op.getInputs()[2], b.attribute("columns"));
  Candidates candidates(b, k, parts * k);
  b.when(
      b.compare(Pred::ule, visible, b.index(k)), [&] { writeAll(b, visible, out); },
      [&] {
        Candidates::State state = candidates.begin();
        state = loopOver(b, zero, b.index(parts), 1, state, [&](Value part, auto state) {
          Value count = b.toIndex(b.load(counts, {zero, part})), whole = b.mul(b.div(count, kVector), kVector);
          auto all = arith::ConstantOp::create(
              b, DenseElementsAttr::get(VectorType::get({kVector}, b.getI1Type()), true));
          state = loopOver(b, zero, whole, kVector, state, [&](Value i, auto state) {
            return candidates.add(candidates.makeRoom(state), b.load(lists, {zero, part, zero, i}, kVector),
                                  b.load(lists, {zero, part, b.index(1), i}, kVector), all);
          });
          // One by one, since the list may end here.
          return loopOver(b, whole, count, 1, state, [&](Value i, auto state) {
            Value first = b.compare(Pred::eq, candidates.lanes(), b.splat(b.i32s(), 0));
            return candidates.add(candidates.makeRoom(state), b.broadcast(b.load(lists, {zero, part, zero, i})),
                                  b.broadcast(b.load(lists, {zero, part, b.index(1), i})), first);
          });
        });
        candidates.write(candidates.close(state), out);
      });
  return success();
}

//===----------------------------------------------------------------------===//
// Selection
//===----------------------------------------------------------------------===//

bool v4::selectTopK(Operation *tile) {
  auto op = dyn_cast<TopKOp>(tile);
  if (!op || op.getResult().getType().getDimSize(0) != 1 || !op.getScores().getType().getElementType().isF32())
    return false;
  KernelOp kernel = replaceByKernel(op, "top_k");
  if (op.getPositions())
    kernel->setAttr("ratio", op.getRatioAttr());
  op.erase();
  return true;
}

bool v4::selectIndexTopK(Operation *tile) {
  auto op = dyn_cast<IndexTopKOp>(tile);
  if (!op || op.getRounded() || op.getResult().getType().getDimSize(0) != 1)
    return false;
  setIndexAttributes(op, replaceByKernel(op, "index_top_k"));
  op.erase();
  return true;
}

void v4::setIndexAttributes(IndexTopKOp op, KernelOp kernel) {
  kernel->setAttr("ratio", op.getRatioAttr());
  kernel->setAttr("scale", op.getScaleAttr());
}
