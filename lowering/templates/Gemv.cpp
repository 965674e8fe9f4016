// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Templates `gemv` and `grouped_gemv`: products of few rows with a packed weight.
//
// The weight is read once, as streams of groups of 16 columns side by side, and widened in registers; a widened number
// serves all rows. Every element of the result is, per scale block, the sum of two chains of multiply-adds (even and odd
// k, ascending, from zero), times the scale, added up over ascending blocks: the same bits whatever the number of rows.

#include "lowering/templates/PackedWeight.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::v4;

/// Rows up to which a stream of the weight per register tile is faster than widening it into a panel (`gemm`).
constexpr int64_t kMostRows = 8;
/// The same for pairs of tokens and experts, of which one expert has few.
constexpr int64_t kMostPairs = 64;
/// Rows of one expert that share a pass over its weight.
constexpr int64_t kExpertRows = 4;
/// Sums per element: enough independent chains to hide the latency of a multiply-add.
constexpr int64_t kChains = 2;
/// Bytes ahead of the reader in every stream that are asked for.
constexpr int64_t kAhead = 1024;

namespace {
class Gemv : ImplicitLocOpBuilder {
public:
  Gemv(KernelOp op, const TemplateTarget &target)
      : ImplicitLocOpBuilder(op.getLoc(), op), op(op), target(target), x(op.getInputs()[0]), y(op.getOutputs()[0]) {}

  void linear();
  void grouped();

private:
  using Sums = SmallVector<Value>;

  Value index(int64_t value) { return arith::ConstantIndexOp::create(*this, value); }
  Value add(Value a, Value b) { return arith::AddIOp::create(*this, a, b); }
  Value add(Value a, int64_t b) { return b ? add(a, index(b)) : a; }
  Value mul(Value a, int64_t b) { return b == 1 ? a : Value(arith::MulIOp::create(*this, a, index(b))); }
  VectorType lanes() { return VectorType::get({16}, getF32Type()); }
  Value zero() { return arith::ConstantOp::create(*this, getZeroAttr(lanes())); }

  SmallVector<Value> place(Value row, Value column);
  Value broadcast(Value row, Value column);
  SmallVector<Value> widenRows(ArrayRef<Value> rows);
  int64_t groupsPerPass(int64_t rows, int64_t groups) const;

  void product(ArrayRef<Value> inputs, ArrayRef<Value> outputs, const PackedWeight &weight);
  Sums pass(ArrayRef<Value> rows, const PackedWeight &weight, Value group, int64_t groups);
  Sums lines(ArrayRef<Value> rows, const PackedWeight &weight, Value group, int64_t groups, Value line, Sums sums);

  KernelOp op;
  const TemplateTarget &target;
  Value x, y;
  /// Rows of bf16 activations as f32, or null.
  Value wide;
};
} // namespace

SmallVector<Value> Gemv::place(Value row, Value column) {
  if (cast<MemRefType>(x.getType()).getRank() == 3)
    return {row, index(0), column};
  return {row, column};
}

Value Gemv::broadcast(Value row, Value column) {
  Value number = wide ? memref::LoadOp::create(*this, wide, ValueRange{row, column}).getResult()
                      : memref::LoadOp::create(*this, x, place(row, column)).getResult();
  return vector::BroadcastOp::create(*this, lanes(), number);
}

/// Copies rows of bf16 as f32, once for all columns of the workgroup; the rows that a product reads then.
SmallVector<Value> Gemv::widenRows(ArrayRef<Value> rows) {
  auto type = cast<MemRefType>(x.getType());
  if (type.getElementType().isF32())
    return SmallVector<Value>(rows);
  int64_t columns = type.getShape().back(), whole = columns / 16 * 16;
  auto narrow = VectorType::get({16}, type.getElementType());
  SmallVector<Value> copies;
  for (auto [m, row] : llvm::enumerate(rows)) {
    Value copy = index(m);
    copies.push_back(copy);
    auto loop = [&](int64_t from, int64_t to, int64_t step, function_ref<void(Value)> body) {
      if (from == to)
        return;
      auto loop = scf::ForOp::create(*this, index(from), index(to), index(step));
      OpBuilder::InsertionGuard guard(*this);
      setInsertionPointToStart(loop.getBody());
      body(loop.getInductionVar());
    };
    loop(0, whole, 16, [&](Value k) {
      Value part = vector::LoadOp::create(*this, narrow, x, place(row, k));
      vector::StoreOp::create(*this, arith::ExtFOp::create(*this, lanes(), part), wide, ValueRange{copy, k});
    });
    loop(whole, columns, 1, [&](Value k) {
      Value number = memref::LoadOp::create(*this, x, place(row, k));
      memref::StoreOp::create(*this, arith::ExtFOp::create(*this, getF32Type(), number), wide, ValueRange{copy, k});
    });
  }
  return copies;
}

