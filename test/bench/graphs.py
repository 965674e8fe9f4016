# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes the graphs of the micro-benchmarks: each entry point runs one op at a real shape, named `measured`.

graphs.py NAME OUT.mlir      NAME: linear-bf16, linear-fp8, linear-fp4, linear-f32, topk-N, attention, norm, mhc or rope

Inputs of the op come from the embedding of the tokens, or are weights; its result becomes the logits.
"""
import sys

WIDTH = 4096


def tensor(shape, element="f32"):
    return "tensor<" + "x".join(str(size) for size in shape) + "x" + element + ">"


class Graph:
    """A module of entry points `decode` (one row) and `prefill_<rows>`."""

    def __init__(self, vocabulary, context=8192):
        self.vocabulary, self.context, self.functions = vocabulary, context, []

    def entry(self, rows, weights, body, states=()):
        """weights and states: (argument, type, attribute). `body` computes %logits [rows, vocabulary]."""
        name, kind = ("decode", "decode") if rows == 1 else (f"prefill_{rows}", "prefill")
        inputs = [f'%tokens: {tensor([rows], "i32")} {{v4.input = "tokens"}}',
                  f'%positions: {tensor([rows], "i32")} {{v4.input = "positions"}}',
                  '%span: tensor<2xi32> {v4.input = "span"}']
        inputs += [f"%{argument}: {kind} {{{attribute}}}" for argument, kind, attribute in (*weights, *states)]
        logits = tensor([rows, self.vocabulary])
        results = [f'{logits} {{v4.output = "logits"}}'] + [f"{kind} {{{attribute}}}" for _, kind, attribute in states]
        values = ", ".join(["%logits"] + ["%" + argument for argument, _, _ in states])
        types = ", ".join([logits] + [kind for _, kind, _ in states])
        self.functions.append(f"""  func.func @{name}({", ".join(inputs)}) -> ({", ".join(results)})
      attributes {{v4.entry = "{kind}", v4.rows = {rows} : i64}} {{
{body}    return {values} : {types}
  }}
""")

    def text(self):
        return f"""module attributes {{v4.model = {{hidden_size = {WIDTH} : i64, layers = 1 : i64, logits_all = true,
    max_context = {self.context} : i64, model_type = "bench", mtp = false, streams = 1 : i64,
    vocab_size = {self.vocabulary} : i64, experts_per_token = 0 : i64, eos_token = -1 : i64}}}} {{
{"".join(self.functions)}}}
"""


def weight(argument, element, shape):
    shown = ", ".join(str(size) for size in shape)
    return argument, tensor(shape, element), f'v4.weight = #v4.weight<"{argument}.weight", {element}, [{shown}]>'


def embed(rows, width=WIDTH, vocabulary=WIDTH, ids="%tokens", out="%x"):
    types = f'({tensor([rows], "i32")}, {tensor([vocabulary, width], "bf16")}) -> {tensor([rows, width])}'
    return f'    {out} = v4.embed {ids}, %embed {{v4.name = "embed"}} : {types}\n'


def linear(element):
    graph = Graph(WIDTH)
    stored = {"bf16": ("bf16", WIDTH), "f32": ("f32", WIDTH), "fp8": ("f8E4M3FN", WIDTH), "fp4": ("i8", WIDTH // 2)}[element]
    scales = {"fp8": [WIDTH // 128, WIDTH // 128], "fp4": [WIDTH, WIDTH // 32]}.get(element)
    for rows in (1, 2, 4, 8, 16, 512):
        weights = [weight("embed", "bf16", [WIDTH, WIDTH]), weight("w", stored[0], [WIDTH, stored[1]])]
        operands, types = "%x, %w", [tensor([rows, WIDTH]), weights[1][1]]
        if scales:
            weights.append(weight("s", "f8E8M0FNU", scales))
            operands += " scale %s"
            types.append(weights[2][1])
        body = embed(rows) + f'    %logits = v4.linear {operands} {{v4.name = "measured"}} : ({", ".join(types)}) -> {types[0]}\n'
        graph.entry(rows, weights, body)
    return graph


def chosen(count, picks, visible=""):
    return (f'    %chosen = v4.top_k %scores{visible} {{v4.name = "NAME"}} : ({tensor([1, count])}) -> '
            f'{tensor([1, picks], "i32")}\n')


def finish(value, shape):
    """The logits out of a view of a result: an output of an entry is written by an op, in its own shape."""
    return f'    %logits = v4.rms_norm {value} eps 1.0e-6 {{v4.name = "logits"}} : ({shape}) -> {shape}\n'


def topk(count):
    picks = 512
    graph = Graph(picks)
    body = chosen(count, picks).replace("NAME", "measured") + f"""    %ids = tensor.collapse_shape %chosen [[0, 1]] : tensor<1x{picks}xi32> into tensor<{picks}xi32>
