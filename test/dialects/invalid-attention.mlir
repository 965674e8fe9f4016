// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: v4-opt %s --split-input-file --verify-diagnostics
// Diagnostics of the verifiers: attention ops.

func.func @window_context_kv(%a0: tensor<8xf32>, %a1: tensor<16x8xf32>, %a2: tensor<2xi32>) {
  // expected-error @below {{'v4.window_context' op expected kv of shape [S, c], found [8]}}
  %r = v4.window_context %a0, %a1, %a2 : (tensor<8xf32>, tensor<16x8xf32>, tensor<2xi32>) -> tensor<20x8xf32>
  return
}

// -----

func.func @window_context_ring(%a0: tensor<4x8xf32>, %a1: tensor<16x9xf32>, %a2: tensor<2xi32>) {
  // expected-error @below {{'v4.window_context' op expected ring of shape [w, c = 8], found [16, 9]}}
  %r = v4.window_context %a0, %a1, %a2 : (tensor<4x8xf32>, tensor<16x9xf32>, tensor<2xi32>) -> tensor<20x8xf32>
  return
}

// -----

func.func @window_context_result(%a0: tensor<4x8xf32>, %a1: tensor<16x8xf32>, %a2: tensor<2xi32>) {
  // expected-error @below {{'v4.window_context' op expected result of shape [w + S = 20, c = 8], found [16, 8]}}
  %r = v4.window_context %a0, %a1, %a2 : (tensor<4x8xf32>, tensor<16x8xf32>, tensor<2xi32>) -> tensor<16x8xf32>
  return
}

// -----

func.func @window_append_kv(%a0: tensor<8xf32>, %a1: tensor<16x8xf32>, %a2: tensor<2xi32>) {
  // expected-error @below {{'v4.window_append' op expected kv of shape [S, c], found [8]}}
  %r = v4.window_append %a0, %a1, %a2 : (tensor<8xf32>, tensor<16x8xf32>, tensor<2xi32>) -> tensor<16x8xf32>
  return
}

// -----

func.func @window_append_ring(%a0: tensor<4x8xf32>, %a1: tensor<16xf32>, %a2: tensor<2xi32>) {
  // expected-error @below {{'v4.window_append' op expected ring of shape [w, c = 8], found [16]}}
  %r = v4.window_append %a0, %a1, %a2 : (tensor<4x8xf32>, tensor<16xf32>, tensor<2xi32>) -> tensor<16x8xf32>
  return
}

// -----

func.func @window_append_bytes(%a0: tensor<4x76xf32>, %a1: tensor<16x95xi8>, %a2: tensor<2xi32>) {
  // expected-error @below {{'v4.window_append' op expected ring with packed rows of c = 76 columns, which have no form in 95 bytes}}
  %r = v4.window_append %a0, %a1, %a2 : (tensor<4x76xf32>, tensor<16x95xi8>, tensor<2xi32>) -> tensor<16x95xi8>
  return
}

// -----

func.func @window_append_result(%a0: tensor<4x8xf32>, %a1: tensor<16x8xf32>, %a2: tensor<2xi32>) {
  // expected-error @below {{'v4.window_append' op expected result of type 'tensor<16x8xf32>', found 'tensor<20x8xf32>'}}
  %r = v4.window_append %a0, %a1, %a2 : (tensor<4x8xf32>, tensor<16x8xf32>, tensor<2xi32>) -> tensor<20x8xf32>
  return
}

// -----

func.func @entry_positions_ratio(%a0: tensor<2xi32>) {
  // expected-error @below {{'v4.entry_positions' op expected ratio > 0, found 0}}
  %r = v4.entry_positions %a0 ratio 0 : (tensor<2xi32>) -> tensor<2xi32>
  return
}

// -----

func.func @entry_positions_result(%a0: tensor<2xi32>) {
  // expected-error @below {{'v4.entry_positions' op expected result of shape [ceil(S/r)], found [2, 1]}}
  %r = v4.entry_positions %a0 ratio 4 : (tensor<2xi32>) -> tensor<2x1xi32>
  return
}

// -----

func.func @compress_ratio(%a0: tensor<9x16xf32>, %a1: tensor<9x16xf32>, %a2: tensor<4x16xf32>,
                          %a3: tensor<8x16xf32>, %a4: tensor<8x16xf32>, %a5: tensor<2xi32>) {
  // expected-error @below {{'v4.compress' op expected ratio > 0, found 0}}
  %r:3 = v4.compress %a0, %a1, %a2, %a3, %a4, %a5 ratio 0 overlap
      : (tensor<9x16xf32>, tensor<9x16xf32>, tensor<4x16xf32>, tensor<8x16xf32>, tensor<8x16xf32>, tensor<2xi32>)
      -> (tensor<3x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>)
  return
}

// -----

func.func @compress_kv(%a0: tensor<16xf32>, %a1: tensor<9x16xf32>, %a2: tensor<4x16xf32>,
                       %a3: tensor<8x16xf32>, %a4: tensor<8x16xf32>, %a5: tensor<2xi32>) {
  // expected-error @below {{'v4.compress' op expected kv of shape [S, m*c], found [16]}}
  %r:3 = v4.compress %a0, %a1, %a2, %a3, %a4, %a5 ratio 4 overlap
      : (tensor<16xf32>, tensor<9x16xf32>, tensor<4x16xf32>, tensor<8x16xf32>, tensor<8x16xf32>, tensor<2xi32>)
      -> (tensor<3x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>)
  return
}

