// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The v4 dialect: the one header of this folder.

#ifndef V4_DIALECTS_V4_H
#define V4_DIALECTS_V4_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/Linalg/IR/LinalgInterfaces.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace mlir::OpTrait::v4 {
/// Elementwise and norm ops: what the fusion strategies may join with a consumer (V4_Rowwise).
template <typename ConcreteType>
class Rowwise : public TraitBase<ConcreteType, Rowwise> {};
} // namespace mlir::OpTrait::v4

namespace mlir::v4 {

/// Bufferization of the structure ops: `v4.phase` forwards what it yields, `v4.launch` writes its outputs in place.
void registerBufferizableOpInterfaceModels(DialectRegistry &registry);

/// How one dimension of an operand or result is walked by the loops of an op.
struct TileDim {
  /// Index of the loop, or -1 when every tile sees the whole dimension.
  int loop = -1;
  /// Loop steps per element of the dimension: 128 for the rows of a block scale, else 1.
  int64_t step = 1;
  /// Whether tiles lack the dimension, each being a slice at one step of the loop: the slots of a state.
  bool dropped = false;

  bool operator==(const TileDim &other) const = default;
};

/// Rows and columns of an fp8 weight that share a scale; columns of an fp4 weight that do.
constexpr int64_t kByteBlock = 128, kNibbleBlock = 32;

/// Rows of a packed weight that lie side by side, and the bytes of each before the next row's.
constexpr int64_t kPackedRows = 16, kPackedBytes = 4;

/// The packed form (layout `rows16`) of a stored weight or scale: of `[.., N, K]` the type `[.., N/16, D, 16, e]`,
/// where D dwords of e elements make a row; of an E8M0 scale `[.., N, B]` the type `[.., N/16, B, 16]`. None where the
/// rows are no multiple of 16, or a row is no whole number of dwords.
std::optional<RankedTensorType> packedType(RankedTensorType type);
/// Whether a weight with `lead` dimensions before its rows is packed.
inline bool isPackedWeight(Value weight, int64_t lead) {
  return cast<RankedTensorType>(weight.getType()).getRank() == lead + 4;
}
/// The inverse, of a type that `packedType` returned.
RankedTensorType unpackedType(RankedTensorType type);

/// The largest divisor of `count` that is at most `limit`.
int64_t largestDivisor(int64_t count, int64_t limit);

} // namespace mlir::v4

#include "dialects/V4Dialect.h.inc"
#include "dialects/V4Enums.h.inc"
#include "dialects/V4Interfaces.h.inc"

namespace mlir::v4 {
/// A row of a packed cache (spec 7.4, 7.5): the codes of the leading columns, two to a byte for e2m1, low nibble first;
/// then the other columns as bf16, low byte first; then a scale for each block of codes, an exponent with bias 127,
/// which for e4m3 are filled up to a multiple of 8.
struct CacheRow {
  int64_t columns, quantized; // of the row, and of these the ones kept as codes
  QuantFormat format;

  int64_t block() const { return format == QuantFormat::e4m3 ? 64 : 32; }
  int64_t blocks() const { return quantized / block(); }
  int64_t codeBytes() const { return format == QuantFormat::e4m3 ? quantized : quantized / 2; }
  int64_t scaleOffset() const { return codeBytes() + 2 * (columns - quantized); }
  int64_t bytes() const { return scaleOffset() + (format == QuantFormat::e4m3 ? (blocks() + 7) / 8 * 8 : blocks()); }

  /// The form of a row of `columns` columns in `bytes` bytes; the sizes leave one choice at most.
  static std::optional<CacheRow> fromBytes(int64_t columns, int64_t bytes);
};

/// Build the arithmetic of the quantisers (spec 7.1) where `builder` inserts: the exponent bits, an i32, of the scale
/// of a block whose largest magnitude is an f32; the code, an i32, of an f32 for such a scale; the number of that code.
Value buildScaleBits(const ImplicitLocOpBuilder &builder, Value largest, QuantFormat format);
Value buildCode(const ImplicitLocOpBuilder &builder, Value number, Value scaleBits, QuantFormat format);
Value buildRoundTrip(const ImplicitLocOpBuilder &builder, Value number, Value scaleBits, QuantFormat format);
} // namespace mlir::v4

#define GET_ATTRDEF_CLASSES
#include "dialects/V4Attrs.h.inc"

#define GET_OP_CLASSES
#include "dialects/V4Ops.h.inc"

#endif
