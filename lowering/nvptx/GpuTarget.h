// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The GPUs that kernels are compiled for.

#ifndef V4_LOWERING_NVPTX_GPUTARGET_H
#define V4_LOWERING_NVPTX_GPUTARGET_H

#include "mlir/Support/LLVM.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace mlir::v4 {

/// Threads of a block where no template asks for another number.
constexpr int64_t kBlockThreads = 128;
/// Bytes of shared memory that the temporaries of a workgroup may take; the largest of them move to a workspace until
/// the rest fits. What a kernel may have without asking the driver, on every chip.
constexpr int64_t kStaticSharedBytes = 48 << 10;
/// Most blocks of a phase whose workgroups need a workspace in global memory: each block has one and computes
/// workgroups one after another.
constexpr int64_t kWorkspaceBlocks = 128;
/// Where buffers are, as LLVM numbers the address spaces of NVPTX.
enum GpuMemory : unsigned { kGlobalMemory = 1, kSharedMemory = 3 };

/// A chip and what code for it may use.
struct GpuTarget {
  llvm::StringRef chip; // "sm_90a"
  /// Compute capability times 10: 80, 90, 100, 120.
  int capability;
  /// Whether the instructions of just this generation are there (the "a" of sm_90a).
  bool archSpecific;
  /// Lowest PTX version that serves the chip, times 10: what LLVM writes, and with it the oldest driver.
  int ptx;
  /// Most shared memory of a block, dynamic and static, in bytes.
  int64_t sharedBytes;
};

/// The chip of the targets `nvptx` and `emu` without one.
inline constexpr llvm::StringLiteral kDefaultChip = "sm_90a";

/// All chips, oldest first.
llvm::ArrayRef<GpuTarget> getGpuTargets();
/// The chip of a target name, `nvptx:sm_90a` or `emu:sm_90a` (`nvptx` alone means sm_90a); null for a CPU or an unknown
/// chip.
const GpuTarget *findGpuTarget(llvm::StringRef target);

} // namespace mlir::v4

#endif
