// RUN: v4-opt %s --v4-fuse-elementwise | FileCheck %s

#rows = affine_map<(m, n, k) -> (n, k)>
#x = affine_map<(m, n, k) -> (m, k)>
#y = affine_map<(m, n, k) -> (m, n)>
#id = affine_map<(i, j) -> (i, j)>

// A widened weight that all rows share is computed where it is read, and the result stays in its destination.
// CHECK-LABEL: func.func @widened(
// CHECK-SAME: %[[X:[^ ]+]]: tensor<4x64xf32>, %[[W:[^ ]+]]: tensor<8x64xbf16>, %[[Y:[^ ]+]]: tensor<4x8xf32>
// CHECK-NOT: linalg.generic
// CHECK: linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "reduction"]} ins(%[[X]], %[[W]] : {{.*}}) outs(%[[Y]] :
// CHECK: arith.extf
// CHECK: arith.mulf
// CHECK-NOT: linalg.generic
// CHECK: return
func.func @widened(%x: tensor<4x64xf32>, %w: tensor<8x64xbf16>, %y: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %e = tensor.empty() : tensor<8x64xf32>
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%w : tensor<8x64xbf16>) outs(%e : tensor<8x64xf32>) {
  ^bb0(%a: bf16, %b: f32):
    %1 = arith.extf %a : bf16 to f32
    linalg.yield %1 : f32
  } -> tensor<8x64xf32>
  %2 = linalg.generic {indexing_maps = [#x, #rows, #y], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%x, %0 : tensor<4x64xf32>, tensor<8x64xf32>) outs(%y : tensor<4x8xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %3 = arith.mulf %a, %b : f32
    %4 = arith.addf %c, %3 : f32
    linalg.yield %4 : f32
  } -> tensor<4x8xf32>
  return %2 : tensor<4x8xf32>
}

// An exponential that several results need is computed once.
// CHECK-LABEL: func.func @costly(
// CHECK-COUNT-2: linalg.generic
// CHECK: return
func.func @costly(%x: tensor<4x64xf32>, %w: tensor<8x64xf32>, %y: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %e = tensor.empty() : tensor<8x64xf32>
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%w : tensor<8x64xf32>) outs(%e : tensor<8x64xf32>) {
  ^bb0(%a: f32, %b: f32):
    %1 = math.exp %a : f32
    linalg.yield %1 : f32
  } -> tensor<8x64xf32>
  %2 = linalg.generic {indexing_maps = [#x, #rows, #y], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%x, %0 : tensor<4x64xf32>, tensor<8x64xf32>) outs(%y : tensor<4x8xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %3 = arith.mulf %a, %b : f32
    %4 = arith.addf %c, %3 : f32
    linalg.yield %4 : f32
  } -> tensor<4x8xf32>
  return %2 : tensor<4x8xf32>
}

// What two ops read stays.
// CHECK-LABEL: func.func @twice(
// CHECK-COUNT-3: linalg.generic
// CHECK: return
func.func @twice(%x: tensor<4x64xf32>, %y: tensor<4x64xf32>, %z: tensor<4x64xf32>) -> (tensor<4x64xf32>, tensor<4x64xf32>) {
  %e = tensor.empty() : tensor<4x64xf32>
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<4x64xf32>) outs(%e : tensor<4x64xf32>) {
  ^bb0(%a: f32, %b: f32):
    %1 = arith.negf %a : f32
    linalg.yield %1 : f32
  } -> tensor<4x64xf32>
  %2 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%0 : tensor<4x64xf32>) outs(%y : tensor<4x64xf32>) {
  ^bb0(%a: f32, %b: f32):
    %3 = arith.mulf %a, %a : f32
    linalg.yield %3 : f32
  } -> tensor<4x64xf32>
  %4 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%0 : tensor<4x64xf32>) outs(%z : tensor<4x64xf32>) {
  ^bb0(%a: f32, %b: f32):
    %5 = arith.addf %a, %a : f32
    linalg.yield %5 : f32
  } -> tensor<4x64xf32>
  return %2, %4 : tensor<4x64xf32>, tensor<4x64xf32>
}
