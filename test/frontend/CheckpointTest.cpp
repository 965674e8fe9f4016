// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Headers, index and directory of a checkpoint, and its agreement with the configuration: one test per diagnostic.

#include "TestSupport.h"
#include "frontend/Files.h"

using namespace mlir;
using namespace mlir::v4;
using namespace mlir::v4::test;

namespace {

//===----------------------------------------------------------------------===//
// Headers
//===----------------------------------------------------------------------===//

LogicalResult parse(Session &session, StringRef header, uint64_t payload, Checkpoint &checkpoint) {
  checkpoint.files = {"a.safetensors"};
  return parseHeader(&session.context, header, payload, "a.safetensors", 0, checkpoint);
}

TEST(Header, Good) {
  Session session;
  Checkpoint checkpoint;
  StringRef header = R"({"__metadata__":{"format":"pt"},"b":{"shape":[],"dtype":"F32","data_offsets":[6,10]},)"
                     R"("a":{"dtype":"BF16","shape":[1,3],"data_offsets":[0,6]},)"
                     R"("empty":{"dtype":"I64","shape":[0,4],"data_offsets":[10,10]},)"
                     R"("half":{"dtype":"F4","shape":[4],"data_offsets":[10,12]}}   )";
  ASSERT_TRUE(succeeded(parse(session, header, 12, checkpoint))) << session.allErrors();
  ASSERT_EQ(checkpoint.tensors.size(), 4u);
  EXPECT_EQ(checkpoint.find("a")->dtype, DType::BF16);
  EXPECT_EQ(ArrayRef(checkpoint.find("a")->shape), ArrayRef<int64_t>({1, 3}));
  EXPECT_TRUE(checkpoint.find("b")->shape.empty());
  EXPECT_EQ(checkpoint.find("c"), nullptr);
}

struct BadHeader {
  const char *name;
  std::string text;
  uint64_t payload;
  StringRef message;
};

class HeaderRejects : public testing::TestWithParam<BadHeader> {};

TEST_P(HeaderRejects, Text) {
  Session session;
  Checkpoint checkpoint;
  EXPECT_TRUE(failed(parse(session, GetParam().text, GetParam().payload, checkpoint)));
  session.expectError({"a.safetensors'", GetParam().message});
}

std::string tensor(StringRef body) {
  return ("{\"t\":" + body + "}").str();
}

INSTANTIATE_TEST_SUITE_P(
    Texts, HeaderRejects,
    testing::Values(
        BadHeader{"empty", "", 0, "must start with '{'"}, BadHeader{"array", "[]", 0, "must start with '{'"},
        BadHeader{"space", " {}", 0, "must start with '{'"},
        BadHeader{"mark", "\xEF\xBB\xBF{}", 0, "must start with '{'"},
        BadHeader{"syntax", "{\"t\"", 0, "header, byte 12: "}, BadHeader{"behind", "{}{}", 0, "header, byte"},
        BadHeader{"deep", "{\"t\":" + std::string(100000, '['), 0, "expected an object, found an array"},
        BadHeader{"nul", "{\"a\\u0000b\":{}}", 0, "NUL"},
        BadHeader{"noname", "{\"\":{}}", 0, "a tensor name must have 1 to 512 bytes"},
        BadHeader{"longname", "{\"" + std::string(600, 'x') + "\":{}}", 0, "a tensor name must have 1 to 512 bytes"},
        BadHeader{"number", tensor("3"), 0, "tensor \"t\": expected an object, found a number"},
        BadHeader{"null", tensor("null"), 0, "expected an object, found null"},
        BadHeader{"incomplete", tensor("{}"), 0, "needs \"dtype\", \"shape\" and two \"data_offsets\""},
        BadHeader{"nodtype", tensor(R"({"shape":[],"data_offsets":[0,4]})"), 4, "needs \"dtype\""},
        BadHeader{"oneoffset", tensor(R"({"dtype":"F32","shape":[],"data_offsets":[0]})"), 4, "two \"data_offsets\""},
        BadHeader{"threeoffsets", tensor(R"({"dtype":"F32","shape":[],"data_offsets":[0,4,8]})"), 4,
                  "\"data_offsets\" must have two numbers"},
        BadHeader{"unknownkey", tensor(R"({"dtype":"F32","strides":[]})"), 4, "unknown key \"strides\""},
        BadHeader{"twokeys", tensor(R"({"dtype":"F32","dtype":"F32"})"), 4, "\"dtype\" appears twice"},
        BadHeader{"twoshapes", tensor(R"({"shape":[],"shape":[]})"), 4, "\"shape\" appears twice"},
        BadHeader{"twooffsets", tensor(R"({"data_offsets":[0,4],"data_offsets":[0,4]})"), 4,
                  "\"data_offsets\" appears twice"},
        BadHeader{"dtype", tensor(R"({"dtype":"F31"})"), 4, "unknown dtype \"F31\""},
        BadHeader{"dtypecase", tensor(R"({"dtype":"bf16"})"), 4, "unknown dtype \"bf16\""},
        BadHeader{"dtypenumber", tensor(R"({"dtype":4})"), 4, "\"dtype\" must be a string, found a number"},
        BadHeader{"shapestring", tensor(R"({"shape":"x"})"), 4,
                  "\"shape\" must be an array of integers, found a string"},
        BadHeader{"shapebool", tensor(R"({"shape":[true]})"), 4,
                  "\"shape\" must be an array of integers, found a boolean"},
        BadHeader{"shapenested", tensor(R"({"shape":[[1]]})"), 4, "found an array"},
        BadHeader{"offsetobject", tensor(R"({"data_offsets":{}})"), 4, "found an object"},
        BadHeader{"negative", tensor(R"({"shape":[-1]})"), 4, "\"shape\" holds a number that is not an integer from 0"},
        BadHeader{"fraction", tensor(R"({"shape":[1.5]})"), 4, "not an integer from 0"},
        BadHeader{"large", tensor(R"({"shape":[18446744073709551615]})"), 4, "not an integer from 0"},
        BadHeader{"larger", tensor(R"({"data_offsets":[18446744073709551616]})"), 4, "not an integer from 0"},
        BadHeader{"rank", tensor(R"({"shape":[1,1,1,1,1,1,1,1,1]})"), 4, "more than 8 dimensions"},
        BadHeader{"product", tensor(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]})"), 0,
                  "does not fit into 64 bits"},
        BadHeader{"productzero", tensor(R"({"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0]})"), 0,
                  "does not fit into 64 bits"},
        BadHeader{"bits", tensor(R"({"dtype":"F4","shape":[3],"data_offsets":[0,2]})"), 2, "does not fill whole bytes"},
        BadHeader{"reversed", tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})"), 4,
                  "\"data_offsets\" end before they begin"},
        BadHeader{"size", tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})"), 4,
                  "F32 [2] needs 8 bytes, \"data_offsets\" give it 4"},
        BadHeader{"twice",
                  R"({"t":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},)"
                  R"("t":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}})",
                  2, "tensor \"t\": appears twice"},
        BadHeader{"overlap",
                  R"({"t":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},)"
                  R"("u":{"dtype":"I8","shape":[2],"data_offsets":[1,3]}})",
                  3, "the bytes of tensors \"t\" and \"u\" overlap"},
        BadHeader{"samerange",
                  R"({"t":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},)"
                  R"("u":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}})",
                  2, "overlap"},
        BadHeader{"gap",
                  R"({"t":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},)"
                  R"("u":{"dtype":"I8","shape":[2],"data_offsets":[3,5]}})",
                  5, "bytes 2 to 3 of the payload belong to no tensor"},
        BadHeader{"start", tensor(R"({"dtype":"I8","shape":[2],"data_offsets":[1,3]})"), 3,
                  "bytes 0 to 1 of the payload belong to no tensor"},
        BadHeader{"truncated", tensor(R"({"dtype":"I8","shape":[4],"data_offsets":[0,4]})"), 3,
                  "is truncated: its tensors need 4 bytes, the payload has 3"},
        BadHeader{"grown", tensor(R"({"dtype":"I8","shape":[4],"data_offsets":[0,4]})"), 5,
                  "has 1 bytes behind its last tensor"},
        BadHeader{"metadatatwice", R"({"__metadata__":{},"__metadata__":{}})", 0, "\"__metadata__\" appears twice"},
        BadHeader{"metadatavalue", R"({"__metadata__":{"a":1}})", 0, "must map strings to strings, found a number"},
        BadHeader{"metadataarray", R"({"__metadata__":[]})", 0, "must map strings to strings, found an array"},
        BadHeader{"metadatasize", "{\"__metadata__\":{\"a\":\"" + std::string(2 << 20, 'x') + "\"}}", 0,
                  "\"__metadata__\" has more than 1 MiB"}),
    [](const auto &info) { return std::string(info.param.name); });

