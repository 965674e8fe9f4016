// RUN: v4-opt %s --pass-pipeline='builtin.module(builtin.module(v4-split-phases))' | FileCheck %s

module @k attributes {v4.kernel} {
  // CHECK-NOT: func.func @k(
  // CHECK-LABEL: func.func @k.0(%arg0: memref<12x4xf32>, %arg1: memref<12x4xf32>, %arg2: index) attributes {v4.grid = 6 : i64} {
  // CHECK: %[[ID:.+]]:2 = affine.delinearize_index %arg2 into (3, 2)
  // CHECK: %[[I:.+]] = arith.muli %[[ID]]#0, %c4
  // CHECK: %[[J:.+]] = arith.muli %[[ID]]#1, %c2
  // CHECK: memref.load %arg0[%[[I]], %[[J]]]
  // CHECK-NOT: scf.forall
  // CHECK: return
  // CHECK-LABEL: func.func @k.1
  // CHECK-SAME: attributes {v4.grid = 1 : i64} {
  // CHECK: memref.subview %arg1
  // CHECK: memref.store
  func.func @k(%x: memref<12x4xf32>, %y: memref<12x4xf32>) {
    v4.phase {
      scf.forall (%i, %j) = (0, 0) to (12, 4) step (4, 2) {
        %0 = memref.load %x[%i, %j] : memref<12x4xf32>
        memref.store %0, %y[%i, %j] : memref<12x4xf32>
      }
      v4.yield
    }
    %row = memref.subview %y[0, 0] [1, 4] [1, 1] : memref<12x4xf32> to memref<4xf32, strided<[1]>>
    v4.phase {
      %c0 = arith.constant 0 : index
      %0 = memref.load %row[%c0] : memref<4xf32, strided<[1]>>
      memref.store %0, %x[%c0, %c0] : memref<12x4xf32>
      v4.yield
    }
    return
  }
}

// A grid that does not start at 0.
module @offset attributes {v4.kernel} {
  // CHECK-LABEL: func.func @offset.0
  // CHECK-SAME: v4.grid = 2
  // CHECK: %[[STEP:.+]] = arith.muli
  // CHECK: arith.addi %[[STEP]], %c4
  func.func @offset(%x: memref<12xf32>) {
    v4.phase {
      scf.forall (%i) = (4) to (8) step (2) {
        %0 = memref.load %x[%i] : memref<12xf32>
        memref.store %0, %x[%i] : memref<12xf32>
      }
      v4.yield
    }
    return
  }
}
