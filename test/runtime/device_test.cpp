// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a session relies on, of every device: memory, copies, uploads, runs; and of `cuda`, on the fake driver
// (fake-cuda/FakeCuda.h), what it does when any driver call fails.
#include "runtime/Device.h"
#include "runtime/Module.h"
#include "test/runtime/Fixture.h"
#include "test/runtime/fake-cuda/FakeCuda.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <set>

using namespace v4;
using namespace v4::test;

namespace {

constexpr const char *fakeVariables[] = {"KERNELS", "DEVICES", "NAME",  "CAPABILITY", "MEMORY",
                                         "DRIVER",  "FAIL",    "FAULT", "COUNTERS"};

void setFake(const char *name, const std::string &value) {
  ::setenv((std::string("V4_FAKE_CUDA_") + name).c_str(), value.c_str(), 1);
}

v4_fake_cuda_counters counters() {
  return v4_fake_cuda_get_counters();
}

/// Nothing is left on the fake GPU, and nobody did what a right program does not do.
void expectClean() {
  v4_fake_cuda_counters now = counters();
  EXPECT_EQ(now.live_allocations, 0u);
  EXPECT_EQ(now.live_pinned, 0u);
  EXPECT_EQ(now.live_objects, 0u);
  EXPECT_EQ(now.contexts, 0u);
  EXPECT_EQ(now.leaks, 0u);
  EXPECT_EQ(now.misuses, 0u);
}

/// A toy module for all devices, and a new fake driver that knows its kernels.
class ToyTest : public testing::Test {
protected:
  void SetUp() override {
    weightData = ToyWeights::random(7);
    ToyCheckpoint::make(weightData).write(checkpoint);
    moduleData = moduleBytes(*toyModule({.slots = 2, .gpu = true}));
    writeText(modulePath, moduleData);
    newFake();
  }
  void TearDown() override {
    expectClean();
    for (const char *name : fakeVariables)
      ::unsetenv((std::string("V4_FAKE_CUDA_") + name).c_str());
  }

  /// As a new process would find it.
  void newFake() {
    setFake("KERNELS", modulePath);
    v4_fake_cuda_reset();
  }

  TempDir dir;
  std::string checkpoint = dir / "checkpoint", modulePath = dir / "toy.v4m", moduleData;
  ToyWeights weightData;
};

// ---- The interface

class DeviceTest : public ToyTest, public testing::WithParamInterface<const char *> {
protected:
  void SetUp() override {
    ToyTest::SetUp();
    Expected<ModuleFile> file = ModuleFile::copy(bytesOf(moduleData));
    ASSERT_TRUE(file) << file.takeStatus().message();
    Expected<std::shared_ptr<const Module>> loaded = Module::load(std::move(*file), GetParam());
    ASSERT_TRUE(loaded) << loaded.takeStatus().message();
    module = std::move(*loaded);
  }
  void TearDown() override {
    module.reset();
    ToyTest::TearDown();
  }

  bool onCuda() const { return std::string_view(GetParam()) == "cuda"; }
  Device &device() { return module->device(); }
  std::unique_ptr<DeviceMemory> take(uint64_t bytes) {
    Expected<std::unique_ptr<DeviceMemory>> memory = device().allocate(bytes, "a test");
    EXPECT_TRUE(memory) << memory.takeStatus().message();
    return memory ? std::move(*memory) : nullptr;
  }
  std::string bytes(const std::byte *from, size_t count) {
    std::string out(count, '?');
    Status status = device().read(out.data(), from, count);
    EXPECT_TRUE(status.ok()) << status.message();
    return out;
  }
  static std::string pattern(size_t count, unsigned seed) {
    std::string out(count, 0);
    std::mt19937 generator(seed);
    for (char &c : out)
      c = static_cast<char>(generator());
    return out;
  }

  std::shared_ptr<const Module> module;
};

INSTANTIATE_TEST_SUITE_P(Devices, DeviceTest, testing::Values("cpu", "emu", "cuda"),
                         [](const auto &info) { return std::string(info.param); });

TEST_P(DeviceTest, MemoryIsZeroedAndAligned) {
  for (uint64_t size : {uint64_t(0), uint64_t(1), uint64_t(255), uint64_t(4097), uint64_t(3) << 20}) {
    auto memory = take(size);
    ASSERT_TRUE(memory);
    EXPECT_EQ(memory->size(), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory->data()) % 256, 0u);
    EXPECT_EQ(bytes(memory->data(), size), std::string(size, 0));
  }
  EXPECT_FALSE(device().description().empty());
}

