// RUN: v4-opt %s --pass-pipeline='builtin.module(func.func(v4-select-templates))' | FileCheck %s --check-prefix=SELECT
// RUN: v4-opt %s --pass-pipeline='builtin.module(func.func(v4-expand-templates))' | FileCheck %s
// The attention and indexer templates: which tiles they take, and the loops that they consist of. What they compute is
// tested in attention-kernels.test.

// SELECT-LABEL: func.func @tiles
// SELECT: v4.kernel "top_k" ins({{.*}}) -> {{.*}} {ratio = 4 : i64}
// SELECT: v4.kernel "index_top_k" {{.*}} {ratio = 4 : i64, scale = 2.500000e-01 : f32}
// SELECT: v4.kernel "attention" {{.*}} {ratio = 4 : i64, scale = 2.500000e-01 : f32, selected, window = 8 : i64}
// Several rows are no tile.
// SELECT: v4.top_k
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

// Both products are loops of multiply-adds whose sums stay in registers: over channels, 8 keys x 2 groups of heads; over
// keys, 4 heads x 4 vectors of channels. Selected rows are asked for ahead.
// CHECK-LABEL: func.func @attention
// CHECK: vector.shuffle
// CHECK: memref.prefetch %arg5[%{{.*}}, %{{.*}}], read, locality<3>, data
// CHECK: scf.for %{{.*}} = %c0{{.*}} to %c64{{.*}} step %c1{{.*}} iter_args({{.*}}) -> (vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>)
// CHECK: math.exp
// CHECK: scf.for {{.*}} iter_args({{.*}}) -> (vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>)
func.func @attention(%q: memref<1x32x64xf32>, %w: memref<128x64xf32>, %sink: memref<32xf32>, %p: memref<1xi32>,
                     %span: memref<2xi32>, %e: memref<512x64xf32>, %s: memref<1x32xi32>, %part: index,
                     %stats: memref<1x1x2x32xf32>, %sums: memref<1x1x32x64xf32>) {
  v4.kernel "attention" ins(%q, %w, %sink, %p, %span, %e, %s, %part : memref<1x32x64xf32>, memref<128x64xf32>,
      memref<32xf32>, memref<1xi32>, memref<2xi32>, memref<512x64xf32>, memref<1x32xi32>, index)
      outs(%stats, %sums : memref<1x1x2x32xf32>, memref<1x1x32x64xf32>)
      {parts = 3 : i64, ratio = 4 : i64, scale = 0.25 : f32, selected, window = 128 : i64}
  return
}

// Scores pass in blocks of 64 and are not kept; a full list of candidates is searched bit by bit.
// CHECK-LABEL: func.func @top_k
// CHECK: memref.alloca() {{.*}}: memref<64xf32>
// CHECK: memref.alloca() {{.*}}: memref<1088xi32>
// CHECK: memref.alloca() {{.*}}: memref<1088xi32>
// CHECK-NOT: memref.alloca
// CHECK: scf.while
// CHECK: arith.shrui
// CHECK: vector.compressstore
func.func @top_k(%scores: memref<1x100000xf32>, %out: memref<1x8xi32>) {
  v4.kernel "top_k" ins(%scores : memref<1x100000xf32>) outs(%out : memref<1x8xi32>)
  return
}
