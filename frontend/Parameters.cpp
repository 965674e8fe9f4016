// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The parameter list of a model (spec 8), and the two namings and the storage formats that releases use for it.

#include "frontend/Parameters.h"
#include "frontend/Files.h"
#include "frontend/Json.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace mlir::v4;

namespace {

constexpr int64_t fp8Block = 128, fp4Block = 32;

/// Enumerates the parameters in the order in which the graph uses them.
class Lister {
public:
  explicit Lister(const Config &config) : c(config) {}
  std::vector<ParameterSpec> list;

  void model(bool mtp) {
    part = ParameterPart::Embedding;
    add("embed.weight", ParameterRole::Plain, {c.vocabSize, c.hiddenSize});
    part = ParameterPart::Layer;
    for (int64_t layer = 0; layer < c.layers; ++layer) {
      index = layer;
      block("layers." + std::to_string(layer) + ".", c.ratios[layer], c.isHash(layer));
    }
    index = -1;
    part = ParameterPart::Head;
    hcHead("");
    add("norm.weight", ParameterRole::Plain, {c.hiddenSize});
    add("head.weight", ParameterRole::Plain, {c.vocabSize, c.hiddenSize});
    if (!mtp)
      return;
    part = ParameterPart::MtpFrame;
    std::string p = "mtp.0.";
    add(p + "enorm.weight", ParameterRole::Plain, {c.hiddenSize});
    add(p + "e_proj", ParameterRole::Linear, {c.hiddenSize, c.hiddenSize});
    add(p + "hnorm.weight", ParameterRole::Plain, {c.hiddenSize});
    add(p + "h_proj", ParameterRole::Linear, {c.hiddenSize, c.hiddenSize});
    hcHead(p);
    add(p + "norm.weight", ParameterRole::Plain, {c.hiddenSize});
    part = ParameterPart::MtpLayer;
    block(p, /*ratio=*/0, /*hash=*/false);
  }

private:
  void add(const std::string &name, ParameterRole role, ArrayRef<int64_t> shape) {
    list.push_back({name, role, part, SmallVector<int64_t, 2>(shape), index});
  }
  void hc(const std::string &p) {
    int64_t n = c.streams;
    add(p + "_fn", ParameterRole::Float32, {(2 + n) * n, n * c.hiddenSize});
    add(p + "_scale", ParameterRole::Float32, {3});
    add(p + "_base", ParameterRole::Float32, {(2 + n) * n});
  }
  void hcHead(const std::string &p) {
    add(p + "hc_head_fn", ParameterRole::Float32, {c.streams, c.streams * c.hiddenSize});
    add(p + "hc_head_scale", ParameterRole::Float32, {1});
    add(p + "hc_head_base", ParameterRole::Float32, {c.streams});
  }
  void compressor(const std::string &p, int64_t ratio, int64_t width) {
    int64_t halves = ratio == overlapRatio ? 2 : 1;
    add(p + ".wkv.weight", ParameterRole::Plain, {halves * width, c.hiddenSize});
    add(p + ".wgate.weight", ParameterRole::Plain, {halves * width, c.hiddenSize});
    add(p + ".ape", ParameterRole::Float32, {ratio, halves * width});
    add(p + ".norm.weight", ParameterRole::Plain, {width});
  }
  void block(const std::string &p, int64_t ratio, bool hash) {
    int64_t d = c.hiddenSize, width = c.expertWidth;
    hc(p + "hc_attn");
    add(p + "attn_norm.weight", ParameterRole::Plain, {d});
    std::string a = p + "attn.";
    add(a + "wq_a", ParameterRole::Linear, {c.queryRank, d});
    add(a + "q_norm.weight", ParameterRole::Plain, {c.queryRank});
    add(a + "wq_b", ParameterRole::Linear, {c.heads * c.headDim, c.queryRank});
    add(a + "wkv", ParameterRole::Linear, {c.headDim, d});
    add(a + "kv_norm.weight", ParameterRole::Plain, {c.headDim});
    if (ratio == overlapRatio) {
      add(a + "indexer.wq_b", ParameterRole::Linear, {c.indexHeads * c.indexDim, c.queryRank});
      add(a + "indexer.weights_proj.weight", ParameterRole::Plain, {c.indexHeads, d});
      compressor(a + "indexer.compressor", ratio, c.indexDim);
    }
    if (ratio != 0)
      compressor(a + "compressor", ratio, c.headDim);
    add(a + "attn_sink", ParameterRole::Float32, {c.heads});
    add(a + "wo_a", ParameterRole::Linear, {c.outputGroups * c.outputRank, c.heads * c.headDim / c.outputGroups});
    add(a + "wo_b", ParameterRole::Linear, {d, c.outputGroups * c.outputRank});
    hc(p + "hc_ffn");
    add(p + "ffn_norm.weight", ParameterRole::Plain, {d});
    std::string f = p + "ffn.";
    add(f + "gate.weight", ParameterRole::Plain, {c.experts, d});
    if (hash)
      add(f + "gate.tid2eid", ParameterRole::TokenTable, {c.vocabSize, c.expertsPerToken});
    else
      add(f + "gate.bias", ParameterRole::Float32, {c.experts});
    add(f + "experts.{e}.w1", ParameterRole::Expert, {width, d});
    add(f + "experts.{e}.w3", ParameterRole::Expert, {width, d});
    add(f + "experts.{e}.w2", ParameterRole::Expert, {d, width});
    add(f + "shared_experts.w1", ParameterRole::Linear, {width, d});
    add(f + "shared_experts.w3", ParameterRole::Linear, {width, d});
    add(f + "shared_experts.w2", ParameterRole::Linear, {d, width});
  }

