// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The toy model's kernels as a GPU's, for the emulator: one thread per block runs the workgroup of that number. The
// phase gpu_toy_mix is toy_mix; emulator/v4emu.h says what such a function is.
#include "emulator/KernelApi.h"

static const v4_emu_api *services;
static const uint8_t writes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

#define TOY(name, bindings)                                                                                            \
  extern "C" void name(void *const *, uint32_t);                                                                       \
  static const v4_emu_kernel describe_##name = {V4_EMU_KERNEL_VERSION,                                                 \
                                                0,                                                                     \
                                                nullptr,                                                               \
                                                "gpu_" #name,                                                          \
                                                &services,                                                             \
                                                bindings,                                                              \
                                                0,                                                                     \
                                                writes,                                                                \
                                                nullptr,                                                               \
                                                0,                                                                     \
                                                4,                                                                     \
                                                4,                                                                     \
                                                0,                                                                     \
                                                {1, 1, 1},                                                             \
                                                0};                                                                    \
  extern "C" const v4_emu_kernel *gpu_##name(void *const *b) {                                                         \
    if (b)                                                                                                             \
      name(b, services->thread()->ctaid[0]);                                                                           \
    return &describe_##name;                                                                                           \
  }

TOY(toy_embed, 4)
TOY(toy_mix, 15)
TOY(toy_head_all, 4)
TOY(toy_head_last, 4)
TOY(toy_hidden, 3)
TOY(toy_mtp, 6)
TOY(toy_count, 1)
