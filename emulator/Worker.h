// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One thread of the host that runs one block at a time, and everything that a running block needs.
#ifndef V4_EMULATOR_WORKER_H
#define V4_EMULATOR_WORKER_H

#include "emulator/Clocks.h"
#include "emulator/Fiber.h"
#include "emulator/KernelApi.h"
#include "emulator/v4emu.h"

#include <atomic>
#include <cstdarg>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace v4::emu {

/// A granule of shared memory. It belongs to the block whose number is in `tag`; for any other block it was never touched.
struct Cell {
  uint32_t tag = 0;
  uint32_t write = 0, read = 0, atomic = 0;              // Accessors
  uint16_t writeSite = 0, readSite = 0, atomicSite = 0;  // index into the kernel's sites
  /// A copy is in flight into it; what is there is from a copy (`write`: the number of its barrier and of the copy there); a barrier.
  enum : uint8_t { Free, Copy, Landed, Barrier };
  uint8_t occupied = Free;
  uint8_t gap = 0;                                       // lies between buffers
};

/// A granule of a binding that the kernel writes. Valid in the launch whose number is in `tag`.
struct GlobalCell {
  uint32_t tag = 0;
  uint32_t writeBlock = 0, readBlock = 0, atomicBlock = 0; // block + 1, or kManyBlocks
  uint32_t write = 0, read = 0, atomic = 0;
  uint16_t writeSite = 0, readSite = 0, atomicSite = 0, reserved = 0;
};
constexpr uint32_t kManyBlocks = ~0u;

/// Memory of the system that is zero until touched; grows, never shrinks, and keeps its pages.
class Pages {
public:
  Pages() = default;
  Pages(const Pages &) = delete;
  Pages &operator=(const Pages &) = delete;
  ~Pages();
  /// False when the system has no address space left. The contents are lost when it grows; `grown` says so.
  bool reserve(size_t bytes, bool *grown = nullptr);
  char *data() const { return memory; }

private:
  char *memory = nullptr;
  size_t size = 0;
};

/// What all workers share during a launch.
struct Launch {
  const v4_emu_launch_info *info = nullptr;
  const v4_emu_kernel *kernel = nullptr;
  std::vector<void *> arguments;
  std::string name;
  uint64_t seed = 0;
  bool races = true;
  uint64_t blocks = 0;
  uint32_t threads = 0, sharedBytes = 0;
  uint32_t number = 0;                     // tag of its GlobalCells
  std::vector<GlobalCell *> cells;         // per binding; null where nothing is written
  std::unique_ptr<std::mutex[]> cellLocks; // by page of a binding
  bool concurrent = false;                 // more than one worker
  std::atomic<uint64_t> next{0};           // block to run
  std::atomic<uint64_t> firstFault{~uint64_t(0)};
  std::mutex reportLock;
  std::string report; // of block firstFault
  std::atomic<bool> outOfMemory{false};
};
constexpr uint32_t kCellLocks = 64;

struct Copy {
  char *to;
  const char *from;
  uint32_t bytes, sourceBytes;
  const v4_emu_site *site;
  uint32_t thread = 0; // that started it
};

enum class State : uint8_t { Ready, Waiting, Done };

/// A GPU thread. The first member is what the kernel sees.
struct Fiber {
  v4_emu_thread pub;
  Context context;
  State state;
  uint32_t thread, clock;
  const v4_emu_site *waitsAt;
  uint32_t waitsFor; // barrier id or lane mask
  std::vector<uint32_t> vector; // what it knows of each thread; empty until a partial synchronisation
  std::vector<uint32_t> landed; // by barrier in shared memory: how many copies that landed there it knows of
  std::vector<Copy> copies;     // in flight, oldest first
  std::vector<uint32_t> groups; // committed groups: copies in each, oldest first
};

/// Lanes that meet at a collective of their warp.
struct Meeting {
  uint32_t mask, arrived;
  const v4_emu_site *site;
  void *arguments[32];
};

struct Warp {
  uint32_t lanes, exited, base;      // `base`: Knowledge::warpBase
  std::vector<Meeting> meetings;     // open ones, with masks that do not overlap
};

