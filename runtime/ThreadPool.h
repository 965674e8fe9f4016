// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs the workgroups of a phase on a fixed set of threads and returns when all have finished.
#ifndef V4_RUNTIME_THREADPOOL_H
#define V4_RUNTIME_THREADPOOL_H

#include "runtime/Status.h"

#include <atomic>
#include <pthread.h>
#include <vector>

namespace v4 {

/// A phase of a kernel on a CPU (docs/module-format.md).
using KernelFunction = void (*)(void *const *bindings, uint32_t workgroup);

class ThreadPool {
public:
  ThreadPool() = default;
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  /// `threads` counts the caller of run(). V4_ENVIRONMENT when the system gives no more threads.
  Status start(uint32_t threads);

  /// Calls function(bindings, w) for every w below `workgroups`, each exactly once, in no fixed order. Every thread
  /// begins with a range of its own, in order, since neighbours read neighbouring memory, and then helps the others.
  void run(KernelFunction function, void *const *bindings, uint32_t workgroups);

  /// CPUs that this process may use.
  static uint32_t available();

private:
  /// What is left of a thread's range: generation << 32 | next workgroup.
  struct alignas(64) Ticket {
    std::atomic<uint64_t> value{0};
  };

  void work(uint32_t self);
  void help(uint32_t self);
  /// Where the range of thread `number` begins; the last one's ends where that of thread `tickets.size()` would begin.
  uint32_t rangeBegin(uint64_t number, uint32_t workgroups) const {
    return static_cast<uint32_t>(number * workgroups / tickets.size());
  }

  // The job. A thread may read it while the next one is being written. Such a read is thrown away: the generation in
  // all tickets moves on before the job is written, so whoever saw a part of the new job fails to take a workgroup of
  // the old generation.
  std::atomic<KernelFunction> function{nullptr};
  std::atomic<void *const *> bindings{nullptr};
  std::atomic<uint32_t> total{0};
  uint64_t generation = 0;
  std::vector<Ticket> tickets; // one per thread, the caller of run() first
  alignas(64) std::atomic<uint32_t> finished{0};
  alignas(64) std::atomic<uint32_t> wake{0}; // changes with every job; idle threads sleep on it
  std::atomic<uint32_t> sleepers{0};
  std::atomic<bool> stopping{false};
  std::atomic<uint32_t> started{0};
  std::vector<pthread_t> handles;
};

} // namespace v4

#endif // V4_RUNTIME_THREADPOOL_H
