// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Decompositions of the attention ops: window, compressor, caches, indexer, sparse attention.

#include "dialects/V4Emit.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace mlir::v4;

using Results = FailureOr<SmallVector<Value>>;

Results WindowContextOp::decomposeOperation(OpBuilder &b) { return failure(); }
Results WindowAppendOp::decomposeOperation(OpBuilder &b) { return failure(); }
Results EntryPositionsOp::decomposeOperation(OpBuilder &b) { return failure(); }
Results CompressOp::decomposeOperation(OpBuilder &b) { return failure(); }
Results CacheAppendOp::decomposeOperation(OpBuilder &b) { return failure(); }
Results IndexScoresOp::decomposeOperation(OpBuilder &b) { return failure(); }
Results SparseAttentionOp::decomposeOperation(OpBuilder &b) { return failure(); }
