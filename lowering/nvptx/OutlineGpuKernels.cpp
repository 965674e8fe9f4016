// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-outline-gpu-kernels: the phases of a kernel become functions of a gpu.module.

#include "lowering/Passes.h"
#include "lowering/nvptx/Buffers.h"
#include "lowering/nvptx/GpuTarget.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_OUTLINEGPUKERNELSPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

static int64_t byteSize(MemRefType type) {
  return type.getNumElements() * llvm::divideCeil(type.getElementTypeBitWidth(), 8);
}

static MemRefType inSpace(MemRefType type, unsigned space) {
  return MemRefType::get(type.getShape(), type.getElementType(), type.getLayout(),
                         IntegerAttr::get(IntegerType::get(type.getContext(), 64), space));
}

/// Whether a store through `buffer` or a view of it may be in its users.
static bool isWritten(Value buffer) {
  for (OpOperand &use : buffer.getUses()) {
    Operation *user = use.getOwner();
    if (isa<ViewLikeOpInterface>(user)) {
      if (llvm::any_of(user->getResults(), isWritten))
        return true;
      continue;
    }
    auto interface = dyn_cast<MemoryEffectOpInterface>(user);
    if (!interface)
      return true;
    SmallVector<MemoryEffects::EffectInstance> effects;
    interface.getEffectsOnValue(buffer, effects);
    // An op that takes the buffer and says nothing about it (the address as a number) may do anything with it.
    if (effects.empty() ||
        llvm::any_of(effects, [](auto &effect) { return isa<MemoryEffects::Write>(effect.getEffect()); }))
      return true;
  }
  return false;
}

