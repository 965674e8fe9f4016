// RUN: v4-opt %s --v4-thread-destinations --canonicalize | FileCheck %s

// CHECK-LABEL: func.func @fill
// CHECK-NEXT: %[[R:.+]] = linalg.fill ins(%arg0 : f32) outs(%arg1 : tensor<4xf32>)
// CHECK-NEXT: return %[[R]]
func.func @fill(%x: f32, %out: tensor<4xf32>) -> tensor<4xf32> {
  %e = tensor.empty() : tensor<4xf32>
  %0 = linalg.fill ins(%x : f32) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  %1 = bufferization.materialize_in_destination %0 in %out : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %1 : tensor<4xf32>
}

// Through a loop and the insertions in it.
// CHECK-LABEL: func.func @loop
// CHECK: %[[R:.+]] = scf.for {{.*}} iter_args(%{{.*}} = %arg1)
// CHECK: return %[[R]]
func.func @loop(%x: f32, %out: tensor<8xf32>) -> tensor<8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c8 = arith.constant 8 : index
  %e = tensor.empty() : tensor<8xf32>
  %0 = scf.for %i = %c0 to %c8 step %c1 iter_args(%t = %e) -> tensor<8xf32> {
    %2 = tensor.insert %x into %t[%i] : tensor<8xf32>
    scf.yield %2 : tensor<8xf32>
  }
  %1 = bufferization.materialize_in_destination %0 in %out : (tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>
  return %1 : tensor<8xf32>
}

// Through both branches of a condition.
// CHECK-LABEL: func.func @branches
// CHECK: scf.if
// CHECK: linalg.fill {{.*}} outs(%arg2 : tensor<4xf32>)
// CHECK: else
// CHECK-NEXT: scf.yield %arg2
func.func @branches(%c: i1, %x: f32, %out: tensor<4xf32>) -> tensor<4xf32> {
  %e = tensor.empty() : tensor<4xf32>
  %0 = scf.if %c -> tensor<4xf32> {
    %2 = linalg.fill ins(%x : f32) outs(%e : tensor<4xf32>) -> tensor<4xf32>
    scf.yield %2 : tensor<4xf32>
  } else {
    scf.yield %e : tensor<4xf32>
  }
  %1 = bufferization.materialize_in_destination %0 in %out : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %1 : tensor<4xf32>
}

// Branches that start from different values keep the copy.
// CHECK-LABEL: func.func @different_starts
// CHECK: bufferization.materialize_in_destination
func.func @different_starts(%c: i1, %x: f32, %other: tensor<4xf32>, %out: tensor<4xf32>) -> tensor<4xf32> {
  %e = tensor.empty() : tensor<4xf32>
  %0 = scf.if %c -> tensor<4xf32> {
    %2 = linalg.fill ins(%x : f32) outs(%e : tensor<4xf32>) -> tensor<4xf32>
    scf.yield %2 : tensor<4xf32>
  } else {
    scf.yield %other : tensor<4xf32>
  }
  %1 = bufferization.materialize_in_destination %0 in %out : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %1 : tensor<4xf32>
}

// A value in between that something else reads must survive.
// CHECK-LABEL: func.func @in_between
// CHECK: bufferization.materialize_in_destination
func.func @in_between(%x: f32, %y: f32, %out: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %c0 = arith.constant 0 : index
  %e = tensor.empty() : tensor<4xf32>
  %0 = linalg.fill ins(%x : f32) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  %1 = tensor.insert %y into %0[%c0] : tensor<4xf32>
  %2 = bufferization.materialize_in_destination %1 in %out : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %2, %0 : tensor<4xf32>, tensor<4xf32>
}

// A copy of a value that is there already stays a copy.
// CHECK-LABEL: func.func @copied
// CHECK: %[[C:.+]] = linalg.copy
// CHECK: bufferization.materialize_in_destination %[[C]] in %arg1
func.func @copied(%x: tensor<4xf32>, %out: tensor<4xf32>) -> tensor<4xf32> {
  %e = tensor.empty() : tensor<4xf32>
  %0 = linalg.copy ins(%x : tensor<4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  %1 = bufferization.materialize_in_destination %0 in %out : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %1 : tensor<4xf32>
}

// The tile of a grid is built in its place.
// CHECK-LABEL: func.func @tile
// CHECK: scf.forall (%[[I:.+]]) in (4) shared_outs(%[[O:.+]] = %arg1)
// CHECK: %[[S:.+]] = tensor.extract_slice %[[O]][%[[I]], 0] [1, 4] [1, 1]
// CHECK: %[[F:.+]] = linalg.fill ins(%arg0 : f32) outs(%[[S]] : tensor<1x4xf32>)
// CHECK: tensor.parallel_insert_slice %[[F]] into %[[O]][%[[I]], 0]
func.func @tile(%x: f32, %out: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %0 = scf.forall (%i) in (4) shared_outs(%o = %out) -> tensor<4x4xf32> {
    %e = tensor.empty() : tensor<1x4xf32>
    %1 = linalg.fill ins(%x : f32) outs(%e : tensor<1x4xf32>) -> tensor<1x4xf32>
    scf.forall.in_parallel {
      tensor.parallel_insert_slice %1 into %o[%i, 0] [1, 4] [1, 1] : tensor<1x4xf32> into tensor<4x4xf32>
    }
  }
  return %0 : tensor<4x4xf32>
}
