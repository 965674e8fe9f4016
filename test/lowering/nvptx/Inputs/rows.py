# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Launches of the templates of one row and what they must give.

    rows.py FOLDER attention HEADS WIDTH WINDOW POSITION [FORM] [context=START,ROWS] [entries=N] [ratio=R] [selected=K]
                   [parts=P] [query=f32|bf16]
    rows.py FOLDER combine HEADS WIDTH PARTS
    rows.py FOLDER top_k COLUMNS K [position=T] [ratio=R] [ties] [nan]
    rows.py FOLDER index HEADS WIDTH KEYS K POSITION [FORM] [part=I,P]
    rows.py FOLDER merge PARTS K COLUMNS POSITION
    rows.py FOLDER hadamard ROWS HEADS WIDTH

FOLDER gets kernel.mlir (a module for v4-stage-kernels) and words (for kernel-run). FORM is that of the cache: f32, bf16,
e4m3 (packed rows, all but the last 64 columns in blocks of 64) or e2m1 (packed rows, blocks of 32). `shape` as last word:
kernel.mlir alone. Everything here is computed with numpy in f64, from the formulas of spec 4.2, 4.4 and 4.9.
"""

import sys

import numpy as np

rng = np.random.default_rng(5)


def to_bf16(x):
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(x):
    return (x.astype(np.uint32) << 16).view(np.float32)


def e4m3(codes):
    sign, exponent, fraction = codes >> 7, codes >> 3 & 15, codes & 7
    value = np.where(exponent > 0, (1 + fraction / 8) * 2.0 ** (exponent.astype(int) - 7), fraction / 8 * 2.0**-6)
    return np.where(sign, -value, value)


def e2m1(codes):
    value = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])[codes & 7]
    return np.where(codes & 8, -value, value)


def numbers(shape, element):
    """Bytes and values of random numbers."""
    x = rng.standard_normal(shape).astype(np.float32)
    if element == "f32":
        return x, x.astype(np.float64), "f32"
    return to_bf16(x), from_bf16(to_bf16(x)).astype(np.float64), "bf16"


def cache(rows, width, form):
    """Bytes, values [rows, width], columns of the memref and its element."""
    if form in ("f32", "bf16"):
        data, values, element = numbers((rows, width), form)
        return data, values, width, element
    if form == "e4m3":
        quantized, block, padded = width - 64, 64, lambda n: -(-n // 8) * 8
        codes = rng.integers(0, 256, (rows, quantized)).astype(np.uint8)
        codes[codes & 127 == 127] = 0
        values, code_bytes = e4m3(codes), codes
    else:
        quantized, block, padded = width, 32, lambda n: n
        codes = rng.integers(0, 16, (rows, quantized)).astype(np.uint8)
        values, code_bytes = e2m1(codes), codes[:, 0::2] | codes[:, 1::2] << 4
    blocks = quantized // block
    # Codes are up to 448 or 6: values of a few.
    scales = rng.integers(118, 121, (rows, blocks)) if form == "e4m3" else rng.integers(125, 129, (rows, blocks))
    values = values * np.repeat(2.0 ** (scales - 127), block, axis=1)
    rest = to_bf16(rng.standard_normal((rows, width - quantized)))
    scale_bytes = np.zeros((rows, padded(blocks)), np.uint8)
    scale_bytes[:, :blocks] = scales
    data = np.concatenate([code_bytes, rest.view(np.uint8).reshape(rows, -1), scale_bytes], axis=1)
    return data, np.concatenate([values, from_bf16(rest)], axis=1), data.shape[1], "i8"


class Kernel:
    def __init__(self, folder, name, attributes, options):
        self.folder, self.name, self.attributes, self.options = folder, name, attributes, options
        self.inputs, self.outputs = [], []

    def bind(self, name, shape, element, data):
        self.inputs.append((name, "memref<%sx%s>" % ("x".join(map(str, shape)), element), data))

    def result(self, name, shape, element, expected, tolerance=None):
        self.outputs.append((name, "memref<%sx%s>" % ("x".join(map(str, shape)), element), expected, tolerance))

    def write(self, part=None):
        listed = self.inputs + [(name, type, None) for name, type, _, _ in self.outputs]
        ins = ["%" + name for name, _, _ in self.inputs]
        in_types = [type for _, type, _ in self.inputs]
        if part is not None:
            ins.append("%part")
            in_types.append("index")
        outs = ["%" + name for name, _, _, _ in self.outputs]
        out_types = [type for _, type, _, _ in self.outputs]
        with open(self.folder + "/kernel.mlir", "w") as out:
            out.write("module {\nmodule @k attributes {v4.kernel} {\nfunc.func @k(%s) {\nv4.phase {\n" %
                      ", ".join("%%%s: %s" % item[:2] for item in listed))
            if part is not None:
                out.write("%%part = arith.constant %d : index\n" % part)
            out.write("v4.kernel \"%s\" ins(%s : %s) outs(%s : %s) {%s}\nv4.yield\n}\nreturn\n}\n}\n}\n" %
                      (self.name, ", ".join(ins), ", ".join(in_types), ", ".join(outs), ", ".join(out_types), self.attributes))
        threads = 256 if "threads" in self.attributes else 128
        words = ["kernel=k_p0", "grid=1", "block=%d" % threads]
        if "shared" in self.options:
            words.append("shared=" + self.options["shared"])
        for name, _, data in self.inputs:
            np.ascontiguousarray(data).tofile("%s/%s.bin" % (self.folder, name))
            words.append("in=%s:%s.bin" % (name, name))
        for name, _, expected, tolerance in self.outputs:
            np.ascontiguousarray(expected).tofile("%s/%s.bin" % (self.folder, name))
            words.append("poison=%s:%d" % (name, expected.nbytes))
            words.append("expect=%s:%s.bin%s" % (name, name, ":%g" % tolerance if tolerance else ""))
        with open(self.folder + "/words", "w") as out:
            out.write("\n".join(words) + "\n")


ROW = "threads = 256"


def attention(folder, options, heads, width, window, position):
    form = next((f for f in ("bf16", "e4m3", "e2m1") if f in options), "f32")
    ratio, n, listed = int(options.get("ratio", 4)), int(options.get("entries", 0)), int(options.get("selected", 0))
    scale = width**-0.5
    attributes = "%s, window = %d : i64, scale = %.8e : f32" % (ROW, window, scale)
    k = Kernel(folder, "attention", attributes, options)
    data, q, element = numbers((1, heads, width), options.get("query", "f32"))
    k.bind("q", (1, heads, width), element, data)
    start, rows = 0, 0
    if "context" in options:
        start, rows = map(int, options["context"].split(","))
        data, keys, columns, element = cache(window + rows, width, "f32" if form != "bf16" else "bf16")
        i = position - start
        seen = [i + 1 + j for j in range(window) if position - window + 1 + j >= 0]
    else:
        data, keys, columns, element = cache(window, width, form)
        seen = list(range(min(position + 1, window)))
    k.bind("w", keys.shape[:1] + (columns,), element, data)
    used = [keys[seen]]
    sink = rng.standard_normal(heads).astype(np.float32)
    k.bind("sink", (heads,), "f32", sink)
    k.bind("t", (1,), "i32", np.array([position], np.int32))
    k.bind("span", (2,), "i32", np.array([start, max(rows, 1)], np.int32))
    if n:
        k.attributes += ", ratio = %d : i64" % ratio
        data, entries, columns, element = cache(n, width, form)
        k.bind("e", (n, columns), element, data)
        visible = (position + 1) // ratio
        if listed:
            k.attributes += ", selected"
            visible = min(visible, n)
            chosen = np.sort(rng.permutation(visible)[:listed])
            padded = np.full(listed, -1, np.int32)
            padded[:len(chosen)] = chosen
            k.bind("sel", (1, listed), "i32", padded)
            used.append(entries[chosen])
        else:
            used.append(entries[:min(visible, n)])
    keys = np.concatenate(used)
    if len(keys):
        z = q[0] @ keys.T * scale
        m = z.max(axis=1, keepdims=True)
        p = np.exp(z - m)
        y = p @ keys / (p.sum(axis=1, keepdims=True) + np.exp(sink[:, None] - m))
    else:
        y = np.zeros((heads, width))
    k.result("y", (1, heads, width), "f32", y.astype(np.float32), 2e-6)
    k.write()


def part_of_attention(folder, options, heads, width, window, position, part, parts):
    """Statistics and sums of a part of the window's keys."""
    scale = width**-0.5
    k = Kernel(folder, "attention", "%s, window = %d : i64, scale = %.8e : f32, parts = %d : i64" %
               (ROW, window, scale, parts), options)
    data, q, element = numbers((1, heads, width), "f32")
    k.bind("q", (1, heads, width), element, data)
    data, keys, columns, element = cache(window, width, "f32")
    k.bind("w", (window, columns), element, data)
    k.bind("sink", (heads,), "f32", np.zeros(heads, np.float32))
    k.bind("t", (1,), "i32", np.array([position], np.int32))
    k.bind("span", (2,), "i32", np.array([0, 1], np.int32))
    end = min(position + 1, window)
    blocks = -(-end // 64)
    keys = keys[blocks * part // parts * 64:min(end, blocks * (part + 1) // parts * 64)]
    statistics, sums = np.zeros((2, heads), np.float32), np.full((heads, width), np.nan, np.float32)
    if len(keys):
        z = q[0] @ keys.T * scale
        p = np.exp(z - z.max(axis=1, keepdims=True))
        statistics[0], statistics[1], sums = z.max(axis=1), p.sum(axis=1), (p @ keys).astype(np.float32)
        k.result("st", (1, 1, 2, heads), "f32", statistics, 2e-6)
        k.result("v", (1, 1, heads, width), "f32", sums, 2e-6)
    else:
        statistics[0] = -np.inf
        k.result("st", (1, 1, 2, heads), "f32", statistics)
        # Not written: the poison stays.
        k.result("v", (1, 1, heads, width), "f32", np.full(heads * width, 0xFFFFFFFF, np.uint32))
    k.write(part)


def combine(folder, options, heads, width, parts):
    k = Kernel(folder, "combine_attention", ROW, options)
    m = rng.standard_normal((parts, heads)).astype(np.float32)
    s = (1 + rng.random((parts, heads))).astype(np.float32)
    v = rng.standard_normal((parts, heads, width)).astype(np.float32)
    sink = rng.standard_normal(heads).astype(np.float32)
    empty = [p for p in range(parts) if p % 3 == 1]
    m[empty], s[empty], v[empty] = -np.inf, 0, np.nan
    k.bind("st", (1, parts, 2, heads), "f32", np.stack([m, s], axis=1))
    k.bind("v", (1, parts, heads, width), "f32", v)
    k.bind("sink", (heads,), "f32", sink)
    there = [p for p in range(parts) if p not in empty]
    m, s, v = m[there].astype(float), s[there].astype(float), v[there].astype(float)
    w = np.exp(m - m.max(axis=0))
    y = (w[:, :, None] * v).sum(axis=0) / ((w * s).sum(axis=0) + np.exp(sink - m.max(axis=0)))[:, None]
    k.result("y", (1, heads, width), "f32", y.astype(np.float32), 2e-6)
    k.write()


def best(scores, visible, k):
    """Columns of the k best, ascending, then -1 (spec 4.9)."""
    order = sorted(range(visible), key=lambda i: (np.isnan(scores[i]), 0 if np.isnan(scores[i]) else -scores[i], i))
    columns = np.full(k, -1, np.int32)
    chosen = sorted(order[:k])
    columns[:len(chosen)] = chosen
    return columns


def top_k(folder, options, columns, k):
    kernel = Kernel(folder, "top_k", ROW, options)
    scores = rng.standard_normal((1, columns)).astype(np.float32)
    if "ties" in options:
        # Few values, both zeros, infinities.
        values = np.array([-np.inf, -1, -0.0, 0.0, 0.5, 1, np.inf], np.float32)
        scores = values[rng.integers(0, len(values), (1, columns))]
    if "rising" in options:
        scores = np.arange(columns, dtype=np.float32)[None]
    if "nan" in options:
        scores[0, rng.random(columns) < 0.9] = np.nan
    kernel.bind("x", (1, columns), "f32", scores)
    visible = columns
    if "position" in options:
        ratio = int(options["ratio"])
        kernel.attributes += ", ratio = %d : i64" % ratio
        kernel.bind("t", (1,), "i32", np.array([int(options["position"])], np.int32))
        visible = min(columns, (int(options["position"]) + 1) // ratio)
    kernel.result("y", (1, k), "i32", best(scores[0], visible, k))
    kernel.write()


def index(folder, options, heads, width, keys, k, position):
    """Integers, so that scores are exact and have ties."""
    form = next((f for f in ("bf16", "e2m1") if f in options), "f32")
    kernel = Kernel(folder, "index_top_k", ROW + ", ratio = 4 : i64, scale = 1.25e-01 : f32", options)
    q = rng.integers(-2, 3, (1, heads, width)).astype(np.float32)
    weights = rng.integers(-2, 4, (1, heads)).astype(np.float32)
    element = options.get("query", "f32")
    stored = (lambda x: x) if element == "f32" else to_bf16
    kernel.bind("q", (1, heads, width), element, stored(q))
    kernel.bind("w", (1, heads), element, stored(weights))
    if form == "e2m1":
        data, values, columns, cache_element = cache(keys, width, form)
    else:
        values = rng.integers(-2, 3, (keys, width)).astype(np.float32)
        data, columns, cache_element = values if form == "f32" else to_bf16(values), width, form
    kernel.bind("keys", (keys, columns), cache_element, data)
    kernel.bind("t", (1,), "i32", np.array([position], np.int32))
    visible = min(keys, (position + 1) // 4)
    scores = (np.maximum(q[0].astype(float) @ values.T.astype(float), 0) * weights[0][:, None]).sum(axis=0)
    if "part" not in options:
        kernel.result("y", (1, k), "i32", np.array(list(range(visible)) + [-1] * (k - visible), np.int32)
                      if visible <= k else best(scores, visible, k))
        return kernel.write()
    part, parts = map(int, options["part"].split(","))
    kernel.attributes += ", parts = %d : i64" % parts
    blocks = -(-visible // 256)
    first, end = blocks * part // parts * 256, min(visible, blocks * (part + 1) // parts * 256)
    chosen = [first + i for i in best(scores[first:end], end - first, min(k, end - first))]
    lists = np.full((2, k), 0xFFFFFFFF, np.uint32)
    bits = (scores[chosen] * 0.125 + 0.0).astype(np.float32).view(np.uint32)
    lists[0, :len(chosen)] = np.where(bits >> 31, ~bits, bits | 0x80000000)
    lists[1, :len(chosen)] = chosen
    kernel.result("list", (1, 1, 2, k), "i32", lists)
    kernel.result("n", (1, 1), "i32", np.array([len(chosen)], np.int32))
    kernel.write(part)


def merge(folder, options, parts, k, columns, position):
    kernel = Kernel(folder, "merge_top_k", ROW + ", ratio = 4 : i64, columns = %d : i64" % columns, options)
    visible = min(columns, (position + 1) // 4)
    # Keys with ties. Part p has every number from its first column on.
    scores = rng.integers(1, 40, columns)
    lists, counts = np.full((parts, 2, k), -7, np.int32), np.zeros(parts, np.int32)
    for p in range(parts):
        first, end = visible * p // parts, visible * (p + 1) // parts
        chosen = [first + i for i in best(scores[first:end].astype(float), end - first, min(k, end - first))]
        counts[p] = len(chosen)
        lists[p, 0, :len(chosen)], lists[p, 1, :len(chosen)] = scores[chosen], chosen
    kernel.bind("lists", (1, parts, 2, k), "i32", lists)
    kernel.bind("n", (1, parts), "i32", counts)
    kernel.bind("t", (1,), "i32", np.array([position], np.int32))
    kernel.result("y", (1, k), "i32", best(scores.astype(float), visible, k))
    kernel.write()


def hadamard(folder, options, rows, heads, width):
    k = Kernel(folder, "hadamard", "", options)
    shape = (rows, heads, width) if heads else (rows, width)
    element = options.get("query", "f32")
    # Integers and a power of four as width: exact.
    x = rng.integers(-8, 9, shape).astype(np.float32)
    h = np.ones((1, 1))
    while len(h) < width:
        h = np.block([[h, h], [h, -h]])
    k.bind("x", shape, element, x if element == "f32" else to_bf16(x))
    y = x.astype(float) @ h / np.sqrt(width)
    k.result("y", shape, "f32", y.astype(np.float32), None if width in (64, 256, 1024) else 2e-7)
    k.write()


def main():
    folder, kernel, *rest = sys.argv[1:]
    sizes = [int(word) for word in rest if word.lstrip("-").isdigit()]
    options = dict(word.partition("=")[::2] for word in rest if not word.lstrip("-").isdigit())
    {"attention": attention, "attention_part": part_of_attention, "combine": combine, "top_k": top_k, "index": index,
     "merge": merge, "hadamard": hadamard}[kernel](folder, options, *sizes)


main()