TEST_P(DeviceTest, FillWriteRead) {
  auto memory = take(1000);
  std::string text = pattern(333, 1);
  ASSERT_TRUE(device().write(memory->data() + 7, text.data(), text.size()).ok());
  EXPECT_EQ(bytes(memory->data(), 1000), std::string(7, 0) + text + std::string(660, 0));
  ASSERT_TRUE(device().fill(memory->data() + 8, 16, 0xFF800000u).ok());
  std::string wanted = std::string(7, 0) + text.substr(0, 1);
  for (int i = 0; i != 4; ++i)
    wanted += std::string("\x00\x00\x80\xFF", 4);
  wanted += text.substr(17);
  EXPECT_EQ(bytes(memory->data(), 340), wanted);
  ASSERT_TRUE(device().fill(memory->data() + 1, 13, 0x7F7F7F7Fu).ok());
  EXPECT_EQ(bytes(memory->data() + 1, 13), std::string(13, 0x7F));
  EXPECT_EQ(bytes(memory->data(), 1), std::string(1, 0));
  // Nothing at all is fine, too.
  EXPECT_TRUE(device().fill(memory->data(), 0, 0).ok());
  EXPECT_TRUE(device().write(memory->data(), text.data(), 0).ok());
}

TEST_P(DeviceTest, UploadsOfAnySizeArriveAndAreReported) {
  const size_t sizes[] = {1, 3, 64, 65, 4095, 4097, (2u << 20) + 1, 9u << 20, 0, 17};
  std::vector<std::string> texts;
  std::vector<Transfer> transfers;
  size_t total = 0;
  for (size_t i = 0; i != std::size(sizes); ++i) {
    texts.push_back(pattern(sizes[i], static_cast<unsigned>(i)));
    total += sizes[i];
  }
  auto memory = take(total + 64 * std::size(sizes));
  std::vector<size_t> places;
  size_t place = 0;
  for (const std::string &text : texts) {
    places.push_back(place);
    transfers.push_back(
        {reinterpret_cast<const std::byte *>(text.data()), memory->data() + place, text.size(), Rows16(), nullptr});
    place += (text.size() + 63) / 64 * 64;
  }
  for (uint32_t threads : {1u, 3u}) {
    ASSERT_TRUE(device().fill(memory->data(), memory->size() / 4 * 4, 0x55555555u).ok());
    std::vector<uint64_t> reports;
    Status status = device().upload(transfers, threads, [&](uint64_t done, uint64_t all) {
      EXPECT_EQ(all, total);
      reports.push_back(done);
      return true;
    });
    ASSERT_TRUE(status.ok()) << status.message();
    for (size_t i = 0; i != texts.size(); ++i)
      EXPECT_TRUE(bytes(memory->data() + places[i], texts[i].size()) == texts[i]) << i;
    ASSERT_FALSE(reports.empty());
    EXPECT_EQ(reports.front(), 0u);
    EXPECT_EQ(reports.back(), total);
    EXPECT_TRUE(std::is_sorted(reports.begin(), reports.end()));
  }
  Status ended = device().upload(transfers, 1, [](uint64_t done, uint64_t) { return done == 0; });
  EXPECT_EQ(ended.code(), V4_ENVIRONMENT);
  EXPECT_TRUE(device().upload({}, 1, {}).ok());
}

TEST_P(DeviceTest, UploadsKeepUpWithMoreThanTwoBatches) {
  std::string text = pattern(150u << 20, 5);
  auto memory = take(text.size());
  Transfer transfer{reinterpret_cast<const std::byte *>(text.data()), memory->data(), text.size(), Rows16(), nullptr};
  ASSERT_TRUE(device().upload({&transfer, 1}, 2, {}).ok());
  EXPECT_TRUE(bytes(memory->data(), text.size()) == text);
}

// ---- Runs

