// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Templates of GPUs `route`, `route_hash` (the experts of a row and their weights, by one warp) and `dispatch` (the
// pairs of all rows by expert, by one block).
//
// The experts of a row are in the registers of the lanes, and the best one is taken k times: the largest key of the
// warp, then the lowest expert that has it. Pairs are ranked without atomics: every warp has consecutive pairs and a
// counter for each expert, and lanes with the same expert know each other by `match.sync`. So places do not depend on
// the order in which threads run.

#include "lowering/nvptx/templates/Rows.h"

#include "lowering/templates/Templates.h"

using namespace mlir;
using namespace mlir::v4;

using Pred = arith::CmpIPredicate;

/// Most experts of `route`: 32 for a lane. Most experts of a row: one for a lane.
constexpr int64_t kMaxExperts = 1024, kMaxChosen = kWarp;
/// Most threads of `dispatch`, and most bytes of its counters.
constexpr int64_t kDispatchThreads = 512, kCounterBytes = 32 << 10;

//===----------------------------------------------------------------------===//
// The experts of a row
//===----------------------------------------------------------------------===//

/// sqrt(softplus(logit)); softplus is the identity above 20.
static Value scoreOf(BlockBuilder &b, Value logit) {
  Value isLarge = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, logit, b.f32(20));
  Value soft = math::Log1pOp::create(b, b.exp(logit));
  return math::SqrtOp::create(b, b.select(isLarge, logit, soft));
}

/// The weights of `scores`, of which the lanes have chosen those that add up to `own`.
static SmallVector<Value> weightsOf(BlockBuilder &b, ArrayRef<Value> scores, Value own) {
  Value total = b.add(b.warpSum(own), b.f32(1e-20)), scale = b.f32(b.number("scale"));
  return llvm::map_to_vector(scores, [&](Value score) { return b.mul(b.div(score, total), scale); });
}

static LogicalResult verifyRoute(KernelOp op, unsigned inputs) {
  if (failed(verifyBlockKernel(op, inputs, 2, kWarp)))
    return failure();
  if (int64_t rows = sizeOf(op.getInputs()[0], 0); rows != 1)
    return op.emitOpError() << "expected one row, found " << rows;
  return success();
}

bool v4::selectBlockRoute(Operation *tile, const GpuTarget &target) {
  StringRef name = isa<RouteOp>(tile) ? "route" : "route_hash";
  if (!isa<RouteOp, RouteHashOp>(tile))
    return false;
  auto logits = cast<RankedTensorType>(tile->getOperand(0).getType()),
       indices = cast<RankedTensorType>(tile->getResult(0).getType());
  if (logits.getDimSize(0) != 1 || logits.getDimSize(1) > kMaxExperts || indices.getDimSize(1) > kMaxChosen)
    return false;
  KernelOp kernel = replaceByBlockKernel(tile, name, kWarp);
  kernel->setAttr("scale", tile->getAttr("scale"));
  tile->erase();
  return true;
}

