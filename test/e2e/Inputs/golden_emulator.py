# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The golden cases that GPUs are tested with, and a run of them on the emulator.

    golden_emulator.py GOLDEN PREFIX   every case; goes on after a failure; prints one line a run
    golden_emulator.py list            those of a kit for a machine with a GPU (scripts/gpu.sh): the case, options of v4c
"""

import subprocess
import sys

# Numerics of a case, and its other options of v4c.
CASES = {
    "tiny-bf16": ("f32 fast", "--prefill=16 --mtp"),
    "tiny-hf": ("f32 fast", "--prefill=16"),
    "odd-sizes": ("f32 fast", "--prefill=7 --mtp"),
    "quantised": ("f32 fast reference", "--prefill=16 --mtp"),
    "base-fp8": ("f32 fast", "--prefill=16"),
    "layer-swa": ("f32 fast reference", "--prefill=16"),
    "layer-csa": ("f32 fast reference", "--prefill=16"),
    "layer-hca": ("f32 fast reference", "--prefill=16"),
    "far": ("f32", "--prefill=16 --max-context=1048576"),
}


def options_of(mode, plan, others):
    """What is not the default, so that names of modules stay short."""
    return (["--numerics=" + mode] if mode != "fast" else []) + (["--plan=" + plan] if plan != "basic" else []) + \
        ["--logits=all", *others.split()]


def runs():
    for plan in ["basic", "none"]:
        for case, (modes, others) in CASES.items():
            for mode in modes.split():
                yield case, options_of(mode, plan, others)
        yield "tiny-bf16", options_of("fast", plan, "--kv=bf16 --prefill=16 --mtp")
        # Sums of other orders. In 1 a prompt passes row by row.
        for bucket in [1, 7, 64, 128]:
            yield "tiny-bf16", options_of("fast", plan, "--prefill=%d --mtp" % bucket)


def kit():
    """Without launches of single ops where numbers are rounded: a kit is carried about, and each module is a MiB."""
    for case, (modes, others) in CASES.items():
        for mode in modes.split():
            for plan in ["basic", "none"] if mode == "f32" else ["basic"]:
                yield case, options_of(mode, plan, others)


def run(*command):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = [line for line in result.stdout.splitlines() if "logits:" in line or "error" in line]
    return result.returncode == 0, "; ".join(lines)


def main(golden, prefix):
    module, failed = prefix + ".v4m", 0
    for case, options in runs():
        folder = f"{golden}/{case}"
        right, text = run("v4c", folder + "/checkpoint", *options, "--target=emu:sm_90a", "-o", module)
        if right:
            right, text = run("v4-run", module, "--case=" + folder, "--device=emu")
        failed += not right
        print("ok    " if right else "FAILED", case, *options, ":", text, flush=True)
    sys.exit(f"{failed} runs failed" if failed else 0)


if __name__ == "__main__":
    if sys.argv[1:] == ["list"]:
        for case, options in kit():
            print(case, *options)
    else:
        main(*sys.argv[1:])
