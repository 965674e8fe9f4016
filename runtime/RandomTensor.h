// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Random contents of a checkpoint tensor, a function of seed, tensor name and place: v4-synth writes them to files, and
// v4_weights_random puts the same bytes into memory without a file.
#ifndef V4_RUNTIME_RANDOMTENSOR_H
#define V4_RUNTIME_RANDOMTENSOR_H

#include "runtime/FileIo.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace v4 {

/// What the ids of a token table are: each row has `perRow` distinct ones below `count`.
struct RandomIds {
  uint64_t perRow = 1, count = 1;
};

class RandomTensor {
public:
  /// Whether tensors of that safetensors type can be made: F32, BF16, F8_E4M3, F8_E8M0, I8 (pairs of fp4) and I64
  /// (ids).
  static bool supports(std::string_view dtype);

  /// `dtype` must be supported. Values keep activations in range: weights have a deviation near 0.02, norms are near 1,
  /// scales are 2^-7 or 2^-6 with codes to match.
  RandomTensor(uint64_t seed, std::string_view name, std::string_view dtype, RandomIds ids = {});

  /// The bytes of the payload from `offset` on.
  void fill(uint64_t offset, std::span<std::byte> out) const;

private:
  enum class Kind { Float32, BFloat16, Fp8, Scales, Fp4, Ids };

  template <typename Make>
  static void fillGroups(size_t groupBytes, uint64_t offset, std::span<std::byte> out, Make make);
  uint64_t bits(uint64_t index) const;
  float value(uint64_t index) const;
  void idsOfRow(uint64_t row, int64_t *out) const;

  Kind kind;
  uint64_t key;
  float mean, deviation;
  RandomIds ids;
};

} // namespace v4

#endif // V4_RUNTIME_RANDOMTENSOR_H