TEST(Header, EveryTruncationIsRejected) {
  std::string text = headerText({{"a", "F32", {2}}, {"b", "BF16", {1, 2}}});
  for (size_t size = 0; size < text.size(); ++size) {
    Session session;
    Checkpoint checkpoint;
    EXPECT_TRUE(failed(parse(session, StringRef(text).take_front(size), 12, checkpoint))) << size;
    EXPECT_EQ(session.errors.size(), 1u);
  }
}

TEST(Header, DTypes) {
  EXPECT_EQ(dtypeName(DType::F8E8M0), "F8_E8M0");
  EXPECT_EQ(dtypeName(DType::U64), "U64");
  EXPECT_EQ(dtypeBits(DType::F6E2M3), 6u);
  EXPECT_EQ(dtypeBits(DType::BF16), 16u);
  EXPECT_EQ(describeTensor(DType::I64, {2, 3}), "I64 [2, 3]");
}

//===----------------------------------------------------------------------===//
// Index
//===----------------------------------------------------------------------===//

struct BadIndex {
  const char *name;
  StringRef text, message;
};

class IndexRejects : public testing::TestWithParam<BadIndex> {};

TEST_P(IndexRejects, Text) {
  Session session;
  llvm::StringMap<unsigned> map;
  std::vector<std::string> files;
  EXPECT_TRUE(failed(parseIndex(&session.context, GetParam().text, "index.json", map, files)));
  session.expectError({"index.json", "not a valid index: ", GetParam().message});
}

