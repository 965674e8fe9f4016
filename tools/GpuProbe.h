// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the memory of a GPU can do at most, measured: the yardstick for its kernels.
#ifndef V4_TOOLS_GPUPROBE_H
#define V4_TOOLS_GPUPROBE_H

#include "runtime/CudaGpu.h"

#include <memory>

namespace v4 {

class GpuProbe {
public:
  /// Takes two buffers that are far larger than the caches of GPU number `ordinal`. V4_ENVIRONMENT as cuda::Gpu::open,
  /// or when there is no memory for them.
  static Expected<std::unique_ptr<GpuProbe>> create(uint32_t ordinal);
  ~GpuProbe() { gpu.enterAnyway(); }

  /// Copies one buffer to the other: bytes per second, half of them read and half of them written. Afterwards the
  /// caches hold nothing else.
  Expected<double> copyOnce();

  const std::string &description() const { return gpu.text; }
  uint64_t bufferBytes() const;

private:
  cuda::Gpu gpu;
  cuda::OwnedMemory from, to;
  cuda::OwnedEvent begin, end;
};

} // namespace v4

#endif // V4_TOOLS_GPUPROBE_H
