module attributes {transform.with_named_sequence} {
  transform.named_sequence @__transform_main(%kernel: !transform.any_op {transform.readonly}) {
    %ops = transform.structured.match interface{LinalgOp} in %kernel : (!transform.any_op) -> !transform.any_op
    %tiles = transform.v4.tile %ops rows [1] : (!transform.any_op) -> !transform.any_op
    transform.yield
  }
}
