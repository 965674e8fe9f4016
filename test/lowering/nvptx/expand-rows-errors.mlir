// RUN: v4-opt --split-input-file --verify-diagnostics --v4-expand-templates=target=nvptx:sm_90a %s

func.func @threads(%x: memref<1x64xf32>, %y: memref<1x8xi32>) {
  // expected-error @below {{expected blocks of 256 threads, found 128}}
  v4.kernel "top_k" ins(%x : memref<1x64xf32>) outs(%y : memref<1x8xi32>) {}
  return
}

// -----

func.func @rows(%x: memref<2x64xf32>, %y: memref<2x8xi32>) {
  // expected-error @below {{expected one row, found 2}}
  v4.kernel "top_k" ins(%x : memref<2x64xf32>) outs(%y : memref<2x8xi32>) {threads = 256}
  return
}

// -----

func.func @operands(%q: memref<1x8x64xf32>, %w: memref<16x64xf32>, %y: memref<1x8x64xf32>) {
  // expected-error @below {{expected 5 inputs and 1 outputs, found 2 and 1}}
  v4.kernel "attention" ins(%q, %w : memref<1x8x64xf32>, memref<16x64xf32>) outs(%y : memref<1x8x64xf32>) {threads = 256}
  return
}

// -----

func.func @width(%x: memref<2x48xf32>, %y: memref<2x48xf32>) {
  // expected-error @below {{expected a power of two from 32 to 1024 as width, found 48}}
  v4.kernel "hadamard" ins(%x : memref<2x48xf32>) outs(%y : memref<2x48xf32>) {}
  return
}

// -----

func.func @columns(%x: memref<1x4x64xf32>, %fn: memref<24x256xf32>, %part: index, %y: memref<1x1x25xf32>) {
  // expected-error @below {{expected a multiple of 4 that divides 64 as columns of a part, found 24}}
  v4.kernel "hc_mix" ins(%x, %fn, %part : memref<1x4x64xf32>, memref<24x256xf32>, index) outs(%y : memref<1x1x25xf32>)
      {threads = 256, columns = 24 : i64}
  return
}

// -----

func.func @streams(%sums: memref<1x4x16xf32>, %x: memref<1x3x64xf32>, %scale: memref<3xf32>, %base: memref<15xf32>,
                   %y: memref<1x64xf32>, %post: memref<1x3xf32>, %comb: memref<1x3x3xf32>) {
  // expected-error @below {{expected 1, 2 or 4 streams, found 3}}
  v4.kernel "hc_close" ins(%sums, %x, %scale, %base : memref<1x4x16xf32>, memref<1x3x64xf32>, memref<3xf32>, memref<15xf32>)
      outs(%y, %post, %comb : memref<1x64xf32>, memref<1x3xf32>, memref<1x3x3xf32>) {threads = 256, iterations = 20 : i64}
  return
}

// -----

func.func @post_rows(%f: memref<2x64xf32>, %x: memref<2x4x64xf32>, %post: memref<2x4xf32>, %comb: memref<2x4x4xf32>, %y: memref<2x4x64xf32>) {
  // expected-error @below {{expected one row, found 2}}
  v4.kernel "hc_post" ins(%f, %x, %post, %comb : memref<2x64xf32>, memref<2x4x64xf32>, memref<2x4xf32>, memref<2x4x4xf32>)
      outs(%y : memref<2x4x64xf32>) {threads = 128}
  return
}

// -----

func.func @route_rows(%x: memref<2x8xf32>, %bias: memref<8xf32>, %y: memref<2x2xi32>, %w: memref<2x2xf32>) {
  // expected-error @below {{expected one row, found 2}}
  v4.kernel "route" ins(%x, %bias : memref<2x8xf32>, memref<8xf32>) outs(%y, %w : memref<2x2xi32>, memref<2x2xf32>) {threads = 32, scale = 1.5 : f32}
  return
}

// -----

func.func @route_experts(%x: memref<1x8xf32>, %bias: memref<8xf32>, %y: memref<1x9xi32>, %w: memref<1x9xf32>) {
  // expected-error @below {{expected no more than 1024 experts, found 8 and 9 of a row}}
  v4.kernel "route" ins(%x, %bias : memref<1x8xf32>, memref<8xf32>) outs(%y, %w : memref<1x9xi32>, memref<1x9xf32>) {threads = 32, scale = 1.5 : f32}
  return
}

// -----

