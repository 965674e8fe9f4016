// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Registration of the v4 dialect and verification of its argument attributes.

#include "dialects/V4.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::v4;

std::optional<RankedTensorType> v4::packedType(RankedTensorType type) {
  SmallVector<int64_t> shape(type.getShape());
  if (shape.size() < 2 || !type.getElementType().isIntOrFloat() || type.getElementTypeBitWidth() > kPackedBytes * 8)
    return std::nullopt;
  int64_t columns = shape.pop_back_val(), rows = shape.pop_back_val();
  bool scale = isa<Float8E8M0FNUType>(type.getElementType());
  int64_t elements = scale ? 1 : kPackedBytes * 8 / type.getElementTypeBitWidth();
  if (rows % kPackedRows || columns % elements)
    return std::nullopt;
  shape.append({rows / kPackedRows, columns / elements, kPackedRows});
  if (!scale)
    shape.push_back(elements);
  return type.clone(shape);
}

RankedTensorType v4::unpackedType(RankedTensorType type) {
  SmallVector<int64_t> shape(type.getShape());
  int64_t elements = isa<Float8E8M0FNUType>(type.getElementType()) ? 1 : shape.pop_back_val();
  shape.pop_back();
  int64_t steps = shape.pop_back_val(), groups = shape.pop_back_val();
  shape.append({groups * kPackedRows, steps * elements});
  return type.clone(shape);
}

#include "dialects/V4Dialect.cpp.inc"
#include "dialects/V4Enums.cpp.inc"
#include "dialects/V4Interfaces.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/V4Attrs.cpp.inc"

void V4Dialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/V4Attrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/V4Ops.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

LogicalResult WeightAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringRef tensor, Type dtype,
                                 ArrayRef<int64_t> shape, int64_t offset, int64_t stride) {
  if (tensor.empty())
    return emitError() << "expected the name of a checkpoint tensor, found an empty string";
  if (!dtype.isIntOrFloat() || dtype.getIntOrFloatBitWidth() % 8)
    return emitError() << "expected a type of whole bytes, found " << dtype;
  for (int64_t size : shape)
    if (size <= 0)
      return emitError() << "expected sizes > 0 in the tensor's shape, found " << size;
  if (offset < 0)
    return emitError() << "expected offset >= 0, found " << offset;
  if (stride < 0)
    return emitError() << "expected stride >= 0, found " << stride;
  if (stride > 0 && tensor.contains("{e}"))
    return emitError() << "expected either {e} in the name or a stride, found both";
  return success();
}

LogicalResult StateAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringRef name, StateKind kind,
                                int64_t ratio, bool overlap, int64_t quantized, int64_t bits) {
  if (name.empty())
    return emitError() << "expected the name of a state, found an empty string";
  if (ratio < 0)
    return emitError() << "expected ratio >= 0, found " << ratio;
  if ((kind == StateKind::window) != (ratio == 0))
    return emitError() << "expected " << (ratio == 0 ? "a ratio" : "no ratio") << " for kind "
                       << stringifyStateKind(kind) << ", found " << (ratio == 0 ? "none" : Twine(ratio).str());
  if (overlap && (kind == StateKind::window || kind == StateKind::entries))
    return emitError() << "expected overlap only for kv_rows and score_rows, found it for " << stringifyStateKind(kind);
  bool cache = kind == StateKind::window || kind == StateKind::entries;
  if (quantized && !cache)
    return emitError() << "expected quantized only for window and entries, found it for " << stringifyStateKind(kind);
  if (bits != 0 && bits != 4 && bits != 8)
    return emitError() << "expected bits of 4 or 8, found " << bits;
  if ((quantized != 0) != (bits != 0))
    return emitError() << "expected both quantized and bits, or neither, found " << quantized << " and " << bits;
  int64_t block = bits == 8 ? 64 : 32;
  if (quantized < 0 || quantized % block)
    return emitError() << "expected quantized to be a multiple of the block of " << block << " columns, found "
                       << quantized;
  return success();
}

