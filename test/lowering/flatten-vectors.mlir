// RUN: v4-opt %s --v4-flatten-vectors | FileCheck %s

// Contiguous rows are one load.
// CHECK-LABEL: func.func @rows
// CHECK: %[[X:.+]] = memref.collapse_shape %arg0 {{\[\[}}0, 1]] : memref<16x2xf32> into memref<32xf32>
// CHECK: vector.transfer_read %[[X]]{{.*}} : memref<32xf32>, vector<32xf32>
// CHECK: %[[Y:.+]] = memref.collapse_shape %arg1
// CHECK: vector.transfer_write %{{.*}}, %[[Y]]{{.*}} : vector<32xf32>, memref<32xf32>
// CHECK-NOT: vector.transfer
func.func @rows(%x: memref<16x2xf32>, %y: memref<16x2xf32>) {
  %c0 = arith.constant 0 : index
  %p = arith.constant 0.0 : f32
  %0 = vector.transfer_read %x[%c0, %c0], %p {in_bounds = [true, true]} : memref<16x2xf32>, vector<16x2xf32>
  vector.transfer_write %0, %y[%c0, %c0] {in_bounds = [true, true]} : vector<16x2xf32>, memref<16x2xf32>
  return
}

// Rows with gaps stay.
// CHECK-LABEL: func.func @gaps
// CHECK: vector.transfer_read %arg0{{.*}}, vector<16x4xf32>
func.func @gaps(%x: memref<16x4xf32, strided<[8, 1]>>) -> vector<16x4xf32> {
  %c0 = arith.constant 0 : index
  %p = arith.constant 0.0 : f32
  %0 = vector.transfer_read %x[%c0, %c0], %p {in_bounds = [true, true]} : memref<16x4xf32, strided<[8, 1]>>, vector<16x4xf32>
  return %0 : vector<16x4xf32>
}

// A broadcast is a load and a broadcast.
// CHECK-LABEL: func.func @broadcast
// CHECK: %[[R:.+]] = vector.transfer_read %arg0{{.*}} : memref<16xf32>, vector<16xf32>
// CHECK: vector.broadcast %[[R]] : vector<16xf32> to vector<4x16xf32>
func.func @broadcast(%x: memref<16xf32>) -> vector<4x16xf32> {
  %c0 = arith.constant 0 : index
  %p = arith.constant 0.0 : f32
  %0 = vector.transfer_read %x[%c0], %p {in_bounds = [true, true], permutation_map = affine_map<(d0) -> (0, d0)>} : memref<16xf32>, vector<4x16xf32>
  return %0 : vector<4x16xf32>
}

// A single element stays as it is.
// CHECK-LABEL: func.func @one
// CHECK: vector.transfer_read %arg0{{.*}} : memref<16x2xf32>, vector<1x1xf32>
func.func @one(%x: memref<16x2xf32>) -> vector<1x1xf32> {
  %c0 = arith.constant 0 : index
  %p = arith.constant 0.0 : f32
  %0 = vector.transfer_read %x[%c0, %c0], %p {in_bounds = [true, true]} : memref<16x2xf32>, vector<1x1xf32>
  return %0 : vector<1x1xf32>
}
