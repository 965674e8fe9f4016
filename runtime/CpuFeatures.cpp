// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads cpuid, and xgetbv for the register state that the operating system saves: AVX bits in cpuid mean nothing on a
// kernel that does not switch the upper halves.
#include "runtime/CpuFeatures.h"

#include <array>
#include <cpuid.h>
#include <cstdint>

namespace v4 {
namespace {

enum Register { Eax, Ebx, Ecx, Edx };
enum SavedState : uint8_t { None, Avx, Avx512, Amx };

struct Feature {
  std::string_view name;
  uint32_t leaf, subleaf;
  Register reg;
  uint8_t bit;
  SavedState needs;
};

constexpr uint32_t extended = 0x80000000u;
constexpr Feature features[] = {
    {"64bit", extended + 1, 0, Edx, 29, None},
    {"adx", 7, 0, Ebx, 19, None},
    {"aes", 1, 0, Ecx, 25, None},
    {"amx-bf16", 7, 0, Edx, 22, Amx},
    {"amx-int8", 7, 0, Edx, 25, Amx},
    {"amx-tile", 7, 0, Edx, 24, Amx},
    {"avx", 1, 0, Ecx, 28, Avx},
    {"avx2", 7, 0, Ebx, 5, Avx},
    {"avx512bf16", 7, 1, Eax, 5, Avx512},
    {"avx512bitalg", 7, 0, Ecx, 12, Avx512},
    {"avx512bw", 7, 0, Ebx, 30, Avx512},
    {"avx512cd", 7, 0, Ebx, 28, Avx512},
    {"avx512dq", 7, 0, Ebx, 17, Avx512},
    {"avx512f", 7, 0, Ebx, 16, Avx512},
    {"avx512fp16", 7, 0, Edx, 23, Avx512},
    {"avx512ifma", 7, 0, Ebx, 21, Avx512},
    {"avx512vbmi", 7, 0, Ecx, 1, Avx512},
    {"avx512vbmi2", 7, 0, Ecx, 6, Avx512},
    {"avx512vl", 7, 0, Ebx, 31, Avx512},
    {"avx512vnni", 7, 0, Ecx, 11, Avx512},
    {"avx512vp2intersect", 7, 0, Edx, 8, Avx512},
    {"avx512vpopcntdq", 7, 0, Ecx, 14, Avx512},
    {"avxifma", 7, 1, Eax, 23, Avx},
    {"avxneconvert", 7, 1, Edx, 5, Avx},
    {"avxvnni", 7, 1, Eax, 4, Avx},
    {"avxvnniint8", 7, 1, Edx, 4, Avx},
    {"bmi", 7, 0, Ebx, 3, None},
    {"bmi2", 7, 0, Ebx, 8, None},
    {"cldemote", 7, 0, Ecx, 25, None},
    {"clflushopt", 7, 0, Ebx, 23, None},
    {"clwb", 7, 0, Ebx, 24, None},
    {"clzero", extended + 8, 0, Ebx, 0, None},
    {"cmov", 1, 0, Edx, 15, None},
    {"crc32", 1, 0, Ecx, 20, None},
    {"cx16", 1, 0, Ecx, 13, None},
    {"cx8", 1, 0, Edx, 8, None},
    {"f16c", 1, 0, Ecx, 29, Avx},
    {"fma", 1, 0, Ecx, 12, Avx},
    {"fma4", extended + 1, 0, Ecx, 16, Avx},
    {"fsgsbase", 7, 0, Ebx, 0, None},
    {"fxsr", 1, 0, Edx, 24, None},
    {"gfni", 7, 0, Ecx, 8, None},
    {"hreset", 7, 1, Eax, 22, None},
    {"invpcid", 7, 0, Ebx, 10, None},
    {"lwp", extended + 1, 0, Ecx, 15, None},
    {"lzcnt", extended + 1, 0, Ecx, 5, None},
    {"mmx", 1, 0, Edx, 23, None},
    {"movbe", 1, 0, Ecx, 22, None},
    {"movdir64b", 7, 0, Ecx, 28, None},
    {"movdiri", 7, 0, Ecx, 27, None},
    {"mwaitx", extended + 1, 0, Ecx, 29, None},
    {"pclmul", 1, 0, Ecx, 1, None},
    {"pku", 7, 0, Ecx, 4, None},
    {"popcnt", 1, 0, Ecx, 23, None},
    {"prefetchi", 7, 1, Edx, 14, None},
    {"prfchw", extended + 1, 0, Ecx, 8, None},
    {"ptwrite", 0x14, 0, Ebx, 4, None},
    {"rdpid", 7, 0, Ecx, 22, None},
    {"rdpru", extended + 8, 0, Ebx, 4, None},
    {"rdrnd", 1, 0, Ecx, 30, None},
    {"rdseed", 7, 0, Ebx, 18, None},
    {"rtm", 7, 0, Ebx, 11, None},
    {"sahf", extended + 1, 0, Ecx, 0, None},
    {"serialize", 7, 0, Edx, 14, None},
    {"sha", 7, 0, Ebx, 29, None},
    {"shstk", 7, 0, Ecx, 7, None},
    {"sse", 1, 0, Edx, 25, None},
    {"sse2", 1, 0, Edx, 26, None},
    {"sse3", 1, 0, Ecx, 0, None},
    {"sse4.1", 1, 0, Ecx, 19, None},
    {"sse4.2", 1, 0, Ecx, 20, None},
    {"sse4a", extended + 1, 0, Ecx, 6, None},
    {"ssse3", 1, 0, Ecx, 9, None},
    {"tbm", extended + 1, 0, Ecx, 21, None},
    {"tsxldtrk", 7, 0, Edx, 16, None},
    {"vaes", 7, 0, Ecx, 9, Avx},
    {"vpclmulqdq", 7, 0, Ecx, 10, Avx},
    {"waitpkg", 7, 0, Ecx, 5, None},
    {"wbnoinvd", extended + 8, 0, Ebx, 9, None},
    {"x87", 1, 0, Edx, 0, None},
    {"xop", extended + 1, 0, Ecx, 11, Avx},
    {"xsave", 1, 0, Ecx, 26, None},
    {"xsavec", 0xD, 1, Eax, 1, None},
    {"xsaveopt", 0xD, 1, Eax, 0, None},
    {"xsaves", 0xD, 1, Eax, 3, None},
};

bool cpuidBit(const Feature &feature) {
  std::array<uint32_t, 4> out{};
  // __get_cpuid_count compares the leaf with the highest one of its range; the subleaf is ours to check.
  if (!__get_cpuid_count(feature.leaf, 0, &out[0], &out[1], &out[2], &out[3]))
    return false;
  if (feature.subleaf) {
    if (feature.leaf == 7 && out[Eax] < feature.subleaf)
      return false;
    __get_cpuid_count(feature.leaf, feature.subleaf, &out[0], &out[1], &out[2], &out[3]);
  }
  return out[feature.reg] >> feature.bit & 1;
}

uint64_t savedRegisters() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) // OSXSAVE
    return 0;
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

} // namespace

bool cpuHasFeature(std::string_view name) {
  for (const Feature &feature : features) {
    if (feature.name != name)
      continue;
    // XMM and YMM; then opmask and both ZMM halves; then the tile registers.
    constexpr uint64_t needed[] = {0, 0x6, 0xE6, 0x60000};
    uint64_t mask = needed[feature.needs];
    return cpuidBit(feature) && (savedRegisters() & mask) == mask;
  }
  return false;
}

std::vector<std::string_view> knownCpuFeatures() {
  std::vector<std::string_view> names;
  for (const Feature &feature : features)
    names.push_back(feature.name);
  return names;
}

} // namespace v4
