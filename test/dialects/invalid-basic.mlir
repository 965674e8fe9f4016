// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: v4-opt %s --split-input-file --verify-diagnostics
// Diagnostics of the verifiers: basic ops.

func.func @embed_ids(%a0: tensor<4x1xi32>, %a1: tensor<32x8xbf16>) {
  // expected-error @below {{'v4.embed' op expected ids of shape [S], found [4, 1]}}
  %r = v4.embed %a0, %a1 : (tensor<4x1xi32>, tensor<32x8xbf16>) -> tensor<4x8xf32>
  return
}

// -----

func.func @embed_table(%a0: tensor<4xi32>, %a1: tensor<32xbf16>) {
  // expected-error @below {{'v4.embed' op expected table of shape [V, d], found [32]}}
  %r = v4.embed %a0, %a1 : (tensor<4xi32>, tensor<32xbf16>) -> tensor<4x8xf32>
  return
}

// -----

func.func @embed_result(%a0: tensor<4xi32>, %a1: tensor<32x8xbf16>) {
  // expected-error @below {{'v4.embed' op expected result of shape [S = 4, d = 8], found [3, 8]}}
  %r = v4.embed %a0, %a1 : (tensor<4xi32>, tensor<32x8xbf16>) -> tensor<3x8xf32>
  return
}

// -----

func.func @select_last_input(%a0: tensor<f32>, %a1: tensor<2xi32>) {
  // expected-error @below {{'v4.select_last' op expected input of rank >= 1, found rank 0}}
  %r = v4.select_last %a0, %a1 : (tensor<f32>, tensor<2xi32>) -> tensor<f32>
  return
}

// -----

func.func @select_last_result(%a0: tensor<4x8xf32>, %a1: tensor<2xi32>) {
  // expected-error @below {{'v4.select_last' op expected result of shape [1, 8], found [4, 8]}}
  %r = v4.select_last %a0, %a1 : (tensor<4x8xf32>, tensor<2xi32>) -> tensor<4x8xf32>
  return
}

// -----

func.func @select_last_span(%a0: tensor<4x8xf32>, %a1: tensor<3xi32>) {
  // expected-error @below {{'v4.select_last' op operand #1 must be tensor<2xi32>, but got 'tensor<3xi32>'}}
  %r = v4.select_last %a0, %a1 : (tensor<4x8xf32>, tensor<3xi32>) -> tensor<1x8xf32>
  return
}

// -----

func.func @linear_input(%a0: tensor<256xf32>, %a1: tensor<130x256xf8E4M3FN>, %a2: tensor<2x2xf8E8M0FNU>) {
  // expected-error @below {{'v4.linear' op expected input of shape [S, K], found [256]}}
  %r = v4.linear %a0, %a1 scale %a2
      : (tensor<256xf32>, tensor<130x256xf8E4M3FN>, tensor<2x2xf8E8M0FNU>) -> tensor<4x130xf32>
  return
}

// -----

func.func @linear_weight(%a0: tensor<4x256xf32>, %a1: tensor<130x255xf8E4M3FN>, %a2: tensor<2x2xf8E8M0FNU>) {
  // expected-error @below {{'v4.linear' op expected weight of shape [N, K = 256], found [130, 255]}}
  %r = v4.linear %a0, %a1 scale %a2
      : (tensor<4x256xf32>, tensor<130x255xf8E4M3FN>, tensor<2x2xf8E8M0FNU>) -> tensor<4x130xf32>
  return
}

// -----

func.func @linear_packed(%a0: tensor<4x256xf32>, %a1: tensor<8x63x16x4xf8E4M3FN>, %a2: tensor<1x2xf8E8M0FNU>) {
  // expected-error @below {{'v4.linear' op expected weight of shape [N/16 = 8, dwords = 64, 16, 4], found [8, 63, 16, 4]}}
  %r = v4.linear %a0, %a1 scale %a2
      : (tensor<4x256xf32>, tensor<8x63x16x4xf8E4M3FN>, tensor<1x2xf8E8M0FNU>) -> tensor<4x128xf32>
  return
}

