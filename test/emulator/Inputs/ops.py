# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels that use one op each, with inputs and the results that the op's definition gives, worked out here in plain Python.

    ops.py emit NAME DIR   writes DIR/kernel.mlir (NVVM level), DIR/launch.txt (test/emulator/Launch.h) and the binary files that it names
    ops.py names           lists what there is
    ops.py run NAME DIR    emits, compiles for the emulator and runs in three orders of the threads
    ops.py pack DIR CHIP   every case that the chip has the ops of as DIR/NAME: the same folder with kernel.ptx, for a machine with a GPU
                           (`kernel-run kernel.ptx @launch.txt --device=cuda`); says which cases the chip cannot run.
                           With a word more, k.elf for the emulator too

The same folder serves the emulator and a GPU: results are compared bit for bit, so matrix ops get integers that add up exactly.
"""

import os, random, shutil, struct, subprocess, sys


# ------------------------------------------------------------------------------------------------------------ numbers
def words(values):
    return b"".join(struct.pack("<I", v & 0xFFFFFFFF) for v in values)


def floats(values):
    return struct.pack("<%df" % len(values), *values)


def f16(x):
    return struct.unpack("<H", struct.pack("<e", x))[0]


def bf16(x):
    bits = struct.unpack("<I", struct.pack("<f", x))[0]
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 & 0xFFFF


def halves(values):
    return struct.pack("<%dH" % len(values), *values)


def f32bits(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def e4m3(code):
    sign, e, m = (-1.0 if code & 0x80 else 1.0), code >> 3 & 15, code & 7
    return sign * (m / 8 * 2.0**-6 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7))


# ------------------------------------------------------------------------------------------------------------ kernels
class Case:
    """Text of one kernel and its launch. Bindings are added in order; `self.line` adds a line of the body."""

    def __init__(self, block=(32,), grid=(1,), shared=0, globals=""):
        self.block, self.grid, self.shared, self.globals = block, grid, shared, globals
        self.bindings, self.body, self.files, self.count = [], [], {}, 0
        self.line("%tid = nvvm.read.ptx.sreg.tid.x : i32")

    def line(self, text):
        self.body.append("    " + text)

    def value(self, text):
        self.count += 1
        self.line("%%v%d = %s" % (self.count, text))
        return "%%v%d" % self.count

    def constant(self, n, type="i32"):
        return self.value("llvm.mlir.constant(%s : %s) : %s" % (n, type, type))

    def input(self, name, data):
        self.bindings.append("in=%s:%s.bin" % (name, name))
        self.files[name + ".bin"] = data
        return name

    def output(self, name, data):
        self.bindings.append("poison=%s:%d expect=%s:%s.expected" % (name, len(data), name, name))
        self.files[name + ".expected"] = data
        return name

    def inout(self, name, data, expected):
        self.bindings.append("in=%s:%s.bin expect=%s:%s.expected" % (name, name, name, name))
        self.files[name + ".bin"], self.files[name + ".expected"] = data, expected
        return name

    def at(self, base, index, type="i32", space=1):
        return self.value("llvm.getelementptr %s[%s] : (!llvm.ptr<%d>, i32) -> !llvm.ptr<%d>, %s"
                          % (base if base[0] == "%" else "%" + base, index, space, space, type))

    def load(self, base, index, type="i32", space=1, alignment=None):
        return self.value("llvm.load %s %s: !llvm.ptr<%d> -> %s"
                          % (self.at(base, index, type, space), "{alignment = %d : i64} " % alignment if alignment else "", space, type))

    def store(self, value, base, index, type="i32", space=1, alignment=None):
        self.line("llvm.store %s, %s %s: %s, !llvm.ptr<%d>"
                  % (value, self.at(base, index, type, space), "{alignment = %d : i64} " % alignment if alignment else "", type, space))

    def op(self, name, a, b, type="i32"):
        return self.value("llvm.%s %s, %s : %s" % (name, a, b, type))

    def shared_address(self, name="sm"):
        return self.value("llvm.mlir.addressof @%s : !llvm.ptr<3>" % name)

    def barrier(self):
        self.line("nvvm.barrier0")

    def write(self, folder):
        os.makedirs(folder, exist_ok=True)
        for name, data in self.files.items():
            with open(os.path.join(folder, name), "wb") as out:
                out.write(data)
        names = [b.split("=")[1].split(":")[0] for b in self.bindings]
        parameters = ", ".join("%%%s: !llvm.ptr<1> {llvm.align = 16 : i64}" % n for n in names)
        block = list(self.block) + [1] * (3 - len(self.block))
        with open(os.path.join(folder, "kernel.mlir"), "w") as out:
            out.write("gpu.module @ops {\n%s  llvm.func @k(%s) attributes {gpu.kernel, nvvm.kernel, nvvm.reqntid = array<i32: %s>} {\n"
                      % (self.globals, parameters, ", ".join(map(str, block))))
            out.write("\n".join(self.body) + "\n    llvm.return\n  }\n}\n")
        with open(os.path.join(folder, "launch.txt"), "w") as out:
            out.write("kernel=k\ngrid=%s\nblock=%s\nshared=%d\n%s\n"
                      % (",".join(map(str, self.grid)), ",".join(map(str, self.block)), self.shared, "\n".join(self.bindings)))


CASES = {}


def case(f):
    CASES[f.__name__] = f
    return f


def shared_global(bytes, name="sm"):
    return '  llvm.mlir.global internal @%s() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<%d x i8>\n' % (name, bytes)


DYNAMIC = '  llvm.mlir.global external @sm() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<0 x i8>\n'


@case
def registers():
    block, grid = (8, 4, 2), (3, 2, 2)
    c = Case(block, grid)
    names = ["tid.x", "tid.y", "tid.z", "ntid.x", "ntid.y", "ntid.z", "ctaid.x", "ctaid.y", "ctaid.z", "nctaid.x", "nctaid.y", "nctaid.z",
             "laneid", "warpsize", "lanemask.eq", "lanemask.lt", "lanemask.le", "lanemask.gt", "lanemask.ge"]
    r = {n: c.value("nvvm.read.ptx.sreg.%s : i32" % n) for n in names}
    thread = r["tid.z"]
    for axis in "yx":
        thread = c.op("add", c.op("mul", thread, r["ntid." + axis]), r["tid." + axis])
    blockIndex = r["ctaid.z"]
    for axis in "yx":
        blockIndex = c.op("add", c.op("mul", blockIndex, r["nctaid." + axis]), r["ctaid." + axis])
    base = c.op("mul", c.op("add", c.op("mul", blockIndex, c.constant(64)), thread), c.constant(len(names)))
    for i, n in enumerate(names):
        c.store(r[n], "y", c.op("add", base, c.constant(i)))
    expected = []
    for z in range(grid[2]):
        for y in range(grid[1]):
            for x in range(grid[0]):
                for t in range(64):
                    lane = t % 32
                    expected += [t % 8, t // 8 % 4, t // 32, *block, x, y, z, *grid, lane, 32, 1 << lane, (1 << lane) - 1,
                                 (2 << lane) - 1, ~((2 << lane) - 1), ~((1 << lane) - 1)]
    c.output("y", words(expected))
    return c


def shuffle_source(kind, lane, by, clamp, segment):
    by &= 31
    last, first = (lane & segment) | (clamp & ~segment & 31), lane & segment
    source = {"bfly": lane ^ by, "up": lane - by, "down": lane + by, "idx": first | (by & ~segment & 31)}[kind]
    inside = source >= last if kind == "up" else source <= last
    return (source, 1) if inside else (lane, 0)


@case
def shuffle():
    c = Case()
    random.seed(1)
    x = [random.getrandbits(32) for _ in range(32)]
    c.input("x", words(x))
    v, expected = c.load("x", "%tid"), [[] for _ in range(32)]
    mask, slots = c.constant(-1), 0
    for kind, clamp, segment in [("bfly", 31, 0), ("up", 0, 0), ("down", 31, 0), ("idx", 31, 0), ("bfly", 31, 24), ("down", 31, 16),
                                 ("up", 0, 28), ("idx", 31, 24)]:
        for by in [0, 1, 5, 16, 31]:
            r = c.value("nvvm.shfl.sync %s %s, %s, %s, %s {return_value_and_is_valid} : i32 -> !llvm.struct<(i32, i1)>"
                        % (kind, mask, v, c.constant(by), c.constant(segment << 8 | clamp)))
            value = c.value("llvm.extractvalue %s[0] : !llvm.struct<(i32, i1)>" % r)
            valid = c.value("llvm.zext %s : i1 to i32" % c.value("llvm.extractvalue %s[1] : !llvm.struct<(i32, i1)>" % r))
            for lane in range(32):
                source, inside = shuffle_source(kind, lane, by, clamp, segment)
                expected[lane] += [x[source], inside]
            for value in (value, valid):
                c.store(value, "y", c.op("add", c.op("mul", c.constant(32), c.constant(slots)), "%tid"))
                slots += 1
    c.output("y", words([expected[lane][s] for s in range(slots) for lane in range(32)]))
    return c


@case
def shuffle_f32():
    c = Case()
    c.input("x", floats([i * 0.5 for i in range(32)]))
    v = c.load("x", "%tid", "f32")
    for by in (16, 8, 4, 2, 1):
        o = c.value("nvvm.shfl.sync bfly %s, %s, %s, %s : f32 -> f32" % (c.constant(-1), v, c.constant(by), c.constant(31)))
        v = c.op("fadd", v, o, "f32")
    c.store(v, "y", "%tid", "f32")
    c.output("y", floats([31 * 16 * 0.5] * 32))
    return c


@case
def shuffle_masked():
    """Two halves of a warp shuffle apart, each with its own mask."""
    c = Case()
    low = c.value("llvm.icmp \"ult\" %%tid, %s : i32" % c.constant(16))
    mask = c.value("llvm.select %s, %s, %s : i1, i32" % (low, c.constant(0xFFFF), c.constant(-65536)))
    r = c.value("nvvm.shfl.sync bfly %s, %%tid, %s, %s : i32 -> i32" % (mask, c.constant(3), c.constant(31)))
    c.store(r, "y", "%tid")
    c.output("y", words([l ^ 3 for l in range(32)]))
    return c


@case
def vote():
    c = Case()
    kinds = [("any", lambda b: int(b != 0)), ("all", lambda b: int(b == 0xFFFFFFFF)), ("uni", lambda b: int(b in (0, 0xFFFFFFFF))),
             ("ballot", lambda b: b)]
    expected = []
    for bound in (0, 1, 13, 32):
        p = c.value("llvm.icmp \"ult\" %%tid, %s : i32" % c.constant(bound))
        ballot = (1 << bound) - 1
        for kind, f in kinds:
            type = "i32" if kind == "ballot" else "i1"
            r = c.value("nvvm.vote.sync %s %s, %s -> %s" % (kind, c.constant(-1), p, type))
            if type == "i1":
                r = c.value("llvm.zext %s : i1 to i32" % r)
            c.store(r, "y", c.op("add", c.constant(32 * (len(expected) // 32)), "%tid"))
            expected += [f(ballot)] * 32
    c.output("y", words(expected))
    return c


@case
def match():
    c = Case()
    key = c.op("and", "%tid", c.constant(5))
    any_ = c.value("nvvm.match.sync any %s, %s : i32 -> i32" % (c.constant(-1), key))
    c.store(any_, "y", "%tid")
    expected = [sum(1 << o for o in range(32) if o & 5 == l & 5) for l in range(32)]
    for n, (value, equal) in enumerate([(key, 0), (c.constant(7), 1)]):
        r = c.value("nvvm.match.sync all %s, %s : i32 -> !llvm.struct<(i32, i1)>" % (c.constant(-1), value))
        m = c.value("llvm.extractvalue %s[0] : !llvm.struct<(i32, i1)>" % r)
        p = c.value("llvm.zext %s : i1 to i32" % c.value("llvm.extractvalue %s[1] : !llvm.struct<(i32, i1)>" % r))
        c.store(m, "y", c.op("add", c.constant(32 + 64 * n), "%tid"))
        c.store(p, "y", c.op("add", c.constant(64 + 64 * n), "%tid"))
        expected += [0xFFFFFFFF * equal] * 32 + [equal] * 32
    c.output("y", words(expected))
    return c


@case
def redux():
    c = Case()
    random.seed(2)
    x = [random.getrandbits(32) for _ in range(32)]
    c.input("x", words(x))
    v = c.load("x", "%tid")
    signed = [n - (1 << 32) if n >> 31 else n for n in x]
    results = {"add": sum(x), "max": max(signed), "min": min(signed), "umax": max(x), "umin": min(x)}
    results["and"] = results["or"] = results["xor"] = 0
    results["and"] = 0xFFFFFFFF
    for n in x:
        results["and"] &= n
        results["or"] |= n
        results["xor"] ^= n
    expected = []
    for kind in results:
        r = c.value("nvvm.redux.sync %s %s, %s : i32 -> i32" % (kind, v, c.constant(-1)))
        c.store(r, "y", c.op("add", c.constant(len(expected)), "%tid"))
        expected += [results[kind]] * 32
    c.output("y", words(expected))
    return c


@case
def elect():
    """Which lane it is, is not specified: that it is one, is."""
    c = Case()
    p = c.value("nvvm.elect.sync -> i1")
    b = c.value("nvvm.vote.sync ballot %s, %s -> i32" % (c.constant(-1), p))
    c.store(c.value("llvm.intr.ctpop(%s) : (i32) -> i32" % b), "y", "%tid")
    c.output("y", words([1] * 32))
    return c


def exchange(sync, block=32):
    """Every thread leaves its number in shared memory and takes that of the thread at the other end."""
    c = Case((block,), globals=shared_global(4 * block))
    s = c.shared_address()
    c.store("%tid", s, "%tid", space=3)
    sync(c)
    c.store(c.load(s, c.op("sub", c.constant(block - 1), "%tid"), space=3), "y", "%tid")
    c.output("y", words(list(reversed(range(block)))))
    return c


@case
def barrier0():
    return exchange(lambda c: c.line("nvvm.barrier0"), 160)


@case
def barrier_id():
    return exchange(lambda c: c.line("nvvm.barrier id = %s number_of_threads = %s" % (c.constant(3), c.constant(96))), 96)


@case
def bar_warp_sync():
    return exchange(lambda c: c.line("nvvm.bar.warp.sync %s : i32" % c.constant(-1)))


@case
def bar_warp_sync_masked():
    """The halves of a warp exchange apart."""
    c = Case((32,), globals=shared_global(128))
    s = c.shared_address()
    c.store("%tid", s, "%tid", space=3)
    low = c.value("llvm.icmp \"ult\" %%tid, %s : i32" % c.constant(16))
    mask = c.value("llvm.select %s, %s, %s : i1, i32" % (low, c.constant(0xFFFF), c.constant(-65536)))
    c.line("nvvm.bar.warp.sync %s : i32" % mask)
    c.store(c.load(s, c.op("xor", c.constant(15), "%tid"), space=3), "y", "%tid")
    c.output("y", words([l ^ 15 for l in range(32)]))
    return c


@case
def barrier_named():
    """Two groups of two warps, each with a barrier of its own."""
    c = Case((128,), globals=shared_global(512))
    s = c.shared_address()
    c.store("%tid", s, "%tid", space=3)
    group = c.op("lshr", "%tid", c.constant(6))
    c.line("nvvm.barrier id = %s number_of_threads = %s" % (c.op("add", group, c.constant(1)), c.constant(64)))
    c.store(c.load(s, c.op("xor", c.constant(63), "%tid"), space=3), "y", "%tid")
    c.output("y", words([t ^ 63 for t in range(128)]))
    return c


@case
def barrier_arrive():
    """The first warp produces and does not wait; the second one waits and consumes."""
    c = Case((64,), globals=shared_global(128))
    s = c.shared_address()
    producer = c.value("llvm.icmp \"ult\" %%tid, %s : i32" % c.constant(32))
    one, all_ = c.constant(1), c.constant(64)
    lane = c.op("and", "%tid", c.constant(31))
    other = c.op("xor", lane, c.constant(31))
    c.line("llvm.cond_br %s, ^produce, ^consume" % producer)
    c.body.append("  ^produce:")
    c.store("%tid", s, lane, space=3)
    c.line("nvvm.barrier.arrive id = %s number_of_threads = %s" % (one, all_))
    c.line("llvm.br ^end")
    c.body.append("  ^consume:")
    c.line("nvvm.barrier id = %s number_of_threads = %s" % (one, all_))
    c.store(c.load(s, other, space=3), "y", lane)
    c.line("llvm.br ^end")
    c.body.append("  ^end:")
    c.output("y", words([31 - l for l in range(32)]))
    return c


def matrix(name, count, transposed, storing):
    """8x8 matrices of halves: lane 8 j + r addresses row r of matrix j."""
    c = Case(globals=shared_global(128 * 4 + 64))
    s = c.shared_address()
    random.seed(3)
    data = [random.getrandbits(16) for _ in range(64 * count)]

    def fragment(lane, j):
        pair = []
        for h in range(2):
            r, col = (lane % 4 * 2 + h, lane // 4) if transposed else (lane // 4, lane % 4 * 2 + h)
            pair.append(data[64 * j + 8 * r + col])
        return pair[0] | pair[1] << 16

    registers = [fragment(lane, j) for lane in range(32) for j in range(count)]
    rows = words([data[2 * i] | data[2 * i + 1] << 16 for i in range(32 * count)])
    layout = "{layout = #nvvm.mma_layout<%s>, %sshape = #nvvm.ld_st_matrix_shape<m = 8, n = 8>, eltType = #nvvm.ld_st_matrix_elt_type<b16>}"
    layout %= ("col" if transposed else "row", "" if storing else "num = %d : i32, " % count)
    # Lanes beyond the matrices give no address that is used.
    row = c.op("urem", "%tid", c.constant(8 * count))
    pointer = c.at(s, c.op("mul", row, c.constant(16)), "i8", 3)
    if storing:
        c.input("x", words(registers))
        values = [c.load("x", c.op("add", c.op("mul", "%tid", c.constant(count)), c.constant(j))) for j in range(count)]
        c.line("nvvm.stmatrix %s, %s %s : !llvm.ptr<3>, %s" % (pointer, ", ".join(values), layout, ", ".join(["i32"] * count)))
        c.barrier()
        for j in range(count):
            i = c.op("add", c.constant(32 * j), "%tid")
            c.store(c.load(s, i, space=3), "y", i)
        c.output("y", rows)
        return c
    c.input("x", rows)
    for j in range(count):
        i = c.op("add", c.constant(32 * j), "%tid")
        c.store(c.load("x", i), s, i, space=3)
    c.barrier()
    type = "i32" if count == 1 else "!llvm.struct<(%s)>" % ", ".join(["i32"] * count)
    r = c.value("nvvm.ldmatrix %s %s : (!llvm.ptr<3>) -> %s" % (pointer, layout, type))
    for j in range(count):
        value = r if count == 1 else c.value("llvm.extractvalue %s[%d] : %s" % (r, j, type))
        c.store(value, "y", c.op("add", c.op("mul", "%tid", c.constant(count)), c.constant(j)))
    c.output("y", words(registers))
    return c


for count in (1, 2, 4):
    for transposed in (False, True):
        for storing in (False, True):
            name = "%smatrix_x%d%s" % ("st" if storing else "ld", count, "_trans" if transposed else "")
            CASES[name] = lambda n=name, c=count, t=transposed, s=storing: matrix(n, c, t, s)


def mma(k, type, narrow=False):
    c = Case()
    random.seed(4)
    code = bf16 if type == "bf16" else f16
    a = [[random.randint(-8, 8) for _ in range(k)] for _ in range(16)]
    b = [[random.randint(-8, 8) for _ in range(8)] for _ in range(k)]
    base = [[random.randint(-64, 64) for _ in range(8)] for _ in range(16)]
    d = [[base[r][n] + sum(a[r][i] * b[i][n] for i in range(k)) for n in range(8)] for r in range(16)]
    fa, fb, fc, fd = [], [], [], []
    for lane in range(32):
        g, t = lane // 4, lane % 4
        for i in range(k // 2):
            fa.append(code(a[g + (8 if i & 2 else 0)][2 * t + (i & 1) + (8 if i & 4 else 0)]))
        for i in range(k // 4):
            fb.append(code(b[2 * t + (i & 1) + (8 if i & 2 else 0)][g]))
        for i in range(4):
            row, col = g + (8 if i & 2 else 0), 2 * t + (i & 1)
            fc.append(base[row][col])
            fd.append(d[row][col])
    c.input("a", halves(fa))
    c.input("b", halves(fb))
    pack = (lambda v: halves([f16(x) for x in v])) if narrow else floats
    c.input("c", pack(fc))
    register = "i32" if type == "bf16" else "vector<2xf16>"

    def fragments(name, count, reg):
        return [c.load(name, c.op("add", c.op("mul", "%tid", c.constant(count)), c.constant(i)), reg, alignment=4) for i in range(count)]

    ra, rb = fragments("a", k // 4, register), fragments("b", k // 8, register)
    acc = "vector<2xf16>" if narrow else "f32"
    n = 2 if narrow else 4
    rc = fragments("c", n, acc)
    result = "!llvm.struct<(%s)>" % ", ".join([acc] * n)
    types = "multiplicandAPtxType = #nvvm.mma_type<%s>, multiplicandBPtxType = #nvvm.mma_type<%s>, " % (type, type)
    r = c.value("nvvm.mma.sync A[%s] B[%s] C[%s] {layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>, %sshape = "
                "#nvvm.shape<m = 16, n = 8, k = %d>} : (%s, %s, %s) -> %s"
                % (", ".join(ra), ", ".join(rb), ", ".join(rc), types, k, register, register, acc, result))
    for i in range(n):
        c.store(c.value("llvm.extractvalue %s[%d] : %s" % (r, i, result)), "d",
                c.op("add", c.op("mul", "%tid", c.constant(n)), c.constant(i)), acc, alignment=4)
    c.output("d", pack(fd))
    return c


for k in (8, 16):
    for type in ("f16", "bf16"):
        CASES["mma_k%d_%s" % (k, type)] = lambda k=k, t=type: mma(k, t)
    CASES["mma_k%d_f16_f16" % k] = lambda k=k: mma(k, "f16", True)


def copy_async(size, zero_fill):
    """Two groups; the first is waited for while the second is in flight."""
    c = Case((64,), globals=shared_global(64 * size, "first") + shared_global(64 * size, "second"))
    random.seed(5)
    data = bytes(random.getrandbits(8) for _ in range(128 * size))
    c.input("x", data)
    offset = c.op("mul", "%tid", c.constant(size))
    real = c.op("mul", c.op("and", "%tid", c.constant(3)), c.constant(size // 4)) if zero_fill else None
    cache = "cg" if size == 16 else "ca"
    for n, name in enumerate(["first", "second"]):
        to = c.at(c.shared_address(name), offset, "i8", 3)
        source = c.at("x", c.op("add", offset, c.constant(64 * size * n)), "i8")
        c.line("nvvm.cp.async.shared.global %s, %s, %d, cache = %s%s : !llvm.ptr<3>, !llvm.ptr<1>%s"
               % (to, source, size, cache, ", " + real if zero_fill else "", ", i32" if zero_fill else ""))
        c.line("nvvm.cp.async.commit.group")
    expected = [b""] * (2 * 64)
    for n, name in enumerate(["first", "second"]):
        c.line("nvvm.cp.async.wait.group %d" % (1 - n))
        c.barrier()
        other = c.op("mul", c.op("xor", "%tid", c.constant(63)), c.constant(size))
        for w in range(size // 4):
            v = c.load(c.at(c.shared_address(name), other, "i8", 3), c.constant(w), space=3)
            c.store(v, "y", c.op("add", c.op("mul", c.op("add", c.constant(64 * n), "%tid"), c.constant(size // 4)), c.constant(w)))
        for t in range(64):
            o = t ^ 63
            row = data[(64 * n + o) * size:][:size]
            if zero_fill:
                row = row[:(o & 3) * (size // 4)].ljust(size, b"\0")
            expected[64 * n + t] = row
    c.output("y", b"".join(expected))
    return c


for size in (4, 8, 16):
    CASES["cp_async_%d" % size] = lambda s=size: copy_async(s, False)
CASES["cp_async_16_zero_fill"] = lambda: copy_async(16, True)


def atomics(space):
    """All threads of all blocks on one word for each kind: kinds whose result does not depend on the order."""
    blocks = 1 if space == 3 else 4
    c = Case((64,), (blocks,), globals=shared_global(64))
    count = 64 * blocks
    v = c.op("add", c.op("mul", c.value("nvvm.read.ptx.sreg.ctaid.x : i32"), c.constant(64)), "%tid")
    kinds = [("add", 5, 5 + sum(range(count))), ("_and", -1, 0), ("_or", 0, count - 1), ("_xor", 1, 1), ("max", 17, count - 1),
             ("min", 17, 0), ("umax", 17, count - 1), ("umin", 17, 0), ("sub", 0, -sum(range(count)))]
    initial = [k[1] for k in kinds] + [f32bits(1.0)]
    for n in range(count):
        kinds[3] = ("_xor", 1, kinds[3][2] ^ n)
    expected = [k[2] for k in kinds] + [f32bits(1.0 + sum(range(count)))]
    base, pointer = "y", "!llvm.ptr<1>"
    if space == 3:
        base, pointer = c.shared_address(), "!llvm.ptr<3>"
        inside = c.value("llvm.icmp \"ult\" %%tid, %s : i32" % c.constant(len(initial)))
        c.line("llvm.cond_br %s, ^copy, ^start" % inside)
        c.body.append("  ^copy:")
        c.store(c.load("y", "%tid"), base, "%tid", space=3)
        c.line("llvm.br ^start")
        c.body.append("  ^start:")
        c.barrier()
    for i, (kind, _, _) in enumerate(kinds):
        c.value("llvm.atomicrmw %s %s, %s syncscope(\"%s\") monotonic : %s, i32"
                % (kind, c.at(base, c.constant(i), "i32", space), v, "block" if space == 3 else "device", pointer))
    c.value("llvm.atomicrmw fadd %s, %s monotonic : %s, f32"
            % (c.at(base, c.constant(len(kinds)), "f32", space), c.value("llvm.sitofp %s : i32 to f32" % v), pointer))
    if space == 3:
        c.barrier()
        inside = c.value("llvm.icmp \"ult\" %%tid, %s : i32" % c.constant(len(initial)))
        c.line("llvm.cond_br %s, ^back, ^end" % inside)
        c.body.append("  ^back:")
        c.store(c.load(base, "%tid", space=3), "y", "%tid")
        c.line("llvm.br ^end")
        c.body.append("  ^end:")
    c.inout("y", words(initial), words(expected))
    return c


CASES["atomics_global"] = lambda: atomics(1)
CASES["atomics_shared"] = lambda: atomics(3)


@case
def compare_exchange():
    """Who finds the zero puts its number there; a later ballot counts one winner."""
    c = Case(globals=shared_global(16))
    s = c.shared_address()
    first = c.value("llvm.icmp \"eq\" %%tid, %s : i32" % c.constant(0))
    c.line("llvm.cond_br %s, ^clear, ^start" % first)
    c.body.append("  ^clear:")
    c.store(c.constant(0), s, c.constant(0), space=3)
    c.line("llvm.br ^start")
    c.body.append("  ^start:")
    c.barrier()
    r = c.value("llvm.cmpxchg %s, %s, %s monotonic monotonic : !llvm.ptr<3>, i32"
                % (s, c.constant(0), c.op("add", "%tid", c.constant(1))))
    won = c.value("llvm.extractvalue %s[1] : !llvm.struct<(i32, i1)>" % r)
    b = c.value("nvvm.vote.sync ballot %s, %s -> i32" % (c.constant(-1), won))
    c.store(c.value("llvm.intr.ctpop(%s) : (i32) -> i32" % b), "y", "%tid")
    c.output("y", words([1] * 32))
    return c


@case
def convert_e4m3():
    """All finite codes."""
    c = Case((128,))
    codes = [n for n in range(256) if n & 0x7F != 0x7F] + [0, 0]
    c.input("x", bytes(codes))
    v = c.load("x", "%tid", "vector<2xi8>", alignment=2)
    r = c.value("nvvm.convert.f8x2.to.f16x2 %s : vector<2xi8> (f8E4M3FN) -> vector<2xf16>" % v)
    c.store(r, "y", "%tid", "vector<2xf16>", alignment=4)
    c.output("y", halves([f16(e4m3(n)) for n in codes]))
    return c


@case
def narrow_floats():
    """f32 to bf16 and f16 and back, products of bf16 pairs, fused multiply-add."""
    c = Case((64,))
    random.seed(6)
    x = [random.uniform(-1, 1) * 2.0 ** random.randint(-20, 14) for _ in range(60)] + [0.0, -0.0, 1.00390625, 1.01171875]
    x = [struct.unpack("<f", struct.pack("<f", v))[0] for v in x]
    c.input("x", floats(x))
    v = c.load("x", "%tid", "f32")
    b = c.value("llvm.fptrunc %s : f32 to bf16" % v)
    c.store(b, "b", "%tid", "bf16")
    h = c.value("llvm.fptrunc %s : f32 to f16" % v)
    c.store(h, "h", "%tid", "f16")
    wide = c.value("llvm.fpext %s : bf16 to f32" % b)
    f = c.value("llvm.intr.fma(%s, %s, %s) : (f32, f32, f32) -> f32" % (wide, wide, wide))
    c.store(f, "f", "%tid", "f32")
    undef = c.value("llvm.mlir.undef : vector<2xbf16>")
    pair = c.value("llvm.insertelement %s, %s[%s : i32] : vector<2xbf16>" % (b, undef, c.constant(0)))
    pair = c.value("llvm.insertelement %s, %s[%s : i32] : vector<2xbf16>" % (b, pair, c.constant(1)))
    product = c.op("fmul", pair, pair, "vector<2xbf16>")
    c.store(product, "p", "%tid", "vector<2xbf16>", alignment=4)

    def widen(code):
        return struct.unpack("<f", struct.pack("<I", code << 16))[0]

    c.output("b", halves([bf16(v) for v in x]))
    c.output("h", halves([f16(v) for v in x]))
    # w w + w is exact in double: a bf16 has 8 bits.
    c.output("f", floats([widen(bf16(v)) ** 2 + widen(bf16(v)) for v in x]))
    c.output("p", halves([bf16(widen(bf16(v)) ** 2) for v in x for _ in range(2)]))
    return c


@case
def vectors():
    """Loads and stores of all widths, through global, dynamic shared and generic addresses."""
    c = Case((32,), shared=512, globals=DYNAMIC)
    random.seed(7)
    data = bytes(random.getrandbits(8) for _ in range(512))
    c.input("x", data)
    s = c.shared_address()
    v = c.load("x", "%tid", "vector<4xf32>", alignment=16)
    c.store(v, s, "%tid", "vector<4xf32>", 3, 16)
    c.barrier()
    other = c.op("xor", "%tid", c.constant(31))
    generic = c.value("llvm.addrspacecast %s : !llvm.ptr<3> to !llvm.ptr" % c.at(s, other, "vector<4xf32>", 3))
    w = c.value("llvm.load %s {alignment = 16 : i64} : !llvm.ptr -> vector<8xf16>" % generic)
    c.store(w, "y", other, "vector<8xf16>", alignment=16)
    for type, size, name in [("i8", 1, "b"), ("i16", 2, "h"), ("i64", 8, "d")]:
        c.store(c.load(s, "%tid", type, 3), name, "%tid", type)
    bits = c.value("llvm.ptrtoint %s : !llvm.ptr<3> to i32" % c.at(s, other, "i32", 3))
    back = c.value("llvm.inttoptr %s : i32 to !llvm.ptr<3>" % bits)
    c.store(c.value("llvm.load %s : !llvm.ptr<3> -> i32" % back), "w", "%tid")
    c.output("y", data)
    for size, name in [(1, "b"), (2, "h"), (8, "d")]:
        c.output(name, data[:32 * size])
    c.output("w", b"".join(data[4 * (t ^ 31):][:4] for t in range(32)))
    return c


class BarrierCase(Case):
    """A kernel with barriers in shared memory, which thread 0 initialises."""

    def __init__(self, block, counts, shared, copies=False):
        super().__init__(block, globals=shared_global(8 * len(counts), "bars") + shared)
        first = self.value("llvm.icmp \"eq\" %%tid, %s : i32" % self.constant(0))
        bars = self.shared_address("bars")
        self.bars = [self.at(bars, self.constant(i), "i64", 3) for i in range(len(counts))]

        def init():
            for bar, count in zip(self.bars, counts):
                self.line("nvvm.mbarrier.init %s, %s : !llvm.ptr<3>, i32" % (bar, self.constant(count)))
            if copies:
                self.line("nvvm.fence.mbarrier.init")

        self.guarded(first, init)
        self.barrier()
        self.first = first

    def guarded(self, condition, body):
        self.count += 1
        inside, after = "^inside%d" % self.count, "^after%d" % self.count
        self.line("llvm.cond_br %s, %s, %s" % (condition, inside, after))
        self.body.append("  %s:" % inside)
        body()
        self.line("llvm.br %s" % after)
        self.body.append("  %s:" % after)

    def arrive(self, bar, suffix="", count=None, result=True):
        types = "!llvm.ptr<3>" + (", i32" if suffix == ".nocomplete" else "")
        text = "nvvm.mbarrier.arrive%s %s%s : %s" % (suffix, bar, ", " + count if count else "", types)
        return self.value(text + " -> i64") if result else self.line(text)

    def wait_parity(self, bar, parity):
        self.line("nvvm.mbarrier.try_wait.parity %s, %s, %s : !llvm.ptr<3>, i32, i32"
                  % (bar, self.constant(parity), self.constant(10000000)))

    def wait(self, bar, what, op="test.wait", type="i64"):
        """Asks until the answer is yes."""
        self.count += 1
        again, after = "^again%d" % self.count, "^after%d" % self.count
        self.line("llvm.br %s" % again)
        self.body.append("  %s:" % again)
        done = self.value("nvvm.mbarrier.%s %s, %s : !llvm.ptr<3>, %s -> i1" % (op, bar, what, type))
        self.line("llvm.cond_br %s, %s, %s" % (done, after, again))
        self.body.append("  %s:" % after)

    def copy(self, to, source, bar, bytes):
        to = self.value("llvm.addrspacecast %s : !llvm.ptr<3> to !llvm.ptr<7>" % to)
        self.line("nvvm.cp.async.bulk.shared.cluster.global %s, %s, %s, %s : !llvm.ptr<7>, !llvm.ptr<1>"
                  % (to, source, bar, self.constant(bytes)))


def mbarrier_rounds(wait):
    """64 threads exchange in three rounds, each with memory of its own; every one waits for all."""
    c = BarrierCase((64,), [64], shared_global(3 * 256))
    s = c.shared_address()
    other = c.op("xor", "%tid", c.constant(63))
    for n in range(3):
        mine, theirs = (c.op("add", c.constant(64 * n), v) for v in ("%tid", other))
        c.store(c.op("mul", "%tid", c.constant(n + 1)), s, mine, space=3)
        state = c.arrive(c.bars[0])
        if wait == "parity":
            c.wait_parity(c.bars[0], n & 1)
        elif wait.endswith("_parity"):
            c.wait(c.bars[0], c.constant(n & 1), wait[:-7], "i32")
        else:
            c.wait(c.bars[0], state, wait)
        c.store(c.load(s, theirs, space=3), "y", mine)
    c.output("y", words([(t ^ 63) * (n + 1) for n in range(3) for t in range(64)]))
    return c


for wait in ("parity", "test.wait", "try_wait", "test.wait_parity", "try_wait_parity"):
    CASES["mbarrier_" + wait.replace(".", "_")] = lambda w=wait: mbarrier_rounds(w)


@case
def mbarrier_counts():
    """Lanes of the first warp arrive without completing, and then with a count of two; those of the second one once."""
    c = BarrierCase((64,), [32 * 3 + 32], shared_global(256))
    s = c.shared_address()
    c.store("%tid", s, "%tid", space=3)
    low = c.value("llvm.icmp \"ult\" %%tid, %s : i32" % c.constant(32))

    def several():
        c.arrive(c.bars[0], ".nocomplete", c.constant(1))
        c.arrive(c.bars[0], count=c.constant(2), result=False)

    c.guarded(low, several)
    c.guarded(c.value("llvm.icmp \"uge\" %%tid, %s : i32" % c.constant(32)), lambda: c.arrive(c.bars[0], result=False))
    c.wait_parity(c.bars[0], 0)
    c.store(c.load(s, c.op("xor", "%tid", c.constant(63)), space=3), "y", "%tid")
    c.output("y", words([t ^ 63 for t in range(64)]))
    return c


@case
def mbarrier_drop():
    """The second warp leaves in the first round; the first one goes on alone."""
    c = BarrierCase((64,), [64], shared_global(512))
    s = c.shared_address()
    c.store("%tid", s, "%tid", space=3)
    low = c.value("llvm.icmp \"ult\" %%tid, %s : i32" % c.constant(32))
    high = c.value("llvm.icmp \"uge\" %%tid, %s : i32" % c.constant(32))
    c.guarded(high, lambda: c.arrive(c.bars[0], "_drop", result=False))

    def alone():
        c.arrive(c.bars[0], result=False)
        c.wait_parity(c.bars[0], 0)
        v = c.load(s, c.op("xor", "%tid", c.constant(63)), space=3)
        c.store(v, s, c.op("add", c.constant(64), "%tid"), space=3)
        c.arrive(c.bars[0], result=False)
        c.wait_parity(c.bars[0], 1)
        c.store(c.load(s, c.op("xor", "%tid", c.constant(64 + 31)), space=3), "y", "%tid")

    c.guarded(low, alone)
    c.output("y", words([t ^ 31 ^ 63 for t in range(32)]))
    return c


@case
def mbarrier_inval():
    """The memory of a barrier becomes memory again, and then another barrier."""
    c = BarrierCase((32,), [32], shared_global(16))
    c.arrive(c.bars[0], result=False)
    c.wait_parity(c.bars[0], 0)
    c.barrier()
    c.guarded(c.first, lambda: c.line("nvvm.mbarrier.inval %s : !llvm.ptr<3>" % c.bars[0]))
    c.barrier()
    c.guarded(c.first, lambda: c.store(c.constant(77), c.bars[0], c.constant(0), space=3))
    c.barrier()
    c.store(c.load(c.bars[0], c.constant(0), space=3), "y", "%tid")
    c.barrier()
    c.guarded(c.first, lambda: c.line("nvvm.mbarrier.init %s, %s : !llvm.ptr<3>, i32" % (c.bars[0], c.constant(32))))
    c.barrier()
    c.arrive(c.bars[0], result=False)
    c.wait_parity(c.bars[0], 0)
    c.output("y", words([77] * 32))
    return c


@case
def bulk_copy():
    """Two copies on one barrier, announced with the arrival, and one on another, announced before."""
    c = BarrierCase((64,), [1, 1], shared_global(1024 + 48 + 16, "to"), copies=True)
    random.seed(8)
    data = bytes(random.getrandbits(8) for _ in range(2048))
    c.input("x", data)
    to = c.shared_address("to")

    def start():
        c.line("nvvm.mbarrier.arrive.expect_tx %s, %s : !llvm.ptr<3>, i32" % (c.bars[0], c.constant(1024 + 48)))
        c.copy(to, c.at("x", c.constant(0), "i8"), c.bars[0], 1024)
        c.copy(c.at(to, c.constant(1024), "i8", 3), c.at("x", c.constant(1040), "i8"), c.bars[0], 48)
        c.line("nvvm.mbarrier.expect_tx %s, %s : !llvm.ptr<3>, i32" % (c.bars[1], c.constant(16)))
        c.copy(c.at(to, c.constant(1072), "i8", 3), c.at("x", c.constant(2032), "i8"), c.bars[1], 16)
        c.arrive(c.bars[1], result=False)

    c.guarded(c.first, start)
    c.wait_parity(c.bars[1], 0)
    c.wait_parity(c.bars[0], 0)
    for n in range(5):
        i = c.op("add", c.constant(64 * n), "%tid")
        inside = c.value("llvm.icmp \"ult\" %s, %s : i32" % (i, c.constant(272)))
        c.guarded(inside, lambda: c.store(c.load(to, i, space=3), "y", i))
    c.output("y", data[:1024] + data[1040:1088] + data[2032:])
    return c


@case
def bulk_ring():
    """One warp copies tiles into two buffers, two warps read them; barriers tell which is full and which is empty."""
    tiles, tile = 6, 256
    c = BarrierCase((96,), [1, 1, 64, 64], shared_global(2 * tile, "to"), copies=True)
    random.seed(9)
    data = bytes(random.getrandbits(8) for _ in range(tiles * tile))
    c.input("x", data)
    to = c.shared_address("to")
    consumer = c.value("llvm.icmp \"ult\" %%tid, %s : i32" % c.constant(64))

    def produce():
        for n in range(tiles):
            full, empty = c.bars[n % 2], c.bars[2 + n % 2]
            if n >= 2:
                c.wait_parity(empty, (n // 2 - 1) & 1)
            c.line("nvvm.mbarrier.arrive.expect_tx %s, %s : !llvm.ptr<3>, i32" % (full, c.constant(tile)))
            c.copy(c.at(to, c.constant(n % 2 * tile), "i8", 3), c.at("x", c.constant(n * tile), "i8"), full, tile)

    def consume():
        for n in range(tiles):
            full, empty = c.bars[n % 2], c.bars[2 + n % 2]
            c.wait_parity(full, n // 2 & 1)
            v = c.load(to, c.op("add", c.constant(n % 2 * 64), c.op("xor", "%tid", c.constant(63))), space=3)
            c.arrive(empty, result=False)
            c.store(v, "y", c.op("add", c.constant(64 * n), "%tid"))

    c.guarded(c.value("llvm.icmp \"eq\" %%tid, %s : i32" % c.constant(64)), produce)
    c.guarded(consumer, consume)
    c.output("y", b"".join(data[n * tile + 4 * (t ^ 63):][:4] for n in range(tiles) for t in range(64)))
    return c



if __name__ == "__main__":
    if sys.argv[1] == "names":
        print("\n".join(CASES))
        sys.exit()
    if sys.argv[1] == "pack":
        for name, make in CASES.items():
            folder = os.path.join(sys.argv[2], name)
            shutil.rmtree(folder, ignore_errors=True)
            make().write(folder)
            image = ["-o", os.path.join(folder, "k.elf")] if len(sys.argv) > 4 else []
            done = subprocess.run(["emu-compile", os.path.join(folder, "kernel.mlir"), "--ptx=" + os.path.join(folder, "kernel.ptx"),
                                   "--chip=" + sys.argv[3], *image], capture_output=True, text=True, env={**os.environ, "V4_PTXAS": ""})
            if done.returncode:
                # Only for want of the instruction: anything else is a fault.
                reason = [line for line in done.stderr.splitlines() if "needs sm_" in line]
                if not reason:
                    sys.exit("%s: %s" % (name, done.stderr))
                print("left out %s: %s" % (name, reason[0].split("error: ")[-1]))
                shutil.rmtree(folder)
        sys.exit()
    name, folder = sys.argv[2], sys.argv[3]
    shutil.rmtree(folder, ignore_errors=True)
    CASES[name]().write(folder)
    if sys.argv[1] == "run":
        image = os.path.join(folder, "k.elf")
        subprocess.run(["emu-compile", os.path.join(folder, "kernel.mlir"), "-o", image], check=True)
        for seed in range(3):
            subprocess.run(["kernel-run", image, "@" + os.path.join(folder, "launch.txt"), "--seed=%d" % seed], check=True)
