// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Templates `gemv` and `grouped_gemv`: products of few rows with a packed weight, as fast as the weight can be read.
//
// K is cut into blocks. In each, some groups of 16 columns at a time are multiplied with some rows: a line of each
// group is loaded, widened in registers and multiplied with the rows' numbers, which are broadcast from memory. The
// sums of the block stay in registers, the totals are in scratch. A scale is applied to the sums of the elements that
// share it.
//
// Every element of the result is one chain of multiply-adds over ascending k, from zero; with scales, a chain per scale
// block, and one over the blocks. It does not depend on the number of rows, their place, or the tile.

#include "lowering/templates/PackedWeight.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::v4;

using Format = PackedWeight::Format;

/// Most rows of a call, and of an expert in one, for which widening in registers beats widening once into scratch
/// (template `gemm`).
constexpr int64_t kMostRows = 16, kMostExpertRows = 8;
/// Elements of K per block: a multiple of every scale block, and few enough that the rows' part of it stays in the
/// first-level cache.
constexpr int64_t kInner = 128;
/// Rows of an expert for which reading its weight takes longer than multiplying.
constexpr int64_t kMostRowsAhead = 2;

namespace {
class Gemv : ImplicitLocOpBuilder {
public:
  Gemv(KernelOp op, const TemplateTarget &target);

  void linear();
  void grouped();

private:
  using Sums = SmallVector<Value>;

  /// What is asked for ahead of its turn while a block of K is multiplied: lines `lines` and groups `groups` after the
  /// block's own ones, of `weight`. At the end of K these are the first lines of the next tile: memory that comes late
  /// there would cost more than anything else, a tenth of the time for a K of 2048.
  struct Ahead {
    const PackedWeight *weight;
    Value groups, lines;
  };
  /// Rows and groups of 16 columns of a register tile: rows `row ..`, groups `group ..`.
  struct Tile {
    ArrayRef<Value> inputs;
    int64_t row;
    Value group;
    int64_t groups;
    Ahead ahead;
  };
  /// The weight that follows one in a workgroup, and where in it the workgroup's columns begin.
  struct Next {
    PackedWeight weight;
    Value group;
  };

  Value index(int64_t value) { return arith::ConstantIndexOp::create(*this, value); }
  Value add(Value a, Value b) { return arith::AddIOp::create(*this, a, b); }
  Value add(Value a, int64_t b) { return b ? add(a, index(b)) : a; }
  Value mul(Value a, int64_t b) { return b == 1 ? a : Value(arith::MulIOp::create(*this, a, index(b))); }
  VectorType lanes(Type element) { return VectorType::get({kPackedRows}, element); }
  Value zero() { return arith::ConstantOp::create(*this, getZeroAttr(lanes(getF32Type()))); }
  Value mulAdd(Value a, Value b, Value sum);
  Value compare(arith::CmpIPredicate predicate, Value a, Value b) {
    return arith::CmpIOp::create(*this, predicate, a, b);
  }
  /// A loop that carries sums.
  Sums loop(Value from, Value to, int64_t step, Sums sums, function_ref<Sums(Value, Sums)> body);
  void loop(int64_t to, int64_t step, function_ref<void(Value)> body);

  Value scratch(ArrayRef<int64_t> shape);
  int64_t tileGroups(int64_t rows) const;
  void prepare(int64_t rows, int64_t columns);
  void product(ArrayRef<Value> inputs, ArrayRef<Value> outputs, const PackedWeight &weight, const Next *next = nullptr);
  void block(ArrayRef<Value> inputs, const PackedWeight &weight, Value number, int64_t lines,
             const Next *next = nullptr);
  /// Lines that are asked for ahead.
  int64_t aheadLines() const { return std::clamp<int64_t>(kInner / PackedWeight::perLine(format), 16, 32); }
  void tile(const Tile &tile, const PackedWeight &weight, Value number, int64_t lines);
  Sums lines(const Tile &tile, const PackedWeight &weight, Value number, Value from, int64_t count, Sums sums);
  Sums line(const Tile &tile, const PackedWeight &weight, Value number, Value at, Sums sums);
  void stage(ArrayRef<Value> inputs, Value k, int64_t count);