// -----

func.func @linear_packed_scale(%a0: tensor<4x64xf32>, %a1: tensor<2x8x16x4xi8>, %a2: tensor<32x2xf8E8M0FNU>) {
  // expected-error @below {{'v4.linear' op expected scale of shape [N/16 = 2, ceil(K/32) = 2, 16], found [32, 2]}}
  %r = v4.linear %a0, %a1 scale %a2
      : (tensor<4x64xf32>, tensor<2x8x16x4xi8>, tensor<32x2xf8E8M0FNU>) -> tensor<4x32xf32>
  return
}

// -----

func.func @linear_scale(%a0: tensor<4x256xf32>, %a1: tensor<130x256xf8E4M3FN>, %a2: tensor<1x2xf8E8M0FNU>) {
  // expected-error @below {{'v4.linear' op expected scale of shape [ceil(N/128) = 2, ceil(K/128) = 2], found [1, 2]}}
  %r = v4.linear %a0, %a1 scale %a2
      : (tensor<4x256xf32>, tensor<130x256xf8E4M3FN>, tensor<1x2xf8E8M0FNU>) -> tensor<4x130xf32>
  return
}

// -----

func.func @linear_result(%a0: tensor<4x256xf32>, %a1: tensor<130x256xf8E4M3FN>, %a2: tensor<2x2xf8E8M0FNU>) {
  // expected-error @below {{'v4.linear' op expected result of shape [S = 4, N = 130], found [4, 131]}}
  %r = v4.linear %a0, %a1 scale %a2
      : (tensor<4x256xf32>, tensor<130x256xf8E4M3FN>, tensor<2x2xf8E8M0FNU>) -> tensor<4x131xf32>
  return
}

// -----

func.func @linear_has_scale(%a0: tensor<4x256xf32>, %a1: tensor<130x256xbf16>, %a2: tensor<2x2xf8E8M0FNU>) {
  // expected-error @below {{'v4.linear' op expected no scale for a weight of 'bf16', found one}}
  %r = v4.linear %a0, %a1 scale %a2
      : (tensor<4x256xf32>, tensor<130x256xbf16>, tensor<2x2xf8E8M0FNU>) -> tensor<4x130xf32>
  return
}

// -----

func.func @linear_no_scale(%a0: tensor<4x256xf32>, %a1: tensor<130x256xf8E4M3FN>) {
  // expected-error @below {{'v4.linear' op expected a scale for a weight of 'f8E4M3FN', found none}}
  %r = v4.linear %a0, %a1 : (tensor<4x256xf32>, tensor<130x256xf8E4M3FN>) -> tensor<4x130xf32>
  return
}

// -----

func.func @linear_fp4_odd(%a0: tensor<4x81xf32>, %a1: tensor<6x40xi8>, %a2: tensor<6x3xf8E8M0FNU>) {
  // expected-error @below {{'v4.linear' op expected an even K for an fp4 weight, found 81}}
  %r = v4.linear %a0, %a1 scale %a2 : (tensor<4x81xf32>, tensor<6x40xi8>, tensor<6x3xf8E8M0FNU>) -> tensor<4x6xf32>
  return
}

// -----

func.func @linear_fp4_weight(%a0: tensor<4x80xf32>, %a1: tensor<6x80xi8>, %a2: tensor<6x3xf8E8M0FNU>) {
  // expected-error @below {{'v4.linear' op expected weight of shape [N, K/2 = 40], found [6, 80]}}
  %r = v4.linear %a0, %a1 scale %a2 : (tensor<4x80xf32>, tensor<6x80xi8>, tensor<6x3xf8E8M0FNU>) -> tensor<4x6xf32>
  return
}

// -----

