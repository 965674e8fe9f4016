// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Template `compress` of GPUs: v4.compress for some channels, one for each lane.
//
// Channels do not know each other, so that a block has a part of them, for all entries and for the state. The rows that
// are pooled lie where they are, in the state or in the call: none is copied to pool it. Entries of few rows are one
// for each warp, entries of many rows are shared by the warps. A row of the state is read and written by one thread.

#include "lowering/nvptx/templates/Rows.h"

#include "lowering/templates/Templates.h"

using namespace mlir;
using namespace mlir::v4;

using Pred = arith::CmpIPredicate;

/// Most rows of an entry that one thread pools.
constexpr int64_t kRowsOfThread = 16;

/// Whether all warps of a block share the rows of an entry.
static bool isShared(int64_t ratio, int64_t halves) {
  return ratio * halves > kRowsOfThread;
}

int64_t v4::compressedChannels(int64_t ratio, bool overlap, int64_t width) {
  constexpr int64_t warps = kRowThreads / kWarp;
  // A warp whose rows are all those of a block before the first would have no largest score.
  if (isShared(ratio, overlap ? 2 : 1) && (overlap || ratio % warps || ratio / warps > kRowsOfThread))
    return 0;
  return largestDivisor(width, kWarp);
}

namespace {
/// The numbers of a pooled row.
struct Row {
  Value kv, score;
};

class Compressor {
public:
  Compressor(BlockBuilder &b, KernelOp op)
      : b(b), kv(op.getInputs()[0]), gate(op.getInputs()[1]), ape(op.getInputs()[2]), entries(op.getOutputs()[0]),
        kvRows(op.getOutputs()[1]), scoreRows(op.getOutputs()[2]), ratio(sizeOf(ape, 0)), halves(sizeOf(ape, 1)),
        channels(sizeOf(ape, 2)), zero(b.index(0)) {
    Value span = op.getInputs()[3];
    auto spanAt = [&](int64_t i) {
      SmallVector<Value> at(cast<MemRefType>(span.getType()).getRank(), zero);
      at.back() = b.index(i);
      return b.load(span, at);
    };
    Value start = b.toIndex(spanAt(0));
    Value length = arith::MaxSIOp::create(b, spanAt(1), b.i32(0));
    count = b.min(b.toIndex(length), b.index(sizeOf(kv, 0)));
    Value block = b.div(start, ratio);
    blocks = b.sub(b.div(b.add(start, count), ratio), block);
    // Rows are numbered from the first one of the state on; those of the call begin at `fresh`.
    fresh = b.add(b.sub(start, b.mul(block, ratio)), (halves - 1) * ratio);
    isChannel = b.compare(Pred::ult, b.lane(), b.index(channels));
    channel = channels < kWarp ? b.min(b.lane(), b.index(channels - 1)) : b.lane();
  }

  void pool() {
    if (isShared(ratio, halves))
      return poolShared();
    b.loop(b.warp(), blocks, b.warps(), [&](Value entry) {
      SmallVector<Row> rows = load(entry, zero, ratio * halves);
      Value top = topOf(rows);
      auto [total, sum] = weigh(rows, top);
      put(b.div(sum, total), entry);
    });
  }

  /// The unfinished block, and with overlap the one before, into the state. Rows that hold no token are empty.
  void update() {
    b.when(isChannel, [&] { b.loop(b.warp(), b.index(ratio), b.warps(), [&](Value place) { updateRows(place); }); });
  }

private:
  /// The rows of the state that are at `place` of their blocks.
  void updateRows(Value place) {
    Value moves = b.compare(Pred::ugt, blocks, zero);
    SmallVector<std::pair<SmallVector<Value>, Row>> rows;
    SmallVector<Value> isWritten;
    for (int64_t block = 0; block < halves; ++block) {
      Value to = b.add(place, block * ratio), from = b.add(to, b.mul(blocks, ratio));
      Value isOld = b.compare(Pred::ult, from, fresh), row = b.sub(from, fresh);
      Value isCall = arith::AndIOp::create(b, b.compare(Pred::uge, from, fresh), b.compare(Pred::ult, row, count));
      Value isKept = arith::AndIOp::create(b, isOld, moves);
      for (int64_t half = 0; half < halves; ++half) {
        SmallVector<Value> values = {b.f32(0), b.f32(-std::numeric_limits<float>::infinity())};
        values = b.when(isKept, values, [&] { return list(ofState(from, half)); });
        values = b.when(isCall, values, [&] { return list(ofCall(row, place, half)); });
        rows.push_back({{zero, to, b.index(half), channel}, {values[0], values[1]}});
        // Rows that the call does not reach are what they were as long as no block is complete.
        isWritten.push_back(b.bitOr(isCall, moves));
      }
    }
    for (auto [row, condition] : llvm::zip(rows, isWritten))
      b.when(condition, [&, row = row] {
        b.store(row.second.kv, kvRows, row.first);
        b.store(row.second.score, scoreRows, row.first);
      });
  }

  static SmallVector<Value> list(Row row) { return {row.kv, row.score}; }

  Row ofState(Value row, int64_t half) {
    SmallVector<Value> at = {zero, row, b.index(half), channel};
    return {b.load(kvRows, at), b.load(scoreRows, at)};
  }
  /// Row `row` of the call, at place `place` of its block.
  Row ofCall(Value row, Value place, int64_t half) {
    SmallVector<Value> at = {row, b.index(half), channel};
    return {b.load(kv, at), b.add(b.load(gate, at), b.load(ape, {place, b.index(half), channel}))};
  }

