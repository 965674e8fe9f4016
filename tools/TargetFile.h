// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Target files: what `v4-bench --probe --write-target=FILE` measured on a machine.

#ifndef V4_TOOLS_TARGETFILE_H
#define V4_TOOLS_TARGETFILE_H

#include "mlir/IR/MLIRContext.h"

namespace mlir::v4 {

/// As far as the compiler asks.
struct MachineFigures {
  /// Whether dot products of bf16 pairs do more operations per second than fp32 multiply-adds.
  bool fastBf16Dot = false;
};

/// Fails with a diagnostic that names the file and the place.
FailureOr<MachineFigures> readTargetFile(MLIRContext *context, llvm::StringRef path);

} // namespace mlir::v4

#endif
