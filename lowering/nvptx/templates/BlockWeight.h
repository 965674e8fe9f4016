// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Weights in the layout rows16 as the lanes of a warp read them.

#ifndef V4_LOWERING_NVPTX_TEMPLATES_BLOCKWEIGHT_H
#define V4_LOWERING_NVPTX_TEMPLATES_BLOCKWEIGHT_H

#include "lowering/nvptx/templates/BlockBuilder.h"
#include "lowering/templates/PackedWeight.h"

namespace mlir::v4 {

/// A warp multiplies 32 rows of a weight, two groups of 16, at a time. A line of a group (64 bytes: one dword of K of
/// each row) is four loads of 16 bytes, and each is four rows of one dword: what one lane needs, so nothing is
/// exchanged between lanes. Lane 4g + t holds rows 4 (g % 4) .. of group g / 4, of the lines that t says. In a product
/// m16n8k16 it is row g of A with its first row and row g + 8 with its second one, or with the third and the fourth in
/// a second product; the order of K within a tile is the weight's own, and x follows it.
class BlockWeight {
public:
  using Format = PackedWeight::Format;

  /// Elements of K of a tile: one scale block of fp4.
  static constexpr int64_t kTile = 32;
  /// Rows of a warp.
  static constexpr int64_t kRows = 2 * kPackedRows;

  /// `weight` [N/16, D, 16, e] and `scale` (null for f32 and bf16) as PackedWeight has them.
  BlockWeight(BlockBuilder &b, Value weight, Value scale);

  Format getFormat() const { return format; }
  int64_t getGroups() const { return groups; }
  int64_t getInner() const { return lines * perLine; }
  int64_t getPerLine() const { return perLine; }
  bool isScaled() const { return static_cast<bool>(scales); }
  /// Lines of a tile that a lane loads.
  int64_t linesPerLane() const { return kTile / perLine / 4; }
  /// Tiles that share a scale.
  int64_t tilesPerScale() const { return format == Format::E4M3 ? kByteBlock / kTile : 1; }
  /// Tiles that a warp multiplies in one turn: whole scale blocks.
  int64_t tilesPerTurn() const { return format == Format::BF16 ? 4 : 8; }
  /// Of these, tiles that are loaded before the first is used, with as many times eight rows of x as `sets` says: 16
  /// loads and more, which hide the latency of the memory, in registers that a block of 256 threads has.
  int64_t tilesInFlight(int64_t sets) const { return format == Format::E2M1 && sets > 1 ? 4 : tilesPerTurn(); }

  /// Chooses the rows of `pair`, groups 2 pair and 2 pair + 1. With an odd number of groups the last pair's second half
  /// repeats the first.
  void setPair(Value pair);
  /// The row of the result that register `row` (0 .. 3) of this lane belongs to, and whether it is one.
  Value resultRow(int64_t row);

  /// The dwords of a tile: of each line of the lane four rows. `isWhole` when all lines exist, else missing ones are
  /// zeros.
  SmallVector<Value> load(Value tile, bool isWhole);
  /// Multiplicands A: for either half of the rows, then either half of K, four registers of bf16 pairs. Exact; without
  /// the scales.
  SmallVector<SmallVector<Value>> multiplicands(ArrayRef<Value> loaded);
  /// The other multiplicand's registers, for either half of K, of the eight bf16 numbers of x that this lane holds:
  /// from 8 t on in a tile.
  SmallVector<SmallVector<Value>> follow(Value x);

  /// Four dwords of line `line`, and the same widened to f32: [row][element of K].
  SmallVector<Value> loadLine(Value line);
  SmallVector<SmallVector<Value>> widen(ArrayRef<Value> dwords);

  /// The codes of scales `block` of this lane's four rows, as one value; null without scales.
  Value loadScales(Value block);
  /// Scales of the four rows as f32, and as pairs of a bf16 number for products with multiplicands, which are exact
  /// too. 2^-127 may become zero: what it scales is below all normal numbers.
  SmallVector<Value> scalesOf(Value codes);
  SmallVector<Value> scalePairsOf(Value codes);
  /// Multiplicands times their scales.
  void scale(SmallVector<SmallVector<Value>> &multiplicands, ArrayRef<Value> scalePairs);

  /// t of this lane.
  Value part() { return t; }

private:
  SmallVector<Value> pairsOf(Value dword);

  BlockBuilder &b;
  Value view, scales;
  Format format;
  int64_t groups, lines, perLine;
  Value g, t, quad, group, groupInPair;
};

} // namespace mlir::v4

#endif
