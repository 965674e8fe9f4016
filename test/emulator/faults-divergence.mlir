// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the emulator says when threads do not meet where they should.
// RUN: emu-compile %s -o %t.elf

gpu.module @divergence {
  // RUN: not kernel-run %t.elf kernel=half_barrier block=64 | FileCheck %s --check-prefix=HALF
  // HALF: fault: kernel half_barrier, block (0,0,0), thread (0,0,0), nvvm.barrier0 ({{.*}}): deadlock or divergent barrier: 32 threads wait at nvvm.barrier0 ({{.*}}faults-divergence.mlir:[[@LINE+7]]:5), first (0,0,0); 32 have exited
  llvm.func @half_barrier() attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %n = llvm.mlir.constant(32 : i32) : i32
    %low = llvm.icmp "ult" %tid, %n : i32
    llvm.cond_br %low, ^wait, ^end
  ^wait:
    nvvm.barrier0
    llvm.br ^end
  ^end:
    llvm.return
  }

  // Lanes of a warp at two barriers.
  // RUN: not kernel-run %t.elf kernel=two_barriers block=32 | FileCheck %s --check-prefix=TWO
  // TWO: nvvm.barrier0 ({{.*}}): divergent: lane 7 is here while lane 0 waits for it at nvvm.barrier0 ({{.*}})
  llvm.func @two_barriers() attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %n = llvm.mlir.constant(7 : i32) : i32
    %low = llvm.icmp "ult" %tid, %n : i32
    llvm.cond_br %low, ^one, ^other
  ^one:
    nvvm.barrier0
    llvm.br ^end
  ^other:
    nvvm.barrier0
    llvm.br ^end
  ^end:
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=two_shuffles block=32 | FileCheck %s --check-prefix=SHUFFLES
  // SHUFFLES: nvvm.shfl.sync ({{.*}}): divergent: lane {{.*}} is here while lane {{.*}} waits for it at nvvm.shfl.sync ({{.*}})
  llvm.func @two_shuffles() attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %n = llvm.mlir.constant(7 : i32) : i32
    %all = llvm.mlir.constant(-1 : i32) : i32
    %c31 = llvm.mlir.constant(31 : i32) : i32
    %low = llvm.icmp "ult" %tid, %n : i32
    llvm.cond_br %low, ^one, ^other
  ^one:
    %0 = nvvm.shfl.sync bfly %all, %tid, %n, %c31 : i32 -> i32
    llvm.br ^end
  ^other:
    %1 = nvvm.shfl.sync bfly %all, %tid, %n, %c31 : i32 -> i32
    llvm.br ^end
  ^end:
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=exited block=32 | FileCheck %s --check-prefix=EXITED
  // EXITED: nvvm.shfl.sync ({{.*}}): divergent: {{the lane mask 0xffffffff names lane .*, which has exited|lane .* waits here for this lane, which exits}}
  llvm.func @exited() attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %n = llvm.mlir.constant(7 : i32) : i32
    %all = llvm.mlir.constant(-1 : i32) : i32
    %c31 = llvm.mlir.constant(31 : i32) : i32
    %low = llvm.icmp "ult" %tid, %n : i32
    llvm.cond_br %low, ^one, ^end
  ^one:
    %0 = nvvm.shfl.sync bfly %all, %tid, %n, %c31 : i32 -> i32
    llvm.br ^end
  ^end:
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=source block=32 | FileCheck %s --check-prefix=SOURCE
  // SOURCE: nvvm.shfl.sync ({{.*}}): divergent: lane 15 reads lane 16, which does not take part (lane mask 0x0000ffff)
  llvm.func @source() attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %n = llvm.mlir.constant(16 : i32) : i32
    %mask = llvm.mlir.constant(65535 : i32) : i32
    %c1 = llvm.mlir.constant(1 : i32) : i32
    %c31 = llvm.mlir.constant(31 : i32) : i32
    %low = llvm.icmp "ult" %tid, %n : i32
    llvm.cond_br %low, ^one, ^end
  ^one:
    %0 = nvvm.shfl.sync down %mask, %tid, %c1, %c31 : i32 -> i32
    llvm.br ^end
  ^end:
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=own_mask block=32 | FileCheck %s --check-prefix=OWN
  // OWN: nvvm.bar.warp.sync ({{.*}}): divergent: lane {{.*}} is not in its own lane mask 0x0000ffff
  llvm.func @own_mask() attributes {gpu.kernel, nvvm.kernel} {
    %mask = llvm.mlir.constant(65535 : i32) : i32
    nvvm.bar.warp.sync %mask : i32
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=masks block=32 | FileCheck %s --check-prefix=MASKS
  // MASKS: nvvm.bar.warp.sync ({{.*}}): divergent: lane {{.*}} has lane mask 0x{{.*}}, lane {{.*}} has 0x
  llvm.func @masks() attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %n = llvm.mlir.constant(16 : i32) : i32
    %c1 = llvm.mlir.constant(131071 : i32) : i32
    %c2 = llvm.mlir.constant(-1 : i32) : i32
    %low = llvm.icmp "ult" %tid, %n : i32
    %mask = llvm.select %low, %c1, %c2 : i1, i32
    nvvm.bar.warp.sync %mask : i32
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=small_warp block=48 | FileCheck %s --check-prefix=SMALL
  // SMALL: nvvm.ldmatrix ({{.*}}): needs all 32 lanes of the warp, which has 16
  llvm.mlir.global internal @s() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<16 x i8>
  llvm.func @small_warp() attributes {gpu.kernel, nvvm.kernel} {
    %s = llvm.mlir.addressof @s : !llvm.ptr<3>
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %n = llvm.mlir.constant(32 : i32) : i32
    %low = llvm.icmp "uge" %tid, %n : i32
    llvm.cond_br %low, ^load, ^end
  ^load:
    %r = nvvm.ldmatrix %s {num = 1 : i32, layout = #nvvm.mma_layout<row>, shape = #nvvm.ld_st_matrix_shape<m = 8, n = 8>, eltType = #nvvm.ld_st_matrix_elt_type<b16>} : (!llvm.ptr<3>) -> i32
    llvm.br ^end
  ^end:
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=barrier_number block=32 zero=n:8 | FileCheck %s --check-prefix=NUMBER
  // RUN: not kernel-run %t.elf kernel=barrier_number block=96 iota=n:2 | FileCheck %s --check-prefix=LEFT
  // NUMBER: nvvm.barrier ({{.*}}): barrier 16: there are 16
  // LEFT: barrier 0: 32 of 64 arrivals are left when the block ends
  llvm.func @barrier_number(%n: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %p = llvm.getelementptr %n[1] : (!llvm.ptr<1>) -> !llvm.ptr<1>, i32
    %v = llvm.load %p : !llvm.ptr<1> -> i32
    %zero = llvm.mlir.constant(0 : i32) : i32
    %c16 = llvm.mlir.constant(16 : i32) : i32
    %c64 = llvm.mlir.constant(64 : i32) : i32
    %bad = llvm.icmp "eq" %v, %zero : i32
    llvm.cond_br %bad, ^number, ^arrive
  ^number:
    nvvm.barrier id = %c16
    llvm.br ^end
  ^arrive:
    nvvm.barrier.arrive id = %zero number_of_threads = %c64
    llvm.br ^end
  ^end:
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=needs_block block=64 | FileCheck %s --check-prefix=BLOCK
  // RUN: not kernel-run %t.elf kernel=needs_block block=128 zero=x:4 | FileCheck %s --check-prefix=BINDINGS
  // RUN: not kernel-run %t.elf kernel=needs_block block=2048 | FileCheck %s --check-prefix=THREADS
  // RUN: not kernel-run %t.elf kernel=needs_block block=128 shared=2000000 | FileCheck %s --check-prefix=SHARED
  // RUN: not kernel-run %t.elf kernel=needs_block block=128 grid=1,70000 | FileCheck %s --check-prefix=GRID
  // BLOCK: error: kernel needs_block needs blocks of 128x1x1 threads, not 64x1x1
  // BINDINGS: error: kernel needs_block has 0 bindings, not 1
  // THREADS: error: kernel needs_block: a block of 2048x1x1 threads; 1 to 1024 are possible
  // SHARED: error: kernel needs_block: 2000000 bytes of shared memory are too many
  // GRID: error: kernel needs_block: a grid of 1x70000x1 blocks is not possible
  llvm.func @needs_block() attributes {gpu.kernel, nvvm.kernel, nvvm.reqntid = array<i32: 128, 1, 1>} {
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=endless block=32 | FileCheck %s --check-prefix=ENDLESS
  // ENDLESS: nvvm.bar.warp.sync ({{.*}}): more than 1048575 synchronisations in one block: run with races off
  llvm.func @endless() attributes {gpu.kernel, nvvm.kernel} {
    %zero = llvm.mlir.constant(0 : i32) : i32
    %one = llvm.mlir.constant(1 : i32) : i32
    %all = llvm.mlir.constant(-1 : i32) : i32
    %n = llvm.mlir.constant(1100000 : i32) : i32
    llvm.br ^loop(%zero : i32)
  ^loop(%i: i32):
    nvvm.bar.warp.sync %all : i32
    %next = llvm.add %i, %one : i32
    %more = llvm.icmp "ult" %next, %n : i32
    llvm.cond_br %more, ^loop(%next : i32), ^end
  ^end:
    llvm.return
  }
}
