// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: v4-opt %s --verify-roundtrip | FileCheck %s
// RUN: v4-opt %s --emit-bytecode | v4-opt | FileCheck %s
// Every op and attribute, in text and in bytecode.

// CHECK-LABEL: func.func @basic
func.func @basic(%ids: tensor<4xi32>, %table: tensor<32x64xbf16>, %span: tensor<2xi32>, %positions: tensor<4xi32>,
                 %weight: tensor<64xbf16>) -> tensor<1x64xf32> {
  // CHECK: v4.embed %{{.*}}, %{{.*}} : (tensor<4xi32>, tensor<32x64xbf16>) -> tensor<4x64xf32>
  %x = v4.embed %ids, %table : (tensor<4xi32>, tensor<32x64xbf16>) -> tensor<4x64xf32>
  // CHECK: v4.rms_norm %{{.*}} weight %{{.*}} eps 9.99999997E-7 : (tensor<4x64xf32>, tensor<64xbf16>) -> tensor<4x64xf32>
  %n = v4.rms_norm %x weight %weight eps 1.0e-6 : (tensor<4x64xf32>, tensor<64xbf16>) -> tensor<4x64xf32>
  // CHECK: v4.rope_table %{{.*}} theta 1.000000e+04 : (tensor<4xi32>) -> tensor<4x2x4xf32>
  %plain = v4.rope_table %positions theta 1.0e4 : (tensor<4xi32>) -> tensor<4x2x4xf32>
  // CHECK: v4.rope_table %{{.*}} theta 1.600000e+05 yarn <factor = 1.600000e+01 : f64, original = 65536, beta_fast = 3.200000e+01 : f64, beta_slow = 1.000000e+00 : f64>
  %yarn = v4.rope_table %positions theta 1.6e5 yarn <factor = 16.0 : f64, original = 65536, beta_fast = 32.0 : f64, beta_slow = 1.0 : f64> : (tensor<4xi32>) -> tensor<4x2x4xf32>
  // CHECK: v4.rope %{{.*}}, %{{.*}} : (tensor<4x64xf32>, tensor<4x2x4xf32>) -> tensor<4x64xf32>
  %r = v4.rope %n, %plain : (tensor<4x64xf32>, tensor<4x2x4xf32>) -> tensor<4x64xf32>
  // CHECK: v4.rope %{{.*}}, %{{.*}} inverse :
  %i = v4.rope %r, %yarn inverse : (tensor<4x64xf32>, tensor<4x2x4xf32>) -> tensor<4x64xf32>
  // CHECK: v4.hadamard
  %h = v4.hadamard %i : (tensor<4x64xf32>) -> tensor<4x64xf32>
  // CHECK: v4.select_last
  %last = v4.select_last %h, %span : (tensor<4x64xf32>, tensor<2xi32>) -> tensor<1x64xf32>
  return %last : tensor<1x64xf32>
}

// CHECK-LABEL: func.func @packed_linears
func.func @packed_linears(%x: tensor<3x256xf32>, %b: tensor<2x128x16x2xbf16>, %q: tensor<10x64x16x4xf8E4M3FN>,
                          %qs: tensor<2x2xf8E8M0FNU>, %n: tensor<1x32x16x4xi8>, %ns: tensor<1x8x16xf8E8M0FNU>) {
  // CHECK: v4.linear %{{.*}}, %{{.*}} : (tensor<3x256xf32>, tensor<2x128x16x2xbf16>) -> tensor<3x32xf32>
  %0 = v4.linear %x, %b : (tensor<3x256xf32>, tensor<2x128x16x2xbf16>) -> tensor<3x32xf32>
  // CHECK: v4.linear %{{.*}}, %{{.*}} scale %{{.*}} : (tensor<3x256xf32>, tensor<10x64x16x4xf8E4M3FN>, tensor<2x2xf8E8M0FNU>)
  %1 = v4.linear %x, %q scale %qs : (tensor<3x256xf32>, tensor<10x64x16x4xf8E4M3FN>, tensor<2x2xf8E8M0FNU>) -> tensor<3x160xf32>
  // CHECK: v4.linear %{{.*}}, %{{.*}} scale %{{.*}} : (tensor<3x256xf32>, tensor<1x32x16x4xi8>, tensor<1x8x16xf8E8M0FNU>)
  %2 = v4.linear %x, %n scale %ns : (tensor<3x256xf32>, tensor<1x32x16x4xi8>, tensor<1x8x16xf8E8M0FNU>) -> tensor<3x16xf32>
  return
}

