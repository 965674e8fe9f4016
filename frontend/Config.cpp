// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// config.json to Config: which keys shape the graph, what each may hold, and which combinations make a model.

#include "frontend/Config.h"
#include "frontend/Files.h"
#include "frontend/Json.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Location.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>

using namespace mlir;
using namespace mlir::v4;

namespace {

// Bounds keep every product of shapes below 2^62: the largest is experts * width * hidden = 2^14 * 2^20 * 2^20.
constexpr int64_t maxDim = int64_t(1) << 20;
constexpr int64_t maxVocab = int64_t(1) << 24;
constexpr int64_t maxCount = int64_t(1) << 14;
constexpr int64_t maxLayers = 1024;
constexpr int64_t maxPosition = (int64_t(1) << 31) - 1;

/// Keys that change nothing about the inference graph: training, tokenizer and library bookkeeping.
constexpr llvm::StringLiteral harmless[] = {"_name_or_path",
                                            "architectures",
                                            "attention_dropout",
                                            "auto_map",
                                            "bos_token_id",
                                            "initializer_range",
                                            "output_router_logits",
                                            "pad_token_id",
                                            "pretraining_tp",
                                            "router_aux_loss_coef",
                                            "router_jitter_noise",
                                            "transformers_version",
                                            "use_cache",
                                            "aux_loss_alpha",
                                            "seq_aux",
                                            "ep_size",
                                            "output_attentions",
                                            "output_hidden_states",
                                            "return_dict",
                                            "chunk_size_feed_forward",
                                            "id2label",
                                            "label2id",
                                            "problem_type",
                                            "is_encoder_decoder"};

/// Reads one JSON object key by key; remembers which keys were asked for and whether any was wrong.
class ObjectReader {
public:
  ObjectReader(MLIRContext *context, StringRef text, StringRef file, const json::Value &object, StringRef prefix = "")
      : context(context), text(text), file(file), object(object), prefix(prefix) {}

  bool failed() const { return wrong; }
  void fail() { wrong = true; }

  /// The value of a key; null when it is absent or the JSON null.
  const json::Value *find(StringRef key) {
    known.push_back(key.str());
    const json::Value *value = object.find(key);
    return value && value->kind != json::Value::Kind::Null ? value : nullptr;
  }

  InFlightDiagnostic error(const json::Value &value) {
    wrong = true;
    auto [line, column] = json::lineAndColumn(text, value.offset);
    return emitError(FileLineColLoc::get(context, file, line, column));
  }
  InFlightDiagnostic error() {
    wrong = true;
    return emitError(FileLineColLoc::get(context, file, 1, 1));
  }
  void reject(StringRef key, const json::Value &value, const Twine &accepted) {
    error(value) << "'" << prefix << key << "' is " << value.describe() << "; accepted: " << accepted;
  }
  void missing(StringRef key, const Twine &accepted) {
    error() << "'" << prefix << key << "' is missing; accepted: " << accepted;
  }

  void integer(StringRef key, int64_t &result, int64_t low, int64_t high, bool required = true) {
    std::string accepted = ("an integer from " + Twine(low) + " to " + Twine(high)).str();
    const json::Value *value = find(key);
    if (!value) {
      if (required)
        missing(key, accepted);
      return;
    }
    if (!toInteger(*value, result) || result < low || result > high)
      reject(key, *value, accepted);
  }

  void real(StringRef key, double &result, double low, double high, bool required = true) {
    std::string accepted = "a number from " + shortest(low) + " to " + shortest(high);
    const json::Value *value = find(key);
    if (!value) {
      if (required)
        missing(key, accepted);
      return;
    }
    if (value->kind != json::Value::Kind::Number || !(value->number.asReal >= low && value->number.asReal <= high))
      return reject(key, *value, accepted);
    result = value->number.asReal;
  }

