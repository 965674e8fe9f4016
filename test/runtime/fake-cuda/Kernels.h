// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the fake driver knows of an image's kernels, and how it runs them.
#ifndef V4_TEST_FAKECUDA_KERNELS_H
#define V4_TEST_FAKECUDA_KERNELS_H

#include "emulator/v4emu.h"
#include "runtime/ElfImage.h"
#include "runtime/Module.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace v4::fake {

struct Kernel {
  std::string name;
  uint32_t parameters = 0;  // pointers; every kernel of v4c has nothing else
  uint32_t block[3] = {};   // required; zeros: any
  uint32_t sharedBytes = 0; // static
  v4_emu_entry code = nullptr;
};

struct LoadedImage {
  std::map<std::string, Kernel> kernels;
  std::string error; // what a JIT compiler would log
  int result = 0;    // CUresult
  bool isPtx = false;
};

/// Reads PTX text (ends in NUL) or a cubin as the driver of a device of capability `major`.`minor` does; `driver` is
/// its version.
LoadedImage readImage(const void *image, int major, int minor, int driver);

/// The host code of kernels: of the target emu:CHIP of a module file, or an image of its own (emu-compile).
class KernelCode {
public:
  Status open(const std::string &path);
  /// Null where the file lacks it.
  v4_emu_entry find(const std::string &symbol);

private:
  std::unique_ptr<ModuleFile> file;
  std::vector<ElfImage> images;
  bool loaded = false;
};

} // namespace v4::fake

#endif
