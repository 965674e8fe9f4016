// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Template `gemm`: products of many rows with a packed weight.
//
// A workgroup computes some rows times some groups of 16 columns. K is cut into blocks. In every block the weight of a
// panel of columns is widened once, into scratch that stays in the second-level cache, and used by all rows, a register
// tile at a time; the sums stay in registers over the block and in scratch between blocks. Weights that need no
// widening (f32; bf16 for the dot form) are read where they lie.
//
// Every element of the result is one chain of multiply-adds over ascending k (pairs of k in the dot form), from zero,
// whatever the number of rows, their place, and the tile.

#include "lowering/templates/PackedWeight.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::v4;

using Format = PackedWeight::Format;

namespace {
/// Sizes of a kernel: chosen so that the panel and the rows that pass over it stay in a second-level cache of 1 MiB.
struct Blocking {
  /// Register tile: rows, and groups of 16 columns.
  int64_t tileRows, tileGroups;
  /// Elements of K per block; a multiple of every scale block.
  int64_t inner;
  /// Most rows whose sums are kept at a time.
  int64_t rows;
};

/// Rows `0 .. count-1` of a product: where each lies in the activations and in the result.
struct Rows {
  Value count;
  function_ref<Value(Value)> input, output;
};

class Gemm : ImplicitLocOpBuilder {
public:
  Gemm(KernelOp op, const TemplateTarget &target)
      : ImplicitLocOpBuilder(op.getLoc(), op), op(op), target(target) {}

  void linear();
  void grouped();

private:
  // Scalars and vectors.
  Value index(int64_t value) { return arith::ConstantIndexOp::create(*this, value); }
  Value add(Value a, Value b) { return arith::AddIOp::create(*this, a, b); }
  Value add(Value a, int64_t b) { return b ? add(a, index(b)) : a; }
  Value sub(Value a, Value b) { return arith::SubIOp::create(*this, a, b); }
  Value mul(Value a, int64_t b) { return b == 1 ? a : Value(arith::MulIOp::create(*this, a, index(b))); }
  Value div(Value a, int64_t b) { return b == 1 ? a : Value(arith::DivUIOp::create(*this, a, index(b))); }
  Value min(Value a, Value b) { return arith::MinUIOp::create(*this, a, b); }
  VectorType lanes(Type element, int64_t count = 16) { return VectorType::get({count}, element); }
  Value asType(Value vector, VectorType type) { return vector::BitCastOp::create(*this, type, vector); }

  void loop(Value from, Value to, int64_t step, function_ref<void(Value)> body) {
    auto loop = scf::ForOp::create(*this, from, to, index(step));
    OpBuilder::InsertionGuard guard(*this);
    setInsertionPointToStart(loop.getBody());
    body(loop.getInductionVar());
  }

  Value scratch(ArrayRef<int64_t> shape, Type element);
  SmallVector<Value> place(Value row, Value column);

  void prepare(int64_t most, int64_t rows, bool isTable);
  void product(const Rows &rows, const PackedWeight &weight);
  void widenInput(ArrayRef<Value> inputRows, Value to, Value k0, Value width);
  void widenPanel(const PackedWeight &weight, Value group, Value k0, Value width);
  void tiles(const Rows &rows, const PackedWeight &weight, Value panelNumber, Value k0, Value width);
  void tile(const Rows &rows, Value first, int64_t count, const PackedWeight &weight, Value panelNumber, Value k0,
            Value width);
  void store(const Rows &rows, int64_t columns);

  KernelOp op;
  const TemplateTarget &target;
  Blocking blocking;
  Value x, y;
  /// Dots of bf16 pairs instead of f32 multiply-adds.
  bool dot = false;
  /// Rows of x are widened by the register tile, not once for all panels.
  bool widenTiles = false;
  /// Scratch: the widened panel (`[k][column]`, or pairs of k), the sums of all panels, rows of x as f32. The first and
  /// the last only where something is widened.
  Value panel, sums, wideInput;
};
} // namespace

/// Scratch of the workgroup, made where its function starts.
Value Gemm::scratch(ArrayRef<int64_t> shape, Type element) {
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(&op->getParentOfType<FunctionOpInterface>().getFunctionBody().front());
  return memref::AllocaOp::create(*this, MemRefType::get(shape, element), getI64IntegerAttr(64));
}

