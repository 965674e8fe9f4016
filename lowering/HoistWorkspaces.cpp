// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-hoist-workspaces: the temporaries of a kernel become outputs of its launches, or stack of a workgroup.

#include "lowering/Passes.h"
#include "lowering/nvptx/Buffers.h"
#include "lowering/nvptx/GpuTarget.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/EquivalenceClasses.h"
#include "llvm/ADT/MapVector.h"

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
/// On a GPU: bytes of the temporaries of a workgroup in shared memory; the rest of the static limit is for partial
/// sums. Each starts on a boundary that suits vectors of 16 bytes and banks.
constexpr int64_t kSharedTemporaries = kStaticSharedBytes - (12 << 10), kAlignment = 128;

static int64_t byteSize(MemRefType type) {
  return type.getNumElements() * llvm::divideCeil(type.getElementTypeBitWidth(), 8);
}

namespace {
struct HoistWorkspacesPass : v4::impl::HoistWorkspacesPassBase<HoistWorkspacesPass> {
  using HoistWorkspacesPassBase::HoistWorkspacesPassBase;

  void runOnOperation() override {
    llvm::StringMap<SmallVector<MemRefType>> workspaces;
    for (auto kernel : getOperation().getOps<ModuleOp>()) {
      auto funcs = kernel.getOps<func::FuncOp>();
      if (funcs.empty())
        continue;
      SmallVector<MemRefType> &types = workspaces[*kernel.getSymName()];
      if (failed(findGpuTarget(target) ? hoistToBlocks(*funcs.begin(), types) : hoist(*funcs.begin(), types)))
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

  /// The small ones, as many as fit. Buffers of which a value may be either are in one memory.
  static SmallPtrSet<Operation *, 8> chooseSharedMemory(func::FuncOp func, ArrayRef<memref::AllocOp> buffers) {
    llvm::EquivalenceClasses<Value> classes;
    for (memref::AllocOp alloc : buffers)
      classes.insert(alloc);
    func.walk([&](Operation *op) {
      for (Value result : op->getResults())
        if (isa<MemRefType>(result.getType()) && !isa<PhaseOp>(op)) {
          SetVector<Value> roots = rootsOf(result);
          for (Value root : roots)
            if (classes.contains(roots.front()) || classes.contains(root))
              classes.unionSets(roots.front(), root);
        }
    });
    struct Class {
      size_t number;
      int64_t bytes = 0;
      SmallVector<memref::AllocOp> members;
      bool isFixed = false;
    };
    llvm::MapVector<Value, Class> members;
    for (memref::AllocOp alloc : buffers) {
      Class &entry = members[classes.getLeaderValue(alloc)];
      if (entry.members.empty())
        entry.number = members.size();
      entry.bytes += llvm::alignTo(byteSize(alloc.getType()), kAlignment);
      entry.members.push_back(alloc);
    }
    for (auto &[leader, entry] : members)
      for (Value member : classes.members(leader))
        entry.isFixed |= !member.getDefiningOp<memref::AllocOp>();
    SmallVector<Class> order = llvm::map_to_vector(members, [](auto &entry) { return entry.second; });
    llvm::sort(order, [](const Class &a, const Class &b) {
      return std::pair(a.bytes, a.number) < std::pair(b.bytes, b.number);
    });
    SmallPtrSet<Operation *, 8> result;
    int64_t shared = 0;
    for (Class &entry : order) {
      if (entry.isFixed || shared + entry.bytes > kSharedTemporaries)
        continue;
      shared += entry.bytes;
      result.insert_range(llvm::map_range(entry.members, [](memref::AllocOp alloc) { return alloc.getOperation(); }));
    }
    return result;
  }

  /// On a GPU: what fits into shared memory stays with the workgroup, the rest moves to workspaces of the blocks.
  LogicalResult hoistToBlocks(func::FuncOp func, SmallVector<MemRefType> &types) {
    // Of every phase, in order, and of none.
    llvm::MapVector<Operation *, SmallVector<memref::AllocOp>> allocs;
    WalkResult result = func.walk([&](memref::AllocOp alloc) {
      if (!alloc.getType().hasStaticShape()) {
        alloc.emitError() << "expected a temporary of static shape, found " << alloc.getType();
        return WalkResult::interrupt();
      }
      allocs[alloc->getParentOfType<PhaseOp>()].push_back(alloc);
      return WalkResult::advance();
    });
    if (result.wasInterrupted())
      return failure();
    auto addArgument = [&](MemRefType type) {
      types.push_back(type);
      return func.insertArgument(func.getNumArguments(), type, {}, func.getLoc());
    };
    for (auto &[phase, buffers] : allocs) {
      SmallPtrSet<Operation *, 8> inSharedMemory = chooseSharedMemory(func, buffers);
      for (memref::AllocOp alloc : buffers) {
        MemRefType type = alloc.getType();
        auto grid = alloc->getParentOfType<scf::ForallOp>();
        OpBuilder b(alloc);
        if (phase)
          b.setInsertionPointToStart(grid ? grid.getBody() : &cast<PhaseOp>(phase).getBody().front());
        int64_t bytes = llvm::alignTo(byteSize(type), kAlignment);
        if (phase && inSharedMemory.contains(alloc)) {
          Value buffer = memref::AllocaOp::create(b, alloc.getLoc(), type, b.getI64IntegerAttr(kAlignment));
          alloc.getResult().replaceAllUsesWith(buffer);
        } else if (!grid) {
          if (failed(addArgument(type)))
            return failure();
          alloc.getResult().replaceAllUsesWith(func.getArguments().back());
        } else {
          int64_t groups = 1;
          for (auto [from, to, by] :
               llvm::zip(grid.getStaticLowerBound(), grid.getStaticUpperBound(), grid.getStaticStep()))
            groups *= llvm::divideCeil(to - from, by);
          int64_t blocks = std::min(groups, kWorkspaceBlocks);
          if (failed(addArgument(MemRefType::get({blocks * bytes}, b.getI8Type()))))
            return failure();
          Location loc = alloc.getLoc();
          Value part = gpu::BlockIdOp::create(b, loc, gpu::Dimension::x);
          part = arith::MulIOp::create(b, loc, part, arith::ConstantIndexOp::create(b, loc, bytes));
          alloc.getResult().replaceAllUsesWith(
              memref::ViewOp::create(b, loc, type, func.getArguments().back(), part, ValueRange()).getResult());
        }
        alloc.erase();
      }
    }
    return success();
  }
};
} // namespace
