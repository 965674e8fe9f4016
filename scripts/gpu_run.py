#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs a kit of gpu.sh on a machine with a GPU (gpu.sh run) and writes what came out as JSON and Markdown.

gpu_run.py DIR [--device=cuda:N] [--only=golden,ops,sanitizer,bench] [--out=PREFIX]
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

PARTS = ("golden", "ops", "sanitizer", "bench")
COPY_MIB = 1024


def fail(code, message):
    print(f"gpu.sh: error: {message}", file=sys.stderr)
    sys.exit(code)


class Kit:
    def __init__(self, folder, device):
        self.folder, self.device = os.path.abspath(folder), device
        # For the kit's tools alone: Python's own libraries stay as they are.
        paths = [os.path.join(self.folder, "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
        self.environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, paths))}

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def lines(self, name):
        with open(self.path(name)) as file:
            return [line.split() for line in file if line.strip()]

    def call(self, tool, *arguments, before=(), timeout=900):
        """Exit code and what was printed; 124 after `timeout` seconds."""
        command = [*before, self.path("bin", tool), *arguments, f"--device={self.device}"]
        try:
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True, errors="replace",
                                  timeout=timeout)
        except subprocess.TimeoutExpired:
            return 124, "", f"no end after {timeout} s"
        except OSError as error:
            return 126, "", str(error)
        return done.returncode, done.stdout, done.stderr


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def golden(kit, before=(), only=None):
    for name, case in kit.lines("golden.txt"):
        if only and case not in only:
            continue
        start = time.monotonic()
        code, out, err = kit.call("v4-run", kit.path("modules", name + ".v4m"), "--case=" + kit.path("golden", case),
                                  before=before)
        yield name, code, last_line(out if code == 0 else err or out), time.monotonic() - start


def ops(kit, before=()):
    for name in sorted(os.listdir(kit.path("ops"))):
        start = time.monotonic()
        folder = kit.path("ops", name)
        code, out, err = kit.call("kernel-run", folder + "/kernel.ptx", "@" + folder + "/launch.txt", before=before, timeout=120)
        yield name, code, last_line(err or out), time.monotonic() - start


def collect(what, cases):
    """Runs the cases of a part and says how they end."""
    results = []
    for name, code, text, seconds in cases:
        results.append({"name": name, "passed": code == 0, "exit_code": code, "text": text, "seconds": round(seconds, 3)})
        print(f"{what} {name}: {'ok' if code == 0 else f'FAILED ({code}): {text}'}", flush=True)
    return results


def sanitizer(kit):
    """memcheck of one golden case and all ops, and the same with racecheck (of shared memory)."""
    tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if not tool:
        return "skipped: compute-sanitizer is not installed"
    first = kit.lines("golden.txt")[0][1]
    results = []
    for check in ("memcheck", "racecheck"):
        before = (tool, f"--tool={check}", "--error-exitcode=99")
        probe, _, err = kit.call("kernel-run", before=before, timeout=120)
        if probe != 0:
            print(f"{check}: skipped: compute-sanitizer does not work here: {last_line(err)}", flush=True)
            results.append({"name": check, "skipped": last_line(err) or f"exit code {probe}"})
            continue
        results += collect(check, golden(kit, before, {first}))
        results += collect(check, ops(kit, before))
    return results


def bench(kit):
    results = []
    for (name,) in kit.lines("bench.txt"):
        print(f"bench {name}", flush=True)
        code, out, err = kit.call("v4-bench", kit.path("modules", name + ".v4m"), "--random-weights=1", "--json", timeout=1800)
        if code != 0:
            print(f"bench {name}: FAILED ({code}): {last_line(err)}", flush=True)
            results.append({"name": name, "passed": False, "exit_code": code, "text": last_line(err)})
            continue
        results.append({"name": name, "passed": True, "figures": json.loads(out)})
    return results


def torch_figures(device):
    """Copy bandwidth, and one product with a bf16 weight [4096, 4096] of many, so that none is in a cache; None without torch."""
    try:
        import torch
    except (ImportError, OSError):
        return None
    if not torch.cuda.is_available():
        return None
    torch.cuda.set_device(int(device.partition(":")[2] or 0))

    def median(run, count=30):
        times = []
        for i in range(count + 3):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run(i)
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) * 1e-3)
        return statistics.median(times[3:])

    size = COPY_MIB << 20
    a, b = (torch.empty(size, dtype=torch.uint8, device="cuda") for _ in range(2))
    copy = size / median(lambda i: b.copy_(a))
    weights = [torch.randn(4096, 4096, device="cuda").bfloat16() for _ in range(16)]
    figures = {"version": torch.__version__, "copy_bytes_per_second": copy}
    for rows in (1, 512):
        x = torch.randn(rows, 4096, device="cuda").bfloat16()
        figures[f"linear_bf16_4096x4096_rows_{rows}_seconds"] = median(lambda i: x @ weights[i % 16].T)
    return figures


def passed(results):
    return all(r.get("passed", True) for r in results) if isinstance(results, list) else True