/// Indices of an element of x or y.
SmallVector<Value> Gemm::place(Value row, Value column) {
  if (cast<MemRefType>(x.getType()).getRank() == 3)
    return {row, index(0), column};
  return {row, column};
}

/// `inputRows` in f32, from row `to` of wideInput on.
void Gemm::widenInput(ArrayRef<Value> inputRows, Value to, Value k0, Value width) {
  auto wide = lanes(getF32Type()), narrow = lanes(getBF16Type());
  Value whole = mul(div(width, 16), 16);
  loop(index(0), whole, 16, [&](Value k) {
    for (auto [m, row] : llvm::enumerate(inputRows)) {
      Value part = vector::LoadOp::create(*this, narrow, x, place(row, add(k0, k)));
      vector::StoreOp::create(*this, arith::ExtFOp::create(*this, wide, part), wideInput,
                              ValueRange{add(to, m), k});
    }
  });
  loop(whole, width, 1, [&](Value k) {
    for (auto [m, row] : llvm::enumerate(inputRows)) {
      Value number = memref::LoadOp::create(*this, x, place(row, add(k0, k)));
      memref::StoreOp::create(*this, arith::ExtFOp::create(*this, getF32Type(), number), wideInput,
                              ValueRange{add(to, m), k});
    }
  });
}

void Gemm::widenPanel(const PackedWeight &weight, Value group, Value k0, Value width) {
  int64_t perLine = weight.getPerLine(), block = std::min(weight.getBlock(), blocking.inner);
  Value end = add(k0, width);
  loop(k0, end, block, [&](Value from) {
    Value to = min(add(from, block), end);
    for (int64_t g = 0; g < blocking.tileGroups; ++g) {
      Value row = add(group, g);
      Value scale = weight.loadScale(*this, row, div(from, block));
      loop(from, to, perLine, [&](Value k) {
        Value line = div(k, perLine);
        SmallVector<Value> numbers = weight.widen(*this, weight.load(*this, row, line), scale);
        // Of the next block, which comes after the rows of this one.
        weight.prefetch(*this, row, add(line, blocking.inner / perLine));
        Value at = sub(k, k0);
        for (auto [i, number] : llvm::enumerate(numbers)) {
          if (!dot) {
            vector::StoreOp::create(*this, number, panel, ValueRange{add(at, i), index(16 * g)});
            continue;
          }
          if (i % 2 == 0)
            continue;
          // The upper halves of two numbers that are exact in bf16.
          auto bits = lanes(getI32Type());
          Value half = arith::ConstantOp::create(*this, DenseElementsAttr::get(bits, llvm::APInt(32, 16)));
          Value upper = arith::ConstantOp::create(*this, DenseElementsAttr::get(bits, llvm::APInt(32, 0xffff0000)));
          Value first = arith::ShRUIOp::create(*this, asType(numbers[i - 1], bits), half);
          Value second = arith::AndIOp::create(*this, asType(number, bits), upper);
          Value pair = asType(arith::OrIOp::create(*this, first, second), lanes(getBF16Type(), 32));
          vector::StoreOp::create(*this, pair, panel, ValueRange{div(add(at, i - 1), 2), index(32 * g)});
        }
      });
    }
  });
}

