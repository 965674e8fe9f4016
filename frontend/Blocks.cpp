// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The blocks of the graph (spec 2 to 6), one function per kind.

#include "frontend/Blocks.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include <cmath>

using namespace mlir;
using namespace mlir::v4;

/// Columns of a cache row that are kept as codes; none where they make no whole blocks.
static int64_t quantizedColumns(const Config &config) {
  int64_t columns = config.headDim - config.ropeDim;
  return columns % 64 ? 0 : columns;
}
static int64_t quantizedIndexColumns(const Config &config) {
  return config.indexDim % 32 ? 0 : config.indexDim;
}

bool mlir::v4::canPack(const Config &config) {
  bool indexed = llvm::is_contained(config.ratios, overlapRatio);
  return quantizedColumns(config) > 0 && (!indexed || quantizedIndexColumns(config) > 0);
}

SmallVector<StateSpec> mlir::v4::listStates(const Config &config, int64_t ratio, int64_t maxContext, NumericForm form) {
  SmallVector<StateSpec> states;
  auto cache = [&](StringRef name, int64_t rows, int64_t columns, int64_t quantized, int64_t bits, StateKind kind) {
    StateSpec state{name.str(), {rows, columns}, kind, kind == StateKind::window ? 0 : ratio};
    state.format = form.kv;
    if (form.bf16() && quantized) {
      state.quantized = quantized;
      state.bits = bits;
    }
    if (form.kv == KvFormat::Packed)
      state.shape[1] = CacheRow{columns, quantized, bits == 8 ? QuantFormat::e4m3 : QuantFormat::e2m1}.bytes();
    states.push_back(std::move(state));
  };
  cache("attn.window", config.window, config.headDim, quantizedColumns(config), 8, StateKind::window);
  if (ratio == 0)
    return states;
  // A block that the context cannot complete still needs a place, because a tensor has at least one row.
  int64_t entries = std::max<int64_t>(1, maxContext / ratio);
  bool overlap = ratio == overlapRatio;
  auto rowStates = [&](const std::string &name, int64_t width) {
    int64_t m = overlap ? 2 : 1;
    SmallVector<int64_t, 2> shape{m * ratio, m * width};
    states.push_back({name + ".kv_rows", shape, StateKind::kv_rows, ratio, overlap});
    states.push_back({name + ".score_rows", shape, StateKind::score_rows, ratio, overlap});
  };
  cache("attn.compressed", entries, config.headDim, quantizedColumns(config), 8, StateKind::entries);
  if (overlap)
    cache("attn.index_keys", entries, config.indexDim, quantizedIndexColumns(config), 4, StateKind::entries);
  rowStates("attn.compressor", config.headDim);
  if (overlap)
    rowStates("attn.indexer.compressor", config.indexDim);
  return states;
}

//===----------------------------------------------------------------------===//
// Single ops
//===----------------------------------------------------------------------===//

Value BlockBuilder::quantized(StringRef name, Value input, Value weight) {
  Type stored = cast<RankedTensorType>(weight.getType()).getElementType();
  if (form.numerics != Numerics::Reference || !(stored.isInteger(8) || isa<Float8E4M3FNType>(stored)))
    return input;
  Value &rounded = quantizedInputs[input];
  if (!rounded)
    rounded = create<RoundTripOp>((name + ".input").str(), input.getType(), input, QuantFormat::e4m3, kByteBlock,
                                  shapeOf(input).back());
  return rounded;
}

Value BlockBuilder::cacheable(StringRef name, Value input, int64_t columns, int64_t bits) {
  if (!form.bf16() || columns == 0)
    return input;
  bool bytes = bits == 8;
  return create<RoundTripOp>(name, input.getType(), input, bytes ? QuantFormat::e4m3 : QuantFormat::e2m1,
                             bytes ? 64 : 32, columns);
}

