# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Executes ops and compares them with definitions written in plain Python, independent of the compiler.

    definitions.py emit NAME     a module whose @main prints the results of every case of NAME
    definitions.py check NAME    reads what it printed, fails with the first difference

Inputs are pseudo-random, the same in both modes. Results of f32 are compared relative to the largest value of a tensor.
"""

import math, random, re, struct, sys

TOLERANCE = 4e-6


# ---------------------------------------------------------------------------------------------------- numbers
def f32(x):
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)


def bits(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def bf16_code(x):
    b = bits(x)
    return (b + 0x7FFF + ((b >> 16) & 1)) >> 16 & 0xFFFF


def from_bf16(code):
    return struct.unpack("<f", struct.pack("<I", code << 16))[0]


def from_e4m3(code):
    sign, e, m = (-1.0 if code & 0x80 else 1.0), code >> 3 & 15, code & 7
    if e == 15 and m == 7:
        return math.nan
    return sign * (m / 8 * 2.0**-6 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7))


E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]


def from_e2m1(code):
    return -E2M1[code & 7] if code & 8 else E2M1[code & 7]


def from_e8m0(code):
    return math.nan if code == 255 else 2.0 ** (code - 127)


# ---------------------------------------------------------------------------------------------------- tensors
class Tensor:
    """Flat values and shape; `codes` holds the stored form of narrow elements."""

    FORMATS = {"f32": "f", "i32": "i", "i64": "q", "bf16": "H", "i8": "B", "f8E4M3FN": "B", "f8E8M0FNU": "B"}
    WIDEN = {"bf16": from_bf16, "f8E4M3FN": from_e4m3, "f8E8M0FNU": from_e8m0}

    def __init__(self, shape, element, codes):
        self.shape, self.element, self.codes = tuple(shape), element, list(codes)
        assert len(self.codes) == math.prod(shape), (shape, len(self.codes))
        widen = self.WIDEN.get(element)
        self.values = [widen(c) for c in self.codes] if widen else self.codes

    @property
    def type(self):
        return "tensor<" + "x".join(map(str, self.shape)) + "x" + self.element + ">"

    def constant(self):
        data = struct.pack(f"<{len(self.codes)}{self.FORMATS[self.element]}", *self.codes)
        return f'arith.constant dense<"0x{data.hex().upper()}"> : {self.type}'

    def __getitem__(self, index):
        index = index if isinstance(index, tuple) else (index,)
        flat = 0
        for i, size in zip(index, self.shape):
            assert 0 <= i < size
            flat = flat * size + i
        rest = math.prod(self.shape[len(index) :])
        part = self.values[flat * rest : (flat + 1) * rest]
        return part if len(index) < len(self.shape) else part[0]


class Index:
    """A scalar operand."""

    type = "index"

    def __init__(self, value):
        self.value = value

    def constant(self):
        return f"arith.constant {self.value} : index"


RANDOM = random.Random(4)


def normal(*shape, scale=1.0):
    return Tensor(shape, "f32", [f32(RANDOM.gauss(0, scale)) for _ in range(math.prod(shape))])


def normal_bf16(*shape, scale=1.0):
    return Tensor(shape, "bf16", [bf16_code(f32(RANDOM.gauss(0, scale))) for _ in range(math.prod(shape))])


def integers(*values, element="i32"):
    return Tensor((len(values),), element, values)


def codes_e4m3(*shape):
    return Tensor(
        shape, "f8E4M3FN", [RANDOM.choice([c for c in range(256) if c & 0x7F != 0x7F]) for _ in range(math.prod(shape))]
    )


def codes_i8(*shape):
    return Tensor(shape, "i8", [RANDOM.randrange(256) for _ in range(math.prod(shape))])


def scales(*shape):
    return Tensor(shape, "f8E8M0FNU", [RANDOM.randrange(124, 130) for _ in range(math.prod(shape))])


def span(start, length):
    return integers(start, length)


# ---------------------------------------------------------------------------------------------------- cases
CASES = {}


class Case:
    """One op: `text` with {0}, {1}, .. for the inputs, without types; expected results as (shape, element, flat values),
    where None is unspecified."""

    def __init__(self, text, inputs, results, tolerance=TOLERANCE):
        self.text, self.inputs, self.results, self.tolerance = text, inputs, results, tolerance

    @staticmethod
    def kernel(name, inputs, result):
        """A kernel template by its name, for operands that no op hands it yet."""
        out = result_type(*result[:2])
        names = ", ".join(f"{{{i}}}" for i in range(len(inputs)))
        text = f'v4.kernel "{name}" ins({names} : {", ".join(t.type for t in inputs)}) outs(%out : {out}) -> {out}'
        return Case(text, inputs, [result])


def case(name):
    def register(function):
        CASES[name] = function
        return function

    return register


def result_type(shape, element):
    return "tensor<" + "x".join(map(str, shape)) + "x" + element + ">"


# ---------------------------------------------------------------------------------------------------- linears
def widened(weight, scale, row, columns):
    """A row of a stored weight [N, ..] as floats."""
    if weight.element == "i8":
        data = weight[row]
        values = [from_e2m1(data[k // 2] >> (4 if k % 2 else 0) & 15) for k in range(columns)]
        return [v * scale[row][k // 32] for k, v in enumerate(values)]
    if scale is not None:
        return [v * scale[row // 128][k // 128] for k, v in enumerate(weight[row])]
    return weight[row]


def part(tensor, index):
    """The slice at `index` of the leading dimension."""
    size = math.prod(tensor.shape[1:])
    return Tensor(tensor.shape[1:], tensor.element, tensor.codes[index * size : (index + 1) * size])


def product(x, weight, scale):
    rows, columns = x.shape
    wide = [widened(weight, scale, n, columns) for n in range(weight.shape[0])]
    return [[math.fsum(a * b for a, b in zip(x[s], w)) for w in wide] for s in range(rows)]


def stored(kind, n, k, lead=()):
    ceil = lambda a, b: -(-a // b)
    if kind == "f32":
        return normal(*lead, n, k), None
    if kind == "bf16":
        return normal_bf16(*lead, n, k), None
    if kind == "fp8":
        return codes_e4m3(*lead, n, k), scales(*lead, ceil(n, 128), ceil(k, 128))
    return codes_i8(*lead, n, k // 2), scales(*lead, n, ceil(k, 32))


def packed(tensor):
    """The layout rows16: 16 rows side by side, four bytes of each at a time (a byte of each for a scale)."""
    *lead, n, columns = tensor.shape
    size = 1 if tensor.element == "f8E8M0FNU" else 4 // {"f32": 4, "bf16": 2}.get(tensor.element, 1)
    codes = []
    for first in range(0, math.prod(lead) * n, 16):
        for at in range(0, columns, size):
            for row in range(first, first + 16):
                codes += tensor.codes[row * columns + at : row * columns + at + size]
    shape = (*lead, n // 16, columns // size, 16) + (() if tensor.element == "f8E8M0FNU" else (size,))
    return Tensor(shape, tensor.element, codes)


def packed_weight(kind, w, scale):
    """Only the scale of fp4 is one per row."""
    return packed(w), packed(scale) if kind == "fp4" else scale


def packed_product(kind, s, n, k):
    """A product of s rows with a packed weight [n, k]."""
    x, (w, scale) = normal(s, k), stored(kind, n, k)
    flat = [v for row in product(x, w, scale) for v in row]
    w, scale = packed_weight(kind, w, scale)
    text = "v4.linear {0}, {1} " + ("scale {2} " if scale else "")
    return Case(text, [x, w] + ([scale] if scale else []), [((s, n), "f32", flat)])


@case("packed_linear")
def packed_linear():
    for kind, s, n, k in [
        ("f32", 1, 16, 3),
        ("f32", 5, 48, 33),
        ("bf16", 1, 64, 64),
        ("bf16", 3, 16, 90),
        ("bf16", 17, 32, 38),
        ("fp8", 1, 64, 256),
        ("fp8", 2, 144, 200),
        ("fp8", 16, 32, 132),
        ("fp8", 3, 272, 20),
        ("fp4", 1, 64, 128),
        ("fp4", 2, 32, 72),
        ("fp4", 7, 16, 40),
        ("fp4", 1, 80, 8),
    ]:
        yield packed_product(kind, s, n, k)
    for kind, s, g, n, k in [("bf16", 3, 2, 16, 32), ("fp8", 2, 3, 128, 160), ("fp8", 1, 2, 32, 24), ("fp4", 2, 2, 16, 64)]:
        x, (w, scale) = normal(s, g, k), stored(kind, n, k, (g,))
        flat = [0.0] * (s * g * n)
        for i in range(g):
            rows = Tensor((s, k), "f32", [v for row in range(s) for v in x[row, i]])
            for row, values in enumerate(product(rows, part(w, i), scale and part(scale, i))):
                flat[(row * g + i) * n : (row * g + i + 1) * n] = values
        w, scale = packed_weight(kind, w, scale)
        text = "v4.linear {0}, {1} " + ("scale {2} " if scale else "")
        yield Case(text, [x, w] + ([scale] if scale else []), [((s, g, n), "f32", flat)])


@case("gemm")
def gemm():
    """Numbers of rows on both sides of the register tiles, blocks of K that end early, and a tile of three groups."""
    for kind, s, n, k in [
        ("f32", 17, 64, 129),
        ("f32", 100, 16, 1030),
        ("bf16", 18, 64, 1028),
        ("bf16", 127, 48, 90),
        ("fp8", 17, 128, 1156),
        ("fp8", 35, 192, 388),
        ("fp8", 128, 16, 20),
        ("fp4", 23, 64, 1064),
        ("fp4", 64, 80, 72),
        ("fp4", 515, 16, 40),
    ]:
        yield packed_product(kind, s, n, k)


@case("gemm_bf16")
def gemm_bf16():
    """Rows of bf16."""
    for kind, s, n, k in [
        ("f32", 17, 16, 37),
        ("bf16", 18, 64, 1028),
        ("bf16", 127, 48, 90),
        ("fp8", 35, 192, 388),
        ("fp8", 130, 16, 20),
        ("fp4", 23, 64, 1064),
        ("fp4", 64, 80, 72),
    ]:
        x, (w, scale) = normal_bf16(s, k), stored(kind, n, k)
        flat = [v for row in product(x, w, scale) for v in row]
        w, scale = packed_weight(kind, w, scale)
        yield Case.kernel("gemm", [x, w] + ([scale] if scale else []), ((s, n), "f32", flat))


@case("gemv")
def gemv():
    """Numbers of rows on both sides of the register tiles, blocks of K that end early, tiles of odd numbers of groups."""
    for kind, s, n, k in [
        ("f32", 1, 64, 261),
        ("f32", 6, 48, 129),
        ("bf16", 1, 64, 262),
        ("bf16", 4, 80, 90),
        ("bf16", 16, 32, 258),
        ("fp8", 1, 128, 388),
        ("fp8", 2, 64, 260),
        ("fp8", 9, 128, 20),
        ("fp8", 16, 48, 516),
        ("fp4", 1, 128, 392),
        ("fp4", 3, 64, 264),
        ("fp4", 5, 16, 24),
        ("fp4", 13, 48, 168),
    ]:
        yield packed_product(kind, s, n, k)
    # One group of an output projection.
    for kind in ["f32", "bf16", "fp8", "fp4"]:
        s, n, k = 3, 32, 136
        x, (w, scale) = normal(s, 1, k), stored(kind, n, k, (1,))
        flat = [v for row in product(Tensor((s, k), "f32", x.values), part(w, 0), scale and part(scale, 0)) for v in row]
        w, scale = packed_weight(kind, w, scale)
        text = "v4.linear {0}, {1} " + ("scale {2} " if scale else "")
        yield Case(text, [x, w] + ([scale] if scale else []), [((s, 1, n), "f32", flat)])


@case("grouped_gemv")
def grouped_gemv():
    """Experts of 1 to 8 rows, the most of a pass, and of more."""
    counts = {0: 1, 2: 2, 3: 3, 4: 4, 6: 5, 7: 6, 8: 7, 9: 8, 10: 19}
    yield from routed_cases(counts, 20, [
        ("f32", 16, 33, True),
        ("bf16", 64, 130, True),
        ("bf16", 48, 20, False),
        ("fp8", 128, 140, True),
        ("fp8", 64, 260, False),
        ("fp4", 128, 136, True),
        ("fp4", 32, 264, False),
    ])
    # A decode step of one sequence.
    yield from routed_cases({1: 1, 4: 1, 5: 1}, 1, [("fp8", 64, 132, True), ("fp4", 128, 200, True), ("fp4", 16, 40, False)])


@case("grouped_gemm")
def grouped_gemm():
    """Experts of 1 to 7 rows and of many: every remainder of a register tile, from a list and without one."""
    counts = {0: 1, 2: 2, 3: 3, 4: 4, 6: 5, 7: 6, 8: 7, 9: 103}
    yield from routed_cases(counts, 19, [
        ("f32", 16, 33, True),
        ("bf16", 64, 130, True),
        ("bf16", 48, 20, False),
        ("fp8", 144, 140, True),
        ("fp8", 64, 260, False),
        ("fp4", 64, 136, True),
        ("fp4", 32, 1032, False),
    ])


def routed_cases(counts, tokens, shapes):
    """Packed tables of 11 experts; `counts` rows of each expert, then pairs that no expert has."""
    for kind, n, k, gathered in shapes:
        total = sum(counts.values()) + 9
        source = [RANDOM.randrange(tokens) for _ in range(total - 9)] + [0] * 9
        x = normal(tokens if gathered else total, k)
        w, scale = stored(kind, n, k, (11,))
        experts, offsets, flat, first = [], [0], [None] * (total * n), 0
        for e, count in counts.items():
            rows = [source[p] if gathered else p for p in range(first, first + count)]
            values = product(Tensor((count, k), "f32", [v for r in rows for v in x[r]]), part(w, e), scale and part(scale, e))
            flat[first * n : (first + count) * n] = [v for row in values for v in row]
            first += count
            experts.append(e)
            offsets.append(first)
        w, scale = packed_weight(kind, w, scale)
        lists = [integers(*experts, -1, -1, -1), integers(*offsets, first, first, first)]
        inputs = [x, w] + ([scale] if scale else []) + lists + ([integers(*source)] if gathered else [])
        at = 3 if scale else 2
        text = "v4.grouped_linear {0}, {1} " + ("scale {2} " if scale else "") + f"experts {{{at}}}, {{{at + 1}}} "
        yield Case(text + (f"rows {{{at + 2}}} " if gathered else ""), inputs, [((total, n), "f32", flat)])


@case("linear")
def linear():
    for kind, s, n, k in [
        ("f32", 1, 1, 1),
        ("f32", 3, 5, 37),
        ("f32", 2, 7, 64),
        ("bf16", 4, 10, 96),
        ("bf16", 1, 3, 16),
        ("fp8", 1, 32, 384),
        ("fp8", 2, 128, 128),
        ("fp8", 3, 130, 200),
        ("fp8", 2, 20, 72),
        ("fp8", 1, 260, 130),
        ("fp4", 2, 6, 64),
        ("fp4", 3, 5, 80),
        ("fp4", 1, 3, 24),
        ("fp4", 4, 2, 32),
        ("fp4", 19, 3, 2048),  # in blocks of 16 rows
    ]:
        x, (w, scale) = normal(s, k), stored(kind, n, k)
        flat = [v for row in product(x, w, scale) for v in row]
        text = "v4.linear {0}, {1} " + ("scale {2} " if scale else "") + ""
        yield Case(text, [x, w] + ([scale] if scale else []), [((s, n), "f32", flat)])
    for kind, s, g, n, k in [
        ("bf16", 3, 2, 7, 32),
        ("fp8", 2, 3, 128, 256),
        ("f32", 1, 1, 4, 20),
        ("fp8", 1, 1, 16, 200),
    ]:
        x, (w, scale) = normal(s, g, k), stored(kind, n, k, (g,))
        flat = [0.0] * (s * g * n)
        for i in range(g):
            rows = Tensor((s, k), "f32", [v for row in range(s) for v in x[row, i]])
            for row, values in enumerate(product(rows, part(w, i), scale and part(scale, i))):
                flat[(row * g + i) * n : (row * g + i + 1) * n] = values
        text = "v4.linear {0}, {1} " + ("scale {2} " if scale else "") + ""
        yield Case(text, [x, w] + ([scale] if scale else []), [((s, g, n), "f32", flat)])


@case("packed_grouped_linear")
def packed_grouped_linear():
    shapes = [("bf16", 32, 48, True), ("fp4", 16, 96, True), ("fp8", 144, 136, True), ("f32", 16, 20, False)]
    yield from grouped_cases([*shapes, ("fp4", 48, 40, False)], packed_weight)


@case("grouped_linear")
def grouped_linear():
    shapes = [("bf16", 6, 48, True), ("fp4", 4, 96, True), ("fp8", 130, 136, True), ("f32", 3, 20, False)]
    yield from grouped_cases([*shapes, ("fp4", 5, 32, False)], lambda kind, w, scale: (w, scale))
    # One pair: the form of a decode step with one expert per token.
    x, (w, scale) = normal(1, 64), stored("fp4", 8, 64, (3,))
    yield Case(
        "v4.grouped_linear {0}, {1} scale {2} experts {3}, {4} rows {5}",
        [x, w, scale, integers(2), integers(0, 1), integers(0)],
        [((1, 8), "f32", product(x, part(w, 2), part(scale, 2))[0])],
    )


def grouped_cases(shapes, layout):
    # Rows of 3 tokens go to experts 1 (0 pairs left out), 3 and 4; the list ends early.
    for kind, n, k, gathered in shapes:
        counts, order, total = {1: 3, 3: 1, 4: 19}, [1, 3, 4], 25
        source = [RANDOM.randrange(3) for _ in range(23)] + [0, 0]
        x = normal(3 if gathered else total, k)
        w, scale = stored(kind, n, k, (6,))
        experts = integers(*order, -1, -1, -1)
        offsets = integers(0, 3, 4, 23, 23, 23, 23)
        flat = [None] * (total * n)
        for a, e in enumerate(order):
            for p in range(offsets[a], offsets[a + 1]):
                row = Tensor((1, k), "f32", x[source[p] if gathered else p])
                flat[p * n : (p + 1) * n] = product(row, part(w, e), scale and part(scale, e))[0]
        w, scale = layout(kind, w, scale)
        inputs = [x, w] + ([scale] if scale else []) + [experts, offsets] + ([integers(*source)] if gathered else [])
        names = iter(range(2, 9))
        text = "v4.grouped_linear {0}, {1} " + (f"scale {{{next(names)}}} " if scale else "")
        text += f"experts {{{next(names)}}}, {{{next(names)}}} " + (f"rows {{{next(names)}}} " if gathered else "") + ""
        yield Case(text, inputs, [((total, n), "f32", flat)])


# ---------------------------------------------------------------------------------------------------- rows
@case("rows")
def rows():
    table = normal_bf16(5, 6)
    yield Case(
        "v4.embed {0}, {1}",
        [integers(4, 0, -1, 7), table],
        [((4, 6), "f32", table[4] + table[0] + table[0] + table[4])],
    )
    table = normal(3, 4)
    yield Case("v4.embed {0}, {1}", [integers(2), table], [((1, 4), "f32", table[2])])
    x = normal(4, 3)
    for length, row in [(4, 3), (2, 1), (0, 0)]:
        yield Case("v4.select_last {0}, {1}", [x, span(7, length)], [((1, 3), "f32", x[row])])
    x = normal(3, 2, 4)
    yield Case("v4.select_last {0}, {1}", [x, span(0, 2)], [((1, 2, 4), "f32", x[1])])


@case("norms")
def norms():
    for shape, weight, eps in [
        ((3, 64), normal_bf16(64), 1e-6),
        ((2, 37), normal(37), 1e-2),
        ((2, 3, 20), None, 1e-6),
        ((1, 1, 16), None, 1.0),
        ((1, 8), normal(8), 1e-6),
    ]:
        x, flat = normal(*shape, scale=0.3), []
        d = shape[-1]
        for r in range(math.prod(shape[:-1])):
            row = x.values[r * d : (r + 1) * d]
            rho = 1 / math.sqrt(math.fsum(v * v for v in row) / d + eps)
            flat += [v * rho * (weight[i] if weight else 1.0) for i, v in enumerate(row)]
        text = "v4.rms_norm {0} " + ("weight {1} " if weight else "") + f"eps {eps:.9e}"
        yield Case(text, [x] + ([weight] if weight else []), [(shape, "f32", flat)])


def frequencies(half, theta, yarn):
    dim = 2 * half
    f = [f32(1.0 / f32(theta ** f32(2 * i / dim))) for i in range(half)]
    if not yarn:
        return f
    factor, original, fast, slow = yarn
    pair = lambda turns: dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))
    low, high = max(math.floor(pair(fast)), 0), min(math.ceil(pair(slow)), dim - 1)
    high += 0.001 if low == high else 0
    result = []
    for i, v in enumerate(f):
        keep = f32(1 - f32(min(max(f32((i - low) / (high - low)), 0), 1)))
        result.append(f32(f32(f32(v / factor) * f32(1 - keep)) + f32(v * keep)))
    return result


@case("rope")
def rope():
    positions = [0, 1, 2, 3, 100, 127, 65535, 999983, 1048575]
    for half, theta, yarn in [
        (32, 10000.0, None),
        (32, 160000.0, (16.0, 65536, 32.0, 1.0)),
        (4, 160000.0, (16.0, 64, 32.0, 1.0)),
        (3, 10000.0, None),
    ]:
        cos, flat = [], []
        for p in positions:
            angles = [f32(p * f) for f in frequencies(half, theta, yarn)]
            flat += [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
        text = f"v4.rope_table {{0}} theta {theta:.1f} "
        if yarn:
            text += "yarn <factor = {:.1f} : f64, original = {}, beta_fast = {:.1f} : f64, beta_slow = {:.1f} : f64> ".format(
                *yarn
            )
        yield Case(text + "", [integers(*positions)], [((len(positions), 2, half), "f32", flat)], tolerance=3e-6)
    for shape, half, inverse in [((3, 8), 2, False), ((2, 3, 10), 4, True), ((1, 2, 6), 3, False), ((1, 4), 1, True)]:
        x, table, flat, d = normal(*shape), normal(shape[0], 2, half), [], shape[-1]
        heads = math.prod(shape[1:-1])
        for r in range(shape[0] * heads):
            row = x.values[r * d : (r + 1) * d]
            for i in range(half):
                a, b = row[d - 2 * half + 2 * i : d - 2 * half + 2 * i + 2]
                c, s = table[r // heads, 0, i], table[r // heads, 1, i] * (-1 if inverse else 1)
                row[d - 2 * half + 2 * i], row[d - 2 * half + 2 * i + 1] = a * c - b * s, a * s + b * c
            flat += row
        yield Case("v4.rope {0}, {1} " + ("inverse " if inverse else "") + "", [x, table], [(shape, "f32", flat)])


@case("hadamard_wide")
def hadamard_wide():
    return hadamard([(1, 16), (2, 3, 32), (1, 17, 128), (5, 512)])


@case("hadamard")
def hadamard(shapes=((2, 1), (3, 8), (1, 32), (2, 2, 16), (1, 128))):
    for shape in shapes:
        x, flat, d = normal(*shape), [], shape[-1]
        for r in range(math.prod(shape[:-1])):
            row = x.values[r * d : (r + 1) * d]
            step = 1
            while step < d:  # butterflies a + b, a - b
                for i in range(d):
                    if not i & step:
                        row[i], row[i + step] = row[i] + row[i + step], row[i] - row[i + step]
                step *= 2
            flat += [v / math.sqrt(d) for v in row]
        yield Case("v4.hadamard {0}", [x], [(shape, "f32", flat)])


# ---------------------------------------------------------------------------------------------------- quantisers
def nearest(x, values):
    """The nearest of ascending values >= 0, ties to the one of even index."""
    best = min(range(len(values)), key=lambda i: (abs(values[i] - abs(x)), i & 1))
    return best, math.copysign(values[best], x)


E4M3 = [from_e4m3(c) for c in range(127)]


def quantized(block, kind):
    """Scale exponent code, codes and values of a block."""
    top, floor = (448.0, f32(1e-4)) if kind == "e4m3" else (6.0, 6 * 2.0**-126)
    ratio = f32(f32(max(floor, max(map(abs, block)))) * f32(1 / top))
    code = (bits(ratio) + 0x7FFFFF) >> 23
    scale, table = 2.0 ** (code - 127), E4M3 if kind == "e4m3" else E2M1
    pairs = [nearest(max(-top, min(top, v / scale)), table) for v in block]
    sign = 0x80 if kind == "e4m3" else 8
    codes = [c | (sign if math.copysign(1, v) < 0 else 0) for (c, _), v in zip(pairs, block)]
    return code, codes, [v * scale for _, v in pairs]


@case("quantisers")
def quantisers():
    for kind, rows_, d, block, scale in [
        ("e4m3", 2, 128, 64, 1.0),
        ("e4m3", 1, 32, 32, 1e-6),
        ("e4m3", 3, 24, 8, 300.0),
        ("e2m1", 2, 64, 32, 1.0),
        ("e2m1", 1, 8, 4, 1e-30),
        ("e2m1", 2, 32, 32, 1e30),
    ]:
        x = normal(rows_, d, scale=scale)
        if kind == "e2m1" and rows_ == 2:  # ties, zeros and the sign of zero
            x = Tensor(x.shape, "f32", [0.0, -0.0, 0.25, 0.75, 1.25, -1.75, 2.5, 3.5, 5.0, -5.0, 6.0] + x.codes[11:])
        codes, scale_codes, values = [], [], []
        for r in range(rows_):
            for b in range(0, d, block):
                s, c, v = quantized(x[r][b : b + block], kind)
                scale_codes.append(s)
                codes += c
                values += v
        if kind == "e2m1":
            codes = [codes[i] | codes[i + 1] << 4 for i in range(0, len(codes), 2)]
        shape = (rows_, d if kind == "e4m3" else d // 2)
        element = "f8E4M3FN" if kind == "e4m3" else "i8"
        yield Case(
            f"v4.quantize {{0}} format {kind} block {block}",
            [x],
            [(shape, element, codes), ((rows_, d // block), "f8E8M0FNU", scale_codes)],
        )
        yield Case(
            "v4.dequantize {0}, {1}",
            [Tensor(shape, element, codes), Tensor((rows_, d // block), "f8E8M0FNU", scale_codes)],
            [((rows_, d), "f32", values)],
            tolerance=0,
        )
    for kind, shape, block, columns in [
        ("e4m3", (2, 72), 64, 64),
        ("e2m1", (2, 2, 64), 32, 64),
        ("e4m3", (1, 3, 20), 8, 16),
        ("e2m1", (1, 32), 32, 32),
    ]:
        x, flat, d = normal(*shape), [], shape[-1]
        for r in range(math.prod(shape[:-1])):
            row = x.values[r * d : (r + 1) * d]
            for b in range(0, columns, block):
                row[b : b + block] = quantized(row[b : b + block], kind)[2]
            flat += row
        yield Case(f"v4.round_trip {{0}} format {kind} block {block} columns {columns}", [x], [(shape, "f32", flat)])


# ---------------------------------------------------------------------------------------------------- hyper-connections
def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def balanced(z, eps, iterations):
    n = len(z)
    c = []
    for row in z:
        e = [math.exp(v - max(row)) for v in row]
        c.append([v / sum(e) + eps for v in e])
    for i in range(iterations):
        if i:
            c = [[v / (sum(row) + eps) for v in row] for row in c]
        sums = [sum(c[j][k] for j in range(n)) + eps for k in range(n)]
        c = [[c[j][k] / sums[k] for k in range(n)] for j in range(n)]
    return c


def mixed(v, fn, eps):
    rho = 1 / math.sqrt(math.fsum(a * a for a in v) / len(v) + eps)
    return [math.fsum(a * b for a, b in zip(v, fn[i])) * rho for i in range(fn.shape[0])]


def hc_pre_case(s, n, d):
    streams, fn = normal(s, n, d), normal(n * (2 + n), n * d, scale=0.2)
    scale, base = normal(3), normal(n * (2 + n))
    xs, posts, combs = [], [], []
    for r in range(s):
        m = mixed(streams[r], fn, 1e-6)
        pre = [sigmoid(m[j] * scale[0] + base[j]) + 1e-3 for j in range(n)]
        posts += [2 * sigmoid(m[n + j] * scale[1] + base[n + j]) for j in range(n)]
        z = [[m[2 * n + n * j + k] * scale[2] + base[2 * n + n * j + k] for k in range(n)] for j in range(n)]
        combs += [v for row in balanced(z, 1e-3, 4) for v in row]
        xs += [math.fsum(pre[j] * streams[r, j, i] for j in range(n)) for i in range(d)]
    case = Case(
        "v4.hc_pre {0}, {1}, {2}, {3} eps 1.0e-6 hc_eps 1.0e-3 iterations 4",
        [streams, fn, scale, base],
        [((s, d), "f32", xs), ((s, n), "f32", posts), ((s, n, n), "f32", combs)],
        tolerance=1e-5,
    )
    return case, streams


@case("hc_pre_wide")
def hc_pre_wide():
    # Columns in parts when rows are few; streams that are no multiple of the parts.
    for s, n, d in [(1, 4, 512), (2, 4, 768), (1, 4, 2048), (1, 3, 1536)]:
        yield hc_pre_case(s, n, d)[0]


@case("hyper_connections")
def hyper_connections():
    x, y = normal(2, 5), normal(2, 3, 5)
    yield Case("v4.hc_expand {0}", [x], [((2, 3, 5), "f32", x[0] * 3 + x[1] * 3)])
    flat = [x[s, i] + y[s, j, i] for s in range(2) for j in range(3) for i in range(5)]
    yield Case("v4.hc_expand {0} add {1}", [x, y], [((2, 3, 5), "f32", flat)])
    for s, n, iterations in [(3, 4, 20), (1, 4, 1), (2, 2, 3)]:
        z = normal(s, n, n, scale=2.0)
        flat = [v for r in range(s) for row in balanced([z[r, j] for j in range(n)], 1e-6, iterations) for v in row]
        yield Case(f"v4.sinkhorn {{0}} eps 1.0e-6 iterations {iterations}", [z], [((s, n, n), "f32", flat)])
    for s, n, d in [(2, 4, 24), (1, 4, 6), (3, 2, 40)]:
        case, streams = hc_pre_case(s, n, d)
        yield case
        f, post, comb = normal(s, d), normal(s, n), normal(s, n, n)
        flat = [
            post[r, k] * f[r, i] + math.fsum(comb[r, j, k] * streams[r, j, i] for j in range(n))
            for r in range(s)
            for k in range(n)
            for i in range(d)
        ]
        yield Case("v4.hc_post {0}, {1}, {2}, {3}", [f, streams, post, comb], [((s, n, d), "f32", flat)])
        fn, scale, base = normal(n, n * d, scale=0.2), normal(1), normal(n)
        flat = []
        for r in range(s):
            pre = [sigmoid(v * scale[0] + base[j]) + 1e-3 for j, v in enumerate(mixed(streams[r], fn, 1e-6))]
            flat += [math.fsum(pre[j] * streams[r, j, i] for j in range(n)) for i in range(d)]
        yield Case(
            "v4.hc_head {0}, {1}, {2}, {3} eps 1.0e-6 hc_eps 1.0e-3",
            [streams, fn, scale, base],
            [((s, d), "f32", flat)],
        )


# ---------------------------------------------------------------------------------------------------- attention
@case("window")
def window():
    for w, s, start, length in [
        (4, 3, 0, 3),
        (4, 3, 5, 2),
        (4, 6, 3, 6),
        (4, 9, 2, 7),
        (4, 1, 6, 1),
        (4, 1, 6, 0),
        (3, 2, 0, 0),
    ]:
        kv, ring = normal(s, 2), normal(w, 2)
        flat = [v if start - w + i >= 0 else None for i in range(w) for v in ring[(start - w + i) % w]] + kv.values
        yield Case("v4.window_context {0}, {1}, {2}", [kv, ring, span(start, length)], [((w + s, 2), "f32", flat)])
        after = [ring[i] for i in range(w)]
        for i in range(length):
            after[(start + i) % w] = kv[i]
        yield Case(
            "v4.window_append {0}, {1}, {2}",
            [kv, ring, span(start, length)],
            [((w, 2), "f32", [v for row in after for v in row])],
        )


def completed(start, length, r):
    return list(range(start // r, (start + length) // r))


@case("compress")
def compress():
    for r, overlap, s, calls in [
        (4, True, 1, [(p, 1) for p in range(10)] + [(10, 0)]),
        (4, True, 9, [(0, 9), (9, 2), (11, 9)]),
        (4, True, 3, [(0, 3), (3, 3), (6, 2)]),
        (4, True, 5, [(0, 1), (1, 5), (6, 0), (6, 5), (11, 5)]),
        (3, False, 1, [(p, 1) for p in range(7)] + [(7, 0)]),
        (3, False, 7, [(0, 7), (7, 1), (8, 7)]),
        (5, False, 2, [(0, 2), (2, 2), (4, 2), (6, 2), (8, 2)]),
    ]:
        m, c = (2 if overlap else 1), 3
        ape, us, ss = normal(r, m * c), [], []
        kv_state = Tensor((m * r, m * c), "f32", [0.0] * (m * r * m * c))
        score_state = Tensor((m * r, m * c), "f32", [-math.inf] * (m * r * m * c))
        for start, length in calls:
            kv, gate = normal(s, m * c), normal(s, m * c)
            us, ss = us[:start], ss[:start]
            for i in range(length):
                us.append(kv[i])
                ss.append([a + b for a, b in zip(gate[i], ape[(start + i) % r])])
            flat, count = [], -(-s // r)
            for j in completed(start, length, r):
                slots = []
                for t in range((j - 1) * r, j * r) if overlap else []:
                    slots.append((us[t][:c], ss[t][:c]) if t >= 0 else ([0.0] * c, [-math.inf] * c))
                for t in range(j * r, (j + 1) * r):
                    slots.append((us[t][-c:], ss[t][-c:]))
                for ch in range(c):
                    top = max(score[ch] for _, score in slots)
                    weights = [math.exp(score[ch] - top) for _, score in slots]
                    flat.append(math.fsum(a * u[ch] for a, (u, _) in zip(weights, slots)) / math.fsum(weights))
            flat += [None] * (count * c - len(flat))
            # The rows of the unfinished block, after those of the one before.
            total = start + length
            kv_after, score_after = [], []
            for t in range(total // r * r - (r if overlap else 0), total // r * r + r):
                held = 0 <= t < total
                kv_after += [f32(v) for v in us[t]] if held else [0.0] * (m * c)
                score_after += [f32(v) for v in ss[t]] if held else [-math.inf] * (m * c)
            yield Case(
                f"v4.compress {{0}}, {{1}}, {{2}}, {{3}}, {{4}}, {{5}} ratio {r} "
                + ("overlap " if overlap else "")
                + "",
                [kv, gate, ape, kv_state, score_state, span(start, length)],
                [((count, c), "f32", flat), (kv_state.shape, "f32", kv_after), (score_state.shape, "f32", score_after)],
            )
            kv_state = Tensor(kv_state.shape, "f32", kv_after)
            score_state = Tensor(score_state.shape, "f32", score_after)
            at = [j * r for j in completed(start, length, r)]
            at += [-1] * (count - len(at))
            yield Case(f"v4.entry_positions {{0}} ratio {r}", [span(start, length)], [((count,), "i32", at)])
            entries, cache = normal(count, 2), normal(8, 2)
            after = [cache[i] for i in range(8)]
            for i, p in enumerate(at):
                if p >= 0:
                    after[p // r] = entries[i]
            yield Case(
                f"v4.cache_append {{0}}, {{1}}, {{2}} ratio {r}",
                [entries, cache, integers(*at)],
                [((8, 2), "f32", [v for row in after for v in row])],
            )


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b))


@case("index_scores")
def index_scores():
    # The last of each: the key of column 0, where the columns are a tile.
    for s, h, c, n, r, positions, first in [
        (3, 2, 8, 6, 4, [15, 22, 3], None),
        (1, 4, 32, 4, 4, [40], None),
        (1, 4, 32, 4, 4, [-1], None),
        (1, 4, 32, 4, 4, [11], None),
        (1, 1, 5, 3, 2, [2], None),
        (1, 2, 4, 3, 4, [2], None),
        (2, 3, 20, 17, 1, [-1, 16], None),
        (1, 2, 8, 4, 4, [25], 4),
        (1, 2, 8, 4, 4, [25], 8),
    ]:
        q, weights, keys = normal(s, h, c), normal(s, h), normal(n, c)
        score = lambda i, k: 0.25 * math.fsum(weights[i, j] * max(dot(q[i, j], keys[k]), 0) for j in range(h))
        visible = lambda i, k: (first or 0) + k < (positions[i] + 1) // r
        flat = [score(i, k) if visible(i, k) else None for i in range(s) for k in range(n)]
        yield Case(
            "v4.index_scores {0}, {1}, {2}, {3} " + ("first_key {4} " if first else "") + f"ratio {r} scale 0.25",
            [q, weights, keys, integers(*positions)] + ([Index(first)] if first else []),
            [((s, n), "f32", flat)],
        )


def best(values, k):
    key = lambda i: (not math.isnan(values[i]), 0 if math.isnan(values[i]) else values[i], -i)
    chosen = sorted(sorted(range(len(values)), key=key, reverse=True)[:k])
    return chosen + [-1] * (k - len(chosen))


@case("top_k")
def top_k():
    nan, inf = math.nan, math.inf
    for values, k in [
        ([1.0, 3.0, 2.0, 3.0, -1.0], 2),
        ([0.0, -0.0, 0.0, -1.0, 0.0], 3),
        ([nan, -inf, nan, inf, 1.0], 4),
        ([5.0] * 7, 3),
        ([-1.0, -2.0, -3.0], 3),
        ([1e-40, -1e-40, 0.0, 2e-40], 2),
        ([2.0], 1),
        ([nan, nan], 1),
    ]:
        yield Case("v4.top_k {0}", [Tensor((1, len(values)), "f32", values)], [((1, k), "i32", best(values, k))])
    for n, k in [(40, 7), (300, 256), (64, 63)]:
        x = Tensor((2, n), "f32", [f32(round(RANDOM.gauss(0, 3)) * RANDOM.choice([1, 1e-3])) for _ in range(2 * n)])
        yield Case("v4.top_k {0}", [x], [((2, k), "i32", best(x[0], k) + best(x[1], k))])
    # Rows of many blocks: the best come last, ties, few that are numbers, columns that are no whole block.
    for n, k, value in [
        (5000, 12, lambda i: float(i)),
        (5000, 100, lambda i: float(i // 300)),
        (3001, 65, lambda i: RANDOM.gauss(0, 1) if i % 60 == 0 else nan),
        (3001, 20, lambda i: RANDOM.choice([0.0, -0.0])),
        (1983, 16, lambda i: RANDOM.gauss(0, 1)),
    ]:
        values = [f32(value(i)) for i in range(n)]
        yield Case("v4.top_k {0}", [Tensor((1, n), "f32", values)], [((1, k), "i32", best(values, k))])
    # Only entries of complete blocks take part.
    x, positions = normal(5, 9), [-1, 2, 7, 15, 99]
    flat = [j for i, p in enumerate(positions) for j in best(x[i][: min((p + 1) // 4, 9)], 3)]
    yield Case("v4.top_k {0} visible {1} ratio 4", [x, integers(*positions)], [((5, 3), "i32", flat)])


@case("index_top_k")
def index_top_k():
    # Rows, heads, width, keys, k, ratio, positions: no key, fewer than k, k, one more; parts of the keys; odd sizes.
    for s, h, c, n, k, r, positions in [
        (5, 2, 8, 12, 3, 4, [2, 7, 11, 15, 47]),
        (1, 3, 20, 9, 9, 4, [35]),
        (2, 17, 5, 100, 7, 4, [31, 399]),
        (1, 2, 8, 300, 5, 4, [1198]),
        (1, 2, 8, 300, 70, 4, [1199]),
        (1, 2, 8, 300, 70, 4, [-1]),
        (1, 2, 8, 300, 70, 4, [402]),
        (3, 1, 4, 130, 1, 2, [-1, 1, 258]),
        (9, 4, 16, 90, 6, 4, [359, 27, 24, 23, -1, 30, 31, 255, 259]),
    ]:
        q, weights, keys = normal(s, h, c), normal(s, h), normal(n, c)
        # Equal keys have equal scores: the first ones win.
        for i in range(n // 2):
            if i % 3 == 0:
                keys.codes[(n - 1 - i) * c : (n - i) * c] = keys.codes[i * c : (i + 1) * c]
        score = lambda i, j: 0.25 * math.fsum(weights[i, a] * max(dot(q[i, a], keys[j]), 0) for a in range(h))
        # Scores that f32 cannot tell apart would make the choice depend on rounding.
        flat = []
        for i, p in enumerate(positions):
            values = [score(i, j) for j in range(min((p + 1) // r, n))]
            ordered = sorted(values, reverse=True)
            if len(values) > k:
                assert ordered[k - 1] == ordered[k] or ordered[k - 1] - ordered[k] > 1e-6 * abs(ordered[0])
            flat += best(values, k)
        yield Case(
            f"v4.index_top_k {{0}}, {{1}}, {{2}}, {{3}} ratio {r} scale 0.25",
            [q, weights, keys, integers(*positions)],
            [((s, k), "i32", flat)],
        )


@case("sparse_attention")
def sparse_attention():
    sinks = {}
    # window, heads, width, call length, start, ratio, entries, selected
    for w, h, c, s, start, r, n, k in [
        (4, 2, 8, 1, 0, 0, 0, 0),
        (4, 2, 8, 1, 2, 0, 0, 0),
        (4, 3, 20, 1, 9, 0, 0, 0),
        (4, 2, 8, 3, 0, 0, 0, 0),
        (4, 2, 8, 6, 3, 4, 5, 0),
        (40, 1, 4, 5, 50, 2, 40, 0),
        (40, 2, 16, 1, 50, 4, 30, 12),
        (8, 2, 8, 5, 6, 4, 6, 2),
        (8, 1, 8, 1, 14, 4, 6, 2),
        (8, 1, 8, 1, -1, 4, 6, 2),
        (8, 1, 8, 1, 3, 4, 6, 2),
        (8, 1, 8, 1, 40, 4, 6, 2),
        (4, 2, 8, 1, 6, 4, 5, 0),
        (4, 2, 8, 1, 90, 4, 5, 0),
        (128, 2, 32, 1, 300, 4, 80, 64),
        # Several blocks of keys, in parts when rows are few; heads and channels that are no whole vector.
        (128, 3, 20, 1, 200, 4, 200, 0),
        (128, 17, 5, 1, 700, 4, 170, 130),
        (70, 2, 16, 2, 90, 1, 92, 0),
        (70, 6, 24, 9, 60, 2, 40, 33),
        (128, 1, 16, 1, 10, 4, 80, 64),
    ]:
        q, sink = normal(s, h, c), sinks.setdefault(h, normal(h))
        history = [[f32(RANDOM.gauss(0, 1)) for _ in range(c)] for _ in range(start + s)]
        positions = [start + i for i in range(s)]
        if s == 5:  # two rows past the length
            positions[-2:] = [-1, -1]
        if s == 1:
            ring = [[math.nan] * c for _ in range(w)]
            for p in range(max(0, start - w + 1), start + 1):
                ring[p % w] = history[p]
            rows_ = ring
        else:
            rows_ = [history[p] if p >= 0 else [math.nan] * c for p in range(start - w, start + s)]
        kv = Tensor((len(rows_), c), "f32", [v for row in rows_ for v in row])
        inputs = [q, kv, sink, integers(*positions), span(start, s)]
        text = "v4.sparse_attention {0}, {1}, {2}, {3}, {4} "
        entries, selected = (normal(n, c) if n else None), None
        if n:
            text += f"entries {{5}} ratio {r} "
            inputs.append(entries)
        if k:
            selected = []
            for t in positions:
                visible = min((t + 1) // r, n)
                chosen = sorted(RANDOM.sample(range(visible), min(k, visible)))
                selected += chosen + [-1] * (k - len(chosen))
            selected = Tensor((s, k), "i32", selected)
            text += "selected {6} "
            inputs.append(selected)
        flat = []
        for i, t in enumerate(positions):
            for head in range(h):
                keys = [history[p] for p in range(max(0, t - w + 1), t + 1)]
                if n:
                    keys += [entries[j] for j in (selected[i] if k else range(min((t + 1) // r, n))) if j >= 0]
                if not keys:
                    flat += [0.0] * c
                    continue
                z = [0.35 * dot(q[i, head], key) for key in keys]
                top = max(z)
                p = [math.exp(v - top) for v in z]
                total = math.fsum(p) + math.exp(sink[head] - top)
                flat += [math.fsum(a * key[ch] for a, key in zip(p, keys)) / total for ch in range(c)]
        yield Case(text + f"window {w} scale 0.35", inputs, [((s, h, c), "f32", flat)])
        if s > 1:  # the tile of one row, which sees the context of the whole call
            inputs = [Tensor((1, h, c), "f32", q[1]), kv, sink, integers(positions[1]), span(start, s)] + inputs[5:]
            if k:
                inputs[6] = Tensor((1, k), "i32", selected[1])
            yield Case(text + f"window {w} scale 0.35", inputs, [((1, h, c), "f32", flat[h * c : 2 * h * c])])


# ---------------------------------------------------------------------------------------------------- bf16
def whole(*shape, limit=9):
    """Whole numbers as bf16: their sums of products are exact, so that a result has one rounding and no doubt."""
    return Tensor(shape, "bf16", [bf16_code(float(RANDOM.randint(-limit, limit))) for _ in range(math.prod(shape))])


def rounded(values):
    return [None if v is None else bf16_code(v) for v in values]


def round_bf16(x):
    return from_bf16(bf16_code(f32(x)))


@case("bf16")
def bf16():
    # One rounding, at the end of an op.
    for s, n, k in [(1, 7, 96), (5, 3, 64), (3, 5, 37)]:
        x, w = whole(s, k), whole(n, k)
        flat = [v for row in product(x, w, None) for v in row]
        yield Case("v4.linear {0}, {1}", [x, w], [((s, n), "bf16", rounded(flat))])
        yield Case("v4.linear {0}, {1}", [x, w], [((s, n), "f32", flat)], tolerance=0)
    x, w, scale = whole(2, 64), codes_i8(6, 32), Tensor((6, 2), "f8E8M0FNU", [127] * 12)
    flat = [v for row in product(x, w, scale) for v in row]
    yield Case("v4.linear {0}, {1} scale {2}", [x, w, scale], [((2, 6), "bf16", rounded(flat))])
    x, w = whole(2, 3, 40), whole(3, 4, 40)
    flat = [math.fsum(a * b for a, b in zip(x[s, g], w[g, n])) for s in range(2) for g in range(3) for n in range(4)]
    yield Case("v4.linear {0}, {1}", [x, w], [((2, 3, 4), "bf16", rounded(flat))])
    x, w = whole(2, 48), whole(3, 5, 48)
    flat = [math.fsum(a * b for a, b in zip(x[row], w[e, n])) for row, e in [(1, 0), (0, 2)] for n in range(5)]
    yield Case(
        "v4.grouped_linear {0}, {1} experts {2}, {3} rows {4}",
        [x, w, integers(0, 2), integers(0, 1, 2), integers(1, 0)],
        [((2, 5), "bf16", rounded(flat))],
    )
    table = normal(4, 6)
    yield Case("v4.embed {0}, {1}", [integers(3, 0), table], [((2, 6), "bf16", rounded(table[3] + table[0]))])
    x, addend = whole(2, 5, limit=200), whole(2, 3, 5, limit=200)
    flat = [x[s, i] + addend[s, j, i] for s in range(2) for j in range(3) for i in range(5)]
    yield Case("v4.hc_expand {0} add {1}", [x, addend], [((2, 3, 5), "bf16", rounded(flat))])
    # Sums of several numbers are not rounded on the way.
    routed, shared = whole(6, 5, limit=250), whole(2, 5, limit=250)
    pairs = Tensor((2, 3), "i32", [2, 0, 5, 1, 3, 4])
    flat = [sum(routed[p, i] for p in pairs[s]) + shared[s, i] for s in range(2) for i in range(5)]
    yield Case("v4.combine {0}, {1}, {2}", [routed, pairs, shared], [((2, 5), "bf16", rounded(flat))])
    f, streams = whole(2, 5), whole(2, 3, 5)
    post = Tensor((2, 3), "f32", [float(RANDOM.randint(-9, 9)) for _ in range(6)])
    comb = Tensor((2, 3, 3), "f32", [float(RANDOM.randint(-9, 9)) for _ in range(18)])
    flat = [
        post[s, k] * f[s, i] + sum(comb[s, j, k] * streams[s, j, i] for j in range(3))
        for s in range(2) for k in range(3) for i in range(5)
    ]
    yield Case("v4.hc_post {0}, {1}, {2}, {3}", [f, streams, post, comb], [((2, 3, 5), "bf16", rounded(flat))])
    # The norm of columns of one magnitude is their sign.
    x, weight = Tensor((1, 8), "bf16", [bf16_code(v) for v in [3.0, -3.0] * 4]), normal(8)
    flat = [math.copysign(1, x[0, i]) * weight[i] for i in range(8)]
    yield Case("v4.rms_norm {0} weight {1} eps 0.0", [x, weight], [((1, 8), "bf16", rounded(flat))])
    # The official head norm, step by step.
    x, flat = normal_bf16(2, 3, 20, scale=0.7), []
    for s in range(2):
        for h in range(3):
            mean = round_bf16(math.fsum(round_bf16(v * v) for v in x[s, h]) / 20)
            rho = round_bf16(1 / math.sqrt(round_bf16(mean + 0.01)))
            flat += [v * rho for v in x[s, h]]
    yield Case("v4.rms_norm {0} eps 1.0e-2 rounded", [x], [((2, 3, 20), "bf16", rounded(flat))])
    x = Tensor((1, 2, 4), "bf16", [bf16_code(v) for v in [1.0, 3.0, -2.5, 7.0, 0.5, 2.0, 129.0, -3.0]])
    sums = [[a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d] for a, b, c, d in (x[0, 0], x[0, 1])]
    yield Case("v4.hadamard {0}", [x], [((1, 2, 4), "bf16", rounded([v / 2 for row in sums for v in row]))])
    x, table = whole(1, 2, 6, limit=250), Tensor((1, 2, 2), "f32", [2.0, 3.0, 5.0, -1.0])
    for inverse in ["", " inverse"]:
        flat = []
        for h in range(2):
            row = x[0, h]
            for i in range(2):
                a, b, c, s = row[2 + 2 * i], row[3 + 2 * i], table[0, 0, i], table[0, 1, i] * (-1 if inverse else 1)
                row[2 + 2 * i : 4 + 2 * i] = [a * c - b * s, a * s + b * c]
            flat += row
        yield Case("v4.rope {0}, {1}" + inverse, [x, table], [((1, 2, 6), "bf16", rounded(flat))])
    # Blocks of which the last is shorter; what they hold is exact in bf16.
    for kind, d, block, columns in [("e4m3", 40, 16, 40), ("e4m3", 130, 128, 130), ("e2m1", 20, 32, 16)]:
        x = normal_bf16(2, d)
        flat = []
        for r in range(2):
            row = x[r]
            for b in range(0, columns, block):
                end = min(b + block, columns)
                row[b:end] = quantized(row[b:end], kind)[2]
            flat += row
        text = f"v4.round_trip {{0}} format {kind} block {block} columns {columns}"
        yield Case(text, [x], [((2, d), "bf16", rounded(flat))])
    # The official rounding points of index scores: dots, weights times scale, products, the sum.
    q, keys, weights = whole(2, 3, 40), whole(5, 40), whole(2, 3)
    flat = []
    for s, t in enumerate([9, 19]):
        for k in range(5):
            terms = [
                round_bf16(round_bf16(0.3 * weights[s, h]) * max(round_bf16(dot(q[s, h], keys[k])), 0)) for h in range(3)
            ]
            flat.append(math.fsum(terms) if k < (t + 1) // 4 else None)
    yield Case(
        "v4.index_scores {0}, {1}, {2}, {3} ratio 4 scale 0.3 rounded",
        [q, weights, keys, integers(9, 19)],
        [((2, 5), "bf16", rounded(flat))],
    )
    scores = Tensor((1, 6), "bf16", [bf16_code(v) for v in [1.0, 3.0, -2.0, 3.0, 2.0, 0.5]])
    yield Case("v4.top_k {0}", [scores], [((1, 3), "i32", [1, 3, 4])])
    # Probabilities are rounded for the sum of the keys, and not for the denominator.
    q, window, sink = normal(1, 2, 8), normal_bf16(4, 8), normal(2)
    for text, narrow in [("", lambda p: p), (" rounded", round_bf16)]:
        flat = []
        for h in range(2):
            z = [0.35 * dot(q[0, h], window[p]) for p in range(4)]
            p = [math.exp(v - max(z)) for v in z]
            total = math.fsum(p) + math.exp(sink[h] - max(z))
            flat += [math.fsum(narrow(a) * window[j, i] for j, a in enumerate(p)) / total for i in range(8)]
        yield Case(
            "v4.sparse_attention {0}, {1}, {2}, {3}, {4} window 4 scale 0.35" + text,
            [q, window, sink, integers(3), span(3, 1)],
            [((1, 2, 8), "f32", flat)],
        )


# ---------------------------------------------------------------------------------------------------- packed rows
def pack_row(row, columns, kind):
    """The bytes of a packed row: codes of the first columns, the others as bf16, scales."""
    block, codes, scale_codes = (64 if kind == "e4m3" else 32), [], []
    for b in range(0, columns, block):
        s, c, _ = quantized(row[b : b + block], kind)
        scale_codes.append(s)
        codes += c
    if kind == "e2m1":
        return [codes[i] | codes[i + 1] << 4 for i in range(0, len(codes), 2)] + scale_codes
    plain = [bf16_code(v) for v in row[columns:]]
    scale_codes += [0] * (-len(scale_codes) % 8)
    return codes + [b for code in plain for b in (code & 255, code >> 8)] + scale_codes


def unpacked(row, columns, kind):
    values = []
    for b in range(0, columns, 64 if kind == "e4m3" else 32):
        values += quantized(row[b : b + (64 if kind == "e4m3" else 32)], kind)[2]
    return values + [round_bf16(v) for v in row[columns:]]


@case("packed")
def packed_rows():
    for c, columns, kind, width in [(76, 64, "e4m3", 96), (192, 128, "e4m3", 264), (512, 448, "e4m3", 584),
                                    (32, 32, "e2m1", 17), (128, 128, "e2m1", 68)]:
        for make in [normal, normal_bf16]:
            s, w = 3, 4
            kv, history = make(s, c), normal(w, c)
            old = [pack_row(history[i], columns, kind) for i in range(w)]
            assert len(old[0]) == width
            ring = Tensor((w, width), "i8", [b for row in old for b in row])
            after = list(old)
            for i in range(s):
                after[(5 + i) % w] = pack_row(kv[i], columns, kind)
            flat = [b for row in after for b in row]
            yield Case("v4.window_append {0}, {1}, {2}", [kv, ring, span(5, s)], [((w, width), "i8", flat)])
            one = Tensor((1, c), kv.element, kv.codes[:c])
            after = old[:2] + [pack_row(kv[0], columns, kind)] + old[3:]
            flat = [b for row in after for b in row]
            yield Case("v4.window_append {0}, {1}, {2}", [one, ring, span(6, 1)], [((w, width), "i8", flat)])
            # Entries 1 and 3, the second of which is not complete.
            yield Case(
                "v4.cache_append {0}, {1}, {2} ratio 4",
                [Tensor((2, c), kv.element, kv.codes[: 2 * c]), ring, integers(4, -1)],
                [((w, width), "i8", [b for row in old[:1] + [pack_row(kv[0], columns, kind)] + old[2:] for b in row])],
            )
            flat = [v for i in range(w) for v in unpacked(history[(5 + i) % w], columns, kind)] + kv.values
            result = ((w + s, c), "f32", flat) if make is normal else ((w + s, c), "bf16", rounded(flat))
            yield Case("v4.window_context {0}, {1}, {2}", [kv, ring, span(5, s)], [result], tolerance=0)
    # What reads rows sees the numbers.
    history, entries, q, sink = normal(4, 76), normal(6, 76), normal(1, 2, 76), normal(2)
    bytes_ = lambda rows, n: Tensor((n, 96), "i8", [b for i in range(n) for b in pack_row(rows[i], 64, "e4m3")])
    keys = [unpacked(history[i], 64, "e4m3") for i in range(4)] + [unpacked(entries[j], 64, "e4m3") for j in (0, 2)]
    flat = []
    for h in range(2):
        z = [0.1 * dot(q[0, h], key) for key in keys]
        p = [math.exp(v - max(z)) for v in z]
        total = math.fsum(p) + math.exp(sink[h] - max(z))
        flat += [math.fsum(a * key[i] for a, key in zip(p, keys)) / total for i in range(76)]
    yield Case(
        "v4.sparse_attention {0}, {1}, {2}, {3}, {4} entries {5} ratio 4 selected {6} window 4 scale 0.1",
        [q, bytes_(history, 4), sink, integers(23), span(23, 1), bytes_(entries, 6), Tensor((1, 2), "i32", [0, 2])],
        [((1, 2, 76), "f32", flat)],
    )
    q, weights, keys = normal(1, 3, 64), normal(1, 3), normal(5, 64)
    wide = [unpacked(keys[k], 64, "e2m1") for k in range(5)]
    flat = [0.25 * math.fsum(weights[0, h] * max(dot(q[0, h], row), 0) for h in range(3)) for row in wide]
    yield Case(
        "v4.index_scores {0}, {1}, {2}, {3} ratio 4 scale 0.25",
        [q, weights, Tensor((5, 34), "i8", [b for k in range(5) for b in pack_row(keys[k], 64, "e2m1")]), integers(23)],
        [((1, 5), "f32", flat)],
    )


# ---------------------------------------------------------------------------------------------------- experts
def softplus(x):
    return x if x > 20 else math.log1p(math.exp(x))


# What the slots of an op have of their own, by number of operand and result, and what they share.
SLOT_STATES = {
    "v4.window_append": ([1, 2], [], [0]),
    "v4.entry_positions": ([0], [], []),
    "v4.compress": ([3, 4, 5], [2], [1, 2]),
    "v4.cache_append": ([1], [], [0]),
    "v4.index_scores": ([2], [], []),
    "v4.index_top_k": ([2], [], []),
    "v4.sparse_attention": ([1, 4, 5], [2], []),
}


def is_one_row(c):
    """Whether the op works on one row of a sequence, with the states of the sequence."""
    if c.text.startswith("v4.entry_positions"):
        return c.results[0][0] == (1,)
    window = re.search("window ([0-9]+) scale", c.text)
    return c.inputs[0].shape[0] == 1 and "first_key" not in c.text and (
        not window or c.inputs[1].shape[0] == int(window[1]))


@case("slots")
def slots():
    """An op with slots does for every slot what it does without: cases of one row and equal types, together."""
    groups = {}
    for name in ["window", "compress", "index_scores", "index_top_k", "sparse_attention"]:
        for c in CASES[name]():
            op = c.text.split()[0]
            if op in SLOT_STATES and is_one_row(c):
                shared = [tuple(c.inputs[i].codes) for i in SLOT_STATES[op][1]]
                types = (*(t.type for t in c.inputs), *(result_type(*r[:2]) for r in c.results))
                groups.setdefault((c.text, *types, *shared), []).append(c)
    seen = set()
    for (text, *_), members in groups.items():
        op = text.split()[0]
        states, shared, results = SLOT_STATES[op]
        if len(members) == 1:
            continue
        seen.add(op)

        def together(shapes, is_state):
            lead, *rest = shapes[0] if not is_state else (1, *shapes[0])
            return (lead * len(shapes), *rest)

        inputs = []
        for i in range(len(members[0].inputs)):
            parts = [m.inputs[i] for m in members]
            codes = [code for t in parts for code in t.codes]
            shape = together([t.shape for t in parts], i in states)
            inputs.append(parts[0] if i in shared else Tensor(shape, parts[0].element, codes))
        outputs = []
        for i in range(len(members[0].results)):
            parts = [m.results[i] for m in members]
            shape = together([part[0] for part in parts], i in results)
            outputs.append((shape, parts[0][1], [v for part in parts for v in part[2]]))
        yield Case(text, inputs, outputs, members[0].tolerance)
    assert seen == set(SLOT_STATES), seen


@case("route")
def route():
    for s, experts, k, scale in [(3, 8, 2, 1.5), (1, 6, 1, 2.5), (2, 40, 6, 1.0), (1, 4, 4, 2.5)]:
        logits, bias = normal(s, experts, scale=9.0), normal(experts)
        ids, weights = [], []
        for i in range(s):
            score = [f32(math.sqrt(softplus(v))) for v in logits[i]]
            chosen = best([f32(a + b) for a, b in zip(score, bias.values)], k)
            ids += chosen
            weights += [score[e] / math.fsum(score[j] for j in chosen) * scale for e in chosen]
        yield Case(
            f"v4.route {{0}}, {{1}} scale {scale}", [logits, bias], [((s, k), "i32", ids), ((s, k), "f32", weights)]
        )
    # Equal scores: the lower expert.
    logits, bias = Tensor((1, 6), "f32", [1.0] * 6), Tensor((6,), "f32", [0.0, 1.0, 0.0, 0.5, 0.0, 0.0])
    yield Case("v4.route {0}, {1} scale 1.5", [logits, bias], [((1, 3), "i32", [0, 1, 3]), ((1, 3), "f32", [0.5] * 3)])
    # Ids in the order of the table; a token or an expert out of range is clamped.
    logits, table = normal(3, 5), Tensor((3, 2), "i64", [4, 1, 0, 3, 2, 7])
    tokens, ids, weights = [1, 0, 5], [[0, 3], [4, 1], [2, 4]], []
    for i, chosen in enumerate(ids):
        score = [math.sqrt(softplus(v)) for v in logits[i]]
        weights += [score[e] / sum(score[j] for j in chosen) * 2.5 for e in chosen]
    yield Case(
        "v4.route_hash {0}, {1}, {2} scale 2.5",
        [logits, integers(*tokens), table],
        [((3, 2), "i32", sum(ids, [])), ((3, 2), "f32", weights)],
    )


@case("dispatch")
def dispatch():
    # The last: slots, of which any may be inactive.
    for k, experts, positions, ids in [
        (2, 8, [3, 4, 5], [5, 1, 1, 7, 5, 7]),
        (2, 8, [0, 1, -1], [5, 1, 1, 7, 0, 2]),
        (3, 4, [7, 8], [0, 1, 2, 1, 2, 3]),
        (2, 9, [99], [8, 0]),
        (2, 9, [-1], [8, 0]),
        (1, 3, [-1, -1], [1, 1]),
        (2, 3, [1, 2, 3, 4], [2, 0, 0, 2, 1, 2, 0, 1]),
        (2, 3, [-1, 70, -1, 0], [2, 0, 0, 2, 1, 2, 0, 1]),
    ]:
        s = len(positions)
        weights = normal(s, k)
        valid = [i for i in range(s) if positions[i] >= 0]
        pairs = sorted((ids[i * k + j], i, j) for i in valid for j in range(k))
        active = sorted({e for e, _, _ in pairs})
        a, p = min(s * k, experts), s * k
        starts = [next(n for n, pair in enumerate(pairs) if pair[0] == e) for e in active]
        listed = [0] * p
        for i in valid:
            listed[i * k : (i + 1) * k] = [n for n, pair in enumerate(pairs) if pair[1] == i]
        yield Case(
            f"v4.dispatch {{0}}, {{1}}, {{2}} experts {experts}",
            [Tensor((s, k), "i32", ids), weights, integers(*positions)],
            [
                ((a,), "i32", active + [-1] * (a - len(active))),
                ((a + 1,), "i32", starts + [len(pairs)] * (a + 1 - len(starts))),
                ((p,), "i32", [i for _, i, _ in pairs] + [0] * (p - len(pairs))),
                ((p,), "f32", [weights[i, j] for _, i, j in pairs] + [0.0] * (p - len(pairs))),
                ((s, k), "i32", listed),
            ],
        )


@case("experts")
def experts():
    for s, width, weighted in [(3, 20, True), (1, 7, False)]:
        gate, up, weights = normal(s, width, scale=8.0), normal(s, width, scale=8.0), normal(s)
        flat = []
        for i in range(s):
            for j in range(width):
                a, b = min(gate[i, j], 10.0), min(max(up[i, j], -10.0), 10.0)
                flat.append(a * sigmoid(a) * b * (weights[i] if weighted else 1.0))
        yield Case(
            "v4.swiglu {0}, {1} " + ("weights {2} " if weighted else "") + "limit 10.0",
            [gate, up] + ([weights] if weighted else []),
            [((s, width), "f32", flat)],
        )
    for s, k, d in [(2, 3, 5), (1, 1, 4)]:
        routed, shared = normal(s * k, d), normal(s, d)
        pairs = [RANDOM.randrange(s * k) for _ in range(s * k)]
        flat = [
            math.fsum([routed[pairs[i * k + j], c] for j in range(k)] + [shared[i, c]])
            for i in range(s)
            for c in range(d)
        ]
        yield Case("v4.combine {0}, {1}, {2}", [routed, Tensor((s, k), "i32", pairs), shared], [((s, d), "f32", flat)])


# ---------------------------------------------------------------------------------------------------- running
def emit(cases):
    out = [
        "func.func private @printMemrefF32(memref<*xf32>) attributes {llvm.emit_c_interface}",
        "func.func private @printMemrefI32(memref<*xi32>) attributes {llvm.emit_c_interface}",
    ]
    for number, c in enumerate(cases):
        names = [f"%a{i}" for i in range(len(c.inputs))]
        types = [t.type for t in c.inputs]
        results = [result_type(shape, element) for shape, element, _ in c.results]
        signature = "(" + ", ".join(types) + ") -> (" + ", ".join(results) + ")"
        text = c.text
        for i, name in enumerate(names):
            text = text.replace(f"{{{i}}}", name)
        prelude = []
        if text.startswith("v4.kernel"):
            prelude = [f"  %out = tensor.empty() : {results[0]}"]
        else:
            text = f"{text} : {signature}"
        arguments = ", ".join(f"{n}: {t}" for n, t in zip(names, types))
        values = ", ".join(f"%r#{i}" for i in range(len(results)))
        out += [
            f"func.func private @case{number}({arguments}) -> ({', '.join(results)}) {{",
            *prelude,
            f"  %r:{len(results)} = {text}",
            f"  return {values} : {', '.join(results)}",
            "}",
        ]
    out.append("func.func @main() {")
    for number, c in enumerate(cases):
        results = [result_type(shape, element) for shape, element, _ in c.results]
        for i, t in enumerate(c.inputs):
            out.append(f"  %c{number}_{i} = {t.constant()}")
        arguments = ", ".join(f"%c{number}_{i}" for i in range(len(c.inputs)))
        types = ", ".join(t.type for t in c.inputs)
        out.append(
            f"  %r{number}:{len(results)} = call @case{number}({arguments}) : ({types}) -> ({', '.join(results)})"
        )
        for i, (shape, element, _) in enumerate(c.results):
            value, printed = f"%r{number}#{i}", element
            if element not in ("f32", "i32"):
                value, printed = widen_codes(out, f"{number}_{i}", value, shape, element), "i32"
            kind = "x".join(map(str, shape)) + "x" + printed
            out += [
                f"  %b{number}_{i} = bufferization.to_buffer {value} : tensor<{kind}> to memref<{kind}>",
                f"  %u{number}_{i} = memref.cast %b{number}_{i} : memref<{kind}> to memref<*x{printed}>",
                f"  call @printMemref{printed.upper()}(%u{number}_{i}) : (memref<*x{printed}>) -> ()",
            ]
    return "\n".join(out + ["  return", "}"]) + "\n"


def widen_codes(out, name, value, shape, element):
    """The codes of a narrow tensor as i32."""
    dims = ", ".join("abc"[: len(shape)])
    map_ = f"affine_map<({dims}) -> ({dims})>"
    loops_ = ", ".join(['"parallel"'] * len(shape))
    target = result_type(shape, "i32")
    width = "i16" if element == "bf16" else "i8"
    out += [
        f"  %e{name} = tensor.empty() : {target}",
        f"  %w{name} = linalg.generic {{indexing_maps = [{map_}, {map_}],"
        f" iterator_types = [{loops_}]}}"
        f" ins({value} : {result_type(shape, element)}) outs(%e{name} : {target}) {{",
        f"  ^bb0(%in: {element}, %old: i32):",
    ]
    byte = "%in"
    if element != "i8":
        out.append(f"    %byte = arith.bitcast %in : {element} to {width}")
        byte = "%byte"
    out += [f"    %code = arith.extui {byte} : {width} to i32", "    linalg.yield %code : i32", f"  }} -> {target}"]
    return f"%w{name}"


def compare(number, c, i, found):
    """Result `i` of case `number`, as a list of numbers, with its definition."""
    shape, element, values = c.results[i]
    if len(found) != len(values):
        sys.exit(f"case {number} result {i}: expected {len(values)} elements, found {len(found)}")
    bound = 0.0
    if element == "f32":
        finite = [abs(v) for v in values if v is not None and math.isfinite(v)]
        # Printed numbers have six digits.
        bound = (c.tolerance + 3e-6) * max(finite, default=0)
    for position, (want, have) in enumerate(zip(values, found)):
        if want is None or want == have or (math.isnan(want) and math.isnan(have)):
            continue
        if not abs(want - have) <= bound:
            sys.exit(
                f"case {number} ({c.text}; inputs {[t.type for t in c.inputs]}) result {i} element {position}: "
                f"expected {want}, found {have}\nexpected {values[:40]}\nfound    {found[:40]}"
            )


def check(cases, text):
    printed = [chunk.split("data =", 1)[1] for chunk in text.split("Unranked Memref")[1:]]
    expected = [(number, i, c) for number, c in enumerate(cases) for i in range(len(c.results))]
    if len(printed) != len(expected):
        sys.exit(f"expected {len(expected)} tensors, found {len(printed)}\n{text[:400]}")
    for (number, i, c), chunk in zip(expected, printed):
        compare(number, c, i, [float(v) for v in re.findall(r"-?(?:nan|inf|[0-9.]+(?:e[-+]?[0-9]+)?)", chunk)])
    print(f"{len(cases)} cases equal their definition")


if __name__ == "__main__":
    mode, name = sys.argv[1:]
    RANDOM.seed(name)
    cases = list(CASES[name]())
    if mode == "emit":
        sys.stdout.write(emit(cases))
    else:
        check(cases, sys.stdin.read())
