// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reading parts of files without trusting their size or kind.

#ifndef V4_FRONTEND_FILES_H
#define V4_FRONTEND_FILES_H

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/LogicalResult.h"

namespace mlir::v4 {

std::string joinPath(StringRef directory, StringRef name);

/// Starts an error about a whole file: "'path' ", to be followed by a verb.
InFlightDiagnostic fileError(MLIRContext *context, StringRef path);
/// Starts an error about something in a file: "'path': ".
InFlightDiagnostic contentError(MLIRContext *context, StringRef path);

/// A regular file that is open for reading.
class InputFile {
public:
  static FailureOr<InputFile> open(MLIRContext *context, StringRef path);
  InputFile(InputFile &&other);
  ~InputFile();

  uint64_t size() const { return bytes; }
  /// The `count` bytes from `offset`, which must lie inside the file.
  FailureOr<std::string> read(MLIRContext *context, uint64_t offset, uint64_t count);

private:
  InputFile(std::string path, llvm::sys::fs::file_t handle, uint64_t bytes)
      : path(std::move(path)), handle(handle), bytes(bytes) {}

  std::string path;
  llvm::sys::fs::file_t handle;
  uint64_t bytes;
};

/// The whole of a file of at most `maxSize` bytes.
FailureOr<std::string> readTextFile(MLIRContext *context, StringRef path, uint64_t maxSize);

} // namespace mlir::v4

#endif