// -----

func.func @compress_even(%a0: tensor<9x15xf32>, %a1: tensor<9x16xf32>, %a2: tensor<4x16xf32>,
                         %a3: tensor<8x16xf32>, %a4: tensor<8x16xf32>, %a5: tensor<2xi32>) {
  // expected-error @below {{'v4.compress' op expected an even number of channels with overlap, found 15}}
  %r:3 = v4.compress %a0, %a1, %a2, %a3, %a4, %a5 ratio 4 overlap
      : (tensor<9x15xf32>, tensor<9x16xf32>, tensor<4x16xf32>, tensor<8x16xf32>, tensor<8x16xf32>, tensor<2xi32>)
      -> (tensor<3x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>)
  return
}

// -----

func.func @compress_gate(%a0: tensor<9x16xf32>, %a1: tensor<8x16xf32>, %a2: tensor<4x16xf32>,
                         %a3: tensor<8x16xf32>, %a4: tensor<8x16xf32>, %a5: tensor<2xi32>) {
  // expected-error @below {{'v4.compress' op expected gate of shape [S = 9, m*c = 16], found [8, 16]}}
  %r:3 = v4.compress %a0, %a1, %a2, %a3, %a4, %a5 ratio 4 overlap
      : (tensor<9x16xf32>, tensor<8x16xf32>, tensor<4x16xf32>, tensor<8x16xf32>, tensor<8x16xf32>, tensor<2xi32>)
      -> (tensor<3x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>)
  return
}

// -----

func.func @compress_ape(%a0: tensor<9x16xf32>, %a1: tensor<9x16xf32>, %a2: tensor<8x16xf32>,
                        %a3: tensor<8x16xf32>, %a4: tensor<8x16xf32>, %a5: tensor<2xi32>) {
  // expected-error @below {{'v4.compress' op expected ape of shape [r = 4, m*c = 16], found [8, 16]}}
  %r:3 = v4.compress %a0, %a1, %a2, %a3, %a4, %a5 ratio 4 overlap
      : (tensor<9x16xf32>, tensor<9x16xf32>, tensor<8x16xf32>, tensor<8x16xf32>, tensor<8x16xf32>, tensor<2xi32>)
      -> (tensor<3x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>)
  return
}

// -----

func.func @compress_kv_rows(%a0: tensor<9x16xf32>, %a1: tensor<9x16xf32>, %a2: tensor<4x16xf32>,
                            %a3: tensor<4x16xf32>, %a4: tensor<8x16xf32>, %a5: tensor<2xi32>) {
  // expected-error @below {{'v4.compress' op expected kv_rows of shape [m*r = 8, m*c = 16], found [4, 16]}}
  %r:3 = v4.compress %a0, %a1, %a2, %a3, %a4, %a5 ratio 4 overlap
      : (tensor<9x16xf32>, tensor<9x16xf32>, tensor<4x16xf32>, tensor<4x16xf32>, tensor<8x16xf32>, tensor<2xi32>)
      -> (tensor<3x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>)
  return
}

// -----

func.func @compress_score_rows(%a0: tensor<9x16xf32>, %a1: tensor<9x16xf32>, %a2: tensor<4x16xf32>,
                               %a3: tensor<8x16xf32>, %a4: tensor<8x8xf32>, %a5: tensor<2xi32>) {
  // expected-error @below {{'v4.compress' op expected score_rows of shape [m*r = 8, m*c = 16], found [8, 8]}}
  %r:3 = v4.compress %a0, %a1, %a2, %a3, %a4, %a5 ratio 4 overlap
      : (tensor<9x16xf32>, tensor<9x16xf32>, tensor<4x16xf32>, tensor<8x16xf32>, tensor<8x8xf32>, tensor<2xi32>)
      -> (tensor<3x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>)
  return
}

// -----

func.func @compress_entries(%a0: tensor<9x16xf32>, %a1: tensor<9x16xf32>, %a2: tensor<4x16xf32>,
                            %a3: tensor<8x16xf32>, %a4: tensor<8x16xf32>, %a5: tensor<2xi32>) {
  // expected-error @below {{'v4.compress' op expected entries of shape [ceil(S/r) = 3, c = 8], found [2, 8]}}
  %r:3 = v4.compress %a0, %a1, %a2, %a3, %a4, %a5 ratio 4 overlap
      : (tensor<9x16xf32>, tensor<9x16xf32>, tensor<4x16xf32>, tensor<8x16xf32>, tensor<8x16xf32>, tensor<2xi32>)
      -> (tensor<2x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>)
  return
}

// -----

