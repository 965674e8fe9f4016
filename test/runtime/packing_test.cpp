// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Weights in the layouts of a module: packed at load, and in files of v4-pack. Where a byte must be comes from the
// formula of docs/module-format.md.
#include "runtime/PackedFile.h"
#include "runtime/Weights.h"
#include "test/runtime/Fixture.h"

#include <cstdio>
#include <cstring>
#include <map>
#include <sstream>
#include <unistd.h>

using namespace v4;
using namespace v4::test;

namespace {

using fbs::DType;

void expectFails(const Status &status, const std::string &text, v4_code code = V4_INVALID) {
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(text), std::string_view::npos) << "wanted: " << text << "\ngot: " << status.message();
}

/// A parameter in rows16 and the tensors it comes from.
struct Sample {
  std::string name;
  DType dtype;
  std::vector<uint64_t> shape, packedShape;
  uint64_t unit;                          // bytes
  uint32_t rows = 0;                      // of a table
  std::vector<uint64_t> tensorShape = {}; // none: as the parameter's view
  uint64_t offset = 0, stride = 0;
};

const Sample samples[] = {
    {"f32", DType::F32, {32, 20}, {2, 20, 16, 1}, 4},
    {"bf16", DType::BF16, {48, 40}, {3, 20, 16, 2}, 4},
    {"fp8", DType::F8E4M3, {16, 128}, {1, 32, 16, 4}, 4},
    {"fp4", DType::I8, {64, 36}, {4, 9, 16, 4}, 4},         // rows of two 16 byte pieces and a rest
    {"short", DType::BF16, {16, 6}, {1, 3, 16, 2}, 4},      // no piece of 16 bytes at all
    {"scale", DType::F8E8M0, {32, 37}, {2, 37, 16}, 1},
    {"groups", DType::BF16, {4, 8, 6}, {2, 3, 16, 2}, 4},   // 4 groups of 8 rows
    {"long", DType::F32, {80, 16384}, {5, 16384, 16, 1}, 4}, // several pieces of work
    {"expert.{e}", DType::I8, {3, 16, 8}, {3, 1, 2, 16, 4}, 4, 3},
    {"fused", DType::BF16, {3, 16, 4}, {3, 1, 2, 16, 2}, 4, 3, {3, 64, 4}, 256, 512},
};

class PackingTest : public testing::Test {
protected:
  void SetUp() override {
    tree = toyModule();
    for (const Sample &sample : samples) {
      auto parameter = std::make_unique<fbs::ParameterT>();
      parameter->name = sample.name;
      parameter->dtype = sample.dtype;
      parameter->shape = sample.shape;
      parameter->rows = sample.rows;
      parameter->layout = "rows16";
      parameter->source = std::make_unique<fbs::SourceT>();
      parameter->source->tensor = sample.name;
      parameter->source->dtype = sample.dtype;
      parameter->source->shape = tensorShape(sample);
      parameter->source->offset = sample.offset;
      parameter->source->stride = sample.stride;
      tree->parameters.push_back(std::move(parameter));
    }
    ToyCheckpoint toy = ToyCheckpoint::make(ToyWeights::random(5));
    std::mt19937 generator(17);
    for (const Sample &sample : samples)
      for (uint32_t e = 0; e != tensors(sample); ++e) {
        TensorData tensor{rowName(sample.name, e), std::string(dtypeName(sample.dtype)), tensorShape(sample), ""};
        tensor.bytes.resize(*count(tensor.shape) * elementBytes(sample.dtype));
        for (char &byte : tensor.bytes)
          byte = static_cast<char>(generator());
        payload[tensor.name] = tensor.bytes;
        toy.shards[e % 2].push_back(std::move(tensor));
      }
    toy.write(checkpoint);
    module = load(*tree);
  }

