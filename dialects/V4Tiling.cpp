// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The loops of every op (TileInterface): which loop walks which dimension of which operand and result.

#include "dialects/V4.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include <numeric>

using namespace mlir;
using namespace mlir::v4;

using Sizes = SmallVector<int64_t>;
using Dims = SmallVector<TileDim>;

int64_t v4::largestDivisor(int64_t count, int64_t limit) {
  for (int64_t size = std::min(count, limit); size > 1; --size)
    if (count % size == 0)
      return size;
  return 1;
}

/// Tile limits. A row of a tile is one token; they bound the work of a workgroup from below, so that starting it is
/// cheap, and the temporaries of a workgroup from above (they live on its stack).
constexpr int64_t kLinearRows = 32, kPackedTile = 64, kWideTile = 256, kLeastTiles = 16, kFewRows = 16,
                  kHeads = 16, kKeys = 64, kColumns = 1024;

static ArrayRef<int64_t> shapeOf(Value value) { return cast<RankedTensorType>(value.getType()).getShape(); }

/// `loops` leading dimensions walked by loops 0, 1, ..; the others whole.
static Dims leading(Value value, int loops) {
  Dims dims(cast<RankedTensorType>(value.getType()).getRank());
  for (int i = 0; i < loops; ++i)
    dims[i].loop = i;
  return dims;
}

static Dims whole(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return Dims(type ? type.getRank() : 0);
}

/// Whole, of the slot that loop 0 is at when there is a dimension for the slots in front of `rank` others.
static Dims ofSlot(Value value, size_t rank) {
  Dims dims = whole(value);
  if (dims.size() > rank)
    dims[0] = TileDim{.loop = 0, .dropped = true};
  return dims;
}

/// Rows of a weight per tile. With a scale per 128 rows a tile must not cross a block.
static int64_t weightRows(int64_t rows, Type element) {
  if (isa<Float8E4M3FNType>(element) && rows > 128)
    rows = std::gcd(rows, int64_t(128));
  return largestDivisor(rows, kLinearRows);
}

//===----------------------------------------------------------------------===//
// Ops over rows: [S, ..] or [S, h, ..], every operand row by row.
//===----------------------------------------------------------------------===//

#define V4_ROW_OP(OP, FIRST)                                                                                           \
  Sizes OP::getLoopSizes() { return {shapeOf(FIRST())[0]}; }                                                           \
  Sizes OP::getTileSizes() { return {1}; }                                                                             \
  Dims OP::getResultTile(unsigned result) { return leading(getOperation()->getResult(result), 1); }

V4_ROW_OP(EmbedOp, getIds)
Dims EmbedOp::getOperandTile(OpOperand &operand) {
  return &operand == &getIdsMutable() ? leading(getIds(), 1) : whole(operand.get());
}

V4_ROW_OP(RopeTableOp, getPositions)
Dims RopeTableOp::getOperandTile(OpOperand &operand) { return leading(operand.get(), 1); }

V4_ROW_OP(QuantizeOp, getInput)
Dims QuantizeOp::getOperandTile(OpOperand &operand) { return leading(operand.get(), 1); }

V4_ROW_OP(DequantizeOp, getCodes)
Dims DequantizeOp::getOperandTile(OpOperand &operand) { return leading(operand.get(), 1); }

V4_ROW_OP(HcExpandOp, getInput)
Dims HcExpandOp::getOperandTile(OpOperand &operand) { return leading(operand.get(), 1); }

V4_ROW_OP(HcPreOp, getStreams)
Dims HcPreOp::getOperandTile(OpOperand &operand) {
  return &operand == &getStreamsMutable() ? leading(operand.get(), 1) : whole(operand.get());
}

V4_ROW_OP(SinkhornOp, getInput)
Dims SinkhornOp::getOperandTile(OpOperand &operand) { return leading(operand.get(), 1); }

V4_ROW_OP(HcHeadOp, getStreams)
Dims HcHeadOp::getOperandTile(OpOperand &operand) {
  return &operand == &getStreamsMutable() ? leading(operand.get(), 1) : whole(operand.get());
}

V4_ROW_OP(TopKOp, getScores)
Dims TopKOp::getOperandTile(OpOperand &operand) { return leading(operand.get(), 1); }

