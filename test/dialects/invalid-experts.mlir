// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: v4-opt %s --split-input-file --verify-diagnostics
// Diagnostics of the verifiers: experts ops.

func.func @route_logits(%a0: tensor<8xf32>, %a1: tensor<8xf32>) {
  // expected-error @below {{'v4.route' op expected logits of shape [S, E], found [8]}}
  %r:2 = v4.route %a0, %a1 scale 1.5 : (tensor<8xf32>, tensor<8xf32>) -> (tensor<4x2xi32>, tensor<4x2xf32>)
  return
}

// -----

func.func @route_bias(%a0: tensor<4x8xf32>, %a1: tensor<4xf32>) {
  // expected-error @below {{'v4.route' op expected bias of shape [E = 8], found [4]}}
  %r:2 = v4.route %a0, %a1 scale 1.5 : (tensor<4x8xf32>, tensor<4xf32>) -> (tensor<4x2xi32>, tensor<4x2xf32>)
  return
}

// -----

func.func @route_indices(%a0: tensor<4x8xf32>, %a1: tensor<8xf32>) {
  // expected-error @below {{'v4.route' op expected indices of shape [S = 4, k], found [3, 2]}}
  %r:2 = v4.route %a0, %a1 scale 1.5 : (tensor<4x8xf32>, tensor<8xf32>) -> (tensor<3x2xi32>, tensor<4x2xf32>)
  return
}

// -----

func.func @route_weights(%a0: tensor<4x8xf32>, %a1: tensor<8xf32>) {
  // expected-error @below {{'v4.route' op expected weights of shape [S = 4, k = 2], found [4, 3]}}
  %r:2 = v4.route %a0, %a1 scale 1.5 : (tensor<4x8xf32>, tensor<8xf32>) -> (tensor<4x2xi32>, tensor<4x3xf32>)
  return
}

// -----

func.func @route_k(%a0: tensor<4x8xf32>, %a1: tensor<8xf32>) {
  // expected-error @below {{'v4.route' op expected k <= E = 8, found 9}}
  %r:2 = v4.route %a0, %a1 scale 1.5 : (tensor<4x8xf32>, tensor<8xf32>) -> (tensor<4x9xi32>, tensor<4x9xf32>)
  return
}

// -----

func.func @route_scale(%a0: tensor<4x8xf32>, %a1: tensor<8xf32>) {
  // expected-error @below {{'v4.route' op expected a finite scale, found INF}}
  %r:2 = v4.route %a0, %a1 scale 0x7F800000 : (tensor<4x8xf32>, tensor<8xf32>) -> (tensor<4x2xi32>, tensor<4x2xf32>)
  return
}

// -----

func.func @route_hash_logits(%a0: tensor<8xf32>, %a1: tensor<4xi32>, %a2: tensor<32x2xi64>) {
  // expected-error @below {{'v4.route_hash' op expected logits of shape [S, E], found [8]}}
  %r:2 = v4.route_hash %a0, %a1, %a2 scale 1.5
      : (tensor<8xf32>, tensor<4xi32>, tensor<32x2xi64>) -> (tensor<4x2xi32>, tensor<4x2xf32>)
  return
}

// -----

func.func @route_hash_tokens(%a0: tensor<4x8xf32>, %a1: tensor<3xi32>, %a2: tensor<32x2xi64>) {
  // expected-error @below {{'v4.route_hash' op expected tokens of shape [S = 4], found [3]}}
  %r:2 = v4.route_hash %a0, %a1, %a2 scale 1.5
      : (tensor<4x8xf32>, tensor<3xi32>, tensor<32x2xi64>) -> (tensor<4x2xi32>, tensor<4x2xf32>)
  return
}

// -----

func.func @route_hash_table(%a0: tensor<4x8xf32>, %a1: tensor<4xi32>, %a2: tensor<2xi64>) {
  // expected-error @below {{'v4.route_hash' op expected table of shape [V, k], found [2]}}
  %r:2 = v4.route_hash %a0, %a1, %a2 scale 1.5
      : (tensor<4x8xf32>, tensor<4xi32>, tensor<2xi64>) -> (tensor<4x2xi32>, tensor<4x2xf32>)
  return
}

// -----

