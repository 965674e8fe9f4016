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
