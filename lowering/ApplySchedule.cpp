// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-apply-schedule: tile and vectorise a kernel by a transform-dialect schedule.

#include "lowering/Passes.h"
#include "lowering/Schedules.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Transform/IR/TransformDialect.h"
#include "mlir/Dialect/Transform/IR/TransformOps.h"
#include "mlir/Dialect/Transform/Transforms/TransformInterpreterUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Parser/Parser.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_APPLYSCHEDULEPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

namespace {
struct ApplySchedulePass : v4::impl::ApplySchedulePassBase<ApplySchedulePass> {
  using ApplySchedulePassBase::ApplySchedulePassBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    ApplySchedulePassBase::getDependentDialects(registry);
    registry.insert<transform::TransformDialect>();
  }

  // Parsed once; the clones of the pass that run in parallel share it.
  LogicalResult initialize(MLIRContext *context) override {
    std::optional<StringRef> embedded = getEmbeddedSchedule(schedule);
    OwningOpRef<ModuleOp> parsed = embedded ? parseSourceString<ModuleOp>(*embedded, context, schedule)
                                            : parseSourceFile<ModuleOp>(schedule, context);
    if (!parsed)
      return emitError(UnknownLoc::get(context)) << "cannot read the schedule '" << schedule << "'", failure();
    library = std::make_shared<OwningOpRef<ModuleOp>>(std::move(parsed));
    return success();
  }

  void runOnOperation() override {
    auto entry = (*library)->lookupSymbol<transform::NamedSequenceOp>("__transform_main");
    if (!entry) {
      getOperation()->emitError() << "the schedule '" << schedule << "' has no @__transform_main";
      return signalPassFailure();
    }
    if (failed(transform::applyTransformNamedSequence(getOperation(), entry, **library, transform::TransformOptions())))
      signalPassFailure();
  }

private:
  std::shared_ptr<OwningOpRef<ModuleOp>> library;
};
} // namespace
