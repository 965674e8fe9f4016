// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What touches the machine: CPU features, the ELF image, the thread pool; and the sampler.
#include "runtime/CpuFeatures.h"
#include "runtime/ElfImage.h"
#include "runtime/Sampler.h"
#include "runtime/ThreadPool.h"
#include "test/runtime/Fixture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <elf.h>
#include <fstream>
#include <functional>
#include <limits>
#include <set>
#include <sstream>
#include <unistd.h>

using namespace v4;
using namespace v4::test;

namespace {

// ---- CPU features
// ------------------------------------------------------------------------------------------------------

TEST(CpuFeatures, AgreeWithTheKernel) {
  std::ifstream stream("/proc/cpuinfo");
  std::string line, flags;
  while (std::getline(stream, line))
    if (line.starts_with("flags"))
      flags = line;
  ASSERT_FALSE(flags.empty());
  std::istringstream words(flags);
  std::set<std::string> set{std::istream_iterator<std::string>(words), {}};
  const std::pair<const char *, const char *> names[] = {
      {"sse2", "sse2"},
      {"sse3", "pni"},
      {"ssse3", "ssse3"},
      {"sse4.1", "sse4_1"},
      {"sse4.2", "sse4_2"},
      {"avx", "avx"},
      {"avx2", "avx2"},
      {"fma", "fma"},
      {"f16c", "f16c"},
      {"bmi", "bmi1"},
      {"bmi2", "bmi2"},
      {"lzcnt", "abm"},
      {"movbe", "movbe"},
      {"popcnt", "popcnt"},
      {"avx512f", "avx512f"},
      {"avx512bw", "avx512bw"},
      {"avx512cd", "avx512cd"},
      {"avx512dq", "avx512dq"},
      {"avx512vl", "avx512vl"},
      {"avx512vnni", "avx512_vnni"},
      {"cx16", "cx16"},
      {"avx512vbmi", "avx512vbmi"},
      {"avx512bf16", "avx512_bf16"},
      {"gfni", "gfni"},
      {"vaes", "vaes"},
      {"sha", "sha_ni"},
      {"adx", "adx"},
      {"avxvnni", "avx_vnni"},
      {"avx512ifma", "avx512ifma"},
      {"avx512vbmi2", "avx512_vbmi2"},
      {"xsavec", "xsavec"},
  };
  for (auto [ours, kernels] : names)
    EXPECT_EQ(cpuHasFeature(ours), set.contains(kernels)) << ours;
}

TEST(CpuFeatures, UnknownNamesAreMissing) {
  for (const char *name : {"", "avx9000", "AVX2", "+avx2", "sse4_1"})
    EXPECT_FALSE(cpuHasFeature(name)) << name;
  std::vector<std::string_view> names = knownCpuFeatures();
  std::set<std::string_view> unique(names.begin(), names.end());
  EXPECT_EQ(unique.size(), names.size());
  EXPECT_TRUE(unique.contains("avx512bf16"));
}

// ---- ELF image
// -------------------------------------------------------------------------------------------------------

std::string image() {
  auto module = toyModule();
  const auto &data = module->targets[0]->images[0]->data;
  return std::string(data.begin(), data.end());
}

TEST(ElfImage, FindsAndRunsFunctions) {
  std::string bytes = image();
  auto elf = ElfImage::load(bytesOf(bytes));
  ASSERT_TRUE(elf) << elf.takeStatus().message();
  EXPECT_EQ(elf->symbol("no_such"), nullptr);
  auto touch = reinterpret_cast<KernelFunction>(elf->symbol("toy_touch"));
  ASSERT_NE(touch, nullptr);
  int32_t values[3] = {};
  void *bindings[] = {values};
  touch(bindings, 2);
  EXPECT_EQ(values[2], 3);
}

TEST(ElfImage, EveryWayOfLinking) {
  for (const char *name : {"kernels", "kernels-sysv", "kernels-relr", "kernels-symbolic"}) {
    SCOPED_TRACE(name);
    std::string bytes = readText(std::string(V4_TEST_IMAGES) + "/" + name + ".so");
    auto elf = ElfImage::load(bytesOf(bytes));
    ASSERT_TRUE(elf) << elf.takeStatus().message();
    auto table = reinterpret_cast<KernelFunction>(elf->symbol("toy_table"));
    ASSERT_NE(table, nullptr);
    EXPECT_EQ(elf->symbol("toy_pointers"), nullptr) << "data is no kernel";
    int32_t values[4] = {};
    void *bindings[] = {values};
    for (uint32_t i = 0; i != 4; ++i)
      table(bindings, i);
    EXPECT_EQ((std::vector<int32_t>(values, values + 4)), (std::vector<int32_t>{1, 40, 2, 60}));
  }
}

TEST(ElfImage, EveryTruncationIsRefusedOrHarmless) {
  std::string bytes = image();
  // Sections and their names follow the last segment and are not read.
  size_t refused = 0;
  for (size_t length = 0; length != bytes.size(); ++length) {
    auto elf = ElfImage::load(bytesOf(bytes.substr(0, length)));
    refused += !elf;
    if (elf)
      EXPECT_NE(elf->symbol("toy_mix"), nullptr);
  }
  EXPECT_GT(refused, bytes.size() / 2);
}

TEST(ElfImage, MutantsNeverCrash) {
  std::string bytes = image();
  std::mt19937 generator(11);
  unsigned refused = 0;
  for (int round = 0; round != 10000; ++round) {
    std::string copy = bytes;
    for (unsigned edits = 1 + generator() % 4; edits; --edits) {
      size_t at = generator() % 8 ? generator() % 1024 : generator() % copy.size();
      if (generator() % 2)
        copy[at] = static_cast<char>(generator());
      else if (at + 8 <= copy.size())
        std::memset(copy.data() + at / 8 * 8, generator() % 2 ? 0xFF : 0x7F, 8);
    }
    refused += !ElfImage::load(bytesOf(copy));
  }
  EXPECT_GT(refused, 2000u);
}

/// Edits the image through its own tables.
class ElfEditor {
public:
  ElfEditor() : bytes(image()) {}
  Elf64_Ehdr &header() { return *reinterpret_cast<Elf64_Ehdr *>(bytes.data()); }
  Elf64_Phdr &segment(uint32_t type, int skip = 0) {
    auto *table = reinterpret_cast<Elf64_Phdr *>(bytes.data() + header().e_phoff);
    for (int i = 0; i != header().e_phnum; ++i)
      if (table[i].p_type == type && skip-- == 0)
        return table[i];
    ADD_FAILURE() << "no segment " << type;
    return table[0];
  }
  Elf64_Dyn &dynamic(int64_t tag) {
    auto *table = reinterpret_cast<Elf64_Dyn *>(bytes.data() + segment(PT_DYNAMIC).p_offset);
    for (int i = 0;; ++i) {
      if (table[i].d_tag == tag)
        return table[i];
      if (table[i].d_tag == DT_NULL)
        break;
    }
    ADD_FAILURE() << "no dynamic entry " << tag;
    return table[0];
  }
  /// Addresses below the first executable segment equal file offsets in this image.
  Elf64_Sym &symbol(int i) {
    return *reinterpret_cast<Elf64_Sym *>(bytes.data() + dynamic(DT_SYMTAB).d_un.d_val + i * 24);
  }
  std::string bytes;
};

TEST(ElfImage, EveryDefectIsNamed) {
  auto refused = [](const char *text, const std::function<void(ElfEditor &)> &edit) {
    ElfEditor editor;
    edit(editor);
    auto elf = ElfImage::load(bytesOf(editor.bytes));
    ASSERT_FALSE(elf) << text;
    Status status = elf.takeStatus();
    EXPECT_NE(status.message().find(text), std::string_view::npos) << text << "\n" << status.message();
  };
  refused("it is not an ELF file", [](auto &e) { e.bytes[1] = 'X'; });
  refused("it is not an ELF file", [](auto &e) { e.bytes.resize(10); });
  refused("it is not an x86-64 shared object", [](auto &e) { e.header().e_machine = EM_AARCH64; });
  refused("it is not an x86-64 shared object", [](auto &e) { e.header().e_type = ET_REL; });
  refused("program header table is malformed", [](auto &e) { e.header().e_phnum = 0; });
  refused("program header table is malformed", [](auto &e) { e.header().e_phentsize = 8; });
  refused("program header table lies outside", [](auto &e) { e.header().e_phoff = UINT64_MAX - 8; });
  refused("a program interpreter or for thread-local", [](auto &e) { e.segment(PT_NOTE).p_type = PT_TLS; });
  refused("a program interpreter", [](auto &e) { e.segment(PT_NOTE).p_type = PT_INTERP; });
  refused("a segment lies outside it", [](auto &e) { e.segment(PT_LOAD).p_offset = UINT64_MAX; });
  refused("a segment lies outside it", [](auto &e) { e.segment(PT_LOAD).p_memsz = 1; });
  refused("span more than", [](auto &e) { e.segment(PT_LOAD, 2).p_memsz = uint64_t(1) << 40; });
  refused("span more than", [](auto &e) { e.segment(PT_LOAD, 2).p_vaddr = UINT64_MAX - 100; });
  refused("out of order or share a page", [](auto &e) { e.segment(PT_LOAD, 2).p_vaddr = 0x100; });
  refused("both writable and executable", [](auto &e) { e.segment(PT_LOAD, 1).p_flags |= PF_W; });
  refused("has no segment to load", [](auto &e) {
    for (int i = 0; i != 3; ++i)
      e.segment(PT_LOAD).p_type = PT_NULL;
  });
  refused("it has no dynamic section", [](auto &e) { e.segment(PT_DYNAMIC).p_type = PT_NULL; });
  refused("its dynamic section lies outside", [](auto &e) { e.segment(PT_DYNAMIC).p_vaddr = uint64_t(1) << 40; });
  refused("its dynamic section does not end", [](auto &e) { e.segment(PT_DYNAMIC).p_memsz = 16; });
  refused("depends on another library", [](auto &e) { e.dynamic(DT_STRSZ).d_tag = DT_NEEDED; });
  for (int64_t tag : {DT_INIT, DT_FINI, DT_INIT_ARRAY, DT_FINI_ARRAY})
    refused("constructors or destructors", [&](auto &e) { e.dynamic(DT_STRSZ).d_tag = tag; });
  for (int64_t tag : {DT_REL, DT_TEXTREL})
    refused("of a kind that is not supported", [&](auto &e) { e.dynamic(DT_STRSZ).d_tag = tag; });
  refused("entries of an unknown size", [](auto &e) { e.dynamic(DT_SYMENT).d_un.d_val = 16; });
  refused("symbol table is malformed", [](auto &e) { e.dynamic(DT_SYMTAB).d_un.d_val = 0; });
  refused("symbol table is malformed", [](auto &e) { e.dynamic(DT_SYMTAB).d_un.d_val = UINT64_MAX; });
  refused("symbol table is malformed", [](auto &e) { e.dynamic(DT_GNU_HASH).d_un.d_val = UINT64_MAX; });
  refused("symbol table is malformed", [](auto &e) { e.dynamic(DT_GNU_HASH).d_tag = 12345; });
  refused("symbol table is malformed", [](auto &e) { e.dynamic(DT_STRSZ).d_un.d_val = UINT64_MAX; });
  refused("name lies outside the string table", [](auto &e) { e.symbol(1).st_name = UINT32_MAX; });
  refused("string table does not end in NUL", [](auto &e) {
    e.dynamic(DT_STRSZ).d_un.d_val = 3;
    e.symbol(1).st_name = 1;
  });
  refused("the undefined symbol 'toy_", [](auto &e) { e.symbol(1).st_shndx = SHN_UNDEF; });
  auto rela = [](ElfEditor &e, uint64_t table, uint64_t bytes) {
    e.dynamic(DT_RELA).d_un.d_val = table;
    e.dynamic(DT_RELASZ).d_un.d_val = bytes;
  };
  refused("relocation table lies outside", [&](auto &e) { rela(e, UINT64_MAX - 8, 24); });
  refused("relocation table lies outside", [&](auto &e) { rela(e, 0, uint64_t(1) << 40); });
  auto place = [&](ElfEditor &e, uint64_t offset, uint64_t info, int64_t addend) {
    Elf64_Rela entry = {offset, info, addend};
    std::memcpy(e.bytes.data() + 0x200, &entry, sizeof entry); // over the note
    rela(e, 0x200, sizeof entry);
  };
  refused("relocation type 77 is not supported", [&](auto &e) { place(e, 0, 77, 0); });
  refused("a relocation names symbol 999", [&](auto &e) { place(e, 0, ELF64_R_INFO(uint64_t(999), R_X86_64_64), 0); });
  refused("a relocation lies outside its segments", [&](auto &e) { place(e, UINT64_MAX - 3, R_X86_64_RELATIVE, 0); });
  auto relr = [&](ElfEditor &e, uint64_t word) {
    std::memcpy(e.bytes.data() + 0x200, &word, 8);
    rela(e, 0x200, 8);
    e.dynamic(DT_RELA).d_tag = 36;
    e.dynamic(DT_RELASZ).d_tag = 35;
  };
  refused("a relocation lies outside its segments", [&](auto &e) { relr(e, uint64_t(1) << 50); });
  refused("relocation table lies outside", [&](auto &e) {
    relr(e, 0x3000);
    e.dynamic(36).d_un.d_val = UINT64_MAX - 3;
  });
  // The table of a procedure linkage is a table like the other.
  auto procedures = [](ElfEditor &e) {
    e.dynamic(DT_RELA).d_tag = DT_JMPREL;
    e.dynamic(DT_RELASZ).d_tag = DT_PLTRELSZ;
  };
  ElfEditor linked;
  procedures(linked);
  EXPECT_TRUE(ElfImage::load(bytesOf(linked.bytes)));
  refused("relocation table lies outside", [&](auto &e) {
    procedures(e);
    e.dynamic(DT_PLTRELSZ).d_un.d_val = uint64_t(1) << 40;
  });
  ElfEditor good;
  relr(good, 0x3000); // inside the image: accepted
  EXPECT_TRUE(ElfImage::load(bytesOf(good.bytes)));
  ElfEditor relative;
  place(relative, 0x3FF0, R_X86_64_RELATIVE, 0x13E0);
  EXPECT_TRUE(ElfImage::load(bytesOf(relative.bytes)));
}

// ---- Thread pool
// -------------------------------------------------------------------------------------------------------

void countOnce(void *const *bindings, uint32_t workgroup) {
  static_cast<std::atomic<uint32_t> *>(bindings[0])[workgroup].fetch_add(1);
}

TEST(ThreadPool, EveryWorkgroupRunsOnce) {
  for (uint32_t threads : {1u, 2u, 5u}) {
    ThreadPool pool;
    ASSERT_TRUE(pool.start(threads).ok());
    std::vector<std::atomic<uint32_t>> counts(1000);
    void *bindings[] = {counts.data()};
    std::mt19937 generator(threads);
    uint32_t rounds = 3000;
    std::vector<uint32_t> wanted(counts.size());
    for (uint32_t round = 0; round != rounds; ++round) {
      uint32_t size = round % 7 ? 1 + generator() % 20 : 1 + generator() % 1000;
      pool.run(countOnce, bindings, size);
      for (uint32_t i = 0; i != size; ++i)
        wanted[i] += 1;
      // Complete on return: nothing of the phase is still to come.
      ASSERT_EQ(counts[size - 1].load(), wanted[size - 1]) << round;
    }
    for (size_t i = 0; i != counts.size(); ++i)
      EXPECT_EQ(counts[i].load(), wanted[i]) << i;
  }
}

void slowly(void *const *bindings, uint32_t workgroup) {
  ::usleep(workgroup % 3 * 300);
  static_cast<std::atomic<uint32_t> *>(bindings[0])[workgroup].store(1);
}

TEST(ThreadPool, ReturnsWhenTheSlowestHasFinished) {
  ThreadPool pool;
  ASSERT_TRUE(pool.start(4).ok());
  for (int round = 0; round != 50; ++round) {
    std::atomic<uint32_t> done[6] = {};
    void *bindings[] = {done};
    pool.run(slowly, bindings, 6);
    for (auto &flag : done)
      ASSERT_EQ(flag.load(), 1u) << round;
  }
}

void dependent(void *const *bindings, uint32_t workgroup) {
  // Phase k reads what another workgroup wrote in phase k - 1.
  auto *source = static_cast<const uint32_t *>(bindings[0]);
  auto *target = static_cast<uint32_t *>(bindings[1]);
  target[workgroup] = source[(workgroup + 17) % 64] + 1;
}

TEST(ThreadPool, PhasesAreOrdered) {
  ThreadPool pool;
  ASSERT_TRUE(pool.start(3).ok());
  std::vector<uint32_t> a(64), b(64);
  for (int round = 0; round != 2000; ++round) {
    void *forward[] = {a.data(), b.data()}, *back[] = {b.data(), a.data()};
    pool.run(dependent, forward, 64);
    pool.run(dependent, back, 64);
  }
  for (uint32_t value : a)
    EXPECT_EQ(value, 4000u);
  EXPECT_GE(ThreadPool::available(), 1u);
}

// ---- Sampler
// -----------------------------------------------------------------------------------------------------------

int32_t pick(Sampler &sampler, const std::vector<float> &logits) {
  auto token = sampler.pick(logits);
  EXPECT_TRUE(token) << token.takeStatus().message();
  return token ? *token : -1;
}

TEST(Sampler, GreedyTakesTheLowestOfEquals) {
  auto sampler = Sampler::create(0, 1, 0);
  ASSERT_TRUE(sampler);
  EXPECT_EQ(pick(*sampler, {1, 3, 2, 3}), 1);
  EXPECT_EQ(pick(*sampler, {-INFINITY, -5, -INFINITY}), 1);
  EXPECT_EQ(pick(*sampler, {0.0f, -0.0f}), 0);
  EXPECT_EQ(pick(*sampler, {-0.0f, 0.0f}), 0) << "the two zeros are equal";
}

TEST(Sampler, RefusesWhatIsNotAProbability) {
  auto sampler = Sampler::create(0, 1, 0);
  ASSERT_TRUE(sampler);
  auto fails = [&](const std::vector<float> &logits, const char *text) {
    auto token = sampler->pick(logits);
    ASSERT_FALSE(token);
    Status status = token.takeStatus();
    EXPECT_EQ(status.code(), V4_INVALID);
    EXPECT_NE(status.message().find(text), std::string_view::npos) << status.message();
  };
  fails({1, NAN, 2}, "the logit of token 1 is NaN or infinity");
  fails({INFINITY, 1}, "the logit of token 0 is NaN or infinity");
  fails({-INFINITY, -INFINITY}, "every logit is -infinity");
  fails({}, "no token");
  for (double temperature : {-1.0, double(NAN), double(INFINITY)})
    EXPECT_EQ(Sampler::create(temperature, 1, 0).takeStatus().code(), V4_MISUSE);
  for (double topP : {-0.1, 1.1, double(NAN)})
    EXPECT_EQ(Sampler::create(1, topP, 0).takeStatus().code(), V4_MISUSE);
}

TEST(Sampler, FrequenciesFollowTheSoftmax) {
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, -INFINITY, -1.0f};
  for (double temperature : {0.5, 1.0, 2.0}) {
    auto sampler = Sampler::create(temperature, 0, 99);
    ASSERT_TRUE(sampler);
    std::vector<double> counts(5);
    const int draws = 40000;
    for (int i = 0; i != draws; ++i)
      counts[static_cast<size_t>(pick(*sampler, logits))] += 1.0 / draws;
    double sum = 0;
    for (float logit : logits)
      sum += std::exp(logit / temperature);
    for (size_t i = 0; i != 5; ++i)
      EXPECT_NEAR(counts[i], std::exp(logits[i] / temperature) / sum, 0.012) << i << " at " << temperature;
    EXPECT_EQ(counts[3], 0);
  }
}

