// RUN: v4-opt %s --v4-plan-arena --verify-diagnostics

func.func @decode(%c: i1, %x: memref<16xf32>) {
  // expected-error @below {{is not a straight line of launches}}
  scf.if %c {
    v4.launch @k "a" ins(%x : memref<16xf32>) outs()
  }
  return
}
module @k attributes {v4.kernel} {}
