// RUN: v4-opt %s --v4-form-groups=strategy=none | FileCheck %s --check-prefixes=CHECK,NONE
// RUN: v4-opt %s --v4-form-groups=strategy=basic | FileCheck %s --check-prefixes=CHECK,BASIC
// RUN: v4-opt %s --v4-form-groups --remarks-filter='v4.*' --remark-format=emitRemark 2>&1 | FileCheck %s --check-prefix=REMARK
// RUN: v4-opt %s --v4-form-groups | v4-opt --v4-form-groups=strategy=none | FileCheck %s --check-prefixes=CHECK,BASIC

// A norm joins its only consumer.
// CHECK-LABEL: func.func @chain
func.func @chain(%x: tensor<4x64xf32>, %w: tensor<32x64xbf16>) -> tensor<4x32xf32> {
  // NONE: %[[N:.+]] = v4.group "a.norm" -> tensor<4x64xf32> {
  // NONE-NEXT: v4.rms_norm
  // NONE-NEXT: v4.yield
  // NONE: %[[L:.+]] = v4.group "a.wq" -> tensor<4x32xf32> {
  // NONE-NEXT: v4.linear %[[N]], %{{.*}}
  // BASIC: %[[L:.+]] = v4.group "a.wq" -> tensor<4x32xf32> {
  // BASIC-NEXT: %[[N:.+]] = v4.rms_norm %arg0
  // BASIC-NEXT: %[[Y:.+]] = v4.linear %[[N]], %arg1
  // BASIC-NEXT: v4.yield %[[Y]] : tensor<4x32xf32>
  // CHECK: return %[[L]]
  // REMARK: remark: [Passed] fused | Category:v4.fusion | into=a.wq, op=a.norm
  %0 = v4.rms_norm %x eps 1.0e-6 {v4.name = "a.norm"} : (tensor<4x64xf32>) -> tensor<4x64xf32>
  %1 = v4.linear %0, %w {v4.name = "a.wq"} : (tensor<4x64xf32>, tensor<32x64xbf16>) -> tensor<4x32xf32>
  return %1 : tensor<4x32xf32>
}

// With two consumers it would be computed twice.
// CHECK-LABEL: func.func @shared
func.func @shared(%x: tensor<4x64xf32>, %w: tensor<32x64xbf16>) -> (tensor<4x32xf32>, tensor<4x32xf32>) {
  // CHECK: v4.group "b.norm"
  // CHECK: v4.group "b.wq"
  // CHECK: v4.group "b.wk"
  // REMARK: remark: [Missed] cost.recompute | Category:v4.fusion | consumers=2, op=b.norm
  %0 = v4.rms_norm %x eps 1.0e-6 {v4.name = "b.norm"} : (tensor<4x64xf32>) -> tensor<4x64xf32>
  %1 = v4.linear %0, %w {v4.name = "b.wq"} : (tensor<4x64xf32>, tensor<32x64xbf16>) -> tensor<4x32xf32>
  %2 = v4.linear %0, %w {v4.name = "b.wk"} : (tensor<4x64xf32>, tensor<32x64xbf16>) -> tensor<4x32xf32>
  return %1, %2 : tensor<4x32xf32>, tensor<4x32xf32>
}

// The views between fused ops come along; a linear never joins what reads it. An op without a name names its group.
// CHECK-LABEL: func.func @views
func.func @views(%x: tensor<4x64xf32>, %w: tensor<32x64xbf16>, %t: tensor<4x2x4xf32>) -> tensor<4x2x16xf32> {
  // BASIC: %[[L:.+]] = v4.group "linear" -> tensor<4x32xf32>
  // BASIC: %[[E:.+]] = tensor.expand_shape %[[L]]
  // BASIC: v4.group "rope" -> tensor<4x2x16xf32> {
  // BASIC-NEXT: %[[N:.+]] = v4.rms_norm %[[E]]
  // BASIC-NEXT: v4.rope %[[N]]
  // NONE: v4.group "linear"
  // NONE: tensor.expand_shape
  // NONE: v4.group "rms_norm"
  // NONE: v4.group "rope"
  %0 = v4.linear %x, %w : (tensor<4x64xf32>, tensor<32x64xbf16>) -> tensor<4x32xf32>
  %1 = tensor.expand_shape %0 [[0], [1, 2]] output_shape [4, 2, 16] : tensor<4x32xf32> into tensor<4x2x16xf32>
  %2 = v4.rms_norm %1 eps 1.0e-6 : (tensor<4x2x16xf32>) -> tensor<4x2x16xf32>
  %3 = v4.rope %2, %t : (tensor<4x2x16xf32>, tensor<4x2x4xf32>) -> tensor<4x2x16xf32>
  return %3 : tensor<4x2x16xf32>
}

// A view between two members of a group is inside it.
// CHECK-LABEL: func.func @view_inside
func.func @view_inside(%x: tensor<4x32xf32>, %w: tensor<2x8x16xbf16>) -> tensor<4x2x8xf32> {
  // BASIC: v4.group "wo" -> tensor<4x2x8xf32> {
  // BASIC-NEXT: v4.rms_norm
  // BASIC-NEXT: tensor.expand_shape
  // BASIC-NEXT: v4.linear
  %0 = v4.rms_norm %x eps 1.0e-6 : (tensor<4x32xf32>) -> tensor<4x32xf32>
  %1 = tensor.expand_shape %0 [[0], [1, 2]] output_shape [4, 2, 16] : tensor<4x32xf32> into tensor<4x2x16xf32>
  %2 = v4.linear %1, %w {v4.name = "wo"} : (tensor<4x2x16xf32>, tensor<2x8x16xbf16>) -> tensor<4x2x8xf32>
  return %2 : tensor<4x2x8xf32>
}

// A result of the function is a consumer too.
// CHECK-LABEL: func.func @returned
func.func @returned(%x: tensor<4x64xf32>, %w: tensor<32x64xbf16>) -> (tensor<4x64xf32>, tensor<4x32xf32>) {
  // CHECK: v4.group "norm" -> tensor<4x64xf32>
  // CHECK: v4.group "wq" -> tensor<4x32xf32>
  %0 = v4.rms_norm %x eps 1.0e-6 {v4.name = "norm"} : (tensor<4x64xf32>) -> tensor<4x64xf32>
  %1 = v4.linear %0, %w {v4.name = "wq"} : (tensor<4x64xf32>, tensor<32x64xbf16>) -> tensor<4x32xf32>
  return %0, %1 : tensor<4x64xf32>, tensor<4x32xf32>
}
