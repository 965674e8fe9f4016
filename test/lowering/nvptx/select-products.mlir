// RUN: v4-opt %s --split-input-file --v4-form-phases=target=nvptx:sm_90a --v4-select-templates=target=nvptx:sm_90a | FileCheck %s
// RUN: v4-opt %s --split-input-file --v4-form-phases=target=emu:sm_80 --v4-select-templates=target=emu:sm_80 | FileCheck %s

// Tiles of 32 columns, a pair of groups: many blocks read the weight.
// CHECK-LABEL: func.func @few
// CHECK: scf.forall {{.*}} = (0) to (128) step (32)
// CHECK: v4.kernel "gemv" ins(%{{.+}}, %{{.+}} : tensor<1x64xbf16>, tensor<2x32x16x2xbf16>) {{.*}} {threads = 256 : i64}
func.func @few(%x: tensor<1x64xbf16>, %w: tensor<8x32x16x2xbf16>, %y: tensor<1x128xf32>) -> tensor<1x128xf32> {
  %0 = v4.linear %x, %w : (tensor<1x64xbf16>, tensor<8x32x16x2xbf16>) -> tensor<1x128xf32>
  return %0 : tensor<1x128xf32>
}

// -----

// An odd number of groups has no pairs.
// CHECK-LABEL: func.func @odd
// CHECK: scf.forall {{.*}} = (0) to (48) step (16)
// CHECK: v4.kernel "gemm"
func.func @odd(%x: tensor<17x64xbf16>, %w: tensor<3x32x16x2xbf16>, %y: tensor<17x48xf32>) -> tensor<17x48xf32> {
  %0 = v4.linear %x, %w : (tensor<17x64xbf16>, tensor<3x32x16x2xbf16>) -> tensor<17x48xf32>
  return %0 : tensor<17x48xf32>
}

// -----

// f32 rows have no product of many rows: tensor cores would round them.
// CHECK-LABEL: func.func @wide
// CHECK: v4.kernel "gemv"
func.func @wide(%x: tensor<512x64xf32>, %w: tensor<2x32x16x2xbf16>, %y: tensor<512x32xf32>) -> tensor<512x32xf32> {
  %0 = v4.linear %x, %w : (tensor<512x64xf32>, tensor<2x32x16x2xbf16>) -> tensor<512x32xf32>
  return %0 : tensor<512x32xf32>
}

// -----

// Many rows and columns: two pairs of groups, which share the rows in shared memory. One scale of fp8 for either.
// CHECK-LABEL: func.func @many
// CHECK: scf.forall {{.*}} = (0) to (8192) step (64)
// CHECK: v4.kernel "gemm" ins(%{{.+}}, %{{.+}}, %{{.+}} : tensor<32x128xbf16>, tensor<4x32x16x4xf8E4M3FN>, tensor<1x1xf8E8M0FNU>)
func.func @many(%x: tensor<32x128xbf16>, %w: tensor<512x32x16x4xf8E4M3FN>, %s: tensor<64x1xf8E8M0FNU>, %y: tensor<32x8192xbf16>)
    -> tensor<32x8192xbf16> {
  %0 = v4.linear %x, %w scale %s : (tensor<32x128xbf16>, tensor<512x32x16x4xf8E4M3FN>, tensor<64x1xf8E8M0FNU>) -> tensor<32x8192xbf16>
  return %0 : tensor<32x8192xbf16>
}

// -----

// A tile of an output projection is of one group.
// CHECK-LABEL: func.func @groups
// CHECK: scf.forall {{.*}} = (0, 0) to (4, 32) step (1, 32)
// CHECK: v4.kernel "gemv" ins(%{{.+}}, %{{.+}} : tensor<2x1x64xbf16>, tensor<1x2x32x16x2xbf16>)
func.func @groups(%x: tensor<2x4x64xbf16>, %w: tensor<4x2x32x16x2xbf16>, %y: tensor<2x4x32xf32>) -> tensor<2x4x32xf32> {
  %0 = v4.linear %x, %w : (tensor<2x4x64xbf16>, tensor<4x2x32x16x2xbf16>) -> tensor<2x4x32xf32>
  return %0 : tensor<2x4x32xf32>
}

// -----

// A weight as stored keeps its decomposition.
// CHECK-LABEL: func.func @stored
// CHECK-NOT: v4.kernel
// CHECK: v4.linear
func.func @stored(%x: tensor<1x63xbf16>, %w: tensor<20x63xbf16>, %y: tensor<1x20xf32>) -> tensor<1x20xf32> {
  %0 = v4.linear %x, %w : (tensor<1x63xbf16>, tensor<20x63xbf16>) -> tensor<1x20xf32>
  return %0 : tensor<1x20xf32>
}

// -----

// Experts with few rows each, and with many.
// CHECK-LABEL: func.func @experts
// CHECK: v4.kernel "grouped_gemv"
// CHECK: v4.kernel "grouped_gemm"
// CHECK: v4.kernel "grouped_gemv"
func.func @experts(%x: tensor<4x64xbf16>, %many: tensor<100x64xbf16>, %wide: tensor<100x64xf32>, %w: tensor<8x2x8x16x4xi8>,
                   %s: tensor<8x2x2x16xf8E8M0FNU>, %e: tensor<8xi32>, %o: tensor<9xi32>, %r: tensor<8xi32>, %pairs: tensor<200xi32>,
                   %y: tensor<8x32xbf16>, %z: tensor<200x32xbf16>, %u: tensor<200x32xf32>)
    -> (tensor<8x32xbf16>, tensor<200x32xbf16>, tensor<200x32xf32>) {
  %0 = v4.grouped_linear %x, %w scale %s experts %e, %o rows %r : (tensor<4x64xbf16>, tensor<8x2x8x16x4xi8>,
      tensor<8x2x2x16xf8E8M0FNU>, tensor<8xi32>, tensor<9xi32>, tensor<8xi32>) -> tensor<8x32xbf16>
  %1 = v4.grouped_linear %many, %w scale %s experts %e, %o rows %pairs : (tensor<100x64xbf16>, tensor<8x2x8x16x4xi8>,
      tensor<8x2x2x16xf8E8M0FNU>, tensor<8xi32>, tensor<9xi32>, tensor<200xi32>) -> tensor<200x32xbf16>
  %2 = v4.grouped_linear %wide, %w scale %s experts %e, %o rows %pairs : (tensor<100x64xf32>, tensor<8x2x8x16x4xi8>,
      tensor<8x2x2x16xf8E8M0FNU>, tensor<8xi32>, tensor<9xi32>, tensor<200xi32>) -> tensor<200x32xf32>
  return %0, %1, %2 : tensor<8x32xbf16>, tensor<200x32xbf16>, tensor<200x32xf32>
}
