// RUN: v4-opt %s --pass-pipeline='builtin.module(func.func(v4-expand-templates))' | FileCheck %s
// The loops that templates consist of. What they compute is tested in attention-kernels.test; packed weights are in
// gemm-bodies.mlir.

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

// Seven strides of 128: four within vectors, three between them.
// CHECK-LABEL: func.func @hadamard
// CHECK-COUNT-32: vector.shuffle
// CHECK-NOT: vector.shuffle
// CHECK: arith.subf
func.func @hadamard(%x: memref<1x128xf32>, %y: memref<1x128xf32>) {
  v4.kernel "hadamard" ins(%x : memref<1x128xf32>) outs(%y : memref<1x128xf32>)
  return
}

// 24 products and the sum of squares stay in registers.
// CHECK-LABEL: func.func @hc_mix
// CHECK: scf.for {{.*}} iter_args(
// CHECK: vector.load %arg0
// CHECK-COUNT-24: vector.load %arg1
// CHECK: scf.yield
// CHECK-COUNT-25: vector.reduction <add>
func.func @hc_mix(%x: memref<1x4x1024xf32>, %fn: memref<24x4096xf32>, %part: index, %y: memref<1x1x25xf32>) {
  v4.kernel "hc_mix" ins(%x, %fn, %part : memref<1x4x1024xf32>, memref<24x4096xf32>, index) outs(%y : memref<1x1x25xf32>)
      {columns = 256 : i64}
  return
}
