# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs a command and checks how it ends.

    outcome.py [OPTION...] CODE TEXT COMMAND...

The exit code must be CODE and standard error must hold TEXT; "" stands for an empty standard error. Standard output is
passed on.
    --absent=PATH        afterwards nothing whose name starts with PATH exists: no output, no temporary file beside it
    --file-size=BYTES    the largest file that the command may write
    --memory=BYTES       of address space
    --signal=NAME@PATH   the command gets the signal once PATH exists
    --stdin=PATH         standard input
"""
import glob
import os
import resource
import signal
import subprocess
import sys
import time

options = {}
arguments = sys.argv[1:]
while arguments[0].startswith("--"):
    name, _, value = arguments.pop(0)[2:].partition("=")
    options[name] = value
code, text, command = int(arguments[0]), arguments[1], arguments[2:]


def limit():
    for name, kind in ("file-size", resource.RLIMIT_FSIZE), ("memory", resource.RLIMIT_AS):
        if name in options:
            resource.setrlimit(kind, (int(options[name]),) * 2)


# Python ignores these signals, and would hand that down.
stdin = open(options["stdin"], "rb") if "stdin" in options else subprocess.DEVNULL
process = subprocess.Popen(command, stdin=stdin, stderr=subprocess.PIPE, preexec_fn=limit, restore_signals=True)
if "signal" in options:
    name, _, path = options["signal"].partition("@")
    while not os.path.exists(path) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(getattr(signal, name))
error = process.communicate()[1].decode(errors="replace")
left = glob.glob(glob.escape(options["absent"]) + "*") if "absent" in options else []
if process.returncode != code or (text not in error if text else error) or left:
    sys.exit(f"{' '.join(command)}\n{error}ended with {process.returncode}, expected {code} and '{text}'; left: {left}")
