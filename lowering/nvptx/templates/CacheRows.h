// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Rows of a cache, widened into shared memory by the threads of a block.

#ifndef V4_LOWERING_NVPTX_TEMPLATES_CACHEROWS_H
#define V4_LOWERING_NVPTX_TEMPLATES_CACHEROWS_H

#include "lowering/nvptx/templates/BlockBuilder.h"

namespace mlir::v4 {

/// Columns of f32 in a row of a tile: those of the row, zeros up to whole vectors of four, and four more so that eight
/// rows use all banks.
int64_t tileStride(int64_t width);

/// Makes a tile of `rows` rows of `width` columns.
Value makeTile(BlockBuilder &b, int64_t rows, int64_t width);

/// Bytes of such a tile.
inline int64_t tileBytes(int64_t rows, int64_t width) {
  return rows * tileStride(width) * 4;
}

/// Four numbers of head `head` of a query [1, h, c] from column `column`, a multiple of four, on. Behind the last
/// column that one again, for products with zeros of a tile.
SmallVector<Value> loadQuery(BlockBuilder &b, Value query, Value head, Value column);
/// The same of a row of a tile.
SmallVector<Value> loadFour(BlockBuilder &b, Value tile, Value row, Value column);

/// A cache [N, c] of f32 or bf16, or of packed rows (CacheRow).
class CacheRows {
public:
  CacheRows(BlockBuilder &b, Value memory, int64_t width) : b(b), memory(memory), width(width) {}

  /// Columns that a thread widens at a time, and how often that is in a row.
  static int64_t unit(int64_t width) { return width % 8 == 0 ? 8 : 1; }
  static int64_t units(int64_t width) { return llvm::alignTo(width, 4) / unit(width); }

  /// Unit number `unit` of row `row` into row `to` of a tile of f32, or rounded to bf16. A unit behind the row's
  /// columns is 0.
  void widen(Value row, Value unit, Value tile, Value to);

private:
  /// `lanes` elements from `column` on, in loads as wide as rows are aligned.
  Value read(Value row, Value column, int64_t lanes);
  Value codes(const CacheRow &row, Value number, Value column, int64_t lanes);
  void put(Value numbers, Value tile, Value to, Value column, int64_t lanes);

  BlockBuilder &b;
  Value memory;
  int64_t width;
};

} // namespace mlir::v4

#endif
