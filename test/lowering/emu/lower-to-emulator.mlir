// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: v4-opt %s --v4-lower-to-emulator | FileCheck %s

// Buffers of shared memory lie apart; the dynamic one is the last. Its name is gone, and so are address spaces.
// CHECK-LABEL: module @kernels attributes {
// CHECK-SAME: v4.emu.gaps = array<i32: 128, 192, 208, 272>
// CHECK-SAME: v4.emu.global_granule = 4 : i64
// CHECK-SAME: v4.emu.shared = 272 : i64
// CHECK-SAME: v4.emu.shared_granule = 4 : i64
// CHECK-SAME: v4.emu.sites = [
// CHECK-SAME: {access = 0 : i32, alignment = 16 : i32, at = "{{.*}}lower-to-emulator.mlir:[[#]]:10", binding = 0 : i32, bytes = 16 : i32, op = "llvm.load", space = 1 : i32}
// CHECK-SAME: {access = 1 : i32, alignment = 16 : i32, at = "{{.*}}", binding = -1 : i32, bytes = 16 : i32, op = "llvm.store", space = 3 : i32}
// CHECK-SAME: {at = "{{.*}}", op = "nvvm.barrier0"}
// CHECK-SAME: {access = 0 : i32, alignment = 4 : i32, at = "{{.*}}", binding = -1 : i32, bytes = 4 : i32, op = "llvm.load", space = 3 : i32}
// CHECK-SAME: {at = "{{.*}}", op = "nvvm.shfl.sync"}
// CHECK-SAME: {access = 1 : i32, alignment = 4 : i32, at = "{{.*}}", binding = 1 : i32, bytes = 4 : i32, op = "llvm.store", space = 1 : i32}
// CHECK-NOT: addr_space = 3
// CHECK-DAG: llvm.func @v4_emu_thread() -> !llvm.ptr
// CHECK-DAG: llvm.func @v4_emu_access(!llvm.ptr, !llvm.ptr)
// CHECK-DAG: llvm.func @v4_emu_barrier(i32, i32, !llvm.ptr)
// CHECK-DAG: llvm.func @v4_emu_shuffle(i32, i32, i32, i32, i32, !llvm.ptr) -> i64
gpu.module @kernels {
  llvm.mlir.global internal @first() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<32 x f32>
  llvm.mlir.global internal @second() {addr_space = 3 : i32, alignment = 8 : i64} : !llvm.array<4 x f32>
  llvm.mlir.global external @dynamic() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<0 x i8>

  // CHECK: llvm.func @k(%[[X:.*]]: !llvm.ptr, %[[Y:.*]]: !llvm.ptr) attributes {
  // CHECK-SAME: v4.emu.block = array<i32: 32, 1, 1>, v4.emu.writes = array<i1: false, true>
  llvm.func @k(%x: !llvm.ptr<1> {llvm.noalias}, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel, nvvm.reqntid = array<i32: 32, 1, 1>} {
    // CHECK: %[[THREAD:.*]] = llvm.call @v4_emu_thread()
    // CHECK: %[[TID:.*]] = llvm.getelementptr inbounds %[[THREAD]][0]
    // CHECK: llvm.load %{{.*}} invariant : !llvm.ptr -> i32
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %all = llvm.mlir.constant(-1 : i32) : i32
    %one = llvm.mlir.constant(1 : i32) : i32
    %clamp = llvm.mlir.constant(31 : i32) : i32
    // CHECK: %[[P:.*]] = llvm.getelementptr %[[X]]
    %p = llvm.getelementptr %x[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, vector<4xf32>
    // CHECK: %[[SITE:.*]] = llvm.mlir.addressof @v4_emu_sites
    // CHECK: %[[RECORD:.*]] = llvm.getelementptr inbounds %[[SITE]][0]
    // CHECK: llvm.call @v4_emu_access(%[[P]], %[[RECORD]])
    // CHECK: llvm.load %[[P]] {alignment = 16 : i64} : !llvm.ptr -> vector<4xf32>
    %v = llvm.load %p {alignment = 16 : i64} : !llvm.ptr<1> -> vector<4xf32>
    %s = llvm.mlir.addressof @dynamic : !llvm.ptr<3>
    %q = llvm.getelementptr %s[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, vector<4xf32>
    llvm.store %v, %q {alignment = 16 : i64} : vector<4xf32>, !llvm.ptr<3>
    // CHECK: llvm.call @v4_emu_barrier(
    nvvm.barrier0
    %w = llvm.load %q : !llvm.ptr<3> -> f32
    // CHECK: %[[BITS:.*]] = llvm.bitcast %{{.*}} : f32 to i32
    // CHECK: %[[PACKED:.*]] = llvm.call @v4_emu_shuffle(%{{.*}}, %[[BITS]]
    // CHECK: %[[LOW:.*]] = llvm.trunc %[[PACKED]] : i64 to i32
    // CHECK: llvm.bitcast %[[LOW]] : i32 to f32
    %z = nvvm.shfl.sync bfly %all, %w, %one, %clamp : f32 -> f32
    %o = llvm.getelementptr %y[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    llvm.store %z, %o : f32, !llvm.ptr<1>
    llvm.return
  }
}

// A pointer of which the parameter is not known makes every parameter one that may be written.
// CHECK-LABEL: module @unknown
// CHECK: llvm.func @select(
// CHECK-SAME: v4.emu.writes = array<i1: true, true>
// CHECK: llvm.func @same(
// CHECK-SAME: v4.emu.writes = array<i1: true, true>
gpu.module @unknown {
  llvm.func @select(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %one = llvm.mlir.constant(1 : i32) : i32
    %c = llvm.icmp "ult" %tid, %one : i32
    %p = llvm.select %c, %x, %y : i1, !llvm.ptr<1>
    llvm.store %tid, %p : i32, !llvm.ptr<1>
    llvm.return
  }
  llvm.func @same(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    llvm.return
  }
}

// A loop that carries a pointer still walks one parameter.
// CHECK-LABEL: module @loop
// CHECK-SAME: binding = 1 : i32
// CHECK: v4.emu.writes = array<i1: false, true>
gpu.module @loop {
  llvm.func @walk(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %zero = llvm.mlir.constant(0 : i32) : i32
    %one = llvm.mlir.constant(1 : i32) : i32
    %n = llvm.mlir.constant(4 : i32) : i32
    llvm.br ^head(%zero, %y : i32, !llvm.ptr<1>)
  ^head(%i: i32, %p: !llvm.ptr<1>):
    %more = llvm.icmp "ult" %i, %n : i32
    llvm.cond_br %more, ^body, ^end
  ^body:
    llvm.store %i, %p : i32, !llvm.ptr<1>
    %q = llvm.getelementptr %p[1] : (!llvm.ptr<1>) -> !llvm.ptr<1>, i32
    %j = llvm.add %i, %one : i32
    llvm.br ^head(%j, %q : i32, !llvm.ptr<1>)
  ^end:
    llvm.return
  }
}
