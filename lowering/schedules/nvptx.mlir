// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The schedule of GPU kernels: what the threads of a block do between two barriers. v4-distribute-threads shares the
// iterations of every op out later; here large ops are cut so that what passes between them fits into shared memory.

module attributes {transform.with_named_sequence} {
  transform.named_sequence @is_lane_sum(%op: !transform.any_op {transform.readonly}) -> !transform.any_op {
    transform.match.operation_name %op ["linalg.generic"] : !transform.any_op
    %0 = transform.match.structured %op : (!transform.any_op) -> !transform.any_op {
    ^bb0(%generic: !transform.any_op):
      transform.match.structured.dim %generic[-1] {reduction} : !transform.any_op
      transform.match.structured.yield %generic : !transform.any_op
    }
    transform.yield %0 : !transform.any_op
  }

  transform.named_sequence @clean(%kernel: !transform.any_op {transform.readonly}) {
    transform.apply_patterns to %kernel {
      transform.apply_patterns.canonicalization
      transform.apply_patterns.tensor.fold_tensor_empty
      transform.apply_patterns.tensor.merge_consecutive_insert_extract_slice
    } : !transform.any_op
    transform.apply_cse to %kernel : !transform.any_op
    transform.yield
  }

  transform.named_sequence @__transform_main(%kernel: !transform.any_op {transform.readonly}) {
    // The sums of a contraction's lanes with the contraction: 16 x 16 results with 16 lanes each.
    %sums = transform.collect_matching @is_lane_sum in %kernel : (!transform.any_op) -> !transform.any_op
    %tiles = transform.v4.tile %sums rows [16, 16] unless_below 4096 fuse "all" : (!transform.any_op) -> !transform.any_op
    transform.include @clean failures(propagate) (%kernel) : (!transform.any_op) -> ()
    transform.yield
  }
}
