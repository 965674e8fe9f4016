// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A phase lasts microseconds, so threads spin for a moment between phases before they sleep. Completion is counted in
// workgroups, not threads: a thread that the system does not schedule delays nobody.
#include "runtime/ThreadPool.h"

#include <algorithm>
#include <sched.h>

namespace v4 {
namespace {

/// About 20 microseconds: longer than the gap between two phases, short enough not to burn a shared machine.
constexpr int spins = 512;

inline void pause() {
  __builtin_ia32_pause();
}

} // namespace

uint32_t ThreadPool::available() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    return static_cast<uint32_t>(std::max(1, CPU_COUNT(&set)));
  return 1;
}

Status ThreadPool::start(uint32_t count) {
  tickets = std::vector<Ticket>(std::max(count, 1u));
  // std::thread would throw when the system refuses; pthread_create returns an error.
  for (uint32_t i = 1; i < count; ++i) {
    pthread_t handle;
    auto body = [](void *pool) -> void * {
      auto *self = static_cast<ThreadPool *>(pool);
      self->work(self->started.fetch_add(1) + 1);
      return nullptr;
    };
    int error = ::pthread_create(&handle, nullptr, body, this);
    if (error != 0)
      return environment("cannot start thread ", i + 1, " of ", count, "; use a smaller --threads");
    handles.push_back(handle);
  }
  return {};
}

ThreadPool::~ThreadPool() {
  stopping.store(true);
  wake.fetch_add(1);
  wake.notify_all();
  for (pthread_t handle : handles)
    ::pthread_join(handle, nullptr);
}

void ThreadPool::help(uint32_t self) {
  uint32_t threads = static_cast<uint32_t>(tickets.size());
  for (uint32_t i = 0; i != threads; ++i) {
    uint32_t owner = (self + i) % threads;
    std::atomic<uint64_t> &ticket = tickets[owner].value;
    for (;;) {
      uint64_t current = ticket.load(std::memory_order_acquire);
      KernelFunction job = function.load(std::memory_order_acquire);
      void *const *arguments = bindings.load(std::memory_order_acquire);
      uint32_t workgroup = static_cast<uint32_t>(current);
      if (workgroup >= rangeBegin(owner + 1ull, total.load(std::memory_order_acquire)))
        break;
      if (!ticket.compare_exchange_weak(current, current + 1, std::memory_order_acq_rel))
        continue;
      job(arguments, workgroup);
      finished.fetch_add(1, std::memory_order_release);
    }
  }
}

void ThreadPool::work(uint32_t self) {
  uint32_t seen = 0;
  while (!stopping.load(std::memory_order_relaxed)) {
    uint32_t now = wake.load();
    for (int i = 0; now == seen && i != spins; ++i) {
      pause();
      now = wake.load();
    }
    if (now == seen) {
      sleepers.fetch_add(1);
      wake.wait(seen);
      sleepers.fetch_sub(1);
      continue;
    }
    seen = now;
    help(self);
  }
}

void ThreadPool::run(KernelFunction job, void *const *arguments, uint32_t workgroups) {
  if (handles.empty() || workgroups == 1) {
    for (uint32_t i = 0; i != workgroups; ++i)
      job(arguments, i);
    return;
  }
  finished.store(0, std::memory_order_relaxed);
  ++generation;
  for (Ticket &ticket : tickets)
    ticket.value.store(generation << 32 | UINT32_MAX, std::memory_order_release); // no workgroup to take
  function.store(job, std::memory_order_release);
  bindings.store(arguments, std::memory_order_release);
  total.store(workgroups, std::memory_order_release);
  ++generation;
  for (uint32_t i = 0; i != tickets.size(); ++i)
    tickets[i].value.store(generation << 32 | rangeBegin(i, workgroups), std::memory_order_release);
  wake.fetch_add(1);
  if (sleepers.load() != 0)
    wake.notify_all();
  help(0);
  for (int i = 0; finished.load(std::memory_order_acquire) != workgroups; ++i) {
    if (i < spins)
      pause();
    else
      ::sched_yield();
  }
}

} // namespace v4
