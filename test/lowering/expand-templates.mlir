// RUN: v4-opt %s --split-input-file --v4-expand-templates=features=avx512f,avx512vbmi,avx2,fma | FileCheck %s --check-prefixes=CHECK,V4
// RUN: v4-opt %s --split-input-file --v4-expand-templates | FileCheck %s --check-prefixes=CHECK,ANY

// One row: read where it lies. Four groups side by side, each line asked for ahead; a scale per block of 128.
// CHECK-LABEL: func.func @fp8
// CHECK-NOT: v4.kernel
// V4-COUNT-1: memref.alloca() {{.*}} : memref<1x64xf32>
// V4: scf.for %[[BLOCK:.+]] = %{{.+}} to %c4{{.*}} step
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
