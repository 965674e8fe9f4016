# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every own pass has its file, its tests in the same folder of test/, and its line in docs/rationale.md.

check_passes.py SOURCE_DIR
"""
import glob
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
        files = glob.glob(f"{source}/{folder}/**/{name}.cpp", recursive=True)
        if len(files) != 1:
            problems.append(f"{folder}/: {len(files)} files {name}.cpp")
            continue
        test = os.path.join("test", os.path.relpath(os.path.dirname(files[0]), source), argument)
        wanted = [test + ".mlir"]
        if re.search(r"emit\w*Error", open(files[0]).read()):
            wanted.append(test + "-errors.mlir")
        problems += [f"{path} is missing" for path in wanted if not os.path.exists(f"{source}/{path}")]
        if f"`v4-{argument}`" not in rationale:
            problems.append(f"docs/rationale.md does not say why v4-{argument} exists")
assert not problems, "\n".join(problems)
