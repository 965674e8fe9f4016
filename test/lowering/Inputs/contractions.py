# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""At stage `tiles`, every linear of a prefill entry is a kernel template, or a contraction, on tiles of at least 4 tokens.

contractions.py TILES.mlir        prints the shapes; an error when a linear has none, or one on fewer tokens
"""
import collections
import re
import sys

entry = kernel = None
entries = collections.defaultdict(set)  # kernel -> entries and bodies that launch it
callers = collections.defaultdict(set)  # body -> entries that call it
shapes = collections.defaultdict(set)
product = re.compile(r"arith\.mulf .* fastmath<contract> : vector<(\d+)x(\d+)x[\dx]*x1x(\d+)xf32>")
template = re.compile(r'v4\.kernel "(?:grouped_)?(?:gemm|gemv)" ins\(.* : tensor<(\d+)x')
for line in open(sys.argv[1]):
    if match := re.match(r"  func\.func (?:private )?@(\w+)\(", line):
        entry = match[1]
    elif match := re.search(r"call @(\w+)\(", line):
        callers[match[1]].add(entry)
    elif match := re.search(r"v4\.launch @(\w+)", line):
        entries[match[1]].add(entry)
    elif match := re.match(r"  module @(\w+)", line):
        kernel = match[1]
    elif kernel and (match := template.search(line)):
        shapes[kernel].add((int(match[1]), 16, 16))
    elif kernel and (match := product.search(line)):
        shapes[kernel].add(tuple(map(int, match.groups())))

checked = 0
for name, users in sorted(entries.items()):
    roots = users | {caller for user in users for caller in callers[user]}
    if "linear" not in name or not any("prefill" in root for root in roots):
        continue
    checked += 1
    print(name, sorted(shapes[name]))
    tokens = {shape[0] for shape in shapes[name] if shape[1] > 1}
    assert tokens and min(tokens) >= 4, f"{name}: products of {sorted(shapes[name])}, no tile of 4 tokens"
assert checked, "no linear in a prefill entry"
