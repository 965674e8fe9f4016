// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Transform ops of v4c's schedules (TransformOps.td).

#ifndef V4_LOWERING_TRANSFORMOPS_H
#define V4_LOWERING_TRANSFORMOPS_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/Transform/Interfaces/TransformInterfaces.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#define GET_OP_CLASSES
#include "lowering/TransformOps.h.inc"

namespace mlir::v4 {
void registerTransformOps(DialectRegistry &registry);
}

#endif
