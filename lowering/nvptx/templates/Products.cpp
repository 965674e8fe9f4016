// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the templates of products share: rows of a call, rows of an expert, and the tiles they are cut into.

#include "lowering/nvptx/templates/Products.h"

using namespace mlir;
using namespace mlir::v4;

using Pred = arith::CmpIPredicate;

/// A view of rank 3 or more without its unit dimension 0 or 1.
static Value collapse(ImplicitLocOpBuilder &b, Value view) {
  SmallVector<ReassociationIndices> dims = {{0, 1}};
  for (int64_t dim = 2; dim < cast<MemRefType>(view.getType()).getRank(); ++dim)
    dims.push_back({dim});
  return memref::CollapseShapeOp::create(b, view, dims);
}

Products::Products(KernelOp op) : BlockBuilder(op), x(op.getInputs()[0]), y(op.getOutputs()[0]) {
  isAligned = hasAlignedRows(x, kWideBytes);
  // One group of an output projection: x [S, 1, K], y [S, 1, N].
  if (cast<MemRefType>(x.getType()).getRank() == 3) {
    x = collapse(*this, x);
    y = collapse(*this, y);
  }
  inner = cast<MemRefType>(x.getType()).getDimSize(1);
}

void Products::linear(int64_t most) {
  Value stored = op.getInputs()[1], scale = op.getInputs().size() > 2 ? op.getInputs()[2] : Value();
  if (cast<MemRefType>(stored.getType()).getRank() == 5) {
    stored = collapse(*this, stored);
    scale = scale ? collapse(*this, scale) : scale;
  }
  BlockWeight weight(*this, stored, scale);
  int64_t rows = cast<MemRefType>(x.getType()).getDimSize(0);
  auto itself = [](Value row) { return row; };
  if (rows <= most)
    return product({index(rows), rows, itself, itself}, weight);
  loop(index(0), index(rows), most, [&](Value first) {
    auto place = [&](Value row) { return add(first, row); };
    // The number is known where all passes are full.
    Value count = rows % most ? min(sub(index(rows), first), index(most)) : index(most);
    product({count, most, place, place}, weight);
  });
}

int64_t Products::countExperts() {
  bool scaled = PackedWeight::hasScale(cast<MemRefType>(op.getInputs()[1].getType()));
  return cast<MemRefType>(op.getInputs()[scaled ? 3 : 2].getType()).getDimSize(0);
}

void Products::grouped(int64_t most) {
  ValueRange inputs = op.getInputs();
  bool scaled = PackedWeight::hasScale(cast<MemRefType>(inputs[1].getType()));
  Value experts = inputs[scaled ? 3 : 2], offsets = inputs[scaled ? 4 : 3];
  ValueRange list = inputs.drop_front(scaled ? 5 : 4);
  int64_t pairs = cast<MemRefType>(y.getType()).getDimSize(0), tokens = cast<MemRefType>(x.getType()).getDimSize(0);
  // An expert has a pair of a token at most once.
  most = std::min({most, tokens, pairs});
  Value last = index(tokens - 1);
  loop(index(0), index(countExperts()), 1, [&](Value number) {
    Value expert = load(experts, number);
    when(compare(Pred::sge, expert, i32(0)), [&] {
      expert = toIndex(expert);
      BlockWeight weight(*this, tableRow(*this, inputs[1], expert),
                         scaled ? tableRow(*this, inputs[2], expert) : Value());
      // Damaged offsets write no other memory.
      Value begin = toIndex(load(offsets, number)), end = min(toIndex(load(offsets, add(number, 1))), index(pairs));
      loop(begin, end, most, [&](Value first) {
        auto output = [&](Value row) { return add(first, row); };
        // Rows of the list are rows of x; a damaged list reads no other memory.
        auto input = [&](Value row) {
          return list.empty() ? add(first, row) : min(toIndex(load(list[0], add(first, row))), last);
        };
        product({min(sub(end, first), index(most)), most, input, output}, weight);
      });
    });
  });
}

Value Products::loadInput(Value row, Value column, bool isWhole) {
  if (isAligned && isWhole)
    return loadAligned(x, {row, column}, 8);
  SmallVector<Value> numbers;
  for (int64_t i = 0; i < 8; ++i) {
    Value at = add(column, i);
    if (isWhole) {
      numbers.push_back(load(x, {row, at}));
      continue;
    }
    Value number = load(x, {row, min(at, index(inner - 1))});
    numbers.push_back(zeroIfNot(compare(Pred::ult, at, index(inner)), number));
  }
  return vector::FromElementsOp::create(*this, VectorType::get({8}, getBF16Type()), numbers);
}

LogicalResult v4::verifyBlockProduct(KernelOp op, bool table) {
  if (failed(verifyProduct(op, table)))
    return failure();
  auto attribute = op->getAttrOfType<IntegerAttr>("threads");
  int64_t threads = attribute ? attribute.getInt() : kBlockThreads;
  // Warps are dealt out to one or two pairs of groups.
  if (threads != 64 && threads != 128 && threads != 256)
    return op.emitOpError() << "expected blocks of 64, 128 or 256 threads, found " << threads;
  return success();
}

bool v4::usesTensorCores(Type input, Type weight) {
  return input.isBF16() && !weight.isF32();
}

std::optional<SmallVector<int64_t>> v4::productTileSizes(TileInterface op, const GpuTarget &target) {
  Value input, weight;
  if (auto linear = dyn_cast<LinearOp>(op.getOperation()))
    input = linear.getInput(), weight = linear.getWeight();
  else if (auto grouped = dyn_cast<GroupedLinearOp>(op.getOperation()))
    input = grouped.getInput(), weight = grouped.getWeight();
  else
    return std::nullopt;
  SmallVector<int64_t> counts = op.getLoopSizes(), sizes(counts.size(), 1);
  auto type = cast<RankedTensorType>(weight.getType());
  int64_t lead = isa<GroupedLinearOp>(op.getOperation()) ? 1 : cast<RankedTensorType>(input.getType()).getRank() - 2;
  if (!isPackedWeight(weight, lead))
    return std::nullopt;
  // One pair of groups: few columns, so that many blocks share the weight. Rows in the hundreds pass over two, where
  // that leaves blocks for a GPU of some hundred processors: fewer warps widen the same numbers.
  int64_t groups = type.getDimSize(lead), wanted = 2;
  int64_t rows = isa<GroupedLinearOp>(op.getOperation())
                     ? cast<RankedTensorType>(op->getResult(0).getType()).getDimSize(0)
                     : cast<RankedTensorType>(input.getType()).getDimSize(0);
  constexpr int64_t kBlocks = 128;
  if (rows > kMostGemvRows && groups % (2 * kMostPairs) == 0 && groups >= 2 * kMostPairs * kBlocks)
    wanted = 2 * kMostPairs;
  // With a scale per 128 rows a tile must not cross a block.
  if (isa<Float8E4M3FNType>(type.getElementType()) && groups * kPackedRows > kByteBlock)
    groups = std::gcd(groups, kByteBlock / kPackedRows);
  sizes.back() = kPackedRows * largestDivisor(groups, wanted);
  return sizes;
}
