// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The list of kernel templates of GPUs.

#include "lowering/nvptx/GpuTemplates.h"

#include "lowering/nvptx/templates/Products.h"

using namespace mlir;

ArrayRef<v4::GpuTemplate> v4::getGpuTemplates() {
  static const GpuTemplate templates[] = {
      {"gemv", productTileSizes, selectBlockGemv, expandBlockGemv},
      {"grouped_gemv", nullptr, selectGroupedBlockGemv, expandGroupedBlockGemv},
      {"gemm", nullptr, selectBlockGemm, expandBlockGemm},
      {"grouped_gemm", nullptr, selectGroupedBlockGemm, expandGroupedBlockGemm},
  };
  return templates;
}
