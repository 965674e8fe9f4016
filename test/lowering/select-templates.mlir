// RUN: v4-opt %s --pass-pipeline='builtin.module(func.func(v4-select-templates))' | FileCheck %s
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
