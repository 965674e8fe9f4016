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

/// Units per second over some repetitions. On a machine that does other work the median is what was left, and the best
/// comes close to what there is.
struct Rate {
  double median = 0, best = 0;
};

/// What this CPU has no instructions for is missing.
struct MachineRates {
  Rate readBytes;                   // memory to registers
  Rate copyBytes;                   // memory to memory; every byte counted once
  Rate fp32Flops;                   // multiply-adds in fp32, two operations each
  std::optional<Rate> bf16DotFlops; // products of bf16 pairs summed in fp32
};

class Probe {
public:
  /// `threads` counts the caller. Takes a buffer that is far larger than the caches.
  static Expected<std::unique_ptr<Probe>> create(uint32_t threads);

  MachineRates measureAll();
  // Once each, for measurements that take turns with something else.
  /// A pass over a quarter of the buffer, the next one each time. Afterwards the caches hold nothing else.
  double readOnce();
  double multiplyAddOnce();
  /// Needs bf16 dot products (MachineRates::bf16DotFlops).
  double dotOnce();

  uint32_t threads() const { return threadCount; }
  uint64_t bufferBytes() const { return buffer.size(); }
  /// The instructions that the arithmetic peaks use: "avx512f", "avx2+fma" or "sse2".
  std::string_view instructions() const;

private:
  double rate(KernelFunction function, uint32_t workgroups, double unitsPerWorkgroup);
  double overMemory(KernelFunction function);
  template <typename Once> static Rate repeat(unsigned repetitions, Once once);

  ThreadPool pool;
  Pages buffer;
  uint32_t threadCount = 1;
  unsigned quarter = 0;
};

/// "AMD EPYC 9B45", as the CPU names itself.
std::string cpuName();

double medianOf(std::vector<double> values);

} // namespace v4

#endif // V4_TOOLS_PROBE_H
