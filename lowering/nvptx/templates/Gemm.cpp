// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Templates `gemm` and `grouped_gemm` of GPUs: products of many bf16 rows with a packed weight, by products m16n8k16.
//
// A block multiplies one or two pairs of groups of the weight with some hundred rows of x, of which each warp has a
// share. Tiles of 32 of K pass through shared memory, the next ones under way while one is multiplied. The weight goes
// from global memory to the registers that need it, as in `gemv`, and is widened there once for all rows of the warp. x
// lies in shared memory as it is stored: a lane's eight numbers are one load of 16 bytes, in the order of K that the
// weight asks for, so that ldmatrix, whose order is fixed, has no use. Rows of 64 bytes put the eight lanes of a pass
// in different banks.
//
// An element of the result is one chain of products over ascending tiles, whatever the number of rows and their place.

#include "lowering/nvptx/templates/Products.h"

using namespace mlir;
using namespace mlir::v4;

using Pred = arith::CmpIPredicate;

/// Most rows that share what is read of the weight; tiles of x in shared memory, 48 KiB in all.
constexpr int64_t kPassRows = 256, kStages = 3;
/// Rows of x of a product m16n8k16.
constexpr int64_t kTokens = 8;

namespace {
class Gemm : public Products {
public:
  explicit Gemm(KernelOp op) : Products(op) {
    auto weight = cast<MemRefType>(op.getInputs()[1].getType());
    int64_t groups = weight.getShape().take_back(4)[0];
    pairs = std::min<int64_t>(llvm::divideCeil(groups, 2), kMostPairs);
    slices = warps() / pairs;
  }

  void expandLinear() { linear(prepare(cast<MemRefType>(x.getType()).getDimSize(0))); }
  void expandGrouped() {
    // Rows of a pass that no expert fills are copied in vain; few have a multiple of the average.
    int64_t rows = cast<MemRefType>(y.getType()).getDimSize(0);
    grouped(prepare(std::min<int64_t>(rows, llvm::divideCeil(3 * rows, countExperts()))));
  }

private:
  using Sums = SmallVector<Value>;

  /// Makes the memory; the most rows of a pass.
  int64_t prepare(int64_t rows) {
    tokenTiles = llvm::divideCeil(std::min(rows, kPassRows), kTokens * slices);
    passRows = kTokens * tokenTiles * slices;
    staged = shared({kStages, passRows, BlockWeight::kTile}, getBF16Type());
    return std::min(rows, passRows);
  }

  void product(const ProductRows &rows, BlockWeight &weight) override;
  void stage(ArrayRef<Value> inputRows, Value tile);
  Sums multiplyTile(BlockWeight &weight, ArrayRef<Value> loaded, Value scales, Value tile, Sums sums);
  void finish(const ProductRows &rows, BlockWeight &weight, Value pair, ArrayRef<Value> sums);

  /// Pairs of groups of a pass, shares of the rows, products m16n8k16 of a share, and rows of a pass.
  int64_t pairs, slices, tokenTiles, passRows;
  Value staged;
  /// First row of this warp's share.
  Value firstToken;
};
} // namespace

/// Starts to copy a tile of x; rows behind the last one repeat it, columns behind the last one are zeros.
void Gemm::stage(ArrayRef<Value> inputRows, Value tile) {
  Value slot = rem(tile, kStages), part = mul(rem(thread(), 4), 8);
  Value column = add(mul(tile, BlockWeight::kTile), part);
  for (auto [i, row] : llvm::enumerate(inputRows)) {
    Value token = div(add(thread(), i * threads()), 4);
    auto copy = [&] {
      if (!isAligned) {
        storeAligned(loadInput(row, column, /*isWhole=*/false), staged, {slot, token, part});
        return;
      }
      Value elements, from = column;
      if (inner % BlockWeight::kTile) {
        from = min(column, index(inner - 8));
        elements = zeroIfNot(compare(Pred::ult, column, index(inner)), index(8));
      }
      copyAsync(x, {row, from}, staged, {slot, token, part}, elements);
    };
    // 4 threads a row.
    if (passRows * 4 % threads())
      when(compare(Pred::ult, token, index(passRows)), copy);
    else
      copy();
  }
}

