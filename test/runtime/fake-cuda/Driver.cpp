// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The driver's functions; FakeCuda.h says what is special. One lock serves all threads.
#include "test/runtime/fake-cuda/FakeCuda.h"
#include "test/runtime/fake-cuda/Kernels.h"

#include "emulator/KernelApi.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <sys/mman.h>
#include <time.h>

// Declared apart from runtime/CudaDriver.h, after the documentation of the driver: an error there must not be right
// here.
using CUresult = int;
using CUdeviceptr = unsigned long long;

namespace v4::fake {
namespace {

enum : int {
  success = 0,
  invalidValue = 1,
  outOfMemory = 2,
  notInitialized = 3,
  noDevice = 100,
  invalidDevice = 101,
  invalidContext = 201,
  eccUncorrectable = 214,
  invalidHandle = 400,
  illegalState = 401,
  notFound = 500,
  notReady = 600,
  illegalAddress = 700,
  outOfResources = 701,
  launchTimeout = 702,
  hardwareStack = 714,
  launchFailed = 719,
  notSupported = 801,
  captureUnsupported = 900,
  captureInvalidated = 901,
  capturedEvent = 907,
  unknown = 999
};

/// Codes after which every call of the context fails, and those after which the device is gone.
bool sticksToContext(int code) {
  return code == illegalAddress || code == launchTimeout || (code >= hardwareStack && code <= launchFailed);
}
bool sticksToDevice(int code) {
  return code == eccUncorrectable || code == unknown;
}

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

struct Module;
struct Function : Object {
  Kernel kernel;
  uint32_t dynamicLimit = 0;
  Module *module = nullptr;
};
struct Module : Object {
  LoadedImage image;
  std::map<std::string, std::shared_ptr<Function>> functions;
};

struct Context : Object {
  int device = 0;
  uint64_t references = 0;
  int sick = success;
  v4_emu_device *emulator = nullptr;
};

/// Device memory: `host` is where it is, `address` what the caller knows.
struct Allocation {
  uint64_t bytes = 0;
  std::byte *host = nullptr;
  Context *context = nullptr;
  bool alive = true;
};

struct Trigger { // N:CODE
  std::string name;
  uint64_t number = 0, seen = 0;
  int code = 0;
};

struct State {
  std::mutex lock;
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
  std::byte *space = nullptr; // addresses of the device, never given twice
  uint64_t spaceUsed = 0;
};

constexpr uint64_t spaceBytes = uint64_t(1) << 40, page = 4096;

void writeCounters();

/// Lives to the end: the last driver call may come from a destructor of a global.
State &state() {
  static State *it = [] {
    std::atexit(writeCounters);
    return new State;
  }();
  return *it;
}

thread_local Context *current = nullptr;

[[gnu::format(printf, 1, 2)]] void complain(const char *format, ...) {
  ++state().counters.misuses;
  va_list arguments;
  va_start(arguments, format);
  std::fputs("fake-cuda: ", stderr);
  std::vfprintf(stderr, format, arguments);
  std::fputc('\n', stderr);
  va_end(arguments);
}

void writeCounters() {
  State &s = state();
  if (s.counterFile.empty())
    return;
  if (FILE *file = std::fopen(s.counterFile.c_str(), "w")) {
#define V4_FAKE_CUDA_PRINT(name) std::fprintf(file, #name " %llu\n", static_cast<unsigned long long>(s.counters.name));
    V4_FAKE_CUDA_COUNTERS(V4_FAKE_CUDA_PRINT)
#undef V4_FAKE_CUDA_PRINT
    std::fclose(file);
  }
}

const char *variable(const char *name) {
  const char *value = std::getenv((std::string("V4_FAKE_CUDA_") + name).c_str());
  return value && *value ? value : nullptr;
}

Trigger trigger(const char *name) {
  Trigger out;
  const char *value = variable(name);
  if (!value)
    return out;
  std::vector<std::string> parts{""};
  for (const char *c = value; *c; ++c)
    if (*c == ':')
      parts.push_back("");
    else
      parts.back() += *c;
  if (parts.size() < 2 || parts.size() > 3) {
    complain("V4_FAKE_CUDA_%s=%s is not NAME:N:CODE", name, value);
    return out;
  }
  if (parts.size() == 3)
    out.name = parts[0];
  out.number = std::strtoull(parts[parts.size() - 2].c_str(), nullptr, 10);
  out.code = std::atoi(parts.back().c_str());
  return out;
}

/// Whether this is the call that shall fail.
bool fires(Trigger &trigger, const char *name) {
  if (trigger.number == 0 || (!trigger.name.empty() && trigger.name != name))
    return false;
  return ++trigger.seen == trigger.number;
}

void configure() {
  State &s = state();
  if (const char *value = variable("DEVICES"))
    s.devices = std::atoi(value);
  if (const char *value = variable("NAME"))
    s.name = value;
  if (const char *value = variable("CAPABILITY"))
    std::sscanf(value, "%d.%d", &s.major, &s.minor);
  if (const char *value = variable("MEMORY"))
    s.memory = std::strtoull(value, nullptr, 10);
  if (const char *value = variable("DRIVER"))
    s.driver = std::atoi(value);
  if (const char *value = variable("COUNTERS"))
    s.counterFile = value;
  if (const char *value = variable("KERNELS"))
    if (Status status = s.code.open(value); !status.ok())
      complain("V4_FAKE_CUDA_KERNELS: %s", std::string(status.message()).c_str());
}

void fail(Context &context, int code) {
  if (sticksToDevice(code))
    state().lost = code;
  else if (sticksToContext(code))
    context.sick = code;
}

enum Needs { Nothing = 0, Initialized = 1, CurrentContext = 2, Releases = 4, Unsafe = 8 };

/// One driver call: counted, made to fail where the test wants it, with the checks that all share. `stop`: return
/// `result` at once. A call that releases does so although it fails: the driver reports errors of earlier work from
/// there.
struct Call {
  Call(const char *name, int needs) : guard(state().lock), name(name) {
    State &s = state();
    if (!s.fail.number && !s.initialized) // cuInit may be the first call that shall fail
      s.fail = trigger("FAIL"), s.fault = trigger("FAULT");
    ++s.counters.calls;
    if (fires(s.fail, name)) {
      result = s.fail.code;
      if (current)
        fail(*current, result);
      else if (sticksToDevice(result))
        s.lost = result;
    }
    if (result == success && (needs & Initialized) && !s.initialized)
      result = notInitialized, complain("%s before cuInit", name);
    if (result == success && (needs & CurrentContext)) {
      if (!current || !current->alive)
        result = invalidContext, complain("%s without a current context", name);
      else
        result = s.lost ? s.lost : current->sick;
    }
    bool dead = (needs & CurrentContext) && (!current || !current->alive);
    if (result == success && (needs & Unsafe))
      for (auto &[handle, object] : s.objects)
        if (auto *stream = dynamic_cast<Stream *>(object.get());
            stream && stream->alive && stream->capture == Stream::Active) {
          stream->capture = Stream::Invalid;
          result = captureUnsupported;
          complain("%s while a stream is captured", name);
        }
    stop = dead || (result != success && !(needs & Releases));
  }