  /// One of a few strings; returns its index, or -1 when absent or wrong.
  int choice(StringRef key, ArrayRef<StringRef> accepted, bool required) {
    std::string list = quotedList(accepted);
    const json::Value *value = find(key);
    if (!value) {
      if (required)
        missing(key, list);
      return -1;
    }
    if (value->kind == json::Value::Kind::String)
      for (auto [index, name] : llvm::enumerate(accepted))
        if (value->string == name)
          return index;
    reject(key, *value, list);
    return -1;
  }

  /// A switch that this model has in one position only.
  void fixedBool(StringRef key, bool accepted) {
    const json::Value *value = find(key);
    if (value && (value->kind != json::Value::Kind::Bool || value->boolean != accepted))
      reject(key, *value, accepted ? "true" : "false");
  }

  /// A number that this model has one value of, if it is given at all.
  void fixedNumber(StringRef key, int64_t accepted) {
    const json::Value *value = find(key);
    if (value && (value->kind != json::Value::Kind::Number || value->number.asReal != static_cast<double>(accepted)))
      reject(key, *value, Twine(accepted));
  }

  void listUnknown(SmallVectorImpl<std::string> &unknown) const {
    for (const std::string &name : object.keys)
      if (!llvm::is_contained(known, name) && !llvm::is_contained(harmless, StringRef(name)))
        unknown.push_back(prefix.str() + name);
  }

  static bool toInteger(const json::Value &value, int64_t &result) {
    if (value.kind != json::Value::Kind::Number)
      return false;
    const json::Number &number = value.number;
    // Writers of JSON turn 10000 into 10000.0; both are the same number.
    if (number.kind == json::Number::Kind::Real) {
      if (!(std::fabs(number.asReal) < 9e15) || number.asReal != std::floor(number.asReal))
        return false;
      result = static_cast<int64_t>(number.asReal);
      return true;
    }
    result = number.asSigned;
    return number.kind == json::Number::Kind::Signed;
  }

private:
  static std::string shortest(double value) {
    char buffer[32];
    snprintf(buffer, sizeof(buffer), "%g", value);
    return buffer;
  }
  static std::string quotedList(ArrayRef<StringRef> names) { return "\"" + llvm::join(names, "\", \"") + "\""; }

