// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the emulator says of barriers in shared memory and of the copies that complete on them.
// RUN: emu-compile %s -o %t.elf

gpu.module @barriers {
  llvm.mlir.global internal @bar() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<16 x i8>
  llvm.mlir.global internal @s() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<64 x i8>

  // RUN: not kernel-run %t.elf kernel=no_init block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=NOINIT
  // NOINIT: thread (0,0,0), nvvm.mbarrier.arrive ({{.*}}): uninitialised barrier: mbarrier.init has not been executed at byte 0 of shared memory, or its barrier is invalid again
  llvm.func @no_init(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    nvvm.mbarrier.arrive %bar : !llvm.ptr<3>
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=init_twice block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=INITTWICE
  // INITTWICE: thread (0,0,0), nvvm.mbarrier.init ({{.*}}): there is a barrier at byte 0 of shared memory already: mbarrier.inval comes before the next mbarrier.init
  llvm.func @init_twice(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=no_arrivals block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=NOARRIVALS
  // NOARRIVALS: nvvm.mbarrier.init ({{.*}}): barrier for 0 arrivals; 1 to 1048575 are possible
  llvm.func @no_arrivals(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c0 : !llvm.ptr<3>, i32
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // The thread that initialises must meet the others before they arrive.
  // RUN: not kernel-run %t.elf kernel=unordered_init block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=UNORDEREDINIT
  // UNORDEREDINIT: thread (1,0,0), nvvm.mbarrier.arrive ({{.*}}): race on byte 0 of shared memory: this atomic access and the write by thread (0,0,0) at nvvm.mbarrier.init
  llvm.func @unordered_init(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c2 = llvm.mlir.constant(2 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c2 : !llvm.ptr<3>, i32
      llvm.br ^start
    ^start:
      nvvm.mbarrier.arrive %bar : !llvm.ptr<3>
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=too_many block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=TOOMANY
  // TOOMANY: nvvm.mbarrier.arrive ({{.*}}): exhausted barrier phase: 3 arrive at the barrier at byte 0 of shared memory, whose phase 0 waits for 2 of 2
  llvm.func @too_many(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c2 = llvm.mlir.constant(2 : i32) : i32
    %c3 = llvm.mlir.constant(3 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c2 : !llvm.ptr<3>, i32
      nvvm.mbarrier.arrive %bar, %c3 : !llvm.ptr<3>
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=completes block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=COMPLETES
  // COMPLETES: nvvm.mbarrier.arrive.nocomplete ({{.*}}): exhausted barrier phase: arrival without completion completes phase 0 of the barrier at byte 0
  llvm.func @completes(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c2 = llvm.mlir.constant(2 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c2 : !llvm.ptr<3>, i32
      %t = nvvm.mbarrier.arrive.nocomplete %bar, %c2 : !llvm.ptr<3>, i32 -> i64
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=too_few block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=TOOFEW
  // TOOFEW: nvvm.mbarrier.try_wait.parity ({{.*}}): deadlock or divergent barrier: 2 threads wait at nvvm.mbarrier.try_wait.parity {{.*}}; phase 0 of the barrier at byte 0 of shared memory is exhausted: 1 of 3 arrivals and 0 bytes never come
  llvm.func @too_few(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c3 = llvm.mlir.constant(3 : i32) : i32
    %time = llvm.mlir.constant(1000 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c3 : !llvm.ptr<3>, i32
      llvm.br ^start
    ^start:
      nvvm.barrier0
      nvvm.mbarrier.arrive %bar : !llvm.ptr<3>
      nvvm.mbarrier.try_wait.parity %bar, %c0, %time : !llvm.ptr<3>, i32, i32
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=asks_for_ever block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=ASKSFOREVER
  // ASKSFOREVER: nvvm.mbarrier.test.wait ({{.*}}): deadlock: {{.*}} tests in a row of barriers in shared memory have failed, and nobody arrives
  llvm.func @asks_for_ever(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c3 = llvm.mlir.constant(3 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c3 : !llvm.ptr<3>, i32
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.br ^again
      ^again:
      %d = nvvm.mbarrier.test.wait %bar, %c0 : !llvm.ptr<3>, i32 -> i1
      llvm.cond_br %d, ^done, ^again
      ^done:
      llvm.return
  }

  // The phase before the first counts as complete: nobody waits, and the read comes too early.
  // RUN: not kernel-run %t.elf kernel=wrong_parity block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=WRONGPARITY
  // WRONGPARITY: thread ({{[01]}},0,0), llvm.load ({{.*}}): {{race on byte .* of shared memory|uninitialised}}
  llvm.func @wrong_parity(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c2 = llvm.mlir.constant(2 : i32) : i32
    %time = llvm.mlir.constant(1000 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c2 : !llvm.ptr<3>, i32
      llvm.br ^start
    ^start:
      nvvm.barrier0
      %mine = llvm.getelementptr %s[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
      llvm.store %tid, %mine : i32, !llvm.ptr<3>
      nvvm.mbarrier.arrive %bar : !llvm.ptr<3>
      nvvm.mbarrier.try_wait.parity %bar, %c1, %time : !llvm.ptr<3>, i32, i32
      %o = llvm.xor %tid, %c1 : i32
      %theirs = llvm.getelementptr %s[%o] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
      %v = llvm.load %theirs : !llvm.ptr<3> -> i32
      %to = llvm.getelementptr %y[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
      llvm.store %v, %to : i32, !llvm.ptr<1>
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=no_parity block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=NOPARITY
  // NOPARITY: nvvm.mbarrier.try_wait.parity ({{.*}}): parity 2 of a barrier's phase is neither 0 nor 1
  llvm.func @no_parity(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c2 = llvm.mlir.constant(2 : i32) : i32
    %time = llvm.mlir.constant(1000 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c2 : !llvm.ptr<3>, i32
      nvvm.mbarrier.try_wait.parity %bar, %c2, %time : !llvm.ptr<3>, i32, i32
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=old_state block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=OLDSTATE
  // OLDSTATE: nvvm.mbarrier.test.wait ({{.*}}): exhausted barrier phase: waits for the end of phase 0 of the barrier at byte 0 of shared memory, which is in phase 2; it can wait for that one and the one before
  llvm.func @old_state(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      %t = nvvm.mbarrier.arrive %bar : !llvm.ptr<3> -> i64
      nvvm.mbarrier.arrive %bar : !llvm.ptr<3>
      %d = nvvm.mbarrier.test.wait %bar, %t : !llvm.ptr<3>, i64 -> i1
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // The thread that arrives does not wait until the other one has seen the end of the phase.
  // RUN: not kernel-run %t.elf kernel=runs_ahead block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=RUNSAHEAD
  // RUNSAHEAD: nvvm.mbarrier.arrive ({{.*}}): exhausted barrier phase: phase 1 of the barrier at byte 0 of shared memory ends before thread (1,0,0) has seen the end of the phase before
  llvm.func @runs_ahead(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %time = llvm.mlir.constant(1000 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.cond_br %first, ^zero, ^one
    ^zero:
      nvvm.mbarrier.arrive %bar : !llvm.ptr<3>
      nvvm.mbarrier.arrive %bar : !llvm.ptr<3>
      llvm.br ^end
    ^one:
      nvvm.mbarrier.try_wait.parity %bar, %c0, %time : !llvm.ptr<3>, i32, i32
      llvm.br ^end
    ^end:
      llvm.return
  }

  // What is written after the arrival is not ordered by it.
  // RUN: not kernel-run %t.elf kernel=late_write block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=LATEWRITE
  // LATEWRITE: llvm.load ({{.*}}): race on byte {{.*}} of shared memory: this read and the write by thread (0,0,0) at llvm.store
  llvm.func @late_write(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %time = llvm.mlir.constant(1000 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      llvm.store %c0, %s : i32, !llvm.ptr<3>
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.cond_br %first, ^zero, ^one
    ^zero:
      nvvm.mbarrier.arrive %bar : !llvm.ptr<3>
      llvm.store %c1, %s : i32, !llvm.ptr<3>
      llvm.br ^end
    ^one:
      nvvm.mbarrier.try_wait.parity %bar, %c0, %time : !llvm.ptr<3>, i32, i32
      %v = llvm.load %s : !llvm.ptr<3> -> i32
      llvm.store %v, %y : i32, !llvm.ptr<1>
      llvm.br ^end
    ^end:
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=inval_in_use block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=INVALINUSE
  // INVALINUSE: nvvm.mbarrier.inval ({{.*}}): barrier at byte 0 of shared memory is in use: thread (1,0,0) waits for it
  llvm.func @inval_in_use(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %time = llvm.mlir.constant(1000 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.cond_br %first, ^zero, ^one
    ^zero:
      nvvm.mbarrier.inval %bar : !llvm.ptr<3>
      llvm.br ^end
    ^one:
      nvvm.mbarrier.try_wait.parity %bar, %c0, %time : !llvm.ptr<3>, i32, i32
      llvm.br ^end
    ^end:
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=used_after_inval block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=USEDAFTERINVAL
  // USEDAFTERINVAL: nvvm.mbarrier.arrive ({{.*}}): uninitialised barrier
  llvm.func @used_after_inval(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      nvvm.mbarrier.inval %bar : !llvm.ptr<3>
      nvvm.mbarrier.arrive %bar : !llvm.ptr<3>
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=overwritten block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=OVERWRITTEN
  // OVERWRITTEN: llvm.store ({{.*}}): write of byte 0 of shared memory, where a barrier is
  llvm.func @overwritten(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      llvm.store %c1, %bar : i32, !llvm.ptr<3>
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=misplaced block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=MISPLACED
  // MISPLACED: nvvm.mbarrier.init ({{.*}}): misaligned: byte {{[0-9]+}} of shared memory is no multiple of 8
  llvm.func @misplaced(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c3 = llvm.mlir.constant(3 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      %odd = llvm.getelementptr %bar[%c3] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
      nvvm.mbarrier.init %odd, %c1 : !llvm.ptr<3>, i32
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=not_shared block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=NOTSHARED
  // NOTSHARED: nvvm.mbarrier.init ({{.*}}): out of bounds: address {{.*}} of a barrier is not in shared memory
  llvm.func @not_shared(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      %g = llvm.addrspacecast %x : !llvm.ptr<1> to !llvm.ptr
      nvvm.mbarrier.init %g, %c1 : !llvm.ptr, i32
      nvvm.fence.mbarrier.init
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // Nobody waits for the copy.
  // RUN: not kernel-run %t.elf kernel=early block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=EARLY
  // EARLY: llvm.load ({{.*}}): read of byte {{.*}} of shared memory while an asynchronous copy into it is in flight, started by thread (0,0,0) at nvvm.cp.async.bulk.shared.cluster.global
  llvm.func @early(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c32 = llvm.mlir.constant(32 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      nvvm.fence.mbarrier.init
      nvvm.mbarrier.arrive.expect_tx %bar, %c32 : !llvm.ptr<3>, i32
      nvvm.cp.async.bulk.shared.cluster.global %s, %x, %bar, %c32 : !llvm.ptr<3>, !llvm.ptr<1>
      %v = llvm.load %s : !llvm.ptr<3> -> i32
      llvm.store %v, %y : i32, !llvm.ptr<1>
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // The wait orders the copy for the thread that waits, and for nobody else.
  // RUN: not kernel-run %t.elf kernel=one_waits block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=ONEWAITS
  // ONEWAITS: thread (1,0,0), llvm.load ({{.*}}): {{race on byte .* of shared memory|read of byte .* while an asynchronous copy}}
  llvm.func @one_waits(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c32 = llvm.mlir.constant(32 : i32) : i32
    %time = llvm.mlir.constant(1000 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      nvvm.fence.mbarrier.init
      nvvm.mbarrier.arrive.expect_tx %bar, %c32 : !llvm.ptr<3>, i32
      nvvm.cp.async.bulk.shared.cluster.global %s, %x, %bar, %c32 : !llvm.ptr<3>, !llvm.ptr<1>
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.cond_br %first, ^zero, ^one
    ^zero:
      nvvm.mbarrier.try_wait.parity %bar, %c0, %time : !llvm.ptr<3>, i32, i32
      llvm.br ^end
    ^one:
      %v = llvm.load %s : !llvm.ptr<3> -> i32
      llvm.store %v, %y : i32, !llvm.ptr<1>
      llvm.br ^end
    ^end:
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=not_announced block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=NOTANNOUNCED
  // NOTANNOUNCED: llvm.load ({{.*}}): read of byte {{.*}} of shared memory while an asynchronous copy into it is in flight
  llvm.func @not_announced(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c32 = llvm.mlir.constant(32 : i32) : i32
    %time = llvm.mlir.constant(1000 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      nvvm.fence.mbarrier.init
      nvvm.cp.async.bulk.shared.cluster.global %s, %x, %bar, %c32 : !llvm.ptr<3>, !llvm.ptr<1>
      nvvm.mbarrier.arrive %bar : !llvm.ptr<3>
      nvvm.mbarrier.try_wait.parity %bar, %c0, %time : !llvm.ptr<3>, i32, i32
      %v = llvm.load %s : !llvm.ptr<3> -> i32
      llvm.store %v, %y : i32, !llvm.ptr<1>
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // The phase is complete with the first copy; the second one lands in the next.
  // RUN: not kernel-run %t.elf kernel=too_many_bytes block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=TOOMANYBYTES
  // TOOMANYBYTES: nvvm.cp.async.bulk.shared.cluster.global ({{.*}}): asynchronous copy is still in flight when its block ends
  llvm.func @too_many_bytes(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c32 = llvm.mlir.constant(32 : i32) : i32
    %time = llvm.mlir.constant(1000 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      nvvm.fence.mbarrier.init
      nvvm.mbarrier.arrive.expect_tx %bar, %c32 : !llvm.ptr<3>, i32
      nvvm.cp.async.bulk.shared.cluster.global %s, %x, %bar, %c32 : !llvm.ptr<3>, !llvm.ptr<1>
      %more = llvm.getelementptr %s[%c32] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
      nvvm.cp.async.bulk.shared.cluster.global %more, %x, %bar, %c32 : !llvm.ptr<3>, !llvm.ptr<1>
      nvvm.mbarrier.try_wait.parity %bar, %c0, %time : !llvm.ptr<3>, i32, i32
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=more_than_expected block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=MORETHANEXPECTED
  // MORETHANEXPECTED: nvvm.cp.async.bulk.shared.cluster.global ({{.*}}): exhausted barrier phase: 16 more bytes have landed than phase 0 of the barrier at byte 0 of shared memory expects
  llvm.func @more_than_expected(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c16 = llvm.mlir.constant(16 : i32) : i32
    %c32 = llvm.mlir.constant(32 : i32) : i32
    %time = llvm.mlir.constant(1000 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      nvvm.fence.mbarrier.init
      nvvm.mbarrier.arrive.expect_tx %bar, %c16 : !llvm.ptr<3>, i32
      nvvm.cp.async.bulk.shared.cluster.global %s, %x, %bar, %c32 : !llvm.ptr<3>, !llvm.ptr<1>
      nvvm.mbarrier.try_wait.parity %bar, %c0, %time : !llvm.ptr<3>, i32, i32
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=too_few_bytes block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=TOOFEWBYTES
  // TOOFEWBYTES: deadlock or divergent barrier: {{.*}}; phase 0 of the barrier at byte 0 of shared memory is exhausted: 0 of 1 arrivals and 32 bytes never come
  llvm.func @too_few_bytes(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c32 = llvm.mlir.constant(32 : i32) : i32
    %c64 = llvm.mlir.constant(64 : i32) : i32
    %time = llvm.mlir.constant(1000 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      nvvm.fence.mbarrier.init
      nvvm.mbarrier.arrive.expect_tx %bar, %c64 : !llvm.ptr<3>, i32
      nvvm.cp.async.bulk.shared.cluster.global %s, %x, %bar, %c32 : !llvm.ptr<3>, !llvm.ptr<1>
      nvvm.mbarrier.try_wait.parity %bar, %c0, %time : !llvm.ptr<3>, i32, i32
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=left_over block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=LEFTOVER
  // LEFTOVER: nvvm.cp.async.bulk.shared.cluster.global ({{.*}}): asynchronous copy is still in flight when its block ends
  llvm.func @left_over(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c32 = llvm.mlir.constant(32 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      nvvm.fence.mbarrier.init
      nvvm.mbarrier.arrive.expect_tx %bar, %c32 : !llvm.ptr<3>, i32
      nvvm.cp.async.bulk.shared.cluster.global %s, %x, %bar, %c32 : !llvm.ptr<3>, !llvm.ptr<1>
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=inval_in_flight block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=INVALINFLIGHT
  // INVALINFLIGHT: nvvm.mbarrier.inval ({{.*}}): barrier at byte 0 of shared memory is in use: a copy that completes on it is in flight, started at nvvm.cp.async.bulk.shared.cluster.global
  llvm.func @inval_in_flight(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c32 = llvm.mlir.constant(32 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      nvvm.fence.mbarrier.init
      nvvm.mbarrier.arrive.expect_tx %bar, %c32 : !llvm.ptr<3>, i32
      nvvm.cp.async.bulk.shared.cluster.global %s, %x, %bar, %c32 : !llvm.ptr<3>, !llvm.ptr<1>
      nvvm.mbarrier.inval %bar : !llvm.ptr<3>
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=odd_size block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=ODDSIZE
  // ODDSIZE: nvvm.cp.async.bulk.shared.cluster.global ({{.*}}): bulk copy of 24 bytes: no multiple of 16
  llvm.func @odd_size(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c24 = llvm.mlir.constant(24 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      nvvm.fence.mbarrier.init
      nvvm.cp.async.bulk.shared.cluster.global %s, %x, %bar, %c24 : !llvm.ptr<3>, !llvm.ptr<1>
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=odd_source block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=ODDSOURCE
  // ODDSOURCE: nvvm.cp.async.bulk.shared.cluster.global ({{.*}}): misaligned: byte 3 of binding 0 (x) is no multiple of 16
  llvm.func @odd_source(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c3 = llvm.mlir.constant(3 : i32) : i32
    %c32 = llvm.mlir.constant(32 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      nvvm.fence.mbarrier.init
      %odd = llvm.getelementptr %x[%c3] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i8
      nvvm.cp.async.bulk.shared.cluster.global %s, %odd, %bar, %c32 : !llvm.ptr<3>, !llvm.ptr<1>
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=past_the_end block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=PASTTHEEND
  // PASTTHEEND: nvvm.cp.async.bulk.shared.cluster.global ({{.*}}): out of bounds: read of 32 bytes at byte 240 of binding 0 (x), which has 256
  llvm.func @past_the_end(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c15 = llvm.mlir.constant(15 : i32) : i32
    %c32 = llvm.mlir.constant(32 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      nvvm.fence.mbarrier.init
      %late = llvm.getelementptr %x[%c15] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, vector<4xf32>
      nvvm.cp.async.bulk.shared.cluster.global %s, %late, %bar, %c32 : !llvm.ptr<3>, !llvm.ptr<1>
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }

  // Two copies of one thread on two barriers, of which the other thread waits for one: the second copy is not ordered,
  // whether it has landed or not.
  // RUN: not kernel-run %t.elf kernel=one_of_two block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=ONEOFTWO
  // RUN: not kernel-run %t.elf kernel=one_of_two block=2 iota=x:64 poison=y:8 --seed=1 | FileCheck %s --check-prefix=ONEOFTWO
  // RUN: not kernel-run %t.elf kernel=one_of_two block=2 iota=x:64 poison=y:8 --seed=2 | FileCheck %s --check-prefix=ONEOFTWO
  // RUN: not kernel-run %t.elf kernel=one_of_two block=2 iota=x:64 poison=y:8 --seed=3 | FileCheck %s --check-prefix=ONEOFTWO
  // ONEOFTWO: thread (1,0,0), llvm.load ({{.*}}): {{race on byte .* of shared memory: this read and the copy at nvvm.cp.async.bulk.shared.cluster.global .* are not ordered by a wait for the barrier of the copy|read of byte .* while an asynchronous copy}}
  llvm.func @one_of_two(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c16 = llvm.mlir.constant(16 : i32) : i32
    %time = llvm.mlir.constant(1000 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %second = llvm.getelementptr %bar[1] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i64
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %more = llvm.getelementptr %s[16] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      nvvm.mbarrier.init %second, %c1 : !llvm.ptr<3>, i32
      nvvm.fence.proxy {kind = #nvvm.proxy_kind<async>}
      nvvm.mbarrier.arrive.expect_tx %bar, %c16 : !llvm.ptr<3>, i32
      nvvm.cp.async.bulk.shared.cluster.global %s, %x, %bar, %c16 : !llvm.ptr<3>, !llvm.ptr<1>
      nvvm.mbarrier.arrive.expect_tx %second, %c16 : !llvm.ptr<3>, i32
      nvvm.cp.async.bulk.shared.cluster.global %more, %x, %second, %c16 : !llvm.ptr<3>, !llvm.ptr<1>
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.cond_br %first, ^both, ^one
    ^both:
      nvvm.mbarrier.try_wait.parity %second, %c0, %time : !llvm.ptr<3>, i32, i32
      nvvm.mbarrier.try_wait.parity %bar, %c0, %time : !llvm.ptr<3>, i32, i32
      llvm.br ^end
    ^one:
      nvvm.mbarrier.try_wait.parity %bar, %c0, %time : !llvm.ptr<3>, i32, i32
      %v = llvm.load %more : !llvm.ptr<3> -> i32
      llvm.store %v, %y : i32, !llvm.ptr<1>
      llvm.br ^end
    ^end:
      llvm.return
  }

  // Who has waited tells the others at the next barrier.
  // RUN: kernel-run %t.elf kernel=passed_on block=2 iota=x:64 poison=y:8
  // RUN: kernel-run %t.elf kernel=passed_on block=2 iota=x:64 poison=y:8 --seed=1
  llvm.func @passed_on(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c16 = llvm.mlir.constant(16 : i32) : i32
    %time = llvm.mlir.constant(1000 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.cond_br %first, ^end, ^copy
    // It knows of the barrier, so its fence will do.
    ^copy:
      nvvm.fence.proxy {kind = #nvvm.proxy_kind<async.shared>, space = #nvvm.shared_space<cta>}
      nvvm.mbarrier.arrive.expect_tx %bar, %c16 : !llvm.ptr<3>, i32
      nvvm.cp.async.bulk.shared.cluster.global %s, %x, %bar, %c16 : !llvm.ptr<3>, !llvm.ptr<1>
      nvvm.mbarrier.try_wait.parity %bar, %c0, %time : !llvm.ptr<3>, i32, i32
      llvm.br ^end
    ^end:
      nvvm.barrier0
      %v = llvm.load %s : !llvm.ptr<3> -> i32
      %to = llvm.getelementptr %y[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
      llvm.store %v, %to : i32, !llvm.ptr<1>
      llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=no_fence block=2 iota=x:64 poison=y:8 | FileCheck %s --check-prefix=NOFENCE
  // NOFENCE: thread (0,0,0), nvvm.cp.async.bulk.shared.cluster.global ({{.*}}): missing fence: no fence.mbarrier.init or fence.proxy.async between mbarrier.init of the barrier at byte 0 of shared memory and a copy that completes on it
  llvm.func @no_fence(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c16 = llvm.mlir.constant(16 : i32) : i32
    %bar = llvm.mlir.addressof @bar : !llvm.ptr<3>
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %first = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %first, ^init, ^start
    ^init:
      nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
      nvvm.fence.proxy {kind = #nvvm.proxy_kind<alias>}
      nvvm.mbarrier.arrive.expect_tx %bar, %c16 : !llvm.ptr<3>, i32
      nvvm.cp.async.bulk.shared.cluster.global %s, %x, %bar, %c16 : !llvm.ptr<3>, !llvm.ptr<1>
      llvm.br ^start
    ^start:
      nvvm.barrier0
      llvm.return
  }
}
