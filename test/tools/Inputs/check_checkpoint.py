# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks what v4-synth wrote: configuration, index and headers agree, formats, sizes, alignment, holes."""
import argparse
import json
import os
import struct

parser = argparse.ArgumentParser()
parser.add_argument("directory")
parser.add_argument("--format", required=True)
parser.add_argument("--sparse", action="store_true")
parser.add_argument("--tensors", type=int)
parser.add_argument("--bytes", type=int)
arguments = parser.parse_args()
folder = arguments.directory

config = json.load(open(f"{folder}/config.json"))
quantised = arguments.format in ("fp4", "fp8")
assert ("quantization_config" in config) == quantised, config
assert config.get("expert_dtype") == (arguments.format if quantised else None), config
assert config["torch_dtype"] == ("float32" if arguments.format == "f32" else "bfloat16"), config

index = json.load(open(f"{folder}/model.safetensors.index.json"))
widths = {"I64": 8, "F32": 4, "BF16": 2, "F8_E4M3": 1, "F8_E8M0": 1, "I8": 1}
tensors, total, disk = {}, 0, 0
for shard in sorted(set(index["weight_map"].values())):
    path = f"{folder}/{shard}"
    info = os.stat(path)
    disk += info.st_blocks * 512
    assert info.st_size <= 1 << 32, f"{shard} has {info.st_size} bytes"
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    end = 0
    for name, entry in header.items():
        assert index["weight_map"][name] == shard, name
        begin, stop = entry["data_offsets"]
        assert (8 + size + begin) % widths[entry["dtype"]] == 0, f"{name} is not aligned"
        tensors[name] = entry["dtype"]
        end = max(end, stop)
        total += stop - begin
    assert info.st_size == 8 + size + end, f"{shard}: size"
assert set(tensors) == set(index["weight_map"]) and index["metadata"]["total_size"] == total

wide = "F32" if arguments.format == "f32" else "BF16"
linear = "F8_E4M3" if quantised else wide
expert = {"fp4": "I8", "fp8": "F8_E4M3"}.get(arguments.format, wide)
last = f"layers.{config['num_hidden_layers'] - 1}"
assert tensors["embed.weight"] == wide and tensors["layers.0.attn.wq_a.weight"] == linear
assert tensors[f"{last}.ffn.experts.{config['n_routed_experts'] - 1}.w2.weight"] == expert
assert tensors["layers.0.hc_attn_fn"] == "F32" and tensors["mtp.0.e_proj.weight"] == linear
assert ("layers.0.attn.wq_a.scale" in tensors) == quantised
if arguments.tensors is not None:
    assert len(tensors) == arguments.tensors, len(tensors)
if arguments.bytes is not None:
    assert total == arguments.bytes, total
if arguments.sparse:
    assert disk < 1 << 27, f"{disk} bytes on disk"
else:
    assert disk >= total, f"{disk} bytes on disk"
