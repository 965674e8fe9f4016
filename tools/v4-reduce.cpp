// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-reduce: mlir-reduce with the v4 dialect and passes. test/tools/Inputs/has_top_k.sh is an example of the script
// that says whether a reduced file is still interesting.

#include "tools/Registration.h"

#include "mlir/Tools/mlir-reduce/MlirReduceMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::v4::registerEverything(registry);
  mlir::v4::registerEveryPass();
  mlir::MLIRContext context(registry);
  return mlir::failed(mlir::mlirReduceMain(argc, argv, context));
}
