// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the templates of products share.

#ifndef V4_LOWERING_NVPTX_TEMPLATES_PRODUCTS_H
#define V4_LOWERING_NVPTX_TEMPLATES_PRODUCTS_H

#include "lowering/nvptx/templates/BlockWeight.h"

namespace mlir::v4 {

/// Rows 0 .. count-1 of a product: where each lies in the activations and in the result.
struct ProductRows {
  Value count;
  /// The largest value of `count`.
  int64_t most;
  function_ref<Value(Value)> input, output;
};

/// Operands of a product: `v4.linear` on a tile of one group of outputs, or `v4.grouped_linear`.
class Products : public BlockBuilder {
public:
  explicit Products(KernelOp op);

  /// Calls `product` for the rows of a `v4.linear`, at most `most` at a time.
  void linear(int64_t most);
  /// Calls it for the rows of every active expert of a `v4.grouped_linear`, at most `most` at a time.
  void grouped(int64_t most);

protected:
  ~Products() = default;
  /// All threads of the block; the rows and their number are the same for all of them.
  virtual void product(const ProductRows &rows, BlockWeight &weight) = 0;

  /// Experts that may be active in a `v4.grouped_linear`.
  int64_t countExperts();
  Type elementOf(Value memory) { return cast<MemRefType>(memory.getType()).getElementType(); }
  /// Eight numbers of a row of x from column `column` on, as vector<8xbf16>; zeros behind the last column when they are
  /// not `whole`.
  Value loadInput(Value row, Value column, bool isWhole);

  Value x, y;
  int64_t inner;
  /// Whether eight numbers of a row of x lie at a multiple of 16 bytes.
  bool isAligned;
};

/// Whether a kernel multiplies bf16 rows with a weight that is exact in bf16: products m16n8k16. Others are f32
/// multiply-adds.
bool usesTensorCores(Type input, Type weight);

/// verifyProduct, and the number of threads.
LogicalResult verifyBlockProduct(KernelOp op, bool table);

/// Threads of a block of products.
constexpr int64_t kProductThreads = 256;
/// Most rows of a call for which every product reads the weight just once.
constexpr int64_t kMostGemvRows = 16;
/// Most pairs of groups that a block multiplies with many rows at a time: more would leave a warp more rows than it has
/// registers for.
constexpr int64_t kMostPairs = 2;
/// Groups of rows of a weight that a workgroup multiplies.
std::optional<SmallVector<int64_t>> productTileSizes(TileInterface op, const GpuTarget &target);

/// Gemv.cpp.
bool selectBlockGemv(Operation *op, const GpuTarget &target);
bool selectGroupedBlockGemv(Operation *op, const GpuTarget &target);
LogicalResult expandBlockGemv(KernelOp op, const GpuTarget &target);
LogicalResult expandGroupedBlockGemv(KernelOp op, const GpuTarget &target);

/// Gemm.cpp.
bool selectBlockGemm(Operation *op, const GpuTarget &target);
bool selectGroupedBlockGemm(Operation *op, const GpuTarget &target);
LogicalResult expandBlockGemm(KernelOp op, const GpuTarget &target);
LogicalResult expandGroupedBlockGemm(KernelOp op, const GpuTarget &target);

} // namespace mlir::v4

#endif
