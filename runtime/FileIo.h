// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Files as the runtime meets them: mapped for reading, and written under a temporary name until they are complete.
#ifndef V4_RUNTIME_FILEIO_H
#define V4_RUNTIME_FILEIO_H

#include "runtime/Status.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace v4 {

using Bytes = std::span<const std::byte>;

/// "cannot open 'path': No such file": V4_ENVIRONMENT when the machine is at fault (disk, memory, handles), else
/// V4_INVALID.
Status errnoStatus(std::string_view action, std::string_view path, int error);

/// Anonymous pages, zero until written. The owner of everything large: arena, state, module bytes.
class Pages {
public:
  Pages() = default;
  Pages(Pages &&other) noexcept { swap(other); }
  Pages &operator=(Pages &&other) noexcept {
    swap(other);
    return *this;
  }
  ~Pages();

  /// `what` names the purpose in the error.
  static Expected<Pages> allocate(uint64_t size, std::string_view what);

  std::byte *data() const { return base; }
  uint64_t size() const { return length; }
  Bytes bytes() const { return {base, length}; }

private:
  void swap(Pages &other) {
    std::swap(base, other.base);
    std::swap(length, other.length);
  }
  std::byte *base = nullptr;
  uint64_t length = 0;
};

/// Bytes of anonymous pages back to zero; gives whole pages of them back to the system.
void clearPages(std::byte *at, uint64_t bytes);
/// Asks for large pages, where the system has them: fewer page faults when the memory is written first.
void useHugePages(std::byte *at, uint64_t bytes);
/// Pages for bytes that will be written, now instead of at the first write; what is there stays. Where the system cannot
/// do that, nothing happens.
void populatePages(std::byte *at, uint64_t bytes);

/// Bytes that new pages can take without swapping; nothing when the system does not say.
std::optional<uint64_t> availableMemory();

/// A regular file mapped for reading.
class MappedFile {
public:
  MappedFile() = default;
  MappedFile(MappedFile &&other) noexcept { swap(other); }
  MappedFile &operator=(MappedFile &&other) noexcept {
    swap(other);
    return *this;
  }
  ~MappedFile();

  static Expected<MappedFile> open(const std::string &path);

  Bytes bytes() const { return {base, length}; }
  const std::string &path() const { return name; }
  /// Drops the resident pages of `range`, and of its neighbourhood; they come back from the file when touched.
  void drop(Bytes range) const;

private:
  void swap(MappedFile &other) {
    std::swap(base, other.base);
    std::swap(length, other.length);
    std::swap(name, other.name);
  }
  std::byte *base = nullptr;
  size_t length = 0;
  std::string name;
};

/// The bytes of a regular file, in memory that nobody else can change.
Expected<Pages> readFile(const std::string &path);

/// Everything that standard input gives.
Expected<std::string> readStandardInput();

/// Writes a file that appears under its name only when commit() succeeds; until then, and if it never does, the bytes
/// are in a temporary file beside it that the destructor removes. A path that exists and is not a regular file (a
/// device, a pipe) is written directly.
class OutputFile {
public:
  OutputFile() = default;
  OutputFile(OutputFile &&other) noexcept { swap(other); }
  OutputFile &operator=(OutputFile &&other) noexcept {
    swap(other);
    return *this;
  }
  ~OutputFile();

  static Expected<OutputFile> create(const std::string &path);

  Status write(const void *data, size_t size);
  Status write(std::string_view text) { return write(text.data(), text.size()); }
  /// `size` zero bytes that take no space where the file system has holes. For regular files only.
  Status skip(uint64_t size);
  Status commit();
  const std::string &path() const { return name; }

  /// Removes the temporary files of all open outputs. Async-signal-safe: for a handler that is about to exit.
  static void removeTemporaries();

private:
  void swap(OutputFile &other) {
    std::swap(descriptor, other.descriptor);
    std::swap(slot, other.slot);
    std::swap(name, other.name);
    std::swap(temporary, other.temporary);
    std::swap(buffer, other.buffer);
  }
  Status flush();
  void discard();

  int descriptor = -1;
  int slot = -1; // in the table of temporaries
  std::string name, temporary, buffer;
};

} // namespace v4

#endif // V4_RUNTIME_FILEIO_H
