// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-hoist-workspaces: the temporaries of a kernel become outputs of its launches, or stack of a workgroup.

#include "lowering/Passes.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_HOISTWORKSPACESPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

/// A workgroup of a grid keeps its temporaries on its stack. Runtime threads have 8 MiB.
constexpr int64_t kMaxStackBytes = 4 << 20;
/// Temporaries of a phase of one workgroup that are larger than this live in the arena instead.
constexpr int64_t kMaxSingleStackBytes = 16 << 10;

static int64_t byteSize(MemRefType type) {
  return type.getNumElements() * llvm::divideCeil(type.getElementTypeBitWidth(), 8);
}

namespace {
struct HoistWorkspacesPass : v4::impl::HoistWorkspacesPassBase<HoistWorkspacesPass> {
  void runOnOperation() override {
    llvm::StringMap<SmallVector<MemRefType>> workspaces;
    for (auto kernel : getOperation().getOps<ModuleOp>()) {
      auto funcs = kernel.getOps<func::FuncOp>();
      if (funcs.empty())
        continue;
      if (failed(hoist(*funcs.begin(), workspaces[*kernel.getSymName()])))
        return signalPassFailure();
    }
    getOperation().walk([&](LaunchOp launch) {
      OpBuilder b(launch);
      ArrayRef<MemRefType> types = workspaces[launch.getKernel()];
      if (!types.empty())
        launch->setAttr("v4.workspaces", b.getI64IntegerAttr(types.size()));
      for (MemRefType type : types) {
        Value buffer = memref::AllocOp::create(b, launch.getLoc(), type);
        launch.getOutputsMutable().append(buffer);
      }
    });
  }

private:
  LogicalResult hoist(func::FuncOp func, SmallVector<MemRefType> &types) {
    int64_t stack = 0;
    SmallVector<memref::AllocOp> allocs;
    func.walk([&](memref::AllocOp alloc) { allocs.push_back(alloc); });
    for (memref::AllocOp alloc : allocs) {
      MemRefType type = alloc.getType();
      if (!type.hasStaticShape())
        return alloc.emitError() << "expected a temporary of static shape, found " << type;
      auto phase = alloc->getParentOfType<PhaseOp>();
      bool grid = alloc->getParentOfType<scf::ForallOp>() != nullptr;
      OpBuilder b(alloc);
      if (!phase || (!grid && byteSize(type) > kMaxSingleStackBytes)) {
        // Every launch runs its phases one after another, so one buffer serves all of them.
        if (failed(func.insertArgument(func.getNumArguments(), type, {}, alloc.getLoc())))
          return failure();
        alloc.getResult().replaceAllUsesWith(func.getArguments().back());
        types.push_back(type);
      } else {
        // All tiles of a workgroup's loops use the same temporary: it moves to where the workgroup starts.
        stack += byteSize(type);
        Block *start = grid ? alloc->getParentOfType<scf::ForallOp>().getBody() : &phase.getBody().front();
        b.setInsertionPointToStart(start);
        Value buffer = memref::AllocaOp::create(b, alloc.getLoc(), type, b.getI64IntegerAttr(64));
        alloc.getResult().replaceAllUsesWith(buffer);
      }
      alloc.erase();
    }
    if (stack > kMaxStackBytes)
      return func.emitError() << "resource.stack: a workgroup needs " << stack << " bytes of stack, the limit is "
                              << kMaxStackBytes;
    return success();
  }
};
} // namespace
