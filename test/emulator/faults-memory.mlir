// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the emulator says of wrong accesses.
// RUN: emu-compile %s -o %t.elf

gpu.module @memory {
  llvm.mlir.global internal @first() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<32 x f32>
  llvm.mlir.global internal @second() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<32 x f32>

  // RUN: not kernel-run %t.elf kernel=past_the_end block=32 iota=x:31 poison=y:128 | FileCheck %s --check-prefix=PAST
  // PAST: fault: kernel past_the_end, block (0,0,0), thread (31,0,0), llvm.load ({{.*}}faults-memory.mlir:[[@LINE+4]]:10): out of bounds: read of 4 bytes at byte 124 of binding 0 (x), which has 124
  llvm.func @past_the_end(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %p = llvm.getelementptr %x[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    %v = llvm.load %p : !llvm.ptr<1> -> f32
    %q = llvm.getelementptr %y[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    llvm.store %v, %q : f32, !llvm.ptr<1>
    llvm.return
  }

  // In front of a binding, and in another binding's bytes: what counts is the binding that the address was made from.
  // RUN: not kernel-run %t.elf kernel=before block=32 iota=x:32 poison=y:128 | FileCheck %s --check-prefix=BEFORE
  // BEFORE: fault: kernel before, block (0,0,0), thread (0,0,0), llvm.store ({{.*}}): out of bounds: write of 4 bytes at byte -4 of binding 1 (y), which has 128
  llvm.func @before(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %one = llvm.mlir.constant(1 : i32) : i32
    %i = llvm.sub %tid, %one : i32
    %q = llvm.getelementptr %y[%i] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %tid, %q : i32, !llvm.ptr<1>
    llvm.return
  }

  // An index that overflows 32 bits.
  // RUN: not kernel-run %t.elf kernel=overflow block=32 iota=x:32 poison=y:128 | FileCheck %s --check-prefix=OVERFLOW
  // OVERFLOW: out of bounds: read of 4 bytes at byte -8589934592 of binding 0 (x)
  llvm.func @overflow(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %big = llvm.mlir.constant(1073741824 : i32) : i32
    %two = llvm.mlir.constant(2 : i32) : i32
    %t2 = llvm.add %tid, %two : i32
    %i = llvm.mul %t2, %big : i32
    %p = llvm.getelementptr %x[%i] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    %v = llvm.load %p : !llvm.ptr<1> -> f32
    %q = llvm.getelementptr %y[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    llvm.store %v, %q : f32, !llvm.ptr<1>
    llvm.return
  }

  // An address of which the compiler does not know the binding.
  // RUN: not kernel-run %t.elf kernel=unknown block=32 iota=x:2 poison=y:128 | FileCheck %s --check-prefix=UNKNOWN
  // RUN: kernel-run %t.elf kernel=unknown block=2 iota=x:2 poison=y:128 print=y:i32 | FileCheck %s --check-prefix=KNOWN
  // UNKNOWN: out of bounds: read of 4 bytes at {{.*}}, outside every binding
  // KNOWN: y: 0 1 -1
  llvm.func @unknown(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %bits = llvm.ptrtoint %x : !llvm.ptr<1> to i64
    %back = llvm.inttoptr %bits : i64 to !llvm.ptr<1>
    %p = llvm.getelementptr %back[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    %v = llvm.load %p : !llvm.ptr<1> -> i32
    %q = llvm.getelementptr %y[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %v, %q : i32, !llvm.ptr<1>
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=misaligned block=32 zero=x:1024 | FileCheck %s --check-prefix=MISALIGNED
  // MISALIGNED: thread (1,0,0), llvm.load ({{.*}}): misaligned: byte 4 of binding 0 (x) is no multiple of 16
  llvm.func @misaligned(%x: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %p = llvm.getelementptr %x[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    %v = llvm.load %p {alignment = 16 : i64} : !llvm.ptr<1> -> vector<4xf32>
    llvm.store %v, %p {alignment = 4 : i64} : vector<4xf32>, !llvm.ptr<1>
    llvm.return
  }

  // Past the end of one buffer of shared memory lies a gap, not the next buffer.
  // RUN: not kernel-run %t.elf kernel=next_buffer block=33 | FileCheck %s --check-prefix=GAP
  // GAP: thread (32,0,0), llvm.store ({{.*}}): out of bounds: write at byte 128 of shared memory, between two buffers
  llvm.func @next_buffer() attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %s = llvm.mlir.addressof @first : !llvm.ptr<3>
    %p = llvm.getelementptr %s[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    llvm.store %tid, %p : i32, !llvm.ptr<3>
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=past_shared block=33 | FileCheck %s --check-prefix=PASTSHARED
  // PASTSHARED: thread (32,0,0), llvm.store ({{.*}}): out of bounds: write of 4 bytes at byte 320 of shared memory, which has 320
  llvm.func @past_shared() attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %s = llvm.mlir.addressof @second : !llvm.ptr<3>
    %p = llvm.getelementptr %s[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    llvm.store %tid, %p : i32, !llvm.ptr<3>
    llvm.return
  }

  // With races off nobody keeps track of what was written: the poison comes out, a NaN.
  // RUN: not kernel-run %t.elf kernel=uninitialised block=32 poison=y:128 | FileCheck %s --check-prefix=UNINITIALISED
  // RUN: kernel-run %t.elf kernel=uninitialised block=32 poison=y:128 print=y:f32 --races=off | FileCheck %s --check-prefix=POISON
  // UNINITIALISED: thread (31,0,0), llvm.load ({{.*}}): uninitialised: read of byte 124 of shared memory, which nothing has written
  // POISON: y: 0 {{.*}}nan
  llvm.func @uninitialised(%y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %last = llvm.mlir.constant(31 : i32) : i32
    %zero = llvm.mlir.constant(0.0 : f32) : f32
    %s = llvm.mlir.addressof @first : !llvm.ptr<3>
    %p = llvm.getelementptr %s[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, f32
    %write = llvm.icmp "ult" %tid, %last : i32
    llvm.cond_br %write, ^store, ^load
  ^store:
    llvm.store %zero, %p : f32, !llvm.ptr<3>
    llvm.br ^load
  ^load:
    %v = llvm.load %p : !llvm.ptr<3> -> f32
    %q = llvm.getelementptr %y[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    llvm.store %v, %q : f32, !llvm.ptr<1>
    llvm.return
  }

  // RUN: not kernel-run %t.elf kernel=matrix_row block=32 | FileCheck %s --check-prefix=MATRIX
  // MATRIX: thread (1,0,0), nvvm.ldmatrix ({{.*}}): misaligned: byte 4 of shared memory is no multiple of 16
  llvm.func @matrix_row() attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %s = llvm.mlir.addressof @first : !llvm.ptr<3>
    %p = llvm.getelementptr %s[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    llvm.store %tid, %p : i32, !llvm.ptr<3>
    nvvm.barrier0
    %r = nvvm.ldmatrix %p {num = 1 : i32, layout = #nvvm.mma_layout<row>, shape = #nvvm.ld_st_matrix_shape<m = 8, n = 8>, eltType = #nvvm.ld_st_matrix_elt_type<b16>} : (!llvm.ptr<3>) -> i32
    llvm.return
  }
}

gpu.module @odd_sizes {
  llvm.mlir.global internal @odd() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<21 x f32>
  llvm.mlir.global internal @after() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<21 x f32>

  // The buffer has 84 bytes: the gap begins there, not at the next 16.
  // RUN: not kernel-run %t.elf kernel=odd_buffer block=22 | FileCheck %s --check-prefix=ODD
  // ODD: thread (21,0,0), llvm.store ({{.*}}): out of bounds: write at byte {{[0-9]+}} of shared memory, between two buffers
  llvm.func @odd_buffer() attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %s = llvm.mlir.addressof @odd : !llvm.ptr<3>
    %p = llvm.getelementptr %s[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    llvm.store %tid, %p : i32, !llvm.ptr<3>
    llvm.return
  }

  // Lanes of a vector that nobody has set are a NaN.
  // RUN: kernel-run %t.elf kernel=poison block=1 zero=y:16 print=y:f32 | FileCheck %s --check-prefix=LANES
  // LANES: y: 0 {{-?}}nan 0 {{-?}}nan
  llvm.func @poison(%y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %none = llvm.mlir.poison : vector<4xf32>
    %zero = llvm.mlir.constant(0.0 : f32) : f32
    %c0 = llvm.mlir.constant(0 : i32) : i32
    %c2 = llvm.mlir.constant(2 : i32) : i32
    %one = llvm.insertelement %zero, %none[%c0 : i32] : vector<4xf32>
    %two = llvm.insertelement %zero, %one[%c2 : i32] : vector<4xf32>
    llvm.store %two, %y {alignment = 16 : i64} : vector<4xf32>, !llvm.ptr<1>
    llvm.return
  }
}
