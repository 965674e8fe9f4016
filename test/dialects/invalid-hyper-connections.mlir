// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: v4-opt %s --split-input-file --verify-diagnostics
// Diagnostics of the verifiers: hyper connections ops.

func.func @hc_expand_input(%a0: tensor<8xf32>, %a1: tensor<2x4x8xf32>) {
  // expected-error @below {{'v4.hc_expand' op expected input of shape [S, d], found [8]}}
  %r = v4.hc_expand %a0 add %a1 : (tensor<8xf32>, tensor<2x4x8xf32>) -> tensor<2x4x8xf32>
  return
}

// -----

func.func @hc_expand_addend(%a0: tensor<2x8xf32>, %a1: tensor<2x3x8xf32>) {
  // expected-error @below {{'v4.hc_expand' op expected addend of shape [S = 2, n = 4, d = 8], found [2, 3, 8]}}
  %r = v4.hc_expand %a0 add %a1 : (tensor<2x8xf32>, tensor<2x3x8xf32>) -> tensor<2x4x8xf32>
  return
}

// -----

func.func @hc_expand_result(%a0: tensor<2x8xf32>, %a1: tensor<2x4x8xf32>) {
  // expected-error @below {{'v4.hc_expand' op expected result of shape [S = 2, n, d = 8], found [2, 4, 9]}}
  %r = v4.hc_expand %a0 add %a1 : (tensor<2x8xf32>, tensor<2x4x8xf32>) -> tensor<2x4x9xf32>
  return
}

// -----

func.func @hc_pre_streams(%a0: tensor<2x8xf32>, %a1: tensor<24x32xf32>, %a2: tensor<3xf32>, %a3: tensor<24xf32>) {
  // expected-error @below {{'v4.hc_pre' op expected streams of shape [S, n, d], found [2, 8]}}
  %r:3 = v4.hc_pre %a0, %a1, %a2, %a3 eps 1.0e-6 hc_eps 1.0e-6 iterations 20
      : (tensor<2x8xf32>, tensor<24x32xf32>, tensor<3xf32>, tensor<24xf32>)
      -> (tensor<2x8xf32>, tensor<2x4xf32>, tensor<2x4x4xf32>)
  return
}

// -----

func.func @hc_pre_fn(%a0: tensor<2x4x8xf32>, %a1: tensor<24x8xf32>, %a2: tensor<3xf32>, %a3: tensor<24xf32>) {
  // expected-error @below {{'v4.hc_pre' op expected fn of shape [n*(2+n) = 24, n*d = 32], found [24, 8]}}
  %r:3 = v4.hc_pre %a0, %a1, %a2, %a3 eps 1.0e-6 hc_eps 1.0e-6 iterations 20
      : (tensor<2x4x8xf32>, tensor<24x8xf32>, tensor<3xf32>, tensor<24xf32>)
      -> (tensor<2x8xf32>, tensor<2x4xf32>, tensor<2x4x4xf32>)
  return
}

// -----

func.func @hc_pre_scale(%a0: tensor<2x4x8xf32>, %a1: tensor<24x32xf32>, %a2: tensor<1xf32>, %a3: tensor<24xf32>) {
  // expected-error @below {{'v4.hc_pre' op expected scale of shape [3], found [1]}}
  %r:3 = v4.hc_pre %a0, %a1, %a2, %a3 eps 1.0e-6 hc_eps 1.0e-6 iterations 20
      : (tensor<2x4x8xf32>, tensor<24x32xf32>, tensor<1xf32>, tensor<24xf32>)
      -> (tensor<2x8xf32>, tensor<2x4xf32>, tensor<2x4x4xf32>)
  return
}

// -----

func.func @hc_pre_base(%a0: tensor<2x4x8xf32>, %a1: tensor<24x32xf32>, %a2: tensor<3xf32>, %a3: tensor<4xf32>) {
  // expected-error @below {{'v4.hc_pre' op expected base of shape [n*(2+n) = 24], found [4]}}
  %r:3 = v4.hc_pre %a0, %a1, %a2, %a3 eps 1.0e-6 hc_eps 1.0e-6 iterations 20
      : (tensor<2x4x8xf32>, tensor<24x32xf32>, tensor<3xf32>, tensor<4xf32>)
      -> (tensor<2x8xf32>, tensor<2x4xf32>, tensor<2x4x4xf32>)
  return
}

