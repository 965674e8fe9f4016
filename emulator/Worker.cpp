// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Blocks: their threads as fibers, the order in which these run, and reports.

#include "emulator/Worker.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace v4::emu {

constinit thread_local Worker *currentWorker = nullptr;

std::string Worker::threadName(uint32_t thread) const {
  const v4_emu_thread &t = fibers[thread].pub;
  return "(" + std::to_string(t.tid[0]) + "," + std::to_string(t.tid[1]) + "," + std::to_string(t.tid[2]) + ")";
}

std::string Worker::blockName(uint64_t index) const {
  const uint32_t *grid = launch->info->grid;
  return "(" + std::to_string(index % grid[0]) + "," + std::to_string(index / grid[0] % grid[1]) + "," +
         std::to_string(index / grid[0] / grid[1]) + ")";
}

std::string Worker::siteName(const v4_emu_site *site) const {
  return std::string(site->op) + " (" + site->location + ")";
}

void Worker::record(const std::string &text) {
  failed = true;
  std::lock_guard<std::mutex> guard(launch->reportLock);
  if (block <= launch->firstFault) {
    launch->firstFault = block;
    launch->report = "kernel " + launch->name + ", block " + blockName(block) + ", " + text;
  }
}

void Worker::fault(const v4_emu_site *site, const char *format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  record("thread " + threadName(running->thread) + ", " + siteName(site) + ": " + text);
  switchTo(running->context, scheduler, /*forever=*/true);
  __builtin_unreachable(); // nothing continues an abandoned block
}

void Worker::report(const v4_emu_site *site, const char *format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  record("thread " + threadName(running->thread) + ", " + siteName(site) + ": " + text);
  if (inFiber)
    switchTo(running->context, scheduler, /*forever=*/true);
}

uint32_t Worker::takeReady() {
  // Without a seed the thread that became ready last: lanes of one warp follow each other.
  size_t i = launch->seed ? random() % ready.size() : ready.size() - 1;
  uint32_t thread = ready[i];
  ready[i] = ready.back();
  ready.pop_back();
  return thread;
}

void Worker::suspend() {
  Fiber *self = running;
  if (ready.empty()) {
    switchTo(self->context, scheduler, self->state == State::Done);
    return;
  }
  Fiber *next = &fibers[takeReady()];
  if (next == self)
    return;
  running = next;
  ++switches;
  switchTo(self->context, next->context, self->state == State::Done);
}

void Worker::wait(const v4_emu_site *site, uint32_t what) {
  running->state = State::Waiting;
  running->waitsAt = site;
  running->waitsFor = what;
  suspend();
}

void Worker::yieldSometimes() {
  bool now = launch->seed ? random() % 4 == 0 : ++atomics % 64 == 0;
  if (!now || ready.empty())
    return;
  // To the other end of the list, or the last of the list would come back at once.
  ready.insert(ready.begin(), running->thread);
  suspend();
}

void Worker::fiberMain() {
  Worker &worker = thisWorker();
  arrived(&worker.scheduler, nullptr); // the first fiber comes from there
  worker.launch->info->entry(worker.launch->arguments.data());
  worker.finishThread();
  __builtin_unreachable();
}

void Worker::finishThread() {
  Fiber &self = *running;
  for (const Copy &copy : self.copies)
    if (copy.sourceBytes != 0) // the classic ring leaves zero-filled copies behind
      fault(copy.site, "asynchronous copy is still in flight when its thread exits");
  self.state = State::Done;
  --live;
  Warp &warp = warps[self.thread / 32];
  warp.exited |= 1u << self.thread % 32;
  for (const Meeting &open : warp.meetings)
    if (open.mask >> self.thread % 32 & 1)
      fault(open.site, "divergent: lane %d waits here for this lane, which exits", __builtin_ctz(open.arrived));
  suspend();
}