/// The kernels toy_count (5 workgroups, a counter that is cleared before) and nothing else, as a program of its own.
class Counting {
public:
  explicit Counting(const Module &module) {
    for (const fbs::Entry *entry : *module.target().entries())
      if (entry->name()->string_view() == "prefill_4")
        program.entry = entry;
    for (const fbs::Launch *launch : *program.entry->launches())
      if (launch->name()->string_view() == "count")
        for (int i = 0; i != 3; ++i)
          program.launches.push_back({launch, static_cast<uint32_t>(i), 1});
  }
  void place(std::byte *arena) {
    program.arena = arena;
    program.bindings.assign(3, arena);
    program.extents.assign(3, 4);
  }
  Program program;
};

TEST_P(DeviceTest, RunsCopyRunAndCopyBack) {
  Counting counting(*module);
  auto memory = take(256);
  counting.place(memory->data());
  Expected<std::unique_ptr<DeviceMemory>> staged = device().allocateStaging(256, "a test");
  ASSERT_TRUE(staged);
  Expected<std::unique_ptr<Queue>> queue = device().createQueue({.threads = 1});
  ASSERT_TRUE(queue) << queue.takeStatus().message();
  // Where memory is shared there is nothing to copy.
  bool shared = device().sharesHostMemory();
  std::byte *host = shared ? memory->data() + 64 : (*staged)->data();
  std::vector<Copy> inputs = {{memory->data() + 64, host, 8}}, outputs = {{memory->data(), host + 64, 72}};
  if (shared) {
    inputs.clear();
    outputs.clear();
  }
  for (int round = 0; round != 4; ++round) {
    std::string text = pattern(8, unsigned(round));
    std::memcpy(host, text.data(), 8);
    Status status = (*queue)->run(counting.program, inputs, outputs, nullptr);
    ASSERT_TRUE(status.ok()) << status.message();
    int32_t count;
    std::memcpy(&count, shared ? memory->data() : host + 64, 4);
    EXPECT_EQ(count, 5) << "the counter is cleared before each launch";
    EXPECT_EQ(std::memcmp(shared ? host : host + 128, text.data(), 8), 0) << round;
  }
}

TEST_P(DeviceTest, VariantsHaveAddressesOfTheirOwn) {
  Counting first(*module), second(*module);
  auto memory = take(512);
  Expected<std::unique_ptr<Queue>> queue = device().createQueue({.threads = 1});
  ASSERT_TRUE(queue);
  second.place(memory->data() + 256);
  for (int round = 0; round != 3; ++round) {
    for (uint32_t variant : {0u, 1u}) {
      first.place(memory->data() + 64 * variant);
      first.program.variant = variant;
      ASSERT_TRUE(device().fill(memory->data(), 512, 0).ok());
      ASSERT_TRUE((*queue)->run(first.program, {}, {}, nullptr).ok());
      for (uint64_t at : {0, 64, 256}) {
        int32_t count;
        ASSERT_TRUE(device().read(&count, memory->data() + at, 4).ok());
        EXPECT_EQ(count, at == 64 * variant ? 5 : 0) << at;
      }
    }
    ASSERT_TRUE((*queue)->run(second.program, {}, {}, nullptr).ok());
    int32_t count;
    ASSERT_TRUE(device().read(&count, memory->data() + 256, 4).ok());
    EXPECT_EQ(count, 5);
  }
}

TEST_P(DeviceTest, HooksSeeEveryLaunch) {
  Counting counting(*module);
  auto memory = take(256);
  counting.place(memory->data());
  Expected<std::unique_ptr<Queue>> queue = device().createQueue({.threads = 1});
  ASSERT_TRUE(queue);
  for (bool stops : {false, true})
    for (int round = 0; round != 3; ++round) {
      std::vector<uint32_t> timed, stopped;
      uint64_t before = steadyNow();
      RunHooks hooks;
      hooks.timed = [&](uint32_t index, uint64_t begin, uint64_t duration) {
        timed.push_back(index);
        EXPECT_GE(begin, before);
        EXPECT_LT(duration, uint64_t(1) << 40);
      };
      if (stops)
        hooks.stops = {0, 2};
      hooks.stopped = [&](uint32_t index) -> Status {
        stopped.push_back(index);
        int32_t count = 0;
        V4_RETURN_IF_ERROR(device().read(&count, memory->data(), 4));
        EXPECT_EQ(count, 5);
        return {};
      };
      ASSERT_TRUE((*queue)->run(counting.program, {}, {}, &hooks).ok());
      EXPECT_EQ(timed, (std::vector<uint32_t>{0, 1, 2}));
      EXPECT_EQ(stopped, stops ? (std::vector<uint32_t>{0, 2}) : std::vector<uint32_t>());
    }
  RunHooks ending;
  ending.stops = {1};
  ending.stopped = [](uint32_t) { return environment("enough"); };
  Status status = (*queue)->run(counting.program, {}, {}, &ending);
  EXPECT_EQ(status.code(), V4_ENVIRONMENT);
  EXPECT_EQ(status.message(), "enough");
}

