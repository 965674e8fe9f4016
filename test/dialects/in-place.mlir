// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// DEFINE: %{bufferize} = one-shot-bufferize{bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map}
// RUN: v4-opt %s --pass-pipeline='builtin.module(v4-decompose,canonicalize,cse,eliminate-empty-tensors,%{bufferize},canonicalize,cse,canonicalize)' | FileCheck %s
// State is updated where it is: no buffer of its size is made and it is never copied as a whole.

// CHECK-LABEL: func.func @window_append_row
// CHECK-SAME: %{{[^ ]+}}: memref<1x8xf32>, %[[RING:[^ ]+]]: memref<128x8xf32>
// CHECK-NOT: memref.alloc
// CHECK-NOT: memref.copy
// CHECK: return %[[RING]]
func.func @window_append_row(%kv: tensor<1x8xf32>, %ring: tensor<128x8xf32>, %span: tensor<2xi32>) -> tensor<128x8xf32> {
  %y = v4.window_append %kv, %ring, %span : (tensor<1x8xf32>, tensor<128x8xf32>, tensor<2xi32>) -> tensor<128x8xf32>
  return %y : tensor<128x8xf32>
}

// CHECK-LABEL: func.func @window_append_rows
// CHECK-NOT: memref.alloc
// CHECK-NOT: memref.copy
// CHECK: return
func.func @window_append_rows(%kv: tensor<16x8xf32>, %ring: tensor<128x8xf32>, %span: tensor<2xi32>) -> tensor<128x8xf32> {
  %y = v4.window_append %kv, %ring, %span : (tensor<16x8xf32>, tensor<128x8xf32>, tensor<2xi32>) -> tensor<128x8xf32>
  return %y : tensor<128x8xf32>
}

// The old rows of the window are read before the ring is overwritten.
// CHECK-LABEL: func.func @window
// CHECK: memref.alloc() {{.*}} : memref<144x8xf32>
// CHECK-NOT: memref.alloc
// CHECK-NOT: memref.copy
// CHECK: return
func.func @window(%kv: tensor<16x8xf32>, %ring: tensor<128x8xf32>, %span: tensor<2xi32>) -> (tensor<144x8xf32>, tensor<128x8xf32>) {
  %context = v4.window_context %kv, %ring, %span : (tensor<16x8xf32>, tensor<128x8xf32>, tensor<2xi32>) -> tensor<144x8xf32>
  %y = v4.window_append %kv, %ring, %span : (tensor<16x8xf32>, tensor<128x8xf32>, tensor<2xi32>) -> tensor<128x8xf32>
  return %context, %y : tensor<144x8xf32>, tensor<128x8xf32>
}

// CHECK-LABEL: func.func @cache_append
// CHECK-NOT: memref.alloc
// CHECK-NOT: memref.copy
// CHECK: return
func.func @cache_append(%entries: tensor<4x8xf32>, %cache: tensor<1024x8xf32>, %positions: tensor<4xi32>) -> tensor<1024x8xf32> {
  %y = v4.cache_append %entries, %cache, %positions ratio 4
      : (tensor<4x8xf32>, tensor<1024x8xf32>, tensor<4xi32>) -> tensor<1024x8xf32>
  return %y : tensor<1024x8xf32>
}

// One token of a compressor: besides what the pooling of a complete block needs, only the block that becomes the
// previous one is held for a moment.
// CHECK-LABEL: func.func @compress_token
// CHECK-NOT: memref<8x16xf32> to memref<8x16xf32>
// CHECK-NOT: alloc{{.*}} : memref<8x16xf32>
// CHECK: return
func.func @compress_token(%kv: tensor<1x16xf32>, %gate: tensor<1x16xf32>, %ape: tensor<4x16xf32>, %kv_rows: tensor<8x16xf32>,
                          %score_rows: tensor<8x16xf32>, %span: tensor<2xi32>)
    -> (tensor<1x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>) {
  %entries, %kv1, %score1 = v4.compress %kv, %gate, %ape, %kv_rows, %score_rows, %span ratio 4 overlap
      : (tensor<1x16xf32>, tensor<1x16xf32>, tensor<4x16xf32>, tensor<8x16xf32>, tensor<8x16xf32>, tensor<2xi32>)
      -> (tensor<1x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>)
  return %entries, %kv1, %score1 : tensor<1x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>
}

// CHECK-LABEL: func.func @compress_rows
// CHECK-NOT: memref<8x16xf32> to memref<8x16xf32>
// CHECK-NOT: alloc{{.*}} : memref<8x16xf32>
// CHECK: return
func.func @compress_rows(%kv: tensor<16x16xf32>, %gate: tensor<16x16xf32>, %ape: tensor<4x16xf32>, %kv_rows: tensor<8x16xf32>,
                         %score_rows: tensor<8x16xf32>, %span: tensor<2xi32>)
    -> (tensor<4x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>) {
  %entries, %kv1, %score1 = v4.compress %kv, %gate, %ape, %kv_rows, %score_rows, %span ratio 4 overlap
      : (tensor<16x16xf32>, tensor<16x16xf32>, tensor<4x16xf32>, tensor<8x16xf32>, tensor<8x16xf32>, tensor<2xi32>)
      -> (tensor<4x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>)
  return %entries, %kv1, %score1 : tensor<4x8xf32>, tensor<8x16xf32>, tensor<8x16xf32>
}
