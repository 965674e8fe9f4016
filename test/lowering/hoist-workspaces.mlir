// RUN: v4-opt %s --v4-hoist-workspaces | FileCheck %s

module {
  // What lives between phases, and what is large in a phase of one workgroup, is an output of every launch.
  // CHECK-LABEL: func.func @decode
  // CHECK: %[[BETWEEN:.+]] = memref.alloc() : memref<4x32xf32>
  // CHECK: %[[LARGE:.+]] = memref.alloc() : memref<8192xf32>
  // CHECK: v4.launch @k "k" ins(%arg0 : memref<4xf32>) outs(%arg1, %[[BETWEEN]], %[[LARGE]] : {{.*}}) {v4.workspaces = 2 : i64}
  func.func @decode(%x: memref<4xf32>, %y: memref<4xf32>) {
    v4.launch @k "k" ins(%x : memref<4xf32>) outs(%y : memref<4xf32>)
    return
  }
  module @k attributes {v4.kernel} {
    // The temporary of a workgroup is on its stack, at its start. No kernel allocates.
    // CHECK-LABEL: func.func @k
    // CHECK-SAME: %arg2: memref<4x32xf32>, %arg3: memref<8192xf32>)
    // CHECK-NOT: memref.alloc()
    // CHECK: scf.forall
    // CHECK-NEXT: memref.alloca() {alignment = 64 : i64} : memref<32xf32>
    // CHECK: v4.phase
    // CHECK-NEXT: memref.alloca() {alignment = 64 : i64} : memref<4xf32>
    // CHECK-NOT: memref.alloc()
    func.func @k(%x: memref<4xf32>, %y: memref<4xf32>) {
      %between = memref.alloc() : memref<4x32xf32>
      v4.phase {
        scf.forall (%i) in (4) {
          %tile = memref.alloc() : memref<32xf32>
          %0 = memref.load %x[%i] : memref<4xf32>
          linalg.fill ins(%0 : f32) outs(%tile : memref<32xf32>)
          %row = memref.subview %between[%i, 0] [1, 32] [1, 1] : memref<4x32xf32> to memref<32xf32, strided<[1], offset: ?>>
          memref.copy %tile, %row : memref<32xf32> to memref<32xf32, strided<[1], offset: ?>>
        }
        v4.yield
      }
      v4.phase {
        %large = memref.alloc() : memref<8192xf32>
        %small = memref.alloc() : memref<4xf32>
        memref.copy %x, %small : memref<4xf32> to memref<4xf32>
        memref.copy %small, %y : memref<4xf32> to memref<4xf32>
        %c0 = arith.constant 0 : index
        %1 = memref.load %between[%c0, %c0] : memref<4x32xf32>
        memref.store %1, %large[%c0] : memref<8192xf32>
        v4.yield
      }
      return
    }
  }
}
