// RUN: v4-opt %s --pass-pipeline='builtin.module(func.func(v4-form-phases,v4-select-templates))' | FileCheck %s
// Which products of many rows the templates `gemm` and `grouped_gemm` compute, and in which tiles.

// 64 columns a workgroup.
// CHECK-LABEL: func.func @bf16
// CHECK: scf.forall (%[[N:.*]]) = (0) to (256) step (64)
// CHECK: %[[W:.*]] = tensor.extract_slice %{{.*}} : tensor<16x64x16x2xbf16> to tensor<4x64x16x2xbf16>
// CHECK: %[[Y:.*]] = tensor.empty() : tensor<128x64xf32>
// CHECK: v4.kernel "gemm" ins(%{{.*}}, %[[W]] : tensor<128x128xf32>, tensor<4x64x16x2xbf16>) outs(%[[Y]] : tensor<128x64xf32>)
func.func @bf16(%x: tensor<128x128xf32>, %w: tensor<16x64x16x2xbf16>, %y: tensor<128x256xf32>) -> tensor<128x256xf32> {
  %0 = v4.linear %x, %w : (tensor<128x128xf32>, tensor<16x64x16x2xbf16>) -> tensor<128x256xf32>
  return %0 : tensor<128x256xf32>
}

// 144 rows with a scale per 128: a tile must not cross a block.
// CHECK-LABEL: func.func @fp8
// CHECK: scf.forall (%{{.*}}) = (0) to (144) step (16)
// CHECK: v4.kernel "gemm"
func.func @fp8(%x: tensor<128x256xf32>, %w: tensor<9x64x16x4xf8E4M3FN>, %s: tensor<2x2xf8E8M0FNU>, %y: tensor<128x144xf32>)
    -> tensor<128x144xf32> {
  %0 = v4.linear %x, %w scale %s : (tensor<128x256xf32>, tensor<9x64x16x4xf8E4M3FN>, tensor<2x2xf8E8M0FNU>) -> tensor<128x144xf32>
  return %0 : tensor<128x144xf32>
}

// A tile of a product with groups is of one group.
// CHECK-LABEL: func.func @groups
// CHECK: v4.kernel "gemm" ins(%{{.*}}, %{{.*}} : tensor<32x1x64xf32>, tensor<1x4x32x16x2xbf16>) outs(%{{.*}} : tensor<32x1x64xf32>)
func.func @groups(%x: tensor<32x2x64xf32>, %w: tensor<2x4x32x16x2xbf16>, %y: tensor<32x2x64xf32>) -> tensor<32x2x64xf32> {
  %0 = v4.linear %x, %w : (tensor<32x2x64xf32>, tensor<2x4x32x16x2xbf16>) -> tensor<32x2x64xf32>
  return %0 : tensor<32x2x64xf32>
}

// The weights of all experts stay one table.
// CHECK-LABEL: func.func @experts
// CHECK: v4.kernel "grouped_gemm" ins(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<64x64xf32>, tensor<8x4x8x16x4xi8>, tensor<8x4x2x16xf8E8M0FNU>, tensor<8xi32>, tensor<9xi32>, tensor<256xi32>)
func.func @experts(%x: tensor<64x64xf32>, %w: tensor<8x8x8x16x4xi8>, %s: tensor<8x8x2x16xf8E8M0FNU>, %experts: tensor<8xi32>,
                   %offsets: tensor<9xi32>, %rows: tensor<256xi32>, %y: tensor<256x128xf32>) -> tensor<256x128xf32> {
  %0 = v4.grouped_linear %x, %w scale %s experts %experts, %offsets rows %rows
      : (tensor<64x64xf32>, tensor<8x8x8x16x4xi8>, tensor<8x8x2x16xf8E8M0FNU>, tensor<8xi32>, tensor<9xi32>, tensor<256xi32>)
      -> tensor<256x128xf32>
  return %0 : tensor<256x128xf32>
}

// Few rows, and rows that are not packed, are not theirs.
// CHECK-LABEL: func.func @others
// CHECK-NOT: "gemm"
func.func @others(%x: tensor<16x64xf32>, %z: tensor<128x64xf32>, %w: tensor<4x32x16x2xbf16>, %v: tensor<40x64xbf16>,
                  %a: tensor<16x64xf32>, %b: tensor<128x40xf32>) -> (tensor<16x64xf32>, tensor<128x40xf32>) {
  %0 = v4.linear %x, %w : (tensor<16x64xf32>, tensor<4x32x16x2xbf16>) -> tensor<16x64xf32>
  %1 = v4.linear %z, %v : (tensor<128x64xf32>, tensor<40x64xbf16>) -> tensor<128x40xf32>
  return %0, %1 : tensor<16x64xf32>, tensor<128x40xf32>
}
