// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-plan-arena: one arena per entry instead of allocations.

#include "lowering/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_PLANARENAPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

/// Buffers start on cache lines.
constexpr int64_t kAlignment = 64;

namespace {
/// A buffer of a function: an allocation, or the arena of a call. It is live from `first` to `last`, in the order of
/// the function's operations.
struct Buffer {
  Operation *op;
  int64_t bytes, first, last;
  int64_t offset = 0;
};

struct PlanArenaPass : v4::impl::PlanArenaPassBase<PlanArenaPass> {
  void runOnOperation() override {
    // Callees first: a call needs the size of its callee's arena.
    SymbolTable symbols(getOperation());
    for (auto func : getOperation().getOps<func::FuncOp>())
      if (failed(plan(symbols, func)))
        return signalPassFailure();
  }

private:
  LogicalResult plan(SymbolTable &symbols, func::FuncOp func) {
    if (func.isExternal() || arenas.contains(func))
      return success();
    Block &block = func.getBody().front();
    SmallVector<func::CallOp> calls(block.getOps<func::CallOp>());
    for (func::CallOp call : calls)
      if (failed(plan(symbols, symbols.lookup<func::FuncOp>(call.getCallee()))))
        return failure();

    DenseMap<Operation *, int64_t> order;
    for (auto [i, op] : llvm::enumerate(block))
      order[&op] = i;
    SmallVector<Buffer> buffers;
    for (Operation &op : block) {
      if (auto alloc = dyn_cast<memref::AllocOp>(op)) {
        MemRefType type = alloc.getType();
        int64_t bytes = type.getNumElements() * llvm::divideCeil(type.getElementTypeBitWidth(), 8);
        int64_t first = std::numeric_limits<int64_t>::max(), last = 0;
        findUses(alloc.getResult(), order, first, last);
        buffers.push_back({alloc, bytes, first, last});
      } else if (auto call = dyn_cast<func::CallOp>(op)) {
        int64_t bytes = arenas.lookup(symbols.lookup(call.getCallee()));
        buffers.push_back({call, bytes, order[call], order[call]});
      } else if (op.getNumRegions() > 0) {
        return op.emitOpError("is not a straight line of launches");
      }
    }
    int64_t size = place(buffers);
    arenas[func] = size;

    auto arenaType = MemRefType::get({size}, IntegerType::get(func.getContext(), 8));
    if (failed(func.insertArgument(func.getNumArguments(), arenaType, {}, func.getLoc())))
      return failure();
    func.setArgAttr(func.getNumArguments() - 1, "v4.arena", UnitAttr::get(func.getContext()));
    Value arena = block.getArguments().back();
    for (Buffer &buffer : buffers) {
      OpBuilder b(buffer.op);
      Value offset = arith::ConstantIndexOp::create(b, buffer.op->getLoc(), buffer.offset);
      if (auto alloc = dyn_cast<memref::AllocOp>(buffer.op)) {
        Value view = memref::ViewOp::create(b, alloc.getLoc(), alloc.getType(), arena, offset, ValueRange());
        alloc.getResult().replaceAllUsesWith(view);
        alloc.erase();
      } else {
        auto type = MemRefType::get({buffer.bytes}, b.getI8Type());
        Value view = memref::ViewOp::create(b, buffer.op->getLoc(), type, arena, offset, ValueRange());
        buffer.op->insertOperands(buffer.op->getNumOperands(), view);
      }
    }
    return success();
  }

  static void findUses(Value value, DenseMap<Operation *, int64_t> &order, int64_t &first, int64_t &last) {
    for (Operation *user : value.getUsers()) {
      if (isa<ViewLikeOpInterface>(user)) {
        findUses(user->getResult(0), order, first, last);
        continue;
      }
      first = std::min(first, order[user]);
      last = std::max(last, order[user]);
    }
  }

  /// Largest buffer first, each at the lowest offset that is free during its life.
  static int64_t place(SmallVector<Buffer> &buffers) {
    SmallVector<Buffer *> bySize;
    for (Buffer &buffer : buffers)
      bySize.push_back(&buffer);
    llvm::sort(bySize, [](Buffer *a, Buffer *b) {
      return std::make_tuple(-a->bytes, a->first, a) < std::make_tuple(-b->bytes, b->first, b);
    });
    SmallVector<Buffer *> placed;
    int64_t size = 0;
    for (Buffer *buffer : bySize) {
      SmallVector<Buffer *> alive;
      for (Buffer *other : placed)
        if (other->first <= buffer->last && buffer->first <= other->last)
          alive.push_back(other);
      llvm::sort(alive,
                 [](Buffer *a, Buffer *b) { return std::make_pair(a->offset, a) < std::make_pair(b->offset, b); });
      int64_t offset = 0;
      for (Buffer *other : alive) {
        if (offset + buffer->bytes <= other->offset)
          break;
        offset = std::max<int64_t>(offset, llvm::alignTo(other->offset + other->bytes, kAlignment));
      }
      buffer->offset = offset;
      size = std::max(size, offset + buffer->bytes);
      placed.push_back(buffer);
    }
    return size;
  }

  DenseMap<Operation *, int64_t> arenas;
};
} // namespace
