# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs a command that may not write files beyond a size, and checks its exit code: limited.py --file-size=N --exit=C -- COMMAND"""
import argparse
import resource
import subprocess
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--file-size", type=int, required=True)
parser.add_argument("--exit", type=int, required=True)
parser.add_argument("command", nargs="+")
arguments = parser.parse_args()
limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (arguments.file_size, arguments.file_size))
code = subprocess.run(arguments.command, preexec_fn=limit).returncode
sys.exit(0 if code == arguments.exit else f"exit code {code}")
