# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles single ops as v4c compiles them in a model, runs the machine code, and compares with their definitions.

    kernels.py NAME[:KERNEL] [TARGET]    the cases of test/dialects/Inputs/definitions.py; each must use KERNEL
"""

import ctypes
import os
import re
import struct
import subprocess
import sys
import tempfile

here = os.path.dirname(os.path.abspath(__file__))
sys.path += [os.path.join(here, "..", "..", "e2e", "Inputs"), os.path.join(here, "..", "..", "dialects", "Inputs")]
import definitions
import module as modules

FORMATS = definitions.Tensor.FORMATS
MODEL = (
    "{eos_token = 1 : i64, experts_per_token = 1 : i64, hidden_size = 1 : i64, layers = 1 : i64, logits_all = false,"
    ' max_context = 1 : i64, model_type = "deepseek_v4", mtp = false, streams = 1 : i64, vocab_size = 1 : i64}'
)


def run(command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(command)}: exit {result.returncode}\n{result.stderr[:2000]}")
    return result.stdout


def graph_of(case):
    """A model whose one op is that of the case; its operands are weights w0, w1, .., its results outputs y0, .."""
    shape = lambda t: ", ".join(map(str, t.shape))
    arguments = ", ".join(
        f'%a{i}: {t.type} {{v4.weight = #v4.weight<"w{i}", {t.element}, [{shape(t)}]>}}'
        for i, t in enumerate(case.inputs)
    )
    types = [definitions.result_type(shape, element) for shape, element, _ in case.results]
    outputs = ", ".join(f'{t} {{v4.output = "y{i}"}}' for i, t in enumerate(types))
    names = ", ".join(f"%r{i}" for i in range(len(types)))
    text = case.text
    for i in range(len(case.inputs)):
        text = text.replace(f"{{{i}}}", f"%a{i}")
    return f"""module attributes {{v4.model = {MODEL}, v4.graph_hash = "", v4.ignored = [], v4.options = []}} {{
  func.func @decode({arguments}) -> ({outputs}) attributes {{v4.entry = "decode", v4.rows = 1 : i64}} {{
    {names} = {text} : ({", ".join(t.type for t in case.inputs)}) -> ({", ".join(types)})
    return {names} : {", ".join(types)}
  }}
}}
"""


def execute(case, target, kernel):
    """The results of the op as lists of numbers, and of codes where elements are narrow."""
    options = ["--numerics=f32", f"--target={target}"]
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name)
        with open(path("graph.mlir"), "w") as file:
            file.write(graph_of(case))
        tiles = run(["v4c", path("graph.mlir"), *options, "--compile-to=tiles", "-o", "-"])
        if kernel and f'v4.kernel "{kernel}"' not in tiles:
            sys.exit(f"{case.text}: template {kernel} is not used\n{tiles[:2000]}")
        run(["v4c", path("graph.mlir"), *options, "--compile-to=kernels", "-o", path("kernels.mlir")])
        run(["v4c", path("kernels.mlir"), *options, "--compile-from=kernels", "-o", path("m.v4m")])
        modules.image(path("m.v4m"), path("image.so"))
        library = ctypes.CDLL(path("image.so"))
        with open(path("kernels.mlir")) as file:
            text = file.read()

    def buffer(count, element, codes=None):
        size = count * struct.calcsize(FORMATS[element])
        data = struct.pack(f"<{count}{FORMATS[element]}", *codes) if codes else b"\xff" * size
        # The runtime's buffers are aligned.
        raw = ctypes.create_string_buffer(size + 64)
        start = -ctypes.addressof(raw) % 64
        ctypes.memmove(ctypes.addressof(raw) + start, data, size)
        return raw, start

    buffers = {}
    for name, i in re.findall(r"(%\w+): memref<[^>]*> {v4\.weight = #v4\.weight<\"w(\d+)\"", text):
        tensor = case.inputs[int(i)]
        buffers[name] = buffer(len(tensor.codes), tensor.element, tensor.codes)
    outputs = {}
    for name, i in re.findall(r"(%\w+): memref<[^>]*> {v4\.output = \"y(\d+)\"", text):
        shape, element, values = case.results[int(i)]
        outputs[int(i)] = buffers[name] = buffer(len(values), element)
    for line in re.findall(r"v4\.launch .*", text):
        name, ins, outs, types = re.match(
            r"v4\.launch @(\w+) .* ins\((.*?) : .*?\) outs\((.*?) : (.*?)\)(?: |$)", line
        ).groups()
        operands = ins.split(", ") + outs.split(", ")
        for operand, type in zip(outs.split(", "), re.findall(r"memref<.*?>", types)):
            if operand not in buffers:
                *sizes, element = type[7:-1].split("x")
                count = 1
                for size in sizes:
                    count *= int(size)
                buffers[operand] = buffer(count, element)
        addresses = [ctypes.addressof(buffers[o][0]) + buffers[o][1] for o in operands]
        bindings = (ctypes.c_void_p * len(addresses))(*addresses)
        for phase, grid in re.findall(rf"@({name}\.\d+)\(.*?v4\.grid = (\d+)", text):
            # Backwards: workgroups may run in any order.
            for workgroup in reversed(range(int(grid))):
                library[phase](bindings, ctypes.c_uint32(workgroup))
    found = []
    for i, (_, element, values) in enumerate(case.results):
        raw, start = outputs[i]
        found.append(list(struct.unpack_from(f"<{len(values)}{FORMATS[element]}", raw, start)))
    return found


def main(name, target="cpu"):
    name, _, kernel = name.partition(":")
    definitions.RANDOM.seed(name)
    count = 0
    for number, case in enumerate(definitions.CASES[name]()):
        if any(isinstance(t, definitions.Index) for t in case.inputs):
            continue
        for i, found in enumerate(execute(case, target, kernel)):
            definitions.compare(number, case, i, found)
        count += 1
    print(f"{count} cases equal their definition")


if __name__ == "__main__":
    main(*sys.argv[1:])
