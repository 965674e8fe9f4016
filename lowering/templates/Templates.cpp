// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The list of kernel templates.

#include "lowering/templates/Templates.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;

ArrayRef<v4::KernelTemplate> v4::getKernelTemplates() {
  static const KernelTemplate templates[] = {
      {"gemm", selectGemm, expandGemm},
      {"grouped_gemm", selectGemm, expandGroupedGemm},
  };
  return templates;
}

Value v4::tableRow(ImplicitLocOpBuilder &b, Value table, Value index) {
  auto type = cast<MemRefType>(table.getType());
  SmallVector<OpFoldResult> offsets(type.getRank(), b.getIndexAttr(0)), sizes, strides(type.getRank(), b.getIndexAttr(1));
  for (int64_t size : type.getShape())
    sizes.push_back(b.getIndexAttr(size));
  if (auto cut = table.getDefiningOp<memref::SubViewOp>()) {
    table = cut.getSource();
    offsets = cut.getMixedOffsets();
  }
  offsets[0] = index;
  sizes[0] = b.getIndexAttr(1);
  auto row = memref::SubViewOp::inferRankReducedResultType(type.getShape().drop_front(), cast<MemRefType>(table.getType()),
                                                           offsets, sizes, strides);
  return memref::SubViewOp::create(b, cast<MemRefType>(row), table, offsets, sizes, strides);
}
