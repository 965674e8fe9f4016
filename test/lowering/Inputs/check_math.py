# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares the printed results of exp, log, log1p and tanh with double precision."""
import math
import re
import struct
import sys

text = open(sys.argv[1]).read()
bits = [int(n) for n in re.findall(r"-?\d+", text[text.index("data ="):])]
values = [struct.unpack("<f", struct.pack("<i", b))[0] for b in bits]
count = len(values) // 6
rows = [values[i * count:(i + 1) * count] for i in range(6)]
assert count == 4096, count
assert min(rows[0]) < -83 and max(rows[0]) > 83 and min(rows[1]) < 2**-22 and max(rows[1]) > 2**22


def worst(name, arguments, results, function, bound):
    """Largest error relative to the value."""
    error, at = max((abs(got - function(x)) / max(abs(function(x)), 2.0**-126), x)
                    for x, got in zip(arguments, results))
    print(f"{name}: {error:.3g} at {at:.9g}")
    assert error <= bound, f"{name}: relative error {error:.3g} at {at:.9g}, more than {bound}"


worst("exp", rows[0], rows[2], math.exp, 2.8e-7)
worst("log", rows[1], rows[3], math.log, 2.8e-7)
worst("log1p", rows[1], rows[4], math.log1p, 2.8e-7)
worst("tanh", rows[0], rows[5], math.tanh, 2.8e-7)
