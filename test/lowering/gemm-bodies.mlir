// RUN: v4-opt %s --v4-expand-templates=features=avx512f,avx512vbmi --canonicalize | FileCheck %s --check-prefixes=CHECK,FMA
// RUN: v4-opt %s --v4-expand-templates=features=avx512f,avx512vbmi,avx512bf16 --canonicalize | FileCheck %s --check-prefixes=CHECK,FMA
// RUN: v4-opt %s --v4-expand-templates=features=avx512f,avx512vbmi,avx512bf16,fast-bf16-dot --canonicalize | FileCheck %s --check-prefixes=CHECK,DOT
// RUN: v4-opt %s --v4-expand-templates=features=avx,avx2,fma --canonicalize | FileCheck %s --check-prefix=NARROW
// The bodies of `gemm`: how a block of the weight is widened, and what the register tile multiplies.

// Rows of fp32 are not rounded: multiply-adds whatever the processor. 20 rows are three tiles of six and one of two; the
// panel holds 128 elements of K, 64 columns wide, for so few rows.
// CHECK-LABEL: func.func @fp8
// CHECK-DAG: memref.alloca() {alignment = 64 : i64} : memref<128x64xf32>
// CHECK-DAG: memref.alloca() {alignment = 64 : i64} : memref<1x20x64xf32>
// CHECK: llvm.call_intrinsic "llvm.x86.avx512.vpermi2var.qi.512"
// CHECK: memref.prefetch
// CHECK: scf.for %{{.*}} = %c0 to %c18 step %c6
// CHECK: vector.fma
// CHECK-NOT: dpbf16ps
// Sixteen registers hold six rows of 16 columns.
// NARROW-LABEL: func.func @fp8
// NARROW-NOT: llvm.call_intrinsic
// NARROW: memref<128x16xf32>
// NARROW: arith.extf {{.*}} : vector<16xf8E4M3FN> to vector<16xf32>
// NARROW: iter_args
// NARROW-COUNT-6: vector.fma
// NARROW-NEXT: scf.yield
func.func @fp8(%x: memref<20x4096xf32>, %w: memref<4x1024x16x4xf8E4M3FN>, %s: memref<1x32xf8E8M0FNU>, %y: memref<20x64xf32>) {
  v4.kernel "gemm" ins(%x, %w, %s : memref<20x4096xf32>, memref<4x1024x16x4xf8E4M3FN>, memref<1x32xf8E8M0FNU>)
      outs(%y : memref<20x64xf32>)
  return
}

// Rows of bf16: dots where they are fast, of a weight that is read as it lies; else multiply-adds of widened rows.
// CHECK-LABEL: func.func @bf16
// DOT-NOT: vector.fma
// DOT: memref<32x512x32xbf16
// DOT: llvm.call_intrinsic "llvm.x86.avx512bf16.dpbf16ps.512"{{.*}} : (vector<16xf32>, vector<32xbf16>, vector<32xbf16>) -> vector<16xf32>
// DOT: arith.truncf {{.*}} : vector<16xf32> to vector<16xbf16>
// FMA: arith.extf {{.*}} : vector<16xbf16> to vector<16xf32>
// FMA: vector.fma
// FMA-NOT: dpbf16ps
func.func @bf16(%x: memref<128x1024xbf16>, %w: memref<32x512x16x2xbf16>, %y: memref<128x512xbf16>) {
  v4.kernel "gemm" ins(%x, %w : memref<128x1024xbf16>, memref<32x512x16x2xbf16>) outs(%y : memref<128x512xbf16>)
  return
}

// Stored fp32 is not rounded to bf16 either.
// CHECK-LABEL: func.func @f32
// CHECK-NOT: dpbf16ps
// CHECK: vector.fma
func.func @f32(%x: memref<20x64xbf16>, %w: memref<4x64x16x1xf32>, %y: memref<20x64xf32>) {
  v4.kernel "gemm" ins(%x, %w : memref<20x64xbf16>, memref<4x64x16x1xf32>) outs(%y : memref<20x64xf32>)
  return
}

// An expert's rows: full tiles, then one of as many rows as are left.
// CHECK-LABEL: func.func @experts
// CHECK: scf.if
// CHECK: memref.subview %{{.*}}[%{{.*}}, 0, 0, 0, 0] [1, 4, 8, 16, 4] [1, 1, 1, 1, 1] : memref<8x4x8x16x4xi8> to memref<4x8x16x4xi8
// CHECK: llvm.call_intrinsic "llvm.x86.avx512.permvar.sf.512"
// CHECK: scf.index_switch
// CHECK: case 5
func.func @experts(%x: memref<64x64xf32>, %w: memref<8x4x8x16x4xi8>, %s: memref<8x4x2x16xf8E8M0FNU>, %experts: memref<8xi32>,
                   %offsets: memref<9xi32>, %rows: memref<256xi32>, %y: memref<256x64xf32>) {
  v4.kernel "grouped_gemm" ins(%x, %w, %s, %experts, %offsets, %rows
      : memref<64x64xf32>, memref<8x4x8x16x4xi8>, memref<8x4x2x16xf8E8M0FNU>, memref<8xi32>, memref<9xi32>, memref<256xi32>)
      outs(%y : memref<256x64xf32>)
  return
}
