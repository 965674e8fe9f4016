// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which ops of NVVM and LLVM a chip can run.

#include "lowering/nvptx/GpuImage.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace mlir::v4;

namespace {
/// The least that an op needs (PTX ISA, section of each instruction). A name that ends in a dot stands for all ops that
/// start with it; the first entry that fits holds.
struct Requirement {
  StringRef op;
  int capability, ptx; // times 10
  bool archSpecific = false;
};
} // namespace

static const Requirement kRequirements[] = {
    {"nvvm.barrier", 80, 70},
    {"nvvm.barrier.arrive", 80, 70},
    {"nvvm.barrier0", 80, 70},
    {"nvvm.bar.warp.sync", 80, 70},
    {"nvvm.cluster.", 90, 78},
    {"nvvm.convert.f4x2.to.f16x2", 100, 86, true},
    {"nvvm.convert.f8x2.to.f16x2", 89, 78},
    {"nvvm.cp.async.bulk.", 90, 80},
    {"nvvm.cp.async.", 80, 70},
    {"nvvm.elect.sync", 90, 80},
    {"nvvm.fence.mbarrier.init", 90, 80},
    {"nvvm.fence.proxy", 90, 80},
    {"nvvm.griddepcontrol", 90, 78},
    {"nvvm.ldmatrix", 80, 70},
    {"nvvm.mapa", 90, 78},
    {"nvvm.match.sync", 80, 70},
    {"nvvm.mbarrier.arrive.expect_tx", 90, 80},
    {"nvvm.mbarrier.test.wait", 90, 80},
    {"nvvm.mbarrier.try_wait", 90, 80},
    {"nvvm.mbarrier.try_wait.", 90, 80},
    {"nvvm.mbarrier.", 80, 70},
    {"nvvm.memory.barrier", 80, 70},
    {"nvvm.mma.sync", 80, 70},
    {"nvvm.prefetch", 80, 74},
    {"nvvm.prmt", 80, 70},
    {"nvvm.read.ptx.sreg.cluster.", 90, 78},
    {"nvvm.read.ptx.sreg.", 80, 70},
    {"nvvm.redux.sync", 80, 70},
    {"nvvm.setmaxregister", 90, 80, true},
    {"nvvm.shfl.sync", 80, 70},
    {"nvvm.stmatrix", 90, 78},
    {"nvvm.vote.sync", 80, 70},
    {"nvvm.wgmma.", 90, 80, true},
};

/// Intrinsics of LLVM that every chip has as instructions, or that LLVM expands to such.
static const StringRef kIntrinsics[] = {
    "llvm.intr.abs",     "llvm.intr.assume",  "llvm.intr.ceil",    "llvm.intr.copysign", "llvm.intr.ctlz",
    "llvm.intr.ctpop",   "llvm.intr.cttz",    "llvm.intr.fabs",    "llvm.intr.floor",    "llvm.intr.fma",
    "llvm.intr.fshl",    "llvm.intr.fshr",    "llvm.intr.maximum", "llvm.intr.maxnum",   "llvm.intr.minimum",
    "llvm.intr.minnum",  "llvm.intr.roundeven", "llvm.intr.smax",  "llvm.intr.smin",     "llvm.intr.sqrt",
    "llvm.intr.trunc",   "llvm.intr.umax",    "llvm.intr.umin"};

static const Requirement *findRequirement(StringRef name) {
  for (const Requirement &entry : kRequirements)
    if (entry.op == name || (entry.op.ends_with(".") && name.starts_with(entry.op)))
      return &entry;
  return nullptr;
}

/// Instructions of one generation are those of exactly that one; conversions stayed in those that followed.
static bool runsOn(const Requirement &entry, const GpuTarget &target) {
  if (target.ptx < entry.ptx || (entry.archSpecific && !target.archSpecific))
    return false;
  bool isExact = entry.archSpecific && !entry.op.starts_with("nvvm.convert");
  return isExact ? target.capability == entry.capability : target.capability >= entry.capability;
}

/// "PTX 8.0" of 80.
static std::string ptxVersion(int version) {
  return ("PTX " + Twine(version / 10) + "." + Twine(version % 10)).str();
}

static LogicalResult checkOp(Operation *op, const GpuTarget &target) {
  StringRef name = op->getName().getStringRef();
  StringRef dialect = op->getName().getDialectNamespace();
  if (dialect == NVVM::NVVMDialect::getDialectNamespace()) {
    const Requirement *entry = findRequirement(name);
    if (!entry)
      return op->emitOpError() << "is not in v4c's table of instructions; what " << target.chip
                               << " needs for it is to be entered there (lowering/nvptx/CheckGpuKernels.cpp)";
    if (runsOn(*entry, target))
      return success();
    auto able = llvm::make_filter_range(getGpuTargets(), [&](const GpuTarget &gpu) { return runsOn(*entry, gpu); });
    return op->emitOpError() << "needs sm_" << entry->capability << (entry->archSpecific ? "a" : "") << " and "
                             << ptxVersion(entry->ptx) << "; the target is " << target.chip << " with "
                             << ptxVersion(target.ptx) << "; targets that have it: "
                             << llvm::join(llvm::map_range(able, [](const GpuTarget &gpu) { return gpu.chip; }), ", ");
  }
  if (name.starts_with("llvm.intr.") && !llvm::is_contained(kIntrinsics, name))
    return op->emitOpError() << "is no instruction of a GPU; it would be a call of a library";
  if (isa<LLVM::InlineAsmOp, LLVM::CallIntrinsicOp, LLVM::InvokeOp>(op))
    return op->emitOpError() << "cannot be read by the emulator; kernels use ops of NVVM";
  if (isa<LLVM::CallOp>(op))
    return op->emitOpError() << "calls a function; kernels are self-contained";
  if (isa<LLVM::AllocaOp>(op))
    return op->emitOpError() << "is local memory, which no kernel is meant to use";
  if (auto func = dyn_cast<LLVM::LLVMFuncOp>(op); func && func.isExternal())
    return op->emitOpError() << "has no body; kernels are self-contained";
  return success();
}

LogicalResult v4::checkGpuKernels(ModuleOp kernel, const GpuTarget &target) {
  return failure(kernel.walk([&](Operation *op) { return WalkResult(checkOp(op, target)); }).wasInterrupted());
}
