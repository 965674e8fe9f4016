// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What several threads do together: barriers, warp synchronisation, shuffles, votes, matrix ops; and the table of services.

#include "emulator/Worker.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace v4::emu {

/// The next number of a thread's time. Clocks have 20 bits; a block that synchronises more often cannot be checked.
void Worker::advance(Fiber &fiber, uint32_t clock, const v4_emu_site *site) {
  if (clock > kMaxClock)
    fault(site, "more than %u synchronisations in one block: run with races off", kMaxClock);
  fiber.clock = clock;
}

void Worker::joinInto(std::vector<uint32_t> &vector, const Fiber &fiber) const {
  uint32_t count = launch->threads;
  vector.resize(count, 0);
  const Warp &warp = warps[fiber.thread / 32];
  for (uint32_t u = 0; u != count; ++u) {
    uint32_t known = u == fiber.thread ? fiber.clock : base;
    if (u / 32 == fiber.thread / 32)
      known = std::max(known, warp.base);
    if (!fiber.vector.empty())
      known = std::max(known, fiber.vector[u]);
    vector[u] = std::max(vector[u], known);
  }
}

void Worker::joinLanded(std::vector<uint32_t> &to, const std::vector<uint32_t> &from) {
  to.resize(std::max(to.size(), from.size()), 0);
  for (size_t i = 0; i != from.size(); ++i)
    to[i] = std::max(to[i], from[i]);
}

Meeting *Worker::meet(uint32_t mask, const v4_emu_site *site, void *arguments) {
  Fiber &self = current();
  Warp &warp = warps[self.thread / 32];
  uint32_t lane = self.thread % 32, bit = 1u << lane;
  if (!(mask & bit))
    fault(site, "divergent: lane %u is not in its own lane mask 0x%08x", lane, mask);
  mask &= warp.lanes;
  if (mask & warp.exited)
    fault(site, "divergent: the lane mask 0x%08x names lane %d, which has exited", mask, std::countr_zero(mask & warp.exited));
  for (Meeting &open : warp.meetings) {
    if (!(open.mask & mask))
      continue;
    if (open.site != site)
      fault(site, "divergent: lane %u is here while lane %d waits for it at %s", lane, std::countr_zero(open.arrived),
            siteName(open.site).c_str());
    if (open.mask != mask)
      fault(site, "divergent: lane %u has lane mask 0x%08x, lane %d has 0x%08x", lane, mask, std::countr_zero(open.arrived), open.mask);
    open.arguments[lane] = arguments;
    open.arrived |= bit;
    if (open.arrived == mask)
      return &open;
    wait(site, mask);
    return nullptr;
  }
  warp.meetings.push_back({mask, bit, site, {}});
  warp.meetings.back().arguments[lane] = arguments;
  if (mask == bit)
    return &warp.meetings.back();
  wait(site, mask);
  return nullptr;
}

void Worker::release(Meeting *meeting) {
  uint32_t first = running->thread / 32 * 32;
  Warp &warp = warps[running->thread / 32];
  uint32_t others = meeting->arrived & ~(1u << running->thread % 32);
  warp.meetings.erase(warp.meetings.begin() + (meeting - warp.meetings.data()));
  // The last in the list runs first.
  for (; others; others &= ~(1u << (31 - std::countl_zero(others))))
    resume(first + 31 - uint32_t(std::countl_zero(others)));
}

void Worker::warpSync(uint32_t mask, const v4_emu_site *site) {
  Meeting *meeting = meet(mask, site, nullptr);
  if (!meeting)
    return;
  Warp &warp = warps[running->thread / 32];
  Fiber *lanes = fibers.data() + running->thread / 32 * 32;
  if (launch->races) {
    uint32_t latest = 0;
    bool vectors = false;
    for (uint32_t l = 0; l != 32; ++l)
      if (meeting->mask >> l & 1) {
        latest = std::max(latest, lanes[l].clock);
        vectors |= !lanes[l].vector.empty();
      }
    bool whole = meeting->mask == (warp.lanes & ~warp.exited);
    if (!whole || vectors) {
      std::vector<uint32_t> joined;
      for (uint32_t l = 0; l != 32; ++l)
        if (meeting->mask >> l & 1)
          joinInto(joined, lanes[l]);
      for (uint32_t l = 0; l != 32; ++l)
        if (meeting->mask >> l & 1)
          lanes[l].vector = joined;
    }
    if (barrierCount) {
      std::vector<uint32_t> landed;
      for (uint32_t l = 0; l != 32; ++l)
        if (meeting->mask >> l & 1)
          joinLanded(landed, lanes[l].landed);
      for (uint32_t l = 0; l != 32; ++l)
        if (meeting->mask >> l & 1)
          lanes[l].landed = landed;
    }
    if (whole)
      warp.base = latest;
    for (uint32_t l = 0; l != 32; ++l)
      if (meeting->mask >> l & 1)
        advance(lanes[l], latest + 1, site);
  }
  release(meeting);
}

