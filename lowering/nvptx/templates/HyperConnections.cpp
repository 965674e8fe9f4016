// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Templates of GPUs for hyper-connections: `hc_mix` (products of rows with a part of the columns of fn), `hc_close`
// (all that follows them, for v4.hc_pre and v4.hc_head) and `hc_post`.
//
// fn is one and a half megabytes and more: it is read by as many blocks as the columns have parts, once for several
// rows, in loads of 16 bytes that are all under way at once. What follows is a handful of numbers: they are in the
// lanes of a warp, an entry of the mix in each, and so are the 4 x 4 numbers of Sinkhorn's normalisation.

#include "lowering/nvptx/templates/Rows.h"

#include "lowering/templates/Templates.h"

using namespace mlir;
using namespace mlir::v4;

/// Columns that a lane reads at a time.
constexpr int64_t kLane = 4;
/// Most steps of a warp over the columns that are unrolled for one row.
constexpr int64_t kSteps = 4;
/// Threads of a block of `hc_post`.
constexpr int64_t kPostThreads = 128;

int64_t v4::mixColumns(int64_t streams, int64_t width) {
  // The normalisation works on a square of lanes, and its sums are exchanges between them.
  if (streams > 4 || !llvm::isPowerOf2_64(streams) || width % kLane)
    return 0;
  int64_t columns = largestDivisor(width / kLane, kMixColumns / kLane) * kLane;
  return columns < width && columns < kMixColumns / 8 ? 0 : columns;
}

/// inputs: streams [T, n, d], fn [m, n*d], number of the part; output [T, 1, m + 1]: products with the rows of fn over
/// the part's columns, and the sums of their squares. Attribute `columns`: columns of a part, which divide d.
LogicalResult v4::expandBlockHcMix(KernelOp op, const GpuTarget &target) {
  if (failed(verifyBlockKernel(op, 3, 1)))
    return failure();
  BlockBuilder b(op);
  Value streams = op.getInputs()[0], fn = op.getInputs()[1], out = op.getOutputs()[0], zero = b.index(0);
  int64_t tokens = sizeOf(streams, 0), width = sizeOf(streams, 2), rows = sizeOf(fn, 0),
          columns = b.attribute("columns");
  if (columns % kLane || width % columns)
    return op.emitOpError() << "expected a multiple of " << kLane << " that divides " << width
                            << " as columns of a part, found " << columns;
  Value first = b.mul(op.getInputs()[2], columns), stream = b.div(first, width);
  Value start = b.sub(first, b.mul(stream, width));
  // A warp has some rows of fn, and its lanes the columns.
  int64_t rowsOfWarp = llvm::divideCeil(rows, b.warps()), step = kWarp * kLane, steps = llvm::divideCeil(columns, step);
  bool isWhole = columns % step == 0;
  bool fnAligned = b.isAligned(fn, kLane), streamsAligned = b.isAligned(streams, kLane);
  Value firstRow = b.mul(b.warp(), rowsOfWarp);
  SmallVector<Value> rowNumbers;
  for (int64_t i = 0; i < rowsOfWarp; ++i) {
    Value row = b.add(firstRow, i);
    rowNumbers.push_back(rows % b.warps() ? b.min(row, b.index(rows - 1)) : row);
  }
  int64_t unrolled = tokens == 1 ? largestDivisor(steps, kSteps) : 1;
  // By token: the rows of fn, then the square.
  SmallVector<Value> sums(tokens * (rowsOfWarp + 1), b.f32(0));
  sums = b.loop(zero, b.index(steps * step), unrolled * step, sums, [&](Value at, ValueRange carried) {
    SmallVector<Value> sums(carried);
    Value lane = b.add(at, b.mul(b.lane(), kLane));
    SmallVector<SmallVector<Value>> factors(unrolled), numbers(unrolled);
    SmallVector<Value> isThere(unrolled);
    for (int64_t i = 0; i < unrolled; ++i) {
      Value column = b.add(lane, i * step);
      // Lanes behind the last column: that one again, times 0.
      if (!isWhole) {
        isThere[i] = b.compare(arith::CmpIPredicate::ult, column, b.index(columns));
        column = b.min(column, b.index(columns - kLane));
      }
      for (Value row : rowNumbers)
        factors[i].push_back(b.loadRow(fn, {row, b.add(first, column)}, kLane, fnAligned));
      for (int64_t token = 0; token < tokens; ++token)
        numbers[i].push_back(b.loadRow(streams, {b.index(token), stream, b.add(start, column)}, kLane, streamsAligned));
    }
    for (int64_t i = 0; i < unrolled; ++i)
      for (int64_t token = 0; token < tokens; ++token) {
        Value x = b.widen(numbers[i][token]);
        if (!isWhole)
          x = b.zeroIfNot(isThere[i], x);
        for (int64_t column = 0; column < kLane; ++column) {
          Value number = vector::ExtractOp::create(b, x, column);
          Value *sum = &sums[token * (rowsOfWarp + 1)];
          for (Value factor : factors[i]) {
            *sum = b.fma(number, vector::ExtractOp::create(b, factor, column), *sum);
            ++sum;
          }
          *sum = b.fma(number, number, *sum);
        }
      }
    return sums;
  });
  for (Value &sum : sums)
    sum = b.warpSum(sum);
  b.when(b.compare(arith::CmpIPredicate::eq, b.lane(), zero), [&] {
    for (int64_t token = 0; token < tokens; ++token) {
      ArrayRef<Value> own = ArrayRef(sums).slice(token * (rowsOfWarp + 1), rowsOfWarp + 1);
      for (int64_t i = 0; i < rowsOfWarp; ++i) {
        Value row = b.add(firstRow, i);
        auto put = [&] { b.store(own[i], out, {b.index(token), zero, row}); };
        if (rows % b.warps())
          b.when(b.compare(arith::CmpIPredicate::ult, row, b.index(rows)), put);
        else
          put();
      }
      b.when(b.compare(arith::CmpIPredicate::eq, b.warp(), zero), [&] {
        b.store(own.back(), out, {b.index(token), zero, b.index(rows)});
      });
    }
  });
  return success();
}

