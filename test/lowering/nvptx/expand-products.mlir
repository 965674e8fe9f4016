// RUN: v4-opt %s --split-input-file --v4-expand-templates=target=nvptx:sm_90a --canonicalize | FileCheck %s
// RUN: v4-opt %s --split-input-file --v4-expand-templates=target=nvptx:sm_80 --canonicalize | FileCheck %s

// bf16: sixteen loads of the weight and four of x are under way before the first product; nothing is widened or
// exchanged. The sums of the warps are added in order.
// CHECK-LABEL: func.func @bf16
// CHECK: memref.alloca() {alignment = 16 : i64} : memref<8x8x33xf32, 3>
// CHECK: scf.for
// CHECK-COUNT-16: vector.load %{{.+}} {alignment = 16 : i64} : memref<2x256x32xbf16>, vector<8xbf16>
// CHECK-COUNT-4: vector.load %arg0[%{{.+}}] {alignment = 16 : i64} : memref<1x512xbf16>, vector<8xbf16>
// CHECK-NEXT: nvvm.bar.warp.sync
// CHECK-NOT: arith.mulf
// CHECK-NOT: gpu.shuffle
// CHECK-COUNT-16: nvvm.mma.sync
// CHECK-NOT: nvvm.mma.sync
// CHECK: gpu.barrier
// CHECK-COUNT-7: arith.addf
// CHECK: memref.store %{{.+}}, %arg2
// CHECK: gpu.barrier
func.func @bf16(%x: memref<1x512xbf16>, %w: memref<2x256x16x2xbf16>, %y: memref<1x32xf32>) {
  v4.kernel "gemv" ins(%x, %w : memref<1x512xbf16>, memref<2x256x16x2xbf16>) outs(%y : memref<1x32xf32>)
      {threads = 256}
  return
}

// -----

// fp4 and sixteen rows: two products for every one of the weight's; a scale for each row of the weight and 32 of K,
// applied to the sums.
// CHECK-LABEL: func.func @fp4
// CHECK: scf.for
// CHECK-COUNT-4: vector.load %{{.+}} {alignment = 16 : i64} : memref<2x64x64xi8>, vector<16xi8>
// CHECK-COUNT-8: vector.load %arg0{{.*}} {alignment = 16 : i64}
// CHECK-COUNT-4: vector.load %arg2{{.*}} {alignment = 4 : i64} : memref<2x16x16xf8E8M0FNU>, vector<4xf8E8M0FNU>
// CHECK-NEXT: vector.bitcast
// CHECK: nvvm.bar.warp.sync
// CHECK: arith.mulf %{{.+}}, %{{.+}} : vector<2xbf16>
// CHECK-COUNT-8: nvvm.mma.sync
// CHECK-COUNT-16: llvm.intr.fma
func.func @fp4(%x: memref<16x512xbf16>, %w: memref<2x64x16x4xi8>, %s: memref<2x16x16xf8E8M0FNU>,
               %y: memref<16x32xbf16>) {
  v4.kernel "gemv" ins(%x, %w, %s : memref<16x512xbf16>, memref<2x64x16x4xi8>, memref<2x16x16xf8E8M0FNU>)
      outs(%y : memref<16x32xbf16>) {threads = 256}
  return
}

// -----

// f32: multiply-adds, and sums over the four lanes that share rows of the weight. No tensor cores, which would round.
// CHECK-LABEL: func.func @f32
// CHECK-NOT: nvvm.mma.sync
// CHECK: llvm.intr.fma
// CHECK: gpu.shuffle xor
// CHECK: gpu.shuffle xor
// CHECK: gpu.barrier
func.func @f32(%x: memref<2x512xf32>, %w: memref<2x256x16x2xbf16>, %y: memref<2x32xf32>) {
  v4.kernel "gemv" ins(%x, %w : memref<2x512xf32>, memref<2x256x16x2xbf16>) outs(%y : memref<2x32xf32>)
      {threads = 256}
  return
}