func.func @compress_new_kv_rows(%a0: tensor<9x16xf32>, %a1: tensor<9x16xf32>, %a2: tensor<4x16xf32>,
                                %a3: tensor<8x16xf32>, %a4: tensor<8x16xf32>, %a5: tensor<2xi32>) {
  // expected-error @below {{'v4.compress' op expected new_kv_rows of type 'tensor<8x16xf32>', found 'tensor<4x16xf32>'}}
  %r:3 = v4.compress %a0, %a1, %a2, %a3, %a4, %a5 ratio 4 overlap
      : (tensor<9x16xf32>, tensor<9x16xf32>, tensor<4x16xf32>, tensor<8x16xf32>, tensor<8x16xf32>, tensor<2xi32>)
      -> (tensor<3x8xf32>, tensor<4x16xf32>, tensor<8x16xf32>)
  return
}

// -----

func.func @compress_new_score_rows(%a0: tensor<9x16xf32>, %a1: tensor<9x16xf32>, %a2: tensor<4x16xf32>,
                                   %a3: tensor<8x16xf32>, %a4: tensor<8x16xf32>, %a5: tensor<2xi32>) {
  // expected-error @below {{'v4.compress' op expected new_score_rows of type 'tensor<8x16xf32>', found 'tensor<4x16xf32>'}}
  %r:3 = v4.compress %a0, %a1, %a2, %a3, %a4, %a5 ratio 4 overlap
      : (tensor<9x16xf32>, tensor<9x16xf32>, tensor<4x16xf32>, tensor<8x16xf32>, tensor<8x16xf32>, tensor<2xi32>)
      -> (tensor<3x8xf32>, tensor<8x16xf32>, tensor<4x16xf32>)
  return
}

// -----

func.func @cache_append_ratio(%a0: tensor<2x8xf32>, %a1: tensor<64x8xf32>, %a2: tensor<2xi32>) {
  // expected-error @below {{'v4.cache_append' op expected ratio > 0, found -4}}
  %r = v4.cache_append %a0, %a1, %a2 ratio -4 : (tensor<2x8xf32>, tensor<64x8xf32>, tensor<2xi32>) -> tensor<64x8xf32>
  return
}

// -----

func.func @cache_append_entries(%a0: tensor<8xf32>, %a1: tensor<64x8xf32>, %a2: tensor<2xi32>) {
  // expected-error @below {{'v4.cache_append' op expected entries of shape [e, c], found [8]}}
  %r = v4.cache_append %a0, %a1, %a2 ratio 4 : (tensor<8xf32>, tensor<64x8xf32>, tensor<2xi32>) -> tensor<64x8xf32>
  return
}

// -----

func.func @cache_append_cache(%a0: tensor<2x8xf32>, %a1: tensor<64x4xf32>, %a2: tensor<2xi32>) {
  // expected-error @below {{'v4.cache_append' op expected cache of shape [N, c = 8], found [64, 4]}}
  %r = v4.cache_append %a0, %a1, %a2 ratio 4 : (tensor<2x8xf32>, tensor<64x4xf32>, tensor<2xi32>) -> tensor<64x8xf32>
  return
}

// -----

func.func @cache_append_positions(%a0: tensor<2x8xf32>, %a1: tensor<64x8xf32>, %a2: tensor<3xi32>) {
  // expected-error @below {{'v4.cache_append' op expected positions of shape [e = 2], found [3]}}
  %r = v4.cache_append %a0, %a1, %a2 ratio 4 : (tensor<2x8xf32>, tensor<64x8xf32>, tensor<3xi32>) -> tensor<64x8xf32>
  return
}

// -----

func.func @cache_append_result(%a0: tensor<2x8xf32>, %a1: tensor<64x8xf32>, %a2: tensor<2xi32>) {
  // expected-error @below {{'v4.cache_append' op expected result of type 'tensor<64x8xf32>', found 'tensor<66x8xf32>'}}
  %r = v4.cache_append %a0, %a1, %a2 ratio 4 : (tensor<2x8xf32>, tensor<64x8xf32>, tensor<2xi32>) -> tensor<66x8xf32>
  return
}

// -----

func.func @index_scores_ratio(%a0: tensor<4x2x8xf32>, %a1: tensor<4x2xf32>, %a2: tensor<16x8xf32>, %a3: tensor<4xi32>) {
  // expected-error @below {{'v4.index_scores' op expected ratio > 0, found 0}}
  %r = v4.index_scores %a0, %a1, %a2, %a3 ratio 0 scale 1.0
      : (tensor<4x2x8xf32>, tensor<4x2xf32>, tensor<16x8xf32>, tensor<4xi32>) -> tensor<4x16xf32>
  return
}

// -----

func.func @index_scores_scale(%a0: tensor<4x2x8xf32>, %a1: tensor<4x2xf32>, %a2: tensor<16x8xf32>, %a3: tensor<4xi32>) {
  // expected-error @below {{'v4.index_scores' op expected a finite scale, found nan}}
  %r = v4.index_scores %a0, %a1, %a2, %a3 ratio 4 scale 0x7FC00000
      : (tensor<4x2x8xf32>, tensor<4x2xf32>, tensor<16x8xf32>, tensor<4xi32>) -> tensor<4x16xf32>
  return
}

// -----

