# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Damaged checkpoints, damaged arguments, places that cannot be written: v4c answers with the exit code of its contract
and one message that names the file, the value and the remedy; it never ends by a signal and leaves no partial output.

bad_inputs.py CHECKPOINT SCRATCH_DIR       CHECKPOINT: the golden case tiny-bf16
"""
import json
import os
import re
import shutil
import struct
import subprocess
import sys

checkpoint, scratch = sys.argv[1:]
shutil.rmtree(scratch, ignore_errors=True)
os.makedirs(scratch)
failures = []


def expect(name, code, message, *arguments, output=None, keep=False):
    """Runs v4c; `message` is a regular expression that stderr must match."""
    out = output or os.path.join(scratch, f"{name}.v4m")
    before = set(os.listdir(scratch))
    result = subprocess.run(["v4c", *arguments, "-o", out], capture_output=True, text=True)
    text = result.stderr
    problems = []
    if result.returncode != code:
        problems.append(f"exit code {result.returncode}, expected {code}")
    if not re.search(message, text):
        problems.append(f"no '{message}'")
    left = set(os.listdir(scratch)) - before
    if left and not keep:
        problems.append(f"left {sorted(left)}")
    if code == 1 and len(re.findall(r"\berror:", text)) != 1:
        problems.append("not one error")
    if problems:
        failures.append(f"{name}: {', '.join(problems)}\n    v4c {' '.join(arguments)}\n    {text.strip()}")


def copy(name):
    path = os.path.join(scratch, name)
    shutil.copytree(checkpoint, path)
    return path


def write(path, data):
    with open(path, "wb" if isinstance(data, bytes) else "w") as file:
        file.write(data)


def shards(path):
    return sorted(name for name in os.listdir(path) if name.endswith(".safetensors"))


def edit_shard(path, edit):
    """Rewrites the header of a shard. The payload stays, but for the bytes of tensors that are gone."""
    data = open(path, "rb").read()
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + size])
    old = dict(header)
    edit(header)
    if set(header) < set(old):
        payload = b""
        for name in sorted((n for n in header if n != "__metadata__"), key=lambda n: header[n]["data_offsets"]):
            first, last = header[name]["data_offsets"]
            header[name]["data_offsets"] = [len(payload), len(payload) + last - first]
            payload += data[8 + size + first:8 + size + last]
        data = data[:8 + size] + payload
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write(path, struct.pack("<Q", len(text)) + text + data[8 + size:])


def edit_json(path, edit):
    value = json.load(open(path))
    edit(value)
    write(path, json.dumps(value))


f32 = "--numerics=f32"

# Usage.
expect("other-numerics", 2, r"fast.*reference.*f32", checkpoint, "--numerics=fp8")
expect("other-kv", 2, r"bf16.*f32", checkpoint, f32, "--kv=bf16")
expect("no-input", 2, r"no input|expected", f32)
expect("unknown-flag", 2, r"--prefil.*did you mean.*--prefill", checkpoint, f32, "--prefil=16")
expect("unknown-plan", 2, r"greedy.*none, basic", checkpoint, f32, "--plan=greedy")
expect("unknown-stage", 2, r"--compile-to", checkpoint, f32, "--compile-to=ptx")
expect("stage-order", 2, r"comes before", checkpoint, f32, "--compile-from=groups", "--compile-to=model")
expect("prefill-zero", 2, r"--prefill=0", checkpoint, f32, "--prefill=0")
expect("prefill-text", 2, r"--prefill=a", checkpoint, f32, "--prefill=a")
expect("context-list", 2, r"--max-context", checkpoint, f32, "--max-context=1,2")
expect("from-directory", 2, r"--compile-from needs a \.mlir file", checkpoint, f32, "--compile-from=groups")

# Inputs that are not there, or not what they should be.
expect("missing", 1, r"nowhere", os.path.join(scratch, "nowhere"), f32)
path = os.path.join(scratch, "not-mlir.mlir")
write(path, "this is no IR")
expect("not-mlir", 1, r"not-mlir\.mlir:1", path, f32)
path = os.path.join(scratch, "deep.mlir")
write(path, "[" * 10000)
expect("deep", 1, r"deep\.mlir.*deeper than 256", path, f32)
path = os.path.join(scratch, "empty")
os.mkdir(path)
expect("no-config", 1, r"empty.*config\.json", path, f32)

# config.json.
path = copy("config-text")
write(os.path.join(path, "config.json"), "{\"hidden_size\": ")
expect("config-text-broken", 1, r"config-text/config\.json", path, f32)
path = copy("config-value")
edit_json(os.path.join(path, "config.json"), lambda c: c.update(head_dim=-72))
expect("config-value-negative", 1, r"config\.json.*head_dim.*-72", path, f32)
path = copy("config-type")
edit_json(os.path.join(path, "config.json"), lambda c: c.update(model_type="llama"))
expect("config-model", 1, r"model_type.*llama.*deepseek_v4", path, f32)
path = copy("config-key")
edit_json(os.path.join(path, "config.json"), lambda c: c.pop("hidden_size"))
expect("config-no-key", 1, r"hidden_size", path, f32)

# The index and the shards.
path = copy("index-text")
index = os.path.join(path, "model.safetensors.index.json")
write(index, "[")
expect("index-text-broken", 1, r"index-text/model\.safetensors\.index\.json", path, f32)
path = copy("index-shard")
edit_json(os.path.join(path, "model.safetensors.index.json"),
          lambda i: i["weight_map"].update({next(iter(i["weight_map"])): "gone.safetensors"}))
expect("index-shard-gone", 1, r"gone\.safetensors", path, f32)
path = copy("shard-gone")
gone = shards(path)[0]
os.remove(os.path.join(path, gone))
expect("shard-gone-file", 1, re.escape(gone), path, f32)
path = copy("shard-short")
name = os.path.join(path, shards(path)[0])
os.truncate(name, os.path.getsize(name) - 100)
expect("shard-truncated", 1, re.escape(shards(path)[0]) + r".*bytes", path, f32)
path = copy("shard-header")
name = os.path.join(path, shards(path)[0])
os.truncate(name, 20)
expect("shard-header-truncated", 1, re.escape(shards(path)[0]), path, f32)
path = copy("shard-size")
name = os.path.join(path, shards(path)[0])
data = bytearray(open(name, "rb").read())
struct.pack_into("<Q", data, 0, 1 << 62)
write(name, bytes(data))
expect("shard-size-huge", 1, re.escape(shards(path)[0]), path, f32)


# Tensors: missing, extra, of another shape or type, overlapping.
def tensor_case(name, message, edit, in_index=None):
    path = copy(name)
    for shard in shards(path):
        edit_shard(os.path.join(path, shard), edit)
    if in_index:
        edit_json(os.path.join(path, "model.safetensors.index.json"), in_index)
    expect(name + "-tensor", 1, message, path, f32)


victim = "layers.1.attn.wq_a.weight"
tensor_case("lost", victim.replace(".", r"\."), lambda h: h.pop(victim, None), lambda i: i["weight_map"].pop(victim))
tensor_case("lost-in-shard", victim.replace(".", r"\."), lambda h: h.pop(victim, None))
tensor_case("lost-in-index", victim.replace(".", r"\."), lambda h: None, lambda i: i["weight_map"].pop(victim))


def add(header):
    if victim in header:
        header["layers.1.attn.extra.weight"] = dict(header[victim])


def reshape(header):
    if victim in header:
        header[victim]["shape"].reverse()


def retype(header):
    if victim in header:
        header[victim]["dtype"] = "F16"


def overlap(header):
    if victim in header:
        other = next(n for n in header if n not in (victim, "__metadata__") and
                     header[n]["data_offsets"][0] == header[victim]["data_offsets"][1])
        size = header[other]["data_offsets"][1] - header[other]["data_offsets"][0]
        start = header[victim]["data_offsets"][0]
        header[other]["data_offsets"] = [start, start + size]


def outside(header):
    if victim in header:
        header[victim]["data_offsets"] = [n + (1 << 40) for n in header[victim]["data_offsets"]]


shard_of = json.load(open(os.path.join(checkpoint, "model.safetensors.index.json")))["weight_map"][victim]
tensor_case("extra", r"layers\.1\.attn\.extra\.weight", add,
            lambda i: i["weight_map"].update({"layers.1.attn.extra.weight": shard_of}))
tensor_case("reshaped", r"wq_a\.weight.*32.*64|wq_a\.weight.*64.*32", reshape)
tensor_case("retyped", r"wq_a\.weight.*F16", retype)
tensor_case("overlapping", r"overlap|gap|hole|data_offsets|bytes", overlap)
tensor_case("outside", r"safetensors.*bytes", outside)

# Outputs.
expect("directory", 1, r"is a directory; expected a file", checkpoint, f32, output=scratch)
expect("nowhere", 1, r"cannot write .*none/m\.v4m", checkpoint, f32, "--compile-to=model",
       output=os.path.join(scratch, "none", "m.v4m"))
expect("full", 3, r"/dev/full.*No space left", checkpoint, f32, "--prefill=16", output="/dev/full")
expect("dump", 1, r"cannot make the folder", checkpoint, f32, "--dump-stages=/dev/null/x")
if os.geteuid() != 0:
    locked = os.path.join(scratch, "locked")
    os.mkdir(locked, 0o555)
    expect("unwritable", 1, r"cannot write", checkpoint, f32, output=os.path.join(locked, "m.v4m"))

# Targets.
expect("processor", 2, r"unknown processor 'z80'; accepted", checkpoint, f32, "--target=cpu:z80")
expect("target", 2, r"cuda.*cpu", checkpoint, f32, "--target=cuda")

# MTP asked for, and not there.
path = os.path.join(os.path.dirname(os.path.dirname(checkpoint)), "tiny-hf", "checkpoint")
expect("no-mtp", 1, r"tensors are missing.*compile without --mtp", path, f32, "--mtp")

print("\n".join(failures))
sys.exit(1 if failures else 0)
