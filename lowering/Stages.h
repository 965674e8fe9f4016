// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The stages of a compilation (docs/architecture.md) and what makes each.

#ifndef V4_LOWERING_STAGES_H
#define V4_LOWERING_STAGES_H

#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include <optional>
#include <string>

namespace mlir::v4 {

enum class Stage { Model, Graph, Groups, Tiles, Buffers, Kernels, Module };

struct StageInfo {
  Stage stage;
  llvm::StringRef name, summary;
};

/// All stages in order, with a sentence for `--help`.
llvm::ArrayRef<StageInfo> getStages();
std::optional<Stage> parseStage(llvm::StringRef name);
llvm::StringRef stageName(Stage stage);

struct LoweringOptions {
  std::string plan = "basic";
  /// `cpu`, or a GPU: `nvptx:sm_90a`, and `emu:sm_90a` for the same code.
  std::string target = "cpu";
  /// Instruction sets of the processor that templates may use, in LLVM's spelling, separated by commas.
  std::string features;
};

/// Adds the passes that lead from the stage before `stage` to its end, the verifier included. `Model` has only the
/// verifier, `Module` (a translation, EmitModule.h) nothing.
void buildStage(OpPassManager &pm, Stage stage, const LoweringOptions &options);

/// The verifier of the end of a stage.
std::unique_ptr<Pass> createStageVerifier(Stage stage);

/// Registers the pass pipelines `v4-stage-<name>` for v4-opt.
void registerStagePipelines();

} // namespace mlir::v4

#endif