int64_t StateAttr::getColumns(ShapedType type) const {
  int64_t width = type.getShape().back();
  if (!type.getElementType().isInteger(8))
    return width;
  if (getQuantized() == 0)
    return 0;
  CacheRow row{getQuantized(), getQuantized(), getBits() == 8 ? QuantFormat::e4m3 : QuantFormat::e2m1};
  int64_t plain = width - row.bytes();
  if (plain < 0 || plain % 2)
    return 0;
  row.columns += plain / 2;
  std::optional<CacheRow> found = CacheRow::fromBytes(row.columns, width);
  return found && found->quantized == row.quantized && found->format == row.format ? row.columns : 0;
}

LogicalResult YarnAttr::verify(function_ref<InFlightDiagnostic()> emitError, FloatAttr factor, int64_t original,
                               FloatAttr betaFast, FloatAttr betaSlow) {
  if (!(factor.getValueAsDouble() > 0))
    return emitError() << "expected factor > 0, found " << factor.getValueAsDouble();
  if (original <= 0)
    return emitError() << "expected original > 0, found " << original;
  if (!(betaSlow.getValueAsDouble() > 0))
    return emitError() << "expected beta_slow > 0, found " << betaSlow.getValueAsDouble();
  if (!(betaFast.getValueAsDouble() >= betaSlow.getValueAsDouble()))
    return emitError() << "expected beta_fast >= beta_slow = " << betaSlow.getValueAsDouble() << ", found "
                       << betaFast.getValueAsDouble();
  return success();
}

//===----------------------------------------------------------------------===//
// Attributes of functions, arguments and results
//===----------------------------------------------------------------------===//

/// An attribute of another type than its name asks for.
template <typename AttrT> static FailureOr<AttrT> expect(Operation *op, NamedAttribute attr, StringRef what) {
  if (auto value = dyn_cast<AttrT>(attr.getValue()))
    return value;
  return op->emitOpError("expected ") << what << " for '" << attr.getName().getValue() << "', found "
                                      << attr.getValue();
}

static LogicalResult expectName(Operation *op, NamedAttribute attr) {
  FailureOr<StringAttr> name = expect<StringAttr>(op, attr, "a string");
  if (failed(name))
    return failure();
  if (name->getValue().empty())
    return op->emitOpError("expected a name for '") << attr.getName().getValue() << "', found an empty string";
  return success();
}

LogicalResult V4Dialect::verifyOperationAttribute(Operation *op, NamedAttribute attr) {
  StringRef name = attr.getName().getValue();
  if (name == "v4.name")
    return expectName(op, attr);
  if (name == "v4.path") {
    if (!isa<func::CallOp>(op))
      return op->emitOpError("expected 'v4.path' on func.call, found it on ") << op->getName();
    return expectName(op, attr);
  }
  bool entry = name == "v4.entry", rows = name == "v4.rows";
  if (!entry && !rows) {
    if (llvm::is_contained({"v4.weight", "v4.state", "v4.input", "v4.output"}, name))
      return op->emitOpError("expected '") << name << "' on an argument or result of a function, found it on an op";
    return success();
  }
  if (!isa<FunctionOpInterface>(op))
    return op->emitOpError("expected '") << name << "' on a function, found it on " << op->getName();
  if (!op->hasAttr("v4.entry") || !op->hasAttr("v4.rows"))
    return op->emitOpError("expected both 'v4.entry' and 'v4.rows', found only '") << name << "'";
  if (entry) {
    FailureOr<StringAttr> kind = expect<StringAttr>(op, attr, "a string");
    if (failed(kind))
      return failure();
    if (!llvm::is_contained({"decode", "prefill", "mtp_decode", "mtp_prefill"}, kind->getValue()))
      return op->emitOpError("expected 'v4.entry' to be decode, prefill, mtp_decode or mtp_prefill, found ") << *kind;
    return success();
  }
  FailureOr<IntegerAttr> count = expect<IntegerAttr>(op, attr, "an integer");
  if (failed(count))
    return failure();
  if (count->getInt() <= 0)
    return op->emitOpError("expected 'v4.rows' > 0, found ") << count->getInt();
  return success();
}

/// Whether a function is an entry whose rows are slots.
static bool isDecode(Operation *op) {
  auto kind = op->getAttrOfType<StringAttr>("v4.entry");
  return kind && (kind.getValue() == "decode" || kind.getValue() == "mtp_decode");
}

