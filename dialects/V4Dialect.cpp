// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Registration of the v4 dialect and verification of its argument attributes.

#include "dialects/V4.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::v4;

#include "dialects/V4Dialect.cpp.inc"
#include "dialects/V4Enums.cpp.inc"
#include "dialects/V4Interfaces.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/V4Attrs.cpp.inc"

void V4Dialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/V4Attrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/V4Ops.cpp.inc"
      >();
}

LogicalResult V4Dialect::verifyOperationAttribute(Operation *op, NamedAttribute attr) { return success(); }
LogicalResult V4Dialect::verifyRegionArgAttribute(Operation *op, unsigned, unsigned index, NamedAttribute attr) {
  return success();
}
LogicalResult V4Dialect::verifyRegionResultAttribute(Operation *op, unsigned, unsigned index, NamedAttribute attr) {
  return success();
}
