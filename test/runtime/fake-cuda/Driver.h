// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the driver's functions share: codes, objects behind handles, the beginning of every call, work of streams. One
// lock serves all threads. Declared apart from runtime/CudaDriver.h, after the documentation of the driver: an error
// there must not be right here.
#ifndef V4_TEST_FAKECUDA_DRIVER_H
#define V4_TEST_FAKECUDA_DRIVER_H

#include "test/runtime/fake-cuda/FakeCuda.h"
#include "test/runtime/fake-cuda/Kernels.h"

#include <array>
#include <deque>
#include <functional>
#include <mutex>
#include <tuple>

using CUresult = int;
using CUdeviceptr = unsigned long long;
#define V4_DRIVER extern "C" __attribute__((visibility("default"))) CUresult

namespace v4::fake {

inline constexpr int success = 0, invalidValue = 1, outOfMemory = 2, notInitialized = 3, noDevice = 100,
                     invalidDevice = 101, invalidContext = 201, eccUncorrectable = 214, invalidHandle = 400,
                     illegalState = 401, notFound = 500, notReady = 600, illegalAddress = 700, launchTimeout = 702,
                     hardwareStack = 714, launchFailed = 719, captureUnsupported = 900, captureInvalidated = 901,
                     capturedEvent = 907, unknown = 999;

// ---- Objects

struct Context;
/// What a handle points to. Dead ones stay until the reset, so that a stale handle is known as such.
struct Object {
  virtual ~Object() = default;
  Context *context = nullptr;
  bool alive = true;
};

struct Event;
/// Work of a stream. `event`: what it records, if it does.
struct Work {
  std::function<int()> run;
  std::shared_ptr<Event> event;
};
using WorkList = std::vector<Work>;

struct Stream : Object {
  std::deque<Work> pending;
  enum { None, Active, Invalid } capture = None;
  WorkList captured;
};

struct Event : Object {
  bool timing = true, captured = false;
  bool recorded = false; // ever
  uint64_t pending = 0;  // records that have not happened
  Stream *stream = nullptr;
  uint64_t time = 0;
};

struct Graph : Object {
  WorkList work;
};
struct GraphExec : Object {
  WorkList work;
};

struct Function : Object {
  Kernel kernel;
  uint32_t dynamicLimit = 0;
};
struct Module : Object {
  LoadedImage image;
  std::map<std::string, std::shared_ptr<Function>> functions;
};

struct Context : Object {
  uint64_t references = 0;
  int sick = success;
  v4_emu_device *emulator = nullptr;
};

/// Device memory: `host` is where it is. Of pinned memory, too.
struct Allocation {
  uint64_t bytes = 0;
  std::byte *host = nullptr;
  Context *context = nullptr;
  bool alive = true;
};

// ---- The driver

struct Trigger { // N:CODE
  std::string name;
  uint64_t number = 0, seen = 0;
  int code = 0;
};

/// What a reset clears.
struct State {
  bool initialized = false;
  int devices = 1, major = 9, minor = 0, driver = 13000;
  uint64_t memory = uint64_t(16) << 30;
  std::string name = "Fake GPU", counterFile;
  Trigger fail, fault;
  KernelCode code;
  v4_fake_cuda_counters counters = {};
  int lost = success; // the device is gone
  std::map<uint64_t, Allocation> allocations, pinned;
  std::map<void *, std::shared_ptr<Object>> objects;
  std::map<int, std::shared_ptr<Context>> contexts;
};

State &state();
std::mutex &driverLock();
extern thread_local Context *current;

/// Counts a misuse and says which on stderr.
[[gnu::format(printf, 1, 2)]] void complain(const char *format, ...);
/// Reads the environment.
void configure();
void writeCounters();
/// Whether this is the call, or the execution, that shall fail.
bool fires(Trigger &trigger, const char *name);
/// Most shared memory of a block.
int sharedMemory();

// ---- Calls

/// What a call wants. One that releases does so although it fails: the driver reports errors of earlier work from there.
/// One that is unsafe ends a capture.
enum Needs { BeforeInit = 0, Driver = 1, InContext = 3, Releases = 4, Unsafe = 8 };

struct Begun {
  int result;
  bool stop; // at once
};
/// Counts a call, makes it fail where the test wants it, and checks `needs`.
Begun begin(const char *name, int needs);

/// The live object of the current context behind a handle, or null: then `result` is set.
template <typename T> T *get(const char *name, void *handle, int &result) {
  if (result)
    return nullptr;
  auto found = state().objects.find(handle);
  T *object = found == state().objects.end() ? nullptr : dynamic_cast<T *>(found->second.get());
  if (!object || !object->alive) {
    complain("%s: the handle is %s", name, object ? "that of a destroyed object" : "of another kind, or none");
    result = invalidHandle;
  } else if (object->context != current) {
    complain("%s: the object belongs to another context", name);
    result = invalidContext;
  }
  return result ? nullptr : object;
}

/// A driver call: what all begin with, the objects behind its handles, then `body` with them.
template <typename... Objects, typename Body>
CUresult drive(const char *name, int needs, std::array<void *, sizeof...(Objects)> handles, Body body) {
  std::lock_guard<std::mutex> guard(driverLock());
  Begun begun = begin(name, needs);
  if (begun.stop)
    return begun.result;
  int result = success;
  [[maybe_unused]] auto handle = handles.begin();
  std::tuple<Objects *...> objects{get<Objects>(name, *handle++, result)...};
  if (result == success)
    result = std::apply([&](Objects *...object) -> int { return body(*object...); }, objects);
  return begun.result ? begun.result : result;
}

template <typename T> T *create() {
  auto object = std::make_shared<T>();
  object->context = current;
  ++state().counters.live_objects;
  state().objects[object.get()] = object;
  return object.get();
}

template <typename T> std::shared_ptr<T> shared(T &object) {
  return std::static_pointer_cast<T>(state().objects.at(&object));
}

int destroy(Object &object);

// ---- Work

/// Runs the oldest work of a stream. After a failure nothing else does.
int advance(Stream &stream);
int drain(Stream &stream);
/// Everything that a context has still to do.
int drainAll(Context &context);
int enqueue(Stream &stream, Work work);

/// The bytes behind a range of device memory; null if it is no such range, which is said.
std::byte *translate(const char *who, uint64_t address, uint64_t bytes, uint64_t *rest = nullptr);

} // namespace v4::fake

#endif
