// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// emu-compile IN.mlir -o OUT: the kernels of a module at the NVVM level as an image for the emulator.

#include "lowering/emu/EmuImage.h"

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
static llvm::cl::opt<std::string> output("o", llvm::cl::Required);

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
  bool environment = false;
  FailureOr<v4::EmuImage> image = v4::compileEmuImage(*module, environment);
  if (failed(image))
    return 1;
  std::error_code error;
  llvm::raw_fd_ostream os(output, error);
  os << image->elf;
  os.close();
  if (error || os.has_error()) {
    llvm::errs() << "cannot write '" << output << "'\n";
    return 1;
  }
  return 0;
}
