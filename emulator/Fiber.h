// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Fibers: stacks with guard pages and a switch between them that saves what a function call must keep, nothing else.
// (ucontext enters the kernel at every switch to save the signal mask: sixty times slower.)
#ifndef V4_EMULATOR_FIBER_H
#define V4_EMULATOR_FIBER_H

#include <cstddef>
#include <cstdint>

namespace v4::emu {

/// Stores the stack pointer of the caller into `*from` and continues where `to` was stored.
extern "C" void v4_emu_switch(void **from, void *to);

/// A set of stacks of equal size, each below it a page that cannot be touched.
class Stacks {
public:
  Stacks() = default;
  Stacks(const Stacks &) = delete;
  Stacks &operator=(const Stacks &) = delete;
  ~Stacks();
  /// At least `count` stacks; false when the system has no memory for them. Invalidates the earlier ones.
  bool reserve(uint32_t count);
  /// The stack pointer of a fiber that starts in `entry`, which must not return.
  void *start(uint32_t index, void (*entry)()) const;

private:
  static constexpr size_t kStack = 256 << 10, kGuard = 4096;
  char *base = nullptr;
  uint32_t count = 0;
};

} // namespace v4::emu

#endif