/// inputs: logits [1, E], bias [E]; outputs: indices [1, k], weights [1, k].
LogicalResult v4::expandBlockRoute(KernelOp op, const GpuTarget &target) {
  if (failed(verifyRoute(op, 2)))
    return failure();
  BlockBuilder b(op);
  Value logits = op.getInputs()[0], bias = op.getInputs()[1], zero = b.index(0), none = b.i32(0);
  int64_t experts = sizeOf(logits, 1), k = sizeOf(op.getOutputs()[0], 1);
  if (experts > kMaxExperts || k > experts)
    return op.emitOpError() << "expected no more than " << kMaxExperts << " experts, found " << experts << " and " << k
                            << " of a row";
  // Key 0 is no candidate: NaN becomes 1, which is below all numbers.
  SmallVector<Value> columns, isThere, numbers, scores, keys;
  for (int64_t first = 0; first < experts; first += kWarp) {
    columns.push_back(b.add(b.lane(), first));
    isThere.push_back(b.compare(Pred::ult, columns.back(), b.index(experts)));
    Value at = first + kWarp > experts ? b.min(columns.back(), b.index(experts - 1)) : columns.back();
    numbers.push_back(b.load(logits, {zero, at}));
    keys.push_back(b.load(bias, at));
  }
  for (auto [i, key] : llvm::enumerate(keys)) {
    scores.push_back(scoreOf(b, numbers[i]));
    key = b.zeroIfNot(isThere[i], b.max(b.orderKey(b.add(scores[i], key)), b.i32(1)));
  }
  SmallVector<Value> left = b.loop(zero, b.index(k), 1, keys, [&](Value, ValueRange carried) {
    SmallVector<Value> left(carried);
    Value best = left[0], column = b.toI32(columns[0]);
    for (size_t i = 1; i < left.size(); ++i) {
      Value isMore = b.compare(Pred::ugt, left[i], best);
      column = b.select(isMore, b.toI32(columns[i]), column);
      best = b.select(isMore, left[i], best);
    }
    Value isBest = b.compare(Pred::eq, best, b.warpMost(best));
    Value chosen = b.warpLeast(b.select(isBest, column, b.i32(-1)));
    for (auto [i, key] : llvm::enumerate(left))
      key = b.select(b.compare(Pred::eq, b.toI32(columns[i]), chosen), none, key);
    return left;
  });
  // Ascending experts: those of a register before those of the next.
  Value before = none, own = b.f32(0), below = b.lanesBelow();
  SmallVector<Value> flags, places;
  for (auto [i, key] : llvm::enumerate(left)) {
    flags.push_back(arith::AndIOp::create(b, isThere[i], b.compare(Pred::eq, key, none)));
    Value votes = b.ballot(flags.back());
    places.push_back(b.toIndex(b.add(before, b.count(arith::AndIOp::create(b, votes, below)))));
    before = b.add(before, b.count(votes));
    own = b.add(own, b.zeroIfNot(flags.back(), scores[i]));
  }
  SmallVector<Value> weights = weightsOf(b, scores, own);
  for (auto [i, flag] : llvm::enumerate(flags))
    b.when(flag, [&, i = i] {
      b.store(b.toI32(columns[i]), op.getOutputs()[0], {zero, places[i]});
      b.store(weights[i], op.getOutputs()[1], {zero, places[i]});
    });
  return success();
}

/// inputs: logits [1, E], tokens [1], table [V, k]; outputs: indices [1, k], weights [1, k].
LogicalResult v4::expandBlockRouteHash(KernelOp op, const GpuTarget &target) {
  if (failed(verifyRoute(op, 3)))
    return failure();
  BlockBuilder b(op);
  Value logits = op.getInputs()[0], table = op.getInputs()[2], zero = b.index(0);
  int64_t experts = sizeOf(logits, 1), k = sizeOf(op.getOutputs()[0], 1);
  if (k > kMaxChosen)
    return op.emitOpError() << "expected no more than " << kMaxChosen << " experts of a row, found " << k;
  auto clamp = [&](Value number, int64_t count) -> Value {
    Value positive = arith::MaxSIOp::create(b, number, b.i32(0));
    return arith::MinSIOp::create(b, positive, b.i32(count - 1));
  };
  // Ids of a damaged table are clamped too: they address weights.
  Value token = b.toIndex(clamp(b.load(op.getInputs()[1], zero), sizeOf(table, 0)));
  Value column = b.min(b.lane(), b.index(k - 1)), isThere = b.compare(Pred::ult, b.lane(), b.index(k));
  Value expert = clamp(arith::TruncIOp::create(b, b.getI32Type(), b.load(table, {token, column})), experts);
  Value score = scoreOf(b, b.load(logits, {zero, b.toIndex(expert)}));
  Value weight = weightsOf(b, {score}, b.zeroIfNot(isThere, score))[0];
  b.when(isThere, [&] {
    b.store(expert, op.getOutputs()[0], {zero, column});
    b.store(weight, op.getOutputs()[1], {zero, column});
  });
  return success();
}

//===----------------------------------------------------------------------===//
// Pairs by expert
//===----------------------------------------------------------------------===//

