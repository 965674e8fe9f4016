// RUN: v4-opt %s --pass-pipeline='builtin.module(func.func(v4-form-phases,v4-decompose,v4-thread-destinations,canonicalize,cse,v4-apply-schedule))' | FileCheck %s
// A linear of many tokens is one contraction on register tiles of 4 tokens and 4 columns, whatever the weight's format:
// no loop over tokens around a product of matrix and vector.

// CHECK-LABEL: func.func @f32
// CHECK-NOT: arith.mulf
// CHECK: scf.for %{{.*}} = %c0 to %c16 step %c4
// CHECK-NOT: arith.mulf
// CHECK: arith.mulf {{.*}} fastmath<contract> : vector<4x4x1x1x16xf32>
// CHECK-NOT: arith.mulf
func.func @f32(%x: tensor<16x64xf32>, %w: tensor<96x64xf32>, %y: tensor<16x96xf32>) -> tensor<16x96xf32> {
  %0 = v4.linear %x, %w : (tensor<16x64xf32>, tensor<96x64xf32>) -> tensor<16x96xf32>
  return %0 : tensor<16x96xf32>
}

// CHECK-LABEL: func.func @bf16
// CHECK-NOT: arith.mulf
// CHECK: scf.for %{{.*}} = %c0 to %c128 step %c4
// CHECK-NOT: arith.mulf
// CHECK: arith.mulf {{.*}} fastmath<contract> : vector<4x4x1x1x16xf32>
// CHECK-NOT: arith.mulf
func.func @bf16(%x: tensor<128x64xf32>, %w: tensor<96x64xbf16>, %y: tensor<128x96xf32>) -> tensor<128x96xf32> {
  %0 = v4.linear %x, %w : (tensor<128x64xf32>, tensor<96x64xbf16>) -> tensor<128x96xf32>
  return %0 : tensor<128x96xf32>
}

// The scales of fp8 are applied to the widened weight, once for all tokens.
// CHECK-LABEL: func.func @fp8
// CHECK: arith.mulf {{.*}} : vector<1x1x1x16xf32>
// CHECK: scf.for %{{.*}} = %c0 to %c16 step %c4
// CHECK-NOT: arith.mulf
// CHECK: arith.mulf {{.*}} fastmath<contract> : vector<4x4x1x1x16xf32>
// CHECK-NOT: arith.mulf
func.func @fp8(%x: tensor<16x256xf32>, %w: tensor<128x256xf8E4M3FN>, %s: tensor<1x2xf8E8M0FNU>, %y: tensor<16x128xf32>) -> tensor<16x128xf32> {
  %0 = v4.linear %x, %w scale %s : (tensor<16x256xf32>, tensor<128x256xf8E4M3FN>, tensor<1x2xf8E8M0FNU>) -> tensor<16x128xf32>
  return %0 : tensor<16x128xf32>
}

// Groups: one contraction per group.
// CHECK-LABEL: func.func @groups
// CHECK: scf.forall (%{{.*}}, %{{.*}}) = (0, 0) to (2, 64) step (1, 32)
// CHECK-NOT: arith.mulf
// CHECK: arith.mulf {{.*}} fastmath<contract> : vector<4x4x1x1x16xf32>
// CHECK-NOT: arith.mulf
func.func @groups(%x: tensor<16x2x64xf32>, %w: tensor<2x64x64xbf16>, %y: tensor<16x2x64xf32>) -> tensor<16x2x64xf32> {
  %0 = v4.linear %x, %w : (tensor<16x2x64xf32>, tensor<2x64x64xbf16>) -> tensor<16x2x64xf32>
  return %0 : tensor<16x2x64xf32>
}
