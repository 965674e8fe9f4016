#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares the compiled kernels of a model at real shapes with the plain decomposition of its ops, in f32 mode.

scripts/check_plain.py test/configs/flash-one-of-each.json [--position=2290] [--device=emu] [--folder=DIR]

Makes a random checkpoint in the release format, compiles it twice and runs both modules on the same tokens: a prompt of
20, then 3 decode steps. The plain module is what v4-decompose makes of each tile, lowered by convert-linalg-to-loops:
no schedule, no template, no packed layout, and numbers of fp8 and fp4 are looked up in tables (the plugin TableWidening).
With --position the sequence begins there, with a state from the formula of the golden case `far`. Tools are taken from
build/bin. Exit codes: 0 equal, 1 a step failed, 4 not equal.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# The bound of the golden cases in f32 mode, in units of the largest logit. Both modules round to fp32 only and differ in
# the order of their sums: a sum of 8192 products is off by about sqrt(8192) * 2^-24 = 5e-6 of their norm, either way.
BOUND = 2e-5
PLAIN_PIPELINE = """builtin.module(v4-outline-groups,builtin.module(func.func(v4-form-phases,v4-decompose,
v4-thread-destinations,canonicalize,cse,test-table-widening)),transform-preload-library{transform-library-paths=LIBRARY},
transform-interpreter)"""
# What a plain module at stage `tiles` has none of: vectors, templates, and numbers that a pass would widen.
NOT_PLAIN = re.compile(r"vector<|x86vector|v4\.kernel \"|arith\.extf .* : f(8E4M3FN|4E2M1FN) ")


def fail(message, code=1):
    print("check_plain.py: error:", message, file=sys.stderr)
    sys.exit(code)


def run(*command):
    print("+", " ".join(command), flush=True)
    code = subprocess.run(command).returncode
    if code:
        fail(f"{command[0]} ended with exit code {code}", 4 if code == 4 else 1)


def write_blank(path, shape):
    """Zeros of that shape, as float32."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
        file.write(bytes(4 * shape[0] * shape[1]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config.json of the model")
    parser.add_argument("--position", type=int, default=0, help="tokens before the prompt")
    parser.add_argument("--prompt", type=int, default=20, help="tokens of the prompt")
    parser.add_argument("--generate", type=int, default=3, help="decode steps behind it")
    parser.add_argument("--prefill", default="16,512", help="buckets of the compiled module")
    parser.add_argument("--max-context", type=int, default=0, help="default: the next 4096 positions")
    parser.add_argument("--device", default="cpu", choices=["cpu", "emu", "cuda"], help="where the compiled module runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="work here and leave the files (default: a temporary folder)")
    parser.add_argument("--v4c", default="", help="more options of v4c for the compiled module")
    arguments = parser.parse_args()

    build = os.environ.get("V4_BUILD", os.path.join(ROOT, "build"))
    os.environ["PATH"] = os.path.join(build, "bin") + os.pathsep + os.environ["PATH"]
    folder = arguments.folder or tempfile.mkdtemp(prefix="check-plain-")
    os.makedirs(folder, exist_ok=True)
    try:
        check(arguments, folder, build)
    finally:
        if not arguments.folder:
            shutil.rmtree(folder)


def check(arguments, folder, build):
    def at(name):
        return os.path.join(folder, name)

    rows = arguments.prompt + arguments.generate
    context = arguments.max_context or -(-(arguments.position + rows) // 4096) * 4096
    vocabulary = json.load(open(arguments.config))["vocab_size"]
    options = ["--numerics=f32", "--logits=all", f"--max-context={context}"]
    target = {"cpu": "cpu", "emu": "emu", "cuda": "nvptx"}[arguments.device]
    if not os.path.exists(at("checkpoint")):
        run("v4-synth", f"--config={arguments.config}", "--format=fp4", f"--seed={arguments.seed}", "-o", at("checkpoint"))

    # A bucket of 32 holds the prompt of 20 at once; larger ones would only cost time.
    run("v4c", at("checkpoint"), *options, "--prefill=32", "--plan=none", "--compile-to=groups", "-o", at("groups.mlir"))
    library = os.path.join(ROOT, "test/e2e/Inputs/merge_slices.mlir")
    run("v4-opt", at("groups.mlir"), f"--load-pass-plugin={build}/test/e2e/TableWidening.so",
        "--pass-pipeline=" + PLAIN_PIPELINE.replace("\n", "").replace("LIBRARY", library), "-o", at("plain.mlir"))
    text = open(at("plain.mlir")).read()
    if found := NOT_PLAIN.search(text):
        fail(f"{at('plain.mlir')} is not plain: it has '{found[0]}'")
    if not text.count("linalg.generic"):
        fail(f"{at('plain.mlir')} has no linalg op; nothing would be compared")
    run("v4c", at("plain.mlir"), "--numerics=f32", "--compile-from=tiles", "-o", at("plain.v4m"))
    run("v4c", at("checkpoint"), *options, f"--target={target}", f"--prefill={arguments.prefill}", *arguments.v4c.split(),
        "-o", at("tuned.v4m"))

    # A case as those of test/golden. The plain module writes what it expects; for its own run the file is a blank.
    case = {"prompt": [(7919 * i + 1) % vocabulary for i in range(arguments.prompt)], "generated": [0] * arguments.generate,
            "f32": {"max_abs_over_max_logit": BOUND}}
    if arguments.position:
        case["state_position"] = arguments.position
    json.dump(case, open(at("case.json"), "w"))
    write_blank(at("logits_f32.npy"), (rows, vocabulary))
    print("+ v4-run of the plain module", flush=True)
    plain = subprocess.run(["v4-run", at("plain.v4m"), f"--case={folder}", f"--logits={at('plain.npy')}"],
                           capture_output=True, text=True)
    tokens = re.search(r"^tokens:((?: \d+)+)$", plain.stdout, re.M)
    if plain.returncode != 4 or not tokens:
        fail(f"the plain module ended with exit code {plain.returncode}\n{plain.stdout}{plain.stderr}")
    case["generated"] = [int(token) for token in tokens[1].split()]
    json.dump(case, open(at("case.json"), "w"))
    os.replace(at("plain.npy"), at("logits_f32.npy"))
    run("v4-run", at("tuned.v4m"), f"--case={folder}", f"--device={arguments.device}")


if __name__ == "__main__":
    main()
