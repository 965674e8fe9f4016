// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The stages of a compilation and their pipelines.

#include "lowering/Stages.h"

#include "lowering/Passes.h"
#include "lowering/nvptx/GpuTarget.h"
#include "passes/Passes.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Conversion/VectorToSCF/VectorToSCF.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Dialect/Vector/Transforms/Passes.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace mlir::v4;

ArrayRef<StageInfo> v4::getStages() {
  static const StageInfo stages[] = {
      {Stage::Model, "model", "the model as read: v4 ops, weights and state as arguments"},
      {Stage::Graph, "graph", "simplified, capacities fixed"},
      {Stage::Groups, "groups", "the fusion decision: every op in one v4.group"},
      {Stage::Tiles, "tiles", "kernels as phases of vectorised tiles"},
      {Stage::Buffers, "buffers", "memory: arguments and one arena"},
      {Stage::Kernels, "kernels", "machine-level kernels and launch lists"},
      {Stage::Module, "module", "the module file"},
  };
  return stages;
}

std::optional<Stage> v4::parseStage(StringRef name) {
  for (const StageInfo &info : getStages())
    if (info.name == name)
      return info.stage;
  return std::nullopt;
}

StringRef v4::stageName(Stage stage) { return getStages()[static_cast<int>(stage)].name; }

static bufferization::OneShotBufferizePassOptions bufferizeOptions() {
  bufferization::OneShotBufferizePassOptions options;
  options.bufferizeFunctionBoundaries = true;
  // Kernels take bare pointers: every argument is contiguous.
  options.functionBoundaryTypeConversion = bufferization::LayoutMapOption::IdentityLayoutMap;
  return options;
}

static void buildTiles(OpPassManager &pm, const LoweringOptions &options) {
  bool isGpu = findGpuTarget(options.target);
  // 1. Weights as kernels of this target read them. Groups become kernels, each in a module of its own: from here on
  //    kernels are compiled in parallel.
  pm.addPass(createPackWeightsPass());
  pm.addPass(createOutlineGroupsPass());
  OpPassManager &func = pm.nest<ModuleOp>().nest<func::FuncOp>();
  // 2. Ops are cut into tiles while they are still v4 ops: only they know their loops.
  func.addPass(createSplitReductionsPass({.target = options.target}));
  func.addPass(createFormPhasesPass({.target = options.target}));
  // 3. A tile is replaced by its definition, then tiled to registers and vectorised; or cut into what the threads of a
  // block do together.
  func.addPass(createSelectTemplatesPass({.target = options.target}));
  if (!isGpu)
    func.addPass(createRotatePairsPass());
  func.addPass(createDecomposePass());
  // Before cse, which merges the empty tensors of different results.
  func.addPass(createThreadDestinationsPass());
  func.addPass(createCanonicalizerPass());
  func.addPass(createCSEPass());
  func.addPass(createApplySchedulePass({.schedule = isGpu ? "nvptx" : "cpu"}));
  if (isGpu)
    func.addPass(createFuseElementwisePass());
}

static void buildBuffers(OpPassManager &pm, const LoweringOptions &options) {
  // 1. Kernels, one by one.
  OpPassManager &kernel = pm.nest<ModuleOp>();
  // The pass picks empty tensors from a set of pointers, so that the buffers of decompositions, which on a CPU are left
  // to few ops, would differ from run to run.
  if (!findGpuTarget(options.target))
    kernel.addPass(bufferization::createEmptyTensorEliminationPass());
  kernel.addPass(bufferization::createOneShotBufferizePass(bufferizeOptions()));
  // Loops that carry a buffer which never changes fold first, so that results are seen to be outputs.
  kernel.addPass(createCanonicalizerPass());
  kernel.addPass(createBindOutputsPass());
  kernel.addPass(createCanonicalizerPass());
  kernel.addPass(createCSEPass());
  kernel.nest<func::FuncOp>().addPass(bufferization::createBufferLoopHoistingPass());
  // Copies of a buffer onto itself fold only now that their operands are one value.
  kernel.addPass(createCanonicalizerPass());
  // 2. The functions of launches: results become arguments, allocations become one arena.
  pm.addPass(bufferization::createOneShotBufferizePass(bufferizeOptions()));
  pm.addPass(createBindOutputsPass());
  pm.addPass(createHoistWorkspacesPass({.target = options.target}));
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createPlanArenaPass());
}

static void buildKernels(OpPassManager &pm, const LoweringOptions &options) {
  OpPassManager &kernel = pm.nest<ModuleOp>();
  // 1. One function per phase and workgroup; templates as loops of vectors; tables of experts as addresses.
  kernel.addPass(createSplitPhasesPass());
  OpPassManager &func = kernel.nest<func::FuncOp>();
  func.addPass(createCanonicalizerPass());
  func.addPass(createExpandTemplatesPass({.features = options.features}));
  func.addPass(createExpandTablesPass());
  // 2. Vectors to the machine's: one dimension, no narrow floats, no library calls.
  func.addPass(createFlattenVectorsPass());
  func.addPass(createWidenNarrowFloatsPass());
  func.addPass(arith::createArithExpandOpsPass({.includeBf16 = true, .includeF8E8M0 = true, .includeF4E2M1 = false}));
  func.addPass(createApproximateMathPass());
  func.addPass(vector::createLowerVectorMultiReductionPass(vector::VectorMultiReductionLowering::InnerReduction));
  func.addPass(createCanonicalizerPass());
  func.addPass(createConvertVectorToSCFPass(VectorTransferToSCFOptions().enableFullUnroll()));
  // 3. What is no vector is a loop: copies and bookkeeping of integers.
  func.addPass(createLowerCopiesPass());
  func.addPass(createConvertLinalgToLoopsPass());
  func.addPass(createCanonicalizerPass());
  func.addPass(createCSEPass());
  // 4. To the LLVM dialect.
  kernel.addPass(memref::createExpandStridedMetadataPass());
  kernel.addPass(createLowerAffinePass());
  kernel.addPass(createSCFToControlFlowPass());
  ConvertVectorToLLVMPassOptions vectors;
  vectors.reassociateFPReductions = true;
  kernel.addPass(createConvertVectorToLLVMPass(vectors));
  kernel.nest<func::FuncOp>().addPass(createConvertMathToLLVMPass());
  kernel.addPass(createArithToLLVMConversionPass());
  kernel.addPass(createConvertIndexToLLVMPass());
  kernel.addPass(createFinalizeMemRefToLLVMConversionPass());
  ConvertFuncToLLVMPassOptions functions;
  functions.useBarePtrCallConv = true;
  kernel.addPass(createConvertFuncToLLVMPass(functions));
  kernel.addPass(createConvertControlFlowToLLVMPass());
  kernel.addPass(createUBToLLVMConversionPass());
  if (!StringRef(options.features).contains("avx512bf16"))
    kernel.addPass(createStoreBf16AsIntegersPass());
  kernel.addPass(createReconcileUnrealizedCastsPass());
}

