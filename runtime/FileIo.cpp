// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Mapping and writing files through POSIX calls; every failure names the file.
#include "runtime/FileIo.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace v4 {
namespace {

/// Names of live temporary files, reachable from a signal handler: fixed storage, no locks. A slot is taken by setting
/// its state to `Busy`, filled, then published as `Live`.
struct TemporaryName {
  enum : int { Free, Busy, Live };
  std::atomic<int> state{Free};
  char path[PATH_MAX];
};
TemporaryName temporaries[32];

int registerTemporary(const std::string &path) {
  for (int i = 0; i != std::size(temporaries); ++i) {
    int expected = TemporaryName::Free;
    if (path.size() >= sizeof temporaries[i].path ||
        !temporaries[i].state.compare_exchange_strong(expected, TemporaryName::Busy))
      continue;
    std::memcpy(temporaries[i].path, path.c_str(), path.size() + 1);
    temporaries[i].state.store(TemporaryName::Live);
    return i;
  }
  return -1;
}

void forgetTemporary(int slot) {
  if (slot >= 0)
    temporaries[slot].state.store(TemporaryName::Free);
}

bool isEnvironment(int error) {
  switch (error) {
  case ENOSPC:
  case EDQUOT:
  case EFBIG:
  case EIO:
  case EROFS:
  case ENOMEM:
  case EMFILE:
  case ENFILE:
  case EPIPE:
    return true;
  default:
    return false;
  }
}

Expected<int> openRegular(const std::string &path, uint64_t &size) {
  // O_NONBLOCK: opening a FIFO must fail below, not wait for a writer.
  int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    return errnoStatus("cannot open", path, errno);
  struct stat info;
  if (::fstat(descriptor, &info) != 0) {
    int error = errno;
    ::close(descriptor);
    return errnoStatus("cannot examine", path, error);
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(descriptor);
    return invalid("cannot read '", path,
                   "': ", S_ISDIR(info.st_mode) ? "it is a directory" : "it is not a regular file");
  }
  size = static_cast<uint64_t>(info.st_size);
  return descriptor;
}

} // namespace

Status errnoStatus(std::string_view action, std::string_view path, int error) {
  char text[128];
  std::string message = concat(action, " '", path, "': ", ::strerror_r(error, text, sizeof text));
  return Status(isEnvironment(error) ? V4_ENVIRONMENT : V4_INVALID, std::move(message));
}

Pages::~Pages() {
  if (base)
    ::munmap(base, length);
}

Expected<Pages> Pages::allocate(uint64_t size, std::string_view what) {
  Pages pages;
  if (size == 0)
    return pages;
  void *base = size > PTRDIFF_MAX ? MAP_FAILED
                                  : ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED)
    return environment("cannot allocate ", size, " bytes for ", what);
  pages.base = static_cast<std::byte *>(base);
  pages.length = size;
  return pages;
}

void clearPages(std::byte *at, uint64_t bytes) {
  uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)), offset = reinterpret_cast<uintptr_t>(at) % page;
  uint64_t end = offset + bytes;
  uint64_t first = std::min((offset + page - 1) / page * page, end), last = std::max(end / page * page, first);
  std::byte *base = at - offset;
  std::memset(at, 0, first - offset);
  if (last > first && ::madvise(base + first, last - first, MADV_DONTNEED) != 0)
    std::memset(base + first, 0, last - first);
  std::memset(base + last, 0, end - last);
}

void useHugePages(std::byte *at, uint64_t bytes) {
  if (bytes)
    (void)::madvise(at, bytes, MADV_HUGEPAGE);
}

void populatePages(std::byte *at, uint64_t bytes) {
#ifdef MADV_POPULATE_WRITE
  uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)), offset = reinterpret_cast<uintptr_t>(at) % page;
  if (bytes)
    (void)::madvise(at - offset, offset + bytes, MADV_POPULATE_WRITE);
#endif
}

MappedFile::~MappedFile() {
  if (base)
    ::munmap(base, length);
}

Expected<MappedFile> MappedFile::open(const std::string &path) {
  uint64_t size = 0;
  Expected<int> descriptor = openRegular(path, size);
  V4_RETURN_IF_ERROR(descriptor);
  MappedFile file;
  file.name = path;
  if (size) {
    void *base = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, *descriptor, 0);
    int error = errno;
    ::close(*descriptor);
    if (base == MAP_FAILED)
      return errnoStatus("cannot map", path, error);
    file.base = static_cast<std::byte *>(base);
    file.length = size;
  } else {
    ::close(*descriptor);
  }
  return file;
}

std::optional<uint64_t> availableMemory() {
  int descriptor = ::open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    return std::nullopt;
  std::array<char, 4096> text;
  ssize_t count = ::read(descriptor, text.data(), text.size() - 1);
  ::close(descriptor);
  text[count > 0 ? static_cast<size_t>(count) : 0] = '\0';
  constexpr char label[] = "MemAvailable:";
  const char *line = std::strstr(text.data(), label);
  if (!line)
    return std::nullopt;
  return std::strtoull(line + sizeof label - 1, nullptr, 10) * 1024;
}