  const Config &c;
  ParameterPart part = ParameterPart::Layer;
  int64_t index = -1;
};

/// The transformers names of everything below a layer, and of the top level (spec 8). A linear's entry is its stem.
struct NamePair {
  StringLiteral official, transformers;
};
constexpr NamePair layerNames[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"hc_attn_fn", "attn_hc.fn"},
    {"hc_attn_scale", "attn_hc.scale"},
    {"hc_attn_base", "attn_hc.base"},
    {"hc_ffn_fn", "ffn_hc.fn"},
    {"hc_ffn_scale", "ffn_hc.scale"},
    {"hc_ffn_base", "ffn_hc.base"},
    {"attn.attn_sink", "self_attn.sinks"},
    {"attn.wq_a", "self_attn.q_a_proj"},
    {"attn.q_norm.weight", "self_attn.q_a_norm.weight"},
    {"attn.wq_b", "self_attn.q_b_proj"},
    {"attn.wkv", "self_attn.kv_proj"},
    {"attn.kv_norm.weight", "self_attn.kv_norm.weight"},
    {"attn.wo_a", "self_attn.o_a_proj"},
    {"attn.wo_b", "self_attn.o_b_proj"},
    {"attn.compressor.ape", "self_attn.compressor.position_bias"},
    {"attn.compressor.wkv.weight", "self_attn.compressor.kv_proj.weight"},
    {"attn.compressor.wgate.weight", "self_attn.compressor.gate_proj.weight"},
    {"attn.compressor.norm.weight", "self_attn.compressor.kv_norm.weight"},
    {"attn.indexer.wq_b", "self_attn.compressor.indexer.q_b_proj"},
    {"attn.indexer.weights_proj.weight", "self_attn.compressor.indexer.scorer.weights_proj.weight"},
    {"attn.indexer.compressor.ape", "self_attn.compressor.indexer.position_bias"},
    {"attn.indexer.compressor.wkv.weight", "self_attn.compressor.indexer.kv_proj.weight"},
    {"attn.indexer.compressor.wgate.weight", "self_attn.compressor.indexer.gate_proj.weight"},
    {"attn.indexer.compressor.norm.weight", "self_attn.compressor.indexer.kv_norm.weight"},
    {"ffn.gate.weight", "mlp.gate.weight"},
    {"ffn.gate.bias", "mlp.gate.e_score_correction_bias"},
    {"ffn.gate.tid2eid", "mlp.gate.tid2eid"},
    {"ffn.experts.{e}.w1", "mlp.experts.gate_up_proj"},
    {"ffn.experts.{e}.w3", "mlp.experts.gate_up_proj"},
    {"ffn.experts.{e}.w2", "mlp.experts.down_proj"},
    {"ffn.shared_experts.w1", "mlp.shared_experts.gate_proj"},
    {"ffn.shared_experts.w3", "mlp.shared_experts.up_proj"},
    {"ffn.shared_experts.w2", "mlp.shared_experts.down_proj"},
};
constexpr NamePair topNames[] = {
    {"embed.weight", "model.embed_tokens.weight"}, {"head.weight", "lm_head.weight"},
    {"norm.weight", "model.norm.weight"},          {"hc_head_fn", "model.hc_head.hc_fn"},
    {"hc_head_base", "model.hc_head.hc_base"},     {"hc_head_scale", "model.hc_head.hc_scale"},
};

