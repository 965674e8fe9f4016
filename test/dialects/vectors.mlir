// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: %lower %s | %run | FileCheck %s
// Known vectors: values worked out by hand or by independent programs, not by this compiler.

func.func private @printMemrefF32(memref<*xf32>) attributes {llvm.emit_c_interface}

func.func private @sinkhorn(%z: tensor<1x4x4xf32>) -> tensor<1x4x4xf32> {
  %y = v4.sinkhorn %z eps 1.0e-6 iterations 20 : (tensor<1x4x4xf32>) -> tensor<1x4x4xf32>
  return %y : tensor<1x4x4xf32>
}

// The cosine of the angle at position 1 is close to 1 for small frequencies, the sine is the frequency.
func.func private @yarn(%positions: tensor<1xi32>) -> tensor<1x2x32xf32> {
  %y = v4.rope_table %positions theta 1.6e5
      yarn <factor = 16.0 : f64, original = 65536, beta_fast = 32.0 : f64, beta_slow = 1.0 : f64>
      : (tensor<1xi32>) -> tensor<1x2x32xf32>
  return %y : tensor<1x2x32xf32>
}
func.func private @yarn_small(%positions: tensor<1xi32>) -> tensor<1x2x4xf32> {
  %y = v4.rope_table %positions theta 1.6e5
      yarn <factor = 16.0 : f64, original = 64, beta_fast = 32.0 : f64, beta_slow = 1.0 : f64>
      : (tensor<1xi32>) -> tensor<1x2x4xf32>
  return %y : tensor<1x2x4xf32>
}

func.func private @overlap(%kv: tensor<8x2xf32>, %gate: tensor<8x2xf32>, %ape: tensor<4x2xf32>, %kv_rows: tensor<8x2xf32>,
                           %score_rows: tensor<8x2xf32>, %span: tensor<2xi32>) -> tensor<2x1xf32> {
  %y, %kv1, %score1 = v4.compress %kv, %gate, %ape, %kv_rows, %score_rows, %span ratio 4 overlap
      : (tensor<8x2xf32>, tensor<8x2xf32>, tensor<4x2xf32>, tensor<8x2xf32>, tensor<8x2xf32>, tensor<2xi32>)
      -> (tensor<2x1xf32>, tensor<8x2xf32>, tensor<8x2xf32>)
  return %y : tensor<2x1xf32>
}

func.func private @e4m3(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %codes, %scale = v4.quantize %x format e4m3 block 8 : (tensor<4x8xf32>) -> (tensor<4x8xf8E4M3FN>, tensor<4x1xf8E8M0FNU>)
  %y = v4.dequantize %codes, %scale : (tensor<4x8xf8E4M3FN>, tensor<4x1xf8E8M0FNU>) -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}
func.func private @e4m3_scale(%x: tensor<4x8xf32>) -> tensor<4x1xf32> {
  %codes, %scale = v4.quantize %x format e4m3 block 8 : (tensor<4x8xf32>) -> (tensor<4x8xf8E4M3FN>, tensor<4x1xf8E8M0FNU>)
  %empty = tensor.empty() : tensor<4x1xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(a, b) -> (a, b)>, affine_map<(a, b) -> (a, b)>],
                       iterator_types = ["parallel", "parallel"]}
      ins(%scale : tensor<4x1xf8E8M0FNU>) outs(%empty : tensor<4x1xf32>) {
  ^bb0(%in: f8E8M0FNU, %old: f32):
    %wide = arith.extf %in : f8E8M0FNU to f32
    linalg.yield %wide : f32
  } -> tensor<4x1xf32>
  return %y : tensor<4x1xf32>
}
func.func private @e2m1(%x: tensor<1x10xf32>) -> tensor<1x10xf32> {
  %y = v4.round_trip %x format e2m1 block 10 columns 10 : (tensor<1x10xf32>) -> tensor<1x10xf32>
  return %y : tensor<1x10xf32>
}

// Blocks that hold no number have no scale; the others of the row are as usual.
func.func private @not_a_number(%x: tensor<1x6xf32>) -> tensor<1x6xf32> {
  %y = v4.round_trip %x format e4m3 block 2 columns 6 : (tensor<1x6xf32>) -> tensor<1x6xf32>
  return %y : tensor<1x6xf32>
}

