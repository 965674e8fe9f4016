// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The list of kernel templates.

#include "lowering/templates/Templates.h"

using namespace mlir;

ArrayRef<v4::KernelTemplate> v4::getKernelTemplates() {
  return {};
}
