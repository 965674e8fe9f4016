// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What every tool that reads IR knows: all dialects of upstream and the v4 dialect with its interfaces.

#ifndef V4_TOOLS_REGISTRATION_H
#define V4_TOOLS_REGISTRATION_H

#include "dialects/V4.h"
#include "lowering/Passes.h"
#include "lowering/Stages.h"
#include "lowering/TransformOps.h"
#include "passes/Passes.h"

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"

namespace mlir::v4 {

inline void registerEverything(DialectRegistry &registry) {
  registerAllDialects(registry);
  registerAllExtensions(registry);
  registry.insert<V4Dialect>();
  registerBufferizableOpInterfaceModels(registry);
  registerTransformOps(registry);
}

inline void registerEveryPass() {
  registerAllPasses();
  registerV4Passes();
  registerV4LoweringPasses();
  registerStagePipelines();
}

} // namespace mlir::v4

#endif