func.func @linear_fp4_scale(%a0: tensor<4x80xf32>, %a1: tensor<6x40xi8>, %a2: tensor<6x2xf8E8M0FNU>) {
  // expected-error @below {{'v4.linear' op expected scale of shape [N = 6, ceil(K/32) = 3], found [6, 2]}}
  %r = v4.linear %a0, %a1 scale %a2 : (tensor<4x80xf32>, tensor<6x40xi8>, tensor<6x2xf8E8M0FNU>) -> tensor<4x6xf32>
  return
}

// -----

func.func @linear_groups_weight(%a0: tensor<4x2x16xf32>, %a1: tensor<3x7x16xbf16>) {
  // expected-error @below {{'v4.linear' op expected weight of shape [G = 2, N, K = 16], found [3, 7, 16]}}
  %r = v4.linear %a0, %a1 : (tensor<4x2x16xf32>, tensor<3x7x16xbf16>) -> tensor<4x2x7xf32>
  return
}

// -----

func.func @linear_groups_input(%a0: tensor<4x2x1x16xf32>, %a1: tensor<2x7x16xbf16>) {
  // expected-error @below {{'v4.linear' op expected input of shape [S, K], found [4, 2, 1, 16]}}
  %r = v4.linear %a0, %a1 : (tensor<4x2x1x16xf32>, tensor<2x7x16xbf16>) -> tensor<4x2x7xf32>
  return
}

// -----

func.func @linear_groups_result(%a0: tensor<4x2x16xf32>, %a1: tensor<2x7x16xbf16>) {
  // expected-error @below {{'v4.linear' op expected result of shape [S = 4, G = 2, N = 7], found [4, 7]}}
  %r = v4.linear %a0, %a1 : (tensor<4x2x16xf32>, tensor<2x7x16xbf16>) -> tensor<4x7xf32>
  return
}

// -----

func.func @rms_norm_input(%a0: tensor<64xf32>, %a1: tensor<64xbf16>) {
  // expected-error @below {{'v4.rms_norm' op expected input of shape [S, D], found [64]}}
  %r = v4.rms_norm %a0 weight %a1 eps 1.0e-6 : (tensor<64xf32>, tensor<64xbf16>) -> tensor<4x64xf32>
  return
}

// -----

func.func @rms_norm_weight(%a0: tensor<4x64xf32>, %a1: tensor<32xbf16>) {
  // expected-error @below {{'v4.rms_norm' op expected weight of shape [D = 64], found [32]}}
  %r = v4.rms_norm %a0 weight %a1 eps 1.0e-6 : (tensor<4x64xf32>, tensor<32xbf16>) -> tensor<4x64xf32>
  return
}

// -----

func.func @rms_norm_result(%a0: tensor<4x64xf32>, %a1: tensor<64xbf16>) {
  // expected-error @below {{'v4.rms_norm' op expected result of type 'tensor<4x64xf32>', found 'tensor<4x32xf32>'}}
  %r = v4.rms_norm %a0 weight %a1 eps 1.0e-6 : (tensor<4x64xf32>, tensor<64xbf16>) -> tensor<4x32xf32>
  return
}

// -----

func.func @rms_norm_eps(%a0: tensor<4x64xf32>, %a1: tensor<64xbf16>) {
  // expected-error @below {{'v4.rms_norm' op expected eps >= 0, found -1.000000e+00}}
  %r = v4.rms_norm %a0 weight %a1 eps -1.0 : (tensor<4x64xf32>, tensor<64xbf16>) -> tensor<4x64xf32>
  return
}

// -----

func.func @rms_norm_rounded(%a0: tensor<4x64xbf16>, %a1: tensor<64xbf16>) {
  // expected-error @below {{'v4.rms_norm' op expected no weight with rounded, found one}}
  %r = v4.rms_norm %a0 weight %a1 eps 1.0e-6 rounded : (tensor<4x64xbf16>, tensor<64xbf16>) -> tensor<4x64xbf16>
  return
}

