// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-opt: mlir-opt with the v4 dialect and passes.

#include "dialects/V4.h"
#include "lowering/Passes.h"
#include "lowering/Stages.h"
#include "lowering/TransformOps.h"
#include "passes/Passes.h"

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  mlir::registerAllExtensions(registry);
  mlir::registerAllPasses();
  registry.insert<mlir::v4::V4Dialect>();
  mlir::v4::registerBufferizableOpInterfaceModels(registry);
  mlir::v4::registerTransformOps(registry);
  mlir::v4::registerV4Passes();
  mlir::v4::registerV4LoweringPasses();
  mlir::v4::registerStagePipelines();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "v4-opt: passes on V4 model graphs\n", registry));
}
