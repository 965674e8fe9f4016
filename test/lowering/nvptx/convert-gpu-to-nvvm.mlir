// RUN: v4-opt %s --pass-pipeline='builtin.module(gpu.module(v4-convert-gpu-to-nvvm))' | FileCheck %s

// Buffers are bare pointers; mathematics is left alone; the number of threads is exact, without a bound beside it.
// CHECK-LABEL: gpu.module @k
// CHECK: llvm.func @k_p0(%arg0: !llvm.ptr<1>)
// CHECK-NOT: nvvm.maxntid
// CHECK-SAME: nvvm.reqntid = array<i32: 128, 1, 1>
// CHECK-DAG: nvvm.read.ptx.sreg.tid.x range <i32, 0, 128>
// CHECK-DAG: math.sqrt
// CHECK-DAG: math.fma
// CHECK-DAG: nvvm.barrier0
// CHECK-NOT: llvm.call
gpu.module @k {
  gpu.func @k_p0(%x: memref<256xf32, 1>) kernel attributes {known_block_size = array<i32: 128, 1, 1>, nvvm.reqntid = array<i32: 128, 1, 1>} {
    %t = gpu.thread_id x
    %0 = memref.load %x[%t] : memref<256xf32, 1>
    %1 = math.sqrt %0 : f32
    %2 = math.fma %1, %1, %0 : f32
    gpu.barrier
    memref.store %2, %x[%t] : memref<256xf32, 1>
    gpu.return
  }
}
