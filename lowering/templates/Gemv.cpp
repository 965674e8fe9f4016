// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Templates `gemv` and `grouped_gemv`: products of few rows with a packed weight, as fast as the weight can be read.
//
// A pass multiplies some rows with some groups of 16 columns over all of K: a line of each group is loaded, widened in
// registers and multiplied with the rows' numbers, which are broadcast from memory. All sums stay in registers. Where a
// scale serves all 16 columns (fp8), the block of rows is multiplied with it, which is exact but for numbers next to the
// ends of the range; where every column has one (fp4), the sum of a block is.
//
// Every element of the result is one chain of multiply-adds over ascending k, from zero; for fp4, a chain per scale
// block and one over the blocks. It does not depend on the number of rows, their place, or the tile.

#include "lowering/templates/PackedWeight.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::v4;

using Format = PackedWeight::Format;

/// Most rows of a call for which reading the weight takes longer than the products.
constexpr int64_t kMostRows = 16;

namespace {
class Gemv : ImplicitLocOpBuilder {
public:
  Gemv(KernelOp op, const TemplateTarget &target);

  void linear();
  void grouped();

private:
  using Sums = SmallVector<Value>;

  Value index(int64_t value) { return arith::ConstantIndexOp::create(*this, value); }
  Value add(Value a, Value b) { return arith::AddIOp::create(*this, a, b); }
  Value add(Value a, int64_t b) { return b ? add(a, index(b)) : a; }
  Value mul(Value a, int64_t b) { return b == 1 ? a : Value(arith::MulIOp::create(*this, a, index(b))); }
  VectorType lanes(Type element) { return VectorType::get({kPackedRows}, element); }
  Value mulAdd(Value a, Value b, Value sum);
  /// A loop that carries sums.
  Sums loop(Value from, Value to, int64_t step, Sums sums, function_ref<Sums(Value, Sums)> body);

  Value flatten(Value view);
  int64_t groupsPerPass(int64_t rows) const;
  void product(ArrayRef<Value> inputs, ArrayRef<Value> outputs, const PackedWeight &weight);
  void pass(ArrayRef<Value> inputs, ArrayRef<Value> outputs, const PackedWeight &weight, Value group, int64_t groups);
  Sums block(ArrayRef<Value> inputs, const PackedWeight &weight, Value group, int64_t groups, Value number,
             int64_t blockLines, int64_t lines, Sums totals);
  Sums line(ArrayRef<Value> inputs, const PackedWeight &weight, Value group, int64_t groups, Value line, Value k,
            Sums sums);
  void stage(ArrayRef<Value> inputs, Value k, int64_t count, Value scale);

  KernelOp op;
  const TemplateTarget &target;
  Value x, y;
  Format format;
  /// Rows of a pass.
  int64_t mostRows;
  /// Elements of K in a block: those that share a scale, or that are staged together; else all.
  int64_t inner;
  /// Scratch [rows, inner] for a block of the rows as f32, times the block's scale. Null where x is read where it lies.
  Value staged;
};
} // namespace

Value Gemv::mulAdd(Value a, Value b, Value sum) {
  // Without the instruction a fused product would be a call of the C library.
  if (target.has("fma"))
    return vector::FMAOp::create(*this, a, b, sum);
  return arith::AddFOp::create(*this, arith::MulFOp::create(*this, a, b), sum);
}

Gemv::Sums Gemv::loop(Value from, Value to, int64_t step, Sums sums, function_ref<Sums(Value, Sums)> body) {
  auto loop = scf::ForOp::create(*this, from, to, index(step), sums);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  Sums next = body(loop.getInductionVar(), Sums(loop.getRegionIterArgs()));
  if (!next.empty())
    scf::YieldOp::create(*this, next);
  return Sums(loop.getResults());
}

/// The tile of a group of an output projection without the dimension of groups: the second one of rows, the first one
/// of weights and scales.
Value Gemv::flatten(Value view) {
  auto type = cast<MemRefType>(view.getType());
  SmallVector<ReassociationIndices> dims = {{0, 1}};
  for (int64_t dim = 2; dim < type.getRank(); ++dim)
    dims.push_back({dim});
  return memref::CollapseShapeOp::create(*this, view, dims);
}

