// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels in the LLVM dialect to one ELF image for x86-64.

#ifndef V4_LOWERING_CPU_CPUIMAGE_H
#define V4_LOWERING_CPU_CPUIMAGE_H

#include "mlir/IR/BuiltinOps.h"
#include <optional>
#include <string>
#include <vector>

namespace mlir::v4 {

/// A processor to compile for.
struct CpuTarget {
  std::string cpu;      // "x86-64-v3", "znver5"
  std::string features; // "+avx2,-sse4a": empty means what the name implies
  /// Whether dot products of bf16 pairs outrun fp32 multiply-adds, where that was measured.
  std::optional<bool> fastBf16Dot;

  /// `name` is `native` or an LLVM processor name. Fails with a diagnostic that lists what is accepted.
  static FailureOr<CpuTarget> parse(MLIRContext *context, llvm::StringRef name);

  /// Instruction sets that code for it may use, by LLVM's feature names, sorted.
  std::vector<std::string> instructionSets() const;

  /// What kernel templates may know of it: its instruction sets, and `fast-bf16-dot` where it has dot products of bf16
  /// pairs that outrun fp32 multiply-adds. Where that was not measured: AMD since Zen 4, whose dots take no longer than
  /// a multiply-add and do twice the work; Intel's take twice as long and do no more.
  std::vector<std::string> templateFeatures() const;
};

struct CpuImage {
  std::string elf;
  /// CpuTarget::instructionSets().
  std::vector<std::string> features;
};

/// Compiles every nested module with `v4.kernel` (stage `kernels`) in parallel and links the objects. The symbols are
/// those of the functions with `v4.grid`, of the type `void(void *const *bindings, uint32_t workgroup)`. No symbol
/// stays undefined. Failures are diagnostics; `environment` is set when a tool or the file system is at fault.
FailureOr<CpuImage> compileCpuImage(ModuleOp module, const CpuTarget &target, bool &environment);

} // namespace mlir::v4

#endif
