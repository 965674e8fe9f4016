# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The example of docs/emulator.md says what the document says.

run_emulator.py EMULATOR.md DIR
"""
import os
import re
import subprocess
import sys

text, folder = open(sys.argv[1]).read(), sys.argv[2]
os.makedirs(folder, exist_ok=True)
name, kernel = re.search(r"```mlir file=(\S+)\n(.*?)```", text, re.S).groups()
commands, expected = (re.search(r"```%s\n(.*?)```" % kind, text, re.S).group(1) for kind in ("sh", "text"))


def run(kernel):
    with open(os.path.join(folder, name), "w") as out:
        out.write(kernel)
    return "".join(subprocess.run(line.split(), cwd=folder, stdout=subprocess.PIPE, text=True).stdout for line in commands.splitlines())


found = run(kernel)
assert found == expected, "the document has\n%sthe tool says\n%s" % (expected, found)
found = run(kernel.replace("    %w = ", "    nvvm.barrier0\n    %w = "))
assert found == "", "with the barrier: " + found
