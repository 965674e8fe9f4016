// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The loops behind the figures. Each exists once per instruction set, chosen at run time, so that one binary measures
// every machine by what it has.
#include "tools/Probe.h"
#include "runtime/CpuFeatures.h"

#include <algorithm>
#include <chrono>
#include <cpuid.h>
#include <cstdio>
#include <cstring>
#include <immintrin.h>

namespace v4 {
namespace {

constexpr size_t pieceBytes = size_t(1) << 20; // of one workgroup
constexpr unsigned peakSteps = 1 << 16;        // of one workgroup's arithmetic loop
constexpr uint32_t arithmeticWorkgroups = 32;  // per thread: long enough for sleeping threads to join

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Makes the compiler believe that the value is used.
#define V4_CONSUME(value) asm volatile("" ::"v"(value))
/// Makes the compiler forget what the value is: equal sums would be computed once.
#define V4_FORGET(value) asm volatile("" : "+v"(value))

const char *piece(void *const *bindings, unsigned which, uint32_t workgroup) {
  return static_cast<const char *>(bindings[which]) + workgroup * pieceBytes;
}

// ---- Reading: eight registers at a time, and far enough ahead that the next page is on its way

constexpr size_t prefetchDistance = 4096;

__attribute__((target("avx512f"))) void read512(void *const *bindings, uint32_t workgroup) {
  const char *from = piece(bindings, 0, workgroup);
  __m512i sums[8] = {};
  for (size_t at = 0; at != pieceBytes; at += sizeof sums) {
    for (size_t i = 0; i != 8; ++i) {
      _mm_prefetch(from + at + i * 64 + prefetchDistance, _MM_HINT_T0);
      sums[i] = _mm512_xor_si512(sums[i], _mm512_loadu_si512(from + at + i * 64));
    }
  }
  for (const __m512i &sum : sums)
    V4_CONSUME(sum);
}

__attribute__((target("avx2"))) void read256(void *const *bindings, uint32_t workgroup) {
  const char *from = piece(bindings, 0, workgroup);
  __m256i sums[8] = {};
  for (size_t at = 0; at != pieceBytes; at += sizeof sums) {
    for (size_t i = 0; i != 8; ++i) {
      if (i % 2 == 0)
        _mm_prefetch(from + at + i * 32 + prefetchDistance, _MM_HINT_T0);
      sums[i] = _mm256_xor_si256(sums[i], _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from + at + i * 32)));
    }
  }
  for (const __m256i &sum : sums)
    V4_CONSUME(sum);
}

void read128(void *const *bindings, uint32_t workgroup) {
  const char *from = piece(bindings, 0, workgroup);
  __m128i sums[8] = {};
  for (size_t at = 0; at != pieceBytes; at += sizeof sums) {
    for (size_t i = 0; i != 8; ++i) {
      if (i % 4 == 0)
        _mm_prefetch(from + at + i * 16 + prefetchDistance, _MM_HINT_T0);
      sums[i] = _mm_xor_si128(sums[i], _mm_loadu_si128(reinterpret_cast<const __m128i *>(from + at + i * 16)));
    }
  }
  for (const __m128i &sum : sums)
    V4_CONSUME(sum);
}

// ---- Copying: past the caches, and through them, whichever is faster

void copyStreaming(void *const *bindings, uint32_t workgroup) {
  const char *from = piece(bindings, 0, workgroup);
  char *to = const_cast<char *>(piece(bindings, 1, workgroup));
  for (size_t at = 0; at != pieceBytes; at += 64) {
    _mm_prefetch(from + at + prefetchDistance, _MM_HINT_T0);
    for (size_t i = 0; i != 64; i += 16)
      _mm_stream_si128(reinterpret_cast<__m128i *>(to + at + i),
                       _mm_loadu_si128(reinterpret_cast<const __m128i *>(from + at + i)));
  }
  _mm_sfence();
}

void copyCached(void *const *bindings, uint32_t workgroup) {
  std::memcpy(const_cast<char *>(piece(bindings, 1, workgroup)), piece(bindings, 0, workgroup), pieceBytes);
}

