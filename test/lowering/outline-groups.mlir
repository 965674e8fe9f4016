// RUN: v4-opt %s --v4-outline-groups | FileCheck %s

// Groups of the same structure share a kernel, whatever their names; each launch passes its own weight.
// CHECK-LABEL: func.func @shared
func.func @shared(%x: tensor<1x64xf32>, %w: tensor<32x64xbf16>, %v: tensor<32x64xbf16>) -> (tensor<1x32xf32>, tensor<1x32xf32>) {
  // CHECK: %[[OUT:.+]] = tensor.empty() : tensor<1x32xf32>
  // CHECK: %[[A:.+]] = v4.launch @rms_norm_linear_0 "a.wq" ins(%arg0, %arg1 : {{.*}}) outs(%[[OUT]] : tensor<1x32xf32>)
  // CHECK: %[[B:.+]] = v4.launch @rms_norm_linear_0 "b.wq" ins(%arg0, %arg2 : {{.*}})
  // CHECK: return %[[A]], %[[B]]
  %0 = v4.group "a.wq" -> tensor<1x32xf32> {
    %2 = v4.rms_norm %x eps 1.0e-6 {v4.name = "a.norm"} : (tensor<1x64xf32>) -> tensor<1x64xf32>
    %3 = v4.linear %2, %w {v4.name = "a.wq"} : (tensor<1x64xf32>, tensor<32x64xbf16>) -> tensor<1x32xf32>
    v4.yield %3 : tensor<1x32xf32>
  }
  %1 = v4.group "b.wq" -> tensor<1x32xf32> {
    %2 = v4.rms_norm %x eps 1.0e-6 {v4.name = "b.norm"} : (tensor<1x64xf32>) -> tensor<1x64xf32>
    %3 = v4.linear %2, %v {v4.name = "b.wq"} : (tensor<1x64xf32>, tensor<32x64xbf16>) -> tensor<1x32xf32>
    v4.yield %3 : tensor<1x32xf32>
  }
  return %0, %1 : tensor<1x32xf32>, tensor<1x32xf32>
}

// Another eps is another structure.
// CHECK-LABEL: func.func @different
func.func @different(%x: tensor<1x64xf32>) -> (tensor<1x64xf32>, tensor<1x64xf32>) {
  // CHECK: v4.launch @rms_norm_0 "n"
  // CHECK: v4.launch @rms_norm_1 "m"
  %0 = v4.group "n" -> tensor<1x64xf32> {
    %2 = v4.rms_norm %x eps 1.0e-6 : (tensor<1x64xf32>) -> tensor<1x64xf32>
    v4.yield %2 : tensor<1x64xf32>
  }
  %1 = v4.group "m" -> tensor<1x64xf32> {
    %2 = v4.rms_norm %x eps 1.0e-5 : (tensor<1x64xf32>) -> tensor<1x64xf32>
    v4.yield %2 : tensor<1x64xf32>
  }
  return %0, %1 : tensor<1x64xf32>, tensor<1x64xf32>
}

// A state that is updated in place is an output, not an input.
// CHECK-LABEL: func.func @state
func.func @state(%kv: tensor<1x64xf32>, %ring: tensor<8x64xf32>, %span: tensor<2xi32>) -> tensor<8x64xf32> {
  // CHECK-NOT: tensor.empty
  // CHECK: v4.launch @window_append_0 "append" ins(%arg0, %arg2 : {{.*}}) outs(%arg1 : tensor<8x64xf32>)
  %0 = v4.group "append" -> tensor<8x64xf32> {
    %1 = v4.window_append %kv, %ring, %span : (tensor<1x64xf32>, tensor<8x64xf32>, tensor<2xi32>) -> tensor<8x64xf32>
    v4.yield %1 : tensor<8x64xf32>
  }
  return %0 : tensor<8x64xf32>
}

// CHECK-LABEL: func.func @experts
func.func @experts(%x: tensor<2x64xf32>, %w: tensor<4x32x64xbf16>, %e: tensor<4xi32>, %o: tensor<5xi32>, %r: tensor<4xi32>) -> tensor<4x32xf32> {
  %0 = v4.group "experts.w1" -> tensor<4x32xf32> {
    %1 = v4.grouped_linear %x, %w experts %e, %o rows %r : (tensor<2x64xf32>, tensor<4x32x64xbf16>, tensor<4xi32>, tensor<5xi32>, tensor<4xi32>) -> tensor<4x32xf32>
    v4.yield %1 : tensor<4x32xf32>
  }
  return %0 : tensor<4x32xf32>
}

// CHECK-LABEL: module @rms_norm_linear_0 attributes {v4.kernel} {
// CHECK-NEXT: func.func @rms_norm_linear_0(%arg0: tensor<1x64xf32> {bufferization.writable = false}, %arg1: tensor<32x64xbf16> {bufferization.writable = false}, %arg2: tensor<1x32xf32>) -> tensor<1x32xf32>
// CHECK-NOT: v4.name
// CHECK: return

// CHECK-LABEL: module @window_append_0
// CHECK-NEXT: func.func @window_append_0({{.*}}, %arg2: tensor<8x64xf32> {v4.tied})
// CHECK: v4.window_append %arg0, %arg2, %arg1

// The weights of experts are a table: rows anywhere in memory.
// CHECK-LABEL: module @grouped_linear_0 attributes {v4.kernel, v4.tables = array<i64: 1>}