""" + embed(picks, 1, count, "%ids") + f"""    %flat = tensor.collapse_shape %x [[0, 1]] : tensor<{picks}x1xf32> into tensor<{picks}xf32>
    %row = tensor.expand_shape %flat [[0, 1]] output_shape [1, {picks}] : tensor<{picks}xf32> into tensor<1x{picks}xf32>
""" + finish("%row", tensor([1, picks]))
    graph.entry(1, [weight("embed", "bf16", [count, 1]), weight("scores", "f32", [1, count])], body)
    return graph


def attention():
    heads, width, keys, picks = 64, 512, 65536, 512
    graph = Graph(heads * width, 4 * keys)
    weights = [weight("q", "f32", [1, heads, width]), weight("sink", "f32", [heads]), weight("scores", "f32", [1, keys])]
    states = [("ring", tensor([128, width]), 'v4.state = #v4.state<"ring", window>'),
              ("entries", tensor([keys, width]), 'v4.state = #v4.state<"entries", entries, ratio = 4>')]
    shape = tensor([1, heads, width])
    body = chosen(keys, picks).replace("NAME", "select") + f"""    %o = v4.sparse_attention %q, %ring, %sink, %positions, %span entries %entries ratio 4 selected %chosen window 128 scale 0.0441941731 {{v4.name = "measured"}} : ({shape}, {states[0][1]}, tensor<{heads}xf32>, tensor<1xi32>, tensor<2xi32>, {states[1][1]}, tensor<1x{picks}xi32>) -> {shape}
    %row = tensor.collapse_shape %o [[0], [1, 2]] : {shape} into {tensor([1, heads * width])}
""" + finish("%row", tensor([1, heads * width]))
    graph.entry(1, weights, body, states)
    return graph


def norm():
    graph = Graph(WIDTH)
    for rows in (1, 512):
        shape = tensor([rows, WIDTH])
        body = embed(rows) + (f'    %logits = v4.rms_norm %x weight %g eps 1.0e-6 {{v4.name = "measured"}} : '
                              f'({shape}, tensor<{WIDTH}xbf16>) -> {shape}\n')
        graph.entry(rows, [weight("embed", "bf16", [WIDTH, WIDTH]), weight("g", "bf16", [WIDTH])], body)
    return graph


def mhc():
    graph = Graph(WIDTH)
    for rows in (1, 512):
        streams, shape = tensor([rows, 4, WIDTH]), tensor([rows, WIDTH])
        weights = [weight("embed", "bf16", [WIDTH, WIDTH]), weight("fn", "f32", [24, 4 * WIDTH]), weight("a", "f32", [3]),
                   weight("b", "f32", [24])]
        body = embed(rows) + f"""    %streams = v4.hc_expand %x {{v4.name = "expand"}} : ({shape}) -> {streams}
    %logits, %post, %comb = v4.hc_pre %streams, %fn, %a, %b eps 1.0e-6 hc_eps 1.0e-6 iterations 20 {{v4.name = "measured"}} : ({streams}, {weights[1][1]}, tensor<3xf32>, tensor<24xf32>) -> ({shape}, tensor<{rows}x4xf32>, tensor<{rows}x4x4xf32>)
"""
        graph.entry(rows, weights, body)
    return graph


def rope():
    heads, width = 64, 512
    graph = Graph(heads * width)
    for rows in (1, 16):
        flat, shape = tensor([rows, heads * width]), tensor([rows, heads, width])
        body = embed(rows, heads * width, 16) + f"""    %q = tensor.expand_shape %x [[0], [1, 2]] output_shape [{rows}, {heads}, {width}] : {flat} into {shape}
    %table = v4.rope_table %positions theta 1.0e4 {{v4.name = "table"}} : (tensor<{rows}xi32>) -> tensor<{rows}x2x32xf32>
    %y = v4.rope %q, %table {{v4.name = "measured"}} : ({shape}, tensor<{rows}x2x32xf32>) -> {shape}
    %row = tensor.collapse_shape %y [[0], [1, 2]] : {shape} into {flat}
""" + finish("%row", flat)
        graph.entry(rows, [weight("embed", "bf16", [16, heads * width])], body)
    return graph


def main(name, path):
    kind, _, argument = name.partition("-")
    make = {"linear": linear, "topk": lambda count: topk(int(count)), "attention": attention, "norm": norm, "mhc": mhc,
            "rope": rope}[kind]
    with open(path, "w") as file:
        file.write((make(argument) if argument else make()).text())


if __name__ == "__main__":
    main(*sys.argv[1:])
