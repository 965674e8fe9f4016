#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a context of 1,048,576 positions costs: one CSA layer at the dimensions of Flash, in f32 mode.

scripts/long_context.py [--folder=DIR] [--threads=N] [--v4c='--plan=..']

1. scripts/check_plain.py on the last four positions, from a state by formula: the decode step selects 512 of 262,144
   entries and equals the plain decomposition.
2. The peak memory of that run, beside checkpoint, state and arena.
3. Decode steps at position 4,000 in this module and in one for 8,192 positions, in turns: the medians, and the arenas.

Prints each figure with its bound. Exit codes: 0 all kept, 1 a step failed, 4 a bound is missed. Tools are taken from build/bin.
"""
import argparse
import array
import ctypes
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("V4_BUILD", os.path.join(ROOT, "build"))
LONG, SHORT, PAIRS, POSITION = 1048576, 8192, 21, 4000
missed = []


def figure(what, value, bound):
    print(f"{what:60} {value:8.3f}  at most {bound}{'' if value <= bound else '  MISSED'}", flush=True)
    if not value <= bound:
        missed.append(what)


def run(*command, **options):
    result = subprocess.run(command, **options)
    if result.returncode:
        print(result.stdout or "", result.stderr or "", file=sys.stderr)
        print(f"long_context.py: error: {command[0]} ended with exit code {result.returncode}", file=sys.stderr)
        sys.exit(4 if result.returncode == 4 else 1)
    return result


class Options(ctypes.Structure):  # v4_session_options
    _fields_ = [("size", ctypes.c_size_t), ("threads", ctypes.c_uint32), ("chunk", ctypes.c_uint32),
                ("flags", ctypes.c_uint32), ("taps", ctypes.c_void_p), ("num_taps", ctypes.c_size_t),
                ("observer", ctypes.c_void_p)]


SOURCE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_size_t,
                          ctypes.POINTER(ctypes.c_float))
NUMBERS = array.array("f", (random.Random(1).uniform(-1, 1) for _ in range(1 << 16)))


@SOURCE
def random_state(_, name, first, count, out):
    base = NUMBERS.buffer_info()[0]
    for begin in range(0, count, len(NUMBERS)):
        part = min(len(NUMBERS), count - begin)
        ctypes.memmove(ctypes.addressof(out.contents) + 4 * begin, base, 4 * part)


class Session:
    """A module and its weights through libv4."""

    def __init__(self, library, module, weights, threads):
        self.library = library
        self.module, self.weights, self.session = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
        self.call("v4_module_load", module.encode(), None, ctypes.byref(self.module))
        self.call("v4_weights_load", self.module, weights.encode(), None, ctypes.byref(self.weights))
        options = Options(ctypes.sizeof(Options), threads, 0, 0, None, 0, None)
        self.call("v4_session_create", self.module, self.weights, ctypes.byref(options), ctypes.byref(self.session))

    def call(self, name, *arguments):
        function = getattr(self.library, name)
        function.restype = ctypes.c_void_p
        if status := function(*arguments):
            message = self.library.v4_status_message
            message.restype = ctypes.c_char_p
            print(f"long_context.py: error: {name}: {message(ctypes.c_void_p(status)).decode()}", file=sys.stderr)
            sys.exit(1)

    def fill(self, position):
        self.call("v4_session_fill", self.session, ctypes.c_uint32(0), ctypes.c_uint64(position), random_state, None)

    def step(self, token):
        begin = time.perf_counter()
        self.call("v4_session_append", self.session, ctypes.c_uint32(0), ctypes.byref(ctypes.c_int32(token)), ctypes.c_size_t(1))
        return time.perf_counter() - begin


def arena(module):
    """Bytes of the largest arena of a module's entries."""
    dump = json.loads(run("v4-dump", module, "--json", capture_output=True, text=True).stdout)
    return max(entry["arena_bytes"] for entry in dump["targets"][0]["entries"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="work here and leave the files (default: a temporary folder)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--v4c", default="", help="more options of v4c")
    arguments = parser.parse_args()
    os.environ["PATH"] = os.path.join(BUILD, "bin") + os.pathsep + os.environ["PATH"]
    folder = arguments.folder or tempfile.mkdtemp(prefix="long-context-")
    os.makedirs(folder, exist_ok=True)
    try:
        measure(arguments, folder)
    finally:
        if not arguments.folder:
            shutil.rmtree(folder)
    sys.exit(4 if missed else 0)


def measure(arguments, folder):
    config = json.load(open(os.path.join(ROOT, "test/configs/flash-one-of-each.json")))
    config.update(num_hidden_layers=1, num_hash_layers=0, compress_ratios=[4, 0])
    path, checkpoint = os.path.join(folder, "config.json"), os.path.join(folder, "checkpoint")
    json.dump(config, open(path, "w"))

    run(sys.executable, os.path.join(ROOT, "scripts/check_plain.py"), path, f"--folder={folder}", "--prompt=1",
        f"--position={LONG - 4}", f"--max-context={LONG}", "--prefill=16", f"--v4c={arguments.v4c}")

    module = os.path.join(folder, "tuned.v4m")
    # A child of its own, whose peak is not mixed with the others'.
    script = ("import resource, subprocess, sys; r = subprocess.run(sys.argv[1:], capture_output=True, text=True);"
              "print(r.stderr, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024); sys.exit(r.returncode)")
    text = run(sys.executable, "-c", script, "v4-run", module, f"--case={folder}", f"--threads={arguments.threads}",
               capture_output=True, text=True).stdout
    state, scratch = (int(re.search(rf"^{name}: (\d+) bytes", text, re.M)[1]) for name in ("state", "arena"))
    weights = sum(os.path.getsize(os.path.join(checkpoint, name)) for name in os.listdir(checkpoint))
    peak = int(text.split()[-1])
    print(f"peak memory {peak}, checkpoint {weights}, state {state}, arena {scratch} bytes")
    figure("peak memory / (checkpoint + state + arena)", peak / (weights + state + scratch), 1.05)

    options = ["--numerics=f32", "--prefill=16", *arguments.v4c.split()]
    modules = {}
    for context in LONG, SHORT:
        modules[context] = os.path.join(folder, f"{context}.v4m")
        run("v4c", checkpoint, *options, f"--max-context={context}", "-o", modules[context])
    figure(f"arena for {LONG} / arena for {SHORT} positions", arena(modules[LONG]) / arena(modules[SHORT]), 1.1)

    library = ctypes.CDLL(os.path.join(BUILD, "lib/libv4.so"))
    sessions = {context: Session(library, modules[context], checkpoint, arguments.threads) for context in modules}
    times = {context: [] for context in modules}
    for session in sessions.values():
        session.fill(POSITION - PAIRS)
    for pair in range(PAIRS):
        order = (LONG, SHORT) if pair % 2 else (SHORT, LONG)
        for context in order:
            times[context].append(sessions[context].step(pair))
    medians = {context: statistics.median(values[1:]) for context, values in times.items()}
    ratios = [a / b for a, b in zip(times[LONG][1:], times[SHORT][1:])]
    print(f"decode at {POSITION}: {medians[LONG] * 1e3:.3f} ms and {medians[SHORT] * 1e3:.3f} ms, medians of {PAIRS - 1}")
    figure(f"decode time in a module for {LONG} / for {SHORT}, median of pairs", statistics.median(ratios), 1.05)


if __name__ == "__main__":
    main()