  /// The result, or what failed before.
  int with(int code) const { return result != success ? result : code; }

  /// The live object behind a handle, or null: then `result` is set.
  template <typename T> T *get(void *handle) {
    State &s = state();
    auto found = s.objects.find(handle);
    T *object = found == s.objects.end() ? nullptr : dynamic_cast<T *>(found->second.get());
    if (!object || !object->alive) {
      complain("%s: the handle is %s", name, object ? "that of a destroyed object" : "of another kind, or none");
      result = invalidHandle;
      return nullptr;
    }
    if (object->context != current) {
      complain("%s: the object belongs to another context", name);
      result = invalidContext;
      return nullptr;
    }
    return object;
  }

  std::lock_guard<std::mutex> guard;
  const char *name;
  int result = success;
  bool stop = false;
};

template <typename T> T *create() {
  auto object = std::make_shared<T>();
  object->context = current;
  ++state().counters.live_objects;
  state().objects[object.get()] = object;
  return object.get();
}

template <typename T> std::shared_ptr<T> shared(T *object) {
  return std::static_pointer_cast<T>(state().objects.at(object));
}

void destroy(Object &object) {
  object.alive = false;
  --state().counters.live_objects;
}

// ---- Work

uint64_t now() {
  timespec time;
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return uint64_t(time.tv_sec) * 1'000'000'000 + uint64_t(time.tv_nsec);
}

/// Runs the oldest work. After a failure nothing else does.
int advance(Stream &stream) {
  Work work = std::move(stream.pending.front());
  stream.pending.pop_front();
  Context &context = *stream.context;
  int result = state().lost ? state().lost : context.sick;
  if (result == success && work.run) {
    result = work.run();
    if (result != success)
      fail(context, result);
  }
  if (work.event) {
    --work.event->pending;
    work.event->time = now();
  }
  return result;
}

int drain(Stream &stream) {
  int result = success;
  while (!stream.pending.empty())
    if (int code = advance(stream))
      result = result ? result : code;
  return result;
}

int drainAll(Context &context) {
  int result = success;
  for (auto &[handle, object] : state().objects)
    if (auto *stream = dynamic_cast<Stream *>(object.get()); stream && stream->context == &context && stream->alive)
      if (int code = drain(*stream))
        result = result ? result : code;
  return result;
}

int enqueue(Stream &stream, Work work) {
  if (stream.capture == Stream::Invalid)
    return captureInvalidated;
  if (stream.capture == Stream::Active) {
    stream.captured.push_back(std::move(work));
    return success;
  }
  if (work.event) {
    work.event->recorded = true;
    work.event->captured = false;
    ++work.event->pending;
    work.event->stream = &stream;
  }
  stream.pending.push_back(std::move(work));
  return success;
}

// ---- Memory

/// The allocation that holds all of [address, address + bytes).
Allocation *find(std::map<uint64_t, Allocation> &allocations, uint64_t address, uint64_t bytes, uint64_t *offset) {
  auto next = allocations.upper_bound(address);
  if (next == allocations.begin())
    return nullptr;
  auto &[base, allocation] = *std::prev(next);
  if (address - base > allocation.bytes || bytes > allocation.bytes - (address - base))
    return nullptr;
  *offset = address - base;
  return &allocation;
}

/// The bytes behind a range of device memory; null if it is no such range, which is said.
std::byte *translate(const char *who, uint64_t address, uint64_t bytes, uint64_t *rest = nullptr) {
  uint64_t offset = 0;
  Allocation *found = find(state().allocations, address, bytes, &offset);
  if (!found || !found->alive) {
    complain("%s: %llu bytes at %#llx are %s", who, static_cast<unsigned long long>(bytes),
             static_cast<unsigned long long>(address),
             found ? "freed memory of the device" : "no memory of the device");
    return nullptr;
  }
  if (rest)
    *rest = found->bytes - offset;
  return found->host + offset;
}

std::byte *map(uint64_t bytes) {
  void *memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    return nullptr;
  constexpr uint64_t most = uint64_t(64) << 20;
  std::memset(memory, 0xFF, std::min(bytes, most));
  return static_cast<std::byte *>(memory);
}

bool isPinned(const void *host, uint64_t bytes) {
  uint64_t offset;
  Allocation *found = find(state().pinned, reinterpret_cast<uintptr_t>(host), bytes, &offset);
  return found && found->alive;
}

/// A copy between host and device. With host memory that is not pinned the driver waits until the copy has happened.
int copyHost(Call &call, void *streamHandle, CUdeviceptr device, void *host, uint64_t bytes, bool toDevice) {
  auto *stream = call.get<Stream>(streamHandle);
  if (!stream)
    return call.result;
  if (bytes == 0)
    return success;
  if (!host || !translate(call.name, device, bytes))
    return invalidValue;
  auto work = [=, name = call.name]() -> int {
    std::byte *memory = translate(name, device, bytes);
    if (!memory)
      return illegalAddress;
    if (toDevice)
      std::memcpy(memory, host, bytes), state().counters.bytes_to_device += bytes;
    else
      std::memcpy(host, memory, bytes), state().counters.bytes_to_host += bytes;
    return success;
  };
  if (isPinned(host, bytes))
    return enqueue(*stream, {[=, name = call.name] {
                               if (isPinned(host, bytes))
                                 return work();
                               complain("%s: the pinned memory was freed before the copy", name);
                               return int(illegalAddress);
                             },
                             nullptr});
  if (stream->capture != Stream::None) {
    complain("%s of memory that is not pinned is captured", call.name);
    stream->capture = Stream::Invalid;
    return captureUnsupported;
  }
  if (int code = drain(*stream))
    return code;
  return work();
}

int fillDevice(Call &call, void *streamHandle, CUdeviceptr device, uint32_t value, uint64_t count, uint32_t width) {
  auto *stream = call.get<Stream>(streamHandle);
  if (!stream)
    return call.result;
  if (count == 0)
    return success;
  if (device % width || !translate(call.name, device, count * width))
    return invalidValue;
  return enqueue(*stream, {[=, name = call.name]() -> int {
                             std::byte *memory = translate(name, device, count * width);
                             if (!memory)
                               return illegalAddress;
                             for (uint64_t i = 0; i != count; ++i)
                               std::memcpy(memory + i * width, &value, width);
                             return success;
                           },
                           nullptr});
}

int record(Call &call, void *eventHandle, void *streamHandle, bool external) {
  auto *event = call.get<Event>(eventHandle);
  auto *stream = event ? call.get<Stream>(streamHandle) : nullptr;
  if (!stream)
    return call.result;
  if (stream->capture == Stream::Active && !external) {
    event->captured = true;
    return success;
  }
  return enqueue(*stream, {nullptr, shared(event)});
}

// ---- Kernels

/// One execution, with the parameters as they were when it was launched.
int execute(const Function &function, const uint32_t *grid, const uint32_t *block, uint32_t sharedBytes,
            const std::vector<uint64_t> &parameters) {
  State &s = state();
  const Kernel &kernel = function.kernel;
  ++s.counters.executions;
  if (fires(s.fault, kernel.name.c_str()))
    return s.fault.code;
  if (!kernel.code) {
    complain("kernel %s has no code for the emulator (V4_FAKE_CUDA_KERNELS)", kernel.name.c_str());
    return launchFailed;
  }
  std::vector<v4_emu_binding> bindings;
  for (uint64_t parameter : parameters) {
    uint64_t rest = 0;
    std::byte *memory = translate(kernel.name.c_str(), parameter, 0, &rest);
    if (!memory)
      return illegalAddress;
    bindings.push_back({memory, rest, nullptr});
  }
  Context &context = *function.context;
  if (!context.emulator) {
    v4_emu_options options{0, 0, 0};
    if (v4_emu_create(&options, &context.emulator) != V4_EMU_OK)
      return outOfMemory;
  }
  v4_emu_launch_info info{};
  info.entry = kernel.code;
  std::copy(grid, grid + 3, info.grid);
  std::copy(block, block + 3, info.block);
  info.shared_bytes = sharedBytes;
  info.binding_count = static_cast<uint32_t>(bindings.size());
  info.bindings = bindings.data();
  if (v4_emu_launch(context.emulator, &info) == V4_EMU_OK)
    return success;
  std::fprintf(stderr, "fake-cuda: %s\n", v4_emu_report(context.emulator));
  return illegalAddress;
}

int checkLaunch(const Function &function, const uint32_t *grid, const uint32_t *block, uint32_t sharedBytes) {
  const Kernel &kernel = function.kernel;
  auto refuse = [&](const char *why) {
    complain("cuLaunchKernel of %s: %s", kernel.name.c_str(), why);
    return int(invalidValue);
  };
  if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0 || grid[0] > 0x7FFFFFFF || grid[1] > 65535 || grid[2] > 65535)
    return refuse("wrong grid");
  uint64_t threads = uint64_t(block[0]) * block[1] * block[2];
  if (threads == 0 || threads > 1024 || block[2] > 64)
    return refuse("wrong block");
  const uint32_t *required = kernel.block;
  const v4_emu_kernel *description = kernel.code ? kernel.code(nullptr) : nullptr;
  if (!required[0] && description)
    required = description->block; // a cubin has it too
  if (required[0] && !std::equal(block, block + 3, required))
    return refuse("the block is not that of .reqntid");
  if (sharedBytes > function.dynamicLimit && sharedBytes + kernel.sharedBytes > 48 << 10)
    return refuse("more shared memory than 48 KiB and than cuFuncSetAttribute allowed");
  return success;
}

int launch(Call &call, void *handle, const uint32_t *grid, const uint32_t *block, uint32_t sharedBytes,
           void *streamHandle, void **kernelParameters, void **extra) {
  auto *function = call.get<Function>(handle);
  auto *stream = function ? call.get<Stream>(streamHandle) : nullptr;
  if (!stream)
    return call.result;
  if (int code = checkLaunch(*function, grid, block, sharedBytes))
    return code;
  const Kernel &kernel = function->kernel;
  uint32_t count = kernel.parameters;
  if (!kernel.parametersKnown && kernel.code)
    count = kernel.code(nullptr)->binding_count;
  std::vector<uint64_t> parameters(count);
  if (extra) {
    const void *buffer = nullptr;
    size_t bytes = 0;
    bool both = kernelParameters != nullptr;
    for (void **word = extra; *word; word += 2)
      if (*word == reinterpret_cast<void *>(1))
        buffer = word[1];
      else if (*word == reinterpret_cast<void *>(2))
        bytes = *static_cast<size_t *>(word[1]);
      else
        both = true;
    if (both || (bytes && !buffer) || bytes != count * 8) {
      complain("cuLaunchKernel of %s: %zu bytes of parameters where it has %u", kernel.name.c_str(), bytes, count * 8);
      return invalidValue;
    }
    std::memcpy(parameters.data(), buffer, bytes);
  } else {
    for (uint32_t i = 0; i != count; ++i)
      std::memcpy(&parameters[i], kernelParameters[i], 8);
  }
  ++(stream->capture == Stream::Active ? state().counters.captured_launches : state().counters.launches);
  std::vector<uint32_t> dims{grid[0], grid[1], grid[2], block[0], block[1], block[2]};
  return enqueue(*stream, {[=, keep = shared(function)] {
                             if (!keep->alive) {
                               complain("kernel %s: its module was unloaded before it ran", keep->kernel.name.c_str());
                               return int(illegalAddress);
                             }
                             return execute(*keep, dims.data(), dims.data() + 3, sharedBytes, parameters);
                           },
                           nullptr});
}

/// Ends a context: what is left in it is a leak.
void close(Context &context) {
  State &s = state();
  drainAll(context);
  for (auto *allocations : {&s.allocations, &s.pinned})
    for (auto &[address, allocation] : *allocations)
      if (allocation.alive && allocation.context == &context) {
        complain("leak: %llu bytes of %s", static_cast<unsigned long long>(allocation.bytes),
                 allocations == &s.pinned ? "pinned memory" : "device memory");
        ++s.counters.leaks;
        if (allocations == &s.pinned)
          --s.counters.live_pinned;
        else
          --s.counters.live_allocations, s.counters.live_bytes -= allocation.bytes;
        ::munmap(allocation.host, allocation.bytes);
        allocation.alive = false;
      }
  for (auto &[handle, object] : s.objects)
    if (object->alive && object->context == &context && !dynamic_cast<Function *>(object.get())) {
      const char *kind = dynamic_cast<Stream *>(object.get())   ? "stream"
                         : dynamic_cast<Event *>(object.get())  ? "event"
                         : dynamic_cast<Module *>(object.get()) ? "module"
                                                                : "graph";
      complain("leak: a %s", kind);
      ++s.counters.leaks;
      destroy(*object);
    }
  v4_emu_destroy(context.emulator);
  context.emulator = nullptr;
  context.alive = false;
  --s.counters.contexts;
}

const std::pair<int, std::pair<const char *, const char *>> errorTexts[] = {
    {0, {"CUDA_SUCCESS", "no error"}},
    {1, {"CUDA_ERROR_INVALID_VALUE", "invalid argument"}},
    {2, {"CUDA_ERROR_OUT_OF_MEMORY", "out of memory"}},
    {3, {"CUDA_ERROR_NOT_INITIALIZED", "initialization error"}},
    {100, {"CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"}},
    {101, {"CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"}},
    {200, {"CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"}},
    {201, {"CUDA_ERROR_INVALID_CONTEXT", "invalid device context"}},
    {209, {"CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"}},
    {214, {"CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"}},
    {218, {"CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"}},
    {222, {"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."}},
    {400, {"CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"}},
    {401, {"CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state"}},
    {500, {"CUDA_ERROR_NOT_FOUND", "named symbol not found"}},
    {600, {"CUDA_ERROR_NOT_READY", "device not ready"}},
    {700, {"CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"}},
    {701, {"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"}},
    {702, {"CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"}},
    {716, {"CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"}},
    {719, {"CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"}},
    {801, {"CUDA_ERROR_NOT_SUPPORTED", "operation not supported"}},
    {900, {"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"}},
    {901, {"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"}},
    {907, {"CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"}},
    {999, {"CUDA_ERROR_UNKNOWN", "unknown error"}},
};

} // namespace
} // namespace v4::fake

