// RUN: v4-opt %s --v4-form-phases | FileCheck %s

// The rows of a weight are cut; every tile sees all tokens.
// CHECK-LABEL: func.func @linear
// CHECK: v4.phase -> tensor<1x96xf32> {
// CHECK-NEXT: scf.forall (%[[I:.+]]) = (0) to (96) step (32) shared_outs(%[[O:.+]] = %arg2)
// CHECK: %[[W:.+]] = tensor.extract_slice %arg1[%[[I]], 0] [32, 64] [1, 1]
// CHECK: %[[Y:.+]] = v4.linear %arg0, %[[W]] : (tensor<1x64xf32>, tensor<32x64xf32>) -> tensor<1x32xf32>
// CHECK: tensor.parallel_insert_slice %[[Y]] into %[[O]][0, %[[I]]] [1, 32] [1, 1]
func.func @linear(%x: tensor<1x64xf32>, %w: tensor<96x64xf32>, %y: tensor<1x96xf32>) -> tensor<1x96xf32> {
  %0 = v4.linear %x, %w : (tensor<1x64xf32>, tensor<96x64xf32>) -> tensor<1x96xf32>
  return %0 : tensor<1x96xf32>
}

// Ops whose tiles line up share a grid, and the value between them never leaves its tile.
// CHECK-LABEL: func.func @shared_grid
// CHECK-COUNT-1: v4.phase
// CHECK: scf.forall (%[[I:.+]]) in (4)
// CHECK: %[[N:.+]] = v4.rms_norm %{{.*}} : (tensor<1x64xf32>) -> tensor<1x64xf32>
// CHECK: v4.rope %[[N]], %{{.*}} : (tensor<1x64xf32>, tensor<1x2x4xf32>) -> tensor<1x64xf32>
// CHECK-NOT: v4.phase
// CHECK: return
func.func @shared_grid(%x: tensor<4x64xf32>, %t: tensor<4x2x4xf32>, %y: tensor<4x64xf32>) -> tensor<4x64xf32> {
  %0 = v4.rms_norm %x eps 1.0e-6 : (tensor<4x64xf32>) -> tensor<4x64xf32>
  %1 = v4.rope %0, %t : (tensor<4x64xf32>, tensor<4x2x4xf32>) -> tensor<4x64xf32>
  return %1 : tensor<4x64xf32>
}

// A linear reads whole rows of all tokens, so it has to wait for them; the value between is a temporary of the kernel.
// CHECK-LABEL: func.func @two_phases
// CHECK: %[[T:.+]] = bufferization.alloc_tensor() : tensor<4x64xf32>
// CHECK: %[[P:.+]] = v4.phase -> tensor<4x64xf32> {
// CHECK: shared_outs(%{{.*}} = %[[T]])
// CHECK: v4.phase -> tensor<4x64xf32> {
// CHECK: scf.forall (%{{.*}}) = (0) to (64) step (32) shared_outs(%{{.*}} = %arg2)
// CHECK: v4.linear %[[P]], %{{.*}}
func.func @two_phases(%x: tensor<4x64xf32>, %w: tensor<64x64xf32>, %y: tensor<4x64xf32>) -> tensor<4x64xf32> {
  %0 = v4.rms_norm %x eps 1.0e-6 : (tensor<4x64xf32>) -> tensor<4x64xf32>
  %1 = v4.linear %0, %w : (tensor<4x64xf32>, tensor<64x64xf32>) -> tensor<4x64xf32>
  return %1 : tensor<4x64xf32>
}

// A state op is one workgroup, which writes the state itself.
// CHECK-LABEL: func.func @state
// CHECK: v4.phase
// CHECK-NEXT: %[[R:.+]] = v4.window_append %arg0, %arg2, %arg1
// CHECK-NEXT: bufferization.materialize_in_destination %[[R]] in %arg2
func.func @state(%kv: tensor<1x64xf32>, %span: tensor<2xi32>, %ring: tensor<8x64xf32>) -> tensor<8x64xf32> {
  %0 = v4.window_append %kv, %ring, %span : (tensor<1x64xf32>, tensor<8x64xf32>, tensor<2xi32>) -> tensor<8x64xf32>
  return %0 : tensor<8x64xf32>
}

