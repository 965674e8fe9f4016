// RUN: v4-opt %s --split-input-file --pass-pipeline='builtin.module(func.func(v4-distribute-threads))' | FileCheck %s

#id = affine_map<(i, j) -> (i, j)>

// Points go round the threads; the second op reads what the first one wrote, the third only what nobody wrote since.
// CHECK-LABEL: func.func @elementwise(
// CHECK-SAME: v4.threads = 128
// CHECK: %[[T:.+]] = gpu.thread_id x
// CHECK: scf.for %[[P:.+]] = %[[T]] to %{{.+}} step %[[STEP:.+]] {
// CHECK:   %[[AT:.+]]:2 = affine.delinearize_index %[[P]] into (3, 99)
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
func.func @elementwise(%x: memref<3x99xf32>, %y: memref<3x99xf32>, %z: memref<3x99xf32>, %u: memref<3x99xf32>, %workgroup: index) attributes {v4.grid = 4 : i64} {
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : memref<3x99xf32>) outs(%y : memref<3x99xf32>) {
  ^bb0(%a: f32, %b: f32):
    %1 = arith.negf %a : f32
    linalg.yield %1 : f32
  }
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%y : memref<3x99xf32>) outs(%z : memref<3x99xf32>) {
  ^bb0(%a: f32, %b: f32):
    %1 = arith.negf %a : f32
    linalg.yield %1 : f32
  }
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : memref<3x99xf32>) outs(%u : memref<3x99xf32>) {
  ^bb0(%a: f32, %b: f32):
    %1 = arith.negf %a : f32
    linalg.yield %1 : f32
  }
  return
}

// -----

// Four neighbours at a time where they lie at multiples of 16 bytes; what does not change along them is loaded once.
// CHECK-LABEL: func.func @wide(
// CHECK: %[[COLUMN:.+]] = arith.muli %arg4
// CHECK: scf.for %[[P:.+]] = %{{.+}} to %c512{{.*}} {
// CHECK:   %[[AT:.+]] = arith.muli
// CHECK:   %[[X:.+]] = vector.load %subview[%{{.+}}] {alignment = 8 : i64} : {{.*}}, vector<4xbf16>
// CHECK:   %[[S:.+]] = memref.load %arg1[%{{.+}}]
// CHECK-COUNT-4: arith.mulf %{{.+}}, %[[S]]
// CHECK:   vector.from_elements {{.*}} : vector<4xf32>
// CHECK:   vector.store {{.*}} {alignment = 16 : i64} : memref<2048xf32>, vector<4xf32>
func.func @wide(%x: memref<8192xbf16>, %s: memref<1xf32>, %y: memref<2048xf32>, %z: memref<2048xf32>, %workgroup: index) attributes {v4.grid = 4 : i64} {
  %c2044 = arith.constant 2044 : index
  %at = arith.muli %workgroup, %c2044 : index
  %view = memref.subview %x[%at] [2048] [1] : memref<8192xbf16> to memref<2048xbf16, strided<[1], offset: ?>>
  linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (0)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]}
      ins(%view, %s : memref<2048xbf16, strided<[1], offset: ?>>, memref<1xf32>) outs(%y : memref<2048xf32>) {
  ^bb0(%a: bf16, %b: f32, %c: f32):
    %0 = arith.extf %a : bf16 to f32
    %1 = arith.mulf %0, %b : f32
    linalg.yield %1 : f32
  }
  return
}

// -----

// A view that begins anywhere, a transposition, a number of columns that is odd: one by one.
// CHECK-LABEL: func.func @narrow(
// CHECK-NOT: vector.
// CHECK: return
func.func @narrow(%x: memref<8192xf32>, %y: memref<2048xf32>, %m: memref<64x64xf32>, %t: memref<64x64xf32>, %o: memref<40x33xf32>, %p: memref<40x33xf32>,
                  %workgroup: index) attributes {v4.grid = 4 : i64} {
  %view = memref.subview %x[%workgroup] [2048] [1] : memref<8192xf32> to memref<2048xf32, strided<[1], offset: ?>>
  linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]}
      ins(%view : memref<2048xf32, strided<[1], offset: ?>>) outs(%y : memref<2048xf32>) {
  ^bb0(%a: f32, %b: f32):
    linalg.yield %a : f32
  }
  linalg.generic {indexing_maps = [affine_map<(i, j) -> (j, i)>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
      ins(%m : memref<64x64xf32>) outs(%t : memref<64x64xf32>) {
  ^bb0(%a: f32, %b: f32):
    linalg.yield %a : f32
  }
  linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
      ins(%o : memref<40x33xf32>) outs(%p : memref<40x33xf32>) {
  ^bb0(%a: f32, %b: f32):
    linalg.yield %a : f32
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
// CHECK-SAME: v4.threads = 256 : i64
// CHECK: step %c256
// CHECK: gpu.barrier
// CHECK: v4.kernel "gemv"
// CHECK: v4.kernel "hadamard" {{.*}} {threads = 256 : i64}
func.func @template(%x: memref<511xf32>, %y: memref<511xf32>, %workgroup: index) attributes {v4.grid = 1 : i64} {
  %cst = arith.constant 0.0 : f32
  linalg.fill ins(%cst : f32) outs(%x : memref<511xf32>)
  v4.kernel "gemv" ins(%x : memref<511xf32>) outs(%y : memref<511xf32>) {threads = 256 : i64}
  v4.kernel "hadamard" ins(%y : memref<511xf32>) outs(%x : memref<511xf32>)
  return
}
