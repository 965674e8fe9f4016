# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every own pass has its file, its tests and its line in docs/rationale.md.

check_passes.py SOURCE_DIR
"""
import glob
import re
import sys

source = sys.argv[1]
rationale = open(f"{source}/docs/rationale.md").read()
problems = []


def find(folder, name):
    """The file in the folder, or in the folder of a target below it."""
    return glob.glob(f"{source}/{folder}/{name}") + glob.glob(f"{source}/{folder}/*/{name}")


for folder in ["passes", "lowering"]:
    declared = re.findall(r'def (\w+)Pass : Pass<"v4-([\w-]+)"', open(f"{source}/{folder}/Passes.td").read())
    for name, argument in declared:
        words = "".join(word.capitalize() for word in argument.split("-"))
        if words != name:
            problems.append(f"{name}: the argument is v4-{argument}")
        code = find(folder, f"{name}.cpp")
        if not code:
            problems.append(f"{folder}/{name}.cpp is missing")
        elif re.search(r"emit\w*Error", open(code[0]).read()) and not find(f"test/{folder}", f"{argument}-errors.mlir"):
            problems.append(f"test/{folder}/{argument}-errors.mlir is missing")
        if not find(f"test/{folder}", f"{argument}.mlir"):
            problems.append(f"test/{folder}/{argument}.mlir is missing")
        if f"`v4-{argument}`" not in rationale:
            problems.append(f"docs/rationale.md does not say why v4-{argument} exists")
assert not problems, "\n".join(problems)