func.func @index_scores_query(%a0: tensor<4x8xf32>, %a1: tensor<4x2xf32>, %a2: tensor<16x8xf32>, %a3: tensor<4xi32>) {
  // expected-error @below {{'v4.index_scores' op expected query of shape [S, h, c], found [4, 8]}}
  %r = v4.index_scores %a0, %a1, %a2, %a3 ratio 4 scale 1.0
      : (tensor<4x8xf32>, tensor<4x2xf32>, tensor<16x8xf32>, tensor<4xi32>) -> tensor<4x16xf32>
  return
}

// -----

func.func @index_scores_weights(%a0: tensor<4x2x8xf32>, %a1: tensor<4x3xf32>,
                                %a2: tensor<16x8xf32>, %a3: tensor<4xi32>) {
  // expected-error @below {{'v4.index_scores' op expected weights of shape [S = 4, h = 2], found [4, 3]}}
  %r = v4.index_scores %a0, %a1, %a2, %a3 ratio 4 scale 1.0
      : (tensor<4x2x8xf32>, tensor<4x3xf32>, tensor<16x8xf32>, tensor<4xi32>) -> tensor<4x16xf32>
  return
}

// -----

func.func @index_scores_keys(%a0: tensor<4x2x8xf32>, %a1: tensor<4x2xf32>, %a2: tensor<16x4xf32>, %a3: tensor<4xi32>) {
  // expected-error @below {{'v4.index_scores' op expected keys of shape [N, c = 8], found [16, 4]}}
  %r = v4.index_scores %a0, %a1, %a2, %a3 ratio 4 scale 1.0
      : (tensor<4x2x8xf32>, tensor<4x2xf32>, tensor<16x4xf32>, tensor<4xi32>) -> tensor<4x16xf32>
  return
}

// -----

func.func @index_scores_positions(%a0: tensor<4x2x8xf32>, %a1: tensor<4x2xf32>,
                                  %a2: tensor<16x8xf32>, %a3: tensor<3xi32>) {
  // expected-error @below {{'v4.index_scores' op expected positions of shape [S = 4], found [3]}}
  %r = v4.index_scores %a0, %a1, %a2, %a3 ratio 4 scale 1.0
      : (tensor<4x2x8xf32>, tensor<4x2xf32>, tensor<16x8xf32>, tensor<3xi32>) -> tensor<4x16xf32>
  return
}

// -----

func.func @index_scores_result(%a0: tensor<4x2x8xf32>, %a1: tensor<4x2xf32>,
                               %a2: tensor<16x8xf32>, %a3: tensor<4xi32>) {
  // expected-error @below {{'v4.index_scores' op expected result of shape [S = 4, N = 16], found [4, 15]}}
  %r = v4.index_scores %a0, %a1, %a2, %a3 ratio 4 scale 1.0
      : (tensor<4x2x8xf32>, tensor<4x2xf32>, tensor<16x8xf32>, tensor<4xi32>) -> tensor<4x15xf32>
  return
}

// -----

func.func @index_top_k_ratio(%a0: tensor<4x2x8xf32>, %a1: tensor<4x2xf32>, %a2: tensor<16x8xf32>, %a3: tensor<4xi32>) {
  // expected-error @below {{'v4.index_top_k' op expected ratio > 0, found 0}}
  %r = v4.index_top_k %a0, %a1, %a2, %a3 ratio 0 scale 1.0
      : (tensor<4x2x8xf32>, tensor<4x2xf32>, tensor<16x8xf32>, tensor<4xi32>) -> tensor<4x3xi32>
  return
}

// -----

func.func @index_top_k_scale(%a0: tensor<4x2x8xf32>, %a1: tensor<4x2xf32>, %a2: tensor<16x8xf32>, %a3: tensor<4xi32>) {
  // expected-error @below {{'v4.index_top_k' op expected a finite scale, found nan}}
  %r = v4.index_top_k %a0, %a1, %a2, %a3 ratio 4 scale 0x7FC00000
      : (tensor<4x2x8xf32>, tensor<4x2xf32>, tensor<16x8xf32>, tensor<4xi32>) -> tensor<4x3xi32>
  return
}

// -----

func.func @index_top_k_query(%a0: tensor<4x8xf32>, %a1: tensor<4x2xf32>, %a2: tensor<16x8xf32>, %a3: tensor<4xi32>) {
  // expected-error @below {{'v4.index_top_k' op expected query of shape [S, h, c], found [4, 8]}}
  %r = v4.index_top_k %a0, %a1, %a2, %a3 ratio 4 scale 1.0
      : (tensor<4x8xf32>, tensor<4x2xf32>, tensor<16x8xf32>, tensor<4xi32>) -> tensor<4x3xi32>
  return
}

// -----

func.func @index_top_k_weights(%a0: tensor<4x2x8xf32>, %a1: tensor<4x3xf32>, %a2: tensor<16x8xf32>, %a3: tensor<4xi32>) {
  // expected-error @below {{'v4.index_top_k' op expected weights of shape [S = 4, h = 2], found [4, 3]}}
  %r = v4.index_top_k %a0, %a1, %a2, %a3 ratio 4 scale 1.0
      : (tensor<4x2x8xf32>, tensor<4x3xf32>, tensor<16x8xf32>, tensor<4xi32>) -> tensor<4x3xi32>
  return
}