// -----

func.func @hc_pre_result(%a0: tensor<2x4x8xf32>, %a1: tensor<24x32xf32>, %a2: tensor<3xf32>, %a3: tensor<24xf32>) {
  // expected-error @below {{'v4.hc_pre' op expected result of shape [S = 2, d = 8], found [2, 4, 8]}}
  %r:3 = v4.hc_pre %a0, %a1, %a2, %a3 eps 1.0e-6 hc_eps 1.0e-6 iterations 20
      : (tensor<2x4x8xf32>, tensor<24x32xf32>, tensor<3xf32>, tensor<24xf32>)
      -> (tensor<2x4x8xf32>, tensor<2x4xf32>, tensor<2x4x4xf32>)
  return
}

// -----

func.func @hc_pre_post(%a0: tensor<2x4x8xf32>, %a1: tensor<24x32xf32>, %a2: tensor<3xf32>, %a3: tensor<24xf32>) {
  // expected-error @below {{'v4.hc_pre' op expected post of shape [S = 2, n = 4], found [2, 5]}}
  %r:3 = v4.hc_pre %a0, %a1, %a2, %a3 eps 1.0e-6 hc_eps 1.0e-6 iterations 20
      : (tensor<2x4x8xf32>, tensor<24x32xf32>, tensor<3xf32>, tensor<24xf32>)
      -> (tensor<2x8xf32>, tensor<2x5xf32>, tensor<2x4x4xf32>)
  return
}

// -----

func.func @hc_pre_comb(%a0: tensor<2x4x8xf32>, %a1: tensor<24x32xf32>, %a2: tensor<3xf32>, %a3: tensor<24xf32>) {
  // expected-error @below {{'v4.hc_pre' op expected comb of shape [S = 2, n = 4, n = 4], found [2, 4, 5]}}
  %r:3 = v4.hc_pre %a0, %a1, %a2, %a3 eps 1.0e-6 hc_eps 1.0e-6 iterations 20
      : (tensor<2x4x8xf32>, tensor<24x32xf32>, tensor<3xf32>, tensor<24xf32>)
      -> (tensor<2x8xf32>, tensor<2x4xf32>, tensor<2x4x5xf32>)
  return
}

// -----

func.func @hc_pre_eps(%a0: tensor<2x4x8xf32>, %a1: tensor<24x32xf32>, %a2: tensor<3xf32>, %a3: tensor<24xf32>) {
  // expected-error @below {{'v4.hc_pre' op expected eps >= 0, found -1.000000e+00}}
  %r:3 = v4.hc_pre %a0, %a1, %a2, %a3 eps -1.0 hc_eps 1.0e-6 iterations 20
      : (tensor<2x4x8xf32>, tensor<24x32xf32>, tensor<3xf32>, tensor<24xf32>)
      -> (tensor<2x8xf32>, tensor<2x4xf32>, tensor<2x4x4xf32>)
  return
}

// -----

func.func @hc_pre_hc_eps(%a0: tensor<2x4x8xf32>, %a1: tensor<24x32xf32>, %a2: tensor<3xf32>, %a3: tensor<24xf32>) {
  // expected-error @below {{'v4.hc_pre' op expected hc_eps >= 0, found -1.000000e+00}}
  %r:3 = v4.hc_pre %a0, %a1, %a2, %a3 eps 1.0e-6 hc_eps -1.0 iterations 20
      : (tensor<2x4x8xf32>, tensor<24x32xf32>, tensor<3xf32>, tensor<24xf32>)
      -> (tensor<2x8xf32>, tensor<2x4xf32>, tensor<2x4x4xf32>)
  return
}

// -----

func.func @hc_pre_iterations(%a0: tensor<2x4x8xf32>, %a1: tensor<24x32xf32>, %a2: tensor<3xf32>, %a3: tensor<24xf32>) {
  // expected-error @below {{'v4.hc_pre' op expected iterations > 0, found 0}}
  %r:3 = v4.hc_pre %a0, %a1, %a2, %a3 eps 1.0e-6 hc_eps 1.0e-6 iterations 0
      : (tensor<2x4x8xf32>, tensor<24x32xf32>, tensor<3xf32>, tensor<24xf32>)
      -> (tensor<2x8xf32>, tensor<2x4xf32>, tensor<2x4x4xf32>)
  return
}

// -----

