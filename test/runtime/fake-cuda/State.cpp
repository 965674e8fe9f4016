// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The state of the driver, how the environment sets it, the beginning of every call, and the work of streams.
#include "test/runtime/fake-cuda/Driver.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <time.h>

namespace v4::fake {

thread_local Context *current = nullptr;

/// Lives to the end: the last driver call may come from a destructor of a global.
State &state() {
  static State *it = [] {
    std::atexit(writeCounters);
    return new State;
  }();
  return *it;
}

std::mutex &driverLock() {
  static std::mutex *it = new std::mutex;
  return *it;
}

void complain(const char *format, ...) {
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

// ---- The environment

static const char *variable(const char *name) {
  const char *value = std::getenv((std::string("V4_FAKE_CUDA_") + name).c_str());
  return value && *value ? value : nullptr;
}

static Trigger trigger(const char *name) {
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

int sharedMemory() {
  return state().major == 8 ? 163 << 10 : state().major == 12 ? 99 << 10 : 227 << 10;
}

// ---- Calls

/// Some codes stay: after them every call of the context fails, or of the device, which is gone.
static void fail(Context *context, int code) {
  bool faulted = code == illegalAddress || code == launchTimeout || (code >= hardwareStack && code <= launchFailed);
  if (code == eccUncorrectable || code == unknown)
    state().lost = code;
  else if (faulted && context)
    context->sick = code;
}

Begun begin(const char *name, int needs) {
  State &s = state();
  if (!s.fail.number && !s.initialized) // cuInit may be the first call that shall fail
    s.fail = trigger("FAIL"), s.fault = trigger("FAULT");
  ++s.counters.calls;
  int result = success;
  if (fires(s.fail, name)) {
    result = s.fail.code;
    fail(current, result);
  }
  if (result == success && (needs & Driver) && !s.initialized)
    result = notInitialized, complain("%s before cuInit", name);
  bool dead = (needs & InContext) == InContext && (!current || !current->alive);
  if (result == success && (needs & InContext) == InContext) {
    if (dead)
      result = invalidContext, complain("%s without a current context", name);
    else
      result = s.lost ? s.lost : current->sick;
  }
  if (result == success && (needs & Unsafe))
    for (auto &[handle, object] : s.objects)
      if (auto *stream = dynamic_cast<Stream *>(object.get());
          stream && stream->alive && stream->capture == Stream::Active) {
        stream->capture = Stream::Invalid;
        result = captureUnsupported;
        complain("%s while a stream is captured", name);
      }
  return {result, dead || (result != success && !(needs & Releases))};
}

int destroy(Object &object) {
  object.alive = false;
  --state().counters.live_objects;
  return success;
}

// ---- Work

int advance(Stream &stream) {
  Work work = std::move(stream.pending.front());
  stream.pending.pop_front();
  Context &context = *stream.context;
  int result = state().lost ? state().lost : context.sick;
  if (result == success && work.run) {
    result = work.run();
    if (result != success)
      fail(&context, result);
  }
  if (work.event) {
    --work.event->pending;
    timespec time;
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    work.event->time = uint64_t(time.tv_sec) * 1'000'000'000 + uint64_t(time.tv_nsec);
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

} // namespace v4::fake

using namespace v4::fake;

extern "C" __attribute__((visibility("default"))) v4_fake_cuda_counters v4_fake_cuda_get_counters() {
  std::lock_guard<std::mutex> guard(driverLock());
  return state().counters;
}

extern "C" __attribute__((visibility("default"))) void v4_fake_cuda_reset() {
  std::lock_guard<std::mutex> guard(driverLock());
  if (state().counters.contexts || state().counters.live_allocations)
    complain("reset while a context is alive");
  current = nullptr;
  state() = State();
}

// ---- Errors in words

static constexpr struct {
  int code;
  const char *name, *text;
} errors[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {214, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
    {218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {401, "CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {702, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
    {716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {907, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

V4_DRIVER cuGetErrorName(CUresult code, const char **text) {
  for (auto &error : errors)
    if (error.code == code)
      return *text = error.name, success;
  return *text = nullptr, invalidValue;
}

V4_DRIVER cuGetErrorString(CUresult code, const char **text) {
  for (auto &error : errors)
    if (error.code == code)
      return *text = error.text, success;
  return *text = nullptr, invalidValue;
}
