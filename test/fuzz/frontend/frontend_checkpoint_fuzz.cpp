// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tensor headers and indices under the fuzzer. The first byte chooses: an index when it is 'i', else a header, whose
// payload has as many bytes as the second byte says.

#include "frontend/Checkpoint.h"
#include "mlir/IR/Diagnostics.h"
#include <cstdlib>
#include <limits>

using namespace mlir;
using namespace mlir::v4;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2)
    return 0;
  MLIRContext context(MLIRContext::Threading::DISABLED);
  unsigned errors = 0;
  context.getDiagEngine().registerHandler([&](Diagnostic &) {
    ++errors;
    return success();
  });
  StringRef text(reinterpret_cast<const char *>(data) + 2, size - 2);
  LogicalResult result = success();
  if (data[0] == 'i') {
    llvm::StringMap<unsigned> map;
    std::vector<std::string> files;
    result = parseIndex(&context, text, "index", map, files);
    for (const auto &entry : map)
      if (entry.second >= files.size())
        std::abort();
  } else {
    Checkpoint checkpoint;
    checkpoint.files = {"shard"};
    result = parseHeader(&context, text, data[1], "shard", 0, checkpoint);
    // The tensors of an accepted header fill the payload exactly.
    uint64_t bits = 0;
    for (const auto &entry : checkpoint.tensors) {
      uint64_t one = dtypeBits(entry.second.dtype);
      for (int64_t dim : entry.second.shape)
        one *= dim;
      bits += one;
    }
    if (succeeded(result) && bits != uint64_t(data[1]) * 8)
      std::abort();
  }
  if (failed(result) != (errors > 0))
    std::abort();
  return 0;
}
