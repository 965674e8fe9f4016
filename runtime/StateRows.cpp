// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// bf16, e4m3 and e2m1 numbers of state rows.
#include "runtime/StateRows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace v4 {
namespace {

uint16_t toBF16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value))
    return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float fromBF16(uint16_t half) { return std::bit_cast<float>(uint32_t(half) << 16); }

float fromScale(uint8_t exponent) { return std::ldexp(1.0f, int(exponent) - 127); }

/// The exponent, with bias 127, of the scale of a block whose largest magnitude is given.
uint8_t scaleOf(float largest, unsigned bits) {
  float ratio = bits == 8 ? std::max(largest, 1e-4f) * (1.0f / 448) : std::max(largest, 6 * 0x1p-126f) * (1.0f / 6);
  return static_cast<uint8_t>((std::bit_cast<uint32_t>(ratio) + 0x7fffff) >> 23);
}

/// Mantissa bits of a code, and the exponent of the smallest normal number.
struct CodeForm {
  int mantissa, lowest;
  float limit;
};
CodeForm codeForm(unsigned bits) { return bits == 8 ? CodeForm{3, -6, 448.0f} : CodeForm{1, 0, 6.0f}; }

/// The code of a finite number, its sign in the top bit of `bits`.
uint8_t encode(float value, unsigned bits) {
  CodeForm form = codeForm(bits);
  float magnitude = std::min(std::fabs(value), form.limit);
  // Codes count the representable magnitudes: steps of 2^(exponent - mantissa) from each power of two.
  int exponent = std::max(magnitude > 0 ? std::ilogb(magnitude) : form.lowest, form.lowest);
  int steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, form.mantissa - exponent)));
  int code = ((exponent - form.lowest) << form.mantissa) + steps;
  return static_cast<uint8_t>(code | (std::signbit(value) ? 1 << (bits - 1) : 0));
}

float decode(uint8_t code, unsigned bits) {
  CodeForm form = codeForm(bits);
  int magnitude = code & ((1 << (bits - 1)) - 1), field = magnitude >> form.mantissa;
  int steps = magnitude & ((1 << form.mantissa) - 1);
  int exponent = form.lowest + std::max(field, 1) - 1 - form.mantissa;
  float value = std::ldexp(static_cast<float>((field ? 1 << form.mantissa : 0) + steps), exponent);
  return code >> (bits - 1) ? -value : value;
}

} // namespace

StateRows::StateRows(const fbs::State &state)
    : dtype(state.dtype()), columns(state.columns() ? state.columns() : state.shape()->Get(1)),
      quantized(state.quantized()), bits(state.bits()),
      rowBytes(state.shape()->Get(1) * (dtype == fbs::DType::F32 ? 4 : dtype == fbs::DType::BF16 ? 2 : 1)) {}

uint64_t StateRows::packedBytes() const {
  uint64_t scales = quantized / block();
  return quantized * bits / 8 + 2 * (columns - quantized) + (bits == 8 ? (scales + 7) / 8 * 8 : scales);
}

void StateRows::read(const std::byte *row, float *out) const {
  if (dtype == fbs::DType::F32) {
    std::memcpy(out, row, columns * sizeof(float));
    return;
  }
  uint64_t first = dtype == fbs::DType::I8 ? quantized : 0;
  const std::byte *plain = row + (first ? quantized * bits / 8 : 0), *scales = plain + 2 * (columns - first);
  for (uint64_t i = 0; i != first; ++i) {
    uint8_t code = static_cast<uint8_t>(bits == 8 ? row[i] : row[i / 2] >> (i % 2 ? 4 : 0) & std::byte(15));
    out[i] = decode(code, bits) * fromScale(static_cast<uint8_t>(scales[i / block()]));
  }
  for (uint64_t i = first; i != columns; ++i) {
    uint16_t half;
    std::memcpy(&half, plain + 2 * (i - first), sizeof half);
    out[i] = fromBF16(half);
  }
}

void StateRows::write(const float *in, std::byte *row) const {
  if (dtype == fbs::DType::F32) {
    std::memcpy(row, in, columns * sizeof(float));
    return;
  }
  bool packed = dtype == fbs::DType::I8;
  std::byte *plain = row + (packed ? quantized * bits / 8 : 0), *scales = plain + 2 * (columns - quantized);
  uint64_t first = packed ? quantized : 0;
  if (packed)
    std::fill(row, row + rowBytes, std::byte(0));
  for (uint64_t begin = 0; begin < quantized; begin += block()) {
    float largest = 0;
    for (uint64_t i = begin; i != begin + block(); ++i)
      largest = std::max(largest, std::fabs(fromBF16(toBF16(in[i]))));
    uint8_t exponent = scaleOf(largest, bits);
    float scale = fromScale(exponent);
    if (packed)
      scales[begin / block()] = std::byte(exponent);
    for (uint64_t i = begin; i != begin + block(); ++i) {
      uint8_t code = encode(fromBF16(toBF16(in[i])) / scale, bits);
      if (packed) {
        row[bits == 8 ? i : i / 2] |= std::byte(bits == 4 && i % 2 ? code << 4 : code);
      } else {
        uint16_t half = toBF16(decode(code, bits) * scale);
        std::memcpy(row + 2 * i, &half, sizeof half);
      }
    }
  }
  for (uint64_t i = quantized; i != columns; ++i) {
    uint16_t half = toBF16(in[i]);
    std::memcpy(plain + 2 * (i - first), &half, sizeof half);
  }
}

} // namespace v4
