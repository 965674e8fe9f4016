# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes the tools of a kit of gpu.sh, packed with --with-emulator, tell the fake driver where the code of the kernels is; its one module to
measure is a small one.

    fake_kit.py KIT
"""
import os
import sys

kit = sys.argv[1]
for tool, kernels in ("v4-run", "$1"), ("v4-bench", "$1"), ("kernel-run", '$(dirname "$1")/k.elf'):
    path = os.path.join(kit, "bin", tool)
    os.rename(path, path + ".real")
    with open(path, "w") as out:
        out.write(f'#!/bin/sh\nV4_FAKE_CUDA_KERNELS="{kernels}" exec "$0.real" "$@"\n')
    os.chmod(path, 0o755)
with open(os.path.join(kit, "golden.txt")) as cases, open(os.path.join(kit, "bench.txt"), "w") as out:
    out.write(next(line.split()[0] for line in cases if "numerics=f32" in line) + "\n")
