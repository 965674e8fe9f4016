// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Passes of the lowering.

#ifndef V4_LOWERING_PASSES_H
#define V4_LOWERING_PASSES_H

#include "dialects/V4.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Pass/Pass.h"

namespace mlir::v4 {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

#endif
