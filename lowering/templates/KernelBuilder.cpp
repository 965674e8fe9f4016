// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Builds the loops and vectors of a kernel template.

#include "lowering/templates/KernelBuilder.h"

#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;
using namespace mlir::v4;

static bool isFloat(Value value) { return isa<FloatType>(getElementTypeOrSelf(value.getType())); }

/// Products and sums may become one multiply-add.
constexpr arith::FastMathFlags kContract = arith::FastMathFlags::contract;

Value KernelBuilder::splat(Type type, double value) {
  Type element = getElementTypeOrSelf(type);
  TypedAttr attr = isa<FloatType>(element) ? TypedAttr(getFloatAttr(element, value))
                                           : TypedAttr(getIntegerAttr(element, static_cast<int64_t>(value)));
  if (auto vector = dyn_cast<VectorType>(type))
    attr = DenseElementsAttr::get(vector, Attribute(attr));
  return arith::ConstantOp::create(*this, attr);
}

Value KernelBuilder::add(Value a, Value b) {
  if (isFloat(a))
    return arith::AddFOp::create(*this, a, b);
  return arith::AddIOp::create(*this, a, b);
}
Value KernelBuilder::sub(Value a, Value b) {
  if (isFloat(a))
    return arith::SubFOp::create(*this, a, b);
  return arith::SubIOp::create(*this, a, b);
}
Value KernelBuilder::mul(Value a, Value b) {
  if (isFloat(a))
    return arith::MulFOp::create(*this, a, b);
  return arith::MulIOp::create(*this, a, b);
}
Value KernelBuilder::div(Value a, Value b) {
  if (isFloat(a))
    return arith::DivFOp::create(*this, a, b);
  return arith::DivUIOp::create(*this, a, b);
}
Value KernelBuilder::min(Value a, Value b) { return arith::MinUIOp::create(*this, a, b); }
Value KernelBuilder::max(Value a, Value b) {
  if (!isFloat(a))
    return arith::MaxUIOp::create(*this, a, b);
  return select(arith::CmpFOp::create(*this, arith::CmpFPredicate::OGT, a, b), a, b);
}
Value KernelBuilder::mulAdd(Value a, Value b, Value c) {
  Value product = arith::MulFOp::create(*this, a, b, kContract);
  return arith::AddFOp::create(*this, product, c, kContract);
}

Value KernelBuilder::widen(Value value) {
  if (getElementTypeOrSelf(value.getType()).isF32())
    return value;
  Type type = getF32Type();
  if (auto vector = dyn_cast<VectorType>(value.getType()))
    type = vector.clone(type);
  return arith::ExtFOp::create(*this, type, value);
}
Value KernelBuilder::sum(Value vector) {
  return vector::ReductionOp::create(*this, vector::CombiningKind::ADD, vector, arith::FastMathFlags::reassoc);
}

Value KernelBuilder::scratch(ArrayRef<int64_t> shape, Type element) {
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(&op->getParentOfType<FunctionOpInterface>().getFunctionBody().front());
  return memref::AllocaOp::create(*this, MemRefType::get(shape, element), getI64IntegerAttr(64));
}

Value KernelBuilder::load(Value memory, ValueRange at, int64_t lanes) {
  Type element = cast<MemRefType>(memory.getType()).getElementType();
  return vector::LoadOp::create(*this, VectorType::get({lanes}, element), memory, at);
}

void KernelBuilder::store(Value value, Value memory, ValueRange at) {
  Type element = cast<MemRefType>(memory.getType()).getElementType();
  if (element.isBF16() && getElementTypeOrSelf(value.getType()).isF32()) {
    auto vector = dyn_cast<VectorType>(value.getType());
    value = arith::TruncFOp::create(*this, vector ? Type(vector.clone(element)) : element, value);
  }
  if (isa<VectorType>(value.getType()))
    vector::StoreOp::create(*this, value, memory, at);
  else
    memref::StoreOp::create(*this, value, memory, at);
}

