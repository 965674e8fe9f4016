#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Builds everything and runs every test through ctest.
#   scripts/test.sh              the normal build, in build/
#   scripts/test.sh --asan       with AddressSanitizer and UBSan, in build-asan/
#   scripts/test.sh --coverage   instrumented, in build-coverage/; prints the line coverage of loader, verifier and frontend
# Arguments after -- go to ctest: scripts/test.sh -- -R passes
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/common.sh

preset=dev
while (($#)); do
  case "$1" in
    --asan) preset=asan ;;
    --coverage) preset=coverage ;;
    --help) sed -n '3,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --) shift; break ;;
    *) echo "test.sh: error: unknown argument '$1'; see --help" >&2; exit 2 ;;
  esac
  shift
done

v4_install
v4_build "$preset"
build=build
[[ $preset == dev ]] || build=build-$preset

if [[ $preset == coverage ]]; then
  profiles=$PWD/$build/profiles
  rm -rf "$profiles"
  export LLVM_PROFILE_FILE=$profiles/%4m.profraw # %4m: processes merge into four files per binary
fi
v4_say "testing"
status=0
ctest --test-dir "$build" --output-on-failure "$@" || status=$?
needs_ptxas=$(grep -rlE '^(#|//) REQUIRES:.*\bptxas\b' test | wc -l)
if python3 test/find_ptxas.py >/dev/null; then
  v4_say "ptxas is here: none of the $needs_ptxas tests that need it was skipped for want of it"
else
  v4_say "skipped for want of ptxas: $needs_ptxas tests"
fi

if [[ $preset == dev ]]; then
  v4_say "kernels at real shapes against this machine; printed, not judged: other work may run beside them"
  small=$build/test/bench/flash-one-of-each
  mkdir -p "$small" && cp test/configs/flash-one-of-each.json "$small/config.json"
  "$build/bin/v4c" "$small" --numerics=f32 -o "$small.v4m"
  "$build/bin/v4-bench" "$small.v4m" --random-weights=1 --contexts=4000 --check=test/bench/bounds.json || (($? == 4))
fi

if [[ $preset == coverage ]]; then
  bin=/usr/lib/llvm-22/bin
  "$bin/llvm-profdata" merge -o "$build/all.profdata" "$profiles"/*.profraw
  objects=()
  while IFS= read -r file; do
    objects+=(-object "$file")
  done < <(find "$build/bin" "$build/lib" -type f \( -perm -u+x -o -name '*.so*' \) ! -name '*.a')
  v4_say "line coverage of the loader and verifier of modules, and of the frontend"
  "$bin/llvm-cov" report "${objects[@]:1}" -instr-profile="$build/all.profdata" \
    -show-region-summary=false -show-branch-summary=false -show-mcdc-summary=false \
    runtime/{Module,ModuleVerify,Json,Npy,Safetensors,Checkpoint,Weights,ElfImage}.cpp frontend/*.cpp
fi
exit $status