INSTANTIATE_TEST_SUITE_P(
    Texts, IndexRejects,
    testing::Values(
        BadIndex{"empty", "", "the file is empty"}, BadIndex{"syntax", "{\"weight_map\":{", "unexpected end"},
        BadIndex{"missing", "{\"metadata\":{}}", "\"weight_map\" is missing"},
        BadIndex{"twomaps", "{\"weight_map\":{},\"weight_map\":{}}", "\"weight_map\" appears twice"},
        BadIndex{"array", "{\"weight_map\":[]}", "\"weight_map\" must be an object, found an array"},
        BadIndex{"null", "{\"weight_map\":null}", "\"weight_map\" must be an object, found null"},
        BadIndex{"number", "{\"weight_map\":{\"a\":1}}", "tensor \"a\": expected a file name, found a number"},
        BadIndex{"boolean", "{\"weight_map\":{\"a\":true}}", "expected a file name, found a boolean"},
        BadIndex{"object", "{\"weight_map\":{\"a\":{}}}", "expected a file name, found an object"},
        BadIndex{"nested", "{\"weight_map\":{\"a\":[]}}", "expected a file name, found an array"},
        BadIndex{"string", "{\"weight_map\":\"x\"}", "\"weight_map\" must be an object, found a string"},
        BadIndex{"twice", R"({"weight_map":{"a":"x.safetensors","a":"x.safetensors"}})", "tensor \"a\" appears twice"},
        BadIndex{"parent", R"({"weight_map":{"a":"../x.safetensors"}})", "is not the name of a safetensors file"},
        BadIndex{"absolute", R"({"weight_map":{"a":"/x.safetensors"}})", "is not the name of a safetensors file"},
        BadIndex{"backslash", R"({"weight_map":{"a":"b\\x.safetensors"}})", "is not the name of a safetensors file"},
        BadIndex{"suffix", R"({"weight_map":{"a":"x.bin"}})", "is not the name of a safetensors file"},
        BadIndex{"noname", R"({"weight_map":{"a":""}})", "is not the name of a safetensors file"}),
    [](const auto &info) { return std::string(info.param.name); });

TEST(Index, Good) {
  Session session;
  llvm::StringMap<unsigned> map;
  std::vector<std::string> files;
  ASSERT_TRUE(succeeded(parseIndex(
      &session.context,
      R"({"metadata":{"total_size":12,"x":[null,true,{"weight_map":1}]},"note":"n","weight_map":{"a":"1.safetensors",)"
      R"("b":"2.safetensors","c":"1.safetensors"},"z":[{}]})",
      "index.json", map, files)))
      << session.allErrors();
  EXPECT_EQ(files, (std::vector<std::string>{"1.safetensors", "2.safetensors"}));
  EXPECT_EQ(map.lookup("c"), 0u);
  EXPECT_EQ(map.lookup("b"), 1u);
}

TEST(Index, LongName) {
  Session session;
  llvm::StringMap<unsigned> map;
  std::vector<std::string> files;
  std::string text = "{\"weight_map\":{\"" + std::string(600, 'x') + "\":\"a.safetensors\"}}";
  EXPECT_TRUE(failed(parseIndex(&session.context, text, "index.json", map, files)));
  session.expectError({"a tensor name must have 1 to 512 bytes"});
}

//===----------------------------------------------------------------------===//
// Directories
//===----------------------------------------------------------------------===//

std::string indexText(ArrayRef<std::pair<std::string, std::string>> entries) {
  std::string text;
  for (const auto &[name, file] : entries)
    text += (text.empty() ? "" : ",") + ("\"" + name + "\":\"" + file + "\"");
  return "{\"weight_map\":{" + text + "}}";
}

constexpr const char *indexFile = "model.safetensors.index.json";

/// Two shards with an index; `check` spoils something first.
void expectDirectoryError(llvm::function_ref<void(const TempDir &)> spoil, ArrayRef<StringRef> messages) {
  TempDir dir;
  writeShard(dir, "1.safetensors", {{"a", "F32", {4}}, {"b", "F32", {2}}});
  writeShard(dir, "2.safetensors", {{"c", "BF16", {4}}});
  dir.write(indexFile, indexText({{"a", "1.safetensors"}, {"b", "1.safetensors"}, {"c", "2.safetensors"}}));
  Session before;
  EXPECT_TRUE(succeeded(readCheckpoint(&before.context, dir.str()))) << before.allErrors();
  spoil(dir);
  Session session;
  EXPECT_TRUE(failed(readCheckpoint(&session.context, dir.str())));
  session.expectError(messages);
}

TEST(Directory, ConfigOnly) {
  Session session;
  TempDir dir;
  dir.write("config.json", "{}");
  FailureOr<std::unique_ptr<Checkpoint>> checkpoint = readCheckpoint(&session.context, dir.str());
  ASSERT_TRUE(succeeded(checkpoint));
  EXPECT_EQ(checkpoint->get(), nullptr);
}

TEST(Directory, Absent) {
  Session session;
  EXPECT_TRUE(failed(readCheckpoint(&session.context, "/nowhere/at/all")));
  session.expectError({"'/nowhere/at/all' cannot be listed"});
}

