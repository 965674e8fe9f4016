// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The schedule of the CPU kernels. A decomposition consists of three kinds of linalg ops (dialects/V4Decompose.cpp):
// elementwise ones, reductions whose last loop is parallel (lanes), and the sums of the lanes, which end a reduction.
// Register tile of a contraction: 4 rows x 4 columns x 16 lanes.

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

  transform.named_sequence @is_lane_reduction(%op: !transform.any_op {transform.readonly}) -> !transform.any_op {
    transform.match.operation_name %op ["linalg.generic"] : !transform.any_op
    %0 = transform.match.structured %op : (!transform.any_op) -> !transform.any_op {
    ^bb0(%generic: !transform.any_op):
      transform.match.structured.dim %generic[-1] {parallel} : !transform.any_op
      transform.match.structured.dim %generic[-2] {reduction} : !transform.any_op
      transform.match.structured.yield %generic : !transform.any_op
    }
    transform.yield %0 : !transform.any_op
  }

  transform.named_sequence @is_elementwise(%op: !transform.any_op {transform.readonly}) -> !transform.any_op {
    transform.match.operation_name %op ["linalg.generic", "linalg.fill"] : !transform.any_op
    %0 = transform.match.structured %op : (!transform.any_op) -> !transform.any_op {
    ^bb0(%generic: !transform.any_op):
      transform.match.structured.dim %generic[all] {parallel} : !transform.any_op
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
    // 1. Lane sums with the contraction that feeds them: columns first, so that a widened weight is computed once for
    //    all rows; then rows, with the accumulators of one register tile.
    %sums = transform.collect_matching @is_lane_sum in %kernel : (!transform.any_op) -> !transform.any_op
    %columns = transform.v4.tile %sums rows [4] fuse "all" : (!transform.any_op) -> !transform.any_op
    %tiles = transform.v4.tile %columns rows [4, 4] fuse "reductions" : (!transform.any_op) -> !transform.any_op
    transform.include @clean failures(propagate) (%kernel) : (!transform.any_op) -> ()

    // 2. The steps of the sums. A weight that serves one register tile only is widened in registers, step by step.
    %steps = transform.collect_matching @is_lane_reduction in %kernel : (!transform.any_op) -> !transform.any_op
    %stepped = transform.v4.tile %steps rows [1, 1, 1, 4, 4] reduction 1 lanes 64 unless_below 256 fuse "local" : (!transform.any_op) -> !transform.any_op
    transform.include @clean failures(propagate) (%kernel) : (!transform.any_op) -> ()

    // 3. Everything else into register tiles: elementwise ops a part of a row at a time, sums step by step.
    %elementwise = transform.collect_matching @is_elementwise in %kernel : (!transform.any_op) -> !transform.any_op
    %parts = transform.v4.tile %elementwise rows [1, 1, 1, 1, 1] lanes 64 unless_below 128 : (!transform.any_op) -> !transform.any_op
    %ops = transform.structured.match interface{LinalgOp} in %kernel : (!transform.any_op) -> !transform.any_op
    %registers = transform.v4.tile %ops rows [1, 1, 1, 4, 4] reduction 1 lanes 64 unless_below 256 : (!transform.any_op) -> !transform.any_op
    transform.include @clean failures(propagate) (%kernel) : (!transform.any_op) -> ()

    // 4. Vectors. What cannot become one stays a loop (the test of the objects finds it).
    %scalars = transform.structured.match interface{LinalgOp} in %kernel : (!transform.any_op) -> !transform.any_op
    transform.foreach %scalars : !transform.any_op {
    ^bb0(%op: !transform.any_op):
      transform.sequence %op : !transform.any_op failures(suppress) {
      ^bb1(%one: !transform.any_op):
        transform.structured.vectorize %one {vectorize_nd_extract} : !transform.any_op
      }
    }

    // 5. Accumulators stay in registers across the steps of a sum.
    transform.include @clean failures(propagate) (%kernel) : (!transform.any_op) -> ()
    transform.apply_patterns to %kernel {
      transform.apply_patterns.canonicalization
      transform.apply_patterns.tensor.fold_tensor_subset_ops_into_vector_transfers
    } : !transform.any_op
    %loops = transform.structured.match ops{["scf.for"]} in %kernel : (!transform.any_op) -> !transform.any_op
    transform.loop.hoist_loop_invariant_subsets %loops : !transform.any_op
    transform.include @clean failures(propagate) (%kernel) : (!transform.any_op) -> ()
    transform.yield
  }
}
