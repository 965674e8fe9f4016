# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks the JSON of v4-bench: against the module's description, or that another run computed the same."""
import argparse
import json
import re
import subprocess

parser = argparse.ArgumentParser()
parser.add_argument("figures")
parser.add_argument("--module")
parser.add_argument("--contexts")
parser.add_argument("--same")
arguments = parser.parse_args()
figures = json.load(open(arguments.figures))

if arguments.same:
    other = json.load(open(arguments.same))
    logits = [[entry["first_logits"] for entry in run["entries"]] for run in (figures, other)]
    assert logits[0] == logits[1] and all(value > 0 for value in logits[0]), logits

if arguments.module:
    dump = json.loads(subprocess.run(["v4-dump", arguments.module, "--json"], check=True, capture_output=True).stdout)
    experts = dump["model"]["experts_per_token"]
    widths = {"I64": 8, "F32": 4, "BF16": 2, "I8": 1, "F8_E4M3": 1, "F8_E8M0": 1}

    def size(shape, dtype):
        result = widths[dtype]
        for extent in shape:
            result *= extent
        return result

    def weight_bytes(tokens):
        total = 0
        for parameter in dump["parameters"]:
            shape = parameter["shape"]
            row, rows = size(shape[1:], parameter["dtype"]), shape[0]
            if parameter["rows"]:
                rows = min(rows, experts * tokens)
            elif re.search(r"^embed.weight$|tid2eid$|[.]ape$", parameter["name"]):
                rows = min(rows, tokens)
            total += row * rows
        return total

    def state_bytes(length):
        live = {"Window": lambda s: min(length, s["shape"][0]), "Entries": lambda s: length // s["ratio"]}
        return sum(live[s["kind"]](s) * size(s["shape"][1:], s["dtype"]) for s in dump["states"] if s["kind"] in live)

    decodes = [entry for entry in figures["entries"] if entry["name"] == "decode"]
    assert [entry["context"] for entry in decodes] == [int(c) for c in arguments.contexts.split(",")]
    for entry in figures["entries"]:
        target = next(e for e in dump["targets"][0]["entries"] if e["name"] == entry["name"])
        slots = dump["model"]["slots"] if entry["name"] == "decode" else 1
        assert entry["slots"] == slots and (entry["name"] != "decode" or entry["tokens"] == slots), entry["name"]
        assert entry["weight_bytes"] == weight_bytes(entry["tokens"]), entry["name"]
        assert entry["state_bytes"] == slots * state_bytes(entry["context"]), entry["name"]
        assert sum(kernel["launches"] for kernel in entry["kernels"]) == len(target["launches"])
        layers = {}
        for launch in target["launches"]:
            layer = ".".join(launch["name"].split(".")[:2 if launch["name"].startswith("layers.") else 1])
            layers[layer] = layers.get(layer, 0) + 1
        assert {layer["name"]: layer["launches"] for layer in entry["layers"]} == layers
        assert sum(kernel.get("weight_bytes", 0) for kernel in entry["kernels"]) == entry["weight_bytes"]
        assert sum(kernel.get("state_bytes", 0) for kernel in entry["kernels"]) == entry["state_bytes"]
        assert abs(sum(kernel.get("flop", 0) for kernel in entry["kernels"]) / entry["flop"] - 1) < 1e-4