using namespace v4::fake;

#define V4_DRIVER extern "C" __attribute__((visibility("default"))) CUresult

extern "C" __attribute__((visibility("default"))) v4_fake_cuda_counters v4_fake_cuda_get_counters() {
  std::lock_guard<std::mutex> guard(state().lock);
  return state().counters;
}

extern "C" __attribute__((visibility("default"))) void v4_fake_cuda_reset() {
  State &s = state();
  std::lock_guard<std::mutex> guard(s.lock);
  if (s.counters.contexts || s.counters.live_allocations)
    complain("reset while a context is alive");
  current = nullptr;
  std::byte *space = s.space;
  uint64_t used = s.spaceUsed;
  s.initialized = false;
  s.devices = 1, s.major = 9, s.minor = 0, s.driver = 13000;
  s.memory = uint64_t(16) << 30;
  s.name = "Fake GPU";
  s.counterFile.clear();
  s.fail = {}, s.fault = {};
  s.code = KernelCode();
  s.counters = {};
  s.lost = success;
  s.allocations.clear();
  s.pinned.clear();
  s.objects.clear();
  s.contexts.clear();
  s.space = space, s.spaceUsed = used;
}

V4_DRIVER cuInit(unsigned flags) {
  Call call("cuInit", Nothing);
  if (call.stop)
    return call.result;
  if (flags != 0)
    return invalidValue;
  State &s = state();
  if (!s.initialized)
    configure();
  if (s.devices == 0)
    return noDevice;
  s.initialized = true;
  return success;
}

