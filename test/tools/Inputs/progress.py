# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a command shows on standard error while it works.

    progress.py TEXT COMMAND...

On a terminal TEXT, a regular expression, appears in lines that begin with a carriage return, and at the end the line is
empty again. Elsewhere there is neither the text nor a control character.
"""
import os
import pty
import re
import subprocess
import sys

text, command = sys.argv[1], sys.argv[2:]

ours, theirs = pty.openpty()
process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs)
os.close(theirs)
shown = b""
while True:
    try:
        part = os.read(ours, 65536)
    except OSError:  # the other end is closed
        break
    if not part:
        break
    shown += part
assert process.wait() == 0, shown
assert re.search(rb"\r\x1b\[K[a-z0-9-]+: " + text.encode(), shown), shown
lines = shown.split(b"\r\x1b[K")
assert len(lines) > 2 and not re.search(text.encode(), lines[-1]), shown

quiet = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
assert quiet.returncode == 0, quiet.stderr
assert b"\r" not in quiet.stderr and b"\x1b" not in quiet.stderr, quiet.stderr
assert not re.search(text.encode(), quiet.stderr), quiet.stderr
