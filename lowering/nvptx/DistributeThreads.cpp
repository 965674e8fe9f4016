// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-distribute-threads: the work of a workgroup is shared out among the threads of a block.

#include "lowering/Passes.h"
#include "lowering/nvptx/Buffers.h"
#include "lowering/nvptx/GpuTarget.h"

#include "mlir/Analysis/SliceAnalysis.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_DISTRIBUTETHREADSPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

/// A reduction whose results occupy at most this many threads, and that has at least this many terms, is cut into
/// partial sums of `kPartTerms` terms or more.
constexpr int64_t kFewResults = 64, kManyTerms = 64, kPartTerms = 8;

namespace {
/// Buffers that are read and written, each by the argument or allocation behind its views.
struct Accesses {
  SetVector<Value> reads, writes;

  void add(const Accesses &other) {
    reads.insert_range(other.reads);
    writes.insert_range(other.writes);
  }
  /// Whether an order between the two matters.
  bool conflicts(const Accesses &other) const {
    auto touches = [&](Value value) { return other.reads.contains(value) || other.writes.contains(value); };
    return llvm::any_of(writes, touches) ||
           llvm::any_of(reads, [&](Value value) { return other.writes.contains(value); });
  }
};

/// What `op` and the ops inside it access. Fails for an op that does not say.
LogicalResult collect(Operation *op, Accesses &accesses) {
  WalkResult result = op->walk([&](Operation *inner) {
    auto interface = dyn_cast<MemoryEffectOpInterface>(inner);
    if (!interface) {
      if (inner->hasTrait<OpTrait::HasRecursiveMemoryEffects>() || isMemoryEffectFree(inner))
        return WalkResult::advance();
      inner->emitOpError("does not say what memory it accesses");
      return WalkResult::interrupt();
    }
    SmallVector<MemoryEffects::EffectInstance> effects;
    interface.getEffects(effects);
    for (MemoryEffects::EffectInstance &effect : effects) {
      Value value = effect.getValue();
      if (!value || !isa<MemRefType>(value.getType()) ||
          isa<MemoryEffects::Allocate, MemoryEffects::Free>(effect.getEffect()))
        continue;
      (isa<MemoryEffects::Write>(effect.getEffect()) ? accesses.writes : accesses.reads).insert_range(rootsOf(value));
    }
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

/// A loop or condition that works on single elements and returns nothing: one thread runs it.
bool isSerial(Operation *op) {
  if (!isa<scf::ForOp, scf::IfOp, scf::WhileOp>(op) || !op->use_empty())
    return false;
  bool stores = false;
  WalkResult result = op->walk([&](Operation *inner) {
    stores |= isa<memref::StoreOp>(inner);
    return isa<linalg::LinalgOp, KernelOp>(inner) ? WalkResult::interrupt() : WalkResult::advance();
  });
  return stores && !result.wasInterrupted();
}

class Distribution {
public:
  Distribution(func::FuncOp func, int64_t threads) : b(func.getLoc(), func.getContext()), threads(threads) {
    b.setInsertionPointToStart(&func.getBody().front());
    thread = gpu::ThreadIdOp::create(b, gpu::Dimension::x);
  }

  LogicalResult run(func::FuncOp func) {
    Accesses pending;
    return distribute(func.getBody().front(), pending);
  }

private:
  /// `pending`: what any thread may have accessed since the last barrier.
  LogicalResult distribute(Block &block, Accesses &pending) {
    for (Operation &op : llvm::make_early_inc_range(block)) {
      if (op.hasTrait<OpTrait::IsTerminator>() || isa<gpu::ThreadIdOp>(op))
        continue;
      Accesses accesses;
      if (failed(collect(&op, accesses)))
        return failure();
      b.setLoc(op.getLoc());
      b.setInsertionPoint(&op);
      bool serial = isSerial(&op) || isa<memref::StoreOp>(op);
      if (op.getNumRegions() > 0 && !serial && !isa<linalg::LinalgOp>(op)) {
        if (failed(distributeRegions(&op, accesses, pending)))
          return failure();
        continue;
      }
      if (accesses.reads.empty() && accesses.writes.empty())
        continue;
      if (accesses.conflicts(pending)) {
        gpu::BarrierOp::create(b);
        pending = Accesses();
      }
      pending.add(accesses);
      if (serial)
        runOnFirst(&op);
      else if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op); linalgOp && failed(distribute(linalgOp)))
        return failure();
    }
    return success();
  }

  /// Control flow that all threads follow.
  LogicalResult distributeRegions(Operation *op, const Accesses &accesses, Accesses &pending) {
    if (auto loop = dyn_cast<scf::ForOp>(op)) {
      // What one iteration accessed is pending in the next one.
      pending.add(accesses);
      return distribute(*loop.getBody(), pending);
    }
    if (auto branch = dyn_cast<scf::IfOp>(op)) {
      Accesses before = pending;
      if (failed(distribute(*branch.thenBlock(), pending)))
        return failure();
      if (branch.elseBlock() && failed(distribute(*branch.elseBlock(), before)))
        return failure();
      pending.add(before);
      return success();
    }
    return op->emitOpError("cannot be run by the threads of a block; accepted: scf.for, scf.if and linalg ops");
  }

  void runOnFirst(Operation *op) {
    Value isFirst = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, thread, arith::ConstantIndexOp::create(b, 0));
    auto branch = scf::IfOp::create(b, isFirst, /*withElseRegion=*/false);
    op->moveBefore(branch.thenBlock()->getTerminator());
  }

  /// Runs `body` with every number below `count`, each on one thread.
  void forEachPoint(int64_t count, function_ref<void(Value)> body) {
    OpBuilder::InsertionGuard guard(b);
    Value end = arith::ConstantIndexOp::create(b, count);
    if (count <= threads) {
      if (count < threads) {
        Value has = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, thread, end);
        b.setInsertionPointToStart(scf::IfOp::create(b, has, /*withElseRegion=*/false).thenBlock());
      }
      return body(thread);
    }
    auto loop = scf::ForOp::create(b, thread, end, arith::ConstantIndexOp::create(b, threads));
    b.setInsertionPointToStart(loop.getBody());
    body(loop.getInductionVar());
  }

