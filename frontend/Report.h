// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a model weighs: parameters, weight bytes by format, state bytes by context length.

#ifndef V4_FRONTEND_REPORT_H
#define V4_FRONTEND_REPORT_H

#include "frontend/ImportModel.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/raw_ostream.h"

namespace mlir::v4 {

/// State bytes of some layers once a number of tokens has been seen.
struct StateBytes {
  int64_t cache = 0;          // windows, compressed entries, index keys
  int64_t compressorRows = 0; // rows of unfinished blocks
};

/// Figures of one layer kind, of one end of the model, of the MTP block, or of the whole.
struct ReportRow {
  std::string name;
  int64_t layers = 0;
  int64_t parameters = 0;
  /// Parameters that one token uses. The embedding table counts none: one row of it is read.
  int64_t active = 0;
  /// Bytes by storage format; scales count with the format they belong to.
  llvm::MapVector<StringRef, int64_t> weightBytes;
  /// One per context length of the report.
  std::vector<StateBytes> state;
  /// Bytes of the state arguments as they are allocated, of one slot.
  int64_t stateCapacity = 0;
};

struct Report {
  std::vector<int64_t> contexts;
  int64_t maxContext = 0;
  /// Sequences of the module; all state bytes of the report are those of one.
  int64_t slots = 1;
  /// Embedding, one row per layer kind in order of appearance, head.
  std::vector<ReportRow> parts;
  /// The sum of the parts.
  ReportRow total;
  /// Apart from the total; absent when configuration or checkpoint has no MTP block.
  std::optional<ReportRow> mtp;
};

/// Gathers the figures of a module of the `model` stage, whose states it sums, and of the parameters it was made from.
FailureOr<Report> makeReport(ModuleOp module, const Config &config, const Checkpoint *checkpoint,
                             ArrayRef<int64_t> contexts);

void printReport(const Report &report, llvm::raw_ostream &os);
void printReportJson(const Report &report, llvm::raw_ostream &os);

} // namespace mlir::v4

#endif
