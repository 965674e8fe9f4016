// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loads the CPU code of a module: a self-contained x86-64 shared object, from memory.
//
// The system's loader is not used: it wants a file, runs constructors, searches for dependencies, and trusts every
// offset that it reads, so a damaged image crashes it. A module's image needs only its segments and relative
// relocations.
#ifndef V4_RUNTIME_ELFIMAGE_H
#define V4_RUNTIME_ELFIMAGE_H

#include "runtime/FileIo.h"

#include <string>
#include <unordered_map>

namespace v4 {

class ElfImage {
public:
  /// Checks and maps; nothing of the image runs. Messages do not name the module.
  static Expected<ElfImage> load(Bytes file);

  /// The address of a defined function, or null.
  void *symbol(const std::string &name) const;

private:
  Pages memory;
  std::unordered_map<std::string, uint64_t> functions; // name -> offset in memory
};

} // namespace v4

#endif // V4_RUNTIME_ELFIMAGE_H
