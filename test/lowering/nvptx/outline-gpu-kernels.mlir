// RUN: v4-opt %s --split-input-file --pass-pipeline='builtin.module(v4-outline-gpu-kernels{target=nvptx:sm_90a})' | FileCheck %s

// The workgroup is the block, arguments are global memory, temporaries one shared buffer.
// CHECK-LABEL: module @k attributes {v4.kernel}
// CHECK: gpu.module @k {
// CHECK: memref.global "private" @k_p0_shared : memref<640xi8, 3> = uninitialized {alignment = 128 : i64}
// CHECK: gpu.func @k_p0(%[[X:.+]]: memref<64xf32, 1> {llvm.noalias, llvm.readonly}, %[[Y:.+]]: memref<64xf32, 1>) kernel attributes
// CHECK-SAME: known_block_size = array<i32: 128, 1, 1>
// CHECK-SAME: nvvm.minctasm = 1 : i32, nvvm.reqntid = array<i32: 128, 1, 1>, v4.grid = 4 : i64
// CHECK-NOT: v4.shared
// CHECK: %[[MEMORY:.+]] = memref.get_global @k_p0_shared
// CHECK: %[[A:.+]] = memref.view %[[MEMORY]][%c0][] : memref<640xi8, 3> to memref<64xf32, 3>
// CHECK: %[[B:.+]] = memref.view %[[MEMORY]][%c512][] : memref<640xi8, 3> to memref<32xf32, 3>
// CHECK: %[[ID:.+]] = gpu.block_id x
// CHECK: memref.load %[[X]][%[[ID]]] : memref<64xf32, 1>
// CHECK: memref.store %{{.+}}, %[[A]][%[[ID]]] : memref<64xf32, 3>
// CHECK: gpu.return
module @k attributes {v4.kernel} {
  func.func @k.0(%x: memref<64xf32>, %y: memref<64xf32>, %workgroup: index) attributes {v4.grid = 4 : i64, v4.threads = 128 : i64} {
    %a = memref.alloca() {alignment = 128 : i64} : memref<64xf32>
    %b = memref.alloca() {alignment = 512 : i64} : memref<32xf32, 3>
    %0 = memref.load %x[%workgroup] : memref<64xf32>
    memref.store %0, %a[%workgroup] : memref<64xf32>
    memref.store %0, %b[%workgroup] : memref<32xf32, 3>
    memref.store %0, %y[%workgroup] : memref<64xf32>
    return
  }
}

// -----

// More than 48 KiB are dynamic: declared, not defined.
// CHECK-LABEL: module @large
// CHECK: memref.global @large_p1_shared : memref<0xi8, 3> {alignment = 128 : i64}
// CHECK: gpu.func @large_p1
// CHECK-SAME: v4.shared = 65536 : i64
// CHECK: memref.get_global @large_p1_shared : memref<0xi8, 3>
module @large attributes {v4.kernel} {
  func.func @large.1(%x: memref<64xf32>, %workgroup: index) attributes {v4.grid = 4 : i64, v4.threads = 128 : i64} {
    %a = memref.alloca() : memref<16384xf32>
    %0 = memref.load %x[%workgroup] : memref<64xf32>
    memref.store %0, %a[%workgroup] : memref<16384xf32>
    return
  }
}

// -----

// A constant is the kernel's own.
// CHECK-LABEL: module @constants
// CHECK: gpu.module @constants
// CHECK: memref.global "private" constant @constants__table : memref<2xf32, 1>
// CHECK: memref.get_global @constants__table : memref<2xf32, 1>
module @constants attributes {v4.kernel} {
  memref.global "private" constant @__table : memref<2xf32> = dense<[1.0, 2.0]>
  func.func @constants.0(%x: memref<2xf32>, %workgroup: index) attributes {v4.grid = 2 : i64, v4.threads = 128 : i64} {
    %t = memref.get_global @__table : memref<2xf32>
    %0 = memref.load %t[%workgroup] : memref<2xf32>
    memref.store %0, %x[%workgroup] : memref<2xf32>
    return
  }
}