  MLIRContext *context;
  StringRef text, file;
  const json::Value &object;
  StringRef prefix;
  SmallVector<std::string> known;
  bool wrong = false;
};

/// Reads the layer schedule: one ratio per layer, then those of the MTP block or drafter, which are 0.
void readRatios(ObjectReader &reader, Config &config) {
  StringRef key = "compress_ratios";
  const json::Value *list = reader.find(key);
  std::string accepted = "an array with one ratio per layer and one per MTP block";
  if (!list)
    return reader.missing(key, accepted);
  if (list->kind != json::Value::Kind::Array)
    return reader.reject(key, *list, accepted);
  size_t layers = config.layers, count = list->elements.size();
  // The drafter of the later releases has three stages although the key that counts MTP blocks still says one.
  constexpr size_t drafterStages = 3;
  if (count != layers && count != layers + 1 && count != layers + drafterStages) {
    reader.error(*list) << "'" << key << "' has " << count << " values; accepted: " << layers
                        << " ('num_hidden_layers'), " << layers + 1 << " with an MTP block, or "
                        << layers + drafterStages << " with a drafter";
    return;
  }
  config.drafter = count == layers + drafterStages;
  for (auto [index, value] : llvm::enumerate(list->elements)) {
    std::string element = (key + "[" + Twine(index) + "]").str();
    int64_t ratio = 0;
    if (index >= layers) {
      if (!ObjectReader::toInteger(value, ratio) || ratio != 0)
        reader.reject(element, value, "0, because the blocks behind the last layer have a window only");
      continue;
    }
    if (!ObjectReader::toInteger(value, ratio) || ratio < 0 || ratio > maxDim)
      reader.reject(element, value, "an integer from 0 to " + Twine(maxDim));
    config.ratios.push_back(ratio);
  }
}

void readRopeScaling(ObjectReader &outer, Config &config, MLIRContext *context, StringRef text, StringRef file,
                     SmallVectorImpl<std::string> &unknown) {
  const json::Value *object = outer.find("rope_scaling");
  if (!object)
    return;
  if (object->kind != json::Value::Kind::Object)
    return outer.reject("rope_scaling", *object, "null or an object of type \"yarn\"");
  ObjectReader reader(context, text, file, *object, "rope_scaling.");
  YarnConfig yarn;
  StringRef typeKey = object->find("type") ? "type" : "rope_type";
  reader.choice(typeKey, {"yarn"}, /*required=*/true);
  reader.choice(typeKey == "type" ? "rope_type" : "type", {"yarn"}, /*required=*/false);
  reader.real("factor", yarn.factor, 1, 1e6);
  reader.integer("original_max_position_embeddings", yarn.original, 1, maxPosition);
  reader.real("beta_fast", yarn.betaFast, 1e-6, 1e6);
  reader.real("beta_slow", yarn.betaSlow, 1e-6, 1e6);
  // This model has no attention temperature (spec 3.4), so a file that asks for one describes another model.
  for (StringRef key : {"mscale", "mscale_all_dim", "attention_factor"})
    reader.fixedNumber(key, 1);
  reader.listUnknown(unknown);
  if (!reader.failed() && yarn.betaFast <= yarn.betaSlow)
    reader.error(*object) << "'rope_scaling.beta_fast' must be greater than 'rope_scaling.beta_slow'";
  if (reader.failed())
    outer.fail();
  config.yarn = yarn;
}

void readQuantization(ObjectReader &outer, Config &config, MLIRContext *context, StringRef text, StringRef file,
                      SmallVectorImpl<std::string> &unknown) {
  const json::Value *object = outer.find("quantization_config");
  int experts = outer.choice("expert_dtype", {"fp4", "fp8"}, /*required=*/false);
  config.fp8Linears = object != nullptr;
  config.expertFormat = experts == 0 ? ExpertFormat::Fp4 : object ? ExpertFormat::Fp8 : ExpertFormat::Plain;
  if (experts == 1 && !object)
    outer.error() << "'expert_dtype' is \"fp8\" but there is no 'quantization_config'; accepted: both or neither";
  if (!object)
    return;
  if (object->kind != json::Value::Kind::Object)
    return outer.reject("quantization_config", *object, "null or an object with \"quant_method\": \"fp8\"");
  ObjectReader reader(context, text, file, *object, "quantization_config.");
  reader.choice("quant_method", {"fp8"}, /*required=*/true);
  reader.choice("fmt", {"e4m3"}, /*required=*/false);
  reader.choice("activation_scheme", {"dynamic"}, /*required=*/false);
  reader.choice("scale_fmt", {"ue8m0"}, /*required=*/false);
  if (const json::Value *block = reader.find("weight_block_size")) {
    bool good = block->kind == json::Value::Kind::Array && block->elements.size() == 2;
    for (const json::Value &size : block->elements) {
      int64_t value = 0;
      good &= ObjectReader::toInteger(size, value) && value == 128;
    }
    if (!good)
      reader.reject("weight_block_size", *block, "[128, 128]");
  }
  reader.listUnknown(unknown);
  if (reader.failed())
    outer.fail();
}

/// Relations between keys that each are in range.
void checkRelations(ObjectReader &reader, const Config &config) {
  auto check = [&](bool good, const Twine &message) {
    if (!good)
      reader.error() << message;
  };
  check(config.ropeDim % 2 == 0, "'qk_rope_head_dim' is " + Twine(config.ropeDim) + "; accepted: an even number");
  check(config.ropeDim < config.headDim, "'qk_rope_head_dim' is " + Twine(config.ropeDim) +
                                             "; accepted: less than 'head_dim', " + Twine(config.headDim));
  check(config.heads % config.outputGroups == 0, "'o_groups' is " + Twine(config.outputGroups) +
                                                     "; accepted: a divisor of 'num_attention_heads', " +
                                                     Twine(config.heads));
  check(config.expertsPerToken <= config.experts, "'num_experts_per_tok' is " + Twine(config.expertsPerToken) +
                                                      "; accepted: at most 'n_routed_experts', " +
                                                      Twine(config.experts));
  check(config.hashLayers <= config.layers, "'num_hash_layers' is " + Twine(config.hashLayers) +
                                                "; accepted: at most 'num_hidden_layers', " + Twine(config.layers));
  check(config.eosToken < config.vocabSize, "'eos_token_id' is " + Twine(config.eosToken) +
                                                "; accepted: less than 'vocab_size', " + Twine(config.vocabSize));
  if (config.hasOverlap()) {
    check(llvm::isPowerOf2_64(config.indexDim),
          "'index_head_dim' is " + Twine(config.indexDim) + "; accepted: a power of two, for the Hadamard rotation");
    check(config.ropeDim <= config.indexDim, "'index_head_dim' is " + Twine(config.indexDim) +
                                                 "; accepted: at least 'qk_rope_head_dim', " + Twine(config.ropeDim));
  }
  if (config.expertFormat == ExpertFormat::Fp4)
    check(config.hiddenSize % 32 == 0 && config.expertWidth % 32 == 0,
          "'expert_dtype' is \"fp4\" with 'hidden_size' " + Twine(config.hiddenSize) + " and 'moe_intermediate_size' " +
              Twine(config.expertWidth) + "; accepted: multiples of 32, the scale block");
  if (config.fp8Linears)
    check(config.outputGroups == 1 || config.outputRank % 128 == 0,
          "'o_lora_rank' is " + Twine(config.outputRank) +
              "; accepted with 'quantization_config': a multiple of 128, so that no scale block spans two groups");
}

} // namespace