// CHECK-LABEL: func.func @linears
func.func @linears(%x: tensor<3x256xf32>, %f: tensor<5x256xf32>, %b: tensor<5x256xbf16>, %q: tensor<160x256xf8E4M3FN>,
                   %qs: tensor<2x2xf8E8M0FNU>, %n: tensor<5x128xi8>, %ns: tensor<5x8xf8E8M0FNU>,
                   %g: tensor<3x2x128xf32>, %gw: tensor<2x7x128xbf16>)
    -> (tensor<3x5xf32>, tensor<3x5xf32>, tensor<3x160xf32>, tensor<3x5xf32>, tensor<3x2x7xf32>) {
  // CHECK: v4.linear %{{.*}}, %{{.*}} : (tensor<3x256xf32>, tensor<5x256xf32>) -> tensor<3x5xf32>
  %0 = v4.linear %x, %f : (tensor<3x256xf32>, tensor<5x256xf32>) -> tensor<3x5xf32>
  // CHECK: v4.linear %{{.*}}, %{{.*}} : (tensor<3x256xf32>, tensor<5x256xbf16>) -> tensor<3x5xf32>
  %1 = v4.linear %x, %b : (tensor<3x256xf32>, tensor<5x256xbf16>) -> tensor<3x5xf32>
  // CHECK: v4.linear %{{.*}}, %{{.*}} scale %{{.*}} : (tensor<3x256xf32>, tensor<160x256xf8E4M3FN>, tensor<2x2xf8E8M0FNU>)
  %2 = v4.linear %x, %q scale %qs : (tensor<3x256xf32>, tensor<160x256xf8E4M3FN>, tensor<2x2xf8E8M0FNU>) -> tensor<3x160xf32>
  // CHECK: v4.linear %{{.*}}, %{{.*}} scale %{{.*}} : (tensor<3x256xf32>, tensor<5x128xi8>, tensor<5x8xf8E8M0FNU>)
  %3 = v4.linear %x, %n scale %ns : (tensor<3x256xf32>, tensor<5x128xi8>, tensor<5x8xf8E8M0FNU>) -> tensor<3x5xf32>
  // CHECK: v4.linear %{{.*}}, %{{.*}} : (tensor<3x2x128xf32>, tensor<2x7x128xbf16>) -> tensor<3x2x7xf32>
  %4 = v4.linear %g, %gw : (tensor<3x2x128xf32>, tensor<2x7x128xbf16>) -> tensor<3x2x7xf32>
  return %0, %1, %2, %3, %4 : tensor<3x5xf32>, tensor<3x5xf32>, tensor<3x160xf32>, tensor<3x5xf32>, tensor<3x2x7xf32>
}

// CHECK-LABEL: func.func @quantisers
func.func @quantisers(%x: tensor<4x128xf32>) -> (tensor<4x128xf32>, tensor<4x128xf32>, tensor<4x128xf32>) {
  // CHECK: v4.quantize %{{.*}} format e4m3 block 64
  %c, %s = v4.quantize %x format e4m3 block 64 : (tensor<4x128xf32>) -> (tensor<4x128xf8E4M3FN>, tensor<4x2xf8E8M0FNU>)
  // CHECK: v4.quantize %{{.*}} format e2m1 block 32
  %c4, %s4 = v4.quantize %x format e2m1 block 32 : (tensor<4x128xf32>) -> (tensor<4x64xi8>, tensor<4x4xf8E8M0FNU>)
  // CHECK: v4.dequantize
  %d = v4.dequantize %c, %s : (tensor<4x128xf8E4M3FN>, tensor<4x2xf8E8M0FNU>) -> tensor<4x128xf32>
  // CHECK: v4.dequantize
  %d4 = v4.dequantize %c4, %s4 : (tensor<4x64xi8>, tensor<4x4xf8E8M0FNU>) -> tensor<4x128xf32>
  // CHECK: v4.round_trip %{{.*}} format e4m3 block 64 columns 64
  %r = v4.round_trip %x format e4m3 block 64 columns 64 : (tensor<4x128xf32>) -> tensor<4x128xf32>
  return %d, %d4, %r : tensor<4x128xf32>, tensor<4x128xf32>, tensor<4x128xf32>
}

