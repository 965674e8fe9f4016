#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# From nothing to tokens: installs what is missing, builds, compiles a small checkpoint for this CPU, runs it, compares its
# logits with the stored ones and shows where the time went. Run it again at will; the second time takes seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/common.sh

if (($#)); then
  echo "usage: scripts/demo.sh"
  sed -n '3,4s/^# //p' "$0"
  [[ "$1" == --help ]] && exit 0 || exit 2
fi

v4_install
v4_build dev v4c v4-run v4-dump

case=build/test/golden/tiny-bf16
module=build/demo.v4m
v4_say "compiling $case/checkpoint (6 layers of random weights in the official layout) for this CPU"
build/bin/v4c "$case/checkpoint" --numerics=f32 --logits=all --mtp --prefill=16,64 -o "$module"
build/bin/v4-dump "$module" | sed -n 1,12p
v4_say "running its prompt; every logit must be within 2e-5 of the stored ones, and the tokens equal"
build/bin/v4-run "$module" --case="$case" --profile
v4_say "done. Next: README.md"
