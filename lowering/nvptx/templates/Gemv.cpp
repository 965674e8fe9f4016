// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Templates `gemv` and `grouped_gemv` of GPUs: products of few rows with a packed weight, as fast as the weight can be
// read.
//
// A block multiplies 32 rows of the weight at a time. K is dealt out to its warps in chunks whose loads are all under
// way before the first is used; the sums of the warps are added in their order. Weights are exact in bf16: they are
// multiplicand A of products m16n8k16, eight rows of x are B, so the instructions for a byte of the weight do not
// depend on the number of rows (up to eight). Where x or the weight is f32 (numerics f32), lanes multiply and add in
// f32.
//
// An element of the result is the sum over the warps, in order, of each one's sum over its tiles of 32 (over its lines)
// in order: it does not depend on the number of rows or their place.

#include "lowering/nvptx/templates/Products.h"

using namespace mlir;
using namespace mlir::v4;

using Pred = arith::CmpIPredicate;
using Format = PackedWeight::Format;

/// Rows of x that a product m16n8k16 takes, and those of a pass of multiply-adds.
constexpr int64_t kTokens = 8;

namespace {
class Gemv : public Products {
public:
  explicit Gemv(KernelOp op) : Products(op) {
    auto weight = cast<MemRefType>(op.getInputs()[1].getType());
    tensorCores = usesTensorCores(elementOf(x), weight.getElementType());
  }

  void expandLinear() { linear(prepare(cast<MemRefType>(x.getType()).getDimSize(0))); }
  void expandGrouped() {
    int64_t tokens = cast<MemRefType>(x.getType()).getDimSize(0), pairs = cast<MemRefType>(y.getType()).getDimSize(0);
    // A second set of rows where an expert tends to have more than one.
    int64_t most = pairs > kTokens / 2 * countExperts() ? kMostGemvRows : kTokens;
    grouped(prepare(std::min({tokens, pairs, most})));
  }

private:
  using Sums = SmallVector<Value>;

  /// Makes the memory for products of `rows` rows; the most rows of one of them.
  int64_t prepare(int64_t rows) {
    int64_t most = std::min(rows, tensorCores ? kMostGemvRows : kTokens);
    sets = llvm::divideCeil(most, kTokens);
    // Columns of 33 words: lanes that write one column of the result use different banks.
    partial = shared({warps(), sets * kTokens, BlockWeight::kRows + 1}, getF32Type());
    return most;
  }

  void product(const ProductRows &rows, BlockWeight &weight) override;
  Sums multiply(const ProductRows &rows, BlockWeight &weight);
  Sums multiplyTiles(ArrayRef<Value> tokens, BlockWeight &weight, Value tile, Value block, int64_t count, bool isWhole,
                     Sums sums);
  void keep(BlockWeight &weight, Sums sums);
  void multiplyAdd(const ProductRows &rows, BlockWeight &weight);
  void addLines(ArrayRef<Value> tokens, BlockWeight &weight, ArrayRef<Value> lines, Sums &sums);
  SmallVector<Value> inputOf(Value row, Value line, int64_t count);

  bool tensorCores;
  int64_t sets;
  /// Sums of the warps: [warp][row of x][row of the weight].
  Value partial;
};
} // namespace

/// `count` tiles from `tile` on; the first one's scales are number `block`.
Gemv::Sums Gemv::multiplyTiles(ArrayRef<Value> tokens, BlockWeight &weight, Value tile, Value block, int64_t count,
                               bool isWhole, Sums sums) {
  // 1. All loads, then all scales: nothing is used before the last load is under way.
  SmallVector<SmallVector<Value>> loaded, inputs(count);
  SmallVector<Value> scales;
  for (int64_t i = 0; i < count; ++i)
    loaded.push_back(weight.load(add(tile, i), isWhole));
  for (int64_t i = 0; i < count; ++i) {
    Value column = add(mul(add(tile, i), BlockWeight::kTile), mul(weight.part(), 8));
    for (Value token : tokens)
      inputs[i].push_back(loadInput(token, column, isWhole));
  }
  int64_t perScale = weight.tilesPerScale();
  for (int64_t i = 0; i < count; i += perScale)
    scales.push_back(weight.loadScales(add(block, i / perScale)));
  warpBarrier();
  // 2. The products, and the sums of tiles that share a scale times that.
  Sums part;
  for (int64_t i = 0; i < count; ++i) {
    if (weight.isScaled() && i % perScale == 0)
      part.assign(sums.size(), f32(0));
    Sums &current = weight.isScaled() ? part : sums;
    auto rowsOf = weight.multiplicands(loaded[i]);
    for (int64_t set = 0; set < sets; ++set) {
      auto columns = weight.follow(inputs[i][set]);
      for (int64_t half : {0, 1})
        for (int64_t step : {0, 1}) {
          auto place = current.begin() + 4 * (2 * set + half);
          SmallVector<Value> next = mma(rowsOf[2 * half + step], columns[step], ArrayRef(place, 4));
          llvm::copy(next, place);
        }
    }
    if (weight.isScaled() && (i + 1 == count || (i + 1) % perScale == 0)) {
      SmallVector<Value> factors = weight.scalesOf(scales[i / perScale]);
      for (int64_t j = 0, n = sums.size(); j < n; ++j)
        sums[j] = fma(part[j], factors[j % 8 / 2], sums[j]);
    }
  }
  return sums;
}

