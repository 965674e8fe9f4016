// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernel templates of GPUs: code for tiles whose best form no distribution of their decomposition over threads makes.

#ifndef V4_LOWERING_NVPTX_GPUTEMPLATES_H
#define V4_LOWERING_NVPTX_GPUTEMPLATES_H

#include "dialects/V4.h"
#include "lowering/nvptx/GpuTarget.h"

namespace mlir::v4 {

/// As KernelTemplate (lowering/templates/Templates.h), for a block of threads instead of one.
///
/// `expand` builds what every thread of the block does, in front of a `v4.kernel` on memrefs: thread numbers are
/// `gpu.thread_id`, shared memory is `memref.alloca` of memory space kSharedMemory anywhere in the code (it is placed
/// by v4-outline-gpu-kernels, without initial contents, aligned as the alloca says), other memrefs need no memory
/// space. All threads of the block run the code; a barrier stands in front of it when it reads what was written before
/// or the other way round, and behind it likewise, so that none is needed at its ends.
///
/// `select` may set attribute `threads` on the `v4.kernel` (i64, threads of a block, a multiple of 32; kernels of one
/// phase must agree; without it those of the phase, which the op has at `expand`).
struct GpuTemplate {
  /// The name of its `v4.kernel` ops.
  llvm::StringRef name;
  /// Sizes of the tiles that the template computes, for the loops of `op` before it is cut; nothing where it does not
  /// support the op, so that the op's own sizes hold. May be null.
  std::optional<llvm::SmallVector<int64_t>> (*tileSizes)(TileInterface op, const GpuTarget &target);
  /// Replaces `op`, a tile, by a `v4.kernel`; false when the template does not support its operands. May be null.
  bool (*select)(Operation *op, const GpuTarget &target);
  LogicalResult (*expand)(KernelOp op, const GpuTarget &target);
};

/// All templates of GPUs; the first one that supports an op is taken.
llvm::ArrayRef<GpuTemplate> getGpuTemplates();

} // namespace mlir::v4

#endif
