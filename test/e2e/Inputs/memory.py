# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The peak memory of a run is at most checkpoint + state + arena + 64 MiB; the latter two as v4-run announces them.

memory.py MODULE CHECKPOINT TOKENS
"""
import os
import re
import resource
import subprocess
import sys

module, checkpoint, tokens = sys.argv[1:]
# Two threads: every worker has a stack, and the bound is not meant for machines of a hundred CPUs.
result = subprocess.run(
    ["v4-run", module, f"--weights={checkpoint}", f"--tokens={tokens}", "--generate=4", "--threads=2"],
    capture_output=True, text=True)
assert result.returncode == 0, result.stderr
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
arena, state = (int(re.search(rf"^{name}: (\d+) bytes", result.stderr, re.M)[1]) for name in ("arena", "state"))
weights = sum(os.path.getsize(os.path.join(checkpoint, name)) for name in os.listdir(checkpoint))
limit = weights + state + arena + (64 << 20)
print(f"peak {peak}, checkpoint {weights}, state {state}, arena {arena}, limit {limit}")
assert peak <= limit
