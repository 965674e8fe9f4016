// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The GPUs that kernels are compiled for.

#include "lowering/nvptx/GpuTarget.h"

using namespace mlir;
using namespace mlir::v4;

ArrayRef<GpuTarget> v4::getGpuTargets() {
  static const GpuTarget targets[] = {
      {"sm_80", 80, false, 70, 163 << 10},
      {"sm_90a", 90, true, 80, 227 << 10},
      {"sm_100a", 100, true, 86, 227 << 10},
      {"sm_120", 120, false, 87, 99 << 10},
  };
  return targets;
}

const GpuTarget *v4::findGpuTarget(StringRef target) {
  auto [device, chip] = target.split(':');
  if (device != "nvptx" && device != "emu")
    return nullptr;
  if (!target.contains(':'))
    chip = kDefaultChip;
  for (const GpuTarget &gpu : getGpuTargets())
    if (gpu.chip == chip)
      return &gpu;
  return nullptr;
}
