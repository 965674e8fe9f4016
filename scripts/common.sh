# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# What the scripts share: packages and builds. Sourced, not run; the caller has set -e and is at the root of the tree.

# Debian 12 has all of them; LLVM 22 comes with its security updates.
v4_packages=(ca-certificates ccache clang-22 cmake flatbuffers-compiler git libbenchmark-dev libclang-rt-22-dev libflatbuffers-dev libgtest-dev
  libmlir-22-dev lld-22 llvm-22 llvm-22-dev llvm-22-tools mlir-22-tools ninja-build nlohmann-json3-dev python3)

v4_say() { printf '==> %s\n' "$*"; }
v4_die() { printf '%s: error: %s\n' "$(basename "$0")" "$*" >&2; exit 3; }

# Installs the packages that are missing, by name.
v4_install() {
  local missing=() package
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    v4_say "no apt here; taking for granted: ${v4_packages[*]}"
    return
  fi
  for package in "${v4_packages[@]}"; do
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] || missing+=("$package")
  done
  if ((${#missing[@]} == 0)); then
    v4_say "packages: all ${#v4_packages[@]} are installed"
    return
  fi
  local root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || v4_die "these packages are missing, and there is no sudo to install them: ${missing[*]}"
    root=(sudo)
  fi
  v4_say "packages: installing ${missing[*]}"
  "${root[@]}" apt-get update -q
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# v4_build PRESET [TARGET...]: configures when needed and builds. Without targets, everything.
v4_build() {
  local preset=$1
  shift
  v4_say "building preset '$preset'${*:+: $*}"
  # ccache may reuse a precompiled header only when told not to mind its times (CMakePresets.json says the same to CMake).
  export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
  local log
  log=$(mktemp)
  cmake --preset "$preset" >"$log" 2>&1 || { cat "$log"; rm -f "$log"; return 1; }
  rm -f "$log"
  cmake --build --preset "$preset" ${*:+--target "$@"}
}