void MappedFile::drop(Bytes range) const {
  // A touched page brings its neighbours along, up to a border of this size; they may be of another tensor, whose turn
  // is long over.
  constexpr uintptr_t around = uintptr_t(64) << 10;
  if (range.empty())
    return;
  uintptr_t first = reinterpret_cast<uintptr_t>(base), last = first + length;
  uintptr_t begin = reinterpret_cast<uintptr_t>(range.data()) / around * around;
  uintptr_t end = (reinterpret_cast<uintptr_t>(range.data() + range.size()) + around - 1) / around * around;
  begin = std::max(begin, first);
  end = std::min(end, last);
  (void)::madvise(reinterpret_cast<void *>(begin), end - begin, MADV_DONTNEED);
}

Expected<Pages> readFile(const std::string &path) {
  uint64_t size = 0;
  Expected<int> descriptor = openRegular(path, size);
  V4_RETURN_IF_ERROR(descriptor);
  Expected<Pages> pages = Pages::allocate(size, concat("the contents of '", path, "'"));
  for (uint64_t done = 0; pages && done != size;) {
    ssize_t count = ::pread(*descriptor, pages->data() + done, size - done, static_cast<off_t>(done));
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0) {
      pages = count < 0 ? errnoStatus("cannot read", path, errno)
                        : invalid("cannot read '", path, "': it became shorter while it was read");
      break;
    }
    done += static_cast<uint64_t>(count);
  }
  ::close(*descriptor);
  return pages;
}

Expected<std::string> readStandardInput() {
  std::string text;
  std::array<char, 1 << 16> block;
  for (;;) {
    ssize_t count = ::read(STDIN_FILENO, block.data(), block.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return errnoStatus("cannot read", "standard input", errno);
    if (count == 0)
      return text;
    text.append(block.data(), static_cast<size_t>(count));
  }
}

OutputFile::~OutputFile() {
  discard();
}

void OutputFile::discard() {
  if (descriptor >= 0)
    ::close(descriptor);
  descriptor = -1;
  if (!temporary.empty())
    ::unlink(temporary.c_str());
  temporary.clear();
  forgetTemporary(slot);
  slot = -1;
}

void OutputFile::removeTemporaries() {
  for (TemporaryName &name : temporaries)
    if (name.state.load() == TemporaryName::Live)
      ::unlink(name.path);
}

Expected<OutputFile> OutputFile::create(const std::string &path) {
  OutputFile file;
  file.name = path;
  struct stat info;
  bool exists = ::stat(path.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode))
    return invalid("cannot write '", path, "': it is a directory");
  if (exists && !S_ISREG(info.st_mode)) {
    file.descriptor = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (file.descriptor < 0)
      return errnoStatus("cannot write", path, errno);
    return file;
  }
  // rename() would replace a read-only file as long as its folder is writable; respect the file's own mode.
  if (exists && ::access(path.c_str(), W_OK) != 0)
    return errnoStatus("cannot write", path, errno);
  std::string pattern = path + ".tmp-XXXXXX";
  file.descriptor = ::mkostemp(pattern.data(), O_CLOEXEC);
  if (file.descriptor < 0)
    return errnoStatus("cannot write", path, errno);
  file.temporary = pattern;
  file.slot = registerTemporary(pattern);
  // mkostemp makes the file private; give it the mode that open() would have.
  mode_t mask = ::umask(0);
  ::umask(mask);
  (void)::fchmod(file.descriptor, exists ? (info.st_mode & 0777) : (0666 & ~mask));
  return file;
}

Status OutputFile::flush() {
  for (size_t done = 0; done != buffer.size();) {
    ssize_t count = ::write(descriptor, buffer.data() + done, buffer.size() - done);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return errnoStatus("cannot write", name, errno);
    done += static_cast<size_t>(count);
  }
  buffer.clear();
  return {};
}

Status OutputFile::write(const void *data, size_t size) {
  constexpr size_t block = 1 << 18;
  while (size) {
    size_t part = std::min(size, block - std::min(block, buffer.size()));
    if (part == 0) {
      V4_RETURN_IF_ERROR(flush());
      continue;
    }
    buffer.append(static_cast<const char *>(data), part);
    data = static_cast<const char *>(data) + part;
    size -= part;
  }
  return {};
}

Status OutputFile::skip(uint64_t size) {
  V4_RETURN_IF_ERROR(flush());
  // Seeking alone would leave a hole at the end out of the file.
  off_t end = ::lseek(descriptor, static_cast<off_t>(size), SEEK_CUR);
  if (end < 0 || ::ftruncate(descriptor, end) != 0)
    return errnoStatus("cannot write", name, errno);
  return {};
}

Status OutputFile::commit() {
  V4_RETURN_IF_ERROR(flush());
  // Some file systems report a full disk only when the bytes leave the cache.
  if (::fsync(descriptor) != 0 && errno != EINVAL && errno != EROFS && errno != ENOTSUP)
    return errnoStatus("cannot write", name, errno);
  int closed = ::close(descriptor);
  descriptor = -1;
  if (closed != 0)
    return errnoStatus("cannot write", name, errno);
  if (!temporary.empty() && ::rename(temporary.c_str(), name.c_str()) != 0)
    return errnoStatus("cannot write", name, errno);
  temporary.clear();
  forgetTemporary(slot);
  slot = -1;
  return {};
}

} // namespace v4