/// Sinkhorn's normalisation (spec 2.4) of n x n numbers, one in each of the first lanes, the source in the upper bits.
static Value normalize(BlockBuilder &b, Value z, int64_t n) {
  Value offset = b.f32(b.number("hc_eps"));
  auto overSources = [&](Value c) {
    Value sum = c;
    for (int64_t mask = n; mask < n * n; mask *= 2)
      sum = b.add(sum, b.shuffleXor(sum, mask));
    return b.div(c, b.add(sum, offset));
  };
  Value e = b.exp(b.sub(z, b.warpMax(z, n)));
  Value c = overSources(b.add(b.div(e, b.warpSum(e, n)), offset));
  return b.loop(b.index(1), b.index(b.attribute("iterations")), 1, {c}, [&](Value, ValueRange c) {
    return SmallVector<Value>{overSources(b.div(c[0], b.add(b.warpSum(c[0], n), offset)))};
  })[0];
}

/// inputs: sums of the parts [1, P, m + 1], streams [1, n, d], scale, base [m]; outputs: x [1, d] and, of v4.hc_pre,
/// post [1, n] and comb [1, n, n]. m is n*(2+n) for v4.hc_pre, n for v4.hc_head. Attributes of these ops.
LogicalResult v4::expandBlockHcClose(KernelOp op, const GpuTarget &target) {
  bool isHead = !op->hasAttr("iterations");
  if (failed(verifyRowKernel(op, 4, isHead ? 1 : 3)))
    return failure();
  BlockBuilder b(op);
  Value parts = op.getInputs()[0], streams = op.getInputs()[1], scale = op.getInputs()[2], base = op.getInputs()[3];
  Value out = op.getOutputs()[0], zero = b.index(0), one = b.f32(1);
  int64_t count = sizeOf(parts, 1), rows = sizeOf(parts, 2) - 1, n = sizeOf(streams, 1), width = sizeOf(streams, 2);
  if (rows >= kWarp || !llvm::isPowerOf2_64(n) || n * n > kWarp)
    return op.emitOpError() << "expected 1, 2 or 4 streams, found " << n;
  using Pred = arith::CmpIPredicate;

  // 1. Sums over the parts: every warp adds up every eighth, then all warps add up those sums.
  Value own = b.min(b.lane(), b.index(rows)), partial = b.shared({b.warps(), kWarp}, b.getF32Type());
  int64_t turns = llvm::divideCeil(count, b.warps()), unrolled = std::min<int64_t>(turns, 8);
  Value sum = b.loop(zero, b.index(turns), unrolled, {b.f32(0)}, [&](Value turn, ValueRange carried) {
    SmallVector<Value> terms;
    for (int64_t i = 0; i < unrolled; ++i) {
      Value part = b.add(b.mul(b.add(turn, i), b.warps()), b.warp());
      Value term = b.load(parts, {zero, b.min(part, b.index(count - 1)), own});
      terms.push_back(b.zeroIfNot(b.compare(Pred::ult, part, b.index(count)), term));
    }
    Value sum = carried[0];
    for (Value term : terms)
      sum = b.add(sum, term);
    return SmallVector<Value>{sum};
  })[0];
  b.store(sum, partial, {b.warp(), b.lane()});
  b.barrier();
  Value mixed = b.load(partial, {zero, b.lane()});
  for (int64_t warp = 1; warp < b.warps(); ++warp)
    mixed = b.add(mixed, b.load(partial, {b.index(warp), b.lane()}));

  // 2. An entry of the mix in each lane: pre, post, then the matrix.
  Value mean = b.div(b.shuffleFrom(mixed, b.i32(rows)), b.f32(static_cast<double>(n * width)));
  Value rho = b.div(one, math::SqrtOp::create(b, b.add(mean, b.f32(b.number("eps")))));
  Value part = isHead ? zero : b.min(b.div(b.lane(), n), b.index(2));
  Value gate = b.add(b.mul(b.mul(mixed, rho), b.load(scale, part)), b.load(base, b.min(b.lane(), b.index(rows - 1))));
  Value sigmoid = b.div(one, b.add(one, b.exp(b.sub(b.f32(0), gate))));
  if (!isHead)
    b.when(b.compare(Pred::eq, b.warp(), zero), [&] {
      Value isPost = b.compare(Pred::eq, b.div(b.lane(), n), b.index(1));
      b.when(isPost, [&] { b.store(b.add(sigmoid, sigmoid), op.getOutputs()[1], {zero, b.rem(b.lane(), n)}); });
      Value from = b.toI32(b.rem(b.add(b.lane(), 2 * n), kWarp));
      Value comb = normalize(b, b.shuffleFrom(gate, from), n);
      b.when(b.compare(Pred::ult, b.lane(), b.index(n * n)), [&] {
        b.store(comb, op.getOutputs()[2], {zero, b.div(b.lane(), n), b.rem(b.lane(), n)});
      });
    });

  // 3. The streams, weighed.
  Value pre = b.add(sigmoid, b.f32(b.number("hc_eps")));
  SmallVector<Value> weights;
  int64_t lanes = rowLanes(streams);
  for (int64_t j = 0; j < n; ++j)
    weights.push_back(b.broadcast(b.shuffleFrom(pre, b.i32(j)), lanes));
  bool streamsAligned = b.isAligned(streams, lanes), outAligned = b.isAligned(out, lanes);
  b.forThreads(b.index(width / lanes), [&](Value unit) {
    Value column = b.mul(unit, lanes), sum = b.splat(b.f32s(lanes), 0);
    SmallVector<Value> numbers;
    for (int64_t j = 0; j < n; ++j)
      numbers.push_back(b.loadRow(streams, {zero, b.index(j), column}, lanes, streamsAligned));
    for (auto [weight, number] : llvm::zip(weights, numbers))
      sum = b.fma(weight, b.widen(number), sum);
    b.storeRow(sum, out, {zero, column}, outAligned);
  });
  return success();
}