V4_ROW_OP(IndexTopKOp, getQuery)
Dims IndexTopKOp::getOperandTile(OpOperand &operand) {
  return &operand == &getKeysMutable() ? ofSlot(operand.get(), 2) : leading(operand.get(), 1);
}

V4_ROW_OP(RouteOp, getLogits)
Dims RouteOp::getOperandTile(OpOperand &operand) {
  return &operand == &getLogitsMutable() ? leading(operand.get(), 1) : whole(operand.get());
}

V4_ROW_OP(RouteHashOp, getLogits)
Dims RouteHashOp::getOperandTile(OpOperand &operand) {
  return &operand == &getTableMutable() ? whole(operand.get()) : leading(operand.get(), 1);
}

V4_ROW_OP(CombineOp, getPairs)
Dims CombineOp::getOperandTile(OpOperand &operand) {
  return &operand == &getRoutedMutable() ? whole(operand.get()) : leading(operand.get(), 1);
}
#undef V4_ROW_OP

// Ops over rows, or over rows and heads when the input has rank 3.
#define V4_HEAD_OP(OP)                                                                                                 \
  Sizes OP::getLoopSizes() { return Sizes(shapeOf(getInput()).drop_back()); }                                          \
  Sizes OP::getTileSizes() {                                                                                           \
    Sizes sizes = getLoopSizes();                                                                                      \
    sizes[0] = 1;                                                                                                      \
    if (sizes.size() > 1)                                                                                              \
      sizes[1] = largestDivisor(sizes[1], kHeads);                                                                     \
    return sizes;                                                                                                      \
  }                                                                                                                    \
  Dims OP::getResultTile(unsigned) { return leading(getResult(), shapeOf(getInput()).size() - 1); }

V4_HEAD_OP(RmsNormOp)
Dims RmsNormOp::getOperandTile(OpOperand &operand) {
  return &operand == &getInputMutable() ? getResultTile(0) : whole(operand.get());
}

V4_HEAD_OP(RopeOp)
Dims RopeOp::getOperandTile(OpOperand &operand) {
  return &operand == &getInputMutable() ? getResultTile(0) : leading(operand.get(), 1);
}

V4_HEAD_OP(HadamardOp)
Dims HadamardOp::getOperandTile(OpOperand &operand) { return getResultTile(0); }

V4_HEAD_OP(RoundTripOp)
Dims RoundTripOp::getOperandTile(OpOperand &operand) { return getResultTile(0); }
#undef V4_HEAD_OP

//===----------------------------------------------------------------------===//
// Linears: the rows of the weight are cut, every tile sees all tokens.
//===----------------------------------------------------------------------===//

/// Rows of the last dimension but one, or of the packed groups.
static int64_t outputRows(Value weight, int64_t lead) {
  return shapeOf(weight)[lead] * (isPackedWeight(weight, lead) ? kPackedRows : 1);
}

/// Size of a tile of the weight's rows. Every tile of a product of many bf16 rows may widen them: few tiles then, but
/// at least kLeastTiles of all `groups`.
static int64_t rowTile(Value input, Value weight, int64_t lead, int64_t groups = 1) {
  int64_t rows = outputRows(weight, lead);
  Type element = cast<RankedTensorType>(weight.getType()).getElementType();
  if (!isPackedWeight(weight, lead))
    return weightRows(rows, element);
  int64_t size = kPackedTile;
  if (cast<RankedTensorType>(input.getType()).getElementType().isBF16() && shapeOf(input)[0] > kFewRows)
    while (size < kWideTile && groups * rows >= 2 * size * kLeastTiles)
      size *= 2;
  size = kPackedRows * largestDivisor(rows / kPackedRows, size / kPackedRows);
  // With a scale per 128 rows a tile must not cross a block.
  if (isa<Float8E4M3FNType>(element) && rows > kByteBlock && size % kByteBlock)
    size = kPackedRows * largestDivisor(std::gcd(rows, kByteBlock) / kPackedRows, size / kPackedRows);
  return size;
}

