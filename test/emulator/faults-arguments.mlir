// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the emulator says of operands that ops cannot take.
// RUN: emu-compile %s -o %t.elf

gpu.module @arguments {
  // RUN: not kernel-run %t.elf kernel=divide block=32 iota=x:32 poison=y:128 | FileCheck %s --check-prefix=ZERO
  // RUN: kernel-run %t.elf kernel=divide block=31 iota=x:31 poison=y:128 print=y:i32 | FileCheck %s --check-prefix=QUOTIENT
  // ZERO: thread (31,0,0), llvm.udiv ({{.*}}faults-arguments.mlir:[[@LINE+9]]:10): division by zero, or a quotient out of range
  // QUOTIENT: y: 3 3 3 3
  llvm.func @divide(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c31 = llvm.mlir.constant(31 : i32) : i32
    %c100 = llvm.mlir.constant(100 : i32) : i32
    %p = llvm.getelementptr %x[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    %v = llvm.load %p : !llvm.ptr<1> -> i32
    %d = llvm.sub %c31, %v : i32
    %q = llvm.udiv %c100, %d : i32
    %o = llvm.getelementptr %y[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %q, %o : i32, !llvm.ptr<1>
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=divide_signed block=1 in=x:%S/Inputs/least.bin poison=y:8 | FileCheck %s --check-prefix=SIGNED
  // SIGNED: llvm.sdiv ({{.*}}): division by zero, or a quotient out of range
  llvm.func @divide_signed(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %v = llvm.load %x : !llvm.ptr<1> -> vector<2xi32>
    %m = llvm.mlir.constant(dense<-1> : vector<2xi32>) : vector<2xi32>
    %q = llvm.sdiv %v, %m : vector<2xi32>
    llvm.store %q, %y : vector<2xi32>, !llvm.ptr<1>
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=threads block=64 in=n:%S/Inputs/least.bin | FileCheck %s --check-prefix=MANY
  // RUN: not kernel-run %t.elf kernel=threads block=64 iota=n:33 | FileCheck %s --check-prefix=MULTIPLE
  // MANY: nvvm.barrier ({{.*}}): barrier for 2147483648 threads in a block of 64
  // MULTIPLE: nvvm.barrier ({{.*}}): barrier for {{.*}} threads: no multiple of 32
  llvm.func @threads(%n: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %zero = llvm.mlir.constant(0 : i32) : i32
    %first = llvm.load %n : !llvm.ptr<1> -> i32
    %isZero = llvm.icmp "eq" %first, %zero : i32
    %seven = llvm.mlir.constant(7 : i32) : i32
    %count = llvm.select %isZero, %seven, %first : i1, i32
    nvvm.barrier id = %zero number_of_threads = %count
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=lanes block=32 | FileCheck %s --check-prefix=LANES
  // LANES: nvvm.barrier ({{.*}}): divergent: lane 31 names barrier 15 for 32 threads, lane 0 barrier 0 for 32
  llvm.func @lanes() attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %fifteen = llvm.mlir.constant(15 : i32) : i32
    %all = llvm.mlir.constant(32 : i32) : i32
    %id = llvm.and %tid, %fifteen : i32
    nvvm.barrier id = %id number_of_threads = %all
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=counts block=96 | FileCheck %s --check-prefix=COUNTS
  // RUN: not kernel-run %t.elf kernel=counts block=48 | FileCheck %s --check-prefix=MORE
  // COUNTS: nvvm.barrier ({{.*}}): barrier 0 for 64 threads, of which others wait for 96
  // MORE: nvvm.barrier ({{.*}}): barrier for 96 threads in a block of 48
  llvm.func @counts() attributes {gpu.kernel, nvvm.kernel} {
    %warp = nvvm.read.ptx.sreg.warpid : i32
    %zero = llvm.mlir.constant(0 : i32) : i32
    %c96 = llvm.mlir.constant(96 : i32) : i32
    %c64 = llvm.mlir.constant(64 : i32) : i32
    %first = llvm.icmp "eq" %warp, %zero : i32
    %n = llvm.select %first, %c96, %c64 : i1, i32
    nvvm.barrier id = %zero number_of_threads = %n
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=half block=48 --seed=1 | FileCheck %s --check-prefix=HALF
  // HALF: nvvm.barrier ({{.*}}): barrier 0: 48 threads arrive where 32 are expected
  llvm.func @half() attributes {gpu.kernel, nvvm.kernel} {
    %zero = llvm.mlir.constant(0 : i32) : i32
    %c32 = llvm.mlir.constant(32 : i32) : i32
    %lane = nvvm.read.ptx.sreg.laneid : i32
    %threads = nvvm.read.ptx.sreg.ntid.x : i32
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    // With this seed the small warp is there first: the other one finds 16 of 32.
    %small = llvm.icmp "uge" %tid, %c32 : i32
    llvm.cond_br %small, ^wait, ^slow
  ^slow:
    %m1 = llvm.mlir.constant(-1 : i32) : i32
    nvvm.bar.warp.sync %m1 : i32
    llvm.br ^wait
  ^wait:
    nvvm.barrier id = %zero number_of_threads = %c32
    llvm.return
  }
}
