#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Interesting is a file that still has a top_k which decomposes: exit 1 tells v4-reduce to keep it.
v4-opt "$1" --v4-decompose >/dev/null 2>&1 && grep -Eq 'v4\.(index_)?top_k' "$1" && exit 1
exit 0