// -----

// Rows that do not start at a multiple of 16 bytes are loaded number by number.
// CHECK-LABEL: func.func @unaligned
// CHECK-NOT: vector.load %arg0
// CHECK: memref.load %arg0
// CHECK: nvvm.mma.sync
func.func @unaligned(%x: memref<2x68xbf16>, %w: memref<2x34x16x2xbf16>, %y: memref<2x32xf32>) {
  v4.kernel "gemv" ins(%x, %w : memref<2x68xbf16>, memref<2x34x16x2xbf16>) outs(%y : memref<2x32xf32>)
      {threads = 256}
  return
}

// -----

// Many rows: copies of the next tiles are under way while one is multiplied; the weight is loaded a tile ahead,
// widened once for all rows of the warp, and its scale is multiplied to it.
// CHECK-LABEL: func.func @many
// CHECK: memref.alloca() {alignment = 16 : i64} : memref<3x256x32xbf16, 3>
// CHECK-COUNT-8: nvgpu.device_async_copy %arg0[{{.*}} {bypassL1} : memref<300x1024xbf16> to memref<3x256x32xbf16, 3>
// CHECK: nvvm.cp.async.commit.group
// CHECK: scf.for
// CHECK: nvvm.cp.async.wait.group 1
// CHECK-NEXT: gpu.barrier
// CHECK-COUNT-2: vector.load %{{.+}} {alignment = 16 : i64} : memref<4x256x64xf8E4M3FN>
// CHECK: scf.if
// CHECK-COUNT-4: nvgpu.device_async_copy
// CHECK: nvvm.cp.async.commit.group
// CHECK: scf.if
// CHECK-COUNT-32: arith.mulf %{{.+}}, %{{.+}} : vector<2xbf16>
// CHECK: vector.load %{{.+}} {alignment = 16 : i64} : memref<3x256x32xbf16, 3>, vector<8xbf16>
// CHECK-COUNT-32: nvvm.mma.sync
// CHECK-NOT: nvvm.mma.sync
// CHECK: vector.store %{{.+}}, %arg3{{.*}} {alignment = 8 : i64} : memref<300x64xbf16>, vector<4xbf16>
// CHECK: nvvm.cp.async.wait.group 0
// CHECK-NEXT: gpu.barrier
func.func @many(%x: memref<300x1024xbf16>, %w: memref<4x256x16x4xf8E4M3FN>, %s: memref<1x8xf8E8M0FNU>,
                %y: memref<300x64xbf16>) {
  v4.kernel "gemm" ins(%x, %w, %s : memref<300x1024xbf16>, memref<4x256x16x4xf8E4M3FN>, memref<1x8xf8E8M0FNU>)
      outs(%y : memref<300x64xbf16>) {threads = 256}
  return
}

// -----

// Experts that are there, eight rows at a time.
// CHECK-LABEL: func.func @experts
// CHECK: scf.for
// CHECK: %[[E:.+]] = memref.load %arg2
// CHECK: arith.cmpi sge, %[[E]]
// CHECK: scf.if
// CHECK: %[[ROW:.+]] = arith.index_cast %[[E]]
// CHECK: memref.subview %arg1[%[[ROW]], 0, 0, 0, 0] [1, 2, 32, 16, 2]
// CHECK: scf.for {{.*}} step %c3
// CHECK: memref.load %arg4
// CHECK: nvvm.mma.sync
func.func @experts(%x: memref<3x64xbf16>, %w: memref<8x2x32x16x2xbf16>, %e: memref<6xi32>, %o: memref<7xi32>,
                   %r: memref<6xi32>, %y: memref<6x32xf32>) {
  v4.kernel "grouped_gemv" ins(%x, %w, %e, %o, %r : memref<3x64xbf16>, memref<8x2x32x16x2xbf16>, memref<6xi32>,
      memref<7xi32>, memref<6xi32>) outs(%y : memref<6x32xf32>) {threads = 256}
  return
}
