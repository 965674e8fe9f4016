# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Finds scalar float loops in the machine code of a module.

scan_vectorised.py IMAGE.so [EXCEPT...]

Disassembles every kernel of an x86-64 image and lists the innermost loops that do float arithmetic one number at a
time and none on vectors. Kernels whose name starts with one of EXCEPT may have such loops; any other is an error.
An innermost loop is a cycle of basic blocks with no cycle left once its entry block is taken out, however the blocks
are laid out.
"""
import collections
import re
import subprocess
import sys

ARITHMETIC = r"v?(?:add|sub|mul|div|sqrt|max|min|fn?m(?:add|sub)(?:132|213|231)|rcp\d*|rsqrt\d*)"
SCALAR = re.compile(ARITHMETIC + r"s[sd]$")
PACKED = re.compile(ARITHMETIC + r"p[sd]$|vdpbf16ps$|v?dpp[sd]$|v?haddp[sd]$")


def functions(image):
    """name -> [(address, mnemonic, operands)]"""
    text = subprocess.run(["llvm-objdump", "-d", "--no-show-raw-insn", image], check=True, capture_output=True,
                          text=True).stdout
    out = collections.OrderedDict()
    for line in text.splitlines():
        if match := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            body = out[match[1]] = []
        elif match := re.match(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)", line):
            body.append((int(match[1], 16), match[2], match[3]))
    return out


def blocks(body):
    """Basic blocks as {start: (mnemonics, successors)}."""
    addresses = [address for address, _, _ in body]
    inside = set(addresses)
    targets, starts = {}, {addresses[0]}
    for i, (address, mnemonic, operands) in enumerate(body):
        if not mnemonic.startswith("j"):
            continue
        target = re.match(r"0x([0-9a-f]+)", operands)
        if target and int(target[1], 16) in inside:
            targets[address] = int(target[1], 16)
            starts.add(targets[address])
        if i + 1 < len(body):
            starts.add(addresses[i + 1])
    out, start = {}, None
    for i, (address, mnemonic, operands) in enumerate(body):
        if address in starts:
            start = address
            out[start] = ([], [])
        out[start][0].append(mnemonic)
        last = i + 1 == len(body)
        if mnemonic.startswith("j") or mnemonic.startswith("ret") or last or addresses[i + 1] in starts:
            if address in targets:
                out[start][1].append(targets[address])
            if not last and mnemonic != "jmp" and not mnemonic.startswith(("ret", "ud2")):
                out[start][1].append(addresses[i + 1])
    return out


def components(nodes, successors):
    """Strongly connected components (Tarjan, without recursion)."""
    index, low, stack, on, out, counter = {}, {}, [], set(), [], 0
    for root in nodes:
        if root in index:
            continue
        work = [(root, iter(successors(root)))]
        index[root] = low[root] = counter
        counter += 1
        stack.append(root)
        on.add(root)
        while work:
            node, edges = work[-1]
            for edge in edges:
                if edge not in nodes:
                    continue
                if edge not in index:
                    index[edge] = low[edge] = counter
                    counter += 1
                    stack.append(edge)
                    on.add(edge)
                    work.append((edge, iter(successors(edge))))
                    break
                if edge in on:
                    low[node] = min(low[node], index[edge])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = set()
                    while True:
                        member = stack.pop()
                        on.discard(member)
                        component.add(member)
                        if member == node:
                            break
                    out.append(component)
    return out


def innermost(graph, nodes, entry_edges):
    """The innermost loops among `nodes`, as sets of blocks."""
    def successors(node):
        return graph[node][1]

    for component in components(nodes, successors):
        if len(component) == 1 and next(iter(component)) not in successors(next(iter(component))):
            continue
        entries = [n for n in component if any(p not in component for p in entry_edges[n])] or [min(component)]
        rest = component - {min(entries)}
        inner = list(innermost(graph, rest, entry_edges)) if rest else []
        if inner:
            yield from inner
        else:
            yield component


def scalar_loops(body):
    graph = blocks(body)
    predecessors = collections.defaultdict(list)
    for node, (_, edges) in graph.items():
        for edge in edges:
            predecessors[edge].append(node)
    for loop in innermost(graph, set(graph), predecessors):
        mnemonics = [m for node in loop for m in graph[node][0]]
        scalar = [m for m in mnemonics if SCALAR.match(m)]
        if scalar and not any(PACKED.match(m) for m in mnemonics):
            yield min(loop), scalar


def main(image, *excepted):
    found = scanned = 0
    for name, body in functions(image).items():
        if not body:
            continue
        scanned += 1
        for address, scalar in scalar_loops(body):
            allowed = name.startswith(excepted) if excepted else False
            kinds = ", ".join(sorted(set(scalar)))
            print(f"{'allowed' if allowed else 'SCALAR'} {name} loop at {address:#x}: {len(scalar)} x {kinds}")
            found += not allowed
    print(f"{scanned} functions, {found} scalar float loops")
    sys.exit(1 if found or not scanned else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
