// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "runtime/CudaDriver.h"

#include <dlfcn.h>

namespace v4::cuda {
namespace {

constexpr const char *libraryName = "libcuda.so.1";

/// "12.4" from 12040.
std::string versionText(int version) {
  return concat(version / 1000, '.', version % 1000 / 10);
}

struct Opened {
  Driver driver;
  std::string failure;

  Opened() {
    void *library = ::dlopen(libraryName, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      failure = concat("there is no NVIDIA driver: ", ::dlerror(),
                       "; install the driver of the GPU, or run with --device=cpu a module that has code for it");
      return;
    }
    // In this order: the version is known, if it can be, when a later function is missing.
#define V4_CUDA_FIND(symbol, member, parameters)                                                                       \
  if (failure.empty() && !find(library, #symbol, driver.member))                                                       \
    failure = missing(#symbol);
    V4_CUDA_FUNCTIONS(V4_CUDA_FIND)
#undef V4_CUDA_FIND
  }

private:
  template <typename F> static bool find(void *library, const char *name, F &function) {
    function = reinterpret_cast<F>(::dlsym(library, name));
    return function != nullptr;
  }

  std::string missing(std::string_view symbol) const {
    int version = 0;
    bool known = driver.driverGetVersion && driver.driverGetVersion(&version) == success;
    return concat("the NVIDIA driver ", known ? concat("(CUDA ", versionText(version), ") ") : std::string(),
                  "is too old: ", libraryName, " lacks '", symbol, "'; a driver of CUDA ", versionText(oldestVersion),
                  " or later is needed");
  }
};

} // namespace

Expected<const Driver *> Driver::open() {
  static const Opened opened;
  if (!opened.failure.empty())
    return environment(opened.failure);
  return &opened.driver;
}

Expected<std::string> Driver::version() const {
  int version = 0;
  if (Result result = driverGetVersion(&version); result != success)
    return environment("the NVIDIA driver does not tell its version: ", describe(result), "; see what nvidia-smi says");
  return versionText(version);
}

std::string Driver::describe(Result result) const {
  const char *name = nullptr, *text = nullptr;
  if (getErrorName(result, &name) != success || !name)
    return concat("error ", static_cast<int>(result));
  if (getErrorString(result, &text) != success || !text)
    return name;
  return concat(name, " (", text, ")");
}

} // namespace v4::cuda
