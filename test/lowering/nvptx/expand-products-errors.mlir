// RUN: v4-opt --split-input-file --verify-diagnostics --v4-expand-templates=target=nvptx:sm_90a %s

func.func @plain(%x: memref<2x64xbf16>, %w: memref<64x64xbf16>, %y: memref<2x64xf32>) {
  // expected-error @below {{expected a packed weight}}
  v4.kernel "gemv" ins(%x, %w : memref<2x64xbf16>, memref<64x64xbf16>) outs(%y : memref<2x64xf32>) {threads = 256}
  return
}

// -----

func.func @wide(%x: memref<32x64xf32>, %w: memref<2x32x16x2xbf16>, %y: memref<32x32xf32>) {
  // expected-error @below {{expected rows of bf16 and a weight of bf16, fp8 or fp4}}
  v4.kernel "gemm" ins(%x, %w : memref<32x64xf32>, memref<2x32x16x2xbf16>) outs(%y : memref<32x32xf32>) {threads = 256}
  return
}

// -----

func.func @f32_weight(%x: memref<32x64xbf16>, %w: memref<2x64x16x1xf32>, %y: memref<32x32xf32>) {
  // expected-error @below {{expected rows of bf16 and a weight of bf16, fp8 or fp4}}
  v4.kernel "gemm" ins(%x, %w : memref<32x64xbf16>, memref<2x64x16x1xf32>) outs(%y : memref<32x32xf32>) {threads = 256}
  return
}

// -----

func.func @no_lists(%x: memref<32x64xbf16>, %w: memref<3x2x32x16x2xbf16>, %y: memref<32x32xf32>) {
  // expected-error @below {{expected a scale where the format has one, experts, offsets and perhaps rows}}
  v4.kernel "grouped_gemm" ins(%x, %w : memref<32x64xbf16>, memref<3x2x32x16x2xbf16>) outs(%y : memref<32x32xf32>) {threads = 256}
  return
}

// -----

func.func @threads(%x: memref<2x64xbf16>, %w: memref<2x32x16x2xbf16>, %y: memref<2x32xf32>) {
  // expected-error @below {{expected blocks of 64, 128 or 256 threads, found 96}}
  v4.kernel "gemv" ins(%x, %w : memref<2x64xbf16>, memref<2x32x16x2xbf16>) outs(%y : memref<2x32xf32>) {threads = 96}
  return
}
