// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: v4c %s --numerics=f32 -o %t.v4m
// A dense product of many rows with fp4 weights that are not packed (40 is no multiple of 16): what a workgroup copies
// of the rows fits its stack, of 4 MiB at most. The columns of all rows would need 8 MiB.
module attributes {v4.model = {hidden_size = 4096 : i64, layers = 1 : i64, logits_all = true, max_context = 8192 : i64,
    model_type = "bench", mtp = false, streams = 1 : i64, vocab_size = 40 : i64, experts_per_token = 0 : i64, eos_token = -1 : i64}} {
  func.func @prefill_512(
      %tokens: tensor<512xi32> {v4.input = "tokens"}, %positions: tensor<512xi32> {v4.input = "positions"},
      %span: tensor<2xi32> {v4.input = "span"},
      %embed: tensor<40x4096xbf16> {v4.weight = #v4.weight<"embed.weight", bf16, [40, 4096]>},
      %w: tensor<40x2048xi8> {v4.weight = #v4.weight<"w.weight", i8, [40, 2048]>},
      %s: tensor<40x128xf8E8M0FNU> {v4.weight = #v4.weight<"s.weight", f8E8M0FNU, [40, 128]>})
      -> (tensor<512x40xf32> {v4.output = "logits"}) attributes {v4.entry = "prefill", v4.rows = 512 : i64} {
    %x = v4.embed %tokens, %embed {v4.name = "embed"} : (tensor<512xi32>, tensor<40x4096xbf16>) -> tensor<512x4096xf32>
    %logits = v4.linear %x, %w scale %s {v4.name = "head"} : (tensor<512x4096xf32>, tensor<40x2048xi8>, tensor<40x128xf8E8M0FNU>) -> tensor<512x40xf32>
    return %logits : tensor<512x40xf32>
  }
}