TEST(Directory, OneFileWithoutIndex) {
  Session session;
  TempDir dir;
  writeShard(dir, "model.safetensors", {{"a", "F32", {4}}});
  FailureOr<std::unique_ptr<Checkpoint>> checkpoint = readCheckpoint(&session.context, dir.str());
  ASSERT_TRUE(succeeded(checkpoint)) << session.allErrors();
  EXPECT_EQ((*checkpoint)->pathOf(*(*checkpoint)->find("a")), dir.file("model.safetensors"));
}

TEST(Directory, TwoFilesWithoutIndex) {
  expectDirectoryError([](const TempDir &dir) { (void)llvm::sys::fs::remove(dir.file(indexFile)); },
                       {indexFile, "is missing although the directory has 2 safetensors files"});
}

TEST(Directory, MissingShard) {
  expectDirectoryError([](const TempDir &dir) { (void)llvm::sys::fs::remove(dir.file("2.safetensors")); },
                       {indexFile, "names the file \"2.safetensors\", which is not in the directory"});
}

TEST(Directory, ExtraShard) {
  expectDirectoryError(
      [](const TempDir &dir) {
        writeShard(dir, "3.safetensors", {{"d", "F32", {1}}});
      },
      {"3.safetensors'", "is not named by model.safetensors.index.json"});
}

TEST(Directory, SwappedShards) {
  expectDirectoryError(
      [](const TempDir &dir) {
        dir.write(indexFile, indexText({{"a", "2.safetensors"}, {"b", "2.safetensors"}, {"c", "1.safetensors"}}));
      },
      {indexFile, "names the wrong file for \"a\", \"b\", \"c\""});
}

TEST(Directory, UnlistedTensor) {
  expectDirectoryError(
      [](const TempDir &dir) {
        dir.write(indexFile, indexText({{"a", "1.safetensors"}, {"c", "2.safetensors"}}));
      },
      {indexFile, "does not list tensors that its files hold: \"b\""});
}

TEST(Directory, ListedButAbsent) {
  expectDirectoryError(
      [](const TempDir &dir) {
        std::vector<std::pair<std::string, std::string>> entries{
            {"a", "1.safetensors"}, {"b", "1.safetensors"}, {"c", "2.safetensors"}};
        for (char x = '0'; x < '9'; ++x)
          entries.push_back({std::string("x") + x, "1.safetensors"});
        dir.write(indexFile, indexText(entries));
      },
      {indexFile, "lists tensors that its files do not hold: \"x0\"", "\"x4\" and 4 more"});
}

TEST(Directory, SameTensorInTwoShards) {
  expectDirectoryError(
      [](const TempDir &dir) {
        writeShard(dir, "2.safetensors", {{"a", "F32", {4}}});
      },
      {"2.safetensors'", "tensor \"a\": is also in \"1.safetensors\""});
}

TEST(Directory, BrokenIndex) {
  expectDirectoryError([](const TempDir &dir) { dir.write(indexFile, "{\n\"weight_map\":\n7}"); },
                       {"index.json:3:", "\"weight_map\" must be an object"});
}

TEST(Directory, IndexIsADirectory) {
  expectDirectoryError(
      [](const TempDir &dir) {
        (void)llvm::sys::fs::remove(dir.file(indexFile));
        (void)llvm::sys::fs::create_directory(dir.file(indexFile));
      },
      {indexFile, "is not a regular file"});
}

TEST(Directory, ShardIsADirectory) {
  expectDirectoryError(
      [](const TempDir &dir) {
        (void)llvm::sys::fs::remove(dir.file("2.safetensors"));
        (void)llvm::sys::fs::create_directory(dir.file("2.safetensors"));
      },
      {"2.safetensors'", "is not a regular file"});
}

TEST(Directory, ShardIsADanglingLink) {
  expectDirectoryError(
      [](const TempDir &dir) {
        (void)llvm::sys::fs::remove(dir.file("2.safetensors"));
        (void)llvm::sys::fs::create_link("nothing", dir.file("2.safetensors"));
      },
      {"2.safetensors'", "cannot be read"});
}

TEST(Directory, EveryTruncationOfAShard) {
  TempDir dir;
  writeShard(dir, "1.safetensors", {{"c", "BF16", {4}}});
  std::string whole = readText(dir.file("1.safetensors"));
  for (size_t size = 0; size < whole.size(); ++size) {
    dir.write("1.safetensors", StringRef(whole).take_front(size));
    Session session;
    EXPECT_TRUE(failed(readCheckpoint(&session.context, dir.str()))) << size;
    session.expectError({"1.safetensors'", "truncated"});
  }
}

TEST(Directory, HeaderLengths) {
  for (uint64_t length : {uint64_t(0), uint64_t(1), uint64_t(1) << 31, uint64_t(1) << 63, ~uint64_t(0)}) {
    TempDir dir;
    std::string text = withLength("{}        ");
    llvm::support::endian::write64le(text.data(), length);
    dir.write("1.safetensors", text);
    Session session;
    EXPECT_TRUE(failed(readCheckpoint(&session.context, dir.str()))) << length;
    session.expectError({"1.safetensors'"});
  }
}

