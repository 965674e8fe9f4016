// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The configuration of a checkpoint, checked: what config.json says about the graph, and nothing else.

#ifndef V4_FRONTEND_CONFIG_H
#define V4_FRONTEND_CONFIG_H

#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/LogicalResult.h"
#include <cstdint>
#include <optional>
#include <string>

namespace mlir::v4 {

/// YaRN scaling of the rotary table of compressed layers (spec 3.4).
struct YarnConfig {
  double factor = 1;
  int64_t original = 0;
  double betaFast = 0;
  double betaSlow = 0;
};

/// How weights are stored when no tensor header says it: the release formats that config.json can announce.
enum class ExpertFormat { Plain, Fp8, Fp4 };

/// The values of config.json that shape the graph (spec 1.1). Every one is in range, and no two contradict each other.
struct Config {
  std::string file;
  std::string modelType;
  int64_t vocabSize = 0;
  int64_t hiddenSize = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t headDim = 0;
  int64_t ropeDim = 0;
  int64_t queryRank = 0;
  int64_t outputGroups = 0;
  int64_t outputRank = 0;
  int64_t window = 0;
  /// One per main layer: 0 = window only, 4 = overlapping with indexer, else plain.
  llvm::SmallVector<int64_t> ratios;
  int64_t indexHeads = 0;
  int64_t indexDim = 0;
  int64_t indexTopK = 0;
  int64_t experts = 0;
  int64_t expertsPerToken = 0;
  int64_t expertWidth = 0;
  double routeScale = 1;
  double swigluLimit = 0;
  int64_t hashLayers = 0;
  int64_t streams = 0;
  int64_t sinkhornIterations = 0;
  double hcEps = 0;
  double rmsEps = 0;
  double ropeTheta = 0;
  double compressRopeTheta = 0;
  std::optional<YarnConfig> yarn;
  int64_t maxPositions = 0;
  int64_t mtpBlocks = 0;
  /// The ratios end as those of a release whose speculative part is a three-stage drafter (spec 12.1).
  bool drafter = false;
  int64_t eosToken = -1;
  /// The file has a quantization_config: linears are fp8 with scales per 128x128 block.
  bool fp8Linears = false;
  ExpertFormat expertFormat = ExpertFormat::Plain;
  /// torch_dtype is float32 rather than bfloat16.
  bool float32 = false;

  bool isHash(int64_t layer) const { return layer < hashLayers; }
  bool hasOverlap() const { return llvm::is_contained(ratios, 4); }
};

/// Ratio of the layers that pool overlapping blocks and have an indexer (spec 1.2).
constexpr int64_t overlapRatio = 4;

/// Parses the text of a config.json; `file` names it in diagnostics.
FailureOr<Config> parseConfig(MLIRContext *context, llvm::StringRef text, llvm::StringRef file);

/// Reads `directory`/config.json.
FailureOr<Config> readConfig(MLIRContext *context, llvm::StringRef directory);

} // namespace mlir::v4

#endif
