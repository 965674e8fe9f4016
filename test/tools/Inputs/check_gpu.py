# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""check_gpu.py RESULTS.json CASES OPS: what gpu.sh run writes. All passed, every op test ran, figures are there and are not zero."""
import json
import os
import sys

with open(sys.argv[1]) as file:
    document = json.load(file)
assert (document["schema"], document["schema_version"]) == ("v4-gpu", 1)
assert document["copy_bytes_per_second"] > 0
assert len(document["golden"]) == int(sys.argv[2]) and all(case["passed"] for case in document["golden"])
assert sorted(op["name"] for op in document["ops"]) == sorted(os.listdir(sys.argv[3]))
assert all(op["passed"] for op in document["ops"])
for module in document["bench"]:
    assert sorted({entry["name"].partition("_")[0] for entry in module["figures"]["entries"]}) == ["decode", "prefill"]
    for entry in module["figures"]["entries"]:
        assert entry["seconds"] > 0 and entry["kernels"] and entry["layers"], entry["name"]
        assert all(row["seconds"] > 0 for row in entry["kernels"] + entry["layers"]), entry["name"]
