# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""flip_bit.py FOLDER: changes a bit of the first file of expected bytes."""
import glob
import sys

path = sorted(glob.glob(sys.argv[1] + "/*.expected"))[0]
with open(path, "r+b") as file:
    byte = file.read(1)[0]
    file.seek(0)
    file.write(bytes([byte ^ 1]))