  static std::optional<uint64_t> count(const std::vector<uint64_t> &shape) {
    uint64_t out = 1;
    for (uint64_t extent : shape)
      out *= extent;
    return out;
  }
  static bool perRow(const Sample &sample) { return sample.name.find("{e}") != std::string::npos; }
  static uint32_t tensors(const Sample &sample) { return perRow(sample) ? sample.rows : 1; }
  static std::vector<uint64_t> tensorShape(const Sample &sample) {
    if (!sample.tensorShape.empty())
      return sample.tensorShape;
    return {sample.shape.begin() + (sample.rows ? 1 : 0), sample.shape.end()};
  }

  static std::shared_ptr<const Module> load(const fbs::ModuleT &tree) {
    auto file = ModuleFile::copy(bytesOf(moduleBytes(tree)));
    EXPECT_TRUE(file) << file.takeStatus().message();
    auto loaded = Module::load(std::move(*file), "cpu");
    EXPECT_TRUE(loaded) << loaded.takeStatus().message();
    return *loaded;
  }

  /// The bytes of view `e` of the sample, in the layout.
  std::string expected(const Sample &sample, uint32_t e) const {
    uint64_t rowBytes = sample.shape.back() * elementBytes(sample.dtype);
    uint64_t rows = *count({sample.shape.begin() + (sample.rows ? 1 : 0), sample.shape.end() - 1});
    const std::string &tensor = payload.at(rowName(sample.name, e));
    uint64_t from = sample.offset + (perRow(sample) ? 0 : e * sample.stride);
    std::string out(rows * rowBytes, '\0');
    uint64_t units = rowBytes / sample.unit;
    for (uint64_t r = 0; r != rows; ++r)
      for (uint64_t u = 0; u != units; ++u)
        for (uint64_t b = 0; b != sample.unit; ++b)
          out[((r / 16 * units + u) * 16 + r % 16) * sample.unit + b] = tensor[from + r * rowBytes + u * sample.unit + b];
    return out;
  }

  void expectPacked(const Weights &weights, const std::string &what) const {
    for (uint32_t i = 0; i != std::size(samples); ++i) {
      const Sample &sample = samples[i];
      const Weights::Bound &bound = weights.parameter(toyParameters + i);
      ASSERT_EQ(bound.offsets.size(), sample.rows) << what << sample.name;
      for (uint32_t e = 0; e != std::max(sample.rows, 1u); ++e) {
        const std::byte *data = bound.base + (sample.rows ? bound.offsets[e] : 0);
        std::string want = expected(sample, e);
        EXPECT_EQ(std::memcmp(data, want.data(), want.size()), 0) << what << sample.name << " " << e;
        EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u) << what << sample.name << " " << e;
      }
    }
  }

  Status pack(const std::string &path, uint32_t threads = 1, const MoveProgress &progress = {}) {
    return writePackedFile(module->root(), checkpoint, path, threads, progress);
  }
  Status openPacked(const std::string &path) {
    auto weights = Weights::load(module, path, {});
    return weights ? Status() : weights.takeStatus();
  }

  /// Whether the address is in a mapping of that file, as the system sees it.
  static bool mappedFrom(const std::byte *address, const std::string &path) {
    std::istringstream maps(readText("/proc/self/maps"));
    for (std::string line; std::getline(maps, line);) {
      uintptr_t begin = 0, end = 0;
      if (std::sscanf(line.c_str(), "%zx-%zx", &begin, &end) == 2 && line.ends_with(" " + path) &&
          reinterpret_cast<uintptr_t>(address) >= begin && reinterpret_cast<uintptr_t>(address) < end)
        return true;
    }
    return false;
  }

  static constexpr uint32_t toyParameters = 5;
  TempDir dir;
  std::string checkpoint = dir / "ckpt", file = dir / "packed.safetensors";
  std::unique_ptr<fbs::ModuleT> tree;
  std::shared_ptr<const Module> module;
  std::map<std::string, std::string> payload;
};