// ---- Arithmetic: enough independent sums to fill the pipelines, operands that stay in registers

constexpr unsigned sumCount = 16;

__attribute__((target("avx512f"))) void fma512(void *const *bindings, uint32_t) {
  const float *values = static_cast<const float *>(bindings[0]);
  __m512 a = _mm512_set1_ps(values[0]), b = _mm512_set1_ps(values[1]), sums[sumCount];
  for (__m512 &sum : sums) {
    sum = b;
    V4_FORGET(sum);
  }
  for (unsigned step = 0; step != peakSteps; ++step)
    for (__m512 &sum : sums)
      sum = _mm512_fmadd_ps(sum, a, b);
  for (const __m512 &sum : sums)
    V4_CONSUME(sum);
}

__attribute__((target("avx2,fma"))) void fma256(void *const *bindings, uint32_t) {
  constexpr unsigned count = 12; // of 16 registers
  const float *values = static_cast<const float *>(bindings[0]);
  __m256 a = _mm256_set1_ps(values[0]), b = _mm256_set1_ps(values[1]), sums[count];
  for (__m256 &sum : sums) {
    sum = b;
    V4_FORGET(sum);
  }
  for (unsigned step = 0; step != peakSteps; ++step)
    for (__m256 &sum : sums)
      sum = _mm256_fmadd_ps(sum, a, b);
  for (const __m256 &sum : sums)
    V4_CONSUME(sum);
}

void multiplyAdd128(void *const *bindings, uint32_t) {
  constexpr unsigned count = 12;
  const float *values = static_cast<const float *>(bindings[0]);
  __m128 a = _mm_set1_ps(values[0]), b = _mm_set1_ps(values[1]), sums[count];
  for (__m128 &sum : sums) {
    sum = b;
    V4_FORGET(sum);
  }
  for (unsigned step = 0; step != peakSteps; ++step)
    for (__m128 &sum : sums)
      sum = _mm_add_ps(_mm_mul_ps(sum, a), b);
  for (const __m128 &sum : sums)
    V4_CONSUME(sum);
}

__attribute__((target("avx512f,avx512bf16"))) void dot512(void *const *bindings, uint32_t) {
  __m512bh a, b;
  std::memset(&a, 0, sizeof a);
  std::memset(&b, 0, sizeof b);
  V4_FORGET(a);
  V4_FORGET(b);
  __m512 sums[sumCount];
  for (__m512 &sum : sums) {
    sum = _mm512_setzero_ps();
    V4_FORGET(sum);
  }
  for (unsigned step = 0; step != peakSteps; ++step)
    for (__m512 &sum : sums)
      sum = _mm512_dpbf16_ps(sum, a, b);
  for (const __m512 &sum : sums)
    V4_CONSUME(sum);
}

struct PeakLoop {
  std::string_view name;
  KernelFunction read, multiplyAdd;
  double flops; // of one workgroup
};

const PeakLoop &peakLoop() {
  static const PeakLoop wide = {"avx512f", read512, fma512, 2.0 * 16 * sumCount * peakSteps};
  static const PeakLoop middle = {"avx2+fma", read256, fma256, 2.0 * 8 * 12 * peakSteps};
  static const PeakLoop narrow = {"sse2", read128, multiplyAdd128, 2.0 * 4 * 12 * peakSteps};
  if (cpuHasFeature("avx512f"))
    return wide;
  return cpuHasFeature("avx2") && cpuHasFeature("fma") ? middle : narrow;
}

/// Bytes of the largest cache that the first CPU uses. The kernel knows it; CPUs report the sum over a socket.
uint64_t largestCache() {
  uint64_t largest = 0;
  for (unsigned index = 0;; ++index) {
    std::FILE *file = std::fopen(concat("/sys/devices/system/cpu/cpu0/cache/index", index, "/size").c_str(), "r");
    if (!file)
      break;
    unsigned long kilobytes = 0;
    if (std::fscanf(file, "%lu", &kilobytes) == 1)
      largest = std::max<uint64_t>(largest, uint64_t(kilobytes) << 10);
    std::fclose(file);
  }
  constexpr uint64_t usual = uint64_t(32) << 20;
  return largest ? largest : usual;
}

} // namespace

double medianOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  size_t n = values.size();
  return n ? (values[(n - 1) / 2] + values[n / 2]) / 2 : 0;
}

std::string cpuName() {
  char name[49] = {};
  unsigned a, b, c, d;
  if (__get_cpuid_max(0x80000000u, nullptr) < 0x80000004u)
    return "unknown";
  for (unsigned i = 0; i != 3; ++i) {
    __get_cpuid(0x80000002u + i, &a, &b, &c, &d);
    for (unsigned j = 0; j != 4; ++j) {
      unsigned word = j == 0 ? a : j == 1 ? b : j == 2 ? c : d;
      std::memcpy(name + i * 16 + j * 4, &word, 4);
    }
  }
  std::string text = name;
  text.erase(0, text.find_first_not_of(' '));
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

Expected<std::unique_ptr<Probe>> Probe::create(uint32_t threads) {
  auto probe = std::make_unique<Probe>();
  probe->threadCount = threads ? threads : ThreadPool::available();
  V4_RETURN_IF_ERROR(probe->pool.start(probe->threadCount));
  // As if every thread had a last-level cache to itself, which is so for threads on distant cores.
  constexpr uint64_t least = uint64_t(1) << 28, most = uint64_t(1) << 32, unit = 4 * pieceBytes;
  uint64_t bytes = std::clamp(4 * largestCache() * probe->threadCount, least, most) / unit * unit;
  // Prefetches reach beyond the end; they fault silently.
  Expected<Pages> buffer = Pages::allocate(bytes, "the buffer of the probe");
  V4_RETURN_IF_ERROR(buffer);
  probe->buffer = std::move(*buffer);
  std::memset(probe->buffer.data(), 0x3C, bytes); // the pages exist, and hold ordinary numbers
  return probe;
}

std::string_view Probe::instructions() const {
  return peakLoop().name;
}

double Probe::rate(KernelFunction function, uint32_t workgroups, double unitsPerWorkgroup) {
  // Each pass takes the next quarter, which the passes since its last turn have driven out of the caches; copies go to
  // the one opposite.
  uint64_t size = buffer.size() / 4;
  void *bindings[] = {buffer.data() + quarter * size, buffer.data() + (quarter + 2) % 4 * size};
  quarter = (quarter + 1) % 4;
  double begin = seconds();
  pool.run(function, bindings, workgroups);
  return unitsPerWorkgroup * workgroups / (seconds() - begin);
}

double Probe::overMemory(KernelFunction function) {
  return rate(function, static_cast<uint32_t>(buffer.size() / 4 / pieceBytes), pieceBytes);
}

template <typename Once> Rate Probe::repeat(unsigned repetitions, Once once) {
  once(); // warm: pages, clocks, threads
  std::vector<double> rates;
  for (unsigned i = 0; i != repetitions; ++i)
    rates.push_back(once());
  return {medianOf(rates), *std::max_element(rates.begin(), rates.end())};
}

double Probe::readOnce() {
  return overMemory(peakLoop().read);
}

double Probe::multiplyAddOnce() {
  return rate(peakLoop().multiplyAdd, arithmeticWorkgroups * threadCount, peakLoop().flops);
}

double Probe::dotOnce() {
  return rate(dot512, arithmeticWorkgroups * threadCount, 4.0 * 16 * sumCount * peakSteps);
}

MachineRates Probe::measureAll() {
  constexpr unsigned passes = 16, loops = 16;
  MachineRates rates;
  rates.readBytes = repeat(passes, [&] { return readOnce(); });
  Rate streaming = repeat(passes, [&] { return overMemory(copyStreaming); });
  Rate cached = repeat(passes, [&] { return overMemory(copyCached); });
  rates.copyBytes = streaming.median > cached.median ? streaming : cached;
  rates.fp32Flops = repeat(loops, [&] { return multiplyAddOnce(); });
  if (cpuHasFeature("avx512f") && cpuHasFeature("avx512bf16"))
    rates.bf16DotFlops = repeat(loops, [&] { return dotOnce(); });
  return rates;
}

} // namespace v4