/// One register tile: `count` rows from `first` on, over a block of K.
void Gemm::tile(const Rows &rows, Value first, int64_t count, const PackedWeight &weight, Value panelNumber, Value k0,
                Value width) {
  auto sumType = lanes(getF32Type());
  int64_t groups = blocking.tileGroups, perStep = dot ? 2 : 1;
  SmallVector<Value> inputRows, accumulators;
  SmallVector<SmallVector<Value>> places;
  for (int64_t m = 0; m < count; ++m) {
    Value row = add(first, m);
    inputRows.push_back(rows.input(row));
    for (int64_t g = 0; g < groups; ++g) {
      places.push_back({panelNumber, row, index(16 * g)});
      accumulators.push_back(vector::LoadOp::create(*this, sumType, sums, places.back()));
    }
  }
  if (widenTiles)
    widenInput(inputRows, index(0), k0, width);
  auto loop = scf::ForOp::create(*this, index(0), div(width, perStep), index(1), accumulators);
  {
    OpBuilder::InsertionGuard guard(*this);
    setInsertionPointToStart(loop.getBody());
    Value step = loop.getInductionVar(), k = mul(step, perStep);
    auto dwords = lanes(getI32Type()), pairs = lanes(getBF16Type(), 32);
    SmallVector<Value> columns, next;
    for (int64_t g = 0; g < groups; ++g) {
      if (panel) {
        columns.push_back(vector::LoadOp::create(*this, dot ? pairs : sumType, panel,
                                                 ValueRange{step, index(g * (dot ? 32 : 16))}));
        continue;
      }
      Value line = weight.load(*this, add(mul(panelNumber, groups), g), add(step, div(k0, perStep)));
      columns.push_back(asType(line, dot ? pairs : sumType));
    }
    for (int64_t m = 0; m < count; ++m) {
      Value number;
      if (dot) {
        Value pair = vector::LoadOp::create(*this, lanes(getBF16Type(), 2), x, place(inputRows[m], add(k0, k)));
        Value dword = vector::ExtractOp::create(*this, asType(pair, lanes(getI32Type(), 1)), 0);
        number = asType(vector::BroadcastOp::create(*this, dwords, dword), pairs);
      } else {
        auto places = wideInput ? SmallVector<Value>{widenTiles ? index(m) : add(first, m), k}
                                : place(inputRows[m], add(k0, k));
        Value scalar = memref::LoadOp::create(*this, wideInput ? wideInput : x, places);
        number = vector::BroadcastOp::create(*this, sumType, scalar);
      }
      for (int64_t g = 0; g < groups; ++g) {
        Value sum = loop.getRegionIterArgs()[m * groups + g];
        if (dot)
          sum = LLVM::CallIntrinsicOp::create(*this, sumType, getStringAttr("llvm.x86.avx512bf16.dpbf16ps.512"),
                                              ValueRange{sum, number, columns[g]})
                    .getResult(0);
        else
          sum = vector::FMAOp::create(*this, number, columns[g], sum);
        next.push_back(sum);
      }
    }
    scf::YieldOp::create(*this, next);
  }
  for (auto [sum, place] : llvm::zip(loop.getResults(), places))
    vector::StoreOp::create(*this, sum, sums, place);
}

void Gemm::tiles(const Rows &rows, const PackedWeight &weight, Value panelNumber, Value k0, Value width) {
  int64_t most = blocking.tileRows;
  auto build = [&](Value first, int64_t count) { tile(rows, first, count, weight, panelNumber, k0, width); };
  if (std::optional<int64_t> count = getConstantIntValue(rows.count)) {
    if (*count >= most)
      loop(index(0), index(*count - *count % most), most, [&](Value first) { build(first, most); });
    if (*count % most)
      build(index(*count - *count % most), *count % most);
    return;
  }
  Value rest = arith::RemUIOp::create(*this, rows.count, index(most)), whole = sub(rows.count, rest);
  loop(index(0), whole, most, [&](Value first) { build(first, most); });
  SmallVector<int64_t> cases;
  for (int64_t count = 1; count < most; ++count)
    cases.push_back(count);
  if (cases.empty())
    return;
  auto choice = scf::IndexSwitchOp::create(*this, TypeRange(), rest, cases, cases.size());
  OpBuilder::InsertionGuard guard(*this);
  for (auto [count, region] : llvm::zip(cases, choice.getCaseRegions())) {
    setInsertionPointToStart(&region.emplaceBlock());
    build(whole, count);
    scf::YieldOp::create(*this);
  }
  setInsertionPointToStart(&choice.getDefaultRegion().emplaceBlock());
  scf::YieldOp::create(*this);
}

void Gemm::store(const Rows &rows, int64_t columns) {
  auto wide = lanes(getF32Type());
  Type element = cast<MemRefType>(y.getType()).getElementType();
  int64_t width = 16 * blocking.tileGroups;
  loop(index(0), index(columns / width), 1, [&](Value panelNumber) {
    loop(index(0), rows.count, 1, [&](Value m) {
      Value row = rows.output(m);
      for (int64_t g = 0; g < blocking.tileGroups; ++g) {
        Value sum = vector::LoadOp::create(*this, wide, sums, ValueRange{panelNumber, m, index(16 * g)});
        if (!element.isF32())
          sum = arith::TruncFOp::create(*this, lanes(element), sum);
        vector::StoreOp::create(*this, sum, y, place(row, add(mul(panelNumber, width), 16 * g)));
      }
    });
  });
}

