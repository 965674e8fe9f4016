// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Devices, contexts and memory.
#include "test/runtime/fake-cuda/Driver.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>

namespace v4::fake {
namespace {

constexpr uint64_t spaceBytes = uint64_t(1) << 40, page = 4096;
std::byte *space = nullptr; // addresses of the device, never given twice
uint64_t spaceUsed = 0;

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
int copyHost(const char *name, Stream &stream, CUdeviceptr device, void *host, uint64_t bytes, bool toDevice) {
  if (bytes == 0)
    return success;
  if (!host || !translate(name, device, bytes))
    return invalidValue;
  auto copy = [=]() -> int {
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
    return enqueue(stream, {[=]() -> int {
                              if (isPinned(host, bytes))
                                return copy();
                              complain("%s: the pinned memory was freed before the copy", name);
                              return illegalAddress;
                            },
                            nullptr});
  if (stream.capture != Stream::None) {
    complain("%s of memory that is not pinned is captured", name);
    stream.capture = Stream::Invalid;
    return captureUnsupported;
  }
  if (int code = drain(stream))
    return code;
  return copy();
}

int fillDevice(const char *name, Stream &stream, CUdeviceptr device, uint32_t value, uint64_t count, uint32_t width) {
  if (count == 0)
    return success;
  if (device % width || !translate(name, device, count * width))
    return invalidValue;
  return enqueue(stream, {[=]() -> int {
                            std::byte *memory = translate(name, device, count * width);
                            if (!memory)
                              return illegalAddress;
                            for (uint64_t i = 0; i != count; ++i)
                              std::memcpy(memory + i * width, &value, width);
                            return success;
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

bool isDevice(int device) {
  return device >= 0 && device < state().devices;
}

} // namespace

std::byte *translate(const char *who, uint64_t address, uint64_t bytes, uint64_t *rest) {
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

} // namespace v4::fake

using namespace v4::fake;

// ---- Devices

V4_DRIVER cuInit(unsigned flags) {
  return drive(__func__, BeforeInit, {}, [&] {
    State &s = state();
    if (flags != 0)
      return invalidValue;
    if (!s.initialized)
      configure();
    if (s.devices == 0)
      return noDevice;
    s.initialized = true;
    return success;
  });
}

V4_DRIVER cuDriverGetVersion(int *version) {
  return drive(__func__, BeforeInit, {}, [&] {
    if (!state().initialized)
      configure();
    *version = state().driver;
    return success;
  });
}

V4_DRIVER cuDeviceGetCount(int *count) {
  return drive(__func__, Driver, {}, [&] {
    *count = state().devices;
    return success;
  });
}

V4_DRIVER cuDeviceGet(int *device, int ordinal) {
  return drive(__func__, Driver, {}, [&] {
    if (!isDevice(ordinal))
      return invalidDevice;
    *device = ordinal;
    return success;
  });
}

V4_DRIVER cuDeviceGetName(char *name, int length, int device) {
  return drive(__func__, Driver, {}, [&] {
    if (!isDevice(device) || length <= 0)
      return isDevice(device) ? invalidValue : invalidDevice;
    std::snprintf(name, size_t(length), "%s", state().name.c_str());
    return success;
  });
}

V4_DRIVER cuDeviceGetAttribute(int *value, int attribute, int device) {
  return drive(__func__, Driver, {}, [&] {
    if (!isDevice(device))
      return invalidDevice;
    switch (attribute) {
    case 16: // multiprocessors
      return *value = 132, success;
    case 75:
      return *value = state().major, success;
    case 76:
      return *value = state().minor, success;
    case 97: // shared memory of a block, on request
      return *value = sharedMemory(), success;
    default:
      complain("cuDeviceGetAttribute: attribute %d is not in the fake", attribute);
      return invalidValue;
    }
  });
}

// ---- Contexts

V4_DRIVER cuDevicePrimaryCtxRetain(void **context, int device) {
  return drive(__func__, Driver, {}, [&] {
    State &s = state();
    if (s.lost)
      return s.lost;
    if (!isDevice(device))
      return invalidDevice;
    std::shared_ptr<Context> &slot = s.contexts[device];
    if (!slot || !slot->alive) {
      slot = std::make_shared<Context>();
      s.objects[slot.get()] = slot; // dead ones are kept here
      ++s.counters.contexts;
    }
    ++slot->references;
    *context = slot.get();
    return success;
  });
}

V4_DRIVER cuDevicePrimaryCtxRelease_v2(int device) {
  return drive(__func__, Driver | Releases, {}, [&] {
    auto found = state().contexts.find(device);
    if (found == state().contexts.end() || !found->second->alive) {
      complain("cuDevicePrimaryCtxRelease_v2: the context is not retained");
      return invalidContext;
    }
    if (--found->second->references == 0) {
      close(*found->second);
      writeCounters();
    }
    return success;
  });
}

V4_DRIVER cuCtxSetCurrent(void *context) {
  return drive(__func__, Driver, {}, [&] {
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
  });
}

// ---- Memory

V4_DRIVER cuMemGetInfo_v2(size_t *free, size_t *total) {
  return drive(__func__, InContext, {}, [&] {
    *total = state().memory;
    *free = state().memory - state().counters.live_bytes;
    return success;
  });
}

V4_DRIVER cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes) {
  return drive(__func__, InContext | Unsafe, {}, [&] {
    State &s = state();
    if (bytes == 0)
      return invalidValue;
    if (bytes > s.memory - s.counters.live_bytes)
      return outOfMemory;
    if (!space)
      space = static_cast<std::byte *>(
          ::mmap(nullptr, spaceBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    uint64_t place = (bytes + 2 * page - 1) / page * page; // and a page that nobody has
    std::byte *host = space != MAP_FAILED && place <= spaceBytes - spaceUsed ? map(bytes) : nullptr;
    if (!host)
      return outOfMemory;
    uint64_t address = reinterpret_cast<uintptr_t>(space) + spaceUsed;
    spaceUsed += place;
    s.allocations[address] = {bytes, host, current, true};
    ++s.counters.live_allocations;
    s.counters.live_bytes += bytes;
    s.counters.peak_bytes = std::max(s.counters.peak_bytes, s.counters.live_bytes);
    *pointer = address;
    return success;
  });
}

V4_DRIVER cuMemFree_v2(CUdeviceptr pointer) {
  return drive(__func__, InContext | Releases | Unsafe, {}, [&] {
    State &s = state();
    if (pointer == 0)
      return success;
    auto found = s.allocations.find(pointer);
    if (found == s.allocations.end() || !found->second.alive || found->second.context != current) {
      complain("cuMemFree_v2: %#llx is %s", pointer,
               found == s.allocations.end() ? "no allocation" : "freed, or of another context");
      return invalidValue;
    }
    int earlier = drainAll(*current);
    ::munmap(found->second.host, found->second.bytes);
    found->second.alive = false;
    --s.counters.live_allocations;
    s.counters.live_bytes -= found->second.bytes;
    return earlier;
  });
}

V4_DRIVER cuMemHostAlloc(void **pointer, size_t bytes, unsigned) {
  return drive(__func__, InContext | Unsafe, {}, [&] {
    if (bytes == 0)
      return invalidValue;
    std::byte *host = map(bytes);
    if (!host)
      return outOfMemory;
    state().pinned[reinterpret_cast<uintptr_t>(host)] = {bytes, host, current, true};
    ++state().counters.live_pinned;
    *pointer = host;
    return success;
  });
}

V4_DRIVER cuMemFreeHost(void *pointer) {
  return drive(__func__, InContext | Releases | Unsafe, {}, [&] {
    State &s = state();
    auto found = s.pinned.find(reinterpret_cast<uintptr_t>(pointer));
    if (found == s.pinned.end() || !found->second.alive || found->second.context != current) {
      complain("cuMemFreeHost: no pinned memory of this context");
      return invalidValue;
    }
    ::munmap(pointer, found->second.bytes);
    s.pinned.erase(found); // the host may give the address again
    --s.counters.live_pinned;
    return success;
  });
}

V4_DRIVER cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, void *stream) {
  return drive<Stream>(__func__, InContext, {stream}, [&, name = __func__](Stream &on) {
    return copyHost(name, on, to, const_cast<void *>(from), bytes, true);
  });
}

V4_DRIVER cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, void *stream) {
  return drive<Stream>(__func__, InContext, {stream}, [&, name = __func__](Stream &on) {
    return copyHost(name, on, from, to, bytes, false);
  });
}

V4_DRIVER cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, void *stream) {
  return drive<Stream>(__func__, InContext, {stream}, [&, name = __func__](Stream &on) {
    if (!translate(name, to, bytes) || !translate(name, from, bytes))
      return invalidValue;
    return enqueue(on, {[=]() -> int {
                          std::byte *target = translate(name, to, bytes), *source = translate(name, from, bytes);
                          if (!target || !source)
                            return illegalAddress;
                          std::memmove(target, source, bytes);
                          return success;
                        },
                        nullptr});
  });
}

V4_DRIVER cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, void *stream) {
  return drive<Stream>(__func__, InContext, {stream}, [&, name = __func__](Stream &on) {
    return fillDevice(name, on, to, value, count, 1);
  });
}

V4_DRIVER cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, void *stream) {
  return drive<Stream>(__func__, InContext, {stream}, [&, name = __func__](Stream &on) {
    return fillDevice(name, on, to, value, count, 4);
  });
}