Gemv::Gemv(KernelOp op, const TemplateTarget &target)
    : ImplicitLocOpBuilder(op.getLoc(), op), op(op), target(target), x(op.getInputs()[0]), y(op.getOutputs()[0]) {
  if (cast<MemRefType>(x.getType()).getRank() == 3) {
    // Of x [M, 1, K] and y [M, 1, N] only the place of the unit dimension differs from that of the others.
    auto squeeze = [&](Value view) -> Value {
      return memref::CollapseShapeOp::create(*this, view, ArrayRef<ReassociationIndices>{{0, 1}, {2}});
    };
    x = squeeze(x);
    y = squeeze(y);
  }
  auto type = cast<MemRefType>(op.getInputs()[1].getType());
  format = PackedWeight::formatOf(type);
  bool narrow = !cast<MemRefType>(x.getType()).getElementType().isF32();
  int64_t columns = cast<MemRefType>(x.getType()).getDimSize(1);
  mostRows = target.has("avx512f") ? 8 : target.has("avx2") ? 4 : 2;
  inner = format == Format::E2M1 ? kNibbleBlock : format == Format::E4M3 || narrow ? kByteBlock : columns;
  if (!narrow && format != Format::E4M3)
    return;
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(&op->getParentOfType<FunctionOpInterface>().getFunctionBody().front());
  staged = memref::AllocaOp::create(*this, MemRefType::get({mostRows, inner}, getF32Type()), getI64IntegerAttr(64));
}

/// As many as keep their sums, a widened line of each and a number of x in registers: 32 of 16 lanes, or 16 of 8 or 4.
int64_t Gemv::groupsPerPass(int64_t rows) const {
  if (!target.has("avx512f"))
    return std::max<int64_t>((target.has("avx2") ? 4 : 2) / rows, 1);
  // The widened numbers of an fp4 line come one after the other.
  if (format == Format::E2M1)
    return rows == 1 ? 8 : rows <= 4 ? 4 : 2;
  return rows <= 2 ? 4 : 2;
}

/// Rows of x, times a scale, as f32.
void Gemv::stage(ArrayRef<Value> inputs, Value k, int64_t count, Value scale) {
  Type element = cast<MemRefType>(x.getType()).getElementType();
  for (auto [m, row] : llvm::enumerate(inputs)) {
    for (int64_t i = 0; i < count;) {
      // A row may end with less than 16 elements.
      int64_t width = std::min<int64_t>(llvm::bit_floor<uint64_t>(count - i), kPackedRows);
      auto wide = VectorType::get({width}, getF32Type());
      Value part = vector::LoadOp::create(*this, VectorType::get({width}, element), x, ValueRange{row, add(k, i)});
      if (!element.isF32())
        part = arith::ExtFOp::create(*this, wide, part);
      if (scale)
        part = arith::MulFOp::create(*this, part, vector::BroadcastOp::create(*this, wide, scale));
      vector::StoreOp::create(*this, part, staged, ValueRange{index(m), index(i)});
      i += width;
    }
  }
}

/// One line of every group times the rows. `k` is the column of the rows that belongs to the line's first element.
Gemv::Sums Gemv::line(ArrayRef<Value> inputs, const PackedWeight &weight, Value group, int64_t groups, Value line,
                      Value k, Sums sums) {
  // About 2 KiB ahead, 1 KiB where widening takes longer: what is asked for must not leave the cache before its turn.
  int64_t ahead = format == Format::E2M1 ? 16 : 32;
  SmallVector<SmallVector<Value>> prepared;
  for (int64_t g = 0; g < groups; ++g) {
    Value number = add(group, g);
    prepared.push_back(weight.prepare(*this, weight.load(*this, number, line)));
    weight.prefetch(*this, number, add(line, ahead));
  }
  for (int64_t i = 0; i < weight.getPerLine(); ++i) {
    SmallVector<Value> columns;
    for (ArrayRef<Value> part : prepared)
      columns.push_back(weight.element(*this, part, i));
    for (auto [m, row] : llvm::enumerate(inputs)) {
      Value number = staged ? memref::LoadOp::create(*this, staged, ValueRange{index(m), add(k, i)}).getResult()
                            : memref::LoadOp::create(*this, x, ValueRange{row, add(k, i)}).getResult();
      number = vector::BroadcastOp::create(*this, lanes(getF32Type()), number);
      for (int64_t g = 0; g < groups; ++g)
        sums[m * groups + g] = mulAdd(columns[g], number, sums[m * groups + g]);
    }
  }
  return sums;
}

