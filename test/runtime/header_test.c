// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4.h is C11: compiled as C, and used through the shared library as a C program would.
#include "runtime/v4.h"

#include <string.h>

int main(void) {
  v4_module *module = NULL;
  v4_module_options options = {sizeof options, "cpu"};
  v4_status *status = v4_module_load("/nonexistent/m.v4m", &options, &module);
  int ok = module == NULL && v4_status_code(status) == V4_INVALID &&
           strstr(v4_status_message(status), "/nonexistent/m.v4m") != NULL;
  v4_status_free(status);
  return ok ? 0 : 1;
}