Value BlockBuilder::linear(StringRef name, Value input, Value weight, Value scale, bool wide) {
  ArrayRef<int64_t> shape = shapeOf(weight);
  SmallVector<int64_t, 3> result{shapeOf(input).front()};
  // [N, K], or [G, N, K] for the grouped output projection.
  result.append(shape.begin(), shape.end() - 1);
  // The grouped output projection, whose weight the official code widens to bf16, takes its input as it is.
  if (shape.size() == 2)
    input = quantized(name, input, weight);
  return create<LinearOp>(name, wide ? f32(result) : act(result), input, weight, scale);
}

Value BlockBuilder::groupedLinear(StringRef name, Value input, std::pair<Value, Value> weight, Value experts,
                                  Value offsets, Value rowsOfPairs) {
  int64_t pairs = rows * c.expertsPerToken;
  input = quantized(name, input, weight.first);
  return create<GroupedLinearOp>(name, act({pairs, shapeOf(weight.first)[1]}), input, weight.first, weight.second,
                                 experts, offsets, rowsOfPairs);
}

Value BlockBuilder::rmsNorm(StringRef name, Value input, Value weight) {
  bool rounded = form.numerics == Numerics::Reference && !weight;
  return create<RmsNormOp>(name, input.getType(), input, weight, f32Attr(c.rmsEps),
                           rounded ? b.getUnitAttr() : UnitAttr());
}

Value BlockBuilder::rope(StringRef name, Value input, Value table, bool inverse) {
  return create<RopeOp>(name, input.getType(), input, table, inverse ? b.getUnitAttr() : UnitAttr());
}

Value BlockBuilder::hadamard(StringRef name, Value input) {
  return create<HadamardOp>(name, input.getType(), input);
}

Value BlockBuilder::swiglu(StringRef name, Value gate, Value up, Value weights) {
  return create<SwigluOp>(name, gate.getType(), gate, up, weights, f32Attr(c.swigluLimit));
}

Value BlockBuilder::split(Value value, int64_t dim, int64_t outer, int64_t inner) {
  auto type = cast<RankedTensorType>(value.getType());
  SmallVector<int64_t> shape(type.getShape());
  shape[dim] = outer;
  shape.insert(shape.begin() + dim + 1, inner);
  SmallVector<ReassociationIndices> groups;
  for (int64_t i = 0, next = 0; i < type.getRank(); ++i) {
    groups.push_back({next++});
    if (i == dim)
      groups.back().push_back(next++);
  }
  return tensor::ExpandShapeOp::create(b, b.getUnknownLoc(), type.clone(shape), value, groups);
}

Value BlockBuilder::join(Value value, int64_t dim) {
  auto type = cast<RankedTensorType>(value.getType());
  SmallVector<ReassociationIndices> groups;
  for (int64_t i = 0; i < type.getRank(); ++i) {
    if (i == dim + 1)
      groups.back().push_back(i);
    else
      groups.push_back({i});
  }
  return tensor::CollapseShapeOp::create(b, b.getUnknownLoc(), value, groups);
}

//===----------------------------------------------------------------------===//
// Before and behind the layers
//===----------------------------------------------------------------------===//

Value BlockBuilder::embed(Value tokens, Value table) {
  return create<EmbedOp>("embed", act({rows, c.hiddenSize}), tokens, table);
}

Value BlockBuilder::expand(Value input) {
  return create<HcExpandOp>("expand", act({rows, c.streams, c.hiddenSize}), input, Value());
}

Value BlockBuilder::ropeTable(StringRef name, Value positions, bool compressed) {
  YarnAttr yarn;
  if (compressed && c.yarn)
    yarn = YarnAttr::get(b.getContext(), b.getF64FloatAttr(c.yarn->factor), c.yarn->original,
                         b.getF64FloatAttr(c.yarn->betaFast), b.getF64FloatAttr(c.yarn->betaSlow));
  return create<RopeTableOp>(name, f32({shapeOf(positions).front(), 2, c.ropeDim / 2}), positions,
                             b.getF64FloatAttr(compressed ? c.compressRopeTheta : c.ropeTheta), yarn);
}