TEST_F(PackingTest, EveryByteHasItsPlace) {
  for (uint32_t threads : {1u, 3u}) {
    std::vector<std::pair<uint64_t, uint64_t>> seen;
    auto weights = Weights::load(module, checkpoint, {threads, [&](uint64_t done, uint64_t total) {
                                                        seen.emplace_back(done, total);
                                                        return true;
                                                      }});
    ASSERT_TRUE(weights) << weights.takeStatus().message();
    expectPacked(**weights, "");
    uint64_t moved = (*weights)->movedBytes();
    EXPECT_GE(moved, 80u * 65536);
    ASSERT_GE(seen.size(), 2u);
    EXPECT_EQ(seen.front(), std::make_pair(uint64_t(0), moved));
    EXPECT_EQ(seen.back(), std::make_pair(moved, moved));
  }
}

TEST_F(PackingTest, ShapesOfTheBytes) {
  for (uint32_t i = 0; i != std::size(samples); ++i)
    EXPECT_EQ(layoutShape(*module->root().parameters()->Get(toyParameters + i)), samples[i].packedShape)
        << samples[i].name;
  EXPECT_EQ(layoutShape(*module->root().parameters()->Get(0)), (std::vector<uint64_t>{toyVocab, toyWidth}));
}

TEST_F(PackingTest, RandomWeightsArePackedToo) {
  // The same values in a checkpoint, loaded.
  ToyCheckpoint toy = ToyCheckpoint::make(ToyWeights::random(5));
  std::erase_if(tree->parameters, [](const auto &p) { return p->name == "scale"; });
  tree->provenance->ignored.push_back("scale");
  module = load(*tree);
  auto random = Weights::random(module, 9);
  ASSERT_TRUE(random) << random.takeStatus().message();
  auto stored = [&] {
    for (auto &parameter : tree->parameters)
      parameter->layout = "as-stored";
    return Weights::random(load(*tree), 9);
  }();
  ASSERT_TRUE(stored) << stored.takeStatus().message();
  uint32_t index = toyParameters;
  for (const Sample &sample : samples) {
    if (sample.name == "scale")
      continue;
    const Weights::Bound &packed = (*random)->parameter(index), &plain = (*stored)->parameter(index);
    ++index;
    uint64_t rowBytes = sample.shape.back() * elementBytes(sample.dtype), units = rowBytes / sample.unit;
    uint64_t rows = *count({sample.shape.begin() + (sample.rows ? 1 : 0), sample.shape.end() - 1});
    for (uint32_t e = 0; e != std::max(sample.rows, 1u); ++e) {
      const std::byte *to = packed.base + (sample.rows ? packed.offsets[e] : 0);
      const std::byte *from = plain.base + (sample.rows ? plain.offsets[e] : 0);
      uint64_t wrong = 0;
      for (uint64_t r = 0; r != rows; ++r)
        for (uint64_t u = 0; u != units; ++u)
          wrong += std::memcmp(to + ((r / 16 * units + u) * 16 + r % 16) * sample.unit,
                               from + r * rowBytes + u * sample.unit, sample.unit) != 0;
      EXPECT_EQ(wrong, 0u) << sample.name << " " << e;
    }
  }
}

TEST_F(PackingTest, CanBeEnded) {
  auto stop = [](uint64_t done, uint64_t) { return done == 0; };
  auto weights = Weights::load(module, checkpoint, {1, stop});
  ASSERT_FALSE(weights);
  expectFails(weights.takeStatus(), "loading the weights was ended after ", V4_ENVIRONMENT);
  expectFails(pack(file, 1, stop), "packing the weights was ended after ", V4_ENVIRONMENT);
  EXPECT_NE(::access(file.c_str(), F_OK), 0);
}

