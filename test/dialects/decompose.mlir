// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: v4-opt %s --v4-decompose --canonicalize --cse --split-input-file | FileCheck %s
// The forms of decompositions that the schedules rely on: projected permutations, a parallel and contiguous innermost
// loop or a last reduction of at most 16, one row without a loop over rows.

// A tile of an fp8 linear: the scale row is widened, then the weight, then products into 16 lanes, then the lanes.
// CHECK-DAG: #[[$BLOCK:[a-z0-9]+]] = affine_map<(d0) -> (d0)>
// CHECK-DAG: #[[$WEIGHT:[a-z0-9]+]] = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>
// CHECK-DAG: #[[$SCALE:[a-z0-9]+]] = affine_map<(d0, d1, d2, d3) -> (d1)>
// CHECK-DAG: #[[$X:[a-z0-9]+]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d2, d3, d4)>
// CHECK-DAG: #[[$W:[a-z0-9]+]] = affine_map<(d0, d1, d2, d3, d4) -> (d1, d2, d3, d4)>
// CHECK-DAG: #[[$LANES:[a-z0-9]+]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d4)>
// CHECK-LABEL: func.func @linear_e4m3
// CHECK-NOT: scf.for
// CHECK: linalg.generic {indexing_maps = [#[[$BLOCK]], #[[$BLOCK]]]
// CHECK: arith.extf {{.*}} : f8E8M0FNU to f32
// CHECK: linalg.generic {indexing_maps = [#[[$WEIGHT]], #[[$SCALE]], #[[$WEIGHT]]], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
// CHECK-SAME: tensor<32x2x8x16xf8E4M3FN>, tensor<2xf32>
// CHECK: %[[WIDE:.+]] = arith.extf {{.*}} : f8E4M3FN to f32
// CHECK: arith.mulf %[[WIDE]], %{{[^ ]+}} : f32
// CHECK: linalg.generic {indexing_maps = [#[[$X]], #[[$W]], #[[$LANES]]], iterator_types = ["parallel", "parallel", "reduction", "reduction", "parallel"]}
// CHECK: arith.mulf {{.*}} fastmath<contract> : f32
// CHECK: arith.addf {{.*}} fastmath<contract> : f32
// CHECK: linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "reduction"]} ins(%{{.*}} : tensor<4x32x16xf32>)
func.func @linear_e4m3(%x: tensor<4x256xf32>, %w: tensor<32x256xf8E4M3FN>, %scale: tensor<1x2xf8E8M0FNU>) -> tensor<4x32xf32> {
  %y = v4.linear %x, %w scale %scale : (tensor<4x256xf32>, tensor<32x256xf8E4M3FN>, tensor<1x2xf8E8M0FNU>) -> tensor<4x32xf32>
  return %y : tensor<4x32xf32>
}

// -----

// Columns past the last whole block are a block of their own.
// CHECK-LABEL: func.func @linear_rest
// CHECK: tensor.expand_shape {{.*}} output_shape [8, 1, 8, 16]
// CHECK: tensor.expand_shape {{.*}} output_shape [8, 1, 6, 12]
func.func @linear_rest(%x: tensor<1x200xf32>, %w: tensor<8x200xf8E4M3FN>, %scale: tensor<1x2xf8E8M0FNU>) -> tensor<1x8xf32> {
  %y = v4.linear %x, %w scale %scale : (tensor<1x200xf32>, tensor<8x200xf8E4M3FN>, tensor<1x2xf8E8M0FNU>) -> tensor<1x8xf32>
  return %y : tensor<1x8xf32>
}

// -----

// A table is read one whole row at a time; a decode step multiplies one row per expert.
// CHECK-LABEL: func.func @grouped_linear
// CHECK-SAME: %[[W:[^ ]+]]: tensor<16x32x32xi8>, %[[SCALE:[^ ]+]]: tensor<16x32x2xf8E8M0FNU>
// CHECK: scf.for
// CHECK: scf.if
// CHECK-DAG: tensor.extract_slice %[[W]][%[[E:[^,]+]], 0, 0] [1, 32, 32] [1, 1, 1] : tensor<16x32x32xi8> to tensor<32x32xi8>
// CHECK-DAG: tensor.extract_slice %[[SCALE]][%[[E]], 0, 0] [1, 32, 2] [1, 1, 1]
// CHECK: scf.for
// CHECK-NOT: scf.for
// CHECK-NOT: %[[W]]{{[^0-9]}}
// CHECK-NOT: %[[SCALE]]{{[^0-9]}}
// CHECK: return
func.func @grouped_linear(%x: tensor<1x64xf32>, %w: tensor<16x32x32xi8>, %scale: tensor<16x32x2xf8E8M0FNU>,
                          %experts: tensor<2xi32>, %offsets: tensor<3xi32>, %rows: tensor<2xi32>) -> tensor<2x32xf32> {
  %y = v4.grouped_linear %x, %w scale %scale experts %experts, %offsets rows %rows
      : (tensor<1x64xf32>, tensor<16x32x32xi8>, tensor<16x32x2xf8E8M0FNU>, tensor<2xi32>, tensor<3xi32>, tensor<2xi32>)
      -> tensor<2x32xf32>
  return %y : tensor<2x32xf32>
}