  KernelOp op;
  const TemplateTarget &target;
  Value x, y;
  Format format;
  /// Most rows of a register tile.
  int64_t tileRows;
  /// Scratch: totals [rows, columns]; a block of the rows as f32 [rows, kInner], or null where x is read where it lies.
  Value totals, staged;
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

void Gemv::loop(int64_t to, int64_t step, function_ref<void(Value)> body) {
  loop(index(0), index(to), step, {}, [&](Value i, Sums) { return body(i), Sums(); });
}

/// Scratch of the workgroup, made where its function starts.
Value Gemv::scratch(ArrayRef<int64_t> shape) {
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(&op->getParentOfType<FunctionOpInterface>().getFunctionBody().front());
  return memref::AllocaOp::create(*this, MemRefType::get(shape, getF32Type()), getI64IntegerAttr(64));
}

Gemv::Gemv(KernelOp op, const TemplateTarget &target)
    : ImplicitLocOpBuilder(op.getLoc(), op), op(op), target(target), x(op.getInputs()[0]), y(op.getOutputs()[0]),
      format(PackedWeight::formatOf(cast<MemRefType>(op.getInputs()[1].getType()))),
      tileRows(target.has("avx512f") ? 16 : target.has("avx2") ? 4 : 2) {}

/// Groups of a register tile: as many as keep their sums, a widened line of each and a number of x in registers, which
/// are 32 of 16 lanes, or 16 of 8 or 4.
int64_t Gemv::tileGroups(int64_t rows) const {
  if (!target.has("avx512f"))
    return std::max<int64_t>((target.has("avx2") ? 4 : 2) / rows, 1);
  // The widened numbers of an fp4 line come one after the other.
  if (format == Format::E2M1)
    return rows == 1 ? 8 : rows <= 4 ? 4 : rows <= 8 ? 2 : 1;
  return rows <= 2 ? 4 : rows <= 8 ? 2 : 1;
}

/// Scratch for products of at most `rows` rows.
void Gemv::prepare(int64_t rows, int64_t columns) {
  totals = scratch({rows, columns});
  // Several rows of x tend to lie a multiple of 4 KiB apart, in one set of the first-level cache.
  if (rows > 1 || !cast<MemRefType>(x.getType()).getElementType().isF32())
    staged = scratch({rows, kInner});
}

/// A block of the rows as f32.
void Gemv::stage(ArrayRef<Value> inputs, Value k, int64_t count) {
  Type element = cast<MemRefType>(x.getType()).getElementType();
  auto copy = [&](Value row, Value target, Value at, int64_t width) {
    Value part = vector::LoadOp::create(*this, VectorType::get({width}, element), x, ValueRange{row, add(k, at)});
    if (!element.isF32())
      part = arith::ExtFOp::create(*this, VectorType::get({width}, getF32Type()), part);
    vector::StoreOp::create(*this, part, staged, ValueRange{target, at});
  };
  int64_t whole = count / kPackedRows * kPackedRows;
  loop(whole, kPackedRows, [&](Value at) {
    for (auto [m, row] : llvm::enumerate(inputs))
      copy(row, index(m), at, kPackedRows);
  });
  if (whole < count)
    for (auto [m, row] : llvm::enumerate(inputs))
      copy(row, index(m), index(whole), count - whole);
}

/// Line `at` of block `number` of every group times the rows.
Gemv::Sums Gemv::line(const Tile &tile, const PackedWeight &weight, Value number, Value at, Sums sums) {
  int64_t perLine = weight.getPerLine();
  Value place = add(mul(number, kInner / perLine), at), k = mul(staged ? at : place, perLine);
  SmallVector<SmallVector<Value>> prepared;
  for (int64_t g = 0; g < tile.groups; ++g) {
    Value group = add(tile.group, g);
    prepared.push_back(weight.prepare(*this, weight.load(*this, group, place)));
    if (tile.row == 0)
      tile.ahead.weight->prefetch(*this, add(group, tile.ahead.groups), add(place, tile.ahead.lines));
  }
  for (int64_t i = 0; i < perLine; ++i) {
    SmallVector<Value> columns;
    for (ArrayRef<Value> part : prepared)
      columns.push_back(weight.element(*this, part, i));
    for (auto [m, row] : llvm::enumerate(tile.inputs)) {
      Value scalar = staged
                         ? memref::LoadOp::create(*this, staged, ValueRange{index(tile.row + m), add(k, i)}).getResult()
                         : memref::LoadOp::create(*this, x, ValueRange{row, add(k, i)}).getResult();
      scalar = vector::BroadcastOp::create(*this, lanes(getF32Type()), scalar);
      for (int64_t g = 0; g < tile.groups; ++g)
        sums[m * tile.groups + g] = mulAdd(columns[g], scalar, sums[m * tile.groups + g]);
    }
  }
  return sums;
}

/// `count` lines of block `number` from line `from` on.
Gemv::Sums Gemv::lines(const Tile &tile, const PackedWeight &weight, Value number, Value from, int64_t count,
                       Sums sums) {
  // Some lines per turn, so that the loop costs little; not so many that code leaves the decoded-instruction cache.
  int64_t products = sums.size() * weight.getPerLine(), turn = std::clamp<int64_t>(256 / products, 1, 4);
  int64_t looped = count > turn ? count - count % turn : 0;
  if (looped)
    sums = loop(index(0), index(looped), turn, sums, [&](Value at, Sums sums) {
      for (int64_t i = 0; i < turn; ++i)
        sums = line(tile, weight, number, add(add(from, at), i), sums);
      return sums;
    });
  for (int64_t i = looped; i < count; ++i)
    sums = line(tile, weight, number, add(from, i), sums);
  return sums;
}

/// The first `count` lines of block `number` for one register tile.
void Gemv::tile(const Tile &tile, const PackedWeight &weight, Value number, int64_t count) {
  SmallVector<SmallVector<Value>> places;
  Sums sums;
  for (size_t m = 0; m < tile.inputs.size(); ++m)
    for (int64_t g = 0; g < tile.groups; ++g) {
      places.push_back({index(tile.row + m), mul(add(tile.group, g), kPackedRows)});
      sums.push_back(vector::LoadOp::create(*this, lanes(getF32Type()), totals, places.back()));
    }
  if (!weight.isScaled()) {
    sums = lines(tile, weight, number, index(0), count, sums);
  } else {
    int64_t perLine = weight.getPerLine(), scaleLines = weight.getBlock() / perLine,
            scales = kInner / weight.getBlock();
    Value later = add(mul(number, kInner / perLine), tile.ahead.lines);
    for (int64_t g = 0; g < tile.groups && tile.row == 0; ++g)
      tile.ahead.weight->prefetchScale(*this, add(add(tile.group, tile.ahead.groups), g),
                                       arith::DivUIOp::create(*this, later, index(scaleLines)));
    // `count` lines from line `first` on, which share a scale.
    auto scaled = [&](Value scaleNumber, int64_t count, Sums sums) {
      Sums part = lines(tile, weight, number, mul(scaleNumber, scaleLines), count, Sums(sums.size(), zero()));
      for (int64_t g = 0; g < tile.groups; ++g) {
        Value scale = weight.loadScale(*this, add(tile.group, g), add(mul(number, scales), scaleNumber));
        for (size_t m = 0; m < tile.inputs.size(); ++m)
          sums[m * tile.groups + g] = mulAdd(part[m * tile.groups + g], scale, sums[m * tile.groups + g]);
      }
      return sums;
    };
    int64_t whole = count / scaleLines;
    if (whole == 1)
      sums = scaled(index(0), scaleLines, sums);
    else if (whole)
      sums = loop(index(0), index(whole), 1, sums, [&](Value i, Sums sums) { return scaled(i, scaleLines, sums); });
    if (count % scaleLines)
      sums = scaled(index(whole), count % scaleLines, sums);
  }
  for (auto [sum, place] : llvm::zip(sums, places))
    vector::StoreOp::create(*this, sum, totals, place);
}

/// The first `lines` lines of block `number`. With `next`, it is the last whole block, and `next` comes after it.
void Gemv::block(ArrayRef<Value> inputs, const PackedWeight &weight, Value number, int64_t lines, const Next *next) {
  if (staged)
    stage(inputs, mul(number, kInner), lines * weight.getPerLine());
  // Tiles of the same number of rows, or one less.
  int64_t rows = inputs.size(), tiles = llvm::divideCeil(rows, tileRows);
  int64_t groups = largestDivisor(weight.getGroups(), tileGroups(llvm::divideCeil(rows, tiles)));
  // 1 or 2 KiB ahead, by the time that widening takes: what was asked for must not leave the cache before its turn.
  int64_t perK = weight.getInner() / weight.getPerLine(), blockLines = kInner / weight.getPerLine();
  Ahead ahead{&weight, index(0), index(aheadLines())};
  if (next && groups == weight.getGroups()) {
    ahead = {&next->weight, next->group, index(aheadLines() - perK)};
  } else {
    // The next tile lies behind this one, also where it is the next workgroup's.
    Value end = add(mul(number, blockLines), blockLines - 1 + aheadLines());
    Value last = compare(arith::CmpIPredicate::uge, end, index(perK));
    ahead.lines = arith::SelectOp::create(*this, last, index(aheadLines() + (groups - 1) * perK), ahead.lines);
  }
  loop(weight.getGroups(), groups, [&](Value group) {
    for (int64_t i = 0, first = 0; i < tiles; ++i) {
      int64_t count = (rows - first) / (tiles - i);
      tile(Tile{inputs.slice(first, count), first, group, groups, ahead}, weight, number, lines);
      first += count;
    }
  });
}

/// The rows `inputs` of x to the rows `outputs` of y.
void Gemv::product(ArrayRef<Value> inputs, ArrayRef<Value> outputs, const PackedWeight &weight, const Next *next) {
  int64_t columns = weight.getGroups() * kPackedRows, blockLines = kInner / weight.getPerLine();
  int64_t lines = weight.getInner() / weight.getPerLine();
  loop(columns, kPackedRows, [&](Value column) {
    for (size_t m = 0; m < inputs.size(); ++m)
      vector::StoreOp::create(*this, zero(), totals, ValueRange{index(m), column});
  });
  int64_t blocks = lines / blockLines, alike = blocks && next ? blocks - 1 : blocks;
  loop(alike, 1, [&](Value number) { block(inputs, weight, number, blockLines); });
  if (alike < blocks)
    block(inputs, weight, index(alike), blockLines, next);
  if (lines % blockLines)
    block(inputs, weight, index(lines / blockLines), lines % blockLines);
  Type element = cast<MemRefType>(y.getType()).getElementType();
  loop(columns, kPackedRows, [&](Value column) {
    for (auto [m, row] : llvm::enumerate(outputs)) {
      Value sum = vector::LoadOp::create(*this, lanes(getF32Type()), totals, ValueRange{index(m), column});
      if (!element.isF32())
        sum = arith::TruncFOp::create(*this, lanes(element), sum);
      vector::StoreOp::create(*this, sum, y, ValueRange{row, column});
    }
  });
}

/// A view of rank 3 or more without its unit dimension 0 or 1.
static Value collapse(ImplicitLocOpBuilder &b, Value view) {
  SmallVector<ReassociationIndices> dims = {{0, 1}};
  for (int64_t dim = 2; dim < cast<MemRefType>(view.getType()).getRank(); ++dim)
    dims.push_back({dim});
  return memref::CollapseShapeOp::create(b, view, dims);
}

void Gemv::linear() {
  Value stored = op.getInputs()[1], scale = op.getInputs().size() > 2 ? op.getInputs()[2] : Value();
  // One group of an output projection: x [M, 1, K], weight [1, N/16, ..], y [M, 1, N].
  if (cast<MemRefType>(x.getType()).getRank() == 3) {
    x = collapse(*this, x);
    y = collapse(*this, y);
    stored = collapse(*this, stored);
    scale = scale ? collapse(*this, scale) : scale;
  }
  PackedWeight weight(*this, stored, scale, target);
  ArrayRef<int64_t> shape = cast<MemRefType>(y.getType()).getShape();
  prepare(shape[0], shape[1]);
  SmallVector<Value> rows;
  for (int64_t m = 0; m < shape[0]; ++m)
    rows.push_back(index(m));
  product(rows, rows, weight);
}

void Gemv::grouped() {
  ValueRange inputs = op.getInputs();
  bool scaled = PackedWeight::hasScale(cast<MemRefType>(inputs[1].getType()));
  Value experts = inputs[scaled ? 3 : 2], offsets = inputs[scaled ? 4 : 3];
  ValueRange list = inputs.drop_front(scaled ? 5 : 4);
  int64_t pairs = cast<MemRefType>(y.getType()).getDimSize(0), tokens = cast<MemRefType>(x.getType()).getDimSize(0);
  // An expert has a pair of a token at most once.
  int64_t most = std::min({kMostExpertRows, tokens, pairs});
  prepare(most, cast<MemRefType>(y.getType()).getDimSize(1));
  auto read = [&](Value numbers, Value at) -> Value {
    Value number = memref::LoadOp::create(*this, numbers, at);
    return arith::IndexCastOp::create(*this, getIndexType(), number);
  };
  auto rowOf = [&](Value expert) {
    Value row = tableRow(*this, inputs[1], expert);
    return PackedWeight(*this, row, scaled ? tableRow(*this, inputs[2], expert) : Value(), target);
  };
  int64_t count = cast<MemRefType>(experts.getType()).getDimSize(0);
  Value last = index(tokens - 1);
  loop(index(0), index(count), 1, {}, [&](Value a, Sums) -> Sums {
    Value expert = read(experts, a);
    auto branch = scf::IfOp::create(*this, compare(arith::CmpIPredicate::sge, expert, index(0)));
    OpBuilder::InsertionGuard guard(*this);
    setInsertionPointToStart(branch.thenBlock());
    PackedWeight weight = rowOf(expert);
    // Active experts come first. After the last one the next workgroup begins with the first one again.
    Value following = read(experts, arith::MinUIOp::create(*this, add(a, 1), index(count - 1)));
    Value isLast = arith::OrIOp::create(*this, compare(arith::CmpIPredicate::eq, a, index(count - 1)),
                                        compare(arith::CmpIPredicate::slt, following, index(0)));
    following = arith::SelectOp::create(*this, isLast, read(experts, index(0)), following);
    following = arith::MaxSIOp::create(*this, following, index(0));
    Next next{rowOf(following), arith::SelectOp::create(*this, isLast, index(weight.getGroups()), index(0))};
    Value begin = read(offsets, a), end = read(offsets, add(a, 1));
    auto build = [&](Value first, int64_t count) {
      SmallVector<Value> from, to;
      for (int64_t m = 0; m < count; ++m) {
        to.push_back(add(first, m));
        // Rows of the list are rows of x; a damaged list reads no other memory.
        from.push_back(list.empty() ? to.back()
                                    : arith::MinUIOp::create(*this, read(list[0], to.back()), last).getResult());
      }
      product(from, to, weight, count <= kMostRowsAhead ? &next : nullptr);
    };
    loop(begin, end, most, {}, [&](Value first, Sums) -> Sums {
      if (most == 1)
        return build(first, 1), Sums();
      // As many as there are, so that no row is multiplied in vain.
      Value count = arith::MinUIOp::create(*this, arith::SubIOp::create(*this, end, first), index(most));
      SmallVector<int64_t> cases = llvm::to_vector(llvm::seq<int64_t>(1, most));
      auto choice = scf::IndexSwitchOp::create(*this, TypeRange(), count, cases, cases.size());
      OpBuilder::InsertionGuard guard(*this);
      for (auto [rows, region] : llvm::zip(cases, choice.getCaseRegions())) {
        setInsertionPointToStart(&region.emplaceBlock());
        build(first, rows);
        scf::YieldOp::create(*this);
      }
      setInsertionPointToStart(&choice.getDefaultRegion().emplaceBlock());
      build(first, most);
      scf::YieldOp::create(*this);
      return {};
    });
    return {};
  });
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
  op->erase();
  return true;
}

bool v4::selectGroupedGemv(Operation *op) {
  auto linear = dyn_cast<GroupedLinearOp>(op);
  if (!linear || !isPackedWeight(linear.getWeight(), 1))
    return false;
  // Few rows per expert.
  constexpr int64_t kMostPairs = 128, kMostOfExpert = 4;
  int64_t pairs = linear.getResult().getType().getDimSize(0), experts = linear.getExperts().getType().getDimSize(0);
  if (pairs > std::max(kMostPairs, kMostOfExpert * experts))
    return false;
  replaceByKernel(op, "grouped_gemv");
  op->erase();
  return true;
}

LogicalResult v4::expandGemv(KernelOp op, const TemplateTarget &target) {
  if (failed(verifyProduct(op, /*table=*/false)))
    return failure();
  Gemv(op, target).linear();
  return success();
}

LogicalResult v4::expandGroupedGemv(KernelOp op, const TemplateTarget &target) {
  if (failed(verifyProduct(op, /*table=*/true)))
    return failure();
  Gemv(op, target).grouped();
  return success();
}
