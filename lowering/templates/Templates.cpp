// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The list of kernel templates.

#include "lowering/templates/Templates.h"

using namespace mlir;

ArrayRef<v4::KernelTemplate> v4::getKernelTemplates() {
  static const KernelTemplate templates[] = {
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
