// RUN: v4-opt %s --pass-pipeline='builtin.module(builtin.module(func.func(v4-expand-tables)))' | FileCheck %s

// CHECK-LABEL: module @rows
module @rows attributes {v4.kernel, v4.tables = array<i64: 1>} {
  // CHECK: func.func @rows(%arg0: memref<64xf32>, %[[BASE:[^ ]+]]: memref<{{[0-9]+}}xi8>, %[[OFFSETS:[^ ]+]]: memref<8xi64>, %arg3: memref<4x64xbf16>
  func.func @rows(%x: memref<64xf32>, %w: memref<8x96x64xbf16>, %y: memref<4x64xbf16>, %e: index, %n: index) {
    // CHECK: %[[O:.+]] = memref.load %[[OFFSETS]][%arg4] : memref<8xi64>
    // CHECK: %[[I:.+]] = arith.index_cast %[[O]] : i64 to index
    // CHECK: %[[V:.+]] = memref.view %[[BASE]][%[[I]]][] : {{.*}} to memref<96x64xbf16>
    // CHECK: memref.subview %[[V]][%arg5, 0] [4, 64] [1, 1]
    %0 = memref.subview %w[%e, %n, 0] [1, 4, 64] [1, 1, 1] : memref<8x96x64xbf16> to memref<4x64xbf16, strided<[64, 1], offset: ?>>
    memref.copy %0, %y : memref<4x64xbf16, strided<[64, 1], offset: ?>> to memref<4x64xbf16>
    // CHECK: memref.load %[[OFFSETS]][%arg4]
    // CHECK: %[[T:.+]] = memref.view %[[BASE]]
    // CHECK: vector.transfer_read %[[T]][%arg5, %c0]
    %p = arith.constant 0.0 : bf16
    %c0 = arith.constant 0 : index
    %1 = vector.transfer_read %w[%e, %n, %c0], %p {in_bounds = [true]} : memref<8x96x64xbf16>, vector<16xbf16>
    vector.transfer_write %1, %y[%c0, %c0] {in_bounds = [true]} : vector<16xbf16>, memref<4x64xbf16>
    return
  }
}

// Two tables: each argument keeps its place before its own offsets.
// CHECK-LABEL: module @two
module @two attributes {v4.kernel, v4.tables = array<i64: 0, 1>} {
  // CHECK: func.func @two(%{{.+}}: memref<{{[0-9]+}}xi8>, %{{.+}}: memref<2xi64>, %{{.+}}: memref<{{[0-9]+}}xi8>, %{{.+}}: memref<2xi64>, %{{.+}}: index)
  func.func @two(%w: memref<2x8xi8>, %s: memref<2x1xf8E8M0FNU>, %e: index) {
    %0 = memref.subview %w[%e, 0] [1, 8] [1, 1] : memref<2x8xi8> to memref<8xi8, strided<[1], offset: ?>>
    %1 = memref.subview %s[%e, 0] [1, 1] [1, 1] : memref<2x1xf8E8M0FNU> to memref<1xf8E8M0FNU, strided<[1], offset: ?>>
    return
  }
}

// CHECK-LABEL: module @none
module @none attributes {v4.kernel} {
  // CHECK: func.func @none(%arg0: memref<2x8xi8>)
  func.func @none(%w: memref<2x8xi8>) {
    return
  }
}
