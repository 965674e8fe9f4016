// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Who knows of whose accesses: the clocks behind the race checks (FastTrack, specialised to the barriers of GPU blocks).
//
// Every thread counts its own time; a synchronisation makes a thread know the others' times. A full block barrier makes every
// thread know everything before it, so what it adds is one number for the block, `base`; a full warp synchronisation is one number
// for the warp. Only ops that order a part of a warp or of a block need whole vectors, and only kernels that have such ops keep them.
#ifndef V4_EMULATOR_CLOCKS_H
#define V4_EMULATOR_CLOCKS_H

#include <cstdint>

namespace v4::emu {

constexpr uint32_t kMaxThreads = 1024;
constexpr uint32_t kMaxClock = (1u << 20) - 1;

/// Who accessed a cell, packed: kind (2 bits), thread (10), clock (20). Clocks start at 1, so 0 is nobody.
class Accessors {
public:
  enum Kind : uint32_t {
    One,      // one thread
    OneOfWarp, // that thread, and before the warp's last synchronisation others of its warp
    Warp,     // several threads of one warp
    Many,     // threads of several warps
  };
  Accessors() = default;
  Accessors(Kind kind, uint32_t thread, uint32_t clock) : bits(uint32_t(kind) << 30 | thread << 20 | clock) {}
  static Accessors fromBits(uint32_t bits) {
    Accessors out;
    out.bits = bits;
    return out;
  }
  bool none() const { return bits == 0; }
  Kind kind() const { return Kind(bits >> 30); }
  uint32_t thread() const { return bits >> 20 & 1023; }
  uint32_t clock() const { return bits & kMaxClock; }

  uint32_t bits = 0;
};

/// What the thread `thread` knows: everything up to `base` of its block, up to `warpBase` of its warp, and of thread u up to
/// `vector[u]` where the kernel keeps vectors.
struct Knowledge {
  uint32_t thread, clock, base, warpBase;
  const uint32_t *vector; // or null

  bool sameWarp(uint32_t other) const { return other / 32 == thread / 32; }
  bool knows(uint32_t other, uint32_t clock) const {
    return other == thread || clock <= base || (sameWarp(other) && clock <= warpBase) || (vector && clock <= vector[other]);
  }
  /// Whether all accesses in the set came before now.
  bool knows(Accessors set) const {
    if (set.clock() <= base)
      return true;
    switch (set.kind()) {
    case Accessors::One:
    case Accessors::OneOfWarp:
      return knows(set.thread(), set.clock());
    case Accessors::Warp:
      return sameWarp(set.thread()) && set.clock() <= warpBase;
    case Accessors::Many:
      return false;
    }
    return false;
  }
  /// The set with an access of this thread added. What every possible later accessor knows may be forgotten.
  Accessors added(Accessors set) const {
    if (set.clock() <= base || set.none())
      return Accessors(Accessors::One, thread, clock);
    uint32_t latest = set.clock() > clock ? set.clock() : clock;
    if (set.kind() == Accessors::Many || !sameWarp(set.thread()))
      return Accessors(Accessors::Many, thread, latest);
    if (set.kind() != Accessors::Warp && set.thread() == thread)
      return Accessors(set.kind(), thread, clock);
    if (set.clock() <= warpBase)
      return Accessors(Accessors::OneOfWarp, thread, clock);
    return Accessors(Accessors::Warp, thread, latest);
  }
};

} // namespace v4::emu

#endif
