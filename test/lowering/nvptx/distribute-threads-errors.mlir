// RUN: v4-opt %s --pass-pipeline='builtin.module(func.func(v4-distribute-threads))' --split-input-file --verify-diagnostics

func.func @dynamic(%x: memref<?xf32>, %c: f32, %w: index) attributes {v4.grid = 1 : i64} {
  // expected-error @below {{expected buffers of static shape}}
  linalg.fill ins(%c : f32) outs(%x : memref<?xf32>)
  return
}

// -----

func.func private @unknown(memref<8xf32>)
func.func @call(%x: memref<8xf32>, %w: index) attributes {v4.grid = 1 : i64} {
  // expected-error @below {{does not say what memory it accesses}}
  call @unknown(%x) : (memref<8xf32>) -> ()
  return
}

// -----

func.func @many(%x: memref<8xf32>, %w: index) attributes {v4.grid = 1 : i64} {
  // expected-error @below {{wants 2048 threads; accepted: multiples of 32 up to 1024}}
  v4.kernel "gemv" ins(%x : memref<8xf32>) outs(%x : memref<8xf32>) {threads = 2048 : i64}
  return
}

// -----

func.func @two(%x: memref<8xf32>, %w: index) attributes {v4.grid = 1 : i64} {
  v4.kernel "gemv" ins(%x : memref<8xf32>) outs(%x : memref<8xf32>) {threads = 64 : i64}
  // expected-error @below {{wants 96 threads, another template of its phase wants 64}}
  v4.kernel "gemv" ins(%x : memref<8xf32>) outs(%x : memref<8xf32>) {threads = 96 : i64}
  return
}

// -----

func.func @parallel(%x: memref<8xf32>, %w: index) attributes {v4.grid = 1 : i64} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c8 = arith.constant 8 : index
  %c = arith.constant 1.0 : f32
  // expected-error @below {{cannot be run by the threads of a block; accepted: scf.for, scf.if and linalg ops}}
  scf.parallel (%i) = (%c0) to (%c8) step (%c1) {
    linalg.fill ins(%c : f32) outs(%x : memref<8xf32>)
  }
  return
}
