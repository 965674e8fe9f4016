# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs emu-mutate on the kernels of Inputs/mutants and on templates of products.

    mutants.py DIR EVERY        every EVERY-th mutant of each kernel

Exit code 1 when of a kernel less than 95 % are caught, 2 when the kernels do not cover what they should: nine kernels, and in all at least 60
mutants and five of every kind of bug (of those that are run).
"""
import collections
import os
import re
import subprocess
import sys

folder, every = sys.argv[1], int(sys.argv[2])
here = os.path.dirname(os.path.abspath(__file__))
products = os.path.join(here, "..", "..", "lowering", "nvptx", "Inputs", "products.py")
# Dialects of the kernels, which upstream's conversion wants to know, and their launches.
OWN = {
    "normalise": ("arith,cf,memref,vector", "grid=3 block=128 random=x:f32:3072 poison=y:12288"),
    "select": ("arith,cf,memref,math", "grid=2 block=128 random=keys:below256:256 poison=list:1032"),
    "ring": ("arith,cf,memref,vector", "block=64 random=a:f16:2560 random=b:f16:2560 poison=d:1024"),
    "handover": ("arith,cf,memref", "block=64 iota=x:256 poison=y:1024"),
}
TEMPLATES = {
    "gemv_bf16": "gemv bf16 bf16 f32 2 32 2112 sums",
    "gemv_fp8": "gemv fp8 bf16 f32 3 32 512 sums",
    "gemv_f32": "gemv bf16 f32 f32 20 48 190 sums",
    "gemm_bf16": "gemm bf16 bf16 f32 33 32 96 sums",
    "gemm_fp8": "gemm fp8 bf16 f32 40 32 160 sums",
}
KINDS = ["alignment", "async", "atomic", "barrier", "bound", "constant", "divergence", "fragment", "lane", "missing", "operand", "overflow", "stale"]


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
    else:
        subprocess.run([sys.executable, products, at] + TEMPLATES[name].split(), check=True)
        subprocess.run(["v4-opt", os.path.join(at, "kernel.mlir"), "--v4-stage-kernels=target=emu:sm_90a", "-o", kernel], check=True)
    return kernel, words


caught, total, good = collections.Counter(), collections.Counter(), True
for name in [*OWN, *TEMPLATES]:
    kernel, words = prepare(name)
    run = subprocess.run(["emu-mutate", kernel, "-launch=" + words, "-equivalent=" + os.path.join(here, "mutants", name + ".txt"),
                          "-sample=%d" % every], stdout=subprocess.PIPE, text=True)
    print(name + "\n" + run.stdout, flush=True)
    good &= run.returncode == 0
    for kind, some, all_ in re.findall(r"^(\w+): (\d+) of (\d+) caught", run.stdout, re.M):
        caught[kind] += int(some)
        total[kind] += int(all_)
for kind in total:
    print("%s: %d of %d caught in all kernels" % (kind, caught[kind], total[kind]))
if not good:
    sys.exit(1)
if total["all"] < 60 or (every == 1 and any(total[kind] < (1 if kind == "atomic" else 5) for kind in KINDS)):
    sys.exit(2)
