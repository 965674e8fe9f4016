// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the emulator says of accesses that nothing orders. No schedule is needed to see them: every seed reports.
// RUN: emu-compile %s -o %t.elf

gpu.module @races {
  llvm.mlir.global internal @s() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<256 x i8>

  // RUN: not kernel-run %t.elf kernel=read_after_write block=64 poison=y:256 | FileCheck %s --check-prefix=RAW
  // RUN: not kernel-run %t.elf kernel=read_after_write block=64 poison=y:256 --seed=1 | FileCheck %s --check-prefix=RAW
  // RUN: not kernel-run %t.elf kernel=read_after_write block=64 poison=y:256 --seed=2 | FileCheck %s --check-prefix=RAW
  // RUN: kernel-run %t.elf kernel=read_after_write block=64 poison=y:256 --races=off
  // RAW: fault: kernel read_after_write, block (0,0,0), thread ({{.*}}), llvm.{{load|store}} ({{.*}}): {{race on byte .* of shared memory: this read and the write by thread .* at llvm.store .* are not ordered by a barrier|race on byte .* of shared memory: this write and the read by thread .* at llvm.load .* are not ordered by a barrier|uninitialised}}
  llvm.func @read_after_write(%y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %last = llvm.mlir.constant(63 : i32) : i32
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %p = llvm.getelementptr %s[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    llvm.store %tid, %p : i32, !llvm.ptr<3>
    %i = llvm.xor %tid, %last : i32
    %q = llvm.getelementptr %s[%i] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    %v = llvm.load %q : !llvm.ptr<3> -> i32
    %o = llvm.getelementptr %y[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %v, %o : i32, !llvm.ptr<1>
    llvm.return
  }

  // A warp synchronisation orders the warp, not the block.
  // RUN: not kernel-run %t.elf kernel=warp_only block=64 poison=y:256 | FileCheck %s --check-prefix=WARP
  // RUN: kernel-run %t.elf kernel=warp_only block=32 poison=y:256 print=y:i32 | FileCheck %s --check-prefix=ONE-WARP
  // WARP: thread ({{.*}}): {{race on byte|uninitialised}}
  // ONE-WARP: y: 31 30 29
  llvm.func @warp_only(%y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %threads = nvvm.read.ptx.sreg.ntid.x : i32
    %one = llvm.mlir.constant(1 : i32) : i32
    %all = llvm.mlir.constant(-1 : i32) : i32
    %last = llvm.sub %threads, %one : i32
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %p = llvm.getelementptr %s[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    llvm.store %tid, %p : i32, !llvm.ptr<3>
    nvvm.bar.warp.sync %all : i32
    %i = llvm.sub %last, %tid : i32
    %q = llvm.getelementptr %s[%i] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    %v = llvm.load %q : !llvm.ptr<3> -> i32
    %o = llvm.getelementptr %y[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %v, %o : i32, !llvm.ptr<1>
    llvm.return
  }

  // A buffer that is filled again while slower threads still read it: found although the values would be right in most orders.
  // RUN: not kernel-run %t.elf kernel=reuse block=64 | FileCheck %s --check-prefix=REUSE
  // REUSE: llvm.store ({{.*}}:[[@LINE+14]]:11): race on byte 0 of shared memory: this write and the read by several threads, the last of them thread ({{.*}}) at llvm.load ({{.*}}:[[@LINE+12]]:10) are not ordered by a barrier
  llvm.func @reuse() attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %zero = llvm.mlir.constant(0 : i32) : i32
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %zero : i32
    llvm.cond_br %first, ^fill, ^start
  ^fill:
    llvm.store %tid, %s : i32, !llvm.ptr<3>
    llvm.br ^start
  ^start:
    nvvm.barrier0
    %v = llvm.load %s : !llvm.ptr<3> -> i32
    llvm.cond_br %first, ^again, ^end
  ^again: llvm.store %tid, %s : i32, !llvm.ptr<3>
    llvm.br ^end
  ^end:
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=write_write block=64 | FileCheck %s --check-prefix=WAW
  // WAW: llvm.store ({{.*}}): race on byte 0 of shared memory: this write and the write by thread ({{.*}}) at llvm.store
  llvm.func @write_write() attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    llvm.store %tid, %s : i32, !llvm.ptr<3>
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=atomic_and_plain block=64 zero=y:4 | FileCheck %s --check-prefix=ATOMIC
  // ATOMIC: race on byte 0 of binding 0 (y): this {{.*}} and the {{.*}} by {{.*}} are not ordered by a barrier
  llvm.func @atomic_and_plain(%y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %0 = llvm.atomicrmw add %y, %tid monotonic : !llvm.ptr<1>, i32
    %1 = llvm.load %y : !llvm.ptr<1> -> i32
    llvm.store %1, %y : i32, !llvm.ptr<1>
    llvm.return
  }

  // Two blocks write the same word; blocks need not even run at the same time for that to be found.
  // RUN: not kernel-run %t.elf kernel=two_blocks grid=2 block=32 poison=y:128 --threads=1 | FileCheck %s --check-prefix=BLOCKS
  // RUN: kernel-run %t.elf kernel=two_blocks grid=1 block=32 poison=y:128
  // BLOCKS: fault: kernel two_blocks, block (1,0,0), thread (0,0,0), llvm.store ({{.*}}): race on byte 0 of binding 0 (y): this write and the write by block (0,0,0), thread (0,0,0) at llvm.store ({{.*}}) are not ordered by anything, as blocks are not
  llvm.func @two_blocks(%y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %o = llvm.getelementptr %y[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %tid, %o : i32, !llvm.ptr<1>
    llvm.return
  }

  // Within a block too, global memory needs a barrier between two threads.
  // RUN: not kernel-run %t.elf kernel=global_in_block block=64 poison=y:256 | FileCheck %s --check-prefix=GLOBAL
  // GLOBAL: race on byte {{.*}} of binding 0 (y): this {{read|write}} and the {{read|write}} by thread ({{.*}}) at llvm.{{load|store}} ({{.*}}) are not ordered by a barrier
  llvm.func @global_in_block(%y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %last = llvm.mlir.constant(63 : i32) : i32
    %o = llvm.getelementptr %y[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %tid, %o : i32, !llvm.ptr<1>
    %i = llvm.xor %tid, %last : i32
    %q = llvm.getelementptr %y[%i] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    %v = llvm.load %q : !llvm.ptr<1> -> i32
    %w = llvm.add %v, %tid : i32
    nvvm.barrier0
    llvm.store %w, %o : i32, !llvm.ptr<1>
    llvm.return
  }
}
