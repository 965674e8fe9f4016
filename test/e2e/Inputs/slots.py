# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Slots of a module do not see each other.

slots.py [--device=NAME] LIBRARY MODULE MODE CASE_DIR SCRATCH_DIR POSITION...

Slot i of the module, which has as many slots as there are positions, gets POSITION tokens of a sequence in prefill
calls; then all slots step together. Checked, for the sequence of the case and for one of its own per slot:
  * the logits of every step, and the state behind them, equal bit for bit those of the same slot in a session where all
    others are inactive, and those of the same sequence in another slot;
  * logits of the case's sequence are within its bound for the numerics MODE of the stored ones;
  * a slot that sits out a step, or while another one is filled in chunks, keeps its state bit for bit.
Uses the C interface, which v4-run does not cover: a first token in a step, steps with inactive slots.
"""
import ctypes
import json
import math
import os
import statistics
import struct
import sys

import tensors

STEPS = 5


class ModuleOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("device", ctypes.c_char_p)]


class Model:
    def __init__(self, library, module, case, scratch, device):
        self.lib = ctypes.CDLL(library)
        self.scratch = scratch
        self.lib.v4_status_message.restype = ctypes.c_char_p
        self.lib.v4_session_logits.restype = ctypes.POINTER(ctypes.c_float)
        self.lib.v4_session_position.restype = ctypes.c_uint64
        options = ModuleOptions(ctypes.sizeof(ModuleOptions), device.encode())
        self.module = self.make("v4_module_load", module.encode(), ctypes.byref(options))
        self.weights = self.make("v4_weights_load", self.module, f"{case}/checkpoint".encode(), None)

    def call(self, name, *arguments):
        function = getattr(self.lib, name)
        function.restype = ctypes.c_void_p
        status = function(*arguments)
        assert not status, f"{name}: {self.lib.v4_status_message(ctypes.c_void_p(status)).decode()}"

    def make(self, name, *arguments):
        handle = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle

    def free(self):
        self.lib.v4_weights_free(self.weights)
        self.lib.v4_module_free(self.module)


class Session:
    def __init__(self, model, slots, vocab):
        self.model, self.slots, self.vocab = model, slots, vocab
        self.handle = model.make("v4_session_create", model.module, model.weights, None)

    def append(self, slot, tokens):
        if tokens:
            array, count = (ctypes.c_int32 * len(tokens))(*tokens), ctypes.c_size_t(len(tokens))
            self.model.call("v4_session_append", self.handle, ctypes.c_uint32(slot), array, count)

    def step(self, tokens):
        """`tokens` by slot, the others are inactive; the logits by slot, as bytes."""
        array = (ctypes.c_int32 * self.slots)(*[tokens.get(slot, -1) for slot in range(self.slots)])
        self.model.call("v4_session_step", self.handle, array, ctypes.c_size_t(self.slots))
        logits = self.model.lib.v4_session_logits
        return {slot: ctypes.string_at(logits(self.handle, ctypes.c_uint32(slot)), 4 * self.vocab) for slot in tokens}

    def state(self, slot):
        path = os.path.join(self.model.scratch, "state")
        self.model.call("v4_session_save", self.handle, ctypes.c_uint32(slot), path.encode())
        return open(path, "rb").read()

    def position(self, slot):
        return self.model.lib.v4_session_position(self.handle, ctypes.c_uint32(slot))

    def free(self):
        self.model.lib.v4_session_free(self.handle)


def run(model, vocab, slots, sequences, positions, active):
    """A session where the slots of `active` (slot -> number of the sequence) are filled and step together."""
    session = Session(model, slots, vocab)
    for slot, number in active.items():
        session.append(slot, sequences[number][:positions[number]])
    logits = [session.step({slot: sequences[number][positions[number] + i] for slot, number in active.items()})
              for i in range(STEPS)]
    return session, logits


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def check_golden(bound, got, want):
    """Rows of logits against the stored ones; `bound` is that of the case for the mode."""
    assert all(math.isfinite(v) for row in got for v in row)
    if "max_abs_over_max_logit" in bound:
        largest = bound["max_abs_over_max_logit"] * max(abs(v) for row in want for v in row)
        worst = max(abs(a - b) for g, w in zip(got, want) for a, b in zip(g, w))
        assert worst <= largest, f"a difference of {worst}, accepted: {largest}"
        return
    cosines = [dot(g, w) / math.sqrt(dot(g, g) * dot(w, w)) for g, w in zip(got, want)]
    (needed,) = bound.values()
    assert statistics.median(cosines) >= needed, f"a median cosine of {statistics.median(cosines)}, needed: {needed}"


def main(*arguments):
    options = dict(argument[2:].split("=", 1) for argument in arguments if argument.startswith("--"))
    library, module, mode, case, scratch, *positions = [a for a in arguments if not a.startswith("--")]
    os.makedirs(scratch, exist_ok=True)
    positions = [int(p) for p in positions]
    slots = len(positions)
    info = json.load(open(f"{case}/case.json"))
    stored = info["prompt"] + info["generated"]
    (rows, vocab), want = tensors.read_npy(f"{case}/logits_{'reference' if mode == 'reference' else 'f32'}.npy")
    model = Model(library, module, case, scratch, options.get("device", "cpu"))
    longest = max(positions) + STEPS + 1
    golden = (stored * (longest // len(stored) + 1))[:longest]
    own = [[(t * 7 + slot * 31 + i) % vocab for i, t in enumerate(golden)] for slot in range(slots)]
    for sequences, is_golden in [([golden] * slots, True), (own, False)]:
        together, logits = run(model, vocab, slots, sequences, positions, {slot: slot for slot in range(slots)})
        states = [together.state(slot) for slot in range(slots)]
        compared = []  # rows of logits and the stored ones
        for slot in range(slots):
            what = f"slot {slot} at {positions[slot]}"
            for place in {slot, (slot + 1) % slots}:
                alone, single = run(model, vocab, slots, sequences, positions, {place: slot})
                for i in range(STEPS):
                    assert single[i][place] == logits[i][slot], f"{what}, alone in slot {place}: logits of step {i}"
                assert alone.state(place) == states[slot], f"{what}, alone in slot {place}: the state differs"
                for other in range(slots):
                    assert other == place or alone.position(other) == 0
                alone.free()
            for i in range(STEPS if is_golden else 0):
                row = positions[slot] + i
                if row < rows:
                    compared.append((struct.unpack(f"<{vocab}f", logits[i][slot]), want[row * vocab:(row + 1) * vocab]))
        if is_golden:
            check_golden(info[mode], *zip(*compared))
        print(f"{slots} slots: {STEPS} steps equal the slot alone, {len(compared)} rows agree with the stored logits")

        # The even slots sit out a step of the odd ones, and a prompt of slot 0 in calls of 5 leaves the others alone.
        odd = {slot: sequences[slot][positions[slot] + STEPS] for slot in range(1, slots, 2)}
        if odd:
            together.step(odd)
        after = [together.state(slot) for slot in range(slots)]
        for slot in range(slots):
            assert (after[slot] == states[slot]) == (slot not in odd), f"slot {slot}: state after a step of others"
        model.call("v4_session_reset", together.handle, ctypes.c_uint32(0))
        for first in range(0, 23, 5):
            together.append(0, golden[first:first + 5])
        for slot in range(1, slots):
            assert together.state(slot) == after[slot], f"slot {slot}: state after a prompt in slot 0"
        fresh = Session(model, slots, vocab)
        for first in range(0, 23, 5):
            fresh.append(0, golden[first:first + 5])
        assert together.state(0) == fresh.state(0)
        fresh.free()
        together.free()
    model.free()


if __name__ == "__main__":
    main(*sys.argv[1:])