// -----

func.func @rope_table_positions(%a0: tensor<4x1xi32>) {
  // expected-error @below {{'v4.rope_table' op expected positions of shape [S], found [4, 1]}}
  %r = v4.rope_table %a0 theta 1.0e4 : (tensor<4x1xi32>) -> tensor<4x2x8xf32>
  return
}

// -----

func.func @rope_table_result(%a0: tensor<4xi32>) {
  // expected-error @below {{'v4.rope_table' op expected result of shape [S = 4, 2, dim/2], found [4, 3, 8]}}
  %r = v4.rope_table %a0 theta 1.0e4 : (tensor<4xi32>) -> tensor<4x3x8xf32>
  return
}

// -----

func.func @rope_table_theta(%a0: tensor<4xi32>) {
  // expected-error @below {{'v4.rope_table' op expected theta > 1, found 1.000000e+00}}
  %r = v4.rope_table %a0 theta 1.0 : (tensor<4xi32>) -> tensor<4x2x8xf32>
  return
}

// -----

func.func @rope_input(%a0: tensor<8xf32>, %a1: tensor<4x2x4xf32>) {
  // expected-error @below {{'v4.rope' op expected input of shape [S, D], found [8]}}
  %r = v4.rope %a0, %a1 : (tensor<8xf32>, tensor<4x2x4xf32>) -> tensor<4x2x8xf32>
  return
}

// -----

func.func @rope_table(%a0: tensor<4x2x8xf32>, %a1: tensor<3x2x4xf32>) {
  // expected-error @below {{'v4.rope' op expected table of shape [S = 4, 2, half], found [3, 2, 4]}}
  %r = v4.rope %a0, %a1 : (tensor<4x2x8xf32>, tensor<3x2x4xf32>) -> tensor<4x2x8xf32>
  return
}

// -----

func.func @rope_half(%a0: tensor<4x2x8xf32>, %a1: tensor<4x2x5xf32>) {
  // expected-error @below {{'v4.rope' op expected 2*half <= D = 8, found 10}}
  %r = v4.rope %a0, %a1 : (tensor<4x2x8xf32>, tensor<4x2x5xf32>) -> tensor<4x2x8xf32>
  return
}

// -----

func.func @rope_result(%a0: tensor<4x2x8xf32>, %a1: tensor<4x2x4xf32>) {
  // expected-error @below {{'v4.rope' op expected result of type 'tensor<4x2x8xf32>', found 'tensor<4x8xf32>'}}
  %r = v4.rope %a0, %a1 : (tensor<4x2x8xf32>, tensor<4x2x4xf32>) -> tensor<4x8xf32>
  return
}

// -----

func.func @hadamard_input(%a0: tensor<8xf32>) {
  // expected-error @below {{'v4.hadamard' op expected input of shape [S, D], found [8]}}
  %r = v4.hadamard %a0 : (tensor<8xf32>) -> tensor<4x8xf32>
  return
}

// -----

func.func @hadamard_power(%a0: tensor<4x12xf32>) {
  // expected-error @below {{'v4.hadamard' op expected D to be a power of two, found 12}}
  %r = v4.hadamard %a0 : (tensor<4x12xf32>) -> tensor<4x12xf32>
  return
}

// -----

func.func @hadamard_result(%a0: tensor<4x8xf32>) {
  // expected-error @below {{'v4.hadamard' op expected result of type 'tensor<4x8xf32>', found 'tensor<2x8xf32>'}}
  %r = v4.hadamard %a0 : (tensor<4x8xf32>) -> tensor<2x8xf32>
  return
}

// -----

func.func @quantize_input(%a0: tensor<64xf32>) {
  // expected-error @below {{'v4.quantize' op expected input of shape [S, D], found [64]}}
  %r:2 = v4.quantize %a0 format e4m3 block 32 : (tensor<64xf32>) -> (tensor<4x64xf8E4M3FN>, tensor<4x2xf8E8M0FNU>)
  return
}

