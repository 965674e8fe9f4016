# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Launches of products with packed weights and what they must give.

    products.py FOLDER KERNEL FORMAT INPUT OUTPUT ROWS COLUMNS INNER [INPUTS] [experts=E] [top=T] [skew] [listed]

FOLDER gets kernel.mlir (a module for v4-stage-kernels) and words (for kernel-run). FORMAT is f32, bf16, fp8 or fp4;
INPUT and OUTPUT f32 or bf16. INPUTS:
    sums    small integers and codes whose sums are exact in f32 in any order: the result must be equal bit for bit
    codes   every row of x has a single 1: the result is one weight times its scale, over all codes and scales
    random  numbers as they come; nothing is expected. Row i of x is the same whatever ROWS is.
    shape   kernel.mlir alone
KERNEL `linear` is the op on tensors, not yet cut into tiles; with groups=G it has G groups of COLUMNS / G columns.
Everything here is computed with Python's numbers, from the formats' definitions (spec 7.1 to 7.3).
"""

import math
import random
import struct
import sys

from formats import bf16_bits, e2m1, e4m3

FORMATS = {"f32": (1, "1xf32"), "bf16": (2, "2xbf16"), "fp8": (4, "4xf8E4M3FN"), "fp4": (8, "4xi8")}


def stored(value, element):
    return struct.pack("<f", value) if element == "f32" else struct.pack("<H", bf16_bits(value))


class Weight:
    """A weight [columns, inner]: its bytes and those of its scale in the layout rows16, and its numbers."""

    def __init__(self, form, columns, inner, inputs, rng):
        self.form, blocks = form, -(-inner // 32)
        if inputs == "sums":
            # Multiples of 1/8 up to 6, scales from 1/2 to 4: sums of some thousand products have 24 bits.
            pick = {"f32": lambda: rng.randrange(-8, 9) / 4, "bf16": lambda: rng.randrange(-8, 9) / 4,
                    "fp8": lambda: rng.randrange(0x20, 0x46) | rng.randrange(2) << 7,
                    "fp4": lambda: rng.randrange(16)}[form]
            exponents = (126, 129)
        else:
            # All codes but the two that are no numbers.
            def code():
                value = rng.randrange(256)
                return value if value & 127 != 127 else 0
            def rounded():
                return struct.unpack("<f", struct.pack("<I", bf16_bits(rng.gauss(0, 1)) << 16))[0]
            pick = {"f32": lambda: rng.gauss(0, 1), "bf16": rounded, "fp8": code,
                    "fp4": lambda: rng.randrange(16)}[form]
            # Products and their parts stay within the normal numbers of f32.
            exponents = (12, 240) if inputs == "codes" else (120, 134)
        cells = [[pick() for _ in range(inner)] for _ in range(columns)]
        scale = [[rng.randint(*exponents) for _ in range(blocks if form == "fp4" else -(-inner // 128))]
                 for _ in range(columns if form == "fp4" else -(-columns // 128))]
        number = {"fp8": e4m3, "fp4": e2m1}.get(form, lambda value: value)
        power = {"fp8": lambda n, k: scale[n // 128][k // 128], "fp4": lambda n, k: scale[n][k // 32]}
        power = power.get(form, lambda n, k: 127)
        self.numbers = [[math.ldexp(number(cells[n][k]), power(n, k) - 127) for k in range(inner)]
                        for n in range(columns)]
        per, lines, data = FORMATS[form][0], [], bytearray()
        for group in range(0, columns, 16):
            for line in range(0, inner, per):
                for n in range(group, group + 16):
                    part = cells[n][line:line + per]
                    if form == "fp4":
                        data += bytes(part[i] | part[i + 1] << 4 for i in range(0, 8, 2))
                    elif form == "fp8":
                        data += bytes(part)
                    else:
                        data += b"".join(stored(value, form) for value in part)
        self.bytes, self.scale_bytes = bytes(data), b""
        if form == "fp8":
            self.scale_bytes = bytes(sum(scale, []))
        if form == "fp4":
            self.scale_bytes = bytes(scale[group + n][block] for group in range(0, columns, 16)
                                     for block in range(blocks) for n in range(16))

    @staticmethod
    def types(form, columns, inner, lead=""):
        per, element = FORMATS[form]
        types = ["memref<%s%dx%dx16x%s>" % (lead, columns // 16, inner // per, element)]
        if form == "fp8":
            types.append("memref<%s%dx%dxf8E8M0FNU>" % (lead, -(-columns // 128), -(-inner // 128)))
        if form == "fp4":
            types.append("memref<%s%dx%dx16xf8E8M0FNU>" % (lead, columns // 16, -(-inner // 32)))
        return types


def rows_of(count, inner, inputs, element):
    rows = []
    for row in range(count):
        rng = random.Random(1000 + row)
        if inputs == "codes":
            place = (row * 37 + 5) % inner
            rows.append([1.0 if k == place else 0.0 for k in range(inner)])
        elif inputs == "sums":
            rows.append([float(rng.randrange(-2, 3)) for _ in range(inner)])
        else:
            rows.append([rng.gauss(0, 1) for _ in range(inner)])
    return rows, b"".join(stored(value, element) for row in rows for value in row)


def write_launch(folder, bindings, size, grid, results, y_type):
    """The bindings' bytes, the expected ones, and the words that name them."""
    words = ["kernel=k_p0", "grid=%d" % grid, "block=256"]
    for name, data in bindings:
        with open("%s/%s.bin" % (folder, name), "wb") as out:
            out.write(data)
        words.append("in=%s:%s.bin" % (name, name))
    words.append("poison=y:%d" % size)
    if results is not None:
        with open(folder + "/y.bin", "wb") as out:
            for row, numbers in results:
                used = [k for k, value in enumerate(row) if value]
                out.write(stored(math.fsum(row[k] * numbers[k] for k in used), y_type))
        words.append("expect=y:y.bin")
    with open(folder + "/words", "w") as out:
        out.write("\n".join(words) + "\n")


