// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: v4-opt %s --split-input-file --verify-diagnostics
// Diagnostics of the structure ops.

func.func @group_count(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = v4.group "a" -> tensor<4xf32> {
    // expected-error @below {{'v4.yield' op expected 1 operands, one for each result of v4.group, found 2}}
    v4.yield %x, %x : tensor<4xf32>, tensor<4xf32>
  }
  return %y : tensor<4xf32>
}

// -----

func.func @group_type(%x: tensor<4xf32>, %y: tensor<5xf32>) {
  %r:2 = v4.group "a" -> tensor<4xf32>, tensor<4xf32> {
    // expected-error @below {{'v4.yield' op expected operand 1 of type 'tensor<4xf32>', found 'tensor<5xf32>'}}
    v4.yield %x, %y : tensor<4xf32>, tensor<5xf32>
  }
  return
}

// -----

func.func @group_name(%x: tensor<4xf32>) {
  // expected-error @below {{'v4.group' op expected a name, found an empty string}}
  %y = v4.group "" -> tensor<4xf32> {
    v4.yield %x : tensor<4xf32>
  }
  return
}

// -----

func.func @phase_count(%x: tensor<4xf32>) {
  v4.phase {
    // expected-error @below {{'v4.yield' op expected 0 operands, one for each result of v4.phase, found 1}}
    v4.yield %x : tensor<4xf32>
  }
  return
}

// -----

module @kernel {}
func.func @launch_name(%x: tensor<4xf32>) {
  // expected-error @below {{'v4.launch' op expected a name, found an empty string}}
  %y = v4.launch @kernel "" ins() outs(%x : tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

module @kernel {}
func.func @launch_count(%x: tensor<4xf32>) {
  // expected-error @below {{'v4.launch' op expected one result for each of the 1 tensor outputs, found 0}}
  v4.launch @kernel "a" ins() outs(%x : tensor<4xf32>)
  return
}

// -----

module @kernel {}
func.func @launch_type(%x: tensor<4xf32>) {
  // expected-error @below {{'v4.launch' op expected result 0 of type 'tensor<4xf32>', found 'tensor<5xf32>'}}
  %y = v4.launch @kernel "a" ins() outs(%x : tensor<4xf32>) -> tensor<5xf32>
  return
}

// -----

func.func @launch_symbol(%x: memref<4xf32>) {
  // expected-error @below {{'v4.launch' op expected a module 'kernel' that holds the kernel, found none}}
  v4.launch @kernel "a" ins() outs(%x : memref<4xf32>)
  return
}

// -----

module @kernel {
  func.func @kernel(%x: memref<4xf32>, %y: memref<4xf32>) {
    return
  }
}
func.func @launch_operands(%x: memref<4xf32>) {
  // expected-error @below {{'v4.launch' op expected 2 operands for kernel 'kernel', found 1}}
  v4.launch @kernel "a" ins() outs(%x : memref<4xf32>)
  return
}
