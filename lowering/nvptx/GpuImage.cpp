// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels in NVVM to PTX and machine code of a GPU.

#include "lowering/nvptx/GpuImage.h"

#include "lowering/GenerateCode.h"
#include "lowering/TemporaryFolder.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Threading.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/GPU/GPUToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/xxhash.h"
#include "llvm/Target/TargetMachine.h"
#include <cstdlib>
#include <mutex>

using namespace mlir;
using namespace mlir::v4;

static const char *const kTriple = "nvptx64-nvidia-cuda";

static void initializeLLVM() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
  });
}

std::string v4::hashOfKernel(ModuleOp kernel) {
  std::string text;
  llvm::raw_string_ostream os(text);
  for (auto module : kernel.getOps<gpu::GPUModuleOp>())
    module->print(os, OpPrintingFlags().printGenericOpForm().enableDebugInfo(false));
  return llvm::utohexstr(llvm::xxh3_64bits(text), /*LowerCase=*/true, 16);
}

/// PTX of one module, without the lines that say its version, target and address size.
static FailureOr<std::string> emitPtx(gpu::GPUModuleOp kernels, const GpuTarget &target, std::string &header) {
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> module = translateModuleToLLVMIR(kernels, context);
  if (!module)
    return kernels.emitError("cannot be translated to LLVM IR");
  std::string error;
  llvm::Triple triple(kTriple);
  const llvm::Target *backend = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!backend)
    return kernels.emitError() << "LLVM has no target " << kTriple;
  // No features: LLVM takes the lowest PTX version that serves the chip.
  std::unique_ptr<llvm::TargetMachine> machine(backend->createTargetMachine(
      triple, target.chip, "", llvm::TargetOptions(), std::nullopt, std::nullopt, llvm::CodeGenOptLevel::Aggressive));
  module->setTargetTriple(triple);
  module->setDataLayout(machine->createDataLayout());

  std::optional<std::string> ptx = generateCode(*module, *machine, llvm::CodeGenFileType::AssemblyFile);
  if (!ptx)
    return kernels.emitError("LLVM cannot emit PTX");
  StringRef text = *ptx;
  for (StringRef word : {".extern .func", ".local"})
    if (text.contains(word))
      return kernels.emitError() << "became PTX with '" << word
                                 << "': " << (word == ".local" ? "local memory" : "a call of a library");
  size_t at = text.find(".address_size");
  size_t end = text.find('\n', at);
  if (at == StringRef::npos || end == StringRef::npos)
    return kernels.emitError("became PTX without a header");
  size_t start = text.find(".version");
  header = text.slice(start, end + 1).str();
  return text.substr(end + 1).str();
}

static std::optional<std::string> findAssembler() {
  if (const char *path = std::getenv("V4_PTXAS"))
    return *path ? std::optional<std::string>(path) : std::nullopt;
  if (llvm::ErrorOr<std::string> found = llvm::sys::findProgramByName("ptxas"))
    return *found;
  if (llvm::ErrorOr<std::string> found = llvm::sys::findProgramByName("ptxas", {"/usr/local/cuda/bin"}))
    return *found;
  return std::nullopt;
}

static LogicalResult assemble(Location loc, const std::string &assembler, const GpuTarget &target, GpuImage &image,
                              bool &environment) {
  environment = true;
  TemporaryFolder folder;
  if (folder.error)
    return emitError(loc) << "cannot make a temporary folder: " << folder.error.message();
  std::string input = folder.file("kernels.ptx"), output = folder.file("kernels.cubin"), log = folder.file("log");
  if (std::error_code error = folder.write(input, image.ptx))
    return emitError(loc) << "cannot write '" << input << "': " << error.message();
  std::string arch = ("--gpu-name=" + target.chip).str();
  // Kernels are independent of each other: as many threads as the processor has.
  StringRef arguments[] = {assembler, arch, "--opt-level=3", "--split-compile=0", "--output-file", output, input};
  std::string message;
  int code = llvm::sys::ExecuteAndWait(assembler, arguments, std::nullopt,
                                       {StringRef(), StringRef(log), StringRef(log)}, 0, 0, &message);
  if (code != 0) {
    if (auto text = llvm::MemoryBuffer::getFile(log))
      message += (*text)->getBuffer().str();
    // It ran and found fault with the text, or it could not run.
    environment = code < 0;
    return emitError(loc) << "'" << assembler << "' failed: " << message;
  }
  auto cubin = llvm::MemoryBuffer::getFile(output);
  if (!cubin)
    return emitError(loc) << "cannot read '" << output << "': " << cubin.getError().message();
  image.cubin = (*cubin)->getBuffer().str();
  environment = false;
  return success();
}

FailureOr<GpuImage> v4::compileGpuImage(ModuleOp module, const GpuTarget &target, bool &environment) {
  environment = false;
  initializeLLVM();
  MLIRContext *context = module.getContext();
  registerBuiltinDialectTranslation(*context);
  registerGPUDialectTranslation(*context);
  registerLLVMDialectTranslation(*context);
  registerNVVMDialectTranslation(*context);

  // The module stays as it is: what follows turns NVVM into inline assembly where LLVM has no intrinsic.
  OwningOpRef<ModuleOp> copy = ModuleOp::create(module.getLoc());
  SmallVector<gpu::GPUModuleOp> kernels;
  OpBuilder b(copy->getBodyRegion());
  for (auto kernel : module.getOps<ModuleOp>()) {
    if (!kernel->hasAttr("v4.kernel"))
      continue;
    if (failed(checkGpuKernels(kernel, target)))
      return failure();
    for (auto part : kernel.getOps<gpu::GPUModuleOp>())
      kernels.push_back(cast<gpu::GPUModuleOp>(b.clone(*part)));
  }
  if (kernels.empty())
    return module.emitError() << "has no kernels (modules with attribute v4.kernel)";
  PassManager pm(context);
  pm.nest<gpu::GPUModuleOp>().addPass(createConvertNVVMToLLVMPass());
  if (failed(pm.run(*copy)))
    return failure();

  std::vector<std::string> texts(kernels.size()), headers(kernels.size());
  LogicalResult result = failableParallelForEachN(context, 0, kernels.size(), [&](size_t i) -> LogicalResult {
    FailureOr<std::string> text = emitPtx(kernels[i], target, headers[i]);
    if (failed(text))
      return failure();
    texts[i] = std::move(*text);
    return success();
  });
  if (failed(result))
    return failure();
  GpuImage image;
  image.ptx = headers.front();
  for (const std::string &text : texts)
    image.ptx += text;
  if (std::optional<std::string> assembler = findAssembler())
    if (failed(assemble(module.getLoc(), *assembler, target, image, environment)))
      return failure();
  return image;
}