/// Loop steps per element of the dimension that holds the weight's rows, in the weight and in its scale.
static int64_t weightStep(Value weight, int64_t lead) { return isPackedWeight(weight, lead) ? kPackedRows : 1; }
static int64_t scaleStep(Value weight, int64_t lead) {
  if (isa<Float8E4M3FNType>(cast<RankedTensorType>(weight.getType()).getElementType()))
    return kByteBlock;
  return weightStep(weight, lead);
}

Sizes LinearOp::getLoopSizes() {
  int64_t lead = getInput().getType().getRank() - 2;
  Sizes sizes(shapeOf(getWeight()).take_front(lead));
  sizes.push_back(outputRows(getWeight(), lead));
  return sizes;
}
Sizes LinearOp::getTileSizes() {
  int64_t lead = getInput().getType().getRank() - 2;
  Sizes sizes(lead, 1);
  sizes.push_back(rowTile(getInput(), getWeight(), lead, lead ? shapeOf(getWeight())[0] : 1));
  return sizes;
}
Dims LinearOp::getOperandTile(OpOperand &operand) {
  int64_t lead = getInput().getType().getRank() - 2;
  Dims dims = whole(operand.get());
  if (&operand == &getInputMutable()) {
    if (lead)
      dims[1].loop = 0;
    return dims;
  }
  dims = leading(operand.get(), lead + 1);
  dims[lead].step = &operand == &getWeightMutable() ? weightStep(getWeight(), lead) : scaleStep(getWeight(), lead);
  return dims;
}
Dims LinearOp::getResultTile(unsigned) {
  return getLoopSizes().size() == 2 ? Dims{TileDim{}, TileDim{0}, TileDim{1}} : Dims{TileDim{}, TileDim{0}};
}

Sizes GroupedLinearOp::getLoopSizes() { return {outputRows(getWeight(), 1)}; }
Sizes GroupedLinearOp::getTileSizes() { return {rowTile(getInput(), getWeight(), 1)}; }
Dims GroupedLinearOp::getOperandTile(OpOperand &operand) {
  Dims dims = whole(operand.get());
  if (&operand == &getWeightMutable())
    dims[1] = TileDim{0, weightStep(getWeight(), 1)};
  else if (operand.get() == getScale())
    dims[1] = TileDim{0, scaleStep(getWeight(), 1)};
  return dims;
}
Dims GroupedLinearOp::getResultTile(unsigned) { return {TileDim{}, TileDim{0}}; }
bool GroupedLinearOp::isTableOperand(OpOperand &operand) {
  return &operand == &getWeightMutable() || operand.get() == getScale();
}

//===----------------------------------------------------------------------===//
// Ops over rows and columns, keys or heads.
//===----------------------------------------------------------------------===//

Sizes HcPostOp::getLoopSizes() { return Sizes(shapeOf(getInput())); }
Sizes HcPostOp::getTileSizes() { return {1, largestDivisor(getLoopSizes()[1], kColumns)}; }
Dims HcPostOp::getOperandTile(OpOperand &operand) {
  if (&operand == &getInputMutable())
    return leading(operand.get(), 2);
  return &operand == &getStreamsMutable() ? getResultTile(0) : leading(operand.get(), 1);
}
Dims HcPostOp::getResultTile(unsigned) { return {TileDim{0}, TileDim{}, TileDim{1}}; }

Sizes SwigluOp::getLoopSizes() { return Sizes(shapeOf(getGate())); }
Sizes SwigluOp::getTileSizes() { return {1, largestDivisor(getLoopSizes()[1], kColumns)}; }
Dims SwigluOp::getOperandTile(OpOperand &operand) {
  return leading(operand.get(), cast<RankedTensorType>(operand.get().getType()).getRank());
}
Dims SwigluOp::getResultTile(unsigned) { return leading(getResult(), 2); }