/// The transformers name of a parameter outside the MTP block.
std::string transformersName(const ParameterSpec &spec) {
  StringRef local = spec.localName();
  if (spec.layer < 0) {
    for (const NamePair &pair : topNames)
      if (pair.official == local)
        return pair.transformers.str();
  } else {
    for (const NamePair &pair : layerNames)
      if (pair.official == local)
        return "model.layers." + std::to_string(spec.layer) + "." + pair.transformers.str();
  }
  llvm_unreachable("the name tables cover every parameter");
}

std::string rowName(StringRef pattern, int64_t row) {
  auto [before, after] = pattern.split("{e}");
  return (before + Twine(row) + after).str();
}

int64_t rowBytes(DType dtype, ArrayRef<int64_t> shape) {
  int64_t bits = dtypeBits(dtype);
  for (int64_t dim : shape)
    bits *= dim;
  return bits / 8;
}

SmallVector<int64_t, 3> fp8ScaleShape(ArrayRef<int64_t> shape) {
  return {(shape[0] + fp8Block - 1) / fp8Block, (shape[1] + fp8Block - 1) / fp8Block};
}

SmallVector<int64_t, 3> fp4ScaleShape(ArrayRef<int64_t> shape) {
  return {shape[0], shape[1] / fp4Block};
}

/// A whole tensor.
SourceView viewOf(StringRef name, DType dtype, ArrayRef<int64_t> shape) {
  SourceView result;
  result.tensor = name.str();
  result.dtype = dtype;
  result.tensorShape.assign(shape.begin(), shape.end());
  result.shape.assign(shape.begin(), shape.end());
  return result;
}

/// One tensor per row.
SourceView tableOf(StringRef pattern, int64_t rows, DType dtype, ArrayRef<int64_t> shape) {
  SourceView result = viewOf(pattern, dtype, shape);
  result.shape.insert(result.shape.begin(), rows);
  return result;
}

std::vector<std::string> ignoredPrefixes(bool mtp) {
  // The MTP block shares embedding and head with the model; some releases repeat them (spec 8).
  if (mtp)
    return {"mtp.0.emb.", "mtp.0.embed.", "mtp.0.head."};
  return {"mtp."};
}

/// Looks parameters up in a checkpoint.
class Resolver {
public:
  Resolver(MLIRContext *context, const Config &config, const Checkpoint &checkpoint)
      : context(context), config(config), checkpoint(checkpoint) {
    for (const auto &entry : checkpoint.tensors)
      transformers |= entry.first().starts_with("model.") || entry.first().starts_with("lm_head.");
    dspark = checkpoint.find("mtp.0.main_proj.weight") != nullptr;
  }

  FailureOr<ModelParameters> run(bool mtp) {
    ModelParameters model;
    if (mtp && dspark)
      return fileError(context, checkpoint.directory) << "holds a DSpark drafter (\"mtp.0.main_proj.weight\") where "
                                                         "--mtp needs an MTP block; compile without --mtp";
    for (ParameterSpec &spec : listParameters(config, mtp)) {
      Parameter parameter;
      parameter.spec = std::move(spec);
      resolve(parameter);
      if (tooManyMissing())
        break;
      model.list.push_back(std::move(parameter));
    }
    if (!missing.empty())
      reportMissing(mtp);
    if (wrong || !missing.empty())
      return failure();
    model.ignored = ignoredPrefixes(mtp);
    model.hasDrafter = dspark;
    if (failed(rejectExtra(model.ignored)))
      return failure();
    return model;
  }

private:
  /// The record of a tensor that must exist; a missing one is remembered.
  const TensorRecord *require(StringRef name) {
    const TensorRecord *record = checkpoint.find(name);
    if (!record)
      missing.push_back(name.str());
    else
      used.insert(name);
    return record;
  }

  /// A small file can ask for a hundred million experts; nobody reads that many names.
  bool tooManyMissing() const { return missing.size() >= 100000; }

  InFlightDiagnostic tensorError(StringRef name, const TensorRecord &record) {
    wrong = true;
    return contentError(context, checkpoint.pathOf(record))
           << "tensor " << json::quoted(name) << " is " << describeTensor(record.dtype, record.shape);
  }

