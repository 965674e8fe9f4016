// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: v4-opt %s --split-input-file --verify-diagnostics
// Diagnostics of the attributes of functions, arguments, results and ops.

// expected-error @below {{expected the name of a checkpoint tensor, found an empty string}}
func.func @weight_name(%w: tensor<4xf32> {v4.weight = #v4.weight<"", f32, [4]>}) { return }

// -----

// expected-error @below {{expected a type of whole bytes, found 'i4'}}
func.func @weight_dtype(%w: tensor<4xi4> {v4.weight = #v4.weight<"w", i4, [4]>}) { return }

// -----

// expected-error @below {{expected sizes > 0 in the tensor's shape, found 0}}
func.func @weight_shape(%w: tensor<4xf32> {v4.weight = #v4.weight<"w", f32, [0]>}) { return }

// -----

// expected-error @below {{expected offset >= 0, found -4}}
func.func @weight_offset(%w: tensor<4xf32> {v4.weight = #v4.weight<"w", f32, [4] offset = -4>}) { return }

// -----

// expected-error @below {{expected stride >= 0, found -16}}
func.func @weight_stride(%w: tensor<4xf32> {v4.weight = #v4.weight<"w", f32, [4] stride = -16>}) { return }

// -----

// expected-error @below {{expected either {e} in the name or a stride, found both}}
func.func @weight_both(%w: tensor<2x4xf32> {v4.weight = #v4.weight<"w.{e}", f32, [4] stride = 16>}) { return }

// -----

// expected-error @below {{expected #v4.weight for 'v4.weight', found "w"}}
func.func @weight_type(%w: tensor<4xf32> {v4.weight = "w"}) { return }

// -----

// expected-error @below {{expected weight 'w' to be a tensor of static shape, found 'tensor<?xf32>'}}
func.func @weight_dynamic(%w: tensor<?xf32> {v4.weight = #v4.weight<"w", f32, [4]>}) { return }

// -----

// expected-error @below {{expected weight 'w' of element type 'bf16', found 'f32'}}
func.func @weight_element(%w: tensor<4xf32> {v4.weight = #v4.weight<"w", bf16, [4]>}) { return }

// -----

// expected-error @below {{expected table 'w.{e}' of rank >= 2, found 'tensor<4xf32>'}}
func.func @weight_rank(%w: tensor<4xf32> {v4.weight = #v4.weight<"w.{e}", f32, [4]>}) { return }

// -----

// expected-error @below {{expected a stride of at least the 16 bytes of a row of table 'w', found 8}}
func.func @weight_overlap(%w: tensor<2x4xf32> {v4.weight = #v4.weight<"w", f32, [8] stride = 8>}) { return }

// -----

// expected-error @below {{expected weight 'w' to end within the tensor's 16 bytes, found 20}}
func.func @weight_end(%w: tensor<4xf32> {v4.weight = #v4.weight<"w", f32, [4] offset = 4>}) { return }

// -----

// Three rows at a stride of 32 bytes end at byte 2*32 + 16.
// expected-error @below {{expected weight 'w' to end within the tensor's 76 bytes, found 80}}
func.func @weight_table_end(%w: tensor<3x4xf32> {v4.weight = #v4.weight<"w", f32, [19] stride = 32>}) { return }

// -----

// expected-error @below {{expected weight 'w.{e}' to end within the tensor's 12 bytes, found 16}}
func.func @weight_row_end(%w: tensor<3x4xf32> {v4.weight = #v4.weight<"w.{e}", f32, [3]>}) { return }

// -----

// expected-error @below {{expected 'v4.weight' on an argument of a function, found it on a result}}
func.func @weight_result(%w: tensor<4xf32>) -> (tensor<4xf32> {v4.weight = #v4.weight<"w", f32, [4]>}) {
  return %w : tensor<4xf32>
}

// -----

// expected-error @below {{expected the name of a state, found an empty string}}
func.func @state_name(%s: tensor<8x4xf32> {v4.state = #v4.state<"", window>}) { return }

// -----

// expected-error @below {{expected ratio >= 0, found -4}}
func.func @state_negative(%s: tensor<8x4xf32> {v4.state = #v4.state<"s", entries, ratio = -4>}) { return }

// -----

// expected-error @below {{expected no ratio for kind window, found 4}}
func.func @state_ratio(%s: tensor<8x4xf32> {v4.state = #v4.state<"s", window, ratio = 4>}) { return }

// -----

// expected-error @below {{expected a ratio for kind entries, found none}}
func.func @state_no_ratio(%s: tensor<8x4xf32> {v4.state = #v4.state<"s", entries>}) { return }

// -----

// expected-error @below {{expected overlap only for kv_rows and score_rows, found it for entries}}
func.func @state_overlap(%s: tensor<8x4xf32> {v4.state = #v4.state<"s", entries, ratio = 4, overlap = true>}) { return }

// -----

// expected-error @below {{expected quantized only for window and entries, found it for kv_rows}}
func.func @state_quantized(%s: tensor<4x16xf32> {v4.state = #v4.state<"s", kv_rows, ratio = 4, quantized = 32, bits = 4>}) { return }

// -----

// expected-error @below {{expected bits of 4 or 8, found 5}}
func.func @state_bits(%s: tensor<4x64xbf16> {v4.state = #v4.state<"s", window, quantized = 64, bits = 5>}) { return }

// -----

// expected-error @below {{expected both quantized and bits, or neither, found 64 and 0}}
func.func @state_no_bits(%s: tensor<4x64xbf16> {v4.state = #v4.state<"s", window, quantized = 64>}) { return }

// -----

// expected-error @below {{expected quantized to be a multiple of the block of 64 columns, found 32}}
func.func @state_block(%s: tensor<4x64xbf16> {v4.state = #v4.state<"s", window, quantized = 32, bits = 8>}) { return }

// -----

// expected-error @below {{expected at most 32 quantized columns of state 's', found 64}}
func.func @state_columns(%s: tensor<4x32xbf16> {v4.state = #v4.state<"s", window, quantized = 64, bits = 8>}) { return }

// -----

// expected-error @below {{expected state 's' of packed rows with 448 quantized columns of 8 bits, which have no form in 583 bytes}}
func.func @state_bytes(%s: tensor<4x583xi8> {v4.state = #v4.state<"s", window, quantized = 448, bits = 8>}) { return }

// -----

// expected-error @below {{expected state 's' of f32, bf16 or i8, found 'i32'}}
func.func @state_element(%s: tensor<4x64xi32> {v4.state = #v4.state<"s", window>}) { return }

// -----

// expected-error @below {{expected state 's' of f32, found 'bf16'}}
func.func @state_rows_element(%s: tensor<4x64xbf16> {v4.state = #v4.state<"s", kv_rows, ratio = 4>}) { return }

// -----

// expected-error @below {{expected #v4.state for 'v4.state', found "s"}}
func.func @state_type(%s: tensor<8x4xf32> {v4.state = "s"}) { return }

// -----

// expected-error @below {{expected state 's' to be a tensor of rank 2, or 3 with slots, found 'tensor<8xf32>'}}
func.func @state_rank(%s: tensor<8xf32> {v4.state = #v4.state<"s", window>}) { return }

// -----

// expected-error @below {{expected state 's' to have slots in a decode entry only, one for every row, found 'memref<3x8x4xf32>'}}
func.func @state_slots(%s: memref<3x8x4xf32> {v4.state = #v4.state<"s", window>})
    attributes {v4.entry = "decode", v4.rows = 4} { return }

// -----

// expected-error @below {{expected state 's' to have slots in a decode entry only, one for every row, found 'memref<4x8x4xf32>'}}
func.func @state_slots_prefill(%s: memref<4x8x4xf32> {v4.state = #v4.state<"s", window>})
    attributes {v4.entry = "prefill", v4.rows = 4} { return }

// -----

// expected-error @below {{expected state 's' of 8 rows, found 4}}
func.func @state_slots_rows(%s: memref<2x4x16xf32> {v4.state = #v4.state<"s", kv_rows, ratio = 4, overlap = true>})
    attributes {v4.entry = "decode", v4.rows = 2} { return }

// -----

// expected-error @below {{expected state 's' of 8 rows, found 4}}
func.func @state_rows(%s: memref<4x16xf32> {v4.state = #v4.state<"s", kv_rows, ratio = 4, overlap = true>}) { return }

// -----

// expected-error @below {{expected one argument for state 's', found two}}
func.func @state_twice(%s: memref<8x4xf32> {v4.state = #v4.state<"s", window>},
                       %t: memref<8x4xf32> {v4.state = #v4.state<"s", window>}) { return }

// -----

// expected-error @below {{expected state 's' among the results, found none with this attribute}}
func.func @state_result(%s: tensor<8x4xf32> {v4.state = #v4.state<"s", window>}) { return }

// -----

// expected-error @below {{expected state 's' among the arguments, found none with this attribute}}
func.func @state_argument(%s: tensor<8x4xf32>) -> (tensor<8x4xf32> {v4.state = #v4.state<"s", window>}) {
  return %s : tensor<8x4xf32>
}

// -----

// expected-error @below {{expected state 's' to be returned as 'tensor<8x4xf32>', found 'tensor<8x5xf32>'}}
func.func @state_types(%s: tensor<8x4xf32> {v4.state = #v4.state<"s", window>}, %t: tensor<8x5xf32>)
    -> (tensor<8x5xf32> {v4.state = #v4.state<"s", window>}) {
  return %t : tensor<8x5xf32>
}

// -----

// expected-error @below {{expected #v4.state for 'v4.state', found 1 : i64}}
func.func @state_result_type(%s: tensor<8x4xf32>) -> (tensor<8x4xf32> {v4.state = 1}) { return %s : tensor<8x4xf32> }

// -----

// expected-error @below {{expected a string for 'v4.input', found 1 : i64}}
func.func @input_type(%x: tensor<4xi32> {v4.input = 1}) { return }

// -----

// expected-error @below {{expected input tokens, positions, span or hidden, found "ids"}}
func.func @input_name(%x: tensor<4xi32> {v4.input = "ids"}) { return }

// -----

// expected-error @below {{expected input 'tokens' of shape [S] and i32, found 'tensor<4xi64>'}}
func.func @input_tokens(%x: tensor<4xi64> {v4.input = "tokens"}) { return }

// -----

// expected-error @below {{expected input 'positions' of shape [S] and i32, found 'tensor<4x1xi32>'}}
func.func @input_positions(%x: tensor<4x1xi32> {v4.input = "positions"}) { return }

// -----

// expected-error @below {{expected input 'span' of shape [2], or with slots [S, 2], and i32, found 'tensor<3xi32>'}}
func.func @input_span(%x: tensor<3xi32> {v4.input = "span"}) { return }

// -----

// expected-error @below {{expected input 'span' of shape [2], or with slots [S, 2], and i32, found 'tensor<4x2xi32>'}}
func.func @input_spans(%x: tensor<4x2xi32> {v4.input = "span"}) attributes {v4.entry = "prefill", v4.rows = 4} { return }

// -----

// expected-error @below {{expected input 'hidden' of shape [S, n, d] and f32 or bf16, found 'tensor<4x64xf32>'}}
func.func @input_hidden(%x: tensor<4x64xf32> {v4.input = "hidden"}) { return }

// -----

// expected-error @below {{expected a string for 'v4.output', found 1 : i64}}
func.func @output_type(%x: tensor<4xf32>) -> (tensor<4xf32> {v4.output = 1}) { return %x : tensor<4xf32> }

// -----

// expected-error @below {{expected a name for 'v4.output', found an empty string}}
func.func @output_name(%x: memref<4xf32> {v4.output = ""}) { return }

// -----

// expected-error @below {{expected 'v4.output' on an argument or result of a function, found it on an op}}
func.func @output_op() attributes {v4.output = "logits"} { return }

// -----

func.func @name(%x: tensor<4x64xf32>) {
  // expected-error @below {{expected a string for 'v4.name', found 1 : i64}}
  %0 = v4.rms_norm %x eps 1.0e-6 {v4.name = 1} : (tensor<4x64xf32>) -> tensor<4x64xf32>
  return
}

// -----

func.func @path(%x: tensor<4x64xf32>) {
  // expected-error @below {{expected 'v4.path' on func.call, found it on v4.rms_norm}}
  %0 = v4.rms_norm %x eps 1.0e-6 {v4.path = "layers.0"} : (tensor<4x64xf32>) -> tensor<4x64xf32>
  return
}

// -----

func.func private @layer()
func.func @empty_path() {
  // expected-error @below {{expected a name for 'v4.path', found an empty string}}
  call @layer() {v4.path = ""} : () -> ()
  return
}

// -----

// expected-error @below {{expected 'v4.entry' on a function, found it on builtin.module}}
module attributes {v4.entry = "decode"} {}

// -----

// expected-error @below {{expected both 'v4.entry' and 'v4.rows', found only 'v4.rows'}}
func.func @rows_only() attributes {v4.rows = 4 : i64} { return }

// -----

// expected-error @below {{expected a string for 'v4.entry', found 1 : i64}}
func.func @entry_type() attributes {v4.entry = 1, v4.rows = 4 : i64} { return }

// -----

// expected-error @below {{expected 'v4.entry' to be decode, prefill, mtp_decode or mtp_prefill, found "step"}}
func.func @entry_kind() attributes {v4.entry = "step", v4.rows = 4 : i64} { return }

// -----

// expected-error @below {{expected an integer for 'v4.rows', found "4"}}
func.func @rows_type() attributes {v4.entry = "decode", v4.rows = "4"} { return }

// -----

// expected-error @below {{expected 'v4.rows' > 0, found 0}}
func.func @rows_zero() attributes {v4.entry = "decode", v4.rows = 0 : i64} { return }

// -----

func.func @yarn_factor(%p: tensor<4xi32>) {
  // expected-error @below {{expected factor > 0, found 0.000000e+00}}
  %0 = v4.rope_table %p theta 1.0e4 yarn <factor = 0.0 : f64, original = 64, beta_fast = 32.0 : f64, beta_slow = 1.0 : f64> : (tensor<4xi32>) -> tensor<4x2x4xf32>
  return
}

// -----

func.func @yarn_original(%p: tensor<4xi32>) {
  // expected-error @below {{expected original > 0, found 0}}
  %0 = v4.rope_table %p theta 1.0e4 yarn <factor = 4.0 : f64, original = 0, beta_fast = 32.0 : f64, beta_slow = 1.0 : f64> : (tensor<4xi32>) -> tensor<4x2x4xf32>
  return
}

// -----

func.func @yarn_slow(%p: tensor<4xi32>) {
  // expected-error @below {{expected beta_slow > 0, found 0.000000e+00}}
  %0 = v4.rope_table %p theta 1.0e4 yarn <factor = 4.0 : f64, original = 64, beta_fast = 32.0 : f64, beta_slow = 0.0 : f64> : (tensor<4xi32>) -> tensor<4x2x4xf32>
  return
}

// -----

func.func @yarn_fast(%p: tensor<4xi32>) {
  // expected-error @below {{expected beta_fast >= beta_slow = 2.000000e+00, found 1.000000e+00}}
  %0 = v4.rope_table %p theta 1.0e4 yarn <factor = 4.0 : f64, original = 64, beta_fast = 1.0 : f64, beta_slow = 2.0 : f64> : (tensor<4xi32>) -> tensor<4x2x4xf32>
  return
}

// -----

// expected-error @below {{expected 'v4.layout' to be rows16, found "rows8"}}
func.func @layout(%w: tensor<32x64xbf16> {v4.weight = #v4.weight<"w", bf16, [32, 64]>, v4.layout = "rows8"}) {
  return
}

// -----

// expected-error @below {{expected 'v4.layout' on a weight, found it on argument 0}}
func.func @layout_of_none(%w: tensor<2x32x16x2xbf16> {v4.layout = "rows16"}) {
  return
}
