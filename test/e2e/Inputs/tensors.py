# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads the two tensor formats of the tests, .npy and .safetensors, with nothing but the standard library."""
import array
import ast
import json
import struct
import sys


def _floats(data):
    values = array.array("f")
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def read_npy(path):
    """(shape, values) of a float32 array."""
    data = open(path, "rb").read()
    assert data[:6] == b"\x93NUMPY", f"{path}: not an npy file"
    short = data[6] == 1
    size, start = struct.unpack_from("<H" if short else "<I", data, 8)[0], 10 if short else 12
    header = ast.literal_eval(data[start:start + size].decode())
    assert header["descr"] == "<f4" and not header["fortran_order"], f"{path}: {header}"
    return header["shape"], _floats(data[start + size:])


def read_safetensors(path):
    """name -> (shape, values), F32 tensors as arrays of floats and the others as bytes."""
    data = open(path, "rb").read()
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + size])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        raw = data[8 + size + first:8 + size + last]
        tensors[name] = (entry["shape"], _floats(raw) if entry["dtype"] == "F32" else raw)
    return tensors
