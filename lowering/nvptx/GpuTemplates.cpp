// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The list of kernel templates of GPUs.

#include "lowering/nvptx/GpuTemplates.h"

#include "lowering/nvptx/templates/Products.h"
#include "lowering/nvptx/templates/Rows.h"

using namespace mlir;

ArrayRef<v4::GpuTemplate> v4::getGpuTemplates() {
  static const GpuTemplate templates[] = {
      {"gemv", productTileSizes, selectBlockGemv, expandBlockGemv},
      {"grouped_gemv", nullptr, selectGroupedBlockGemv, expandGroupedBlockGemv},
      {"gemm", nullptr, selectBlockGemm, expandBlockGemm},
      {"grouped_gemm", nullptr, selectGroupedBlockGemm, expandGroupedBlockGemm},
      {"attention", rowTileSizes, selectBlockAttention, expandBlockAttention},
      {"combine_attention", nullptr, nullptr, expandBlockCombineAttention},
      {"top_k", nullptr, selectBlockTopK, expandBlockTopK},
      {"index_top_k", nullptr, selectBlockIndexTopK, expandBlockIndexTopK},
      {"merge_top_k", nullptr, nullptr, expandBlockMergeTopK},
      {"rope", nullptr, selectBlockRope, expandBlockRope},
      {"hadamard", nullptr, selectBlockHadamard, expandBlockHadamard},
      {"hc_mix", nullptr, nullptr, expandBlockHcMix},
      {"hc_close", nullptr, nullptr, expandBlockHcClose},
      {"hc_post", nullptr, selectBlockHcPost, expandBlockHcPost},
      {"route", nullptr, selectBlockRoute, expandBlockRoute},
      {"route_hash", nullptr, nullptr, expandBlockRouteHash},
      {"dispatch", nullptr, selectBlockDispatch, expandBlockDispatch},
      {"compress", nullptr, nullptr, expandBlockCompress},
      {"append_rows", nullptr, selectBlockAppend, expandBlockAppend},
      {"window_context", nullptr, nullptr, expandBlockContext},
      {"rms_norm", nullptr, selectBlockNorm, expandBlockNorm},
      {"round_trip", nullptr, selectBlockRoundTrip, expandBlockRoundTrip},
  };
  return templates;
}