  SmallVector<Value> delinearize(Value number, ArrayRef<int64_t> sizes) {
    if (sizes.empty())
      return {};
    if (sizes.size() == 1)
      return {number};
    auto op = affine::AffineDelinearizeIndexOp::create(b, number, sizes);
    return llvm::to_vector_of<Value>(op.getResults());
  }

  SmallVector<Value> indices(AffineMap map, ArrayRef<Value> loops) {
    SmallVector<Value> result;
    for (AffineExpr expr : map.getResults())
      result.push_back(getValueOrCreateConstantIndexOp(
          b, b.getLoc(),
          affine::makeComposedFoldedAffineApply(b, b.getLoc(), AffineMap::get(map.getNumDims(), 0, expr),
                                                getAsOpFoldResult(loops))));
    return result;
  }

  /// What the body gets of an operand at the iteration `loops`: an element, or `lanes` of them where the operand's last
  /// dimension is the last loop; scalars as they are; nothing where the body does not look at it.
  Value loadOperand(linalg::LinalgOp op, OpOperand *operand, ArrayRef<Value> loops, int64_t lanes = 1) {
    auto type = dyn_cast<MemRefType>(operand->get().getType());
    if (!type)
      return operand->get();
    if (!op.payloadUsesValueFromOperand(operand))
      return Value();
    AffineMap map = op.getMatchingIndexingMap(operand);
    SmallVector<Value> at = indices(map, loops);
    if (lanes == 1 || !map.isFunctionOfDim(op.getNumLoops() - 1))
      return memref::LoadOp::create(b, operand->get(), at);
    auto load = vector::LoadOp::create(b, VectorType::get({lanes}, type.getElementType()), operand->get(), at);
    load.setAlignment(wideAlignment(operand->get(), lanes));
    return load;
  }

  SmallVector<Value> loadInputs(linalg::LinalgOp op, ArrayRef<Value> loops) {
    return llvm::map_to_vector(op.getDpsInputOperands(),
                               [&](OpOperand *input) { return loadOperand(op, input, loops); });
  }