/// The first `lines` lines of block `number`, a block being `blockLines`.
Gemv::Sums Gemv::block(ArrayRef<Value> inputs, const PackedWeight &weight, Value group, int64_t groups, Value number,
                       int64_t blockLines, int64_t lines, Sums totals) {
  int64_t perLine = weight.getPerLine();
  Value first = mul(number, blockLines);
  if (staged) {
    Value scale;
    if (format == Format::E4M3)
      scale = vector::ExtractOp::create(*this, weight.loadScale(*this, group, number), 0);
    stage(inputs, mul(first, perLine), lines * perLine, scale);
  }
  bool nibbles = format == Format::E2M1;
  Sums sums = totals;
  if (nibbles)
    sums.assign(totals.size(), arith::ConstantOp::create(*this, getZeroAttr(lanes(getF32Type()))));
  auto addLine = [&](Value at, Sums sums) {
    Value place = add(first, at);
    return line(inputs, weight, group, groups, place, mul(staged ? at : place, perLine), sums);
  };
  constexpr int64_t kUnrolled = 4;
  int64_t looped = lines > kUnrolled ? lines - lines % kUnrolled : 0;
  if (looped)
    sums = loop(index(0), index(looped), kUnrolled, sums, [&](Value at, Sums sums) {
      for (int64_t i = 0; i < kUnrolled; ++i)
        sums = addLine(add(at, i), sums);
      return sums;
    });
  for (int64_t i = looped; i < lines; ++i)
    sums = addLine(index(i), sums);
  if (!nibbles)
    return sums;
  for (int64_t g = 0; g < groups; ++g) {
    Value scale = weight.loadScale(*this, add(group, g), number);
    for (size_t m = 0; m < inputs.size(); ++m)
      totals[m * groups + g] = mulAdd(sums[m * groups + g], scale, totals[m * groups + g]);
  }
  return totals;
}

/// All of K for some groups from `group` on.
void Gemv::pass(ArrayRef<Value> inputs, ArrayRef<Value> outputs, const PackedWeight &weight, Value group,
                int64_t groups) {
  int64_t perLine = weight.getPerLine(), lines = weight.getInner() / perLine, blockLines = std::min(inner / perLine, lines);
  Sums totals(inputs.size() * groups, arith::ConstantOp::create(*this, getZeroAttr(lanes(getF32Type()))));
  auto build = [&](Value number, int64_t count, Sums totals) {
    return block(inputs, weight, group, groups, number, blockLines, count, totals);
  };
  int64_t whole = lines / blockLines;
  if (whole == 1)
    totals = build(index(0), blockLines, totals);
  else
    totals = loop(index(0), index(whole), 1, totals,
                  [&](Value number, Sums totals) { return build(number, blockLines, totals); });
  if (int64_t rest = lines % blockLines)
    totals = build(index(whole), rest, totals);

  Type element = cast<MemRefType>(y.getType()).getElementType();
  for (auto [m, row] : llvm::enumerate(outputs))
    for (int64_t g = 0; g < groups; ++g) {
      Value sum = totals[m * groups + g];
      if (!element.isF32())
        sum = arith::TruncFOp::create(*this, lanes(element), sum);
      vector::StoreOp::create(*this, sum, y, ValueRange{row, mul(add(group, g), kPackedRows)});
    }
}

/// At most `mostRows` rows of x, whose numbers are `inputs`, to the rows `outputs` of y.
void Gemv::product(ArrayRef<Value> inputs, ArrayRef<Value> outputs, const PackedWeight &weight) {
  int64_t groups = largestDivisor(weight.getGroups(), groupsPerPass(inputs.size()));
  loop(index(0), index(weight.getGroups()), groups, {}, [&](Value group, Sums) -> Sums {
    pass(inputs, outputs, weight, group, groups);
    return {};
  });
}

void Gemv::linear() {
  int64_t rows = cast<MemRefType>(x.getType()).getDimSize(0);
  Value stored = op.getInputs()[1], scale = op.getInputs().size() > 2 ? op.getInputs()[2] : Value();
  if (cast<MemRefType>(stored.getType()).getRank() == 5) {
    stored = flatten(stored);
    scale = scale ? flatten(scale) : scale;
  }
  PackedWeight weight(*this, stored, scale, target);
  // Passes of the same number of rows, or one less.
  int64_t passes = llvm::divideCeil(rows, mostRows);
  for (int64_t i = 0, first = 0; i < passes; ++i) {
    int64_t count = (rows - first) / (passes - i);
    SmallVector<Value> numbers;
    for (int64_t m = 0; m < count; ++m)
      numbers.push_back(index(first + m));
    product(numbers, numbers, weight);
    first += count;
  }
}