// -----

func.func @index_top_k_keys(%a0: tensor<4x2x8xf32>, %a1: tensor<4x2xf32>, %a2: tensor<16x4xf32>, %a3: tensor<4xi32>) {
  // expected-error @below {{'v4.index_top_k' op expected keys of shape [N, c = 8], found [16, 4]}}
  %r = v4.index_top_k %a0, %a1, %a2, %a3 ratio 4 scale 1.0
      : (tensor<4x2x8xf32>, tensor<4x2xf32>, tensor<16x4xf32>, tensor<4xi32>) -> tensor<4x3xi32>
  return
}

// -----

func.func @index_top_k_positions(%a0: tensor<4x2x8xf32>, %a1: tensor<4x2xf32>, %a2: tensor<16x8xf32>, %a3: tensor<3xi32>) {
  // expected-error @below {{'v4.index_top_k' op expected positions of shape [S = 4], found [3]}}
  %r = v4.index_top_k %a0, %a1, %a2, %a3 ratio 4 scale 1.0
      : (tensor<4x2x8xf32>, tensor<4x2xf32>, tensor<16x8xf32>, tensor<3xi32>) -> tensor<4x3xi32>
  return
}

// -----

func.func @index_top_k_result(%a0: tensor<4x2x8xf32>, %a1: tensor<4x2xf32>, %a2: tensor<16x8xf32>, %a3: tensor<4xi32>) {
  // expected-error @below {{'v4.index_top_k' op expected result of shape [S = 4, k], found [8]}}
  %r = v4.index_top_k %a0, %a1, %a2, %a3 ratio 4 scale 1.0
      : (tensor<4x2x8xf32>, tensor<4x2xf32>, tensor<16x8xf32>, tensor<4xi32>) -> tensor<8xi32>
  return
}

// -----

func.func @index_top_k_k(%a0: tensor<4x2x8xf32>, %a1: tensor<4x2xf32>, %a2: tensor<16x8xf32>, %a3: tensor<4xi32>) {
  // expected-error @below {{'v4.index_top_k' op expected k <= N = 16, found 17}}
  %r = v4.index_top_k %a0, %a1, %a2, %a3 ratio 4 scale 1.0
      : (tensor<4x2x8xf32>, tensor<4x2xf32>, tensor<16x8xf32>, tensor<4xi32>) -> tensor<4x17xi32>
  return
}

// -----

func.func @top_k_ratio(%a0: tensor<4x16xf32>, %a1: tensor<4xi32>) {
  // expected-error @below {{'v4.top_k' op expected ratio > 0, found 0}}
  %r = v4.top_k %a0 visible %a1 ratio 0 : (tensor<4x16xf32>, tensor<4xi32>) -> tensor<4x8xi32>
  return
}

// -----

func.func @top_k_scores(%a0: tensor<16xf32>, %a1: tensor<4xi32>) {
  // expected-error @below {{'v4.top_k' op expected scores of shape [S, N], found [16]}}
  %r = v4.top_k %a0 visible %a1 ratio 4 : (tensor<16xf32>, tensor<4xi32>) -> tensor<4x8xi32>
  return
}

// -----

func.func @top_k_positions(%a0: tensor<4x16xf32>, %a1: tensor<3xi32>) {
  // expected-error @below {{'v4.top_k' op expected positions of shape [S = 4], found [3]}}
  %r = v4.top_k %a0 visible %a1 ratio 4 : (tensor<4x16xf32>, tensor<3xi32>) -> tensor<4x8xi32>
  return
}

// -----

func.func @top_k_result(%a0: tensor<4x16xf32>, %a1: tensor<4xi32>) {
  // expected-error @below {{'v4.top_k' op expected result of shape [S = 4, k], found [8]}}
  %r = v4.top_k %a0 visible %a1 ratio 4 : (tensor<4x16xf32>, tensor<4xi32>) -> tensor<8xi32>
  return
}

// -----

func.func @top_k_k(%a0: tensor<4x16xf32>, %a1: tensor<4xi32>) {
  // expected-error @below {{'v4.top_k' op expected k <= N = 16, found 17}}
  %r = v4.top_k %a0 visible %a1 ratio 4 : (tensor<4x16xf32>, tensor<4xi32>) -> tensor<4x17xi32>
  return
}

// -----

func.func @top_k_no_positions(%a0: tensor<4x16xf32>) {
  // expected-error @below {{'v4.top_k' op expected no ratio without positions, found 4}}
  %r = v4.top_k %a0 {ratio = 4 : i64} : (tensor<4x16xf32>) -> tensor<4x8xi32>
  return
}

// -----

func.func @sparse_attention_window_size(%a0: tensor<4x2x8xf32>, %a1: tensor<12x8xf32>, %a2: tensor<2xf32>,
                                        %a3: tensor<4xi32>, %a4: tensor<2xi32>, %a5: tensor<16x8xf32>, %a6: tensor<4x3xi32>) {
  // expected-error @below {{'v4.sparse_attention' op expected window > 0, found 0}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 entries %a5 ratio 4 selected %a6 window 0 scale 1.0
      : (tensor<4x2x8xf32>, tensor<12x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<2xi32>, tensor<16x8xf32>, tensor<4x3xi32>)
      -> tensor<4x2x8xf32>
  return
}

