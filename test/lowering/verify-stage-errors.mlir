// RUN: split-file %s %t
// RUN: v4-opt %t/unknown.mlir --v4-verify-stage=stage=ptx --verify-diagnostics
// RUN: v4-opt %t/model.mlir --v4-verify-stage=stage=model --split-input-file --verify-diagnostics
// RUN: v4-opt %t/groups.mlir --v4-verify-stage=stage=groups --verify-diagnostics
// RUN: v4-opt %t/tiles.mlir --v4-verify-stage=stage=tiles --split-input-file --verify-diagnostics
// RUN: v4-opt %t/buffers.mlir --v4-verify-stage=stage=buffers --split-input-file --verify-diagnostics
// RUN: v4-opt %t/kernels.mlir --v4-verify-stage=stage=kernels --verify-diagnostics

//--- unknown.mlir
// expected-error @below {{unknown stage 'ptx'}}
module {}

//--- model.mlir
func.func @memory() {
  // expected-error @below {{does not belong to stage 'model'; accepted dialects: v4, linalg, tensor, scf, arith, math, func}}
  %0 = memref.alloc() : memref<4xf32>
  return
}

// -----

func.func @grouped(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  // expected-error @below {{does not belong to stage 'model', groups are formed later}}
  %0 = v4.group "g" -> tensor<4x64xf32> {
    %1 = v4.rms_norm %x eps 1.0e-6 : (tensor<4x64xf32>) -> tensor<4x64xf32>
    v4.yield %1 : tensor<4x64xf32>
  }
  return %0 : tensor<4x64xf32>
}

//--- groups.mlir
func.func @alone(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  // expected-error @below {{is in no group at the end of stage 'groups'}}
  // expected-note @below {{--v4-form-groups should have put it into one}}
  %0 = v4.rms_norm %x eps 1.0e-6 : (tensor<4x64xf32>) -> tensor<4x64xf32>
  return %0 : tensor<4x64xf32>
}

//--- tiles.mlir
func.func @grouped(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  // expected-error @below {{is left at the end of stage 'tiles'}}
  // expected-note @below {{--v4-outline-groups should have removed it}}
  %0 = v4.group "g" -> tensor<4x64xf32> {
    v4.yield %x : tensor<4x64xf32>
  }
  return %0 : tensor<4x64xf32>
}

// -----

func.func @entry(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  // expected-error @below {{is left at the end of stage 'tiles'}}
  // expected-note @below {{--v4-outline-groups should have removed it}}
  %0 = v4.rms_norm %x eps 1.0e-6 : (tensor<4x64xf32>) -> tensor<4x64xf32>
  return %0 : tensor<4x64xf32>
}

// -----

module {
  module @k attributes {v4.kernel} {
    func.func @k(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
      // expected-error @below {{is left at the end of stage 'tiles'}}
      // expected-note @below {{--v4-decompose should have removed it}}
      %0 = v4.rms_norm %x eps 1.0e-6 : (tensor<4x64xf32>) -> tensor<4x64xf32>
      return %0 : tensor<4x64xf32>
    }
  }
}

// -----

func.func @buffer(%x: tensor<4xf32>) {
  // expected-error @below {{does not belong to stage 'tiles', buffers are formed later}}
  %0 = memref.alloc() : memref<4xf32>
  return
}

// -----

module @k attributes {v4.kernel} {
  // expected-error @below {{does not belong to stage 'tiles', buffers are formed later}}
  llvm.func @k.0(%x: i64)
}

//--- buffers.mlir
module @k attributes {v4.kernel} {
  // expected-error @below {{does not belong to stage 'buffers', kernels are lowered later}}
  llvm.func @k.0(%x: i64)
}

// -----

func.func @tensors(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @below {{still works on tensors at the end of stage 'buffers'}}
  // expected-note @below {{--one-shot-bufferize should have removed it}}
  %0 = tensor.empty() : tensor<4xf32>
  return %x : tensor<4xf32>
}

// -----

func.func @entry() {
  // expected-error @below {{allocates at the end of stage 'buffers'}}
  // expected-note @below {{--v4-plan-arena should have removed it}}
  %0 = memref.alloc() : memref<4xf32>
  return
}

// -----

module {
  module @k attributes {v4.kernel} {
    func.func @k() {
      // expected-error @below {{allocates at the end of stage 'buffers'}}
      // expected-note @below {{--v4-hoist-workspaces should have removed it}}
      %0 = memref.alloc() : memref<4xf32>
      return
    }
  }
}

// -----

func.func @whole_state(%s: memref<8x4xf32> {v4.state = #v4.state<"a.window", window>}, %t: memref<8x4xf32>) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  // expected-error @below {{copies a whole state at the end of stage 'buffers'}}
  // expected-note @below {{the old contents are read after an update, or an arith.select picks between old and new}}
  memref.copy %s, %t : memref<8x4xf32> to memref<8x4xf32>
  return
}

// -----

module {
  module @k attributes {v4.kernel} {
    func.func @k(%t: memref<8x4xf32>, %s: memref<8x4xf32> {v4.tied}) {
      // expected-error @below {{copies a whole state at the end of stage 'buffers'}}
      // expected-note @below {{the old contents are read after an update, or an arith.select picks between old and new}}
      memref.copy %t, %s : memref<8x4xf32> to memref<8x4xf32>
      return
    }
  }
}

//--- kernels.mlir
module {
  module @k attributes {v4.kernel} {
    llvm.func @k.0(%x: i64) {
      // expected-error @below {{is left at the end of stage 'kernels'}}
      // expected-note @below {{--convert-to-llvm should have removed it}}
      %0 = arith.addi %x, %x : i64
      llvm.return
    }
  }
}
