// RUN: v4-opt %s --pass-pipeline='builtin.module(func.func(v4-expand-tables))' --split-input-file --verify-diagnostics

module @k attributes {v4.kernel, v4.tables = array<i64: 0>} {
  func.func @k(%w: memref<8x64xbf16>) -> vector<2x16xbf16> {
    %p = arith.constant 0.0 : bf16
    %c0 = arith.constant 0 : index
    // expected-error @below {{reads several rows of a table at once}}
    %0 = vector.transfer_read %w[%c0, %c0], %p {in_bounds = [true, true]} : memref<8x64xbf16>, vector<2x16xbf16>
    return %0 : vector<2x16xbf16>
  }
}

// -----

module @k attributes {v4.kernel, v4.tables = array<i64: 0>} {
  func.func @k(%w: memref<8x64xbf16>) {
    // expected-error @below {{reads a table other than by rows}}
    %0 = memref.subview %w[0, 0] [2, 64] [1, 1] : memref<8x64xbf16> to memref<2x64xbf16, strided<[64, 1]>>
    return
  }
}

// -----

module @k attributes {v4.kernel, v4.tables = array<i64: 0>} {
  func.func @k(%w: memref<8xbf16>, %i: index) -> bf16 {
    // expected-error @below {{reads a table other than by rows}}
    %0 = memref.load %w[%i] : memref<8xbf16>
    return %0 : bf16
  }
}
