// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The ops of the v4 dialect.

#ifndef V4_OPS_TD
#define V4_OPS_TD

include "dialects/V4Dialect.td"
include "dialects/V4Interfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/DestinationStyleOpInterface.td"
include "mlir/Dialect/Linalg/IR/LinalgInterfaces.td"
include "mlir/IR/SymbolInterfaces.td"

def V4_F32 : StaticShapeTensorOf<[F32]>;
def V4_I32 : StaticShapeTensorOf<[I32]>;
def V4_Positions : StaticShapeTensorOf<[I32]>;
def V4_Span : Type<And<[StaticShapeTensorOf<[I32]>.predicate, CPred<"::llvm::cast<::mlir::RankedTensorType>($_self).getShape() == ::llvm::ArrayRef<int64_t>{2}">]>, "tensor<2xi32>", "::mlir::RankedTensorType">;
def V4_Weight : StaticShapeTensorOf<[F32, BF16, F8E4M3FN, I8]>;
def V4_Plain : StaticShapeTensorOf<[F32, BF16]>;
def V4_Scale : StaticShapeTensorOf<[F8E8M0FNU]>;

// Every compute op: pure, decomposes, and says how it is cut into tiles.
class V4_Op<string mnemonic, list<string> tile = [], list<Trait> traits = []> : Op<V4_Dialect, mnemonic, !listconcat(traits, [
    Pure, DeclareOpInterfaceMethods<AggregatedOpInterface, ["decomposeOperation"]>,
    DeclareOpInterfaceMethods<V4_TileInterface, tile>])> {
  let hasVerifier = 1;
}
// ... over rows, and possibly further loops.
class V4_TiledOp<string mnemonic, list<string> extra = [], list<Trait> traits = []> :
    V4_Op<mnemonic, !listconcat(["getLoopSizes", "getTileSizes", "getOperandTile", "getResultTile"], extra), traits>;
// ... that updates state operands in place, as one workgroup.
class V4_StateOp<string mnemonic> : V4_Op<mnemonic, ["getTiedOperand"]>;

// Elementwise or norm: cheap next to what it reads, and every row of its results depends on one row of its input.
def V4_Rowwise : NativeOpTrait<"v4::Rowwise">;

