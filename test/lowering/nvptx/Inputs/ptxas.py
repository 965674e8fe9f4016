# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Assembles kernels and compares what ptxas says with a table.

    ptxas.py TABLE FOLDER PTXAS [--print]

A line of TABLE: chip, registers, bytes of shared memory, then what is assembled:
    the arguments of products.py or rows.py: one template
    model CONFIG NUMERICS[/none] KERNEL   a kernel of `v4c --numerics=NUMERICS --prefill=512` for test/configs/CONFIG.json, also with
                                   --plan=none. All kernels of the module have to be in the table, and no others.
No kernel may spill, have local memory or call anything. Registers may differ a little from one ptxas to the next: by more
than 16, a loop has lost its loads in flight, or a value its place. --print writes the table as it is now; a model is put into it
by one line with any kernel.
"""

import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def kernel_ptx(folder, chip, words):
    """PTX of one template."""
    script = "products.py" if words[0].endswith(("gemv", "gemm")) else "rows.py"
    subprocess.run([sys.executable, os.path.join(HERE, script), folder, *words, "shape"], check=True)
    nvvm = subprocess.run(["v4-opt", folder + "/kernel.mlir", "--v4-stage-kernels=target=nvptx:" + chip],
                          check=True, capture_output=True, text=True).stdout
    # Only the gpu.module, which upstream's tools know.
    kernel = re.search(r"^( *)gpu\.module .*?^\1\}", nvvm, re.S | re.M).group(0)
    aliases = "\n".join(line for line in nvvm.splitlines() if line.startswith("#"))
    steps = "convert-nvvm-to-llvm),nvvm-attach-target{chip=%s O=3},gpu-module-to-binary{format=isa}" % chip
    binary = subprocess.run(["mlir-opt", "--pass-pipeline=builtin.module(gpu.module(%s)" % steps],
                            input="%s\nmodule attributes {gpu.container_module} {\n%s\n}\n" % (aliases, kernel),
                            check=True, capture_output=True, text=True).stdout
    text = re.search(r'assembly = "(.*?)"', binary, re.S).group(1)
    return re.sub(r"\\([0-9A-F]{2})", lambda match: chr(int(match.group(1), 16)), text).rstrip("\0")


def model_ptx(folder, chip, config, mode):
    """PTX of all kernels of a model, and the bytes of dynamic shared memory that they are launched with."""
    os.makedirs(folder + "/model", exist_ok=True)
    shutil.copy(os.path.join(HERE, "../../../configs", config + ".json"), folder + "/model/config.json")
    path = folder + "/model.v4m"
    numerics, _, plan = mode.partition("/")
    subprocess.run(["v4c", folder + "/model", "--numerics=" + numerics, "--plan=" + (plan or "basic"), "--prefill=512",
                    "--target=nvptx:" + chip, "-o", path], check=True, env={**os.environ, "V4_PTXAS": ""})
    with open(path, "rb") as module:
        texts = re.findall(rb"\.version[\t\n -~]+\n}", module.read())
    assert len(texts) == 1, "%d images of PTX" % len(texts)
    dump = json.loads(subprocess.run(["v4-dump", path, "--json"], check=True, capture_output=True).stdout)
    dynamic = {phase["symbol"]: phase.get("shared_bytes", 0)
               for kernel in dump["targets"][0]["kernels"] for phase in kernel["phases"]}
    return texts[0].decode(), dynamic


def assemble(folder, chip, what, text, ptxas):
    """Registers and bytes of shared memory by the kernels' names."""
    path = folder + "/kernel.ptx"
    with open(path, "w") as out:
        out.write(text)
    for word in [".extern .func", ".local", "call"]:
        assert not re.search(r"(^|\s)%s\b" % re.escape(word), text), "%s %s has %s" % (chip, what, word)
    done = subprocess.run([ptxas, "-v", "--split-compile=0", "-arch=" + chip, path, "-o", folder + "/kernel.cubin"],
                          capture_output=True, text=True)
    assert done.returncode == 0, "%s %s: %s" % (chip, what, done.stderr)
    kernels = {}
    for part in done.stderr.split("Function properties for ")[1:]:
        name = part.split()[0]
        assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in part, "%s %s: %s" % (chip, what, part)
        shared = re.search(r"(\d+) bytes smem", part)
        kernels[name] = int(re.search(r"Used (\d+) registers", part).group(1)), int(shared.group(1)) if shared else 0
    assert len(kernels) == len(re.findall(r"\.entry\s", text)), "%s %s: ptxas does not speak of all kernels" % (chip, what)
    return kernels


def measure(folder, chip, words, ptxas):
    """(registers, bytes, words) of every kernel that a line, or the lines of a model, speak of."""
    if words[0] != "model":
        kernels = assemble(folder, chip, " ".join(words), kernel_ptx(folder, chip, words), ptxas)
        assert len(kernels) == 1, "%s %s: %d kernels" % (chip, words, len(kernels))
        return [(*got, words) for got in kernels.values()]
    text, dynamic = model_ptx(folder, chip, *words[1:3])
    kernels = assemble(folder, chip, " ".join(words[:3]), text, ptxas)
    return [(got[0], got[1] + dynamic[name], [*words[:3], name]) for name, got in kernels.items()]


def main():
    table, folder, ptxas = sys.argv[1:4]
    lines = {}  # what is assembled at once: the lines that it has
    for line in open(table):
        if not line.startswith("#") and line.strip():
            chip, registers, shared, *words = line.split()
            key = (chip, *words[:3]) if words[0] == "model" else (chip, *words)
            lines.setdefault(key, {})[tuple(words)] = int(registers), int(shared)
    bad = 0
    for (chip, *key), expected in lines.items():
        got = measure(folder, chip, key, ptxas)
        if "--print" in sys.argv:
            for registers, shared, words in sorted(got, key=lambda kernel: kernel[2]):
                print(chip, registers, shared, *words)
            continue
        for registers, shared, words in got:
            wanted = expected.pop(tuple(words), None)
            if not wanted or abs(registers - wanted[0]) > 16 or shared != wanted[1]:
                bad += 1
                print("%s %s: %d registers, %d bytes; the table has %s"
                      % (chip, " ".join(words), registers, shared, "%d, %d" % wanted if wanted else "no such line"))
        for words in expected:
            bad += 1
            print("%s %s: the module has no such kernel" % (chip, " ".join(words)))
    sys.exit(bad != 0)


main()