// CHECK-LABEL: func.func @hyper_connections
func.func @hyper_connections(%x: tensor<4x64xf32>, %y: tensor<4x4x64xf32>, %fn: tensor<24x256xf32>, %scale: tensor<3xf32>,
                             %base: tensor<24xf32>, %head_fn: tensor<4x256xf32>, %head_scale: tensor<1xf32>,
                             %head_base: tensor<4xf32>) -> (tensor<4x64xf32>, tensor<4x4x4xf32>) {
  // CHECK: v4.hc_expand %{{.*}} : (tensor<4x64xf32>) -> tensor<4x4x64xf32>
  %0 = v4.hc_expand %x : (tensor<4x64xf32>) -> tensor<4x4x64xf32>
  // CHECK: v4.hc_expand %{{.*}} add %{{.*}} :
  %1 = v4.hc_expand %x add %y : (tensor<4x64xf32>, tensor<4x4x64xf32>) -> tensor<4x4x64xf32>
  // CHECK: v4.hc_pre %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} eps {{.*}} hc_eps {{.*}} iterations 20
  %in, %post, %comb = v4.hc_pre %0, %fn, %scale, %base eps 1.0e-6 hc_eps 1.0e-6 iterations 20
      : (tensor<4x4x64xf32>, tensor<24x256xf32>, tensor<3xf32>, tensor<24xf32>)
      -> (tensor<4x64xf32>, tensor<4x4xf32>, tensor<4x4x4xf32>)
  // CHECK: v4.sinkhorn %{{.*}} eps {{.*}} iterations 20
  %s = v4.sinkhorn %comb eps 1.0e-6 iterations 20 : (tensor<4x4x4xf32>) -> tensor<4x4x4xf32>
  // CHECK: v4.hc_post
  %2 = v4.hc_post %in, %1, %post, %comb
      : (tensor<4x64xf32>, tensor<4x4x64xf32>, tensor<4x4xf32>, tensor<4x4x4xf32>) -> tensor<4x4x64xf32>
  // CHECK: v4.hc_head
  %3 = v4.hc_head %2, %head_fn, %head_scale, %head_base eps 1.0e-6 hc_eps 1.0e-6
      : (tensor<4x4x64xf32>, tensor<4x256xf32>, tensor<1xf32>, tensor<4xf32>) -> tensor<4x64xf32>
  return %3, %s : tensor<4x64xf32>, tensor<4x4x4xf32>
}

