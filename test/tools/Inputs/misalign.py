# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Puts the payloads of a checkpoint's shards at odd addresses, by a header that is longer by a byte: misalign.py DIR"""
import glob
import os
import struct
import sys

shards = glob.glob(os.path.join(sys.argv[1], "*.safetensors"))
assert shards
for path in shards:
    data = open(path, "rb").read()
    length = struct.unpack("<Q", data[:8])[0]
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", length + 1) + data[8:8 + length] + b" " + data[8 + length:])