def summary(results):
    if isinstance(results, str):
        return results
    done = [r for r in results if "passed" in r]
    text = f"{sum(r['passed'] for r in done)} of {len(done)} passed"
    skipped = [r["name"] for r in results if "skipped" in r]
    return text + (f"; {', '.join(skipped)} skipped" if skipped else "")


def markdown(document):
    copy = document["copy_bytes_per_second"]
    lines = [f"## {document['gpu']}", "",
             f"Copies {copy / 1e9:.0f} GB/s within its memory, every byte counted once ({2 * copy / 1e9:.0f} GB/s read and written).",
             "\"of copy\": bytes of a kernel per second against what copying reads and writes.", "",
             "| part | result |", "|---|---|"]
    for part in PARTS:
        if part in document:
            lines.append(f"| {part} | {summary(document[part])} |")
    torch = document.get("torch")
    if torch:
        lines += ["", f"torch {torch['version']}: copy {torch['copy_bytes_per_second'] / 1e9:.0f} GB/s; x W^T, bf16, W 4096 x 4096 and cold: "
                  + ", ".join(f"{torch[f'linear_bf16_4096x4096_rows_{rows}_seconds'] * 1e6:.1f} us for {rows} rows" for rows in (1, 512))]
    else:
        lines += ["", "torch is not installed, or finds no GPU."]
    for module in document.get("bench", []):
        for entry in module.get("figures", {}).get("entries", []):
            lines += ["", f"{module['name']}, {entry['name']}, context {entry['context']}: {entry['seconds'] * 1e3:.3f} ms, median of "
                      f"{entry['steps']} steps, {entry['tokens_per_second']:.1f} tokens/s", ""]
            lines += ["| kernel | first launch | launches | time us | MB | GB/s | of copy |", "|---|---|---|---|---|---|---|"]
            for kernel in entry["kernels"]:
                moved = kernel.get("weight_bytes", 0) + kernel.get("state_bytes", 0)
                rate = moved / kernel["seconds"] if kernel["seconds"] > 0 else 0
                bound = "<" if kernel.get("bytes_are_bound") else ""
                cells = [f"{bound}{moved / 1e6:.3f}", f"{bound}{rate / 1e9:.0f}", f"{bound}{rate / (2 * copy):.2f}"] if moved and rate else ["-"] * 3
                lines.append("| " + " | ".join([kernel["name"], kernel["first_launch"], str(kernel["launches"]),
                                                 f"{kernel['seconds'] * 1e6:.1f}", *cells]) + " |")
            if entry.get("layers"):
                lines += ["", "| layer | launches | time us |", "|---|---|---|"]
                lines += [f"| {layer['name']} | {layer['launches']} | {layer['seconds'] * 1e6:.1f} |" for layer in entry["layers"]]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(prog="gpu.sh run DIR", description=__doc__.splitlines()[0])
    parser.add_argument("kit")
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run")
    parser.add_argument("--out", help="where PREFIX.json and PREFIX.md go")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    if not set(parts) <= set(PARTS):
        fail(2, f"--only={arguments.only}: parts are {', '.join(PARTS)}")
    if arguments.device.partition(":")[0] != "cuda":
        fail(2, f"--device={arguments.device}: expected cuda or cuda:N")
    kit = Kit(arguments.kit, arguments.device)
    out = arguments.out or kit.path("results")

    code, text, error = kit.call("v4-bench", "--probe", "--json", timeout=300)
    if code != 0:
        fail(3, f"there is nothing to run on: {last_line(error) or f'v4-bench ends with {code}'} (the kit needs: "
                f"{open(kit.path('needs')).read().strip()})")
    machine = json.loads(text)["machine"]
    # Half of the bytes of a copy are read, half are written.
    document = {"schema": "v4-gpu", "schema_version": 1, "gpu": machine["gpu"],
                "copy_bytes_per_second": machine["read_bytes_per_second"] / 2,
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "needs": open(kit.path("needs")).read().strip()}
    print(f"{document['gpu']}: copies {document['copy_bytes_per_second'] / 1e9:.0f} GB/s", flush=True)
    if "golden" in parts:
        document["golden"] = collect("golden", golden(kit))
    if "ops" in parts:
        document["ops"] = collect("op", ops(kit))
    if "sanitizer" in parts:
        document["sanitizer"] = sanitizer(kit)
        if isinstance(document["sanitizer"], str):
            print(f"sanitizer: {document['sanitizer']}", flush=True)
    if "bench" in parts:
        document["bench"] = bench(kit)
        document["torch"] = torch_figures(arguments.device)
    with open(out + ".json", "w") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
    with open(out + ".md", "w") as file:
        file.write(markdown(document))
    bad = [part for part in PARTS if part in document and not passed(document[part])]
    for part in PARTS:
        if part in document:
            print(f"{part}: {summary(document[part])}")
    print(f"written: {out}.json, {out}.md")
    if bad:
        fail(1, f"failed: {', '.join(bad)} (see {out}.json)")


main()
