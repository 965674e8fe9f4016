// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Barriers in shared memory (mbarrier) and the bulk copies that complete on them.
//
// A phase of a barrier is complete when as many arrivals as expected have come and as many bytes have landed as were
// announced; the next phase begins at once. Copies land when no thread can run without them, in an order that follows
// the seed.

#include "emulator/Worker.h"

#include <algorithm>
#include <cstring>

namespace v4::emu {

/// Arrivals and, to both sides, bytes of a phase (PTX, "Contents of the mbarrier object").
static constexpr uint32_t kMostCount = (1u << 20) - 1;

/// The barrier's bytes count as accessed: what initialised it must be ordered before its use.
void Worker::accessMemoryBarrier(const char *address, v4_emu_access kind, const v4_emu_site *site) {
  ++accesses;
  onMemoryBarrier = true;
  accessShared(address, 8, kind, site);
  onMemoryBarrier = false;
}

void Worker::markMemoryBarrier(const char *address, bool live) {
  if (!launch->races)
    return;
  size_t offset = size_t(address - shared);
  for (size_t i = offset >> granuleShift, end = (offset + 7) >> granuleShift; i <= end; ++i)
    cells[i].occupied = live ? Cell::Barrier : Cell::Free;
}

MemoryBarrier &Worker::memoryBarrier(const char *address, const v4_emu_site *site) {
  checkAlignment(address, 8, site);
  if (!isShared(address))
    fault(site, "out of bounds: address %p of a barrier is not in shared memory", static_cast<const void *>(address));
  auto it = memoryBarriers.find(address);
  if (it == memoryBarriers.end())
    fault(site,
          "uninitialised barrier: mbarrier.init has not been executed at byte %td of shared memory, or its barrier is "
          "invalid again",
          address - shared);
  accessMemoryBarrier(address, V4_EMU_ATOMIC, site);
  return it->second;
}

void Worker::requireIdle(const char *address, const MemoryBarrier &barrier, const v4_emu_site *site) {
  for (const std::vector<uint32_t> *waiters : {&barrier.waiting, &barrier.waking})
    if (!waiters->empty())
      fault(site, "barrier at byte %td of shared memory is in use: thread %s waits for it", address - shared,
            threadName(waiters->front()).c_str());
  if (!barrier.copies.empty())
    fault(site,
          "barrier at byte %td of shared memory is in use: a copy that completes on it is in flight, started at %s",
          address - shared, siteName(barrier.copies.front().site).c_str());
}

void Worker::initMemoryBarrier(char *address, uint32_t count, const v4_emu_site *site) {
  if (count == 0 || count > kMostCount)
    fault(site, "barrier for %u arrivals; 1 to %u are possible", count, kMostCount);
  checkAlignment(address, 8, site);
  if (!isShared(address))
    fault(site, "out of bounds: address %p of a barrier is not in shared memory", static_cast<const void *>(address));
  auto it = memoryBarriers.find(address);
  if (it != memoryBarriers.end()) {
    requireIdle(address, it->second, site);
    fault(site,
          "there is a barrier at byte %td of shared memory already: mbarrier.inval comes before the next mbarrier.init",
          address - shared);
  }
  accessMemoryBarrier(address, V4_EMU_WRITE, site);
  if (barrierCount == kMaxThreads && launch->races)
    fault(site, "more than %u barriers in shared memory in one block: run with races off", kMaxThreads);
  MemoryBarrier barrier;
  barrier.expected = barrier.pending = count;
  barrier.index = barrierCount++;
  barrier.initThread = running->thread;
  barrier.initClock = running->clock;
  memoryBarriers.emplace(address, std::move(barrier));
  markMemoryBarrier(address, true);
}

void Worker::invalidateMemoryBarrier(char *address, const v4_emu_site *site) {
  MemoryBarrier &barrier = memoryBarrier(address, site);
  requireIdle(address, barrier, site);
  // As a write: whoever used the barrier must have come before.
  accessMemoryBarrier(address, V4_EMU_WRITE, site);
  markMemoryBarrier(address, false);
  std::memset(address, 0xFF, 8);
  memoryBarriers.erase(address);
}

void Worker::expectBytes(const char *address, MemoryBarrier &barrier, uint32_t bytes, const v4_emu_site *site) {
  if (bytes > kMostCount || barrier.bytes + int64_t(bytes) > int64_t(kMostCount))
    fault(site, "barrier at byte %td of shared memory: %lld bytes are expected in one phase; %u are possible",
          address - shared, (long long)(barrier.bytes + int64_t(bytes)), kMostCount);
  barrier.bytes += bytes;
}

uint64_t Worker::arriveAtMemoryBarrier(char *address, uint32_t count, uint32_t bytes, uint32_t how,
                                       const v4_emu_site *site) {
  MemoryBarrier &barrier = memoryBarrier(address, site);
  Fiber &fiber = current();
  if (how & V4_EMU_ARRIVE_EXPECT)
    expectBytes(address, barrier, bytes, site);
  if (count == 0 || count > barrier.pending)
    fault(site,
          "exhausted barrier phase: %u arrive at the barrier at byte %td of shared memory, whose phase %llu waits for "
          "%u of %u",
          count, address - shared, (unsigned long long)barrier.phase, barrier.pending, barrier.expected);
  if (how & V4_EMU_ARRIVE_NO_COMPLETE && count == barrier.pending)
    fault(site,
          "exhausted barrier phase: arrival without completion completes phase %llu of the barrier at byte %td of "
          "shared memory",
          (unsigned long long)barrier.phase, address - shared);
  uint64_t state = barrier.phase;
  if (launch->races) {
    joinInto(barrier.joined, fiber);
    joinLanded(barrier.joinedLanded, fiber.landed);
    advance(fiber, fiber.clock + 1, site);
  }
  failedTests = 0;
  barrier.pending -= count;
  if (how & V4_EMU_ARRIVE_DROP)
    barrier.expected -= count;
  completePhase(address, barrier, site);
  return state;
}

void Worker::expectAtMemoryBarrier(char *address, uint32_t bytes, const v4_emu_site *site) {
  expectBytes(address, memoryBarrier(address, site), bytes, site);
}

void Worker::acquire(Fiber &fiber, const MemoryBarrier &barrier) {
  if (!launch->races)
    return;
  joinLanded(fiber.landed, barrier.releasedLanded);
  if (barrier.released.empty())
    return;
  fiber.vector.resize(launch->threads, 0);
  for (uint32_t u = 0; u != launch->threads; ++u)
    fiber.vector[u] = std::max(fiber.vector[u], barrier.released[u]);
}

void Worker::completePhase(const char *address, MemoryBarrier &barrier, const v4_emu_site *site) {
  if (barrier.pending != 0 || barrier.bytes > 0)
    return;
  if (barrier.bytes < 0) {
    report(site,
           "exhausted barrier phase: %lld more bytes have landed than phase %llu of the barrier at byte %td of shared "
           "memory expects",
           (long long)-barrier.bytes, (unsigned long long)barrier.phase, address - shared);
    return;
  }
  // A thread that waited for the phase before and has not seen its end would on a GPU wait for the one after this, or
  // for ever.
  if (!barrier.waking.empty()) {
    report(site,
           "exhausted barrier phase: phase %llu of the barrier at byte %td of shared memory ends before thread %s has "
           "seen the end of "
           "the phase before",
           (unsigned long long)barrier.phase, address - shared, threadName(barrier.waking.front()).c_str());
    return;
  }
  ++barrier.phase;
  barrier.pending = barrier.expected;
  barrier.released = barrier.joined;
  barrier.joinedLanded.resize(std::max<size_t>(barrier.joinedLanded.size(), barrier.index + 1), 0);
  barrier.joinedLanded[barrier.index] = barrier.landings;
  barrier.releasedLanded = barrier.joinedLanded;
  for (size_t i = barrier.waiting.size(); i-- != 0;) {
    barrier.waking.push_back(barrier.waiting[i]);
    resume(barrier.waiting[i]);
  }
  barrier.waiting.clear();
}

uint32_t Worker::waitForPhase(const char *address, uint64_t what, uint32_t how, const v4_emu_site *site) {
  MemoryBarrier &barrier = memoryBarrier(address, site);
  Fiber &fiber = current();
  bool done;
  if (how & V4_EMU_WAIT_PARITY) {
    if (what > 1)
      fault(site, "parity %llu of a barrier's phase is neither 0 nor 1", (unsigned long long)what);
    done = (barrier.phase & 1) != what;
  } else {
    if (what > barrier.phase || barrier.phase - what > 1)
      fault(site,
            "exhausted barrier phase: waits for the end of phase %llu of the barrier at byte %td of shared memory, "
            "which is in phase "
            "%llu; it can wait for that one and the one before",
            (unsigned long long)what, address - shared, (unsigned long long)barrier.phase);
    done = barrier.phase != what;
  }
  if (!done && !(how & V4_EMU_WAIT_SUSPEND)) {
    yieldForTest(site);
    return 0;
  }
  if (!done) {
    barrier.waiting.push_back(fiber.thread);
    wait(site, uint32_t(what));
    std::erase(barrier.waking, fiber.thread);
  }
  acquire(fiber, barrier);
  return 1;
}

/// Who asks again and again must let the others go on, and in the end the copies.
void Worker::yieldForTest(const v4_emu_site *site) {
  constexpr uint32_t kMostTests = 1 << 18;
  if (++failedTests > kMostTests)
    fault(site, "deadlock: %u tests in a row of barriers in shared memory have failed, and nobody arrives", kMostTests);
  bool alone = ready.empty();
  if (!alone) {
    ready.insert(ready.begin(), running->thread);
    suspend();
  }
  if (alone || failedTests % (4 * launch->threads) == 0)
    landOne();
}

/// Copies in bulk have their own way into memory (PTX, "Async proxy"): what threads know of an initialisation, copies know
/// after a fence.
void Worker::fenceBulk() {
  Knowledge now = knowledge();
  for (auto &[address, barrier] : memoryBarriers)
    barrier.isFenced |= now.knows(barrier.initThread, barrier.initClock);
}

void Worker::bulkCopy(char *to, const char *from, char *barrierAddress, uint32_t bytes, const v4_emu_site *site) {
  ++accesses;
  if (bytes == 0 || bytes % 16 != 0)
    fault(site, "bulk copy of %u bytes: no multiple of 16", bytes);
  checkAlignment(to, 16, site);
  checkAlignment(from, 16, site);
  if (!isShared(to))
    fault(site, "out of bounds: destination %p is not in shared memory", static_cast<void *>(to));
  accessGlobal(from, bytes, V4_EMU_READ, site);
  accessShared(to, bytes, V4_EMU_WRITE, site);
  MemoryBarrier &barrier = memoryBarrier(barrierAddress, site);
  if (launch->races && !barrier.isFenced)
    fault(site,
          "missing fence: no fence.mbarrier.init or fence.proxy.async between mbarrier.init of the barrier at byte %td of "
          "shared memory and a copy that completes on it",
          barrierAddress - shared);
  if (launch->races)
    for (size_t i = size_t(to - shared) >> granuleShift, end = size_t(to - shared + bytes - 1) >> granuleShift;
         i <= end; ++i)
      cells[i].occupied = Cell::Copy;
  std::memset(to, 0xFF, bytes); // as cp.async
  barrier.copies.push_back({to, from, bytes, bytes, site, running->thread});
  barriersWithCopies.push_back(barrierAddress);
}

bool Worker::landOne() {
  if (barriersWithCopies.empty())
    return false;
  size_t which = launch->seed ? random() % barriersWithCopies.size() : barriersWithCopies.size() - 1;
  char *address = barriersWithCopies[which];
  barriersWithCopies.erase(barriersWithCopies.begin() + ptrdiff_t(which));
  MemoryBarrier &barrier = memoryBarriers.at(address);
  size_t index = launch->seed ? random() % barrier.copies.size() : barrier.copies.size() - 1;
  Copy copy = barrier.copies[index];
  barrier.copies.erase(barrier.copies.begin() + ptrdiff_t(index));
  failedTests = 0;
  if (!inFiber)
    running = &fibers[copy.thread]; // for reports
  std::memcpy(copy.to, copy.from, copy.bytes);
  if (launch->races) {
    // Only who waits for this barrier knows of it, or learns of it from who has.
    if (++barrier.landings > kMaxClock) {
      report(copy.site, "more than %u copies on one barrier: run with races off", kMaxClock);
      return true;
    }
    uint32_t self = Accessors(Accessors::One, barrier.index, barrier.landings).bits;
    for (size_t i = size_t(copy.to - shared) >> granuleShift,
                end = size_t(copy.to - shared + copy.bytes - 1) >> granuleShift;
         i <= end; ++i) {
      cells[i].occupied = Cell::Landed;
      cells[i].write = self;
    }
  }
  barrier.bytes -= copy.bytes;
  if (barrier.bytes < -int64_t(kMostCount))
    report(copy.site, "barrier at byte %td of shared memory: more than %u bytes have landed that no phase expects",
           address - shared, kMostCount);
  else
    completePhase(address, barrier, copy.site);
  return true;
}

} // namespace v4::emu
