// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A counter-based generator: every group of up to eight bytes comes from one hash of its number, so that any part of a
// tensor can be made by itself. Only integers and single float operations, so that every machine makes the same bytes.
#include "runtime/RandomTensor.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

namespace v4 {
namespace {

uint64_t mix(uint64_t x) { // the finaliser of splitmix64
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

constexpr uint64_t step = 0x9E3779B97F4A7C15u;

/// The sum of four bytes as a code of deviation 1.5: nearly normal, from -5.2 to 5.2, one in 200 subnormal.
constexpr unsigned byteSums = 4 * 255 + 1;
std::array<uint8_t, byteSums> makeFp8Codes() {
  constexpr double deviation = 147.8; // of the sum
  std::array<uint8_t, byteSums> codes;
  for (unsigned sum = 0; sum != byteSums; ++sum) {
    double wanted = (static_cast<double>(sum) - 510) * 1.5 / deviation, magnitude = std::fabs(wanted);
    unsigned best = 0;
    double distance = magnitude;
    for (unsigned code = 1; code != 0x7F; ++code) { // 0x7F is NaN
      unsigned exponent = code >> 3, mantissa = code & 7;
      double value = exponent ? std::ldexp(8.0 + mantissa, static_cast<int>(exponent) - 10) : std::ldexp(mantissa, -9);
      if (std::fabs(value - magnitude) < distance) {
        best = code;
        distance = std::fabs(value - magnitude);
      }
    }
    codes[sum] = static_cast<uint8_t>(best | (wanted < 0 ? 0x80 : 0));
  }
  return codes;
}

} // namespace

bool RandomTensor::supports(std::string_view dtype) {
  return dtype == "F32" || dtype == "BF16" || dtype == "F8_E4M3" || dtype == "F8_E8M0" || dtype == "I8" ||
         dtype == "I64";
}

RandomTensor::RandomTensor(uint64_t seed, std::string_view name, std::string_view dtype, RandomIds ids)
    : kind(dtype == "F32"       ? Kind::Float32
           : dtype == "BF16"    ? Kind::BFloat16
           : dtype == "F8_E4M3" ? Kind::Fp8
           : dtype == "F8_E8M0" ? Kind::Scales
           : dtype == "I8"      ? Kind::Fp4
                                : Kind::Ids),
      mean(0), deviation(0.02f), ids(ids) {
  key = mix(seed + step);
  for (char c : name)
    key = mix(key ^ static_cast<unsigned char>(c));
  if (name.ends_with("norm.weight")) {
    mean = 1;
    deviation = 0.1f;
  }
}

uint64_t RandomTensor::bits(uint64_t index) const {
  return mix(key + index * step);
}

float RandomTensor::value(uint64_t index) const {
  uint64_t x = bits(index);
  int32_t sum = static_cast<int32_t>((x & 0xFFFF) + (x >> 16 & 0xFFFF) + (x >> 32 & 0xFFFF) + (x >> 48)) - 2 * 0xFFFF;
  constexpr float sumDeviation = 37837.2f;
  float scaled = static_cast<float>(sum) * (deviation / sumDeviation);
  return mean + scaled;
}

void RandomTensor::idsOfRow(uint64_t row, int64_t *out) const {
  // Floyd's sampling: distinct without a table of what is taken.
  uint64_t perRow = std::min(ids.perRow, ids.count);
  for (uint64_t i = 0; i != perRow; ++i) {
    uint64_t last = ids.count - perRow + i;
    int64_t pick = static_cast<int64_t>(bits(row * ids.perRow + i) % (last + 1));
    bool taken = std::find(out, out + i, pick) != out + i;
    out[i] = taken ? static_cast<int64_t>(last) : pick;
  }
  std::fill(out + perRow, out + ids.perRow, 0);
}

/// Calls make(g) for every group of bytes that `out` touches and copies the part that is wanted.
template <typename Make>
void RandomTensor::fillGroups(size_t groupBytes, uint64_t offset, std::span<std::byte> out, Make make) {
  size_t skip = offset % groupBytes;
  for (uint64_t group = offset / groupBytes; !out.empty(); ++group) {
    uint64_t word = make(group);
    size_t part = std::min(groupBytes - skip, out.size());
    if (part == groupBytes)
      std::memcpy(out.data(), &word, groupBytes);
    else
      std::memcpy(out.data(), reinterpret_cast<const std::byte *>(&word) + skip, part);
    out = out.subspan(part);
    skip = 0;
  }
}

void RandomTensor::fill(uint64_t offset, std::span<std::byte> out) const {
  static const std::array<uint8_t, byteSums> fp8Codes = makeFp8Codes();
  switch (kind) {
  case Kind::Float32:
    return fillGroups(4, offset, out, [&](uint64_t i) { return uint64_t(std::bit_cast<uint32_t>(value(i))); });
  case Kind::BFloat16:
    return fillGroups(2, offset, out, [&](uint64_t i) {
      uint32_t wide = std::bit_cast<uint32_t>(value(i));
      return uint64_t((wide + 0x7FFF + (wide >> 16 & 1)) >> 16);
    });
  case Kind::Fp8:
    return fillGroups(2, offset, out, [&](uint64_t i) {
      uint64_t x = bits(i);
      x = (x & 0x00FF00FF00FF00FFu) + (x >> 8 & 0x00FF00FF00FF00FFu);
      uint64_t low = (x & 0xFFFF) + (x >> 16 & 0xFFFF), high = (x >> 32 & 0xFFFF) + (x >> 48);
      return uint64_t(fp8Codes[low] | fp8Codes[high] << 8);
    });
  case Kind::Scales: // 2^-7 or 2^-6
    return fillGroups(8, offset, out,
                      [&](uint64_t i) { return (bits(i) & 0x0101010101010101u) + 0x7878787878787878u; });
  case Kind::Fp4: // every code is a number
    return fillGroups(8, offset, out, [&](uint64_t i) { return bits(i); });
  case Kind::Ids: {
    std::vector<int64_t> row(ids.perRow);
    uint64_t rowBytes = ids.perRow * sizeof(int64_t);
    while (!out.empty()) {
      idsOfRow(offset / rowBytes, row.data());
      size_t skip = offset % rowBytes, part = std::min<size_t>(rowBytes - skip, out.size());
      std::memcpy(out.data(), reinterpret_cast<const std::byte *>(row.data()) + skip, part);
      out = out.subspan(part);
      offset += part;
    }
    return;
  }
  }
}

} // namespace v4
