// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Verifiers and effects of the ops.

#include "dialects/V4.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;
using namespace mlir::v4;

#define GET_OP_CLASSES
#include "dialects/V4Ops.cpp.inc"

//===----------------------------------------------------------------------===//
// Shapes by name
//===----------------------------------------------------------------------===//

namespace {
int64_t ceilDiv(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/// A dimension in the documentation's terms: a letter, which has one size throughout an op, or a formula with its size.
struct Dim {
  Dim(const char *name) : name(name) {}
  Dim(StringRef name, int64_t size) : name(name), size(size) {}
  Dim(int size) : size(size) {}

  StringRef name;
  std::optional<int64_t> size;
};

/// Compares the shapes of an op's operands and results with its documentation. Every mismatch is one diagnostic that
/// names the operand, what was expected of it, and what was found.
class Shapes {
public:
  explicit Shapes(Operation *op) : op(op) {}

  void bind(StringRef letter, int64_t size) { sizes[letter] = size; }

  /// The size of a letter that a shape has bound.
  int64_t operator[](StringRef letter) const { return sizes.lookup(letter); }

  LogicalResult check(StringRef what, Value value, ArrayRef<Dim> dims) {
    if (!value)
      return success();
    ArrayRef<int64_t> shape = cast<RankedTensorType>(value.getType()).getShape();
    bool matches = shape.size() == dims.size();
    llvm::StringMap<int64_t> before = sizes;
    for (auto [dim, found] : llvm::zip(dims, shape)) {
      if (!sizeOf(dim))
        sizes[dim.name] = found;
      matches &= *sizeOf(dim) == found;
    }
    if (matches)
      return success();
    sizes = before; // A shape that is wrong binds no letter.
    InFlightDiagnostic error = op->emitOpError("expected ") << what << " of shape [";
    llvm::interleaveComma(dims, error, [&](const Dim &dim) {
      std::optional<int64_t> expected = sizeOf(dim);
      error << dim.name;
      if (expected)
        error << (dim.name.empty() ? "" : " = ") << *expected;
    });
    error << "], found [";
    llvm::interleaveComma(shape, error);
    return error << "]";
  }

private:
  std::optional<int64_t> sizeOf(const Dim &dim) const {
    if (dim.size)
      return dim.size;
    auto bound = sizes.find(dim.name);
    return bound == sizes.end() ? std::nullopt : std::optional(bound->second);
  }

  Operation *op;
  llvm::StringMap<int64_t> sizes;
};

LogicalResult checkPositive(Operation *op, StringRef what, int64_t value) {
  if (value > 0)
    return success();
  return op->emitOpError("expected ") << what << " > 0, found " << value;
}

LogicalResult checkEps(Operation *op, StringRef what, const APFloat &value) {
  if (value.isFinite() && !value.isNegative())
    return success();
  return op->emitOpError("expected ") << what << " >= 0, found " << value.convertToFloat();
}

LogicalResult checkFinite(Operation *op, StringRef what, const APFloat &value) {
  if (value.isFinite())
    return success();
  return op->emitOpError("expected a finite ") << what << ", found " << value.convertToFloat();
}

LogicalResult checkAtMost(Operation *op, StringRef what, int64_t value, StringRef whole, int64_t limit) {
  if (value <= limit)
    return success();
  return op->emitOpError("expected ") << what << " <= " << whole << " = " << limit << ", found " << value;
}

/// A row tensor, or one with heads: [S, D] or [S, h, D].
LogicalResult checkRows(Operation *op, Shapes &shapes, Value input) {
  int64_t rank = cast<RankedTensorType>(input.getType()).getRank();
  if (rank == 3)
    return shapes.check("input", input, {"S", "h", "D"});
  return shapes.check("input", input, {"S", "D"});
}

/// Whether a state has a leading dimension for the slots. Then row s of the call belongs to slot s.
bool hasSlots(Value state) {
  return cast<RankedTensorType>(state.getType()).getRank() == 3;
}

/// The dimensions of what every slot has of its own.
SmallVector<Dim> perSlot(bool slots, ArrayRef<Dim> dims) {
  SmallVector<Dim> all(dims);
  if (slots)
    all.insert(all.begin(), Dim("S"));
  return all;
}

LogicalResult checkSameType(Operation *op, StringRef what, Value value, Value reference) {
  if (value.getType() == reference.getType())
    return success();
  return op->emitOpError("expected ") << what << " of type " << reference.getType() << ", found " << value.getType();
}

/// Rows of a cache: of width c, or packed. `dims` are those before the width.
LogicalResult checkCache(Operation *op, Shapes &shapes, StringRef what, Value cache, ArrayRef<Dim> dims) {
  bool packed = cache && cast<RankedTensorType>(cache.getType()).getElementType().isInteger(8);
  std::string bytes = (what + " bytes").str();
  SmallVector<Dim> all(dims);
  all.push_back(packed ? Dim(bytes.c_str()) : Dim("c"));
  if (failed(shapes.check(what, cache, all)))
    return failure();
  if (!packed || CacheRow::fromBytes(shapes["c"], shapes[bytes]))
    return success();
  return op->emitOpError("expected ") << what << " with packed rows of c = " << shapes["c"]
                                      << " columns, which have no form in " << shapes[bytes] << " bytes";
}

/// Shape of a stored weight and its scale, as they lie in a checkpoint or packed; `lead` dimensions come before them.
LogicalResult checkWeight(Operation *op, Shapes &shapes, Value weight, Value scale, ArrayRef<Dim> lead) {
  auto type = cast<RankedTensorType>(weight.getType());
  Type stored = type.getElementType();
  int64_t inner = shapes["K"];
  bool nibbles = stored.isInteger(8), scaled = nibbles || isa<Float8E4M3FNType>(stored);
  if (nibbles && inner % 2)
    return op->emitOpError("expected an even K for an fp4 weight, found ") << inner;
  bool packed = isPackedWeight(weight, lead.size());
  int64_t columns = nibbles ? inner / 2 : inner;
  SmallVector<Dim> dims(lead);
  if (packed) {
    int64_t elements = kPackedBytes * 8 / type.getElementTypeBitWidth();
    if (columns % elements)
      return op->emitOpError("expected rows of whole dwords for a packed weight, found K = ") << inner;
    shapes.bind("N", type.getDimSize(lead.size()) * kPackedRows);
    dims.append({Dim("N/16", shapes["N"] / kPackedRows), Dim("dwords", columns / elements), kPackedRows,
                 Dim("", elements)});
  } else {
    dims.push_back("N");
    dims.push_back(nibbles ? Dim("K/2", columns) : Dim("K"));
  }
  if (failed(shapes.check("weight", weight, dims)))
    return failure();
  if (scaled != static_cast<bool>(scale))
    return op->emitOpError("expected ") << (scaled ? "a scale" : "no scale") << " for a weight of " << stored
                                        << ", found " << (scaled ? "none" : "one");
  dims.assign(lead.begin(), lead.end());
  int64_t blocks = ceilDiv(inner, nibbles ? kNibbleBlock : kByteBlock);
  if (nibbles && packed)
    dims.append({Dim("N/16", shapes["N"] / kPackedRows), Dim("ceil(K/32)", blocks), kPackedRows});
  else if (nibbles)
    dims.append({Dim("N"), Dim("ceil(K/32)", blocks)});
  else
    dims.append({Dim("ceil(N/128)", ceilDiv(shapes["N"], kByteBlock)), Dim("ceil(K/128)", blocks)});
  return shapes.check("scale", scale, dims);
}

/// Shapes, format and block of a quantiser over `columns` columns.
LogicalResult checkBlocks(Operation *op, QuantFormat format, int64_t block, int64_t columns, StringRef what) {
  if (failed(checkPositive(op, "block", block)))
    return failure();
  if (columns % block)
    return op->emitOpError("expected block to divide ") << what << " = " << columns << ", found " << block;
  if (format == QuantFormat::e2m1 && block % 2)
    return op->emitOpError("expected an even block for e2m1, found ") << block;
  return success();
}
} // namespace

//===----------------------------------------------------------------------===//
// Basic ops
//===----------------------------------------------------------------------===//

LogicalResult EmbedOp::verify() {
  Shapes shapes(*this);
  return success(succeeded(shapes.check("ids", getIds(), {"S"})) &&
                 succeeded(shapes.check("table", getTable(), {"V", "d"})) &&
                 succeeded(shapes.check("result", getResult(), {"S", "d"})));
}

LogicalResult SelectLastOp::verify() {
  ArrayRef<int64_t> input = getInput().getType().getShape();
  if (input.empty())
    return emitOpError("expected input of rank >= 1, found rank 0");
  SmallVector<Dim> dims = {1};
  for (int64_t size : input.drop_front())
    dims.push_back(Dim("", size));
  return Shapes(*this).check("result", getResult(), dims);
}

LogicalResult LinearOp::verify() {
  Shapes shapes(*this);
  if (getInput().getType().getRank() == 3)
    return success(succeeded(shapes.check("input", getInput(), {"S", "G", "K"})) &&
                   succeeded(checkWeight(*this, shapes, getWeight(), getScale(), {"G"})) &&
                   succeeded(shapes.check("result", getResult(), {"S", "G", "N"})));
  return success(succeeded(shapes.check("input", getInput(), {"S", "K"})) &&
                 succeeded(checkWeight(*this, shapes, getWeight(), getScale(), {})) &&
                 succeeded(shapes.check("result", getResult(), {"S", "N"})));
}

LogicalResult RmsNormOp::verify() {
  Shapes shapes(*this);
  if (getRounded() && getWeight())
    return emitOpError("expected no weight with rounded, found one");
  return success(succeeded(checkRows(*this, shapes, getInput())) &&
                 succeeded(shapes.check("weight", getWeight(), {"D"})) &&
                 succeeded(checkSameType(*this, "result", getResult(), getInput())) &&
                 succeeded(checkEps(*this, "eps", getEps())));
}

LogicalResult RopeTableOp::verify() {
  Shapes shapes(*this);
  double theta = getTheta().convertToDouble();
  if (!(theta > 1))
    return emitOpError("expected theta > 1, found ") << theta;
  return success(succeeded(shapes.check("positions", getPositions(), {"S"})) &&
                 succeeded(shapes.check("result", getResult(), {"S", 2, "dim/2"})));
}

LogicalResult RopeOp::verify() {
  Shapes shapes(*this);
  if (failed(checkRows(*this, shapes, getInput())) || failed(shapes.check("table", getTable(), {"S", 2, "half"})))
    return failure();
  return success(succeeded(checkAtMost(*this, "2*half", 2 * shapes["half"], "D", shapes["D"])) &&
                 succeeded(checkSameType(*this, "result", getResult(), getInput())));
}

LogicalResult HadamardOp::verify() {
  Shapes shapes(*this);
  if (failed(checkRows(*this, shapes, getInput())))
    return failure();
  if (!llvm::isPowerOf2_64(shapes["D"]))
    return emitOpError("expected D to be a power of two, found ") << shapes["D"];
  return checkSameType(*this, "result", getResult(), getInput());
}

LogicalResult QuantizeOp::verify() {
  Shapes shapes(*this);
  if (failed(shapes.check("input", getInput(), {"S", "D"})))
    return failure();
  int64_t width = shapes["D"], block = getBlock();
  if (failed(checkBlocks(*this, getFormat(), block, width, "D")))
    return failure();
  bool bytes = getFormat() == QuantFormat::e4m3;
  Type found = getCodes().getType().getElementType();
  if (isa<Float8E4M3FNType>(found) != bytes)
    return emitOpError("expected codes of ")
           << (bytes ? "f8E4M3FN" : "i8") << " for " << stringifyQuantFormat(getFormat()) << ", found " << found;
  return success(succeeded(shapes.check("codes", getCodes(), {"S", bytes ? Dim("D") : Dim("D/2", width / 2)})) &&
                 succeeded(shapes.check("scale", getScale(), {"S", Dim("D/block", width / block)})));
}

LogicalResult DequantizeOp::verify() {
  Shapes shapes(*this);
  bool nibbles = getCodes().getType().getElementType().isInteger(8);
  if (failed(shapes.check("result", getResult(), {"S", "D"})) ||
      failed(shapes.check("codes", getCodes(), {"S", nibbles ? Dim("D/2", shapes["D"] / 2) : Dim("D")})) ||
      failed(shapes.check("scale", getScale(), {"S", "D/block"})))
    return failure();
  int64_t width = shapes["D"], blocks = shapes["D/block"];
  if (width % blocks || (nibbles && width / blocks % 2))
    return emitOpError("expected the number of scales of a row to divide D = ")
           << width << " into " << (nibbles ? "even " : "") << "blocks, found " << blocks;
  return success();
}

LogicalResult RoundTripOp::verify() {
  Shapes shapes(*this);
  if (failed(checkRows(*this, shapes, getInput())) || failed(checkPositive(*this, "columns", getColumns())) ||
      failed(checkAtMost(*this, "columns", getColumns(), "D", shapes["D"])) ||
      failed(checkPositive(*this, "block", getBlock())))
    return failure();
  return checkSameType(*this, "result", getResult(), getInput());
}

//===----------------------------------------------------------------------===//
// Hyper-connections
//===----------------------------------------------------------------------===//

LogicalResult HcExpandOp::verify() {
  Shapes shapes(*this);
  return success(succeeded(shapes.check("input", getInput(), {"S", "d"})) &&
                 succeeded(shapes.check("result", getResult(), {"S", "n", "d"})) &&
                 succeeded(shapes.check("addend", getAddend(), {"S", "n", "d"})));
}

LogicalResult HcPreOp::verify() {
  Shapes shapes(*this);
  if (failed(shapes.check("streams", getStreams(), {"S", "n", "d"})))
    return failure();
  int64_t n = shapes["n"];
  Dim gates("n*(2+n)", n * (2 + n));
  return success(succeeded(shapes.check("fn", getFn(), {gates, Dim("n*d", n * shapes["d"])})) &&
                 succeeded(shapes.check("scale", getScale(), {3})) &&
                 succeeded(shapes.check("base", getBase(), {gates})) &&
                 succeeded(shapes.check("result", getResult(), {"S", "d"})) &&
                 succeeded(shapes.check("post", getPost(), {"S", "n"})) &&
                 succeeded(shapes.check("comb", getComb(), {"S", "n", "n"})) &&
                 succeeded(checkEps(*this, "eps", getEps())) && succeeded(checkEps(*this, "hc_eps", getHcEps())) &&
                 succeeded(checkPositive(*this, "iterations", getIterations())));
}

LogicalResult SinkhornOp::verify() {
  Shapes shapes(*this);
  return success(succeeded(shapes.check("input", getInput(), {"S", "n", "n"})) &&
                 succeeded(checkSameType(*this, "result", getResult(), getInput())) &&
                 succeeded(checkEps(*this, "eps", getEps())) &&
                 succeeded(checkPositive(*this, "iterations", getIterations())));
}

LogicalResult HcPostOp::verify() {
  Shapes shapes(*this);
  return success(succeeded(shapes.check("input", getInput(), {"S", "d"})) &&
                 succeeded(shapes.check("streams", getStreams(), {"S", "n", "d"})) &&
                 succeeded(shapes.check("post", getPost(), {"S", "n"})) &&
                 succeeded(shapes.check("comb", getComb(), {"S", "n", "n"})) &&
                 succeeded(shapes.check("result", getResult(), {"S", "n", "d"})));
}

LogicalResult HcHeadOp::verify() {
  Shapes shapes(*this);
  if (failed(shapes.check("streams", getStreams(), {"S", "n", "d"})))
    return failure();
  return success(succeeded(shapes.check("fn", getFn(), {"n", Dim("n*d", shapes["n"] * shapes["d"])})) &&
                 succeeded(shapes.check("scale", getScale(), {1})) &&
                 succeeded(shapes.check("base", getBase(), {"n"})) &&
                 succeeded(shapes.check("result", getResult(), {"S", "d"})) &&
                 succeeded(checkEps(*this, "eps", getEps())) && succeeded(checkEps(*this, "hc_eps", getHcEps())));
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

LogicalResult WindowContextOp::verify() {
  Shapes shapes(*this);
  return success(succeeded(shapes.check("kv", getKv(), {"S", "c"})) &&
                 succeeded(checkCache(*this, shapes, "ring", getRing(), {"w"})) &&
                 succeeded(shapes.check("result", getResult(), {Dim("w + S", shapes["w"] + shapes["S"]), "c"})));
}

LogicalResult WindowAppendOp::verify() {
  Shapes shapes(*this);
  bool slots = hasSlots(getRing());
  return success(succeeded(shapes.check("kv", getKv(), {"S", "c"})) &&
                 succeeded(checkCache(*this, shapes, "ring", getRing(), perSlot(slots, {"w"}))) &&
                 succeeded(shapes.check("span", getSpan(), perSlot(slots, {2}))) &&
                 succeeded(checkSameType(*this, "result", getResult(), getRing())));
}

LogicalResult EntryPositionsOp::verify() {
  Shapes shapes(*this);
  bool slots = getSpan().getType().getRank() == 2;
  return success(succeeded(checkPositive(*this, "ratio", getRatio())) &&
                 succeeded(shapes.check("span", getSpan(), perSlot(slots, {2}))) &&
                 succeeded(shapes.check("result", getResult(), {slots ? "S" : "ceil(S/r)"})));
}

LogicalResult CompressOp::verify() {
  Shapes shapes(*this);
  int64_t ratio = getRatio(), parts = getOverlap() ? 2 : 1;
  if (failed(checkPositive(*this, "ratio", ratio)) || failed(shapes.check("kv", getKv(), {"S", "m*c"})))
    return failure();
  int64_t width = shapes["m*c"];
  if (width % parts)
    return emitOpError("expected an even number of channels with overlap, found ") << width;
  bool slots = hasSlots(getKvRows());
  Dim rows("m*r", parts * ratio), entries = slots ? Dim("S") : Dim("ceil(S/r)", ceilDiv(shapes["S"], ratio));
  return success(succeeded(shapes.check("gate", getGate(), {"S", "m*c"})) &&
                 succeeded(shapes.check("ape", getApe(), {Dim("r", ratio), "m*c"})) &&
                 succeeded(shapes.check("kv_rows", getKvRows(), perSlot(slots, {rows, "m*c"}))) &&
                 succeeded(shapes.check("score_rows", getScoreRows(), perSlot(slots, {rows, "m*c"}))) &&
                 succeeded(shapes.check("span", getSpan(), perSlot(slots, {2}))) &&
                 succeeded(shapes.check("entries", getEntries(), {entries, Dim("c", width / parts)})) &&
                 succeeded(checkSameType(*this, "new_kv_rows", getNewKvRows(), getKvRows())) &&
                 succeeded(checkSameType(*this, "new_score_rows", getNewScoreRows(), getScoreRows())));
}

LogicalResult CacheAppendOp::verify() {
  Shapes shapes(*this);
  SmallVector<Dim> rows = {"N"};
  if (hasSlots(getCache()))
    rows.insert(rows.begin(), Dim("e"));
  return success(succeeded(checkPositive(*this, "ratio", getRatio())) &&
                 succeeded(shapes.check("entries", getEntries(), {"e", "c"})) &&
                 succeeded(checkCache(*this, shapes, "cache", getCache(), rows)) &&
                 succeeded(shapes.check("positions", getPositions(), {"e"})) &&
                 succeeded(checkSameType(*this, "result", getResult(), getCache())));
}

LogicalResult IndexScoresOp::verify() {
  Shapes shapes(*this);
  return success(succeeded(checkPositive(*this, "ratio", getRatio())) &&
                 succeeded(checkFinite(*this, "scale", getScale())) &&
                 succeeded(shapes.check("query", getQuery(), {"S", "h", "c"})) &&
                 succeeded(shapes.check("weights", getWeights(), {"S", "h"})) &&
                 succeeded(checkCache(*this, shapes, "keys", getKeys(), perSlot(hasSlots(getKeys()), {"N"}))) &&
                 succeeded(shapes.check("positions", getPositions(), {"S"})) &&
                 succeeded(shapes.check("result", getResult(), {"S", "N"})));
}

/// A ratio is given exactly when there is something that it counts.
static LogicalResult checkRatio(Operation *op, int64_t ratio, Value counted, StringRef what) {
  if (counted)
    return checkPositive(op, "ratio", ratio);
  if (ratio == 0)
    return success();
  return op->emitOpError("expected no ratio without ") << what << ", found " << ratio;
}

LogicalResult TopKOp::verify() {
  Shapes shapes(*this);
  return success(succeeded(checkRatio(*this, getRatio(), getPositions(), "positions")) &&
                 succeeded(shapes.check("scores", getScores(), {"S", "N"})) &&
                 succeeded(shapes.check("positions", getPositions(), {"S"})) &&
                 succeeded(shapes.check("result", getResult(), {"S", "k"})) &&
                 succeeded(checkAtMost(*this, "k", shapes["k"], "N", shapes["N"])));
}

LogicalResult IndexTopKOp::verify() {
  Shapes shapes(*this);
  return success(succeeded(checkPositive(*this, "ratio", getRatio())) &&
                 succeeded(checkFinite(*this, "scale", getScale())) &&
                 succeeded(shapes.check("query", getQuery(), {"S", "h", "c"})) &&
                 succeeded(shapes.check("weights", getWeights(), {"S", "h"})) &&
                 succeeded(checkCache(*this, shapes, "keys", getKeys(), perSlot(hasSlots(getKeys()), {"N"}))) &&
                 succeeded(shapes.check("positions", getPositions(), {"S"})) &&
                 succeeded(shapes.check("result", getResult(), {"S", "k"})) &&
                 succeeded(checkAtMost(*this, "k", shapes["k"], "N", shapes["N"])));
}

LogicalResult SparseAttentionOp::verify() {
  Shapes shapes(*this);
  int64_t window = getWindowSize();
  bool slots = hasSlots(getWindow());
  if (failed(checkPositive(*this, "window", window)) ||
      failed(checkRatio(*this, getRatio(), getEntries(), "entries")) ||
      failed(checkFinite(*this, "scale", getScale())) || failed(shapes.check("query", getQuery(), {"S", "h", "c"})) ||
      failed(checkCache(*this, shapes, "window", getWindow(),
                        slots ? SmallVector<Dim>{"S", Dim("w", window)} : SmallVector<Dim>{"rows"})))
    return failure();
  // A tile is one row of a call and sees the context of the whole call.
  int64_t rows = shapes["rows"], needed = window + shapes["S"];
  if (!slots && rows < needed && !(rows == window && shapes["S"] == 1))
    return emitOpError("expected a window of w = ")
           << window << " rows for S = 1 or of w + S rows for a call of S rows, found " << rows
           << " rows for S = " << shapes["S"];
  if (getSelected() && !getEntries())
    return emitOpError("expected entries with selected, found none");
  return success(succeeded(shapes.check("sink", getSink(), {"h"})) &&
                 succeeded(shapes.check("positions", getPositions(), {"S"})) &&
                 succeeded(shapes.check("span", getSpan(), perSlot(slots, {2}))) &&
                 succeeded(checkCache(*this, shapes, "entries", getEntries(), perSlot(slots, {"N"}))) &&
                 succeeded(shapes.check("selected", getSelected(), {"S", "K"})) &&
                 succeeded(checkSameType(*this, "result", getResult(), getQuery())));
}

//===----------------------------------------------------------------------===//
// Experts
//===----------------------------------------------------------------------===//

LogicalResult RouteOp::verify() {
  Shapes shapes(*this);
  return success(succeeded(shapes.check("logits", getLogits(), {"S", "E"})) &&
                 succeeded(shapes.check("bias", getBias(), {"E"})) &&
                 succeeded(shapes.check("indices", getIndices(), {"S", "k"})) &&
                 succeeded(shapes.check("weights", getWeights(), {"S", "k"})) &&
                 succeeded(checkAtMost(*this, "k", shapes["k"], "E", shapes["E"])) &&
                 succeeded(checkFinite(*this, "scale", getScale())));
}

LogicalResult RouteHashOp::verify() {
  Shapes shapes(*this);
  return success(succeeded(shapes.check("logits", getLogits(), {"S", "E"})) &&
                 succeeded(shapes.check("tokens", getTokens(), {"S"})) &&
                 succeeded(shapes.check("table", getTable(), {"V", "k"})) &&
                 succeeded(shapes.check("indices", getIndices(), {"S", "k"})) &&
                 succeeded(shapes.check("weights", getWeights(), {"S", "k"})) &&
                 succeeded(checkAtMost(*this, "k", shapes["k"], "E", shapes["E"])) &&
                 succeeded(checkFinite(*this, "scale", getScale())));
}

LogicalResult DispatchOp::verify() {
  Shapes shapes(*this);
  int64_t total = getExpertsTotal();
  if (failed(checkPositive(*this, "experts", total)) || failed(shapes.check("indices", getIndices(), {"S", "k"})))
    return failure();
  int64_t count = shapes["S"] * shapes["k"], most = std::min(count, total);
  Dim pairs("P", count);
  return success(succeeded(shapes.check("weights", getWeights(), {"S", "k"})) &&
                 succeeded(shapes.check("positions", getPositions(), {"S"})) &&
                 succeeded(shapes.check("experts", getExperts(), {Dim("A", most)})) &&
                 succeeded(shapes.check("offsets", getOffsets(), {Dim("A + 1", most + 1)})) &&
                 succeeded(shapes.check("rows", getRows(), {pairs})) &&
                 succeeded(shapes.check("pair_weights", getPairWeights(), {pairs})) &&
                 succeeded(shapes.check("pairs", getPairs(), {"S", "k"})));
}

LogicalResult GroupedLinearOp::verify() {
  Shapes shapes(*this);
  // Without a row list the rows of the input are the pairs.
  StringRef rows = getRows() ? "R" : "P";
  if (failed(shapes.check("input", getInput(), {rows.data(), "K"})) ||
      failed(checkWeight(*this, shapes, getWeight(), getScale(), {"E"})) ||
      failed(shapes.check("experts", getExperts(), {"A"})))
    return failure();
  return success(succeeded(shapes.check("offsets", getOffsets(), {Dim("A + 1", shapes["A"] + 1)})) &&
                 succeeded(shapes.check("rows", getRows(), {"P"})) &&
                 succeeded(shapes.check("result", getResult(), {"P", "N"})));
}

LogicalResult SwigluOp::verify() {
  Shapes shapes(*this);
  if (!getLimit().isFinite() || getLimit().isNegative() || getLimit().isZero())
    return emitOpError("expected limit > 0, found ") << getLimit().convertToFloat();
  return success(succeeded(shapes.check("gate", getGate(), {"S", "I"})) &&
                 succeeded(shapes.check("up", getUp(), {"S", "I"})) &&
                 succeeded(shapes.check("weights", getWeights(), {"S"})) &&
                 succeeded(shapes.check("result", getResult(), {"S", "I"})));
}

LogicalResult CombineOp::verify() {
  Shapes shapes(*this);
  return success(succeeded(shapes.check("routed", getRouted(), {"P", "d"})) &&
                 succeeded(shapes.check("pairs", getPairs(), {"S", "k"})) &&
                 succeeded(shapes.check("shared", getShared(), {"S", "d"})) &&
                 succeeded(shapes.check("result", getResult(), {"S", "d"})));
}

//===----------------------------------------------------------------------===//
// Structure
//===----------------------------------------------------------------------===//

/// What a region yields are the results of the op that holds it.
static LogicalResult checkYield(Operation *op) {
  Operation *yield = op->getRegion(0).front().getTerminator();
  if (yield->getNumOperands() != op->getNumResults())
    return yield->emitOpError("expected ") << op->getNumResults() << " operands, one for each result of "
                                           << op->getName() << ", found " << yield->getNumOperands();
  for (auto [index, value, result] : llvm::enumerate(yield->getOperands(), op->getResults()))
    if (value.getType() != result.getType())
      return yield->emitOpError("expected operand ")
             << index << " of type " << result.getType() << ", found " << value.getType();
  return success();
}

static LogicalResult checkName(Operation *op, StringRef name) {
  return name.empty() ? op->emitOpError("expected a name, found an empty string") : success();
}

LogicalResult GroupOp::verify() {
  return failed(checkName(*this, getName())) ? failure() : checkYield(*this);
}

LogicalResult PhaseOp::verify() {
  return checkYield(*this);
}

/// Tensor outputs and results of a destination-style structure op correspond.
static LogicalResult verifyOutputs(Operation *op, ValueRange outputs) {
  SmallVector<Type> tensors;
  for (Value output : outputs)
    if (isa<TensorType>(output.getType()))
      tensors.push_back(output.getType());
  if (tensors.size() != op->getNumResults())
    return op->emitOpError("expected one result for each of the ")
           << tensors.size() << " tensor outputs, found " << op->getNumResults();
  for (auto [index, type, found] : llvm::enumerate(tensors, op->getResultTypes()))
    if (type != found)
      return op->emitOpError("expected result ") << index << " of type " << type << ", found " << found;
  return success();
}

LogicalResult KernelOp::verify() { return verifyOutputs(*this, getOutputs()); }

void KernelOp::getEffects(SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  for (OpOperand &operand : getInputsMutable())
    if (isa<MemRefType>(operand.get().getType()))
      effects.emplace_back(MemoryEffects::Read::get(), &operand);
  for (OpOperand &operand : getOutputsMutable())
    if (isa<MemRefType>(operand.get().getType()))
      effects.emplace_back(MemoryEffects::Write::get(), &operand);
}

LogicalResult LaunchOp::verify() {
  if (failed(checkName(*this, getName())))
    return failure();
  return verifyOutputs(*this, getOutputs());
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto kernel = symbols.lookupNearestSymbolFrom<ModuleOp>(*this, getKernelAttr());
  if (!kernel)
    return emitOpError("expected a module '") << getKernel() << "' that holds the kernel, found none";
  // Until it is split into phases, a kernel is a function with the operands of its launches.
  auto func = kernel.lookupSymbol<func::FuncOp>(getKernel());
  int64_t operands = getInputs().size() + getOutputs().size();
  if (func && func.getNumArguments() != operands)
    return emitOpError("expected ") << func.getNumArguments() << " operands for kernel '" << getKernel() << "', found "
                                    << operands;
  return success();
}

void LaunchOp::getEffects(SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  for (OpOperand &operand : getInputsMutable())
    if (isa<MemRefType>(operand.get().getType()))
      effects.emplace_back(MemoryEffects::Read::get(), &operand);
  for (OpOperand &operand : getOutputsMutable())
    if (isa<MemRefType>(operand.get().getType())) {
      effects.emplace_back(MemoryEffects::Read::get(), &operand);
      effects.emplace_back(MemoryEffects::Write::get(), &operand);
    }
}
