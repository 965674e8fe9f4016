# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every template of GPUs is assembled for every chip: a line of a table of ptxas.py has it.

    templates.py FOLDER SOURCE CHIPS TABLE...    SOURCE: GpuTemplates.cpp; CHIPS: as in sm_80,sm_90a
"""

import os
import re
import subprocess
import sys

folder, source, chips, *tables = sys.argv[1:]
templates = re.findall(r'^ +\{"(\w+)", ', open(source).read(), re.M)
assert len(templates) >= 10, templates
first = {}  # the first word of a line: its arguments, and the chips that have such lines
for table in tables:
    for line in open(table):
        if not line.startswith("#") and line.strip():
            chip, _, _, *words = line.split()
            first.setdefault(words[0], (words, set()))[1].add(chip)
compiled = set()
for words, chips_of in first.values():
    script = "products.py" if words[0].endswith(("gemv", "gemm")) else "rows.py"
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), script)
    subprocess.run([sys.executable, script, folder, *words, "shape"], check=True)
    for name in re.findall(r'v4\.kernel "(\w+)"', open(folder + "/kernel.mlir").read()):
        compiled |= {(name, chip) for chip in chips_of}
missing = [(name, chip) for name in templates for chip in chips.split(",") if (name, chip) not in compiled]
for name, chip in missing:
    print("template %s: no line for %s in %s" % (name, chip, " or ".join(tables)))
sys.exit(bool(missing))