  /// The op's body at the iteration `loops`; the values it yields.
  SmallVector<Value> inlineBody(linalg::LinalgOp op, ArrayRef<Value> loops, ValueRange outputs) {
    SmallVector<Value> values = loadInputs(op, loops);
    llvm::append_range(values, outputs);
    return cloneBody(op, loops, values);
  }

  /// The same with what the body gets of all operands.
  SmallVector<Value> cloneBody(linalg::LinalgOp op, ArrayRef<Value> loops, ArrayRef<Value> values) {
    IRMapping map;
    for (auto [argument, value] : llvm::zip_equal(op.getBlock()->getArguments(), values))
      if (value)
        map.map(argument, value);
    for (Operation &inner : op.getBlock()->without_terminator()) {
      if (auto index = dyn_cast<linalg::IndexOp>(inner))
        map.map(index.getResult(), loops[index.getDim()]);
      else
        b.clone(inner, map);
    }
    return llvm::map_to_vector(op.getBlock()->getTerminator()->getOperands(),
                               [&](Value v) { return map.lookupOrDefault(v); });
  }

  Value loadOutput(linalg::LinalgOp op, unsigned number, ArrayRef<Value> loops) {
    OpOperand *output = op.getDpsInitOperand(number);
    return memref::LoadOp::create(b, output->get(), indices(op.getMatchingIndexingMap(output), loops));
  }
  void storeOutput(linalg::LinalgOp op, unsigned number, ArrayRef<Value> loops, Value value) {
    OpOperand *output = op.getDpsInitOperand(number);
    memref::StoreOp::create(b, value, output->get(), indices(op.getMatchingIndexingMap(output), loops));
  }

  /// How many neighbouring points of an op without sums a thread takes at a time: as many as fill 16 bytes of the
  /// narrowest operand, if all operands lie so that instructions can move as much, but no more than leave work for all
  /// threads.
  int64_t lanesOf(linalg::LinalgOp op, ArrayRef<int64_t> ranges, int64_t points) {
    if (ranges.empty() || op.getNumParallelLoops() != ranges.size())
      return 1;
    unsigned last = ranges.size() - 1;
    int64_t lanes = 1;
    SmallVector<Value> rows;
    for (OpOperand &operand : op->getOpOperands()) {
      auto type = dyn_cast<MemRefType>(operand.get().getType());
      AffineMap map = op.getMatchingIndexingMap(&operand);
      if (!type || (!map.isFunctionOfDim(last) && !op.isDpsInit(&operand)))
        continue;
      // Neighbouring points are neighbouring elements.
      ArrayRef<AffineExpr> results = map.getResults();
      if (results.empty() || results.back() != b.getAffineDimExpr(last) ||
          llvm::any_of(results.drop_back(), [&](AffineExpr expr) { return expr.isFunctionOfDim(last); }) ||
          !type.getElementType().isIntOrFloat() || type.getElementTypeBitWidth() % 8)
        return 1;
      lanes = std::max<int64_t>(lanes, 8 * kWideBytes / type.getElementTypeBitWidth());
      rows.push_back(operand.get());
    }
    auto isPossible = [&] {
      return ranges[last] % lanes == 0 &&
             llvm::all_of(rows, [&](Value row) { return hasAlignedRows(row, wideAlignment(row, lanes)); });
    };
    while (lanes > 1 && (!isPossible() || points / lanes * 2 <= threads))
      lanes /= 2;
    return lanes;
  }

