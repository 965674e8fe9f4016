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
def V4_Span : Type<
    And<[StaticShapeTensorOf<[I32]>.predicate,
         CPred<"::llvm::cast<::mlir::RankedTensorType>($_self).getShape() == ::llvm::ArrayRef<int64_t>{2}">]>,
    "tensor<2xi32>", "::mlir::RankedTensorType">;
// One span, or with slots one per slot.
def V4_Spans : Type<
    And<[StaticShapeTensorOf<[I32]>.predicate,
         CPred<"::llvm::is_contained({1, 2}, ::llvm::cast<::mlir::RankedTensorType>($_self).getRank())">,
         CPred<"::llvm::cast<::mlir::RankedTensorType>($_self).getShape().back() == 2">]>,
    "tensor<2xi32> or tensor<Bx2xi32>", "::mlir::RankedTensorType">;
def V4_Weight : StaticShapeTensorOf<[F32, BF16, F8E4M3FN, I8]>;
// Activations, and what is stored like them: a bf16 result is computed in f32 and rounded once, at its end.
def V4_Float : StaticShapeTensorOf<[F32, BF16]>;
// A cache: plain rows, or rows of bytes (v4::CacheRow).
def V4_Cache : StaticShapeTensorOf<[F32, BF16, I8]>;
def V4_Scale : StaticShapeTensorOf<[F8E8M0FNU]>;

// Every compute op: pure, decomposes, and says how it is cut into tiles.
class V4_Op<string mnemonic, list<string> tile = [], list<Trait> traits = []>
    : Op<V4_Dialect, mnemonic, !listconcat(traits, [
    Pure, DeclareOpInterfaceMethods<AggregatedOpInterface, ["decomposeOperation"]>,
    DeclareOpInterfaceMethods<V4_TileInterface, tile>])> {
  let hasVerifier = 1;
}
// ... over rows, and possibly further loops.
class V4_TiledOp<string mnemonic, list<string> extra = [], list<Trait> traits = []> :
    V4_Op<mnemonic, !listconcat(["getLoopSizes", "getTileSizes", "getOperandTile", "getResultTile"], extra), traits>;
// ... over the slots, if there are any: one workgroup each.
class V4_SlotOp<string mnemonic, list<string> extra = []> : V4_TiledOp<mnemonic, extra>;
// ... that updates state operands in place.
class V4_StateOp<string mnemonic> : V4_SlotOp<mnemonic, ["getTiedOperand"]>;

// Elementwise or norm: cheap next to what it reads, and every row of its results depends on one row of its input.
def V4_Rowwise : NativeOpTrait<"v4::Rowwise">;

