// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Verifiers of the ops.

#include "dialects/V4.h"

using namespace mlir;
using namespace mlir::v4;

#define GET_OP_CLASSES
#include "dialects/V4Ops.cpp.inc"

LogicalResult EmbedOp::verify() { return success(); }
LogicalResult SelectLastOp::verify() { return success(); }
LogicalResult LinearOp::verify() { return success(); }
LogicalResult RmsNormOp::verify() { return success(); }
LogicalResult RopeTableOp::verify() { return success(); }
LogicalResult RopeOp::verify() { return success(); }
LogicalResult HadamardOp::verify() { return success(); }
LogicalResult QuantizeOp::verify() { return success(); }
LogicalResult DequantizeOp::verify() { return success(); }
LogicalResult RoundTripOp::verify() { return success(); }
LogicalResult HcExpandOp::verify() { return success(); }
LogicalResult HcPreOp::verify() { return success(); }
LogicalResult SinkhornOp::verify() { return success(); }
LogicalResult HcPostOp::verify() { return success(); }
LogicalResult HcHeadOp::verify() { return success(); }
LogicalResult WindowContextOp::verify() { return success(); }
LogicalResult WindowAppendOp::verify() { return success(); }
LogicalResult EntryPositionsOp::verify() { return success(); }
LogicalResult CompressOp::verify() { return success(); }
LogicalResult CacheAppendOp::verify() { return success(); }
LogicalResult IndexScoresOp::verify() { return success(); }
LogicalResult TopKOp::verify() { return success(); }
LogicalResult SparseAttentionOp::verify() { return success(); }
LogicalResult RouteOp::verify() { return success(); }
LogicalResult RouteHashOp::verify() { return success(); }
LogicalResult DispatchOp::verify() { return success(); }
LogicalResult GroupedLinearOp::verify() { return success(); }
LogicalResult SwigluOp::verify() { return success(); }
LogicalResult CombineOp::verify() { return success(); }
LogicalResult GroupOp::verify() { return success(); }
LogicalResult PhaseOp::verify() { return success(); }
LogicalResult LaunchOp::verify() { return success(); }
LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &symbols) { return success(); }
void LaunchOp::getEffects(SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  for (OpOperand &operand : getInputsMutable())
    if (isa<MemRefType>(operand.get().getType()))
      effects.emplace_back(MemoryEffects::Read::get(), &operand);
  for (OpOperand &operand : getOutputsMutable())
    if (isa<MemRefType>(operand.get().getType())) {
      effects.emplace_back(MemoryEffects::Read::get(), &operand);
      effects.emplace_back(MemoryEffects::Write::get(), &operand);
    }
}
