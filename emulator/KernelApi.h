// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a kernel image and the emulator know of each other. Included by emulator/ and by the pass that writes the kernels
// (lowering/emu), which lays out the structs below field by field: change them together, and the version with them.
#ifndef V4_EMULATOR_KERNELAPI_H
#define V4_EMULATOR_KERNELAPI_H

#include <cstdint>

#define V4_EMU_KERNEL_VERSION 3

enum v4_emu_space : uint8_t { V4_EMU_GENERIC = 0, V4_EMU_GLOBAL = 1, V4_EMU_SHARED = 3 };
enum v4_emu_access : uint8_t { V4_EMU_READ = 0, V4_EMU_WRITE = 1, V4_EMU_ATOMIC = 2, V4_EMU_NO_ACCESS = 3 };
enum v4_emu_shuffle : uint32_t { V4_EMU_BUTTERFLY = 0, V4_EMU_UP = 1, V4_EMU_DOWN = 2, V4_EMU_INDEX = 3 };
enum v4_emu_vote : uint32_t { V4_EMU_ANY = 0, V4_EMU_ALL = 1, V4_EMU_BALLOT = 2, V4_EMU_UNIFORM = 3 };
enum v4_emu_redux : uint32_t {
  V4_EMU_ADD, V4_EMU_AND, V4_EMU_OR, V4_EMU_XOR, V4_EMU_MAX, V4_EMU_MIN, V4_EMU_UMAX, V4_EMU_UMIN
};
/// Types of mma.sync operands.
enum v4_emu_mma : uint32_t {
  V4_EMU_F16_F32 = 0,  // f16 times f16 into f32
  V4_EMU_BF16_F32 = 1, // bf16 times bf16 into f32
  V4_EMU_F16_F16 = 2   // f16 times f16 into f16
};

/// How a thread arrives at a barrier in shared memory, and how it waits for one; bits.
enum v4_emu_arrival : uint32_t { V4_EMU_ARRIVE_EXPECT = 1, V4_EMU_ARRIVE_NO_COMPLETE = 2, V4_EMU_ARRIVE_DROP = 4 };
enum v4_emu_phase_wait : uint32_t { V4_EMU_WAIT_PARITY = 1, V4_EMU_WAIT_SUSPEND = 2 };

/// An op that the emulator watches. `binding` is the kernel parameter that the address comes from, -1 where the pass does not know.
struct v4_emu_site {
  const char *op;
  const char *location;
  uint32_t bytes;
  uint32_t alignment; // promised by the op; a power of two
  uint32_t access;    // v4_emu_access
  uint32_t space;     // v4_emu_space
  int32_t binding;
  uint32_t index; // in the kernel's table
};

/// Bytes [begin, end) of shared memory between two buffers; nothing may touch them.
struct v4_emu_gap {
  uint32_t begin, end;
};

struct v4_emu_api;

struct v4_emu_kernel {
  uint32_t version; // V4_EMU_KERNEL_VERSION
  uint32_t site_count;
  const v4_emu_site *sites;
  const char *name;
  const v4_emu_api **api; // where the kernel looks for its services
  uint32_t binding_count;
  uint32_t gap_count;
  const uint8_t *writes; // per binding: whether some op may write through it
  const v4_emu_gap *gaps;
  uint32_t static_shared_bytes; // and where dynamic shared memory starts
  uint32_t shared_granule;      // the largest power of two that divides every access to shared memory, at most 16
  uint32_t global_granule;      // the same of the bindings that are written
  uint32_t partial_sync;        // whether some op orders only a part of a warp or of a block
  uint32_t block[3];            // required block size, or zeros
  uint32_t reserved;
};

/// What a thread may read of itself. The emulator's own state follows it in memory.
struct v4_emu_thread {
  uint32_t tid[3], ntid[3], ctaid[3], nctaid[3];
  uint32_t laneid, warpid, nwarpid, lanemask_eq, lanemask_le, lanemask_lt, lanemask_ge, lanemask_gt;
  char *shared; // the block's shared memory
};

// The services: return type, name, parameters. Addresses are host addresses. Where a call has a lane mask, the lanes of the mask
// meet there. 64-bit results of warp collectives hold the value in the low half and the predicate in bit 32.
#define V4_EMU_SERVICES(X)                                                                                             \
  X(v4_emu_thread *, thread, (void))                                                                                   \
  X(void, access, (const void *address, const v4_emu_site *site))                                                      \
  X(void, barrier, (uint32_t id, uint32_t threads, const v4_emu_site *site))                                           \
  X(void, barrier_arrive, (uint32_t id, uint32_t threads, const v4_emu_site *site))                                    \
  X(void, warp_sync, (uint32_t mask, const v4_emu_site *site))                                                         \
  X(uint64_t, shuffle,                                                                                                 \
    (uint32_t mask, uint32_t value, uint32_t offset, uint32_t clamp, uint32_t kind, const v4_emu_site *site))          \
  X(uint32_t, vote, (uint32_t mask, uint32_t predicate, uint32_t kind, const v4_emu_site *site))                       \
  X(uint64_t, match, (uint32_t mask, uint64_t value, uint32_t all, const v4_emu_site *site))                           \
  X(uint32_t, redux, (uint32_t mask, uint32_t value, uint32_t kind, const v4_emu_site *site))                          \
  X(uint64_t, elect, (uint32_t mask, const v4_emu_site *site))                                                         \
  X(void, mma,                                                                                                         \
    (const void *a, const void *b, const void *c, void *d, uint32_t k, uint32_t types, const v4_emu_site *site))       \
  X(void, ldmatrix, (const void *row, void *out, uint32_t count, uint32_t transposed, const v4_emu_site *site))        \
  X(void, stmatrix, (void *row, const void *in, uint32_t count, uint32_t transposed, const v4_emu_site *site))         \
  X(void, copy_async, (void *to, const void *from, uint32_t source_bytes, const v4_emu_site *site))                    \
  X(void, copy_commit, (const v4_emu_site *site))                                                                      \
  X(void, copy_wait, (uint32_t groups, const v4_emu_site *site))                                                       \
  X(void, mbarrier_init, (void *barrier, uint32_t count, const v4_emu_site *site))                                     \
  X(void, mbarrier_inval, (void *barrier, const v4_emu_site *site))                                                    \
  X(uint64_t, mbarrier_arrive, (void *barrier, uint32_t count, uint32_t bytes, uint32_t how, const v4_emu_site *site)) \
  X(void, mbarrier_expect, (void *barrier, uint32_t bytes, const v4_emu_site *site))                                   \
  X(uint32_t, mbarrier_wait, (const void *barrier, uint64_t what, uint32_t how, const v4_emu_site *site))              \
  X(void, fence_bulk, (void)) /* what was ordered before comes before copies in bulk that follow */                    \
  X(void, copy_bulk, (void *to, const void *from, void *barrier, uint32_t bytes, const v4_emu_site *site))             \
  X(void, check_division, (uint32_t undefined, const v4_emu_site *site)) /* by zero, or of the least integer by -1 */

struct v4_emu_api {
#define V4_EMU_MEMBER(result, name, parameters) result(*name) parameters;
  V4_EMU_SERVICES(V4_EMU_MEMBER)
#undef V4_EMU_MEMBER
};

#endif