/// Four sums of every set of rows of x and half of the weight's rows.
Gemv::Sums Gemv::multiply(const ProductRows &rows, BlockWeight &weight) {
  // The row of x that this lane holds; behind the last one that one again, for a column that nobody reads.
  SmallVector<Value> tokens;
  Value last = sub(rows.count, index(1)), column = div(lane(), 4);
  for (int64_t set = 0; set < sets; ++set)
    tokens.push_back(rows.input(min(add(column, set * kTokens), last)));
  int64_t tiles = inner / BlockWeight::kTile, perScale = weight.tilesPerScale();
  // Which tiles a warp has does not depend on the number of rows.
  int64_t chunk = weight.tilesPerTurn(), chunks = tiles / chunk, together = weight.tilesInFlight(sets);
  Sums sums(8 * sets, f32(0));
  if (chunks)
    sums = loop(warp(), index(chunks), warps(), sums, [&](Value number, ValueRange sums) {
      Sums next(sums);
      for (int64_t i = 0; i < chunk; i += together) {
        Value block = add(mul(number, chunk / perScale), i / perScale);
        next = multiplyTiles(tokens, weight, add(mul(number, chunk), i), block, together, /*isWhole=*/true, next);
      }
      return next;
    });
  if (chunks * chunk < tiles)
    sums = loop(add(warp(), chunks * chunk), index(tiles), warps(), sums, [&](Value tile, ValueRange sums) {
      return multiplyTiles(tokens, weight, tile, div(tile, perScale), 1, /*isWhole=*/true, Sums(sums));
    });
  // The last tile may end within K.
  if (inner % BlockWeight::kTile)
    sums = when(compare(Pred::eq, warp(), index(0)), sums, [&] {
      Value tile = index(tiles);
      return multiplyTiles(tokens, weight, tile, div(tile, perScale), 1, /*isWhole=*/false, sums);
    });
  return sums;
}

/// Sums 0, 1 of four are rows 2t and 2t + 1 of x, with the first row of the half, 2 and 3 with its second.
void Gemv::keep(BlockWeight &weight, Sums sums) {
  for (int64_t set = 0; set < sets; ++set)
    for (int64_t half : {0, 1})
      for (int64_t i = 0; i < 4; ++i) {
        Value token = add(mul(weight.part(), 2), set * kTokens + i % 2);
        store(sums[4 * (2 * set + half) + i], partial, {warp(), token, weight.resultRow(2 * half + i / 2)});
      }
}

/// The numbers of x that a line of the weight is multiplied with, as f32.
SmallVector<Value> Gemv::inputOf(Value row, Value line, int64_t count) {
  SmallVector<Value> numbers;
  Value column = mul(line, count);
  int64_t width = std::min<int64_t>(count, 4);
  // Scalars are vectors of one.
  if (!hasAlignedRows(x, width * cast<MemRefType>(x.getType()).getElementTypeBitWidth() / 8))
    width = 1;
  for (int64_t i = 0; i < count; i += width) {
    Value part = widen(loadAligned(x, {row, add(column, i)}, width));
    for (int64_t j = 0; j < width; ++j)
      numbers.push_back(vector::ExtractOp::create(*this, part, j));
  }
  return numbers;
}

void Gemv::addLines(ArrayRef<Value> tokens, BlockWeight &weight, ArrayRef<Value> lines, Sums &sums) {
  int64_t perScale = weight.tilesPerScale() * BlockWeight::kTile / weight.getPerLine();
  SmallVector<SmallVector<Value>> loaded;
  SmallVector<Value> scales;
  for (Value line : lines) {
    loaded.push_back(weight.loadLine(line));
    scales.push_back(weight.loadScales(div(line, perScale)));
  }
  for (auto [line, dwords, codes] : llvm::zip(lines, loaded, scales)) {
    auto numbers = weight.widen(dwords);
    if (codes)
      for (auto [row, factor] : llvm::zip(numbers, weight.scalesOf(codes)))
        for (Value &number : row)
          number = mul(number, factor);
    for (auto [m, token] : llvm::enumerate(tokens)) {
      SmallVector<Value> input = inputOf(token, line, weight.getPerLine());
      for (int64_t row = 0; row < 4; ++row)
        for (int64_t i = 0; i < weight.getPerLine(); ++i)
          sums[4 * m + row] = fma(numbers[row][i], input[i], sums[4 * m + row]);
    }
  }
}