namespace {
struct OutlineGpuKernelsPass : v4::impl::OutlineGpuKernelsPassBase<OutlineGpuKernelsPass> {
  using OutlineGpuKernelsPassBase::OutlineGpuKernelsPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    const GpuTarget *gpu = findGpuTarget(target);
    if (!gpu) {
      module.emitError() << "expected a GPU as target, found '" << target << "'";
      return signalPassFailure();
    }
    SmallVector<func::FuncOp> phases;
    for (auto func : module.getOps<func::FuncOp>())
      if (func->hasAttr("v4.grid"))
        phases.push_back(func);
    ImplicitLocOpBuilder b(module.getLoc(), module.getBodyRegion());
    b.setInsertionPointToEnd(module.getBody());
    auto kernels = gpu::GPUModuleOp::create(b, module.getSymName().value_or("kernels"));
    // Constants that are tensors.
    for (auto global : llvm::make_early_inc_range(module.getOps<memref::GlobalOp>())) {
      // All kernels of a module become one text.
      StringAttr name = b.getStringAttr(kernels.getName() + global.getSymName());
      if (failed(SymbolTable::replaceAllSymbolUses(global, name, module))) {
        global.emitError("has uses that are not known");
        return signalPassFailure();
      }
      global.setSymNameAttr(name);
      global.setType(inSpace(global.getType(), kGlobalMemory));
      global->moveBefore(kernels.getBody(), kernels.getBody()->end());
    }
    for (func::FuncOp phase : phases)
      if (failed(outline(phase, kernels, *gpu)))
        return signalPassFailure();
  }

private:
  LogicalResult outline(func::FuncOp phase, gpu::GPUModuleOp kernels, const GpuTarget &gpu) {
    ImplicitLocOpBuilder b(phase.getLoc(), phase.getBody());
    // 1. Everything that is not shared memory is global.
    setMemorySpaces(phase);

    // 2. The workgroup is the block.
    Block &body = phase.getBody().front();
    b.setInsertionPointToStart(&body);
    body.getArguments().back().replaceAllUsesWith(gpu::BlockIdOp::create(b, gpu::Dimension::x).getResult());
    body.eraseArgument(body.getNumArguments() - 1);

    // 3. Shared memory: one buffer per phase, the allocations in it one behind the other.
    b.setInsertionPoint(kernels.getBody(), kernels.getBody()->end());
    SmallVector<memref::AllocaOp> allocas;
    phase.walk([&](memref::AllocaOp alloca) { allocas.push_back(alloca); });
    int64_t shared = 0;
    SmallVector<int64_t> offsets;
    for (memref::AllocaOp alloca : allocas) {
      shared = llvm::alignTo(shared, alloca.getAlignment().value_or(16));
      offsets.push_back(shared);
      shared += byteSize(alloca.getType());
    }
    if (shared > gpu.sharedBytes)
      return phase.emitError() << "resource.smem: a workgroup needs " << shared << " bytes of shared memory, "
                               << gpu.chip << " has " << gpu.sharedBytes;
    std::string name = phase.getName().str();
    // PTX allows no dot in a name; the number of the phase stands behind it.
    if (size_t dot = name.rfind('.'); dot != std::string::npos)
      name.replace(dot, 1, "_p");
    bool isDynamic = shared > kStaticSharedBytes;
    if (shared) {
      // What has no size and no contents is declared only: the launch says how much there is.
      auto type = inSpace(MemRefType::get({isDynamic ? 0 : shared}, b.getI8Type()), kSharedMemory);
      auto global = memref::GlobalOp::create(b, name + "_shared", isDynamic ? StringAttr() : b.getStringAttr("private"),
                                             type, isDynamic ? Attribute() : b.getUnitAttr(), /*constant=*/false,
                                             b.getI64IntegerAttr(128));
      b.setInsertionPointToStart(&body);
      Value memory = memref::GetGlobalOp::create(b, type, global.getSymName());
      for (auto [alloca, offset] : llvm::zip_equal(allocas, offsets)) {
        Value at = arith::ConstantIndexOp::create(b, offset);
        alloca.getResult().replaceAllUsesWith(memref::ViewOp::create(b, alloca.getType(), memory, at, ValueRange()));
        alloca.erase();
      }
    }

    // 4. The function.
    b.setInsertionPoint(kernels.getBody(), kernels.getBody()->end());
    auto func = gpu::GPUFuncOp::create(b, name, b.getFunctionType(body.getArgumentTypes(), {}));
    func->setAttr(gpu::GPUDialect::getKernelFuncAttrName(), b.getUnitAttr());
    int64_t threads = phase->getAttrOfType<IntegerAttr>("v4.threads").getInt();
    auto block = b.getDenseI32ArrayAttr({static_cast<int32_t>(threads), 1, 1});
    func.setKnownBlockSizeAttr(block);
    func->setAttr(NVVM::NVVMDialect::getReqntidAttrName(), block);
    // Registers are limited for one block of a processor: ptxas's own limit takes loads out of flight, or spills.
    func->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(), b.getI32IntegerAttr(1));
    func->setAttr("v4.grid", phase->getAttr("v4.grid"));
    if (isDynamic)
      func->setAttr("v4.shared", b.getI64IntegerAttr(shared));
    Region &region = func.getBody();
    region.takeBody(phase.getBody());
    Operation *end = region.front().getTerminator();
    b.setInsertionPoint(end);
    gpu::ReturnOp::create(b);
    end->erase();
    for (BlockArgument argument : region.getArguments()) {
      if (!isa<MemRefType>(argument.getType()) || isWritten(argument))
        continue;
      // No two bindings of a launch share bytes that either writes. A buffer that is written is not `noalias`: threads
      // pass values through it.
      func.setArgAttr(argument.getArgNumber(), LLVM::LLVMDialect::getNoAliasAttrName(), b.getUnitAttr());
      func.setArgAttr(argument.getArgNumber(), LLVM::LLVMDialect::getReadonlyAttrName(), b.getUnitAttr());
    }
    phase.erase();
    return success();
  }

  /// Allocations are in shared memory, everything else in global memory. Views follow their source.
  static void setMemorySpaces(func::FuncOp phase) {
    // By what they are views of; types change only when all are known.
    SmallVector<std::pair<Value, unsigned>> spaces;
    auto place = [&](Value value) {
      auto type = dyn_cast<MemRefType>(value.getType());
      if (!type || type.getMemorySpace())
        return;
      bool isShared =
          llvm::all_of(rootsOf(value), [](Value root) { return root.getDefiningOp<memref::AllocaOp>() != nullptr; });
      spaces.emplace_back(value, isShared ? kSharedMemory : kGlobalMemory);
    };
    for (BlockArgument argument : phase.getBody().getArguments())
      place(argument);
    phase.walk([&](Operation *op) {
      for (Value result : op->getResults())
        place(result);
      for (Region &region : op->getRegions())
        for (BlockArgument argument : region.getArguments())
          place(argument);
    });
    for (auto [value, space] : spaces)
      value.setType(inSpace(cast<MemRefType>(value.getType()), space));
  }
};
} // namespace