void Worker::reportDeadlock() {
  // Who waits where, in order of threads; and who is gone.
  struct Place {
    uint32_t count = 0, first = 0;
  };
  std::map<std::pair<uint32_t, const v4_emu_site *>, Place> places; // by first thread
  std::unordered_map<const v4_emu_site *, uint32_t> firstAt;
  uint32_t exited = 0;
  for (const Fiber &fiber : fibers) {
    if (fiber.thread >= launch->threads)
      break;
    if (fiber.state == State::Done) {
      ++exited;
      continue;
    }
    uint32_t first = firstAt.try_emplace(fiber.waitsAt, fiber.thread).first->second;
    Place &place = places[{first, fiber.waitsAt}];
    if (place.count++ == 0)
      place.first = fiber.thread;
  }
  std::string text;
  for (auto &[key, place] : places) {
    text += text.empty() ? "" : "; ";
    text += std::to_string(place.count) + (place.count == 1 ? " thread waits at " : " threads wait at ") + siteName(key.second) +
            ", first " + threadName(place.first);
  }
  if (exited)
    text += "; " + std::to_string(exited) + (exited == 1 ? " has exited" : " have exited");
  for (auto &[address, barrier] : memoryBarriers)
    if (!barrier.waiting.empty())
      text += "; phase " + std::to_string(barrier.phase) + " of the barrier at byte " +
              std::to_string(address - shared) + " of shared memory is exhausted: " + std::to_string(barrier.pending) +
              " of " + std::to_string(barrier.expected) + " arrivals and " + std::to_string(barrier.bytes) +
              " bytes never come";
  const Fiber *first = nullptr;
  for (const Fiber &fiber : fibers)
    if (fiber.thread < launch->threads && fiber.state == State::Waiting && !first)
      first = &fiber;
  record("thread " + (first ? threadName(first->thread) : std::string("?")) + ", " +
         (first ? siteName(first->waitsAt) : std::string("?")) + ": deadlock or divergent barrier: " + text);
}

void Worker::runBlock(uint64_t index) {
  const v4_emu_launch_info &info = *launch->info;
  block = index;
  blockId[0] = uint32_t(index % info.grid[0]);
  blockId[1] = uint32_t(index / info.grid[0] % info.grid[1]);
  blockId[2] = uint32_t(index / info.grid[0] / info.grid[1]);
  if (++tag == 0) { // after 2^32 blocks the tags start again
    std::fill(cells.begin(), cells.end(), Cell());
    tag = 1;
  }
  base = 0;
  atomics = 0;
  failed = false;
  exact.clear();
  ready.clear();
  // The order of the threads of a block depends on the seed and the block alone, not on which worker runs it.
  rng = (launch->seed + 1) * 0x9E3779B97F4A7C15ull ^ (index + 1) * 0xBF58476D1CE4E5B9ull;
  rng |= 1;
  random();
  std::memset(shared, 0xFF, launch->sharedBytes);
  uint32_t count = live = launch->threads;
  for (Barrier &barrier : barriers) {
    barrier.arrived = barrier.latest = 0;
    barrier.waiting.clear();
    barrier.joined.clear();
    barrier.landed.clear();
  }
  memoryBarriers.clear();
  barriersWithCopies.clear();
  barrierCount = 0;
  failedTests = 0;
  onMemoryBarrier = false;
  for (uint32_t w = 0; w != warps.size(); ++w) {
    uint32_t lanes = std::min(32u, count - w * 32);
    warps[w].lanes = lanes == 32 ? ~0u : (1u << lanes) - 1;
    warps[w].exited = warps[w].base = 0;
    warps[w].meetings.clear();
  }
  for (uint32_t t = 0; t != count; ++t) {
    Fiber &fiber = fibers[t];
    std::memcpy(fiber.pub.ctaid, blockId, sizeof blockId);
    fiber.context = stacks.start(t, &Worker::fiberMain);
    fiber.state = State::Ready;
    fiber.clock = 1;
    fiber.vector.clear();
    fiber.landed.clear();
    fiber.copies.clear();
    fiber.groups.clear();
  }
  for (uint32_t t = count; t-- != 0;)
    ready.push_back(t);
  while (!failed) {
    if (ready.empty()) {
      if (live != 0 && landOne())
        continue;
      if (live != 0)
        reportDeadlock();
      break;
    }
    running = &fibers[takeReady()];
    ++switches;
    inFiber = true;
    switchTo(scheduler, running->context);
    inFiber = false;
  }
  if (!failed)
    for (const Barrier &barrier : barriers)
      if (barrier.arrived != 0) {
        record("thread (0,0,0), barrier " + std::to_string(&barrier - barriers) + ": " + std::to_string(barrier.arrived) + " of " +
               std::to_string(barrier.expected) + " arrivals are left when the block ends");
        break;
      }
  if (!failed && !barriersWithCopies.empty()) {
    const Copy &copy = memoryBarriers.at(barriersWithCopies.front()).copies.front();
    record("thread " + threadName(copy.thread) + ", " + siteName(copy.site) +
           ": asynchronous copy is still in flight when its block ends");
  }
  ++blocksRun;
}