Value BlockBuilder::entryPositions(StringRef name, Value span, int64_t ratio) {
  // The call touches one block more than it can complete, except that both ends may coincide: ceil(S/r) is the most.
  int64_t count = slots ? rows : (rows + ratio - 1) / ratio;
  return create<EntryPositionsOp>(name, i32({count}), span, b.getI64IntegerAttr(ratio));
}

Value BlockBuilder::mtpInput(Value tokens, Value hidden, Value table, const LayerValues &mtp) {
  Value embedded = rmsNorm("mtp.0.enorm", embed(tokens, table), mtp.weight("enorm.weight"));
  auto [tokenWeight, tokenScale] = mtp.weights.lookup("e_proj");
  Value fromToken = linear("mtp.0.e_proj", embedded, tokenWeight, tokenScale);
  // Norm and projection treat every stream of every row alike.
  Value normed = rmsNorm("mtp.0.hnorm", join(hidden, 0), mtp.weight("hnorm.weight"));
  auto [hiddenWeight, hiddenScale] = mtp.weights.lookup("h_proj");
  Value projected = split(linear("mtp.0.h_proj", normed, hiddenWeight, hiddenScale), 0, rows, c.streams);
  return create<HcExpandOp>("mtp.0.expand", hidden.getType(), fromToken, projected);
}

