// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-store-bf16-as-integers: bf16 that is only moved, as i16.

#include "lowering/Passes.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/AttrTypeSubElements.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_STOREBF16ASINTEGERSPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;

namespace {
struct StoreBf16AsIntegersPass : v4::impl::StoreBf16AsIntegersPassBase<StoreBf16AsIntegersPass> {
  void runOnOperation() override {
    AttrTypeReplacer replacer;
    replacer.addReplacement([](BFloat16Type type) -> Type { return IntegerType::get(type.getContext(), 16); });
    replacer.addReplacement([](FloatAttr attr) -> std::optional<Attribute> {
      if (!attr.getType().isBF16())
        return std::nullopt;
      return IntegerAttr::get(IntegerType::get(attr.getContext(), 16), attr.getValue().bitcastToAPInt());
    });
    replacer.addReplacement([](DenseElementsAttr attr) -> std::optional<Attribute> {
      if (!attr.getElementType().isBF16())
        return std::nullopt;
      return attr.bitcast(IntegerType::get(attr.getContext(), 16));
    });
    replacer.recursivelyReplaceElementsIn(getOperation(), /*replaceAttrs=*/true, /*replaceLocs=*/false,
                                          /*replaceTypes=*/true);
  }
};
} // namespace
