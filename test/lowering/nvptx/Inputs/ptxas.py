# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Assembles templates for every chip and compares what ptxas says with a table.

    ptxas.py TABLE FOLDER PTXAS [--print]

A line of TABLE: chip, registers, bytes of shared memory, then the arguments of products.py or rows.py. No kernel may spill, have local
memory or call anything. Registers may differ a little from one ptxas to the next: by more than 16, a loop has lost its
loads in flight, or a value its place. --print writes the table as it is now.
"""

import os
import re
import subprocess
import sys


def assemble(folder, chip, words, ptxas):
    script = "products.py" if words[0].endswith(("gemv", "gemm")) else "rows.py"
    script = os.path.join(os.path.dirname(__file__), script)
    subprocess.run([sys.executable, script, folder, *words, "shape"], check=True)
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
    text = re.sub(r"\\([0-9A-F]{2})", lambda match: chr(int(match.group(1), 16)), text).rstrip("\0")
    path = folder + "/kernel.ptx"
    with open(path, "w") as out:
        out.write(text)
    for word in [".extern .func", ".local", "call"]:
        assert not re.search(r"(^|\s)%s\b" % re.escape(word), text), "%s %s has %s" % (chip, words, word)
    said = subprocess.run([ptxas, "-v", "-arch=" + chip, path, "-o", folder + "/kernel.cubin"],
                          capture_output=True, text=True).stderr
    assert "0 bytes spill stores, 0 bytes spill loads" in said, "%s %s: %s" % (chip, words, said)
    shared = re.search(r"(\d+) bytes smem", said)
    return int(re.search(r"Used (\d+) registers", said).group(1)), int(shared.group(1)) if shared else 0


def main():
    table, folder, ptxas = sys.argv[1:4]
    bad = 0
    for line in open(table):
        if line.startswith("#") or not line.strip():
            continue
        chip, registers, shared, *words = line.split()
        got = assemble(folder, chip, words, ptxas)
        if "--print" in sys.argv:
            print(chip, *got, *words)
        elif abs(got[0] - int(registers)) > 16 or got[1] != int(shared):
            bad += 1
            print("%s %s: %d registers, %d bytes; the table has %s, %s" % (chip, " ".join(words), *got, registers, shared))
    sys.exit(bad != 0)


main()
