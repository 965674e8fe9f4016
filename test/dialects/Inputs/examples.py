# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Prints the examples of the op descriptions in FILE.td as one input for --split-input-file; every op has one."""

import re, sys

text = open(sys.argv[1]).read()
starts = [(m.start(), m.group(1)) for m in re.finditer(r"^def V4_(\w+)Op : ", text, re.M)]
examples = []
for (start, name), end in zip(starts, [s for s, _ in starts[1:]] + [len(text)]):
    found = re.findall(r"^ *```mlir\n(.*?)^ *```$", text[start:end], re.M | re.S)
    if not found:
        sys.exit(f"{name} has no example")
    examples += found
print("// -----\n".join(examples))