//===----------------------------------------------------------------------===//
def V4_BasicDocs : OpDocGroup { let summary = "Basic ops"; let description = "Embedding, linears, norms, rotary embedding, quantisers."; }
let opDocGroup = V4_BasicDocs in {

def V4_EmbedOp : V4_TiledOp<"embed"> {
  let summary = "rows of a table";
  let description = [{
    `y[s] = widen(table[clamp(ids[s], 0, V-1)])`, `ids [S]`, `table [V, d]`, `y [S, d]` (spec 2.1). The clamp keeps rows past the length in bounds.
  }];
  let arguments = (ins V4_I32:$ids, V4_Plain:$table);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$ids `,` $table attr-dict `:` functional-type(operands, results)";
}

def V4_SelectLastOp : V4_Op<"select_last"> {
  let summary = "the last valid row";
  let description = [{ `y[0] = x[max(length - 1, 0)]`, `x [S, ...]`, `y [1, ...]`. }];
  let arguments = (ins V4_F32:$input, V4_Span:$span);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$input `,` $span attr-dict `:` functional-type(operands, results)";
}

def V4_LinearOp : V4_TiledOp<"linear"> {
  let summary = "product with a stored weight";
  let description = [{
    `y[s, n] = sum_k x[s, k] * W[n, k]`, `x [S, K]`, `W [N, K]`, `y [S, N]`; with groups `x [S, G, K]`, `W [G, N, K]`, `y [S, G, N]` (the grouped
    output projection, spec 4.1). The weight's element type is its storage format: f32 and bf16 have no scale; f8E4M3FN has
    `scale [ceil(N/128), ceil(K/128)]`; i8 holds fp4, `[N, K/2]`, with `scale [N, K/32]` (with groups, a leading G on both; a scaled N is then a multiple of 128).
    Accumulates in f32 (spec 7.2, 7.3).
  }];
  let arguments = (ins V4_F32:$input, V4_Weight:$weight, Optional<V4_Scale>:$scale);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$input `,` $weight (`scale` $scale^)? attr-dict `:` functional-type(operands, results)";
}

def V4_RmsNormOp : V4_TiledOp<"rms_norm", [], [V4_Rowwise]> {
  let summary = "root-mean-square norm over the last dimension";
  let description = [{ `y = w * x * rsqrt(mean(x^2) + eps)`, `x [S, D]` or `[S, h, D]`, `w [D]` optional (spec 3.1, 3.2). }];
  let arguments = (ins V4_F32:$input, Optional<V4_Plain>:$weight, F32Attr:$eps);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$input (`weight` $weight^)? `eps` $eps attr-dict `:` functional-type(operands, results)";
}

def V4_RopeTableOp : V4_TiledOp<"rope_table"> {
  let summary = "cosines and sines of rotary angles";
  let description = [{
    `y[s, 0, i] = cos(a)`, `y[s, 1, i] = sin(a)`, `a = fl32(positions[s] * f_i)`, `f_i = theta^(-2i/dim)`, with YaRN when given (spec 3.3, 3.4).
    `y [S, 2, dim/2]`. The range reduction is exact enough for angles up to 2^21.
  }];
  let arguments = (ins V4_Positions:$positions, F64Attr:$theta, OptionalAttr<V4_YarnAttr>:$yarn);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$positions `theta` $theta (`yarn` $yarn^)? attr-dict `:` functional-type(operands, results)";
}

def V4_RopeOp : V4_TiledOp<"rope", [], [V4_Rowwise]> {
  let summary = "rotary embedding of the last dimensions";
  let description = [{
    Interleaved pairs of the last `2*half` columns of `x [S, D]` or `[S, h, D]`: `(a, b) -> (a cos - b sin, a sin + b cos)`, with `sin` negated when
    `inverse` (spec 3.3, 3.5). `table [S, 2, half]` comes from `v4.rope_table`.
  }];
  let arguments = (ins V4_F32:$input, V4_F32:$table, UnitAttr:$inverse);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$input `,` $table (`inverse` $inverse^)? attr-dict `:` functional-type(operands, results)";
}

def V4_HadamardOp : V4_TiledOp<"hadamard", [], [V4_Rowwise]> {
  let summary = "Hadamard rotation of the last dimension";
  let description = [{ `y = x H_D / sqrt(D)`, Sylvester order, D a power of two (spec 4.9). `x [S, D]` or `[S, h, D]`. }];
  let arguments = (ins V4_F32:$input);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
}

def V4_QuantizeOp : V4_TiledOp<"quantize", [], [V4_Rowwise]> {
  let summary = "block quantisation with power-of-two scales";
  let description = [{
    Blocks of `block` columns of `x [S, D]`: `s = 2^ceil(log2(max(amax, floor) / MAX))`, codes `round(clamp(x / s))` (spec 7.1). e4m3: `codes f8E4M3FN [S, D]`; e2m1: `codes i8 [S, D/2]`,
    low nibble first. `scale f8E8M0FNU [S, D/block]`.
  }];
  let arguments = (ins V4_F32:$input, V4_QuantFormat:$format, I64Attr:$block);
  let results = (outs StaticShapeTensorOf<[F8E4M3FN, I8]>:$codes, V4_Scale:$scale);
  let assemblyFormat = "$input `format` $format `block` $block attr-dict `:` functional-type(operands, results)";
}

def V4_DequantizeOp : V4_TiledOp<"dequantize", [], [V4_Rowwise]> {
  let summary = "codes times scales";
  let description = [{ The exact inverse map of `v4.quantize`: `y = codes * scale` (spec 7.1). `block` follows from the shapes. }];
  let arguments = (ins StaticShapeTensorOf<[F8E4M3FN, I8]>:$codes, V4_Scale:$scale);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$codes `,` $scale attr-dict `:` functional-type(operands, results)";
}

def V4_RoundTripOp : V4_TiledOp<"round_trip", [], [V4_Rowwise]> {
  let summary = "quantise and dequantise in place";
  let description = [{ The first `columns` columns of `x [S, D]` or `[S, h, D]` are replaced by `dequantize(quantize(x))` in blocks of `block`; the others pass (spec 7.2, 7.4). }];
  let arguments = (ins V4_F32:$input, V4_QuantFormat:$format, I64Attr:$block, I64Attr:$columns);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$input `format` $format `block` $block `columns` $columns attr-dict `:` functional-type(operands, results)";
}
} // opDocGroup

