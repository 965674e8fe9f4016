# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs emu-mutate on the kernels of Inputs/mutants, on kernels of ops.py and on templates; prints a table of what was caught.

    mutants.py FOLDER short     two mutants of every kind of some kernels
    mutants.py FOLDER all       every mutant of the small kernels, ten of every kind of the large ones
    ... NAME...                 of these kernels alone, with an exit code as for all

Exit code 1 when of a kernel less than 95 % are caught, 2 when there are fewer than 60 mutants in all, or too few of a
kind of bug: one in `short`, five in `all`.
"""
import collections
import os
import re
import subprocess
import sys

folder, form, *names = sys.argv[1:]
here = os.path.dirname(os.path.abspath(__file__))
launches = os.path.join(here, "..", "..", "lowering", "nvptx", "Inputs")
# Dialects of the kernels, which upstream's conversion wants to know, and their launches.
OWN = {
    "normalise": ("arith,cf,memref,vector", "grid=3 block=128 random=x:f32:3072 poison=y:12288"),
    "select": ("arith,cf,memref,math", "grid=2 block=128 random=keys:below256:256 poison=list:1032"),
    "ring": ("arith,cf,memref,vector", "block=64 random=a:f16:2560 random=b:f16:2560 poison=d:1024"),
    "handover": ("arith,cf,memref", "block=64 iota=x:256 poison=y:1024"),
}
OPS = ["bulk_ring", "mbarrier_counts", "atomics_shared"]
TEMPLATES = {
    "gemv_bf16": "products.py gemv bf16 bf16 f32 2 32 2112 sums",
    "gemv_fp8": "products.py gemv fp8 bf16 f32 3 32 512 sums",
    "gemv_f32": "products.py gemv bf16 f32 f32 20 48 190 sums",
    "gemm_bf16": "products.py gemm bf16 bf16 f32 33 32 96 sums",
    "gemm_fp8": "products.py gemm fp8 bf16 f32 40 32 160 sums",
    "grouped_gemv": "products.py grouped_gemv fp8 bf16 f32 3 32 512 experts=4 top=2",
    "grouped_gemm": "products.py grouped_gemm fp4 bf16 f32 24 32 64 experts=3 top=2",
    "attention": "rows.py attention 8 30 16 40 context=33,9 entries=20 | rows.py attention 8 30 16 3 context=0,9 entries=20",
    "attention_part": "rows.py attention_part 8 64 200 150 1 2",
    "combine": "rows.py combine 4 64 6",
    "hadamard": "rows.py hadamard 2 2 64",
    "top_k": "rows.py top_k 2600 1100 close | rows.py top_k 2600 1100 | rows.py top_k 2600 1100 ties",
    "index_top_k": "rows.py index 6 32 2600 1100 10399 close | rows.py index 6 32 2600 1100 10399",
    "merge_top_k": "rows.py merge 3 1000 4000 15999 close | rows.py merge 3 1000 4000 15999",
    "hc_mix": "rows.py hc_mix 2 2 328 328 1",
    "hc_close": "rows.py hc_close 4 600 9 3",
    "hc_post": "rows.py hc_post 3 7 query=bf16",
    "route": "rows.py route 45 8 | rows.py route 45 8 ties | rows.py route 45 8 nan",
    "route_hash": "rows.py route_hash 40 32 5 -3 | rows.py route_hash 40 32 5 2 | rows.py route_hash 40 32 5 7",
    "dispatch": "rows.py dispatch 50 3 40 96 | rows.py dispatch 50 3 40 96 some | rows.py dispatch 50 3 40 96 one",
    "compress": " | ".join("rows.py compress 20 8 31 %s overlap" % span
                           for span in ("12 19", "0 20", "15 3", "9 1", "7 20", "8 -1")),
    "append_rows": "rows.py append_window 40 128 20 21 37 e4m3 | rows.py append_window 40 128 20 21 37 e4m3 ties",
    "window_context": "rows.py window_context 9 128 9 20 0 18 e2m1 query=bf16",
    "rms_norm": "rows.py rms_norm 6 0 50",
    "rope": "rows.py rope 3 4 72 4 inverse query=bf16",
    "round_trip": "rows.py round_trip 9 0 112 96 32 e2m1 | rows.py round_trip 9 0 112 96 32 e2m1 ties",
}
LARGE = {"gemv_bf16", "gemv_fp8", "grouped_gemv", "grouped_gemm", "attention", "attention_part", "combine", "top_k", "index_top_k",
         "merge_top_k", "hc_close", "compress"}
SHORT = ["normalise", "select", "ring", "handover", "bulk_ring", "grouped_gemm", "combine", "hadamard"]
KINDS = ["alignment", "async", "atomic", "barrier", "bound", "constant", "divergence", "fragment", "lane", "missing", "operand",
         "overflow", "phase", "scale", "stale"]


def emit(at, command):
    os.makedirs(at, exist_ok=True)
    subprocess.run([sys.executable, os.path.join(launches, command[0]), at] + command[1:], check=True)
    return os.path.join(at, "words")


def prepare(name):
    at = os.path.join(folder, name)
    os.makedirs(at, exist_ok=True)
    kernel, words = os.path.join(at, "nvvm.mlir"), os.path.join(at, "words")
    if name in OWN:
        dialects, launch = OWN[name]
        with open(words, "w") as out:
            out.write("kernel=k " + launch + "\n")
        passes = ("convert-nvgpu-to-nvvm,convert-vector-to-llvm,convert-gpu-to-nvvm{use-bare-ptr-memref-call-conv=true},convert-scf-to-cf,"
                  "convert-to-llvm{filter-dialects=%s},reconcile-unrealized-casts,canonicalize,cse" % dialects)
        subprocess.run(["mlir-opt", os.path.join(here, "mutants", name + ".mlir"), "-o", kernel,
                        "--pass-pipeline=builtin.module(gpu.module(%s))" % passes], check=True)
    elif name in OPS:
        subprocess.run([sys.executable, os.path.join(here, "ops.py"), "emit", name, at], check=True)
        # Without repeated constants, a change of one is a change of all its uses.
        subprocess.run(["mlir-opt", os.path.join(at, "kernel.mlir"), "--cse", "-o", kernel], check=True)
        words = os.path.join(at, "launch.txt")
    else:
        words = [emit(os.path.join(at, str(i)), text.split()) for i, text in enumerate(TEMPLATES[name].split("|"))]
        subprocess.run(["v4-opt", os.path.join(at, "0", "kernel.mlir"), "--v4-stage-kernels=target=emu:sm_90a", "-o", kernel], check=True)
        return kernel, words
    return kernel, [words]


counts, good = {}, True
for name in names or (SHORT if form == "short" else [*OWN, *OPS, *TEMPLATES]):
    kernel, words = prepare(name)
    each = 2 if form == "short" else 10 if name in LARGE else 0
    reviewed = os.path.join(here, "mutants", name + ".txt")
    equivalent = ["-equivalent=" + reviewed] if os.path.exists(reviewed) else []
    run = subprocess.run(["emu-mutate", kernel, *["-launch=" + file for file in words], "-scales=s", "-each=%d" % each, *equivalent],
                         stdout=subprocess.PIPE, text=True)
    print(name + "\n" + run.stdout, flush=True)
    good &= run.returncode == 0
    counts[name] = {kind: (int(some), int(all_))
                    for kind, some, all_ in re.findall(r"^(\w+): (\d+) of (\d+) caught", run.stdout, re.M)}


def row(name, cells):
    print("| %s | %s |" % (name, " | ".join(cells)))


def cell(some, all_):
    return "" if all_ == 0 else str(all_) if some == all_ else "%d of %d" % (some, all_)


total = collections.defaultdict(lambda: (0, 0))
for caught in counts.values():
    for kind, (some, all_) in caught.items():
        total[kind] = (total[kind][0] + some, total[kind][1] + all_)
row("", KINDS + ["all"])
row("---", ["---"] * (len(KINDS) + 1))
for name, caught in [*counts.items(), ("all", total)]:
    row(name, [cell(*caught.get(kind, (0, 0))) for kind in KINDS + ["all"]])
if not good:
    sys.exit(1)
if total["all"][1] < 60 or any(total[kind][1] < (1 if form == "short" else 5) for kind in KINDS):
    sys.exit(2)
