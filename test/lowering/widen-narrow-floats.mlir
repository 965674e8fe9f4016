// RUN: v4-opt %s --v4-widen-narrow-floats | FileCheck %s
// RUN: v4-opt %s --pass-pipeline='builtin.module(v4-widen-narrow-floats,convert-vector-to-scf,convert-scf-to-cf,convert-to-llvm,reconcile-unrealized-casts)' -o %t.llvm.mlir
// RUN: mlir-runner %t.llvm.mlir -e main --entry-point-result=void --shared-libs=%llvm_lib_dir/libmlir_runner_utils%shlibext,%llvm_lib_dir/libmlir_c_runner_utils%shlibext > %t.out
// RUN: %python %S/Inputs/check_e4m3.py %t.out
// Executed over all 256 codes, one by one and as vectors.

func.func private @printMemrefI32(memref<*xi32>) attributes {llvm.emit_c_interface}

// CHECK-LABEL: func.func @scalar
// CHECK-NOT: arith.extf
// CHECK: arith.bitcast %{{.*}} : i32 to f32
func.func @scalar(%x: f8E4M3FN) -> f32 {
  %0 = arith.extf %x : f8E4M3FN to f32
  return %0 : f32
}

// CHECK-LABEL: func.func @vector
// CHECK-NOT: arith.extf
// CHECK: arith.bitcast %{{.*}} : vector<16xi32> to vector<16xf32>
func.func @vector(%x: vector<16xf8E4M3FN>) -> vector<16xf32> {
  %0 = arith.extf %x : vector<16xf8E4M3FN> to vector<16xf32>
  return %0 : vector<16xf32>
}

// What has a lowering upstream stays.
// CHECK-LABEL: func.func @bf16
// CHECK: arith.extf %arg0 : bf16 to f32
func.func @bf16(%x: bf16) -> f32 {
  %0 = arith.extf %x : bf16 to f32
  return %0 : f32
}

func.func @main() {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %c256 = arith.constant 256 : index
  %codes = memref.alloc() : memref<256xi8>
  %out = memref.alloc() : memref<2x256xi32>
  scf.for %i = %c0 to %c256 step %c1 {
    %code = arith.index_cast %i : index to i8
    memref.store %code, %codes[%i] : memref<256xi8>
    %x = arith.bitcast %code : i8 to f8E4M3FN
    %y = func.call @scalar(%x) : (f8E4M3FN) -> f32
    %bits = arith.bitcast %y : f32 to i32
    memref.store %bits, %out[%c0, %i] : memref<2x256xi32>
  }
  scf.for %i = %c0 to %c256 step %c16 {
    %code = vector.load %codes[%i] : memref<256xi8>, vector<16xi8>
    %x = arith.bitcast %code : vector<16xi8> to vector<16xf8E4M3FN>
    %y = func.call @vector(%x) : (vector<16xf8E4M3FN>) -> vector<16xf32>
    %bits = arith.bitcast %y : vector<16xf32> to vector<16xi32>
    vector.store %bits, %out[%c1, %i] : memref<2x256xi32>, vector<16xi32>
  }
  %any = memref.cast %out : memref<2x256xi32> to memref<*xi32>
  func.call @printMemrefI32(%any) : (memref<*xi32>) -> ()
  return
}
