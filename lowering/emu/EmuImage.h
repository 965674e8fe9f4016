// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GPU kernels to one ELF image that the emulator runs.

#ifndef V4_LOWERING_EMU_EMUIMAGE_H
#define V4_LOWERING_EMU_EMUIMAGE_H

#include "mlir/IR/BuiltinOps.h"
#include <string>
#include <vector>

namespace mlir::v4 {

/// Symbols of the code between v4-lower-to-emulator and compileEmuImage.
inline constexpr llvm::StringLiteral kEmuSites = "v4_emu_sites", kEmuServicePrefix = "v4_emu_";

struct EmuImage {
  std::string elf;
  /// Instruction sets that the code uses, by LLVM's names (those of x86-64-v3).
  std::vector<std::string> features;
};

/// Compiles every `gpu.module` of NVVM kernels that lies in `module` or in a module nested in it, in parallel, and links the
/// objects. `module` stays as it is. The symbols are those of the kernels, of the type `v4_emu_entry` (emulator/v4emu.h). No
/// symbol stays undefined. Failures are diagnostics; `environment` is set when a tool or the file system is at fault.
FailureOr<EmuImage> compileEmuImage(ModuleOp module, bool &environment);

} // namespace mlir::v4

#endif
