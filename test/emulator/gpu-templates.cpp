// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Prints the names of the kernel templates of GPUs, one a line.

#include "lowering/nvptx/GpuTemplates.h"

int main() {
  for (const mlir::v4::GpuTemplate &entry : mlir::v4::getGpuTemplates())
    llvm::outs() << entry.name << '\n';
  return 0;
}