TEST(Directory, GrownShard) {
  expectDirectoryError(
      [](const TempDir &dir) { dir.write("2.safetensors", readText(dir.file("2.safetensors")) + "x"); },
      {"2.safetensors'", "has 1 bytes behind its last tensor"});
}

TEST(Files, ReadPastTheEnd) {
  Session session;
  TempDir dir;
  dir.write("f", "abc");
  FailureOr<InputFile> file = InputFile::open(&session.context, dir.file("f"));
  ASSERT_TRUE(succeeded(file));
  EXPECT_EQ(file->size(), 3u);
  EXPECT_TRUE(failed(file->read(&session.context, 0, 4)));
  session.expectError({"shrank while it was being read"});
}

//===----------------------------------------------------------------------===//
// Agreement with the configuration
//===----------------------------------------------------------------------===//

/// A checkpoint of a configuration's own tensors, with edits, and what resolving it says.
struct Case {
  Session session;
  TempDir dir;
  std::optional<Config> config;
  std::vector<TestTensor> tensors;

  explicit Case(ArrayRef<std::pair<StringRef, StringRef>> edits = {}, bool mtp = true) {
    FailureOr<Config> parsed = parseConfig(&session.context, editConfig("tiny", edits), "config.json");
    EXPECT_TRUE(succeeded(parsed)) << session.allErrors();
    config = *parsed;
    tensors = officialTensors(session, *config, mtp);
  }
  FailureOr<ModelParameters> resolve(bool mtp = false) {
    writeShard(dir, "model.safetensors", tensors);
    FailureOr<std::unique_ptr<Checkpoint>> checkpoint = readCheckpoint(&session.context, dir.str());
    EXPECT_TRUE(succeeded(checkpoint)) << session.allErrors();
    return resolveParameters(&session.context, *config, checkpoint->get(), mtp);
  }
  void expectFailure(ArrayRef<StringRef> messages, bool mtp = false) {
    EXPECT_TRUE(failed(resolve(mtp)));
    session.expectError(messages);
  }
};

constexpr std::pair<StringRef, StringRef> quantised[] = {
    {"quantization_config", "{\"quant_method\":\"fp8\"}"}, {"o_lora_rank", "128"}, {"expert_dtype", "\"fp4\""}};

TEST(Resolve, OwnTensors) {
  for (bool mtp : {false, true}) {
    Case test;
    FailureOr<ModelParameters> parameters = test.resolve(mtp);
    ASSERT_TRUE(succeeded(parameters)) << test.session.allErrors();
    EXPECT_EQ(parameters->list.size(), listParameters(*test.config, mtp).size());
    if (!mtp)
      EXPECT_EQ(parameters->ignored, std::vector<std::string>{"mtp."});
  }
}

TEST(Resolve, Quantised) {
  Case test(quantised);
  FailureOr<ModelParameters> parameters = test.resolve(/*mtp=*/true);
  ASSERT_TRUE(succeeded(parameters)) << test.session.allErrors();
  for (const Parameter &parameter : parameters->list)
    EXPECT_EQ(parameter.scale.has_value(),
              parameter.spec.role == ParameterRole::Linear || parameter.spec.role == ParameterRole::Expert)
        << parameter.spec.name;
}

TEST(Resolve, SpareEmbeddingOfTheMtpBlock) {
  Case test;
  test.tensors.push_back({"mtp.0.emb.tok_emb.weight", "BF16", {2, 2}});
  EXPECT_TRUE(succeeded(test.resolve(/*mtp=*/true))) << test.session.allErrors();
}

TEST(Resolve, MissingTensor) {
  Case test;
  eraseTensor(test.tensors, "layers.2.attn.wq_b.weight");
  test.expectFailure(
      {test.dir.str(), "1 tensor is missing: \"layers.2.attn.wq_b.weight\"; the checkpoint is incomplete"});
}

TEST(Resolve, MissingTensors) {
  Case test;
  llvm::erase_if(test.tensors,
                 [](const TestTensor &tensor) { return StringRef(tensor.name).starts_with("layers.5."); });
  test.expectFailure({"49 tensors are missing: \"layers.5.attn.attn_sink\"", "and 41 more"});
}

TEST(Resolve, HugeModels) {
  // Neither may take long or much memory: the file that asks for them is small.
  Case many({{"n_routed_experts", "16384"},
             {"num_experts_per_tok", "6"},
             {"num_hidden_layers", "40"},
             {"compress_ratios", "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]"}},
            /*mtp=*/false);
  many.tensors.resize(1);
  many.expectFailure({"at least 100000 tensors are missing"});

  Session session;
  FailureOr<Config> config = parseConfig(
      &session.context,
      editConfig("tiny",
                 {{"n_routed_experts", "16384"}, {"hidden_size", "1048576"}, {"moe_intermediate_size", "1048576"}}),
      "config.json");
  ASSERT_TRUE(succeeded(config));
  EXPECT_TRUE(failed(resolveParameters(&session.context, *config, nullptr, false)));
  session.expectError({"describes a model of 3.2", "accepted: up to 1e16"});
}

TEST(Resolve, MissingExpert) {
  Case test;
  eraseTensor(test.tensors, "layers.2.ffn.experts.7.w3.weight");
  test.expectFailure({"1 tensor is missing: \"layers.2.ffn.experts.7.w3.weight\""});
}

