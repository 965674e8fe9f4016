// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reading parts of files without trusting their size or kind.

#include "frontend/Files.h"
#include "mlir/IR/Location.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace mlir::v4;
namespace fs = llvm::sys::fs;

std::string mlir::v4::joinPath(StringRef directory, StringRef name) {
  SmallString<128> path(directory);
  llvm::sys::path::append(path, name);
  return path.str().str();
}

// Line and column would mean nothing here, and a location with a file name makes handlers load that file to show a
// line.
InFlightDiagnostic mlir::v4::fileError(MLIRContext *context, StringRef path) {
  return emitError(UnknownLoc::get(context)) << "'" << path << "' ";
}

InFlightDiagnostic mlir::v4::contentError(MLIRContext *context, StringRef path) {
  return emitError(UnknownLoc::get(context)) << "'" << path << "': ";
}

FailureOr<InputFile> InputFile::open(MLIRContext *context, StringRef path) {
  // The kind is asked first: opening a pipe would wait for its writer.
  fs::file_status status;
  if (std::error_code code = fs::status(path, status))
    return fileError(context, path) << "cannot be read: " << code.message();
  if (!fs::is_regular_file(status))
    return fileError(context, path) << "is not a regular file";
  llvm::Expected<fs::file_t> handle = fs::openNativeFileForRead(path);
  if (!handle)
    return fileError(context, path) << "cannot be opened: " << llvm::toString(handle.takeError());
  return InputFile(path.str(), *handle, status.getSize());
}

InputFile::InputFile(InputFile &&other)
    : path(std::move(other.path)), handle(std::exchange(other.handle, fs::kInvalidFile)), bytes(other.bytes) {}

InputFile::~InputFile() {
  if (handle != fs::kInvalidFile)
    (void)fs::closeFile(handle);
}

FailureOr<std::string> InputFile::read(MLIRContext *context, uint64_t offset, uint64_t count) {
  std::string text(count, '\0');
  uint64_t done = 0;
  while (done < count) {
    llvm::Expected<size_t> got =
        fs::readNativeFileSlice(handle, MutableArrayRef(text.data() + done, count - done), offset + done);
    if (!got)
      return fileError(context, path) << "cannot be read: " << llvm::toString(got.takeError());
    if (*got == 0)
      return fileError(context, path) << "shrank while it was being read";
    done += *got;
  }
  return text;
}

FailureOr<std::string> mlir::v4::readTextFile(MLIRContext *context, StringRef path, uint64_t maxSize) {
  FailureOr<InputFile> file = InputFile::open(context, path);
  if (failed(file))
    return failure();
  if (file->size() > maxSize)
    return fileError(context, path) << "has " << file->size() << " bytes; at most " << maxSize << " are read";
  return file->read(context, 0, file->size());
}