void Worker::barrier(uint32_t id, uint32_t threads, const v4_emu_site *site, bool wantsToWait) {
  if (id >= 16)
    fault(site, "barrier %u: there are 16", id);
  if (threads == 0)
    threads = launch->threads;
  if (threads % 32 != 0 && threads != launch->threads)
    fault(site, "barrier for %u threads: no multiple of 32", threads);
  if (threads > launch->threads)
    fault(site, "barrier for %u threads in a block of %u", threads, launch->threads);
  // These ops are aligned: the lanes of a warp arrive as one.
  struct Arrival {
    uint32_t id, threads;
  } mine{id, threads};
  Fiber &self = current();
  Warp &warp = warps[self.thread / 32];
  Meeting *meeting = meet(warp.lanes, site, &mine);
  if (!meeting)
    return; // resumed when the barrier was complete, or at once where the op does not wait
  uint32_t first = self.thread / 32 * 32, lanes = meeting->arrived;
  for (uint32_t l = 0; l != 32; ++l)
    if (lanes >> l & 1) {
      auto *other = static_cast<const Arrival *>(meeting->arguments[l]);
      if (other->id != id || other->threads != threads)
        fault(site, "divergent: lane %u names barrier %u for %u threads, lane %u barrier %u for %u", self.thread % 32, id, threads, l,
              other->id, other->threads);
    }
  warp.meetings.erase(warp.meetings.begin() + (meeting - warp.meetings.data()));
  Barrier &barrier = barriers[id];
  if (barrier.arrived == 0)
    barrier.expected = threads;
  else if (barrier.expected != threads)
    fault(site, "barrier %u for %u threads, of which others wait for %u", id, threads, barrier.expected);
  bool whole = threads == launch->threads && wantsToWait;
  for (uint32_t l = 0; l != 32; ++l) {
    if (!(lanes >> l & 1))
      continue;
    Fiber &lane = fibers[first + l];
    if (launch->races && !whole)
      joinInto(barrier.joined, lane);
    joinLanded(barrier.landed, lane.landed);
    barrier.latest = std::max(barrier.latest, lane.clock);
    if (wantsToWait)
      barrier.waiting.push_back(lane.thread);
    else
      advance(lane, lane.clock + 1, site);
  }
  barrier.arrived += uint32_t(std::popcount(lanes));
  // The last in the list of those that are ready runs first.
  auto resumeOthers = [&](uint32_t mask) {
    for (uint32_t l = 32; l-- != 0;)
      if (mask >> l & 1 && first + l != self.thread)
        resume(first + l);
  };
  if (barrier.arrived < barrier.expected) {
    if (wantsToWait)
      wait(site, id);
    else
      resumeOthers(lanes);
    return;
  }
  if (barrier.arrived > barrier.expected)
    fault(site, "barrier %u: %u threads arrive where %u are expected", id, barrier.arrived, barrier.expected);
  whole = barrier.waiting.size() == launch->threads;
  if (launch->races) {
    for (uint32_t thread : barrier.waiting) {
      Fiber &fiber = fibers[thread];
      if (whole)
        fiber.vector.clear();
      else
        fiber.vector = barrier.joined;
      fiber.landed = barrier.landed;
      advance(fiber, barrier.latest + 1, site);
    }
    if (whole) {
      base = barrier.latest;
      exact.clear();
    }
  }
  for (size_t i = barrier.waiting.size(); i-- != 0;)
    if (barrier.waiting[i] != self.thread)
      resume(barrier.waiting[i]);
  if (!wantsToWait)
    resumeOthers(lanes);
  barrier.arrived = barrier.latest = 0;
  barrier.joined.clear();
  barrier.landed.clear();
  barrier.waiting.clear();
}

