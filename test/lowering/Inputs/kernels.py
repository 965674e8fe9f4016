# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles one op as v4c compiles it in a model, and runs the machine code of its kernel on arrays of NumPy."""

import ctypes
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "e2e", "Inputs"))
import module as modules

ELEMENTS = {np.dtype("f4"): "f32", np.dtype("i4"): "i32", np.dtype("i8"): "i64", np.dtype("u2"): "bf16",
            np.dtype("i1"): "i8"}
TYPES = {element: dtype for dtype, element in ELEMENTS.items()}
MODEL = ('{eos_token = 1 : i64, experts_per_token = 1 : i64, hidden_size = 1 : i64, layers = 1 : i64, '
         'logits_all = false, max_context = 1 : i64, model_type = "deepseek_v4", mtp = false, streams = 1 : i64, '
         "vocab_size = 1 : i64}")


def tensor(shape, element):
    return "tensor<" + "x".join([*map(str, shape), element]) + ">"


def run(command, text=None):
    result = subprocess.run(command, input=text, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(command)}: exit {result.returncode}\n{result.stderr[:2000]}")
    return result.stdout


class Kernel:
    """`text` is the op, with {0}, {1}, .. for the operands, without types. `inputs` and `results` are arrays of the
    operands' and (shape, element) of the results'."""

    def __init__(self, text, inputs, results, target="cpu"):
        types = [tensor(a.shape, ELEMENTS[a.dtype]) for a in inputs]
        outs = [tensor(*r) for r in results]
        names = ", ".join(f"%r{i}" for i in range(len(outs)))
        weights = [f'#v4.weight<"w{i}", {ELEMENTS[a.dtype]}, [{", ".join(map(str, a.shape))}]>'
                   for i, a in enumerate(inputs)]
        arguments = ", ".join(f"%a{i}: {t} {{v4.weight = {w}}}" for i, (t, w) in enumerate(zip(types, weights)))
        outputs = ", ".join(f'{t} {{v4.output = "y{i}"}}' for i, t in enumerate(outs))
        op = text.format(*(f"%a{i}" for i in range(len(inputs))))
        graph = f"""module attributes {{v4.model = {MODEL}, v4.graph_hash = "", v4.ignored = [], v4.options = []}} {{
  func.func @decode({arguments}) -> ({outputs}) attributes {{v4.entry = "decode", v4.rows = 1 : i64}} {{
    {names} = {op} : ({", ".join(types)}) -> ({", ".join(outs)})
    return {names} : {", ".join(outs)}
  }}
}}
"""
        self.results = results
        with tempfile.TemporaryDirectory() as folder:
            path = lambda name: os.path.join(folder, name)
            with open(path("graph.mlir"), "w") as file:
                file.write(graph)
            options = ["--numerics=f32", f"--target={target}"]
            run(["v4c", path("graph.mlir"), *options, "--compile-to=kernels", "-o", path("kernels.mlir")])
            run(["v4c", path("kernels.mlir"), *options, "--compile-from=kernels", "-o", path("m.v4m")])
            modules.image(path("m.v4m"), path("image.so"))
            self.library = ctypes.CDLL(path("image.so"))
            with open(path("kernels.mlir")) as file:
                text = file.read()
        self.launches = []
        for line in re.findall(r"v4\.launch .*", text):
            name, ins, in_types, outs, out_types = re.match(
                r'v4\.launch @(\w+) .* ins\((.*?) : (.*?)\) outs\((.*?) : (.*?)\)(?: |$)', line).groups()
            phases = re.findall(rf"@({name}\.\d+)\(.*?v4\.grid = (\d+)", text)
            self.launches.append((ins.split(", "), outs.split(", "), re.findall(r"memref<.*?>", out_types),
                                  [(self.library[phase], int(grid)) for phase, grid in phases]))
        self.arguments = re.findall(r"(%\w+): memref<[^>]*> {v4\.weight = #v4\.weight<\"w(\d+)\"", text)
        self.outputs = re.findall(r"(%\w+): memref<[^>]*> {v4\.output = \"y(\d+)\"", text)

    def bind(self, inputs):
        """The calls of a step as (function, grid, bindings), and the arrays of the results."""
        buffers = {name: inputs[int(i)] for name, i in self.arguments}
        results = [np.full(shape, -7, TYPES[element]) for shape, element in self.results]
        buffers |= {name: results[int(i)] for name, i in self.outputs}
        calls, self.kept = [], list(inputs)
        for ins, outs, types, phases in self.launches:
            for name, type in zip(outs, types):
                shape = re.match(r"memref<((?:\d+x)*)(\w+)", type)
                if name not in buffers:
                    sizes = [int(s) for s in shape[1].split("x") if s]
                    buffers[name] = np.full(sizes, -7, TYPES[shape[2]])
            arrays = [buffers[name] for name in ins + outs]
            self.kept += arrays
            pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
            calls += [(function, grid, pointers) for function, grid in phases]
        return calls, results

    def __call__(self, *inputs):
        calls, results = self.bind(inputs)
        for function, grid, pointers in calls:
            for workgroup in range(grid):
                function(pointers, ctypes.c_uint32(workgroup))
        return results