//===----------------------------------------------------------------------===//
def V4_HcDocs : OpDocGroup { let summary = "Hyper-connections"; let description = "Manifold-constrained hyper-connections (spec 2)."; }
let opDocGroup = V4_HcDocs in {

def V4_HcExpandOp : V4_TiledOp<"hc_expand", [], [V4_Rowwise]> {
  let summary = "one vector into every residual stream";
  let description = [{ `X[s, j] = x[s] (+ y[s, j])`, `x [S, d]`, `y`, `X [S, n, d]` (spec 2.1; the sum is the entry of the MTP block, spec 6). }];
  let arguments = (ins V4_F32:$input, Optional<V4_F32>:$addend);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$input (`add` $addend^)? attr-dict `:` functional-type(operands, results)";
}

def V4_HcPreOp : V4_TiledOp<"hc_pre"> {
  let summary = "residual streams to the input of a sublayer";
  let description = [{
    spec 2.3: `v = flatten(X)`, `rho = 1/sqrt(mean(v^2) + eps)`, `mix = (v fnᵀ) rho`; `pre = sigmoid(mix*scale0 + base) + hc_eps`, `post = 2 sigmoid(mix*scale1 + base)`,
    `comb = sinkhorn(mix*scale2 + base)`; `x = sum_j pre_j v_j`. `X [S, n, d]`, `fn [n*(2+n), n*d]`, `scale [3]`, `base [n*(2+n)]`; `x [S, d]`, `post [S, n]`, `comb [S, n, n]` (source, destination).
  }];
  let arguments = (ins V4_F32:$streams, V4_F32:$fn, V4_F32:$scale, V4_F32:$base, F32Attr:$eps, F32Attr:$hc_eps, I64Attr:$iterations);
  let results = (outs V4_F32:$result, V4_F32:$post, V4_F32:$comb);
  let assemblyFormat = "$streams `,` $fn `,` $scale `,` $base `eps` $eps `hc_eps` $hc_eps `iterations` $iterations attr-dict `:` functional-type(operands, results)";
}

def V4_SinkhornOp : V4_TiledOp<"sinkhorn"> {
  let summary = "doubly stochastic matrix by alternating normalisation";
  let description = [{ Softmax over the last index, plus eps, then alternating column and row normalisation in the order of spec 2.4; `z [S, n, n]`. }];
  let arguments = (ins V4_F32:$input, F32Attr:$eps, I64Attr:$iterations);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$input `eps` $eps `iterations` $iterations attr-dict `:` functional-type(operands, results)";
}

def V4_HcPostOp : V4_TiledOp<"hc_post"> {
  let summary = "output of a sublayer back into the residual streams";
  let description = [{ `X'[s, k] = post[s, k] f[s] + sum_j comb[s, j, k] X[s, j]` (spec 2.5). `f [S, d]`, `X [S, n, d]`. }];
  let arguments = (ins V4_F32:$input, V4_F32:$streams, V4_F32:$post, V4_F32:$comb);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$input `,` $streams `,` $post `,` $comb attr-dict `:` functional-type(operands, results)";
}

def V4_HcHeadOp : V4_TiledOp<"hc_head"> {
  let summary = "final collapse of the residual streams";
  let description = [{ As `v4.hc_pre` with `pre` only: `fn [n, n*d]`, `scale [1]`, `base [n]`; `x [S, d]` (spec 2.6). }];
  let arguments = (ins V4_F32:$streams, V4_F32:$fn, V4_F32:$scale, V4_F32:$base, F32Attr:$eps, F32Attr:$hc_eps);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$streams `,` $fn `,` $scale `,` $base `eps` $eps `hc_eps` $hc_eps attr-dict `:` functional-type(operands, results)";
}
} // opDocGroup

