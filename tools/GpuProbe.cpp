// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "tools/GpuProbe.h"

#include <algorithm>

namespace v4 {
namespace {

constexpr uint64_t copyBytes = uint64_t(256) << 20;

} // namespace

Expected<std::unique_ptr<GpuProbe>> GpuProbe::create(uint32_t ordinal) {
  auto probe = std::make_unique<GpuProbe>();
  cuda::Gpu &gpu = probe->gpu;
  V4_RETURN_IF_ERROR(gpu.open(ordinal));
  for (cuda::OwnedMemory *buffer : {&probe->from, &probe->to}) {
    Expected<cuda::OwnedMemory> memory = gpu.allocate(copyBytes, "the measurement of its memory");
    V4_RETURN_IF_ERROR(memory);
    *buffer = std::move(*memory);
    V4_RETURN_IF_ERROR(
        gpu.check(gpu.driver->memset8(buffer->get(), 1, copyBytes, gpu.stream.get()), "cannot fill memory"));
  }
  for (cuda::OwnedEvent *event : {&probe->begin, &probe->end})
    V4_RETURN_IF_ERROR(gpu.makeEvent(*event));
  V4_RETURN_IF_ERROR(gpu.synchronize("cannot fill memory"));
  return probe;
}

Expected<double> GpuProbe::copyOnce() {
  V4_RETURN_IF_ERROR(gpu.enter());
  const cuda::Driver &driver = *gpu.driver;
  cuda::Stream stream = gpu.stream.get();
  V4_RETURN_IF_ERROR(gpu.check(driver.eventRecord(begin.get(), stream), "cannot copy memory"));
  V4_RETURN_IF_ERROR(
      gpu.check(driver.memcpyDeviceToDevice(to.get(), from.get(), copyBytes, stream), "cannot copy memory"));
  V4_RETURN_IF_ERROR(gpu.check(driver.eventRecord(end.get(), stream), "cannot copy memory"));
  V4_RETURN_IF_ERROR(gpu.synchronize("cannot copy memory"));
  Expected<uint64_t> nanoseconds = gpu.between(begin, end);
  V4_RETURN_IF_ERROR(nanoseconds);
  return 2e9 * static_cast<double>(copyBytes) / static_cast<double>(std::max<uint64_t>(*nanoseconds, 1));
}

uint64_t GpuProbe::bufferBytes() const {
  return 2 * copyBytes;
}

} // namespace v4
