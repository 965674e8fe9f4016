// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-lsp-server: mlir-lsp-server with the v4 dialect. Editors start it: in Visual Studio Code, the setting
// mlir.server_path.

#include "tools/Registration.h"

#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::v4::registerEverything(registry);
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry));
}