  /// Checks a tensor's type and shape.
  bool expect(StringRef name, const TensorRecord &record, DType dtype, ArrayRef<int64_t> shape) {
    if (record.dtype == dtype && ArrayRef(record.shape) == shape)
      return true;
    tensorError(name, record) << "; expected " << describeTensor(dtype, shape);
    return false;
  }

  void resolve(Parameter &parameter) {
    const ParameterSpec &spec = parameter.spec;
    bool linear = spec.role == ParameterRole::Linear, expert = spec.role == ParameterRole::Expert;
    std::string stem = spec.name;
    // That naming has no names for the MTP block; a file that holds one keeps the official ones.
    bool renamed = transformers && !spec.isMtp();
    if (renamed) {
      stem = transformersName(spec);
      // Older writers of this naming have the projection one level higher.
      if (!checkpoint.find(stem) && StringRef(stem).contains(".indexer.scorer.")) {
        auto [before, after] = StringRef(stem).split(".scorer");
        std::string older = (before + after).str();
        if (checkpoint.find(older))
          stem = older;
      }
      if (expert)
        return resolveFused(parameter, stem);
    }
    if (expert)
      return resolveExperts(parameter, stem);
    std::string name = linear ? stem + ".weight" : stem;
    const TensorRecord *record = require(name);
    if (!record)
      return;
    DType dtype = record->dtype;
    if (!checkFormat(spec, name, *record))
      return;
    if (!expect(name, *record, dtype, spec.shape))
      return;
    parameter.weight = viewOf(name, dtype, spec.shape);
    if (dtype != DType::F8E4M3)
      return;
    std::string scaleName = stem + (renamed ? ".weight_scale_inv" : ".scale");
    SmallVector<int64_t, 3> shape = fp8ScaleShape(spec.shape);
    if (const TensorRecord *scale = require(scaleName))
      if (expect(scaleName, *scale, DType::F8E8M0, shape))
        parameter.scale = viewOf(scaleName, DType::F8E8M0, shape);
  }

  /// One tensor per expert.
  void resolveExperts(Parameter &parameter, const std::string &stem) {
    const ParameterSpec &spec = parameter.spec;
    std::string pattern = stem + ".weight", scalePattern = stem + ".scale";
    const TensorRecord *first = require(rowName(pattern, 0));
    if (!first || !checkFormat(spec, rowName(pattern, 0), *first))
      return requireRows(pattern, /*from=*/1);
    DType dtype = first->dtype;
    SmallVector<int64_t, 3> shape(ArrayRef(spec.shape)), scaleShape;
    if (dtype == DType::I8)
      shape[1] /= 2;
    bool scaled = dtype == DType::I8 || dtype == DType::F8E4M3;
    if (scaled)
      scaleShape = dtype == DType::I8 ? fp4ScaleShape(spec.shape) : fp8ScaleShape(spec.shape);
    for (int64_t row = 0; row < config.experts && !tooManyMissing(); ++row) {
      std::string name = rowName(pattern, row);
      if (const TensorRecord *record = row == 0 ? first : require(name))
        if (!expect(name, *record, dtype, shape))
          return;
      if (!scaled)
        continue;
      std::string scaleName = rowName(scalePattern, row);
      if (const TensorRecord *scale = require(scaleName))
        if (!expect(scaleName, *scale, DType::F8E8M0, scaleShape))
          return;
    }
    parameter.weight = tableOf(pattern, config.experts, dtype, shape);
    if (scaled)
      parameter.scale = tableOf(scalePattern, config.experts, DType::F8E8M0, scaleShape);
  }

  void requireRows(StringRef pattern, int64_t from) {
    for (int64_t row = from; row < config.experts && !tooManyMissing(); ++row)
      require(rowName(pattern, row));
  }

