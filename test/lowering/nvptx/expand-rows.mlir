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

// -----

// All loads of a row of fn, 16 bytes each, in front of the sums; no shared memory.
// CHECK-LABEL: func.func @hc_mix
// CHECK-NOT: memref.alloca
// CHECK-COUNT-16: vector.load {{.*}} {alignment = 16 : i64}
// CHECK: llvm.intr.fma
// CHECK-NOT: vector.load
// CHECK: gpu.shuffle xor
// CHECK-NOT: gpu.barrier
func.func @hc_mix(%x: memref<1x4x4096xf32>, %fn: memref<24x16384xf32>, %part: index, %y: memref<1x1x25xf32>) {
  v4.kernel "hc_mix" ins(%x, %fn, %part : memref<1x4x4096xf32>, memref<24x16384xf32>, index) outs(%y : memref<1x1x25xf32>)
      {threads = 256, columns = 512 : i64}
  return
}

// -----

// Sinkhorn's sums are exchanges: two over a row of the matrix, two over a column; the only barrier is behind the sums of the parts.
// CHECK-LABEL: func.func @hc_close
// CHECK: gpu.barrier
// CHECK: scf.for {{.*}} iter_args(
// CHECK-NEXT: gpu.shuffle xor
// CHECK-COUNT-3: gpu.shuffle xor
// CHECK-NOT: gpu.shuffle
// CHECK: scf.yield
// CHECK-NOT: gpu.barrier
func.func @hc_close(%sums: memref<1x32x25xf32>, %x: memref<1x4x4096xbf16>, %scale: memref<3xf32>, %base: memref<24xf32>, %y: memref<1x4096xbf16>,
                    %post: memref<1x4xf32>, %comb: memref<1x4x4xf32>) {
  v4.kernel "hc_close" ins(%sums, %x, %scale, %base : memref<1x32x25xf32>, memref<1x4x4096xbf16>, memref<3xf32>, memref<24xf32>)
      outs(%y, %post, %comb : memref<1x4096xbf16>, memref<1x4xf32>, memref<1x4x4xf32>)
      {threads = 256, iterations = 20 : i64, eps = 1.0e-6 : f32, hc_eps = 1.0e-6 : f32}
  return
}

// -----

// The largest key of the warp, then the lowest expert that has it.
// CHECK-LABEL: func.func @route
// CHECK: scf.for
// CHECK: nvvm.redux.sync umax
// CHECK: nvvm.redux.sync umin
// CHECK-NOT: gpu.barrier
// CHECK-NOT: memref.alloca
func.func @route(%x: memref<1x256xf32>, %bias: memref<256xf32>, %y: memref<1x6xi32>, %w: memref<1x6xf32>) {
  v4.kernel "route" ins(%x, %bias : memref<1x256xf32>, memref<256xf32>) outs(%y, %w : memref<1x6xi32>, memref<1x6xf32>) {threads = 32, scale = 1.5 : f32}
  return
}

// -----

// No atomics: places follow from lanes with the same expert.
// CHECK-LABEL: func.func @dispatch
// CHECK-NOT: atomic
// CHECK: nvvm.match.sync any
// CHECK: nvvm.match.sync any
// CHECK-NOT: atomic
func.func @dispatch(%x: memref<64x6xi32>, %w: memref<64x6xf32>, %t: memref<64xi32>, %a: memref<256xi32>, %b: memref<257xi32>, %c: memref<384xi32>,
                    %d: memref<384xf32>, %e: memref<64x6xi32>) {
  v4.kernel "dispatch" ins(%x, %w, %t : memref<64x6xi32>, memref<64x6xf32>, memref<64xi32>)
      outs(%a, %b, %c, %d, %e : memref<256xi32>, memref<257xi32>, memref<384xi32>, memref<384xf32>, memref<64x6xi32>) {threads = 384, experts = 256}
  return
}

// -----

// Rows are pooled where they lie; the state is written behind a barrier.
// CHECK-LABEL: func.func @compress
// CHECK-NOT: memref.alloca
// CHECK-NOT: memref.store {{.*}}%arg5
// CHECK: gpu.barrier
// CHECK: memref.store {{.*}}, %arg5
func.func @compress(%kv: memref<8x2x32xf32>, %gate: memref<8x2x32xf32>, %ape: memref<4x2x32xf32>, %span: memref<2xi32>, %y: memref<2x32xbf16>,
                    %kv_rows: memref<1x8x2x32xf32>, %score_rows: memref<1x8x2x32xf32>) {
  v4.kernel "compress" ins(%kv, %gate, %ape, %span : memref<8x2x32xf32>, memref<8x2x32xf32>, memref<4x2x32xf32>, memref<2xi32>)
      outs(%y, %kv_rows, %score_rows : memref<2x32xbf16>, memref<1x8x2x32xf32>, memref<1x8x2x32xf32>) {threads = 256}
  return
}

// -----

// Eight codes at once; the scale of a block by three exchanges.
// CHECK-LABEL: func.func @append
// CHECK-COUNT-3: gpu.shuffle xor
// CHECK-NOT: gpu.shuffle
// CHECK: vector.store {{.*}} {alignment = 8 : i64} : memref<16x200xi8>, vector<8xi8>
// CHECK-NOT: gpu.barrier
func.func @append(%x: memref<1x128xbf16>, %span: memref<2xi32>, %y: memref<16x200xi8>) {
  v4.kernel "append_rows" ins(%x, %span : memref<1x128xbf16>, memref<2xi32>) outs(%y : memref<16x200xi8>) {threads = 128}
  return
}

// -----

// A row of a block is read once, and summed with one barrier.
// CHECK-LABEL: func.func @norm
// CHECK-COUNT-8: vector.load %arg0{{.*}} {alignment = 16 : i64}
// CHECK-NOT: vector.load %arg0
// CHECK: gpu.barrier
// CHECK-NOT: gpu.barrier
// CHECK: vector.store {{.*}} {alignment = 16 : i64}
func.func @norm(%x: memref<1x8192xbf16>, %w: memref<8192xbf16>, %y: memref<1x8192xbf16>) {
  v4.kernel "rms_norm" ins(%x, %w : memref<1x8192xbf16>, memref<8192xbf16>) outs(%y : memref<1x8192xbf16>) {eps = 1.0e-6 : f32}
  return
}
