// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Decompositions of routing, dispatch and combination of experts, and of top-k selection.

#include "dialects/V4Emit.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace mlir::v4;

using Results = FailureOr<SmallVector<Value>>;
using Pred = arith::CmpIPredicate;

static Value compare(Emit &e, Pred pred, Value a, Value b) {
  return arith::CmpIOp::create(e, pred, a, b);
}
static Value both(Emit &e, Value a, Value b) {
  return arith::AndIOp::create(e, a, b);
}

Results SwigluOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  Value limit = e.f32(getLimit().convertToFloat()), negated = e.f32(-getLimit().convertToFloat());
  SmallVector<Arg> inputs = {{getGate(), {0, 1}}, {getUp(), {0, 1}}};
  if (getWeights())
    inputs.push_back({getWeights(), {0}});
  return SmallVector<Value>{e.generic(inputs, {e.emptyLike(getResult()), {0, 1}}, [&](ValueRange args) {
    Value a = e.min(args[0], limit), c = e.clamp(args[1], negated, limit);
    Value z = e.mul(e.mul(a, e.sigmoid(a)), c);
    return getWeights() ? e.mul(args[2], z) : z;
  })};
}

Results CombineOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  int64_t width = sizeOf(getResult(), 1);
  OpFoldResult zero = e.getIndexAttr(0);
  return e.repeat(sizeOf(getResult(), 0), e.emptyLike(getResult()), [&](OpFoldResult s, ValueRange iter) {
    Value target = e.slice(iter[0], {s, zero}, {1, width}), y = e.fill(e.f32(0), e.accumulator(target));
    auto add = [&](Value row, Value y) {
      return e.map(row, y, [&](ValueRange args) { return e.add(args[1], args[0]); });
    };
    y = e.repeat(sizeOf(getPairs(), 1), y, [&](OpFoldResult j, ValueRange y) -> SmallVector<Value> {
      Value pair = e.toIndex(e.at(getPairs(), {s, j}));
      return {add(e.slice(getRouted(), {pair, zero}, {1, width}), y[0])};
    })[0];
    y = add(e.slice(getShared(), {s, zero}, {1, width}), y);
    return SmallVector<Value>{e.insert(e.finish(y, target), iter[0], {s, zero}, {1, width})};
  });
}

//===----------------------------------------------------------------------===//
// Top-k
//===----------------------------------------------------------------------===//

/// A number as an unsigned key of the same order: zeros equal, NaN lowest.
static Value orderKey(Emit &e, Value number) {
  number = e.toF32(number);
  Value bits = e.bitsOf(number), negativeZero = e.i32(0x80000000);
  bits = e.select(arith::CmpIOp::create(e, arith::CmpIPredicate::eq, bits, negativeZero), e.i32(0), bits);
  Value mask = arith::OrIOp::create(e, arith::ShRSIOp::create(e, bits, e.i32(31)), negativeZero);
  Value valid = arith::CmpFOp::create(e, arith::CmpFPredicate::ORD, number, number);
  return e.select(valid, arith::XOrIOp::create(e, bits, mask), e.i32(0));
}

Value Emit::largest(Value scores, Value count, Value out) {
  Emit &e = *this;
  constexpr int64_t kDigit = 8, kBins = 1 << kDigit;
  int64_t k = sizeOf(out, 0);
  Value zero = index(0), one = i32(1);
  Value wanted = toI32(e.min(count, index(k)));

  // The key of the k-th largest column, one digit per pass from the top: count the digits of the columns that agree
  // with the digits found so far, then walk down the bins until they hold the columns still wanted. The last bin takes
  // the columns that do not agree.
  SmallVector<Value> found = loop(
      zero, index(32 / kDigit), 1, {i32(0), i32(0), wanted}, [&](Value pass, ValueRange iter) -> SmallVector<Value> {
        Value prefix = iter[0], mask = iter[1], left = iter[2];
        Value shift = sub(i32(32 - kDigit), mul(toI32(pass), i32(kDigit)));
        Value bins =
            loop(zero, count, 1, filled({kBins + 1}, i32(0)), [&](Value j, ValueRange bins) -> SmallVector<Value> {
              Value key = orderKey(e, at(scores, j));
              Value digit = bitAnd(arith::ShRUIOp::create(e, key, shift), kBins - 1);
              Value agrees = compare(e, Pred::eq, both(e, key, mask), prefix);
              OpFoldResult bin = toIndex(e.select(agrees, digit, i32(kBins)));
              return {set(bins[0], add(at(bins[0], bin), one), bin)};
            })[0];
        SmallVector<Value> digit =
            loop(zero, index(kBins), 1, {i32(0), left, i32(0)}, [&](Value i, ValueRange iter) -> SmallVector<Value> {
              Value bin = sub(index(kBins - 1), i), size = at(bins, bin);
              Value open = compare(e, Pred::eq, iter[2], i32(0));
              Value enough = compare(e, Pred::sge, size, iter[1]);
              Value stop = both(e, open, enough), pass = both(e, open, compare(e, Pred::slt, size, iter[1]));
              return {e.select(stop, toI32(bin), iter[0]), sub(iter[1], e.select(pass, size, i32(0))),
                      e.select(stop, one, iter[2])};
            });
        Value high = arith::ShLIOp::create(e, digit[0], shift), bits = arith::ShLIOp::create(e, i32(kBins - 1), shift);
        return {arith::OrIOp::create(e, prefix, high), arith::OrIOp::create(e, mask, bits), digit[1]};
      });

  // All larger columns, and of the equal ones the first that are still wanted.
  Value threshold = found[0];
  out = fill(i32(-1), out);
  return loop(zero, count, 1, {out, zero, found[2]}, [&](Value j, ValueRange iter) -> SmallVector<Value> {
    Value key = orderKey(e, at(scores, j));
    Value equal = both(e, compare(e, Pred::eq, key, threshold), compare(e, Pred::sgt, iter[2], i32(0)));
    Value taken = arith::OrIOp::create(e, compare(e, Pred::ugt, key, threshold), equal);
    Value list = when(taken, iter[0],
                      [&](ValueRange list) -> SmallVector<Value> { return {set(list[0], toI32(j), iter[1])}; })[0];
    return {list, e.select(taken, add(iter[1], index(1)), iter[1]), e.select(equal, sub(iter[2], one), iter[2])};
  })[0];
}

