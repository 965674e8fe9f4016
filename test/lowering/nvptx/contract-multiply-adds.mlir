// RUN: v4-opt %s --v4-contract-multiply-adds | FileCheck %s

// CHECK-LABEL: func.func @contracted(%arg0: f32, %arg1: f32, %arg2: f32)
// CHECK-NEXT: %[[FMA:.+]] = math.fma %arg0, %arg1, %arg2 : f32
// CHECK-NEXT: return %[[FMA]]
func.func @contracted(%a: f32, %b: f32, %c: f32) -> f32 {
  %0 = arith.mulf %a, %b fastmath<contract> : f32
  %1 = arith.addf %c, %0 fastmath<contract> : f32
  return %1 : f32
}

// Without the flags, or where the product has another use, both operations round; no flag is left for a back end to act on.
// CHECK-LABEL: func.func @separate(
// CHECK-NEXT: %[[P:.+]] = arith.mulf %arg0, %arg1 : f32
// CHECK-NEXT: %[[Q:.+]] = arith.mulf %arg0, %arg2 : f32
// CHECK-NEXT: arith.addf %arg2, %[[P]] : f32
// CHECK-NEXT: %[[S:.+]] = arith.addf %arg1, %[[Q]] : f32
// CHECK-NEXT: return %{{.+}}, %[[S]], %[[Q]]
func.func @separate(%a: f32, %b: f32, %c: f32) -> (f32, f32, f32) {
  %0 = arith.mulf %a, %b : f32
  %1 = arith.mulf %a, %c fastmath<contract> : f32
  %2 = arith.addf %c, %0 fastmath<contract> : f32
  %3 = arith.addf %b, %1 fastmath<contract> : f32
  return %2, %3, %1 : f32, f32, f32
}