Sizes IndexScoresOp::getLoopSizes() { return Sizes(shapeOf(getResult())); }
Sizes IndexScoresOp::getTileSizes() { return {1, largestDivisor(getLoopSizes()[1], kKeys)}; }
Dims IndexScoresOp::getOperandTile(OpOperand &operand) {
  if (&operand == &getKeysMutable()) {
    Dims dims = ofSlot(operand.get(), 2);
    dims[dims.size() - 2].loop = 1;
    return dims;
  }
  return operand.get() == getFirstKey() ? Dims{} : leading(operand.get(), 1);
}
Dims IndexScoresOp::getResultTile(unsigned) { return leading(getResult(), 2); }
void IndexScoresOp::adjustTile(OpBuilder &builder, ArrayRef<OpFoldResult> offsets) {
  Value first = getValueOrCreateConstantIndexOp(builder, getLoc(), offsets[1]);
  if (Value outer = getFirstKey())
    first = arith::AddIOp::create(builder, getLoc(), outer, first);
  getFirstKeyMutable().assign(first);
}

Sizes SparseAttentionOp::getLoopSizes() { return Sizes(shapeOf(getQuery()).take_front(2)); }
// All heads of a row share its keys.
Sizes SparseAttentionOp::getTileSizes() { return {1, getLoopSizes()[1]}; }
Dims SparseAttentionOp::getOperandTile(OpOperand &operand) {
  if (&operand == &getQueryMutable())
    return leading(operand.get(), 2);
  if (&operand == &getSinkMutable())
    return {TileDim{1}};
  if (&operand == &getPositionsMutable() || operand.get() == getSelected())
    return leading(operand.get(), 1);
  return ofSlot(operand.get(), &operand == &getSpanMutable() ? 1 : 2);
}
Dims SparseAttentionOp::getResultTile(unsigned) { return leading(getResult(), 2); }

//===----------------------------------------------------------------------===//
// State updates, in place: one workgroup, or one per slot, whose tile is the op without slots.
//===----------------------------------------------------------------------===//

#define V4_SLOT_OP(OP, STATE, RANK)                                                                                    \
  Sizes OP::getLoopSizes() {                                                                                           \
    ArrayRef<int64_t> shape = shapeOf(STATE());                                                                        \
    return shape.size() > RANK ? Sizes{shape[0]} : Sizes{};                                                            \
  }                                                                                                                    \
  Sizes OP::getTileSizes() { return Sizes(getLoopSizes().size(), 1); }

/// The row of a slot: a tile of one row.
static Dims rowOfSlot(TileInterface op, Value value) { return leading(value, op.getLoopSizes().size()); }

V4_SLOT_OP(EntryPositionsOp, getSpan, 1)
Dims EntryPositionsOp::getOperandTile(OpOperand &operand) { return ofSlot(operand.get(), 1); }
Dims EntryPositionsOp::getResultTile(unsigned) { return rowOfSlot(*this, getResult()); }

V4_SLOT_OP(WindowAppendOp, getRing, 2)
Dims WindowAppendOp::getOperandTile(OpOperand &operand) {
  if (&operand == &getKvMutable())
    return rowOfSlot(*this, operand.get());
  return ofSlot(operand.get(), &operand == &getSpanMutable() ? 1 : 2);
}
Dims WindowAppendOp::getResultTile(unsigned) { return ofSlot(getResult(), 2); }
OpOperand *WindowAppendOp::getTiedOperand(unsigned) { return &getRingMutable(); }

V4_SLOT_OP(CacheAppendOp, getCache, 2)
Dims CacheAppendOp::getOperandTile(OpOperand &operand) {
  return &operand == &getCacheMutable() ? ofSlot(operand.get(), 2) : rowOfSlot(*this, operand.get());
}
Dims CacheAppendOp::getResultTile(unsigned) { return ofSlot(getResult(), 2); }
OpOperand *CacheAppendOp::getTiedOperand(unsigned) { return &getCacheMutable(); }

V4_SLOT_OP(CompressOp, getKvRows, 2)
Dims CompressOp::getOperandTile(OpOperand &operand) {
  if (&operand == &getKvMutable() || &operand == &getGateMutable())
    return rowOfSlot(*this, operand.get());
  return ofSlot(operand.get(), &operand == &getSpanMutable() ? 1 : 2);
}
Dims CompressOp::getResultTile(unsigned result) {
  return result == 0 ? rowOfSlot(*this, getEntries()) : ofSlot(getResult(result), 2);
}
OpOperand *CompressOp::getTiedOperand(unsigned result) {
  return result == 0 ? nullptr : result == 1 ? &getKvRowsMutable() : &getScoreRowsMutable();
}
#undef V4_SLOT_OP