//===----------------------------------------------------------------------===//
def V4_AttentionDocs : OpDocGroup { let summary = "Hybrid attention"; let description = "Window, compressed entries, indexer, sparse attention (spec 4)."; }
let opDocGroup = V4_AttentionDocs in {

def V4_WindowContextOp : V4_Op<"window_context"> {
  let summary = "the window before the call, then the rows of the call, in time order";
  let description = [{
    `y[i] = ring[(start - w + i) mod w]` for `i < w` (position `start - w + i`; unspecified where that is negative), `y[w + i] = kv[i]` (spec 4.3).
    `kv [S, c]`, `ring [w, c]`, `y [w + S, c]`. Used for S > 1; must be read before `v4.window_append` overwrites the ring.
  }];
  let arguments = (ins V4_F32:$kv, V4_F32:$ring, V4_Span:$span);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$kv `,` $ring `,` $span attr-dict `:` functional-type(operands, results)";
}

def V4_WindowAppendOp : V4_StateOp<"window_append"> {
  let summary = "write the rows of the call into the ring";
  let description = [{ `ring[(start + i) mod w] = kv[i]` for the last `min(w, length)` valid rows (spec 4.3). The ring is updated in place. }];
  let arguments = (ins V4_F32:$kv, V4_F32:$ring, V4_Span:$span);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$kv `,` $ring `,` $span attr-dict `:` functional-type(operands, results)";
}

def V4_EntryPositionsOp : V4_Op<"entry_positions"> {
  let summary = "positions of the entries that the call completes";
  let description = [{
    `y[e] = (start/r + e) * r` where that block ends inside the call, `(start/r + e + 1) * r <= start + length`, else -1 (spec 4.4, 4.7). `y [ceil(S/r)]`.
  }];
  let arguments = (ins V4_Span:$span, I64Attr:$ratio);
  let results = (outs V4_I32:$result);
  let assemblyFormat = "$span `ratio` $ratio attr-dict `:` functional-type(operands, results)";
}

def V4_CompressOp : V4_Op<"compress", ["getTiedOperand"]> {
  let summary = "pool blocks of r tokens into entries";
  let description = [{
    Scores are `gate + ape[position mod r]`. Entry e of the call (block `start/r + e`) is, per channel, the softmax-weighted sum over its tokens: plain over the r tokens of the block; with `overlap`
    over the r tokens of the previous block by the first half of the channels and the r tokens of the block by the second half (spec 4.5, 4.6). Tokens before the call come from the state rows, which are updated in place (spec 4.8).
    `kv`, `gate [S, m*c]`, `ape [r, m*c]`, `kv_rows`, `score_rows [m*r, m*c]` with m = 2 if overlap else 1; `entries [ceil(S/r), c]`, of which those are meaningful whose `v4.entry_positions` is not -1.
  }];
  let arguments = (ins V4_F32:$kv, V4_F32:$gate, V4_F32:$ape, V4_F32:$kv_rows, V4_F32:$score_rows, V4_Span:$span, I64Attr:$ratio, UnitAttr:$overlap);
  let results = (outs V4_F32:$entries, V4_F32:$new_kv_rows, V4_F32:$new_score_rows);
  let assemblyFormat = "$kv `,` $gate `,` $ape `,` $kv_rows `,` $score_rows `,` $span `ratio` $ratio (`overlap` $overlap^)? attr-dict `:` functional-type(operands, results)";
}

def V4_CacheAppendOp : V4_StateOp<"cache_append"> {
  let summary = "write finished entries into an append-only cache";
  let description = [{ `cache[positions[e] / ratio] = entries[e]` where `positions[e] >= 0` (spec 4.7). `entries [e, c]`, `cache [N, c]`; updated in place. }];
  let arguments = (ins V4_F32:$entries, V4_F32:$cache, V4_Positions:$positions, I64Attr:$ratio);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$entries `,` $cache `,` $positions `ratio` $ratio attr-dict `:` functional-type(operands, results)";
}

def V4_IndexScoresOp : V4_TiledOp<"index_scores", ["adjustTile"]> {
  let summary = "lightning indexer scores";
  let description = [{
    `I[s, j] = scale * sum_h weights[s, h] * relu(q[s, h] . keys[first_key + j])` for the entries visible to the row, `j + first_key < (positions[s] + 1) / ratio`; other columns are unspecified (spec 4.9).
    `q [S, h, c]`, `weights [S, h]`, `keys [N, c]`, `I [S, N]`. `first_key` is set by tiling.
  }];
  let arguments = (ins V4_F32:$query, V4_F32:$weights, V4_F32:$keys, V4_Positions:$positions, Optional<Index>:$first_key, I64Attr:$ratio, F32Attr:$scale);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$query `,` $weights `,` $keys `,` $positions (`first_key` $first_key^)? `ratio` $ratio `scale` $scale attr-dict `:` functional-type(operands, results)";
}

def V4_TopKOp : V4_TiledOp<"top_k"> {
  let summary = "columns of the k largest values";
  let description = [{
    The k best columns of each row by (value descending, index ascending, NaN last), listed by ascending index and padded with -1. With `visible`, only the first `(positions[s] + 1) / ratio` columns take part (spec 4.9). `scores [S, N]`, `y [S, k]`.
  }];
  let arguments = (ins V4_F32:$scores, Optional<V4_Positions>:$positions, DefaultValuedAttr<I64Attr, "0">:$ratio);
  let results = (outs V4_I32:$result);
  let assemblyFormat = "$scores (`visible` $positions^ `ratio` $ratio)? attr-dict `:` functional-type(operands, results)";
}

def V4_SparseAttentionOp : V4_TiledOp<"sparse_attention", [], [AttrSizedOperandSegments]> {
  let summary = "attention over the window and compressed entries, with a sink";
  let description = [{
    One shared vector per position is key and value (spec 4.2): `z = scale * q . kv`, softmax over the row's keys plus a sink logit in the denominator only.
    Window keys: `window [w, c]` is the ring after the append (S = 1): row p mod w for positions p in (t - w, t]; `window [w + S, c]` is a `v4.window_context`: rows `i+1 .. i+w` for row i of the call, those of negative position left out.
    Entries: the first `(t + 1) / ratio` rows of `entries [N, c]`, or of those the ones listed in `selected [S, K]` (-1 = none) (spec 4.4).
    `q`, `y [S, h, c]`, `sink [h]`. A row of position -1 gives 0.
  }];
  let arguments = (ins V4_F32:$query, V4_F32:$window, V4_F32:$sink, V4_Positions:$positions, V4_Span:$span, Optional<V4_F32>:$entries, Optional<V4_I32>:$selected,
                       I64Attr:$window_size, DefaultValuedAttr<I64Attr, "0">:$ratio, F32Attr:$scale);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$query `,` $window `,` $sink `,` $positions `,` $span (`entries` $entries^ `ratio` $ratio)? (`selected` $selected^)? `window` $window_size `scale` $scale attr-dict `:` functional-type(operands, results)";
}
} // opDocGroup