func.func @sinkhorn_input(%a0: tensor<2x4x5xf32>) {
  // expected-error @below {{'v4.sinkhorn' op expected input of shape [S, n, n], found [2, 4, 5]}}
  %r = v4.sinkhorn %a0 eps 1.0e-6 iterations 20 : (tensor<2x4x5xf32>) -> tensor<2x4x4xf32>
  return
}

// -----

func.func @sinkhorn_result(%a0: tensor<2x4x4xf32>) {
  // expected-error @below {{'v4.sinkhorn' op expected result of type 'tensor<2x4x4xf32>', found 'tensor<2x4xf32>'}}
  %r = v4.sinkhorn %a0 eps 1.0e-6 iterations 20 : (tensor<2x4x4xf32>) -> tensor<2x4xf32>
  return
}

// -----

func.func @sinkhorn_eps(%a0: tensor<2x4x4xf32>) {
  // expected-error @below {{'v4.sinkhorn' op expected eps >= 0, found -1.000000e+00}}
  %r = v4.sinkhorn %a0 eps -1.0 iterations 20 : (tensor<2x4x4xf32>) -> tensor<2x4x4xf32>
  return
}

// -----

func.func @sinkhorn_iterations(%a0: tensor<2x4x4xf32>) {
  // expected-error @below {{'v4.sinkhorn' op expected iterations > 0, found -1}}
  %r = v4.sinkhorn %a0 eps 1.0e-6 iterations -1 : (tensor<2x4x4xf32>) -> tensor<2x4x4xf32>
  return
}

// -----

func.func @hc_post_input(%a0: tensor<2x1x8xf32>, %a1: tensor<2x4x8xf32>, %a2: tensor<2x4xf32>, %a3: tensor<2x4x4xf32>) {
  // expected-error @below {{'v4.hc_post' op expected input of shape [S, d], found [2, 1, 8]}}
  %r = v4.hc_post %a0, %a1, %a2, %a3
      : (tensor<2x1x8xf32>, tensor<2x4x8xf32>, tensor<2x4xf32>, tensor<2x4x4xf32>) -> tensor<2x4x8xf32>
  return
}

// -----

func.func @hc_post_streams(%a0: tensor<2x8xf32>, %a1: tensor<2x4x9xf32>, %a2: tensor<2x4xf32>, %a3: tensor<2x4x4xf32>) {
  // expected-error @below {{'v4.hc_post' op expected streams of shape [S = 2, n, d = 8], found [2, 4, 9]}}
  %r = v4.hc_post %a0, %a1, %a2, %a3
      : (tensor<2x8xf32>, tensor<2x4x9xf32>, tensor<2x4xf32>, tensor<2x4x4xf32>) -> tensor<2x4x8xf32>
  return
}

// -----

func.func @hc_post_post(%a0: tensor<2x8xf32>, %a1: tensor<2x4x8xf32>, %a2: tensor<2x3xf32>, %a3: tensor<2x4x4xf32>) {
  // expected-error @below {{'v4.hc_post' op expected post of shape [S = 2, n = 4], found [2, 3]}}
  %r = v4.hc_post %a0, %a1, %a2, %a3
      : (tensor<2x8xf32>, tensor<2x4x8xf32>, tensor<2x3xf32>, tensor<2x4x4xf32>) -> tensor<2x4x8xf32>
  return
}

// -----