func.func @route_hash_indices(%a0: tensor<4x8xf32>, %a1: tensor<4xi32>, %a2: tensor<32x2xi64>) {
  // expected-error @below {{'v4.route_hash' op expected indices of shape [S = 4, k = 2], found [4, 3]}}
  %r:2 = v4.route_hash %a0, %a1, %a2 scale 1.5
      : (tensor<4x8xf32>, tensor<4xi32>, tensor<32x2xi64>) -> (tensor<4x3xi32>, tensor<4x2xf32>)
  return
}

// -----

func.func @route_hash_weights(%a0: tensor<4x8xf32>, %a1: tensor<4xi32>, %a2: tensor<32x2xi64>) {
  // expected-error @below {{'v4.route_hash' op expected weights of shape [S = 4, k = 2], found [4, 3]}}
  %r:2 = v4.route_hash %a0, %a1, %a2 scale 1.5
      : (tensor<4x8xf32>, tensor<4xi32>, tensor<32x2xi64>) -> (tensor<4x2xi32>, tensor<4x3xf32>)
  return
}

// -----

func.func @route_hash_k(%a0: tensor<4x8xf32>, %a1: tensor<4xi32>, %a2: tensor<32x9xi64>) {
  // expected-error @below {{'v4.route_hash' op expected k <= E = 8, found 9}}
  %r:2 = v4.route_hash %a0, %a1, %a2 scale 1.5
      : (tensor<4x8xf32>, tensor<4xi32>, tensor<32x9xi64>) -> (tensor<4x9xi32>, tensor<4x9xf32>)
  return
}

// -----

func.func @route_hash_scale(%a0: tensor<4x8xf32>, %a1: tensor<4xi32>, %a2: tensor<32x2xi64>) {
  // expected-error @below {{'v4.route_hash' op expected a finite scale, found nan}}
  %r:2 = v4.route_hash %a0, %a1, %a2 scale 0x7FC00000
      : (tensor<4x8xf32>, tensor<4xi32>, tensor<32x2xi64>) -> (tensor<4x2xi32>, tensor<4x2xf32>)
  return
}

// -----

func.func @dispatch_total(%a0: tensor<4x2xi32>, %a1: tensor<4x2xf32>, %a2: tensor<4xi32>) {
  // expected-error @below {{'v4.dispatch' op expected experts > 0, found 0}}
  %r:5 = v4.dispatch %a0, %a1, %a2 experts 0
      : (tensor<4x2xi32>, tensor<4x2xf32>, tensor<4xi32>)
      -> (tensor<8xi32>, tensor<9xi32>, tensor<8xi32>, tensor<8xf32>, tensor<4x2xi32>)
  return
}

// -----

func.func @dispatch_indices(%a0: tensor<8xi32>, %a1: tensor<4x2xf32>, %a2: tensor<4xi32>) {
  // expected-error @below {{'v4.dispatch' op expected indices of shape [S, k], found [8]}}
  %r:5 = v4.dispatch %a0, %a1, %a2 experts 16
      : (tensor<8xi32>, tensor<4x2xf32>, tensor<4xi32>)
      -> (tensor<8xi32>, tensor<9xi32>, tensor<8xi32>, tensor<8xf32>, tensor<4x2xi32>)
  return
}

// -----

func.func @dispatch_weights(%a0: tensor<4x2xi32>, %a1: tensor<4x3xf32>, %a2: tensor<4xi32>) {
  // expected-error @below {{'v4.dispatch' op expected weights of shape [S = 4, k = 2], found [4, 3]}}
  %r:5 = v4.dispatch %a0, %a1, %a2 experts 16
      : (tensor<4x2xi32>, tensor<4x3xf32>, tensor<4xi32>)
      -> (tensor<8xi32>, tensor<9xi32>, tensor<8xi32>, tensor<8xf32>, tensor<4x2xi32>)
  return
}

// -----

func.func @dispatch_positions(%a0: tensor<4x2xi32>, %a1: tensor<4x2xf32>, %a2: tensor<2xi32>) {
  // expected-error @below {{'v4.dispatch' op expected positions of shape [S = 4], found [2]}}
  %r:5 = v4.dispatch %a0, %a1, %a2 experts 16
      : (tensor<4x2xi32>, tensor<4x2xf32>, tensor<2xi32>)
      -> (tensor<8xi32>, tensor<9xi32>, tensor<8xi32>, tensor<8xf32>, tensor<4x2xi32>)
  return
}

// -----