Value BlockBuilder::head(StringRef path, Value streams, Value span, bool allRows, Value fn, Value scale, Value base,
                         Value norm, Value weight) {
  std::string p = path.str();
  if (!allRows && rows > 1 && !slots)
    streams = create<SelectLastOp>(p + ".select_last", act({1, c.streams, c.hiddenSize}), streams, span);
  Value collapsed = create<HcHeadOp>(p + ".hc_head", act({shapeOf(streams).front(), c.hiddenSize}), streams, fn, scale,
                                     base, f32Attr(c.rmsEps), f32Attr(c.hcEps));
  return linear(p + ".logits", rmsNorm(p + ".norm", collapsed, norm), weight, {}, /*wide=*/true);
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

BlockBuilder::HcPre BlockBuilder::hcPre(StringRef name, StringRef weights, Value streams, const LayerValues &values) {
  std::string p = weights.str();
  auto op = create<HcPreOp>(
      name, TypeRange{act({rows, c.hiddenSize}), f32({rows, c.streams}), f32({rows, c.streams, c.streams})}, streams,
      values.weight(p + "_fn"), values.weight(p + "_scale"), values.weight(p + "_base"), f32Attr(c.rmsEps),
      f32Attr(c.hcEps), b.getI64IntegerAttr(c.sinkhornIterations));
  return {op.getResult(), op.getPost(), op.getComb()};
}

Value BlockBuilder::hcPost(StringRef name, Value input, Value streams, const HcPre &pre) {
  return create<HcPostOp>(name, streams.getType(), input, streams, pre.post, pre.comb);
}

Value BlockBuilder::layer(Value streams, int64_t ratio, bool hash, LayerValues &values) {
  HcPre attn = hcPre("attn.hc_pre", "hc_attn", streams, values);
  Value normed = rmsNorm("attn.norm", attn.input, values.weight("attn_norm.weight"));
  streams = hcPost("attn.hc_post", attention(normed, ratio, values), streams, attn);

  HcPre ffn = hcPre("ffn.hc_pre", "hc_ffn", streams, values);
  normed = rmsNorm("ffn.norm", ffn.input, values.weight("ffn_norm.weight"));
  return hcPost("ffn.hc_post", experts(normed, hash, values), streams, ffn);
}

/// Attention of every kind (spec 4.1, 4.10): the window always, compressed entries with a ratio, chosen by the indexer
/// with the overlap ratio.
Value BlockBuilder::attention(Value input, int64_t ratio, LayerValues &values) {
  Value lowRank = rmsNorm("attn.q_norm", linear("attn.wq_a", input, values), values.weight("attn.q_norm.weight"));
  Value query = split(linear("attn.wq_b", lowRank, values), 1, c.heads, c.headDim);
  query = rope("attn.q_rope", rmsNorm("attn.head_norm", query, Value()), values.table);

  auto [kvWeight, kvScale] = values.weights.lookup("attn.wkv");
  Value kv = linear("attn.wkv", input, kvWeight, kvScale, /*wide=*/roundsOnce());
  kv = rmsNorm("attn.kv_norm", kv, values.weight("attn.kv_norm.weight"));
  kv = cacheable("attn.kv_round", rope("attn.kv_rope", kv, values.table), quantizedColumns(c), 8);

  Value selected;
  if (ratio == overlapRatio)
    selected = indexer(input, lowRank, ratio, values);

  // One row of a sequence reads the ring that it has just written. Several rows overwrite places that earlier rows of
  // the call still see, so they read a copy of the old ring followed by themselves.
  bool single = rows == 1 || slots;
  Value &ring = values.states["attn.window"];
  Value window;
  if (!single)
    window = create<WindowContextOp>("attn.window_context", act({c.window + rows, c.headDim}), kv, ring, values.span);
  ring = create<WindowAppendOp>("attn.window_append", ring.getType(), kv, ring, values.span);
  if (single)
    window = ring;

  Value entries;
  if (ratio != 0)
    entries = compressor("attn.compressor", "attn.compressed", input, ratio, /*rotate=*/false, values);
  Value heads =
      create<SparseAttentionOp>("attn.core", query.getType(), query, window, values.weight("attn.attn_sink"),
                                values.positions, values.span, entries, selected, b.getI64IntegerAttr(c.window),
                                b.getI64IntegerAttr(ratio), f32Attr(1.0 / std::sqrt(static_cast<double>(c.headDim))),
                                form.numerics == Numerics::Reference ? b.getUnitAttr() : UnitAttr());
  return outputProjection(rope("attn.o_rope", heads, values.table, /*inverse=*/true), values);
}

/// The lightning indexer (spec 4.9): appends the keys of completed blocks and lists the best visible entries.
Value BlockBuilder::indexer(Value input, Value lowRank, int64_t ratio, LayerValues &values) {
  Value query = split(linear("attn.indexer.wq_b", lowRank, values), 1, c.indexHeads, c.indexDim);
  query = hadamard("attn.indexer.hadamard", rope("attn.indexer.rope", query, values.table));
  bool reference = form.numerics == Numerics::Reference;
  if (reference)
    query = cacheable("attn.indexer.round", query, quantizedIndexColumns(c), 4);
  Value weights = linear("attn.indexer.weights_proj", input, values.weight("attn.indexer.weights_proj.weight"));
  Value keys = compressor("attn.indexer.compressor", "attn.index_keys", input, ratio, /*rotate=*/true, values);
  int64_t count = *(shapeOf(keys).end() - 2);
  double scale = 1.0 / std::sqrt(static_cast<double>(c.indexDim) * static_cast<double>(c.indexHeads));
  return create<IndexTopKOp>("attn.indexer.topk", i32({rows, std::min(c.indexTopK, count)}), query, weights, keys,
                             values.positions, b.getI64IntegerAttr(ratio), f32Attr(scale),
                             reference ? b.getUnitAttr() : UnitAttr());
}

/// A compressor (spec 4.5 to 4.7): pools completed blocks into entries and appends them to a cache; `rotate` for index
/// keys. Returns the cache.
Value BlockBuilder::compressor(StringRef name, StringRef cacheName, Value input, int64_t ratio, bool rotate,
                               LayerValues &values) {
  std::string p = name.str();
  Value kv = linear(p + ".wkv", input, values.weight(p + ".wkv.weight"), {}, /*wide=*/true);
  Value gate = linear(p + ".wgate", input, values.weight(p + ".wgate.weight"), {}, /*wide=*/true);
  Value &kvRows = values.states[p + ".kv_rows"], &scoreRows = values.states[p + ".score_rows"];
  Value &cache = values.states[cacheName];
  int64_t count = shapeOf(values.entryPositions).front(), width = rotate ? c.indexDim : c.headDim;
  RankedTensorType pooled = roundsOnce() ? f32({count, width}) : act({count, width});
  auto pool = create<CompressOp>(p + ".pool", TypeRange{pooled, kvRows.getType(), scoreRows.getType()}, kv, gate,
                                 values.weight(p + ".ape"), kvRows, scoreRows, values.span,
                                 b.getI64IntegerAttr(ratio), ratio == overlapRatio ? b.getUnitAttr() : UnitAttr());
  kvRows = pool.getNewKvRows();
  scoreRows = pool.getNewScoreRows();
  Value entries = rmsNorm(p + ".norm", pool.getEntries(), values.weight(p + ".norm.weight"));
  entries = rope(p + ".rope", entries, values.entryTable);
  if (rotate)
    entries = hadamard(p + ".hadamard", entries);
  entries = cacheable(p + ".round", entries, rotate ? quantizedIndexColumns(c) : quantizedColumns(c), rotate ? 4 : 8);
  cache = create<CacheAppendOp>(p + ".append", cache.getType(), entries, cache, values.entryPositions,
                                b.getI64IntegerAttr(ratio));
  return cache;
}

/// The grouped output projection and the one that joins the groups (spec 4.1).
Value BlockBuilder::outputProjection(Value heads, const LayerValues &values) {
  int64_t groups = c.outputGroups;
  Value grouped = heads;
  if (groups != c.heads)
    grouped = join(split(heads, 1, groups, c.heads / groups), 2);
  auto [weight, scale] = values.weights.lookup("attn.wo_a");
  weight = split(weight, 0, groups, c.outputRank);
  if (scale)
    scale = split(scale, 0, groups, shapeOf(scale).front() / groups);
  Value projected = linear("attn.wo_a", grouped, weight, scale);
  return linear("attn.wo_b", join(projected, 1), values);
}

/// Router, routed experts and the shared expert (spec 5).
Value BlockBuilder::experts(Value input, bool hash, LayerValues &values) {
  Value logits = linear("ffn.gate", input, values.weight("ffn.gate.weight"), {}, /*wide=*/true);
  int64_t k = c.expertsPerToken, pairs = rows * k, active = std::min(pairs, c.experts);
  Value indices, weights;
  SmallVector<Type, 2> routed{i32({rows, k}), f32({rows, k})};
  if (hash) {
    auto route = create<RouteHashOp>("ffn.route", routed, logits, values.tokens, values.weight("ffn.gate.tid2eid"),
                                     f32Attr(c.routeScale));
    indices = route.getIndices();
    weights = route.getWeights();
  } else {
    auto route = create<RouteOp>("ffn.route", routed, logits, values.weight("ffn.gate.bias"), f32Attr(c.routeScale));
    indices = route.getIndices();
    weights = route.getWeights();
  }
  auto dispatch = create<DispatchOp>(
      "ffn.dispatch",
      SmallVector<Type, 5>{i32({active}), i32({active + 1}), i32({pairs}), f32({pairs}), i32({rows, k})}, indices,
      weights, values.positions, b.getI64IntegerAttr(c.experts));
  Value list = dispatch.getExperts(), offsets = dispatch.getOffsets();

  auto expert = [&](StringRef name) { return values.weights.lookup(("ffn.experts.{e}." + name).str()); };
  Value gate = groupedLinear("ffn.experts.w1", input, expert("w1"), list, offsets, dispatch.getRows());
  Value up = groupedLinear("ffn.experts.w3", input, expert("w3"), list, offsets, dispatch.getRows());
  Value product = swiglu("ffn.experts.swiglu", gate, up, dispatch.getPairWeights());
  Value down = groupedLinear("ffn.experts.w2", product, expert("w2"), list, offsets, Value());

  Value sharedGate = linear("ffn.shared_experts.w1", input, values);
  Value sharedUp = linear("ffn.shared_experts.w3", input, values);
  Value sharedProduct = swiglu("ffn.shared_experts.swiglu", sharedGate, sharedUp, Value());
  Value shared = linear("ffn.shared_experts.w2", sharedProduct, values);
  return create<CombineOp>("ffn.combine", shared.getType(), down, dispatch.getPairs(), shared);
}