V4_DRIVER cuDriverGetVersion(int *version) {
  Call call("cuDriverGetVersion", Nothing); // works without cuInit
  if (call.stop)
    return call.result;
  if (!state().initialized)
    configure();
  *version = state().driver;
  return success;
}

V4_DRIVER cuGetErrorName(CUresult error, const char **text) {
  for (auto &[code, texts] : errorTexts)
    if (code == error)
      return *text = texts.first, success;
  return *text = nullptr, invalidValue;
}

V4_DRIVER cuGetErrorString(CUresult error, const char **text) {
  for (auto &[code, texts] : errorTexts)
    if (code == error)
      return *text = texts.second, success;
  return *text = nullptr, invalidValue;
}

V4_DRIVER cuDeviceGetCount(int *count) {
  Call call("cuDeviceGetCount", Initialized);
  if (call.stop)
    return call.result;
  *count = state().devices;
  return success;
}

V4_DRIVER cuDeviceGet(int *device, int ordinal) {
  Call call("cuDeviceGet", Initialized);
  if (call.stop)
    return call.result;
  if (ordinal < 0 || ordinal >= state().devices)
    return invalidDevice;
  *device = ordinal;
  return success;
}

V4_DRIVER cuDeviceGetName(char *name, int length, int device) {
  Call call("cuDeviceGetName", Initialized);
  if (call.stop)
    return call.result;
  if (device < 0 || device >= state().devices || length <= 0)
    return device < 0 || device >= state().devices ? invalidDevice : invalidValue;
  std::snprintf(name, size_t(length), "%s", state().name.c_str());
  return success;
}

