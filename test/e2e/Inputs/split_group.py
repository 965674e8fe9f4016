# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Edits a `groups` stage as a person would: takes the norm out of the group of the linear that it was fused into.

split_group.py NAME IN.mlir OUT.mlir      NAME: last part of the group's path, "wq_b"
"""
import re
import sys

name, source, out = sys.argv[1:]
text = open(source).read()
group = re.compile(
    r'(?P<indent> *)(?P<result>%\w+) = v4\.group "(?P<path>[\w.]*' + name + r')" -> (?P<type>\S+) \{\n'
    r'(?P<norm> *(?P<value>%\w+) = v4\.rms_norm .* -> (?P<norm_type>\S+))\n'
    r'(?P<rest>(?:.*\n)*?) *v4\.yield (?P<yielded>%\w+) : \S+\n *\}\n')
count = 0


def split(match):
    global count
    count += 1
    m = match.groupdict()
    outer = f"%norm_{count}"
    rest = re.sub(re.escape(m["value"]) + r"\b", outer, m["rest"])
    return (f'{m["indent"]}{outer} = v4.group "{m["path"]}.norm" -> {m["norm_type"]} {{\n{m["norm"]}\n'
            f'{m["indent"]}  v4.yield {m["value"]} : {m["norm_type"]}\n{m["indent"]}}}\n'
            f'{m["indent"]}{m["result"]} = v4.group "{m["path"]}" -> {m["type"]} {{\n{rest}'
            f'{m["indent"]}  v4.yield {m["yielded"]} : {m["type"]}\n{m["indent"]}}}\n')


text = group.sub(split, text)
assert count, f"no group '{name}' that starts with a norm"
open(out, "w").write(text)
print(f"{count} groups split")