TEST_F(PackingTest, SaysWhatMemoryIsMissing) {
  // A hole of 8 TiB in a file: the tensor is there, and no machine can hold it.
  auto huge = toyModule();
  constexpr uint64_t rows = uint64_t(1) << 38;
  huge->parameters[0]->shape[0] = huge->parameters[0]->source->shape[0] = rows;
  huge->parameters[0]->layout = "rows16";
  module = load(*huge);
  ToyCheckpoint toy = ToyCheckpoint::make(ToyWeights::random(5));
  std::erase_if(toy.shards[0], [](const TensorData &tensor) { return tensor.name == "embed.weight"; });
  toy.write(dir / "huge");
  ::unlink((dir / "huge/model.safetensors.index.json").c_str());
  std::string header = safetensorsHeader({{"embed.weight", "F32", {rows, toyWidth}}});
  std::string path = dir / "huge/embed.safetensors";
  writeText(path, header);
  if (::truncate(path.c_str(), static_cast<off_t>(header.size() + rows * toyWidth * 4)) != 0)
    GTEST_SKIP() << "the file system has no files of 8 TiB";
  bool started = false;
  auto weights = Weights::load(module, dir / "huge", {1, [&](uint64_t, uint64_t) { return started = true; }});
  ASSERT_FALSE(weights);
  Status status = weights.takeStatus();
  expectFails(status, concat("take ", rows * toyWidth * 4 + 4 * 32 + 4 * 32 + 16 + 1024, " bytes of memory, and "),
              V4_ENVIRONMENT);
  expectFails(status, " are available", V4_ENVIRONMENT);
  EXPECT_FALSE(started);
}

// ---- Files of v4-pack

TEST_F(PackingTest, AFileIsMapped) {
  for (uint32_t threads : {1u, 2u}) {
    Status status = pack(file, threads);
    ASSERT_TRUE(status.ok()) << status.message();
    auto weights = Weights::load(module, file, {});
    ASSERT_TRUE(weights) << weights.takeStatus().message();
    EXPECT_EQ((*weights)->movedBytes(), 0u);
    for (uint32_t i = 0; i != module->root().parameters()->size(); ++i)
      EXPECT_TRUE(mappedFrom((*weights)->parameter(i).base, file)) << i;
    EXPECT_FALSE(mappedFrom(reinterpret_cast<const std::byte *>(file.data()), file));
    auto loaded = Weights::load(module, checkpoint, {});
    ASSERT_TRUE(loaded);
    for (uint32_t i = 0; i != toyParameters; ++i) {
      const fbs::Parameter &parameter = *module->root().parameters()->Get(i);
      const Weights::Bound &a = (*weights)->parameter(i), &b = (*loaded)->parameter(i);
      for (uint32_t e = 0; e != std::max(parameter.rows(), 1u); ++e)
        EXPECT_EQ(std::memcmp(a.base + (parameter.rows() ? a.offsets[e] : 0),
                              b.base + (parameter.rows() ? b.offsets[e] : 0), viewBytes(parameter)),
                  0)
            << i << " " << e;
    }
    for (uint32_t i = 0; i != std::size(samples); ++i) {
      const Sample &sample = samples[i];
      const Weights::Bound &bound = (*weights)->parameter(toyParameters + i);
      for (uint32_t e = 0; e != std::max(sample.rows, 1u); ++e) {
        std::string want = expected(sample, e);
        EXPECT_EQ(std::memcmp(bound.base + (sample.rows ? bound.offsets[e] : 0), want.data(), want.size()), 0)
            << sample.name << " " << e;
      }
    }
  }
}

TEST_F(PackingTest, AFileServesModulesOfTheSameLayouts) {
  ASSERT_TRUE(pack(file).ok());
  std::swap(tree->parameters[toyParameters], tree->parameters[toyParameters + 1]);
  tree->model->max_context -= 1;
  module = load(*tree);
  Status status = openPacked(file);
  EXPECT_TRUE(status.ok()) << status.message();

  std::string remedy = "; pack the checkpoint for this module: v4-pack M.v4m --weights=CHECKPOINT -o P";
  auto refused = [&](auto edit, const std::string &text) {
    auto other = toyModule();
    other->parameters.clear();
    for (auto &parameter : tree->parameters)
      other->parameters.push_back(std::make_unique<fbs::ParameterT>(*parameter));
    edit(*other);
    module = load(*other);
    Status status = openPacked(file);
    expectFails(status, text);
    expectFails(status, remedy);
    EXPECT_TRUE(status.message().starts_with(file)) << status.message();
  };
  refused([](auto &m) { m.parameters[toyParameters + 1]->layout = "as-stored"; },
          "parameter 'f32' is F32 [2, 20, 16, 1], the module's layout as-stored needs F32 [32, 20]");
  refused([](auto &m) { m.parameters[0]->name = "other"; }, "parameter 'other' is missing");
  refused([](auto &m) { m.parameters.pop_back(); }, ": packed for the layouts ");
  // What differs is where the bytes came from: only the hash shows it.
  refused([](auto &m) { m.parameters[toyParameters]->source->tensor = "elsewhere"; }, ": packed for the layouts ");
}

