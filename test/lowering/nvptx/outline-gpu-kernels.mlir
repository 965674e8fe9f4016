// RUN: v4-opt %s --pass-pipeline='builtin.module(v4-outline-gpu-kernels{target=nvptx:sm_90a})' --split-input-file | FileCheck %s

module @k attributes {v4.kernel} {
  memref.global "private" constant @table : memref<4xf32> = dense<[1.0, 2.0, 3.0, 4.0]>
  // CHECK:         gpu.module @k
  // All kernels of a target are one text: names are those of the module. Constants are global memory.
  // CHECK:         memref.global "private" constant @ktable : memref<4xf32, 1>
  // One buffer of shared memory per phase, allocations one behind the other, aligned.
  // CHECK:         memref.global "private" @k_p0_shared : memref<{{.*}}xi8, 3> = uninitialized {alignment = 128 : i64}
  // CHECK:         gpu.func @k_p0(
  // Read-only arguments are known as such; the written one may carry values between threads.
  // CHECK-SAME:      %[[X:.*]]: memref<64xf32, 1> {llvm.noalias, llvm.readonly}, %[[Y:[^:]*]]: memref<64xf32, 1>)
  // CHECK-SAME:      kernel attributes
  // CHECK-SAME:      known_block_size = array<i32: 64, 1, 1>
  // CHECK-SAME:      nvvm.minctasm = 2 : i32, nvvm.reqntid = array<i32: 64, 1, 1>, v4.grid = 7 : i64
  // CHECK-NOT:       v4.shared
  // CHECK:           %[[SHARED:.*]] = memref.get_global @k_p0_shared
  // CHECK:           %[[SECOND:.*]] = arith.constant 16 : index
  // CHECK:           memref.view %[[SHARED]][%[[SECOND]]][] : memref<{{.*}}xi8, 3> to memref<64xf32, 3>
  // CHECK:           gpu.block_id x
  // CHECK:           memref.get_global @ktable : memref<4xf32, 1>
  // CHECK:           gpu.return
  // CHECK-NOT:     func.func
  func.func @k.0(%x: memref<64xf32>, %y: memref<64xf32>, %w: index) attributes {v4.grid = 7 : i64, v4.threads = 64 : i64, v4.blocks_per_sm = 2 : i64} {
    %c0 = arith.constant 0 : index
    %t = gpu.thread_id x
    %table = memref.get_global @table : memref<4xf32>
    %flag = memref.alloca() : memref<3xi32>
    %c1 = arith.constant 1 : i32
    memref.store %c1, %flag[%c0] : memref<3xi32>
    %tile = memref.alloca() : memref<64xf32>
    %0 = memref.load %x[%t] : memref<64xf32>
    memref.store %0, %tile[%t] : memref<64xf32>
    gpu.barrier
    %1 = memref.load %tile[%w] : memref<64xf32>
    %2 = memref.load %table[%c0] : memref<4xf32>
    %3 = arith.addf %1, %2 : f32
    %view = memref.subview %y[0] [32] [1] : memref<64xf32> to memref<32xf32>
    memref.store %3, %view[%c0] : memref<32xf32>
    return
  }
}

// -----

// More than 48 KiB are dynamic.
module @large attributes {v4.kernel} {
  // CHECK-LABEL:   gpu.module @large
  // CHECK:           gpu.func @large_p0
  // CHECK-SAME:        v4.shared = 65536 : i64
  // CHECK:             gpu.dynamic_shared_memory
  func.func @large.0(%x: memref<64xf32>, %w: index) attributes {v4.grid = 1 : i64, v4.threads = 128 : i64} {
    %c0 = arith.constant 0 : index
    %tile = memref.alloca() : memref<16384xf32>
    %0 = memref.load %x[%c0] : memref<64xf32>
    memref.store %0, %tile[%c0] : memref<16384xf32>
    return
  }
}