func.func @hc_post_comb(%a0: tensor<2x8xf32>, %a1: tensor<2x4x8xf32>, %a2: tensor<2x4xf32>, %a3: tensor<2x4xf32>) {
  // expected-error @below {{'v4.hc_post' op expected comb of shape [S = 2, n = 4, n = 4], found [2, 4]}}
  %r = v4.hc_post %a0, %a1, %a2, %a3
      : (tensor<2x8xf32>, tensor<2x4x8xf32>, tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4x8xf32>
  return
}

// -----

func.func @hc_post_result(%a0: tensor<2x8xf32>, %a1: tensor<2x4x8xf32>, %a2: tensor<2x4xf32>, %a3: tensor<2x4x4xf32>) {
  // expected-error @below {{'v4.hc_post' op expected result of shape [S = 2, n = 4, d = 8], found [2, 8]}}
  %r = v4.hc_post %a0, %a1, %a2, %a3
      : (tensor<2x8xf32>, tensor<2x4x8xf32>, tensor<2x4xf32>, tensor<2x4x4xf32>) -> tensor<2x8xf32>
  return
}

// -----

func.func @hc_head_streams(%a0: tensor<2x8xf32>, %a1: tensor<4x32xf32>, %a2: tensor<1xf32>, %a3: tensor<4xf32>) {
  // expected-error @below {{'v4.hc_head' op expected streams of shape [S, n, d], found [2, 8]}}
  %r = v4.hc_head %a0, %a1, %a2, %a3 eps 1.0e-6 hc_eps 1.0e-6
      : (tensor<2x8xf32>, tensor<4x32xf32>, tensor<1xf32>, tensor<4xf32>) -> tensor<2x8xf32>
  return
}

// -----

func.func @hc_head_fn(%a0: tensor<2x4x8xf32>, %a1: tensor<24x32xf32>, %a2: tensor<1xf32>, %a3: tensor<4xf32>) {
  // expected-error @below {{'v4.hc_head' op expected fn of shape [n = 4, n*d = 32], found [24, 32]}}
  %r = v4.hc_head %a0, %a1, %a2, %a3 eps 1.0e-6 hc_eps 1.0e-6
      : (tensor<2x4x8xf32>, tensor<24x32xf32>, tensor<1xf32>, tensor<4xf32>) -> tensor<2x8xf32>
  return
}

// -----

func.func @hc_head_scale(%a0: tensor<2x4x8xf32>, %a1: tensor<4x32xf32>, %a2: tensor<3xf32>, %a3: tensor<4xf32>) {
  // expected-error @below {{'v4.hc_head' op expected scale of shape [1], found [3]}}
  %r = v4.hc_head %a0, %a1, %a2, %a3 eps 1.0e-6 hc_eps 1.0e-6
      : (tensor<2x4x8xf32>, tensor<4x32xf32>, tensor<3xf32>, tensor<4xf32>) -> tensor<2x8xf32>
  return
}

// -----

func.func @hc_head_base(%a0: tensor<2x4x8xf32>, %a1: tensor<4x32xf32>, %a2: tensor<1xf32>, %a3: tensor<24xf32>) {
  // expected-error @below {{'v4.hc_head' op expected base of shape [n = 4], found [24]}}
  %r = v4.hc_head %a0, %a1, %a2, %a3 eps 1.0e-6 hc_eps 1.0e-6
      : (tensor<2x4x8xf32>, tensor<4x32xf32>, tensor<1xf32>, tensor<24xf32>) -> tensor<2x8xf32>
  return
}

// -----

func.func @hc_head_result(%a0: tensor<2x4x8xf32>, %a1: tensor<4x32xf32>, %a2: tensor<1xf32>, %a3: tensor<4xf32>) {
  // expected-error @below {{'v4.hc_head' op expected result of shape [S = 2, d = 8], found [2, 4]}}
  %r = v4.hc_head %a0, %a1, %a2, %a3 eps 1.0e-6 hc_eps 1.0e-6
      : (tensor<2x4x8xf32>, tensor<4x32xf32>, tensor<1xf32>, tensor<4xf32>) -> tensor<2x4xf32>
  return
}

// -----

func.func @hc_head_eps(%a0: tensor<2x4x8xf32>, %a1: tensor<4x32xf32>, %a2: tensor<1xf32>, %a3: tensor<4xf32>) {
  // expected-error @below {{'v4.hc_head' op expected eps >= 0, found -1.000000e+00}}
  %r = v4.hc_head %a0, %a1, %a2, %a3 eps -1.0 hc_eps 1.0e-6
      : (tensor<2x4x8xf32>, tensor<4x32xf32>, tensor<1xf32>, tensor<4xf32>) -> tensor<2x8xf32>
  return
}

// -----

func.func @hc_head_hc_eps(%a0: tensor<2x4x8xf32>, %a1: tensor<4x32xf32>, %a2: tensor<1xf32>, %a3: tensor<4xf32>) {
  // expected-error @below {{'v4.hc_head' op expected hc_eps >= 0, found -1.000000e+00}}
  %r = v4.hc_head %a0, %a1, %a2, %a3 eps 1.0e-6 hc_eps -1.0
      : (tensor<2x4x8xf32>, tensor<4x32xf32>, tensor<1xf32>, tensor<4xf32>) -> tensor<2x8xf32>
  return
}
