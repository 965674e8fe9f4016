# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the commands of README.md: every indented line of the sections named, as it is printed, one after another.

run_readme.py README.md SCRATCH_DIR CHECKPOINT SOURCE_DIR BUILD_DIR
"""
import os
import re
import shutil
import subprocess
import sys

readme, scratch, checkpoint, source, build = sys.argv[1:]
text = open(readme).read()
first = [line.split("#")[0].strip() for line in text.splitlines()[:2]]
assert first == ["scripts/demo.sh", "scripts/test.sh"], f"README.md starts with {first}"

shutil.rmtree(scratch, ignore_errors=True)
os.makedirs(scratch)
for name, path in [("CHECKPOINT", checkpoint), ("build", build), ("test", source + "/test")]:
    os.symlink(path, os.path.join(scratch, name))
count = 0
for section, length in [("Compiling", 14), ("v4-opt", 10), ("Measuring", 3)]:
    body = re.search(rf"^## {section}\n(.*?)^## ", text, re.M | re.S)[1]
    commands = [line[4:] for line in body.splitlines() if line.startswith("    ")]
    assert len(commands) == length, f"section '{section}' has {len(commands)} lines of commands"
    for command in commands:
        result = subprocess.run(["bash", "-c", command], cwd=scratch, capture_output=True, text=True)
        print(f"$ {command}\n{result.stderr[:2000]}")
        assert result.returncode == 0, f"exit code {result.returncode}\n{result.stdout[-2000:]}"
        assert "warning:" not in result.stderr, "a warning"
        count += 1
print(f"{count} commands")
