// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Packed weights to f32 in registers.

#include "lowering/templates/PackedWeight.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::v4;

static VectorType lanes(Type element, int64_t count = 16) { return VectorType::get({count}, element); }

static Value splat(ImplicitLocOpBuilder &b, uint32_t value) {
  return arith::ConstantOp::create(b, DenseElementsAttr::get(lanes(b.getI32Type()), llvm::APInt(32, value)));
}

static Value bytes(ImplicitLocOpBuilder &b, ArrayRef<uint8_t> values) {
  SmallVector<int8_t> copy(values.begin(), values.end());
  return arith::ConstantOp::create(
      b, DenseElementsAttr::get(lanes(b.getI8Type(), copy.size()), ArrayRef<int8_t>(copy)));
}

static Value shiftLeft(ImplicitLocOpBuilder &b, Value v, unsigned bits) {
  return bits ? Value(arith::ShLIOp::create(b, v, splat(b, bits))) : v;
}
static Value shiftRight(ImplicitLocOpBuilder &b, Value v, unsigned bits) {
  return bits ? Value(arith::ShRUIOp::create(b, v, splat(b, bits))) : v;
}
static Value mask(ImplicitLocOpBuilder &b, Value v, uint32_t bits) {
  return arith::AndIOp::create(b, v, splat(b, bits));
}

bool PackedWeight::isPacked(ShapedType type) {
  if (type.getRank() < 4 || type.getDimSize(type.getRank() - 2) != 16)
    return false;
  Type element = type.getElementType();
  int64_t e = type.getShape().back();
  return (element.isF32() && e == 1) || (element.isBF16() && e == 2) || (isa<Float8E4M3FNType>(element) && e == 4) ||
         (element.isInteger(8) && e == 4);
}

PackedWeight::Format PackedWeight::formatOf(ShapedType type) {
  Type element = type.getElementType();
  return element.isF32()        ? Format::F32
         : element.isBF16()     ? Format::BF16
         : element.isInteger(8) ? Format::E2M1
                                : Format::E4M3;
}

int64_t PackedWeight::perLine(Format format) {
  switch (format) {
  case Format::F32:
    return 1;
  case Format::BF16:
    return 2;
  case Format::E4M3:
    return 4;
  case Format::E2M1:
    return 8;
  }
  llvm_unreachable("a format of weights");
}

int64_t PackedWeight::getBlock() const {
  return format == Format::E4M3 ? 128 : format == Format::E2M1 ? 32 : getInner();
}

PackedWeight::PackedWeight(ImplicitLocOpBuilder &b, Value weight, Value scale, const TemplateTarget &target)
    : scale(scale) {
  auto type = cast<MemRefType>(weight.getType());
  format = formatOf(type);
  groups = type.getDimSize(0);
  lines = type.getDimSize(1);
  view = memref::CollapseShapeOp::create(b, weight, ArrayRef<ReassociationIndices>{{0}, {1}, {2, 3}});
  tables = format == Format::E4M3 && target.has("avx512vbmi");
  permutes = format == Format::E2M1 && target.has("avx512f");
  if (tables) {
    uint8_t bits[2][128];
    for (unsigned code = 0; code < 128; ++code) {
      llvm::APFloat number(llvm::APFloat::Float8E4M3FN(), llvm::APInt(8, code));
      bool exact;
      number.convert(llvm::APFloat::BFloat(), llvm::APFloat::rmNearestTiesToEven, &exact);
      uint64_t word = number.bitcastToAPInt().getZExtValue();
      bits[0][code] = word >> 8;
      bits[1][code] = word & 0xff;
    }
    for (unsigned half : {0, 1}) {
      high[half] = bytes(b, ArrayRef<uint8_t>(bits[0]).slice(64 * half, 64));
      low[half] = bytes(b, ArrayRef<uint8_t>(bits[1]).slice(64 * half, 64));
    }
  }
  if (permutes) {
    SmallVector<float> numbers = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    for (unsigned code = 0; code < 8; ++code)
      numbers.push_back(-numbers[code]);
    values = arith::ConstantOp::create(b, DenseElementsAttr::get(lanes(b.getF32Type()), ArrayRef<float>(numbers)));
  }
}

Value PackedWeight::load(ImplicitLocOpBuilder &b, Value group, Value line) const {
  auto type = cast<MemRefType>(view.getType());
  auto vector = lanes(type.getElementType(), type.getDimSize(2));
  Value zero = arith::ConstantIndexOp::create(b, 0);
  Value stored = vector::LoadOp::create(b, vector, view, ValueRange{group, line, zero});
  return vector::BitCastOp::create(b, lanes(b.getI32Type()), stored);
}

void PackedWeight::prefetch(ImplicitLocOpBuilder &b, Value group, Value line) const {
  Value zero = arith::ConstantIndexOp::create(b, 0);
  memref::PrefetchOp::create(b, view, ValueRange{group, line, zero}, /*isWrite=*/false, /*localityHint=*/3,
                             /*isDataCache=*/true);
}

void PackedWeight::prefetchScale(ImplicitLocOpBuilder &b, Value group, Value block) const {
  if (format != Format::E2M1)
    return;
  Value zero = arith::ConstantIndexOp::create(b, 0);
  memref::PrefetchOp::create(b, scale, ValueRange{group, block, zero}, /*isWrite=*/false, /*localityHint=*/3,
                             /*isDataCache=*/true);
}

