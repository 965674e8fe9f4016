// RUN: v4-opt --split-input-file --verify-diagnostics --v4-expand-templates %s

func.func @unknown(%x: memref<4xf32>, %y: memref<4xf32>) {
  // expected-error @below {{names no template}}
  v4.kernel "nothing" ins(%x : memref<4xf32>) outs(%y : memref<4xf32>)
  return
}