  /// All experts in one tensor; gate rows first, then up rows, in the one that holds both.
  void resolveFused(Parameter &parameter, const std::string &name) {
    const ParameterSpec &spec = parameter.spec;
    bool both = StringRef(name).ends_with("gate_up_proj");
    bool second = StringRef(spec.name).ends_with(".w3");
    const TensorRecord *record = require(name);
    if (!record || !checkFormat(spec, name, *record))
      return;
    DType dtype = record->dtype;
    int64_t parts = both ? 2 : 1;
    auto fused = [&](StringRef tensor, DType type, ArrayRef<int64_t> part) {
      SourceView result;
      result.tensor = tensor.str();
      result.dtype = type;
      result.tensorShape = {config.experts, parts * part[0], part[1]};
      result.offset = second ? rowBytes(type, part) : 0;
      result.stride = parts * rowBytes(type, part);
      result.shape = {config.experts, part[0], part[1]};
      return result;
    };
    SmallVector<int64_t, 3> shape(ArrayRef(spec.shape));
    if (dtype == DType::I8)
      shape[1] /= 2;
    SourceView weight = fused(name, dtype, shape);
    if (!expect(name, *record, dtype, weight.tensorShape))
      return;
    parameter.weight = weight;
    if (dtype != DType::I8 && dtype != DType::F8E4M3)
      return;
    if (dtype == DType::F8E4M3 && both && spec.shape[0] % fp8Block != 0) {
      tensorError(name, *record) << "; fused fp8 experts need 'moe_intermediate_size' to be a multiple of " << fp8Block
                                 << ", so that no scale block spans gate and up";
      return;
    }
    std::string scaleName = name + "_scale_inv";
    SourceView scale =
        fused(scaleName, DType::F8E8M0, dtype == DType::I8 ? fp4ScaleShape(spec.shape) : fp8ScaleShape(spec.shape));
    if (const TensorRecord *found = require(scaleName))
      if (expect(scaleName, *found, DType::F8E8M0, scale.tensorShape))
        parameter.scale = scale;
  }

  /// Whether a tensor's type is one that the parameter may be stored in and the configuration announces.
  bool checkFormat(const ParameterSpec &spec, StringRef name, const TensorRecord &record) {
    DType dtype = record.dtype;
    switch (spec.role) {
    case ParameterRole::Plain:
      if (dtype == DType::F32 || dtype == DType::BF16)
        return true;
      tensorError(name, record) << "; expected F32 or BF16";
      return false;
    case ParameterRole::Float32:
      return dtype == DType::F32 || expect(name, record, DType::F32, spec.shape);
    case ParameterRole::TokenTable:
      return dtype == DType::I64 || expect(name, record, DType::I64, spec.shape);
    case ParameterRole::Linear:
    case ParameterRole::Expert:
      break;
    }
    bool expert = spec.role == ParameterRole::Expert;
    if (dtype == DType::F32 || dtype == DType::BF16)
      return true;
    if (dtype == DType::F8E4M3 && config.fp8Linears)
      return true;
    if (dtype == DType::I8 && expert && config.expertFormat == ExpertFormat::Fp4)
      return true;
    InFlightDiagnostic diagnostic = tensorError(name, record);
    if (dtype == DType::F8E4M3)
      diagnostic << ", but the configuration has no 'quantization_config'";
    else if (dtype == DType::I8 && expert)
      diagnostic << ", but 'expert_dtype' is not \"fp4\" in the configuration";
    else
      diagnostic << "; expected F32, BF16" << (config.fp8Linears ? ", F8_E4M3" : "")
                 << (expert && config.expertFormat == ExpertFormat::Fp4 ? ", I8 (fp4)" : "");
    return false;
  }

  void reportMissing(bool mtp) {
    llvm::sort(missing);
    missing.erase(llvm::unique(missing), missing.end());
    bool onlyMtp = llvm::all_of(missing, [](StringRef name) { return name.starts_with("mtp."); });
    constexpr size_t shown = 8;
    std::string names;
    for (const std::string &name : ArrayRef(missing).take_front(shown))
      names += (names.empty() ? "" : ", ") + json::quoted(name);
    if (missing.size() > shown)
      names += " and " + std::to_string(missing.size() - shown) + " more";
    InFlightDiagnostic diagnostic = contentError(context, checkpoint.directory);
    diagnostic << (tooManyMissing() ? "at least " : "") << missing.size()
               << (missing.size() == 1 ? " tensor is missing: " : " tensors are missing: ") << names;
    if (mtp && onlyMtp)
      diagnostic << "; this checkpoint has no MTP block, compile without --mtp";
    else
      diagnostic << "; the checkpoint is incomplete or does not belong to this config.json";
  }