void Gemv::grouped() {
  ValueRange inputs = op.getInputs();
  bool scaled = PackedWeight::hasScale(cast<MemRefType>(inputs[1].getType()));
  Value experts = inputs[scaled ? 3 : 2], offsets = inputs[scaled ? 4 : 3];
  ValueRange list = inputs.drop_front(scaled ? 5 : 4);
  int64_t pairs = cast<MemRefType>(y.getType()).getDimSize(0), tokens = cast<MemRefType>(x.getType()).getDimSize(0);
  mostRows = std::min({mostRows, tokens, pairs});
  auto read = [&](Value numbers, Value at) -> Value {
    Value number = memref::LoadOp::create(*this, numbers, at);
    return arith::IndexCastOp::create(*this, getIndexType(), number);
  };
  Value last = index(tokens - 1);
  loop(index(0), index(cast<MemRefType>(experts.getType()).getDimSize(0)), 1, {}, [&](Value a, Sums) -> Sums {
    Value expert = read(experts, a);
    auto branch = scf::IfOp::create(*this, arith::CmpIOp::create(*this, arith::CmpIPredicate::sge, expert, index(0)));
    OpBuilder::InsertionGuard guard(*this);
    setInsertionPointToStart(branch.thenBlock());
    PackedWeight weight(*this, tableRow(*this, inputs[1], expert), scaled ? tableRow(*this, inputs[2], expert) : Value(),
                        target);
    Value begin = read(offsets, a), end = read(offsets, add(a, 1));
    auto build = [&](Value first, int64_t count) {
      SmallVector<Value> from, to;
      for (int64_t m = 0; m < count; ++m) {
        to.push_back(add(first, m));
        // Rows of the list are rows of x; a damaged list reads no other memory.
        from.push_back(list.empty() ? to.back() : arith::MinUIOp::create(*this, read(list[0], to.back()), last).getResult());
      }
      product(from, to, weight);
    };
    loop(begin, end, mostRows, {}, [&](Value first, Sums) -> Sums {
      if (mostRows == 1)
        return build(first, 1), Sums();
      // As many as there are, so that no row is multiplied in vain.
      Value count = arith::MinUIOp::create(*this, arith::SubIOp::create(*this, end, first), index(mostRows));
      SmallVector<int64_t> cases = llvm::to_vector(llvm::seq<int64_t>(1, mostRows));
      auto choice = scf::IndexSwitchOp::create(*this, TypeRange(), count, cases, cases.size());
      OpBuilder::InsertionGuard guard(*this);
      for (auto [rows, region] : llvm::zip(cases, choice.getCaseRegions())) {
        setInsertionPointToStart(&region.emplaceBlock());
        build(first, rows);
        scf::YieldOp::create(*this);
      }
      setInsertionPointToStart(&choice.getDefaultRegion().emplaceBlock());
      build(first, mostRows);
      scf::YieldOp::create(*this);
      return {};
    });
    return {};
  });
}

/// Replaces an op by a kernel of the same operands.
static void replaceByKernel(Operation *op, StringRef name) {
  ImplicitLocOpBuilder b(op->getLoc(), op);
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  Value out = tensor::EmptyOp::create(b, type.getShape(), type.getElementType());
  auto kernel = KernelOp::create(b, type, b.getStringAttr(name), op->getOperands(), out);
  op->replaceAllUsesWith(kernel);
  op->erase();
}

bool v4::selectGemv(Operation *op) {
  auto linear = dyn_cast<LinearOp>(op);
  if (!linear || !isPackedWeight(linear.getWeight(), linear.getInput().getType().getRank() - 2) ||
      linear.getInput().getType().getDimSize(0) > kMostRows)
    return false;
  // Of an output projection, tiles of one group.
  if (linear.getInput().getType().getRank() == 3 && linear.getInput().getType().getDimSize(1) != 1)
    return false;
  replaceByKernel(op, "gemv");
  return true;
}

bool v4::selectGroupedGemv(Operation *op) {
  auto linear = dyn_cast<GroupedLinearOp>(op);
  // Few rows per expert.
  constexpr int64_t kMostOfExpert = 4;
  if (!linear || !isPackedWeight(linear.getWeight(), 1) ||
      linear.getResult().getType().getDimSize(0) > kMostOfExpert * linear.getExperts().getType().getDimSize(0))
    return false;
  replaceByKernel(op, "grouped_gemv");
  return true;
}

LogicalResult v4::expandGemv(KernelOp op, const TemplateTarget &target) {
  Gemv(op, target).linear();
  return success();
}

LogicalResult v4::expandGroupedGemv(KernelOp op, const TemplateTarget &target) {
  Gemv(op, target).grouped();
  return success();
}