/// To NVVM: what both PTX and the code of the emulator are made from (docs/architecture.md).
static void buildGpuKernels(OpPassManager &pm, const LoweringOptions &options) {
  OpPassManager &kernel = pm.nest<ModuleOp>();
  // 1. One function per phase and workgroup; loops over its threads; templates as code of a thread.
  kernel.addPass(createSplitPhasesPass());
  OpPassManager &func = kernel.nest<func::FuncOp>();
  func.addPass(createCanonicalizerPass());
  func.addPass(createLowerCopiesPass());
  func.addPass(createDistributeThreadsPass());
  func.addPass(createExpandTemplatesPass({.target = options.target}));
  func.addPass(createExpandTablesPass());
  // 2. Numbers and functions: integers for narrow floats, polynomials, multiply-adds that are said to be such.
  func.addPass(createWidenNarrowFloatsPass());
  func.addPass(arith::createArithExpandOpsPass({.includeBf16 = true, .includeF8E8M0 = true, .includeF4E2M1 = false}));
  func.addPass(createApproximateMathPass());
  func.addPass(createContractMultiplyAddsPass());
  func.addPass(createCanonicalizerPass());
  func.addPass(createConvertVectorToSCFPass(VectorTransferToSCFOptions().enableFullUnroll()));
  // 3. Kernels of the GPU.
  kernel.addPass(createOutlineGpuKernelsPass({.target = options.target}));
  OpPassManager &gpu = kernel.nest<gpu::GPUModuleOp>();
  gpu.addPass(memref::createExpandStridedMetadataPass());
  gpu.addPass(createLowerAffinePass());
  gpu.addPass(createCanonicalizerPass());
  gpu.addPass(createCSEPass());
  gpu.addPass(createConvertNVGPUToNVVMPass());
  gpu.addPass(createConvertVectorToLLVMPass());
  gpu.addPass(createConvertGpuToNvvmPass());
  gpu.addPass(createSCFToControlFlowPass());
  // Without a list of dialects this pass also turns ops of NVVM into inline assembly, which the emulator cannot read.
  ConvertToLLVMPassOptions toLLVM;
  toLLVM.filterDialects = {"arith", "cf", "memref", "vector", "math", "index", "ub"};
  gpu.addPass(createConvertToLLVMPass(toLLVM));
  gpu.addPass(createReconcileUnrealizedCastsPass());
  gpu.addPass(createCanonicalizerPass());
  gpu.addPass(createCSEPass());
}

std::unique_ptr<Pass> v4::createStageVerifier(Stage stage) {
  return createVerifyStagePass(VerifyStagePassOptions{.stage = stageName(stage).str()});
}

void v4::buildStage(OpPassManager &pm, Stage stage, const LoweringOptions &options) {
  switch (stage) {
  case Stage::Model:
    break;
  case Stage::Graph:
    pm.addPass(createCanonicalizerPass());
    pm.addPass(createCSEPass());
    break;
  case Stage::Groups:
    pm.addPass(createFormGroupsPass(FormGroupsPassOptions{.strategy = options.plan}));
    break;
  case Stage::Tiles:
    buildTiles(pm, options);
    break;
  case Stage::Buffers:
    buildBuffers(pm, options);
    break;
  case Stage::Kernels:
    findGpuTarget(options.target) ? buildGpuKernels(pm, options) : buildKernels(pm, options);
    break;
  case Stage::Module:
    return;
  }
  pm.addPass(createStageVerifier(stage));
}

void v4::registerStagePipelines() {
  struct PlanOptions : PassPipelineOptions<PlanOptions> {
    Option<std::string> plan{*this, "plan", llvm::cl::desc("fusion strategy of stage groups"), llvm::cl::init("basic")};
    Option<std::string> target{*this, "target", llvm::cl::desc("cpu, or a GPU: nvptx:sm_90a"), llvm::cl::init("cpu")};
    Option<std::string> features{*this, "features", llvm::cl::desc("instruction sets that templates may use")};
  };
  for (const StageInfo &info : getStages()) {
    if (info.stage == Stage::Module)
      continue;
    Stage stage = info.stage;
    new PassPipelineRegistration<PlanOptions>(
        ("v4-stage-" + info.name).str(), info.summary, [stage](OpPassManager &pm, const PlanOptions &options) {
          buildStage(pm, stage,
                     LoweringOptions{.plan = options.plan, .target = options.target, .features = options.features});
        });
  }
}