func.func @dispatch_experts(%a0: tensor<4x2xi32>, %a1: tensor<4x2xf32>, %a2: tensor<4xi32>) {
  // expected-error @below {{'v4.dispatch' op expected experts of shape [A = 6], found [8]}}
  %r:5 = v4.dispatch %a0, %a1, %a2 experts 6
      : (tensor<4x2xi32>, tensor<4x2xf32>, tensor<4xi32>)
      -> (tensor<8xi32>, tensor<9xi32>, tensor<8xi32>, tensor<8xf32>, tensor<4x2xi32>)
  return
}

// -----

func.func @dispatch_offsets(%a0: tensor<4x2xi32>, %a1: tensor<4x2xf32>, %a2: tensor<4xi32>) {
  // expected-error @below {{'v4.dispatch' op expected offsets of shape [A + 1 = 9], found [8]}}
  %r:5 = v4.dispatch %a0, %a1, %a2 experts 16
      : (tensor<4x2xi32>, tensor<4x2xf32>, tensor<4xi32>)
      -> (tensor<8xi32>, tensor<8xi32>, tensor<8xi32>, tensor<8xf32>, tensor<4x2xi32>)
  return
}

// -----

func.func @dispatch_rows(%a0: tensor<4x2xi32>, %a1: tensor<4x2xf32>, %a2: tensor<4xi32>) {
  // expected-error @below {{'v4.dispatch' op expected rows of shape [P = 8], found [7]}}
  %r:5 = v4.dispatch %a0, %a1, %a2 experts 16
      : (tensor<4x2xi32>, tensor<4x2xf32>, tensor<4xi32>)
      -> (tensor<8xi32>, tensor<9xi32>, tensor<7xi32>, tensor<8xf32>, tensor<4x2xi32>)
  return
}

// -----

func.func @dispatch_pair_weights(%a0: tensor<4x2xi32>, %a1: tensor<4x2xf32>, %a2: tensor<4xi32>) {
  // expected-error @below {{'v4.dispatch' op expected pair_weights of shape [P = 8], found [7]}}
  %r:5 = v4.dispatch %a0, %a1, %a2 experts 16
      : (tensor<4x2xi32>, tensor<4x2xf32>, tensor<4xi32>)
      -> (tensor<8xi32>, tensor<9xi32>, tensor<8xi32>, tensor<7xf32>, tensor<4x2xi32>)
  return
}

// -----

func.func @dispatch_pairs(%a0: tensor<4x2xi32>, %a1: tensor<4x2xf32>, %a2: tensor<4xi32>) {
  // expected-error @below {{'v4.dispatch' op expected pairs of shape [S = 4, k = 2], found [8]}}
  %r:5 = v4.dispatch %a0, %a1, %a2 experts 16
      : (tensor<4x2xi32>, tensor<4x2xf32>, tensor<4xi32>)
      -> (tensor<8xi32>, tensor<9xi32>, tensor<8xi32>, tensor<8xf32>, tensor<8xi32>)
  return
}

// -----

func.func @grouped_linear_input(%a0: tensor<64xf32>, %a1: tensor<16x32x32xi8>, %a2: tensor<16x32x2xf8E8M0FNU>,
                                %a3: tensor<8xi32>, %a4: tensor<9xi32>, %a5: tensor<8xi32>) {
  // expected-error @below {{'v4.grouped_linear' op expected input of shape [R, K], found [64]}}
  %r = v4.grouped_linear %a0, %a1 scale %a2 experts %a3, %a4 rows %a5
      : (tensor<64xf32>, tensor<16x32x32xi8>, tensor<16x32x2xf8E8M0FNU>, tensor<8xi32>, tensor<9xi32>, tensor<8xi32>)
      -> tensor<8x32xf32>
  return
}

// -----

func.func @grouped_linear_weight(%a0: tensor<4x64xf32>, %a1: tensor<32x32xi8>, %a2: tensor<16x32x2xf8E8M0FNU>,
                                 %a3: tensor<8xi32>, %a4: tensor<9xi32>, %a5: tensor<8xi32>) {
  // expected-error @below {{'v4.grouped_linear' op expected weight of shape [E, N, K/2 = 32], found [32, 32]}}
  %r = v4.grouped_linear %a0, %a1 scale %a2 experts %a3, %a4 rows %a5
      : (tensor<4x64xf32>, tensor<32x32xi8>, tensor<16x32x2xf8E8M0FNU>, tensor<8xi32>, tensor<9xi32>, tensor<8xi32>)
      -> tensor<8x32xf32>
  return
}

// -----