TEST_F(PackingTest, DamagedFilesAreRefused) {
  ASSERT_TRUE(pack(file).ok());
  std::string good = readText(file), damaged = dir / "damaged.safetensors";
  writeText(damaged, good.substr(0, good.size() - 1));
  expectFails(openPacked(damaged), "lie beyond the file");
  writeText(damaged, good + "x");
  expectFails(openPacked(damaged), "belong to no tensor");
  writeText(damaged, "");
  expectFails(openPacked(damaged), "it is truncated");

  auto edited = [&](const std::string &from, const std::string &to) {
    std::string text = good;
    size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    writeText(damaged, text.replace(at, from.size(), to));
  };
  edited("v4.layout_hash", "v4.layout_hasX");
  expectFails(openPacked(damaged), "this is not a file of v4-pack; give the checkpoint directory");
  edited("\"BF16\",\"shape\":[3,", "\"F16\" ,\"shape\":[3,");
  expectFails(openPacked(damaged), "is F16 [3, ");
  edited("__padding__.", "__padxing__.");
  expectFails(openPacked(damaged), ": packed for the layouts ");

  // A header that is 16 bytes longer moves every payload.
  std::string moved = good;
  uint64_t length;
  std::memcpy(&length, moved.data(), 8);
  moved.insert(8 + length, 16, ' ');
  length += 16;
  std::memcpy(moved.data(), &length, 8);
  writeText(damaged, moved);
  expectFails(openPacked(damaged), "is not at a multiple of 64 bytes");

  // A shard is no packed file.
  expectFails(openPacked(checkpoint + "/model-00001-of-00002.safetensors"), "this is not a file of v4-pack");
}

TEST_F(PackingTest, DoesNotKeepTheSourceInMemory) {
  // 192 MiB in a file, packed: the file's pages must not stay beside the packed ones.
  auto big = toyModule();
  constexpr uint64_t columns = uint64_t(3) << 19;
  big->parameters[0]->shape = big->parameters[0]->source->shape = {toyVocab, columns};
  big->parameters[0]->layout = "rows16";
  // No launch reads it: its bindings would not fit.
  big->parameters.push_back(std::make_unique<fbs::ParameterT>(*big->parameters[0]));
  big->parameters[0]->shape = big->parameters[0]->source->shape = {toyVocab, toyWidth};
  big->parameters[0]->layout = "as-stored";
  big->parameters.back()->name = big->parameters.back()->source->tensor = "big";
  module = load(*big);
  ToyCheckpoint toy = ToyCheckpoint::make(ToyWeights::random(5));
  toy.shards[1].push_back({"big", "F32", {toyVocab, columns}, std::string(toyVocab * columns * 4, 'b')});
  toy.write(dir / "big");
  toy = {};
  auto resident = [] { // pages of the process; the second number of the file
    unsigned long size = 0, pages = 0;
    std::FILE *file = std::fopen("/proc/self/statm", "r");
    EXPECT_TRUE(file && std::fscanf(file, "%lu %lu", &size, &pages) == 2);
    if (file)
      std::fclose(file);
    return uint64_t(pages) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  };
  uint64_t before = resident(), peak = 0;
  auto weights = Weights::load(module, dir / "big", {2, [&](uint64_t, uint64_t) {
                                                       peak = std::max(peak, resident());
                                                       return true;
                                                     }});
  ASSERT_TRUE(weights) << weights.takeStatus().message();
  uint64_t bytes = toyVocab * columns * 4;
  EXPECT_LE(peak, before + bytes + (uint64_t(32) << 20));
  EXPECT_GE(peak, before + bytes / 2);
}

} // namespace
