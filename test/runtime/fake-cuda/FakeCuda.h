// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A libcuda.so.1 without a GPU, for tests: the driver's functions that the runtime uses, with the driver's rules.
// Kernels run on the emulator. It finds what works by luck on a real device:
//   * device addresses are valid nowhere in the host: following one crashes;
//   * memory, pinned memory too, holds garbage (0xFF) until it is written;
//   * work on a stream happens as late as the API allows: when somebody waits for it;
//   * freed memory, dead handles, wrong contexts and sizes fail with the driver's codes and are named on stderr;
//   * what is left when a context goes is counted as a leak.
//
// Tests find it by LD_LIBRARY_PATH, or link it. Environment variables configure it, read by cuInit after a reset:
//   V4_FAKE_CUDA_KERNELS     a module with the target emu:CHIP beside nvptx:CHIP, or an image of emu-compile: where the
//                            code of the kernels is
//   V4_FAKE_CUDA_DEVICES     number of devices (1)
//   V4_FAKE_CUDA_NAME        their name ("Fake GPU")
//   V4_FAKE_CUDA_CAPABILITY  their compute capability (9.0)
//   V4_FAKE_CUDA_MEMORY      bytes of memory of each (16 GiB)
//   V4_FAKE_CUDA_DRIVER      version of the driver (13000: 13.0); PTX that needs a later one is refused
//   V4_FAKE_CUDA_FAIL        N:CODE or FUNCTION:N:CODE: the N-th driver call, or the N-th of a function, fails with
//                            that CUresult. A code of a sick context (700, 719, ...) or of a lost device (214, 999)
//                            stays, as on a real device
//   V4_FAKE_CUDA_FAULT       SYMBOL:N:CODE: the N-th execution of a kernel fails, which shows when somebody waits
//   V4_FAKE_CUDA_COUNTERS    file that gets the counters, a line "name value" each, when a context goes and at exit
#ifndef V4_TEST_FAKECUDA_H
#define V4_TEST_FAKECUDA_H

#include <cstdint>

#define V4_FAKE_CUDA_COUNTERS(X)                                                                                       \
  X(calls)             /* driver calls */                                                                              \
  X(launches)          /* cuLaunchKernel that were not captured */                                                     \
  X(captured_launches) /* those that were */                                                                           \
  X(graph_launches)    /* cuGraphLaunch */                                                                             \
  X(executions)        /* kernels that ran, by either way */                                                           \
  X(cubins)            /* modules loaded from machine code */                                                          \
  X(ptx_texts)         /* and from PTX */                                                                              \
  X(bytes_to_device)                                                                                                   \
  X(bytes_to_host)                                                                                                     \
  X(live_allocations) /* of device memory, now */                                                                      \
  X(live_bytes)                                                                                                        \
  X(peak_bytes)                                                                                                        \
  X(live_pinned)                                                                                                       \
  X(live_objects) /* streams, events, modules, graphs */                                                               \
  X(contexts)     /* retained, now */                                                                                  \
  X(leaks)        /* allocations and objects that were alive when their context went */                                \
  X(misuses)      /* calls that a right program does not make */

struct v4_fake_cuda_counters {
#define V4_FAKE_CUDA_MEMBER(name) uint64_t name;
  V4_FAKE_CUDA_COUNTERS(V4_FAKE_CUDA_MEMBER)
#undef V4_FAKE_CUDA_MEMBER
};

extern "C" {
v4_fake_cuda_counters v4_fake_cuda_get_counters();
/// As in a new process: counters are 0, the environment is read again. Nothing may be alive.
void v4_fake_cuda_reset();
}

#endif