FailureOr<Config> mlir::v4::parseConfig(MLIRContext *context, StringRef text, StringRef file) {
  json::Value root;
  json::Error error;
  if (!json::parse(text, root, error)) {
    auto [line, column] = json::lineAndColumn(text, error.offset);
    return emitError(FileLineColLoc::get(context, file, line, column))
           << "not a valid configuration: " << error.message;
  }

  ObjectReader reader(context, text, file, root);
  Config config;
  config.file = file.str();
  SmallVector<std::string> unknown;

  // The kind of model decides what every other key means, so nothing else is reported when it is another one.
  if (reader.choice("model_type", {"deepseek_v4"}, /*required=*/true) < 0)
    return failure();
  config.modelType = "deepseek_v4";

  reader.integer("vocab_size", config.vocabSize, 1, maxVocab);
  reader.integer("hidden_size", config.hiddenSize, 1, maxDim);
  reader.integer("num_hidden_layers", config.layers, 1, maxLayers);
  reader.integer("num_attention_heads", config.heads, 1, maxCount);
  reader.integer("head_dim", config.headDim, 1, maxCount);
  reader.integer("qk_rope_head_dim", config.ropeDim, 2, maxCount);
  reader.integer("q_lora_rank", config.queryRank, 1, maxDim);
  reader.integer("o_groups", config.outputGroups, 1, maxCount);
  reader.integer("o_lora_rank", config.outputRank, 1, maxCount);
  reader.integer("sliding_window", config.window, 1, maxDim);
  reader.integer("n_routed_experts", config.experts, 1, maxCount);
  reader.integer("num_experts_per_tok", config.expertsPerToken, 1, maxCount);
  reader.integer("moe_intermediate_size", config.expertWidth, 1, maxDim);
  reader.real("routed_scaling_factor", config.routeScale, 1e-6, 1e6);
  reader.real("swiglu_limit", config.swigluLimit, 1e-6, 1e30);
  reader.integer("num_hash_layers", config.hashLayers, 0, maxLayers);
  reader.integer("hc_mult", config.streams, 1, 16);
  reader.integer("hc_sinkhorn_iters", config.sinkhornIterations, 1, 1000);
  reader.real("hc_eps", config.hcEps, 0, 1);
  config.rmsEps = 1e-6; // the value the reference code takes when the key is absent
  reader.real("rms_norm_eps", config.rmsEps, 1e-30, 1, /*required=*/false);
  reader.integer("max_position_embeddings", config.maxPositions, 1, maxPosition);
  reader.integer("num_nextn_predict_layers", config.mtpBlocks, 0, 1, /*required=*/false);
  reader.integer("eos_token_id", config.eosToken, 0, maxVocab, /*required=*/false);
  reader.real("rope_theta", config.ropeTheta, 1, 1e12);
  if (config.layers >= 1 && config.layers <= maxLayers)
    readRatios(reader, config);
  bool compressed = llvm::any_of(config.ratios, [](int64_t ratio) { return ratio != 0; });
  reader.real("compress_rope_theta", config.compressRopeTheta, 1, 1e12, compressed);
  reader.integer("index_n_heads", config.indexHeads, 1, maxCount, config.hasOverlap());
  reader.integer("index_head_dim", config.indexDim, 1, maxCount, config.hasOverlap());
  reader.integer("index_topk", config.indexTopK, 1, maxDim, config.hasOverlap());

  // What this model has one form of. An absent key means that form.
  reader.choice("scoring_func", {"sqrtsoftplus"}, /*required=*/true);
  reader.choice("topk_method", {"noaux_tc"}, /*required=*/false);
  reader.choice("hidden_act", {"silu"}, /*required=*/false);
  reader.fixedBool("norm_topk_prob", true);
  reader.fixedBool("attention_bias", false);
  reader.fixedBool("mlp_bias", false);
  reader.fixedBool("tie_word_embeddings", false);
  reader.fixedNumber("n_shared_experts", 1);
  reader.fixedNumber("num_key_value_heads", 1);
  reader.fixedNumber("n_group", 1);
  reader.fixedNumber("topk_group", 1);
  reader.fixedNumber("first_k_dense_replace", 0);
  reader.fixedNumber("moe_layer_freq", 1);
  double rotaryShare = 1;
  reader.real("partial_rotary_factor", rotaryShare, 0, 1, /*required=*/false);
  // Newer writers put all tables into one object, whose meaning for two tables differs from release to release.
  if (const json::Value *value = reader.find("rope_parameters"))
    reader.reject("rope_parameters", *value, "absent; give 'rope_theta', 'compress_rope_theta' and 'rope_scaling'");

  readRopeScaling(reader, config, context, text, file, unknown);
  readQuantization(reader, config, context, text, file, unknown);
  int dtype = reader.choice("torch_dtype", {"bfloat16", "float32"}, /*required=*/false);
  int newName = reader.choice("dtype", {"bfloat16", "float32"}, /*required=*/false);
  config.float32 = (dtype < 0 ? newName : dtype) == 1;

  if (!reader.failed())
    checkRelations(reader, config);
  if (!reader.failed() && rotaryShare != 1 && rotaryShare * config.headDim != config.ropeDim)
    reader.error() << "'partial_rotary_factor' contradicts 'qk_rope_head_dim' / 'head_dim'";
  if (reader.failed())
    return failure();

  reader.listUnknown(unknown);
  if (!unknown.empty()) {
    for (std::string &name : unknown)
      name = json::quoted(name);
    emitWarning(FileLineColLoc::get(context, file, 1, 1))
        << "keys that are not known and change nothing: " << llvm::join(unknown, ", ");
  }
  return config;
}

FailureOr<Config> mlir::v4::readConfig(MLIRContext *context, StringRef directory) {
  // Real files have a few kilobytes.
  constexpr uint64_t maxSize = 1 << 20;
  std::string path = joinPath(directory, "config.json");
  FailureOr<std::string> text = readTextFile(context, path, maxSize);
  if (failed(text))
    return failure();
  return parseConfig(context, *text, path);
}
