// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Fibers: stacks with guard pages and a switch between them that saves what a function call must keep, nothing else.
// (ucontext enters the kernel at every switch to save the signal mask: sixty times slower.)
#ifndef V4_EMULATOR_FIBER_H
#define V4_EMULATOR_FIBER_H

#include <cstddef>
#include <cstdint>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define V4_EMU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#endif

namespace v4::emu {

/// Stores the stack pointer of the caller into `*from` and continues where `to` was stored.
extern "C" void v4_emu_switch(void **from, void *to);

/// Where a fiber, or the host's thread that runs fibers, goes on.
struct Context {
  void *sp = nullptr;
#ifdef V4_EMU_ASAN // which must be told what stack the code runs on
  const void *stack = nullptr; // null for the host's own until a first fiber runs
  size_t bytes = 0;
  void *frames = nullptr;
#endif
};

/// To be called first of all in a fiber, with the context that was left for it, null where that was another fiber's.
inline void arrived([[maybe_unused]] Context *from, [[maybe_unused]] void *frames) {
#ifdef V4_EMU_ASAN
  const void *stack;
  size_t bytes;
  __sanitizer_finish_switch_fiber(frames, &stack, &bytes);
  if (from && !from->stack) {
    from->stack = stack;
    from->bytes = bytes;
  }
#endif
}

/// Leaves `from` and continues `to`. With `forever` nothing continues `from`, which must not lie on the stack, again.
inline void switchTo(Context &from, const Context &to, [[maybe_unused]] bool forever = false) {
#ifdef V4_EMU_ASAN
  __sanitizer_start_switch_fiber(forever ? nullptr : &from.frames, to.stack, to.bytes);
#endif
  v4_emu_switch(&from.sp, to.sp);
#ifdef V4_EMU_ASAN
  arrived(nullptr, from.frames);
#endif
}

/// A set of stacks of equal size, each below it a page that cannot be touched.
class Stacks {
public:
  Stacks() = default;
  Stacks(const Stacks &) = delete;
  Stacks &operator=(const Stacks &) = delete;
  ~Stacks();
  /// At least `count` stacks; false when the system has no memory for them. Invalidates the earlier ones.
  bool reserve(uint32_t count);
  /// A fiber that starts in `entry`, which must not return.
  Context start(uint32_t index, void (*entry)()) const;

private:
  static constexpr size_t kStack = 256 << 10, kGuard = 4096;
  char *base = nullptr;
  uint32_t count = 0;
};

} // namespace v4::emu

#endif