/// Groups of columns that are streamed side by side: as many as the registers hold sums of.
int64_t Gemv::groupsPerPass(int64_t rows, int64_t groups) const {
  int64_t registers = target.has("avx512f") ? 16 : 4;
  return largestDivisor(groups, std::max<int64_t>(1, std::min<int64_t>(4, registers / (rows * kChains))));
}

/// Adds the products of one line of every group to `sums` [chain][row][group].
Gemv::Sums Gemv::lines(ArrayRef<Value> rows, const PackedWeight &weight, Value group, int64_t groups, Value line,
                       Sums sums) {
  int64_t perLine = weight.getPerLine();
  SmallVector<SmallVector<Value>> numbers;
  for (int64_t g = 0; g < groups; ++g) {
    weight.prefetch(*this, add(group, g), add(line, kAhead / 64));
    numbers.push_back(weight.widen(*this, weight.load(*this, add(group, g), line), {}));
  }
  Value first = mul(line, perLine);
  for (int64_t k = 0; k < perLine; ++k)
    for (auto [m, row] : llvm::enumerate(rows)) {
      Value number = broadcast(row, add(first, k));
      for (int64_t g = 0; g < groups; ++g) {
        // With one element per line the chains take turns in `pass`.
        Value &sum = sums[((k % kChains) * rows.size() + m) * groups + g];
        sum = vector::FMAOp::create(*this, number, numbers[g][k], sum);
      }
    }
  return sums;
}

/// The sums [row][group] over all of K of `groups` groups from `group` on.
Gemv::Sums Gemv::pass(ArrayRef<Value> rows, const PackedWeight &weight, Value group, int64_t groups) {
  int64_t size = rows.size() * groups, perLine = weight.getPerLine(), total = weight.getInner() / perLine;
  int64_t block = std::min(weight.getBlock() / perLine, total);
  // One scale block, from line `first` on.
  auto sumBlock = [&](Value first, int64_t count) {
    Sums sums(kChains * size, zero());
    // Few lines are written out: a loop of so few steps would cost as much as they do.
    constexpr int64_t written = 4;
    if (count <= written) {
      for (int64_t i = 0; i < count; ++i)
        sums = lines(rows, weight, group, groups, add(first, i), sums);
    } else {
      auto loop = scf::ForOp::create(*this, index(0), index(count), index(1), sums);
      OpBuilder::InsertionGuard guard(*this);
      setInsertionPointToStart(loop.getBody());
      Sums next = lines(rows, weight, group, groups, add(first, loop.getInductionVar()),
                        Sums(loop.getRegionIterArgs().begin(), loop.getRegionIterArgs().end()));
      scf::YieldOp::create(*this, next);
      sums.assign(loop.result_begin(), loop.result_end());
    }
    Sums joined;
    for (int64_t i = 0; i < size; ++i)
      joined.push_back(arith::AddFOp::create(*this, sums[i], sums[size + i]));
    return joined;
  };
  auto addBlock = [&](Value number, int64_t count, Sums sums) {
    Sums part = sumBlock(mul(number, block), count);
    for (int64_t g = 0; g < groups; ++g) {
      Value scale = weight.loadScale(*this, add(group, g), number);
      for (size_t m = 0; m < rows.size(); ++m) {
        Value &sum = sums[m * groups + g];
        sum = vector::FMAOp::create(*this, part[m * groups + g], scale, sum);
      }
    }
    return sums;
  };
  if (!weight.isScaled())
    return sumBlock(index(0), total);
  Sums sums(size, zero());
  if (int64_t whole = total / block) {
    auto loop = scf::ForOp::create(*this, index(0), index(whole), index(1), sums);
    OpBuilder::InsertionGuard guard(*this);
    setInsertionPointToStart(loop.getBody());
    Sums next = addBlock(loop.getInductionVar(), block,
                         Sums(loop.getRegionIterArgs().begin(), loop.getRegionIterArgs().end()));
    scf::YieldOp::create(*this, next);
    sums.assign(loop.result_begin(), loop.result_end());
  }
  if (total % block)
    sums = addBlock(index(total / block), total % block, sums);
  return sums;
}