Gemm::Sums Gemm::multiplyTile(BlockWeight &weight, ArrayRef<Value> loaded, Value scales, Value tile, Sums sums) {
  auto rowsOf = weight.multiplicands(loaded);
  if (scales)
    weight.scale(rowsOf, weight.scalePairsOf(scales));
  Value slot = rem(tile, kStages), part = mul(weight.part(), 8), first = add(firstToken, div(lane(), 4));
  for (int64_t n = 0; n < tokenTiles; ++n) {
    auto columns = weight.follow(loadAligned(staged, {slot, add(first, n * kTokens), part}, 8));
    for (int64_t half : {0, 1})
      for (int64_t step : {0, 1}) {
        auto place = sums.begin() + 4 * (2 * n + half);
        SmallVector<Value> next = mma(rowsOf[2 * half + step], columns[step], ArrayRef(place, 4));
        llvm::copy(next, place);
      }
  }
  return sums;
}

/// A lane has four neighbouring columns of two rows of every product.
void Gemm::finish(const ProductRows &rows, BlockWeight &weight, Value pair, ArrayRef<Value> sums) {
  int64_t columns = weight.getGroups() * kPackedRows;
  Value column = add(mul(pair, BlockWeight::kRows), weight.resultRow(0));
  Type element = elementOf(y);
  bool isWide = BlockBuilder::isAligned(y, 4);
  auto storeRows = [&] {
    for (int64_t n = 0; n < tokenTiles; ++n)
      for (int64_t i : {0, 1}) {
        Value token = add(add(firstToken, mul(weight.part(), 2)), n * kTokens + i);
        when(compare(Pred::ult, token, rows.count), [&] {
          SmallVector<Value> numbers;
          for (int64_t row = 0; row < 4; ++row)
            numbers.push_back(sums[4 * (2 * n + row / 2) + 2 * (row % 2) + i]);
          Value output = rows.output(token);
          if (isWide) {
            Value vector = vector::FromElementsOp::create(*this, f32s(4), numbers);
            if (!element.isF32())
              vector = arith::TruncFOp::create(*this, VectorType::get({4}, element), vector);
            return storeAligned(vector, y, {output, column});
          }
          for (auto [i, number] : llvm::enumerate(numbers))
            store(number, y, {output, add(column, i)});
        });
      }
  };
  if (weight.getGroups() % 2)
    when(compare(Pred::ult, column, index(columns)), storeRows);
  else
    storeRows();
}