func.func @grouped_linear_scale(%a0: tensor<4x64xf32>, %a1: tensor<16x32x32xi8>, %a2: tensor<16x32x1xf8E8M0FNU>,
                                %a3: tensor<8xi32>, %a4: tensor<9xi32>, %a5: tensor<8xi32>) {
  // expected-error @below {{'v4.grouped_linear' op expected scale of shape [E = 16, N = 32, ceil(K/32) = 2], found [16, 32, 1]}}
  %r = v4.grouped_linear %a0, %a1 scale %a2 experts %a3, %a4 rows %a5
      : (tensor<4x64xf32>, tensor<16x32x32xi8>, tensor<16x32x1xf8E8M0FNU>, tensor<8xi32>, tensor<9xi32>, tensor<8xi32>)
      -> tensor<8x32xf32>
  return
}

// -----

func.func @grouped_linear_experts(%a0: tensor<4x64xf32>, %a1: tensor<16x32x32xi8>, %a2: tensor<16x32x2xf8E8M0FNU>,
                                  %a3: tensor<8x1xi32>, %a4: tensor<9xi32>, %a5: tensor<8xi32>) {
  // expected-error @below {{'v4.grouped_linear' op expected experts of shape [A], found [8, 1]}}
  %r = v4.grouped_linear %a0, %a1 scale %a2 experts %a3, %a4 rows %a5
      : (tensor<4x64xf32>, tensor<16x32x32xi8>, tensor<16x32x2xf8E8M0FNU>, tensor<8x1xi32>, tensor<9xi32>, tensor<8xi32>)
      -> tensor<8x32xf32>
  return
}

// -----

func.func @grouped_linear_offsets(%a0: tensor<4x64xf32>, %a1: tensor<16x32x32xi8>, %a2: tensor<16x32x2xf8E8M0FNU>,
                                  %a3: tensor<8xi32>, %a4: tensor<8xi32>, %a5: tensor<8xi32>) {
  // expected-error @below {{'v4.grouped_linear' op expected offsets of shape [A + 1 = 9], found [8]}}
  %r = v4.grouped_linear %a0, %a1 scale %a2 experts %a3, %a4 rows %a5
      : (tensor<4x64xf32>, tensor<16x32x32xi8>, tensor<16x32x2xf8E8M0FNU>, tensor<8xi32>, tensor<8xi32>, tensor<8xi32>)
      -> tensor<8x32xf32>
  return
}

// -----

func.func @grouped_linear_rows(%a0: tensor<4x64xf32>, %a1: tensor<16x32x32xi8>, %a2: tensor<16x32x2xf8E8M0FNU>,
                               %a3: tensor<8xi32>, %a4: tensor<9xi32>, %a5: tensor<8x1xi32>) {
  // expected-error @below {{'v4.grouped_linear' op expected rows of shape [P], found [8, 1]}}
  %r = v4.grouped_linear %a0, %a1 scale %a2 experts %a3, %a4 rows %a5
      : (tensor<4x64xf32>, tensor<16x32x32xi8>, tensor<16x32x2xf8E8M0FNU>, tensor<8xi32>, tensor<9xi32>, tensor<8x1xi32>)
      -> tensor<8x32xf32>
  return
}

// -----

func.func @grouped_linear_result(%a0: tensor<4x64xf32>, %a1: tensor<16x32x32xi8>, %a2: tensor<16x32x2xf8E8M0FNU>,
                                 %a3: tensor<8xi32>, %a4: tensor<9xi32>, %a5: tensor<8xi32>) {
  // expected-error @below {{'v4.grouped_linear' op expected result of shape [P = 8, N = 32], found [8, 31]}}
  %r = v4.grouped_linear %a0, %a1 scale %a2 experts %a3, %a4 rows %a5
      : (tensor<4x64xf32>, tensor<16x32x32xi8>, tensor<16x32x2xf8E8M0FNU>, tensor<8xi32>, tensor<9xi32>, tensor<8xi32>)
      -> tensor<8x31xf32>
  return
}

// -----

func.func @grouped_linear_no_rows(%a0: tensor<4x64xf32>, %a1: tensor<16x32x32xi8>,
                                  %a2: tensor<16x32x2xf8E8M0FNU>, %a3: tensor<8xi32>, %a4: tensor<9xi32>) {
  // expected-error @below {{'v4.grouped_linear' op expected result of shape [P = 4, N = 32], found [8, 32]}}
  %r = v4.grouped_linear %a0, %a1 scale %a2 experts %a3, %a4
      : (tensor<4x64xf32>, tensor<16x32x32xi8>, tensor<16x32x2xf8E8M0FNU>, tensor<8xi32>, tensor<9xi32>)
      -> tensor<8x32xf32>
  return
}

