// RUN: v4-opt %s --v4-hoist-workspaces --split-input-file --verify-diagnostics

module {
  module @k attributes {v4.kernel} {
    func.func @k(%n: index) {
      v4.phase {
        // expected-error @below {{expected a temporary of static shape, found 'memref<?xf32>'}}
        %0 = memref.alloc(%n) : memref<?xf32>
        v4.yield
      }
      return
    }
  }
}

// -----

module {
  module @k attributes {v4.kernel} {
    // expected-error @below {{resource.stack: a workgroup needs 8388608 bytes of stack, the limit is 4194304}}
    func.func @k(%x: memref<4xf32>) {
      v4.phase {
        scf.forall (%i) in (4) {
          %tile = memref.alloc() : memref<2097152xf32>
          %0 = memref.load %x[%i] : memref<4xf32>
          linalg.fill ins(%0 : f32) outs(%tile : memref<2097152xf32>)
        }
        v4.yield
      }
      return
    }
  }
}
