# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Finds lit tests that cannot fail: no RUN line, a directive without its colon, checks under a prefix that no RUN line
names, a prefix without checks, --verify-diagnostics with nothing expected.

check_suite.py TEST_FOLDER
"""
import pathlib
import re
import sys

SUFFIX = r"(?:-NEXT|-NOT|-DAG|-LABEL|-SAME|-EMPTY|-COUNT-\d+)"
KEYWORDS = {"RUN", "DEFINE", "REDEFINE", "REQUIRES", "UNSUPPORTED", "XFAIL"}
problems, tests = [], 0
root = pathlib.Path(sys.argv[1])
for path in sorted(root.rglob("*")):
    if path.suffix not in (".mlir", ".test") or "Inputs" in path.parts:
        continue
    tests += 1
    text = path.read_text()
    runs = "\n".join(re.findall(r"^.*RUN:.*$", text, re.M))
    named = {name for names in re.findall(r"--?check-prefix(?:es)?[= ]([\w,-]+)", runs) for name in names.split(",")}
    if any("FileCheck" in run and "check-prefix" not in run for run in runs.splitlines()):
        named.add("CHECK")
    used = set(re.findall(rf"^\W*([A-Z][A-Z0-9_]*){SUFFIX}?:", text, re.M)) - KEYWORDS
    bare = [line for line in text.splitlines() if re.match(rf"\W*(?:CHECK{SUFFIX}?|[A-Z][A-Z0-9_]*{SUFFIX})(?=\s|$)", line)]
    for wrong, what in [(not runs, "no RUN line"), (bare, f"directives without a colon: {bare}"),
                        (named - used, f"prefixes without checks: {named - used}"),
                        (used - named, f"checks that no RUN line names: {used - named}"),
                        ("verify-diagnostics" in runs and "expected-" not in text, "no diagnostic is expected")]:
        if wrong:
            problems.append(f"{path.relative_to(root)}: {what}")
assert tests > 50, tests
sys.exit("\n".join(problems) or 0)
