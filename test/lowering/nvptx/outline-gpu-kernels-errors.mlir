// RUN: v4-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(v4-outline-gpu-kernels{target=nvptx:sm_120})'
// RUN: not v4-opt %s --pass-pipeline='builtin.module(v4-outline-gpu-kernels{target=nvptx:sm_70})' 2>&1 | FileCheck %s
// CHECK: error: expected a GPU as target, found 'nvptx:sm_70'

module @k attributes {v4.kernel} {
  // expected-error @below {{resource.smem: a workgroup needs 131072 bytes of shared memory, sm_120 has 101376}}
  func.func @k.0(%x: memref<64xf32>, %workgroup: index) attributes {v4.grid = 4 : i64, v4.threads = 128 : i64} {
    %a = memref.alloca() : memref<32768xf32>
    %0 = memref.load %x[%workgroup] : memref<64xf32>
    memref.store %0, %a[%workgroup] : memref<32768xf32>
    return
  }
}
