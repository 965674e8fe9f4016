// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Stage `kernels` to the bytes of a module file.

#ifndef V4_LOWERING_EMITMODULE_H
#define V4_LOWERING_EMITMODULE_H

#include "lowering/cpu/CpuImage.h"

#include "mlir/IR/BuiltinOps.h"
#include <string>
#include <vector>

namespace mlir::v4 {

/// A graph lowered for one target, to the end of stage `kernels`.
struct EmitTarget {
  ModuleOp module;
  /// `cpu`, or `nvptx:CHIP` or `emu:CHIP`.
  std::string name;
  /// Of `cpu`.
  CpuTarget cpu;
};

struct EmitOptions {
  /// Options in canonical spelling, for the provenance.
  std::vector<std::string> options;
  std::string plan, numerics, kv;
};

/// Compiles the kernels, flattens the launches of every entry and serialises (docs/module-format.md). All targets are
/// lowered from one graph; there is at least one.
FailureOr<std::string> emitModule(ArrayRef<EmitTarget> targets, const EmitOptions &options, bool &environment);

} // namespace mlir::v4

#endif
