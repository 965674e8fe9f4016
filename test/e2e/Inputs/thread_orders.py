# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Logits on the emulator, bit for bit, whatever the order of the threads: thread_orders.py PREFIX SEEDS CASE [OPTION]...

Seed 0, which keeps threads in order, must pass the case; the seeds after it must give the same logits.
"""

import subprocess
import sys


def main(prefix, seeds, case, *options):
    module = prefix + ".v4m"
    subprocess.run(["v4c", case + "/checkpoint", *options, "--logits=all", "--target=emu:sm_90a", "-o", module], check=True)
    first = None
    for seed in range(int(seeds)):
        out = f"{prefix}.{seed}.npy"
        subprocess.run(["v4-run", module, "--case=" + case, "--device=emu", f"--emu-order={seed}", "--emu-races=off",
                        "--logits=" + out], check=True)
        logits = open(out, "rb").read()
        first = first or logits
        if logits != first:
            sys.exit(f"{case}: order {seed} gives other logits than order 0")


if __name__ == "__main__":
    main(*sys.argv[1:])
