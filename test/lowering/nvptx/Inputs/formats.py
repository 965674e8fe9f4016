# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Numbers of the narrow formats, from their definitions (spec 7.1 to 7.3)."""

import struct


def e4m3(code):
    exponent, fraction = code >> 3 & 15, code & 7
    value = (1 + fraction / 8) * 2.0 ** (exponent - 7) if exponent else fraction / 8 * 2.0**-6
    return -value if code & 128 else value


def e2m1(code):
    return [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][code & 7] * (-1 if code & 8 else 1)


def bf16_bits(value):
    """The bits of the nearest bf16 number, ties to even."""
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return bits + 0x7FFF + (bits >> 16 & 1) >> 16
