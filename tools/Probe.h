// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What this machine can do at most, measured: the yardstick for kernels. Work is handed to threads as kernels'
// workgroups are.
#ifndef V4_TOOLS_PROBE_H
#define V4_TOOLS_PROBE_H

#include "runtime/FileIo.h"
#include "runtime/ThreadPool.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace v4 {

/// Rates per second. What this CPU has no instructions for is missing.
struct MachineRates {
  double readBytes = 0;               // memory to registers
  double copyBytes = 0;               // memory to memory; every byte counted once
  double fp32Flops = 0;               // multiply-adds in fp32, two operations each
  std::optional<double> bf16DotFlops; // products of bf16 pairs summed in fp32
};

class Probe {
public:
  /// `threads` counts the caller. Takes a buffer that is far larger than the caches.
  static Expected<std::unique_ptr<Probe>> create(uint32_t threads);

  /// The median of some repetitions of each.
  MachineRates measureAll();
  /// One pass over memory, for measurements that surround something else.
  double readOnce();

  uint32_t threads() const { return threadCount; }
  uint64_t bufferBytes() const { return buffer.size(); }
  /// The instructions that the arithmetic peaks use: "avx512f", "avx2+fma" or "sse2".
  std::string_view instructions() const;

private:
  double rate(KernelFunction function, uint32_t workgroups, double unitsPerWorkgroup);
  template <typename Once> double median(unsigned repetitions, Once once);

  ThreadPool pool;
  Pages buffer;
  uint32_t threadCount = 1;
};

/// "AMD EPYC 9B45", as the CPU names itself.
std::string cpuName();

double medianOf(std::vector<double> values);

} // namespace v4

#endif // V4_TOOLS_PROBE_H