/// The rows times the weight. At most `blocking.rows` rows.
void Gemm::product(const Rows &rows, const PackedWeight &weight) {
  Value none = index(0), inner = index(weight.getInner());
  int64_t panels = weight.getGroups() / blocking.tileGroups;
  Value zero = arith::ConstantOp::create(*this, getZeroAttr(lanes(getF32Type())));
  loop(none, index(panels), 1, [&](Value panelNumber) {
    loop(none, rows.count, 1, [&](Value m) {
      for (int64_t g = 0; g < blocking.tileGroups; ++g)
        vector::StoreOp::create(*this, zero, sums, ValueRange{panelNumber, m, index(16 * g)});
    });
  });
  loop(none, inner, blocking.inner, [&](Value k0) {
    Value width = min(index(blocking.inner), sub(inner, k0));
    if (wideInput && !widenTiles)
      loop(none, rows.count, 1, [&](Value m) { widenInput(rows.input(m), m, k0, width); });
    loop(none, index(panels), 1, [&](Value panelNumber) {
      if (panel)
        widenPanel(weight, mul(panelNumber, blocking.tileGroups), k0, width);
      tiles(rows, weight, panelNumber, k0, width);
    });
  });
  store(rows, 16 * weight.getGroups());
}

/// Rows from which on a panel is read from the second-level cache faster than it is computed with.
constexpr int64_t kManyRows = 64;

/// Reads operands, chooses sizes and makes the scratch. `most` is the largest number of rows that share a weight,
/// `rows` a usual one; `isTable` says whether the weight is a table of experts.
void Gemm::prepare(int64_t most, int64_t rows, bool isTable) {
  x = op.getInputs()[0];
  y = op.getOutputs()[0];
  auto type = cast<MemRefType>(op.getInputs()[1].getType());
  ArrayRef<int64_t> shape = type.getShape().take_back(4);
  Format format = PackedWeight::formatOf(type);
  int64_t groups = shape[0], inner = shape[1] * PackedWeight::perLine(format);
  bool narrow = cast<MemRefType>(x.getType()).getElementType().isBF16();

  // Accumulators, a row of the panel and a broadcast number fill the registers: 32 of 16 lanes, 16 of 8 or of 4 lanes.
  blocking = target.has("avx512f") ? Blocking{6, 4, 1024, 512} : Blocking{target.has("avx2") ? 6 : 3, 1, 1024, 512};
  // Stored f32 is not rounded to bf16.
  dot = narrow && format != Format::F32 && target.has("avx512bf16") && target.has("fast-bf16-dot");
  // The rows of a register tile are widened in the first-level cache. With several panels it is better to widen once;
  // then all rows share the second-level cache with the panel: fewer rows at a time, not a short block, since sums are
  // read and written for each. The rows of an expert are too few for that.
  bool widened = narrow && !dot;
  if (widened) {
    widenTiles = isTable || groups <= blocking.tileGroups;
    blocking.inner = 512;
    if (!widenTiles)
      blocking.rows = 256;
  }
  // With few rows the panel's own way counts, which is short in the first-level cache.
  if (rows < kManyRows)
    blocking.inner = 128;
  blocking.rows = std::min(blocking.rows, most);
  blocking.inner = std::min(blocking.inner, inner);
  blocking.tileGroups = largestDivisor(groups, blocking.tileGroups);

  int64_t columns = 16 * blocking.tileGroups;
  if (format != (dot ? Format::BF16 : Format::F32))
    panel = dot ? scratch({blocking.inner / 2, 2 * columns}, getBF16Type())
                : scratch({blocking.inner, columns}, getF32Type());
  if (widened)
    wideInput = scratch({widenTiles ? blocking.tileRows : blocking.rows, blocking.inner}, getF32Type());
  sums = scratch({groups / blocking.tileGroups, blocking.rows, columns}, getF32Type());
}