/// Rows `inputs` of x times the weight into rows `outputs` of y.
void Gemv::product(ArrayRef<Value> inputs, ArrayRef<Value> outputs, const PackedWeight &weight) {
  SmallVector<Value> rows = widenRows(inputs);
  int64_t groups = groupsPerPass(rows.size(), weight.getGroups());
  Type element = cast<MemRefType>(y.getType()).getElementType();
  auto loop = scf::ForOp::create(*this, index(0), index(weight.getGroups()), index(groups));
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  Value group = loop.getInductionVar();
  Sums sums = pass(rows, weight, group, groups);
  for (auto [m, row] : llvm::enumerate(outputs))
    for (int64_t g = 0; g < groups; ++g) {
      Value sum = sums[m * groups + g];
      if (!element.isF32())
        sum = arith::TruncFOp::create(*this, VectorType::get({16}, element), sum);
      vector::StoreOp::create(*this, sum, y, place(row, mul(add(group, g), 16)));
    }
}

/// Scratch for `rows` widened rows of bf16 activations, where the workgroup starts.
static Value wideRows(ImplicitLocOpBuilder &b, KernelOp op, int64_t rows) {
  auto type = cast<MemRefType>(op.getInputs()[0].getType());
  if (type.getElementType().isF32())
    return {};
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(&op->getParentOfType<FunctionOpInterface>().getFunctionBody().front());
  return memref::AllocaOp::create(b, MemRefType::get({rows, type.getShape().back()}, b.getF32Type()),
                                  b.getI64IntegerAttr(64));
}

/// A tile of one group of an output projection, `[1, ..]`, without that dimension.
static Value onlyRow(ImplicitLocOpBuilder &b, Value tile) {
  auto type = cast<MemRefType>(tile.getType());
  SmallVector<OpFoldResult> offsets(type.getRank(), b.getIndexAttr(0)), strides(type.getRank(), b.getIndexAttr(1)), sizes;
  for (int64_t size : type.getShape())
    sizes.push_back(b.getIndexAttr(size));
  auto strided = type.getStridesAndOffset();
  auto layout = StridedLayoutAttr::get(b.getContext(), strided.second, ArrayRef(strided.first).drop_front());
  auto row = MemRefType::get(type.getShape().drop_front(), type.getElementType(), layout);
  return memref::SubViewOp::create(b, row, tile, offsets, sizes, strides);
}

void Gemv::linear() {
  int64_t count = cast<MemRefType>(x.getType()).getDimSize(0);
  wide = wideRows(*this, op, count);
  Value stored = op.getInputs()[1], scale = op.getInputs().size() > 2 ? op.getInputs()[2] : Value();
  if (cast<MemRefType>(x.getType()).getRank() == 3) {
    stored = onlyRow(*this, stored);
    scale = scale ? onlyRow(*this, scale) : scale;
  }
  PackedWeight weight(*this, stored, scale, target);
  SmallVector<Value> rows;
  for (int64_t m = 0; m < count; ++m)
    rows.push_back(index(m));
  product(rows, rows, weight);
}

