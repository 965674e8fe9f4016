// RUN: v4-opt --split-input-file --verify-diagnostics --v4-expand-templates %s

func.func @unknown(%x: memref<4xf32>, %y: memref<4xf32>) {
  // expected-error @below {{names no template}}
  v4.kernel "nothing" ins(%x : memref<4xf32>) outs(%y : memref<4xf32>)
  return
}

// -----

func.func @no_weight(%x: memref<32x64xf32>, %y: memref<32x64xf32>) {
  // expected-error @below {{expected rows, a weight and one result}}
  v4.kernel "gemm" ins(%x : memref<32x64xf32>) outs(%y : memref<32x64xf32>)
  return
}

// -----

func.func @plain(%x: memref<32x64xf32>, %w: memref<64x64xbf16>, %y: memref<32x64xf32>) {
  // expected-error @below {{expected a packed weight}}
  v4.kernel "gemm" ins(%x, %w : memref<32x64xf32>, memref<64x64xbf16>) outs(%y : memref<32x64xf32>)
  return
}

// -----

func.func @two_groups(%x: memref<32x2x64xf32>, %w: memref<2x4x32x16x2xbf16>, %y: memref<32x2x64xf32>) {
  // expected-error @below {{expected rows [S, K] or of one group, [S, 1, K]}}
  v4.kernel "gemm" ins(%x, %w : memref<32x2x64xf32>, memref<2x4x32x16x2xbf16>) outs(%y : memref<32x2x64xf32>)
  return
}

// -----

func.func @inner(%x: memref<32x32xf32>, %w: memref<4x32x16x2xbf16>, %y: memref<32x64xf32>) {
  // expected-error @below {{expected rows of 64 and a result of 64 columns, as the weight}}
  v4.kernel "gemm" ins(%x, %w : memref<32x32xf32>, memref<4x32x16x2xbf16>) outs(%y : memref<32x64xf32>)
  return
}

// -----

func.func @rounded(%x: memref<32x64xf16>, %w: memref<4x32x16x2xbf16>, %y: memref<32x64xf32>) {
  // expected-error @below {{expected rows and results of f32 or bf16}}
  v4.kernel "gemm" ins(%x, %w : memref<32x64xf16>, memref<4x32x16x2xbf16>) outs(%y : memref<32x64xf32>)
  return
}

// -----

func.func @no_scale(%x: memref<32x64xf32>, %w: memref<4x8x16x4xi8>, %y: memref<32x64xf32>) {
  // expected-error @below {{expected a scale where the format has one}}
  v4.kernel "gemm" ins(%x, %w : memref<32x64xf32>, memref<4x8x16x4xi8>) outs(%y : memref<32x64xf32>)
  return
}

// -----

func.func @no_lists(%x: memref<32x64xf32>, %w: memref<3x4x32x16x2xbf16>, %y: memref<32x64xf32>) {
  // expected-error @below {{expected a scale where the format has one, experts, offsets and perhaps rows}}
  v4.kernel "grouped_gemm" ins(%x, %w : memref<32x64xf32>, memref<3x4x32x16x2xbf16>) outs(%y : memref<32x64xf32>)
  return
}

// -----

func.func @gemv_inner(%x: memref<1x32xf32>, %w: memref<4x32x16x2xbf16>, %y: memref<1x64xf32>) {
  // expected-error @below {{expected rows of 64 and a result of 64 columns, as the weight}}
  v4.kernel "gemv" ins(%x, %w : memref<1x32xf32>, memref<4x32x16x2xbf16>) outs(%y : memref<1x64xf32>)
  return
}

// -----

func.func @gemv_lists(%x: memref<4x64xf32>, %w: memref<3x4x32x16x2xbf16>, %y: memref<4x64xf32>) {
  // expected-error @below {{expected a scale where the format has one, experts, offsets and perhaps rows}}
  v4.kernel "grouped_gemv" ins(%x, %w : memref<4x64xf32>, memref<3x4x32x16x2xbf16>) outs(%y : memref<4x64xf32>)
  return
}