V4_DRIVER cuDeviceGetAttribute(int *value, int attribute, int device) {
  Call call("cuDeviceGetAttribute", Initialized);
  if (call.stop)
    return call.result;
  if (device < 0 || device >= state().devices)
    return invalidDevice;
  switch (attribute) {
  case 16: // multiprocessors
    *value = 132;
    return success;
  case 75:
    *value = state().major;
    return success;
  case 76:
    *value = state().minor;
    return success;
  case 97: // shared memory of a block, on request
    *value = state().major == 8 ? 163 << 10 : state().major == 12 ? 99 << 10 : 227 << 10;
    return success;
  default:
    complain("cuDeviceGetAttribute: attribute %d is not in the fake", attribute);
    return invalidValue;
  }
}

V4_DRIVER cuDevicePrimaryCtxRetain(void **context, int device) {
  Call call("cuDevicePrimaryCtxRetain", Initialized);
  State &s = state();
  if (call.stop)
    return call.result;
  if (s.lost)
    return s.lost;
  if (device < 0 || device >= s.devices)
    return invalidDevice;
  std::shared_ptr<Context> &slot = s.contexts[device];
  if (!slot || !slot->alive) {
    slot = std::make_shared<Context>();
    slot->device = device;
    s.objects[slot.get()] = slot; // dead ones are kept here
    ++s.counters.contexts;
  }
  ++slot->references;
  *context = slot.get();
  return success;
}

V4_DRIVER cuDevicePrimaryCtxRelease_v2(int device) {
  Call call("cuDevicePrimaryCtxRelease_v2", Initialized | Releases);
  State &s = state();
  auto found = s.contexts.find(device);
  if (found == s.contexts.end() || !found->second->alive) {
    complain("cuDevicePrimaryCtxRelease_v2: the context is not retained");
    return call.with(invalidContext);
  }
  if (--found->second->references == 0) {
    close(*found->second);
    writeCounters();
  }
  return call.result;
}

