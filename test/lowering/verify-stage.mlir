// RUN: v4-opt %s --v4-verify-stage=stage=graph
// RUN: v4-opt %s --v4-stage-graph --v4-stage-groups --v4-stage-tiles --v4-stage-buffers --v4-stage-kernels | FileCheck %s
// A graph passes every stage, and every stage ends in its verifier.

// CHECK: func.func @decode
// CHECK: v4.launch @linear_0
// CHECK: module @linear_0 attributes {v4.kernel}
// CHECK: llvm.func @linear_0.0
func.func @decode(%x: tensor<1x4x64xf32> {v4.input = "hidden"}, %w: tensor<256x256xbf16> {v4.weight = #v4.weight<"head.weight", bf16, [256, 256]>})
    -> (tensor<1x256xf32> {v4.output = "logits"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  %0 = tensor.collapse_shape %x [[0], [1, 2]] : tensor<1x4x64xf32> into tensor<1x256xf32>
  %1 = v4.linear %0, %w {v4.name = "head"} : (tensor<1x256xf32>, tensor<256x256xbf16>) -> tensor<1x256xf32>
  return %1 : tensor<1x256xf32>
}
