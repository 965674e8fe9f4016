// RUN: not v4-opt %s --pass-pipeline='builtin.module(func.func(v4-apply-schedule{schedule=%t.missing}))' 2>&1 | FileCheck %s --check-prefix=MISSING
// RUN: not v4-opt %s --pass-pipeline='builtin.module(func.func(v4-apply-schedule{schedule=%S/Inputs/no-entry.mlir}))' 2>&1 | FileCheck %s --check-prefix=ENTRY
// RUN: not v4-opt %s --pass-pipeline='builtin.module(func.func(v4-apply-schedule{schedule=%S/Inputs/schedule.mlir}))' 2>&1 | FileCheck %s --check-prefix=DYNAMIC

// MISSING: error: cannot read the schedule '{{.*}}.missing'
// ENTRY: error: {{.*}}the schedule '{{.*}}no-entry.mlir' has no @__transform_main
// DYNAMIC: error: expected a linalg op of static shape, found linalg.fill
func.func @kernel(%x: f32, %y: tensor<?xf32>) -> tensor<?xf32> {
  %0 = linalg.fill ins(%x : f32) outs(%y : tensor<?xf32>) -> tensor<?xf32>
  return %0 : tensor<?xf32>
}
