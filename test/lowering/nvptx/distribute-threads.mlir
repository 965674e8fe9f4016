// RUN: v4-opt %s --split-input-file --pass-pipeline='builtin.module(func.func(v4-distribute-threads))' | FileCheck %s

#id = affine_map<(i, j) -> (i, j)>

// Points go round the threads; the second op reads what the first one wrote, the third only what nobody wrote since.
// CHECK-LABEL: func.func @elementwise(
// CHECK-SAME: v4.threads = 128
// CHECK: %[[T:.+]] = gpu.thread_id x
// CHECK: scf.for %[[P:.+]] = %[[T]] to %{{.+}} step %[[STEP:.+]] {
// CHECK:   %[[AT:.+]]:2 = affine.delinearize_index %[[P]] into (3, 100)
// CHECK:   %[[V:.+]] = memref.load %arg0[%[[AT]]#0, %[[AT]]#1]
// CHECK:   %[[N:.+]] = arith.negf %[[V]]
// CHECK:   memref.store %[[N]], %arg1[%[[AT]]#0, %[[AT]]#1]
// CHECK: }
// CHECK: gpu.barrier
// CHECK: memref.load %arg1
// CHECK: memref.store %{{.+}}, %arg2
// CHECK-NOT: gpu.barrier
// CHECK: memref.load %arg0
// CHECK: return
func.func @elementwise(%x: memref<3x100xf32>, %y: memref<3x100xf32>, %z: memref<3x100xf32>, %u: memref<3x100xf32>, %workgroup: index) attributes {v4.grid = 4 : i64} {
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : memref<3x100xf32>) outs(%y : memref<3x100xf32>) {
  ^bb0(%a: f32, %b: f32):
    %1 = arith.negf %a : f32
    linalg.yield %1 : f32
  }
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%y : memref<3x100xf32>) outs(%z : memref<3x100xf32>) {
  ^bb0(%a: f32, %b: f32):
    %1 = arith.negf %a : f32
    linalg.yield %1 : f32
  }
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : memref<3x100xf32>) outs(%u : memref<3x100xf32>) {
  ^bb0(%a: f32, %b: f32):
    %1 = arith.negf %a : f32
    linalg.yield %1 : f32
  }
  return
}

// -----

// Few results, many terms: parts in shared memory, added up in order onto the output.
// CHECK-LABEL: func.func @sum(
// CHECK: %[[PARTS:.+]] = memref.alloca() : memref<32x4xf32, 3>
// CHECK: %[[AT:.+]]:2 = affine.delinearize_index %{{.+}} into (32, 4)
// CHECK: %[[SUM:.+]] = scf.for %[[K:.+]] = %[[AT]]#0 to %c1000{{.*}} step %c32{{.*}} iter_args(%[[S:.+]] = %{{.+}}) -> (f32) {
// CHECK:   %[[A:.+]] = memref.load %arg0[%[[AT]]#1, %[[K]]]
// CHECK:   arith.addf %[[S]], %[[A]]
// CHECK: memref.store %[[SUM]], %[[PARTS]][%[[AT]]#0, %[[AT]]#1]
// CHECK: gpu.barrier
// CHECK: %[[FIRST:.+]] = memref.load %arg1[%[[T:.+]]]
// CHECK: scf.for %[[P:.+]] = %c0{{.*}} to %c32{{.*}} step %c1{{.*}} iter_args(%[[S:.+]] = %[[FIRST]])
// CHECK:   %[[O:.+]] = memref.load %[[PARTS]][%[[P]], %[[T]]]
// CHECK:   arith.addf %[[S]], %[[O]]
// CHECK: memref.store %{{.+}}, %arg1[%[[T]]]
func.func @sum(%x: memref<4x1000xf32>, %y: memref<4xf32>, %workgroup: index) attributes {v4.grid = 1 : i64} {
  linalg.generic {indexing_maps = [affine_map<(i, k) -> (i, k)>, affine_map<(i, k) -> (i)>], iterator_types = ["parallel", "reduction"]}
      ins(%x : memref<4x1000xf32>) outs(%y : memref<4xf32>) {
  ^bb0(%a: f32, %b: f32):
    %1 = arith.addf %b, %a : f32
    linalg.yield %1 : f32
  }
  return
}

// -----

// All threads follow a loop; what an iteration wrote is awaited before the next one reads it, and the store of one element
// is thread 0's.
// CHECK-LABEL: func.func @loop(
// CHECK: scf.for
// CHECK:   gpu.barrier
// CHECK:   memref.load %arg0
// CHECK:   gpu.barrier
// CHECK:   %[[FIRST:.+]] = arith.cmpi eq, %{{.+}}, %c0
// CHECK:   scf.if %[[FIRST]] {
// CHECK:     memref.store %{{.+}}, %arg0[%{{.+}}] : memref<64xf32>
func.func @loop(%x: memref<64xf32>, %y: memref<64xf32>, %workgroup: index) attributes {v4.grid = 1 : i64} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c64 = arith.constant 64 : index
  %cst = arith.constant 1.0 : f32
  scf.for %i = %c0 to %c64 step %c1 {
    linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]} ins(%x : memref<64xf32>) outs(%y : memref<64xf32>) {
    ^bb0(%a: f32, %b: f32):
      linalg.yield %a : f32
    }
    memref.store %cst, %x[%i] : memref<64xf32>
  }
  return
}

// -----

// A loop of single elements is thread 0's, without barriers inside.
// CHECK-LABEL: func.func @serial(
// CHECK: scf.if
// CHECK:   scf.for
// CHECK-NOT: gpu.barrier
// CHECK:     memref.store
// CHECK: return
func.func @serial(%x: memref<64xi32>, %workgroup: index) attributes {v4.grid = 1 : i64} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c64 = arith.constant 64 : index
  scf.for %i = %c1 to %c64 step %c1 {
    %j = arith.subi %i, %c1 : index
    %0 = memref.load %x[%j] : memref<64xi32>
    memref.store %0, %x[%i] : memref<64xi32>
  }
  return
}

// -----

// A template says how many threads work on its phase; others take as many.
// CHECK-LABEL: func.func @template(
// CHECK-SAME: v4.blocks_per_sm = 1 : i64
// CHECK-SAME: v4.threads = 256 : i64
// CHECK: step %c256
// CHECK: gpu.barrier
// CHECK: v4.kernel "gemv"
// CHECK: v4.kernel "hadamard" {{.*}} {threads = 256 : i64}
func.func @template(%x: memref<512xf32>, %y: memref<512xf32>, %workgroup: index) attributes {v4.grid = 1 : i64} {
  %cst = arith.constant 0.0 : f32
  linalg.fill ins(%cst : f32) outs(%x : memref<512xf32>)
  v4.kernel "gemv" ins(%x : memref<512xf32>) outs(%y : memref<512xf32>) {threads = 256 : i64, blocks_per_sm = 1 : i64}
  v4.kernel "hadamard" ins(%y : memref<512xf32>) outs(%x : memref<512xf32>)
  return
}