//===----------------------------------------------------------------------===//
def V4_BasicDocs : OpDocGroup {
  let summary = "Basic ops";
  let description = "Embedding, linears, norms, rotary embedding, quantisers.";
}
let opDocGroup = V4_BasicDocs in {

def V4_EmbedOp : V4_TiledOp<"embed"> {
  let summary = "rows of a table";
  let description = [{
    Rows of a table, widened (spec 2.1):

    ```
    y[s] = f32(table[clamp(ids[s], 0, V-1)])
    ```

    `ids [S]`, `table [V, d]` (f32 or bf16), `y [S, d]`. The clamp keeps rows past the length in bounds. No rounding.

    ```mlir
    func.func @embed(%ids: tensor<4xi32>, %table: tensor<32x64xbf16>) -> tensor<4x64xf32> {
      %y = v4.embed %ids, %table : (tensor<4xi32>, tensor<32x64xbf16>) -> tensor<4x64xf32>
      return %y : tensor<4x64xf32>
    }
    ```
  }];
  let arguments = (ins V4_I32:$ids, V4_Float:$table);
  let results = (outs V4_Float:$result);
  let assemblyFormat = "$ids `,` $table attr-dict `:` functional-type(operands, results)";
}

def V4_SelectLastOp : V4_Op<"select_last"> {
  let summary = "the last valid row";
  let description = [{
    The last valid row, for the head (spec 6): `y[0] = x[max(length - 1, 0)]`, `x [S, ...]`, `y [1, ...]`. No rounding.

    ```mlir
    func.func @select_last(%x: tensor<16x4x64xf32>, %span: tensor<2xi32>) -> tensor<1x4x64xf32> {
      %y = v4.select_last %x, %span : (tensor<16x4x64xf32>, tensor<2xi32>) -> tensor<1x4x64xf32>
      return %y : tensor<1x4x64xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$input, V4_Span:$span);
  let results = (outs V4_Float:$result);
  let assemblyFormat = "$input `,` $span attr-dict `:` functional-type(operands, results)";
}

def V4_LinearOp : V4_TiledOp<"linear"> {
  let summary = "product with a stored weight";
  let description = [{
    Product with a stored weight:

    ```
    y[s, n] = sum_k x[s, k] * W[n, k]
    ```

    `x [S, K]`, `W [N, K]`, `y [S, N]`; with groups `x [S, G, K]`, `W [G, N, K]`, `y [S, G, N]` (the grouped output
    projection, spec 4.1). The element type of the weight is its storage format (spec 7.1 to 7.3):

    | element | weight | scale |
    |---|---|---|
    | f32, bf16 | `[N, K]` | none |
    | f8E4M3FN | `[N, K]` | `[ceil(N/128), ceil(K/128)]` |
    | i8: two E2M1 codes, low nibble first | `[N, K/2]` | `[N, ceil(K/32)]` |

    With groups weight and scale have a leading `G`. Packed (layout `rows16`, made by `v4-pack-weights`) a weight is
    `[N/16, D, 16, e]`: 16 rows side by side, dword by dword, e elements in each of the D dwords of a row; an fp4 scale
    is `[N/16, ceil(K/32), 16]`, an fp8 scale stays. An element is its widened code times its scale, both exact;
    products and sums are f32, in an order that the decomposition fixes, and products may contract with sums. No
    rounding of `x`.

    ```mlir
    func.func @linear(%x: tensor<4x256xf32>, %w: tensor<64x256xf8E4M3FN>, %scale: tensor<1x2xf8E8M0FNU>)
        -> tensor<4x64xf32> {
      %y = v4.linear %x, %w scale %scale
          : (tensor<4x256xf32>, tensor<64x256xf8E4M3FN>, tensor<1x2xf8E8M0FNU>) -> tensor<4x64xf32>
      return %y : tensor<4x64xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$input, V4_Weight:$weight, Optional<V4_Scale>:$scale);
  let results = (outs V4_Float:$result);
  let assemblyFormat = "$input `,` $weight (`scale` $scale^)? attr-dict `:` functional-type(operands, results)";
}

def V4_RmsNormOp : V4_TiledOp<"rms_norm", [], [V4_Rowwise]> {
  let summary = "root-mean-square norm over the last dimension";
  let description = [{
    Root-mean-square norm over the last dimension (spec 3.1; without weight, per head: 3.2):

    ```
    y = w * (x / sqrt(mean(x^2) + eps))
    ```

    `x [S, D]` or `[S, h, D]`, `w [D]` optional (f32 or bf16), `y` as `x`. With `rounded`, without weight, the rounding
    points of the official head norm (spec 3.2): the squares, their mean, the mean with eps and its inverse root are
    rounded to bf16 one after the other.

    ```mlir
    func.func @rms_norm(%x: tensor<4x64xf32>, %w: tensor<64xbf16>) -> tensor<4x64xf32> {
      %y = v4.rms_norm %x weight %w eps 1.0e-6 : (tensor<4x64xf32>, tensor<64xbf16>) -> tensor<4x64xf32>
      return %y : tensor<4x64xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$input, Optional<V4_Float>:$weight, F32Attr:$eps, UnitAttr:$rounded);
  let results = (outs V4_Float:$result);
  let assemblyFormat = [{
    $input (`weight` $weight^)? `eps` $eps (`rounded` $rounded^)? attr-dict `:` functional-type(operands, results)
  }];
}

def V4_RopeTableOp : V4_TiledOp<"rope_table"> {
  let summary = "cosines and sines of rotary angles";
  let description = [{
    Cosines and sines of rotary angles (spec 3.3):

    ```
    y[s, 0, i] = cos(a)    y[s, 1, i] = sin(a)    a = fl32(positions[s] * f_i)    f_i = theta^(-2i/dim)
    ```

    `positions [S]`, `y [S, 2, dim/2]`. With `yarn` the frequencies are blended (spec 3.4). They are constants, computed
    in f32 step by step as the reference does. Rounding points: the angle is rounded to f32 and taken as exact; its
    cosine and sine are rounded once, for angles up to 2^21.

    ```mlir
    func.func @rope_table(%positions: tensor<4xi32>) -> (tensor<4x2x32xf32>, tensor<4x2x32xf32>) {
      %0 = v4.rope_table %positions theta 1.0e4 : (tensor<4xi32>) -> tensor<4x2x32xf32>
      %1 = v4.rope_table %positions theta 1.6e5
          yarn <factor = 16.0 : f64, original = 65536, beta_fast = 32.0 : f64, beta_slow = 1.0 : f64>
          : (tensor<4xi32>) -> tensor<4x2x32xf32>
      return %0, %1 : tensor<4x2x32xf32>, tensor<4x2x32xf32>
    }
    ```
  }];
  let arguments = (ins V4_Positions:$positions, F64Attr:$theta, OptionalAttr<V4_YarnAttr>:$yarn);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$positions `theta` $theta (`yarn` $yarn^)? attr-dict `:` functional-type(operands, results)";
}

def V4_RopeOp : V4_TiledOp<"rope", [], [V4_Rowwise]> {
  let summary = "rotary embedding of the last dimensions";
  let description = [{
    Rotary embedding of the last `2*half` columns, in interleaved pairs (spec 3.3); `sin` is negated when `inverse`
    (spec 3.5):

    ```
    (a, b) -> (a cos - b sin, a sin + b cos)
    ```

    `x [S, D]` or `[S, h, D]`, `table [S, 2, half]` from `v4.rope_table`, `y` as `x`.

    ```mlir
    func.func @rope(%x: tensor<4x2x72xf32>, %table: tensor<4x2x4xf32>) -> tensor<4x2x72xf32> {
      %0 = v4.rope %x, %table : (tensor<4x2x72xf32>, tensor<4x2x4xf32>) -> tensor<4x2x72xf32>
      %1 = v4.rope %0, %table inverse : (tensor<4x2x72xf32>, tensor<4x2x4xf32>) -> tensor<4x2x72xf32>
      return %1 : tensor<4x2x72xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$input, V4_F32:$table, UnitAttr:$inverse);
  let results = (outs V4_Float:$result);
  let assemblyFormat = "$input `,` $table (`inverse` $inverse^)? attr-dict `:` functional-type(operands, results)";
}

def V4_HadamardOp : V4_TiledOp<"hadamard", [], [V4_Rowwise]> {
  let summary = "Hadamard rotation of the last dimension";
  let description = [{
    Hadamard rotation of the last dimension (spec 4.9): `y = x H_D / sqrt(D)`, Sylvester order, `D` a power of two.
    `x [S, D]` or `[S, h, D]`, `y` as `x`.

    ```mlir
    func.func @hadamard(%x: tensor<4x2x32xf32>) -> tensor<4x2x32xf32> {
      %y = v4.hadamard %x : (tensor<4x2x32xf32>) -> tensor<4x2x32xf32>
      return %y : tensor<4x2x32xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$input);
  let results = (outs V4_Float:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
}

def V4_QuantizeOp : V4_TiledOp<"quantize", [], [V4_Rowwise]> {
  let summary = "block quantisation with power-of-two scales";
  let description = [{
    Quantises blocks of `block` columns, with power-of-two scales (spec 7.1):

    ```
    scale = 2^ceil(log2(max(max|x|, floor) * fl32(1/MAX)))    code = round(clamp(x / scale, -MAX, MAX))
    ```

    `MAX` is 448 and `floor` 1e-4 for e4m3, 6 and 6*2^-126 for e2m1. `x [S, D]`; `codes` are f8E4M3FN `[S, D]` or, two
    e2m1 codes per i8, low nibble first, `[S, D/2]`; `scale [S, D/block]`. Rounding point: the code, to nearest, ties to
    the even code. A block with an infinity or a NaN has the scale NaN.

    ```mlir
    func.func @quantize(%x: tensor<4x128xf32>) -> (tensor<4x64xi8>, tensor<4x4xf8E8M0FNU>) {
      %codes, %scale = v4.quantize %x format e2m1 block 32
          : (tensor<4x128xf32>) -> (tensor<4x64xi8>, tensor<4x4xf8E8M0FNU>)
      return %codes, %scale : tensor<4x64xi8>, tensor<4x4xf8E8M0FNU>
    }
    ```
  }];
  let arguments = (ins V4_Float:$input, V4_QuantFormat:$format, I64Attr:$block);
  let results = (outs StaticShapeTensorOf<[F8E4M3FN, I8]>:$codes, V4_Scale:$scale);
  let assemblyFormat = "$input `format` $format `block` $block attr-dict `:` functional-type(operands, results)";
}

def V4_DequantizeOp : V4_TiledOp<"dequantize", [], [V4_Rowwise]> {
  let summary = "codes times scales";
  let description = [{
    Codes times scales, exactly (spec 7.1): the other way of `v4.quantize`. `codes` f8E4M3FN `[S, D]` or i8 `[S, D/2]`,
    `scale [S, D/block]`, `y [S, D]`; the block follows from the shapes.

    ```mlir
    func.func @dequantize(%codes: tensor<4x128xf8E4M3FN>, %scale: tensor<4x2xf8E8M0FNU>) -> tensor<4x128xf32> {
      %y = v4.dequantize %codes, %scale : (tensor<4x128xf8E4M3FN>, tensor<4x2xf8E8M0FNU>) -> tensor<4x128xf32>
      return %y : tensor<4x128xf32>
    }
    ```
  }];
  let arguments = (ins StaticShapeTensorOf<[F8E4M3FN, I8]>:$codes, V4_Scale:$scale);
  let results = (outs V4_Float:$result);
  let assemblyFormat = "$codes `,` $scale attr-dict `:` functional-type(operands, results)";
}

def V4_RoundTripOp : V4_TiledOp<"round_trip", [], [V4_Rowwise]> {
  let summary = "quantise and dequantise in place";
  let description = [{
    The first `columns` columns are replaced by `dequantize(quantize(x))` in blocks of `block`, of which the last may be
    shorter; the others pass (spec 7.2, 7.4). `x [S, D]` or `[S, h, D]`, `y` as `x`. Rounding point: that of
    `v4.quantize`.

    ```mlir
    func.func @round_trip(%x: tensor<4x512xf32>) -> tensor<4x512xf32> {
      %y = v4.round_trip %x format e4m3 block 64 columns 448 : (tensor<4x512xf32>) -> tensor<4x512xf32>
      return %y : tensor<4x512xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$input, V4_QuantFormat:$format, I64Attr:$block, I64Attr:$columns);
  let results = (outs V4_Float:$result);
  let assemblyFormat = [{
    $input `format` $format `block` $block `columns` $columns attr-dict `:` functional-type(operands, results)
  }];
}
} // opDocGroup

//===----------------------------------------------------------------------===//
def V4_HcDocs : OpDocGroup {
  let summary = "Hyper-connections";
  let description = "Manifold-constrained hyper-connections (spec 2).";
}
let opDocGroup = V4_HcDocs in {

def V4_HcExpandOp : V4_TiledOp<"hc_expand", [], [V4_Rowwise]> {
  let summary = "one vector into every residual stream";
  let description = [{
    One vector into every residual stream: `X[s, j] = x[s]`, or `x[s] + y[s, j]` with an addend (spec 2.1; the sum is
    the entry of the MTP block, spec 6). `x [S, d]`; `y`, `X [S, n, d]`.

    ```mlir
    func.func @hc_expand(%x: tensor<4x64xf32>, %y: tensor<4x4x64xf32>) -> (tensor<4x4x64xf32>, tensor<4x4x64xf32>) {
      %0 = v4.hc_expand %x : (tensor<4x64xf32>) -> tensor<4x4x64xf32>
      %1 = v4.hc_expand %x add %y : (tensor<4x64xf32>, tensor<4x4x64xf32>) -> tensor<4x4x64xf32>
      return %0, %1 : tensor<4x4x64xf32>, tensor<4x4x64xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$input, Optional<V4_Float>:$addend);
  let results = (outs V4_Float:$result);
  let assemblyFormat = "$input (`add` $addend^)? attr-dict `:` functional-type(operands, results)";
}

def V4_HcPreOp : V4_TiledOp<"hc_pre"> {
  let summary = "residual streams to the input of a sublayer";
  let description = [{
    Residual streams to the input of a sublayer (spec 2.3). With `v = flatten(X)` of a row:

    ```
    mix  = (v fn^T) / sqrt(mean(v^2) + eps)
    pre  = sigmoid(mix[0:n] * scale[0] + base[0:n]) + hc_eps
    post = 2 sigmoid(mix[n:2n] * scale[1] + base[n:2n])
    comb = sinkhorn(mix[2n:] * scale[2] + base[2n:])       # as [n, n], see v4.sinkhorn
    x    = sum_j pre[j] X[j]
    ```

    `X [S, n, d]`, `fn [n*(2+n), n*d]`, `scale [3]`, `base [n*(2+n)]`; `x [S, d]`, `post [S, n]`, `comb [S, n, n]`
    (source, destination).

    ```mlir
    func.func @hc_pre(%X: tensor<2x4x64xf32>, %fn: tensor<24x256xf32>, %scale: tensor<3xf32>, %base: tensor<24xf32>)
        -> (tensor<2x64xf32>, tensor<2x4xf32>, tensor<2x4x4xf32>) {
      %x, %post, %comb = v4.hc_pre %X, %fn, %scale, %base eps 1.0e-6 hc_eps 1.0e-6 iterations 20
          : (tensor<2x4x64xf32>, tensor<24x256xf32>, tensor<3xf32>, tensor<24xf32>)
          -> (tensor<2x64xf32>, tensor<2x4xf32>, tensor<2x4x4xf32>)
      return %x, %post, %comb : tensor<2x64xf32>, tensor<2x4xf32>, tensor<2x4x4xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$streams, V4_F32:$fn, V4_F32:$scale, V4_F32:$base, F32Attr:$eps, F32Attr:$hc_eps,
                       I64Attr:$iterations);
  let results = (outs V4_Float:$result, V4_F32:$post, V4_F32:$comb);
  let assemblyFormat = [{
    $streams `,` $fn `,` $scale `,` $base `eps` $eps `hc_eps` $hc_eps `iterations` $iterations attr-dict `:`
    functional-type(operands, results)
  }];
}

def V4_SinkhornOp : V4_TiledOp<"sinkhorn"> {
  let summary = "doubly stochastic matrix by alternating normalisation";
  let description = [{
    A doubly stochastic matrix by alternating normalisation, in the order of spec 2.4:

    ```
    C[j, k] = exp(z[j, k] - max_k z[j]) / sum_k exp(z[j, k] - max_k z[j]) + eps
    C[j, k] = C[j, k] / (sum_j C[j, k] + eps)
    iterations - 1 times:
      C[j, k] = C[j, k] / (sum_k C[j, k] + eps)
      C[j, k] = C[j, k] / (sum_j C[j, k] + eps)
    ```

    `z`, `C [S, n, n]`.

    ```mlir
    func.func @sinkhorn(%z: tensor<2x4x4xf32>) -> tensor<2x4x4xf32> {
      %c = v4.sinkhorn %z eps 1.0e-6 iterations 20 : (tensor<2x4x4xf32>) -> tensor<2x4x4xf32>
      return %c : tensor<2x4x4xf32>
    }
    ```
  }];
  let arguments = (ins V4_F32:$input, F32Attr:$eps, I64Attr:$iterations);
  let results = (outs V4_F32:$result);
  let assemblyFormat = "$input `eps` $eps `iterations` $iterations attr-dict `:` functional-type(operands, results)";
}

def V4_HcPostOp : V4_TiledOp<"hc_post"> {
  let summary = "output of a sublayer back into the residual streams";
  let description = [{
    Output of a sublayer back into the residual streams (spec 2.5):

    ```
    X'[s, k] = post[s, k] f[s] + sum_j comb[s, j, k] X[s, j]
    ```

    `f [S, d]`; `X`, `X' [S, n, d]`; `post [S, n]`, `comb [S, n, n]` from `v4.hc_pre`.

    ```mlir
    func.func @hc_post(%f: tensor<2x64xf32>, %X: tensor<2x4x64xf32>, %post: tensor<2x4xf32>, %comb: tensor<2x4x4xf32>)
        -> tensor<2x4x64xf32> {
      %y = v4.hc_post %f, %X, %post, %comb
          : (tensor<2x64xf32>, tensor<2x4x64xf32>, tensor<2x4xf32>, tensor<2x4x4xf32>) -> tensor<2x4x64xf32>
      return %y : tensor<2x4x64xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$input, V4_Float:$streams, V4_F32:$post, V4_F32:$comb);
  let results = (outs V4_Float:$result);
  let assemblyFormat = "$input `,` $streams `,` $post `,` $comb attr-dict `:` functional-type(operands, results)";
}

def V4_HcHeadOp : V4_TiledOp<"hc_head"> {
  let summary = "final collapse of the residual streams";
  let description = [{
    Final collapse of the residual streams (spec 2.6): `mix` as in `v4.hc_pre`, then

    ```
    x = sum_j (sigmoid(mix[j] * scale[0] + base[j]) + hc_eps) X[j]
    ```

    `X [S, n, d]`, `fn [n, n*d]`, `scale [1]`, `base [n]`; `x [S, d]`.

    ```mlir
    func.func @hc_head(%X: tensor<2x4x64xf32>, %fn: tensor<4x256xf32>, %scale: tensor<1xf32>, %base: tensor<4xf32>)
        -> tensor<2x64xf32> {
      %x = v4.hc_head %X, %fn, %scale, %base eps 1.0e-6 hc_eps 1.0e-6
          : (tensor<2x4x64xf32>, tensor<4x256xf32>, tensor<1xf32>, tensor<4xf32>) -> tensor<2x64xf32>
      return %x : tensor<2x64xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$streams, V4_F32:$fn, V4_F32:$scale, V4_F32:$base, F32Attr:$eps, F32Attr:$hc_eps);
  let results = (outs V4_Float:$result);
  let assemblyFormat = [{
    $streams `,` $fn `,` $scale `,` $base `eps` $eps `hc_eps` $hc_eps attr-dict `:` functional-type(operands, results)
  }];
}
} // opDocGroup

//===----------------------------------------------------------------------===//
def V4_AttentionDocs : OpDocGroup {
  let summary = "Hybrid attention";
  let description = [{
    Window, compressed entries, indexer, sparse attention (spec 4).

    With *slots*, in a decode call of several sequences, row `s` is the token of slot `s`, and state operands and `span`
    have a leading dimension for the slots: `S` states, `span [S, 2]`. The op does for every slot what it does for one
    row and that slot's state; a slot of length 0 and position -1 is inactive.
  }];
}
let opDocGroup = V4_AttentionDocs in {

def V4_WindowContextOp : V4_Op<"window_context"> {
  let summary = "the window before the call, then the rows of the call, in time order";
  let description = [{
    The window before the call, then the rows of the call, in time order (spec 4.3):

    ```
    y[i] = ring[(start + i) mod w] for i < w    # position start - w + i; unspecified where that is negative
    y[w + i] = kv[i]
    ```

    `kv [S, c]`, `ring [w, c]` or packed rows (`v4.cache_append`), `y [w + S, c]`. Used for `S > 1`; to be read before
    `v4.window_append` overwrites the ring.

    ```mlir
    func.func @window_context(%kv: tensor<4x8xf32>, %ring: tensor<16x8xf32>, %span: tensor<2xi32>) -> tensor<20x8xf32> {
      %y = v4.window_context %kv, %ring, %span : (tensor<4x8xf32>, tensor<16x8xf32>, tensor<2xi32>) -> tensor<20x8xf32>
      return %y : tensor<20x8xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$kv, V4_Cache:$ring, V4_Span:$span);
  let results = (outs V4_Float:$result);
  let assemblyFormat = "$kv `,` $ring `,` $span attr-dict `:` functional-type(operands, results)";
}

def V4_WindowAppendOp : V4_StateOp<"window_append"> {
  let summary = "write the rows of the call into the ring";
  let description = [{
    Writes the rows of the call into the ring, which is updated in place (spec 4.3): `ring[(start + i) mod w] = kv[i]`
    for the last `min(w, length)` valid rows. `kv [S, c]`, `ring [w, c]`, with slots `[S, w, c]`, or packed rows
    (`v4.cache_append`).

    ```mlir
    func.func @window_append(%kv: tensor<1x8xf32>, %ring: tensor<16x8xf32>, %span: tensor<2xi32>) -> tensor<16x8xf32> {
      %y = v4.window_append %kv, %ring, %span : (tensor<1x8xf32>, tensor<16x8xf32>, tensor<2xi32>) -> tensor<16x8xf32>
      return %y : tensor<16x8xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$kv, V4_Cache:$ring, V4_Spans:$span);
  let results = (outs V4_Cache:$result);
  let assemblyFormat = "$kv `,` $ring `,` $span attr-dict `:` functional-type(operands, results)";
}

def V4_EntryPositionsOp : V4_SlotOp<"entry_positions"> {
  let summary = "positions of the entries that the call completes";
  let description = [{
    Positions of the entries that the call completes (spec 4.4, 4.7):

    ```
    y[e] = p if p + r <= start + length else -1    p = (start/r + e) * r
    ```

    `y [ceil(S/r)]`, as many as a call of S rows can complete; with slots `y [S]`, one per slot.

    ```mlir
    func.func @entry_positions(%span: tensor<2xi32>) -> tensor<4xi32> {
      %y = v4.entry_positions %span ratio 4 : (tensor<2xi32>) -> tensor<4xi32>
      return %y : tensor<4xi32>
    }
    ```
  }];
  let arguments = (ins V4_Spans:$span, I64Attr:$ratio);
  let results = (outs V4_I32:$result);
  let assemblyFormat = "$span `ratio` $ratio attr-dict `:` functional-type(operands, results)";
}

def V4_CompressOp : V4_StateOp<"compress"> {
  let summary = "pool blocks of r tokens into entries";
  let description = [{
    Pools blocks of `r` tokens into entries (spec 4.5, 4.6). The score of a token is `gate + ape[position mod r]`.
    Entry `e` of the call, block `start/r + e`, is per channel the softmax-weighted sum over its tokens: over the `r`
    tokens of the block; with `overlap`, over the `r` tokens of the block before by the first half of their channels
    and the `r` tokens of the block by the second half. A block before position 0 has weight 0.

    `kv`, `gate [S, m*c]`, `ape [r, m*c]`, `kv_rows`, `score_rows [m*r, m*c]`, `m` = 2 with `overlap`, else 1;
    `entries [ceil(S/r), c]`, specified where `v4.entry_positions` is not -1. With slots `kv_rows`, `score_rows [S, m*r,
    m*c]` and `entries [S, c]`.

    The state rows are updated in place (spec 4.8): values and scores of the unfinished block's tokens, after those of
    the block before with `overlap`. Rows that hold no token are 0 and -inf, as they must be before the first call, so
    that the state does not depend on how a sequence was split into calls.

    ```mlir
    func.func @compress(%kv: tensor<8x16xf32>, %gate: tensor<8x16xf32>, %ape: tensor<4x16xf32>,
                        %kv_rows: tensor<8x16xf32>,
                        %score_rows: tensor<8x16xf32>, %span: tensor<2xi32>)
        -> (tensor<2x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>) {
      %entries, %new_kv, %new_score = v4.compress %kv, %gate, %ape, %kv_rows, %score_rows, %span ratio 4 overlap
          : (tensor<8x16xf32>, tensor<8x16xf32>, tensor<4x16xf32>, tensor<8x16xf32>, tensor<8x16xf32>, tensor<2xi32>)
          -> (tensor<2x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>)
      return %entries, %new_kv, %new_score : tensor<2x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>
    }
    ```
  }];
  let arguments = (ins V4_F32:$kv, V4_F32:$gate, V4_F32:$ape, V4_F32:$kv_rows, V4_F32:$score_rows, V4_Spans:$span,
                       I64Attr:$ratio, UnitAttr:$overlap);
  let results = (outs V4_Float:$entries, V4_F32:$new_kv_rows, V4_F32:$new_score_rows);
  let assemblyFormat = [{
    $kv `,` $gate `,` $ape `,` $kv_rows `,` $score_rows `,` $span `ratio` $ratio (`overlap` $overlap^)? attr-dict `:`
    functional-type(operands, results)
  }];
}

def V4_CacheAppendOp : V4_StateOp<"cache_append"> {
  let summary = "write finished entries into an append-only cache";
  let description = [{
    Writes finished entries into an append-only cache, which is updated in place (spec 4.7):
    `cache[positions[e] / ratio] = entries[e]` where `positions[e] >= 0`. `entries [e, c]`, `cache [N, c]`,
    `positions [e]`, from `v4.entry_positions`; with slots `cache [e, N, c]`.

    A cache of i8 holds packed rows (spec 7.4, 7.5): the codes of `v4.quantize` of the leading columns, the other
    columns as bf16, low byte first, and the scales. Either all `c` columns are e2m1 codes in blocks of 32 (index keys:
    `[N, c/2 + c/32]`), or the first `q` of them, without the rotated ones, e4m3 codes in blocks of 64
    (`[N, q + 2*(c-q) + q/64]`, filled up to a multiple of 8 scales). The size of a row decides. Values that have been
    rounded by `v4.round_trip` in the same blocks are kept exactly.

    ```mlir
    func.func @cache_append(%entries: tensor<2x8xf32>, %cache: tensor<64x8xf32>, %positions: tensor<2xi32>)
        -> tensor<64x8xf32> {
      %y = v4.cache_append %entries, %cache, %positions ratio 4
          : (tensor<2x8xf32>, tensor<64x8xf32>, tensor<2xi32>) -> tensor<64x8xf32>
      return %y : tensor<64x8xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$entries, V4_Cache:$cache, V4_Positions:$positions, I64Attr:$ratio);
  let results = (outs V4_Cache:$result);
  let assemblyFormat = [{
    $entries `,` $cache `,` $positions `ratio` $ratio attr-dict `:` functional-type(operands, results)
  }];
}

def V4_IndexScoresOp : V4_TiledOp<"index_scores", ["adjustTile"]> {
  let summary = "lightning indexer scores";
  let description = [{
    Lightning indexer scores (spec 4.9):

    ```
    I[s, j] = scale * sum_h weights[s, h] * relu(q[s, h] . keys[j])    where first_key + j < (positions[s] + 1) / ratio
    ```

    Other columns are unspecified. `q [S, h, c]`, `weights [S, h]`, `keys [N, c]`, `positions [S]`, `I [S, N]`.
    With slots `keys [S, N, c]`. `first_key` is set by tiling: the key of column 0. `keys` may be packed rows
    (`v4.cache_append`). With `rounded`,
    the official rounding points: `bf16(sum_h bf16(bf16(scale * weights[s, h]) * relu(bf16(q[s, h] . keys[j]))))` with the
    outer sum in f32; `I` is then bf16.

    ```mlir
    func.func @index_scores(%q: tensor<4x2x32xf32>, %weights: tensor<4x2xf32>, %keys: tensor<64x32xf32>,
                            %positions: tensor<4xi32>) -> tensor<4x64xf32> {
      %scores = v4.index_scores %q, %weights, %keys, %positions ratio 4 scale 0.125
          : (tensor<4x2x32xf32>, tensor<4x2xf32>, tensor<64x32xf32>, tensor<4xi32>) -> tensor<4x64xf32>
      return %scores : tensor<4x64xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$query, V4_Float:$weights, V4_Cache:$keys, V4_Positions:$positions,
                       Optional<Index>:$first_key, I64Attr:$ratio, F32Attr:$scale,
                       UnitAttr:$rounded);
  let results = (outs V4_Float:$result);
  let assemblyFormat = [{
    $query `,` $weights `,` $keys `,` $positions (`first_key` $first_key^)? `ratio` $ratio `scale` $scale
    (`rounded` $rounded^)? attr-dict `:` functional-type(operands, results)
  }];
}

def V4_TopKOp : V4_TiledOp<"top_k"> {
  let summary = "columns of the k largest values";
  let description = [{
    Columns of the k largest values of each row, by value descending, index ascending, NaN last; listed by ascending
    index and padded with -1 (spec 4.9). With `visible`, only the first `(positions[s] + 1) / ratio` columns take part.
    `scores [S, N]`, `y [S, k]`, `k <= N`.

    ```mlir
    func.func @top_k(%scores: tensor<4x64xf32>, %positions: tensor<4xi32>) -> tensor<4x8xi32> {
      %y = v4.top_k %scores visible %positions ratio 4 : (tensor<4x64xf32>, tensor<4xi32>) -> tensor<4x8xi32>
      return %y : tensor<4x8xi32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$scores, Optional<V4_Positions>:$positions, DefaultValuedAttr<I64Attr, "0">:$ratio);
  let results = (outs V4_I32:$result);
  let assemblyFormat = [{
    $scores (`visible` $positions^ `ratio` $ratio)? attr-dict `:` functional-type(operands, results)
  }];
}

def V4_IndexTopKOp : V4_TiledOp<"index_top_k"> {
  let summary = "lightning indexer: the best of the visible keys";
  let description = [{
    `v4.top_k` of `v4.index_scores` (spec 4.9), as one op so that the scores `[S, N]` need not exist: at a million tokens
    a row has 262,144.

    `q [S, h, c]`, `weights [S, h]`, `keys [N, c]`, with slots `[S, N, c]`, `positions [S]`, `y [S, k]`, `k <= N`. A row
    that sees at most `k` keys lists them all, whatever their scores. `keys` may be packed rows, and `rounded` is that
    of `v4.index_scores`.

    ```mlir
    func.func @index_top_k(%q: tensor<4x2x32xf32>, %weights: tensor<4x2xf32>, %keys: tensor<64x32xf32>,
                           %positions: tensor<4xi32>) -> tensor<4x8xi32> {
      %y = v4.index_top_k %q, %weights, %keys, %positions ratio 4 scale 0.125
          : (tensor<4x2x32xf32>, tensor<4x2xf32>, tensor<64x32xf32>, tensor<4xi32>) -> tensor<4x8xi32>
      return %y : tensor<4x8xi32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$query, V4_Float:$weights, V4_Cache:$keys, V4_Positions:$positions, I64Attr:$ratio,
                       F32Attr:$scale, UnitAttr:$rounded);
  let results = (outs V4_I32:$result);
  let assemblyFormat = [{
    $query `,` $weights `,` $keys `,` $positions `ratio` $ratio `scale` $scale (`rounded` $rounded^)? attr-dict `:`
    functional-type(operands, results)
  }];
}

def V4_SparseAttentionOp : V4_TiledOp<"sparse_attention", [], [AttrSizedOperandSegments]> {
  let summary = "attention over the window and compressed entries, with a sink";
  let description = [{
    Attention of every row over its window and compressed entries, with a sink (spec 4.2). One shared vector per
    position is key and value:

    ```
    z_i = scale * q . key_i    p_i = exp(z_i - max z)    y = sum_i p_i key_i / (sum_i p_i + exp(sink - max z))
    ```

    The keys of a row at position `t = positions[s]`:

    * window rows of the positions in `(t - w, t]`. `window [w, c]` is the ring after `v4.window_append`, for `S = 1`.
      `window [w + S, c]` is a `v4.window_context`: rows `i+1 .. i+w` for row `i = t - start` of the call, but not
      those of negative positions. (A tile is one row that sees the whole context.)
    * entries: the first `(t + 1) / ratio` rows of `entries [N, c]`, or of these the ones that `selected [S, K]` lists:
      an ascending prefix, then -1 (spec 4.4).

    `q`, `y [S, h, c]`, `sink [h]`. With slots every row has a ring and entries of its own: `window [S, w, c]`,
    `entries [S, N, c]`. A row of position -1 gives 0. A ring and `entries` may be packed rows
    (`v4.cache_append`). With `rounded`, the `p_i` of the sum over the keys are rounded to bf16, those of the
    denominator are not; they are taken relative to the largest `z` so far.

    ```mlir
    func.func @sparse_attention(%q: tensor<4x2x8xf32>, %context: tensor<20x8xf32>, %sink: tensor<2xf32>,
                                %positions: tensor<4xi32>, %span: tensor<2xi32>, %entries: tensor<64x8xf32>,
                                %selected: tensor<4x8xi32>) -> tensor<4x2x8xf32> {
      %y = v4.sparse_attention %q, %context, %sink, %positions, %span entries %entries ratio 4 selected %selected
          window 16 scale 0.35
          : (tensor<4x2x8xf32>, tensor<20x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<2xi32>, tensor<64x8xf32>,
             tensor<4x8xi32>) -> tensor<4x2x8xf32>
      return %y : tensor<4x2x8xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$query, V4_Cache:$window, V4_F32:$sink, V4_Positions:$positions, V4_Spans:$span,
                       Optional<V4_Cache>:$entries, Optional<V4_I32>:$selected,
                       I64Attr:$window_size, DefaultValuedAttr<I64Attr, "0">:$ratio, F32Attr:$scale,
                       UnitAttr:$rounded);
  let results = (outs V4_Float:$result);
  let assemblyFormat = [{
    $query `,` $window `,` $sink `,` $positions `,` $span (`entries` $entries^ `ratio` $ratio)? (`selected`
    $selected^)? `window` $window_size `scale` $scale (`rounded` $rounded^)? attr-dict `:`
    functional-type(operands, results)
  }];
}
} // opDocGroup

//===----------------------------------------------------------------------===//
def V4_ExpertDocs : OpDocGroup {
  let summary = "Mixture of experts";
  let description = "Routing, dispatch by expert, expert linears, combination (spec 5).";
}
let opDocGroup = V4_ExpertDocs in {

def V4_RouteOp : V4_TiledOp<"route"> {
  let summary = "scored routing";
  let description = [{
    Scored routing (spec 5.1 to 5.3):

    ```
    score   = sqrt(softplus(logits))                   # softplus(x) = log1p(exp(x)), x above 20
    indices = the k best of score + bias, ascending    # ties: the lower expert
    weights = score[indices] / (sum score[indices] + 1e-20) * scale
    ```

    `logits [S, E]`, `bias [E]`; `indices`, `weights [S, k]`, `k <= E`.

    ```mlir
    func.func @route(%logits: tensor<4x8xf32>, %bias: tensor<8xf32>) -> (tensor<4x2xi32>, tensor<4x2xf32>) {
      %indices, %weights = v4.route %logits, %bias scale 1.5
          : (tensor<4x8xf32>, tensor<8xf32>) -> (tensor<4x2xi32>, tensor<4x2xf32>)
      return %indices, %weights : tensor<4x2xi32>, tensor<4x2xf32>
    }
    ```
  }];
  let arguments = (ins V4_F32:$logits, V4_F32:$bias, F32Attr:$scale);
  let results = (outs V4_I32:$indices, V4_F32:$weights);
  let assemblyFormat = "$logits `,` $bias `scale` $scale attr-dict `:` functional-type(operands, results)";
}

def V4_RouteHashOp : V4_TiledOp<"route_hash"> {
  let summary = "routing by a table of token ids";
  let description = [{
    Routing by a table of token ids (spec 5.2): `indices = table[clamp(tokens, 0, V-1)]`, in the order of the table and
    clamped to experts that exist; weights from the logits as in `v4.route` (spec 5.3). `logits [S, E]`, `tokens [S]`,
    `table [V, k]`; `indices`, `weights [S, k]`.

    ```mlir
    func.func @route_hash(%logits: tensor<4x8xf32>, %tokens: tensor<4xi32>, %table: tensor<32x2xi64>)
        -> (tensor<4x2xi32>, tensor<4x2xf32>) {
      %indices, %weights = v4.route_hash %logits, %tokens, %table scale 1.5
          : (tensor<4x8xf32>, tensor<4xi32>, tensor<32x2xi64>) -> (tensor<4x2xi32>, tensor<4x2xf32>)
      return %indices, %weights : tensor<4x2xi32>, tensor<4x2xf32>
    }
    ```
  }];
  let arguments = (ins V4_F32:$logits, V4_I32:$tokens, StaticShapeTensorOf<[I64]>:$table, F32Attr:$scale);
  let results = (outs V4_I32:$indices, V4_F32:$weights);
  let assemblyFormat = "$logits `,` $tokens `,` $table `scale` $scale attr-dict `:` functional-type(operands, results)";
}

def V4_DispatchOp : V4_Op<"dispatch"> {
  let summary = "sort routed pairs by expert";
  let description = [{
    Lists the pairs (row, expert) of the rows whose position is not -1 by expert, then row (spec 5.5). `indices` (below
    `experts`), `weights [S, k]`, `positions [S]`. With `P = S*k` and `A = min(P, experts)`:

    | result | |
    |---|---|
    | `experts [A]` | the experts that have pairs, ascending, then -1 |
    | `offsets [A + 1]` | pairs of `experts[a]` are `offsets[a] .. offsets[a+1]-1`; the tail repeats the total |
    | `rows [P]` | row of each pair, 0 in the tail |
    | `pair_weights [P]` | weight of each pair, 0 in the tail |
    | `pairs [S, k]` | the pairs of a row by ascending expert, 0 for rows of position -1 |

    ```mlir
    func.func @dispatch(%indices: tensor<4x2xi32>, %weights: tensor<4x2xf32>, %positions: tensor<4xi32>)
        -> (tensor<8xi32>, tensor<9xi32>, tensor<8xi32>, tensor<8xf32>, tensor<4x2xi32>) {
      %experts, %offsets, %rows, %pair_weights, %pairs = v4.dispatch %indices, %weights, %positions experts 16
          : (tensor<4x2xi32>, tensor<4x2xf32>, tensor<4xi32>)
          -> (tensor<8xi32>, tensor<9xi32>, tensor<8xi32>, tensor<8xf32>, tensor<4x2xi32>)
      return %experts, %offsets, %rows, %pair_weights, %pairs
          : tensor<8xi32>, tensor<9xi32>, tensor<8xi32>, tensor<8xf32>, tensor<4x2xi32>
    }
    ```
  }];
  let arguments = (ins V4_I32:$indices, V4_F32:$weights, V4_Positions:$positions, I64Attr:$experts_total);
  let results = (outs V4_I32:$experts, V4_I32:$offsets, V4_I32:$rows, V4_F32:$pair_weights, V4_I32:$pairs);
  let assemblyFormat = [{
    $indices `,` $weights `,` $positions `experts` $experts_total attr-dict `:` functional-type(operands, results)
  }];
}

def V4_GroupedLinearOp : V4_TiledOp<"grouped_linear", ["isTableOperand"], [AttrSizedOperandSegments]> {
  let summary = "linear of every routed pair with its expert's weight";
  let description = [{
    Linear of every routed pair with its expert's weight, each touched weight read once (spec 5.4):

    ```
    y[p] = x[rows[p]] W[e]^T    for the pairs p of each active expert e; without rows, x[p]
    ```

    `x [R, K]`, `experts [A]`, `offsets [A + 1]` and `rows [P]` from `v4.dispatch`; `W [E, N, K]`, formats, scales and
    arithmetic as in `v4.linear`, with a leading `E`; `y [P, N]`, unspecified past the last pair.

    ```mlir
    func.func @grouped_linear(%x: tensor<4x64xf32>, %w: tensor<16x32x32xi8>, %scale: tensor<16x32x2xf8E8M0FNU>,
                              %experts: tensor<8xi32>, %offsets: tensor<9xi32>,
                              %rows: tensor<8xi32>) -> tensor<8x32xf32> {
      %y = v4.grouped_linear %x, %w scale %scale experts %experts, %offsets rows %rows
         
              : (tensor<4x64xf32>, tensor<16x32x32xi8>, tensor<16x32x2xf8E8M0FNU>, tensor<8xi32>, tensor<9xi32>,
                 tensor<8xi32>)
          -> tensor<8x32xf32>
      return %y : tensor<8x32xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$input, V4_Weight:$weight, Optional<V4_Scale>:$scale, V4_I32:$experts, V4_I32:$offsets,
                       Optional<V4_I32>:$rows);
  let results = (outs V4_Float:$result);
  let assemblyFormat = [{
    $input `,` $weight (`scale` $scale^)? `experts` $experts `,` $offsets (`rows` $rows^)? attr-dict `:`
    functional-type(operands, results)
  }];
}

def V4_SwigluOp : V4_TiledOp<"swiglu", [], [V4_Rowwise]> {
  let summary = "clamped SwiGLU";
  let description = [{
    Clamped SwiGLU (spec 5.4):

    ```
    a = min(gate, limit)    b = clamp(up, -limit, limit)    y = weights[s] * (a * sigmoid(a) * b)
    ```

    `gate`, `up`, `y [S, I]`, `weights [S]` optional.

    ```mlir
    func.func @swiglu(%gate: tensor<8x32xf32>, %up: tensor<8x32xf32>, %weights: tensor<8xf32>) -> tensor<8x32xf32> {
      %y = v4.swiglu %gate, %up weights %weights limit 10.0
          : (tensor<8x32xf32>, tensor<8x32xf32>, tensor<8xf32>) -> tensor<8x32xf32>
      return %y : tensor<8x32xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$gate, V4_Float:$up, Optional<V4_F32>:$weights, F32Attr:$limit);
  let results = (outs V4_Float:$result);
  let assemblyFormat = [{
    $gate `,` $up (`weights` $weights^)? `limit` $limit attr-dict `:` functional-type(operands, results)
  }];
}

def V4_CombineOp : V4_TiledOp<"combine"> {
  let summary = "sum of the experts of a row";
  let description = [{
    Sum of the experts of a row (spec 5.5): `y[s] = sum_j routed[pairs[s, j]] + shared[s]`, in the order of `j`, the
    shared expert last. `routed [P, d]`, `pairs [S, k]` from `v4.dispatch`, `shared`, `y [S, d]`.

    ```mlir
    func.func @combine(%routed: tensor<8x64xf32>, %pairs: tensor<4x2xi32>, %shared: tensor<4x64xf32>)
        -> tensor<4x64xf32> {
      %y = v4.combine %routed, %pairs, %shared
          : (tensor<8x64xf32>, tensor<4x2xi32>, tensor<4x64xf32>) -> tensor<4x64xf32>
      return %y : tensor<4x64xf32>
    }
    ```
  }];
  let arguments = (ins V4_Float:$routed, V4_I32:$pairs, V4_Float:$shared);
  let results = (outs V4_Float:$result);
  let assemblyFormat = "$routed `,` $pairs `,` $shared attr-dict `:` functional-type(operands, results)";
}
} // opDocGroup

//===----------------------------------------------------------------------===//
def V4_StructureDocs : OpDocGroup {
  let summary = "Structure";
  let description = "Fusion decision, phases of a kernel, kernel launches.";
}
let opDocGroup = V4_StructureDocs in {

def V4_GroupOp : Op<V4_Dialect, "group", [
    SingleBlockImplicitTerminator<"YieldOp">, RecursiveMemoryEffects, NoRegionArguments]> {
  let summary = "ops that become one kernel";
  let description = [{
    A fusion decision (stage `groups`): ops that become one kernel. The region sees the values around it; what it yields
    are the group's results. `name` is the model path of the group, used for launches, profiles and plans.

    ```mlir
    func.func @group(%x: tensor<4x64xf32>, %w: tensor<32x64xf32>) -> tensor<4x32xf32> {
      %y = v4.group "attn.wq_a" -> tensor<4x32xf32> {
        %0 = v4.rms_norm %x eps 1.0e-6 : (tensor<4x64xf32>) -> tensor<4x64xf32>
        %1 = v4.linear %0, %w : (tensor<4x64xf32>, tensor<32x64xf32>) -> tensor<4x32xf32>
        v4.yield %1 : tensor<4x32xf32>
      }
      return %y : tensor<4x32xf32>
    }
    ```
  }];
  let arguments = (ins StrAttr:$name);
  let results = (outs Variadic<AnyStaticShapeTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$name (`->` type($results)^)? $body attr-dict";
  let hasVerifier = 1;
}

def V4_PhaseOp : Op<V4_Dialect, "phase", [
    SingleBlockImplicitTerminator<"YieldOp">, RecursiveMemoryEffects, NoRegionArguments]> {
  let summary = "a step of a kernel";
  let description = [{
    A step of a kernel. Holds the `scf.forall`s whose grids run together; every workgroup of a phase finishes before the
    next phase starts (stages `tiles` and `buffers`).

    ```mlir
    func.func @phase(%x: tensor<4x64xf32>, %y: tensor<4x64xf32>) -> tensor<4x64xf32> {
      %0 = v4.phase -> tensor<4x64xf32> {
        %1 = scf.forall (%s) in (4) shared_outs(%out = %y) -> tensor<4x64xf32> {
          %row = tensor.extract_slice %x[%s, 0] [1, 64] [1, 1] : tensor<4x64xf32> to tensor<1x64xf32>
          %norm = v4.rms_norm %row eps 1.0e-6 : (tensor<1x64xf32>) -> tensor<1x64xf32>
          scf.forall.in_parallel {
            tensor.parallel_insert_slice %norm into %out[%s, 0] [1, 64] [1, 1] : tensor<1x64xf32> into tensor<4x64xf32>
          }
        }
        v4.yield %1 : tensor<4x64xf32>
      }
      return %0 : tensor<4x64xf32>
    }
    ```
  }];
  let results = (outs Variadic<AnyTypeOf<[AnyStaticShapeTensor, AnyStaticShapeMemRef]>>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "(`->` type($results)^)? $body attr-dict";
  let hasVerifier = 1;
}

def V4_YieldOp : Op<V4_Dialect, "yield", [Pure, Terminator, ReturnLike, ParentOneOf<["GroupOp", "PhaseOp"]>]> {
  let summary = "results of a group or phase";
  let description = [{
    Ends the region of a `v4.group` or `v4.phase`; its operands are the op's results.

    ```mlir
    func.func @yield(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
      %y = v4.group "copy" -> tensor<4x64xf32> {
        v4.yield %x : tensor<4x64xf32>
      }
      return %y : tensor<4x64xf32>
    }
    ```
  }];
  let arguments = (ins Variadic<AnyType>:$operands);
  let assemblyFormat = "attr-dict ($operands^ `:` type($operands))?";
  let builders = [OpBuilder<(ins), [{ return; }]>];
}

def V4_KernelOp : Op<V4_Dialect, "kernel", [DestinationStyleOpInterface, AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "call of a kernel template";
  let description = [{
    A tile whose code is a template, not a schedule of its decomposition (stages `tiles` and `buffers`):
    `v4-expand-templates` builds the body at stage `kernels` (`lowering/templates/`, one file each). `inputs` are read,
    `outputs` are written and never read before. The attributes are the template's parameters. On tensors there is one
    result per output.

    ```mlir
    func.func @kernel(%x: tensor<1x64xf32>, %w: tensor<2x64x16x1xf32>, %y: tensor<1x32xf32>) -> tensor<1x32xf32> {
      %0 = v4.kernel "linear" ins(%x, %w : tensor<1x64xf32>, tensor<2x64x16x1xf32>) outs(%y : tensor<1x32xf32>)
          -> tensor<1x32xf32>
      return %0 : tensor<1x32xf32>
    }
    ```
  }];
  let arguments = (ins StrAttr:$name, Variadic<AnyType>:$inputs, Variadic<AnyType>:$outputs);
  let results = (outs Variadic<AnyStaticShapeTensor>:$results);
  let assemblyFormat = [{
    $name `ins` `(` ($inputs^ `:` type($inputs))? `)` `outs` `(` ($outputs^ `:` type($outputs))? `)` (`->`
    type($results)^)? attr-dict
  }];
  let extraClassDeclaration = "::mlir::MutableOperandRange getDpsInitsMutable() { return getOutputsMutable(); }";
  let hasVerifier = 1;
}

def V4_LaunchOp : Op<V4_Dialect, "launch", [DestinationStyleOpInterface, AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>, DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "run a kernel";
  let description = [{
    Runs the kernel in module `@kernel`: `inputs` are read, `outputs` are written, and read when they are state. On
    tensors there is one result per output. `name` is the group's model path. Until kernels are split into phases, the
    module holds a function of the same name with the launch's operands.

    ```mlir
    module {
      module @scale attributes {v4.kernel} {
        func.func @scale(%x: tensor<4xf32>, %out: tensor<4xf32>) -> tensor<4xf32> {
          return %out : tensor<4xf32>
        }
      }
      func.func @step(%x: tensor<4xf32>, %out: tensor<4xf32>) -> tensor<4xf32> {
        %y = v4.launch @scale "attn.norm" ins(%x : tensor<4xf32>) outs(%out : tensor<4xf32>) -> tensor<4xf32>
        return %y : tensor<4xf32>
      }
    }
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, StrAttr:$name, Variadic<AnyType>:$inputs, Variadic<AnyType>:$outputs);
  let results = (outs Variadic<AnyStaticShapeTensor>:$results);
  let assemblyFormat = [{
    $kernel $name `ins` `(` ($inputs^ `:` type($inputs))? `)` `outs` `(` ($outputs^ `:` type($outputs))? `)` (`->`
    type($results)^)? attr-dict
  }];
  let extraClassDeclaration = "::mlir::MutableOperandRange getDpsInitsMutable() { return getOutputsMutable(); }";
  let hasVerifier = 1;
}
} // opDocGroup

#endif