func.func @hash_experts(%x: memref<1x8xf32>, %t: memref<1xi32>, %table: memref<4x33xi64>, %y: memref<1x33xi32>, %w: memref<1x33xf32>) {
  // expected-error @below {{expected no more than 32 experts of a row, found 33}}
  v4.kernel "route_hash" ins(%x, %t, %table : memref<1x8xf32>, memref<1xi32>, memref<4x33xi64>) outs(%y, %w : memref<1x33xi32>, memref<1x33xf32>)
      {threads = 32, scale = 1.5 : f32}
  return
}

// -----

func.func @dispatch_operands(%x: memref<2x2xi32>, %y: memref<4xi32>) {
  // expected-error @below {{expected 3 inputs and 5 outputs, found 1 and 1}}
  v4.kernel "dispatch" ins(%x : memref<2x2xi32>) outs(%y : memref<4xi32>) {threads = 32, experts = 8}
  return
}

// -----

func.func @dispatch_counters(%x: memref<2x2xi32>, %w: memref<2x2xf32>, %t: memref<2xi32>, %a: memref<4xi32>, %b: memref<5xi32>, %c: memref<4xi32>,
                             %d: memref<4xf32>, %e: memref<2x2xi32>) {
  // expected-error @below {{expected no more than 32768 bytes of counters, found 2 warps with 5000 experts}}
  v4.kernel "dispatch" ins(%x, %w, %t : memref<2x2xi32>, memref<2x2xf32>, memref<2xi32>)
      outs(%a, %b, %c, %d, %e : memref<4xi32>, memref<5xi32>, memref<4xi32>, memref<4xf32>, memref<2x2xi32>) {threads = 64, experts = 5000}
  return
}

// -----

func.func @compress_rows(%kv: memref<8x1x32xf32>, %ape: memref<100x1x32xf32>, %span: memref<2xi32>, %y: memref<1x32xf32>, %rows: memref<1x100x1x32xf32>) {
  // expected-error @below {{expected at most 32 channels and 16 rows of an entry for a thread, found 32 channels and a ratio of 100}}
  v4.kernel "compress" ins(%kv, %kv, %ape, %span : memref<8x1x32xf32>, memref<8x1x32xf32>, memref<100x1x32xf32>, memref<2xi32>)
      outs(%y, %rows, %rows : memref<1x32xf32>, memref<1x100x1x32xf32>, memref<1x100x1x32xf32>) {threads = 256}
  return
}

// -----

func.func @append_operands(%x: memref<2x64xf32>, %y: memref<16x64xf32>) {
  // expected-error @below {{expected 2 inputs and 1 outputs, found 1 and 1}}
  v4.kernel "append_rows" ins(%x : memref<2x64xf32>) outs(%y : memref<16x64xf32>) {threads = 128}
  return
}

// -----

func.func @append_columns(%x: memref<2x64xf32>, %span: memref<2xi32>, %y: memref<16x65xi8>) {
  // expected-error @below {{expected rows for 64 columns, found 65}}
  v4.kernel "append_rows" ins(%x, %span : memref<2x64xf32>, memref<2xi32>) outs(%y : memref<16x65xi8>) {threads = 128}
  return
}

// -----

func.func @context_operands(%x: memref<2x64xf32>, %y: memref<8x64xf32>) {
  // expected-error @below {{expected 4 inputs and 1 outputs, found 1 and 1}}
  v4.kernel "window_context" ins(%x : memref<2x64xf32>) outs(%y : memref<8x64xf32>) {threads = 256}
  return
}

// -----

func.func @norm_width(%x: memref<1x9000xf32>, %y: memref<1x9000xf32>) {
  // expected-error @below {{expected at most 64 elements of a row in a thread, found rows of 9000}}
  v4.kernel "rms_norm" ins(%x : memref<1x9000xf32>) outs(%y : memref<1x9000xf32>) {eps = 1.0e-6 : f32}
  return
}

// -----

func.func @norm_operands(%x: memref<1x64xf32>, %y: memref<1x64xf32>) {
  // expected-error @below {{expected 2 inputs and 1 outputs, found 3 and 1}}
  v4.kernel "rms_norm" ins(%x, %x, %x : memref<1x64xf32>, memref<1x64xf32>, memref<1x64xf32>) outs(%y : memref<1x64xf32>) {eps = 1.0e-6 : f32}
  return
}

// -----

func.func @round_trip_blocks(%x: memref<1x64xf32>, %y: memref<1x64xf32>) {
  // expected-error @below {{expected whole blocks of a multiple of 8, found 60 columns of 64 in blocks of 32}}
  v4.kernel "round_trip" ins(%x : memref<1x64xf32>) outs(%y : memref<1x64xf32>) {format = 0 : i32, block = 32, columns = 60}
  return
}
