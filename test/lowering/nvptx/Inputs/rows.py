# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Launches of the templates of one row and what they must give.

    rows.py FOLDER attention HEADS WIDTH WINDOW POSITION [FORM] [context=START,ROWS] [entries=N] [ratio=R] [selected=K]
                   [query=bf16]
    rows.py FOLDER attention_part HEADS WIDTH WINDOW POSITION PART PARTS
    rows.py FOLDER combine HEADS WIDTH PARTS
    rows.py FOLDER top_k COLUMNS K [position=T ratio=R] [ties] [nan] [rising] [close]
    rows.py FOLDER index HEADS WIDTH KEYS K POSITION [FORM] [part=I,P] [query=bf16] [close]
    rows.py FOLDER merge PARTS K COLUMNS POSITION [close]
    rows.py FOLDER rope ROWS HEADS WIDTH PAIRS [inverse] [query=bf16]
    rows.py FOLDER hadamard ROWS HEADS WIDTH [query=bf16]
    rows.py FOLDER hc_mix ROWS STREAMS WIDTH COLUMNS PART [head] [query=bf16]
    rows.py FOLDER hc_close STREAMS WIDTH PARTS ITERATIONS [head] [query=bf16] [integers]
    rows.py FOLDER hc_post STREAMS WIDTH [query=bf16] [integers]
    rows.py FOLDER route EXPERTS K [ties] [nan]
    rows.py FOLDER route_hash EXPERTS K VOCABULARY TOKEN
    rows.py FOLDER append_window ROWS WIDTH WINDOW START LENGTH [FORM] [query=bf16] [ties]
    rows.py FOLDER append_cache ROWS WIDTH ENTRIES RATIO FIRST [FORM] [query=bf16] [ties]
    rows.py FOLDER window_context ROWS WIDTH WINDOW START FIRST COUNT [FORM] [query=bf16]
    rows.py FOLDER rms_norm ROWS HEADS WIDTH [plain] [query=bf16]
    rows.py FOLDER round_trip ROWS HEADS WIDTH COLUMNS BLOCK (e4m3|e2m1) [query=bf16] [ties]
    rows.py FOLDER compress ROWS RATIO CHANNELS START LENGTH [overlap] [slot]
    rows.py FOLDER dispatch ROWS K EXPERTS THREADS [some] [one]

