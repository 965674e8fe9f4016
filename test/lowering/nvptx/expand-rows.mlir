// RUN: v4-opt %s --split-input-file --v4-expand-templates=target=nvptx:sm_90a --canonicalize | FileCheck %s

// Keys once into shared memory, eight codes at a time, for the logits and the sums of all heads.
// CHECK-LABEL: func.func @attention
// CHECK: memref.alloca() {alignment = 16 : i64} : memref<16x516xf32, 3>
// CHECK: scf.for
// CHECK: vector.load %arg1{{.*}} {alignment = 8 : i64} : memref<128x584xi8>, vector<8xi8>
// CHECK: gpu.barrier
// CHECK: vector.load %arg0{{.*}} {alignment = 8 : i64} : memref<1x8x512xbf16>, vector<4xbf16>
// CHECK: llvm.intr.fma
// CHECK-COUNT-16: gpu.shuffle xor
// CHECK: gpu.barrier
// CHECK: math.exp
// CHECK: nvvm.bar.warp.sync
// CHECK: gpu.barrier
// CHECK: llvm.intr.fma
// CHECK: gpu.barrier
// CHECK: memref.store %{{.+}}, %arg5
func.func @attention(%q: memref<1x8x512xbf16>, %w: memref<128x584xi8>, %sink: memref<8xf32>, %t: memref<1xi32>,
                     %span: memref<2xi32>, %y: memref<1x8x512xf32>) {
  v4.kernel "attention" ins(%q, %w, %sink, %t, %span : memref<1x8x512xbf16>, memref<128x584xi8>, memref<8xf32>, memref<1xi32>,
      memref<2xi32>) outs(%y : memref<1x8x512xf32>) {threads = 256, window = 128 : i64, scale = 4.419417e-02 : f32}
  return
}

// -----

// Scores are not kept: a list of candidates. Only bins of integers are added to in any order, and in shared memory.
// CHECK-LABEL: func.func @index
// CHECK: memref.alloca() {alignment = 16 : i64} : memref<2304xi32, 3>
// CHECK-NOT: memref.alloc()
// CHECK: llvm.intr.fma
// CHECK: memref.atomic_rmw addi %{{.+}}, %{{.+}} : (i32, memref<256xi32, 3>) -> i32
// CHECK: nvvm.vote.sync ballot
// CHECK-NOT: memref.atomic_rmw addf
func.func @index(%q: memref<1x64x128xbf16>, %w: memref<1x64xbf16>, %keys: memref<262144x68xi8>, %t: memref<1xi32>,
                 %y: memref<1x1024xi32>) {
  v4.kernel "index_top_k" ins(%q, %w, %keys, %t : memref<1x64x128xbf16>, memref<1x64xbf16>, memref<262144x68xi8>, memref<1xi32>)
      outs(%y : memref<1x1024xi32>) {threads = 256, ratio = 4 : i64, scale = 1.250000e-01 : f32}
  return
}

// -----

// Five exchanges between lanes, then two between registers; no shared memory.
// CHECK-LABEL: func.func @hadamard
// CHECK-NOT: memref.alloca
// CHECK-COUNT-20: gpu.shuffle xor
// CHECK-NOT: gpu.shuffle
// CHECK-NOT: gpu.barrier
func.func @hadamard(%x: memref<4x128xf32>, %y: memref<4x128xf32>) {
  v4.kernel "hadamard" ins(%x : memref<4x128xf32>) outs(%y : memref<4x128xf32>) {}
  return
}