TEST(Sampler, TopPCutsTheTail) {
  // Probabilities 0.5, 0.25, 0.125, 0.125.
  const std::vector<float> logits = {std::log(0.125f), std::log(0.5f), std::log(0.25f), std::log(0.125f)};
  auto seen = [&](double topP) {
    auto sampler = Sampler::create(1, topP, 3);
    std::set<int32_t> tokens;
    for (int i = 0; i != 2000; ++i)
      tokens.insert(pick(*sampler, logits));
    return tokens;
  };
  EXPECT_EQ(seen(0.01), (std::set<int32_t>{1}));
  EXPECT_EQ(seen(0.49), (std::set<int32_t>{1}));
  EXPECT_EQ(seen(0.6), (std::set<int32_t>{1, 2}));
  EXPECT_EQ(seen(0.8), (std::set<int32_t>{0, 1, 2})); // of the two equals, the lower id
  EXPECT_EQ(seen(1), (std::set<int32_t>{0, 1, 2, 3}));
}

TEST(Sampler, SeedsDecide) {
  std::vector<float> logits(64);
  auto draw = [&](uint64_t seed) {
    auto sampler = Sampler::create(1, 1, seed);
    std::vector<int32_t> tokens;
    for (int i = 0; i != 32; ++i)
      tokens.push_back(pick(*sampler, logits));
    return tokens;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
  EXPECT_NE(draw(0), draw(1));
  // SplitMix64's published sequence for seed 0, of which the top six bits choose among 64 equals: the tokens of a seed
  // are part of the interface, the same on every machine.
  std::vector<int32_t> zero = draw(0);
  zero.resize(4);
  EXPECT_EQ(zero, (std::vector<int32_t>{0xE220A839 >> 26, 0x6E789E6A >> 26, 0x06C45D18 >> 26, 0xF88BB8A8 >> 26}));
}

} // namespace