TEST_P(DeviceTest, GraphsAreReplayed) {
  if (!onCuda())
    GTEST_SKIP() << "of cuda";
  Counting counting(*module);
  auto memory = take(256);
  counting.place(memory->data());
  Expected<std::unique_ptr<Queue>> queue = device().createQueue({});
  ASSERT_TRUE(queue);
  for (uint64_t round = 0; round != 5; ++round) {
    ASSERT_TRUE((*queue)->run(counting.program, {}, {}, nullptr).ok());
    EXPECT_EQ(counters().launches, 3u) << "launch by launch the first time only";
    EXPECT_EQ(counters().graph_launches, round);
    EXPECT_EQ(counters().captured_launches, round ? 3u : 0u) << "captured once";
    EXPECT_EQ(counters().executions, 3 * (round + 1));
  }
}

// ---- Whole sessions

struct Result {
  v4_code code = V4_OK;
  std::string message, step;
  std::vector<std::vector<float>> logits;
};

class SessionsTest : public ToyTest {
protected:
  /// Opens a device, uploads, takes a prompt, decodes, saves, loads, goes on, closes; to the first failure.
  Result session(const char *device, const std::string &statePath) {
    Result result;
    v4_module *module = nullptr;
    v4_weights *weights = nullptr;
    v4_session *session = nullptr;
    auto ok = [&](const char *step, v4_status *raw) {
      CStatus status(raw);
      result.code = status.code();
      result.message = status.message();
      result.step = step;
      return result.code == V4_OK;
    };
    v4_module_options options = {sizeof options, device};
    auto append = [&](const char *step, size_t first, size_t count) {
      uint64_t position = v4_session_position(session, 1);
      std::vector<float> before;
      if (const float *row = v4_session_logits(session, 1))
        before.assign(row, row + toyVocab);
      bool done = ok(step, v4_session_append(session, 1, tokens.data() + first, count));
      const float *row = v4_session_logits(session, 1);
      if (done) {
        result.logits.emplace_back(row, row + toyVocab);
      } else {
        // What the host has is as before the call.
        EXPECT_EQ(v4_session_position(session, 1) - position, v4_session_position(session, 1) == position ? 0u : 8u);
        if (row && !before.empty() && v4_session_position(session, 1) == position)
          EXPECT_EQ(std::memcmp(row, before.data(), before.size() * 4), 0);
      }
      return done;
    };
    (void)(ok("module", v4_module_load_memory(moduleData.data(), moduleData.size(), &options, &module)) &&
           ok("weights", v4_weights_load(module, checkpoint.c_str(), nullptr, &weights)) &&
           ok("session", v4_session_create(module, weights, nullptr, &session)) && append("prefill", 0, 11) &&
           append("decode", 11, 1) && append("decode", 12, 1) &&
           ok("save", v4_session_save(session, 1, statePath.c_str())) && append("decode", 13, 1) &&
           ok("load", v4_session_load(session, 1, statePath.c_str())) && append("decode", 13, 1) &&
           ok("reset", v4_session_reset(session, 1)));
    v4_session_free(session);
    v4_weights_free(weights);
    v4_module_free(module);
    return result;
  }

  void expectRight(const Result &result) {
    ASSERT_EQ(result.code, V4_OK) << result.step << ": " << result.message;
    auto wanted = Reference(weightData).logits(tokens);
    const size_t rows[] = {10, 11, 12, 13, 13};
    ASSERT_EQ(result.logits.size(), std::size(rows));
    for (size_t i = 0; i != std::size(rows); ++i)
      for (size_t v = 0; v != toyVocab; ++v) {
        ASSERT_TRUE(std::isfinite(result.logits[i][v]));
        ASSERT_NEAR(result.logits[i][v], wanted[rows[i]][v], 1e-4) << "row " << rows[i];
      }
  }