// -----

func.func @swiglu_limit(%a0: tensor<8x32xf32>, %a1: tensor<8x32xf32>, %a2: tensor<8xf32>) {
  // expected-error @below {{'v4.swiglu' op expected limit > 0, found 0.000000e+00}}
  %r = v4.swiglu %a0, %a1 weights %a2 limit 0.0
      : (tensor<8x32xf32>, tensor<8x32xf32>, tensor<8xf32>) -> tensor<8x32xf32>
  return
}

// -----

func.func @swiglu_gate(%a0: tensor<32xf32>, %a1: tensor<8x32xf32>, %a2: tensor<8xf32>) {
  // expected-error @below {{'v4.swiglu' op expected gate of shape [S, I], found [32]}}
  %r = v4.swiglu %a0, %a1 weights %a2 limit 10.0
      : (tensor<32xf32>, tensor<8x32xf32>, tensor<8xf32>) -> tensor<8x32xf32>
  return
}

// -----

func.func @swiglu_up(%a0: tensor<8x32xf32>, %a1: tensor<8x31xf32>, %a2: tensor<8xf32>) {
  // expected-error @below {{'v4.swiglu' op expected up of shape [S = 8, I = 32], found [8, 31]}}
  %r = v4.swiglu %a0, %a1 weights %a2 limit 10.0
      : (tensor<8x32xf32>, tensor<8x31xf32>, tensor<8xf32>) -> tensor<8x32xf32>
  return
}

// -----

func.func @swiglu_weights(%a0: tensor<8x32xf32>, %a1: tensor<8x32xf32>, %a2: tensor<4xf32>) {
  // expected-error @below {{'v4.swiglu' op expected weights of shape [S = 8], found [4]}}
  %r = v4.swiglu %a0, %a1 weights %a2 limit 10.0
      : (tensor<8x32xf32>, tensor<8x32xf32>, tensor<4xf32>) -> tensor<8x32xf32>
  return
}

// -----

func.func @swiglu_result(%a0: tensor<8x32xf32>, %a1: tensor<8x32xf32>, %a2: tensor<8xf32>) {
  // expected-error @below {{'v4.swiglu' op expected result of shape [S = 8, I = 32], found [8, 31]}}
  %r = v4.swiglu %a0, %a1 weights %a2 limit 10.0
      : (tensor<8x32xf32>, tensor<8x32xf32>, tensor<8xf32>) -> tensor<8x31xf32>
  return
}

// -----

func.func @combine_routed(%a0: tensor<64xf32>, %a1: tensor<4x2xi32>, %a2: tensor<4x64xf32>) {
  // expected-error @below {{'v4.combine' op expected routed of shape [P, d], found [64]}}
  %r = v4.combine %a0, %a1, %a2 : (tensor<64xf32>, tensor<4x2xi32>, tensor<4x64xf32>) -> tensor<4x64xf32>
  return
}

// -----

func.func @combine_pairs(%a0: tensor<8x64xf32>, %a1: tensor<8xi32>, %a2: tensor<4x64xf32>) {
  // expected-error @below {{'v4.combine' op expected pairs of shape [S, k], found [8]}}
  %r = v4.combine %a0, %a1, %a2 : (tensor<8x64xf32>, tensor<8xi32>, tensor<4x64xf32>) -> tensor<4x64xf32>
  return
}

// -----

func.func @combine_shared(%a0: tensor<8x64xf32>, %a1: tensor<4x2xi32>, %a2: tensor<4x32xf32>) {
  // expected-error @below {{'v4.combine' op expected shared of shape [S = 4, d = 64], found [4, 32]}}
  %r = v4.combine %a0, %a1, %a2 : (tensor<8x64xf32>, tensor<4x2xi32>, tensor<4x32xf32>) -> tensor<4x64xf32>
  return
}

// -----

func.func @combine_result(%a0: tensor<8x64xf32>, %a1: tensor<4x2xi32>, %a2: tensor<4x64xf32>) {
  // expected-error @below {{'v4.combine' op expected result of shape [S = 4, d = 64], found [8, 64]}}
  %r = v4.combine %a0, %a1, %a2 : (tensor<8x64xf32>, tensor<4x2xi32>, tensor<4x64xf32>) -> tensor<8x64xf32>
  return
}