TEST(Resolve, MissingFirstExpert) {
  Case test;
  eraseTensor(test.tensors, "layers.2.ffn.experts.0.w3.weight");
  test.expectFailure({"1 tensor is missing: \"layers.2.ffn.experts.0.w3.weight\""});
}

TEST(Resolve, MissingScale) {
  Case test(quantised);
  eraseTensor(test.tensors, "layers.1.attn.wkv.scale");
  eraseTensor(test.tensors, "layers.1.ffn.experts.3.w1.scale");
  test.expectFailure({"2 tensors are missing", "\"layers.1.attn.wkv.scale\"", "\"layers.1.ffn.experts.3.w1.scale\""});
}

TEST(Resolve, MissingMtp) {
  Case test({}, /*mtp=*/false);
  test.expectFailure({"53 tensors are missing: \"mtp.0.", "compile without --mtp"}, /*mtp=*/true);
}

TEST(Resolve, ExtraTensor) {
  Case test;
  test.tensors.push_back({"layers.6.attn.wq_a.weight", "BF16", {2}});
  test.tensors.push_back({"layers.0.attn.compressor.ape", "F32", {2}});
  test.expectFailure({"model.safetensors'",
                      "tensor \"layers.0.attn.compressor.ape\" is not a parameter of this model; neither are 1 more"});
}

TEST(Resolve, ScaleWithoutFp8) {
  Case test;
  test.tensors.push_back({"layers.0.attn.wq_a.scale", "F8_E8M0", {1, 1}});
  test.expectFailure({"tensor \"layers.0.attn.wq_a.scale\" is not a parameter"});
}

struct Mistyped {
  const char *name;
  StringRef tensor, dtype;
  std::vector<int64_t> shape;
  StringRef message;
  bool scaled = false;
};

class ResolveMistyped : public testing::TestWithParam<Mistyped> {};

TEST_P(ResolveMistyped, Tensor) {
  const Mistyped &param = GetParam();
  Case test(param.scaled ? ArrayRef<std::pair<StringRef, StringRef>>(quantised)
                         : ArrayRef<std::pair<StringRef, StringRef>>());
  TestTensor &tensor = findTensor(test.tensors, param.tensor);
  tensor.dtype = param.dtype.str();
  if (!param.shape.empty())
    tensor.shape = param.shape;
  test.expectFailure({"model.safetensors'", param.tensor, param.message});
}

INSTANTIATE_TEST_SUITE_P(
    Tensors, ResolveMistyped,
    testing::Values(
        Mistyped{"norm", "norm.weight", "F16", {}, "is F16 [64]; expected F32 or BF16"},
        Mistyped{"normshape", "norm.weight", "BF16", {65}, "is BF16 [65]; expected BF16 [64]"},
        Mistyped{"normrank", "norm.weight", "BF16", {1, 64}, "is BF16 [1, 64]; expected BF16 [64]"},
        Mistyped{"hc", "layers.0.hc_attn_fn", "BF16", {}, "is BF16 [24, 256]; expected F32 [24, 256]"},
        Mistyped{"table", "layers.0.ffn.gate.tid2eid", "I32", {}, "is I32 [256, 2]; expected I64 [256, 2]"},
        Mistyped{"linear", "layers.0.attn.wq_a.weight", "I8", {}, "is I8 [32, 64]; expected F32, BF16"},
        Mistyped{"linearshape", "layers.0.attn.wq_a.weight", "F32", {64, 32}, "is F32 [64, 32]; expected F32 [32, 64]"},
        Mistyped{"linearfp8", "layers.0.attn.wq_a.weight", "F8_E4M3", {}, "has no 'quantization_config'"},
        Mistyped{"expertfp8", "layers.0.ffn.experts.0.w1.weight", "F8_E4M3", {}, "has no 'quantization_config'"},
        Mistyped{"expertfp4", "layers.0.ffn.experts.0.w1.weight", "I8", {32, 32}, "'expert_dtype' is not \"fp4\""},
        Mistyped{
            "expertmixed", "layers.0.ffn.experts.3.w1.weight", "F32", {}, "is F32 [32, 64]; expected BF16 [32, 64]"},
        Mistyped{
            "expertf16", "layers.0.ffn.experts.0.w1.weight", "F16", {}, "expected F32, BF16, F8_E4M3, I8 (fp4)", true},
        Mistyped{"scaletype", "layers.0.attn.wq_a.scale", "F32", {}, "is F32 [1, 1]; expected F8_E8M0 [1, 1]", true},
        Mistyped{"scaleshape",
                 "layers.0.attn.wq_b.scale",
                 "F8_E8M0",
                 {2, 1},
                 "is F8_E8M0 [2, 1]; expected F8_E8M0 [3, 1]",
                 true},
        Mistyped{"fp4scale",
                 "layers.0.ffn.experts.1.w1.scale",
                 "F8_E8M0",
                 {32, 1},
                 "is F8_E8M0 [32, 1]; expected F8_E8M0 [32, 2]",
                 true},
        Mistyped{"fp4shape",
                 "layers.0.ffn.experts.0.w2.weight",
                 "I8",
                 {64, 32},
                 "is I8 [64, 32]; expected I8 [64, 16]",
                 true}),
    [](const auto &info) { return std::string(info.param.name); });