// CHECK-LABEL: func.func @attention
func.func @attention(%kv: tensor<4x8xf32>, %gate: tensor<4x16xf32>, %wide: tensor<4x16xf32>, %ape: tensor<4x16xf32>,
                     %q: tensor<4x2x8xf32>, %weights: tensor<4x2xf32>, %sink: tensor<2xf32>, %positions: tensor<4xi32>,
                     %span: tensor<2xi32>, %ring: tensor<8x8xf32>, %cache: tensor<16x8xf32>, %kv_rows: tensor<8x16xf32>,
                     %score_rows: tensor<8x16xf32>)
    -> (tensor<4x2x8xf32>, tensor<8x8xf32>, tensor<16x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>) {
  // CHECK: v4.window_context
  %context = v4.window_context %kv, %ring, %span : (tensor<4x8xf32>, tensor<8x8xf32>, tensor<2xi32>) -> tensor<12x8xf32>
  // CHECK: v4.window_append
  %ring1 = v4.window_append %kv, %ring, %span : (tensor<4x8xf32>, tensor<8x8xf32>, tensor<2xi32>) -> tensor<8x8xf32>
  // CHECK: v4.entry_positions %{{.*}} ratio 4
  %at = v4.entry_positions %span ratio 4 : (tensor<2xi32>) -> tensor<1xi32>
  // CHECK: v4.compress {{.*}} ratio 4 overlap :
  %entries, %kv1, %score1 = v4.compress %wide, %gate, %ape, %kv_rows, %score_rows, %span ratio 4 overlap
      : (tensor<4x16xf32>, tensor<4x16xf32>, tensor<4x16xf32>, tensor<8x16xf32>, tensor<8x16xf32>, tensor<2xi32>)
      -> (tensor<1x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>)
  // CHECK: v4.cache_append {{.*}} ratio 4
  %cache1 = v4.cache_append %entries, %cache, %at ratio 4
      : (tensor<1x8xf32>, tensor<16x8xf32>, tensor<1xi32>) -> tensor<16x8xf32>
  // CHECK: v4.index_scores {{.*}} ratio 4 scale 1.250000e-01
  %scores = v4.index_scores %q, %weights, %cache1, %positions ratio 4 scale 0.125
      : (tensor<4x2x8xf32>, tensor<4x2xf32>, tensor<16x8xf32>, tensor<4xi32>) -> tensor<4x16xf32>
  // CHECK: v4.top_k %{{.*}} visible %{{.*}} ratio 4
  %selected = v4.top_k %scores visible %positions ratio 4 : (tensor<4x16xf32>, tensor<4xi32>) -> tensor<4x3xi32>
  // CHECK: v4.index_top_k {{.*}} ratio 4 scale 1.250000e-01
  %listed = v4.index_top_k %q, %weights, %cache1, %positions ratio 4 scale 0.125
      : (tensor<4x2x8xf32>, tensor<4x2xf32>, tensor<16x8xf32>, tensor<4xi32>) -> tensor<4x3xi32>
  // CHECK: v4.sparse_attention {{.*}} entries %{{.*}} ratio 4 selected %{{.*}} window 8 scale
  %y = v4.sparse_attention %q, %context, %sink, %positions, %span entries %cache1 ratio 4 selected %selected window 8 scale 0.35
      : (tensor<4x2x8xf32>, tensor<12x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<2xi32>, tensor<16x8xf32>, tensor<4x3xi32>)
      -> tensor<4x2x8xf32>
  return %y, %ring1, %cache1, %kv1, %score1
      : tensor<4x2x8xf32>, tensor<8x8xf32>, tensor<16x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>
}

// CHECK-LABEL: func.func @attention_tile
// The form of a tile: one row, some heads, a first key.
func.func @attention_tile(%q: tensor<1x2x8xf32>, %weights: tensor<1x2xf32>, %keys: tensor<4x8xf32>, %sink: tensor<2xf32>,
                          %position: tensor<1xi32>, %span: tensor<2xi32>, %ring: tensor<8x8xf32>, %first: index)
    -> (tensor<1x4xf32>, tensor<1x2x8xf32>, tensor<1x2xi32>) {
  // CHECK: v4.index_scores {{.*}} first_key %{{.*}} ratio 4
  %scores = v4.index_scores %q, %weights, %keys, %position first_key %first ratio 4 scale 1.0
      : (tensor<1x2x8xf32>, tensor<1x2xf32>, tensor<4x8xf32>, tensor<1xi32>, index) -> tensor<1x4xf32>
  // CHECK: v4.sparse_attention %{{[^:]*}} window 8 scale
  %y = v4.sparse_attention %q, %ring, %sink, %position, %span window 8 scale 0.35
      : (tensor<1x2x8xf32>, tensor<8x8xf32>, tensor<2xf32>, tensor<1xi32>, tensor<2xi32>) -> tensor<1x2x8xf32>
  // CHECK: v4.top_k %{{[^:]*}} : (tensor<1x4xf32>)
  %best = v4.top_k %scores : (tensor<1x4xf32>) -> tensor<1x2xi32>
  return %scores, %y, %best : tensor<1x4xf32>, tensor<1x2x8xf32>, tensor<1x2xi32>
}

