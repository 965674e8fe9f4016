// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How a v4 op is cut into independent tiles.

#ifndef V4_INTERFACES_TD
#define V4_INTERFACES_TD

include "mlir/IR/OpBase.td"

def V4_TileInterface : OpInterface<"TileInterface"> {
  let cppNamespace = "::mlir::v4";
  let description = [{
    Describes the parallel loops of an op by naming, for every dimension of every operand and result, the loop that walks it.
    One implementation of `TilingInterface` (V4Tiling.cpp) serves all ops through it. An op without loops runs as one workgroup.
  }];
  let methods = [
    InterfaceMethod<"Trip counts of the parallel loops, outermost first; empty when the op is not cut.",
      "::llvm::SmallVector<int64_t>", "getLoopSizes", (ins), "", "return {};">,
    InterfaceMethod<"Size of a tile along each loop; divides its trip count, so that every tile has the same static shape.",
      "::llvm::SmallVector<int64_t>", "getTileSizes", (ins), "", "return {};">,
    InterfaceMethod<"The loop that walks each dimension of an operand.",
      "::llvm::SmallVector<::mlir::v4::TileDim>", "getOperandTile", (ins "::mlir::OpOperand &":$operand), "", "return {};">,
    InterfaceMethod<"The loop that walks each dimension of a result.",
      "::llvm::SmallVector<::mlir::v4::TileDim>", "getResultTile", (ins "unsigned":$result), "", "return {};">,
    InterfaceMethod<"The state operand that a result updates in place, or null.",
      "::mlir::OpOperand *", "getTiedOperand", (ins "unsigned":$result), "", "return nullptr;">,
    InterfaceMethod<"Whether an operand is a table: dimension 0 counts rows that lie anywhere in memory and are read one at a time.",
      "bool", "isTableOperand", (ins "::mlir::OpOperand &":$operand), "", "return false;">,
    InterfaceMethod<"Called on the tile after its operands were cut: adjusts what depends on the tile's place.",
      "void", "adjustTile", (ins "::mlir::OpBuilder &":$builder, "::llvm::ArrayRef<::mlir::OpFoldResult>":$offsets), "", "return;">,
  ];
}

#endif
