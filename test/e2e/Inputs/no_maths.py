# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""libv4 computes no model: it calls no function of libm but the exp of sampling, multiplies floats nowhere but there
and where random weights are made, and carries no LLVM.

no_maths.py LIBV4.so
"""
import os
import re
import subprocess
import sys
import tempfile

library = sys.argv[1]


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


imports = {line.split()[-1].split("@")[0] for line in output("llvm-nm", "-D", "--undefined-only", library).splitlines()}
maths = {name for name in imports
         if re.match(r"(exp|log|pow|sin|cos|tan|asin|acos|atan|sinh|cosh|tanh|sqrt|rsqrt|cbrt|erf|tgamma|fma|hypot)"
                     r"(2|10|1p|m1|2f|10f|1pf|m1f|f|l)?$", name) or re.search("gemm|gemv|blas", name)}
assert maths <= {"exp"}, f"libv4 imports maths: {sorted(maths)}"
assert not [name for name in imports if "llvm" in name or "mlir" in name], "libv4 links LLVM"

# Where floats are multiplied: sampling, random weights, packed rows of caches in state files, times that a driver gives in
# milliseconds, and sizes of hash tables in the standard library.
multiply = re.compile(r"v?(?:fn?m(?:add|sub)\d*|mul|dp)[sp][sd]$")
function, found = None, set()
for line in output("llvm-objdump", "-d", "-C", "--no-show-raw-insn", library).splitlines():
    if match := re.match(r"[0-9a-f]+ <(.+)>:$", line):
        function = match[1]
    elif (match := re.match(r"\s*[0-9a-f]+:\s+(\S+)", line)) and multiply.match(match[1]):
        found.add(function)
allowed = re.compile(r"(v4::Sampler::|v4_sampler_|v4::RandomTensor::|v4::StateRows::|v4::cuda::Gpu::between\(|"
                     r"v4::\(anonymous namespace\)::makeFp8Codes|std::|.*std::__detail)")
foreign = [name for name in found if not allowed.match(name)]
assert not foreign, f"float products in {foreign}"

with tempfile.TemporaryDirectory() as folder:
    stripped = os.path.join(folder, "libv4.so")
    output("llvm-strip", "-o", stripped, library)
    size = os.path.getsize(stripped)
print(f"imports of maths: {sorted(maths)}; products in {sorted(found)}; {size} bytes stripped")
assert size < 2 << 20
