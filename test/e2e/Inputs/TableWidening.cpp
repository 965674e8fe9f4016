// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A plugin of v4-opt for the plain modules of real-shapes.test: fp8 and fp4 numbers become loads from constant tables of
// their values, made here from the formats' definitions. What the compiler does with such numbers is under test there,
// and shares nothing with this.

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Tools/Plugins/PassPlugin.h"

#include <cmath>
#include <limits>

using namespace mlir;

/// Values of the codes of a format of one sign bit, `exponentBits` and `mantissaBits`. In E4M3FN the largest magnitude is
/// NaN; E2M1 has neither NaN nor infinity.
static SmallVector<float> valuesOf(int exponentBits, int mantissaBits, bool hasNan) {
  int magnitudeBits = exponentBits + mantissaBits, bias = (1 << (exponentBits - 1)) - 1;
  SmallVector<float> values;
  for (int code = 0; code != 2 << magnitudeBits; ++code) {
    int magnitude = code & ((1 << magnitudeBits) - 1);
    int exponent = magnitude >> mantissaBits, mantissa = magnitude & ((1 << mantissaBits) - 1);
    double value = exponent ? std::ldexp((1 << mantissaBits) + mantissa, exponent - bias - mantissaBits)
                            : std::ldexp(mantissa, 1 - bias - mantissaBits);
    if (hasNan && magnitude == (1 << magnitudeBits) - 1)
      value = std::numeric_limits<double>::quiet_NaN();
    values.push_back(static_cast<float>(code >> magnitudeBits ? -value : value));
  }
  return values;
}

namespace {
struct TableWidening : PassWrapper<TableWidening, OperationPass<func::FuncOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(TableWidening)
  StringRef getArgument() const override { return "test-table-widening"; }
  StringRef getDescription() const override { return "arith.extf of fp8 and fp4 as loads from tables"; }

  void runOnOperation() override {
    func::FuncOp func = getOperation();
    DenseMap<Type, Value> tables;
    func.walk([&](arith::ExtFOp op) {
      Type format = op.getIn().getType();
      bool fp8 = isa<Float8E4M3FNType>(format);
      if (!op.getType().isF32() || !(fp8 || isa<Float4E2M1FNType>(format)))
        return;
      Value &table = tables[format];
      if (!table) {
        OpBuilder start = OpBuilder::atBlockBegin(&func.getBody().front());
        SmallVector<float> values = fp8 ? valuesOf(4, 3, true) : valuesOf(2, 1, false);
        auto type = RankedTensorType::get({static_cast<int64_t>(values.size())}, start.getF32Type());
        table = arith::ConstantOp::create(start, op.getLoc(), DenseElementsAttr::get(type, ArrayRef<float>(values)));
      }
      OpBuilder b(op);
      Value code = arith::BitcastOp::create(b, op.getLoc(), b.getIntegerType(fp8 ? 8 : 4), op.getIn());
      code = arith::IndexCastUIOp::create(b, op.getLoc(), b.getIndexType(), code);
      Value number = tensor::ExtractOp::create(b, op.getLoc(), table, code);
      op.replaceAllUsesWith(number);
      op.erase();
    });
  }
};
} // namespace

extern "C" LLVM_ATTRIBUTE_WEAK PassPluginLibraryInfo mlirGetPassPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "V4TableWidening", LLVM_VERSION_STRING, [] { PassRegistration<TableWidening>(); }};
}
