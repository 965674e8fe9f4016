// RUN: v4-opt %s --pass-pipeline='builtin.module(builtin.module(v4-bind-outputs),v4-bind-outputs)' | FileCheck %s

module {
  // The result of a body in a buffer of its own becomes an argument; the state that it updates stays one.
  // CHECK-LABEL: func.func private @body(%arg0: memref<1x1x4xf32>, %arg1: memref<8x4xf32>, %arg2: memref<1x4xf32> {v4.result}) {
  // CHECK-NEXT: v4.launch @k "k" ins(%arg0 : {{.*}}) outs(%arg2, %arg1 : memref<1x4xf32>, memref<8x4xf32>)
  // CHECK-NEXT: return{{$}}
  func.func private @body(%x: memref<1x1x4xf32>, %s: memref<8x4xf32>) -> (memref<1x4xf32>, memref<8x4xf32>) {
    %a = memref.alloc() : memref<1x4xf32>
    v4.launch @k "k" ins(%x : memref<1x1x4xf32>) outs(%a, %s : memref<1x4xf32>, memref<8x4xf32>)
    return %a, %s : memref<1x4xf32>, memref<8x4xf32>
  }

  // CHECK-LABEL: func.func @decode
  // CHECK-SAME: %arg1: memref<8x4xf32> {v4.state = #v4.state<"layers.0.attn.window", window>}
  // CHECK-SAME: %arg2: memref<1x4xf32> {v4.output = "logits"}) attributes
  // CHECK: %[[A:.+]] = memref.alloc() : memref<1x4xf32>
  // CHECK: call @body(%arg0, %arg1, %[[A]]) {v4.path = "layers.0"}
  // CHECK: v4.launch @k "j" ins(%arg0 : {{.*}}) outs(%arg2, %arg1 : {{.*}})
  // CHECK: v4.launch @l "l" ins(%[[A]] : memref<1x4xf32>)
  // CHECK-NEXT: return{{$}}
  func.func @decode(%x: memref<1x1x4xf32> {v4.input = "hidden"}, %s: memref<8x4xf32> {v4.state = #v4.state<"layers.0.attn.window", window>})
      -> (memref<1x4xf32> {v4.output = "logits"}, memref<8x4xf32> {v4.state = #v4.state<"layers.0.attn.window", window>})
      attributes {v4.entry = "decode", v4.rows = 1 : i64} {
    %0:2 = call @body(%x, %s) {v4.path = "layers.0"} : (memref<1x1x4xf32>, memref<8x4xf32>) -> (memref<1x4xf32>, memref<8x4xf32>)
    %b = memref.alloc() : memref<1x4xf32>
    v4.launch @k "j" ins(%x : memref<1x1x4xf32>) outs(%b, %0#1 : memref<1x4xf32>, memref<8x4xf32>)
    v4.launch @l "l" ins(%0#0 : memref<1x4xf32>) outs(%b : memref<1x4xf32>)
    return %b, %0#1 : memref<1x4xf32>, memref<8x4xf32>
  }

  // The last arguments of a kernel are its outputs.
  // CHECK-LABEL: func.func @k(%arg0: memref<1x1x4xf32>, %arg1: memref<1x4xf32>, %arg2: memref<8x4xf32> {v4.tied}) {
  // CHECK: v4.phase
  // CHECK: return{{$}}
  module @k attributes {v4.kernel} {
    func.func @k(%x: memref<1x1x4xf32>, %y: memref<1x4xf32>, %s: memref<8x4xf32> {v4.tied}) -> (memref<1x4xf32>, memref<8x4xf32>) {
      %0:2 = v4.phase -> memref<1x4xf32>, memref<8x4xf32> {
        v4.yield %y, %s : memref<1x4xf32>, memref<8x4xf32>
      }
      return %0#0, %0#1 : memref<1x4xf32>, memref<8x4xf32>
    }
  }
  module @l attributes {v4.kernel} {
    func.func @l(%x: memref<1x4xf32>, %y: memref<1x4xf32>) -> memref<1x4xf32> {
      return %y : memref<1x4xf32>
    }
  }
}
