# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every own pass has its file, its tests and its line in docs/rationale.md.

check_passes.py SOURCE_DIR
"""
import os
import re
import sys

source = sys.argv[1]
rationale = open(f"{source}/docs/rationale.md").read()
problems = []
for folder in ["passes", "lowering"]:
    declared = re.findall(r'def (\w+)Pass : Pass<"v4-([\w-]+)"', open(f"{source}/{folder}/Passes.td").read())
    for name, argument in declared:
        words = "".join(word.capitalize() for word in argument.split("-"))
        if words != name:
            problems.append(f"{name}: the argument is v4-{argument}")
        if not os.path.exists(f"{source}/{folder}/{name}.cpp"):
            problems.append(f"{folder}/{name}.cpp is missing")
        else:
            code = open(f"{source}/{folder}/{name}.cpp").read()
            errors = f"test/{folder}/{argument}-errors.mlir"
            if re.search(r"emit\w*Error", code) and not os.path.exists(f"{source}/{errors}"):
                problems.append(f"{errors} is missing")
        if not os.path.exists(f"{source}/test/{folder}/{argument}.mlir"):
            problems.append(f"test/{folder}/{argument}.mlir is missing")
        if f"`v4-{argument}`" not in rationale:
            problems.append(f"docs/rationale.md does not say why v4-{argument} exists")
assert not problems, "\n".join(problems)
