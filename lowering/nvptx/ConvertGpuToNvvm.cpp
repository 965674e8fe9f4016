// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-convert-gpu-to-nvvm: ops of the gpu dialect to NVVM, and nothing else.

#include "lowering/Passes.h"

#include "mlir/Conversion/ConvertToLLVM/ToLLVMInterface.h"
#include "mlir/Conversion/GPUToNVVM/GPUToNVVMPass.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_CONVERTGPUTONVVMPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;

namespace {
struct ConvertGpuToNvvmPass : v4::impl::ConvertGpuToNvvmPassBase<ConvertGpuToNvvmPass> {
  void runOnOperation() override {
    MLIRContext *context = &getContext();
    LowerToLLVMOptions options(context);
    options.useBarePtrCallConv = true;
    LLVMTypeConverter converter(context, options);
    configureGpuToNVVMTypeConverter(converter);
    RewritePatternSet patterns(context);
    populateGpuToNVVMConversionPatterns(converter, patterns);
    ConversionTarget target(*context);
    target.addIllegalDialect<gpu::GPUDialect>();
    target.addLegalOp<gpu::GPUModuleOp>();
    target.addLegalDialect<NVVM::NVVMDialect>();
    target.markUnknownOpDynamicallyLegal([](Operation *) { return true; });
    if (failed(applyPartialConversion(getOperation(), target, std::move(patterns))))
      return signalPassFailure();
    // The number of threads is exact; PTX takes no bound beside it.
    getOperation()->walk([](LLVM::LLVMFuncOp func) {
      if (func->hasAttr(NVVM::NVVMDialect::getReqntidAttrName()))
        func->removeAttr(NVVM::NVVMDialect::getMaxntidAttrName());
    });
  }
};
} // namespace
