// RUN: v4-opt %s --pass-pipeline='builtin.module(func.func(v4-rotate-pairs,canonicalize))' | FileCheck %s

// Pairs are read as one vector, row by row; the columns before them are copied.
// CHECK-LABEL: func.func @heads
// CHECK: %[[COPY:.+]] = tensor.insert_slice %{{.*}} into %{{.*}}[0, 0, 0] [1, 2, 16] [1, 1, 1]
// CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 iter_args(%[[Y:.+]] = %[[COPY]])
// CHECK: %[[X:.+]] = vector.transfer_read %arg0[%{{.*}}, %{{.*}}, %c16], %{{.*}} : tensor<1x2x48xf32>, vector<32xf32>
// CHECK: %[[A:.+]], %[[B:.+]] = vector.deinterleave %[[X]] : vector<32xf32> -> vector<16xf32>
// CHECK: %[[COS:.+]] = vector.transfer_read %arg1
// CHECK: %[[SIN:.+]] = vector.transfer_read %arg1
// CHECK-DAG: %[[AC:.+]] = arith.mulf %[[A]], %[[COS]]
// CHECK-DAG: %[[BS:.+]] = arith.mulf %[[B]], %[[SIN]]
// CHECK: %[[RE:.+]] = arith.subf %[[AC]], %[[BS]]
// CHECK-DAG: %[[BC:.+]] = arith.mulf %[[B]], %[[COS]]
// CHECK-DAG: %[[AS:.+]] = arith.mulf %[[A]], %[[SIN]]
// CHECK: %[[IM:.+]] = arith.addf %[[BC]], %[[AS]]
// CHECK: %[[R:.+]] = vector.interleave %[[RE]], %[[IM]] : vector<16xf32> -> vector<32xf32>
// CHECK: vector.transfer_write %[[R]], %[[Y]]
func.func @heads(%x: tensor<1x2x48xf32>, %t: tensor<1x2x16xf32>) -> tensor<1x2x48xf32> {
  %0 = v4.rope %x, %t : (tensor<1x2x48xf32>, tensor<1x2x16xf32>) -> tensor<1x2x48xf32>
  return %0 : tensor<1x2x48xf32>
}

// The inverse rotates back; a row of pairs alone copies nothing.
// CHECK-LABEL: func.func @inverse
// CHECK-NOT: tensor.insert_slice
// CHECK: arith.addf
// CHECK: arith.subf
// CHECK: vector.interleave
func.func @inverse(%x: tensor<1x8xf32>, %t: tensor<1x2x4xf32>) -> tensor<1x8xf32> {
  %0 = v4.rope %x, %t inverse : (tensor<1x8xf32>, tensor<1x2x4xf32>) -> tensor<1x8xf32>
  return %0 : tensor<1x8xf32>
}
