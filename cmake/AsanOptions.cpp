// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Defaults of AddressSanitizer for programs that link MLIR. LLVM's bump allocator is inline code: our copy poisons its
// slabs, while the copy in the packaged, uninstrumented library allocates from them without unpoisoning.

extern "C" __attribute__((visibility("default"))) const char *__asan_default_options();
const char *__asan_default_options() { return "allow_user_poisoning=0"; }