// CHECK-LABEL: func.func @slots
// A decode call of four sequences.
func.func @slots(%kv: tensor<4x8xf32>, %gate: tensor<4x16xf32>, %wide: tensor<4x16xf32>, %ape: tensor<4x16xf32>,
                 %q: tensor<4x2x8xf32>, %weights: tensor<4x2xf32>, %sink: tensor<2xf32>, %positions: tensor<4xi32>,
                 %span: tensor<4x2xi32>, %ring: tensor<4x8x8xf32>, %cache: tensor<4x16x8xf32>,
                 %kv_rows: tensor<4x8x16xf32>, %score_rows: tensor<4x8x16xf32>)
    -> (tensor<4x2x8xf32>, tensor<4x8x8xf32>, tensor<4x16x8xf32>, tensor<4x8x16xf32>, tensor<4x8x16xf32>) {
  // CHECK: v4.window_append {{.*}} : (tensor<4x8xf32>, tensor<4x8x8xf32>, tensor<4x2xi32>) -> tensor<4x8x8xf32>
  %ring1 = v4.window_append %kv, %ring, %span
      : (tensor<4x8xf32>, tensor<4x8x8xf32>, tensor<4x2xi32>) -> tensor<4x8x8xf32>
  // CHECK: v4.entry_positions %{{.*}} ratio 4 : (tensor<4x2xi32>) -> tensor<4xi32>
  %at = v4.entry_positions %span ratio 4 : (tensor<4x2xi32>) -> tensor<4xi32>
  // CHECK: v4.compress {{.*}} -> (tensor<4x8xf32>, tensor<4x8x16xf32>, tensor<4x8x16xf32>)
  %entries, %kv1, %score1 = v4.compress %wide, %gate, %ape, %kv_rows, %score_rows, %span ratio 4 overlap
      : (tensor<4x16xf32>, tensor<4x16xf32>, tensor<4x16xf32>, tensor<4x8x16xf32>, tensor<4x8x16xf32>, tensor<4x2xi32>)
      -> (tensor<4x8xf32>, tensor<4x8x16xf32>, tensor<4x8x16xf32>)
  // CHECK: v4.cache_append {{.*}} -> tensor<4x16x8xf32>
  %cache1 = v4.cache_append %entries, %cache, %at ratio 4
      : (tensor<4x8xf32>, tensor<4x16x8xf32>, tensor<4xi32>) -> tensor<4x16x8xf32>
  // CHECK: v4.index_scores {{.*}} -> tensor<4x16xf32>
  %scores = v4.index_scores %q, %weights, %cache1, %positions ratio 4 scale 0.125
      : (tensor<4x2x8xf32>, tensor<4x2xf32>, tensor<4x16x8xf32>, tensor<4xi32>) -> tensor<4x16xf32>
  %selected = v4.top_k %scores visible %positions ratio 4 : (tensor<4x16xf32>, tensor<4xi32>) -> tensor<4x3xi32>
  // CHECK: v4.sparse_attention {{.*}} tensor<4x8x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<4x2xi32>, tensor<4x16x8xf32>
  %y = v4.sparse_attention %q, %ring1, %sink, %positions, %span entries %cache1 ratio 4 selected %selected window 8 scale 0.35
      : (tensor<4x2x8xf32>, tensor<4x8x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<4x2xi32>, tensor<4x16x8xf32>, tensor<4x3xi32>)
      -> tensor<4x2x8xf32>
  return %y, %ring1, %cache1, %kv1, %score1
      : tensor<4x2x8xf32>, tensor<4x8x8xf32>, tensor<4x16x8xf32>, tensor<4x8x16xf32>, tensor<4x8x16xf32>
}