  LogicalResult rejectExtra(ArrayRef<std::string> ignored) {
    std::vector<StringRef> extra;
    for (const auto &entry : checkpoint.tensors)
      if (!used.contains(entry.first()) &&
          llvm::none_of(ignored, [&](const std::string &prefix) { return entry.first().starts_with(prefix); }))
        extra.push_back(entry.first());
    if (extra.empty())
      return success();
    llvm::sort(extra);
    const TensorRecord &record = *checkpoint.find(extra.front());
    InFlightDiagnostic diagnostic = contentError(context, checkpoint.pathOf(record));
    diagnostic << "tensor " << json::quoted(extra.front()) << " is not a parameter of this model";
    if (extra.size() > 1)
      diagnostic << "; neither are " << extra.size() - 1 << " more";
    return diagnostic << "; remove it, or correct config.json if it describes another model";
  }

  MLIRContext *context;
  const Config &config;
  const Checkpoint &checkpoint;
  bool transformers = false, dspark = false, wrong = false;
  std::vector<std::string> missing;
  llvm::StringSet<> used;
};

/// The official layout in the formats that the configuration announces.
Parameter assume(const Config &config, ParameterSpec spec) {
  Parameter parameter;
  DType wide = config.float32 ? DType::F32 : DType::BF16;
  bool linear = spec.role == ParameterRole::Linear, expert = spec.role == ParameterRole::Expert;
  auto fp8 = [&] {
    if (expert) {
      parameter.weight = tableOf(spec.name + ".weight", config.experts, DType::F8E4M3, spec.shape);
      parameter.scale = tableOf(spec.name + ".scale", config.experts, DType::F8E8M0, fp8ScaleShape(spec.shape));
    } else {
      parameter.weight = viewOf(spec.name + ".weight", DType::F8E4M3, spec.shape);
      parameter.scale = viewOf(spec.name + ".scale", DType::F8E8M0, fp8ScaleShape(spec.shape));
    }
  };
  if (expert && config.expertFormat == ExpertFormat::Fp4) {
    parameter.weight = tableOf(spec.name + ".weight", config.experts, DType::I8, {spec.shape[0], spec.shape[1] / 2});
    parameter.scale = tableOf(spec.name + ".scale", config.experts, DType::F8E8M0, fp4ScaleShape(spec.shape));
  } else if ((linear && config.fp8Linears) || (expert && config.expertFormat == ExpertFormat::Fp8)) {
    fp8();
  } else if (expert) {
    parameter.weight = tableOf(spec.name + ".weight", config.experts, wide, spec.shape);
  } else {
    DType dtype = spec.role == ParameterRole::Float32      ? DType::F32
                  : spec.role == ParameterRole::TokenTable ? DType::I64
                                                           : wide;
    parameter.weight = viewOf(linear ? spec.name + ".weight" : spec.name, dtype, spec.shape);
  }
  parameter.spec = std::move(spec);
  return parameter;
}

} // namespace

StringRef ParameterSpec::localName() const {
  StringRef local = name;
  if (local.consume_front("mtp.0.") || !local.consume_front("layers."))
    return local;
  return local.split('.').second;
}

std::vector<ParameterSpec> mlir::v4::listParameters(const Config &config, bool mtp) {
  Lister lister(config);
  lister.model(mtp);
  return std::move(lister.list);
}

FailureOr<ModelParameters> mlir::v4::resolveParameters(MLIRContext *context, const Config &config,
                                                       const Checkpoint *checkpoint, bool mtp) {
  if (mtp && config.drafter)
    return contentError(context, config.file) << "'compress_ratios' ends like that of a release with a DSpark drafter, "
                                                 "and --mtp needs an MTP block; compile "
                                                 "without --mtp";
  if (mtp && config.mtpBlocks == 0)
    return contentError(context, config.file)
           << "'num_nextn_predict_layers' is 0, and --mtp needs an MTP block; compile without --mtp";
  // Byte counts of whole models must fit into 64 bits (Report.cpp).
  constexpr double maxParameters = 1e16;
  double total = 0;
  for (const ParameterSpec &spec : listParameters(config, mtp)) {
    double count = spec.role == ParameterRole::Expert ? static_cast<double>(config.experts) : 1.0;
    for (int64_t dim : spec.shape)
      count *= static_cast<double>(dim);
    total += count;
  }
  if (total > maxParameters)
    return contentError(context, config.file)
           << "describes a model of " << llvm::formatv("{0:e}", total).str() << " parameters; accepted: up to 1e16";
  if (checkpoint)
    return Resolver(context, config, *checkpoint).run(mtp);
  ModelParameters model;
  for (ParameterSpec &spec : listParameters(config, mtp))
    model.list.push_back(assume(config, std::move(spec)));
  model.ignored = ignoredPrefixes(mtp);
  return model;
}