V4_DRIVER cuCtxSetCurrent(void *context) {
  Call call("cuCtxSetCurrent", Initialized);
  if (call.stop)
    return call.result;
  State &s = state();
  if (!context)
    return current = nullptr, success;
  auto found = s.objects.find(context);
  auto *wanted = found == s.objects.end() ? nullptr : dynamic_cast<Context *>(found->second.get());
  if (!wanted || !wanted->alive) {
    complain("cuCtxSetCurrent: no live context");
    return invalidContext;
  }
  current = wanted;
  return s.lost;
}

V4_DRIVER cuMemGetInfo_v2(size_t *free, size_t *total) {
  Call call("cuMemGetInfo_v2", Initialized | CurrentContext);
  if (call.stop)
    return call.result;
  *total = state().memory;
  *free = state().memory - state().counters.live_bytes;
  return success;
}

V4_DRIVER cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes) {
  Call call("cuMemAlloc_v2", Initialized | CurrentContext | Unsafe);
  State &s = state();
  if (call.stop)
    return call.result;
  if (bytes == 0)
    return invalidValue;
  if (bytes > s.memory - s.counters.live_bytes)
    return outOfMemory;
  if (!s.space)
    s.space = static_cast<std::byte *>(
        ::mmap(nullptr, spaceBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  uint64_t place = (bytes + 2 * page - 1) / page * page; // and a page that nobody has
  std::byte *host = s.space != MAP_FAILED && place <= spaceBytes - s.spaceUsed ? map(bytes) : nullptr;
  if (!host)
    return outOfMemory;
  uint64_t address = reinterpret_cast<uintptr_t>(s.space) + s.spaceUsed;
  s.spaceUsed += place;
  s.allocations[address] = {bytes, host, current, true};
  ++s.counters.live_allocations;
  s.counters.live_bytes += bytes;
  s.counters.peak_bytes = std::max(s.counters.peak_bytes, s.counters.live_bytes);
  *pointer = address;
  return success;
}

V4_DRIVER cuMemFree_v2(CUdeviceptr pointer) {
  Call call("cuMemFree_v2", Initialized | CurrentContext | Releases | Unsafe);
  State &s = state();
  if (call.stop || pointer == 0)
    return call.result;
  auto found = s.allocations.find(pointer);
  if (found == s.allocations.end() || !found->second.alive || found->second.context != current) {
    complain("cuMemFree_v2: %#llx is %s", pointer,
             found == s.allocations.end() ? "no allocation" : "freed, or of another context");
    return call.with(invalidValue);
  }
  int earlier = drainAll(*current);
  ::munmap(found->second.host, found->second.bytes);
  found->second.alive = false;
  --s.counters.live_allocations;
  s.counters.live_bytes -= found->second.bytes;
  return call.with(earlier);
}

V4_DRIVER cuMemHostAlloc(void **pointer, size_t bytes, unsigned) {
  Call call("cuMemHostAlloc", Initialized | CurrentContext | Unsafe);
  State &s = state();
  if (call.stop)
    return call.result;
  if (bytes == 0)
    return invalidValue;
  std::byte *host = map(bytes);
  if (!host)
    return outOfMemory;
  s.pinned[reinterpret_cast<uintptr_t>(host)] = {bytes, host, current, true};
  ++s.counters.live_pinned;
  *pointer = host;
  return success;
}

V4_DRIVER cuMemFreeHost(void *pointer) {
  Call call("cuMemFreeHost", Initialized | CurrentContext | Releases | Unsafe);
  State &s = state();
  if (call.stop)
    return call.result;
  auto found = s.pinned.find(reinterpret_cast<uintptr_t>(pointer));
  if (found == s.pinned.end() || !found->second.alive || found->second.context != current) {
    complain("cuMemFreeHost: no pinned memory of this context");
    return call.with(invalidValue);
  }
  ::munmap(pointer, found->second.bytes);
  s.pinned.erase(found); // the host may give the address again
  --s.counters.live_pinned;
  return call.result;
}

V4_DRIVER cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, void *stream) {
  Call call("cuMemcpyHtoDAsync_v2", Initialized | CurrentContext);
  return call.stop ? call.result : copyHost(call, stream, to, const_cast<void *>(from), bytes, true);
}

V4_DRIVER cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, void *stream) {
  Call call("cuMemcpyDtoHAsync_v2", Initialized | CurrentContext);
  return call.stop ? call.result : copyHost(call, stream, from, to, bytes, false);
}

V4_DRIVER cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, void *streamHandle) {
  Call call("cuMemcpyDtoDAsync_v2", Initialized | CurrentContext);
  if (call.stop)
    return call.result;
  auto *stream = call.get<Stream>(streamHandle);
  if (!stream)
    return call.result;
  if (!translate(call.name, to, bytes) || !translate(call.name, from, bytes))
    return invalidValue;
  return enqueue(*stream, {[=]() -> int {
                             std::byte *target = translate("cuMemcpyDtoDAsync_v2", to, bytes);
                             std::byte *source = translate("cuMemcpyDtoDAsync_v2", from, bytes);
                             if (!target || !source)
                               return illegalAddress;
                             std::memmove(target, source, bytes);
                             return success;
                           },
                           nullptr});
}

