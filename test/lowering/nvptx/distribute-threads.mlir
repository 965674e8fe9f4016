// RUN: v4-opt %s --pass-pipeline='builtin.module(func.func(v4-distribute-threads))' | FileCheck %s

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>

// More iterations than threads, one sum of many terms per row, and a barrier only where a value changes threads.
// CHECK-LABEL: func.func @steps
// CHECK-SAME:    v4.threads = 128
// CHECK:         %[[T:.*]] = gpu.thread_id x
// CHECK:         scf.for %[[I:.*]] = %[[T]] to %c768{{.*}} step %c128
// CHECK:           %[[AT:.*]]:2 = affine.delinearize_index %[[I]] into (8, 96)
// CHECK:           arith.negf
// CHECK:           memref.store %{{.*}}[%[[AT]]#0, %[[AT]]#1]
// CHECK:         gpu.barrier
// 96 threads: twelve parts of each of the eight rows.
// CHECK:         %[[PARTS:.*]] = memref.alloca() : memref<12x8xf32, 3>
// CHECK:         arith.cmpi ult, %[[T]], %c96
// CHECK:           %[[PART:.*]]:2 = affine.delinearize_index %[[T]] into (12, 8)
// CHECK:           scf.for %{{.*}} = %[[PART]]#0 to %c96{{.*}} step %c12{{.*}} iter_args
// CHECK:           memref.store %{{.*}}, %[[PARTS]][%[[PART]]#0, %[[PART]]#1]
// CHECK:         gpu.barrier
// CHECK:         arith.cmpi ult, %[[T]], %c8
// CHECK:           scf.for %[[P:.*]] = %c0{{.*}} to %c12{{.*}} step %c1
// CHECK:             memref.load %[[PARTS]][%[[P]], %[[T]]]
// Another buffer, no barrier.
// CHECK-NOT:     gpu.barrier
// CHECK:         scf.for
// CHECK-NOT:     gpu.barrier
// CHECK:         return
func.func @steps(%x: memref<8x96xf32>, %y: memref<8x96xf32>, %z: memref<8xf32>, %w: index) attributes {v4.grid = 2 : i64} {
  %t = memref.alloca() : memref<8x96xf32>
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : memref<8x96xf32>) outs(%t : memref<8x96xf32>) {
  ^bb0(%a: f32, %b: f32):
    %0 = arith.negf %a : f32
    linalg.yield %0 : f32
  }
  linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%t : memref<8x96xf32>) outs(%z : memref<8xf32>) {
  ^bb0(%a: f32, %b: f32):
    %0 = arith.addf %a, %b : f32
    linalg.yield %0 : f32
  }
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : memref<8x96xf32>) outs(%y : memref<8x96xf32>) {
  ^bb0(%a: f32, %b: f32):
    linalg.yield %a : f32
  }
  return
}

// A reduction with few terms per result is not cut; one that is no single associative op neither.
// CHECK-LABEL: func.func @uncut
// CHECK-NOT:     memref.alloca() : memref<{{.*}}, 3>
// CHECK:         return
func.func @uncut(%x: memref<4x32xf32>, %y: memref<4xf32>, %u: memref<4x96xf32>, %v: memref<4xf32>, %w: index) attributes {v4.grid = 1 : i64} {
  linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%x : memref<4x32xf32>) outs(%y : memref<4xf32>) {
  ^bb0(%a: f32, %b: f32):
    %0 = arith.addf %a, %b : f32
    linalg.yield %0 : f32
  }
  linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%u : memref<4x96xf32>) outs(%v : memref<4xf32>) {
  ^bb0(%a: f32, %b: f32):
    %0 = arith.addf %b, %a : f32
    %1 = arith.mulf %0, %a : f32
    linalg.yield %1 : f32
  }
  return
}

// Loops are followed by all threads; what an iteration wrote may be read by other threads in the next one. Bookkeeping of
// single elements is done by the first thread.
// CHECK-LABEL: func.func @loops
// CHECK:         scf.for
// CHECK:           gpu.barrier
// CHECK:           %[[FIRST:.*]] = arith.cmpi eq, %{{.*}}, %c0
// CHECK:           scf.if %[[FIRST]]
// CHECK:             memref.store %{{.*}}, %arg1[%c0]
// CHECK:           gpu.barrier
// CHECK:           scf.for
// CHECK:             memref.load %arg1
func.func @loops(%x: memref<256xf32>, %y: memref<1xf32>, %w: index) attributes {v4.grid = 1 : i64} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  scf.for %i = %c0 to %c4 step %c1 {
    %0 = memref.load %x[%i] : memref<256xf32>
    memref.store %0, %y[%c0] : memref<1xf32>
    linalg.generic {indexing_maps = [affine_map<(i) -> (0)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]} ins(%y : memref<1xf32>) outs(%x : memref<256xf32>) {
    ^bb0(%a: f32, %b: f32):
      %1 = arith.addf %a, %b : f32
      linalg.yield %1 : f32
    }
  }
  return
}

// A template says how many threads it wants.
// CHECK-LABEL: func.func @template
// CHECK-SAME:    v4.blocks_per_sm = 2 : i64
// CHECK-SAME:    v4.threads = 256 : i64
// CHECK:         scf.for %{{.*}} to %c1024{{.*}} step %c256
// CHECK:         gpu.barrier
// CHECK:         v4.kernel "gemv"
func.func @template(%x: memref<1024xf32>, %y: memref<16xf32>, %w: index) attributes {v4.grid = 1 : i64} {
  %c = arith.constant 1.0 : f32
  linalg.fill ins(%c : f32) outs(%x : memref<1024xf32>)
  v4.kernel "gemv" ins(%x : memref<1024xf32>) outs(%y : memref<16xf32>) {threads = 256 : i64, blocks_per_sm = 2 : i64}
  return
}

// Other functions are left alone.
// CHECK-LABEL: func.func @other
// CHECK-NEXT:    linalg.fill
func.func @other(%x: memref<64xf32>, %c: f32) {
  linalg.fill ins(%c : f32) outs(%x : memref<64xf32>)
  return
}
