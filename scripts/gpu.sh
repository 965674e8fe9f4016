#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Checks and measures v4c on a machine with an NVIDIA GPU. A kit is packed on the machine that builds, and run on the one with the GPU,
# which needs the GPU's driver, python3 and a glibc as new as DIR/needs says: no LLVM, no CUDA toolkit.
#   scripts/gpu.sh pack DIR [--chip=CHIP] [--cases=LIST] [--with-emulator] [--no-bench]
#       Fills the new folder DIR and DIR.tar.gz (below 60 MiB) from what is in build/ (V4_BUILD names another folder): modules of the golden
#       cases and of layers at Flash and Pro dimensions for CHIP (sm_90a), the op tests, the runtime. Cases are names of test/golden; the modules
#       also get code for the emulator with --with-emulator, which stands in for a GPU in tests.
#   scripts/gpu.sh run DIR [--device=cuda:N] [--only=LIST] [--out=PREFIX]
#       Runs the parts golden, ops, sanitizer (where compute-sanitizer is found) and bench, or those of LIST, and writes PREFIX.json and
#       PREFIX.md (DIR/results.*): a section of docs/performance.md. DIR/gpu.sh is a copy of this script.
# Exit codes: 0 all passed, 1 something failed, 2 usage, 3 no GPU or driver, or a tool or package is missing.
set -euo pipefail

say() { printf '==> %s\n' "$*"; }
fail() { printf 'gpu.sh: error: %s\n' "$2" >&2; exit "$1"; }

[[ ${1:-} != --help ]] || { sed -n '3,14p' "$0" | sed 's/^# \{0,1\}//'; exit 0; }
(($# >= 2)) || fail 2 "give 'pack DIR' or 'run DIR'; see --help"
command=$1 dir=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)

# Highest version of symbols GLIBC_x.y that files need.
newest_glibc() { objdump -T "$@" 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1; }

pack() {
  local chip=sm_90a cases= emulator= bench=1 build targets name case options
  for word in "$@"; do
    case $word in
      --chip=*) chip=${word#*=} ;;
      --cases=*) cases=,${word#*=}, ;;
      --with-emulator) emulator=1 ;;
      --no-bench) bench= ;;
      *) fail 2 "unknown argument '$word'; see --help" ;;
    esac
  done
  local root
  root=$(dirname "$here")
  build=${V4_BUILD:-$root/build}
  local tools=(v4c v4-run v4-bench kernel-run emu-compile)
  for name in "${tools[@]}"; do
    [[ -x $build/bin/$name ]] || fail 3 "$build/bin/$name is missing; build it: ninja -C $build ${tools[*]}"
  done
  command -v objdump >/dev/null || fail 3 "objdump is missing (package binutils)"
  [[ ! -e $dir ]] || fail 2 "$dir exists; give a new folder"
  mkdir -p "$dir"/{bin,lib,golden,modules,ops}
  targets=(--target="nvptx:$chip")
  [[ -z $emulator ]] || targets+=(--target="emu:$chip")

  say "runtime"
  cp "$here/gpu.sh" "$here/gpu_run.py" "$dir"
  for name in v4-run v4-bench kernel-run; do
    strip -o "$dir/bin/$name" "$build/bin/$name"
  done
  # The C++ library goes along, glibc does not.
  ldd "$build"/bin/{v4-run,v4-bench,kernel-run} | sed -n 's/.*=> \(\/[^ ]*\/lib\(v4\|v4emu\|stdc++\|gcc_s\)\.so[^ ]*\) .*/\1/p' | sort -u |
    while read -r name; do strip -o "$dir/lib/$(basename "$name")" "$(readlink -f "$name")"; done
  echo "x86-64 Linux with $(newest_glibc "$dir"/bin/* "$dir"/lib/*) or newer, python3, and an NVIDIA driver of CUDA 11.4 or newer; chip $chip" >"$dir/needs"

  say "golden cases"
  : >"$dir/golden.txt"
  while read -r case options; do
    [[ -z $cases || $cases == *,$case,* ]] || continue
    [[ -d $build/test/golden/$case ]] || fail 3 "$build/test/golden/$case is missing; build it: ninja -C $build"
    [[ -d $dir/golden/$case ]] || cp -r "$build/test/golden/$case" "$dir/golden/$case"
    name=$case$(tr -d ' ' <<<"${options//--/-}")
    # PTX alone: the driver assembles it, and machine code would double the kit.
    # shellcheck disable=SC2086
    V4_PTXAS= "$build/bin/v4c" "$dir/golden/$case/checkpoint" $options "${targets[@]}" -o "$dir/modules/$name.v4m"
    echo "$name $case" >>"$dir/golden.txt"
  done < <(python3 "$root/test/e2e/Inputs/golden_emulator.py" list)
  [[ -s $dir/golden.txt ]] || fail 2 "--cases: no such case"

  say "op tests"
  PATH=$build/bin:$PATH python3 "$root/test/emulator/Inputs/ops.py" pack "$dir/ops" "$chip" ${emulator:+emulator}

  : >"$dir/bench.txt"
  if [[ -n $bench ]]; then
    say "layers at real dimensions"
    # One layer of each kind, with fewer experts than the models have, of which a token uses as many: several times what an L2 cache holds.
    for name in flash-one-of-each pro-csa-hca; do
      mkdir "$dir/$name"
      cp "$root/test/configs/$name.json" "$dir/$name/config.json"
      V4_PTXAS= "$build/bin/v4c" "$dir/$name" --prefill=512 "${targets[@]}" -o "$dir/modules/$name.v4m"
      rm -r "${dir:?}/$name"
      echo "$name" >>"$dir/bench.txt"
    done
  fi

  tar -C "$(dirname "$dir")" -czf "$dir.tar.gz" "$(basename "$dir")"
  local bytes
  bytes=$(stat -c %s "$dir.tar.gz")
  ((bytes < 60 << 20)) || fail 1 "$dir.tar.gz has $bytes bytes; the bound is 60 MiB"
  say "$dir.tar.gz: $bytes bytes. Needs: $(cat "$dir/needs")"
}

run() {
  [[ -f $dir/needs ]] || fail 2 "$dir is no kit: 'gpu.sh pack' makes one"
  command -v python3 >/dev/null || fail 3 "python3 is missing"
  exec python3 "$dir/gpu_run.py" "$dir" "$@"
}

case $command in
  pack) pack "$@" ;;
  run) run "$@" ;;
  *) fail 2 "unknown command '$command'; see --help" ;;
esac
