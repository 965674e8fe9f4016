// RUN: v4-opt %s --v4-split-phases --split-input-file --verify-diagnostics

func.func @k(%y: memref<4xf32>) {
  // expected-error @below {{yields a buffer of its own; a phase writes its results to buffers outside}}
  %0 = v4.phase -> memref<4xf32> {
    %1 = memref.alloca() : memref<4xf32>
    v4.yield %1 : memref<4xf32>
  }
  memref.copy %0, %y : memref<4xf32> to memref<4xf32>
  return
}

// -----

func.func @k(%x: memref<4xf32>) {
  v4.phase {
    scf.forall (%i) in (4) {
      %0 = memref.load %x[%i] : memref<4xf32>
      memref.store %0, %x[%i] : memref<4xf32>
    }
    // expected-error @below {{is the second grid of a phase; this target runs one}}
    scf.forall (%i) in (4) {
      %0 = memref.load %x[%i] : memref<4xf32>
      memref.store %0, %x[%i] : memref<4xf32>
    }
    v4.yield
  }
  return
}

// -----

func.func @k(%x: memref<4xf32>, %n: index) {
  v4.phase {
    // expected-error @below {{has dynamic bounds; grids are sized from capacities}}
    scf.forall (%i) in (%n) {
      %0 = memref.load %x[%i] : memref<4xf32>
      memref.store %0, %x[%i] : memref<4xf32>
    }
    v4.yield
  }
  return
}
