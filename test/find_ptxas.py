# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Where NVIDIA's assembler is, by the rule of v4c (lowering/nvptx/GpuImage.cpp): V4_PTXAS, which may be empty for none, or
ptxas on the path or in /usr/local/cuda/bin. Run, prints it, and fails where there is none."""

import os
import shutil
import sys


def find_ptxas():
    if "V4_PTXAS" in os.environ:
        return os.environ["V4_PTXAS"] or None
    return shutil.which("ptxas") or shutil.which("ptxas", path="/usr/local/cuda/bin")


if __name__ == "__main__":
    sys.exit(print(path) if (path := find_ptxas()) else 1)
