// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The tensors of a checkpoint directory: names, types and shapes from the index and the shard headers, never the
// payload.

#ifndef V4_FRONTEND_CHECKPOINT_H
#define V4_FRONTEND_CHECKPOINT_H

#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/LogicalResult.h"
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace mlir::v4 {

/// Element types of safetensors. The parameters of a model use a few of them; the others are known so that a file is
/// judged by its structure before its content.
enum class DType : uint8_t {
  Bool,
  F4,
  F6E2M3,
  F6E3M2,
  U8,
  I8,
  F8E5M2,
  F8E4M3,
  F8E8M0,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  F64,
  I64,
  U64
};

/// The name that safetensors headers use.
llvm::StringRef dtypeName(DType dtype);
/// Bits of one element.
unsigned dtypeBits(DType dtype);

/// "F32 [4, 256]", as messages show it.
std::string describeTensor(DType dtype, llvm::ArrayRef<int64_t> shape);

struct TensorRecord {
  DType dtype = DType::F32;
  unsigned file = 0; // index into Checkpoint::files
  llvm::SmallVector<int64_t, 3> shape;
};

/// What the headers of one checkpoint say. Every shard's ranges tile its payload, and index and shards agree.
struct Checkpoint {
  std::string directory;
  std::vector<std::string> files;
  llvm::StringMap<TensorRecord> tensors;

  const TensorRecord *find(llvm::StringRef name) const {
    auto found = tensors.find(name);
    return found == tensors.end() ? nullptr : &found->second;
  }
  /// Path of the file that holds a tensor.
  std::string pathOf(const TensorRecord &record) const;
};

/// Reads index and headers. The result is null when the directory has no safetensors file at all.
FailureOr<std::unique_ptr<Checkpoint>> readCheckpoint(MLIRContext *context, llvm::StringRef directory);

/// Checks the text of one header, whose payload has `payloadSize` bytes, and adds its tensors to `checkpoint` as those
/// of file number `file`; `path` names it in diagnostics.
LogicalResult parseHeader(MLIRContext *context, llvm::StringRef text, uint64_t payloadSize, llvm::StringRef path,
                          unsigned file, Checkpoint &checkpoint);

/// Parses an index: tensor name to number of the file in `files`, which receives the file names in order of appearance.
LogicalResult parseIndex(MLIRContext *context, llvm::StringRef text, llvm::StringRef path,
                         llvm::StringMap<unsigned> &map, std::vector<std::string> &files);

} // namespace mlir::v4

#endif
