# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares files of tensors.

compare.py logits BOUND GOT.npy WANT.npy       largest difference at most BOUND of the largest value
compare.py state  BOUND GOT.safetensors WANT.safetensors
                                               the same for every tensor; compressor rows that hold nothing of the
                                               current block are skipped, whatever they hold
compare.py taps   BOUND GOT.safetensors WANT.safetensors
                                               every tensor of WANT, which must be in GOT
"""
import math
import re
import struct
import sys

from tensors import read_npy, read_safetensors


def difference(got, want, what):
    assert len(got) == len(want), f"{what}: {len(got)} values, expected {len(want)}"
    largest = worst = 0.0
    for a, b in zip(got, want):
        assert math.isfinite(a) and math.isfinite(b), f"{what}: NaN or infinity"
        largest = max(largest, abs(b))
        worst = max(worst, abs(a - b))
    return worst / largest if largest else worst


def used_rows(name, shape, position):
    """The rows of a compressor tensor that mean something after `position` tokens."""
    if not re.search(r"compressor\.(kv|score)_rows$", name):
        return range(shape[0])
    if shape[0] != 8:  # plain: rows of the block that is being filled
        return range(position % shape[0])
    # Overlapping: previous block and current block.
    return [*(range(4) if position >= 4 else []), *range(4, 4 + position % 4)]


def main(kind, bound, got_path, want_path):
    bound = float(bound)
    worst = {}
    if kind == "logits":
        (got_shape, got), (want_shape, want) = read_npy(got_path), read_npy(want_path)
        assert got_shape == want_shape, f"{got_shape} and {want_shape}"
        worst["logits"] = difference(got, want, "logits")
    else:
        got, want = read_safetensors(got_path), read_safetensors(want_path)
        if kind == "state":
            assert sorted(got) == sorted(want), f"names differ: {sorted(set(got) ^ set(want))}"
        for name, (shape, values) in want.items():
            assert name in got, f"'{name}' is missing in {got_path}"
            assert got[name][0] == shape, f"'{name}': {got[name][0]}, expected {shape}"
            if isinstance(values, bytes):
                assert got[name][1] == values, f"'{name}' differs"
                continue
            mine = got[name][1]
            if kind == "state":
                width = len(values) // shape[0] if shape[0] else 0
                rows = used_rows(name, shape, struct.unpack("<q", want["position"][1])[0])
                mine = [v for r in rows for v in mine[r * width:(r + 1) * width]]
                values = [v for r in rows for v in values[r * width:(r + 1) * width]]
            worst[name] = difference(mine, values, f"'{name}'")
    assert worst, "nothing to compare"
    name = max(worst, key=worst.get)
    print(f"{len(worst)} tensors, largest difference {worst[name]:.3g} of the largest value, in '{name}'")
    assert worst[name] <= bound, f"more than {bound}"


if __name__ == "__main__":
    main(*sys.argv[1:])
