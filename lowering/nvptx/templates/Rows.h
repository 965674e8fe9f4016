// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Templates of GPUs that compute one row, or part of one, with a block.

#ifndef V4_LOWERING_NVPTX_TEMPLATES_ROWS_H
#define V4_LOWERING_NVPTX_TEMPLATES_ROWS_H

#include "lowering/nvptx/templates/BlockBuilder.h"

namespace mlir::v4 {

/// Threads of the blocks of these templates: one for each bin of a digit.
constexpr int64_t kRowThreads = 256;

/// Tiles of ops whose rows are cut: heads of attention.
std::optional<SmallVector<int64_t>> rowTileSizes(TileInterface op, const GpuTarget &target);

/// Whether the memory of a block is enough for a row of the op, with the order that the template has.
bool fitsBlock(SparseAttentionOp op);
bool fitsBlock(IndexTopKOp op);

/// Attention.cpp: attention of some heads of a row, or of a part of its keys, and the combination of the parts.
bool selectBlockAttention(Operation *op, const GpuTarget &target);
LogicalResult expandBlockAttention(KernelOp op, const GpuTarget &target);
LogicalResult expandBlockCombineAttention(KernelOp op, const GpuTarget &target);

/// TopK.cpp: the best of a row of scores, or of index keys, or of the candidates of parts.
bool selectBlockTopK(Operation *op, const GpuTarget &target);
bool selectBlockIndexTopK(Operation *op, const GpuTarget &target);
LogicalResult expandBlockTopK(KernelOp op, const GpuTarget &target);
LogicalResult expandBlockIndexTopK(KernelOp op, const GpuTarget &target);
LogicalResult expandBlockMergeTopK(KernelOp op, const GpuTarget &target);

/// Hadamard.cpp.
bool selectBlockHadamard(Operation *op, const GpuTarget &target);
LogicalResult expandBlockHadamard(KernelOp op, const GpuTarget &target);

/// Checks the number of operands and threads, and that operands are buffers of one row.
LogicalResult verifyRowKernel(KernelOp op, unsigned inputs, unsigned outputs);

} // namespace mlir::v4

#endif
