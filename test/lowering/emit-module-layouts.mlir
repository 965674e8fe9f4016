// Packed arguments are written with the shape that the checkpoint has, and their layout beside it.
// RUN: v4c %s --numerics=f32 --compile-from=kernels -o %t.v4m
// RUN: v4-dump %t.v4m | FileCheck %s
// CHECK: parameters 9,
// CHECK-NEXT: bf16 BF16 [48, 10] rows16 <- bf16 BF16 [48, 10] + 0
// CHECK-NEXT: fp8 F8_E4M3 [32, 24] rows16 <- fp8 F8_E4M3 [32, 24] + 0
// CHECK-NEXT: fp4 I8 [16, 20] rows16 <- fp4 I8 [16, 20] + 0
// CHECK-NEXT: f32 F32 [16, 3] rows16 <- f32 F32 [16, 3] + 0
// CHECK-NEXT: scale F8_E8M0 [16, 5] rows16 <- scale F8_E8M0 [16, 5] + 0
// CHECK-NEXT: groups BF16 [2, 16, 4] rows16 <- groups BF16 [32, 4] + 0
// CHECK-NEXT: experts.{e} I8 [3, 16, 8] table rows16 <- experts.{e} I8 [16, 8] + 0
// CHECK-NEXT: fused+256 BF16 [3, 16, 4] table rows16 <- fused BF16 [3, 64, 4] + 256
// The same bytes for kernels that want them as they are: another parameter.
// CHECK-NEXT: bf16:48:10 BF16 [48, 10] as-stored <- bf16 BF16 [48, 10] + 0
module attributes {v4.model = {model_type = "m", vocab_size = 8 : i64, hidden_size = 4 : i64, streams = 1 : i64, layers = 1 : i64, max_context = 8 : i64}} {
  module @k attributes {v4.kernel} {
    llvm.func @k.0(%x: !llvm.ptr, %y: !llvm.ptr, %i: i64) attributes {v4.grid = 1 : i64} {
      llvm.return
    }
  }
  func.func @decode(%tokens: memref<1xi32> {v4.input = "tokens"}, %positions: memref<1xi32> {v4.input = "positions"}, %span: memref<2xi32> {v4.input = "span"},
      %bf16: memref<3x5x16x2xbf16> {v4.weight = #v4.weight<"bf16", bf16, [48, 10]>, v4.layout = "rows16"},
      %fp8: memref<2x6x16x4xf8E4M3FN> {v4.weight = #v4.weight<"fp8", f8E4M3FN, [32, 24]>, v4.layout = "rows16"},
      %fp4: memref<1x5x16x4xi8> {v4.weight = #v4.weight<"fp4", i8, [16, 20]>, v4.layout = "rows16"},
      %f32: memref<1x3x16x1xf32> {v4.weight = #v4.weight<"f32", f32, [16, 3]>, v4.layout = "rows16"},
      %scale: memref<1x5x16xf8E8M0FNU> {v4.weight = #v4.weight<"scale", f8E8M0FNU, [16, 5]>, v4.layout = "rows16"},
      %groups: memref<2x1x2x16x2xbf16> {v4.weight = #v4.weight<"groups", bf16, [32, 4]>, v4.layout = "rows16"},
      %experts: memref<3x1x2x16x4xi8> {v4.weight = #v4.weight<"experts.{e}", i8, [16, 8]>, v4.layout = "rows16"},
      %fused: memref<3x1x2x16x2xbf16> {v4.weight = #v4.weight<"fused", bf16, [3, 64, 4] offset = 256 stride = 512>, v4.layout = "rows16"},
      %stored: memref<48x10xbf16> {v4.weight = #v4.weight<"bf16", bf16, [48, 10]>},
      %logits: memref<1x8xf32> {v4.output = "logits"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
    v4.launch @k "k" ins(%bf16 : memref<3x5x16x2xbf16>) outs(%logits : memref<1x8xf32>)
    return
  }
}
