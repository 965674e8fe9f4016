// Stage buffers: one kernel, a product of bf16 rows.
module {
  module @product attributes {v4.kernel} {
    func.func @product(%x: memref<32x64xbf16>, %w: memref<4x32x16x2xbf16>, %y: memref<32x64xbf16>) {
      v4.phase {
        v4.kernel "gemm" ins(%x, %w : memref<32x64xbf16>, memref<4x32x16x2xbf16>) outs(%y : memref<32x64xbf16>)
        v4.yield
      }
      return
    }
  }
}
