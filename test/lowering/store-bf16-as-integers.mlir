// RUN: v4-opt %s --v4-store-bf16-as-integers | FileCheck %s

// CHECK-LABEL: llvm.func @moves
// CHECK-SAME: (%[[X:.*]]: vector<2xi16>, %[[P:.*]]: !llvm.ptr)
// CHECK-NOT: bf16
// CHECK: llvm.mlir.constant(16256 : i16) : i16
// CHECK: llvm.mlir.constant(dense<[16256, -16384]> : vector<2xi16>) : vector<2xi16>
// CHECK: llvm.bitcast %[[X]] : vector<2xi16> to vector<2xi16>
// CHECK: llvm.getelementptr %[[P]][1] : (!llvm.ptr) -> !llvm.ptr, i16
// CHECK: llvm.br ^bb1(%{{.*}} : i16)
// CHECK: ^bb1(%{{.*}}: i16):
llvm.func @moves(%x: vector<2xbf16>, %p: !llvm.ptr) {
  %one = llvm.mlir.constant(1.0 : bf16) : bf16
  %two = llvm.mlir.constant(dense<[1.0, -2.0]> : vector<2xbf16>) : vector<2xbf16>
  %bits = llvm.bitcast %x : vector<2xbf16> to vector<2xi16>
  %q = llvm.getelementptr %p[1] : (!llvm.ptr) -> !llvm.ptr, bf16
  llvm.store %two, %q : vector<2xbf16>, !llvm.ptr
  llvm.br ^bb1(%one : bf16)
^bb1(%y: bf16):
  llvm.store %y, %p : bf16, !llvm.ptr
  llvm.return
}