/// Threads of a block whose warps have counters for `experts` experts each, or 0 where those need too much memory.
static int64_t dispatchThreads(int64_t pairs, int64_t experts) {
  int64_t warps = std::min<int64_t>(llvm::divideCeil(pairs, kWarp), kDispatchThreads / kWarp);
  return std::min<int64_t>(warps, kCounterBytes / (4 * experts)) * kWarp;
}

bool v4::selectBlockDispatch(Operation *tile, const GpuTarget &target) {
  auto op = dyn_cast<DispatchOp>(tile);
  if (!op)
    return false;
  int64_t threads = dispatchThreads(op.getIndices().getType().getNumElements(), op.getExpertsTotal());
  if (!threads)
    return false;
  replaceByBlockKernel(op, "dispatch", threads)->setAttr("experts", op.getExpertsTotalAttr());
  op.erase();
  return true;
}

/// inputs: indices [S, k], weights [S, k], positions [S]; outputs: experts [A], offsets [A + 1], rows [S*k],
/// pair_weights [S*k], pairs [S, k]. Attribute `experts`: how many there are.
LogicalResult v4::expandBlockDispatch(KernelOp op, const GpuTarget &target) {
  if (failed(verifyOperands(op, 3, 5)))
    return failure();
  BlockBuilder b(op);
  Value indices = op.getInputs()[0], weights = op.getInputs()[1], positions = op.getInputs()[2], zero = b.index(0);
  auto [listed, offsets, rows, pairWeights, pairs] =
      std::tuple(op.getOutputs()[0], op.getOutputs()[1], op.getOutputs()[2], op.getOutputs()[3], op.getOutputs()[4]);
  int64_t k = sizeOf(indices, 1), count = sizeOf(indices, 0) * k, experts = b.attribute("experts"), warps = b.warps();
  if (warps * experts * 4 > kCounterBytes)
    return op.emitOpError() << "expected no more than " << kCounterBytes << " bytes of counters, found " << warps
                            << " warps with " << experts << " experts";
  Value counters = b.shared({warps, experts}, b.getI32Type()), total = b.shared({1}, b.getI32Type());
  Value below = b.lanesBelow();
  int64_t steps = llvm::divideCeil(count, warps * kWarp);

  // 1. Every warp has consecutive pairs, 32 at a time: how many lanes have the same expert, how many of those are below
  //    this one, and whether it is the first.
  struct Pair {
    Value isThere, row, column, isActive, expert, number, rank, isFirst;
  };
  auto forPairs = [&](function_ref<void(Pair)> body) {
    b.loop(zero, b.index(steps), 1, [&](Value step) {
      Pair pair;
      Value i = b.add(b.mul(b.add(b.mul(b.warp(), steps), step), kWarp), b.lane());
      pair.isThere = b.compare(Pred::ult, i, b.index(count));
      i = b.min(i, b.index(count - 1));
      pair.row = b.div(i, k);
      pair.column = b.rem(i, k);
      Value isValid = b.compare(Pred::sge, b.load(positions, pair.row), b.i32(0));
      pair.isActive = arith::AndIOp::create(b, pair.isThere, isValid);
      pair.expert = b.select(pair.isActive, b.load(indices, {pair.row, pair.column}), b.i32(-1));
      Value equal = b.equalLanes(pair.expert);
      pair.number = b.count(equal);
      pair.rank = b.count(arith::AndIOp::create(b, equal, below));
      pair.isFirst = arith::AndIOp::create(b, pair.isActive, b.compare(Pred::eq, pair.rank, b.i32(0)));
      body(pair);
    });
  };
  auto countFirst = [&](const Pair &pair) {
    b.when(pair.isFirst, [&] {
      Value at = b.toIndex(pair.expert);
      b.store(b.add(b.load(counters, {b.warp(), at}), pair.number), counters, {b.warp(), at});
    });
    b.warpBarrier();
  };
  b.forThreads(b.index(warps * experts), [&](Value i) {
    b.store(b.i32(0), counters, {b.div(i, experts), b.rem(i, experts)});
  });
  b.barrier();
  forPairs(countFirst);
  b.barrier();

  // 2. One warp lists the experts that have pairs; a counter becomes the place of the next pair of its warp.
  b.when(b.compare(Pred::eq, b.warp(), zero), [&] {
    SmallVector<Value> inits = {zero, b.i32(0)};
    SmallVector<Value> ends = b.loop(zero, b.index(experts), kWarp, inits, [&](Value first, ValueRange carried) {
      Value expert = b.add(first, b.lane()), isThere = b.compare(Pred::ult, expert, b.index(experts));
      Value at = experts % kWarp ? b.min(expert, b.index(experts - 1)) : expert;
      SmallVector<Value> numbers;
      Value size = b.i32(0);
      for (int64_t warp = 0; warp < warps; ++warp) {
        numbers.push_back(b.load(counters, {b.index(warp), at}));
        size = b.add(size, numbers.back());
      }
      // Lanes behind the last expert have read its counters too.
      if (experts % kWarp)
        b.warpBarrier();
      size = b.zeroIfNot(isThere, size);
      Value end = b.warpPrefix(size), place = b.add(carried[1], b.sub(end, size));
      Value isActive = b.compare(Pred::ne, size, b.i32(0)), votes = b.ballot(isActive);
      b.when(isActive, [&] {
        Value slot = b.add(carried[0], b.toIndex(b.count(arith::AndIOp::create(b, votes, below))));
        b.store(b.toI32(expert), listed, slot);
        b.store(place, offsets, slot);
      });
      b.when(isThere, [&] {
        Value next = place;
        for (auto [warp, number] : llvm::enumerate(numbers)) {
          b.store(next, counters, {b.index(warp), at});
          next = b.add(next, number);
        }
      });
      return SmallVector<Value>{b.add(carried[0], b.toIndex(b.count(votes))),
                                b.add(carried[1], b.shuffleFrom(end, b.i32(kWarp - 1)))};
    });
    b.loop(b.add(ends[0], b.lane()), b.index(sizeOf(offsets, 0)), kWarp, [&](Value slot) {
      b.store(ends[1], offsets, slot);
      b.when(b.compare(Pred::ult, slot, b.index(sizeOf(listed, 0))), [&] { b.store(b.i32(-1), listed, slot); });
    });
    b.when(b.compare(Pred::eq, b.lane(), zero), [&] { b.store(ends[1], total, zero); });
  });
  b.barrier();

  // 3. The pairs into their places.
  forPairs([&](const Pair &pair) {
    Value at = b.toIndex(b.select(pair.isActive, pair.expert, b.i32(0)));
    Value place = b.add(b.load(counters, {b.warp(), at}), pair.rank);
    b.warpBarrier();
    b.when(
        pair.isActive,
        [&] {
          // The rank of the expert in its row is where the pair is listed.
          Value rank = b.i32(0);
          for (int64_t i = 0; i < k; ++i) {
            Value other = b.load(indices, {pair.row, b.index(i)});
            Value isTie = arith::AndIOp::create(b, b.compare(Pred::eq, other, pair.expert),
                                                b.compare(Pred::ult, b.index(i), pair.column));
            Value isBefore = b.bitOr(b.compare(Pred::slt, other, pair.expert), isTie);
            rank = b.add(rank, arith::ExtUIOp::create(b, b.getI32Type(), isBefore));
          }
          b.store(b.toI32(pair.row), rows, b.toIndex(place));
          b.store(b.load(weights, {pair.row, pair.column}), pairWeights, b.toIndex(place));
          b.store(place, pairs, {pair.row, b.toIndex(rank)});
        },
        [&] { b.when(pair.isThere, [&] {
                b.store(b.i32(0), pairs, {pair.row, pair.column});
              }); });
    countFirst(pair);
  });
  b.loop(b.add(b.toIndex(b.load(total, zero)), b.thread()), b.index(count), b.threads(), [&](Value i) {
    b.store(b.i32(0), rows, i);
    b.store(b.f32(0), pairWeights, i);
  });
  return success();
}
