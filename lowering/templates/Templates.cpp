// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The list of kernel templates.

#include "lowering/templates/Templates.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;

ArrayRef<v4::KernelTemplate> v4::getKernelTemplates() {
  static const KernelTemplate templates[] = {
      {"gemv", selectGemv, expandGemv},
      {"grouped_gemv", selectGroupedGemv, expandGroupedGemv},
      {"gemm", selectGemm, expandGemm},
      {"grouped_gemm", selectGroupedGemm, expandGroupedGemm},
      {"attention", selectAttention, expandAttention},
      {"combine_attention", nullptr, expandCombineAttention},
      {"top_k", selectTopK, expandTopK},
      {"index_top_k", selectIndexTopK, expandIndexTopK},
      {"merge_top_k", nullptr, expandMergeTopK},
      {"hc_mix", nullptr, expandHcMix},
      {"hc_close", nullptr, expandHcClose},
      {"hadamard", selectHadamard, expandHadamard},
  };
  return templates;
}

Value v4::tableRow(ImplicitLocOpBuilder &b, Value table, Value index) {
  auto type = cast<MemRefType>(table.getType());
  SmallVector<OpFoldResult> offsets(type.getRank(), b.getIndexAttr(0)), sizes,
      strides(type.getRank(), b.getIndexAttr(1));
  for (int64_t size : type.getShape())
    sizes.push_back(b.getIndexAttr(size));
  auto view = table.getDefiningOp<memref::SubViewOp>();
  if (view && view.getStaticSizes()[0] == view.getSourceType().getDimSize(0)) {
    table = view.getSource();
    offsets = view.getMixedOffsets();
  }
  offsets[0] = index;
  sizes[0] = b.getIndexAttr(1);
  // The cut without its leading dimension; to infer that would be ambiguous where another dimension is 1 too.
  auto cut =
      cast<MemRefType>(memref::SubViewOp::inferResultType(cast<MemRefType>(table.getType()), offsets, sizes, strides));
  auto layout = cast<StridedLayoutAttr>(cut.getLayout());
  layout = StridedLayoutAttr::get(b.getContext(), layout.getOffset(), layout.getStrides().drop_front());
  auto row = MemRefType::get(cut.getShape().drop_front(), cut.getElementType(), layout);
  return memref::SubViewOp::create(b, row, table, offsets, sizes, strides);
}

v4::KernelOp v4::replaceByKernel(Operation *op, StringRef name) {
  ImplicitLocOpBuilder b(op->getLoc(), op);
  SmallVector<Value> outs;
  for (Type result : op->getResultTypes()) {
    auto type = cast<RankedTensorType>(result);
    outs.push_back(tensor::EmptyOp::create(b, type.getShape(), type.getElementType()));
  }
  auto kernel = KernelOp::create(b, op->getResultTypes(), b.getStringAttr(name), op->getOperands(), outs);
  op->replaceAllUsesWith(kernel);
  return kernel;
}
