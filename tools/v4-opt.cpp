// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-opt: mlir-opt with the v4 dialect and passes.

#include "tools/Registration.h"

#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::v4::registerEverything(registry);
  mlir::v4::registerEveryPass();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "v4-opt: passes on V4 model graphs\n", registry));
}