void Gemv::grouped() {
  ValueRange inputs = op.getInputs();
  bool scaled = PackedWeight::hasScale(cast<MemRefType>(inputs[1].getType()));
  Value experts = inputs[scaled ? 3 : 2], offsets = inputs[scaled ? 4 : 3];
  ValueRange list = inputs.drop_front(scaled ? 5 : 4);
  auto read = [&](Value numbers, Value at) -> Value {
    Value number = memref::LoadOp::create(*this, numbers, at);
    return arith::IndexCastOp::create(*this, getIndexType(), number);
  };
  int64_t tokens = cast<MemRefType>(x.getType()).getDimSize(0);
  Value last = index(tokens - 1);
  // The experts of a token differ: with one token an expert has one row.
  int64_t most = list.empty() ? kExpertRows : std::min(tokens, kExpertRows);
  wide = wideRows(*this, op, most);
  auto loop = scf::ForOp::create(*this, index(0), index(cast<MemRefType>(experts.getType()).getDimSize(0)), index(1));
  setInsertionPointToStart(loop.getBody());
  Value a = loop.getInductionVar(), expert = read(experts, a);
  Value active = arith::CmpIOp::create(*this, arith::CmpIPredicate::sge, expert, index(0));
  setInsertionPointToStart(scf::IfOp::create(*this, active).thenBlock());
  PackedWeight weight(*this, tableRow(*this, inputs[1], expert), scaled ? tableRow(*this, inputs[2], expert) : Value(),
                      target);
  Value begin = read(offsets, a), end = read(offsets, add(a, 1));
  auto blocks = scf::ForOp::create(*this, begin, end, index(most));
  setInsertionPointToStart(blocks.getBody());
  Value first = blocks.getInductionVar();
  auto multiply = [&](int64_t count) {
    SmallVector<Value> sources, targets;
    for (int64_t m = 0; m < count; ++m) {
      Value pair = add(first, m);
      targets.push_back(pair);
      // A damaged list reads no other memory.
      sources.push_back(list.empty() ? pair : Value(arith::MinUIOp::create(*this, read(list[0], pair), last)));
    }
    product(sources, targets, weight);
  };
  if (most == 1)
    return multiply(1);
  Value count = arith::MinUIOp::create(*this, arith::SubIOp::create(*this, end, first), index(most));
  SmallVector<int64_t> cases = llvm::to_vector(llvm::seq<int64_t>(1, most));
  auto choice = scf::IndexSwitchOp::create(*this, TypeRange(), count, cases, cases.size());
  for (auto [rows, region] : llvm::zip(cases, choice.getCaseRegions())) {
    setInsertionPointToStart(&region.emplaceBlock());
    multiply(rows);
    scf::YieldOp::create(*this);
  }
  setInsertionPointToStart(&choice.getDefaultRegion().emplaceBlock());
  multiply(most);
  scf::YieldOp::create(*this);
}

static bool select(Operation *op, StringRef name, Value weight, int64_t lead) {
  if (!isPackedWeight(weight, lead))
    return false;
  OpBuilder b(op);
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  Value out = tensor::EmptyOp::create(b, op->getLoc(), type.getShape(), type.getElementType());
  auto kernel = KernelOp::create(b, op->getLoc(), TypeRange(type), b.getStringAttr(name), op->getOperands(), out);
  op->replaceAllUsesWith(kernel);
  op->erase();
  return true;
}

bool v4::selectGemv(Operation *op) {
  auto linear = dyn_cast<LinearOp>(op);
  if (!linear || linear.getInput().getType().getDimSize(0) > kMostRows)
    return false;
  int64_t lead = linear.getInput().getType().getRank() - 2;
  // The tiles of an output projection have one group.
  if (lead && linear.getInput().getType().getDimSize(1) != 1)
    return false;
  return select(op, "gemv", linear.getWeight(), lead);
}

bool v4::selectGroupedGemv(Operation *op) {
  auto linear = dyn_cast<GroupedLinearOp>(op);
  if (!linear)
    return false;
  // Without a list the rows are those of the pairs: as many as of the tokens times the experts of each.
  int64_t rows = linear.getInput().getType().getDimSize(0);
  return rows <= (linear.getRows() ? kMostRows : kMostPairs) && select(op, "grouped_gemv", linear.getWeight(), 1);
}

LogicalResult v4::expandGemv(KernelOp op, const TemplateTarget &target) {
  Gemv(op, target).linear();
  return success();
}

LogicalResult v4::expandGroupedGemv(KernelOp op, const TemplateTarget &target) {
  Gemv(op, target).grouped();
  return success();
}
