// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels in the LLVM dialect to one ELF image for x86-64.

#include "lowering/cpu/CpuImage.h"

#include "lowering/TemporaryFolder.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Threading.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Verifier.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Host.h"
#include <mutex>

using namespace mlir;
using namespace mlir::v4;

static const char *const kTriple = "x86_64-unknown-linux-gnu";

/// The instruction sets that code generation uses by itself, in the spelling of LLVM and of runtime/CpuFeatures.cpp.
static const char *const kFeatures[] = {
    "adx",        "avx",        "avx2",           "avx512bf16",         "avx512bitalg", "avx512bw", "avx512cd",
    "avx512dq",   "avx512f",    "avx512fp16",     "avx512ifma",         "avx512vbmi",   "avx512vbmi2", "avx512vl",
    "avx512vnni", "avx512vp2intersect", "avx512vpopcntdq", "avxifma",   "avxneconvert", "avxvnni",  "avxvnniint8",
    "avxvnniint16", "bmi",      "bmi2",           "cx16",               "f16c",         "fma",      "gfni",
    "lzcnt",      "movbe",      "popcnt",         "sse3",               "sse4.1",       "sse4.2",   "sse4a",
    "ssse3",      "vaes",       "vpclmulqdq"};

static void initializeLLVM() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
  });
}

static std::unique_ptr<llvm::TargetMachine> createMachine(const CpuTarget &target) {
  initializeLLVM();
  std::string error;
  llvm::Triple triple(kTriple);
  const llvm::Target *backend = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!backend)
    return nullptr;
  return std::unique_ptr<llvm::TargetMachine>(
      backend->createTargetMachine(triple, target.cpu, target.features, llvm::TargetOptions(), llvm::Reloc::PIC_,
                                   llvm::CodeModel::Small, llvm::CodeGenOptLevel::Aggressive));
}

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
  std::unique_ptr<llvm::TargetMachine> machine = createMachine(CpuTarget{"x86-64-v2", ""});
  if (!machine || !machine->getMCSubtargetInfo()->isCPUStringValid(name)) {
    emitError(UnknownLoc::get(context)) << "unknown processor '" << name
                                        << "'; accepted: native, x86-64-v2, x86-64-v3, x86-64-v4, or an LLVM name such as znver5";
    return failure();
  }
  machine = createMachine(target);
  if (!machine->getMCSubtargetInfo()->checkFeatures("+sse4.1")) {
    emitError(UnknownLoc::get(context)) << "processor '" << name << "' has no SSE4.1, which kernels round with; the least is x86-64-v2";
    return failure();
  }
  return target;
}

std::vector<std::string> CpuTarget::instructionSets() const {
  std::vector<std::string> sets;
  std::unique_ptr<llvm::TargetMachine> machine = createMachine(*this);
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
      if (auto *intrinsic = dyn_cast<llvm::IntrinsicInst>(&inst); intrinsic && intrinsic->getIntrinsicID() == llvm::Intrinsic::fma)
        fused.push_back(intrinsic);
  for (llvm::IntrinsicInst *fma : fused) {
    llvm::IRBuilder<> b(fma);
    llvm::Value *product = b.CreateFMul(fma->getArgOperand(0), fma->getArgOperand(1));
    fma->replaceAllUsesWith(b.CreateFAdd(product, fma->getArgOperand(2)));
    fma->eraseFromParent();
  }
}

static FailureOr<std::string> compileObject(ModuleOp kernel, const CpuTarget &target) {
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> module = translateModuleToLLVMIR(kernel, context);
  if (!module)
    return kernel.emitError("cannot be translated to LLVM IR");
  std::unique_ptr<llvm::TargetMachine> machine = createMachine(target);
  if (!machine)
    return kernel.emitError() << "LLVM has no target " << kTriple;
  module->setTargetTriple(llvm::Triple(kTriple));
  module->setDataLayout(machine->createDataLayout());
  SmallVector<llvm::Function *> kernels;
  for (llvm::Function &function : *module)
    if (!function.isDeclaration())
      kernels.push_back(&function);
  for (llvm::Function *function : kernels)
    addEntry(*function);
  if (!machine->getMCSubtargetInfo()->checkFeatures("+fma"))
    splitMultiplyAdds(*module);
  for (llvm::Function &function : *module) {
    function.addFnAttr("target-cpu", target.cpu);
    if (!target.features.empty())
      function.addFnAttr("target-features", target.features);
    // No loop may become a call of memset or memcpy: the image has no library. Vectors keep the width they were given.
    function.addFnAttr("no-builtins");
    function.addFnAttr("prefer-vector-width", "512");
    function.addFnAttr(llvm::Attribute::NoUnwind);
    // A product and the sum it enters may be one instruction; the vectoriser drops the flag of a decomposition's sums.
    for (llvm::Instruction &inst : llvm::instructions(function))
      if (isa<llvm::FPMathOperator>(inst) && inst.isBinaryOp())
        inst.setHasAllowContract(true);
  }

  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager graphs;
  llvm::ModuleAnalysisManager modules;
  // The schedule has chosen the register tiles; unrolling whole loops on top of that multiplies code and compile time.
  llvm::PipelineTuningOptions tuning;
  tuning.LoopUnrolling = false;
  llvm::PassBuilder builder(machine.get(), tuning);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(graphs);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, graphs, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3).run(*module, modules);

  SmallVector<char, 0> object;
  llvm::raw_svector_ostream os(object);
  llvm::legacy::PassManager codegen;
  if (machine->addPassesToEmitFile(codegen, os, nullptr, llvm::CodeGenFileType::ObjectFile))
    return kernel.emitError("LLVM cannot emit an object file");
  codegen.run(*module);
  return std::string(object.begin(), object.end());
}