// -----

// Copies of rows are loops over columns, which canonicalization leaves alone.
// CHECK-LABEL: func.func @one_row
// CHECK-NOT: scf.for
// CHECK: tensor.extract %
// CHECK: %[[ROW:.+]] = tensor.extract_slice {{.*}} : tensor<32x64xf32> to tensor<64xf32>
// CHECK: linalg.generic {{.*}} ins(%[[ROW]] : tensor<64xf32>) outs(%{{.*}} : tensor<1x64xf32>)
// CHECK-NOT: scf.for
// CHECK: return
func.func @one_row(%id: tensor<1xi32>, %table: tensor<32x64xf32>) -> tensor<1x64xf32> {
  %y = v4.embed %id, %table : (tensor<1xi32>, tensor<32x64xf32>) -> tensor<1x64xf32>
  return %y : tensor<1x64xf32>
}

// -----

// Keys are visited up to the number that the row sees, in blocks; the only other loop gathers a block.
// CHECK-LABEL: func.func @attention
// CHECK-DAG: %[[STEP:.+]] = arith.constant 32 : index
// CHECK: scf.for {{.*}} step %[[STEP]] iter_args
// CHECK: scf.for
// CHECK: scf.for {{.*}} step %[[STEP]] iter_args
// CHECK: scf.for
// CHECK-NOT: scf.for
// CHECK: return
func.func @attention(%q: tensor<1x16x64xf32>, %ring: tensor<128x64xf32>, %sink: tensor<16xf32>, %position: tensor<1xi32>,
                     %span: tensor<2xi32>, %entries: tensor<1024x64xf32>, %selected: tensor<1x64xi32>) -> tensor<1x16x64xf32> {
  %y = v4.sparse_attention %q, %ring, %sink, %position, %span entries %entries ratio 4 selected %selected window 128 scale 0.125
      : (tensor<1x16x64xf32>, tensor<128x64xf32>, tensor<16xf32>, tensor<1xi32>, tensor<2xi32>, tensor<1024x64xf32>,
         tensor<1x64xi32>) -> tensor<1x16x64xf32>
  return %y : tensor<1x16x64xf32>
}

// -----

// Keys that the row does not see cost nothing.
// CHECK-LABEL: func.func @hidden_keys
// CHECK: scf.if
// CHECK: linalg.generic
// CHECK: } else {
// CHECK-NEXT: scf.yield %{{.*}} : tensor<1x64xf32>
func.func @hidden_keys(%q: tensor<1x4x32xf32>, %weights: tensor<1x4xf32>, %keys: tensor<64x32xf32>, %position: tensor<1xi32>,
                       %first: index) -> tensor<1x64xf32> {
  %scores = v4.index_scores %q, %weights, %keys, %position first_key %first ratio 4 scale 1.0
      : (tensor<1x4x32xf32>, tensor<1x4xf32>, tensor<64x32xf32>, tensor<1xi32>, index) -> tensor<1x64xf32>
  return %scores : tensor<1x64xf32>
}

// -----

// The even and the odd columns for fp4 are copied for so many rows at a time as a workgroup's stack has room for.
// CHECK-LABEL: func.func @linear_many_rows
// CHECK: scf.for {{.*}} = %c0{{.*}} to %c12{{.*}}
// CHECK: tensor.extract_slice {{.*}} : tensor<100x4096xf32> to tensor<8x4096xf32>
// CHECK: tensor.empty() : tensor<8x2048xf32>
// CHECK: scf.yield
// CHECK: tensor.extract_slice {{.*}}[96, 0] [4, 4096] [1, 1] : tensor<100x4096xf32> to tensor<4x4096xf32>
// CHECK-NOT: tensor<100x2048xf32>
func.func @linear_many_rows(%x: tensor<100x4096xf32>, %w: tensor<40x2048xi8>, %scale: tensor<40x128xf8E8M0FNU>) -> tensor<100x40xf32> {
  %y = v4.linear %x, %w scale %scale : (tensor<100x4096xf32>, tensor<40x2048xi8>, tensor<40x128xf8E8M0FNU>) -> tensor<100x40xf32>
  return %y : tensor<100x40xf32>
}