bool Worker::prepare() {
  const v4_emu_launch_info &info = *launch->info;
  if (!sharedPages.reserve(kSharedWindow) || !stacks.reserve(launch->threads))
    return false;
  shared = sharedPages.data();
  granuleShift = uint32_t(__builtin_ctz(kernel->shared_granule));
  globalShift = uint32_t(__builtin_ctz(kernel->global_granule));
  for (Cell &cell : cells)
    cell.gap = 0;
  if (launch->races && cells.size() < (launch->sharedBytes >> granuleShift) + 1)
    cells.resize((launch->sharedBytes >> granuleShift) + 1);
  if (launch->races)
    for (uint32_t i = 0; i != kernel->gap_count; ++i)
      // A granule that the buffer before it ends in belongs to the buffer.
      for (uint32_t cell = (kernel->gaps[i].begin + kernel->shared_granule - 1) >> granuleShift;
           cell < kernel->gaps[i].end >> granuleShift; ++cell) {
        cells[cell].gap = 1;
        cells[cell].tag = 0;
      }
  uint32_t count = launch->threads;
  warps.resize((count + 31) / 32);
  if (fibers.size() < count)
    fibers.resize(count);
  for (uint32_t t = 0; t != fibers.size(); ++t) {
    Fiber &fiber = fibers[t];
    fiber.thread = t;
    if (t >= count)
      continue;
    v4_emu_thread &pub = fiber.pub;
    pub.tid[0] = t % info.block[0];
    pub.tid[1] = t / info.block[0] % info.block[1];
    pub.tid[2] = t / info.block[0] / info.block[1];
    std::memcpy(pub.ntid, info.block, sizeof pub.ntid);
    std::memcpy(pub.nctaid, info.grid, sizeof pub.nctaid);
    uint32_t lane = t % 32, bit = 1u << lane;
    pub.laneid = lane;
    pub.warpid = t / 32;
    pub.nwarpid = (count + 31) / 32;
    pub.lanemask_eq = bit;
    pub.lanemask_lt = bit - 1;
    pub.lanemask_le = bit | (bit - 1);
    pub.lanemask_gt = ~pub.lanemask_le;
    pub.lanemask_ge = ~pub.lanemask_lt;
    pub.shared = shared;
  }
  return true;
}

void Worker::run(Launch &theLaunch) {
  launch = &theLaunch;
  kernel = launch->kernel;
  currentWorker = this;
  scheduler = Context(); // of this thread of the host
  if (!prepare()) {
    launch->outOfMemory = true;
    return;
  }
  // Blocks start in ascending order, so every block below one that faults runs to its end: the lowest fault is found always.
  for (uint64_t index; (index = launch->next.fetch_add(1)) < launch->blocks && index < launch->firstFault;)
    runBlock(index);
  currentWorker = nullptr;
}

} // namespace v4::emu