static std::optional<std::string> findLinker() {
  if (llvm::ErrorOr<std::string> near = llvm::sys::findProgramByName("ld.lld", {V4_LLVM_TOOLS_DIR}))
    return *near;
  for (StringRef name : {"ld.lld-22", "ld.lld"})
    if (llvm::ErrorOr<std::string> found = llvm::sys::findProgramByName(name))
      return *found;
  return std::nullopt;
}

static FailureOr<std::string> link(ModuleOp module, ArrayRef<std::string> objects, bool &environment) {
  Location loc = module.getLoc();
  if (objects.empty())
    return emitError(loc) << "has no kernels (modules with attribute v4.kernel)";
  environment = true; // every failure from here on but an undefined symbol
  std::optional<std::string> linker = findLinker();
  if (!linker)
    return emitError(loc) << "cannot find the linker ld.lld; install the package lld-22";
  TemporaryFolder folder;
  if (folder.error)
    return emitError(loc) << "cannot make a temporary folder: " << folder.error.message();
  std::string response;
  for (auto [i, object] : llvm::enumerate(objects)) {
    std::string path = folder.file(Twine(i) + ".o");
    if (std::error_code error = folder.write(path, object))
      return emitError(loc) << "cannot write '" << path << "': " << error.message();
    response += path + "\n";
  }
  std::string responsePath = folder.file("objects"), output = folder.file("image"), log = folder.file("log");
  if (std::error_code error = folder.write(responsePath, response))
    return emitError(loc) << "cannot write '" << responsePath << "': " << error.message();
  std::string at = "@" + responsePath;
  StringRef arguments[] = {*linker,     "-shared", "-nostdlib",    "--no-undefined", "--build-id=none", "--gc-sections",
                           "-z",        "noexecstack", "--hash-style=sysv", "-s", "--no-mmap-output-file", "-o", output, at};
  std::string message;
  int code = llvm::sys::ExecuteAndWait(*linker, arguments, std::nullopt, {StringRef(), StringRef(log), StringRef(log)}, 0, 0, &message);
  if (code != 0) {
    if (auto text = llvm::MemoryBuffer::getFile(log))
      message += (*text)->getBuffer().str();
    environment = !StringRef(message).contains("undefined symbol");
    return emitError(loc) << "'" << *linker << "' failed: " << message;
  }
  auto image = llvm::MemoryBuffer::getFile(output);
  if (!image)
    return emitError(loc) << "cannot read '" << output << "': " << image.getError().message();
  environment = false;
  return (*image)->getBuffer().str();
}

FailureOr<CpuImage> v4::compileCpuImage(ModuleOp module, const CpuTarget &target, bool &environment) {
  environment = false;
  initializeLLVM();
  registerBuiltinDialectTranslation(*module.getContext());
  registerLLVMDialectTranslation(*module.getContext());
  SmallVector<ModuleOp> kernels;
  for (auto kernel : module.getOps<ModuleOp>())
    if (kernel->hasAttr("v4.kernel"))
      kernels.push_back(kernel);
  std::vector<std::string> objects(kernels.size());
  LogicalResult result = failableParallelForEachN(module.getContext(), 0, kernels.size(), [&](size_t i) -> LogicalResult {
    FailureOr<std::string> object = compileObject(kernels[i], target);
    if (failed(object))
      return failure();
    objects[i] = std::move(*object);
    return success();
  });
  if (failed(result))
    return failure();
  FailureOr<std::string> elf = link(module, objects, environment);
  if (failed(elf))
    return failure();
  CpuImage image;
  image.elf = std::move(*elf);
  image.features = target.instructionSets();
  return image;
}