// -----

func.func @sparse_attention_ratio(%a0: tensor<4x2x8xf32>, %a1: tensor<12x8xf32>, %a2: tensor<2xf32>,
                                  %a3: tensor<4xi32>, %a4: tensor<2xi32>, %a5: tensor<16x8xf32>, %a6: tensor<4x3xi32>) {
  // expected-error @below {{'v4.sparse_attention' op expected ratio > 0, found 0}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 entries %a5 ratio 0 selected %a6 window 8 scale 1.0
      : (tensor<4x2x8xf32>, tensor<12x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<2xi32>, tensor<16x8xf32>, tensor<4x3xi32>)
      -> tensor<4x2x8xf32>
  return
}

// -----

func.func @sparse_attention_scale(%a0: tensor<4x2x8xf32>, %a1: tensor<12x8xf32>, %a2: tensor<2xf32>,
                                  %a3: tensor<4xi32>, %a4: tensor<2xi32>, %a5: tensor<16x8xf32>, %a6: tensor<4x3xi32>) {
  // expected-error @below {{'v4.sparse_attention' op expected a finite scale, found INF}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 entries %a5 ratio 4 selected %a6 window 8 scale 0x7F800000
      : (tensor<4x2x8xf32>, tensor<12x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<2xi32>, tensor<16x8xf32>, tensor<4x3xi32>)
      -> tensor<4x2x8xf32>
  return
}

// -----

func.func @sparse_attention_query(%a0: tensor<4x8xf32>, %a1: tensor<12x8xf32>, %a2: tensor<2xf32>,
                                  %a3: tensor<4xi32>, %a4: tensor<2xi32>, %a5: tensor<16x8xf32>, %a6: tensor<4x3xi32>) {
  // expected-error @below {{'v4.sparse_attention' op expected query of shape [S, h, c], found [4, 8]}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 entries %a5 ratio 4 selected %a6 window 8 scale 1.0
      : (tensor<4x8xf32>, tensor<12x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<2xi32>, tensor<16x8xf32>, tensor<4x3xi32>)
      -> tensor<4x2x8xf32>
  return
}

// -----

func.func @sparse_attention_window(%a0: tensor<4x2x8xf32>, %a1: tensor<12x4xf32>, %a2: tensor<2xf32>,
                                   %a3: tensor<4xi32>, %a4: tensor<2xi32>, %a5: tensor<16x8xf32>, %a6: tensor<4x3xi32>) {
  // expected-error @below {{'v4.sparse_attention' op expected window of shape [rows, c = 8], found [12, 4]}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 entries %a5 ratio 4 selected %a6 window 8 scale 1.0
      : (tensor<4x2x8xf32>, tensor<12x4xf32>, tensor<2xf32>, tensor<4xi32>, tensor<2xi32>, tensor<16x8xf32>, tensor<4x3xi32>)
      -> tensor<4x2x8xf32>
  return
}

// -----

func.func @sparse_attention_ring(%a0: tensor<4x2x8xf32>, %a1: tensor<8x8xf32>, %a2: tensor<2xf32>,
                                 %a3: tensor<4xi32>, %a4: tensor<2xi32>, %a5: tensor<16x8xf32>, %a6: tensor<4x3xi32>) {
  // expected-error @below {{'v4.sparse_attention' op expected a window of w = 8 rows for S = 1 or of w + S rows for a call of S rows, found 8 rows for S = 4}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 entries %a5 ratio 4 selected %a6 window 8 scale 1.0
      : (tensor<4x2x8xf32>, tensor<8x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<2xi32>, tensor<16x8xf32>, tensor<4x3xi32>)
      -> tensor<4x2x8xf32>
  return
}

// -----

func.func @sparse_attention_context(%a0: tensor<4x2x8xf32>, %a1: tensor<11x8xf32>, %a2: tensor<2xf32>,
                                    %a3: tensor<4xi32>, %a4: tensor<2xi32>, %a5: tensor<16x8xf32>, %a6: tensor<4x3xi32>) {
  // expected-error @below {{'v4.sparse_attention' op expected a window of w = 8 rows for S = 1 or of w + S rows for a call of S rows, found 11 rows for S = 4}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 entries %a5 ratio 4 selected %a6 window 8 scale 1.0
      : (tensor<4x2x8xf32>, tensor<11x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<2xi32>, tensor<16x8xf32>, tensor<4x3xi32>)
      -> tensor<4x2x8xf32>
  return
}

// -----

func.func @sparse_attention_sink(%a0: tensor<4x2x8xf32>, %a1: tensor<12x8xf32>, %a2: tensor<3xf32>,
                                 %a3: tensor<4xi32>, %a4: tensor<2xi32>, %a5: tensor<16x8xf32>, %a6: tensor<4x3xi32>) {
  // expected-error @below {{'v4.sparse_attention' op expected sink of shape [h = 2], found [3]}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 entries %a5 ratio 4 selected %a6 window 8 scale 1.0
      : (tensor<4x2x8xf32>, tensor<12x8xf32>, tensor<3xf32>, tensor<4xi32>, tensor<2xi32>, tensor<16x8xf32>, tensor<4x3xi32>)
      -> tensor<4x2x8xf32>
  return
}