FOLDER gets kernel.mlir (a module for v4-stage-kernels) and words (for kernel-run). FORM is that of the cache: f32 if
nothing is said, bf16, e4m3 (packed rows, all but the last 64 columns in blocks of 64) or e2m1 (packed rows, blocks of 32).
`close`: scores that only their last bits tell apart, around the k-th best.
`shape`: kernel.mlir alone. Everything here is computed with Python's numbers, from the formulas of spec 2, 4.2, 4.4, 4.9
and 5.
"""

import math
import random
import re
import struct
import sys

from formats import bf16_bits, e2m1, e4m3

rng = random.Random(5)
INFINITY = math.inf


def f32(values):
    return struct.pack("<%df" % len(values), *values)


def i32(values):
    return struct.pack("<%di" % len(values), *values)


def rounded(value, element):
    if element == "bf16":
        return struct.unpack("<f", struct.pack("<I", bf16_bits(value) << 16))[0]
    return struct.unpack("<f", struct.pack("<f", value))[0]


def stored(values, element):
    if element == "bf16":
        return struct.pack("<%dH" % len(values), *map(bf16_bits, values))
    return f32(values)


def flat(rows):
    return [value for row in rows for value in row]


def normal(rows, columns, element):
    return [[rounded(rng.gauss(0, 1), element) for _ in range(columns)] for _ in range(rows)]


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b))


class Cache:
    """Random rows [rows, width]: values, bytes, and the memref's columns and element."""

    def __init__(self, rows, width, form):
        self.columns, self.element = width, form
        if form in ("f32", "bf16"):
            self.values = normal(rows, width, form)
            self.data = stored(flat(self.values), form)
            return
        quantized, block = (width - 64, 64) if form == "e4m3" else (width, 32)
        blocks, self.values, data = quantized // block, [], bytearray()
        for _ in range(rows):
            if form == "e4m3":
                codes = [code if code & 127 != 127 else 0 for code in (rng.randrange(256) for _ in range(quantized))]
                # Codes are up to 448: values of a few.
                scales = [rng.randrange(118, 121) for _ in range(blocks)]
                numbers, code_bytes = list(map(e4m3, codes)), bytes(codes)
                scale_bytes = bytes(scales + [0] * (-blocks % 8))
            else:
                codes = [rng.randrange(16) for _ in range(quantized)]
                scales = [rng.randrange(125, 129) for _ in range(blocks)]
                numbers, scale_bytes = list(map(e2m1, codes)), bytes(scales)
                code_bytes = bytes(codes[i] | codes[i + 1] << 4 for i in range(0, quantized, 2))
            rest = normal(1, width - quantized, "bf16")[0]
            self.values.append([n * 2.0 ** (scales[i // block] - 127) for i, n in enumerate(numbers)] + rest)
            row = code_bytes + stored(rest, "bf16") + scale_bytes
            data += row
            self.columns = len(row)
        self.data, self.element = bytes(data), "i8"


class Kernel:
    def __init__(self, folder, name, attributes, options):
        self.folder, self.name, self.attributes, self.options = folder, name, attributes, options
        self.inputs, self.outputs, self.contents = [], [], {}

    def bind(self, name, shape, element, data):
        self.inputs.append((name, "memref<%sx%s>" % ("x".join(map(str, shape)), element), data))

    def result(self, name, shape, element, expected, tolerance=None):
        self.outputs.append((name, "memref<%sx%s>" % ("x".join(map(str, shape)), element), expected, tolerance))

    def update(self, name, shape, element, data, expected, tolerance=None):
        """A result that has contents."""
        self.result(name, shape, element, expected, tolerance)
        self.contents[name] = data

    def write(self, part=None):
        listed = self.inputs + [(name, type, None) for name, type, _, _ in self.outputs]
        ins, in_types = ["%" + name for name, _, _ in self.inputs], [type for _, type, _ in self.inputs]
        if part is not None:
            ins.append("%part")
            in_types.append("index")
        outs, out_types = ["%" + name for name, _, _, _ in self.outputs], [type for _, type, _, _ in self.outputs]
        with open(self.folder + "/kernel.mlir", "w") as out:
            out.write("module {\nmodule @k attributes {v4.kernel} {\nfunc.func @k(%s) {\nv4.phase {\n" %
                      ", ".join("%%%s: %s" % item[:2] for item in listed))
            if part is not None:
                out.write("%%part = arith.constant %d : index\n" % part)
            out.write("v4.kernel \"%s\" ins(%s : %s) outs(%s : %s) {%s}\nv4.yield\n}\nreturn\n}\n}\n}\n" %
                      (self.name, ", ".join(ins), ", ".join(in_types), ", ".join(outs), ", ".join(out_types),
                       self.attributes))
        if "shape" in self.options:
            return
        words = ["kernel=k_p0", "grid=1", "block=%s" % (re.findall(r"threads = (\d+)", self.attributes) or ["128"])[0]]
        files = [(name, data) for name, _, data in self.inputs] + [(name, data) for name, _, data, _ in self.outputs]
        for name, data in files:
            with open("%s/%s.bin" % (self.folder, name), "wb") as out:
                out.write(data)
        words += ["in=%s:%s.bin" % (name, name) for name, _, _ in self.inputs]
        for name, _, expected, tolerance in self.outputs:
            if name in self.contents:
                with open("%s/%s.old" % (self.folder, name), "wb") as out:
                    out.write(self.contents[name])
                words.append("in=%s:%s.old" % (name, name))
            else:
                words.append("poison=%s:%d" % (name, len(expected)))
            words.append("expect=%s:%s.bin%s" % (name, name, ":%g" % tolerance if tolerance else ""))
        with open(self.folder + "/words", "w") as out:
            out.write("\n".join(words) + "\n")


ROW = "threads = 256"
POISON = b"\xff\xff\xff\xff"


def softmax(q, keys, scale):
    """Maximum, sum and weighted sum of one head."""
    z = [dot(q, key) * scale for key in keys]
    top = max(z)
    p = [math.exp(value - top) for value in z]
    return top, math.fsum(p), [dot(p, column) for column in zip(*keys)]


def attention(folder, options, heads, width, window, position):
    form = next((f for f in ("bf16", "e4m3", "e2m1") if f in options), "f32")
    ratio, n, listed = int(options.get("ratio", 4)), int(options.get("entries", 0)), int(options.get("selected", 0))
    scale = rounded(width**-0.5, "f32")
    k = Kernel(folder, "attention", "%s, window = %d : i64, scale = %.9e : f32" % (ROW, window, scale), options)
    element = options.get("query", "f32")
    q = normal(heads, width, element)
    k.bind("q", (1, heads, width), element, stored(flat(q), element))
    start, rows = 0, 0
    if "context" in options:
        start, rows = map(int, options["context"].split(","))
        own = Cache(window + rows, width, "bf16" if form == "bf16" else "f32")
        first = position - start + 1
        seen = [first + j for j in range(window) if position - window + 1 + j >= 0]
    else:
        own = Cache(window, width, form)
        seen = range(min(position + 1, window))
    k.bind("w", (len(own.values), own.columns), own.element, own.data)
    keys = [own.values[row] for row in seen]
    sink = [rounded(rng.gauss(0, 1), "f32") for _ in range(heads)]
    k.bind("sink", (heads,), "f32", f32(sink))
    k.bind("t", (1,), "i32", i32([position]))
    k.bind("span", (2,), "i32", i32([start, max(rows, 1)]))
    if n:
        k.attributes += ", ratio = %d : i64" % ratio
        entries = Cache(n, width, form)
        k.bind("e", (n, entries.columns), entries.element, entries.data)
        chosen = list(range(min((position + 1) // ratio, n)))
        if listed:
            k.attributes += ", selected"
            chosen = sorted(rng.sample(chosen, min(listed, len(chosen))))
            k.bind("sel", (1, listed), "i32", i32(chosen + [-1] * (listed - len(chosen))))
        keys += [entries.values[row] for row in chosen]
    y = [0.0] * (heads * width)
    if keys and "shape" not in options:
        y = []
        for head in range(heads):
            top, total, sums = softmax(q[head], keys, scale)
            y += [value / (total + math.exp(sink[head] - top)) for value in sums]
    k.result("y", (1, heads, width), "f32", f32(y), 2e-6)
    k.write()


def attention_part(folder, options, heads, width, window, position, part, parts):
    """Statistics and sums of a part of the window's keys, whole blocks of 64."""
    scale = rounded(width**-0.5, "f32")
    k = Kernel(folder, "attention", "%s, window = %d : i64, scale = %.9e : f32, parts = %d : i64" %
               (ROW, window, scale, parts), options)
    q, own = normal(heads, width, "f32"), Cache(window, width, "f32")
    k.bind("q", (1, heads, width), "f32", f32(flat(q)))
    k.bind("w", (window, width), "f32", own.data)
    k.bind("sink", (heads,), "f32", f32([0] * heads))
    k.bind("t", (1,), "i32", i32([position]))
    k.bind("span", (2,), "i32", i32([0, 1]))
    end = min(position + 1, window)
    blocks = -(-end // 64)
    keys = own.values[blocks * part // parts * 64:min(end, blocks * (part + 1) // parts * 64)]
    if keys:
        tops, totals, sums = zip(*(softmax(row, keys, scale) for row in q))
        k.result("st", (1, 1, 2, heads), "f32", f32(tops + totals), 2e-6)
        k.result("v", (1, 1, heads, width), "f32", f32(flat(sums)), 2e-6)
    else:
        k.result("st", (1, 1, 2, heads), "f32", f32([-INFINITY] * heads + [0] * heads))
        # Not written: the poison stays.
        k.result("v", (1, 1, heads, width), "f32", POISON * (heads * width))
    k.write(part)


def combine(folder, options, heads, width, parts):
    """Every third part has no keys; its sums are not numbers."""
    k = Kernel(folder, "combine_attention", ROW, options)
    there = [part % 3 != 1 for part in range(parts)]
    m = [row if has else [-INFINITY] * heads for has, row in zip(there, normal(parts, heads, "f32"))]
    s = [[rounded(1 + rng.random(), "f32") if has else 0 for _ in range(heads)] for has in there]
    v = [[row if has else [math.nan] * width for row in normal(heads, width, "f32")] for has in there]
    sink = normal(1, heads, "f32")[0]
    k.bind("st", (1, parts, 2, heads), "f32", f32(flat(flat(zip(m, s)))))
    k.bind("v", (1, parts, heads, width), "f32", f32(flat(flat(v))))
    k.bind("sink", (heads,), "f32", f32(sink))
    y = []
    for head in range(heads):
        used = [part for part in range(parts) if there[part]]
        top = max(m[part][head] for part in used)
        weights = [math.exp(m[part][head] - top) for part in used]
        total = dot(weights, [s[part][head] for part in used]) + math.exp(sink[head] - top)
        y += [dot(weights, column) / total for column in zip(*(v[part][head] for part in used))]
    k.result("y", (1, heads, width), "f32", f32(y), 2e-6)
    k.write()


def best(scores, k):
    """Columns of the k best, ascending (spec 4.9)."""
    order = sorted(range(len(scores)), key=lambda i: (math.isnan(scores[i]), 0 if math.isnan(scores[i]) else -scores[i], i))
    return sorted(order[:k])


def close_scores(count, k):
    """Integers below 2^24, exact in f32. The k-th best is among those that agree in all but the last digit of a radix of 256;
    others agree with it in fewer digits, or differ in all."""
    middle, scores = 0xB3A57C, []
    for _ in range(count):
        u, above = rng.random() * count / k, rng.random() < 0.5
        bits = rng.choice([8, 16, 22])
        far = middle >> bits << bits
        low = rng.randrange(1 << bits)
        if 0.75 < u < 1.75:
            scores.append(middle & ~0xFF | rng.randrange(256))
        elif u <= 0.75:
            scores.append(max(far | low, middle | 0xFF))
        elif above:
            scores.append(min(far | low, middle & ~0xFF))
        else:
            scores.append(rng.randrange(1, 1 << rng.randrange(1, 24)))
    return scores


def padded(columns, k):
    return i32(columns + [-1] * (k - len(columns)))


def top_k(folder, options, columns, k):
    kernel = Kernel(folder, "top_k", ROW, options)
    scores = normal(1, columns, "f32")[0]
    if "ties" in options:
        scores = [rng.choice([-INFINITY, -1, -0.0, 0.0, 0.5, 1, INFINITY]) for _ in scores]
    if "rising" in options:
        scores = [float(i) for i in range(columns)]
    if "close" in options:
        scores = [float(score) for score in close_scores(columns, k)]
    if "nan" in options:
        scores = [math.nan if rng.random() < 0.9 else score for score in scores]
    kernel.bind("x", (1, columns), "f32", f32(scores))
    visible = columns
    if "position" in options:
        position, ratio = int(options["position"]), int(options["ratio"])
        kernel.attributes += ", ratio = %d : i64" % ratio
        kernel.bind("t", (1,), "i32", i32([position]))
        visible = min(columns, (position + 1) // ratio)
    kernel.result("y", (1, k), "i32", padded(best(scores[:visible], k), k))
    kernel.write()


def index(folder, options, heads, width, keys, k, position):
    """Integers and few codes: scores are exact and have ties."""
    form, element = next((f for f in ("bf16", "e2m1") if f in options), "f32"), options.get("query", "f32")
    kernel = Kernel(folder, "index_top_k", ROW + ", ratio = 4 : i64, scale = 1.25e-01 : f32", options)
    q = [[rng.randrange(-2, 3) for _ in range(width)] for _ in range(heads)]
    weights = [rng.randrange(-2, 4) for _ in range(heads)]
    if form == "e2m1":
        cache = Cache(keys, width, form)
        values, data, columns, cache_element = cache.values, cache.data, cache.columns, cache.element
    else:
        values = [[rng.randrange(-2, 3) for _ in range(width)] for _ in range(keys)]
        if "close" in options:
            # The last column, which the first head alone looks at, makes the sum what is wanted.
            for row in q:
                row[-1] = 0
            weights[0] = 1
            for row, score in zip(values, close_scores(keys, k)):
                row[-1] = score - dot(weights, [dot(head, row) if head is q[0] else max(dot(head, row), 0) for head in q])
            q[0][-1] = 1
        data, columns, cache_element = stored(flat(values), form), width, form
    kernel.bind("q", (1, heads, width), element, stored(flat(q), element))
    kernel.bind("w", (1, heads), element, stored(weights, element))
    kernel.bind("keys", (keys, columns), cache_element, data)
    kernel.bind("t", (1,), "i32", i32([position]))
    visible = min(keys, (position + 1) // 4)
    if "shape" in options:
        visible = 0
    scores = [sum(w * max(sum(map(float.__mul__, map(float, row), map(float, key))), 0) for w, row in zip(weights, q)) / 8
              for key in values[:visible]]
    if "part" not in options:
        kernel.result("y", (1, k), "i32", padded(list(range(visible)) if visible <= k else best(scores, k), k))
        return kernel.write()
    part, parts = map(int, options["part"].split(","))
    kernel.attributes += ", parts = %d : i64" % parts
    blocks = -(-visible // 256)
    first, end = blocks * part // parts * 256, min(visible, blocks * (part + 1) // parts * 256)
    chosen = [first + i for i in best(scores[first:end], k)]

    def key(score):
        bits = struct.unpack("<I", struct.pack("<f", score + 0.0))[0]
        return struct.pack("<I", bits ^ 0xFFFFFFFF if bits >> 31 else bits | 0x80000000)

    rest = POISON * (k - len(chosen))
    kernel.result("list", (1, 1, 2, k), "i32", b"".join(key(scores[i]) for i in chosen) + rest + i32(chosen) + rest)
    kernel.result("n", (1, 1), "i32", i32([len(chosen)]))
    kernel.write(part)


def merge(folder, options, parts, k, columns, position):
    """Keys with ties, or close ones; a part has consecutive columns."""
    kernel = Kernel(folder, "merge_top_k", ROW + ", ratio = 4 : i64, columns = %d : i64" % columns, options)
    visible = min(columns, (position + 1) // 4)
    scores = close_scores(visible, k) if "close" in options else [rng.randrange(1, 40) for _ in range(visible)]
    lists, counts = [], []
    for part in range(parts):
        first, end = visible * part // parts, visible * (part + 1) // parts
        chosen = [first + i for i in best(scores[first:end], k)]
        counts.append(len(chosen))
        lists += [scores[i] for i in chosen] + [-7] * (k - len(chosen)) + chosen + [-7] * (k - len(chosen))
    kernel.bind("lists", (1, parts, 2, k), "i32", i32(lists))
    kernel.bind("n", (1, parts), "i32", i32(counts))
    kernel.bind("t", (1,), "i32", i32([position]))
    kernel.result("y", (1, k), "i32", padded(best(scores, k), k))
    kernel.write()


def rope(folder, options, rows, heads, width, pairs):
    """Every product and sum is rounded, as the definition says."""
    element = options.get("query", "f32")
    k = Kernel(folder, "rope", "inverse" if "inverse" in options else "", options)
    x, table, y = normal(rows * max(heads, 1), width, element), normal(2 * rows, pairs, "f32"), []
    k.bind("x", shape_of(rows, heads, width), element, stored(flat(x), element))
    k.bind("table", (rows, 2, pairs), "f32", stored(flat(table), "f32"))
    for number, row in enumerate(x):
        token, sign = number // max(heads, 1), -1 if "inverse" in options else 1
        y += row[:width - 2 * pairs]
        for i in range(pairs):
            a, c = row[width - 2 * pairs + 2 * i:][:2]
            cos, sin = table[2 * token][i], table[2 * token + 1][i]
            y.append(rounded(rounded(a * cos, "f32") - sign * rounded(c * sin, "f32"), "f32"))
            y.append(rounded(rounded(c * cos, "f32") + sign * rounded(a * sin, "f32"), "f32"))
    k.result("y", shape_of(rows, heads, width), element, stored(y, element))
    k.write()


def hadamard(folder, options, rows, heads, width):
    """Integers: exact where the root of the width is."""
    element = options.get("query", "f32")
    k = Kernel(folder, "hadamard", "", options)
    shape = (rows, heads, width) if heads else (rows, width)
    x = [[rng.randrange(-8, 9) for _ in range(width)] for _ in range(rows * max(heads, 1))]
    k.bind("x", shape, element, stored(flat(x), element))
    signs = [[-1 if (i & j).bit_count() & 1 else 1 for j in range(width)] for i in range(width)]
    y = [dot(row, sign) / math.sqrt(width) for row in x for sign in signs]
    k.result("y", shape, "f32", f32(y), None if math.isqrt(width)**2 == width else 2e-7)
    k.write()


def hc_mix(folder, options, rows, n, width, columns, part):
    element = options.get("query", "f32")
    kernel = Kernel(folder, "hc_mix", ROW + ", columns = %d : i64" % columns, options)
    products = n if "head" in options else n * (2 + n)
    x = [normal(n, width, element) for _ in range(rows)]
    fn = normal(products, n * width, "f32")
    kernel.bind("x", (rows, n, width), element, stored(flat(flat(x)), element))
    kernel.bind("fn", (products, n * width), "f32", f32(flat(fn)))
    first = part * columns
    cut = [flat(streams)[first:first + columns] for streams in x]
    y = [value for v in cut for value in [dot(v, row[first:first + columns]) for row in fn] + [dot(v, v)]]
    kernel.result("y", (rows, 1, products + 1), "f32", f32(y), 2e-6)
    kernel.write(part)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def hc_close(folder, options, n, width, parts, iterations):
    """Sums as products of streams of about one with weights of that size give them, and gates that differ; `integers`:
    open or closed gates, so that the result is an integer of the element of the streams."""
    is_head, element, eps = "head" in options, options.get("query", "f32"), 1e-6
    attributes = ROW + ", eps = 1.0e-6 : f32, hc_eps = 1.0e-6 : f32"
    if not is_head:
        attributes += ", iterations = %d : i64" % iterations
    kernel = Kernel(folder, "hc_close", attributes, options)
    products = n if is_head else n * (2 + n)
    sums = [row + [rounded(n * width / parts * rng.uniform(0.5, 2), "f32")] for row in normal(parts, products, "f32")]
    x = normal(n, width, element)
    scale = normal(1, 1 if is_head else 3, "f32")[0]
    base = [rounded(rng.gauss(0, 2), "f32") for _ in range(products)]
    if "integers" in options:
        x = [[rng.randrange(1, 9) for _ in range(width)] for _ in range(n)]
        base[:n] = [60.0 - 120 * (j % 2) for j in range(n)]
    kernel.bind("sums", (1, parts, products + 1), "f32", f32(flat(sums)))
    kernel.bind("x", (1, n, width), element, stored(flat(x), element))
    kernel.bind("scale", (len(scale),), "f32", f32(scale))
    kernel.bind("base", (products,), "f32", f32(base))
    total = [math.fsum(column) for column in zip(*sums)]
    rho = 1 / math.sqrt(total.pop() / (n * width) + 1e-6)
    gate = [t * rho * scale[min(i // n, 2)] + b for i, (t, b) in enumerate(zip(total, base))]
    pre = [sigmoid(g) + eps for g in gate[:n]]
    y = [dot(pre, column) for column in zip(*x)]
    if "integers" in options:
        kernel.result("y", (1, width), element, stored(y, element), None if element == "bf16" else 2e-6)
    else:
        kernel.result("y", (1, width), "f32", f32(y), 2e-6)
    if not is_head:
        kernel.result("post", (1, n), "f32", f32([2 * sigmoid(g) for g in gate[n:2 * n]]), 2e-6)
        c = []
        for j in range(n):
            z = gate[(2 + j) * n:(3 + j) * n]
            e = [math.exp(value - max(z)) for value in z]
            c.append([value / math.fsum(e) + eps for value in e])
        for i in range(iterations):
            if i:
                c = [[value / (math.fsum(row) + eps) for value in row] for row in c]
            down = [math.fsum(column) + eps for column in zip(*c)]
            c = [[value / s for value, s in zip(row, down)] for row in c]
        kernel.result("comb", (1, n, n), "f32", f32(flat(c)), 2e-6)
    kernel.write()


def hc_post(folder, options, n, width):
    element = options.get("query", "f32")
    kernel = Kernel(folder, "hc_post", "threads = 128", options)
    f, x = normal(1, width, element)[0], normal(n, width, element)
    post, comb = normal(1, n, "f32")[0], normal(n, n, "f32")
    if "integers" in options:
        f, *x = [[rng.randrange(-4, 5) for _ in range(width)] for _ in range(1 + n)]
        post, *comb = [[rng.randrange(-4, 5) for _ in range(n)] for _ in range(1 + n)]
    kernel.bind("f", (1, width), element, stored(f, element))
    kernel.bind("x", (1, n, width), element, stored(flat(x), element))
    kernel.bind("post", (1, n), "f32", f32(post))
    kernel.bind("comb", (1, n, n), "f32", f32(flat(comb)))
    y = [post[k] * f[i] + math.fsum(comb[j][k] * x[j][i] for j in range(n)) for k in range(n) for i in range(width)]
    if "integers" in options:
        kernel.result("y", (1, n, width), element, stored(y, element))
    else:
        kernel.result("y", (1, n, width), "f32", f32(y), 2e-6)
    kernel.write()


def route_score(logit):
    return math.sqrt(logit if logit > 20 else math.log1p(math.exp(logit)))


def chosen_weights(logits, chosen):
    scores = [route_score(logits[e]) for e in chosen]
    return f32([score / (math.fsum(scores) + 1e-20) * 1.5 for score in scores])


WARP = "threads = 32, scale = 1.5 : f32"


def route(folder, options, experts, k):
    """`ties`: few numbers, so that equal experts compete. `nan`: experts that lose against all numbers."""
    kernel = Kernel(folder, "route", WARP, options)
    logits = [rounded(rng.gauss(0, 3), "f32") for _ in range(experts)]
    bias = [rounded(rng.gauss(0, 0.5), "f32") for _ in range(experts)]
    if "ties" in options:
        logits = [rng.choice([-INFINITY, -2.0, 0.0, 1.0, 25.0]) for _ in range(experts)]
        bias = [rng.choice([0.0, 16.0]) for _ in range(experts)]
        # 21 and the next number, which are the best; with those that are the first and last of a lane.
        for e in range(experts):
            if e % 32 < 2 or e % 32 == 31 or e == experts - 1 or rng.random() < 0.4:
                logits[e], bias[e] = 25.0, 16 + (e % 32 != 1) * rng.choice([0.0, 2.0**-19])
        for e in {0, min(31, experts - 1), min(32, experts - 1), experts - 1}:
            bias[e] = 16 + 2.0**-19
    keys = [route_score(logit) + b for logit, b in zip(logits, bias)]
    if "nan" in options:
        for e in range(0, experts, 2):
            logits[e] = keys[e] = math.nan
    order = sorted((-key for key in keys if not math.isnan(key)))
    assert k >= len(order) or order[k] == order[k - 1] or order[k] - order[k - 1] > 1e-5
    kernel.bind("x", (1, experts), "f32", f32(logits))
    kernel.bind("bias", (experts,), "f32", f32(bias))
    chosen = best(keys, k)
    kernel.result("y", (1, k), "i32", i32(chosen))
    kernel.result("w", (1, k), "f32", chosen_weights(logits, chosen), 2e-6)
    kernel.write()


def route_hash(folder, options, experts, k, vocabulary, token):
    """A table with ids that are no experts, and a token that may be none."""
    kernel = Kernel(folder, "route_hash", WARP, options)
    logits = normal(1, experts, "f32")[0]
    table = [[rng.randrange(-1, experts + 1) for _ in range(k)] for _ in range(vocabulary)]
    kernel.bind("x", (1, experts), "f32", f32(logits))
    kernel.bind("t", (1,), "i32", i32([token]))
    kernel.bind("table", (vocabulary, k), "i64", struct.pack("<%dq" % (vocabulary * k), *flat(table)))
    chosen = [min(max(e, 0), experts - 1) for e in table[min(max(token, 0), vocabulary - 1)]]
    kernel.result("y", (1, k), "i32", i32(chosen))
    kernel.result("w", (1, k), "f32", chosen_weights(logits, chosen), 2e-6)
    kernel.write()


def dispatch(folder, options, rows, k, experts, threads):
    """`some`: rows that take no part; `one`: all pairs to one expert, a row with it twice and more."""
    attributes = "threads = %d, experts = %d : i64" % (threads, experts)
    kernel = Kernel(folder, "dispatch", attributes, options)
    indices = [[experts // 2] * k if "one" in options else rng.sample(range(experts), k) for _ in range(rows)]
    weights = normal(rows, k, "f32")
    positions = [-1 if "some" in options and rng.random() < 0.4 else i for i in range(rows)]
    kernel.bind("x", (rows, k), "i32", i32(flat(indices)))
    kernel.bind("w", (rows, k), "f32", f32(flat(weights)))
    kernel.bind("t", (rows,), "i32", i32(positions))
    order = sorted((indices[s][j], s, j) for s in range(rows) if positions[s] >= 0 for j in range(k))
    total, count = len(order), rows * k
    active = sorted({e for e, _, _ in order})
    places = [[0] * k for _ in range(rows)]
    for s in range(rows):
        for rank, place in enumerate(i for i, pair in enumerate(order) if pair[1] == s):
            places[s][rank] = place
    listed = min(count, experts)
    offsets = [next(i for i, pair in enumerate(order) if pair[0] == e) for e in active]
    # Contents that are no end of a list, as poison would be.
    kernel.update("experts", (listed,), "i32", i32([7] * listed), padded(active, listed))
    kernel.result("offsets", (listed + 1,), "i32", i32(offsets + [total] * (listed + 1 - len(active))))
    kernel.result("rows", (count,), "i32", i32([s for _, s, _ in order] + [0] * (count - total)))
    kernel.result("weights", (count,), "f32", f32([weights[s][j] for _, s, j in order] + [0] * (count - total)))
    kernel.result("pairs", (rows, k), "i32", i32(flat(places)))
    kernel.write()


def compress(folder, options, rows, ratio, channels, start, length):
    """A sequence that is in the state up to `start`, and goes on with the call. Gates differ by several units."""
    halves = 2 if "overlap" in options else 1
    kernel = Kernel(folder, "compress", ROW, options)
    count, end = min(max(length, 0), rows), start + min(max(length, 0), rows)
    shape = (halves, channels)

    def draw(number, scale):
        return [[rounded(rng.gauss(0, scale), "f32") for _ in range(halves * channels)] for _ in range(number)]

    ape = draw(ratio, 1)
    # By position: values and gates; scores with their bias.
    kv, gate = draw(start + rows, 1), draw(start + rows, 3)
    score = [[rounded(g + a, "f32") for g, a in zip(row, ape[t % ratio])] for t, row in enumerate(gate)]

    def state(until):
        """Rows of the block before, with overlap, and of the unfinished block."""
        first = until // ratio * ratio - (halves - 1) * ratio
        held = [t if 0 <= t < until else -1 for t in range(first, first + halves * ratio)]
        empty = [0] * halves * channels, [-INFINITY] * halves * channels
        return tuple(f32(flat(rows[t] if t >= 0 else none for t in held)) for rows, none in zip((kv, score), empty))

    kernel.bind("kv", (rows, *shape), "f32", f32(flat(kv[start:])))
    kernel.bind("gate", (rows, *shape), "f32", f32(flat(gate[start:])))
    kernel.bind("ape", (ratio, *shape), "f32", f32(flat(ape)))
    kernel.bind("span", (1, 2) if "slot" in options else (2,), "i32", i32([start, length]))
    entries = []
    for block in range(start // ratio, end // ratio):
        for c in range(channels):
            held = [(t, (halves - 1) * channels + c) for t in range(block * ratio, (block + 1) * ratio)]
            if halves > 1 and block:
                held += [(t - ratio, c) for t, _ in held]
            top = max(score[t][i] for t, i in held)
            weights = [math.exp(score[t][i] - top) for t, i in held]
            entries.append(dot(weights, [kv[t][i] for t, i in held]) / math.fsum(weights))
    size = -(-rows // ratio) * channels
    kernel.result("y", (size // channels, channels), "f32", f32(entries) + POISON * (size - len(entries)), 2e-6)
    old, new = state(start), state(end)
    kernel.update("kv_rows", (1, halves * ratio, *shape), "f32", old[0], new[0])
    kernel.update("score_rows", (1, halves * ratio, *shape), "f32", old[1], new[1])
    kernel.write()


VALUES = {"e4m3": [e4m3(code) for code in range(127)], "e2m1": [e2m1(code) for code in range(8)]}


def packed(row, columns, form):
    """The bytes of a row (spec 7.1, 7.4, 7.5)."""
    if form in ("f32", "bf16"):
        return stored(row, form)
    quantized, block = (columns - 64, 64) if form == "e4m3" else (columns, 32)
    codes, scales = [], []
    for first in range(0, quantized, block):
        numbers = row[first:first + block]
        exponent = scale_of(numbers, form)
        scales.append(exponent + 127)
        codes += [code_of(number, exponent, form) for number in numbers]
    if form == "e4m3":
        return bytes(codes) + stored(row[quantized:], "bf16") + bytes(scales)
    return bytes(low | high << 4 for low, high in zip(codes[::2], codes[1::2])) + bytes(scales)


class State:
    """A cache or ring with contents, and what it becomes."""

    def __init__(self, rows, width, form):
        self.form, self.width, self.old = form, width, Cache(rows, width, form)
        self.size = len(self.old.data) // rows
        self.new = bytearray(self.old.data)

    def put(self, row, values):
        data = packed(values, self.width, self.form)
        # Bytes that fill up the scales stay.
        self.new[row * self.size:row * self.size + len(data)] = data

    def bind(self, kernel):
        shape = (len(self.new) // self.size, self.old.columns)
        kernel.update("state", shape, self.old.element, self.old.data, bytes(self.new))


def scale_of(numbers, form):
    """The exponent of the smallest power of two by which the largest number, divided, does not exceed the format."""
    largest = max(max(map(abs, numbers)), 1e-4 if form == "e4m3" else 6 * 2.0**-126)
    return math.ceil(math.log2(largest / (448 if form == "e4m3" else 6)))


def code_of(number, exponent, form):
    values = VALUES[form]
    ratio = abs(number) / 2.0**exponent
    code = min(range(len(values)), key=lambda c: (abs(values[c] - ratio), c % 2))
    return code | (math.copysign(1, number) < 0) << (7 if form == "e4m3" else 3)


def form_of(options):
    return next((form for form in ("bf16", "e4m3", "e2m1") if form in options), "f32")


def several(rows, width, element):
    """Rows of sizes from thousandths to thousands, with zeros."""
    return [[rounded(value * 10.0**rng.uniform(-3, 3), element) * rng.choice([0, 1, 1, 1]) for value in row]
            for row in normal(rows, width, element)]


def halfway(rows, width, element, form, block):
    """Rows of codes and of numbers halfway between two, whose blocks have all sizes; the largest is a code."""
    codes = VALUES[form]
    between = [(a + b) / 2 for a, b in zip(codes, codes[1:])]

    def number(exponent):
        return rounded(rng.choice([1, -1]) * rng.choice(between + codes) * 2.0**exponent, element)

    x = []
    for _ in range(rows):
        row = []
        for first in range(0, width, block):
            exponent = rng.randrange(-8, 9)
            # The one largest may be anywhere; others are codes up to the largest or far from it.
            numbers = [number(exponent - rng.choice([0, 2])) for _ in range(min(block, width - first))]
            numbers[rng.choice([0, len(numbers) - 1, rng.randrange(len(numbers))])] = codes[-1] * 2.0**exponent
            row += numbers
        x.append(row)
    return x


def rows_of(options, rows, width, element, block=0):
    form = form_of(options)
    if "ties" in options:
        x = halfway(rows, width, element, form, block or (64 if form == "e4m3" else 32))
        if form == "e4m3" and not block and element == "f32":
            # The last columns are stored as bf16.
            for row in x:
                row[-64:] = [(rng.randrange(128, 255) + 0.5) * 2.0**rng.randrange(-9, 9) for _ in range(64)]
        return x
    return several(rows, width, element)


def append_threads(rows):
    return "threads = %d" % (128 if rows <= 4 else 512)


def append_window(folder, options, rows, width, window, start, length):
    kernel, element = Kernel(folder, "append_rows", append_threads(rows), options), options.get("query", "f32")
    x, state = rows_of(options, rows, width, element), State(window, width, form_of(options))
    kernel.bind("x", (rows, width), element, stored(flat(x), element))
    kernel.bind("span", (2,), "i32", i32([start, length]))
    if "shape" not in options:
        for i in range(min(max(length, 0), rows)):
            state.put((start + i) % window, x[i])
    state.bind(kernel)
    kernel.write()


def append_cache(folder, options, rows, width, entries, ratio, first):
    """The last row is no entry."""
    kernel, element = Kernel(folder, "append_rows", append_threads(rows), options), options.get("query", "f32")
    kernel.attributes += ", ratio = %d : i64" % ratio
    x, state = rows_of(options, rows, width, element), State(entries, width, form_of(options))
    kernel.bind("x", (rows, width), element, stored(flat(x), element))
    kernel.bind("t", (rows,), "i32", i32([(first + i) * ratio for i in range(rows - 1)] + [-1]))
    if "shape" not in options:
        for i in range(rows - 1):
            state.put(first + i, x[i])
    state.bind(kernel)
    kernel.write()


def window_context(folder, options, rows, width, window, start, first, count):
    kernel, element = Kernel(folder, "window_context", ROW, options), options.get("query", "f32")
    x, ring = normal(rows, width, element), Cache(window, width, form_of(options))
    kernel.bind("x", (rows, width), element, stored(flat(x), element))
    kernel.bind("ring", (window, ring.columns), ring.element, ring.data)
    kernel.bind("span", (2,), "i32", i32([start, rows]))
    y = [ring.values[(start + i) % window] for i in range(window)] + x
    y = [[rounded(value, element) for value in row] for row in y[first:first + count]]
    kernel.result("y", (count, width), element, stored(flat(y), element))
    kernel.write(first)


def shape_of(rows, heads, width):
    return (rows, heads, width) if heads else (rows, width)


def rms_norm(folder, options, rows, heads, width):
    kernel, element = Kernel(folder, "rms_norm", "eps = 1.0e-6 : f32", options), options.get("query", "f32")
    x, weight = normal(rows * max(heads, 1), width, element), normal(1, width, element)[0]
    kernel.bind("x", shape_of(rows, heads, width), element, stored(flat(x), element))
    if "plain" not in options:
        kernel.bind("w", (width,), element, stored(weight, element))
    y = []
    for row in x:
        scale = 1 / math.sqrt(dot(row, row) / width + 1e-6)
        y += [value * scale * (1 if "plain" in options else w) for value, w in zip(row, weight)]
    kernel.result("y", shape_of(rows, heads, width), "f32", f32(y), 2e-6)
    kernel.write()


def round_trip(folder, options, rows, heads, width, columns, block):
    form, element = form_of(options), options.get("query", "f32")
    attributes = "format = %d : i32, block = %d : i64, columns = %d : i64"
    attributes %= form == "e2m1", block, columns
    kernel = Kernel(folder, "round_trip", attributes, options)
    x, y = rows_of(options, rows * max(heads, 1), width, element, block), []
    kernel.bind("x", shape_of(rows, heads, width), element, stored(flat(x), element))
    for row in x:
        for first in range(0, columns, block):
            numbers = row[first:first + block]
            exponent = scale_of(numbers, form)
            decode = e4m3 if form == "e4m3" else e2m1
            y += [decode(code_of(number, exponent, form)) * 2.0**exponent for number in numbers]
        y += row[columns:]
    kernel.result("y", shape_of(rows, heads, width), element, stored(y, element))
    kernel.write()


def main():
    folder, kernel, *rest = sys.argv[1:]
    sizes = [int(word) for word in rest if word.lstrip("-").isdigit()]
    options = dict(word.partition("=")[::2] for word in rest if not word.lstrip("-").isdigit())
    kinds = [attention, attention_part, combine, top_k, index, merge, rope, hadamard, hc_mix, hc_close, hc_post, route,
             route_hash, dispatch, compress, append_window, append_cache, window_context,
             rms_norm, round_trip]
    {kind.__name__: kind for kind in kinds}[kernel](folder, options, *sizes)


main()
