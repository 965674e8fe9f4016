// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// An NVIDIA GPU as its driver gives it: context, memory, and errors in words. Nothing here knows of modules.
#ifndef V4_RUNTIME_CUDAGPU_H
#define V4_RUNTIME_CUDAGPU_H

#include "runtime/CudaDriver.h"

#include <optional>
#include <utility>

namespace v4::cuda {

/// A handle of the driver that is given back by `destroy`. The context is current whenever one goes.
template <typename Handle, auto destroy> class Owned {
public:
  Owned() = default;
  Owned(Owned &&other) noexcept : driver(other.driver), handle(std::exchange(other.handle, Handle())) {}
  Owned &operator=(Owned &&other) noexcept {
    std::swap(driver, other.driver);
    std::swap(handle, other.handle);
    return *this;
  }
  ~Owned() {
    if (handle)
      (void)(driver->*destroy)(handle);
  }

  /// Where a function of the driver puts a new one.
  Handle *out(const Driver &by) {
    driver = &by;
    return &handle;
  }
  Handle get() const { return handle; }

private:
  const Driver *driver = nullptr;
  Handle handle = {};
};

using OwnedStream = Owned<Stream, &Driver::streamDestroy>;
using OwnedEvent = Owned<Event, &Driver::eventDestroy>;
using OwnedModule = Owned<Module, &Driver::moduleUnload>;
using OwnedGraph = Owned<Graph, &Driver::graphDestroy>;
using OwnedGraphExec = Owned<GraphExec, &Driver::graphExecDestroy>;

/// Memory of a GPU, or memory of the host locked in place that it reaches.
using OwnedMemory = Owned<DevicePointer, &Driver::memFree>;
using OwnedHostMemory = Owned<void *, &Driver::memFreeHost>;

/// A GPU, its primary context, and a stream for single copies.
class Gpu {
public:
  Gpu() = default;
  ~Gpu();
  Gpu(const Gpu &) = delete;
  Gpu &operator=(const Gpu &) = delete;

  /// V4_ENVIRONMENT without a driver, with one that is too old, or without GPU number `ordinal`.
  Status open(uint32_t ordinal);

  /// Makes the context the calling thread's. First in whatever a caller of the runtime calls.
  Status enter() const { return check(driver->contextSetCurrent(context), "cannot be used"); }
  /// The same for destructors, which need the context to give handles back.
  void enterAnyway() const {
    if (context)
      (void)driver->contextSetCurrent(context);
  }

  /// Success, or "GPU 0 (...) WHAT: CUDA_ERROR_...", and what to do about it.
  Status check(Result result, std::string_view what) const;
  /// The same where memory for `what` may be missing: then it says how much there is.
  Status checkMemory(Result result, uint64_t bytes, std::string_view what) const;
  Status synchronize(std::string_view what) const { return check(driver->streamSynchronize(stream.get()), what); }

  /// What it holds is undefined. V4_ENVIRONMENT with both figures when there is not enough.
  Expected<OwnedMemory> allocate(uint64_t bytes, std::string_view what) const;
  Expected<OwnedHostMemory> allocateHost(uint64_t bytes, std::string_view what) const;
  /// Nothing when the driver does not say.
  std::optional<uint64_t> freeMemory() const;
  /// Gives code, PTX that ends in a NUL or machine code, to the driver. `log` is what its compiler says, on one line.
  Result loadCode(const char *code, bool isPtx, OwnedModule &module, std::string &log) const;
  Status makeEvent(OwnedEvent &event) const;
  /// Nanoseconds between two events that have passed.
  Expected<uint64_t> between(const OwnedEvent &first, const OwnedEvent &last) const;

  const Driver *driver = nullptr;
  OwnedStream stream;
  int major = 0, minor = 0; // compute capability
  int sharedBytes = 0;      // most shared memory of a block
  std::string driverVersion; // "13.0"
  std::string text;          // "GPU 0 (NVIDIA H100, compute capability 9.0, driver CUDA 13.0)"

private:
  Status attribute(DeviceAttribute which, int &value) const {
    return check(driver->deviceGetAttribute(&value, which, device), "does not tell its properties");
  }

  Device device = 0;
  Context context = nullptr;
};

} // namespace v4::cuda

#endif // V4_RUNTIME_CUDAGPU_H
