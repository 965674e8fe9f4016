// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the emulator says of asynchronous copies.
// RUN: emu-compile %s -o %t.elf

gpu.module @copies {
  llvm.mlir.global internal @s() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<512 x i8>

  // RUN: not kernel-run %t.elf kernel=early block=32 iota=x:128 poison=y:128 | FileCheck %s --check-prefix=EARLY
  // EARLY: thread (0,0,0), llvm.load ({{.*}}): read of byte 0 of shared memory while an asynchronous copy into it is in flight, started by thread (0,0,0) at nvvm.cp.async.shared.global ({{.*}}faults-copies.mlir:[[@LINE+6]]:5)
  llvm.func @early(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %p = llvm.getelementptr %s[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, vector<4xf32>
    %q = llvm.getelementptr %x[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, vector<4xf32>
    nvvm.cp.async.shared.global %p, %q, 16, cache = cg : !llvm.ptr<3>, !llvm.ptr<1>
    nvvm.cp.async.commit.group
    nvvm.cp.async.wait.group 1
    %v = llvm.load %p : !llvm.ptr<3> -> i32
    nvvm.cp.async.wait.group 0
    %o = llvm.getelementptr %y[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %v, %o : i32, !llvm.ptr<1>
    llvm.return
  }

  // With races off the early reader gets NaN.
  // RUN: kernel-run %t.elf kernel=early block=32 iota=x:128 poison=y:128 print=y:f32 --races=off | FileCheck %s --check-prefix=NAN
  // NAN: y: {{-?}}nan {{-?}}nan

  // RUN: not kernel-run %t.elf kernel=left_over block=32 iota=x:128 | FileCheck %s --check-prefix=LEFT
  // LEFT: thread (0,0,0), nvvm.cp.async.shared.global ({{.*}}): asynchronous copy is still in flight when its thread exits
  llvm.func @left_over(%x: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %p = llvm.getelementptr %s[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, vector<4xf32>
    %q = llvm.getelementptr %x[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, vector<4xf32>
    nvvm.cp.async.shared.global %p, %q, 16, cache = cg : !llvm.ptr<3>, !llvm.ptr<1>
    nvvm.cp.async.commit.group
    llvm.return
  }

  // The wait is the issuing thread's: the others need a barrier as well.
  // RUN: not kernel-run %t.elf kernel=no_barrier block=32 iota=x:128 poison=y:128 | FileCheck %s --check-prefix=BARRIER
  // BARRIER: llvm.load ({{.*}}): {{race on byte .* of shared memory: this read and the write by thread .* at nvvm.cp.async.shared.global|uninitialised|read of byte}}
  llvm.func @no_barrier(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %last = llvm.mlir.constant(31 : i32) : i32
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %p = llvm.getelementptr %s[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, vector<4xf32>
    %q = llvm.getelementptr %x[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, vector<4xf32>
    nvvm.cp.async.shared.global %p, %q, 16, cache = cg : !llvm.ptr<3>, !llvm.ptr<1>
    nvvm.cp.async.commit.group
    nvvm.cp.async.wait.group 0
    %i = llvm.xor %tid, %last : i32
    %r = llvm.getelementptr %s[%i] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, vector<4xf32>
    %v = llvm.load %r : !llvm.ptr<3> -> i32
    %o = llvm.getelementptr %y[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %v, %o : i32, !llvm.ptr<1>
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=too_many block=32 iota=x:128 | FileCheck %s --check-prefix=MANY
  // MANY: nvvm.cp.async.shared.global ({{.*}}): reads 20 bytes for a copy of 16
  llvm.func @too_many(%x: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %n = llvm.mlir.constant(20 : i32) : i32
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    nvvm.cp.async.shared.global %s, %x, 16, cache = cg, %n : !llvm.ptr<3>, !llvm.ptr<1>, i32
    llvm.return
  }

  // A zero-filled copy that nobody waits for is what the classic ring ends with.
  // RUN: kernel-run %t.elf kernel=empty block=32 iota=x:128
  llvm.func @empty(%x: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %n = llvm.mlir.constant(0 : i32) : i32
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %p = llvm.getelementptr %s[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, vector<4xf32>
    nvvm.cp.async.shared.global %p, %x, 16, cache = cg, %n : !llvm.ptr<3>, !llvm.ptr<1>, i32
    nvvm.cp.async.commit.group
    llvm.return
  }
}
