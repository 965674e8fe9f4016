// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which buffers a value may be, and how they are aligned.

#ifndef V4_LOWERING_NVPTX_BUFFERS_H
#define V4_LOWERING_NVPTX_BUFFERS_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::v4 {

/// Bytes that one instruction of a thread moves at most, and to a multiple of which the memory of arguments, of the
/// arena and of a workgroup is aligned.
constexpr int64_t kWideBytes = 16;

/// The values that a buffer may be a view of: arguments and allocations. Views, conditions and the values of loops are
/// looked through.
llvm::SetVector<Value> rootsOf(Value buffer);

/// What `lanes` elements of `memory` are aligned to that one instruction moves: their bytes, at most kWideBytes.
int64_t wideAlignment(Value memory, int64_t lanes);

/// Whether all rows of `memory`, whose last dimension is contiguous, are known to start at multiples of `bytes`, at
/// most kWideBytes.
bool hasAlignedRows(Value memory, int64_t bytes);

} // namespace mlir::v4

#endif
