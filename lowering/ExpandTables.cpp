// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-expand-tables: a table of tensors becomes a base address and the byte offset of every row.

#include "lowering/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_EXPANDTABLESPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

namespace {
struct ExpandTablesPass : v4::impl::ExpandTablesPassBase<ExpandTablesPass> {
  void runOnOperation() override {
    func::FuncOp func = getOperation();
    auto tables = func->getParentOp()->getAttrOfType<DenseI64ArrayAttr>("v4.tables");
    if (!tables)
      return;
    // From the last one, so that the numbers of the others stay.
    for (int64_t number : llvm::reverse(tables.asArrayRef()))
      if (failed(expand(func, number)))
        return signalPassFailure();
  }

private:
  LogicalResult expand(func::FuncOp func, unsigned number) {
    BlockArgument table = func.getArgument(number);
    auto type = cast<MemRefType>(table.getType());
    MLIRContext *context = func.getContext();
    // The rows lie anywhere in the address space above the base; no bound is meant.
    auto baseType = MemRefType::get({int64_t(1) << 62}, IntegerType::get(context, 8));
    auto offsetsType = MemRefType::get({type.getDimSize(0)}, IntegerType::get(context, 64));
    if (failed(func.insertArgument(number + 1, offsetsType, {}, func.getLoc())))
      return failure();
    Value offsets = func.getArgument(number + 1);
    auto rowType = MemRefType::get(type.getShape().drop_front(), type.getElementType());

    /// Row `index` of the table as a buffer of its own.
    auto rowAt = [&](OpBuilder &b, Location loc, OpFoldResult index) -> Value {
      Value offset = memref::LoadOp::create(b, loc, offsets, getValueOrCreateConstantIndexOp(b, loc, index));
      offset = arith::IndexCastOp::create(b, loc, b.getIndexType(), offset);
      return memref::ViewOp::create(b, loc, rowType, table, offset, ValueRange());
    };
    for (Operation *user : llvm::make_early_inc_range(table.getUsers())) {
      OpBuilder b(user);
      Location loc = user->getLoc();
      if (auto read = dyn_cast<vector::TransferReadOp>(user)) {
        AffineMap map = read.getPermutationMap();
        if (map.isFunctionOfDim(0) || read.getMask())
          return user->emitOpError("reads several rows of a table at once");
        llvm::SmallBitVector rowNumber(map.getNumDims());
        rowNumber.set(0);
        Value part = vector::TransferReadOp::create(
            b, loc, read.getVectorType(), rowAt(b, loc, read.getIndices().front()), read.getIndices().drop_front(),
            read.getPadding(), projectDims(map, rowNumber, /*compressDimsFlag=*/true), read.getInBoundsValues());
        read.replaceAllUsesWith(part);
        read.erase();
        continue;
      }
      auto view = dyn_cast<memref::SubViewOp>(user);
      if (!view || view.getStaticSizes()[0] != 1)
        return user->emitOpError("reads a table other than by rows");
      // The same cut of the row; the layout of the result may differ from the old one in its offset only.
      SmallVector<OpFoldResult> rowOffsets = view.getMixedOffsets(), sizes = view.getMixedSizes(),
                                strides = view.getMixedStrides();
      rowOffsets.erase(rowOffsets.begin());
      sizes.erase(sizes.begin());
      strides.erase(strides.begin());
      auto cut =
          memref::SubViewOp::inferRankReducedResultType(view.getType().getShape(), rowType, rowOffsets, sizes, strides);
      Value result = memref::SubViewOp::create(b, loc, cast<MemRefType>(cut), rowAt(b, loc, view.getMixedOffsets()[0]),
                                               rowOffsets, sizes, strides);
      if (result.getType() != view.getType())
        result = memref::CastOp::create(b, loc, view.getType(), result);
      view.replaceAllUsesWith(result);
      view.erase();
    }
    table.setType(baseType);
    SmallVector<Type> types(func.getBody().front().getArgumentTypes());
    func.setFunctionType(FunctionType::get(context, types, func.getResultTypes()));
    return success();
  }
};
} // namespace
