// RUN: v4-opt %s --pass-pipeline='builtin.module(v4-outline-gpu-kernels{target=nvptx:sm_120})' --split-input-file --verify-diagnostics
// RUN: not v4-opt %s --pass-pipeline='builtin.module(v4-outline-gpu-kernels{target=cpu})' --split-input-file 2>&1 | FileCheck %s

// CHECK: expected a GPU as target, found 'cpu'

module @large attributes {v4.kernel} {
  // expected-error @below {{resource.smem: a workgroup needs 131072 bytes of shared memory, sm_120 has}}
  func.func @large.0(%x: memref<64xf32>, %w: index) attributes {v4.grid = 1 : i64, v4.threads = 128 : i64} {
    %c0 = arith.constant 0 : index
    %tile = memref.alloca() : memref<32768xf32>
    %0 = memref.load %x[%c0] : memref<64xf32>
    memref.store %0, %tile[%c0] : memref<32768xf32>
    return
  }
}
