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

/// Rope.cpp: rotary embedding, with the threads that the phase has.
bool selectBlockRope(Operation *op, const GpuTarget &target);
LogicalResult expandBlockRope(KernelOp op, const GpuTarget &target);

/// Hadamard.cpp: Hadamard rotation, with the threads that the phase has.
bool selectBlockHadamard(Operation *op, const GpuTarget &target);
LogicalResult expandBlockHadamard(KernelOp op, const GpuTarget &target);

/// Most columns of a part of the products of hyper-connections, and rows that share a part.
constexpr int64_t kMixColumns = 512, kMixRows = 8;
/// Columns of a part for streams [S, n, width], or 0 where the templates do not support them.
int64_t mixColumns(int64_t streams, int64_t width);

/// HyperConnections.cpp: products of parts of the columns, what follows them, and the way back into the streams.
LogicalResult expandBlockHcMix(KernelOp op, const GpuTarget &target);
LogicalResult expandBlockHcClose(KernelOp op, const GpuTarget &target);
bool selectBlockHcPost(Operation *op, const GpuTarget &target);
LogicalResult expandBlockHcPost(KernelOp op, const GpuTarget &target);

/// Routing.cpp: the experts of a row, and the pairs of rows and experts by expert.
bool selectBlockRoute(Operation *op, const GpuTarget &target);
LogicalResult expandBlockRoute(KernelOp op, const GpuTarget &target);
LogicalResult expandBlockRouteHash(KernelOp op, const GpuTarget &target);
bool selectBlockDispatch(Operation *op, const GpuTarget &target);
LogicalResult expandBlockDispatch(KernelOp op, const GpuTarget &target);

/// Compress.cpp: compressed entries and the state of the compressor, for channels that SplitReductions cuts off.
LogicalResult expandBlockCompress(KernelOp op, const GpuTarget &target);
/// Channels of a block, or 0 where the template does not support blocks of `ratio` tokens.
int64_t compressedChannels(int64_t ratio, bool overlap, int64_t width);

/// AppendRows.cpp: rows into a ring or cache, packed where those are; the rows before a call and those of the call.
bool selectBlockAppend(Operation *op, const GpuTarget &target);
LogicalResult expandBlockAppend(KernelOp op, const GpuTarget &target);
LogicalResult expandBlockContext(KernelOp op, const GpuTarget &target);

/// Norms.cpp: root-mean-square norms and quantisation there and back, with the threads that the phase has.
bool selectBlockNorm(Operation *op, const GpuTarget &target);
bool selectBlockRoundTrip(Operation *op, const GpuTarget &target);
LogicalResult expandBlockNorm(KernelOp op, const GpuTarget &target);
LogicalResult expandBlockRoundTrip(KernelOp op, const GpuTarget &target);

/// The largest magnitude of the `numbers` of eight lanes, in all of them; not a number if one of them is none.
Value largestOfLanes(BlockBuilder &b, ArrayRef<Value> numbers);
/// Lanes that share a block of numbers with a scale.
constexpr int64_t kScaleLanes = 8;

/// Elements of a row that a thread takes at a time: 16 bytes of them, if whole numbers of those are in a row.
int64_t rowLanes(ShapedType type);
inline int64_t rowLanes(Value memory) { return rowLanes(cast<ShapedType>(memory.getType())); }
/// Rows [width] of a shape [.., width], and the indices of an element of one of them.
int64_t rowsOf(ShapedType type);
SmallVector<Value> placeOf(BlockBuilder &b, ShapedType type, Value row, Value column);

/// Checks the number of operands; the threads of such a kernel are those of its phase, or follow its sizes.
LogicalResult verifyOperands(KernelOp op, unsigned inputs, unsigned outputs);
/// The same, and the number of threads.
LogicalResult verifyBlockKernel(KernelOp op, unsigned inputs, unsigned outputs, int64_t threads = kRowThreads);
/// The same, and that results have one row.
LogicalResult verifyRowKernel(KernelOp op, unsigned inputs, unsigned outputs);

} // namespace mlir::v4

#endif