// CHECK-LABEL: func.func @experts
func.func @experts(%x: tensor<4x64xf32>, %logits: tensor<4x8xf32>, %bias: tensor<8xf32>, %ids: tensor<4xi32>,
                   %table: tensor<32x2xi64>, %positions: tensor<4xi32>, %w1: tensor<8x32x32xi8>, %s1: tensor<8x32x2xf8E8M0FNU>,
                   %w2: tensor<8x64x32xbf16>) -> tensor<4x64xf32> {
  // CHECK: v4.route %{{.*}}, %{{.*}} scale 1.500000e+00
  %i0, %p0 = v4.route %logits, %bias scale 1.5 : (tensor<4x8xf32>, tensor<8xf32>) -> (tensor<4x2xi32>, tensor<4x2xf32>)
  // CHECK: v4.route_hash
  %i1, %p1 = v4.route_hash %logits, %ids, %table scale 1.5
      : (tensor<4x8xf32>, tensor<4xi32>, tensor<32x2xi64>) -> (tensor<4x2xi32>, tensor<4x2xf32>)
  // CHECK: v4.dispatch {{.*}} experts 8
  %experts, %offsets, %rows, %weights, %pairs = v4.dispatch %i0, %p1, %positions experts 8
      : (tensor<4x2xi32>, tensor<4x2xf32>, tensor<4xi32>)
      -> (tensor<8xi32>, tensor<9xi32>, tensor<8xi32>, tensor<8xf32>, tensor<4x2xi32>)
  // CHECK: v4.grouped_linear %{{.*}}, %{{.*}} scale %{{.*}} experts %{{.*}}, %{{.*}} rows %{{.*}} :
  %gate = v4.grouped_linear %x, %w1 scale %s1 experts %experts, %offsets rows %rows
      : (tensor<4x64xf32>, tensor<8x32x32xi8>, tensor<8x32x2xf8E8M0FNU>, tensor<8xi32>, tensor<9xi32>, tensor<8xi32>)
      -> tensor<8x32xf32>
  // CHECK: v4.swiglu %{{.*}}, %{{.*}} weights %{{.*}} limit 1.000000e+01
  %z = v4.swiglu %gate, %gate weights %weights limit 10.0 : (tensor<8x32xf32>, tensor<8x32xf32>, tensor<8xf32>) -> tensor<8x32xf32>
  // CHECK: v4.grouped_linear %{{.*}}, %{{.*}} experts %{{.*}}, %{{.*}} :
  %down = v4.grouped_linear %z, %w2 experts %experts, %offsets
      : (tensor<8x32xf32>, tensor<8x64x32xbf16>, tensor<8xi32>, tensor<9xi32>) -> tensor<8x64xf32>
  // CHECK: v4.combine
  %y = v4.combine %down, %pairs, %x : (tensor<8x64xf32>, tensor<4x2xi32>, tensor<4x64xf32>) -> tensor<4x64xf32>
  return %y : tensor<4x64xf32>
}