V4_DRIVER cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, void *stream) {
  Call call("cuMemsetD8Async", Initialized | CurrentContext);
  return call.stop ? call.result : fillDevice(call, stream, to, value, count, 1);
}

V4_DRIVER cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, void *stream) {
  Call call("cuMemsetD32Async", Initialized | CurrentContext);
  return call.stop ? call.result : fillDevice(call, stream, to, value, count, 4);
}

V4_DRIVER cuStreamCreate(void **stream, unsigned flags) {
  Call call("cuStreamCreate", Initialized | CurrentContext | Unsafe);
  if (call.stop)
    return call.result;
  if (flags > 1)
    return invalidValue;
  *stream = create<Stream>();
  return success;
}

V4_DRIVER cuStreamDestroy_v2(void *handle) {
  Call call("cuStreamDestroy_v2", Initialized | CurrentContext | Releases);
  if (call.stop)
    return call.result;
  int before = call.result;
  auto *stream = call.get<Stream>(handle);
  if (!stream)
    return before ? before : call.result;
  drain(*stream); // the driver lets it finish
  destroy(*stream);
  return call.result;
}

V4_DRIVER cuStreamSynchronize(void *handle) {
  Call call("cuStreamSynchronize", Initialized | CurrentContext);
  if (call.stop)
    return call.result;
  auto *stream = call.get<Stream>(handle);
  if (!stream)
    return call.result;
  if (stream->capture != Stream::None) {
    complain("cuStreamSynchronize of a stream that is captured");
    stream->capture = Stream::Invalid;
    return captureUnsupported;
  }
  return drain(*stream);
}

V4_DRIVER cuStreamBeginCapture_v2(void *handle, int mode) {
  Call call("cuStreamBeginCapture_v2", Initialized | CurrentContext);
  if (call.stop)
    return call.result;
  auto *stream = call.get<Stream>(handle);
  if (!stream)
    return call.result;
  if (mode < 0 || mode > 2)
    return invalidValue;
  if (stream->capture != Stream::None) {
    complain("cuStreamBeginCapture_v2 of a stream that is captured");
    return illegalState;
  }
  stream->capture = Stream::Active;
  stream->captured.clear();
  return success;
}

V4_DRIVER cuStreamEndCapture(void *handle, void **graph) {
  Call call("cuStreamEndCapture", Initialized | CurrentContext | Releases);
  if (call.stop)
    return call.result;
  int before = call.result;
  auto *stream = call.get<Stream>(handle);
  if (!stream)
    return before ? before : call.result;
  auto capture = stream->capture;
  stream->capture = Stream::None;
  *graph = nullptr;
  if (before)
    return before;
  if (capture == Stream::None) {
    complain("cuStreamEndCapture of a stream that is not captured");
    return illegalState;
  }
  if (capture == Stream::Invalid)
    return captureInvalidated;
  auto *made = create<Graph>();
  made->work = std::move(stream->captured);
  stream->captured.clear();
  *graph = made;
  return success;
}

V4_DRIVER cuGraphInstantiateWithFlags(void **executable, void *handle, unsigned long long) {
  Call call("cuGraphInstantiateWithFlags", Initialized | CurrentContext | Unsafe);
  if (call.stop)
    return call.result;
  auto *graph = call.get<Graph>(handle);
  if (!graph)
    return call.result;
  auto *made = create<GraphExec>();
  made->work = graph->work;
  *executable = made;
  return success;
}

V4_DRIVER cuGraphLaunch(void *handle, void *streamHandle) {
  Call call("cuGraphLaunch", Initialized | CurrentContext);
  if (call.stop)
    return call.result;
  auto *executable = call.get<GraphExec>(handle);
  auto *stream = executable ? call.get<Stream>(streamHandle) : nullptr;
  if (!stream)
    return call.result;
  ++state().counters.graph_launches;
  for (const Work &work : executable->work)
    if (int code = enqueue(*stream, work))
      return code;
  return success;
}

V4_DRIVER cuGraphDestroy(void *handle) {
  Call call("cuGraphDestroy", Initialized | Releases);
  int before = call.result;
  if (auto *graph = call.get<Graph>(handle))
    destroy(*graph);
  return before ? before : call.result;
}

V4_DRIVER cuGraphExecDestroy(void *handle) {
  Call call("cuGraphExecDestroy", Initialized | Releases);
  int before = call.result;
  if (auto *executable = call.get<GraphExec>(handle))
    destroy(*executable);
  return before ? before : call.result;
}

V4_DRIVER cuEventCreate(void **event, unsigned flags) {
  Call call("cuEventCreate", Initialized | CurrentContext);
  if (call.stop)
    return call.result;
  if (flags > 3)
    return invalidValue;
  auto *made = create<Event>();
  made->timing = !(flags & 2);
  *event = made;
  return success;
}

V4_DRIVER cuEventDestroy_v2(void *handle) {
  Call call("cuEventDestroy_v2", Initialized | CurrentContext | Releases);
  if (call.stop)
    return call.result;
  int before = call.result;
  if (auto *event = call.get<Event>(handle))
    destroy(*event);
  return before ? before : call.result;
}

V4_DRIVER cuEventRecord(void *event, void *stream) {
  Call call("cuEventRecord", Initialized | CurrentContext);
  return call.stop ? call.result : record(call, event, stream, false);
}

