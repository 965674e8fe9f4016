// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Modules in the LLVM dialect to one x86-64 shared object without undefined symbols.

#ifndef V4_LOWERING_CPU_HOSTIMAGE_H
#define V4_LOWERING_CPU_HOSTIMAGE_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Passes/OptimizationLevel.h"
#include "llvm/Passes/PassBuilder.h"
#include <functional>
#include <memory>
#include <string>

namespace llvm {
class Module;
class TargetMachine;
} // namespace llvm

namespace mlir::v4 {

struct HostOptions {
  std::string cpu, features; // as LLVM spells them
  llvm::OptimizationLevel level = llvm::OptimizationLevel::O2;
  llvm::PipelineTuningOptions tuning;
  /// Completes a module's LLVM IR before it is optimised. Called from several threads.
  std::function<void(ModuleOp source, llvm::Module &code, const llvm::TargetMachine &machine)> prepare;
};

/// Null when LLVM lacks the x86-64 backend.
std::unique_ptr<llvm::TargetMachine> createHostMachine(llvm::StringRef cpu, llvm::StringRef features);

/// Compiles `modules`, which lie in `module`, in parallel and links the objects. Failures are diagnostics;
/// `environment` is set when a tool or the file system is at fault.
FailureOr<std::string> compileHostImage(ModuleOp module, llvm::ArrayRef<ModuleOp> modules, const HostOptions &options,
                                        bool &environment);

} // namespace mlir::v4

#endif
