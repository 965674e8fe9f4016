// RUN: v4-opt %s --v4-decompose | FileCheck %s

// Nothing of the dialect is left but what holds the structure.
// CHECK-LABEL: func.func @ops
// CHECK-NOT: v4.
// CHECK: linalg.generic
// CHECK-NOT: v4.
// CHECK: return
func.func @ops(%x: tensor<4x64xf32>, %w: tensor<32x64xbf16>, %t: tensor<4x2x4xf32>) -> tensor<4x32xf32> {
  %0 = v4.rms_norm %x eps 1.0e-6 : (tensor<4x64xf32>) -> tensor<4x64xf32>
  %1 = v4.rope %0, %t : (tensor<4x64xf32>, tensor<4x2x4xf32>) -> tensor<4x64xf32>
  %2 = v4.linear %1, %w : (tensor<4x64xf32>, tensor<32x64xbf16>) -> tensor<4x32xf32>
  return %2 : tensor<4x32xf32>
}

// CHECK-LABEL: func.func @structure
func.func @structure(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  // CHECK: v4.group "g" -> tensor<4x64xf32> {
  // CHECK-NOT: v4.rms_norm
  // CHECK: v4.yield
  %0 = v4.group "g" -> tensor<4x64xf32> {
    %1 = v4.rms_norm %x eps 1.0e-6 : (tensor<4x64xf32>) -> tensor<4x64xf32>
    v4.yield %1 : tensor<4x64xf32>
  }
  return %0 : tensor<4x64xf32>
}

// Several results.
// CHECK-LABEL: func.func @results
// CHECK-NOT: v4.quantize
// CHECK: return %{{.*}}, %{{.*}} : tensor<2x128xf8E4M3FN>, tensor<2x1xf8E8M0FNU>
func.func @results(%x: tensor<2x128xf32>) -> (tensor<2x128xf8E4M3FN>, tensor<2x1xf8E8M0FNU>) {
  %0, %1 = v4.quantize %x format e4m3 block 128 : (tensor<2x128xf32>) -> (tensor<2x128xf8E4M3FN>, tensor<2x1xf8E8M0FNU>)
  return %0, %1 : tensor<2x128xf8E4M3FN>, tensor<2x1xf8E8M0FNU>
}
