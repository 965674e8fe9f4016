// RUN: v4-opt %s --pass-pipeline='builtin.module(func.func(v4-apply-schedule))' | FileCheck %s
// RUN: v4-opt %s --pass-pipeline='builtin.module(func.func(v4-apply-schedule{schedule=%S/Inputs/schedule.mlir}))' | FileCheck %s --check-prefix=OTHER

// Lanes of up to 64 along the last dimension, row by row.
// CHECK-LABEL: func.func @elementwise
// CHECK: scf.for %[[I:.+]] = %c0 to %c4 step %c1
// CHECK: scf.for %[[J:.+]] = %c0 to %c128 step %c64
// CHECK: vector.transfer_read %arg0[%[[I]], %[[J]]]{{.*}} vector<1x64xf32>
// CHECK: arith.addf {{.*}} : vector<1x64xf32>
// CHECK-NOT: linalg
// Another schedule is used in its place: it only tiles.
// OTHER-LABEL: func.func @elementwise
// OTHER: scf.for
// OTHER: linalg.generic {{.*}} ins(%{{.*}} : tensor<1x128xf32>)
func.func @elementwise(%x: tensor<4x128xf32>, %y: tensor<4x128xf32>) -> tensor<4x128xf32> {
  %0 = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<4x128xf32>) outs(%y : tensor<4x128xf32>) {
  ^bb0(%a: f32, %b: f32):
    %1 = arith.addf %a, %a : f32
    linalg.yield %1 : f32
  } -> tensor<4x128xf32>
  return %0 : tensor<4x128xf32>
}

// Trip counts with no large divisor get the largest there is: every tile has one static shape.
// CHECK-LABEL: func.func @odd
// CHECK: step %c50
// CHECK: vector<1x50xf32>
// CHECK-NOT: linalg
// CHECK: return
// OTHER-LABEL: func.func @odd
func.func @odd(%x: tensor<3x100xf32>, %y: tensor<3x100xf32>) -> tensor<3x100xf32> {
  %0 = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<3x100xf32>) outs(%y : tensor<3x100xf32>) {
  ^bb0(%a: f32, %b: f32):
    %1 = arith.mulf %a, %a : f32
    linalg.yield %1 : f32
  } -> tensor<3x100xf32>
  return %0 : tensor<3x100xf32>
}

// Small ops are one vector.
// CHECK-LABEL: func.func @small
// CHECK-NOT: scf.for
// CHECK: arith.mulf {{.*}} : vector<2x8xf32>
// OTHER-LABEL: func.func @small
func.func @small(%x: tensor<2x8xf32>, %y: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %0 = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<2x8xf32>) outs(%y : tensor<2x8xf32>) {
  ^bb0(%a: f32, %b: f32):
    %1 = arith.mulf %a, %a : f32
    linalg.yield %1 : f32
  } -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}
