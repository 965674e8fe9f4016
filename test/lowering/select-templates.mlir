// RUN: v4-opt %s --pass-pipeline='builtin.module(func.func(v4-select-templates))' | FileCheck %s

// Few rows.
// CHECK-LABEL: func.func @rows
func.func @rows(%x: tensor<1x64xf32>, %x16: tensor<16x64xf32>, %w: tensor<4x32x16x2xbf16>)
    -> (tensor<1x64xf32>, tensor<16x64xf32>) {
  // CHECK: %[[E:.+]] = tensor.empty() : tensor<1x64xf32>
  // CHECK: v4.kernel "gemv" ins(%arg0, %arg2 : tensor<1x64xf32>, tensor<4x32x16x2xbf16>) outs(%[[E]] : tensor<1x64xf32>) -> tensor<1x64xf32>
  %0 = v4.linear %x, %w : (tensor<1x64xf32>, tensor<4x32x16x2xbf16>) -> tensor<1x64xf32>
  // CHECK: v4.kernel "gemv" ins(%arg1
  %1 = v4.linear %x16, %w : (tensor<16x64xf32>, tensor<4x32x16x2xbf16>) -> tensor<16x64xf32>
  return %0, %1 : tensor<1x64xf32>, tensor<16x64xf32>
}

// Many rows.
// CHECK-LABEL: func.func @many_rows
// CHECK: v4.kernel "gemm"
func.func @many_rows(%x: tensor<17x64xf32>, %w: tensor<4x16x16x4xf8E4M3FN>, %s: tensor<1x1xf8E8M0FNU>) -> tensor<17x64xf32> {
  %0 = v4.linear %x, %w scale %s
      : (tensor<17x64xf32>, tensor<4x16x16x4xf8E4M3FN>, tensor<1x1xf8E8M0FNU>) -> tensor<17x64xf32>
  return %0 : tensor<17x64xf32>
}

// Tiles of an output projection are of one group.
// CHECK-LABEL: func.func @groups
// CHECK: v4.kernel "gemv" ins(%arg0, %arg1 : tensor<2x1x64xf32>, tensor<1x2x32x16x2xbf16>)
// CHECK: v4.linear
func.func @groups(%x: tensor<2x1x64xf32>, %w: tensor<1x2x32x16x2xbf16>, %x2: tensor<2x2x64xf32>, %w2: tensor<2x2x32x16x2xbf16>)
    -> (tensor<2x1x32xf32>, tensor<2x2x32xf32>) {
  %0 = v4.linear %x, %w : (tensor<2x1x64xf32>, tensor<1x2x32x16x2xbf16>) -> tensor<2x1x32xf32>
  %1 = v4.linear %x2, %w2 : (tensor<2x2x64xf32>, tensor<2x2x32x16x2xbf16>) -> tensor<2x2x32xf32>
  return %0, %1 : tensor<2x1x32xf32>, tensor<2x2x32xf32>
}

// Experts with few rows each, and with many.
// CHECK-LABEL: func.func @experts
// CHECK: v4.kernel "grouped_gemv" ins(%arg0, %arg1, %arg2, %arg3, %arg4, %arg5 :
// CHECK: v4.kernel "grouped_gemm"
func.func @experts(%x: tensor<4x64xf32>, %w: tensor<8x2x8x16x4xi8>, %s: tensor<8x2x2x16xf8E8M0FNU>, %e: tensor<8xi32>,
                   %o: tensor<9xi32>, %r: tensor<24xi32>, %many: tensor<512xi32>) -> (tensor<24x32xf32>, tensor<512x32xf32>) {
  %0 = v4.grouped_linear %x, %w scale %s experts %e, %o rows %r
      : (tensor<4x64xf32>, tensor<8x2x8x16x4xi8>, tensor<8x2x2x16xf8E8M0FNU>, tensor<8xi32>, tensor<9xi32>, tensor<24xi32>)
      -> tensor<24x32xf32>
  %1 = v4.grouped_linear %x, %w scale %s experts %e, %o rows %many
      : (tensor<4x64xf32>, tensor<8x2x8x16x4xi8>, tensor<8x2x2x16xf8E8M0FNU>, tensor<8xi32>, tensor<9xi32>, tensor<512xi32>)
      -> tensor<512x32xf32>
  return %0, %1 : tensor<24x32xf32>, tensor<512x32xf32>
}

// Weights as a checkpoint has them keep their definition.
// CHECK-LABEL: func.func @stored
// CHECK: v4.linear
func.func @stored(%x: tensor<1x64xf32>, %w: tensor<30x64xbf16>) -> tensor<1x30xf32> {
  %0 = v4.linear %x, %w : (tensor<1x64xf32>, tensor<30x64xbf16>) -> tensor<1x30xf32>
  return %0 : tensor<1x30xf32>
}

// Tiles whose template supports their operands.

// CHECK-LABEL: func.func @tiles
// CHECK: v4.kernel "top_k" ins({{.*}}) -> {{.*}} {ratio = 4 : i64}
// CHECK: v4.kernel "index_top_k" {{.*}} {ratio = 4 : i64, scale = 2.500000e-01 : f32}
// CHECK: v4.kernel "attention" {{.*}} {ratio = 4 : i64, scale = 2.500000e-01 : f32, selected, window = 8 : i64}
// Several rows are no tile.
// CHECK: v4.top_k
func.func @tiles(%q: tensor<1x4x16xf32>, %w: tensor<1x4xf32>, %keys: tensor<64x16xf32>, %p: tensor<1xi32>,
                 %ring: tensor<8x16xf32>, %sink: tensor<4xf32>, %span: tensor<2xi32>, %scores: tensor<1x64xf32>,
                 %rows: tensor<2x64xf32>) -> (tensor<1x8xi32>, tensor<1x4x16xf32>, tensor<2x8xi32>) {
  %a = v4.top_k %scores visible %p ratio 4 : (tensor<1x64xf32>, tensor<1xi32>) -> tensor<1x8xi32>
  %b = v4.index_top_k %q, %w, %keys, %p ratio 4 scale 0.25
      : (tensor<1x4x16xf32>, tensor<1x4xf32>, tensor<64x16xf32>, tensor<1xi32>) -> tensor<1x8xi32>
  %c = v4.sparse_attention %q, %ring, %sink, %p, %span entries %keys ratio 4 selected %b window 8 scale 0.25
      : (tensor<1x4x16xf32>, tensor<8x16xf32>, tensor<4xf32>, tensor<1xi32>, tensor<2xi32>, tensor<64x16xf32>,
         tensor<1x8xi32>) -> tensor<1x4x16xf32>
  %d = v4.top_k %rows : (tensor<2x64xf32>) -> tensor<2x8xi32>
  return %a, %c, %d : tensor<1x8xi32>, tensor<1x4x16xf32>, tensor<2x8xi32>
}

// Butterflies need a power of two, and at least a vector.
// CHECK-LABEL: func.func @hadamard
// CHECK: v4.kernel "hadamard" ins({{.*}} : tensor<1x4x128xf32>)
// CHECK: v4.hadamard
func.func @hadamard(%x: tensor<1x4x128xf32>, %y: tensor<1x4x8xf32>) -> (tensor<1x4x128xf32>, tensor<1x4x8xf32>) {
  %a = v4.hadamard %x : (tensor<1x4x128xf32>) -> tensor<1x4x128xf32>
  %b = v4.hadamard %y : (tensor<1x4x8xf32>) -> tensor<1x4x8xf32>
  return %a, %b : tensor<1x4x128xf32>, tensor<1x4x8xf32>
}