  /// An op without sums, `lanes` points at a time.
  void distributeLanes(linalg::LinalgOp op, SmallVector<int64_t> sizes, int64_t points, int64_t lanes) {
    sizes.back() /= lanes;
    forEachPoint(points / lanes, [&](Value unit) {
      SmallVector<Value> loops = delinearize(unit, sizes);
      loops.back() = arith::MulIOp::create(b, loops.back(), b_index(lanes));
      SmallVector<Value> loaded;
      for (OpOperand &operand : op->getOpOperands())
        loaded.push_back(loadOperand(op, &operand, loops, lanes));
      SmallVector<SmallVector<Value>> results(op.getNumDpsInits());
      for (int64_t lane = 0; lane < lanes; ++lane) {
        SmallVector<Value> values(loaded), at(loops);
        for (Value &value : values)
          if (value && isa<VectorType>(value.getType()))
            value = vector::ExtractOp::create(b, value, lane);
        at.back() = arith::AddIOp::create(b, at.back(), b_index(lane));
        for (auto [list, value] : llvm::zip_equal(results, cloneBody(op, at, values)))
          list.push_back(value);
      }
      for (auto [i, list] : llvm::enumerate(results)) {
        OpOperand *output = op.getDpsInitOperand(i);
        auto type = cast<MemRefType>(output->get().getType());
        Value vector = vector::FromElementsOp::create(b, VectorType::get({lanes}, type.getElementType()), list);
        auto store =
            vector::StoreOp::create(b, vector, output->get(), indices(op.getMatchingIndexingMap(output), loops));
        store.setAlignment(wideAlignment(output->get(), lanes));
      }
    });
  }

  LogicalResult distribute(linalg::LinalgOp op) {
    if (op.hasDynamicShape() || !op.hasPureBufferSemantics())
      return op.emitOpError("expected buffers of static shape");
    SmallVector<unsigned> parallel, reduction;
    op.getParallelDims(parallel);
    op.getReductionDims(reduction);
    if (parallel.size() + reduction.size() != op.getNumLoops())
      return op.emitOpError("expected parallel and reduction loops only");
    SmallVector<int64_t> ranges = op.getStaticLoopRanges(), pointSizes, termSizes;
    int64_t points = 1, terms = 1;
    for (unsigned dim : parallel)
      pointSizes.push_back(ranges[dim]), points *= ranges[dim];
    for (unsigned dim : reduction)
      termSizes.push_back(ranges[dim]), terms *= ranges[dim];
    int64_t parts = 1;
    if (points <= kFewResults && terms >= kManyTerms)
      parts = std::min(threads / points, terms / kPartTerms);
    Operation *combiner = parts > 1 ? findCombiner(op) : nullptr;
    SmallVector<Value> loops(op.getNumLoops());
    auto setLoops = [&](ArrayRef<unsigned> dims, ArrayRef<int64_t> sizes, Value number) {
      for (auto [dim, value] : llvm::zip_equal(dims, delinearize(number, sizes)))
        loops[dim] = value;
    };
    if (combiner) {
      distributeParts(op, combiner, points, terms, parts, [&](Value point) { setLoops(parallel, pointSizes, point); },
                      [&](Value term) { setLoops(reduction, termSizes, term); }, loops);
      op.erase();
      return success();
    }
    if (int64_t lanes = lanesOf(op, ranges, points); lanes > 1) {
      distributeLanes(op, ranges, points, lanes);
      op.erase();
      return success();
    }
    forEachPoint(points, [&](Value point) {
      setLoops(parallel, pointSizes, point);
      unsigned outputs = op.getNumDpsInits();
      // An output is read only where the body looks at it.
      SmallVector<Value> values(outputs);
      for (unsigned i = 0; i < outputs; ++i)
        if (!reduction.empty() || op.payloadUsesValueFromOperand(op.getDpsInitOperand(i)))
          values[i] = loadOutput(op, i, loops);
      if (reduction.empty()) {
        values = inlineBody(op, loops, values);
      } else {
        values = addTerms(b_index(0), b_index(terms), b_index(1), values, [&](Value term, ValueRange sums) {
          setLoops(reduction, termSizes, term);
          return inlineBody(op, loops, sums);
        });
      }
      for (unsigned i = 0; i < outputs; ++i)
        storeOutput(op, i, loops, values[i]);
    });
    op.erase();
    return success();
  }

  Value b_index(int64_t value) { return arith::ConstantIndexOp::create(b, value); }