  std::vector<int32_t> tokens = randomTokens(3, 14);
};

TEST_F(SessionsTest, EveryDeviceGivesTheSame) {
  Result cpu = session("cpu", dir / "cpu.state"), emu = session("emu", dir / "emu.state"),
         cuda = session("cuda", dir / "cuda.state");
  for (const Result *result : {&cpu, &emu, &cuda})
    expectRight(*result);
  EXPECT_EQ(cuda.logits, emu.logits) << "the same kernels, bit for bit";
  EXPECT_EQ(readText(dir / "cuda.state"), readText(dir / "emu.state"));
  EXPECT_GT(counters().graph_launches, 0u);
}

// ---- Machine code

/// A cubin, as far as a driver has to know it before it runs a kernel: the header, and for every kernel a section with
/// its code and one with the size of its parameters and its block.
std::string cubinOf(const fbs::TargetT &target, unsigned sm, bool since13) {
  std::string names(1, 0), data;
  std::vector<Elf64_Shdr> sections(1);
  auto add = [&](const std::string &name, std::string_view bytes) {
    Elf64_Shdr section{};
    section.sh_name = static_cast<Elf64_Word>(names.size());
    section.sh_type = SHT_PROGBITS;
    section.sh_offset = sizeof(Elf64_Ehdr) + data.size();
    section.sh_size = bytes.size();
    sections.push_back(section);
    names += name + '\0';
    data += bytes;
  };
  std::set<std::string> written;
  for (const auto &kernel : target.kernels)
    if (const std::string &symbol = kernel->phases[0]->symbol; written.insert(symbol).second) {
      const uint16_t parameters = static_cast<uint16_t>(8 * kernel->bindings);
      add(".text." + symbol, std::string(16, 0));
      add(".nv.info." + symbol, std::string("\x03\x19") + static_cast<char>(parameters) +
                                    static_cast<char>(parameters >> 8) +
                                    std::string("\x04\x10\x0c\0\x01\0\0\0\x01\0\0\0\x01\0\0\0", 16));
    }
  add(".shstrtab", {});
  sections.back().sh_size = names.size();
  data += names;
  data.resize((data.size() + 7) / 8 * 8);
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_OSABI] = since13 ? 0x41 : 0x33;
  header.e_ident[EI_ABIVERSION] = since13 ? 8 : 7;
  header.e_type = ET_EXEC;
  header.e_machine = 190;
  header.e_flags = since13 ? sm << 8 : sm;
  header.e_shoff = sizeof header + data.size();
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = static_cast<Elf64_Half>(sections.size());
  header.e_shstrndx = static_cast<Elf64_Half>(sections.size() - 1);
  return std::string(reinterpret_cast<const char *>(&header), sizeof header) + data +
         std::string(reinterpret_cast<const char *>(sections.data()), sections.size() * sizeof(Elf64_Shdr));
}

class CubinTest : public SessionsTest {
protected:
  /// The toy with this machine code for sm_90a, and with its PTX or without.
  void use(const std::string &cubin, bool withPtx) {
    auto module = toyModule({.slots = 2, .gpu = true});
    auto &images = module->targets[0]->images;
    auto image = std::make_unique<fbs::ImageT>();
    image->kind = fbs::ImageKind::Cubin;
    image->arch = "sm_90a";
    image->data.assign(cubin.begin(), cubin.end());
    if (!withPtx)
      images.clear();
    images.push_back(std::move(image));
    moduleData = moduleBytes(*module);
    writeText(modulePath, moduleData);
    newFake();
  }
  void expectRuns(uint64_t cubins, uint64_t ptxTexts) {
    Result emu = session("emu", dir / "emu.state"), cuda = session("cuda", dir / "cuda.state");
    expectRight(cuda);
    EXPECT_EQ(cuda.logits, emu.logits);
    EXPECT_EQ(counters().cubins, cubins);
    EXPECT_EQ(counters().ptx_texts, ptxTexts);
    expectClean();
  }
  void expectRefused(const std::string &error) {
    Result result = session("cuda", dir / "state");
    EXPECT_EQ(result.code, V4_ENVIRONMENT);
    EXPECT_EQ(result.step, "module");
    for (const std::string &text : {std::string("does not take the module's machine code: ") + error,
                                    std::string("; compile the module again for the chip of this GPU, or install")})
      EXPECT_NE(result.message.find(text), std::string::npos) << result.message;
    expectClean();
  }