/// An argument of a function is a tensor until buffers are made.
static ShapedType shapedArgument(Operation *op, unsigned index) {
  return dyn_cast<ShapedType>(cast<FunctionOpInterface>(op).getArgumentTypes()[index]);
}

static LogicalResult verifyWeight(Operation *op, unsigned index, WeightAttr weight) {
  ShapedType type = shapedArgument(op, index);
  if (!type || !type.hasStaticShape())
    return op->emitOpError("expected weight '") << weight.getTensor() << "' to be a tensor of static shape, found "
                                                << cast<FunctionOpInterface>(op).getArgumentTypes()[index];
  if (type.getElementType() != weight.getDtype())
    return op->emitOpError("expected weight '")
           << weight.getTensor() << "' of element type " << weight.getDtype() << ", found " << type.getElementType();
  // Rows of a table lie at the stride, or one in each tensor.
  int64_t bytes = type.getElementTypeBitWidth() / 8, size = bytes, whole = bytes, rows = 1;
  for (int64_t dim : type.getShape())
    size *= dim;
  for (int64_t dim : weight.getShape())
    whole *= dim;
  if (weight.isTable()) {
    if (type.getRank() < 2)
      return op->emitOpError("expected table '") << weight.getTensor() << "' of rank >= 2, found " << type;
    rows = type.getDimSize(0);
    size /= rows;
    if (weight.getStride() && weight.getStride() < size)
      return op->emitOpError("expected a stride of at least the ")
             << size << " bytes of a row of table '" << weight.getTensor() << "', found " << weight.getStride();
  }
  int64_t end = weight.getOffset() + (weight.getStride() ? (rows - 1) * weight.getStride() : 0) + size;
  if (end > whole)
    return op->emitOpError("expected weight '")
           << weight.getTensor() << "' to end within the tensor's " << whole << " bytes, found " << end;
  return success();
}

static LogicalResult verifyState(Operation *op, Type type, StateAttr state) {
  auto shaped = dyn_cast<ShapedType>(type);
  int64_t rank = shaped && shaped.hasStaticShape() ? shaped.getRank() : 0;
  if (rank != 2 && rank != 3)
    return op->emitOpError("expected state '")
           << state.getName() << "' to be a tensor of rank 2, or 3 with slots, found " << type;
  auto slots = op->getAttrOfType<IntegerAttr>("v4.rows");
  if (rank == 3 && slots && (!isDecode(op) || shaped.getDimSize(0) != slots.getInt()))
    return op->emitOpError("expected state '")
           << state.getName() << "' to have slots in a decode entry only, one for every row, found " << type;
  bool rows = state.getKind() == StateKind::kv_rows || state.getKind() == StateKind::score_rows;
  Type element = shaped.getElementType();
  if (!element.isF32() && (rows || (!element.isBF16() && !element.isInteger(8))))
    return op->emitOpError("expected state '")
           << state.getName() << "' of " << (rows ? "f32" : "f32, bf16 or i8") << ", found " << element;
  if (element.isInteger(8) && state.getColumns(shaped) == 0)
    return op->emitOpError("expected state '")
           << state.getName() << "' of packed rows with " << state.getQuantized() << " quantized columns of "
           << state.getBits() << " bits, which have no form in " << shaped.getShape().back() << " bytes";
  if (state.getQuantized() > state.getColumns(shaped))
    return op->emitOpError("expected at most ") << state.getColumns(shaped) << " quantized columns of state '"
                                                << state.getName() << "', found " << state.getQuantized();
  int64_t expected = state.getRatio() * (state.getOverlap() ? 2 : 1), found = shaped.getDimSize(rank - 2);
  if (rows && found != expected)
    return op->emitOpError("expected state '") << state.getName() << "' of " << expected << " rows, found " << found;
  return success();
}

