// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// config.json: what is read, and one test per diagnostic.

#include "TestSupport.h"

using namespace mlir;
using namespace mlir::v4;
using namespace mlir::v4::test;

namespace {

FailureOr<Config> parse(Session &session, const std::string &text) {
  return parseConfig(&session.context, text, "config.json");
}

TEST(Config, Tiny) {
  Session session;
  FailureOr<Config> config = parse(session, editConfig("tiny"));
  ASSERT_TRUE(succeeded(config)) << session.allErrors();
  EXPECT_TRUE(session.warnings.empty()) << session.warnings.front();
  EXPECT_EQ(config->vocabSize, 256);
  EXPECT_EQ(config->layers, 6);
  EXPECT_EQ(config->ratios, (SmallVector<int64_t>{0, 0, 4, 16, 4, 16}));
  EXPECT_EQ(config->headDim, 72);
  EXPECT_EQ(config->ropeDim, 8);
  EXPECT_EQ(config->hashLayers, 3);
  EXPECT_TRUE(config->isHash(2));
  EXPECT_FALSE(config->isHash(3));
  EXPECT_EQ(config->eosToken, 1);
  EXPECT_EQ(config->mtpBlocks, 1);
  EXPECT_EQ(config->maxPositions, 1024);
  EXPECT_FALSE(config->fp8Linears);
  EXPECT_FALSE(config->drafter);
  EXPECT_EQ(config->expertFormat, ExpertFormat::Plain);
  ASSERT_TRUE(config->yarn.has_value());
  EXPECT_EQ(config->yarn->factor, 16);
  EXPECT_EQ(config->yarn->original, 64);
}

TEST(Config, Releases) {
  Session session;
  FailureOr<Config> flash = parse(session, editConfig("flash"));
  FailureOr<Config> pro = parse(session, editConfig("pro"));
  ASSERT_TRUE(succeeded(flash) && succeeded(pro)) << session.allErrors();
  EXPECT_TRUE(session.warnings.empty());
  EXPECT_TRUE(flash->fp8Linears);
  EXPECT_EQ(flash->expertFormat, ExpertFormat::Fp4);
  EXPECT_EQ(llvm::count(flash->ratios, 4), 21);
  EXPECT_EQ(llvm::count(flash->ratios, 128), 20);
  EXPECT_EQ(llvm::count(pro->ratios, 4), 30);
  EXPECT_EQ(llvm::count(pro->ratios, 128), 31);
}

TEST(Config, OptionalKeys) {
  Session session;
  FailureOr<Config> config = parse(session, editConfig("tiny", {{"rms_norm_eps", ""},
                                                                {"num_nextn_predict_layers", ""},
                                                                {"eos_token_id", "null"},
                                                                {"rope_scaling", "null"},
                                                                {"torch_dtype", ""},
                                                                {"dtype", "\"float32\""},
                                                                {"rope_theta", "10000.0"},
                                                                {"hidden_size", "64.0"},
                                                                {"n_group", "1"},
                                                                {"partial_rotary_factor", "1.0"},
                                                                {"compress_ratios", "[0,0,4,16,4,16]"}}));
  ASSERT_TRUE(succeeded(config)) << session.allErrors();
  EXPECT_EQ(config->rmsEps, 1e-6);
  EXPECT_EQ(config->mtpBlocks, 0);
  EXPECT_EQ(config->eosToken, -1);
  EXPECT_FALSE(config->yarn);
  EXPECT_TRUE(config->float32);
  EXPECT_EQ(config->hiddenSize, 64);
}

TEST(Config, RatioZeroNeedsNoIndexer) {
  Session session;
  FailureOr<Config> config = parse(session, editConfig("tiny", {{"compress_ratios", "[0,0,0,0,0,0]"},
                                                                {"index_n_heads", ""},
                                                                {"index_head_dim", ""},
                                                                {"index_topk", ""},
                                                                {"compress_rope_theta", ""}}));
  EXPECT_TRUE(succeeded(config)) << session.allErrors();
}

TEST(Config, ExpertFormats) {
  Session session;
  StringRef quantization = "{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\",\"weight_block_size\":[128,128]}";
  FailureOr<Config> base = parse(
      session,
      editConfig("tiny", {{"quantization_config", quantization}, {"o_lora_rank", "128"}, {"expert_dtype", "\"fp8\""}}));
  ASSERT_TRUE(succeeded(base)) << session.allErrors();
  EXPECT_EQ(base->expertFormat, ExpertFormat::Fp8);
  FailureOr<Config> implied =
      parse(session, editConfig("tiny", {{"quantization_config", quantization}, {"o_lora_rank", "128"}}));
  ASSERT_TRUE(succeeded(implied));
  EXPECT_EQ(implied->expertFormat, ExpertFormat::Fp8);
  FailureOr<Config> fp4 = parse(session, editConfig("tiny", {{"expert_dtype", "\"fp4\""}}));
  ASSERT_TRUE(succeeded(fp4));
  EXPECT_EQ(fp4->expertFormat, ExpertFormat::Fp4);
  EXPECT_FALSE(fp4->fp8Linears);
}

TEST(Config, DrafterRatios) {
  Session session;
  FailureOr<Config> config = parse(session, editConfig("tiny", {{"compress_ratios", "[0,0,4,16,4,16,0,0,0]"}}));
  ASSERT_TRUE(succeeded(config)) << session.allErrors();
  EXPECT_TRUE(config->drafter);
  EXPECT_EQ(config->ratios.size(), 6u);
}

TEST(Config, UnknownKeysAreOneWarning) {
  Session session;
  FailureOr<Config> config =
      parse(session, editConfig("tiny", {{"zebra", "1"},
                                         {"apple", "{\"x\":[1]}"},
                                         {"pad_token_id", "0"},
                                         {"rope_scaling", "{\"type\":\"yarn\",\"rope_type\":\"yarn\",\"factor\":16,"
                                                          "\"original_max_position_embeddings\":64,\"beta_fast\":32,"
                                                          "\"beta_slow\":1,\"mscale\":1.0,\"odd\":2}"}}));
  ASSERT_TRUE(succeeded(config)) << session.allErrors();
  ASSERT_EQ(session.warnings.size(), 1u);
  for (StringRef name : {"\"zebra\"", "\"apple\"", "\"rope_scaling.odd\""})
    EXPECT_NE(session.warnings[0].find(name.str()), std::string::npos) << session.warnings[0];
  EXPECT_EQ(session.warnings[0].find("pad_token_id"), std::string::npos);
}

struct Rejected {
  StringRef key, value, message;
};
void PrintTo(const Rejected &rejected, std::ostream *os) {
  *os << rejected.key.str() << " = " << rejected.value.str();
}

class ConfigRejects : public testing::TestWithParam<Rejected> {};

TEST_P(ConfigRejects, Edit) {
  Session session;
  auto [key, value, message] = GetParam();
  EXPECT_TRUE(failed(parse(session, editConfig("tiny", {{key, value}}))));
  session.expectError({message, "config.json:"});
}

INSTANTIATE_TEST_SUITE_P(
    Values, ConfigRejects,
    testing::Values(
        Rejected{"model_type", "", "'model_type' is missing; accepted: \"deepseek_v4\""},
        Rejected{"model_type", "\"deepseek_v3\"", "'model_type' is \"deepseek_v3\"; accepted: \"deepseek_v4\""},
        Rejected{"vocab_size", "", "'vocab_size' is missing; accepted: an integer from 1 to 16777216"},
        Rejected{"vocab_size", "0", "'vocab_size' is 0; accepted"}, Rejected{"vocab_size", "-5", "'vocab_size' is -5"},
        Rejected{"vocab_size", "2.5", "'vocab_size' is 2.5"}, Rejected{"vocab_size", "1e300", "'vocab_size' is 1e+300"},
        Rejected{"vocab_size", "9223372036854775807", "'vocab_size' is 9223372036854775807"},
        Rejected{"vocab_size", "18446744073709551615", "'vocab_size' is 18446744073709551615"},
        Rejected{"vocab_size", "\"256\"", "'vocab_size' is \"256\""},
        Rejected{"vocab_size", "[1]", "'vocab_size' is an array of 1 values"},
        Rejected{"vocab_size", "{}", "'vocab_size' is an object"},
        Rejected{"vocab_size", "true", "'vocab_size' is true"},
        Rejected{"vocab_size", "null", "'vocab_size' is missing"},
        Rejected{"hidden_size", "9999999", "'hidden_size' is 9999999"},
        Rejected{"num_hidden_layers", "0", "'num_hidden_layers' is 0"},
        Rejected{"num_hidden_layers", "5000", "'num_hidden_layers' is 5000"},
        Rejected{"num_attention_heads", "0", "'num_attention_heads' is 0"},
        Rejected{"qk_rope_head_dim", "7", "'qk_rope_head_dim' is 7; accepted: an even number"},
        Rejected{"head_dim", "8", "'qk_rope_head_dim' is 8; accepted: less than 'head_dim', 8"},
        Rejected{"qk_rope_head_dim", "40", "'index_head_dim' is 32; accepted: at least 'qk_rope_head_dim', 40"},
        Rejected{"o_groups", "3", "'o_groups' is 3; accepted: a divisor of 'num_attention_heads', 4"},
        Rejected{"num_experts_per_tok", "9", "'num_experts_per_tok' is 9; accepted: at most 'n_routed_experts', 8"},
        Rejected{"num_hash_layers", "7", "'num_hash_layers' is 7; accepted: at most 'num_hidden_layers', 6"},
        Rejected{"eos_token_id", "256", "'eos_token_id' is 256; accepted: less than 'vocab_size', 256"},
        Rejected{"eos_token_id", "[1, 2]", "'eos_token_id' is an array of 2 values"},
        Rejected{"index_head_dim", "48", "'index_head_dim' is 48; accepted: a power of two"},
        Rejected{"index_topk", "0", "'index_topk' is 0"}, Rejected{"index_topk", "", "'index_topk' is missing"},
        Rejected{"hc_mult", "17", "'hc_mult' is 17; accepted: an integer from 1 to 16"},
        Rejected{"hc_sinkhorn_iters", "0", "'hc_sinkhorn_iters' is 0"},
        Rejected{"hc_eps", "\"x\"", "'hc_eps' is \"x\"; accepted: a number from 0 to 1"},
        Rejected{"hc_eps", "", "'hc_eps' is missing"}, Rejected{"rms_norm_eps", "-1", "'rms_norm_eps' is -1"},
        Rejected{"swiglu_limit", "0", "'swiglu_limit' is 0"},
        Rejected{"routed_scaling_factor", "-2", "'routed_scaling_factor' is -2"},
        Rejected{"compress_rope_theta", "", "'compress_rope_theta' is missing"},
        Rejected{"num_nextn_predict_layers", "3", "'num_nextn_predict_layers' is 3; accepted: an integer from 0 to 1"},
        Rejected{"compress_ratios", "", "'compress_ratios' is missing; accepted: an array"},
        Rejected{"compress_ratios", "7", "'compress_ratios' is 7; accepted: an array"},
        Rejected{"compress_ratios", "[0,0,4]", "'compress_ratios' has 3 values; accepted: 6"},
        Rejected{"compress_ratios", "[0,0,4,-1,4,16,0]", "'compress_ratios[3]' is -1; accepted: an integer from 0"},
        Rejected{"compress_ratios", "[0,0,4,16,4,16,4]", "'compress_ratios[6]' is 4; accepted: 0"},
        Rejected{"scoring_func", "\"sigmoid\"", "'scoring_func' is \"sigmoid\"; accepted: \"sqrtsoftplus\""},
        Rejected{"scoring_func", "", "'scoring_func' is missing; accepted: \"sqrtsoftplus\""},
        Rejected{"topk_method", "\"greedy\"", "'topk_method' is \"greedy\"; accepted: \"noaux_tc\""},
        Rejected{"hidden_act", "\"gelu\"", "'hidden_act' is \"gelu\"; accepted: \"silu\""},
        Rejected{"norm_topk_prob", "false", "'norm_topk_prob' is false; accepted: true"},
        Rejected{"attention_bias", "true", "'attention_bias' is true; accepted: false"},
        Rejected{"tie_word_embeddings", "true", "'tie_word_embeddings' is true; accepted: false"},
        Rejected{"tie_word_embeddings", "0", "'tie_word_embeddings' is 0; accepted: false"},
        Rejected{"n_shared_experts", "2", "'n_shared_experts' is 2; accepted: 1"},
        Rejected{"num_key_value_heads", "4", "'num_key_value_heads' is 4; accepted: 1"},
        Rejected{"n_group", "8", "'n_group' is 8; accepted: 1"},
        Rejected{"torch_dtype", "\"float16\"", "'torch_dtype' is \"float16\"; accepted: \"bfloat16\", \"float32\""},
        Rejected{"rope_parameters", "{}", "'rope_parameters' is an object; accepted: absent"},
        Rejected{"partial_rotary_factor", "0.5", "'partial_rotary_factor' contradicts"},
        Rejected{"rope_scaling", "3", "'rope_scaling' is 3; accepted: null or an object"},
        Rejected{"rope_scaling",
                 "{\"type\":\"linear\",\"factor\":2,\"original_max_position_embeddings\":64,"
                 "\"beta_fast\":32,\"beta_slow\":1}",
                 "'rope_scaling.type' is \"linear\"; accepted: \"yarn\""},
        Rejected{"rope_scaling",
                 "{\"type\":\"yarn\",\"factor\":2,\"original_max_position_embeddings\":64,"
                 "\"beta_fast\":1,\"beta_slow\":32}",
                 "'rope_scaling.beta_fast' must be greater"},
        Rejected{"rope_scaling",
                 "{\"type\":\"yarn\",\"factor\":2,\"original_max_position_embeddings\":64,"
                 "\"beta_fast\":32,\"beta_slow\":1,\"mscale\":0.7}",
                 "'rope_scaling.mscale' is 0.7; accepted: 1"},
        Rejected{"rope_scaling",
                 "{\"type\":\"yarn\",\"original_max_position_embeddings\":64,"
                 "\"beta_fast\":32,\"beta_slow\":1}",
                 "'rope_scaling.factor' is missing"},
        Rejected{"expert_dtype", "\"int4\"", "'expert_dtype' is \"int4\"; accepted: \"fp4\", \"fp8\""},
        Rejected{"expert_dtype", "\"fp8\"", "'expert_dtype' is \"fp8\" but there is no 'quantization_config'"},
        Rejected{"quantization_config", "[]", "'quantization_config' is an array of 0 values"},
        Rejected{"quantization_config", "{\"quant_method\":\"awq\"}",
                 "'quantization_config.quant_method' is \"awq\"; accepted: \"fp8\""},
        Rejected{"quantization_config", "{\"quant_method\":\"fp8\",\"weight_block_size\":[0,128]}",
                 "'quantization_config.weight_block_size' is an array of 2 values; accepted: [128, 128]"},
        Rejected{"quantization_config", "{\"quant_method\":\"fp8\",\"scale_fmt\":\"float\"}",
                 "'quantization_config.scale_fmt' is \"float\"; accepted: \"ue8m0\""},
        Rejected{"quantization_config", "{\"quant_method\":\"fp8\"}", "'o_lora_rank' is 16; accepted"}));

TEST(Config, Fp4NeedsWholeScaleBlocks) {
  Session session;
  EXPECT_TRUE(
      failed(parse(session, editConfig("tiny", {{"expert_dtype", "\"fp4\""}, {"moe_intermediate_size", "40"}}))));
  session.expectError({"'expert_dtype' is \"fp4\"", "'moe_intermediate_size' 40", "multiples of 32"});
}

TEST(Config, EveryWrongKeyIsReported) {
  Session session;
  EXPECT_TRUE(failed(parse(session, editConfig("tiny", {{"vocab_size", "0"}, {"hidden_act", "\"relu\""}}))));
  EXPECT_EQ(session.errors.size(), 2u);
}

TEST(Config, ErrorsNameTheLine) {
  Session session;
  EXPECT_TRUE(failed(parse(session, "{\n \"model_type\": \"deepseek_v4\",\n \"model_type\": 1}")));
  session.expectError({"config.json:3:", "key \"model_type\" appears twice"});
}

struct Malformed {
  const char *name;
  std::string text;
  StringRef message;
};

class ConfigMalformed : public testing::TestWithParam<Malformed> {};

TEST_P(ConfigMalformed, Text) {
  Session session;
  EXPECT_TRUE(failed(parse(session, GetParam().text)));
  session.expectError({"not a valid configuration: ", GetParam().message});
}

INSTANTIATE_TEST_SUITE_P(
    Texts, ConfigMalformed,
    testing::Values(
        Malformed{"empty", "", "the file is empty"}, Malformed{"array", "[]", "must start with '{'"},
        Malformed{"scalar", "7", "must start with '{'"}, Malformed{"mark", "\xEF\xBB\xBF{}", "must start with '{'"},
        Malformed{"open", "{\"a\":", "unexpected end of input"}, Malformed{"trailing", "{} x", "end of input"},
        Malformed{"utf8", "{\"a\":\"\xff\"}", "ill-formed UTF-8"}, Malformed{"nul", "{\"a\\u0000\":1}", "NUL"},
        Malformed{"value_nul", "{\"a\":\"\\u0000\"}", "NUL"}, Malformed{"overflow", "{\"a\":1e400}", "number overflow"},
        Malformed{"deep", "{\"a\":" + std::string(1000000, '['), "nested deeper than 32 levels"},
        Malformed{"deep_objects",
                  []() {
                    std::string text;
                    for (int i = 0; i < 100; ++i)
                      text += "{\"a\":";
                    return text;
                  }(),
                  "nested deeper than 32 levels"},
        Malformed{"twice", "{\"a\":1,\"a\":2}", "key \"a\" appears twice"},
        Malformed{"escape", "{\"\\u001b\":1,\"\\u001b\":2}", "key \"\\x1b\" appears twice"}),
    [](const auto &info) { return std::string(info.param.name); });

TEST(Config, LongNamesAreCut) {
  Session session;
  std::string key(5000, 'k');
  EXPECT_TRUE(failed(parse(session, "{\"" + key + "\":1,\"" + key + "\":1}")));
  session.expectError({"kkk...\" appears twice"});
  EXPECT_LT(session.errors[0].size(), 400u);
}

TEST(Config, EveryTruncationIsRejected) {
  std::string text = editConfig("tiny");
  while (!text.empty() && text.back() != '}')
    text.pop_back();
  for (size_t size = 0; size < text.size(); ++size) {
    Session session;
    EXPECT_TRUE(failed(parse(session, text.substr(0, size)))) << size;
    EXPECT_EQ(session.errors.size(), 1u);
  }
}

TEST(Config, Files) {
  Session session;
  TempDir dir;
  EXPECT_TRUE(failed(readConfig(&session.context, dir.str())));
  session.expectError({dir.file("config.json"), "cannot be read"});

  Session second;
  ASSERT_FALSE(llvm::sys::fs::create_directory(dir.file("config.json")));
  EXPECT_TRUE(failed(readConfig(&second.context, dir.str())));
  second.expectError({"is not a regular file"});

  Session third;
  TempDir large;
  large.write("config.json", std::string(2 << 20, ' '));
  EXPECT_TRUE(failed(readConfig(&third.context, large.str())));
  third.expectError({"has 2097152 bytes; at most 1048576 are read"});

  Session fourth;
  TempDir good;
  good.write("config.json", editConfig("tiny"));
  EXPECT_TRUE(succeeded(readConfig(&fourth.context, good.str())));
}

} // namespace
