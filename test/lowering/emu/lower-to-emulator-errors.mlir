// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: v4-opt %s --v4-lower-to-emulator --split-input-file --verify-diagnostics

gpu.module @unknown_ops {
  llvm.func @k(%x: !llvm.ptr<1>) attributes {gpu.kernel, nvvm.kernel} {
    // expected-error @below {{the emulator has no 'nvvm.read.ptx.sreg.clock'}}
    %0 = nvvm.read.ptx.sreg.clock : i32
    // Every such op is reported, not only the first.
    // expected-error @below {{the emulator has no 'nvvm.setmaxregister'}}
    nvvm.setmaxregister decrease 40
    llvm.return
  }
}

// -----

gpu.module @intrinsic {
  llvm.func @k(%x: f32) {
    // expected-error @below {{the emulator has no 'llvm.intr.exp'}}
    %0 = llvm.intr.exp(%x) : (f32) -> f32
    llvm.return
  }
}

// -----

gpu.module @call {
  llvm.func @__nv_expf(f32) -> f32
  llvm.func @k(%x: f32) {
    // expected-error @below {{calls '__nv_expf', which the module does not define}}
    %0 = llvm.call @__nv_expf(%x) : (f32) -> f32
    llvm.return
  }
}

// -----

gpu.module @assembly {
  llvm.func @k(%x: i32) {
    // expected-error @below {{the emulator has no 'llvm.inline_asm': kernels for it have no inline assembly}}
    llvm.inline_asm has_side_effects "bar.sync 0;", "r" %x : (i32) -> ()
    // expected-error @below {{the emulator has no 'llvm.call_intrinsic': llvm.nvvm.barrier0}}
    llvm.call_intrinsic "llvm.nvvm.barrier0"() : () -> ()
    llvm.return
  }
}

// -----

gpu.module @shape {
  llvm.func @k(%a: i32, %b: i32, %c: i32) {
    // expected-error @below {{the emulator has no 'nvvm.mma.sync': of this shape; it has m16n8k16 and m16n8k8 of f16 and bf16}}
    %0 = nvvm.mma.sync A[%a] B[%b] C[%c, %c] {layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>, multiplicandAPtxType = #nvvm.mma_type<s8>, multiplicandBPtxType = #nvvm.mma_type<s8>, intOverflowBehavior = #nvvm.mma_int_overflow<wrapped>, shape = #nvvm.shape<m = 8, n = 8, k = 16>} : (i32, i32, i32) -> !llvm.struct<(i32, i32)>
    llvm.return
  }
}

// -----

gpu.module @parameter {
  // expected-error @below {{parameter 0 of a kernel is no pointer to global memory: 'i32'}}
  llvm.func @k(%n: i32) attributes {gpu.kernel, nvvm.kernel} {
    llvm.return
  }
}

// -----

gpu.module @by_value {
  // expected-error @below {{parameter 0 is passed by value: the emulator has no tensor maps}}
  llvm.func @k(%map: !llvm.ptr {llvm.byval = !llvm.array<128 x i8>}) attributes {gpu.kernel, nvvm.kernel} {
    llvm.return
  }
}

// -----

gpu.module @variable {
  // expected-error @below {{a variable outside shared memory: kernels keep nothing from launch to launch}}
  llvm.mlir.global internal @counter(0 : i32) {addr_space = 1 : i32} : i32
}

// -----

gpu.module @space {
  llvm.func @k(%p: !llvm.ptr<7>) {
    // expected-error @below {{accesses address space 7, which the emulator does not have}}
    %0 = llvm.load %p : !llvm.ptr<7> -> i32
    llvm.return
  }
}

// -----

gpu.module @lane {
  llvm.func @k(%x: vector<4xf32>, %y: !llvm.ptr<1>) {
    %four = llvm.mlir.constant(4 : i32) : i32
    // expected-error @below {{lane 4 of a vector of 4}}
    %v = llvm.extractelement %x[%four : i32] : vector<4xf32>
    %minus = llvm.mlir.constant(-1 : i32) : i32
    // expected-error @below {{lane -1 of a vector of 4}}
    %w = llvm.insertelement %v, %x[%minus : i32] : vector<4xf32>
    llvm.return
  }
}
