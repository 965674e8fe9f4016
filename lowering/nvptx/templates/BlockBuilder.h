// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Builds what every thread of a block does in a kernel template of GPUs.

#ifndef V4_LOWERING_NVPTX_TEMPLATES_BLOCKBUILDER_H
#define V4_LOWERING_NVPTX_TEMPLATES_BLOCKBUILDER_H

#include "lowering/nvptx/Buffers.h"
#include "lowering/nvptx/GpuTemplates.h"
#include "lowering/templates/KernelBuilder.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace mlir::v4 {

/// Threads of a warp.
constexpr int64_t kWarp = 32;

/// The arithmetic and control of KernelBuilder, with threads, shared memory and the instructions of a warp. A barrier
/// must be reached by all threads of the block: not in `when` or `loop` whose condition or bounds differ between
/// threads.
class BlockBuilder : public KernelBuilder {
public:
  explicit BlockBuilder(KernelOp op);

  // Threads.
  int64_t threads() const { return blockThreads; }
  int64_t warps() const { return blockThreads / kWarp; }
  /// Numbers as index: of the thread in the block, of its warp, of the lane in the warp.
  Value thread() { return threadId; }
  Value warp() { return warpId; }
  Value lane() { return laneId; }
  void barrier() { gpu::BarrierOp::create(*this); }
  /// The same for a warp. On sm_80 loads before it stay there; later chips move loads of read-only arguments across it.
  void warpBarrier();
  /// `body` for 0 .. count-1, the numbers dealt out to the threads one after another.
  void forThreads(Value count, function_ref<void(Value)> body) { loop(threadId, count, threads(), body); }
  void forThreads(int64_t count, function_ref<void(Value)> body);

  // Memory.
  /// Memory of the block, without contents.
  Value shared(ArrayRef<int64_t> shape, Type element);
  /// `lanes` elements of the last dimension that lie at a multiple of their size, or of 16 bytes. That is a promise.
  Value loadAligned(Value memory, ValueRange at, int64_t lanes);
  void storeAligned(Value value, Value memory, ValueRange at);
  /// Whether `lanes` elements at multiples of `lanes` lie so.
  static bool isAligned(Value memory, int64_t lanes);
  /// The same where `isAligned`; otherwise element by element. f32 is rounded where the memory holds bf16.
  Value loadRow(Value memory, ValueRange at, int64_t lanes, bool isAligned);
  void storeRow(Value value, Value memory, ValueRange at, bool isAligned);
  /// Starts to copy 16 bytes to shared memory, or the first `elements` of them and zeros. Both lie at multiples of 16.
  void copyAsync(Value from, ValueRange fromAt, Value to, ValueRange toAt, Value elements = {});
  /// Ends a set of copies of this thread; waits until at most `sets` later ones are under way.
  void commitCopies();
  void waitForCopies(int64_t sets);

  // Registers.
  /// a * b + c with one rounding.
  Value fma(Value a, Value b, Value c) { return LLVM::FMAOp::create(*this, a, b, c); }
  Value shiftLeft(Value value, int64_t bits);
  Value shiftRight(Value value, int64_t bits);
  Value mask(Value value, uint32_t bits);
  Value bitOr(Value a, Value b) { return arith::OrIOp::create(*this, a, b); }
  Value bitcast(Type type, Value value) { return arith::BitcastOp::create(*this, type, value); }
  Value rem(Value a, int64_t b);
  /// A vector of whole dwords as i32 values.
  SmallVector<Value> dwords(Value vector);
  Value zeroIfNot(Value condition, Value value);
  /// An f32 as unsigned i32 of the same order: zeros equal, NaN 0, which no number is.
  Value orderKey(Value number);

  // Warps.
  Value shuffleXor(Value value, int64_t mask);
  /// The value of lane `lane`, i32.
  Value shuffleFrom(Value value, Value lane);
  /// Sum and largest value over groups of `lanes` lanes, in all of them; the order of the sum is fixed.
  Value warpSum(Value value, int64_t lanes = kWarp);
  Value warpMax(Value value, int64_t lanes = kWarp);
  /// Sum of the i32 of this lane and those below it.
  Value warpPrefix(Value value);
  /// The largest and the least i32 of a warp, unsigned.
  Value warpMost(Value value);
  Value warpLeast(Value value);
  /// A bit for each lane of the warp: those where `flag` is set, those with the same i32, those below this one.
  Value ballot(Value flag);
  Value equalLanes(Value value);
  Value lanesBelow();
  Value count(Value lanes) { return math::CtPopOp::create(*this, lanes); }
  /// D = A * B + C of m16n8k16 with bf16 pairs (i32) and f32 sums: 4, 2 and 4 registers.
  SmallVector<Value> mma(ArrayRef<Value> a, ArrayRef<Value> b, ArrayRef<Value> c);

private:
  int64_t blockThreads;
  Value threadId, warpId, laneId;
};

/// Makes a kernel one for blocks of `threads`.
void setThreads(KernelOp kernel, int64_t threads);
/// replaceByKernel() for such blocks.
KernelOp replaceByBlockKernel(Operation *op, llvm::StringRef name, int64_t threads);

} // namespace mlir::v4

#endif