bool v4::selectBlockHcPost(Operation *tile, const GpuTarget &target) {
  auto op = dyn_cast<HcPostOp>(tile);
  if (!op || op.getResult().getType().getDimSize(0) != 1)
    return false;
  replaceByBlockKernel(op, "hc_post", kPostThreads);
  op->erase();
  return true;
}

/// inputs: input [1, c], streams [1, n, c], post [1, n], comb [1, n, n]; output [1, n, c].
LogicalResult v4::expandBlockHcPost(KernelOp op, const GpuTarget &target) {
  if (failed(verifyBlockKernel(op, 4, 1, kPostThreads)))
    return failure();
  BlockBuilder b(op);
  Value input = op.getInputs()[0], streams = op.getInputs()[1], post = op.getInputs()[2], comb = op.getInputs()[3];
  Value out = op.getOutputs()[0], zero = b.index(0);
  if (int64_t rows = sizeOf(out, 0); rows != 1)
    return op.emitOpError() << "expected one row, found " << rows;
  int64_t n = sizeOf(streams, 1), width = sizeOf(streams, 2), lanes = rowLanes(streams);
  bool inputAligned = b.isAligned(input, lanes), streamsAligned = b.isAligned(streams, lanes),
       outAligned = b.isAligned(out, lanes);
  b.forThreads(width / lanes, [&](Value unit) {
    Value column = b.mul(unit, lanes);
    Value x = b.loadRow(input, {zero, column}, lanes, inputAligned);
    SmallVector<Value> numbers;
    for (int64_t j = 0; j < n; ++j)
      numbers.push_back(b.loadRow(streams, {zero, b.index(j), column}, lanes, streamsAligned));
    x = b.widen(x);
    for (Value &number : numbers)
      number = b.widen(number);
    for (int64_t k = 0; k < n; ++k) {
      Value sum = b.mul(b.broadcast(b.load(post, {zero, b.index(k)}), lanes), x);
      for (int64_t j = 0; j < n; ++j)
        sum = b.fma(b.broadcast(b.load(comb, {zero, b.index(j), b.index(k)}), lanes), numbers[j], sum);
      b.storeRow(sum, out, {zero, b.index(k), column}, outAligned);
    }
  });
  return success();
}
