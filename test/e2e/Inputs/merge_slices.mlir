// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Slices of slices as one slice: a row of a table of experts must be cut from the table itself. Upstream has the patterns
// as a transform op only.
module attributes {transform.with_named_sequence} {
  transform.named_sequence @__transform_main(%module: !transform.any_op {transform.readonly}) {
    %kernels = transform.structured.match ops{["func.func"]} in %module : (!transform.any_op) -> !transform.any_op
    transform.apply_patterns to %kernels {
      transform.apply_patterns.tensor.merge_consecutive_insert_extract_slice
    } : !transform.any_op
    transform.yield
  }
}
