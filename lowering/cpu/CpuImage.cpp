// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels in the LLVM dialect to one ELF image for x86-64.

#include "lowering/cpu/CpuImage.h"

#include "lowering/cpu/HostImage.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Host.h"

using namespace mlir;
using namespace mlir::v4;

/// The instruction sets that code generation uses by itself, in the spelling of LLVM and of runtime/CpuFeatures.cpp.
static const char *const kFeatures[] = {
    "adx",        "avx",        "avx2",           "avx512bf16",         "avx512bitalg", "avx512bw", "avx512cd",
    "avx512dq",   "avx512f",    "avx512fp16",     "avx512ifma",         "avx512vbmi",   "avx512vbmi2", "avx512vl",
    "avx512vnni", "avx512vp2intersect", "avx512vpopcntdq", "avxifma",   "avxneconvert", "avxvnni",  "avxvnniint8",
    "avxvnniint16", "bmi",      "bmi2",           "cx16",               "f16c",         "fma",      "gfni",
    "lzcnt",      "movbe",      "popcnt",         "sse3",               "sse4.1",       "sse4.2",   "sse4a",
    "ssse3",      "vaes",       "vpclmulqdq"};

FailureOr<CpuTarget> CpuTarget::parse(MLIRContext *context, StringRef name) {
  CpuTarget target;
  if (name == "native") {
    target.cpu = llvm::sys::getHostCPUName().str();
    // A virtual machine may hide instructions that the processor's name implies.
    SmallVector<std::string> features;
    for (auto &feature : llvm::sys::getHostCPUFeatures())
      features.push_back(((feature.getValue() ? "+" : "-") + feature.getKey()).str());
    llvm::sort(features);
    target.features = llvm::join(features, ",");
    return target;
  }
  target.cpu = name.str();
  std::unique_ptr<llvm::TargetMachine> machine = createHostMachine("x86-64-v2", "");
  if (!machine || !machine->getMCSubtargetInfo()->isCPUStringValid(name)) {
    emitError(UnknownLoc::get(context))
        << "unknown processor '" << name
        << "'; accepted: native, x86-64-v2, x86-64-v3, x86-64-v4, or an LLVM name such as znver5";
    return failure();
  }
  machine = createHostMachine(target.cpu, target.features);
  if (!machine->getMCSubtargetInfo()->checkFeatures("+sse4.1")) {
    emitError(UnknownLoc::get(context)) << "processor '" << name
                                        << "' has no SSE4.1, which kernels round with; the least is x86-64-v2";
    return failure();
  }
  return target;
}

std::vector<std::string> CpuTarget::instructionSets() const {
  std::vector<std::string> sets;
  std::unique_ptr<llvm::TargetMachine> machine = createHostMachine(cpu, features);
  for (const char *feature : kFeatures)
    if (machine->getMCSubtargetInfo()->checkFeatures(std::string("+") + feature))
      sets.push_back(feature);
  return sets;
}

std::vector<std::string> CpuTarget::templateFeatures() const {
  std::vector<std::string> features = instructionSets();
  if (fastBf16Dot.value_or(StringRef(cpu).starts_with("znver")) && llvm::is_contained(features, "avx512bf16"))
    features.push_back("fast-bf16-dot");
  return features;
}

/// `void name(void *const *bindings, uint32_t workgroup)` around the kernel, which takes its bindings one by one.
static void addEntry(llvm::Function &kernel) {
  llvm::LLVMContext &context = kernel.getContext();
  std::string name = kernel.getName().str();
  kernel.setName(name + ".body");
  kernel.setLinkage(llvm::GlobalValue::InternalLinkage);
  kernel.addFnAttr(llvm::Attribute::AlwaysInline);
  llvm::IRBuilder<> b(context);
  llvm::Type *ptr = b.getPtrTy();
  auto *type = llvm::FunctionType::get(b.getVoidTy(), {ptr, b.getInt32Ty()}, false);
  auto *entry = llvm::Function::Create(type, llvm::GlobalValue::ExternalLinkage, name, kernel.getParent());
  b.SetInsertPoint(llvm::BasicBlock::Create(context, "entry", entry));
  SmallVector<llvm::Value *> arguments;
  for (unsigned i = 0; i + 1 < kernel.arg_size(); ++i) {
    // No two bindings of a launch share bytes that either of them writes (v4-plan-arena, v4-outline-groups).
    kernel.addParamAttr(i, llvm::Attribute::NoAlias);
    arguments.push_back(b.CreateLoad(ptr, b.CreateConstInBoundsGEP1_64(ptr, entry->getArg(0), i)));
  }
  arguments.push_back(b.CreateZExt(entry->getArg(1), b.getInt64Ty()));
  b.CreateCall(&kernel, arguments);
  b.CreateRetVoid();
}

/// The polynomials of exp and its like ask for fused multiply-adds. Where the processor has none, LLVM would call libm;
/// a product and a sum cost them half a unit in the last place.
static void splitMultiplyAdds(llvm::Module &module) {
  SmallVector<llvm::IntrinsicInst *> fused;
  for (llvm::Function &function : module)
    for (llvm::Instruction &inst : llvm::instructions(function))
      if (auto *intrinsic = dyn_cast<llvm::IntrinsicInst>(&inst);
          intrinsic && intrinsic->getIntrinsicID() == llvm::Intrinsic::fma)
        fused.push_back(intrinsic);
  for (llvm::IntrinsicInst *fma : fused) {
    llvm::IRBuilder<> b(fma);
    llvm::Value *product = b.CreateFMul(fma->getArgOperand(0), fma->getArgOperand(1));
    fma->replaceAllUsesWith(b.CreateFAdd(product, fma->getArgOperand(2)));
    fma->eraseFromParent();
  }
}

/// What the code of a kernel needs besides the kernel itself.
static void prepareKernel(llvm::Module &module, const llvm::TargetMachine &machine) {
  SmallVector<llvm::Function *> kernels;
  for (llvm::Function &function : module)
    if (!function.isDeclaration())
      kernels.push_back(&function);
  for (llvm::Function *function : kernels)
    addEntry(*function);
  if (!machine.getMCSubtargetInfo()->checkFeatures("+fma"))
    splitMultiplyAdds(module);
  for (llvm::Function &function : module) {
    // Vectors keep the width they were given.
    function.addFnAttr("prefer-vector-width", "512");
    // A product and the sum it enters may be one instruction; the vectoriser drops the flag of a decomposition's sums.
    for (llvm::Instruction &inst : llvm::instructions(function))
      if (isa<llvm::FPMathOperator>(inst) && inst.isBinaryOp())
        inst.setHasAllowContract(true);
  }
}

FailureOr<CpuImage> v4::compileCpuImage(ModuleOp module, const CpuTarget &target, bool &environment) {
  environment = false;
  SmallVector<ModuleOp> kernels;
  for (auto kernel : module.getOps<ModuleOp>())
    if (kernel->hasAttr("v4.kernel"))
      kernels.push_back(kernel);
  // The schedule has chosen the register tiles; unrolling whole loops on top of that multiplies code and compile time.
  HostOptions options;
  options.cpu = target.cpu;
  options.features = target.features;
  options.level = llvm::OptimizationLevel::O3;
  options.tuning.LoopUnrolling = false;
  options.prepare = [](ModuleOp, llvm::Module &code, const llvm::TargetMachine &machine) {
    prepareKernel(code, machine);
  };
  FailureOr<std::string> elf = compileHostImage(module, kernels, options, environment);
  if (failed(elf))
    return failure();
  CpuImage image;
  image.elf = std::move(*elf);
  image.features = target.instructionSets();
  return image;
}