// -----

func.func @sparse_attention_positions(%a0: tensor<4x2x8xf32>, %a1: tensor<12x8xf32>, %a2: tensor<2xf32>,
                                      %a3: tensor<3xi32>, %a4: tensor<2xi32>, %a5: tensor<16x8xf32>, %a6: tensor<4x3xi32>) {
  // expected-error @below {{'v4.sparse_attention' op expected positions of shape [S = 4], found [3]}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 entries %a5 ratio 4 selected %a6 window 8 scale 1.0
      : (tensor<4x2x8xf32>, tensor<12x8xf32>, tensor<2xf32>, tensor<3xi32>, tensor<2xi32>, tensor<16x8xf32>, tensor<4x3xi32>)
      -> tensor<4x2x8xf32>
  return
}

// -----

func.func @sparse_attention_entries(%a0: tensor<4x2x8xf32>, %a1: tensor<12x8xf32>, %a2: tensor<2xf32>,
                                    %a3: tensor<4xi32>, %a4: tensor<2xi32>, %a5: tensor<16x4xf32>, %a6: tensor<4x3xi32>) {
  // expected-error @below {{'v4.sparse_attention' op expected entries of shape [N, c = 8], found [16, 4]}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 entries %a5 ratio 4 selected %a6 window 8 scale 1.0
      : (tensor<4x2x8xf32>, tensor<12x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<2xi32>, tensor<16x4xf32>, tensor<4x3xi32>)
      -> tensor<4x2x8xf32>
  return
}

// -----

func.func @sparse_attention_selected(%a0: tensor<4x2x8xf32>, %a1: tensor<12x8xf32>, %a2: tensor<2xf32>,
                                     %a3: tensor<4xi32>, %a4: tensor<2xi32>, %a5: tensor<16x8xf32>, %a6: tensor<3x3xi32>) {
  // expected-error @below {{'v4.sparse_attention' op expected selected of shape [S = 4, K], found [3, 3]}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 entries %a5 ratio 4 selected %a6 window 8 scale 1.0
      : (tensor<4x2x8xf32>, tensor<12x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<2xi32>, tensor<16x8xf32>, tensor<3x3xi32>)
      -> tensor<4x2x8xf32>
  return
}

// -----

func.func @sparse_attention_result(%a0: tensor<4x2x8xf32>, %a1: tensor<12x8xf32>, %a2: tensor<2xf32>,
                                   %a3: tensor<4xi32>, %a4: tensor<2xi32>, %a5: tensor<16x8xf32>, %a6: tensor<4x3xi32>) {
  // expected-error @below {{'v4.sparse_attention' op expected result of type 'tensor<4x2x8xf32>', found 'tensor<4x2x4xf32>'}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 entries %a5 ratio 4 selected %a6 window 8 scale 1.0
      : (tensor<4x2x8xf32>, tensor<12x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<2xi32>, tensor<16x8xf32>, tensor<4x3xi32>)
      -> tensor<4x2x4xf32>
  return
}

// -----

func.func @sparse_attention_no_entries(%a0: tensor<4x2x8xf32>, %a1: tensor<12x8xf32>, %a2: tensor<2xf32>,
                                       %a3: tensor<4xi32>, %a4: tensor<2xi32>, %a5: tensor<4x3xi32>) {
  // expected-error @below {{'v4.sparse_attention' op expected entries with selected, found none}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 selected %a5 window 8 scale 1.0
      : (tensor<4x2x8xf32>, tensor<12x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<2xi32>, tensor<4x3xi32>)
      -> tensor<4x2x8xf32>
  return
}

// -----

func.func @sparse_attention_no_ratio(%a0: tensor<4x2x8xf32>, %a1: tensor<12x8xf32>,
                                     %a2: tensor<2xf32>, %a3: tensor<4xi32>, %a4: tensor<2xi32>) {
  // expected-error @below {{'v4.sparse_attention' op expected no ratio without entries, found 4}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 window 8 scale 1.0 {ratio = 4 : i64}
      : (tensor<4x2x8xf32>, tensor<12x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<2xi32>) -> tensor<4x2x8xf32>
  return
}

// -----

func.func @slots_span(%a0: tensor<4x8xf32>, %a1: tensor<4x16x8xf32>, %a2: tensor<2xi32>) {
  // expected-error @below {{'v4.window_append' op expected span of shape [S = 4, 2], found [2]}}
  %r = v4.window_append %a0, %a1, %a2 : (tensor<4x8xf32>, tensor<4x16x8xf32>, tensor<2xi32>) -> tensor<4x16x8xf32>
  return
}

// -----

func.func @slots_ring(%a0: tensor<4x8xf32>, %a1: tensor<3x16x8xf32>, %a2: tensor<4x2xi32>) {
  // expected-error @below {{'v4.window_append' op expected ring of shape [S = 4, w, c = 8], found [3, 16, 8]}}
  %r = v4.window_append %a0, %a1, %a2 : (tensor<4x8xf32>, tensor<3x16x8xf32>, tensor<4x2xi32>) -> tensor<3x16x8xf32>
  return
}