static LogicalResult verifyInput(Operation *op, unsigned index, StringAttr name) {
  ShapedType type = shapedArgument(op, index);
  StringRef input = name.getValue();
  bool tokens = input == "tokens" || input == "positions", span = input == "span", hidden = input == "hidden";
  if (!tokens && !span && !hidden)
    return op->emitOpError("expected input tokens, positions, span or hidden, found ") << name;
  bool matches = type && type.hasStaticShape() &&
                 (hidden ? type.getElementType().isF32() || type.getElementType().isBF16()
                         : type.getElementType().isInteger(32));
  if (matches && tokens)
    matches = type.getRank() == 1;
  else if (matches && span)
    matches =
        type.getShape() == ArrayRef<int64_t>{2} || (isDecode(op) && type.getRank() == 2 && type.getDimSize(1) == 2);
  else if (matches)
    matches = type.getRank() == 3;
  if (!matches)
    return op->emitOpError("expected input '") << input << "' of shape "
                                               << (tokens ? "[S] and i32"
                                                   : span ? "[2], or with slots [S, 2], and i32"
                                                          : "[S, n, d] and f32 or bf16")
                                               << ", found " << cast<FunctionOpInterface>(op).getArgumentTypes()[index];
  return success();
}

LogicalResult V4Dialect::verifyRegionArgAttribute(Operation *op, unsigned, unsigned index, NamedAttribute attr) {
  StringRef name = attr.getName().getValue();
  auto func = cast<FunctionOpInterface>(op);
  if (name == "v4.weight") {
    FailureOr<WeightAttr> weight = expect<WeightAttr>(op, attr, "#v4.weight");
    return failed(weight) ? failure() : verifyWeight(op, index, *weight);
  }
  if (name == "v4.input") {
    FailureOr<StringAttr> input = expect<StringAttr>(op, attr, "a string");
    return failed(input) ? failure() : verifyInput(op, index, *input);
  }
  if (name == "v4.layout") {
    FailureOr<StringAttr> layout = expect<StringAttr>(op, attr, "a string");
    if (failed(layout))
      return failure();
    if (layout->getValue() != "rows16")
      return op->emitOpError("expected 'v4.layout' to be rows16, found ") << *layout;
    if (!func.getArgAttr(index, "v4.weight"))
      return op->emitOpError("expected 'v4.layout' on a weight, found it on argument ") << index;
    return success();
  }
  if (name == "v4.output")
    return expectName(op, attr);
  if (name != "v4.state")
    return success();

  FailureOr<StateAttr> state = expect<StateAttr>(op, attr, "#v4.state");
  Type type = func.getArgumentTypes()[index];
  if (failed(state) || failed(verifyState(op, type, *state)))
    return failure();
  for (unsigned other = 0; other < index; ++other)
    if (auto twin = func.getArgAttrOfType<StateAttr>(other, name); twin && twin.getName() == state->getName())
      return op->emitOpError("expected one argument for state '") << state->getName() << "', found two";
  // Buffers are updated in place and not returned.
  if (!isa<TensorType>(type))
    return success();
  for (unsigned result = 0; result < func.getNumResults(); ++result)
    if (func.getResultAttrOfType<StateAttr>(result, name) == *state)
      return success();
  return op->emitOpError("expected state '")
         << state->getName() << "' among the results, found none with this attribute";
}

LogicalResult V4Dialect::verifyRegionResultAttribute(Operation *op, unsigned, unsigned index, NamedAttribute attr) {
  StringRef name = attr.getName().getValue();
  if (name == "v4.output")
    return expectName(op, attr);
  auto func = cast<FunctionOpInterface>(op);
  if (llvm::is_contained({"v4.weight", "v4.input"}, name))
    return op->emitOpError("expected '") << name << "' on an argument of a function, found it on a result";
  if (name != "v4.state")
    return success();
  FailureOr<StateAttr> state = expect<StateAttr>(op, attr, "#v4.state");
  if (failed(state))
    return failure();
  for (unsigned argument = 0; argument < func.getNumArguments(); ++argument)
    if (func.getArgAttrOfType<StateAttr>(argument, name) == *state) {
      if (func.getArgumentTypes()[argument] != func.getResultTypes()[index])
        return op->emitOpError("expected state '")
               << state->getName() << "' to be returned as " << func.getArgumentTypes()[argument] << ", found "
               << func.getResultTypes()[index];
      return success();
    }
  return op->emitOpError("expected state '")
         << state->getName() << "' among the arguments, found none with this attribute";
}
