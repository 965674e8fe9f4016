// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The switch between fibers for x86-64 (System V), and their stacks.

#include "emulator/Fiber.h"

#include <cstring>
#include <sys/mman.h>

// The jump through a register is no return, so the processor's return predictor stays in step with its calls.
asm(R"(
.text
.globl v4_emu_switch
.hidden v4_emu_switch
.type v4_emu_switch, @function
.p2align 4
v4_emu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmpq *%rcx
.size v4_emu_switch, .-v4_emu_switch
)");

namespace v4::emu {

Stacks::~Stacks() {
  if (base)
    ::munmap(base, size_t(count) * (kStack + kGuard));
}

bool Stacks::reserve(uint32_t wanted) {
  if (wanted <= count)
    return true;
  size_t bytes = size_t(wanted) * (kStack + kGuard);
  void *memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    return false;
  for (uint32_t i = 0; i != wanted; ++i)
    if (::mprotect(static_cast<char *>(memory) + size_t(i) * (kStack + kGuard), kGuard, PROT_NONE) != 0) {
      ::munmap(memory, bytes);
      return false;
    }
  if (base)
    ::munmap(base, size_t(count) * (kStack + kGuard));
  base = static_cast<char *>(memory);
  count = wanted;
  return true;
}

Context Stacks::start(uint32_t index, void (*entry)()) const {
  // Neighbouring stacks start at different offsets within a page, or their hot ends would share a cache set.
  size_t colour = size_t(index % 32) * 128;
  char *top = base + size_t(index + 1) * (kStack + kGuard) - colour;
  Context context;
#ifdef V4_EMU_ASAN
  context.stack = top + colour - kStack;
  context.bytes = kStack;
  ASAN_UNPOISON_MEMORY_REGION(context.stack, kStack); // what ran there before may have been abandoned
#endif
  // `entry` is jumped to with the stack as after a call: 8 below a multiple of 16.
  void **sp = reinterpret_cast<void **>(top) - 1;
  *sp = nullptr;
  *--sp = reinterpret_cast<void *>(entry);
  sp -= 6;
  std::memset(sp, 0, 6 * sizeof(void *));
  context.sp = sp;
  return context;
}

} // namespace v4::emu
