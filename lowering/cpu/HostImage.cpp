// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Modules in the LLVM dialect to one x86-64 shared object without undefined symbols.

#include "lowering/cpu/HostImage.h"

#include "lowering/GenerateCode.h"
#include "lowering/TemporaryFolder.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Threading.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Verifier.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include <mutex>

using namespace mlir;
using namespace mlir::v4;

static const char *const kTriple = "x86_64-unknown-linux-gnu";

static void initializeLLVM() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
  });
}

std::unique_ptr<llvm::TargetMachine> v4::createHostMachine(StringRef cpu, StringRef features) {
  initializeLLVM();
  std::string error;
  llvm::Triple triple(kTriple);
  const llvm::Target *backend = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!backend)
    return nullptr;
  return std::unique_ptr<llvm::TargetMachine>(
      backend->createTargetMachine(triple, cpu, features, llvm::TargetOptions(), llvm::Reloc::PIC_,
                                   llvm::CodeModel::Small, llvm::CodeGenOptLevel::Aggressive));
}

static FailureOr<std::string> compileObject(ModuleOp kernel, const HostOptions &options) {
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> module = translateModuleToLLVMIR(kernel, context);
  if (!module)
    return kernel.emitError("cannot be translated to LLVM IR");
  std::unique_ptr<llvm::TargetMachine> machine = createHostMachine(options.cpu, options.features);
  if (!machine)
    return kernel.emitError() << "LLVM has no target " << kTriple;
  module->setTargetTriple(llvm::Triple(kTriple));
  module->setDataLayout(machine->createDataLayout());
  if (options.prepare)
    options.prepare(kernel, *module, *machine);
  for (llvm::Function &function : *module) {
    function.addFnAttr("target-cpu", options.cpu);
    if (!options.features.empty())
      function.addFnAttr("target-features", options.features);
    // No loop may become a call of memset or memcpy: the image has no library.
    function.addFnAttr("no-builtins");
    function.addFnAttr(llvm::Attribute::NoUnwind);
  }

  std::optional<std::string> object =
      generateCode(*module, *machine, llvm::CodeGenFileType::ObjectFile, options.level, options.tuning);
  if (!object)
    return kernel.emitError("LLVM cannot emit an object file");
  return std::move(*object);
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
  StringRef arguments[] = {*linker,
                           "-shared",
                           "-nostdlib",
                           "--no-undefined",
                           "--build-id=none",
                           "--gc-sections",
                           "-z",
                           "noexecstack",
                           "--hash-style=sysv",
                           "-s",
                           "--no-mmap-output-file",
                           "-o",
                           output,
                           at};
  std::string message;
  int code = llvm::sys::ExecuteAndWait(*linker, arguments, std::nullopt, {StringRef(), StringRef(log), StringRef(log)},
                                       0, 0, &message);
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

FailureOr<std::string> v4::compileHostImage(ModuleOp module, ArrayRef<ModuleOp> modules, const HostOptions &options,
                                            bool &environment) {
  environment = false;
  initializeLLVM();
  registerBuiltinDialectTranslation(*module.getContext());
  registerLLVMDialectTranslation(*module.getContext());
  std::vector<std::string> objects(modules.size());
  LogicalResult result =
      failableParallelForEachN(module.getContext(), 0, modules.size(), [&](size_t i) -> LogicalResult {
        FailureOr<std::string> object = compileObject(modules[i], options);
        if (failed(object))
          return failure();
        objects[i] = std::move(*object);
        return success();
      });
  if (failed(result))
    return failure();
  return link(module, objects, environment);
}
