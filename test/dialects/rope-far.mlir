// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RUN: %lower %s | %run | FileCheck %s
// Cosines and sines at positions near 2^20 are those of the f32 angle, computed in double precision elsewhere and rounded
// once: none is off by more than one unit in the last place of numbers below 1.

// CHECK: data =
// CHECK-NEXT: {{^}}[{{0|2.98023e-08|5.96046e-08}}]

func.func private @printMemrefF32(memref<*xf32>) attributes {llvm.emit_c_interface}

func.func private @table(%positions: tensor<2xi32>) -> tensor<2x2x32xf32> {
  %y = v4.rope_table %positions theta 1.6e5
      yarn <factor = 16.0 : f64, original = 65536, beta_fast = 32.0 : f64, beta_slow = 1.0 : f64>
      : (tensor<2xi32>) -> tensor<2x2x32xf32>
  return %y : tensor<2x2x32xf32>
}

func.func @main() {
  %positions = arith.constant dense<[1048575, 999983]> : tensor<2xi32>
  %expected = arith.constant dense<[
    [[7.880422473e-01, 8.300226331e-01, -9.780082703e-01, -3.216943145e-01, 4.301765263e-01, 6.571932435e-01,
      9.782503843e-01, -8.202290535e-01, -2.773171067e-01, 9.996074438e-01, 1.464363486e-01, -5.091389418e-01,
      5.419825315e-01, 9.370037317e-01, -3.195836842e-01, -1.868154407e-01, 8.058490753e-01, 7.845511436e-01,
      3.163331151e-01, 2.591385543e-01, -9.264976382e-01, 9.130355716e-01, 5.114144683e-01, -8.639201522e-01,
      -5.959669873e-02, 7.961366773e-01, -7.437311411e-01, -8.880167007e-01, -2.580360770e-01, 3.061614633e-01,
      6.477280855e-01, 8.277862072e-01],
     [-6.156211495e-01, 5.577297211e-01, 2.085662335e-01, -9.468435645e-01, -9.027447701e-01, 7.537220716e-01,
      2.074274868e-01, 5.720351934e-01, 9.607784748e-01, 2.801623754e-02, -9.892200828e-01, 8.606843352e-01,
      -8.403897285e-01, 3.493193984e-01, 9.475580454e-01, -9.823950529e-01, 5.921209455e-01, 6.200640798e-01,
      -9.486481547e-01, -9.658401608e-01, -3.763006330e-01, 4.078799188e-01, 8.593341708e-01, -5.036287904e-01,
      9.982225299e-01, -6.051168442e-01, -6.684788465e-01, 4.598112404e-01, 9.661352634e-01, 9.519795775e-01,
      7.618715763e-01, 5.610436797e-01]],
    [[7.872303575e-02, 9.999629259e-01, -9.388778210e-01, 8.922388554e-01, -9.898098707e-01, 9.875891805e-01,
      -3.023594022e-01, 8.684704304e-01, -7.614418268e-01, 8.087638021e-01, 8.834415078e-01, -8.226742148e-01,
      -7.124144435e-01, -8.139106035e-01, -8.608623147e-01, -7.935919166e-01, -8.784810901e-01, -3.331602812e-01,
      1.252510399e-01, 6.488865614e-01, -9.211128950e-02, 1.017407104e-01, -9.713636041e-01, 1.094154194e-01,
      7.767130733e-01, 6.129841208e-01, -8.511375189e-01, -8.246425986e-01, -1.751933992e-01, 3.611782193e-01,
      6.777799726e-01, 8.429552913e-01],
     [9.968965054e-01, 8.611544967e-03, 3.442505002e-01, -4.515637457e-01, -1.423950940e-01, -1.570593119e-01,
      9.531939626e-01, 4.957409799e-01, -6.482332349e-01, 5.881335735e-01, -4.685414135e-01, -5.685131550e-01,
      7.017589211e-01, -5.809900761e-01, 5.088379979e-01, -6.084503531e-01, -4.777770638e-01, 9.428701997e-01,
      9.921250939e-01, -7.608851790e-01, 9.957486987e-01, -9.948109388e-01, 2.375978082e-01, 9.939960837e-01,
      6.298546195e-01, -7.900952101e-01, -5.249428153e-01, 5.656540990e-01, 9.845340252e-01, 9.324967861e-01,
      7.352647781e-01, 5.379836559e-01]]
  ]> : tensor<2x2x32xf32>
  %found = call @table(%positions) : (tensor<2xi32>) -> tensor<2x2x32xf32>
  %zero = arith.constant dense<0.0> : tensor<1xf32>
  %largest = linalg.generic {
      indexing_maps = [affine_map<(z, a, b, c) -> (a, b, c)>, affine_map<(z, a, b, c) -> (a, b, c)>,
                       affine_map<(z, a, b, c) -> (z)>],
      iterator_types = ["parallel", "reduction", "reduction", "reduction"]}
      ins(%found, %expected : tensor<2x2x32xf32>, tensor<2x2x32xf32>) outs(%zero : tensor<1xf32>) {
  ^bb0(%have: f32, %want: f32, %most: f32):
    %difference = arith.subf %have, %want : f32
    %size = math.absf %difference : f32
    %max = arith.maximumf %size, %most : f32
    linalg.yield %max : f32
  } -> tensor<1xf32>
  %buffer = bufferization.to_buffer %largest : tensor<1xf32> to memref<1xf32>
  %unranked = memref.cast %buffer : memref<1xf32> to memref<*xf32>
  call @printMemrefF32(%unranked) : (memref<*xf32>) -> ()
  return
}
