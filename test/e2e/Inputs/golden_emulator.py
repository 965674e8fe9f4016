# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every golden case on the emulator: golden_emulator.py GOLDEN PREFIX. Goes on after a failure; prints one line a run."""

import subprocess
import sys

MTP = {"tiny-bf16", "quantised", "odd-sizes"}
CASES = {
    "tiny-bf16": ["f32", "fast", "fast --kv=bf16"],
    "tiny-hf": ["f32", "fast"],
    "odd-sizes": ["f32", "fast"],
    "quantised": ["f32", "fast", "reference"],
    "base-fp8": ["f32", "fast"],
    "layer-swa": ["f32", "fast", "reference"],
    "layer-csa": ["f32", "fast", "reference"],
    "layer-hca": ["f32", "fast", "reference"],
    "far": ["f32 --max-context=1048576"],
}


def runs():
    for plan in ["basic", "none"]:
        for case, modes in CASES.items():
            for mode in modes:
                yield case, f"--numerics={mode} --prefill=16 --plan={plan}".split() + ["--mtp"] * (case in MTP)
        # Sums of other orders. In 1 a prompt passes row by row.
        for bucket in [1, 7, 64, 128]:
            yield "tiny-bf16", f"--prefill={bucket} --plan={plan} --mtp".split()


def run(*command):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = [line for line in result.stdout.splitlines() if "logits:" in line or "error" in line]
    return result.returncode == 0, "; ".join(lines)


def main(golden, prefix):
    module, failed = prefix + ".v4m", 0
    for case, options in runs():
        folder = f"{golden}/{case}"
        right, text = run("v4c", folder + "/checkpoint", *options, "--logits=all", "--target=emu:sm_90a", "-o", module)
        if right:
            right, text = run("v4-run", module, "--case=" + folder, "--device=emu")
        failed += not right
        print("ok    " if right else "FAILED", case, *options, ":", text, flush=True)
    sys.exit(f"{failed} runs failed" if failed else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
