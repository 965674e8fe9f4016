// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The model stage: what every module promises to the passes behind it, for all golden checkpoints and the releases.

#include "TestSupport.h"
#include "dialects/V4.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include <chrono>

using namespace mlir;
using namespace mlir::v4;
using namespace mlir::v4::test;

namespace {

FailureOr<OwningOpRef<ModuleOp>> importGolden(Session &session, StringRef name, const ImportOptions &options) {
  std::string directory = goldenCheckpoint(name);
  FailureOr<Config> config = readConfig(&session.context, directory);
  FailureOr<std::unique_ptr<Checkpoint>> checkpoint = readCheckpoint(&session.context, directory);
  if (failed(config) || failed(checkpoint))
    return failure();
  return importModel(&session.context, *config, checkpoint->get(), options);
}

FailureOr<OwningOpRef<ModuleOp>> importConfig(Session &session, StringRef name, const ImportOptions &options,
                                              ArrayRef<std::pair<StringRef, StringRef>> edits = {}) {
  FailureOr<Config> config = parseConfig(&session.context, editConfig(name, edits), "config.json");
  if (failed(config))
    return failure();
  return importModel(&session.context, *config, nullptr, options);
}

std::string print(ModuleOp module) {
  std::string text;
  llvm::raw_string_ostream os(text);
  module.print(os);
  return text;
}

SmallVector<std::string> publicNames(ModuleOp module) {
  SmallVector<std::string> names;
  for (auto func : module.getOps<func::FuncOp>())
    if (func.isPublic())
      names.push_back(func.getName().str());
  return names;
}

SmallVector<std::string> privateNames(ModuleOp module) {
  SmallVector<std::string> names;
  for (auto func : module.getOps<func::FuncOp>())
    if (func.isPrivate())
      names.push_back(func.getName().str());
  return names;
}

/// Arguments in groups: inputs, weights, states; results: outputs, then the states in the order of the arguments.
void checkEntry(func::FuncOp func) {
  SCOPED_TRACE(func.getName().str());
  EXPECT_TRUE(func->hasAttr("v4.entry"));
  int64_t rows = func->getAttrOfType<IntegerAttr>("v4.rows").getInt();
  int group = 0;
  SmallVector<StateAttr> states;
  SmallVector<Type> stateTypes;
  llvm::StringSet<> names;
  for (unsigned i = 0; i < func.getNumArguments(); ++i) {
    EXPECT_FALSE(func.getArgument(i).use_empty()) << "argument " << i;
    auto input = func.getArgAttrOfType<StringAttr>(i, "v4.input");
    auto weight = func.getArgAttrOfType<WeightAttr>(i, "v4.weight");
    auto state = func.getArgAttrOfType<StateAttr>(i, "v4.state");
    ASSERT_EQ(!!input + !!weight + !!state, 1) << "argument " << i;
    int kind = input ? 0 : weight ? 1 : 2;
    EXPECT_GE(kind, group);
    group = kind;
    auto type = cast<RankedTensorType>(func.getArgumentTypes()[i]);
    if (input && input.getValue() != "span")
      EXPECT_EQ(type.getShape()[0], rows);
    if (weight) {
      EXPECT_EQ(type.getElementType(), weight.getDtype());
      std::string key = (weight.getTensor() + "+" + llvm::Twine(weight.getOffset())).str();
      EXPECT_TRUE(names.insert(key).second) << key;
    }
    if (state) {
      EXPECT_TRUE(names.insert(state.getName()).second);
      EXPECT_TRUE(type.getElementType().isF32());
      states.push_back(state);
      stateTypes.push_back(type);
    }
  }
  unsigned outputs = func.getNumResults() - states.size();
  for (unsigned i = 0; i < outputs; ++i)
    EXPECT_TRUE(func.getResultAttrOfType<StringAttr>(i, "v4.output"));
  for (unsigned i = 0; i < states.size(); ++i) {
    EXPECT_EQ(func.getResultAttrOfType<StateAttr>(outputs + i, "v4.state"), states[i]);
    EXPECT_EQ(func.getResultTypes()[outputs + i], stateTypes[i]);
  }
}

void checkModule(ModuleOp module) {
  EXPECT_TRUE(succeeded(verify(module)));
  llvm::StringMap<unsigned> calls;
  for (auto func : module.getOps<func::FuncOp>()) {
    if (func.isPublic())
      checkEntry(func);
    llvm::StringSet<> names;
    bool several = func.getName().contains("prefill") && !func.getName().ends_with("_1");
    func.walk([&](Operation *op) {
      if (isa<V4Dialect>(op->getDialect())) {
        auto name = op->getAttrOfType<StringAttr>("v4.name");
        ASSERT_TRUE(name) << op->getName().getStringRef().str();
        EXPECT_TRUE(names.insert(name.getValue()).second) << name.str();
      }
      // The old window is read from the argument, before the append replaces it.
      if (auto context = dyn_cast<WindowContextOp>(op))
        EXPECT_TRUE(isa<BlockArgument>(context.getRing()));
      if (auto core = dyn_cast<SparseAttentionOp>(op))
        EXPECT_EQ(!!core.getWindow().getDefiningOp<WindowContextOp>(), several);
      if (auto call = dyn_cast<func::CallOp>(op)) {
        EXPECT_TRUE(call->getAttrOfType<StringAttr>("v4.path"));
        ++calls[call.getCallee()];
      }
    });
  }
  for (const std::string &name : privateNames(module))
    EXPECT_GT(calls.lookup(name), 0u) << name;
}

struct GoldenCase {
  StringRef name;
  bool mtp;
  SmallVector<std::string> bodies; // of decode
};

class Golden : public testing::TestWithParam<GoldenCase> {};

TEST_P(Golden, Imports) {
  const GoldenCase &param = GetParam();
  for (bool all : {false, true}) {
    Session session;
    ImportOptions options;
    options.maxContext = 1024;
    options.prefill = {128, 16, 16, 1};
    options.logitsAll = all;
    options.mtp = param.mtp;
    FailureOr<OwningOpRef<ModuleOp>> module = importGolden(session, param.name, options);
    ASSERT_TRUE(succeeded(module)) << session.allErrors();
    checkModule(**module);
    SmallVector<std::string> expected;
    for (StringRef rows : {"decode", "prefill_1", "prefill_16", "prefill_128"}) {
      expected.push_back(rows.str());
      if (param.mtp)
        expected.push_back("mtp_" + rows.str());
    }
    EXPECT_EQ(publicNames(**module), expected);
    auto entry = (*module)->lookupSymbol<func::FuncOp>("prefill_16");
    auto logits = cast<RankedTensorType>(entry.getResultTypes()[0]);
    EXPECT_EQ(logits.getShape()[0], all ? 16 : 1);
    EXPECT_EQ(entry.getResultAttrOfType<StringAttr>(0, "v4.output"), "logits");
    if (param.mtp)
      EXPECT_EQ(entry.getResultAttrOfType<StringAttr>(1, "v4.output"), "hidden");

    SmallVector<std::string> bodies;
    for (const std::string &name : privateNames(**module))
      if (StringRef(name).consume_back("_decode"))
        bodies.push_back(name.substr(0, name.size() - strlen("_decode")));
    SmallVector<std::string> wanted = param.bodies;
    if (param.mtp && !llvm::is_contained(wanted, "swa_scored"))
      wanted.push_back("swa_scored");
    EXPECT_EQ(bodies, wanted);

    // The printed form is the stage file: it must read back as the same module.
    std::string text = print(**module);
    OwningOpRef<ModuleOp> again = parseSourceString<ModuleOp>(text, &session.context);
    ASSERT_TRUE(again) << session.allErrors();
    EXPECT_EQ(print(*again), text);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, Golden,
    testing::Values(GoldenCase{"tiny-bf16", true, {"swa_hash", "csa_hash", "hca_scored", "csa_scored"}},
                    GoldenCase{"tiny-hf", false, {"swa_hash", "csa_hash", "hca_scored", "csa_scored"}},
                    GoldenCase{"odd-sizes", true, {"csa_hash", "swa_scored", "hca_scored", "csa_scored"}},
                    GoldenCase{"quantised", true, {"swa_hash", "csa_hash", "hca_scored", "csa_scored"}},
                    GoldenCase{"base-fp8", false, {"swa_hash", "csa_scored", "hca_scored"}},
                    GoldenCase{"layer-swa", false, {"swa_scored"}}, GoldenCase{"layer-csa", false, {"csa_scored"}},
                    GoldenCase{"layer-hca", false, {"hca_scored"}},
                    GoldenCase{"far", false, {"swa_hash", "csa_scored", "hca_scored"}}),
    [](const auto &info) {
      std::string name = info.param.name.str();
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

TEST(Import, ModelAttributes) {
  Session session;
  ImportOptions options;
  options.maxContext = 64;
  options.mtp = true;
  FailureOr<OwningOpRef<ModuleOp>> module = importGolden(session, "tiny-bf16", options);
  ASSERT_TRUE(succeeded(module)) << session.allErrors();
  auto model = (**module)->getAttrOfType<DictionaryAttr>("v4.model");
  EXPECT_EQ(model.getAs<StringAttr>("model_type"), "deepseek_v4");
  auto integer = [&](StringRef name) { return model.getAs<IntegerAttr>(name).getInt(); };
  EXPECT_EQ(integer("vocab_size"), 256);
  EXPECT_EQ(integer("hidden_size"), 64);
  EXPECT_EQ(integer("streams"), 4);
  EXPECT_EQ(integer("layers"), 6);
  EXPECT_EQ(integer("max_context"), 64);
  EXPECT_EQ(integer("eos_token"), 1);
  EXPECT_FALSE(model.getAs<BoolAttr>("logits_all").getValue());
  EXPECT_TRUE(model.getAs<BoolAttr>("mtp").getValue());
  for (Attribute prefix : (**module)->getAttrOfType<ArrayAttr>("v4.ignored"))
    EXPECT_TRUE(cast<StringAttr>(prefix).getValue().ends_with("."));
}

TEST(Import, States) {
  Session session;
  ImportOptions options;
  options.maxContext = 100;
  FailureOr<OwningOpRef<ModuleOp>> module = importGolden(session, "tiny-bf16", options);
  ASSERT_TRUE(succeeded(module));
  auto entry = (*module)->lookupSymbol<func::FuncOp>("decode");
  llvm::StringMap<std::pair<StateAttr, RankedTensorType>> states;
  for (unsigned i = 0; i < entry.getNumArguments(); ++i)
    if (auto state = entry.getArgAttrOfType<StateAttr>(i, "v4.state"))
      states[state.getName()] = {state, cast<RankedTensorType>(entry.getArgumentTypes()[i])};
  EXPECT_EQ(states.size(), 2 * 1u + 2 * 7 + 2 * 4);
  auto expect = [&](StringRef name, StateKind kind, int64_t ratio, bool overlap, ArrayRef<int64_t> shape) {
    ASSERT_TRUE(states.contains(name)) << name.str();
    auto [attr, type] = states[name];
    EXPECT_EQ(attr.getKind(), kind) << name.str();
    EXPECT_EQ(attr.getRatio(), ratio) << name.str();
    EXPECT_EQ(attr.getOverlap(), overlap) << name.str();
    EXPECT_EQ(type.getShape(), shape) << name.str();
  };
  expect("layers.0.attn.window", StateKind::window, 0, false, {8, 72});
  expect("layers.2.attn.compressed", StateKind::entries, 4, false, {25, 72});
  expect("layers.2.attn.index_keys", StateKind::entries, 4, false, {25, 32});
  expect("layers.2.attn.compressor.kv_rows", StateKind::kv_rows, 4, true, {8, 144});
  expect("layers.2.attn.compressor.score_rows", StateKind::score_rows, 4, true, {8, 144});
  expect("layers.2.attn.indexer.compressor.kv_rows", StateKind::kv_rows, 4, true, {8, 64});
  expect("layers.2.attn.indexer.compressor.score_rows", StateKind::score_rows, 4, true, {8, 64});
  expect("layers.3.attn.compressed", StateKind::entries, 16, false, {6, 72});
  expect("layers.3.attn.compressor.kv_rows", StateKind::kv_rows, 16, false, {16, 72});
}

TEST(Import, ContextShorterThanABlock) {
  Session session;
  ImportOptions options;
  options.maxContext = 3;
  FailureOr<OwningOpRef<ModuleOp>> module = importGolden(session, "tiny-bf16", options);
  ASSERT_TRUE(succeeded(module)) << session.allErrors();
  checkModule(**module);
}

TEST(Import, TokensReachHashLayersOnly) {
  Session session;
  FailureOr<OwningOpRef<ModuleOp>> module = importGolden(session, "tiny-bf16", importOptions(1024, {16}));
  ASSERT_TRUE(succeeded(module));
  for (auto func : (**module).getOps<func::FuncOp>()) {
    unsigned hash = 0, scored = 0;
    func.walk([&](Operation *op) {
      hash += isa<RouteHashOp>(op);
      scored += isa<RouteOp>(op);
    });
    if (func.isPrivate()) {
      EXPECT_EQ(hash, func.getName().contains("hash") ? 1u : 0u);
      EXPECT_EQ(scored, func.getName().contains("scored") ? 1u : 0u);
    }
  }
}

TEST(Import, TablesAreMadeOncePerEntry) {
  Session session;
  FailureOr<OwningOpRef<ModuleOp>> module = importConfig(session, "flash", importOptions(4096, {16}));
  ASSERT_TRUE(succeeded(module));
  for (auto func : (**module).getOps<func::FuncOp>()) {
    unsigned tables = 0, positions = 0;
    func.walk([&](Operation *op) {
      tables += isa<RopeTableOp>(op);
      positions += isa<EntryPositionsOp>(op);
    });
    EXPECT_EQ(tables, func.isPublic() ? 4u : 0u) << func.getName().str();
    EXPECT_EQ(positions, func.isPublic() ? 2u : 0u);
  }
}

TEST(Import, Releases) {
  for (StringRef name : {"flash", "pro"}) {
    Session session;
    ImportOptions options;
    options.maxContext = 1048576;
    options.mtp = true;
    auto start = std::chrono::steady_clock::now();
    FailureOr<OwningOpRef<ModuleOp>> module = importConfig(session, name, options);
    std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    ASSERT_TRUE(succeeded(module)) << session.allErrors();
    checkModule(**module);
    // Four bodies and that of the MTP block, for each of three numbers of rows.
    EXPECT_EQ(privateNames(**module).size(), 15u);
    EXPECT_LT(elapsed.count(), 10.0);
    auto decode = (*module)->lookupSymbol<func::FuncOp>("decode");
    unsigned calls = 0;
    decode.walk([&](func::CallOp) { ++calls; });
    EXPECT_EQ(calls, name == "flash" ? 43u : 61u);
  }
}

TEST(Import, Deterministic) {
  std::string first;
  ImportOptions options = importOptions(1024, {16, 32});
  options.mtp = options.logitsAll = true;
  for (int i = 0; i < 2; ++i) {
    Session session;
    FailureOr<OwningOpRef<ModuleOp>> module = importGolden(session, "quantised", options);
    ASSERT_TRUE(succeeded(module));
    std::string text = print(**module);
    if (i == 1)
      EXPECT_EQ(text, first);
    first = text;
  }
}

TEST(Import, BodiesDifferByStorage) {
  Session session;
  FailureOr<Config> config = parseConfig(&session.context, editConfig("tiny"), "config.json");
  ASSERT_TRUE(succeeded(config));
  TempDir dir;
  std::vector<TestTensor> tensors = officialTensors(session, *config, false);
  findTensor(tensors, "layers.1.attn.wq_a.weight").dtype = "F32";
  writeShard(dir, "model.safetensors", tensors);
  auto checkpoint = readCheckpoint(&session.context, dir.str());
  ASSERT_TRUE(succeeded(checkpoint));
  FailureOr<OwningOpRef<ModuleOp>> module =
      importModel(&session.context, *config, checkpoint->get(), importOptions(1024, {}));
  ASSERT_TRUE(succeeded(module)) << session.allErrors();
  checkModule(**module);
  EXPECT_EQ(privateNames(**module), (SmallVector<std::string>{"swa_hash_decode", "swa_hash_decode_2", "csa_hash_decode",
                                                              "hca_scored_decode", "csa_scored_decode"}));
}

TEST(Import, WeightsOfFusedExperts) {
  Session session;
  FailureOr<OwningOpRef<ModuleOp>> module = importGolden(session, "tiny-hf", importOptions(1024, {}));
  ASSERT_TRUE(succeeded(module)) << session.allErrors();
  auto entry = (*module)->lookupSymbol<func::FuncOp>("decode");
  SmallVector<std::pair<int64_t, int64_t>> places;
  for (unsigned i = 0; i < entry.getNumArguments(); ++i) {
    auto weight = entry.getArgAttrOfType<WeightAttr>(i, "v4.weight");
    if (!weight || weight.getTensor() != "model.layers.0.mlp.experts.gate_up_proj")
      continue;
    EXPECT_EQ(weight.getShape(), ArrayRef<int64_t>({8, 64, 64}));
    EXPECT_TRUE(weight.isTable());
    EXPECT_EQ(cast<RankedTensorType>(entry.getArgumentTypes()[i]).getShape(), ArrayRef<int64_t>({8, 32, 64}));
    places.push_back({weight.getOffset(), weight.getStride()});
  }
  EXPECT_EQ(places, (SmallVector<std::pair<int64_t, int64_t>>{{0, 16384}, {8192, 16384}}));
}

TEST(Import, OneGroupPerHead) {
  Session session;
  FailureOr<OwningOpRef<ModuleOp>> module =
      importConfig(session, "tiny", importOptions(1024, {16}), {{"o_groups", "4"}});
  ASSERT_TRUE(succeeded(module)) << session.allErrors();
  checkModule(**module);
}

TEST(Import, NoYarn) {
  Session session;
  FailureOr<OwningOpRef<ModuleOp>> module =
      importConfig(session, "tiny", importOptions(1024, {}), {{"rope_scaling", "null"}});
  ASSERT_TRUE(succeeded(module));
  EXPECT_EQ(print(**module).find("yarn"), std::string::npos);
}

TEST(Import, Float32FromConfigAlone) {
  Session session;
  FailureOr<OwningOpRef<ModuleOp>> module =
      importConfig(session, "tiny", importOptions(1024, {}), {{"torch_dtype", "\"float32\""}});
  ASSERT_TRUE(succeeded(module));
  EXPECT_EQ(print(**module).find("bf16"), std::string::npos);
}

TEST(Import, BaseFormatFromConfigAlone) {
  Session session;
  FailureOr<OwningOpRef<ModuleOp>> module =
      importConfig(session, "flash", importOptions(1024, {}), {{"expert_dtype", "\"fp8\""}});
  ASSERT_TRUE(succeeded(module)) << session.allErrors();
  EXPECT_NE(print(**module).find("#v4.weight<\"layers.0.ffn.experts.{e}.w1.scale\", f8E8M0FNU, [16, 32]>"),
            std::string::npos);
}

TEST(Import, Layers) {
  struct LayerCase {
    StringRef option, function;
  } cases[] = {{"swa", "swa_hash_decode"}, {"csa-scored", "csa_scored_decode"},
               {"csa", "csa_hash_decode"}, {"hca-scored", "hca_scored_decode"},
               {"head", "head_decode"},    {"mtp", "mtp_decode"}};
  for (auto [option, function] : cases) {
    Session session;
    ImportOptions options;
    options.maxContext = 64;
    options.prefill = {16};
    options.layer = option.str();
    FailureOr<OwningOpRef<ModuleOp>> module = importConfig(session, "tiny", options);
    ASSERT_TRUE(succeeded(module)) << session.allErrors();
    EXPECT_TRUE(succeeded(verify(**module)));
    EXPECT_EQ(publicNames(**module).size(), 2u);
    EXPECT_EQ(publicNames(**module)[0], function);
    EXPECT_TRUE(privateNames(**module).empty());
    auto func = (*module)->lookupSymbol<func::FuncOp>(function);
    EXPECT_EQ(func.getResultAttrOfType<StringAttr>(0, "v4.output"),
              option == "head" || option == "mtp" ? "logits" : "hidden");
  }
}

TEST(Import, UnknownLayer) {
  Session session;
  ImportOptions options;
  options.maxContext = 64;
  for (StringRef name : {"hca-hash", "moe", "swa-"}) {
    options.layer = name.str();
    EXPECT_EQ(failed(importConfig(session, "tiny", options)), name != "swa-");
  }
  ASSERT_EQ(session.errors.size(), 2u);
  EXPECT_NE(
      session.errors[0].find("no layer 'hca-hash'; it has swa-hash, csa-hash, hca-scored, csa-scored, mtp and head"),
      std::string::npos)
      << session.errors[0];
}

TEST(Import, Limits) {
  for (int64_t context : {int64_t(0), int64_t(-1), int64_t(1) << 22}) {
    Session session;
    EXPECT_TRUE(failed(importConfig(session, "tiny", importOptions(context, {16}))));
    session.expectError({"a maximum context of", "accepted: 1 to 2097152"});
  }
  for (int64_t rows : {int64_t(0), int64_t(1) << 21}) {
    Session session;
    EXPECT_TRUE(failed(importConfig(session, "tiny", importOptions(1024, {rows}))));
    session.expectError({"a prefill bucket of", "accepted: 1 to 1048576"});
  }
}

TEST(Import, DrafterIsANote) {
  Session session;
  FailureOr<Config> config = parseConfig(&session.context, editConfig("tiny"), "config.json");
  TempDir dir;
  std::vector<TestTensor> tensors = officialTensors(session, *config, false);
  tensors.push_back({"mtp.0.main_proj.weight", "BF16", {64, 192}});
  writeShard(dir, "model.safetensors", tensors);
  auto checkpoint = readCheckpoint(&session.context, dir.str());
  ASSERT_TRUE(succeeded(checkpoint));
  EXPECT_TRUE(succeeded(importModel(&session.context, *config, checkpoint->get(), importOptions(1024, {}))));
  ASSERT_EQ(session.remarks.size(), 1u);
  EXPECT_NE(session.remarks[0].find("DSpark drafter, which is left out"), std::string::npos);
}

TEST(Import, MtpAnnouncedButAbsent) {
  Session session;
  ImportOptions options;
  options.maxContext = 1024;
  options.mtp = true;
  EXPECT_TRUE(failed(importGolden(session, "tiny-hf", options)));
  session.expectError({"53 tensors are missing: \"mtp.0.attn.attn_sink\"", "compile without --mtp"});
}

} // namespace
