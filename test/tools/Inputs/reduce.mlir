func.func @f(%x: tensor<4x64xf32>, %w: tensor<32x64xbf16>) -> tensor<4x2xi32> {
  %0 = v4.rms_norm %x eps 1.0e-6 : (tensor<4x64xf32>) -> tensor<4x64xf32>
  %1 = v4.linear %0, %w : (tensor<4x64xf32>, tensor<32x64xbf16>) -> tensor<4x32xf32>
  %2 = v4.top_k %1 : (tensor<4x32xf32>) -> tensor<4x2xi32>
  return %2 : tensor<4x2xi32>
}
func.func @g(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  %0 = v4.rms_norm %x eps 1.0e-6 : (tensor<4x64xf32>) -> tensor<4x64xf32>
  %1 = v4.hadamard %0 : (tensor<4x64xf32>) -> tensor<4x64xf32>
  return %1 : tensor<4x64xf32>
}
