// RUN: v4-opt %s --v4-plan-arena | FileCheck %s

// Both buffers are alive at launch b. The larger one is placed first; every buffer starts on a cache line.
// CHECK-LABEL: func.func private @body
// CHECK-SAME: %[[ARENA:[^ ]+]]: memref<320xi8> {v4.arena})
// CHECK-DAG: %[[A:.+]] = memref.view %[[ARENA]][%c256][] : memref<320xi8> to memref<16xf32>
// CHECK-DAG: %[[B:.+]] = memref.view %[[ARENA]][%c0][] : memref<320xi8> to memref<64xf32>
// CHECK: v4.launch @k "b" ins(%[[A]] : {{.*}}) outs(%[[B]] : {{.*}})
func.func private @body(%x: memref<16xf32>, %y: memref<16xf32>) {
  %a = memref.alloc() : memref<16xf32>
  %b = memref.alloc() : memref<64xf32>
  v4.launch @k "a" ins(%x : memref<16xf32>) outs(%a : memref<16xf32>)
  v4.launch @k "b" ins(%a : memref<16xf32>) outs(%b : memref<64xf32>)
  v4.launch @k "c" ins(%b : memref<64xf32>) outs(%y : memref<16xf32>)
  return
}
// A call lends its callee 320 bytes, in the place of buffer b, which is dead by then.
// CHECK-LABEL: func.func @decode
// CHECK-SAME: %[[ARENA:[^ ]+]]: memref<448xi8> {v4.arena})
// CHECK-DAG: %[[A:.+]] = memref.view %[[ARENA]][%c320][] : memref<448xi8> to memref<16xf32>
// CHECK-DAG: %[[B:.+]] = memref.view %[[ARENA]][%c0][] : memref<448xi8> to memref<5xi32>
// CHECK-DAG: %[[C:.+]] = memref.view %[[ARENA]][%c384][] : memref<448xi8> to memref<16xf32>
// CHECK: %[[PART:.+]] = memref.view %[[ARENA]][%c0{{.*}}][] : memref<448xi8> to memref<320xi8>
// CHECK: call @body(%[[A]], %[[C]], %[[PART]])
func.func @decode(%x: memref<16xf32>, %y: memref<16xf32>) {
  %a = memref.alloc() : memref<16xf32>
  %b = memref.alloc() : memref<5xi32>
  %c = memref.alloc() : memref<16xf32>
  v4.launch @k "p" ins(%x : memref<16xf32>) outs(%b : memref<5xi32>)
  v4.launch @k "q" ins(%b : memref<5xi32>) outs(%a : memref<16xf32>)
  call @body(%a, %c) : (memref<16xf32>, memref<16xf32>) -> ()
  v4.launch @k "r" ins(%c : memref<16xf32>) outs(%y : memref<16xf32>)
  return
}

// Buffers of any size start at multiples of 64 bytes.
// CHECK-LABEL: func.func @odd
// CHECK-SAME: %[[ARENA:[^ ]+]]: memref<76xi8> {v4.arena})
// CHECK-DAG: memref.view %[[ARENA]][%c0{{.*}}][] : memref<76xi8> to memref<5xi32>
// CHECK-DAG: memref.view %[[ARENA]][%c64{{.*}}][] : memref<76xi8> to memref<3xf32>
func.func @odd(%x: memref<16xf32>, %y: memref<16xf32>) {
  %a = memref.alloc() : memref<5xi32>
  %b = memref.alloc() : memref<3xf32>
  v4.launch @k "p" ins(%x : memref<16xf32>) outs(%a : memref<5xi32>)
  v4.launch @k "q" ins(%a : memref<5xi32>) outs(%b : memref<3xf32>)
  v4.launch @k "r" ins(%b : memref<3xf32>) outs(%y : memref<16xf32>)
  return
}
module @k attributes {v4.kernel} {}
