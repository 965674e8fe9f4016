# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A prompt gives the same logits and the same state however it is split into calls.

chunks.py [--device=NAME] MODULE CASE_DIR SCRATCH_DIR CHUNK...

Runs the prompt of a case whole, then in calls of at most CHUNK tokens, then as two runs with a state file in between
after CHUNK tokens. Logits (MTP's too) must agree within 1e-5 of the largest, states within 1e-5 of each tensor's
largest. The launches of every run are counted: a prefill is one pass over the launches of its entry, whatever the
number of its tokens, so that a loop over decode does not pass for one.
"""
import collections
import json
import os
import subprocess
import sys

import compare
import tensors

BOUND = 1e-5


def run(*arguments):
    command = ["v4-run", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stderr}"


class Chunks:
    def __init__(self, module, case, scratch, device):
        self.module, self.case, self.scratch, self.device = module, case, scratch, device
        self.prompt = json.load(open(f"{case}/case.json"))["prompt"]
        dump = json.loads(subprocess.run(["v4-dump", module, "--json"], capture_output=True, check=True).stdout)
        self.mtp = dump["model"]["mtp"]
        prefix = {"cuda": "nvptx:", "emu": "emu:"}.get(device, "cpu")
        entries = next(t for t in dump["targets"] if t["name"].startswith(prefix))["entries"]
        self.launches = {e["name"]: len(e["launches"]) for e in entries}
        self.rows = {e["name"]: e["rows"] for e in entries}

    def path(self, tag, what):
        return os.path.join(self.scratch, f"{tag}.{what}")

    def record(self, tag, tokens, chunk=0, load=None):
        """One run of v4-run; returns the number of calls of every entry point."""
        arguments = [self.module, f"--weights={self.case}/checkpoint",
                     "--tokens=" + ",".join(map(str, tokens)),
                     "--logits=" + self.path(tag, "npy"), "--save-state=" + self.path(tag, "state"),
                     "--trace=" + self.path(tag, "json"), "--threads=1", "--device=" + self.device]
        if self.device == "emu":
            arguments.append("--emu-races=off")
        if chunk:
            arguments.append(f"--chunk={chunk}")
        if load:
            arguments.append("--load-state=" + self.path(load, "state"))
        if self.mtp:
            arguments.append("--mtp-logits=" + self.path(tag, "mtp.npy"))
        run(*arguments)
        trace = json.load(open(self.path(tag, "json")))["traceEvents"]
        launches = collections.Counter(event["cat"] for event in trace)
        calls = {}
        for entry, count in launches.items():
            assert count % self.launches[entry] == 0, f"{tag}: {count} launches of {entry}, of {self.launches[entry]} each"
            calls[entry] = count // self.launches[entry]
        return calls

    def expected_calls(self, tokens, chunk):
        """The smallest entry that fits what is left of a chunk, the largest while nothing fits."""
        entries = sorted((rows, name) for name, rows in self.rows.items() if not name.startswith("mtp"))
        most = min(chunk or entries[-1][0], entries[-1][0])
        calls = collections.Counter()
        while tokens:
            now = min(tokens, most)
            calls[next(name for rows, name in entries if rows >= now)] += 1
            tokens -= now
        return calls

    def check(self, tag):
        """Compares a run with the whole one."""
        compare.main("state", BOUND, self.path(tag, "state"), self.path("whole", "state"))
        compare.main("logits", BOUND, self.path(tag, "npy"), self.path("whole", "npy"))
        if self.mtp:
            compare.main("logits", BOUND, self.path(tag, "mtp.npy"), self.path("whole", "mtp.npy"))

    def check_tail(self, tag, first):
        """Compares the logits of a run that started at token `first`."""
        compare.main("state", BOUND, self.path(tag, "state"), self.path("whole", "state"))
        for what, start in [("npy", first), *([("mtp.npy", first - 1)] if self.mtp else [])]:
            (_, vocab), got = tensors.read_npy(self.path(tag, what))
            _, whole = tensors.read_npy(self.path("whole", what))
            assert compare.difference(got, whole[start * vocab:], what) <= BOUND, f"{tag}: {what}"

    def test(self, chunks):
        count = len(self.prompt)
        print("whole:", self.record("whole", self.prompt))
        for chunk in chunks:
            tag = f"chunk{chunk}"
            calls = self.record(tag, self.prompt, chunk)
            main_calls = {name: n for name, n in calls.items() if not name.startswith("mtp")}
            assert main_calls == self.expected_calls(count, chunk), f"{tag}: {calls}"
            print(f"{tag}:", calls)
            self.check(tag)
        for chunk in chunks:
            if chunk >= count:
                continue
            self.record(f"head{chunk}", self.prompt[:chunk])
            self.record(f"tail{chunk}", self.prompt[chunk:], load=f"head{chunk}")
            self.check_tail(f"tail{chunk}", chunk)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    device = arguments.pop(0)[len("--device="):] if arguments[0].startswith("--device=") else "cpu"
    os.makedirs(arguments[2], exist_ok=True)
    Chunks(*arguments[:3], device).test([int(chunk) for chunk in arguments[3:]])
