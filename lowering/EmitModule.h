// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Stage `kernels` to the bytes of a module file.

#ifndef V4_LOWERING_EMITMODULE_H
#define V4_LOWERING_EMITMODULE_H

#include "lowering/cpu/CpuImage.h"

#include "mlir/IR/BuiltinOps.h"
#include <string>
#include <vector>

namespace mlir::v4 {

struct EmitOptions {
  CpuTarget cpu;
  /// Options in canonical spelling, for the provenance.
  std::vector<std::string> options;
  std::string plan, numerics, kv;
};

/// Compiles the kernels, flattens the launches of every entry and serialises (docs/module-format.md).
FailureOr<std::string> emitModule(ModuleOp module, const EmitOptions &options, bool &environment);

} // namespace mlir::v4

#endif
