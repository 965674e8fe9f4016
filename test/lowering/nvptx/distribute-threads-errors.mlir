// RUN: v4-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(func.func(v4-distribute-threads))'

func.func @threads(%x: memref<4xf32>, %workgroup: index) attributes {v4.grid = 1 : i64} {
  // expected-error @below {{wants 100 threads; accepted: multiples of 32 up to 1024}}
  v4.kernel "gemv" ins(%x : memref<4xf32>) outs(%x : memref<4xf32>) {threads = 100 : i64}
  return
}

// -----

func.func @disagree(%x: memref<4xf32>, %workgroup: index) attributes {v4.grid = 1 : i64} {
  v4.kernel "gemv" ins(%x : memref<4xf32>) outs(%x : memref<4xf32>) {threads = 256 : i64}
  // expected-error @below {{wants 128 threads, another template of its phase wants 256}}
  v4.kernel "gemv" ins(%x : memref<4xf32>) outs(%x : memref<4xf32>) {threads = 128 : i64}
  return
}

// -----

func.func @dynamic(%x: memref<?xf32>, %workgroup: index) attributes {v4.grid = 1 : i64} {
  %cst = arith.constant 0.0 : f32
  // expected-error @below {{expected buffers of static shape}}
  linalg.fill ins(%cst : f32) outs(%x : memref<?xf32>)
  return
}

// -----

func.func @control(%x: memref<4xf32>, %workgroup: index) attributes {v4.grid = 1 : i64} {
  %cst = arith.constant 0.0 : f32
  // expected-error @below {{cannot be run by the threads of a block; accepted: scf.for, scf.if and linalg ops}}
  scf.forall (%i) in (4) {
    linalg.fill ins(%cst : f32) outs(%x : memref<4xf32>)
  }
  return
}

// -----

func.func private @other(memref<4xf32>)
func.func @opaque(%x: memref<4xf32>, %workgroup: index) attributes {v4.grid = 1 : i64} {
  // expected-error @below {{does not say what memory it accesses}}
  func.call @other(%x) : (memref<4xf32>) -> ()
  return
}