  std::unique_ptr<fbs::ModuleT> toy = toyModule({.slots = 2, .gpu = true});
  const fbs::TargetT &target = *toy->targets[0];
};

TEST_F(CubinTest, IsTakenBeforePtx) {
  use(cubinOf(target, 90, true), true);
  expectRuns(1, 0);
  use(cubinOf(target, 90, false), true);
  expectRuns(1, 0);
}

TEST_F(CubinTest, IsEnough) {
  use(cubinOf(target, 90, true), false);
  expectRuns(1, 0);
}

TEST_F(CubinTest, OfAnotherChip) {
  // The module says sm_90a, the machine code something else.
  for (unsigned sm : {80u, 100u, 120u}) {
    use(cubinOf(target, sm, true), true);
    expectRuns(0, 1);
    use(cubinOf(target, sm, true), false);
    expectRefused("CUDA_ERROR_NO_BINARY_FOR_GPU");
  }
}

TEST_F(CubinTest, NewerThanTheDriver) {
  setFake("DRIVER", "12090");
  use(cubinOf(target, 90, true), true);
  expectRuns(0, 1);
  use(cubinOf(target, 90, true), false);
  expectRefused("CUDA_ERROR_INVALID_IMAGE");
  // What older tools made, it takes.
  use(cubinOf(target, 90, false), true);
  expectRuns(1, 0);
}

TEST_F(CubinTest, OfAnotherMachine) {
  use(readText(V4_TEST_EMU_IMAGE), true);
  expectRuns(0, 1);
  use(readText(V4_TEST_EMU_IMAGE), false);
  expectRefused("CUDA_ERROR_INVALID_IMAGE");
}

TEST_F(CubinTest, WithoutAKernel) {
  auto less = toyModule({.slots = 2, .gpu = true});
  less->targets[0]->kernels.pop_back();
  use(cubinOf(*less->targets[0], 90, true), true);
  Result result = session("cuda", dir / "state");
  EXPECT_EQ(result.code, V4_INVALID) << result.message;
  EXPECT_NE(result.message.find("the module's images do not define '"), std::string::npos) << result.message;
  expectClean();
}

/// Every call of a whole session fails once, with an error that passes, one that ends the context, one that ends the
/// device.
class EveryCallTest : public SessionsTest, public testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Codes, EveryCallTest, testing::Values(2, 719, 999));

TEST_P(EveryCallTest, FailsWithAStatusAndLeavesNothing) {
  constexpr uint64_t most = 100000;
  std::string statePath = dir / "x.state", older = "a state that was saved before";
  size_t failures = 0;
  uint64_t n = 1;
  for (; n != most; ++n) {
    SCOPED_TRACE("call " + std::to_string(n));
    writeText(statePath, older);
    setFake("FAIL", std::to_string(n) + ":" + std::to_string(GetParam()));
    newFake();
    Result result = session("cuda", statePath);
    expectClean();
    if (result.code != V4_OK) {
      ++failures;
      EXPECT_EQ(result.code, V4_ENVIRONMENT) << result.step << ": " << result.message;
      bool names =
          result.message.find("GPU") != std::string::npos || result.message.find("NVIDIA driver") != std::string::npos;
      EXPECT_TRUE(names) << result.step << ": " << result.message;
      EXPECT_NE(result.message.find("; "), std::string::npos) << "no remedy: " << result.step << ": " << result.message;
      bool saved = result.step == "load" || result.step == "reset" || result.logits.size() >= 3;
      if (!saved || result.step == "save")
        EXPECT_EQ(readText(statePath), older) << result.step;
    } else {
      expectRight(result);
    }
    if (counters().calls < n)
      break;
    // The same process goes on, unless the device is gone.
    if (n % 5 == 0 && GetParam() != 999)
      expectRight(session("cuda", statePath));
    if (HasFailure())
      break; // one report is enough
  }
  ASSERT_LT(n, most);
  EXPECT_GT(failures, 50u);
}