  /// `size` rows of an entry from its row `first` on: with overlap those of the block before by the first half.
  SmallVector<Row> load(Value entry, Value first, int64_t size) {
    Value begin = b.add(b.mul(entry, ratio), first);
    auto rowsOf = [&](bool mayBeOld) {
      SmallVector<Value> values;
      for (int64_t i = 0; i < size; ++i) {
        int64_t half = halves > 1 ? i / ratio : 0;
        Value number = b.add(begin, i), place = b.add(first, i - half * ratio);
        auto fromCall = [&] { return list(ofCall(b.sub(number, fresh), place, half)); };
        if (mayBeOld) {
          Value isOld = b.compare(Pred::ult, number, fresh);
          SmallVector<Value> empty = {b.f32(0), b.f32(0)};
          SmallVector<Value> row = b.when(isOld, empty, [&] { return list(ofState(number, half)); });
          llvm::append_range(values, b.when(b.compare(Pred::uge, number, fresh), row, fromCall));
        } else {
          llvm::append_range(values, fromCall());
        }
      }
      return values;
    };
    // Only the first entries reach into the state; the loads of the others depend on no condition.
    auto branch = scf::IfOp::create(b, SmallVector<Type>(2 * size, b.getF32Type()), b.compare(Pred::uge, begin, fresh),
                                    /*addThenBlock=*/true, /*addElseBlock=*/true);
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(branch.thenBlock());
      scf::YieldOp::create(b, rowsOf(false));
      b.setInsertionPointToStart(branch.elseBlock());
      scf::YieldOp::create(b, rowsOf(true));
    }
    SmallVector<Row> rows;
    for (int64_t i = 0; i < size; ++i)
      rows.push_back({branch.getResult(2 * i), branch.getResult(2 * i + 1)});
    return rows;
  }

  Value topOf(ArrayRef<Row> rows) {
    Value top = rows[0].score;
    for (const Row &row : rows.drop_front())
      top = b.max(top, row.score);
    return top;
  }

  /// The sum of the weights and of the weighted rows.
  std::pair<Value, Value> weigh(ArrayRef<Row> rows, Value top) {
    Value total = b.f32(0), sum = b.f32(0);
    for (const Row &row : rows) {
      Value weight = b.exp(b.sub(row.score, top));
      total = b.add(total, weight);
      sum = b.fma(weight, row.kv, sum);
    }
    return {total, sum};
  }

  void put(Value value, Value entry) {
    b.when(isChannel, [&] { b.store(value, entries, {entry, channel}); });
  }

  /// Every warp has its part of the rows; the first one puts the parts together, in order.
  void poolShared() {
    int64_t size = ratio / b.warps();
    Value parts = b.shared({3, b.warps(), kWarp}, b.getF32Type());
    auto at = [&](int64_t kind, Value warp) { return SmallVector<Value>{b.index(kind), warp, b.lane()}; };
    b.loop(zero, blocks, 1, [&](Value entry) {
      SmallVector<Row> rows = load(entry, b.mul(b.warp(), size), size);
      Value own = topOf(rows);
      auto [total, sum] = weigh(rows, own);
      b.store(own, parts, at(0, b.warp()));
      b.store(total, parts, at(1, b.warp()));
      b.store(sum, parts, at(2, b.warp()));
      b.barrier();
      b.when(b.compare(Pred::eq, b.warp(), zero), [&] {
        SmallVector<Value> tops;
        for (int64_t warp = 0; warp < b.warps(); ++warp)
          tops.push_back(b.load(parts, at(0, b.index(warp))));
        Value top = tops[0], total = b.f32(0), sum = b.f32(0);
        for (Value other : ArrayRef(tops).drop_front())
          top = b.max(top, other);
        for (int64_t warp = 0; warp < b.warps(); ++warp) {
          Value weight = b.exp(b.sub(tops[warp], top));
          total = b.fma(weight, b.load(parts, at(1, b.index(warp))), total);
          sum = b.fma(weight, b.load(parts, at(2, b.index(warp))), sum);
        }
        put(b.div(sum, total), entry);
      });
      b.barrier();
    });
  }

  BlockBuilder &b;
  Value kv, gate, ape, entries, kvRows, scoreRows;
  int64_t ratio, halves, channels;
  Value zero, count, blocks, fresh, isChannel, channel;
};
} // namespace

/// inputs: kv and gate [S, m, C], ape [r, m, C], span [2] or [1, 2]; outputs: entries [ceil(S/r), C], kv_rows and
/// score_rows [1, m*r, m, C], which are updated. m is 2 with overlap, else 1; C channels, at most one for a lane.
LogicalResult v4::expandBlockCompress(KernelOp op, const GpuTarget &target) {
  if (failed(verifyBlockKernel(op, 4, 3)))
    return failure();
  ArrayRef<int64_t> shape = cast<MemRefType>(op.getInputs()[2].getType()).getShape();
  if (shape.size() != 3 || shape[2] > kWarp || !compressedChannels(shape[0], shape[1] == 2, shape[2]))
    return op.emitOpError() << "expected at most " << kWarp << " channels and " << kRowsOfThread
                            << " rows of an entry for a thread, found " << shape.back() << " channels and a ratio of "
                            << shape[0];
  BlockBuilder b(op);
  Compressor compressor(b, op);
  compressor.pool();
  // Rows of the state are read before they are written.
  b.barrier();
  compressor.update();
  return success();
}