struct Barrier {
  uint32_t expected, arrived;
  std::vector<uint32_t> waiting;  // threads
  std::vector<uint32_t> joined;   // what the arrived know (partial synchronisation)
  std::vector<uint32_t> landed;   // and of copies
  uint32_t latest;                // the largest clock among them
};

/// A barrier in shared memory.
struct MemoryBarrier {
  uint32_t expected, pending;             // arrivals of a phase, and how many the current one still waits for
  int64_t bytes = 0;                      // that the current phase still waits for
  uint64_t phase = 0;                     // phases that are complete
  uint32_t index = 0, landings = 0;       // its number in the block, and copies that have landed
  uint32_t initThread = 0, initClock = 0; // when it was initialised
  bool isFenced = false;                  // copies know of that
  std::vector<uint32_t> joined, released; // what those who arrived knew, and as of the end of the last phase
  std::vector<uint32_t> joinedLanded, releasedLanded; // and of copies
  std::vector<uint32_t> waiting;
  std::vector<uint32_t> waking; // threads whose wait is over and that have not run since
  std::vector<Copy> copies;     // in flight
};

class Worker {
public:
  /// Runs blocks of `launch` until none is left.
  void run(Launch &launch);

  /// Ends the current block with a report about the current thread. Does not return.
  [[noreturn]] void fault(const v4_emu_site *site, const char *format, ...) __attribute__((format(printf, 3, 4)));

  /// The same for what may happen while no thread runs. There it returns, and the block ends.
  void report(const v4_emu_site *site, const char *format, ...) __attribute__((format(printf, 3, 4)));

  // Memory (Memory.cpp).
  void access(const char *address, const v4_emu_site *site);
  /// As `access`, with what differs from the site's own record.
  void accessShared(const char *address, uint32_t bytes, v4_emu_access kind, const v4_emu_site *site);
  void accessGlobal(const char *address, uint32_t bytes, v4_emu_access kind, const v4_emu_site *site);
  void checkAlignment(const char *address, uint32_t alignment, const v4_emu_site *site) {
    if (reinterpret_cast<uintptr_t>(address) & (alignment - 1)) [[unlikely]]
      misaligned(address, alignment, site);
  }
  [[noreturn]] void misaligned(const char *address, uint32_t alignment, const v4_emu_site *site);
  bool isShared(const char *address) const {
    return address >= shared && address < shared + kSharedWindow;
  }
  void copyAsync(char *to, const char *from, uint32_t sourceBytes, const v4_emu_site *site);
  void copyWait(uint32_t groups, const v4_emu_site *site);

  // Collectives (Collectives.cpp).
  /// The current lane meets the other lanes of `mask` at `site`. The last to arrive gets the meeting, does the work for all and calls
  /// `release`; for the others null comes back when that has been done.
  Meeting *meet(uint32_t mask, const v4_emu_site *site, void *arguments);
  void release(Meeting *meeting);
  void barrier(uint32_t id, uint32_t threads, const v4_emu_site *site, bool wait);
  void warpSync(uint32_t mask, const v4_emu_site *site);

  // Barriers in shared memory (MemoryBarriers.cpp).
  void initMemoryBarrier(char *address, uint32_t count, const v4_emu_site *site);
  void invalidateMemoryBarrier(char *address, const v4_emu_site *site);
  uint64_t arriveAtMemoryBarrier(char *address, uint32_t count, uint32_t bytes, uint32_t how, const v4_emu_site *site);
  void expectAtMemoryBarrier(char *address, uint32_t bytes, const v4_emu_site *site);
  uint32_t waitForPhase(const char *address, uint64_t what, uint32_t how, const v4_emu_site *site);
  void fenceBulk();
  void bulkCopy(char *to, const char *from, char *barrier, uint32_t bytes, const v4_emu_site *site);

  Fiber &current() { return *running; }
  Knowledge knowledge() const {
    return {running->thread, running->clock, base, warps[running->thread / 32].base,
            running->vector.empty() ? nullptr : running->vector.data()};
  }
  /// Lets other threads go first now and then: what waits for another thread in a loop must not wait for ever.
  void yieldSometimes();
  std::string threadName(uint32_t thread) const;
  std::string blockName(uint64_t block) const;
  std::string siteName(const v4_emu_site *site) const;

