// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Configuration and checkpoint to the `model` stage: the public header of the frontend.

#ifndef V4_FRONTEND_IMPORTMODEL_H
#define V4_FRONTEND_IMPORTMODEL_H

#include "frontend/Checkpoint.h"
#include "frontend/Config.h"
#include "frontend/Numerics.h"
#include "frontend/Parameters.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace mlir::v4 {

struct ImportOptions {
  /// Positions 0 .. maxContext-1 may be used; sizes the state.
  int64_t maxContext = 4096;
  /// Sequences that the decode entries advance together; a prefill entry works on one of them.
  int64_t slots = 1;
  /// Rows of the prefill entries. Order and repetitions do not matter.
  SmallVector<int64_t> prefill = {16, 512};
  /// Entries return logits of every row rather than of the last valid one.
  bool logitsAll = false;
  /// Adds the mtp entries.
  bool mtp = false;
  /// One body only, for tests: swa, csa or hca, each with -hash or -scored behind it or not; mtp; head. Empty: the
  /// model.
  std::string layer;
  /// What is rounded, and the form of the caches; f32 goes with f32 only.
  NumericForm form;
};

/// Loads the dialects that imported modules use.
void loadFrontendDialects(MLIRContext *context);

/// Builds the module of a model. Without a checkpoint the official layout is assumed in the formats of the
/// configuration.
FailureOr<OwningOpRef<ModuleOp>> importModel(MLIRContext *context, const Config &config, const Checkpoint *checkpoint,
                                             const ImportOptions &options);

/// "swa", "csa" or "hca".
StringRef layerKind(int64_t ratio);

} // namespace mlir::v4

#endif
