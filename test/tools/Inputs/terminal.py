# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""terminal.py CODE COMMAND...: runs a command on a terminal, prints what it wrote, and checks its exit code."""
import os
import pty
import sys

parts = []


def read(fd):
    parts.append(os.read(fd, 65536))
    return b" "  # nothing else reaches our own output


stdout = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
status = pty.spawn(sys.argv[2:], read)
os.write(stdout, b"".join(parts))
if os.waitstatus_to_exitcode(status) != int(sys.argv[1]):
    sys.exit(f"ended with {os.waitstatus_to_exitcode(status)}, expected {sys.argv[1]}")