TEST(Resolve, EveryWrongTensorIsReported) {
  Case test;
  findTensor(test.tensors, "norm.weight").dtype = "F16";
  findTensor(test.tensors, "layers.0.attn_norm.weight").dtype = "F16";
  EXPECT_TRUE(failed(test.resolve()));
  EXPECT_EQ(test.session.errors.size(), 2u);
}

TEST(Resolve, Drafter) {
  Case test({{"compress_ratios", "[0,0,4,16,4,16,0,0,0]"}}, /*mtp=*/false);
  test.tensors.push_back({"mtp.0.main_proj.weight", "BF16", {64, 192}});
  test.tensors.push_back({"mtp.2.markov_head.markov_w1.weight", "BF16", {4, 4}});
  FailureOr<ModelParameters> parameters = test.resolve();
  ASSERT_TRUE(succeeded(parameters)) << test.session.allErrors();
  EXPECT_TRUE(parameters->hasDrafter);
  test.expectFailure({"ends like that of a release with a DSpark drafter", "compile without --mtp"}, /*mtp=*/true);
}

TEST(Resolve, DrafterByTensor) {
  Case test;
  test.tensors.push_back({"mtp.0.main_proj.weight", "BF16", {64, 192}});
  test.expectFailure({"holds a DSpark drafter (\"mtp.0.main_proj.weight\")"}, /*mtp=*/true);
}

TEST(Resolve, NoMtpInTheConfiguration) {
  Case test({{"num_nextn_predict_layers", "0"}}, /*mtp=*/false);
  test.expectFailure({"'num_nextn_predict_layers' is 0"}, /*mtp=*/true);
}

//===----------------------------------------------------------------------===//
// The transformers naming
//===----------------------------------------------------------------------===//

/// The tensors of the golden file in that naming, with the experts widened to `width`.
struct TransformersCase : Case {
  explicit TransformersCase(ArrayRef<std::pair<StringRef, StringRef>> edits, int64_t width = 32) : Case({}, false) {
    std::string text = readText(goldenCheckpoint("tiny-hf") + "/config.json");
    llvm::json::Value root = llvm::cantFail(llvm::json::parse(text));
    for (auto [key, value] : edits)
      (*root.getAsObject())[key] = llvm::cantFail(llvm::json::parse(value));
    (*root.getAsObject())["moe_intermediate_size"] = width;
    std::string edited;
    llvm::raw_string_ostream(edited) << root;
    config = *parseConfig(&session.context, edited, "config.json");
    auto checkpoint = readCheckpoint(&session.context, goldenCheckpoint("tiny-hf"));
    EXPECT_TRUE(succeeded(checkpoint));
    tensors.clear();
    for (const auto &entry : (*checkpoint)->tensors) {
      TestTensor tensor{entry.first().str(),
                        dtypeName(entry.second.dtype).str(),
                        {entry.second.shape.begin(), entry.second.shape.end()}};
      StringRef name(tensor.name);
      if (name.ends_with("gate_up_proj"))
        tensor.shape[1] = 2 * width;
      else if (name.ends_with("experts.down_proj"))
        tensor.shape[2] = width;
      else if (name.contains("shared_experts.down"))
        tensor.shape[1] = width;
      else if (name.contains("shared_experts."))
        tensor.shape[0] = width;
      tensors.push_back(tensor);
    }
  }
  /// Fused experts in another format, with scales of `rows` x `columns` values per block.
  void quantiseExperts(StringRef dtype, int64_t rows, int64_t columns) {
    std::vector<TestTensor> scales;
    for (TestTensor &tensor : tensors) {
      if (!StringRef(tensor.name).ends_with("gate_up_proj") && !StringRef(tensor.name).ends_with("experts.down_proj"))
        continue;
      scales.push_back(
          {tensor.name + "_scale_inv",
           "F8_E8M0",
           {tensor.shape[0], (tensor.shape[1] + rows - 1) / rows, (tensor.shape[2] + columns - 1) / columns}});
      tensor.dtype = dtype.str();
      if (dtype == "I8")
        tensor.shape[2] /= 2;
    }
    llvm::append_range(tensors, scales);
  }
};

const Parameter &find(const ModelParameters &parameters, StringRef name) {
  for (const Parameter &parameter : parameters.list)
    if (parameter.spec.name == name)
      return parameter;
  ADD_FAILURE() << name.str();
  return parameters.list.front();
}

TEST(Transformers, FusedExperts) {
  TransformersCase test({});
  FailureOr<ModelParameters> parameters = test.resolve();
  ASSERT_TRUE(succeeded(parameters)) << test.session.allErrors();
  const SourceView &up = find(*parameters, "layers.1.ffn.experts.{e}.w3").weight;
  EXPECT_EQ(up.tensor, "model.layers.1.mlp.experts.gate_up_proj");
  EXPECT_EQ(ArrayRef(up.tensorShape), ArrayRef<int64_t>({8, 64, 64}));
  EXPECT_EQ(ArrayRef(up.shape), ArrayRef<int64_t>({8, 32, 64}));
  EXPECT_EQ(up.offset, 32 * 64 * 4);
  EXPECT_EQ(up.stride, 64 * 64 * 4);
  const SourceView &down = find(*parameters, "layers.1.ffn.experts.{e}.w2").weight;
  EXPECT_EQ(down.offset, 0);
  EXPECT_EQ(down.stride, 64 * 32 * 4);
}

