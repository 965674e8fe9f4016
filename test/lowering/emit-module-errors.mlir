// What a hand-written stage `kernels` may lack. Each ends in exit code 1 and leaves no module.
// DEFINE: %{rejects} = %python %S/../tools/Inputs/outcome.py --absent=%t/out
// DEFINE: %{flags} = --numerics=f32 --compile-from=kernels -o %t/out
// RUN: rm -rf %t && split-file %s %t
// RUN: cat %t/kernel %t/good %t/end > %t/good.mlir
// RUN: v4c %t/good.mlir --numerics=f32 --compile-from=kernels -o %t/good.v4m
// RUN: %{rejects} 1 "has no kernels (modules with attribute v4.kernel)" v4c %t/no-kernels.mlir %{flags}
// RUN: %{rejects} 1 "has no attribute v4.model; entries need the model's vocabulary, widths and context" v4c %t/no-model.mlir %{flags}
// RUN: %{rejects} 1 "has a grid of 0 workgroups; accepted: 1 to 4294967295" v4c %t/grid.mlir %{flags}
// RUN: cat %t/kernel %t/unmarked %t/end > %t/unmarked.mlir
// RUN: %{rejects} 1 "argument 1 of entry 'decode' has none of v4.input, v4.weight, v4.state" v4c %t/unmarked.mlir %{flags}
// RUN: cat %t/kernel %t/half %t/end > %t/half.mlir
// RUN: %{rejects} 1 "argument 1 of entry 'decode' is 'memref<4xf16>'; accepted: buffers of static shape of i8, i32, i64, bf16, f32" v4c %t/half.mlir %{flags}
// RUN: cat %t/kernel %t/states %t/end > %t/states.mlir
// RUN: %{rejects} 1 "state 's' is 'memref<8x5xf32>' here and 'memref<8x4xf32>' in another entry" v4c %t/states.mlir %{flags}
// RUN: cat %t/kernel %t/slots %t/end > %t/slots.mlir
// RUN: %{rejects} 1 "state 's' has 2 slots, the model (v4.model) has 1" v4c %t/slots.mlir %{flags}
// RUN: cat %t/kernel %t/rows %t/end > %t/rows.mlir
// RUN: %{rejects} 1 "entry 'decode' decodes 2 slots, the model (v4.model) has 1" v4c %t/rows.mlir %{flags}
// RUN: cat %t/kernel %t/view %t/end > %t/view.mlir
// RUN: %{rejects} 1 "'memref.view' op has an offset that is no constant" v4c %t/view.mlir %{flags}
// RUN: cat %t/kernel %t/subview %t/end > %t/subview.mlir
// RUN: %{rejects} 1 "'memref.subview' op has an offset that is no constant" v4c %t/subview.mlir %{flags}
// RUN: cat %t/kernel %t/copy %t/end > %t/copy.mlir
// RUN: %{rejects} 1 "'memref.copy' op cannot be part of a launch list; accepted: launches, calls, views" v4c %t/copy.mlir %{flags}
// RUN: cat %t/kernel %t/other-module %t/end > %t/other-module.mlir
// RUN: %{rejects} 1 "names the kernel 'other', which is not in the module" v4c %t/other-module.mlir %{flags}
// RUN: cat %t/kernel %t/result %t/end > %t/result.mlir
// RUN: %{rejects} 1 "operand 1 is neither an argument nor a part of the arena" v4c %t/result.mlir %{flags}
// RUN: cat %t/kernel %t/no-table %t/end > %t/no-table.mlir
// RUN: %{rejects} 1 "operand 0 is read as a table of experts, but its v4.weight is one tensor" v4c %t/no-table.mlir %{flags}
// RUN: cat %t/kernel %t/table %t/end > %t/table.mlir
// RUN: %{rejects} 1 "operand 0 is a table of experts, which only v4.grouped_linear reads" v4c %t/table.mlir %{flags}
// RUN: cat %t/kernel %t/unit %t/end > %t/unit.mlir
// RUN: %{rejects} 1 "argument 0 is 'memref<1x2x16x4xbf16>', which is no shape of layout rows16" v4c %t/unit.mlir %{flags}
// RUN: cat %t/kernel %t/interleave %t/end > %t/interleave.mlir
// RUN: %{rejects} 1 "argument 0 is 'memref<2x4x8x2xbf16>', which is no shape of layout rows16" v4c %t/interleave.mlir %{flags}
// RUN: cat %t/kernel %t/flat %t/end > %t/flat.mlir
// RUN: %{rejects} 1 "argument 0 is 'memref<2x4x16xf8E8M0FNU>', which is no shape of layout rows16" v4c %t/flat.mlir %{flags}
// RUN: cat %t/kernel %t/undefined %t/end > %t/undefined.mlir
// RUN: %{rejects} 1 "undefined symbol: sinf" v4c %t/undefined.mlir %{flags}
// RUN: cat %t/kernel %t/intrinsic %t/end > %t/intrinsic.mlir
// RUN: %{rejects} 1 "cannot be translated to LLVM IR" v4c %t/intrinsic.mlir %{flags}

