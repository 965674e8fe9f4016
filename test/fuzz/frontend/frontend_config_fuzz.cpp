// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// config.json under the fuzzer: any text is read or rejected, and what is read imports to a module that verifies.

#include "frontend/Report.h"
#include "mlir/IR/Verifier.h"
#include <cstdlib>

using namespace mlir;
using namespace mlir::v4;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  unsigned errors = 0;
  context.getDiagEngine().registerHandler([&](Diagnostic &diagnostic) {
    errors += diagnostic.getSeverity() == DiagnosticSeverity::Error;
    return success();
  });
  FailureOr<Config> config =
      parseConfig(&context, StringRef(reinterpret_cast<const char *>(data), size), "config.json");
  // Every rejection says why, and nothing that was accepted had an error.
  if (failed(config) != (errors > 0))
    std::abort();
  // Many layers cost time and show nothing new.
  if (failed(config) || config->layers > 8)
    return 0;
  ImportOptions options;
  options.maxContext = 64;
  options.prefill = {3};
  options.mtp = config->mtpBlocks > 0 && !config->drafter;
  FailureOr<OwningOpRef<ModuleOp>> module = importModel(&context, *config, nullptr, options);
  if (failed(module) != (errors > 0))
    std::abort();
  if (failed(module))
    return 0;
  if (failed(verify(**module)))
    std::abort();
  if (failed(makeReport(**module, *config, nullptr, {1, 1000000})))
    std::abort();
  return 0;
}