void Gemm::linear() {
  int64_t rows = cast<MemRefType>(op.getInputs()[0].getType()).getDimSize(0);
  prepare(rows, rows, /*isTable=*/false);
  bool scaled = op.getInputs().size() > 2;
  // A tile of a product with groups has one of them in front.
  auto part = [&](Value operand) {
    return cast<MemRefType>(x.getType()).getRank() == 3 ? tableRow(*this, operand, index(0)) : operand;
  };
  PackedWeight weight(*this, part(op.getInputs()[1]), scaled ? part(op.getInputs()[2]) : Value(), target);
  auto block = [&](Value first, int64_t count) {
    auto at = [&](Value m) { return add(first, m); };
    product(Rows{index(count), at, at}, weight);
  };
  int64_t rest = rows % blocking.rows;
  loop(index(0), index(rows - rest), blocking.rows, [&](Value first) { block(first, blocking.rows); });
  if (rest)
    block(index(rows - rest), rest);
}

void Gemm::grouped() {
  ValueRange inputs = op.getInputs();
  int64_t pairs = cast<MemRefType>(op.getOutputs()[0].getType()).getDimSize(0);
  prepare(pairs, pairs / cast<MemRefType>(inputs[1].getType()).getDimSize(0), /*isTable=*/true);
  bool scaled = PackedWeight::hasScale(cast<MemRefType>(inputs[1].getType()));
  Value experts = inputs[scaled ? 3 : 2], offsets = inputs[scaled ? 4 : 3];
  ValueRange list = inputs.drop_front(scaled ? 5 : 4);
  auto read = [&](Value numbers, Value at) -> Value {
    Value number = memref::LoadOp::create(*this, numbers, at);
    return arith::IndexCastOp::create(*this, getIndexType(), number);
  };
  Value last = index(cast<MemRefType>(x.getType()).getDimSize(0) - 1);
  loop(index(0), index(cast<MemRefType>(experts.getType()).getDimSize(0)), 1, [&](Value a) {
    Value expert = read(experts, a);
    Value active = arith::CmpIOp::create(*this, arith::CmpIPredicate::sge, expert, index(0));
    auto branch = scf::IfOp::create(*this, active);
    OpBuilder::InsertionGuard guard(*this);
    setInsertionPointToStart(branch.thenBlock());
    PackedWeight weight(*this, tableRow(*this, inputs[1], expert),
                        scaled ? tableRow(*this, inputs[2], expert) : Value(), target);
    Value begin = read(offsets, a), end = read(offsets, add(a, 1));
    loop(begin, end, blocking.rows, [&](Value first) {
      auto output = [&](Value m) { return add(first, m); };
      auto input = [&](Value m) -> Value {
        Value pair = add(first, m);
        // Rows of the list are rows of x; a damaged list reads no other memory.
        return list.empty() ? pair : min(read(list[0], pair), last);
      };
      product(Rows{min(index(blocking.rows), sub(end, first)), input, output}, weight);
    });
  });
}

/// Fewer rows are the business of other templates: widening costs as much as the products of some rows.
constexpr int64_t kLeastRows = 17;
/// A call of that many rows with this many experts per row may still touch each weight once.
constexpr int64_t kLeastPairs = 129;

bool v4::selectGemm(Operation *op) {
  auto linear = dyn_cast<LinearOp>(op);
  if (!linear)
    return false;
  ArrayRef<int64_t> shape = linear.getInput().getType().getShape();
  int64_t lead = shape.size() - 2;
  // With groups, a tile is of one group.
  if (!isPackedWeight(linear.getWeight(), lead) || shape[0] < kLeastRows || (lead && shape[1] != 1))
    return false;
  replaceByKernel(op, "gemm");
  op->erase();
  return true;
}

bool v4::selectGroupedGemm(Operation *op) {
  auto linear = dyn_cast<GroupedLinearOp>(op);
  if (!linear || !isPackedWeight(linear.getWeight(), 1) || linear.getResult().getType().getDimSize(0) < kLeastPairs)
    return false;
  replaceByKernel(op, "grouped_gemm");
  op->erase();
  return true;
}

LogicalResult v4::expandGemm(KernelOp op, const TemplateTarget &target) {
  if (failed(verifyProduct(op, /*table=*/false)))
    return failure();
  Gemm(op, target).linear();
  return success();
}

LogicalResult v4::expandGroupedGemm(KernelOp op, const TemplateTarget &target) {
  if (failed(verifyProduct(op, /*table=*/true)))
    return failure();
  Gemm(op, target).grouped();
  return success();
}