// With slots it is one workgroup per slot, whose tile is the op without slots. The state is read from where it is written.
// CHECK-LABEL: func.func @slots
// CHECK: scf.forall (%[[S:.+]]) in (4) shared_outs(%[[O:.+]] = %arg2)
// CHECK-DAG: %[[KV:.+]] = tensor.extract_slice %arg0[%[[S]], 0] [1, 64] [1, 1] : tensor<4x64xf32> to tensor<1x64xf32>
// CHECK-DAG: %[[SLOT:.+]] = tensor.extract_slice %[[O]][%[[S]], 0, 0] [1, 8, 64] [1, 1, 1] : tensor<4x8x64xf32> to tensor<1x8x64xf32>
// CHECK-DAG: %[[RING:.+]] = tensor.collapse_shape %[[SLOT]] {{.*}} into tensor<8x64xf32>
// CHECK-DAG: %[[SPAN:.+]] = tensor.extract_slice %arg1[%[[S]], 0] [1, 2] [1, 1] : tensor<4x2xi32> to tensor<2xi32>
// CHECK: %[[R:.+]] = v4.window_append %[[KV]], %[[RING]], %[[SPAN]]
// CHECK: %[[E:.+]] = tensor.expand_shape %[[R]]
// CHECK: tensor.parallel_insert_slice %[[E]] into %[[O]][%[[S]], 0, 0] [1, 8, 64] [1, 1, 1]
func.func @slots(%kv: tensor<4x64xf32>, %span: tensor<4x2xi32>, %ring: tensor<4x8x64xf32>) -> tensor<4x8x64xf32> {
  %0 = v4.window_append %kv, %ring, %span
      : (tensor<4x64xf32>, tensor<4x8x64xf32>, tensor<4x2xi32>) -> tensor<4x8x64xf32>
  return %0 : tensor<4x8x64xf32>
}

// Attention is cut by slots and heads, index scores by slots and keys.
// CHECK-LABEL: func.func @slots_attention
// CHECK: scf.forall (%[[S:.+]], %[[K:.+]]) = (0, 0) to (2, 128) step (1, 64)
// CHECK: %[[KEYS:.+]] = tensor.extract_slice %arg2[%[[S]], %[[K]], 0] [1, 64, 8] [1, 1, 1] : tensor<2x128x8xf32> to tensor<64x8xf32>
// CHECK: v4.index_scores %{{.*}}, %{{.*}}, %[[KEYS]], %{{.*}} first_key %[[K]]
// CHECK: scf.forall (%[[S:.+]], %{{.+}}) = (0, 0) to (2, 32) step (1, 32)
// CHECK: tensor.extract_slice %arg4[%[[S]], 0, 0] [1, 16, 8] [1, 1, 1] : tensor<2x16x8xf32> to tensor<16x8xf32>
// CHECK: v4.sparse_attention {{.*}} : (tensor<1x32x8xf32>, tensor<16x8xf32>, tensor<32xf32>, tensor<1xi32>, tensor<2xi32>, tensor<128x8xf32>) -> tensor<1x32x8xf32>
func.func @slots_attention(%q: tensor<2x32x8xf32>, %weights: tensor<2x32xf32>, %keys: tensor<2x128x8xf32>, %positions: tensor<2xi32>,
                           %ring: tensor<2x16x8xf32>, %sink: tensor<32xf32>, %span: tensor<2x2xi32>,
                           %s: tensor<2x128xf32>, %y: tensor<2x32x8xf32>) -> (tensor<2x128xf32>, tensor<2x32x8xf32>) {
  %0 = v4.index_scores %q, %weights, %keys, %positions ratio 4 scale 0.125
      : (tensor<2x32x8xf32>, tensor<2x32xf32>, tensor<2x128x8xf32>, tensor<2xi32>) -> tensor<2x128xf32>
  %1 = v4.sparse_attention %q, %ring, %sink, %positions, %span entries %keys ratio 4 window 16 scale 0.35
      : (tensor<2x32x8xf32>, tensor<2x16x8xf32>, tensor<32xf32>, tensor<2xi32>, tensor<2x2xi32>, tensor<2x128x8xf32>)
      -> tensor<2x32x8xf32>
  return %0, %1 : tensor<2x128xf32>, tensor<2x32x8xf32>
}

// A scale of 128x128 blocks follows its weight: a tile of 32 rows reads one row of scales.
// CHECK-LABEL: func.func @block_scales
// CHECK: scf.forall (%[[I:.+]]) = (0) to (256) step (32)
// CHECK: %[[B:.+]] = affine.apply #{{.*}}(%[[I]])
// CHECK: tensor.extract_slice %arg2[%[[B]], 0] [1, 1] [1, 1] : tensor<2x1xf8E8M0FNU> to tensor<1x1xf8E8M0FNU>
func.func @block_scales(%x: tensor<1x128xf32>, %w: tensor<256x128xf8E4M3FN>, %s: tensor<2x1xf8E8M0FNU>, %y: tensor<1x256xf32>) -> tensor<1x256xf32> {
  %0 = v4.linear %x, %w scale %s : (tensor<1x128xf32>, tensor<256x128xf8E4M3FN>, tensor<2x1xf8E8M0FNU>) -> tensor<1x256xf32>
  return %0 : tensor<1x256xf32>
}
