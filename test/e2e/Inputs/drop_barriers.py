# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Drops every nvvm.barrier0 of the kernels whose name begins with PREFIX, in a file of stage `kernels`.

drop_barriers.py IN.mlir PREFIX OUT.mlir
"""
import re
import sys

source, prefix, target = sys.argv[1:]
inside, dropped, lines = False, 0, []
for line in open(source):
    if module := re.match(r"\s*gpu\.module @(\w+)", line):
        inside = module[1].startswith(prefix)
    if inside and line.strip() == "nvvm.barrier0":
        dropped += 1
    else:
        lines.append(line)
assert dropped, f"no kernel {prefix}* has a barrier"
open(target, "w").writelines(lines)
