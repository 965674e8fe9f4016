#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares the speed of a compiled model with the same model in torch on the CPU, side by side in one run.

scripts/compare_torch.py test/configs/flash-one-of-each.json [--numerics=f32] [--threads=2] [--context=4000]

First the torch model (scripts/torch_model.py) must reproduce logits of golden cases in fp32. Then v4-bench and torch, eager
and compiled, take turns: decode steps behind a context, and a prefill of 512 tokens. The weights of torch are widened
before anything is timed, to fp32 for --numerics=f32 and to bf16 otherwise; caches are cold before every step, as in
v4-bench. Needs torch and numpy; torch.compile a C++ compiler. Tools are taken from build/bin, golden cases from build/test.
Exit codes: 0 done, 1 a step failed, 3 torch or numpy is missing, 4 the torch model is wrong.
"""
import argparse
import copy
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CASES = ("layer-swa", "layer-csa", "layer-hca", "quantised", "tiny-bf16")
BOUND = 2e-5  # of the golden cases in f32 mode


def fail(message, code=1):
    print("compare_torch.py: error:", message, file=sys.stderr)
    sys.exit(code)


try:
    import torch
    import numpy
except (ImportError, OSError) as error:
    fail(f"{error}. This script needs torch and numpy: python3 -m venv V && V/bin/pip install torch numpy", 3)
from torch_model import Model  # noqa: E402


def check_case(folder):
    """Largest difference from the golden logits, in units of the largest."""
    case = json.load(open(os.path.join(folder, "case.json")))
    want = torch.from_numpy(numpy.load(os.path.join(folder, "logits_f32.npy")))
    model = Model(os.path.join(folder, "checkpoint"), torch.float32, want.shape[0])
    model.start()
    rows = [model.append(torch.tensor(case["prompt"]), last_only=False)]
    for token in case["generated"]:
        rows.append(model.append(torch.tensor([token])))
    got = torch.cat(rows)
    assert got.shape == want.shape
    return ((got - want).abs().max() / want.abs().max()).item()


class TorchBench:
    """Times of one torch model."""

    def __init__(self, model, context, rows):
        self.model, self.context, self.rows = model, context, rows
        self.vocabulary = model.config["vocab_size"]
        # As much as v4-bench reads between two steps: twice the largest cache, at least.
        self.flush = torch.ones(largest_cache() * 2 // 4)
        self.generator = torch.Generator().manual_seed(1)

    def tokens(self, count):
        return torch.randint(self.vocabulary, (count,), generator=self.generator)

    def time(self, action):
        self.flush.sum()
        begin = time.perf_counter()
        logits = action()
        seconds = time.perf_counter() - begin
        if not logits.isfinite().all():
            fail("the logits of torch are not finite")
        return seconds

    def decode(self, warm, steps):
        span = warm + steps
        self.model.start(lambda shape: 2 * torch.rand(shape, generator=self.generator) - 1, self.context - span)
        times = [self.time(lambda: self.model.append(self.tokens(1))) for _ in range(span)]
        return times[warm:]

    def prefill(self, warm, steps):
        def step():
            self.model.start()
            return self.time(lambda: self.model.append(self.tokens(self.rows)))
        return [step() for _ in range(warm + steps)][warm:]


def largest_cache():
    sizes = []
    folder = "/sys/devices/system/cpu/cpu0/cache"
    for index in os.listdir(folder) if os.path.isdir(folder) else []:
        try:
            sizes.append(int(open(os.path.join(folder, index, "size")).read().strip().removesuffix("K")) << 10)
        except (OSError, ValueError):
            pass
    return max(sizes, default=32 << 20)


def compile_layers(model):
    """torch.compile of what has no data-dependent control flow, and of the rest as far as it goes."""
    torch._dynamo.config.recompile_limit = 256
    for layer in model.layers:
        for name in ("mix", "blend", "project", "project_out", "attend", "index_scores", "route", "expert"):
            setattr(layer, name, torch.compile(getattr(layer, name), dynamic=None))
    model.logits = torch.compile(model.logits)


def run(command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        fail(f"'{' '.join(command)}' ended with exit code {result.returncode}\n{result.stderr}")
    return result.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config.json of the model")
    parser.add_argument("--numerics", default="f32", help="of the compiled module (default f32)")
    parser.add_argument("--v4c", default="", help="more options of v4c")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--context", type=int, default=4000)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=2, help="turns of v4-bench and torch")
    parser.add_argument("--eager-only", action="store_true", help="leave torch.compile out")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)

    build = os.environ.get("V4_BUILD", os.path.join(ROOT, "build"))
    os.environ["PATH"] = os.path.join(build, "bin") + os.pathsep + os.environ["PATH"]
    for name in CASES:
        difference = check_case(os.path.join(build, "test/golden", name))
        print(f"torch on golden case {name}: largest difference {difference:.2g} (bound {BOUND})", flush=True)
        if not difference <= BOUND:
            fail(f"the torch model is wrong on golden case {name}", 4)

    folder = tempfile.mkdtemp(prefix="compare-torch-")
    try:
        compare(arguments, folder)
    finally:
        shutil.rmtree(folder)


def compare(arguments, folder):
    checkpoint, module = os.path.join(folder, "checkpoint"), os.path.join(folder, "m.v4m")
    run(["v4-synth", f"--config={arguments.config}", "--format=fp4", "--seed=1", "-o", checkpoint])
    run(["v4c", checkpoint, f"--numerics={arguments.numerics}", f"--prefill=16,{arguments.prefill}", *arguments.v4c.split(),
         "-o", module])
    dtype = torch.float32 if arguments.numerics == "f32" else torch.bfloat16
    models = {"eager": Model(checkpoint, dtype, arguments.context)}
    if not arguments.eager_only:
        # The same weights; only the methods of its layers are compiled.
        models["compiled"] = clone(models["eager"])
        compile_layers(models["compiled"])
    benches = {name: TorchBench(model, arguments.context, arguments.prefill) for name, model in models.items()}
    for name, bench in benches.items():  # compilation
        begin = time.perf_counter()
        bench.decode(0, 8)
        bench.prefill(0, 2)
        print(f"torch {name}: warm after {time.perf_counter() - begin:.1f} s", flush=True)

    times = {}  # (what, who) -> seconds
    for _ in range(arguments.rounds):
        figures = json.loads(run(["v4-bench", module, f"--weights={checkpoint}", f"--contexts={arguments.context}",
                                  f"--threads={arguments.threads}", "--json"]))
        for entry in figures["entries"]:
            what = "decode" if entry["name"] == "decode" else "prefill"
            times.setdefault((what, "v4c"), []).append(entry["seconds"])
        for name, bench in benches.items():
            times.setdefault(("decode", "torch " + name), []).append(statistics.median(bench.decode(2, 9)))
            times.setdefault(("prefill", "torch " + name), []).append(statistics.median(bench.prefill(0, 3)))

    print(f"\n{arguments.config}, v4c --numerics={arguments.numerics}, torch {torch.__version__} in {dtype}, "
          f"{arguments.threads} threads; medians of {arguments.rounds} turns")
    for what, tokens in (("decode", 1), ("prefill", arguments.prefill)):
        mine = statistics.median(times[what, "v4c"])
        others = {who: statistics.median(values) for (kind, who), values in times.items() if kind == what}
        title = f"decode at {arguments.context}" if tokens == 1 else f"prefill of {tokens}"
        for who, seconds in others.items():
            print(f"{title:16} {who:16} {seconds * 1e3:10.2f} ms {tokens / seconds:10.2f} tokens/s")
        fastest = min(seconds for who, seconds in others.items() if who != "v4c")
        print(f"{title:16} v4c is {fastest / mine:.2f} times as fast as the faster torch")


def clone(model):
    other = copy.copy(model)
    other.layers = [copy.copy(layer) for layer in model.layers]
    for layer in other.layers:
        for name in ("compressor", "index_compressor"):
            if hasattr(layer, name):
                part = copy.copy(getattr(layer, name))
                part.layer = layer
                setattr(layer, name, part)
    return other


if __name__ == "__main__":
    main()
