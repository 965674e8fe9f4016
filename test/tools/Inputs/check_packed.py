# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every weight in a file of v4-pack begins at a multiple of 64 bytes, the tensors fill the file, and the metadata says
what it was packed for: check_packed.py FILE
"""
import json
import os
import re
import struct
import sys

with open(sys.argv[1], "rb") as file:
    length = struct.unpack("<Q", file.read(8))[0]
    header = json.loads(file.read(length))
metadata = header.pop("__metadata__")
assert re.fullmatch("[0-9a-f]{16}", metadata["v4.layout_hash"]), metadata
assert set(metadata["v4.layouts"].split(",")) <= {"as-stored", "rows16"}, metadata
ranges = sorted(tensor["data_offsets"] for tensor in header.values())
assert len(ranges) > 10
for name, tensor in header.items():
    assert name.startswith("__padding__.") or (8 + length + tensor["data_offsets"][0]) % 64 == 0, name
assert ranges[0][0] == 0 and all(a[1] == b[0] for a, b in zip(ranges, ranges[1:]))
assert 8 + length + ranges[-1][1] == os.path.getsize(sys.argv[1])
