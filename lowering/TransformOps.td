// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Transform ops of v4c's schedules.

#ifndef V4_TRANSFORM_OPS_TD
#define V4_TRANSFORM_OPS_TD

include "mlir/Dialect/Transform/IR/TransformDialect.td"
include "mlir/Dialect/Transform/Interfaces/TransformInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def V4_TileTransformOp : Op<Transform_Dialect, "v4.tile", [FunctionalStyleTransformOpTrait, MemoryEffectsOpInterface,
    TransformOpInterface, TransformEachOpTrait, ReportTrackingListenerFailuresOpTrait]> {
  let summary = "tile by divisors, by the role of each loop";
  let description = [{
    Tiles a structured op with `scf.for` loops and fuses producers. A schedule of the v4 kernels is written for three kinds of loops,
    whatever the rank: the *last* loop (lanes), the other parallel loops (rows, sizes aligned to the right) and the other reduction
    loops, which become the innermost loops. Every size is reduced to the largest divisor of the loop's trip count, so that all
    tiles have one static shape; 0 leaves a loop whole. Upstream's `structured.tile_using_for` names loops by position and leaves
    a dynamic last tile.

    With `unless_below`, an op whose whole iteration space is at most that many points is left as it is. `fuse` pulls producers
    into the loops: `reductions` those with a reduction loop and fills, `all` also elementwise ones, `local` also elementwise ones
    that stand in the same block and of which no element is computed twice: one that stands outside of a loop around the op serves
    all iterations of that loop. A producer
    that every iteration would compute as a whole stays outside.
  }];
  let arguments = (ins TransformHandleTypeInterface:$target, DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$rows,
    DefaultValuedAttr<I64Attr, "0">:$reduction, DefaultValuedAttr<I64Attr, "0">:$lanes,
    DefaultValuedAttr<I64Attr, "0">:$unless_below, OptionalAttr<StrAttr>:$fuse);
  let results = (outs TransformHandleTypeInterface:$tiled);
  let assemblyFormat = "$target (`rows` $rows^)? (`reduction` $reduction^)? (`lanes` $lanes^)? (`unless_below` $unless_below^)? (`fuse` $fuse^)? attr-dict `:` functional-type(operands, results)";
  let extraClassDeclaration = [{
    ::mlir::DiagnosedSilenceableFailure applyToOne(::mlir::transform::TransformRewriter &rewriter, ::mlir::Operation *target,
        ::mlir::transform::ApplyToEachResultList &results, ::mlir::transform::TransformState &state);
  }];
}

#endif