// -----

func.func @quantize_block(%a0: tensor<4x64xf32>) {
  // expected-error @below {{'v4.quantize' op expected block > 0, found 0}}
  %r:2 = v4.quantize %a0 format e4m3 block 0 : (tensor<4x64xf32>) -> (tensor<4x64xf8E4M3FN>, tensor<4x2xf8E8M0FNU>)
  return
}

// -----

func.func @quantize_divides(%a0: tensor<4x64xf32>) {
  // expected-error @below {{'v4.quantize' op expected block to divide D = 64, found 48}}
  %r:2 = v4.quantize %a0 format e4m3 block 48 : (tensor<4x64xf32>) -> (tensor<4x64xf8E4M3FN>, tensor<4x2xf8E8M0FNU>)
  return
}

// -----

func.func @quantize_even(%a0: tensor<4x63xf32>) {
  // expected-error @below {{'v4.quantize' op expected an even block for e2m1, found 21}}
  %r:2 = v4.quantize %a0 format e2m1 block 21 : (tensor<4x63xf32>) -> (tensor<4x64xf8E4M3FN>, tensor<4x2xf8E8M0FNU>)
  return
}

// -----

func.func @quantize_element(%a0: tensor<4x64xf32>) {
  // expected-error @below {{'v4.quantize' op expected codes of f8E4M3FN for e4m3, found 'i8'}}
  %r:2 = v4.quantize %a0 format e4m3 block 32 : (tensor<4x64xf32>) -> (tensor<4x32xi8>, tensor<4x2xf8E8M0FNU>)
  return
}

// -----

func.func @quantize_element2(%a0: tensor<4x64xf32>) {
  // expected-error @below {{'v4.quantize' op expected codes of i8 for e2m1, found 'f8E4M3FN'}}
  %r:2 = v4.quantize %a0 format e2m1 block 32 : (tensor<4x64xf32>) -> (tensor<4x64xf8E4M3FN>, tensor<4x2xf8E8M0FNU>)
  return
}

// -----

func.func @quantize_codes(%a0: tensor<4x64xf32>) {
  // expected-error @below {{'v4.quantize' op expected codes of shape [S = 4, D = 64], found [4, 32]}}
  %r:2 = v4.quantize %a0 format e4m3 block 32 : (tensor<4x64xf32>) -> (tensor<4x32xf8E4M3FN>, tensor<4x2xf8E8M0FNU>)
  return
}

// -----

func.func @quantize_nibbles(%a0: tensor<4x64xf32>) {
  // expected-error @below {{'v4.quantize' op expected codes of shape [S = 4, D/2 = 32], found [4, 64]}}
  %r:2 = v4.quantize %a0 format e2m1 block 32 : (tensor<4x64xf32>) -> (tensor<4x64xi8>, tensor<4x2xf8E8M0FNU>)
  return
}

// -----

func.func @quantize_scale(%a0: tensor<4x64xf32>) {
  // expected-error @below {{'v4.quantize' op expected scale of shape [S = 4, D/block = 2], found [4, 4]}}
  %r:2 = v4.quantize %a0 format e4m3 block 32 : (tensor<4x64xf32>) -> (tensor<4x64xf8E4M3FN>, tensor<4x4xf8E8M0FNU>)
  return
}

// -----

func.func @dequantize_result(%a0: tensor<4x64xf8E4M3FN>, %a1: tensor<4x2xf8E8M0FNU>) {
  // expected-error @below {{'v4.dequantize' op expected result of shape [S, D], found [64]}}
  %r = v4.dequantize %a0, %a1 : (tensor<4x64xf8E4M3FN>, tensor<4x2xf8E8M0FNU>) -> tensor<64xf32>
  return
}

// -----