TEST(Transformers, OlderProjectionName) {
  TransformersCase test({});
  for (TestTensor &tensor : test.tensors) {
    size_t at = tensor.name.find(".scorer");
    if (at != std::string::npos)
      tensor.name.erase(at, strlen(".scorer"));
  }
  FailureOr<ModelParameters> parameters = test.resolve();
  ASSERT_TRUE(succeeded(parameters)) << test.session.allErrors();
  EXPECT_EQ(find(*parameters, "layers.2.attn.indexer.weights_proj.weight").weight.tensor,
            "model.layers.2.self_attn.compressor.indexer.weights_proj.weight");
}

TEST(Transformers, Fp4Experts) {
  TransformersCase test({{"expert_dtype", "\"fp4\""}});
  test.quantiseExperts("I8", 1, 32);
  FailureOr<ModelParameters> parameters = test.resolve();
  ASSERT_TRUE(succeeded(parameters)) << test.session.allErrors();
  const Parameter &up = find(*parameters, "layers.1.ffn.experts.{e}.w3");
  EXPECT_EQ(up.weight.offset, 32 * 32);
  EXPECT_EQ(up.weight.stride, 2 * 32 * 32);
  ASSERT_TRUE(up.scale);
  EXPECT_EQ(up.scale->tensor, "model.layers.1.mlp.experts.gate_up_proj_scale_inv");
  EXPECT_EQ(ArrayRef(up.scale->tensorShape), ArrayRef<int64_t>({8, 64, 2}));
  EXPECT_EQ(up.scale->offset, 32 * 2);
}

TEST(Transformers, Fp8) {
  TransformersCase test({{"quantization_config", "{\"quant_method\":\"fp8\"}"}, {"o_lora_rank", "128"}}, 128);
  test.quantiseExperts("F8_E4M3", 128, 128);
  std::vector<TestTensor> scales;
  for (TestTensor &tensor : test.tensors) {
    StringRef name(tensor.name);
    if (name.contains("o_a_proj"))
      tensor.shape[0] = 256;
    if (name.contains("o_b_proj"))
      tensor.shape[1] = 256;
    if (!name.contains(".self_attn.q_a_proj"))
      continue;
    tensor.dtype = "F8_E4M3";
    scales.push_back({name.drop_back(strlen("weight")).str() + "weight_scale_inv", "F8_E8M0", {1, 1}});
  }
  llvm::append_range(test.tensors, scales);
  FailureOr<ModelParameters> parameters = test.resolve();
  ASSERT_TRUE(succeeded(parameters)) << test.session.allErrors();
  const Parameter &up = find(*parameters, "layers.1.ffn.experts.{e}.w3");
  ASSERT_TRUE(up.scale);
  EXPECT_EQ(ArrayRef(up.scale->tensorShape), ArrayRef<int64_t>({8, 2, 1}));
  EXPECT_EQ(up.scale->offset, 1);
  EXPECT_EQ(up.scale->stride, 2);
  EXPECT_EQ(find(*parameters, "layers.1.attn.wq_a").scale->tensor,
            "model.layers.1.self_attn.q_a_proj.weight_scale_inv");
}

TEST(Transformers, Fp8BlockAcrossGateAndUp) {
  TransformersCase test({{"quantization_config", "{\"quant_method\":\"fp8\"}"}, {"o_groups", "1"}});
  for (TestTensor &tensor : test.tensors)
    if (StringRef(tensor.name).contains("o_a_proj"))
      tensor.shape = {16, 288};
    else if (StringRef(tensor.name).contains("o_b_proj"))
      tensor.shape = {64, 16};
  test.quantiseExperts("F8_E4M3", 128, 128);
  EXPECT_TRUE(failed(test.resolve()));
  ASSERT_FALSE(test.session.errors.empty());
  EXPECT_NE(test.session.errors[0].find("'moe_intermediate_size' to be a multiple of 128"), std::string::npos)
      << test.session.errors[0];
}

TEST(Transformers, WrongFusedShape) {
  TransformersCase test({});
  findTensor(test.tensors, "model.layers.0.mlp.experts.gate_up_proj").shape = {8, 32, 128};
  EXPECT_TRUE(failed(test.resolve()));
  ASSERT_FALSE(test.session.errors.empty());
  EXPECT_NE(test.session.errors[0].find("is F32 [8, 32, 128]; expected F32 [8, 64, 64]"), std::string::npos)
      << test.session.errors[0];
}

TEST(Transformers, MissingFusedTensor) {
  TransformersCase test({});
  eraseTensor(test.tensors, "model.layers.0.mlp.experts.down_proj");
  eraseTensor(test.tensors, "lm_head.weight");
  test.expectFailure({"2 tensors are missing: \"lm_head.weight\", \"model.layers.0.mlp.experts.down_proj\""});
}

} // namespace
