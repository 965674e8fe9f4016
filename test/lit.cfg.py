# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The lit suites of v4c. ctest runs one folder at a time (test/CMakeLists.txt); by hand:

    lit -v build/test/passes                 one folder
    lit -v build/test/passes --filter form   some of its tests

Substitutions, besides lit's own:
    %configs       test/configs: config.json files of whole models
    %golden        the unpacked golden cases, one folder each
    %python        the Python that runs lit
    %llvm_lib_dir  LLVM's libraries (libmlir_c_runner_utils and its like)
    %shlibext      .so
    %source_dir    the source tree; %build_dir the build tree
Features: `long` (with --param long=1, as ctest has it) for tests of a minute or more; `nightly` (--param nightly=1) for those
of several; `avx512vbmi`, `avx512bf16` where the CPU has them; `ptxas` where NVIDIA's assembler is found (%ptxas; V4_PTXAS
names it); `asan`, `coverage` for what such builds cannot run.
"""

import os
import sys

import lit.formats

sys.path.insert(0, os.path.dirname(__file__))
from find_ptxas import find_ptxas

config.name = "v4c"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "CMakeLists.txt", "bench", "configs", "golden", "runtime", "fuzz"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.v4_build_dir, "test")

config.environment["PATH"] = os.pathsep.join(
    [os.path.join(config.v4_build_dir, "bin"), config.llvm_tools_dir, os.environ.get("PATH", "")])
config.environment["FILECHECK_OPTS"] = "-enable-var-scope"
# Sanitizers report through the exit code of the tool; a compiler that ends need not free everything.
config.environment["ASAN_OPTIONS"] = "detect_leaks=0"
for name in ["HOME", "TMPDIR", "LLVM_PROFILE_FILE", "UBSAN_OPTIONS"]:
    if name in os.environ:
        config.environment[name] = os.environ[name]

config.substitutions.extend([
    ("%configs", os.path.join(config.test_source_root, "configs")),
    ("%golden", os.path.join(config.test_exec_root, "golden")),
    ("%python", "'%s'" % config.python),
    ("%llvm_lib_dir", config.llvm_lib_dir),
    ("%shlibext", ".so"),
    ("%source_dir", config.v4_source_dir),
    ("%build_dir", config.v4_build_dir),
])

if lit_config.params.get("long", "") == "1":
    config.available_features.add("long")
if lit_config.params.get("nightly", "") == "1":
    config.available_features.add("nightly")
# Instruction sets of this machine that tests of kernel templates execute, in LLVM's spelling.
with open("/proc/cpuinfo") as cpuinfo:
    flags = next((line for line in cpuinfo if line.startswith("flags")), "").split()
for name in ["avx512vbmi", "avx512bf16"]:
    if name.replace("avx512", "avx512_") in flags or name in flags:
        config.available_features.add(name)
if ptxas := find_ptxas():
    config.available_features.add("ptxas")
    config.substitutions.append(("%ptxas", ptxas))
if config.v4_sanitize:
    config.available_features.add("asan")
if config.v4_coverage:
    config.available_features.add("coverage")