// CHECK-LABEL: func.func @entry
// CHECK-SAME: tensor<32x64xbf16> {v4.weight = #v4.weight<"embed.weight", bf16, [32, 64]>}
// CHECK-SAME: tensor<8x32x32xi8> {v4.weight = #v4.weight<"layers.0.ffn.experts.{e}.w1.weight", i8, [32, 32]>}
// CHECK-SAME: tensor<8x16x64xf32> {v4.weight = #v4.weight<"experts.gate_up_proj", f32, [8, 32, 64] offset = 4096 stride = 8192>}
// CHECK-SAME: tensor<8x16x64xf32> {v4.weight = #v4.weight<"experts.gate_up_proj", f32, [8, 32, 64] stride = 8192>}
// CHECK-SAME: tensor<4xi32> {v4.input = "tokens"}
// CHECK-SAME: tensor<4xi32> {v4.input = "positions"}
// CHECK-SAME: tensor<2xi32> {v4.input = "span"}
// CHECK-SAME: tensor<4x4x64xf32> {v4.input = "hidden"}
// CHECK-SAME: tensor<8x8xf32> {v4.state = #v4.state<"layers.0.attn.window", window>}
// CHECK-SAME: tensor<8x16xf32> {v4.state = #v4.state<"layers.0.attn.compressor.kv_rows", kv_rows, ratio = 4, overlap = true>}
// CHECK-SAME: attributes {v4.entry = "mtp_prefill", v4.rows = 4 : i64}
func.func private @layer(tensor<4xi32>)
func.func @entry(%table: tensor<32x64xbf16> {v4.weight = #v4.weight<"embed.weight", bf16, [32, 64]>},
                 %w1: tensor<8x32x32xi8> {v4.weight = #v4.weight<"layers.0.ffn.experts.{e}.w1.weight", i8, [32, 32]>},
                 %up: tensor<8x16x64xf32> {v4.weight = #v4.weight<"experts.gate_up_proj", f32, [8, 32, 64] offset = 4096 stride = 8192>},
                 %gate: tensor<8x16x64xf32> {v4.weight = #v4.weight<"experts.gate_up_proj", f32, [8, 32, 64] stride = 8192>},
                 %tokens: tensor<4xi32> {v4.input = "tokens"}, %positions: tensor<4xi32> {v4.input = "positions"},
                 %span: tensor<2xi32> {v4.input = "span"}, %hidden: tensor<4x4x64xf32> {v4.input = "hidden"},
                 %window: tensor<8x8xf32> {v4.state = #v4.state<"layers.0.attn.window", window>},
                 %rows: tensor<8x16xf32> {v4.state = #v4.state<"layers.0.attn.compressor.kv_rows", kv_rows, ratio = 4, overlap = true>})
    -> (tensor<4x64xf32> {v4.output = "logits"}, tensor<8x8xf32> {v4.state = #v4.state<"layers.0.attn.window", window>},
        tensor<8x16xf32> {v4.state = #v4.state<"layers.0.attn.compressor.kv_rows", kv_rows, ratio = 4, overlap = true>})
    attributes {v4.entry = "mtp_prefill", v4.rows = 4 : i64} {
  // CHECK: call @layer(%{{.*}}) {v4.path = "layers.0"}
  call @layer(%tokens) {v4.path = "layers.0"} : (tensor<4xi32>) -> ()
  // CHECK: v4.embed {{.*}} {v4.name = "embed"} :
  %x = v4.embed %tokens, %table {v4.name = "embed"} : (tensor<4xi32>, tensor<32x64xbf16>) -> tensor<4x64xf32>
  return %x, %window, %rows : tensor<4x64xf32>, tensor<8x8xf32>, tensor<8x16xf32>
}

// CHECK-LABEL: func.func @groups
func.func @groups(%x: tensor<4x64xf32>, %w: tensor<32x64xf32>) -> tensor<4x32xf32> {
  // CHECK: v4.group "attn.wq_a" -> tensor<4x32xf32> {
  %y = v4.group "attn.wq_a" -> tensor<4x32xf32> {
    // CHECK: v4.phase -> tensor<4x64xf32> {
    %0 = v4.phase -> tensor<4x64xf32> {
      %1 = v4.rms_norm %x eps 1.0e-6 : (tensor<4x64xf32>) -> tensor<4x64xf32>
      // CHECK: v4.yield %{{.*}} : tensor<4x64xf32>
      v4.yield %1 : tensor<4x64xf32>
    }
    %2 = v4.linear %0, %w : (tensor<4x64xf32>, tensor<32x64xf32>) -> tensor<4x32xf32>
    v4.yield %2 : tensor<4x32xf32>
  }
  return %y : tensor<4x32xf32>
}

module @kernel attributes {v4.kernel} {}
// CHECK-LABEL: func.func @launches
func.func @launches(%x: tensor<4xf32>, %y: memref<4xf32>) -> tensor<4xf32> {
  // CHECK: v4.launch @kernel "attn.norm" ins(%{{.*}} : tensor<4xf32>) outs(%{{.*}} : tensor<4xf32>) -> tensor<4xf32>
  %0 = v4.launch @kernel "attn.norm" ins(%x : tensor<4xf32>) outs(%x : tensor<4xf32>) -> tensor<4xf32>
  // CHECK: v4.launch @kernel "attn.norm" ins() outs(%{{.*}} : memref<4xf32>)
  v4.launch @kernel "attn.norm" ins() outs(%y : memref<4xf32>)
  return %0 : tensor<4xf32>
}
