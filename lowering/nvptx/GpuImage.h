// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels in NVVM to PTX and machine code of a GPU.

#ifndef V4_LOWERING_NVPTX_GPUIMAGE_H
#define V4_LOWERING_NVPTX_GPUIMAGE_H

#include "lowering/nvptx/GpuTarget.h"

#include "mlir/IR/BuiltinOps.h"
#include <string>

namespace mlir::v4 {

struct GpuImage {
  /// The kernels of all modules as one PTX text.
  std::string ptx;
  /// The same, assembled; empty where there is no ptxas.
  std::string cubin;
};

/// A hash of a kernel's NVVM module (stage `kernels`), from which PTX and the code of the emulator are made: 16
/// hexadecimal digits. Names count, locations do not.
std::string hashOfKernel(ModuleOp kernel);

/// Fails with a diagnostic for an op that the chip or the PTX version has not, that calls a library, or that v4c does
/// not know: LLVM ends the process for what it cannot select.
LogicalResult checkGpuKernels(ModuleOp kernel, const GpuTarget &target);

/// Compiles the `gpu.module` of every nested module with `v4.kernel` (stage `kernels`) in parallel. Failures are
/// diagnostics; `environment` is set when a tool or the file system is at fault. Assembles with the ptxas of V4_PTXAS,
/// of the path or of /usr/local/cuda, where there is one.
FailureOr<GpuImage> compileGpuImage(ModuleOp module, const GpuTarget &target, bool &environment);

} // namespace mlir::v4

#endif
