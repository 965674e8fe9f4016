// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Files that are handed to other programs.

#ifndef V4_LOWERING_TEMPORARYFOLDER_H
#define V4_LOWERING_TEMPORARYFOLDER_H

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include <string>

namespace mlir::v4 {

/// A folder of temporary files that is gone at the end.
struct TemporaryFolder {
  llvm::SmallString<128> path;
  std::error_code error = llvm::sys::fs::createUniqueDirectory("v4c", path);
  TemporaryFolder() = default;
  TemporaryFolder(const TemporaryFolder &) = delete;
  ~TemporaryFolder() {
    if (!error)
      llvm::sys::fs::remove_directories(path);
  }
  std::string file(const llvm::Twine &name) const { return (path + "/" + name).str(); }
  /// Writes the file `path` (one of this folder).
  static std::error_code write(llvm::StringRef path, llvm::StringRef bytes) {
    std::error_code error;
    llvm::raw_fd_ostream os(path, error);
    if (error)
      return error;
    os << bytes;
    os.close();
    error = os.error();
    os.clear_error();
    return error;
  }
};

} // namespace mlir::v4

#endif
