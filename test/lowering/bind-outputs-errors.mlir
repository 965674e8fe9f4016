// RUN: v4-opt %s --pass-pipeline='builtin.module(builtin.module(v4-bind-outputs),v4-bind-outputs)' --split-input-file --verify-diagnostics

module {
  module @k attributes {v4.kernel} {
    // expected-error @below {{result 0 of kernel 'k' is not built in output 0}}
    func.func @k(%x: memref<4xf32>, %y: memref<4xf32>) -> memref<4xf32> {
      return %x : memref<4xf32>
    }
  }
}

// -----

// expected-error @below {{result 0 has neither v4.output nor v4.state}}
func.func @decode(%x: memref<1x1x4xf32> {v4.input = "hidden"}) -> memref<1x4xf32> attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  %b = memref.alloc() : memref<1x4xf32>
  return %b : memref<1x4xf32>
}

// -----

// expected-error @below {{state 'a.window' is returned in the place of another one}}
func.func @decode(%a: memref<8x4xf32> {v4.state = #v4.state<"a.window", window>}, %b: memref<8x4xf32> {v4.state = #v4.state<"b.window", window>})
    -> (memref<8x4xf32> {v4.state = #v4.state<"a.window", window>}, memref<8x4xf32> {v4.state = #v4.state<"b.window", window>})
    attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  return %b, %a : memref<8x4xf32>, memref<8x4xf32>
}

// -----

// expected-error @below {{output 'logits' is an argument; an entry cannot return one}}
func.func @decode(%x: memref<1x4xf32> {v4.weight = #v4.weight<"w", f32, [1, 4]>}) -> (memref<1x4xf32> {v4.output = "logits"})
    attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  return %x : memref<1x4xf32>
}

// -----

// expected-error @below {{state 'a.window' is not updated in place; its old contents are read after an update}}
func.func @decode(%a: memref<8x4xf32> {v4.state = #v4.state<"a.window", window>}) -> (memref<8x4xf32> {v4.state = #v4.state<"a.window", window>})
    attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  %new = memref.alloc() : memref<8x4xf32>
  return %new : memref<8x4xf32>
}

// -----

// expected-error @below {{result 0 is neither an argument nor a buffer of the function}}
func.func @decode(%c: i1, %x: memref<1x4xf32>, %y: memref<1x4xf32>) -> memref<1x4xf32> {
  %0 = arith.select %c, %x, %y : memref<1x4xf32>
  return %0 : memref<1x4xf32>
}

// -----

func.func private @body(%x: memref<2x4xf32>) -> memref<4xf32, strided<[1], offset: 4>> {
  %0 = memref.subview %x[1, 0] [1, 4] [1, 1] : memref<2x4xf32> to memref<4xf32, strided<[1], offset: 4>>
  return %0 : memref<4xf32, strided<[1], offset: 4>>
}
func.func @caller(%x: memref<2x4xf32>, %y: memref<4xf32>) {
  // expected-error @below {{has a result that is a view of operand 0}}
  %0 = call @body(%x) : (memref<2x4xf32>) -> memref<4xf32, strided<[1], offset: 4>>
  memref.copy %0, %y : memref<4xf32, strided<[1], offset: 4>> to memref<4xf32>
  return
}
