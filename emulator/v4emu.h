/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* libv4emu: runs GPU kernels that were compiled for the host, one fiber per GPU thread, and checks what they do.
 *
 * An image for the emulator is an x86-64 shared object without undefined symbols (lowering/emu). For each phase it exports
 * one function, `v4_emu_entry`, under the phase's symbol. The caller loads the image however it likes (runtime/ElfImage.cpp)
 * and hands these functions to v4_emu_launch; the library gives the kernel its table of services by itself.
 *
 * Threads: a device is used by one thread at a time; devices are independent of each other. Nothing aborts: what a kernel does
 * wrong comes back as a status and a report. No exceptions leave the library. */
#ifndef V4_EMULATOR_V4EMU_H
#define V4_EMULATOR_V4EMU_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define V4_EMU_EXPORT __attribute__((visibility("default")))

/* Of this header. v4_emu_version() returns the library's; the two must be equal. */
#define V4_EMU_VERSION 1
V4_EMU_EXPORT uint32_t v4_emu_version(void);

typedef struct v4_emu_device v4_emu_device;
struct v4_emu_kernel; /* emulator/KernelApi.h */

/* What a phase's symbol is. With `bindings` it runs one GPU thread of the kernel; with null it returns its description. */
typedef const struct v4_emu_kernel *(*v4_emu_entry)(void *const *bindings);

typedef struct v4_emu_options {
  uint64_t seed;    /* order of threads and of completions; 0: in order of their numbers */
  int32_t races;    /* 0: no race and no initialisation checks (bounds, alignment and collectives are always checked) */
  uint32_t threads; /* blocks that run at the same time; 0: one per processor */
} v4_emu_options;

enum {
  V4_EMU_OK = 0,
  V4_EMU_FAULT = 1,     /* the kernel did something wrong: v4_emu_report says what, where and who */
  V4_EMU_INVALID = 2,   /* the launch is malformed: sizes, block of more than 1024 threads, another version's kernel */
  V4_EMU_NO_MEMORY = 3, /* memory or threads of the host are exhausted */
};

/* One parameter of the kernel: the bytes that it may touch through it. The bytes stay the caller's. */
typedef struct v4_emu_binding {
  void *base;
  uint64_t bytes;
  const char *name; /* for reports; may be null */
} v4_emu_binding;

typedef struct v4_emu_launch_info {
  v4_emu_entry entry;
  uint32_t grid[3];
  uint32_t block[3];
  uint32_t shared_bytes; /* dynamic shared memory */
  uint32_t binding_count;
  const v4_emu_binding *bindings;
} v4_emu_launch_info;

/* Returns V4_EMU_OK or V4_EMU_NO_MEMORY. `options` may be null: seed 0, races on, one thread per processor. */
V4_EMU_EXPORT int v4_emu_create(const v4_emu_options *options, v4_emu_device **device);
V4_EMU_EXPORT void v4_emu_destroy(v4_emu_device *device); /* null is fine */

/* Runs all blocks and returns when the last one has ended. After a fault the bindings hold anything. The fault that is reported
 * is that of the lowest block, whatever the number of threads. */
V4_EMU_EXPORT int v4_emu_launch(v4_emu_device *device, const v4_emu_launch_info *launch);

/* The text of the last failed launch, one line; "" after one that succeeded. Valid until the next call with this device. */
V4_EMU_EXPORT const char *v4_emu_report(const v4_emu_device *device);

/* Totals since the device was created. */
typedef struct v4_emu_statistics {
  uint64_t launches, blocks, threads;
  uint64_t accesses; /* checked loads and stores, each lane counted */
  uint64_t switches; /* from one fiber to another */
} v4_emu_statistics;
V4_EMU_EXPORT void v4_emu_get_statistics(const v4_emu_device *device, v4_emu_statistics *statistics);

#ifdef __cplusplus
}
#endif
#endif
