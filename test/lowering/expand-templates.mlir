// RUN: v4-opt %s --split-input-file --v4-expand-templates=features=avx512f,avx512vbmi,avx2,fma | FileCheck %s --check-prefixes=CHECK,V4
// RUN: v4-opt %s --split-input-file --v4-expand-templates | FileCheck %s --check-prefixes=CHECK,ANY

// One row: read where it lies. Four groups side by side, each line asked for ahead; a scale per block of 128.
// CHECK-LABEL: func.func @fp8
// CHECK-NOT: v4.kernel
// V4-COUNT-1: memref.alloca() {{.*}} : memref<1x64xf32>
// V4: scf.for %[[BLOCK:.+]] = %{{.+}} to %c4{{.*}} step
// 32 lines ahead, at the end of the 128 lines of a group those of the fourth group after it: of the next tile.
// V4: %[[END:.+]] = arith.cmpi uge, %{{.+}}, %c128
// V4: arith.select %[[END]], %c416{{.*}}, %c32
// V4: scf.for %{{.+}} = %{{.+}} to %{{.+}} step %c4
// V4: scf.for {{.*}} iter_args(%{{.+}} = %{{.+}}, %{{.+}} = %{{.+}}, %{{.+}} = %{{.+}}, %{{.+}} = %{{.+}}) -> (vector<16xf32>
// V4: memref.prefetch
// V4-COUNT-2: llvm.call_intrinsic "llvm.x86.avx512.vpermi2var.qi.512"
// V4: memref.load %arg0
// V4: vector.fma
// V4-NOT: arith.mulf
// V4: scf.yield
// V4: arith.extf %{{.+}} : f8E8M0FNU to f32
// V4: vector.fma
// No instruction that the processor may lack: fused products would be calls.
// ANY-NOT: llvm.call_intrinsic
// ANY-NOT: vector.fma
// ANY: arith.extf %{{.+}} : vector<16xf8E4M3FN> to vector<16xf32>
// ANY: arith.mulf
// ANY-NEXT: arith.addf
func.func @fp8(%x: memref<1x512xf32>, %w: memref<4x128x16x4xf8E4M3FN>, %s: memref<1x4xf8E8M0FNU>, %y: memref<1x64xf32>) {
  v4.kernel "gemv" ins(%x, %w, %s : memref<1x512xf32>, memref<4x128x16x4xf8E4M3FN>, memref<1x4xf8E8M0FNU>)
      outs(%y : memref<1x64xf32>)
  return
}

// -----

// Two rows share every widened number; a block of them is copied first.
// CHECK-LABEL: func.func @fp4
// V4-DAG: memref.alloca() {{.*}} : memref<2x128xf32>
// V4-DAG: memref.alloca() {{.*}} : memref<2x64xf32>
// V4: %[[W:.+]] = llvm.call_intrinsic "llvm.x86.avx512.permvar.sf.512"
// V4: vector.fma %[[W]]
// V4: vector.fma %[[W]]
// V4: arith.extf %{{.+}} : vector<16xf8E8M0FNU> to vector<16xf32>
// ANY-NOT: llvm.call_intrinsic
// ANY-NOT: vector.fma
// ANY: arith.select
func.func @fp4(%x: memref<2x128xf32>, %w: memref<4x16x16x4xi8>, %s: memref<4x4x16xf8E8M0FNU>, %y: memref<2x64xf32>) {
  v4.kernel "gemv" ins(%x, %w, %s : memref<2x128xf32>, memref<4x16x16x4xi8>, memref<4x4x16xf8E8M0FNU>)
      outs(%y : memref<2x64xf32>)
  return
}

// -----

// Experts that are there, each with as many rows as it has.
// CHECK-LABEL: func.func @experts
// CHECK: scf.for
// CHECK: %[[E:.+]] = arith.index_cast
// CHECK: arith.cmpi sge, %[[E]]
// CHECK: scf.if
// CHECK: memref.subview %arg1[%[[E]], 0, 0, 0, 0] [1, 2, 32, 16, 2]
// CHECK: scf.index_switch
// CHECK: case 1
// CHECK: case 2
// CHECK-NOT: case 3
// CHECK: default
func.func @experts(%x: memref<3x64xf32>, %w: memref<8x2x32x16x2xbf16>, %e: memref<6xi32>, %o: memref<7xi32>, %r: memref<6xi32>,
                   %y: memref<6x32xf32>) {
  v4.kernel "grouped_gemv" ins(%x, %w, %e, %o, %r : memref<3x64xf32>, memref<8x2x32x16x2xbf16>, memref<6xi32>, memref<7xi32>,
      memref<6xi32>) outs(%y : memref<6x32xf32>)
  return
}

// -----

// The last of two blocks asks for the first lines of the expert that follows, or of the next workgroup of the first one.
// CHECK-LABEL: func.func @following
// CHECK: memref.subview %arg1[%{{.+}}, 0, 0, 0, 0] [1, 4, 64, 16, 4]
// CHECK: %[[N:.+]] = arith.minui %{{.+}}, %c5
// CHECK: memref.load %arg3[%[[N]]]
// CHECK: %[[LAST:.+]] = arith.ori
// CHECK: %[[E:.+]] = arith.select %[[LAST]]
// CHECK: %[[F:.+]] = arith.maxsi %[[E]], %c0
// CHECK: memref.subview %arg1[%[[F]], 0, 0, 0, 0] [1, 4, 64, 16, 4]
// CHECK: %[[NEXT:.+]] = memref.collapse_shape
// CHECK: arith.select %[[LAST]], %c4{{.*}}, %c0
// V4: memref.prefetch %[[NEXT]]
func.func @following(%x: memref<1x256xf32>, %w: memref<8x4x64x16x4xf8E4M3FN>, %s: memref<8x1x2xf8E8M0FNU>, %e: memref<6xi32>,
                     %o: memref<7xi32>, %r: memref<6xi32>, %y: memref<6x64xf32>) {
  v4.kernel "grouped_gemv" ins(%x, %w, %s, %e, %o, %r : memref<1x256xf32>, memref<8x4x64x16x4xf8E4M3FN>, memref<8x1x2xf8E8M0FNU>,
      memref<6xi32>, memref<7xi32>, memref<6xi32>) outs(%y : memref<6x64xf32>)
  return
}

// -----

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
