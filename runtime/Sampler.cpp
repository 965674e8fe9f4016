// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Greedy, temperature and nucleus sampling. The generator is our own so that a seed means the same tokens everywhere.
#include "runtime/Sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace v4 {

Expected<Sampler> Sampler::create(double temperature, double topP, uint64_t seed) {
  if (!(temperature >= 0) || !std::isfinite(temperature))
    return misuse("temperature ", temperature, " is not a number from 0");
  if (!(topP >= 0 && topP <= 1))
    return misuse("top-p ", topP, " is not between 0 and 1");
  return Sampler(temperature, topP == 0 ? 1 : topP, seed);
}

double Sampler::uniform() {
  // SplitMix64: every seed, 0 included, starts a good sequence.
  state += 0x9E3779B97F4A7C15u;
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

Expected<int32_t> Sampler::pick(std::span<const float> logits) {
  size_t best = 0;
  for (size_t i = 0; i != logits.size(); ++i) {
    if (std::isnan(logits[i]) || logits[i] == std::numeric_limits<float>::infinity())
      return invalid("the logit of token ", i, " is NaN or infinity; the weights or the module are damaged");
    if (logits[i] > logits[best]) // the lowest id among equals
      best = i;
  }
  if (logits.empty() || std::isinf(logits[best]))
    return invalid("there is no token to pick: every logit is -infinity");
  if (temperature == 0)
    return static_cast<int32_t>(best);

  candidates.clear();
  double sum = 0;
  for (size_t i = 0; i != logits.size(); ++i) {
    double weight = std::exp((static_cast<double>(logits[i]) - logits[best]) / temperature);
    candidates.emplace_back(weight, static_cast<int32_t>(i));
    sum += weight;
  }
  if (topP < 1) {
    std::sort(candidates.begin(), candidates.end(), [](const auto &a, const auto &b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    // The shortest list of the likeliest tokens that reaches topP; never empty.
    double kept = 0;
    size_t count = 0;
    while (count != candidates.size() && (count == 0 || kept < topP * sum))
      kept += candidates[count++].first;
    candidates.resize(count);
    sum = kept;
  }
  double target = uniform() * sum;
  for (const auto &[weight, token] : candidates) {
    target -= weight;
    if (target < 0)
      return token;
  }
  // Rounding can leave a remainder: the last token that has any weight takes it.
  for (size_t i = candidates.size(); i-- > 0;)
    if (candidates[i].first > 0)
      return candidates[i].second;
  return static_cast<int32_t>(best);
}

} // namespace v4