Results TopKOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  Value all = e.index(sizeOf(getScores(), 1));
  return e.repeat(sizeOf(getScores(), 0), e.empty(shapeOf(getResult()), e.getI32Type()),
                  [&](OpFoldResult s, ValueRange y) -> SmallVector<Value> {
                    Value count = all;
                    if (getPositions()) {
                      Value tokens = e.add(e.at(getPositions(), s), e.i32(1));
                      count = e.min(e.toIndex(e.div(tokens, e.i32(getRatio()))), all);
                    }
                    Value list = e.largest(e.row(getScores(), s), count, e.row(y[0], s));
                    return {e.setRow(list, y[0], s)};
                  });
}

//===----------------------------------------------------------------------===//
// Routing
//===----------------------------------------------------------------------===//

/// sqrt(softplus(logits)); softplus is the identity above 20.
static Value routeScores(Emit &e, Value logits) {
  return e.map(logits, e.empty(shapeOf(logits)), [&](ValueRange args) -> Value {
    Value soft = math::Log1pOp::create(e, math::ExpOp::create(e, args[0]));
    return math::SqrtOp::create(e, e.select(e.less(e.f32(20), args[0]), args[0], soft));
  });
}

/// scores[s, indices[s, j]], divided by their sum, times `scale`.
static Value routeWeights(Emit &e, Value scores, Value indices, const APFloat &scale) {
  int64_t rows = sizeOf(indices, 0), k = sizeOf(indices, 1);
  Value chosen = e.repeat(rows, e.empty({rows, k}), [&](OpFoldResult s, ValueRange iter) {
    return e.repeat(k, iter, [&](OpFoldResult j, ValueRange iter) -> SmallVector<Value> {
      OpFoldResult expert = e.toIndex(e.at(indices, {s, j}));
      return {e.set(iter[0], e.at(scores, {s, expert}), {s, j})};
    });
  })[0];
  Value total =
      e.sum({{chosen, {0, 1}}}, {e.filled({rows}, e.f32(1e-20)), {0}}, 1, [&](ValueRange args) { return args[0]; });
  Value factor = e.f32(scale.convertToFloat());
  return e.generic({{chosen, {0, 1}}, {total, {0}}}, {e.empty({rows, k}), {0, 1}},
                   [&](ValueRange args) { return e.mul(e.div(args[0], args[1]), factor); });
}

Results RouteOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  int64_t rows = sizeOf(getLogits(), 0);
  Value scores = routeScores(e, getLogits());
  Value biased = e.generic({{scores, {0, 1}}, {getBias(), {1}}}, {e.empty(shapeOf(scores)), {0, 1}},
                           [&](ValueRange args) { return e.add(args[0], args[1]); });
  Value all = e.index(sizeOf(scores, 1));
  Value indices = e.repeat(rows, e.empty(shapeOf(getIndices()), e.getI32Type()),
                           [&](OpFoldResult s, ValueRange iter) -> SmallVector<Value> {
                             Value list = e.largest(e.row(biased, s), all, e.row(iter[0], s));
                             return {e.setRow(list, iter[0], s)};
                           })[0];
  return SmallVector<Value>{indices, routeWeights(e, scores, indices, getScale())};
}

