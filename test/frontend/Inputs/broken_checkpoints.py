# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Breaks a checkpoint in one place at a time and compiles it: every time exit code 1, one error that names the file, and no
output.

broken_checkpoints.py CHECKPOINT SCRATCH      CHECKPOINT: two shards and an index
"""
import json
import os
import shutil
import struct
import subprocess
import sys

source, scratch = sys.argv[1:]
INDEX, CONFIG = "model.safetensors.index.json", "config.json"
FIRST, SECOND = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
folder = os.path.join(scratch, "checkpoint")
count = 0


def write(name, data):
    path = os.path.join(folder, name)
    if os.path.lexists(path):
        os.remove(path)  # it is a link to the source
    with open(path, "wb") as file:
        file.write(data)


def read(name):
    with open(os.path.join(source, name), "rb") as file:
        return file.read()


def header(name):
    data = read(name)
    (size,) = struct.unpack_from("<Q", data)
    return json.loads(data[8:8 + size]), data[8 + size:]


def shard(name, entries, payload):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    write(name, struct.pack("<Q", len(text)) + text + payload)


def rejects(file, text, *damage):
    """Links the source, applies `damage` (called with nothing) and expects an error on `file` that holds `text`."""
    global count
    count += 1
    shutil.rmtree(scratch, ignore_errors=True)
    os.makedirs(folder)
    for name in os.listdir(source):
        os.symlink(os.path.join(source, name), os.path.join(folder, name))
    for change in damage:
        change()
    out = os.path.join(scratch, "out.v4m")
    result = subprocess.run(["v4c", folder, "--numerics=f32", "-o", out], capture_output=True)
    error = result.stderr.decode(errors="replace")
    ok = result.returncode == 1 and file in error and text in error and "error: " in error and len(os.listdir(scratch)) == 1
    if not ok:
        sys.exit(f"expected exit code 1 and '{text}' on {file}; got {result.returncode}, {os.listdir(scratch)}:\n{error}")


def config(**changes):
    values = json.loads(read(CONFIG)) | changes
    return lambda: write(CONFIG, json.dumps({k: v for k, v in values.items() if v is not None}).encode())


def index(change):
    def apply():
        values = json.loads(read(INDEX))
        change(values)
        write(INDEX, json.dumps(values).encode())
    return apply


def edited(name, change):
    """One shard with another header; `change` may replace the payload by returning it."""
    def apply():
        entries, payload = header(name)
        payload = change(entries) or payload
        shard(name, entries, payload)
    return apply


names, payload = header(FIRST)
names.pop("__metadata__", None)
some = next(name for name in names if name.endswith("ffn.experts.0.w1.weight"))
bytes_of = lambda data: (lambda: write(FIRST, data))

# config.json
rejects(CONFIG, "cannot be read", lambda: os.remove(os.path.join(folder, CONFIG)))
rejects(CONFIG, "is not a regular file", lambda: (os.remove(os.path.join(folder, CONFIG)), os.mkdir(os.path.join(folder, CONFIG))))
rejects(CONFIG, "the file is empty", lambda: write(CONFIG, b""))
rejects(CONFIG, "unexpected end of input", lambda: write(CONFIG, read(CONFIG)[:200]))
rejects(CONFIG, "must start with '{'", lambda: write(CONFIG, b"[1, 2]"))
rejects(CONFIG, "UTF-8", lambda: write(CONFIG, b'{"model_type": "\xff\xfe"}'))
rejects(CONFIG, "nested deeper than 32 levels", lambda: write(CONFIG, b'{"a": ' + b"[" * 100000))
rejects(CONFIG, "'hidden_size'", config(hidden_size=None))
rejects(CONFIG, "'hidden_size' is \"64\"", config(hidden_size="64"))
rejects(CONFIG, "'hidden_size' is -64", config(hidden_size=-64))
rejects(CONFIG, "'vocab_size'", config(vocab_size=10**30))
rejects(CONFIG, "'scoring_func' is \"softmax\"", config(scoring_func="softmax"))
rejects(CONFIG, "'num_experts_per_tok'", config(num_experts_per_tok=1000))

# The index.
rejects(INDEX, "the file is empty", lambda: write(INDEX, b""))
rejects(INDEX, "not a valid index: syntax error", lambda: write(INDEX, read(INDEX)[:-20]))
rejects(INDEX, "must start with '{'", lambda: write(INDEX, b"\xff\xff"))
rejects(INDEX, "weight_map", index(lambda v: v.pop("weight_map")))
rejects(INDEX, some, index(lambda v: v["weight_map"].update({some: 7})))
rejects(INDEX, "../", index(lambda v: v["weight_map"].update({some: "../" + FIRST})))
rejects(INDEX, "\"model-3.safetensors\", which is not in the directory; the checkpoint is incomplete", index(lambda v: v["weight_map"].update({some: "model-3.safetensors"})))
rejects(INDEX, f'names the wrong file for "{some}"', index(lambda v: v["weight_map"].update({some: SECOND})))
rejects("", f'"{some}"', index(lambda v: v["weight_map"].update({"x": v["weight_map"].pop(some)})),
        edited(FIRST, lambda e: e.update(x=e.pop(some))))
rejects("", "no.such.tensor", index(lambda v: v["weight_map"].update({"no.such.tensor": FIRST})))

# Shards.
rejects(FIRST, "is not a regular file", lambda: (os.remove(os.path.join(folder, FIRST)), os.mkdir(os.path.join(folder, FIRST))))
rejects(INDEX, f'"{FIRST}", which is not in the directory', lambda: os.remove(os.path.join(folder, FIRST)))
for size in 0, 7, 8, 100:
    rejects(FIRST, "truncated", bytes_of(read(FIRST)[:size]))
rejects(FIRST, "truncated", bytes_of(read(FIRST)[:-1]))
rejects(FIRST, "more than the format allows", bytes_of(struct.pack("<Q", 2**63) + read(FIRST)[8:]))
rejects(FIRST, "must start with '{'", bytes_of(struct.pack("<Q", 2) + b"[]"))
rejects(FIRST, "UTF-8", lambda: shard(FIRST, b'{"\xff": {}}', b""))
rejects(FIRST, "belong to no tensor", edited(FIRST, lambda e: e.pop(some) and None))
rejects(FIRST, "overlap", edited(FIRST, lambda e: e.update({"another.tensor": e[some]})))
rejects(FIRST, some, edited(FIRST, lambda e: e[some].update(dtype="F13")))
rejects(FIRST, some, edited(FIRST, lambda e: e[some].update(dtype="I16")))
rejects(FIRST, some, edited(FIRST, lambda e: e[some].update(shape=e[some]["shape"][::-1] + [1])))
rejects(FIRST, some, edited(FIRST, lambda e: e[some].update(shape=[2**40, 2**40])))
rejects(FIRST, some, edited(FIRST, lambda e: e[some].update(shape=["a"])))
rejects(FIRST, some, edited(FIRST, lambda e: e[some].update(data_offsets=[4, 0])))
rejects(FIRST, some, edited(FIRST, lambda e: e[some].pop("data_offsets") and None))
rejects(FIRST, "has 4 bytes behind its last tensor", edited(FIRST, lambda e: payload + b"more"))
print(count, "broken checkpoints, each rejected")
