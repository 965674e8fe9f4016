# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The table of docs/architecture.md lists the stages, and the files it names exist.

check_stages.py ARCHITECTURE.md STAGES.txt SOURCE_DIR      STAGES.txt: what v4c --list=stages prints
"""
import glob
import os
import re
import sys

document, listed, source = sys.argv[1:]
text = open(document).read()
table = text[text.index("## Stages"):text.index("## The way of an op")]
rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| `")]
want = [line.rstrip("\n").split("\t") for line in open(listed)]
got = [[row[0].strip("`"), row[3]] for row in rows]
assert got == want, f"the document has {got}, v4c --list=stages {want}"
for path in re.findall(r"`((?:frontend|dialects|passes|lowering|runtime|tools|docs)/[\w./*-]*)`", text):
    assert glob.glob(os.path.join(source, path)), f"{path} does not exist"
passes = {name for row in rows for name in re.findall(r"\b(?:[A-Z][a-z]+){2,}\b", row[2])}
for name in passes:
    assert os.path.exists(f"{source}/lowering/{name}.cpp") or os.path.exists(f"{source}/passes/{name}.cpp"), name
