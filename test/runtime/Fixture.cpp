// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Builds the toy module and checkpoint; see Fixture.h.
#include "test/runtime/Fixture.h"

#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fstream>
#include <set>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

namespace v4::test {

using fbs::BindingKind;
using fbs::DType;
using fbs::EntryKind;
using fbs::StateKind;

TempDir::TempDir() {
  const char *base = std::getenv("TMPDIR");
  std::string pattern = std::string(base ? base : "/tmp") + "/v4-test-XXXXXX";
  path = ::mkdtemp(pattern.data()) ? pattern : std::string();
  EXPECT_FALSE(path.empty());
}

static void removeTree(const std::string &path) {
  if (DIR *directory = ::opendir(path.c_str())) {
    while (const dirent *entry = ::readdir(directory)) {
      std::string name = entry->d_name;
      if (name != "." && name != "..")
        removeTree(path + "/" + name);
    }
    ::closedir(directory);
    ::rmdir(path.c_str());
  } else {
    ::unlink(path.c_str());
  }
}

TempDir::~TempDir() {
  if (!path.empty())
    removeTree(path);
}

std::string readText(const std::string &path) {
  std::ifstream stream(path, std::ios::binary);
  EXPECT_TRUE(stream.good()) << path;
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

void writeText(const std::string &path, std::string_view bytes) {
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  EXPECT_TRUE(stream.good()) << path;
}

template <typename T> static std::string rawBytes(const std::vector<T> &values) {
  return std::string(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(T));
}

TensorData floatTensor(std::string name, std::vector<uint64_t> shape, const std::vector<float> &values) {
  return {std::move(name), "F32", std::move(shape), rawBytes(values)};
}

std::string safetensorsFile(const std::vector<TensorData> &tensors) {
  std::vector<TensorInfo> infos;
  std::string payload;
  for (const TensorData &tensor : tensors) {
    infos.push_back({tensor.name, tensor.dtype, tensor.shape});
    payload += tensor.bytes;
  }
  return safetensorsHeader(infos) + payload;
}

ToyWeights ToyWeights::random(uint32_t seed) {
  std::mt19937 generator(seed);
  auto draw = [&](size_t count) {
    std::vector<float> out(count);
    for (float &value : out)
      value = static_cast<float>(static_cast<int32_t>(generator() % 2001) - 1000) / 1024.0f;
    return out;
  };
  ToyWeights weights;
  weights.embedding = draw(toyVocab * toyWidth);
  for (auto &expert : weights.experts)
    expert = draw(toyWidth);
  weights.stacked = draw(4 * 2 * toyWidth);
  weights.head = draw(toyVocab * toyWidth);
  for (int i = 0; i != toyWidth; ++i)
    weights.bias.push_back(static_cast<uint16_t>(0x3F00 + generator() % 128)); // 0.5 .. 1
  return weights;
}

ToyCheckpoint ToyCheckpoint::make(const ToyWeights &weights) {
  ToyCheckpoint out;
  out.shards[0].push_back({"extra.padding", "I8", {5}, std::string(5, 'x')});
  out.shards[0].push_back(floatTensor("embed.weight", {toyVocab, toyWidth}, weights.embedding));
  out.shards[0].push_back(floatTensor("experts.0.w", {toyWidth}, weights.experts[0]));
  out.shards[0].push_back(floatTensor("experts.2.w", {toyWidth}, weights.experts[2]));
  out.shards[1].push_back(floatTensor("experts.1.w", {toyWidth}, weights.experts[1]));
  out.shards[1].push_back(floatTensor("experts.3.w", {toyWidth}, weights.experts[3]));
  out.shards[1].push_back(floatTensor("stacked.w", {4, 2, toyWidth}, weights.stacked));
  out.shards[1].push_back({"extra.byte", "U8", {1}, "y"});
  out.shards[1].push_back({"bias", "BF16", {toyWidth}, rawBytes(weights.bias)});
  out.shards[1].push_back(floatTensor("head.weight", {toyVocab, toyWidth}, weights.head));
  return out;
}

void ToyCheckpoint::write(const std::string &directory) const {
  ::mkdir(directory.c_str(), 0777);
  std::string map;
  for (int i = 0; i != 2; ++i) {
    std::string name = "model-0000" + std::to_string(i + 1) + "-of-00002.safetensors";
    writeText(directory + "/" + name, safetensorsFile(shards[i]));
    for (const TensorData &tensor : shards[i])
      map += (map.empty() ? "\"" : ",\n\"") + tensor.name + "\": \"" + name + "\"";
  }
  writeText(directory + "/model.safetensors.index.json",
            "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {\n" + map + "}}\n");
}

// ---- Module
// ----------------------------------------------------------------------------------------------------------

namespace {

constexpr uint64_t rowBytes = toyWidth * 4;

std::unique_ptr<fbs::ParameterT> parameter(std::string name, DType dtype, std::vector<uint64_t> shape,
                                           std::string tensor, std::vector<uint64_t> sourceShape, uint32_t rows = 0,
                                           uint64_t offset = 0, uint64_t stride = 0) {
  auto out = std::make_unique<fbs::ParameterT>();
  out->name = std::move(name);
  out->dtype = dtype;
  out->shape = std::move(shape);
  out->rows = rows;
  out->layout = "as-stored";
  out->source = std::make_unique<fbs::SourceT>();
  out->source->tensor = std::move(tensor);
  out->source->dtype = dtype;
  out->source->shape = std::move(sourceShape);
  out->source->offset = offset;
  out->source->stride = stride;
  return out;
}

std::unique_ptr<fbs::StateT> state(std::string name, std::vector<uint64_t> shape, StateKind kind, uint32_t ratio = 0,
                                   bool overlap = false) {
  auto out = std::make_unique<fbs::StateT>();
  out->name = std::move(name);
  out->dtype = DType::F32;
  out->shape = std::move(shape);
  out->kind = kind;
  out->ratio = ratio;
  out->overlap = overlap;
  return out;
}

std::unique_ptr<fbs::ValueT> value(std::string name, DType dtype, std::vector<uint64_t> shape) {
  auto out = std::make_unique<fbs::ValueT>();
  out->name = std::move(name);
  out->dtype = dtype;
  out->shape = std::move(shape);
  return out;
}

std::string kernelImage() {
  return readText(V4_TEST_IMAGE);
}

/// Collects kernels by grid, so that launches of one grid share one.
struct EntryBuilder {
  fbs::TargetT &target;
  fbs::EntryT entry;

  uint32_t kernel(const std::string &name, std::vector<std::pair<std::string, uint32_t>> phases, uint32_t bindings) {
    std::string full = name;
    for (auto &phase : phases)
      full += "_" + std::to_string(phase.second);
    for (uint32_t i = 0; i != target.kernels.size(); ++i)
      if (target.kernels[i]->name == full)
        return i;
    auto out = std::make_unique<fbs::KernelT>();
    out->name = full;
    out->bindings = bindings;
    for (auto &[symbol, grid] : phases) {
      auto phase = std::make_unique<fbs::PhaseT>();
      phase->symbol = symbol;
      phase->grid = std::make_unique<fbs::Dim3>(grid, 1, 1);
      phase->block = std::make_unique<fbs::Dim3>(1, 1, 1);
      out->phases.push_back(std::move(phase));
    }
    target.kernels.push_back(std::move(out));
    return static_cast<uint32_t>(target.kernels.size() - 1);
  }

  fbs::LaunchT &launch(const std::string &name, const std::string &symbol, uint32_t grid,
                       std::vector<fbs::Binding> bindings) {
    auto out = std::make_unique<fbs::LaunchT>();
    out->name = name;
    out->kernel = kernel(symbol, {{symbol, grid}}, static_cast<uint32_t>(bindings.size()));
    out->bindings = std::move(bindings);
    entry.launches.push_back(std::move(out));
    return *entry.launches.back();
  }

  void tap(const std::string &name, fbs::Binding buffer, DType dtype, std::vector<uint64_t> shape) {
    auto out = std::make_unique<fbs::TapT>();
    out->name = name;
    out->launch = static_cast<uint32_t>(entry.launches.size() - 1);
    out->buffer = std::make_unique<fbs::Binding>(buffer);
    out->dtype = dtype;
    out->shape = std::move(shape);
    entry.taps.push_back(std::move(out));
  }

  void finish() { target.entries.push_back(std::make_unique<fbs::EntryT>(std::move(entry))); }
};

// Indices in the module.
enum { Embedding, Experts, Stacked, Bias, Head };
enum { Window, Entries, Kv, Score, PlainEntries, PlainKv, PlainScore, MtpWindow };
enum { Tokens, Positions, Span, HiddenIn };

void addEntry(fbs::TargetT &target, const ToyOptions &options, EntryKind kind, uint32_t rows) {
  bool mtp = kind == EntryKind::MtpDecode || kind == EntryKind::MtpPrefill;
  bool decode = kind == EntryKind::Decode || kind == EntryKind::MtpDecode;
  EntryBuilder b{target, {}};
  b.entry.name = std::string(mtp ? "mtp_" : "") + (decode ? "decode" : "prefill_" + std::to_string(rows));
  b.entry.kind = kind;
  b.entry.rows = rows;
  uint64_t block = rows * rowBytes;
  bool allLogits = options.logitsAll || decode;
  b.entry.arena_bytes = 2 * block + 64;
  b.entry.inputs.push_back(value("tokens", DType::I32, {rows}));
  b.entry.inputs.push_back(value("positions", DType::I32, {rows}));
  b.entry.inputs.push_back(
      value("span", DType::I32, decode && rows > 1 ? std::vector<uint64_t>{rows, 2} : std::vector<uint64_t>{2}));
  b.entry.outputs.push_back(value("logits", DType::F32, {allLogits ? rows : 1u, toyVocab}));
  if (mtp)
    b.entry.inputs.push_back(value("hidden", DType::F32, {rows, toyStreams, toyWidth / toyStreams}));
  else if (options.mtp)
    b.entry.outputs.push_back(value("hidden", DType::F32, {rows, toyStreams, toyWidth / toyStreams}));

  // Part `slot` of an object that is equally divided among the slots of a decode entry.
  uint32_t parts = decode ? rows : 1, slot = 0;
  auto arena = [](uint64_t offset, uint64_t bytes) { return fbs::Binding(offset, bytes, 0, BindingKind::Arena); };
  auto part = [&](BindingKind of, uint32_t index, uint64_t bytes) {
    return fbs::Binding(slot * bytes, bytes, index, of);
  };
  auto whole = [](BindingKind of, uint32_t index, uint64_t bytes) { return fbs::Binding(0, bytes, index, of); };
  uint32_t partRows = rows / parts;
  uint64_t partBlock = block / parts;
  fbs::Binding head = whole(BindingKind::Parameter, Head, toyVocab * rowBytes);
  // The toy's kernels know one sequence: every slot has launches of its own.
  for (; slot != parts; ++slot) {
    fbs::Binding embedded = arena(64 + slot * partBlock, partBlock);
    fbs::Binding mixed = arena(64 + block + slot * partBlock, partBlock);
    fbs::Binding tokens = part(BindingKind::Input, Tokens, partRows * 4), span = part(BindingKind::Input, Span, 8);
    fbs::Binding logits = part(BindingKind::Output, 0, (allLogits ? partRows : 1) * toyVocab * 4);
    b.launch("embed", "toy_embed", partRows,
             {tokens, span, whole(BindingKind::Parameter, Embedding, toyVocab * rowBytes), embedded});
    if (mtp) {
      b.launch("mtp.mix", "toy_mtp", 1,
               {span, part(BindingKind::Input, Positions, partRows * 4), embedded,
                part(BindingKind::Input, HiddenIn, partBlock), part(BindingKind::State, MtpWindow, 4 * rowBytes),
                mixed});
    } else {
      if (slot + 1 == parts)
        b.tap("embed", arena(64, block), DType::F32, {rows, toyWidth});
      uint64_t cap4 = options.maxContext / 4 + 1, cap3 = options.maxContext / 3 + 1;
      b.launch("layers.0.mix", "toy_mix", 1,
               {span, embedded, part(BindingKind::State, Window, 4 * rowBytes),
                part(BindingKind::State, Entries, cap4 * rowBytes), part(BindingKind::State, Kv, 8 * rowBytes),
                part(BindingKind::State, Score, 8 * rowBytes), part(BindingKind::State, PlainEntries, cap3 * rowBytes),
                part(BindingKind::State, PlainKv, 3 * rowBytes), part(BindingKind::State, PlainScore, 3 * rowBytes),
                whole(BindingKind::Parameter, Experts, 0), whole(BindingKind::TableOffsets, Experts, 32),
                whole(BindingKind::Parameter, Stacked, 0), whole(BindingKind::TableOffsets, Stacked, 32),
                whole(BindingKind::Parameter, Bias, toyWidth * 2), mixed});
      // The residual, in the shape that a model gives it; decode of one slot leaves out the row.
      if (slot + 1 == parts)
        b.tap("layers.0", arena(64 + block, block), DType::F32,
              rows == 1 ? std::vector<uint64_t>{toyStreams, toyWidth / toyStreams}
                        : std::vector<uint64_t>{rows, toyStreams, toyWidth / toyStreams});
      if (options.mtp)
        b.launch("hidden", "toy_hidden", partRows, {span, mixed, part(BindingKind::Output, 1, partBlock)});
      fbs::LaunchT &count = b.launch("count", "toy_count", 5, {arena(0, 4)});
      count.zero.push_back(arena(0, 4));
      if (!decode) {
        b.tap("count", arena(0, rows * 4), DType::I32, {rows});
        b.tap("prefill.bits", arena(64 + block, rows * 2), DType::BF16, {rows});
      }
    }
    if (allLogits)
      b.launch("head", "toy_head_all", partRows, {span, mixed, head, logits});
    else
      b.launch("head", "toy_head_last", toyVocab / 8, {span, mixed, head, logits});
  }
  b.finish();
}

} // namespace

/// The target as one of GPUs, whose kernels have one thread per block.
static std::unique_ptr<fbs::TargetT> gpuTarget(const fbs::TargetT &cpu, std::string name, fbs::ImageKind kind,
                                               std::string arch, const std::string &code) {
  auto target = std::make_unique<fbs::TargetT>(cpu);
  target->name = std::move(name);
  target->features.clear();
  for (auto &kernel : target->kernels)
    for (auto &phase : kernel->phases)
      phase->symbol = "gpu_" + phase->symbol;
  target->images[0]->kind = kind;
  target->images[0]->arch = std::move(arch);
  target->images[0]->data.assign(code.begin(), code.end());
  return target;
}

/// Declarations of the target's kernels; the fake driver reads no more of a PTX text.
static std::string kernelPtx(const fbs::TargetT &target) {
  std::string text = ".version 8.0\n.target sm_90a\n.address_size 64\n";
  std::set<std::string> written;
  for (const auto &kernel : target.kernels) {
    std::string name = "gpu_" + kernel->phases[0]->symbol;
    if (!written.insert(name).second)
      continue;
    text += ".visible .entry " + name + "(\n";
    for (uint32_t i = 0; i != kernel->bindings; ++i)
      text += "\t.param .u64 .ptr .global .align 1 " + name + "_param_" + std::to_string(i) +
              (i + 1 == kernel->bindings ? "\n" : ",\n");
    text += ")\n.reqntid 1, 1, 1\n{\n\tret;\n}\n";
  }
  return text;
}

std::unique_ptr<fbs::ModuleT> toyModule(const ToyOptions &options) {
  auto module = std::make_unique<fbs::ModuleT>();
  module->provenance = std::make_unique<fbs::ProvenanceT>();
  module->provenance->producer = "toy";
  module->provenance->graph_hash = "0123";
  module->provenance->options = {"--logits=all"};
  module->provenance->plan = "none";
  module->provenance->numerics = "f32";
  module->provenance->kv = "f32";
  module->provenance->ignored = {"extra."};
  module->model = std::make_unique<fbs::ModelT>();
  module->model->model_type = "toy";
  module->model->vocab_size = toyVocab;
  module->model->hidden_size = toyWidth / toyStreams;
  module->model->streams = toyStreams;
  module->model->layers = 1;
  module->model->max_context = options.maxContext;
  module->model->logits_all = options.logitsAll;
  module->model->slots = options.slots;
  module->model->mtp = options.mtp;

  auto &parameters = module->parameters;
  parameters.push_back(parameter("embed", DType::F32, {toyVocab, toyWidth}, "embed.weight", {toyVocab, toyWidth}));
  parameters.push_back(parameter("experts", DType::F32, {4, toyWidth}, "experts.{e}.w", {toyWidth}, 4));
  parameters.push_back(
      parameter("stacked", DType::F32, {4, toyWidth}, "stacked.w", {4, 2, toyWidth}, 4, rowBytes, 2 * rowBytes));
  parameters.push_back(parameter("bias", DType::BF16, {toyWidth}, "bias", {toyWidth}));
  parameters.push_back(parameter("head", DType::F32, {toyVocab, toyWidth}, "head.weight", {toyVocab, toyWidth}));

  auto &states = module->states;
  states.push_back(state("layers.0.attn.window", {4, toyWidth}, StateKind::Window));
  states.push_back(state("layers.0.attn.compressed", {options.maxContext / 4 + 1, toyWidth}, StateKind::Entries, 4));
  states.push_back(state("layers.0.attn.compressor.kv_rows", {8, toyWidth}, StateKind::KvRows, 4, true));
  states.push_back(state("layers.0.attn.compressor.score_rows", {8, toyWidth}, StateKind::ScoreRows, 4, true));
  states.push_back(state("layers.1.attn.compressed", {options.maxContext / 3 + 1, toyWidth}, StateKind::Entries, 3));
  states.push_back(state("layers.1.attn.compressor.kv_rows", {3, toyWidth}, StateKind::KvRows, 3));
  states.push_back(state("layers.1.attn.compressor.score_rows", {3, toyWidth}, StateKind::ScoreRows, 3));
  if (options.mtp)
    states.push_back(state("mtp.0.attn.window", {4, toyWidth}, StateKind::Window));

  auto target = std::make_unique<fbs::TargetT>();
  target->name = "cpu";
  target->features = {"sse2"};
  auto image = std::make_unique<fbs::ImageT>();
  image->kind = fbs::ImageKind::Elf;
  image->arch = "x86-64";
  std::string code = kernelImage();
  image->data.assign(code.begin(), code.end());
  target->images.push_back(std::move(image));
  addEntry(*target, options, EntryKind::Decode, options.slots);
  for (uint32_t bucket : options.buckets)
    addEntry(*target, options, EntryKind::Prefill, bucket);
  if (options.mtp) {
    addEntry(*target, options, EntryKind::MtpDecode, options.slots);
    for (uint32_t bucket : options.buckets)
      addEntry(*target, options, EntryKind::MtpPrefill, bucket);
  }
  if (options.gpu) {
    module->targets.push_back(
        gpuTarget(*target, "nvptx:sm_90a", fbs::ImageKind::Ptx, "sm_90a", kernelPtx(*target)));
    module->targets.push_back(
        gpuTarget(*target, "emu:sm_90a", fbs::ImageKind::Elf, "x86-64", readText(V4_TEST_EMU_IMAGE)));
  }
  module->targets.push_back(std::move(target));
  return module;
}

std::string withHeader(std::string_view payload) {
  return moduleHeader(bytesOf(payload)) + std::string(payload);
}

std::string moduleBytes(const fbs::ModuleT &module) {
  flatbuffers::FlatBufferBuilder builder;
  fbs::FinishModuleBuffer(builder, fbs::Module::Pack(builder, &module));
  return withHeader({reinterpret_cast<const char *>(builder.GetBufferPointer()), builder.GetSize()});
}

// ---- Reference
// -------------------------------------------------------------------------------------------------------

std::vector<std::vector<float>> Reference::hidden(const std::vector<int32_t> &tokens) const {
  auto x = [&](size_t p, int c) { return weights.embedding[static_cast<size_t>(tokens[p]) * toyWidth + c]; };
  // The entry that block j of a compressor leaves: the weighted sum of its rows, and of the block before if it
  // overlaps.
  auto entry = [&](size_t j, size_t ratio, bool overlap, int c) {
    float sum = 0;
    for (size_t p = overlap && j > 0 ? (j - 1) * ratio : j * ratio; p < (j + 1) * ratio; ++p)
      sum += 0.125f * static_cast<float>(p % ratio + 1) * x(p, c);
    return sum;
  };
  std::vector<std::vector<float>> out;
  for (size_t p = 0; p != tokens.size(); ++p) {
    std::vector<float> row;
    for (int c = 0; c != toyWidth; ++c) {
      uint32_t biasBits = static_cast<uint32_t>(weights.bias[c]) << 16;
      float bias;
      std::memcpy(&bias, &biasBits, sizeof bias);
      float y = x(p, c) * weights.experts[p % 4][c] + weights.stacked[(p % 4 * 2 + 1) * toyWidth + c] + bias;
      for (size_t q = p > 4 ? p - 4 : 0; q < p; ++q)
        y += 0.25f * x(q, c);
      for (size_t j = 0; j < (p + 1) / 4; ++j)
        y += 0.5f * entry(j, 4, true, c);
      for (size_t j = 0; j < (p + 1) / 3; ++j)
        y -= 0.25f * entry(j, 3, false, c);
      row.push_back(y);
    }
    out.push_back(row);
  }
  return out;
}

std::vector<float> Reference::project(const std::vector<float> &row) const {
  std::vector<float> out;
  for (int v = 0; v != toyVocab; ++v) {
    float sum = 0;
    for (int c = 0; c != toyWidth; ++c)
      sum += row[c] * weights.head[v * toyWidth + c];
    out.push_back(sum);
  }
  return out;
}

std::vector<std::vector<float>> Reference::logits(const std::vector<int32_t> &tokens) const {
  std::vector<std::vector<float>> out;
  for (const auto &row : hidden(tokens))
    out.push_back(project(row));
  return out;
}

std::vector<std::vector<float>> Reference::mtpLogits(const std::vector<int32_t> &tokens) const {
  std::vector<std::vector<float>> residual = hidden(tokens), out;
  for (size_t p = 0; p + 1 < tokens.size(); ++p) {
    std::vector<float> row;
    for (int c = 0; c != toyWidth; ++c) {
      float y = residual[p][c] - weights.embedding[static_cast<size_t>(tokens[p + 1]) * toyWidth + c];
      for (size_t q = p > 4 ? p - 4 : 0; q < p; ++q)
        y += 0.5f * residual[q][c];
      row.push_back(y);
    }
    out.push_back(project(row));
  }
  return out;
}

std::vector<int32_t> randomTokens(uint32_t seed, size_t count) {
  std::mt19937 generator(seed);
  std::vector<int32_t> out;
  for (size_t i = 0; i != count; ++i)
    out.push_back(static_cast<int32_t>(generator() % toyVocab));
  return out;
}

} // namespace v4::test
