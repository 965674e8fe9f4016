// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// compare_tensors GOT WANT BOUND: a helper of tests that compare state files and taps. Every fp32 tensor of WANT must
// be in GOT with the same shape, and differ by at most BOUND times its largest value; other types must be equal.
// Infinities must be in the same places. Exit 4 when it fails.
#include "runtime/Safetensors.h"
#include "tools/Options.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

using namespace v4;

int main(int argc, char **argv) {
  double bound = 0;
  if (argc != 4 || !parseReal(argv[3], bound)) {
    std::fprintf(stderr, "usage: compare_tensors GOT WANT BOUND\n");
    return ExitUsage;
  }
  Expected<SafetensorsFile> got = SafetensorsFile::open(argv[1]), want = SafetensorsFile::open(argv[2]);
  for (auto *file : {&got, &want})
    if (!*file) {
      std::fprintf(stderr, "compare_tensors: %s\n", std::string(file->takeStatus().message()).c_str());
      return ExitRejected;
    }
  bool failed = want->tensors().empty();
  for (const TensorInfo &tensor : want->tensors()) {
    const TensorInfo *other = got->find(tensor.name);
    if (!other || other->dtype != tensor.dtype || other->shape != tensor.shape) {
      std::printf("%s: wanted %s %s, got %s %s\n", tensor.name.c_str(), std::string(tensor.dtype).c_str(),
                  shapeText(tensor.shape).c_str(), other ? std::string(other->dtype).c_str() : "nothing",
                  other ? shapeText(other->shape).c_str() : "");
      failed = true;
      continue;
    }
    Bytes wantBytes = want->bytes(tensor), gotBytes = got->bytes(*other);
    if (tensor.dtype != "F32") {
      bool equal = std::memcmp(wantBytes.data(), gotBytes.data(), wantBytes.size()) == 0;
      std::printf("%s: %s\n", tensor.name.c_str(), equal ? "equal" : "DIFFERENT");
      failed |= !equal;
      continue;
    }
    double worst = 0, largest = 0;
    bool infinities = true;
    for (size_t i = 0; i != wantBytes.size() / 4; ++i) {
      float w, g;
      std::memcpy(&w, wantBytes.data() + i * 4, 4);
      std::memcpy(&g, gotBytes.data() + i * 4, 4);
      if (!std::isfinite(w) || !std::isfinite(g)) {
        infinities &= w == g;
        continue;
      }
      largest = std::max(largest, std::fabs(static_cast<double>(w)));
      worst = std::max(worst, std::fabs(static_cast<double>(w) - g));
    }
    bool ok = infinities && worst <= bound * largest;
    std::printf("%s: %.3g of %.3g%s\n", tensor.name.c_str(), largest > 0 ? worst / largest : worst, bound,
                ok           ? ""
                : infinities ? " FAILED"
                             : " FAILED (NaN or infinity)");
    failed |= !ok;
  }
  return failed ? ExitComparison : ExitOk;
}