void Gemm::product(const ProductRows &rows, BlockWeight &weight) {
  int64_t tiles = llvm::divideCeil(inner, BlockWeight::kTile), tilePairs = llvm::divideCeil(weight.getGroups(), 2);
  bool isWhole = inner % BlockWeight::kTile == 0;
  Value last = sub(rows.count, index(1));
  SmallVector<Value> inputRows;
  for (int64_t i = 0, count = llvm::divideCeil(passRows * 4, threads()); i != count; ++i)
    inputRows.push_back(rows.input(min(div(add(thread(), i * threads()), 4), last)));
  Value share = div(warp(), pairs);
  firstToken = mul(share, kTokens * tokenTiles);
  loop(index(0), index(tilePairs), pairs, [&](Value firstPair) {
    Value pair = add(firstPair, rem(warp(), pairs));
    // A pair behind the last one repeats it.
    Value isPair = compare(Pred::ult, pair, index(tilePairs));
    weight.setPair(min(pair, index(tilePairs - 1)));
    // 1. The first tiles of x, and the weight's first.
    for (int64_t i = 0; i < kStages - 1; ++i) {
      if (i < tiles)
        stage(inputRows, index(i));
      commitCopies();
    }
    auto loadTile = [&](Value tile) {
      Sums values = weight.load(tile, isWhole);
      if (weight.isScaled())
        values.push_back(weight.loadScales(div(tile, weight.tilesPerScale())));
      return values;
    };
    Sums carried = loadTile(index(0));
    int64_t count = 4 * weight.linesPerLane(), loaded = carried.size();
    carried.append(8 * tokenTiles, f32(0));
    // 2. Tile by tile: behind the barrier all threads see it, and none reads the memory that the next copy overwrites.
    carried = loop(index(0), index(tiles), 1, carried, [&](Value tile, ValueRange carried) {
      waitForCopies(kStages - 2);
      barrier();
      Sums next = loadTile(min(add(tile, 1), index(tiles - 1)));
      Value ahead = add(tile, kStages - 1);
      when(compare(Pred::ult, ahead, index(tiles)), [&] { stage(inputRows, ahead); });
      commitCopies();
      Sums values(carried), sums(carried.drop_front(loaded));
      auto multiply = [&] {
        Value scales = weight.isScaled() ? values[count] : Value();
        return multiplyTile(weight, ArrayRef(values).take_front(count), scales, tile, sums);
      };
      // Experts tend to have fewer rows than a pass.
      Value isUsed = compare(Pred::ult, firstToken, rows.count);
      llvm::append_range(next, getConstantIntValue(rows.count) ? multiply() : when(isUsed, sums, multiply));
      return next;
    });
    // 3. The result. The memory is free for the next pass when all have multiplied.
    ArrayRef<Value> sums = ArrayRef(carried).drop_front(loaded);
    when(isPair, [&] { finish(rows, weight, pair, sums); });
    waitForCopies(0);
    barrier();
  });
}

bool v4::selectBlockGemm(Operation *op, const GpuTarget &target) {
  auto linear = dyn_cast<LinearOp>(op);
  if (!linear)
    return false;
  RankedTensorType input = linear.getInput().getType();
  int64_t lead = input.getRank() - 2;
  if (!isPackedWeight(linear.getWeight(), lead) || input.getDimSize(0) <= kMostGemvRows ||
      (lead && input.getDimSize(1) != 1) ||
      !usesTensorCores(input.getElementType(), linear.getWeight().getType().getElementType()))
    return false;
  replaceByBlockKernel(op, "gemm", kProductThreads);
  op->erase();
  return true;
}

bool v4::selectGroupedBlockGemm(Operation *op, const GpuTarget &target) {
  auto linear = dyn_cast<GroupedLinearOp>(op);
  if (!linear || !isPackedWeight(linear.getWeight(), 1) ||
      !usesTensorCores(linear.getInput().getType().getElementType(), linear.getWeight().getType().getElementType()))
    return false;
  replaceByBlockKernel(op, "grouped_gemm", kProductThreads);
  op->erase();
  return true;
}

static LogicalResult verifyTensorCores(KernelOp op) {
  auto element = [&](unsigned operand) { return cast<MemRefType>(op.getInputs()[operand].getType()).getElementType(); };
  if (usesTensorCores(element(0), element(1)))
    return success();
  return op.emitOpError() << "expected rows of bf16 and a weight of bf16, fp8 or fp4";
}

LogicalResult v4::expandBlockGemm(KernelOp op, const GpuTarget &target) {
  if (failed(verifyBlockProduct(op, /*table=*/false)) || failed(verifyTensorCores(op)))
    return failure();
  Gemm(op).expandLinear();
  return success();
}

LogicalResult v4::expandGroupedBlockGemm(KernelOp op, const GpuTarget &target) {
  if (failed(verifyBlockProduct(op, /*table=*/true)) || failed(verifyTensorCores(op)))
    return failure();
  Gemm(op).expandGrouped();
  return success();
}