// ---- Faults of the machine, with their messages

class FaultsTest : public SessionsTest {
protected:
  void expectFails(std::vector<std::string> texts) {
    newFake();
    Result result = session("cuda", dir / "state");
    EXPECT_EQ(result.code, V4_ENVIRONMENT) << result.step << ": " << result.message;
    for (const std::string &text : texts)
      EXPECT_NE(result.message.find(text), std::string::npos) << "'" << text << "' is not in: " << result.message;
    expectClean();
  }
};

TEST_F(FaultsTest, NoDevice) {
  setFake("DEVICES", "0");
  expectFails({"no NVIDIA GPU", "nvidia-smi"});
}

TEST_F(FaultsTest, OldDriver) {
  setFake("DRIVER", "11080");
  expectFails({"11.8", "8.0"});
}

TEST_F(FaultsTest, WrongArchitecture) {
  setFake("CAPABILITY", "8.0");
  expectFails({"8.0", "sm_90a", "--target"});
}

TEST_F(FaultsTest, OutOfMemoryAtEveryAllocation) {
  // Memory from nothing to what a session needs, in steps that end it in every allocation.
  newFake();
  expectRight(session("cuda", dir / "state"));
  uint64_t peak = counters().peak_bytes;
  std::set<std::string> steps;
  for (uint64_t part = 0; part != 24; ++part) {
    setFake("MEMORY", std::to_string(peak * part / 24));
    newFake();
    Result result = session("cuda", dir / "state");
    EXPECT_EQ(result.code, V4_ENVIRONMENT) << result.message;
    bool figures = result.message.find(" bytes") != std::string::npos &&
                   (result.message.find(" are available; ") != std::string::npos ||
                    result.message.find(" are free; ") != std::string::npos);
    EXPECT_TRUE(figures) << result.message;
    steps.insert(result.step);
    expectClean();
  }
  EXPECT_EQ(steps, (std::set<std::string>{"weights", "session"}));
  setFake("MEMORY", std::to_string(peak));
  newFake();
  expectRight(session("cuda", dir / "state"));
}

TEST_F(FaultsTest, KernelFaultNamesTheKernel) {
  setFake("FAULT", "gpu_toy_mix:1:700");
  expectFails({"layers.0.mix", "toy_mix", "prefill_8"});
  // In a replay the entry is known, and how to know the kernel: not before the third step does it fault.
  setFake("FAULT", "gpu_toy_count:7:716");
  expectFails({"failed in entry 'decode'", "CUDA_LAUNCH_BLOCKING=1", "CUDA_ERROR_MISALIGNED_ADDRESS"});
  ::setenv("CUDA_LAUNCH_BLOCKING", "1", 1);
  setFake("FAULT", "gpu_toy_count:7:716");
  expectFails({"failed in launch 'count' (kernel 'toy_count_5') of entry 'decode'", "CUDA_ERROR_MISALIGNED_ADDRESS"});
  EXPECT_EQ(counters().captured_launches, 0u);
  ::unsetenv("CUDA_LAUNCH_BLOCKING");
}

TEST_F(FaultsTest, LaunchesThatAreWaitedForGiveTheSame) {
  Result graphs = session("cuda", dir / "graphs.state");
  EXPECT_GT(counters().graph_launches, 0u);
  newFake();
  ::setenv("CUDA_LAUNCH_BLOCKING", "1", 1);
  Result singly = session("cuda", dir / "singly.state");
  ::unsetenv("CUDA_LAUNCH_BLOCKING");
  EXPECT_EQ(counters().graph_launches, 0u);
  expectRight(singly);
  EXPECT_EQ(singly.logits, graphs.logits);
}

TEST_F(FaultsTest, LostDevice) {
  setFake("FAIL", "cuStreamSynchronize:9:999");
  expectFails({"CUDA_ERROR_UNKNOWN", "the GPU is lost", "nvidia-smi"});
  Result again = session("cuda", dir / "state");
  EXPECT_EQ(again.code, V4_ENVIRONMENT);
}

} // namespace
