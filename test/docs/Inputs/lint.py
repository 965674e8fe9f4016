# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""House rules that a script can check, over the files of the tree.

lint.py SOURCE_DIR
"""
import os
import re
import sys

source = sys.argv[1]
licence = "SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception"
problems = []
for folder, names, files in os.walk(source):
    names[:] = [n for n in names if not n.startswith(("build", ".git", "corpus", "__pycache__"))]
    for file in files:
        path = os.path.join(folder, file)
        where = os.path.relpath(path, source)
        if not file.endswith((".cpp", ".h", ".c", ".td", ".py", ".sh", ".mlir", ".test", ".fbs")):
            continue
        lines = open(path).read().split("\n")
        top = "\n".join(lines[:2])
        if not file.endswith((".mlir", ".test", ".fbs")) and licence not in top:
            problems.append(f"{where}: no SPDX line")
        if where.startswith("test/") and "/Inputs/" not in where and file.endswith((".mlir", ".test")):
            if not any("RUN:" in line for line in lines):
                problems.append(f"{where}: no RUN line")
            for number, line in enumerate(lines, 1):
                if re.search(r"(//|#)\s*CHECK(-[A-Z0-9]+)?\s+[^:]*$", line) and not re.search(r"CHECK[^\s]*:", line):
                    problems.append(f"{where}:{number}: CHECK without a colon")
        for number, line in enumerate(lines, 1):
            if re.search(r"\b(TO" r"DO|FIX" r"ME|X{3})\b", line):
                problems.append(f"{where}:{number}: unfinished")
print("\n".join(problems))
sys.exit(1 if problems else 0)
