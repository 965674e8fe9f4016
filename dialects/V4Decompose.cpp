// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The decomposition of every op: its definition (docs of each op in V4Ops.td).

#include "dialects/V4.h"

using namespace mlir;
using namespace mlir::v4;

FailureOr<SmallVector<Value>> EmbedOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> SelectLastOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> LinearOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> RmsNormOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> RopeTableOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> RopeOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> HadamardOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> QuantizeOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> DequantizeOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> RoundTripOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> HcExpandOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> HcPreOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> SinkhornOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> HcPostOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> HcHeadOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> WindowContextOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> WindowAppendOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> EntryPositionsOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> CompressOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> CacheAppendOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> IndexScoresOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> TopKOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> SparseAttentionOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> RouteOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> RouteHashOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> DispatchOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> GroupedLinearOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> SwigluOp::decomposeOperation(OpBuilder &b) { return failure(); }
FailureOr<SmallVector<Value>> CombineOp::decomposeOperation(OpBuilder &b) { return failure(); }
