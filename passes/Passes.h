// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Target-independent passes of v4c: the one header of this folder.

#ifndef V4_PASSES_PASSES_H
#define V4_PASSES_PASSES_H

#include "dialects/V4.h"

#include "mlir/Pass/Pass.h"

namespace mlir::v4 {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "passes/Passes.h.inc"

/// The names of the fusion strategies, in the order of `--help`.
ArrayRef<StringRef> getFusionStrategies();
} // namespace mlir::v4

#endif
