// RUN: v4-opt %s --pass-pipeline='builtin.module(func.func(v4-contract-multiply-adds))' | FileCheck %s

// Either side of the sum.
// CHECK-LABEL: func.func @both
// CHECK-SAME:    (%[[A:.*]]: f32, %[[B:.*]]: f32, %[[C:.*]]: f32)
// CHECK:         %[[LEFT:.*]] = math.fma %[[A]], %[[B]], %[[C]] : f32
// CHECK:         %[[RIGHT:.*]] = math.fma %[[A]], %[[LEFT]], %[[C]] : f32
// CHECK:         return %[[RIGHT]]
func.func @both(%a: f32, %b: f32, %c: f32) -> f32 {
  %0 = arith.mulf %a, %b fastmath<contract> : f32
  %1 = arith.addf %0, %c fastmath<contract> : f32
  %2 = arith.mulf %a, %1 fastmath<contract> : f32
  %3 = arith.addf %c, %2 fastmath<contract> : f32
  return %3 : f32
}

// Vectors, and a sum of two products: the first is taken in.
// CHECK-LABEL: func.func @vectors
// CHECK:         %[[OTHER:.*]] = arith.mulf %{{.*}}, %{{.*}} : vector<4xf32>
// CHECK-NEXT:    math.fma %{{.*}}, %{{.*}}, %[[OTHER]] : vector<4xf32>
func.func @vectors(%a: vector<4xf32>, %b: vector<4xf32>) -> vector<4xf32> {
  %0 = arith.mulf %a, %a fastmath<contract> : vector<4xf32>
  %1 = arith.mulf %a, %b fastmath<contract> : vector<4xf32>
  %2 = arith.addf %0, %1 fastmath<contract> : vector<4xf32>
  return %2 : vector<4xf32>
}

// Both ops must allow it. Flags do not stay, so that no back end contracts anything later.
// CHECK-LABEL: func.func @flags
// CHECK:         %[[P:.*]] = arith.mulf %{{.*}}, %{{.*}} : f32
// CHECK-NEXT:    arith.addf %[[P]], %{{.*}} : f32
// CHECK-NEXT:    %[[Q:.*]] = arith.mulf %{{.*}}, %{{.*}} : f32
// CHECK-NEXT:    arith.addf %[[Q]], %{{.*}} : f32
// CHECK-NOT:     contract
func.func @flags(%a: f32, %b: f32, %c: f32) -> (f32, f32) {
  %0 = arith.mulf %a, %b : f32
  %1 = arith.addf %0, %c fastmath<contract> : f32
  %2 = arith.mulf %b, %c fastmath<contract> : f32
  %3 = arith.addf %2, %a : f32
  return %1, %3 : f32, f32
}

// A product that is used twice would be computed twice.
// CHECK-LABEL: func.func @shared
// CHECK:         arith.mulf
// CHECK-NEXT:    arith.addf
func.func @shared(%a: f32, %b: f32, %c: f32) -> (f32, f32) {
  %0 = arith.mulf %a, %b fastmath<contract> : f32
  %1 = arith.addf %0, %c fastmath<contract> : f32
  return %0, %1 : f32, f32
}
