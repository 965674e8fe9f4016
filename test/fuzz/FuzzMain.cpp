// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The libFuzzer entry of one target, chosen by V4_FUZZ_TARGET.
#include "test/fuzz/Targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  v4::fuzz::V4_FUZZ_TARGET(data, size);
  return 0;
}
