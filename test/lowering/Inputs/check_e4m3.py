# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares printed bits with the values of all 256 codes of f8E4M3FN: sign, 4 bits of exponent (bias 7), 3 of mantissa;
no infinity; 0x7f and 0xff are NaN."""
import math
import re
import struct
import sys

text = open(sys.argv[1]).read()
numbers = [int(n) for n in re.findall(r"-?\d+", text[text.index("data ="):])]
assert len(numbers) == 512, len(numbers)
for i, bits in enumerate(numbers):
    code = i % 256
    got = struct.unpack("<f", struct.pack("<i", bits))[0]
    exponent, mantissa = code >> 3 & 15, code & 7
    if exponent == 15 and mantissa == 7:
        assert math.isnan(got), f"code {code:#x}: {got}, expected NaN"
        continue
    want = math.ldexp(mantissa, -9) if exponent == 0 else math.ldexp(8 + mantissa, exponent - 10)
    want = math.copysign(want, -1.0 if code & 0x80 else 1.0)
    assert struct.pack("<f", want) == struct.pack("<f", got), f"code {code:#x}: {got}, expected {want}"
