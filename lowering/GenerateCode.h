// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// LLVM's optimiser and code generator.

#ifndef V4_LOWERING_GENERATECODE_H
#define V4_LOWERING_GENERATECODE_H

#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/CodeGen.h"
#include "llvm/Target/TargetMachine.h"
#include <optional>
#include <string>

namespace mlir::v4 {

/// Optimises `module`, which has the machine's triple and data layout, and generates an object file or assembly;
/// nothing when the machine has no such form.
std::optional<std::string> generateCode(llvm::Module &module, llvm::TargetMachine &machine, llvm::CodeGenFileType form,
                                        llvm::OptimizationLevel level = llvm::OptimizationLevel::O3,
                                        llvm::PipelineTuningOptions tuning = {});

} // namespace mlir::v4

#endif
