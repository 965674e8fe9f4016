// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The list of kernel templates of GPUs.

#include "lowering/nvptx/GpuTemplates.h"

using namespace mlir;

ArrayRef<v4::GpuTemplate> v4::getGpuTemplates() {
  return {};
}