func.func @main() {
  // CHECK: data =
  // CHECK-NEXT: 0.31130{{8|9}}, {{ *}}0.0172999, {{ *}}0.10156, {{ *}}0.569831]
  // CHECK-NEXT: 0.224151, {{ *}}0.321199, {{ *}}0.0443538, {{ *}}0.410295]
  // CHECK-NEXT: 0.0014{{419[0-9]|420[0-9]|42}}, {{ *}}0.144687, {{ *}}0.849523, {{ *}}0.004{{3469[0-9]|3470[0-9]|347}}]
  // CHECK-NEXT: 0.46309{{7|8}}, {{ *}}0.516813, {{ *}}0.00456{{26[5-9]|27[0-4]*}}, {{ *}}0.015526]
  %z = arith.constant dense<[[[1.0, -2.0, 0.5, 3.0], [0.0, 0.25, -1.0, 2.0], [-3.0, 1.5, 4.0, -0.5], [2.0, 2.0, -2.0, 0.0]]]> : tensor<1x4x4xf32>
  %0 = call @sinkhorn(%z) : (tensor<1x4x4xf32>) -> tensor<1x4x4xf32>
  %b0 = bufferization.to_buffer %0 : tensor<1x4x4xf32> to memref<1x4x4xf32>
  %u0 = memref.cast %b0 : memref<1x4x4xf32> to memref<*xf32>
  call @printMemrefF32(%u0) : (memref<*xf32>) -> ()

  // f_0 to f_31: 1, 0.687656, then f_15 = 3.635539e-3, f_16 = 2.265625e-3, f_18 = 8.496897e-4, f_20 = 2.969778e-4,
  // f_22 = 9.086784e-5, f_24 = 1.953125e-5, f_25 = 5.372312e-6, f_31 = 5.680529e-7.
  // CHECK: data =
  // CHECK: [0.841471, {{ *}}0.634728, {{.*}} 0.00363553, {{ *}}0.0022656{{2|3}}, {{.*}} 0.00084969, {{.*}} 0.000296978,
  // CHECK-SAME: {{.*}} 9.08678e-05, {{.*}} 1.9531{{2|3}}e-05, {{ *}}5.37231e-06, {{.*}} 5.68053e-07]
  %one = arith.constant dense<[1]> : tensor<1xi32>
  %1 = call @yarn(%one) : (tensor<1xi32>) -> tensor<1x2x32xf32>
  %b1 = bufferization.to_buffer %1 : tensor<1x2x32xf32> to memref<1x2x32xf32>
  %u1 = memref.cast %b1 : memref<1x2x32xf32> to memref<*xf32>
  call @printMemrefF32(%u1) : (memref<*xf32>) -> ()

  // Eight dimensions, original context 64: 1, 3.125e-3, 1.5625e-4, 7.8125e-6; 3.125e-3 - 3.125e-3^3 / 6 = 3.124995e-3.
  // CHECK: data =
  // CHECK: [0.841471, {{ *}}0.00312499, {{ *}}0.00015625, {{ *}}7.8125e-06]
  %2 = call @yarn_small(%one) : (tensor<1xi32>) -> tensor<1x2x4xf32>
  %b2 = bufferization.to_buffer %2 : tensor<1x2x4xf32> to memref<1x2x4xf32>
  %u2 = memref.cast %b2 : memref<1x2x4xf32> to memref<*xf32>
  call @printMemrefF32(%u2) : (memref<*xf32>) -> ()

  // Values (t, 10 + t), equal scores: the first entry averages 10 .. 13, the second 0 .. 3 and 14 .. 17.
  // CHECK: data =
  // CHECK-NEXT: 11.5
  // CHECK-NEXT: 8.5
  %kv = arith.constant dense<[[0.0, 10.0], [1.0, 11.0], [2.0, 12.0], [3.0, 13.0], [4.0, 14.0], [5.0, 15.0], [6.0, 16.0], [7.0, 17.0]]> : tensor<8x2xf32>
  %gate = arith.constant dense<0.0> : tensor<8x2xf32>
  %ape = arith.constant dense<0.0> : tensor<4x2xf32>
  %score_rows = arith.constant dense<0xFF800000> : tensor<8x2xf32>
  %span = arith.constant dense<[0, 8]> : tensor<2xi32>
  %3 = call @overlap(%kv, %gate, %ape, %gate, %score_rows, %span)
      : (tensor<8x2xf32>, tensor<8x2xf32>, tensor<4x2xf32>, tensor<8x2xf32>, tensor<8x2xf32>, tensor<2xi32>) -> tensor<2x1xf32>
  %b3 = bufferization.to_buffer %3 : tensor<2x1xf32> to memref<2x1xf32>
  %u3 = memref.cast %b3 : memref<2x1xf32> to memref<*xf32>
  call @printMemrefF32(%u3) : (memref<*xf32>) -> ()

  // The scale of a block is 2 for a maximum of 512, 1 for 448, 2 for 449, 2^-22 for zeros.
  // CHECK: data =
  // CHECK-NEXT: {{^}}[{{\[}}0, {{ *}}1, {{ *}}-3, {{ *}}0.015625, {{ *}}448, {{ *}}-512, {{ *}}0, {{ *}}104]
  // CHECK-NEXT: [448,
  // CHECK-NEXT: [448,
  // CHECK-NEXT: [0,
  // CHECK: data =
  // CHECK-NEXT: {{^}}[{{\[}}2]
  // CHECK-NEXT: [1]
  // CHECK-NEXT: [2]
  // CHECK-NEXT: [2.38419e-07]
  %x8 = arith.constant dense<[[0.0, 1.0, -3.09375, 0.01697, 448.0, -512.0, 0.001, 100.5], [448.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
                              [449.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]> : tensor<4x8xf32>
  %4 = call @e4m3(%x8) : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %b4 = bufferization.to_buffer %4 : tensor<4x8xf32> to memref<4x8xf32>
  %u4 = memref.cast %b4 : memref<4x8xf32> to memref<*xf32>
  call @printMemrefF32(%u4) : (memref<*xf32>) -> ()
  %5 = call @e4m3_scale(%x8) : (tensor<4x8xf32>) -> tensor<4x1xf32>
  %b5 = bufferization.to_buffer %5 : tensor<4x1xf32> to memref<4x1xf32>
  %u5 = memref.cast %b5 : memref<4x1xf32> to memref<*xf32>
  call @printMemrefF32(%u5) : (memref<*xf32>) -> ()

  // Ties go to the even code.
  // CHECK: data =
  // CHECK-NEXT: {{^}}[{{\[}}0, {{ *}}0, {{ *}}1, {{ *}}1, {{ *}}2, {{ *}}2, {{ *}}4, {{ *}}4, {{ *}}-4, {{ *}}6]
  %x4 = arith.constant dense<[[0.0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, -5.0, 6.0]]> : tensor<1x10xf32>
  %6 = call @e2m1(%x4) : (tensor<1x10xf32>) -> tensor<1x10xf32>
  %b6 = bufferization.to_buffer %6 : tensor<1x10xf32> to memref<1x10xf32>
  %u6 = memref.cast %b6 : memref<1x10xf32> to memref<*xf32>
  call @printMemrefF32(%u6) : (memref<*xf32>) -> ()

  // CHECK: data =
  // CHECK-NEXT: {{^}}[{{\[}}1, {{ *}}-2, {{ *}}nan, {{ *}}nan, {{ *}}nan, {{ *}}nan]
  %odd = arith.constant dense<[[1.0, -2.0, 0x7FC00000, 1.0, 0x7F800000, 1.0]]> : tensor<1x6xf32>
  %7 = call @not_a_number(%odd) : (tensor<1x6xf32>) -> tensor<1x6xf32>
  %b7 = bufferization.to_buffer %7 : tensor<1x6xf32> to memref<1x6xf32>
  %u7 = memref.cast %b7 : memref<1x6xf32> to memref<*xf32>
  call @printMemrefF32(%u7) : (memref<*xf32>) -> ()
  return
}
