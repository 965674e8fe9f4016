// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// emu-compile IN.mlir [-o IMAGE] [--ptx=FILE --chip=CHIP]: the kernels of a module at the NVVM level as an image for the emulator, and as
// PTX from the same text. Exit code 1 for what cannot be compiled, an op that the chip has not among it.

#include "lowering/emu/EmuImage.h"
#include "lowering/nvptx/GpuImage.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/AsmState.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

static llvm::cl::opt<std::string> input(llvm::cl::Positional, llvm::cl::init("-"));
static llvm::cl::opt<std::string> output("o");
static llvm::cl::opt<std::string> ptx("ptx");
static llvm::cl::opt<std::string> chip("chip", llvm::cl::init(v4::kDefaultChip.str()));

static bool write(const std::string &path, const std::string &bytes) {
  std::error_code error;
  llvm::raw_fd_ostream os(path, error);
  if (!error) {
    os << bytes;
    os.close();
  }
  if (error || os.has_error()) {
    os.clear_error();
    llvm::errs() << "cannot write '" << path << "'\n";
    return false;
  }
  return true;
}

/// PTX of all kernels of `module`; as v4c has them, they lie in a module of their own.
static FailureOr<std::string> compilePtx(ModuleOp module, const v4::GpuTarget &target) {
  OwningOpRef<ModuleOp> outer = ModuleOp::create(module.getLoc());
  Operation *kernels = OpBuilder(outer->getBodyRegion()).clone(*module);
  kernels->setAttr("v4.kernel", UnitAttr::get(module.getContext()));
  bool environment = false;
  FailureOr<v4::GpuImage> image = v4::compileGpuImage(*outer, target, environment);
  if (failed(image))
    return failure();
  return std::move(image->ptx);
}

int main(int argc, char **argv) {
  llvm::cl::ParseCommandLineOptions(argc, argv);
  DialectRegistry registry;
  registry.insert<gpu::GPUDialect, LLVM::LLVMDialect, NVVM::NVVMDialect>();
  MLIRContext context(registry);
  llvm::SourceMgr sources;
  SourceMgrDiagnosticHandler handler(sources, &context);
  OwningOpRef<ModuleOp> module = parseSourceFile<ModuleOp>(input, sources, &context);
  if (!module)
    return 1;
  if (!output.empty()) {
    bool environment = false;
    FailureOr<v4::EmuImage> image = v4::compileEmuImage(*module, environment);
    if (failed(image) || !write(output, image->elf))
      return 1;
  }
  if (!ptx.empty()) {
    const v4::GpuTarget *target = v4::findGpuTarget("nvptx:" + chip);
    if (!target) {
      llvm::errs() << "unknown GPU '" << chip << "'\n";
      return 1;
    }
    FailureOr<std::string> text = compilePtx(*module, *target);
    if (failed(text) || !write(ptx, *text))
      return 1;
  }
  return 0;
}
