// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-lower-copies: copies of buffers as loops.

#include "lowering/Passes.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_LOWERCOPIESPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;

namespace {
struct LowerCopiesPass : v4::impl::LowerCopiesPassBase<LowerCopiesPass> {
  void runOnOperation() override {
    getOperation()->walk([](memref::CopyOp copy) {
      OpBuilder b(copy);
      linalg::makeMemRefCopyOp(b, copy.getLoc(), copy.getSource(), copy.getTarget());
      copy.erase();
    });
  }
};
} // namespace