void KernelBuilder::loop(Value from, Value to, int64_t step, function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(*this, from, to, index(step));
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

SmallVector<Value> KernelBuilder::loop(Value from, Value to, int64_t step, ValueRange inits,
                                       function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto loop = scf::ForOp::create(*this, from, to, index(step), inits);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  SmallVector<Value> next = body(loop.getInductionVar(), loop.getRegionIterArgs());
  scf::YieldOp::create(*this, next);
  return loop.getResults();
}

void KernelBuilder::when(Value condition, function_ref<void()> then, function_ref<void()> otherwise) {
  auto branch = scf::IfOp::create(*this, TypeRange(), condition, /*addThenBlock=*/true,
                                  /*addElseBlock=*/static_cast<bool>(otherwise));
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(branch.thenBlock());
  then();
  scf::YieldOp::create(*this);
  if (!otherwise)
    return;
  setInsertionPointToStart(branch.elseBlock());
  otherwise();
  scf::YieldOp::create(*this);
}

SmallVector<Value> KernelBuilder::when(Value condition, ValueRange otherwise,
                                       function_ref<SmallVector<Value>()> then) {
  auto branch = scf::IfOp::create(*this, otherwise.getTypes(), condition, /*addThenBlock=*/true, /*addElseBlock=*/true);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(branch.thenBlock());
  SmallVector<Value> values = then();
  scf::YieldOp::create(*this, values);
  setInsertionPointToStart(branch.elseBlock());
  scf::YieldOp::create(*this, otherwise);
  return branch.getResults();
}

void KernelBuilder::unpackRow(Value source, ValueRange from, int64_t width, Value tile, Value to) {
  CacheRow row = *CacheRow::fromBytes(width, cast<MemRefType>(source.getType()).getShape().back());
  auto bytes = [&](Value column, int64_t lanes) {
    SmallVector<Value> at(from);
    at.push_back(column);
    return load(source, at, lanes);
  };
  // 1. Blocks of codes with a scale each: the exponent of a power of two.
  loop(index(0), index(row.blocks()), 1, [&](Value block) {
    Value bits = arith::ExtUIOp::create(*this, i32s(1), bytes(add(block, row.scaleOffset()), 1));
    Value exponent = arith::ShLIOp::create(*this, bits, splat(i32s(1), 23));
    // The code of what is not a number.
    Value invalid = compare(arith::CmpIPredicate::eq, bits, splat(i32s(1), 255));
    Value scale = arith::BitcastOp::create(*this, f32s(1), select(invalid, splat(i32s(1), 0x7fc00000), exponent));
    scale = broadcast(vector::ExtractOp::create(*this, scale, 0));
    Value column = mul(block, row.block());
    if (row.format == QuantFormat::e4m3) {
      for (int64_t i = 0; i < row.block(); i += kVector) {
        Value codes = arith::BitcastOp::create(*this, VectorType::get({kVector}, getType<Float8E4M3FNType>()),
                                               bytes(add(column, i), kVector));
        store(mul(arith::ExtFOp::create(*this, f32s(), codes), scale), tile, {to, add(column, i)});
      }
      return;
    }
    Value codes = arith::ExtUIOp::create(*this, i32s(), bytes(div(column, 2), kVector));
    Value even = mul(e2m1(codes), scale);
    Value odd = mul(e2m1(arith::ShRUIOp::create(*this, codes, splat(i32s(), 4))), scale);
    store(vector::InterleaveOp::create(*this, even, odd), tile, {to, column});
  });
  // 2. The columns kept as bf16.
  for (int64_t column = row.quantized; column < width; column += kVector) {
    int64_t lanes = std::min(kVector, width - column), first = row.codeBytes() + 2 * (column - row.quantized);
    Value numbers = vector::BitCastOp::create(*this, VectorType::get({lanes}, getBF16Type()),
                                              bytes(index(first), 2 * lanes));
    numbers = arith::ExtFOp::create(*this, f32s(lanes), numbers);
    if (lanes < kVector)
      numbers = vector::InsertStridedSliceOp::create(*this, numbers, splat(f32s(), 0), ArrayRef<int64_t>{0},
                                                     ArrayRef<int64_t>{1});
    store(numbers, tile, {to, index(column)});
  }
}

Value KernelBuilder::e2m1(Value codes) {
  auto constant = [&](int64_t value) { return splat(codes.getType(), value); };
  // From code 2 on exponent and mantissa move to their places; 1 is 0.5, 0 is 0.
  Value magnitude = arith::AndIOp::create(*this, codes, constant(7));
  Value sign = arith::ShLIOp::create(*this, arith::AndIOp::create(*this, codes, constant(8)), constant(28));
  Value normal = arith::ShLIOp::create(*this, add(magnitude, constant(252)), constant(22));
  Value isSmall = compare(arith::CmpIPredicate::ult, magnitude, constant(2));
  Value bits = select(isSmall, mul(magnitude, constant(0x3f000000)), normal);
  auto type = cast<VectorType>(codes.getType());
  return arith::BitcastOp::create(*this, type.clone(getF32Type()), arith::OrIOp::create(*this, bits, sign));
}

void KernelBuilder::widenRow(Value source, ValueRange from, int64_t width, Value tile, Value to) {
  if (cast<MemRefType>(source.getType()).getElementType().isInteger(8))
    return unpackRow(source, from, width, tile, to);
  auto part = [&](Value column, int64_t lanes) {
    SmallVector<Value> at(from);
    at.push_back(column);
    return widen(load(source, at, lanes));
  };
  int64_t whole = width / kVector * kVector;
  if (whole < width) {
    Value rest = vector::InsertStridedSliceOp::create(*this, part(index(whole), width - whole),
                                                      splat(f32s(), 0), ArrayRef<int64_t>{0}, ArrayRef<int64_t>{1});
    store(rest, tile, {to, index(whole)});
  }
  int64_t step = largestDivisor(whole / kVector, 8) * kVector;
  if (whole)
    loop(index(0), index(whole), step, [&](Value column) {
      for (int64_t i = 0; i < step; i += kVector)
        store(part(add(column, i), kVector), tile, {to, add(column, i)});
    });
}

void KernelBuilder::prefetchRow(Value source, ValueRange from, int64_t width) {
  int64_t line = 64 * 8 / cast<MemRefType>(source.getType()).getElementTypeBitWidth();
  loop(index(0), index(width), line, [&](Value column) {
    SmallVector<Value> at(from);
    at.push_back(column);
    memref::PrefetchOp::create(*this, source, at, /*isWrite=*/false, /*localityHint=*/3, /*isDataCache=*/true);
  });
}

SmallVector<Value> KernelBuilder::transpose(SmallVector<Value> rows) {
  // Blocks of 1, 2, 4, 8 lanes are exchanged between rows that lie as far apart.
  for (int64_t size = 1; size < kVector; size *= 2) {
    SmallVector<int64_t> low, high;
    for (int64_t lane = 0; lane < kVector; ++lane) {
      int64_t from = lane % (2 * size);
      low.push_back(from < size ? lane : kVector + lane - size);
      high.push_back(from < size ? lane + size : kVector + lane);
    }
    for (int64_t i = 0; i < kVector; ++i)
      if (i / size % 2 == 0) {
        Value a = rows[i], b = rows[i + size];
        rows[i] = vector::ShuffleOp::create(*this, a, b, low);
        rows[i + size] = vector::ShuffleOp::create(*this, a, b, high);
      }
  }
  return rows;
}

Value KernelBuilder::packHeads(Value query) {
  auto type = cast<MemRefType>(query.getType());
  int64_t heads = type.getDimSize(1), width = type.getDimSize(2);
  int64_t groups = llvm::divideCeil(heads, kVector), padded = llvm::alignTo(width, kVector);
  Value packed = scratch({groups, padded, kVector}, getF32Type());
  auto block = [&](Value group, Value column, int64_t lanes) {
    SmallVector<Value> rows;
    for (int64_t i = 0; i < kVector; ++i) {
      Value head = min(add(mul(group, kVector), i), index(heads - 1));
      Value row = widen(load(query, {index(0), head, column}, lanes));
      if (lanes < kVector)
        row = vector::InsertStridedSliceOp::create(*this, row, splat(f32s(), 0), ArrayRef<int64_t>{0},
                                                   ArrayRef<int64_t>{1});
      rows.push_back(row);
    }
    for (auto [i, row] : llvm::enumerate(transpose(rows)))
      store(row, packed, {group, add(column, i), index(0)});
  };
  int64_t whole = width / kVector * kVector;
  loop(index(0), index(groups), 1, [&](Value group) {
    if (whole)
      loop(index(0), index(whole), kVector, [&](Value column) { block(group, column, kVector); });
    if (whole < width)
      block(group, index(whole), width - whole);
  });
  return packed;
}

SmallVector<Value> KernelBuilder::dots(Value tile, Value first, Value packed, Value group,
                                       std::pair<int64_t, int64_t> count, int64_t width) {
  SmallVector<Value> sums(count.first * count.second, splat(f32s(), 0));
  SmallVector<Value> rows, groups;
  for (int64_t i = 0; i < count.first; ++i)
    rows.push_back(add(first, i));
  for (int64_t i = 0; i < count.second; ++i)
    groups.push_back(add(group, i));
  return loop(index(0), index(width), 1, sums, [&](Value k, ValueRange sums) {
    SmallVector<Value> heads, next;
    for (Value g : groups)
      heads.push_back(load(packed, {g, k, index(0)}, kVector));
    for (auto [i, row] : llvm::enumerate(rows)) {
      Value key = broadcast(load(tile, {row, k}));
      for (auto [j, head] : llvm::enumerate(heads))
        next.push_back(mulAdd(key, head, sums[i * count.second + j]));
    }
    return next;
  });
}

Value KernelBuilder::visibleEntries(Value positions, int64_t limit) {
  Value position = toIndex(load(positions, index(0)));
  return min(div(add(position, 1), attribute("ratio")), index(limit));
}

std::pair<Value, Value> KernelBuilder::partOf(Value count, int64_t block, Value part) {
  Value blocks = div(add(count, block - 1), block);
  auto bound = [&](Value number) { return mul(div(mul(blocks, number), attribute("parts")), block); };
  return {bound(part), min(count, bound(add(part, 1)))};
}

void KernelBuilder::butterfly(SmallVectorImpl<Value> &elements) {
  for (size_t stride = 1; stride < elements.size(); stride *= 2)
    for (size_t i = 0; i < elements.size(); ++i)
      if (!(i & stride)) {
        Value first = elements[i], second = elements[i + stride];
        elements[i] = add(first, second);
        elements[i + stride] = sub(first, second);
      }
}