// -----

func.func @no_slots_spans(%a0: tensor<4x8xf32>, %a1: tensor<16x8xf32>, %a2: tensor<4x2xi32>) {
  // expected-error @below {{'v4.window_append' op expected span of shape [2], found [4, 2]}}
  %r = v4.window_append %a0, %a1, %a2 : (tensor<4x8xf32>, tensor<16x8xf32>, tensor<4x2xi32>) -> tensor<16x8xf32>
  return
}

// -----

func.func @slots_entry_positions(%a0: tensor<4x2xi32>) {
  // expected-error @below {{'v4.entry_positions' op expected result of shape [S = 4], found [1]}}
  %r = v4.entry_positions %a0 ratio 4 : (tensor<4x2xi32>) -> tensor<1xi32>
  return
}

// -----

func.func @spans_of_three(%a0: tensor<4x3xi32>) {
  // expected-error @below {{operand #0 must be tensor<2xi32> or tensor<Bx2xi32>, but got 'tensor<4x3xi32>'}}
  %r = v4.entry_positions %a0 ratio 4 : (tensor<4x3xi32>) -> tensor<4xi32>
  return
}

// -----

func.func @slots_compress(%a0: tensor<2x16xf32>, %a1: tensor<4x16xf32>, %a2: tensor<2x8x16xf32>, %a3: tensor<2x2xi32>) {
  // expected-error @below {{'v4.compress' op expected entries of shape [S = 2, c = 8], found [1, 8]}}
  %r:3 = v4.compress %a0, %a0, %a1, %a2, %a2, %a3 ratio 4 overlap
      : (tensor<2x16xf32>, tensor<2x16xf32>, tensor<4x16xf32>, tensor<2x8x16xf32>, tensor<2x8x16xf32>, tensor<2x2xi32>)
      -> (tensor<1x8xf32>, tensor<2x8x16xf32>, tensor<2x8x16xf32>)
  return
}

// -----

func.func @slots_cache(%a0: tensor<2x8xf32>, %a1: tensor<3x64x8xf32>, %a2: tensor<2xi32>) {
  // expected-error @below {{'v4.cache_append' op expected cache of shape [e = 2, N, c = 8], found [3, 64, 8]}}
  %r = v4.cache_append %a0, %a1, %a2 ratio 4 : (tensor<2x8xf32>, tensor<3x64x8xf32>, tensor<2xi32>) -> tensor<3x64x8xf32>
  return
}

// -----

func.func @slots_keys(%a0: tensor<4x2x32xf32>, %a1: tensor<4x2xf32>, %a2: tensor<3x64x32xf32>, %a3: tensor<4xi32>) {
  // expected-error @below {{'v4.index_scores' op expected keys of shape [S = 4, N, c = 32], found [3, 64, 32]}}
  %r = v4.index_scores %a0, %a1, %a2, %a3 ratio 4 scale 0.125
      : (tensor<4x2x32xf32>, tensor<4x2xf32>, tensor<3x64x32xf32>, tensor<4xi32>) -> tensor<4x64xf32>
  return
}

// -----

func.func @slots_window(%a0: tensor<4x2x8xf32>, %a1: tensor<4x20x8xf32>, %a2: tensor<2xf32>, %a3: tensor<4xi32>,
                        %a4: tensor<4x2xi32>) {
  // expected-error @below {{'v4.sparse_attention' op expected window of shape [S = 4, w = 16, c = 8], found [4, 20, 8]}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 window 16 scale 0.35
      : (tensor<4x2x8xf32>, tensor<4x20x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<4x2xi32>) -> tensor<4x2x8xf32>
  return
}

// -----

func.func @slots_entries(%a0: tensor<4x2x8xf32>, %a1: tensor<4x16x8xf32>, %a2: tensor<2xf32>, %a3: tensor<4xi32>,
                         %a4: tensor<4x2xi32>, %a5: tensor<64x8xf32>) {
  // expected-error @below {{'v4.sparse_attention' op expected entries of shape [S = 4, N, c = 8], found [64, 8]}}
  %r = v4.sparse_attention %a0, %a1, %a2, %a3, %a4 entries %a5 ratio 4 window 16 scale 0.35
      : (tensor<4x2x8xf32>, tensor<4x16x8xf32>, tensor<2xf32>, tensor<4xi32>, tensor<4x2xi32>, tensor<64x8xf32>)
      -> tensor<4x2x8xf32>
  return
}

// -----

func.func @slots_top_k(%a0: tensor<4x2x32xf32>, %a1: tensor<4x2xf32>, %a2: tensor<3x64x32xf32>, %a3: tensor<4xi32>) {
  // expected-error @below {{'v4.index_top_k' op expected keys of shape [S = 4, N, c = 32], found [3, 64, 32]}}
  %r = v4.index_top_k %a0, %a1, %a2, %a3 ratio 4 scale 0.125
      : (tensor<4x2x32xf32>, tensor<4x2xf32>, tensor<3x64x32xf32>, tensor<4xi32>) -> tensor<4x8xi32>
  return
}