//===----------------------------------------------------------------------===//
def V4_ExpertDocs : OpDocGroup { let summary = "Mixture of experts"; let description = "Routing, dispatch by expert, expert linears, combination (spec 5)."; }
let opDocGroup = V4_ExpertDocs in {

def V4_RouteOp : V4_TiledOp<"route"> {
  let summary = "scored routing";
  let description = [{
    `score = sqrt(softplus(logits))`; the k best of `score + bias` (ties: lower expert) in ascending expert order; `weights = score / (sum of the k scores + 1e-20) * scale` without the bias (spec 5.1-5.3). `logits [S, E]`, `bias [E]`, `indices`, `weights [S, k]`.
  }];
  let arguments = (ins V4_F32:$logits, V4_F32:$bias, F32Attr:$scale);
  let results = (outs V4_I32:$indices, V4_F32:$weights);
  let assemblyFormat = "$logits `,` $bias `scale` $scale attr-dict `:` functional-type(operands, results)";
}

def V4_RouteHashOp : V4_TiledOp<"route_hash"> {
  let summary = "routing by a table of token ids";
  let description = [{ `indices = table[clamp(tokens, 0, V-1)]`, weights from the logits as in `v4.route` (spec 5.2, 5.3). `tokens [S]`, `table i64 [V, k]`. }];
  let arguments = (ins V4_F32:$logits, V4_I32:$tokens, StaticShapeTensorOf<[I64]>:$table, F32Attr:$scale);
  let results = (outs V4_I32:$indices, V4_F32:$weights);
  let assemblyFormat = "$logits `,` $tokens `,` $table `scale` $scale attr-dict `:` functional-type(operands, results)";
}

def V4_DispatchOp : V4_Op<"dispatch"> {
  let summary = "sort routed pairs by expert";
  let description = [{
    Lists the pairs (row, expert) of the valid rows by expert, then row. `indices`, `weights [S, k]`. Results, with A = min(P, E): `experts [A]`, the experts that have pairs, ascending, then -1;
    `offsets [A + 1]`: pairs of `experts[a]` are `offsets[a] .. offsets[a+1]-1` (the tail repeats the total); `rows [P]`: row of each pair, 0 in the tail; `pair_weights [P]`, 0 in the tail; `pairs [S, k]`: the pairs of a row by ascending expert, 0 for rows past the length.
  }];
  let arguments = (ins V4_I32:$indices, V4_F32:$weights, V4_Span:$span, I64Attr:$experts_total);
  let results = (outs V4_I32:$experts, V4_I32:$offsets, V4_I32:$rows, V4_F32:$pair_weights, V4_I32:$pairs);
  let assemblyFormat = "$indices `,` $weights `,` $span `experts` $experts_total attr-dict `:` functional-type(operands, results)";
}

def V4_GroupedLinearOp : V4_TiledOp<"grouped_linear", ["isTableOperand"], [AttrSizedOperandSegments]> {
  let summary = "linear of every routed pair with its expert's weight";
  let description = [{
    `y[p] = x[rows[p]] W[e]ᵀ` for the pairs p of each active expert e, each touched weight read once (spec 5.4); without `rows`, `x[p]`. Rows of `y` past the last pair are unspecified.
    `x [R, K]`, `experts [A]`, `offsets [A + 1]` from `v4.dispatch`; `W [E, N, K]`, formats and scales as in `v4.linear` with a leading E. `y [P, N]`.
  }];
  let arguments = (ins V4_F32:$input, V4_Weight:$weight, Optional<V4_Scale>:$scale, V4_I32:$experts, V4_I32:$offsets, Optional<V4_I32>:$rows);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$input `,` $weight (`scale` $scale^)? `experts` $experts `,` $offsets (`rows` $rows^)? attr-dict `:` functional-type(operands, results)";
}

def V4_SwigluOp : V4_TiledOp<"swiglu", [], [V4_Rowwise]> {
  let summary = "clamped SwiGLU";
  let description = [{ `a = min(gate, limit)`, `b = clamp(up, -limit, limit)`, `y = (weights[s]) * a * sigmoid(a) * b` (spec 5.4). `gate`, `up [S, I]`, `weights [S]` optional. }];
  let arguments = (ins V4_F32:$gate, V4_F32:$up, Optional<V4_F32>:$weights, F32Attr:$limit);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$gate `,` $up (`weights` $weights^)? `limit` $limit attr-dict `:` functional-type(operands, results)";
}

def V4_CombineOp : V4_TiledOp<"combine"> {
  let summary = "sum of the experts of a row";
  let description = [{ `y[s] = sum_j routed[pairs[s, j]] + shared[s]`, in the order of j, the shared expert last (spec 5.5). `routed [P, d]`, `pairs [S, k]`, `shared [S, d]`. }];
  let arguments = (ins V4_F32:$routed, V4_I32:$pairs, V4_F32:$shared);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$routed `,` $pairs `,` $shared attr-dict `:` functional-type(operands, results)";
}
} // opDocGroup

