// RUN: v4-opt %s --pass-pipeline='builtin.module(gpu.module(v4-convert-gpu-to-nvvm))' | FileCheck %s

gpu.module @k {
  // A buffer is one pointer. The exact number of threads is the only bound.
  // CHECK-LABEL: llvm.func @f
  // CHECK-SAME:    (%{{.*}}: !llvm.ptr<1> {llvm.noalias, llvm.readonly}, %{{.*}}: !llvm.ptr<1>)
  // CHECK-SAME:    nvvm.kernel, nvvm.reqntid = array<i32: 64, 1, 1>
  // CHECK-NOT:     nvvm.maxntid
  // CHECK:         nvvm.read.ptx.sreg.tid.x
  // CHECK:         nvvm.read.ptx.sreg.ctaid.x
  // No library: math stays until it becomes intrinsics.
  // CHECK:         math.fma
  // CHECK:         nvvm.shfl.sync bfly
  // CHECK:         nvvm.barrier0
  // CHECK:         memref.store
  gpu.func @f(%x: memref<64xf32, 1> {llvm.noalias, llvm.readonly}, %y: memref<64xf32, 1>) kernel
      attributes {known_block_size = array<i32: 64, 1, 1>, nvvm.reqntid = array<i32: 64, 1, 1>} {
    %t = gpu.thread_id x
    %b = gpu.block_id x
    %c16 = arith.constant 16 : i32
    %c32 = arith.constant 32 : i32
    %0 = memref.load %x[%t] : memref<64xf32, 1>
    %1 = math.fma %0, %0, %0 : f32
    %2, %valid = gpu.shuffle xor %1, %c16, %c32 : f32
    gpu.barrier
    memref.store %2, %y[%b] : memref<64xf32, 1>
    gpu.return
  }
}