  SmallVector<Value> addTerms(Value from, Value to, Value step, ValueRange sums,
                              function_ref<SmallVector<Value>(Value, ValueRange)> body) {
    auto loop = scf::ForOp::create(b, from, to, step, sums);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    SmallVector<Value> next = body(loop.getInductionVar(), loop.getRegionIterArgs());
    // The builder adds no terminator to a loop with values.
    if (!loop.getBody()->mightHaveTerminator())
      scf::YieldOp::create(b, next);
    return llvm::to_vector_of<Value>(loop.getResults());
  }

  /// The associative op that adds a term to the only output, or null.
  static Operation *findCombiner(linalg::LinalgOp op) {
    SmallVector<Operation *> combiners;
    if (op.getNumDpsInits() != 1 || !matchReduction(op.getRegionOutputArgs(), 0, combiners) || combiners.size() != 1 ||
        !arith::getNeutralElement(combiners.front()))
      return nullptr;
    return combiners.front();
  }

  /// `parts` threads per result add up every parts-th term, one thread per result adds the parts to the output, in
  /// order. Both depend on the shape of the op only.
  void distributeParts(linalg::LinalgOp op, Operation *combiner, int64_t points, int64_t terms, int64_t parts,
                       function_ref<void(Value)> setPoint, function_ref<void(Value)> setTerm,
                       SmallVector<Value> &loops) {
    Type type = getElementTypeOrSelf(op.getDpsInits()[0].getType());
    auto scratchType =
        MemRefType::get({parts, points}, type, MemRefLayoutAttrInterface(), b.getI64IntegerAttr(kSharedMemory));
    Value scratch = memref::AllocaOp::create(b, scratchType);
    forEachPoint(parts * points, [&](Value number) {
      SmallVector<Value> at = delinearize(number, {parts, points});
      setPoint(at[1]);
      Value zero = arith::ConstantOp::create(b, *arith::getNeutralElement(combiner));
      Value sum = addTerms(at[0], b_index(terms), b_index(parts), zero, [&](Value term, ValueRange sums) {
        setTerm(term);
        return inlineBody(op, loops, sums);
      })[0];
      memref::StoreOp::create(b, sum, scratch, at);
    });
    gpu::BarrierOp::create(b);
    forEachPoint(points, [&](Value point) {
      setPoint(point);
      Value sum =
          addTerms(b_index(0), b_index(parts), b_index(1), loadOutput(op, 0, loops), [&](Value part, ValueRange sums) {
            Value other = memref::LoadOp::create(b, scratch, ValueRange{part, point});
            Operation *clone = b.clone(*combiner);
            clone->setOperands({sums[0], other});
            return SmallVector<Value>{clone->getResult(0)};
          })[0];
      storeOutput(op, 0, loops, sum);
    });
  }

  ImplicitLocOpBuilder b;
  int64_t threads;
  Value thread;
};

struct DistributeThreadsPass : v4::impl::DistributeThreadsPassBase<DistributeThreadsPass> {
  using DistributeThreadsPassBase::DistributeThreadsPassBase;

  void runOnOperation() override {
    func::FuncOp func = getOperation();
    if (!func->hasAttr("v4.grid"))
      return;
    // A template decides how many threads it works with, or takes what the phase has.
    int64_t threads = 0;
    WalkResult result = func.walk([&](KernelOp kernel) {
      auto wanted = kernel->getAttrOfType<IntegerAttr>("threads");
      if (!wanted)
        return WalkResult::advance();
      int64_t count = wanted.getInt();
      if (count < 32 || count > 1024 || count % 32) {
        kernel.emitOpError() << "wants " << count << " threads; accepted: multiples of 32 up to 1024";
        return WalkResult::interrupt();
      }
      if (threads && threads != count) {
        kernel.emitOpError() << "wants " << count << " threads, another template of its phase wants " << threads;
        return WalkResult::interrupt();
      }
      threads = count;
      return WalkResult::advance();
    });
    if (result.wasInterrupted())
      return signalPassFailure();
    if (!threads)
      threads = kBlockThreads;
    auto count = IntegerAttr::get(IntegerType::get(&getContext(), 64), threads);
    func->setAttr("v4.threads", count);
    func.walk([&](KernelOp kernel) { kernel->setAttr("threads", count); });
    if (failed(Distribution(func, threads).run(func)))
      signalPassFailure();
  }
};
} // namespace
