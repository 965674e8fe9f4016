// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The blocks of the graph: one function per kind, working on values, whatever function they end up in.

#ifndef V4_FRONTEND_BLOCKS_H
#define V4_FRONTEND_BLOCKS_H

#include "dialects/V4.h"
#include "frontend/Config.h"
#include "frontend/Numerics.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

namespace mlir::v4 {

/// Capacity and role of a state tensor.
struct StateSpec {
  std::string name; // "attn.window", relative to the layer
  SmallVector<int64_t, 2> shape; // of the tensor: a packed row is bytes
  StateKind kind;
  int64_t ratio = 0;
  bool overlap = false;
  KvFormat format = KvFormat::F32;
  int64_t quantized = 0, bits = 0; // columns rounded to codes
};

/// Whether the caches of a model have a packed form: whole blocks of codes (spec 7.4, 7.5).
bool canPack(const Config &config);

/// The state of a layer of the given ratio (spec 4.10), in the order of arguments and results.
SmallVector<StateSpec> listStates(const Config &config, int64_t ratio, int64_t maxContext,
                                  NumericForm form);

/// Values of one layer: weights and state by local name ("attn.wq_a", "attn.window"), and what all layers share.
struct LayerValues {
  Value tokens, positions, span;
  Value table;                                      // rotary table of the rows
  Value entryPositions, entryTable;                 // of the entries that the call completes; null without a compressor
  llvm::StringMap<std::pair<Value, Value>> weights; // weight and scale
  llvm::StringMap<Value> states;                    // replaced by their new values

  Value weight(StringRef name) const { return weights.lookup(name).first; }
};

/// Creates the ops of a function that works on `rows` rows: tokens of one sequence, or one token each of as many slots,
/// whose states have a leading dimension.
class BlockBuilder {
public:
  BlockBuilder(OpBuilder &builder, const Config &config, int64_t rows, bool slots, NumericForm form)
      : b(builder), c(config), rows(rows), slots(slots), form(form) {}

  //===--- What comes before and behind the layers ---===//
  Value embed(Value tokens, Value table);
  Value expand(Value input);
  Value ropeTable(StringRef name, Value positions, bool compressed);
  Value entryPositions(StringRef name, Value span, int64_t ratio);
  /// The residual that enters the MTP block: the embedded next token joined with the main model's residual (spec 6).
  Value mtpInput(Value tokens, Value hidden, Value table, const LayerValues &mtp);
  /// hc_head, norm and logits of the last valid row, or of all rows.
  Value head(StringRef path, Value streams, Value span, bool allRows, Value fn, Value scale, Value base, Value norm,
             Value weight);

  //===--- Layers ---===//
  /// Attention and experts of one layer; returns the new residual.
  Value layer(Value streams, int64_t ratio, bool hash, LayerValues &values);

private:
  struct HcPre {
    Value input, post, comb;
  };
  HcPre hcPre(StringRef name, StringRef weights, Value streams, const LayerValues &values);
  Value hcPost(StringRef name, Value input, Value streams, const HcPre &pre);
  Value attention(Value input, int64_t ratio, LayerValues &values);
  Value indexer(Value input, Value query, int64_t ratio, LayerValues &values);
  Value compressor(StringRef name, StringRef cache, Value input, int64_t ratio, bool rotate, LayerValues &values);
  Value outputProjection(Value heads, const LayerValues &values);
  Value experts(Value input, bool hash, LayerValues &values);

  /// `wide` results are f32 in every form.
  Value linear(StringRef name, Value input, Value weight, Value scale = {}, bool wide = false);
  /// What a linear with a quantised weight sees of its input: in the reference form, blocks of 128 channels of fp8
  /// (spec 7.2). Linears that read one value share it.
  Value quantized(StringRef name, Value input, Value weight);
  /// The values that a cache of a state can hold.
  Value cacheable(StringRef name, Value input, int64_t columns, int64_t bits);
  /// By the weight and scale of the same name.
  Value linear(StringRef name, Value input, const LayerValues &values) {
    auto [weight, scale] = values.weights.lookup(name);
    return linear(name, input, weight, scale);
  }
  Value groupedLinear(StringRef name, Value input, std::pair<Value, Value> weight, Value experts, Value offsets,
                      Value rowsOfPairs);
  Value rmsNorm(StringRef name, Value input, Value weight);
  Value rope(StringRef name, Value input, Value table, bool inverse = false);
  Value hadamard(StringRef name, Value input);
  Value swiglu(StringRef name, Value gate, Value up, Value weights);
  /// [.., a*b, ..] to [.., a, b, ..] at a dimension, and back.
  Value split(Value value, int64_t dim, int64_t outer, int64_t inner);
  Value join(Value value, int64_t dim);

  /// Whether an entry of a cache is f32 until it becomes a code. A bf16 number on the way moves one code in some thirty,
  /// and which ones depends on the order of the sums.
  bool roundsOnce() const { return form.numerics == Numerics::Fast; }

  RankedTensorType f32(ArrayRef<int64_t> shape) { return RankedTensorType::get(shape, b.getF32Type()); }
  /// Type of a value between ops.
  RankedTensorType act(ArrayRef<int64_t> shape) {
    return RankedTensorType::get(shape, form.bf16() ? Type(b.getBF16Type()) : Type(b.getF32Type()));
  }
  RankedTensorType i32(ArrayRef<int64_t> shape) { return RankedTensorType::get(shape, b.getI32Type()); }
  ArrayRef<int64_t> shapeOf(Value value) { return cast<RankedTensorType>(value.getType()).getShape(); }
  FloatAttr f32Attr(double value) { return b.getF32FloatAttr(static_cast<float>(value)); }
  Location at(StringRef name) { return NameLoc::get(b.getStringAttr(name)); }
  template <typename OpTy, typename... Args> OpTy create(StringRef name, Args &&...args) {
    OpTy op = OpTy::create(b, at(name), std::forward<Args>(args)...);
    op->setDiscardableAttr("v4.name", b.getStringAttr(name));
    return op;
  }

  OpBuilder &b;
  const Config &c;
  int64_t rows;
  bool slots;
  NumericForm form;
  DenseMap<Value, Value> quantizedInputs;
};

} // namespace mlir::v4

#endif