//--- no-kernels.mlir
func.func @decode(%x: memref<1xi32> {v4.input = "tokens"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  return
}
//--- no-model.mlir
module @k attributes {v4.kernel} {
  llvm.func @k.0(%x: !llvm.ptr, %y: !llvm.ptr, %i: i64) attributes {v4.grid = 1 : i64} {
    llvm.return
  }
}
func.func @decode(%x: memref<1xi32> {v4.input = "tokens"}, %y: memref<1x8xf32> {v4.output = "logits"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  v4.launch @k "k" ins(%x : memref<1xi32>) outs(%y : memref<1x8xf32>)
  return
}
//--- grid.mlir
module @k attributes {v4.kernel} {
  llvm.func @k.0(%x: !llvm.ptr, %i: i64) attributes {v4.grid = 0 : i64} {
    llvm.return
  }
}
func.func @decode(%x: memref<1xi32> {v4.input = "tokens"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  return
}
//--- kernel
module attributes {v4.model = {vocab_size = 8 : i64, hidden_size = 4 : i64, streams = 1 : i64, layers = 1 : i64, max_context = 8 : i64}} {
module @k attributes {v4.kernel} {
  llvm.func @k.0(%x: !llvm.ptr, %y: !llvm.ptr, %i: i64) attributes {v4.grid = 1 : i64} {
    llvm.return
  }
}
module @t attributes {v4.kernel, v4.tables = array<i64: 0>} {
  llvm.func @t.0(%x: !llvm.ptr, %offsets: !llvm.ptr, %y: !llvm.ptr, %i: i64) attributes {v4.grid = 1 : i64} {
    llvm.return
  }
}
//--- end
}
//--- good
func.func @decode(%x: memref<1xi32> {v4.input = "tokens"}, %y: memref<1x8xf32> {v4.output = "logits"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  v4.launch @k "k" ins(%x : memref<1xi32>) outs(%y : memref<1x8xf32>)
  return
}
//--- unmarked
func.func @decode(%x: memref<1xi32> {v4.input = "tokens"}, %y: memref<4xf32>) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  v4.launch @k "k" ins(%x : memref<1xi32>) outs(%y : memref<4xf32>)
  return
}
//--- half
func.func @decode(%x: memref<1xi32> {v4.input = "tokens"}, %y: memref<4xf16> {v4.weight = #v4.weight<"w", f16, [4]>}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  v4.launch @k "k" ins(%x : memref<1xi32>) outs(%y : memref<4xf16>)
  return
}
//--- slots
func.func @decode(%x: memref<2x8x4xf32> {v4.state = #v4.state<"s", window>}) attributes {v4.entry = "decode", v4.rows = 2 : i64} {
  return
}
//--- rows
func.func @decode(%x: memref<2xi32> {v4.input = "tokens"}) attributes {v4.entry = "decode", v4.rows = 2 : i64} {
  return
}
//--- states
func.func @decode(%x: memref<1xi32> {v4.input = "tokens"}, %y: memref<8x4xf32> {v4.state = #v4.state<"s", window>}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  v4.launch @k "k" ins(%x : memref<1xi32>) outs(%y : memref<8x4xf32>)
  return
}
func.func @prefill(%x: memref<2xi32> {v4.input = "tokens"}, %y: memref<8x5xf32> {v4.state = #v4.state<"s", window>}) attributes {v4.entry = "prefill", v4.rows = 2 : i64} {
  v4.launch @k "k" ins(%x : memref<2xi32>) outs(%y : memref<8x5xf32>)
  return
}
//--- view
func.func private @body(%x: memref<1xi32>, %a: memref<64xi8>, %i: index) {
  %y = memref.view %a[%i][] : memref<64xi8> to memref<4xf32>
  v4.launch @k "k" ins(%x : memref<1xi32>) outs(%y : memref<4xf32>)
  return
}
func.func @decode(%x: memref<1xi32> {v4.input = "tokens"}, %a: memref<64xi8> {v4.arena}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  %i = arith.constant 16 : index
  call @body(%x, %a, %i) : (memref<1xi32>, memref<64xi8>, index) -> ()
  return
}
//--- subview
func.func private @body(%x: memref<1xi32>, %a: memref<64xi8>, %i: index) {
  %y = memref.subview %a[%i] [4] [1] : memref<64xi8> to memref<4xi8, strided<[1], offset: ?>>
  v4.launch @k "k" ins(%x : memref<1xi32>) outs(%y : memref<4xi8, strided<[1], offset: ?>>)
  return
}
func.func @decode(%x: memref<1xi32> {v4.input = "tokens"}, %a: memref<64xi8> {v4.arena}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  %i = arith.constant 16 : index
  call @body(%x, %a, %i) : (memref<1xi32>, memref<64xi8>, index) -> ()
  return
}
//--- copy
func.func @decode(%x: memref<1xi32> {v4.input = "tokens"}, %y: memref<1xi32> {v4.output = "logits"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  memref.copy %x, %y : memref<1xi32> to memref<1xi32>
  return
}
//--- other-module
module @other {}
func.func @decode(%x: memref<1xi32> {v4.input = "tokens"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  v4.launch @other "k" ins(%x : memref<1xi32>) outs()
  return
}
//--- result
func.func private @body(%a: memref<4xf32>) -> memref<4xf32> {
  return %a : memref<4xf32>
}
func.func @decode(%x: memref<1xi32> {v4.input = "tokens"}, %y: memref<4xf32> {v4.output = "logits"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  %z = call @body(%y) : (memref<4xf32>) -> memref<4xf32>
  v4.launch @k "k" ins(%x : memref<1xi32>) outs(%z : memref<4xf32>)
  return
}
//--- no-table
func.func @decode(%x: memref<2x4xf32> {v4.weight = #v4.weight<"w", f32, [2, 4]>}, %y: memref<4xf32> {v4.output = "logits"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  v4.launch @t "t" ins(%x : memref<2x4xf32>) outs(%y : memref<4xf32>)
  return
}
//--- table
func.func @decode(%x: memref<2x4xf32> {v4.weight = #v4.weight<"w.{e}", f32, [4]>}, %y: memref<4xf32> {v4.output = "logits"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  v4.launch @k "k" ins(%x : memref<2x4xf32>) outs(%y : memref<4xf32>)
  return
}
//--- unit
func.func @decode(%x: memref<1x2x16x4xbf16> {v4.weight = #v4.weight<"w", bf16, [16, 8]>, v4.layout = "rows16"}, %y: memref<4xf32> {v4.output = "logits"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  v4.launch @k "k" ins(%x : memref<1x2x16x4xbf16>) outs(%y : memref<4xf32>)
  return
}
//--- interleave
func.func @decode(%x: memref<2x4x8x2xbf16> {v4.weight = #v4.weight<"w", bf16, [16, 8]>, v4.layout = "rows16"}, %y: memref<4xf32> {v4.output = "logits"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  v4.launch @k "k" ins(%x : memref<2x4x8x2xbf16>) outs(%y : memref<4xf32>)
  return
}
//--- flat
func.func @decode(%x: memref<2x4x16xf8E8M0FNU> {v4.weight = #v4.weight<"w.{e}", f8E8M0FNU, [16, 4]>, v4.layout = "rows16"}, %y: memref<4xf32> {v4.output = "logits"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  v4.launch @k "k" ins(%x : memref<2x4x16xf8E8M0FNU>) outs(%y : memref<4xf32>)
  return
}
//--- undefined
module @u attributes {v4.kernel} {
  llvm.func @sinf(f32) -> f32
  llvm.func @u.0(%x: !llvm.ptr, %i: i64) attributes {v4.grid = 1 : i64} {
    %0 = llvm.load %x : !llvm.ptr -> f32
    %1 = llvm.call @sinf(%0) : (f32) -> f32
    llvm.store %1, %x : f32, !llvm.ptr
    llvm.return
  }
}
func.func @decode(%x: memref<1xi32> {v4.input = "tokens"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  return
}
//--- intrinsic
module @u attributes {v4.kernel} {
  llvm.func @u.0(%x: !llvm.ptr, %i: i64) attributes {v4.grid = 1 : i64} {
    llvm.call_intrinsic "llvm.no.such.thing"(%i) : (i64) -> ()
    llvm.return
  }
}
func.func @decode(%x: memref<1xi32> {v4.input = "tokens"}) attributes {v4.entry = "decode", v4.rows = 1 : i64} {
  return
}
