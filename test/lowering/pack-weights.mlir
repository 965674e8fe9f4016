// RUN: v4-opt %s --v4-pack-weights --split-input-file | FileCheck %s

// A body's arguments follow those of the entries that call it. The norm's weight and the embedding stay.
// CHECK: func.func private @body(%{{.*}}: tensor<1x64xf32>, %{{.*}}: tensor<64xbf16>, %{{.*}}: tensor<2x32x16x2xbf16>, %{{.*}}: tensor<2x8x16x4xi8>, %{{.*}}: tensor<2x2x16xf8E8M0FNU>)
func.func private @body(%x: tensor<1x64xf32>, %n: tensor<64xbf16>, %w: tensor<32x64xbf16>, %q: tensor<32x32xi8>,
                        %s: tensor<32x2xf8E8M0FNU>) -> (tensor<1x32xf32>, tensor<1x32xf32>) {
  %0:2 = v4.group "a" -> tensor<1x32xf32>, tensor<1x32xf32> {
    %1 = v4.rms_norm %x weight %n eps 1.0e-6 : (tensor<1x64xf32>, tensor<64xbf16>) -> tensor<1x64xf32>
    %2 = v4.linear %1, %w : (tensor<1x64xf32>, tensor<32x64xbf16>) -> tensor<1x32xf32>
    %3 = v4.linear %1, %q scale %s : (tensor<1x64xf32>, tensor<32x32xi8>, tensor<32x2xf8E8M0FNU>) -> tensor<1x32xf32>
    v4.yield %2, %3 : tensor<1x32xf32>, tensor<1x32xf32>
  }
  return %0#0, %0#1 : tensor<1x32xf32>, tensor<1x32xf32>
}
// CHECK: func.func @decode
// CHECK-SAME: tensor<64xbf16> {v4.weight = #v4.weight<"n"
// CHECK-SAME: tensor<2x32x16x2xbf16> {v4.layout = "rows16", v4.weight = #v4.weight<"w"
// CHECK-SAME: tensor<2x8x16x4xi8> {v4.layout = "rows16", v4.weight = #v4.weight<"q"
// CHECK-SAME: tensor<2x2x16xf8E8M0FNU> {v4.layout = "rows16", v4.weight = #v4.weight<"s"
func.func @decode(%x: tensor<1x64xf32>, %n: tensor<64xbf16> {v4.weight = #v4.weight<"n", bf16, [64]>},
                  %w: tensor<32x64xbf16> {v4.weight = #v4.weight<"w", bf16, [32, 64]>},
                  %q: tensor<32x32xi8> {v4.weight = #v4.weight<"q", i8, [32, 32]>},
                  %s: tensor<32x2xf8E8M0FNU> {v4.weight = #v4.weight<"s", f8E8M0FNU, [32, 2]>})
    -> (tensor<1x32xf32>, tensor<1x32xf32>) {
  // CHECK: call @body({{.*}}) : (tensor<1x64xf32>, tensor<64xbf16>, tensor<2x32x16x2xbf16>, tensor<2x8x16x4xi8>, tensor<2x2x16xf8E8M0FNU>)
  %0:2 = func.call @body(%x, %n, %w, %q, %s) : (tensor<1x64xf32>, tensor<64xbf16>, tensor<32x64xbf16>, tensor<32x32xi8>, tensor<32x2xf8E8M0FNU>) -> (tensor<1x32xf32>, tensor<1x32xf32>)
  return %0#0, %0#1 : tensor<1x32xf32>, tensor<1x32xf32>
}

// -----

// Groups are split before or after packing alike; experts are packed one by one; the scale of fp8 stays.
// CHECK: func.func @groups(%{{.*}}: tensor<1x2x64xf32>, %[[W:.*]]: tensor<4x16x16x4xf8E4M3FN> {v4.layout = "rows16"
// CHECK-SAME: tensor<2x1xf8E8M0FNU> {v4.weight
// CHECK-SAME: tensor<3x2x32x16x2xbf16> {v4.layout = "rows16"
func.func @groups(%x: tensor<1x2x64xf32>, %w: tensor<64x64xf8E4M3FN> {v4.weight = #v4.weight<"w", f8E4M3FN, [64, 64]>},
                  %s: tensor<2x1xf8E8M0FNU> {v4.weight = #v4.weight<"s", f8E8M0FNU, [2, 1]>}, %r: tensor<1x64xf32>,
                  %e: tensor<3x32x64xbf16> {v4.weight = #v4.weight<"e.{e}", bf16, [32, 64]>}, %list: tensor<1xi32>,
                  %offsets: tensor<2xi32>) -> (tensor<1x2x32xf32>, tensor<1x32xf32>) {
  // CHECK: tensor.expand_shape %[[W]] {{\[\[}}0, 1], [2], [3], [4]{{\]}} output_shape [2, 2, 16, 16, 4]
  %0 = tensor.expand_shape %w [[0, 1], [2]] output_shape [2, 32, 64] : tensor<64x64xf8E4M3FN> into tensor<2x32x64xf8E4M3FN>
  %1 = tensor.expand_shape %s [[0, 1], [2]] output_shape [2, 1, 1] : tensor<2x1xf8E8M0FNU> into tensor<2x1x1xf8E8M0FNU>
  %2 = v4.linear %x, %0 scale %1 : (tensor<1x2x64xf32>, tensor<2x32x64xf8E4M3FN>, tensor<2x1x1xf8E8M0FNU>) -> tensor<1x2x32xf32>
  %3 = v4.grouped_linear %r, %e experts %list, %offsets : (tensor<1x64xf32>, tensor<3x32x64xbf16>, tensor<1xi32>, tensor<2xi32>) -> tensor<1x32xf32>
  return %2, %3 : tensor<1x2x32xf32>, tensor<1x32xf32>
}

// -----

// Stay: rows that are no multiple of 16, a row of half a dword, a use that is no linear's, in another entry too, and the
// scale of a weight that stays.
// CHECK-NOT: rows16
func.func @decode(%x: tensor<1x64xf32>, %y: tensor<1x65xf32>, %ids: tensor<1xi32>,
                  %a: tensor<24x64xf32> {v4.weight = #v4.weight<"a", f32, [24, 64]>},
                  %b: tensor<32x65xbf16> {v4.weight = #v4.weight<"b", bf16, [32, 65]>},
                  %c: tensor<32x64xbf16> {v4.weight = #v4.weight<"c", bf16, [32, 64]>},
                  %d: tensor<32x64xbf16> {v4.weight = #v4.weight<"d", bf16, [32, 64]>},
                  %z: tensor<1x60xf32>, %q: tensor<16x30xi8> {v4.weight = #v4.weight<"q", i8, [16, 30]>},
                  %s: tensor<16x2xf8E8M0FNU> {v4.weight = #v4.weight<"s", f8E8M0FNU, [16, 2]>}) {
  %0 = v4.linear %x, %a : (tensor<1x64xf32>, tensor<24x64xf32>) -> tensor<1x24xf32>
  %1 = v4.linear %y, %b : (tensor<1x65xf32>, tensor<32x65xbf16>) -> tensor<1x32xf32>
  %2 = v4.linear %x, %c : (tensor<1x64xf32>, tensor<32x64xbf16>) -> tensor<1x32xf32>
  %3 = v4.embed %ids, %c : (tensor<1xi32>, tensor<32x64xbf16>) -> tensor<1x64xf32>
  %4 = v4.linear %x, %d : (tensor<1x64xf32>, tensor<32x64xbf16>) -> tensor<1x32xf32>
  %5 = v4.linear %z, %q scale %s : (tensor<1x60xf32>, tensor<16x30xi8>, tensor<16x2xf8E8M0FNU>) -> tensor<1x16xf32>
  return
}
func.func @prefill(%ids: tensor<1xi32>, %d: tensor<32x64xbf16> {v4.weight = #v4.weight<"d", bf16, [32, 64]>}) {
  %0 = v4.embed %ids, %d : (tensor<1xi32>, tensor<32x64xbf16>) -> tensor<1x64xf32>
  return
}
