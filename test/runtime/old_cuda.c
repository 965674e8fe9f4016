// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A libcuda.so.1 as an old driver has it: it lacks most of what the runtime uses.
int cuInit(unsigned flags) {
  (void)flags;
  return 0;
}
int cuDriverGetVersion(int *version) {
  *version = 10020;
  return 0;
}
