// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Picks a token from logits, on the host.
#ifndef V4_RUNTIME_SAMPLER_H
#define V4_RUNTIME_SAMPLER_H

#include "runtime/Status.h"

#include <cstdint>
#include <span>
#include <vector>

namespace v4 {

class Sampler {
public:
  static Expected<Sampler> create(double temperature, double topP, uint64_t seed);

  Expected<int32_t> pick(std::span<const float> logits);

private:
  Sampler(double temperature, double topP, uint64_t seed) : temperature(temperature), topP(topP), state(seed) {}
  double uniform();

  double temperature, topP;
  uint64_t state;
  std::vector<std::pair<double, int32_t>> candidates;
};

} // namespace v4

#endif // V4_RUNTIME_SAMPLER_H
