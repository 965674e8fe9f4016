// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "runtime/CudaGpu.h"
#include "runtime/FileIo.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace v4::cuda {
namespace {

/// What a user can do about an error.
std::string_view remedy(Result result) {
  switch (result) {
  case errorDeviceUnavailable:
  case errorEccUncorrectable:
  case errorUnknown:
    return "; the GPU is lost: see what nvidia-smi and the system's log say, and start again";
  case errorIllegalAddress:
  case errorLaunchTimeout:
  case errorAssert:
  case errorHardwareStackError:
  case errorIllegalInstruction:
  case errorMisalignedAddress:
  case errorInvalidAddressSpace:
  case errorInvalidPc:
  case errorLaunchFailed:
    return "; a kernel has faulted, and the GPU takes no more work of this process: start again, and look for the "
           "fault with --device=emu";
  case errorInvalidImage:
  case errorNoBinaryForGpu:
  case errorInvalidPtx:
    return "; compile the module again for the chip of this GPU, or install a newer driver";
  default:
    return "";
  }
}

std::string bytesText(std::optional<uint64_t> bytes) {
  return bytes ? concat(*bytes) : std::string("an unknown number");
}

/// Why the driver may find fewer GPUs than there are.
std::string visible() {
  const char *value = std::getenv("CUDA_VISIBLE_DEVICES");
  return value ? concat(" (CUDA_VISIBLE_DEVICES is '", value, "')") : std::string();
}

/// The driver has no memory of no bytes.
uint64_t atLeastOne(uint64_t bytes) {
  return std::max<uint64_t>(bytes, 1);
}

} // namespace

Gpu::~Gpu() {
  if (!context)
    return;
  enterAnyway();
  stream = OwnedStream();
  (void)driver->contextSetCurrent(nullptr);
  (void)driver->primaryContextRelease(device);
}

Status Gpu::open(uint32_t ordinal) {
  Expected<const Driver *> opened = Driver::open();
  V4_RETURN_IF_ERROR(opened);
  driver = *opened;
  Expected<std::string> version = driver->version();
  V4_RETURN_IF_ERROR(version);
  driverVersion = *version;
  text = concat("GPU ", ordinal);
  Result result = driver->init(0);
  int count = 0;
  if (result == success)
    result = driver->deviceGetCount(&count);
  if (result == errorNoDevice || (result == success && count == 0))
    return environment("there is no NVIDIA GPU: the driver (CUDA ", driverVersion,
                       ") finds none; see what nvidia-smi and CUDA_VISIBLE_DEVICES say");
  if (result != success)
    return environment("the NVIDIA driver (CUDA ", driverVersion, ") does not start: ", driver->describe(result),
                       "; see what nvidia-smi says");
  if (ordinal >= static_cast<uint32_t>(count))
    return environment("there is no GPU ", ordinal, ": the driver finds ", count, count == 1 ? " GPU" : " GPUs",
                       visible(), "; the last one is --device=cuda:", count - 1);
  V4_RETURN_IF_ERROR(check(driver->deviceGet(&device, static_cast<int>(ordinal)), "cannot be opened"));
  char name[256] = {};
  V4_RETURN_IF_ERROR(check(driver->deviceGetName(name, sizeof name - 1, device), "does not tell its name"));
  V4_RETURN_IF_ERROR(attribute(computeCapabilityMajor, major));
  V4_RETURN_IF_ERROR(attribute(computeCapabilityMinor, minor));
  V4_RETURN_IF_ERROR(attribute(maxSharedMemoryPerBlockOptin, sharedBytes));
  text = concat("GPU ", ordinal, " (", name, ", compute capability ", major, '.', minor, ", driver CUDA ",
                driverVersion, ")");
  V4_RETURN_IF_ERROR(check(driver->primaryContextRetain(&context, device), "cannot be used"));
  V4_RETURN_IF_ERROR(enter());
  return check(driver->streamCreate(stream.out(*driver), streamNonBlocking), "cannot make a stream");
}

Status Gpu::check(Result result, std::string_view what) const {
  if (result == success)
    return {};
  std::string memory;
  if (result == errorOutOfMemory)
    memory = concat("; ", bytesText(freeMemory()), " bytes of its memory are free: end what else uses it");
  return environment(text, " ", what, ": ", driver->describe(result), memory, remedy(result));
}

Status Gpu::checkMemory(Result result, uint64_t bytes, std::string_view what) const {
  if (result != errorOutOfMemory)
    return check(result, concat("gives no memory for ", what));
  return environment("not enough memory on ", text, " for ", what, ": ", bytes, " bytes are needed, ",
                     bytesText(freeMemory()),
                     " are free; end what else uses the GPU, or compile the module with a smaller --max-context, "
                     "--slots or --prefill");
}

Expected<OwnedMemory> Gpu::allocate(uint64_t bytes, std::string_view what) const {
  V4_RETURN_IF_ERROR(enter());
  OwnedMemory memory;
  V4_RETURN_IF_ERROR(checkMemory(driver->memAlloc(memory.out(*driver), atLeastOne(bytes)), bytes, what));
  return memory;
}

Expected<OwnedHostMemory> Gpu::allocateHost(uint64_t bytes, std::string_view what) const {
  V4_RETURN_IF_ERROR(enter());
  OwnedHostMemory memory;
  Result result = driver->memHostAlloc(memory.out(*driver), atLeastOne(bytes), 0);
  if (result == errorOutOfMemory)
    return environment("not enough memory of the host that ", text, " can reach for ", what, ": ", bytes,
                       " bytes are needed, ", bytesText(availableMemory()), " are available; end what else uses it");
  V4_RETURN_IF_ERROR(check(result, concat("gives no memory of the host for ", what)));
  return memory;
}

std::optional<uint64_t> Gpu::freeMemory() const {
  size_t free = 0, total = 0;
  if (!context || driver->contextSetCurrent(context) != success || driver->memGetInfo(&free, &total) != success)
    return std::nullopt;
  return free;
}

Result Gpu::loadCode(const char *code, bool isPtx, OwnedModule &module, std::string &log) const {
  log.assign(8192, '\0');
  JitOption options[] = {jitErrorLogBuffer, jitErrorLogBufferSizeBytes};
  void *values[] = {log.data(), reinterpret_cast<void *>(log.size() - 1)};
  Result result = driver->moduleLoadData(module.out(*driver), code, isPtx ? 2 : 0, options, values);
  if (result != success)
    *module.out(*driver) = nullptr;
  log.resize(std::strlen(log.c_str()));
  std::replace(log.begin(), log.end(), '\n', ' ');
  return result;
}

Status Gpu::makeEvent(OwnedEvent &event) const {
  return check(driver->eventCreate(event.out(*driver), eventDefault), "cannot make an event");
}

Expected<uint64_t> Gpu::between(const OwnedEvent &first, const OwnedEvent &last) const {
  float milliseconds = 0;
  V4_RETURN_IF_ERROR(
      check(driver->eventElapsedTime(&milliseconds, first.get(), last.get()), "cannot tell a time"));
  return static_cast<uint64_t>(std::max(milliseconds, 0.0f) * 1e6);
}

} // namespace v4::cuda