def write_op(folder, form, x_type, y_type, rows, columns, inner, groups, weight, x):
    """`v4.linear` of `rows` rows; the rows of x that belong together are those of a group each."""
    rows //= groups
    part = columns // groups
    lead = "%dx" % groups if groups > 1 else ""
    # Groups of rows lie behind each other in the weight; no scale of fp8 crosses them.
    types = [kind.replace("memref", "tensor") for kind in Weight.types(form, part, inner, lead)]
    x_shape = "tensor<%dx%s%dx%s>" % (rows, lead, inner, x_type)
    y_shape = "tensor<%dx%s%dx%s>" % (rows, lead, part, y_type)
    names = ["%x", "%w", "%s"][:1 + len(types)]
    arguments = ", ".join("%s: %s" % pair for pair in zip(names, [x_shape] + types))
    scale = len(types) > 1
    with open(folder + "/kernel.mlir", "w") as out:
        out.write("module {\nmodule @k attributes {v4.kernel} {\n")
        out.write("func.func @k(%s, %%y: %s) -> %s {\n" % (arguments, y_shape, y_shape))
        out.write("%%0 = v4.linear %%x, %%w%s : (%s) -> %s\nreturn %%0 : %s\n}\n}\n}\n" %
                  (" scale %s" if scale else "", ", ".join([x_shape] + types), y_shape, y_shape))
    bindings = [("x", b"".join(stored(value, x_type) for row in x for value in row)), ("w", weight.bytes)]
    if len(types) > 1:
        bindings.append(("s", weight.scale_bytes))
    results = [(x[row * groups + group], weight.numbers[group * part + n])
               for row in range(rows) for group in range(groups) for n in range(part)]
    write_launch(folder, bindings, len(results) * (4 if y_type == "f32" else 2), columns // 32, results, y_type)


def main():
    folder, kernel, form, x_type, y_type, *rest = sys.argv[1:]
    rows, columns, inner = map(int, rest[:3])
    options = dict(word.partition("=")[::2] for word in rest[3:])
    inputs = next((name for name in ("codes", "random", "shape") if name in options), "sums")
    experts, top = int(options.get("experts", 0)), int(options.get("top", 1))
    rng = random.Random(7)
    bindings = []  # name, type, bytes
    if experts:
        # `top` experts of each row; with `skew` the first one has them all.
        choice = [rng.sample(range(experts), top) for _ in range(rows)]
        if "skew" in options:
            choice = [[0] + rng.sample(range(1, experts), top - 1) for _ in range(rows)]
        pairs = rows * top
        active = sorted(set(sum(choice, [])))
        places = min(experts, pairs)
        listed = [[row for row in range(rows) if expert in choice[row]] for expert in active]
        offsets = [0]
        for some in listed:
            offsets.append(offsets[-1] + len(some))
        offsets += offsets[-1:] * (places + 1 - len(offsets))
        active_padded = active + [-1] * (places - len(active))
        order = sum(listed, [])
        count = rows if "listed" in options else pairs
        shape = inputs == "shape"
        weights = [] if shape else [Weight(form, columns, inner, inputs, rng) for _ in range(experts)]
        x, x_bytes = ([], b"") if shape else rows_of(count, inner, inputs, x_type)
        lead = "%dx" % experts
        numbers = lambda values: struct.pack("<%di" % len(values), *values)
        lists = [("e", "memref<%dxi32>" % places, numbers(active_padded)),
                 ("o", "memref<%dxi32>" % (places + 1), numbers(offsets))]
        if "listed" in options:
            lists.append(("r", "memref<%dxi32>" % pairs, numbers(order)))
        pairs_of = [(row, expert) for expert, some in zip(active, listed) for row in some]
        product_rows = [] if shape else [(x[row if "listed" in options else pair], weights[expert])
                                         for pair, (row, expert) in enumerate(pairs_of)]
        results = pairs
    else:
        shape, lead, lists, results, count = inputs == "shape", "", [], rows, rows
        weights = [] if shape else [Weight(form, columns, inner, inputs, rng)]
        x, x_bytes = ([], b"") if shape else rows_of(rows, inner, inputs, x_type)
        product_rows = [(row, weights[0]) for row in x]
    types = Weight.types(form, columns, inner, lead)
    bindings.append(("x", "memref<%dx%dx%s>" % (count, inner, x_type), x_bytes))
    bindings.append(("w", types[0], b"".join(weight.bytes for weight in weights)))
    if len(types) > 1:
        bindings.append(("s", types[1], b"".join(weight.scale_bytes for weight in weights)))
    bindings += lists
    y = "memref<%dx%dx%s>" % (results, columns, y_type)
    if kernel == "linear":
        groups = int(options.get("groups", 1))
        return write_op(folder, form, x_type, y_type, rows, columns, inner, groups, weights[0], x)

    names, all_types = ["%" + name for name, _, _ in bindings], [type for _, type, _ in bindings]
    with open(folder + "/kernel.mlir", "w") as out:
        out.write("module {\nmodule @k attributes {v4.kernel} {\nfunc.func @k(%s, %%y: %s) {\n" %
                  (", ".join("%s: %s" % pair for pair in zip(names, all_types)), y))
        out.write("v4.phase {\nv4.kernel \"%s\" ins(%s : %s) outs(%%y : %s) {threads = 256}\n" %
                  (kernel, ", ".join(names), ", ".join(all_types), y))
        out.write("v4.yield\n}\nreturn\n}\n}\n}\n")
    if shape:
        return
    products = None
    if inputs != "random":
        products = [(row, numbers) for row, weight in product_rows for numbers in weight.numbers]
    size = results * columns * (4 if y_type == "f32" else 2)
    write_launch(folder, [(name, data) for name, _, data in bindings], size, 1, products, y_type)


main()