V4_DRIVER cuEventRecordWithFlags(void *event, void *stream, unsigned flags) {
  Call call("cuEventRecordWithFlags", Initialized | CurrentContext);
  return call.stop ? call.result : record(call, event, stream, flags & 1);
}

V4_DRIVER cuEventSynchronize(void *handle) {
  Call call("cuEventSynchronize", Initialized | CurrentContext);
  if (call.stop)
    return call.result;
  auto *event = call.get<Event>(handle);
  if (!event)
    return call.result;
  if (event->captured) {
    complain("cuEventSynchronize of an event that was captured");
    return capturedEvent;
  }
  int result = success;
  while (event->pending && !event->stream->pending.empty())
    if (int code = advance(*event->stream))
      result = result ? result : code;
  return result;
}

V4_DRIVER cuEventElapsedTime(float *milliseconds, void *beginHandle, void *endHandle) {
  Call call("cuEventElapsedTime", Initialized | CurrentContext);
  if (call.stop)
    return call.result;
  auto *begin = call.get<Event>(beginHandle);
  auto *end = begin ? call.get<Event>(endHandle) : nullptr;
  if (!end)
    return call.result;
  if (begin->captured || end->captured || !begin->timing || !end->timing || !begin->recorded || !end->recorded) {
    complain("cuEventElapsedTime: an event has no time");
    return invalidHandle;
  }
  if (begin->pending || end->pending)
    return notReady;
  *milliseconds = static_cast<float>(static_cast<double>(end->time) - static_cast<double>(begin->time)) * 1e-6f;
  return success;
}

V4_DRIVER cuModuleLoadDataEx(void **module, const void *image, unsigned optionCount, int *options, void **values) {
  Call call("cuModuleLoadDataEx", Initialized | CurrentContext | Unsafe);
  if (call.stop)
    return call.result;
  if (!image)
    return invalidValue;
  State &s = state();
  LoadedImage loaded = readImage(image, s.major, s.minor, s.driver);
  char *log = nullptr;
  void **size = nullptr;
  for (unsigned i = 0; i != optionCount; ++i) {
    if (options[i] == 5)
      log = static_cast<char *>(values[i]);
    if (options[i] == 6)
      size = &values[i];
  }
  if (log && size) {
    auto capacity = reinterpret_cast<uintptr_t>(*size);
    int written = capacity ? std::snprintf(log, capacity, "%s", loaded.error.c_str()) : 0;
    *size = reinterpret_cast<void *>(std::min<uintptr_t>(uintptr_t(written), capacity));
  }
  if (loaded.result)
    return loaded.result;
  for (auto &[name, kernel] : loaded.kernels) {
    kernel.code = s.code.find(name);
    if (kernel.code && kernel.parametersKnown && kernel.code(nullptr)->binding_count != kernel.parameters)
      complain("kernel %s has %u parameters in its image and %u on the emulator", name.c_str(), kernel.parameters,
               kernel.code(nullptr)->binding_count);
  }
  ++(loaded.isPtx ? s.counters.ptx_texts : s.counters.cubins);
  auto *made = create<Module>();
  made->image = std::move(loaded);
  *module = made;
  return success;
}

V4_DRIVER cuModuleUnload(void *handle) {
  Call call("cuModuleUnload", Initialized | CurrentContext | Releases);
  if (call.stop)
    return call.result;
  int before = call.result;
  if (auto *module = call.get<Module>(handle)) {
    for (auto &[name, function] : module->functions)
      function->alive = false;
    destroy(*module);
  }
  return before ? before : call.result;
}

V4_DRIVER cuModuleGetFunction(void **function, void *handle, const char *name) {
  Call call("cuModuleGetFunction", Initialized | CurrentContext);
  if (call.stop)
    return call.result;
  auto *module = call.get<Module>(handle);
  if (!module)
    return call.result;
  auto found = module->image.kernels.find(name);
  if (found == module->image.kernels.end())
    return notFound;
  std::shared_ptr<Function> &slot = module->functions[name];
  if (!slot) {
    slot = std::make_shared<Function>();
    slot->context = current;
    slot->kernel = found->second;
    slot->module = module;
    state().objects[slot.get()] = slot;
  }
  *function = slot.get();
  return success;
}

V4_DRIVER cuFuncSetAttribute(void *handle, int attribute, int value) {
  Call call("cuFuncSetAttribute", Initialized | CurrentContext);
  if (call.stop)
    return call.result;
  auto *function = call.get<Function>(handle);
  if (!function)
    return call.result;
  int most = state().major == 8 ? 163 << 10 : state().major == 12 ? 99 << 10 : 227 << 10;
  if (attribute != 8 || value < 0 || value + int(function->kernel.sharedBytes) > most) {
    complain("cuFuncSetAttribute(%s, %d, %d)", function->kernel.name.c_str(), attribute, value);
    return invalidValue;
  }
  function->dynamicLimit = uint32_t(value);
  return success;
}

V4_DRIVER cuLaunchKernel(void *function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,
                         unsigned blockY, unsigned blockZ, unsigned sharedBytes, void *stream, void **parameters,
                         void **extra) {
  Call call("cuLaunchKernel", Initialized | CurrentContext);
  const uint32_t grid[] = {gridX, gridY, gridZ}, block[] = {blockX, blockY, blockZ};
  return call.stop ? call.result : launch(call, function, grid, block, sharedBytes, stream, parameters, extra);
}
