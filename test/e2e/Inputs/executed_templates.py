# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which kernel templates of GPUs golden cases execute on the emulator.

    executed_templates.py DIR "CASE OPTIONS OF V4C" ...

Every case must pass. A template counts when a kernel that holds it has been launched: kernels are named in the trace of
the run, and what each holds is in the dumped stage `tiles`. Fails unless all templates that the compiler has are executed.
"""

import json
import os
import re
import shutil
import subprocess
import sys

# No graph of a checkpoint has the op: scores and their best are one op there. test/lowering/nvptx/rows.test runs it.
NOT_IN_MODELS = {"top_k"}


def run(*command):
    subprocess.run(command, check=True)


def templates_of_kernels(path):
    """Names of templates by the name of the kernel."""
    kernels, kernel = {}, None
    for line in open(path):
        if match := re.search(r"func\.func (?:private )?@([\w.]+)", line):
            kernel = match[1]
        elif match := re.search(r'v4\.kernel "(\w+)"', line):
            kernels.setdefault(kernel, set()).add(match[1])
    return kernels


def executed(folder, case, options):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    module, trace = folder + "/m.v4m", folder + "/trace.json"
    run("v4c", case + "/checkpoint", *options, "--logits=all", "--target=emu:sm_90a", "--dump-stages=" + folder + "/stages",
        "-o", module)
    run("v4-run", module, "--case=" + case, "--device=emu", "--trace=" + trace)
    launched = {event["args"]["kernel"] for event in json.load(open(trace))["traceEvents"]
                if "kernel" in event.get("args", {})}
    tiles = [os.path.join(root, name) for root, _, names in os.walk(folder + "/stages")
             for name in names if name.endswith(".tiles.mlir")]
    assert launched and len(tiles) == 1, (launched, tiles)
    return set().union(*(names for kernel, names in templates_of_kernels(tiles[0]).items() if kernel in launched))


def main(folder, *cases):
    known = set(subprocess.run(["gpu-templates"], check=True, capture_output=True, text=True).stdout.split())
    seen = set()
    for number, case in enumerate(cases):
        path, *options = case.split()
        names = executed(f"{folder}/{number}", path, options)
        print(case, ":", *sorted(names))
        seen |= names
    assert seen <= known and NOT_IN_MODELS <= known, (seen, known)
    if extra := NOT_IN_MODELS & seen:
        sys.exit("executed, so no exception any more: " + " ".join(sorted(extra)))
    if missing := known - seen - NOT_IN_MODELS:
        sys.exit("templates that no golden case executes: " + " ".join(sorted(missing)))


if __name__ == "__main__":
    main(*sys.argv[1:])
