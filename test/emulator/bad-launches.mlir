// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Images that are cut off or damaged, and launches that nobody can read: an error that says what is wrong, never a crash.
// RUN: emu-compile %s -o %t.elf
// RUN: kernel-run %t.elf kernel=copy block=32 iota=x:32 poison=y:128 print=y:i32 | FileCheck %s --check-prefix=RIGHT
// RIGHT: y: 0 1 2 3

// Byte 18 of an ELF file is its machine.
// RUN: %python -c "import sys; b = open(sys.argv[1], 'rb').read(); [open('%%s.%%d' %% (sys.argv[1], n), 'wb').write(b[:n]) for n in (0, 63, 100, 1000)]; open(sys.argv[1] + '.machine', 'wb').write(b[:18] + b'\0' + b[19:])" %t.elf
// RUN: not kernel-run %t.elf.0 kernel=copy block=32 | FileCheck %s --check-prefix=NOELF
// RUN: not kernel-run %t.elf.63 kernel=copy block=32 | FileCheck %s --check-prefix=NOELF
// RUN: not kernel-run %s kernel=copy block=32 | FileCheck %s --check-prefix=NOELF
// NOELF: error: it is not an ELF file
// RUN: not kernel-run %t.elf.100 kernel=copy block=32 | FileCheck %s --check-prefix=HEADERS
// HEADERS: error: its program header table lies outside it
// RUN: not kernel-run %t.elf.1000 kernel=copy block=32 | FileCheck %s --check-prefix=SEGMENT
// SEGMENT: error: a segment lies outside it
// RUN: not kernel-run %t.elf.machine kernel=copy block=32 | FileCheck %s --check-prefix=MACHINE
// MACHINE: error: it is not an x86-64 shared object
// RUN: not kernel-run %t.elf kernel=other block=32 | FileCheck %s --check-prefix=NAME
// NAME: error: the image has no kernel 'other'
// RUN: not kernel-run %S kernel=copy 2>&1 | FileCheck %s --check-prefix=FOLDER
// RUN: not kernel-run %t.none kernel=copy 2>&1 | FileCheck %s --check-prefix=FOLDER
// FOLDER: cannot read '{{.*}}'

// RUN: not kernel-run %t.elf kernel=copy shared=much 2>&1 | FileCheck %s --check-prefix=WORD -DWORD=shared=much
// RUN: not kernel-run %t.elf kernel=copy shared=4294967296 2>&1 | FileCheck %s --check-prefix=WORD -DWORD=shared=4294967296
// RUN: not kernel-run %t.elf kernel=copy block=32,x 2>&1 | FileCheck %s --check-prefix=WORD -DWORD=block=32,x
// RUN: not kernel-run %t.elf kernel=copy block=32,1,1,1 2>&1 | FileCheck %s --check-prefix=WORD -DWORD=block=32,1,1,1
// RUN: not kernel-run %t.elf kernel=copy grid=-1 2>&1 | FileCheck %s --check-prefix=WORD -DWORD=grid=-1
// RUN: not kernel-run %t.elf kernel=copy zero=x:18446744073709551615 2>&1 | FileCheck %s --check-prefix=WORD -DWORD=zero=x:18446744073709551615
// RUN: not kernel-run %t.elf kernel=copy iota=x:many 2>&1 | FileCheck %s --check-prefix=WORD -DWORD=iota=x:many
// RUN: not kernel-run %t.elf kernel=copy random=x:f32: 2>&1 | FileCheck %s --check-prefix=WORD -DWORD=random=x:f32:
// RUN: not kernel-run %t.elf kernel=copy random=x:f32:many 2>&1 | FileCheck %s --check-prefix=WORD -DWORD=random=x:f32:many
// WORD: cannot read '[[WORD]]' (see test/emulator/Launch.h)

gpu.module @launches {
  llvm.func @copy(%x: !llvm.ptr<1>, %y: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    %tid = nvvm.read.ptx.sreg.tid.x : i32
    %from = llvm.getelementptr %x[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    %v = llvm.load %from : !llvm.ptr<1> -> i32
    %to = llvm.getelementptr %y[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %v, %to : i32, !llvm.ptr<1>
    llvm.return
  }
}