/// The same in f32: a lane has every fourth line of the warp's, four rows of each.
void Gemv::multiplyAdd(const ProductRows &rows, BlockWeight &weight) {
  SmallVector<Value> tokens;
  int64_t count = std::min(rows.most, kTokens);
  Value last = sub(rows.count, index(1));
  for (int64_t m = 0; m < count; ++m)
    tokens.push_back(rows.input(min(index(m), last)));
  int64_t lines = weight.getInner() / weight.getPerLine(), step = 4 * warps();
  int64_t unroll = weight.getPerLine() > 2 ? 2 : 4, whole = lines / (step * unroll) * (step * unroll);
  Sums sums(4 * count, f32(0));
  Value first = add(mul(warp(), 4), weight.part());
  if (whole)
    sums = loop(first, index(whole), step * unroll, sums, [&](Value line, ValueRange carried) {
      Sums sums(carried);
      SmallVector<Value> several;
      for (int64_t i = 0; i < unroll; ++i)
        several.push_back(add(line, i * step));
      addLines(tokens, weight, several, sums);
      return sums;
    });
  if (whole < lines)
    sums = loop(add(first, whole), index(lines), step, sums, [&](Value line, ValueRange carried) {
      Sums sums(carried);
      addLines(tokens, weight, line, sums);
      return sums;
    });
  for (Value &sum : sums)
    sum = warpSum(sum, 4);
  when(compare(Pred::eq, weight.part(), index(0)), [&] {
    for (int64_t m = 0; m < count; ++m)
      for (int64_t row = 0; row < 4; ++row)
        store(sums[4 * m + row], partial, {warp(), index(m), weight.resultRow(row)});
  });
}

void Gemv::product(const ProductRows &rows, BlockWeight &weight) {
  int64_t columns = weight.getGroups() * kPackedRows;
  loop(index(0), index(llvm::divideCeil(weight.getGroups(), 2)), 1, [&](Value pair) {
    weight.setPair(pair);
    if (tensorCores)
      keep(weight, multiply(rows, weight));
    else
      multiplyAdd(rows, weight);
    barrier();
    // Neighbouring threads have neighbouring columns.
    forThreads(mul(rows.count, BlockWeight::kRows), [&](Value i) {
      Value token = div(i, BlockWeight::kRows), row = rem(i, BlockWeight::kRows);
      Value column = add(mul(pair, BlockWeight::kRows), row);
      auto finish = [&] {
        Value sum = load(partial, {index(0), token, row});
        for (int64_t other = 1; other < warps(); ++other)
          sum = add(sum, load(partial, {index(other), token, row}));
        store(sum, y, {rows.output(token), column});
      };
      if (weight.getGroups() % 2)
        when(compare(Pred::ult, column, index(columns)), finish);
      else
        finish();
    });
    barrier();
  });
}

bool v4::selectBlockGemv(Operation *op, const GpuTarget &target) {
  auto linear = dyn_cast<LinearOp>(op);
  if (!linear)
    return false;
  RankedTensorType input = linear.getInput().getType();
  int64_t lead = input.getRank() - 2;
  // Of an output projection, tiles of one group.
  if (!isPackedWeight(linear.getWeight(), lead) || (lead && input.getDimSize(1) != 1))
    return false;
  // Many rows of f32 pass eight by eight; they have no form with tensor cores.
  if (input.getDimSize(0) > kMostGemvRows &&
      usesTensorCores(input.getElementType(), linear.getWeight().getType().getElementType()))
    return false;
  replaceByBlockKernel(op, "gemv", kProductThreads);
  op->erase();
  return true;
}

bool v4::selectGroupedBlockGemv(Operation *op, const GpuTarget &target) {
  auto linear = dyn_cast<GroupedLinearOp>(op);
  if (!linear || !isPackedWeight(linear.getWeight(), 1))
    return false;
  // Few rows per expert: a second reading of its weight for some of them comes from the cache.
  int64_t pairs = linear.getResult().getType().getDimSize(0), experts = linear.getExperts().getType().getDimSize(0);
  if (pairs > kMostGemvRows * experts &&
      usesTensorCores(linear.getInput().getType().getElementType(), linear.getWeight().getType().getElementType()))
    return false;
  replaceByBlockKernel(op, "grouped_gemv", kProductThreads);
  op->erase();
  return true;
}

LogicalResult v4::expandBlockGemv(KernelOp op, const GpuTarget &target) {
  if (failed(verifyBlockProduct(op, /*table=*/false)))
    return failure();
  Gemv(op).expandLinear();
  return success();
}

LogicalResult v4::expandGroupedBlockGemv(KernelOp op, const GpuTarget &target) {
  if (failed(verifyBlockProduct(op, /*table=*/true)))
    return failure();
  Gemv(op).expandGrouped();
  return success();
}