func.func @dequantize_codes(%a0: tensor<4x32xf8E4M3FN>, %a1: tensor<4x2xf8E8M0FNU>) {
  // expected-error @below {{'v4.dequantize' op expected codes of shape [S = 4, D = 64], found [4, 32]}}
  %r = v4.dequantize %a0, %a1 : (tensor<4x32xf8E4M3FN>, tensor<4x2xf8E8M0FNU>) -> tensor<4x64xf32>
  return
}

// -----

func.func @dequantize_nibbles(%a0: tensor<4x64xi8>, %a1: tensor<4x2xf8E8M0FNU>) {
  // expected-error @below {{'v4.dequantize' op expected codes of shape [S = 4, D/2 = 32], found [4, 64]}}
  %r = v4.dequantize %a0, %a1 : (tensor<4x64xi8>, tensor<4x2xf8E8M0FNU>) -> tensor<4x64xf32>
  return
}

// -----

func.func @dequantize_scale(%a0: tensor<4x64xf8E4M3FN>, %a1: tensor<3x2xf8E8M0FNU>) {
  // expected-error @below {{'v4.dequantize' op expected scale of shape [S = 4, D/block], found [3, 2]}}
  %r = v4.dequantize %a0, %a1 : (tensor<4x64xf8E4M3FN>, tensor<3x2xf8E8M0FNU>) -> tensor<4x64xf32>
  return
}

// -----

func.func @dequantize_blocks(%a0: tensor<4x64xf8E4M3FN>, %a1: tensor<4x3xf8E8M0FNU>) {
  // expected-error @below {{'v4.dequantize' op expected the number of scales of a row to divide D = 64 into blocks, found 3}}
  %r = v4.dequantize %a0, %a1 : (tensor<4x64xf8E4M3FN>, tensor<4x3xf8E8M0FNU>) -> tensor<4x64xf32>
  return
}

// -----

func.func @dequantize_even(%a0: tensor<4x33xi8>, %a1: tensor<4x22xf8E8M0FNU>) {
  // expected-error @below {{'v4.dequantize' op expected the number of scales of a row to divide D = 66 into even blocks, found 22}}
  %r = v4.dequantize %a0, %a1 : (tensor<4x33xi8>, tensor<4x22xf8E8M0FNU>) -> tensor<4x66xf32>
  return
}

// -----

func.func @round_trip_input(%a0: tensor<72xf32>) {
  // expected-error @below {{'v4.round_trip' op expected input of shape [S, D], found [72]}}
  %r = v4.round_trip %a0 format e4m3 block 32 columns 64 : (tensor<72xf32>) -> tensor<4x72xf32>
  return
}

// -----

func.func @round_trip_columns(%a0: tensor<4x72xf32>) {
  // expected-error @below {{'v4.round_trip' op expected columns > 0, found 0}}
  %r = v4.round_trip %a0 format e4m3 block 32 columns 0 : (tensor<4x72xf32>) -> tensor<4x72xf32>
  return
}

// -----

func.func @round_trip_wide(%a0: tensor<4x72xf32>) {
  // expected-error @below {{'v4.round_trip' op expected columns <= D = 72, found 96}}
  %r = v4.round_trip %a0 format e4m3 block 32 columns 96 : (tensor<4x72xf32>) -> tensor<4x72xf32>
  return
}

// -----

func.func @round_trip_block(%a0: tensor<4x72xf32>) {
  // expected-error @below {{'v4.round_trip' op expected block > 0, found 0}}
  %r = v4.round_trip %a0 format e4m3 block 0 columns 64 : (tensor<4x72xf32>) -> tensor<4x72xf32>
  return
}

// -----

func.func @round_trip_result(%a0: tensor<4x72xf32>) {
  // expected-error @below {{'v4.round_trip' op expected result of type 'tensor<4x72xf32>', found 'tensor<4x64xf32>'}}
  %r = v4.round_trip %a0 format e4m3 block 32 columns 64 : (tensor<4x72xf32>) -> tensor<4x64xf32>
  return
}
