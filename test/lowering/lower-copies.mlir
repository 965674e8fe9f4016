// RUN: v4-opt %s --v4-lower-copies | FileCheck %s

// CHECK-LABEL: func.func @copy
// CHECK-NOT: memref.copy
// CHECK: linalg.generic {{.*}} iterator_types = ["parallel", "parallel"]} ins(%arg0 : memref<4x8xf32>) outs(%arg1 : memref<4x8xf32, strided<[16, 1], offset: ?>>)
func.func @copy(%x: memref<4x8xf32>, %y: memref<4x8xf32, strided<[16, 1], offset: ?>>) {
  memref.copy %x, %y : memref<4x8xf32> to memref<4x8xf32, strided<[16, 1], offset: ?>>
  return
}

// Upstream's lowering of what is left calls nothing.
// RUN: v4-opt %s --pass-pipeline='builtin.module(func.func(v4-lower-copies,convert-linalg-to-loops))' | FileCheck %s --check-prefix=LOOPS
// LOOPS: scf.for
// LOOPS: memref.load
// LOOPS: memref.store
// LOOPS-NOT: memrefCopy
