// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Templates `hc_mix` (the products of v4.hc_pre over a part of the columns) and `hc_close` (all that follows them). One
// row is a product with 24 rows of f32, one and a half megabytes, which one thread alone reads at half the bandwidth.

#include "lowering/templates/KernelBuilder.h"

using namespace mlir;
using namespace mlir::v4;

/// inputs: streams [1, n, d], fn [m, n*d], number of the part; output [1, 1, m + 1]: products with the rows of fn over
/// the part's columns, and the sum of their squares. Attribute `columns`: columns of a part, which divide d.
LogicalResult v4::expandHcMix(KernelOp op, const TemplateTarget &target) {
  KernelBuilder b(op);
  Value streams = op.getInputs()[0], fn = op.getInputs()[1], out = op.getOutputs()[0], zero = b.index(0);
  int64_t width = sizeOf(streams, 2), rows = sizeOf(fn, 0), columns = b.attribute("columns");
  Value first = b.mul(op.getInputs()[2], columns), stream = b.div(first, width);
  Value start = b.sub(first, b.mul(stream, width));
  // Sums of a pass stay in registers.
  constexpr int64_t kRows = 24;
  for (int64_t row = 0; row < rows; row += kRows) {
    int64_t count = std::min(kRows, rows - row);
    bool isLast = row + count == rows;
    SmallVector<Value> sums(count + isLast, b.splat(b.f32s(), 0));
    sums = b.loop(zero, b.index(columns), kVector, sums, [&](Value column, ValueRange sums) {
      Value x = b.widen(b.load(streams, {zero, stream, b.add(start, column)}, kVector));
      SmallVector<Value> next;
      for (int64_t i = 0; i < count; ++i)
        next.push_back(b.mulAdd(x, b.load(fn, {b.index(row + i), b.add(first, column)}, kVector), sums[i]));
      if (isLast)
        next.push_back(b.mulAdd(x, x, sums[count]));
      return next;
    });
    for (auto [i, sum] : llvm::enumerate(sums))
      b.store(b.sum(sum), out, {zero, zero, b.index(row + i)});
  }
  return success();
}

/// inputs: sums of the parts [1, P, n*(2+n) + 1], streams [1, n, d], scale [3], base [n*(2+n)]; outputs: x [1, d],
/// post [1, n], comb [1, n, n]. Attributes of v4.hc_pre.
LogicalResult v4::expandHcClose(KernelOp op, const TemplateTarget &target) {
  KernelBuilder b(op);
  Value parts = op.getInputs()[0], streams = op.getInputs()[1], scale = op.getInputs()[2], base = op.getInputs()[3];
  int64_t rows = sizeOf(parts, 2) - 1, n = sizeOf(streams, 1), width = sizeOf(streams, 2);
  Value zero = b.index(0), one = b.f32(1), offset = b.f32(b.number("hc_eps"));
  // 1. Sums over the parts, in order; the root mean square.
  Value mixed = b.scratch({rows + 1}, b.getF32Type());
  for (int64_t first = 0; first <= rows; first += kVector) {
    int64_t lanes = std::min(kVector, rows + 1 - first);
    Value at = b.index(first), sum = b.splat(b.f32s(lanes), 0);
    sum = b.loop(zero, b.index(sizeOf(parts, 1)), 1, {sum}, [&](Value part, ValueRange sum) {
      return SmallVector<Value>{b.add(sum[0], b.load(parts, {zero, part, at}, lanes))};
    })[0];
    b.store(sum, mixed, at);
  }
  Value mean = b.div(b.load(mixed, b.index(rows)), b.f32(static_cast<double>(n * width)));
  Value rho = b.div(one, math::SqrtOp::create(b, b.add(mean, b.f32(b.number("eps")))));
  // 2. Entries `first ..` of the mix, n at a time, with scale number `part` and their base.
  auto gates = [&](int64_t part, int64_t first) {
    Value mix = b.mul(b.load(mixed, b.index(first), n), b.broadcast(rho, n));
    mix = b.mul(mix, b.broadcast(b.load(scale, b.index(part)), n));
    return b.add(mix, b.load(base, b.index(first), n));
  };
  Value ones = b.splat(b.f32s(n), 1);
  auto sigmoid = [&](Value x) {
    return b.div(ones, b.add(ones, b.exp(b.sub(b.splat(b.f32s(n), 0), x))));
  };
  Value pre = b.add(sigmoid(gates(0, 0)), b.broadcast(offset, n));
  Value post = sigmoid(gates(1, n));
  b.store(b.add(post, post), op.getOutputs()[1], {zero, zero});

  // 3. Sinkhorn, a row per source stream.
  Value offsets = b.broadcast(offset, n);
  SmallVector<Value> comb;
  for (int64_t j = 0; j < n; ++j) {
    Value z = gates(2, 2 * n + j * n);
    Value top = vector::ReductionOp::create(b, vector::CombiningKind::MAXIMUMF, z);
    Value e = b.exp(b.sub(z, b.broadcast(top, n)));
    comb.push_back(b.add(b.div(e, b.broadcast(b.sum(e), n)), offsets));
  }
  auto overSources = [&](ValueRange comb) {
    Value sum = comb[0];
    for (Value row : comb.drop_front())
      sum = b.add(sum, row);
    sum = b.add(sum, offsets);
    SmallVector<Value> next;
    for (Value row : comb)
      next.push_back(b.div(row, sum));
    return next;
  };
  comb = overSources(comb);
  comb = b.loop(b.index(1), b.index(b.attribute("iterations")), 1, comb, [&](Value, ValueRange comb) {
    SmallVector<Value> next;
    for (Value row : comb)
      next.push_back(b.div(row, b.broadcast(b.add(b.sum(row), offset), n)));
    return overSources(next);
  });
  for (auto [j, row] : llvm::enumerate(comb))
    b.store(row, op.getOutputs()[2], {zero, b.index(j), zero});

  // 4. The streams, weighed.
  SmallVector<Value> weights;
  for (int64_t j = 0; j < n; ++j)
    weights.push_back(b.broadcast(vector::ExtractOp::create(b, pre, j)));
  b.loop(zero, b.index(width), kVector, [&](Value column) {
    Value sum = b.splat(b.f32s(), 0);
    for (int64_t j = 0; j < n; ++j)
      sum = b.mulAdd(weights[j], b.widen(b.load(streams, {zero, b.index(j), column}, kVector)), sum);
    b.store(sum, op.getOutputs()[0], {zero, column});
  });
  return success();
}
