// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: v4-opt %s --v4-form-groups --v4-stage-tiles --v4-stage-buffers | FileCheck %s
// The states of slots are updated in place: the stage's verifier refuses copies of a state and of one slot of it, and no
// kernel holds a buffer of a slot's size. One workgroup per slot.

// CHECK-LABEL: func.func @window_append_0
// CHECK: scf.forall (%{{.*}}) in (8)
// CHECK-NOT: alloc
// CHECK-NOT: memref.copy
// CHECK: return
// CHECK-LABEL: func.func @compress_0
// CHECK-NOT: alloc{{.*}}<8x1024xf32>
// CHECK: scf.forall (%{{.*}}) in (8)
// CHECK-NOT: alloc{{.*}}<8x1024xf32>
// CHECK: return
// CHECK-LABEL: func.func @cache_append_0
// CHECK: scf.forall (%{{.*}}) in (8)
// CHECK-NOT: alloc
// CHECK-NOT: memref.copy
// CHECK: return
// Sizes that are no powers of two.
// CHECK-LABEL: func.func @compress_1
// CHECK-NOT: alloc{{.*}}<12x72xf32>
// CHECK: scf.forall (%{{.*}}) in (3)
// CHECK-NOT: alloc{{.*}}<12x72xf32>
// CHECK: return

func.func @overlapping(%kv: tensor<8x512xf32>, %wide: tensor<8x1024xf32>, %gate: tensor<8x1024xf32>, %ape: tensor<4x1024xf32>, %span: tensor<8x2xi32> {v4.input = "span"},
                  %ring: tensor<8x8x512xf32> {v4.state = #v4.state<"ring", window>},
                  %cache: tensor<8x256x512xf32> {v4.state = #v4.state<"cache", entries, ratio = 4>},
                  %kv_rows: tensor<8x8x1024xf32> {v4.state = #v4.state<"kv", kv_rows, ratio = 4, overlap = true>},
                  %score_rows: tensor<8x8x1024xf32> {v4.state = #v4.state<"score", score_rows, ratio = 4, overlap = true>})
    -> (tensor<8x8x512xf32> {v4.state = #v4.state<"ring", window>},
        tensor<8x256x512xf32> {v4.state = #v4.state<"cache", entries, ratio = 4>},
        tensor<8x8x1024xf32> {v4.state = #v4.state<"kv", kv_rows, ratio = 4, overlap = true>},
        tensor<8x8x1024xf32> {v4.state = #v4.state<"score", score_rows, ratio = 4, overlap = true>})
    attributes {v4.entry = "decode", v4.rows = 8} {
  %ring1 = v4.window_append %kv, %ring, %span : (tensor<8x512xf32>, tensor<8x8x512xf32>, tensor<8x2xi32>) -> tensor<8x8x512xf32>
  %at = v4.entry_positions %span ratio 4 : (tensor<8x2xi32>) -> tensor<8xi32>
  %entries, %kv1, %score1 = v4.compress %wide, %gate, %ape, %kv_rows, %score_rows, %span ratio 4 overlap
      : (tensor<8x1024xf32>, tensor<8x1024xf32>, tensor<4x1024xf32>, tensor<8x8x1024xf32>, tensor<8x8x1024xf32>, tensor<8x2xi32>)
      -> (tensor<8x512xf32>, tensor<8x8x1024xf32>, tensor<8x8x1024xf32>)
  %cache1 = v4.cache_append %entries, %cache, %at ratio 4 : (tensor<8x512xf32>, tensor<8x256x512xf32>, tensor<8xi32>) -> tensor<8x256x512xf32>
  return %ring1, %cache1, %kv1, %score1 : tensor<8x8x512xf32>, tensor<8x256x512xf32>, tensor<8x8x1024xf32>, tensor<8x8x1024xf32>
}

func.func @odd(%kv: tensor<3x72xf32>, %wide: tensor<3x72xf32>, %gate: tensor<3x72xf32>, %ape: tensor<12x72xf32>, %span: tensor<3x2xi32> {v4.input = "span"},
                  %ring: tensor<3x8x72xf32> {v4.state = #v4.state<"ring", window>},
                  %cache: tensor<3x85x72xf32> {v4.state = #v4.state<"cache", entries, ratio = 12>},
                  %kv_rows: tensor<3x12x72xf32> {v4.state = #v4.state<"kv", kv_rows, ratio = 12>},
                  %score_rows: tensor<3x12x72xf32> {v4.state = #v4.state<"score", score_rows, ratio = 12>})
    -> (tensor<3x8x72xf32> {v4.state = #v4.state<"ring", window>},
        tensor<3x85x72xf32> {v4.state = #v4.state<"cache", entries, ratio = 12>},
        tensor<3x12x72xf32> {v4.state = #v4.state<"kv", kv_rows, ratio = 12>},
        tensor<3x12x72xf32> {v4.state = #v4.state<"score", score_rows, ratio = 12>})
    attributes {v4.entry = "decode", v4.rows = 3} {
  %ring1 = v4.window_append %kv, %ring, %span : (tensor<3x72xf32>, tensor<3x8x72xf32>, tensor<3x2xi32>) -> tensor<3x8x72xf32>
  %at = v4.entry_positions %span ratio 12 : (tensor<3x2xi32>) -> tensor<3xi32>
  %entries, %kv1, %score1 = v4.compress %wide, %gate, %ape, %kv_rows, %score_rows, %span ratio 12
      : (tensor<3x72xf32>, tensor<3x72xf32>, tensor<12x72xf32>, tensor<3x12x72xf32>, tensor<3x12x72xf32>, tensor<3x2xi32>)
      -> (tensor<3x72xf32>, tensor<3x12x72xf32>, tensor<3x12x72xf32>)
  %cache1 = v4.cache_append %entries, %cache, %at ratio 12 : (tensor<3x72xf32>, tensor<3x85x72xf32>, tensor<3xi32>) -> tensor<3x85x72xf32>
  return %ring1, %cache1, %kv1, %score1 : tensor<3x8x72xf32>, tensor<3x85x72xf32>, tensor<3x12x72xf32>, tensor<3x12x72xf32>
}
