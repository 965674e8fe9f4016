# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Follows the walk-throughs of CONTRIBUTING.md to the letter, in a copy of the tree.

walkthrough.py SOURCE_DIR COPY_DIR

Code blocks of the document say what to do with them:
    file=PATH                   a new file
    insert=PATH before="TEXT"   goes in front of the last line that starts with TEXT
    run                         a command, at the root of the tree; with `build`, after all the files are in place
Both walk-throughs are applied before anything is built, so that it is built once.
"""
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap

source, copy = sys.argv[1:]
os.makedirs(copy, exist_ok=True)  # what an earlier run built there saves time
for name in os.listdir(source):
    if name.startswith(("build", ".git")):
        continue
    path, target = os.path.join(source, name), os.path.join(copy, name)
    if os.path.isdir(path):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(path, target, ignore=shutil.ignore_patterns("golden", "__pycache__", "corpus"))
    else:
        shutil.copy2(path, target)
# The payload of the golden cases is not needed here.
os.makedirs(os.path.join(copy, "test", "golden"), exist_ok=True)
shutil.copy2(os.path.join(source, "test", "golden", "CMakeLists.txt"), os.path.join(copy, "test", "golden"))


def run(command):
    print(f"$ {command}", flush=True)
    result = subprocess.run(["bash", "-e", "-c", command], cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True)
    print(result.stdout[-4000:])
    assert result.returncode == 0, f"exit code {result.returncode}"


text = open(os.path.join(source, "CONTRIBUTING.md")).read()
late, steps = [], 0
for fence, info, body in re.findall(r"^ *(`{3,})(\w+ [^\n]+)\n(.*?)^ *\1$", text, re.M | re.S):
    words = shlex.split(info)[1:]
    options = dict(word.partition("=")[::2] for word in words)
    body = textwrap.dedent(body)
    if "file" in options:
        path = os.path.join(copy, options["file"])
        assert not os.path.exists(path), f"{options['file']} exists already"
        open(path, "w").write(body)
    elif "insert" in options:
        path = os.path.join(copy, options["insert"])
        lines = open(path).read().split("\n")
        places = [i for i, line in enumerate(lines) if line.startswith(options["before"])]
        assert places, f"{options['insert']} has no line that starts with '{options['before']}'"
        lines[places[-1]:places[-1]] = body.rstrip("\n").split("\n") + ([""] if body.endswith("\n\n") else [])
        open(path, "w").write("\n".join(lines))
    elif "build" in options:
        late.append(body)
    elif "run" in options:
        run(body)
    else:
        continue
    steps += 1
assert steps >= 12 and len(late) == 2, f"{steps} steps, {len(late)} builds"
# ccache finds the files of earlier runs only if their paths are the same, and they are: the copy has a fixed place.
os.environ["CCACHE_SLOPPINESS"] = "pch_defines,time_macros,include_file_mtime,include_file_ctime"
run("cmake --preset dev")
for body in late:
    run(body)
print(f"{steps} steps")
