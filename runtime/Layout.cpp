// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A transposition of 16 rows, a cache line of each at a time. Memory bounds it, so instructions that every x86-64 CPU
// has are enough; stores that go past the caches save reading what is overwritten.
#include "runtime/Layout.h"
#include "runtime/ModuleVerify.h"

#include <cstring>
#include <emmintrin.h>

namespace v4 {
namespace {

constexpr size_t lineBytes = 64;

__m128i load(const std::byte *from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i *>(from));
}

void stream(std::byte *to, __m128i value) {
  _mm_stream_si128(reinterpret_cast<__m128i *>(to), value);
}

/// Four dwords of each of 16 rows.
void packDwords(const std::byte *from, uint64_t rowBytes, std::byte *to) {
  __m128i out[4][4]; // [dword][group of four rows]
#pragma clang loop unroll(full)
  for (unsigned group = 0; group != 4; ++group) {
    const std::byte *row = from + 4 * group * rowBytes;
    __m128i a = load(row), b = load(row + rowBytes), c = load(row + 2 * rowBytes), d = load(row + 3 * rowBytes);
    __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d);
    out[0][group] = _mm_unpacklo_epi64(ab, cd);
    out[1][group] = _mm_unpackhi_epi64(ab, cd);
    ab = _mm_unpackhi_epi32(a, b);
    cd = _mm_unpackhi_epi32(c, d);
    out[2][group] = _mm_unpacklo_epi64(ab, cd);
    out[3][group] = _mm_unpackhi_epi64(ab, cd);
  }
#pragma clang loop unroll(full)
  for (unsigned dword = 0; dword != 4; ++dword)
#pragma clang loop unroll(full)
    for (unsigned group = 0; group != 4; ++group)
      stream(to + dword * lineBytes + group * 16, out[dword][group]);
}

/// 16 bytes of each of 16 rows: four perfect shuffles of the rows.
void packBytes(const std::byte *from, uint64_t rowBytes, std::byte *to) {
  __m128i rows[packedRows], next[packedRows];
  for (unsigned row = 0; row != packedRows; ++row)
    rows[row] = load(from + row * rowBytes);
  for (unsigned step = 0; step != 4; ++step) {
    for (unsigned i = 0; i != packedRows / 2; ++i) {
      next[2 * i] = _mm_unpacklo_epi8(rows[i], rows[i + packedRows / 2]);
      next[2 * i + 1] = _mm_unpackhi_epi8(rows[i], rows[i + packedRows / 2]);
    }
    std::memcpy(rows, next, sizeof rows);
  }
  for (unsigned row = 0; row != packedRows; ++row)
    stream(to + row * packedRows, rows[row]);
}

} // namespace

std::optional<Rows16> rows16For(fbs::DType dtype, const flatbuffers::Vector<uint64_t> &shape, bool table) {
  unsigned first = table ? 1 : 0;
  if (shape.size() < first + 2)
    return std::nullopt;
  Rows16 out;
  out.unit = dtype == fbs::DType::F8E8M0 ? 1 : 4;
  if (elementBytes(dtype) > out.unit)
    return std::nullopt;
  out.rowBytes = shape.Get(shape.size() - 1) * elementBytes(dtype);
  uint64_t rows = 1;
  for (unsigned i = first; i + 1 < shape.size(); ++i)
    rows *= shape.Get(i);
  if (rows % packedRows != 0 || out.rowBytes % out.unit != 0)
    return std::nullopt;
  out.blocks = rows / packedRows;
  return out;
}

std::optional<Rows16> rows16Of(const fbs::Parameter &parameter) {
  if (parameter.layout()->string_view() != layoutRows16)
    return std::nullopt;
  return rows16For(parameter.dtype(), *parameter.shape(), parameter.rows() != 0);
}

void packRows16(const Rows16 &layout, const std::byte *from, std::byte *to) {
  // One line of every row is on its way while another one is turned.
  constexpr uint64_t ahead = 4 * lineBytes;
  for (uint64_t block = 0; block != layout.blocks; ++block, from += layout.blockBytes(), to += layout.blockBytes()) {
    uint64_t at = 0;
    for (; at + 16 <= layout.rowBytes; at += 16) {
      if (at % lineBytes == 0)
        for (unsigned row = 0; row != packedRows; ++row)
          _mm_prefetch(reinterpret_cast<const char *>(from + row * layout.rowBytes + at + ahead), _MM_HINT_T0);
      (layout.unit == 1 ? packBytes : packDwords)(from + at, layout.rowBytes, to + at * packedRows);
    }
    for (; at != layout.rowBytes; at += layout.unit)
      for (unsigned row = 0; row != packedRows; ++row)
        std::memcpy(to + at * packedRows + row * layout.unit, from + row * layout.rowBytes + at, layout.unit);
  }
  _mm_sfence();
}

std::vector<uint64_t> layoutShape(const fbs::Parameter &parameter) {
  std::vector<uint64_t> shape(parameter.shape()->begin(), parameter.shape()->end());
  std::optional<Rows16> layout = rows16Of(parameter);
  if (!layout)
    return shape;
  shape.resize(parameter.rows() ? 1 : 0);
  shape.insert(shape.end(), {layout->blocks, layout->rowBytes / layout->unit, packedRows});
  if (layout->unit != 1)
    shape.push_back(layout->unit / elementBytes(parameter.dtype()));
  return shape;
}

} // namespace v4