namespace {

struct Shuffle {
  uint32_t value, offset, clamp;
  uint64_t result;
};

struct Lane32 {
  uint32_t value, result;
};

struct Lane64 {
  uint64_t value, result;
};

struct Mma {
  const void *a, *b, *c;
  void *d;
};

struct MatrixRow {
  char *row;
  uint32_t *registers;
};

/// `for lane in mask`.
template <typename F> void forLanes(uint32_t mask, F f) {
  for (; mask; mask &= mask - 1)
    f(uint32_t(std::countr_zero(mask)));
}

float fromF16(uint16_t bits) {
  return static_cast<float>(std::bit_cast<_Float16>(bits));
}

/// d = a b + c with the fragments of the PTX manual, "Matrix Fragments for mma.m16n8k16" and "m16n8k8": lane = 4 g + t. Products are
/// exact; sums are rounded to f32 in the order of k, which the manual leaves open.
void multiply(const Meeting &meeting, uint32_t k, uint32_t types) {
  typedef float Row __attribute__((vector_size(32)));
  typedef uint16_t Halves __attribute__((vector_size(16)));
  typedef _Float16 F16s __attribute__((vector_size(16)));
  typedef uint32_t Words __attribute__((vector_size(32)));
  alignas(32) uint16_t halfA[16][16], halfB[16][8];
  alignas(32) float a[16][16], d[16][8];
  Row b[16];
  bool narrow = types == V4_EMU_F16_F16;
  for (uint32_t lane = 0; lane != 32; ++lane) {
    const Mma &m = *static_cast<Mma *>(meeting.arguments[lane]);
    uint32_t g = lane / 4, t = lane % 4;
    auto *ra = static_cast<const char *>(m.a);
    auto *rb = static_cast<const uint16_t *>(m.b);
    // Register i holds two neighbouring columns of A, or two neighbouring rows of B.
    for (uint32_t i = 0; i != k / 4; ++i)
      std::memcpy(&halfA[g + (i & 1) * 8][2 * t + (i & 2) * 4], ra + 4 * i, 4);
    for (uint32_t i = 0; i != k / 4; ++i)
      halfB[2 * t + (i & 1) + (i & 2) * 4][g] = rb[i];
    for (uint32_t i = 0; i != 2; ++i) {
      if (narrow)
        for (uint32_t j = 0; j != 2; ++j)
          d[g + 8 * i][2 * t + j] = fromF16(static_cast<const uint16_t *>(m.c)[2 * i + j]);
      else
        std::memcpy(&d[g + 8 * i][2 * t], static_cast<const char *>(m.c) + 8 * i, 8);
    }
  }
  auto widen = [&](const uint16_t *from) {
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    if (types == V4_EMU_BF16_F32)
      return std::bit_cast<Row>(__builtin_convertvector(halves, Words) << 16);
    return __builtin_convertvector(std::bit_cast<F16s>(halves), Row);
  };
  for (uint32_t row = 0; row != 16; ++row)
    for (uint32_t half = 0; half != k / 8; ++half) {
      Row wide = widen(&halfA[row][8 * half]);
      std::memcpy(&a[row][8 * half], &wide, sizeof wide);
    }
  for (uint32_t i = 0; i != k; ++i)
    b[i] = widen(halfB[i]);
  // Four rows at a time, or each sum would wait for the one before.
  for (uint32_t row = 0; row != 16; row += 4) {
    Row sums[4];
    std::memcpy(sums, d[row], sizeof sums);
    for (uint32_t i = 0; i != k; ++i)
      for (uint32_t r = 0; r != 4; ++r) {
        float one = a[row + r][i];
        sums[r] = __builtin_elementwise_fma(Row{one, one, one, one, one, one, one, one}, b[i], sums[r]);
      }
    std::memcpy(d[row], sums, sizeof sums);
  }
  for (uint32_t lane = 0; lane != 32; ++lane) {
    const Mma &m = *static_cast<Mma *>(meeting.arguments[lane]);
    uint32_t g = lane / 4, t = lane % 4;
    for (uint32_t i = 0; i != 2; ++i) {
      if (narrow)
        for (uint32_t j = 0; j != 2; ++j)
          static_cast<_Float16 *>(m.d)[2 * i + j] = static_cast<_Float16>(d[g + 8 * i][2 * t + j]);
      else
        std::memcpy(static_cast<char *>(m.d) + 8 * i, &d[g + 8 * i][2 * t], 8);
    }
  }
}

void requireWholeWarp(Worker &worker, const v4_emu_site *site) {
  // .aligned ops need every lane; a block whose last warp is not full has no complete warp there.
  uint32_t threads = worker.current().pub.ntid[0] * worker.current().pub.ntid[1] * worker.current().pub.ntid[2];
  if (threads - worker.current().thread / 32 * 32 < 32)
    worker.fault(site, "needs all 32 lanes of the warp, which has %u", threads % 32);
}

v4_emu_thread *thread() {
  return &thisWorker().current().pub;
}

void access(const void *address, const v4_emu_site *site) {
  thisWorker().access(static_cast<const char *>(address), site);
}

void barrier(uint32_t id, uint32_t threads, const v4_emu_site *site) {
  thisWorker().barrier(id, threads, site, true);
}

void barrierArrive(uint32_t id, uint32_t threads, const v4_emu_site *site) {
  thisWorker().barrier(id, threads, site, false);
}

void warpSync(uint32_t mask, const v4_emu_site *site) {
  thisWorker().warpSync(mask, site);
}

/// The lane `self` meets the others of `mask`; the last one to arrive runs `body` for all, with the lanes' arguments.
template <typename Lane, typename Body>
void together(uint32_t mask, const v4_emu_site *site, Lane &self, Body body) {
  Worker &worker = thisWorker();
  Meeting *meeting = worker.meet(mask, site, &self);
  if (!meeting)
    return;
  body(*meeting);
  worker.release(meeting);
}

uint64_t shuffle(uint32_t mask, uint32_t value, uint32_t offset, uint32_t clamp, uint32_t kind, const v4_emu_site *site) {
  Shuffle self{value, offset, clamp, 0};
  together(mask, site, self, [&](Meeting &meeting) {
    uint32_t bad = ~0u, badSource = 0;
    forLanes(meeting.mask, [&](uint32_t lane) {
      Shuffle &s = *static_cast<Shuffle *>(meeting.arguments[lane]);
      uint32_t segment = s.clamp >> 8 & 31, bound = s.clamp & 31, by = s.offset & 31;
      uint32_t last = (lane & segment) | (bound & ~segment), first = lane & segment;
      int32_t source = 0;
      bool inside = false;
      switch (kind) {
      case V4_EMU_BUTTERFLY:
        source = int32_t(lane ^ by);
        inside = source <= int32_t(last);
        break;
      case V4_EMU_UP:
        source = int32_t(lane) - int32_t(by);
        inside = source >= int32_t(last);
        break;
      case V4_EMU_DOWN:
        source = int32_t(lane + by);
        inside = source <= int32_t(last);
        break;
      default:
        source = int32_t(first | (by & ~segment));
        inside = source <= int32_t(last);
      }
      if (!inside)
        source = int32_t(lane);
      if (!(meeting.mask >> source & 1)) {
        bad = lane;
        badSource = uint32_t(source);
        return;
      }
      s.result = static_cast<Shuffle *>(meeting.arguments[source])->value | uint64_t(inside) << 32;
    });
    if (bad != ~0u)
      thisWorker().fault(site, "divergent: lane %u reads lane %u, which does not take part (lane mask 0x%08x)", bad,
                         badSource, meeting.mask);
  });
  return self.result;
}

uint32_t vote(uint32_t mask, uint32_t predicate, uint32_t kind, const v4_emu_site *site) {
  Lane32 self{predicate, 0};
  together(mask, site, self, [&](Meeting &meeting) {
    uint32_t ballot = 0, all = meeting.mask;
    forLanes(all, [&](uint32_t lane) {
      ballot |= uint32_t(static_cast<Lane32 *>(meeting.arguments[lane])->value != 0) << lane;
    });
    uint32_t result = kind == V4_EMU_ANY   ? ballot != 0
                      : kind == V4_EMU_ALL ? ballot == all
                      : kind == V4_EMU_UNIFORM ? ballot == 0 || ballot == all
                                               : ballot;
    forLanes(all, [&](uint32_t lane) { static_cast<Lane32 *>(meeting.arguments[lane])->result = result; });
  });
  return self.result;
}

uint64_t match(uint32_t mask, uint64_t value, uint32_t all, const v4_emu_site *site) {
  Lane64 self{value, 0};
  together(mask, site, self, [&](Meeting &meeting) {
    uint32_t lanes = meeting.mask;
    forLanes(lanes, [&](uint32_t lane) {
      auto *mine = static_cast<Lane64 *>(meeting.arguments[lane]);
      uint32_t equal = 0;
      forLanes(lanes, [&](uint32_t other) {
        equal |= uint32_t(static_cast<Lane64 *>(meeting.arguments[other])->value == mine->value) << other;
      });
      mine->result = all ? (equal == lanes ? lanes | uint64_t(1) << 32 : 0) : equal;
    });
  });
  return self.result;
}

uint32_t redux(uint32_t mask, uint32_t value, uint32_t kind, const v4_emu_site *site) {
  Lane32 self{value, 0};
  together(mask, site, self, [&](Meeting &meeting) {
    bool first = true;
    uint32_t result = 0;
    forLanes(meeting.mask, [&](uint32_t lane) {
      uint32_t v = static_cast<Lane32 *>(meeting.arguments[lane])->value;
      if (first) {
        result = v;
        first = false;
        return;
      }
      switch (kind) {
      case V4_EMU_ADD:
        result += v;
        break;
      case V4_EMU_AND:
        result &= v;
        break;
      case V4_EMU_OR:
        result |= v;
        break;
      case V4_EMU_XOR:
        result ^= v;
        break;
      case V4_EMU_MAX:
        result = uint32_t(std::max(int32_t(result), int32_t(v)));
        break;
      case V4_EMU_MIN:
        result = uint32_t(std::min(int32_t(result), int32_t(v)));
        break;
      case V4_EMU_UMAX:
        result = std::max(result, v);
        break;
      default:
        result = std::min(result, v);
      }
    });
    forLanes(meeting.mask, [&](uint32_t lane) { static_cast<Lane32 *>(meeting.arguments[lane])->result = result; });
  });
  return self.result;
}

uint64_t elect(uint32_t mask, const v4_emu_site *site) {
  Lane64 self{0, 0};
  together(mask, site, self, [&](Meeting &meeting) {
    // The manual leaves open which lane it is; hardware takes the lowest.
    uint32_t leader = uint32_t(std::countr_zero(meeting.mask));
    forLanes(meeting.mask, [&](uint32_t lane) {
      static_cast<Lane64 *>(meeting.arguments[lane])->result = leader | uint64_t(lane == leader) << 32;
    });
  });
  return self.result;
}

void mma(const void *a, const void *b, const void *c, void *d, uint32_t k, uint32_t types, const v4_emu_site *site) {
  Worker &worker = thisWorker();
  requireWholeWarp(worker, site);
  Mma self{a, b, c, d};
  together(~0u, site, self, [&](Meeting &meeting) { multiply(meeting, k, types); });
}

/// Lane 8 j + r gives the address of row r of matrix j: 16 bytes, which count as its access.
void checkRow(Worker &worker, char *row, uint32_t count, v4_emu_access kind, const v4_emu_site *site) {
  if (worker.current().thread % 32 >= 8 * count)
    return;
  ++worker.accesses;
  worker.checkAlignment(row, 16, site);
  worker.accessShared(row, 16, kind, site);
}

void ldmatrix(const void *row, void *out, uint32_t count, uint32_t transposed, const v4_emu_site *site) {
  Worker &worker = thisWorker();
  requireWholeWarp(worker, site);
  MatrixRow self{static_cast<char *>(const_cast<void *>(row)), static_cast<uint32_t *>(out)};
  checkRow(worker, self.row, count, V4_EMU_READ, site);
  together(~0u, site, self, [&](Meeting &meeting) {
    for (uint32_t lane = 0; lane != 32; ++lane) {
      auto *mine = static_cast<MatrixRow *>(meeting.arguments[lane]);
      for (uint32_t j = 0; j != count; ++j) {
        uint16_t pair[2];
        for (uint32_t half = 0; half != 2; ++half) {
          uint32_t r = transposed ? lane % 4 * 2 + half : lane / 4, c = transposed ? lane / 4 : lane % 4 * 2 + half;
          std::memcpy(&pair[half], static_cast<MatrixRow *>(meeting.arguments[8 * j + r])->row + 2 * c, 2);
        }
        std::memcpy(mine->registers + j, pair, 4);
      }
    }
  });
}

void stmatrix(void *row, const void *in, uint32_t count, uint32_t transposed, const v4_emu_site *site) {
  Worker &worker = thisWorker();
  requireWholeWarp(worker, site);
  MatrixRow self{static_cast<char *>(row), static_cast<uint32_t *>(const_cast<void *>(in))};
  checkRow(worker, self.row, count, V4_EMU_WRITE, site);
  together(~0u, site, self, [&](Meeting &meeting) {
    for (uint32_t lane = 0; lane != 32; ++lane) {
      auto *mine = static_cast<MatrixRow *>(meeting.arguments[lane]);
      for (uint32_t j = 0; j != count; ++j) {
        uint16_t pair[2];
        std::memcpy(pair, mine->registers + j, 4);
        for (uint32_t half = 0; half != 2; ++half) {
          uint32_t r = transposed ? lane % 4 * 2 + half : lane / 4, c = transposed ? lane / 4 : lane % 4 * 2 + half;
          std::memcpy(static_cast<MatrixRow *>(meeting.arguments[8 * j + r])->row + 2 * c, &pair[half], 2);
        }
      }
    }
  });
}

void copyAsync(void *to, const void *from, uint32_t sourceBytes, const v4_emu_site *site) {
  thisWorker().copyAsync(static_cast<char *>(to), static_cast<const char *>(from), sourceBytes, site);
}

void copyCommit(const v4_emu_site *site) {
  Fiber &fiber = thisWorker().current();
  size_t grouped = 0;
  for (uint32_t group : fiber.groups)
    grouped += group;
  fiber.groups.push_back(uint32_t(fiber.copies.size() - grouped));
}

void copyWait(uint32_t groups, const v4_emu_site *site) {
  thisWorker().copyWait(groups, site);
}

void mbarrierInit(void *barrier, uint32_t count, const v4_emu_site *site) {
  thisWorker().initMemoryBarrier(static_cast<char *>(barrier), count, site);
}

void mbarrierInval(void *barrier, const v4_emu_site *site) {
  thisWorker().invalidateMemoryBarrier(static_cast<char *>(barrier), site);
}

uint64_t mbarrierArrive(void *barrier, uint32_t count, uint32_t bytes, uint32_t how, const v4_emu_site *site) {
  return thisWorker().arriveAtMemoryBarrier(static_cast<char *>(barrier), count, bytes, how, site);
}

void mbarrierExpect(void *barrier, uint32_t bytes, const v4_emu_site *site) {
  thisWorker().expectAtMemoryBarrier(static_cast<char *>(barrier), bytes, site);
}

uint32_t mbarrierWait(const void *barrier, uint64_t what, uint32_t how, const v4_emu_site *site) {
  return thisWorker().waitForPhase(static_cast<const char *>(barrier), what, how, site);
}

void fenceBulk() {
  thisWorker().fenceBulk();
}

void copyBulk(void *to, const void *from, void *barrier, uint32_t bytes, const v4_emu_site *site) {
  thisWorker().bulkCopy(static_cast<char *>(to), static_cast<const char *>(from), static_cast<char *>(barrier), bytes,
                        site);
}

void checkDivision(uint32_t undefined, const v4_emu_site *site) {
  if (undefined) [[unlikely]]
    thisWorker().fault(site, "division by zero, or a quotient out of range");
}

} // namespace

const v4_emu_api kApi = {thread,         access,         barrier,      barrierArrive, warpSync,     shuffle,
                         vote,           match,          redux,        elect,         mma,          ldmatrix,
                         stmatrix,       copyAsync,      copyCommit,   copyWait,      mbarrierInit, mbarrierInval,
                         mbarrierArrive, mbarrierExpect, mbarrierWait, fenceBulk,     copyBulk,     checkDivision};

} // namespace v4::emu
