// RUN: v4-opt %s --v4-approximate-math | FileCheck %s
// RUN: v4-opt %s --pass-pipeline='builtin.module(v4-approximate-math,convert-vector-to-scf,convert-scf-to-cf,convert-vector-to-llvm,convert-math-to-llvm,convert-to-llvm,reconcile-unrealized-casts)' -o %t.llvm.mlir
// RUN: mlir-runner %t.llvm.mlir -e main --entry-point-result=void --shared-libs=%llvm_lib_dir/libmlir_runner_utils%shlibext,%llvm_lib_dir/libmlir_c_runner_utils%shlibext > %t.out
// RUN: %python %S/Inputs/check_math.py %t.out
// No function of libm is left; the errors are measured over the ranges in which kernels use each function.

func.func private @printMemrefI32(memref<*xi32>) attributes {llvm.emit_c_interface}

// CHECK-LABEL: func.func @functions
// CHECK-NOT: math.{{(exp|log|log1p|tanh) }}
// CHECK: return
func.func @functions(%x: vector<16xf32>, %positive: vector<16xf32>) -> (vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>) {
  %0 = math.exp %x : vector<16xf32>
  %1 = math.log %positive : vector<16xf32>
  %2 = math.log1p %positive : vector<16xf32>
  %3 = math.tanh %x : vector<16xf32>
  return %0, %1, %2, %3 : vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>
}

// Row 0 and 1 are the arguments, rows 2 to 5 the results, as bits.
func.func @main() {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %c4 = arith.constant 4 : index
  %c5 = arith.constant 5 : index
  %c16 = arith.constant 16 : index
  %c4096 = arith.constant 4096 : index
  %out = memref.alloc() : memref<6x4096xi32>
  %lanes = vector.step : vector<16xindex>
  %first = arith.constant dense<-2048.0> : vector<16xf32>
  %step = arith.constant dense<0.041> : vector<16xf32>
  %scale = arith.constant dense<-23.0> : vector<16xf32>
  %slope = arith.constant dense<0.01125> : vector<16xf32>
  scf.for %i = %c0 to %c4096 step %c16 {
    %b = vector.broadcast %i : index to vector<16xindex>
    %n = arith.addi %b, %lanes : vector<16xindex>
    %k = arith.index_cast %n : vector<16xindex> to vector<16xi32>
    %f = arith.sitofp %k : vector<16xi32> to vector<16xf32>
    // From -84 to 84 in even steps, and from 2^-23 to 2^23 in even factors.
    %centred = arith.addf %f, %first : vector<16xf32>
    %x = arith.mulf %centred, %step : vector<16xf32>
    %e = arith.mulf %f, %slope : vector<16xf32>
    %exponent = arith.addf %e, %scale : vector<16xf32>
    %positive = math.exp2 %exponent : vector<16xf32>
    %r:4 = func.call @functions(%x, %positive) : (vector<16xf32>, vector<16xf32>) -> (vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>)
    %b0 = arith.bitcast %x : vector<16xf32> to vector<16xi32>
    %b1 = arith.bitcast %positive : vector<16xf32> to vector<16xi32>
    %b2 = arith.bitcast %r#0 : vector<16xf32> to vector<16xi32>
    %b3 = arith.bitcast %r#1 : vector<16xf32> to vector<16xi32>
    %b4 = arith.bitcast %r#2 : vector<16xf32> to vector<16xi32>
    %b5 = arith.bitcast %r#3 : vector<16xf32> to vector<16xi32>
    vector.store %b0, %out[%c0, %i] : memref<6x4096xi32>, vector<16xi32>
    vector.store %b1, %out[%c1, %i] : memref<6x4096xi32>, vector<16xi32>
    vector.store %b2, %out[%c2, %i] : memref<6x4096xi32>, vector<16xi32>
    vector.store %b3, %out[%c3, %i] : memref<6x4096xi32>, vector<16xi32>
    vector.store %b4, %out[%c4, %i] : memref<6x4096xi32>, vector<16xi32>
    vector.store %b5, %out[%c5, %i] : memref<6x4096xi32>, vector<16xi32>
  }
  %any = memref.cast %out : memref<6x4096xi32> to memref<*xi32>
  func.call @printMemrefI32(%any) : (memref<*xi32>) -> ()
  return
}