Value PackedWeight::loadScale(ImplicitLocOpBuilder &b, Value group, Value block) const {
  if (!scale)
    return {};
  auto wide = lanes(b.getF32Type());
  if (format == Format::E2M1) {
    Value zero = arith::ConstantIndexOp::create(b, 0);
    auto narrow = lanes(cast<MemRefType>(scale.getType()).getElementType());
    Value codes = vector::LoadOp::create(b, narrow, scale, ValueRange{group, block, zero});
    return arith::ExtFOp::create(b, wide, codes);
  }
  Value row = arith::ShRUIOp::create(b, group, arith::ConstantIndexOp::create(b, 3));
  Value number = memref::LoadOp::create(b, scale, ValueRange{row, block});
  return vector::BroadcastOp::create(b, wide, arith::ExtFOp::create(b, b.getF32Type(), number));
}

SmallVector<Value> PackedWeight::prepare(ImplicitLocOpBuilder &b, Value line) const {
  if (!tables)
    return {line};
  auto codes = lanes(b.getI8Type(), 64);
  Value code = vector::BitCastOp::create(b, codes, line);
  auto lookUp = [&](ArrayRef<Value> table) -> Value {
    Value found = LLVM::CallIntrinsicOp::create(b, codes, b.getStringAttr("llvm.x86.avx512.vpermi2var.qi.512"),
                                                ValueRange{table[0], code, table[1]})
                      .getResult(0);
    return vector::BitCastOp::create(b, line.getType(), found);
  };
  Value upper = arith::OrIOp::create(b, lookUp(high), mask(b, line, 0x80808080)), lower = lookUp(low);
  // Pairs of bf16 numbers: of bytes 0 and 2, and of bytes 1 and 3.
  auto join = [&](Value upper, Value lower) -> Value {
    return arith::OrIOp::create(b, mask(b, upper, 0xff00ff00), mask(b, lower, 0x00ff00ff));
  };
  return {join(shiftLeft(b, upper, 8), lower), join(upper, shiftRight(b, lower, 8))};
}

Value PackedWeight::element(ImplicitLocOpBuilder &b, ArrayRef<Value> prepared, int64_t i) const {
  auto wide = lanes(b.getF32Type());
  auto number = [&](Value bits) -> Value { return arith::BitcastOp::create(b, wide, bits); };
  auto half = [&](Value pair, bool upper) {
    return number(upper ? mask(b, pair, 0xffff0000) : shiftLeft(b, pair, 16));
  };
  switch (format) {
  case Format::F32:
    return number(prepared[0]);
  case Format::BF16:
    return half(prepared[0], i);
  case Format::E4M3: {
    if (tables)
      return half(prepared[i % 2], i / 2);
    Value code = arith::TruncIOp::create(b, lanes(b.getI8Type()), shiftRight(b, prepared[0], 8 * i));
    code = arith::BitcastOp::create(b, lanes(b.getType<Float8E4M3FNType>()), code);
    return arith::ExtFOp::create(b, wide, code);
  }
  case Format::E2M1: {
    Value code = shiftRight(b, prepared[0], 4 * i);
    // The instruction ignores all but four bits of the index.
    if (permutes)
      return LLVM::CallIntrinsicOp::create(b, wide, b.getStringAttr("llvm.x86.avx512.permvar.sf.512"),
                                           ValueRange{values, code})
          .getResult(0);
    // From code 2 on exponent and mantissa move to their places; 1 is 0.5, 0 is 0. Subnormal f32 would be slow.
    Value magnitude = mask(b, code, 7), sign = shiftLeft(b, mask(b, code, 8), 28);
    Value normal = shiftLeft(b, arith::AddIOp::create(b, magnitude, splat(b, 252)), 22);
    Value small = arith::MulIOp::create(b, magnitude, splat(b, 0x3f000000));
    Value isSmall = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, magnitude, splat(b, 2));
    return number(arith::OrIOp::create(b, arith::SelectOp::create(b, isSmall, small, normal), sign));
  }
  }
  llvm_unreachable("a format of weights");
}

SmallVector<Value> PackedWeight::widen(ImplicitLocOpBuilder &b, Value line, Value scale) const {
  SmallVector<Value> prepared = prepare(b, line), numbers;
  for (int64_t i = 0; i < getPerLine(); ++i) {
    Value number = element(b, prepared, i);
    numbers.push_back(scale ? Value(arith::MulFOp::create(b, number, scale)) : number);
  }
  return numbers;
}

LogicalResult v4::verifyProduct(KernelOp op, bool table) {
  auto fail = [&](const Twine &expected) { return op.emitOpError() << "expected " << expected; };
  ValueRange inputs = op.getInputs();
  if (inputs.size() < 2 || op.getOutputs().size() != 1)
    return fail("rows, a weight and one result");
  auto x = cast<MemRefType>(inputs[0].getType()), w = cast<MemRefType>(inputs[1].getType()),
       y = cast<MemRefType>(op.getOutputs()[0].getType());
  int64_t rank = x.getRank();
  if (rank != 2 && (table || rank != 3 || x.getDimSize(1) != 1))
    return fail("rows [S, K] or of one group, [S, 1, K]");
  if (w.getRank() != 4 + (table || rank == 3) || !PackedWeight::isPacked(w))
    return fail("a packed weight");
  ArrayRef<int64_t> shape = w.getShape().take_back(4);
  int64_t inner = shape[1] * PackedWeight::perLine(PackedWeight::formatOf(w));
  if (x.getShape().back() != inner || y.getRank() != rank || y.getShape().back() != 16 * shape[0])
    return fail("rows of " + Twine(inner) + " and a result of " + Twine(16 * shape[0]) + " columns, as the weight");
  for (MemRefType type : {x, y})
    if (!type.getElementType().isF32() && !type.getElementType().isBF16())
      return fail("rows and results of f32 or bf16");
  size_t least = 2 + PackedWeight::hasScale(w) + (table ? 2 : 0);
  if (inputs.size() < least || inputs.size() > least + table)
    return fail(table ? "a scale where the format has one, experts, offsets and perhaps rows"
                      : "a scale where the format has one");
  return success();
}
