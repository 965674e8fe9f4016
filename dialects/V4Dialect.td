// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The v4 dialect: name, description, attributes.

#ifndef V4_DIALECT_TD
#define V4_DIALECT_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def V4_Dialect : Dialect {
  let name = "v4";
  let cppNamespace = "::mlir::v4";
  let summary = "DeepSeek-V4 model graphs";
  let description = [{
    Ops of the inference graph of DeepSeek-V4 (mixture-of-experts routing, hybrid attention, manifold-constrained
    hyper-connections), and the few structural ops that carry a fusion decision to a list of kernel launches.

    Every compute op works on ranked tensors of static shape, is free of side effects, and has a decomposition into
    `linalg`, `tensor`, `scf`, `arith` and `math` that defines it (`AggregatedOpInterface`). Weights, state and inputs
    are named arguments of the entry functions: `v4.weight`, `v4.state` and `v4.input` on arguments, `v4.output` on
    results; a state argument is returned as a result with the same `v4.state` name.

    Conventions. `S` rows (tokens of the call), `d` hidden size, `n` residual streams, `h` heads, `c` head width, `r`
    compress ratio, `w` window, `E` experts, `k` experts per token, `P = S*k` routed pairs. `positions` is `i32 [S]`,
    the absolute position of a row or -1 for a row past the length; `span` is `i32 [2]` = (start, length). Rows at and
    past the length write no state, and what they compute is unspecified. A decode call may advance several sequences
    by one token each: then row `s` belongs to slot `s`, and states and `span` have a leading dimension for the slots
    (an inactive slot has position -1 and length 0). Floating-point work is f32 inside
    an op; an operand of bf16 is widened, a result of bf16 is rounded once, to nearest, ties to even. So the types say
    where a graph rounds. Weights may be stored as f32, bf16, fp8 (`f8E4M3FN` with `f8E8M0FNU` scales per 128x128 block)
    or fp4 (two E2M1 codes per `i8`, low nibble first, with `f8E8M0FNU` scales per 32 of K); they are widened exactly.
  }];
  let useDefaultAttributePrinterParser = 1;
  let hasOperationAttrVerify = 1;
  let hasRegionArgAttrVerify = 1;
  let hasRegionResultAttrVerify = 1;
}

class V4_Attr<string name, string attrMnemonic, list<Trait> traits = []> : AttrDef<V4_Dialect, name, traits> {
  let mnemonic = attrMnemonic;
}

def V4_WeightAttr : V4_Attr<"Weight", "weight"> {
  let summary = "where a weight argument comes from in the checkpoint";
  let description = [{
    `tensor` names a checkpoint tensor; `{e}` in it stands for the row number and makes the argument a *table*:
    dimension 0 of its type counts rows, each row one tensor. Without `{e}`, `stride > 0` makes a table of equally
    spaced rows inside one tensor (fused experts). `offset` and `stride` are bytes; `dtype` and `shape` describe the
    checkpoint tensor. Used as the value of the argument attribute `v4.weight`.
  }];
  let parameters = (ins StringRefParameter<>:$tensor, "::mlir::Type":$dtype, ArrayRefParameter<"int64_t">:$shape,
                        DefaultValuedParameter<"int64_t", "0">:$offset, DefaultValuedParameter<"int64_t", "0">:$stride);
  let assemblyFormat = [{
    `<` $tensor `,` $dtype `,` `[` $shape `]` (`offset` `=` $offset^)? (`stride` `=` $stride^)? `>`
  }];
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    bool isTable() const { return getStride() > 0 || getTensor().contains("{e}"); }
  }];
}

def V4_StateKind : I32EnumAttr<"StateKind", "role of a state argument", [
    I32EnumAttrCase<"window", 0>, I32EnumAttrCase<"entries", 1>,
    I32EnumAttrCase<"kv_rows", 2>, I32EnumAttrCase<"score_rows", 3>]> {
  let cppNamespace = "::mlir::v4";
  let genSpecializedAttr = 0;
}

def V4_StateAttr : V4_Attr<"State", "state"> {
  let summary = "name and role of a state argument";
  let description = [{
    `window`: ring, position p in row p % w. `entries`: append-only, entry j in row j. `kv_rows` and `score_rows`: the
    rows of the compressor's unfinished block (spec 4.8), with the previous block's rows first when `overlap`. `ratio`
    is tokens per entry, absent for a window. The first `quantized` columns of a cache hold only numbers that `bits`
    bits per column and a scale per block of columns can hold (8: e4m3, blocks of 64; 4: e2m1, blocks of 32; spec 7.4,
    7.5); a cache of i8 holds these codes, as packed rows. Used as the value of the argument and result attribute `v4.state`.
  }];
  let parameters = (ins StringRefParameter<>:$name, EnumParameter<V4_StateKind>:$kind,
                        DefaultValuedParameter<"int64_t", "0">:$ratio,
                        DefaultValuedParameter<"bool", "false">:$overlap,
                        DefaultValuedParameter<"int64_t", "0">:$quantized,
                        DefaultValuedParameter<"int64_t", "0">:$bits);
  let assemblyFormat = "`<` $name `,` $kind (`,` struct($ratio, $overlap, $quantized, $bits)^)? `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Columns of a logical row of a state of this type; 0 when bytes of this length are no packed row.
    int64_t getColumns(::mlir::ShapedType type) const;
  }];
}

def V4_YarnAttr : V4_Attr<"Yarn", "yarn"> {
  let summary = "YaRN scaling of a RoPE table (spec 3.4)";
  let description = [{
    Frequencies of pairs that turn more than `beta_fast` times within the `original` context stay, those of pairs that
    turn less than `beta_slow` times are divided by `factor`, with a linear blend by pair number in between.
  }];
  let parameters = (ins "::mlir::FloatAttr":$factor, "int64_t":$original, "::mlir::FloatAttr":$beta_fast,
                        "::mlir::FloatAttr":$beta_slow);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

def V4_QuantFormat : I32EnumAttr<"QuantFormat", "element format of a quantiser", [
    I32EnumAttrCase<"e4m3", 0>, I32EnumAttrCase<"e2m1", 1>]> {
  let cppNamespace = "::mlir::v4";
}

#endif