//===----------------------------------------------------------------------===//
def V4_StructureDocs : OpDocGroup { let summary = "Structure"; let description = "Fusion decision, phases of a kernel, kernel launches."; }
let opDocGroup = V4_StructureDocs in {

def V4_GroupOp : Op<V4_Dialect, "group", [SingleBlockImplicitTerminator<"YieldOp">, RecursiveMemoryEffects, NoRegionArguments]> {
  let summary = "ops that become one kernel";
  let description = [{ A fusion decision (stage `groups`). The region sees the values around it; what it yields are the group's results. `name` is the model path of the group, used for launches, profiles and plans. }];
  let arguments = (ins StrAttr:$name);
  let results = (outs Variadic<AnyStaticShapeTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$name (`->` type($results)^)? $body attr-dict";
  let hasVerifier = 1;
}

def V4_PhaseOp : Op<V4_Dialect, "phase", [SingleBlockImplicitTerminator<"YieldOp">, RecursiveMemoryEffects, NoRegionArguments]> {
  let summary = "a step of a kernel";
  let description = [{ Holds the `scf.forall`s whose grids run together; every workgroup of a phase finishes before the next phase starts (stages `tiles` and `buffers`). }];
  let results = (outs Variadic<AnyTypeOf<[AnyStaticShapeTensor, AnyStaticShapeMemRef]>>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "(`->` type($results)^)? $body attr-dict";
  let hasVerifier = 1;
}

def V4_YieldOp : Op<V4_Dialect, "yield", [Pure, Terminator, ReturnLike, ParentOneOf<["GroupOp", "PhaseOp"]>]> {
  let summary = "results of a group or phase";
  let arguments = (ins Variadic<AnyType>:$operands);
  let assemblyFormat = "attr-dict ($operands^ `:` type($operands))?";
  let builders = [OpBuilder<(ins), [{ return; }]>];
}

def V4_LaunchOp : Op<V4_Dialect, "launch", [DestinationStyleOpInterface, AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>, DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "run a kernel";
  let description = [{
    Runs the kernel module `@kernel` with `inputs` read and `outputs` written (and read, when they are state). On tensors there is one result per output. `name` is the group's model path.
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, StrAttr:$name, Variadic<AnyType>:$inputs, Variadic<AnyType>:$outputs);
  let results = (outs Variadic<AnyStaticShapeTensor>:$results);
  let assemblyFormat = "$kernel $name `ins` `(` ($inputs^ `:` type($inputs))? `)` `outs` `(` ($outputs^ `:` type($outputs))? `)` (`->` type($results)^)? attr-dict";
  let extraClassDeclaration = "::mlir::MutableOperandRange getDpsInitsMutable() { return getOutputsMutable(); }";
  let hasVerifier = 1;
}
} // opDocGroup

#endif
