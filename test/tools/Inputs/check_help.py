# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks the text of a --help: at most 80 lines, usage and examples first, no flag of LLVM's or MLIR's own."""
import re
import sys

text = open(sys.argv[1]).read()
lines = text.splitlines()
assert len(lines) <= 80, f"{len(lines)} lines"
assert "usage:" in text.lower(), "no usage line"
for line in lines:
    assert len(line) <= 120, f"long line: {line}"
flags = set(re.findall(r"(?<!\S)--?[a-zA-Z][a-zA-Z0-9-]*", text))
llvm = re.compile(r"--?(x86|aarch64|mips|amdgpu|nvptx|mlir-|debug|stats|opt-|print-|time-passes|disable-|enable-)")
foreign = [flag for flag in flags if llvm.match(flag)]
assert not [flag for flag in foreign if flag != "--mlir-"], f"flags of LLVM: {foreign}"
assert "--help" in text and "--version" in text, "--help and --version are missing"