  uint64_t accesses = 0, switches = 0, blocksRun = 0;

  static constexpr uint32_t kSharedWindow = 1 << 20;

private:
  bool prepare();
  void runBlock(uint64_t block);
  void reportDeadlock();
  void record(const std::string &text);
  [[noreturn]] static void fiberMain();
  void finishThread();
  /// Continues another thread; comes back when this one is continued.
  void suspend();
  void wait(const v4_emu_site *site, uint32_t what);
  void resume(uint32_t thread) {
    fibers[thread].state = State::Ready;
    ready.push_back(thread);
  }
  uint32_t takeReady();
  uint64_t random() {
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
  }
  void advance(Fiber &fiber, uint32_t clock, const v4_emu_site *site);
  void accessMemoryBarrier(const char *address, v4_emu_access kind, const v4_emu_site *site);
  void markMemoryBarrier(const char *address, bool live);
  MemoryBarrier &memoryBarrier(const char *address, const v4_emu_site *site);
  void requireIdle(const char *address, const MemoryBarrier &barrier, const v4_emu_site *site);
  void expectBytes(const char *address, MemoryBarrier &barrier, uint32_t bytes, const v4_emu_site *site);
  void completePhase(const char *address, MemoryBarrier &barrier, const v4_emu_site *site);
  void acquire(Fiber &fiber, const MemoryBarrier &barrier);
  void yieldForTest(const v4_emu_site *site);
  /// Lands a bulk copy; false when none is in flight.
  bool landOne();
  void joinInto(std::vector<uint32_t> &vector, const Fiber &fiber) const;
  static void joinLanded(std::vector<uint32_t> &to, const std::vector<uint32_t> &from);

  // Sets of accessors; exact lists are kept only for kernels that order parts of warps or blocks.
  bool ordered(const Knowledge &now, const uint32_t &set, Accessors *culprit) const {
    *culprit = Accessors::fromBits(set);
    return now.knows(*culprit) || (kernel->partial_sync && orderedExactly(now, set, culprit));
  }
  void add(const Knowledge &now, uint32_t &set) {
    if (kernel->partial_sync) [[unlikely]]
      addExactly(now, set);
    else
      set = now.added(Accessors::fromBits(set)).bits;
  }
  bool orderedExactly(const Knowledge &now, const uint32_t &set, Accessors *culprit) const;
  void addExactly(const Knowledge &now, uint32_t &set);
  void race(const v4_emu_site *site, const std::string &what, v4_emu_access kind, v4_emu_access otherKind,
            uint64_t otherBlock, Accessors other, uint16_t otherSite);
  int32_t findBinding(const char *address, uint32_t bytes, const v4_emu_site *site) const;

  Launch *launch = nullptr;
  const v4_emu_kernel *kernel = nullptr;
  Fiber *running = nullptr;
  Context scheduler;
  std::vector<uint32_t> ready;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Barrier barriers[16];
  std::map<const char *, MemoryBarrier> memoryBarriers; // by address
  std::vector<char *> barriersWithCopies;               // one entry for each copy
  uint32_t barrierCount = 0;                            // that have been initialised in this block
  uint32_t failedTests = 0;
  bool onMemoryBarrier = false;
  Stacks stacks;
  Pages sharedPages;
  char *shared = nullptr;
  std::vector<Cell> cells;
  std::unordered_map<const uint32_t *, std::vector<Accessors>> exact;
  uint32_t granuleShift = 2, globalShift = 2;
  uint64_t rng = 1;
  uint64_t block = 0;
  uint32_t blockId[3] = {0, 0, 0};
  uint32_t tag = 0;
  uint32_t base = 0; // Knowledge::base
  uint32_t live = 0;
  uint32_t atomics = 0;
  bool failed = false;
  bool inFiber = false;
};

/// The worker that the calling host thread is. One load from a fixed offset of the thread pointer; the default for a shared library is
/// a call.
extern constinit thread_local Worker *currentWorker __attribute__((tls_model("initial-exec")));
inline Worker &thisWorker() {
  return *currentWorker;
}

/// The services that kernels call.
extern const v4_emu_api kApi;

} // namespace v4::emu

#endif