Results RouteHashOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  int64_t rows = sizeOf(getIndices(), 0), k = sizeOf(getIndices(), 1);
  Value zero = e.i32(0), lastToken = e.i32(sizeOf(getTable(), 0) - 1), lastExpert = e.i32(sizeOf(getLogits(), 1) - 1);
  // Ids of a damaged table are clamped too: they address weights.
  Value indices = e.repeat(rows, e.empty({rows, k}, e.getI32Type()), [&](OpFoldResult s, ValueRange iter) {
    Value token = e.toIndex(e.clamp(e.at(getTokens(), s), zero, lastToken));
    return e.repeat(k, iter, [&](OpFoldResult j, ValueRange iter) -> SmallVector<Value> {
      Value expert = arith::TruncIOp::create(e, e.getI32Type(), e.at(getTable(), {token, j}));
      return {e.set(iter[0], e.clamp(expert, zero, lastExpert), {s, j})};
    });
  })[0];
  return SmallVector<Value>{indices, routeWeights(e, routeScores(e, getLogits()), indices, getScale())};
}

Results DispatchOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  int64_t rows = sizeOf(getIndices(), 0), k = sizeOf(getIndices(), 1), pairs = rows * k;
  Value zero = e.index(0), one = e.i32(1);
  // Rows that take part: in a decode call any of them may be inactive.
  auto forRows = [&](ValueRange inits, function_ref<SmallVector<Value>(OpFoldResult, ValueRange)> body) {
    return e.repeat(rows, inits, [&](OpFoldResult s, ValueRange iter) {
      Value valid = compare(e, Pred::sge, e.at(getPositions(), s), e.i32(0));
      return e.when(valid, iter, [&](ValueRange iter) { return body(s, iter); });
    });
  };

  Value none = e.filled({static_cast<int64_t>(getExpertsTotal())}, e.i32(0));
  SmallVector<Value> counts = forRows({none, e.i32(0)}, [&](OpFoldResult s, ValueRange iter) -> SmallVector<Value> {
    Value counts = e.repeat(k, iter[0], [&](OpFoldResult j, ValueRange iter) -> SmallVector<Value> {
      OpFoldResult expert = e.toIndex(e.at(getIndices(), {s, j}));
      return {e.set(iter[0], e.add(e.at(iter[0], expert), one), expert)};
    })[0];
    return {counts, e.add(iter[1], e.i32(k))};
  });
  Value total = counts[1];

  // Active experts and where their pairs begin; `counts` becomes the place of the next pair of each expert.
  Value experts = e.filled(shapeOf(getExperts()), e.i32(-1)), offsets = e.filled(shapeOf(getOffsets()), total);
  SmallVector<Value> lists =
      e.loop(zero, e.index(getExpertsTotal()), 1, {experts, offsets, counts[0], zero, e.i32(0)},
             [&](Value expert, ValueRange iter) -> SmallVector<Value> {
               Value size = e.at(iter[2], expert), place = iter[4];
               Value active = compare(e, Pred::sgt, size, e.i32(0));
               SmallVector<Value> next = e.when(active, iter, [&](ValueRange iter) -> SmallVector<Value> {
                 return {e.set(iter[0], e.toI32(expert), iter[3]), e.set(iter[1], place, iter[3]),
                         e.set(iter[2], place, expert), e.add(iter[3], e.index(1)), e.add(place, size)};
               });
               return next;
             });

  Value sources = e.filled({pairs}, e.i32(0));
  Value weights = e.filled({pairs}, e.f32(0));
  Value places = e.filled({rows, k}, e.i32(0));
  SmallVector<Value> sorted = forRows({lists[2], sources, weights, places}, [&](OpFoldResult s, ValueRange iter) {
    return e.repeat(k, iter, [&](OpFoldResult j, ValueRange iter) -> SmallVector<Value> {
      Value expert = e.at(getIndices(), {s, j}), column = getValueOrCreateConstantIndexOp(e, e.getLoc(), j);
      OpFoldResult cursor = e.toIndex(expert);
      Value place = e.at(iter[0], cursor);
      OpFoldResult target = e.toIndex(place);
      // The rank of the expert in its row is where the pair is listed.
      Value rank = e.repeat(k, zero, [&](OpFoldResult i, ValueRange rank) -> SmallVector<Value> {
        Value other = e.at(getIndices(), {s, i}), index = getValueOrCreateConstantIndexOp(e, e.getLoc(), i);
        Value tie = both(e, compare(e, Pred::eq, other, expert), e.less(index, column));
        Value before = arith::OrIOp::create(e, e.less(other, expert), tie);
        return {e.add(rank[0], e.select(before, e.index(1), zero))};
      })[0];
      Value row = e.toI32(getValueOrCreateConstantIndexOp(e, e.getLoc(), s));
      return {e.set(iter[0], e.add(place, one), cursor), e.set(iter[1], row, target),
              e.set(iter[2], e.at(getWeights(), {s, j}), target), e.set(iter[3], place, {s, rank})};
    });
  });
  return SmallVector<Value>{lists[0], lists[1], sorted[1], sorted[2], sorted[3]};
}
