// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Files from outside: JSON, safetensors, checkpoints, .npy, and the files the runtime writes.
#include "runtime/Checkpoint.h"
#include "runtime/Json.h"
#include "runtime/Npy.h"
#include "runtime/RandomTensor.h"
#include "runtime/Weights.h"
#include "test/runtime/Fixture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <span>
#include <sys/stat.h>
#include <unistd.h>

using namespace v4;
using namespace v4::test;

namespace {

void expectFails(const Status &status, const std::string &text, v4_code code = V4_INVALID) {
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(text), std::string_view::npos) << "wanted: " << text << "\ngot: " << status.message();
}

// ---- Status
// ----------------------------------------------------------------------------------------------------------

Status returnsEarly(bool fail, bool &reached) {
  V4_RETURN_IF_ERROR(fail ? invalid("bad ", 3, 'x', true) : Status());
  reached = true;
  return {};
}

TEST(Status, CarriesCodeAndText) {
  bool reached = false;
  expectFails(returnsEarly(true, reached), "bad 3x1");
  EXPECT_FALSE(reached);
  EXPECT_TRUE(returnsEarly(false, reached).ok());
  EXPECT_TRUE(reached);
  expectFails(environment("full").in("disk"), "disk: full", V4_ENVIRONMENT);
  EXPECT_TRUE(Status().in("context").ok());
  Status moved = misuse("x");
  Status target = std::move(moved);
  EXPECT_TRUE(moved.ok());
  EXPECT_EQ(target.code(), V4_MISUSE);
  EXPECT_EQ(sizeof(Status), sizeof(void *));
  Expected<int> value(4);
  EXPECT_TRUE(value && *value == 4 && value.takeStatus().ok());
}

// ---- JSON
// ------------------------------------------------------------------------------------------------------------

TEST(Json, ReadsEveryKind) {
  auto root = json::parse(R"({"a": [1, -2, 2.5, "x\u00e9", true, false, null, 18446744073709551615], "b": {}})");
  ASSERT_TRUE(root) << root.takeStatus().message();
  const auto &list = root->find("a")->elements;
  EXPECT_TRUE(list[0].isUnsigned() && list[0].number == 1);
  EXPECT_TRUE(list[1].kind == json::Value::Kind::Negative && list[1].negative == -2 && list[1].real == -2);
  EXPECT_TRUE(list[2].kind == json::Value::Kind::Real && list[2].real == 2.5);
  EXPECT_EQ(list[3].string, "x\u00e9");
  EXPECT_TRUE(list[4].boolean && !list[5].boolean);
  EXPECT_EQ(list[6].kind, json::Value::Kind::Null);
  EXPECT_EQ(list[7].number, UINT64_MAX);
  EXPECT_TRUE(root->find("b")->isObject());
  EXPECT_EQ(root->find("c"), nullptr);
  EXPECT_EQ(json::quoted("a\"\\\n\x7f"), "\"a\\\"\\\\\\u000a\\u007f\"");
}

TEST(Json, RefusesWhatIsNotPlain) {
  struct Bad {
    std::string text;
    const char *message;
  };
  const Bad bads[] = {
      {"", "parse error"},
      {"{", "parse error"},
      {"[1,]", "parse error"},
      {"[1] x", "parse error"},
      {"{\"a\": 1e400}", "number overflow"},
      {"[NaN]", "parse error"},
      {"[Infinity]", "parse error"},
      {"[01]", "parse error"},
      {"\"\x80\"", "ill-formed UTF-8"},
      {"\"\\ud800\"", "surrogate"},
      {"\xEF\xBB\xBF{}", "byte-order mark"},
      {"{\"a\":1,\"b\":2,\"a\":3}", "key \"a\" appears twice"},
      {"[{\"b\":{\"x\":1,\"x\":1}}]", "key \"x\" appears twice"},
      {std::string(65, '[') + std::string(65, ']'), "nested deeper than 64"},
      {std::string(1000000, '['), "nested deeper than 64"},
  };
  for (const Bad &bad : bads) {
    auto root = json::parse(bad.text);
    ASSERT_FALSE(root) << bad.text.substr(0, 40);
    expectFails(root.takeStatus(), bad.message);
  }
  EXPECT_TRUE(json::parse(std::string(64, '[') + std::string(64, ']')));
  json::Limits limits;
  limits.maxBytes = 10;
  expectFails(json::parse("[1, 2, 3, 4]", limits).takeStatus(), "12 bytes of JSON, more than the limit of 10");
  auto big = json::parse("[18446744073709551616]"); // does not fit a whole number: kept as a real, never wrapped
  ASSERT_TRUE(big);
  EXPECT_EQ(big->elements[0].kind, json::Value::Kind::Real);
  TempDir dir;
  writeText(dir / "x.json", "nope");
  expectFails(json::parseFile(dir / "x.json").takeStatus(), "x.json: ");
}

// ---- .npy
// ------------------------------------------------------------------------------------------------------------

std::string npy(const std::string &dictionary, const std::string &data, char major = 1) {
  std::string out = std::string("\x93NUMPY") + major + '\0';
  size_t length = dictionary.size();
  for (int i = 0; i != (major == 1 ? 2 : 4); ++i)
    out += static_cast<char>(length >> (8 * i));
  return out + dictionary + data;
}

TEST(Npy, ReadsAndWrites) {
  std::string data(24, 'z');
  for (const std::string &file :
       {npyHeader({2, 3}) + data, npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", data),
        npy("{'shape':(2,3),'descr':'<f4','fortran_order':False}", data, 2),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3,), }", data, 3)}) {
    auto array = parseNpy(bytesOf(file));
    ASSERT_TRUE(array) << array.takeStatus().message();
    EXPECT_EQ(array->shape, (std::vector<uint64_t>{2, 3}));
    EXPECT_EQ(array->data.size(), 24u);
    EXPECT_EQ(array->data[0], std::byte('z'));
  }
  EXPECT_EQ(npyHeader({5}).size() % 64, 0u);
  auto scalar = parseNpy(bytesOf(npy("{'descr': '<i8', 'fortran_order': False, 'shape': ()}", std::string(8, 'a'))));
  ASSERT_TRUE(scalar);
  EXPECT_EQ(scalar->type, NpyArray::Type::I64);
  EXPECT_TRUE(parseNpy(bytesOf(npyHeader({0, 7}))));
}

TEST(Npy, RefusesEverythingElse) {
  std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }";
  struct Bad {
    std::string file;
    const char *message;
  };
  const Bad bads[] = {
      {"", "does not begin with"},
      {"\x93NUMPY", "header is truncated"},
      {std::string("\x93NUMPY\x02\0\x01\0", 10), "header is truncated"},
      {std::string("\x93NUMPY\x07\0\x01\0xxxx", 14), "version 7 is unknown"},
      {npy(good, "abcd").substr(0, 30), "header is truncated"},
      {npy(good, "abc"), "does not match the 3 bytes"},
      {npy(good, "abcde"), "does not match the 5 bytes"},
      {npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", "abcdefgh"), "elements of type '<f8'"},
      {npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", "abcd"), "elements of type '>f4'"},
      {npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "abcd"), "Fortran order"},
      {npy("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,), }", "abcd"), "malformed"},
      {npy("{'descr': '<f4', 'shape': (1,), }", "abcd"), "malformed"},
      {npy("{'fortran_order': False, 'shape': (1,), }", "abcd"), "malformed"},
      {npy("{'descr': '<f4', 'fortran_order': False, }", "abcd"), "malformed"},
      {npy("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "abcd"), "malformed"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "abcd"), "malformed"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1 2), }", "abcd"), "malformed"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "abcd"), "malformed"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387905,), }", "abcd"), "does not match"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } x", "abcd"), "malformed"},
      {npy("{'descr': '<f4', 'other': 1}", "abcd"), "malformed"},
      {npy("{'descr: <f4", "abcd"), "malformed"},
      {npy("{'descr': '<f4", "abcd"), "malformed"},
  };
  for (const Bad &bad : bads) {
    auto array = parseNpy(bytesOf(bad.file));
    ASSERT_FALSE(array) << bad.message;
    expectFails(array.takeStatus(), bad.message);
  }
}

// ---- Safetensors
// -----------------------------------------------------------------------------------------------------

std::string rawFile(const std::string &header, const std::string &payload, uint64_t length = UINT64_MAX) {
  if (length == UINT64_MAX)
    length = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out + header + payload;
}

TEST(Safetensors, ReadsWhatItWrites) {
  TempDir dir;
  std::vector<TensorData> tensors = {{"z", "BF16", {3}, "abcdef"},
                                     {"a", "I64", {}, "12345678"},
                                     {"empty", "F32", {0, 7}, ""},
                                     {"nibbles", "F4", {2, 2}, "xy"}};
  writeText(dir / "t", safetensorsFile(tensors));
  auto file = SafetensorsFile::open(dir / "t");
  ASSERT_TRUE(file) << file.takeStatus().message();
  EXPECT_EQ(file->tensors().size(), 4u);
  for (const TensorData &tensor : tensors) {
    const TensorInfo *info = file->find(tensor.name);
    ASSERT_NE(info, nullptr);
    EXPECT_EQ(info->dtype, tensor.dtype);
    EXPECT_EQ(info->shape, tensor.shape);
    Bytes bytes = file->bytes(*info);
    EXPECT_EQ(std::string(reinterpret_cast<const char *>(bytes.data()), bytes.size()), tensor.bytes);
  }
  EXPECT_EQ(file->find("b"), nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(file->bytes(*file->find("z")).data()) % 64, 0u);
  EXPECT_TRUE(parseSafetensors(bytesOf(rawFile("{}", ""))));
  EXPECT_TRUE(parseSafetensors(bytesOf(rawFile("{\"__metadata__\":{\"format\":\"pt\"}}  ", ""))));
}

/// Attacks on the format; each must give its own message.
struct Attack {
  std::string file;
  const char *message;
};

std::vector<Attack> attacks() {
  auto one = [](const std::string &entry, const std::string &payload = "abcd") {
    return rawFile("{\"t\":" + entry + "}", payload);
  };
  std::string deep = "{\"t\":";
  for (int i = 0; i != 100000; ++i)
    deep += "[";
  return {
      {"", "the file has 0 bytes"},
      {"1234567", "the file has 7 bytes"},
      {rawFile("", ""), "does not begin with '{'"},
      {rawFile("{}", "", 0), "does not begin with '{'"},
      {rawFile("{}", "", 3), "claims 3 bytes, the file has 2"},
      {rawFile("{}", "", uint64_t(1) << 31), "more than the limit of 100000000"},
      {rawFile("{}", "", uint64_t(1) << 63), "more than the limit"},
      {rawFile("{}", "", UINT64_MAX - 1), "more than the limit"},
      {rawFile("[]", ""), "does not begin with '{'"},
      {rawFile(" {}", ""), "does not begin with '{'"},
      {rawFile("\xEF\xBB\xBF{}", ""), "does not begin with '{'"},
      {rawFile("{\"a\xFF\":1}", ""), "ill-formed UTF-8"},
      {rawFile("{} {}", ""), "header: "},
      {rawFile(deep, ""), "nested deeper than 4"},
      {rawFile("{\"__metadata__\":[]}", ""), "'__metadata__' is not an object"},
      {rawFile("{\"__metadata__\":{\"a\":1}}", ""), "'__metadata__' holds something that is not a string"},
      {rawFile("{\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"t\":{\"dtype\":\"U8\",\"shape\":[2],"
               "\"data_offsets\":[2,4]}}",
               "abcd"),
       "key \"t\" appears twice"},
      {rawFile("{\"\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", "abcd"), "empty or contains a NUL"},
      {rawFile("{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", "abcd"),
       "empty or contains a NUL"},
      {one("7"), "its entry is not an object"},
      {one("{\"shape\":[1],\"data_offsets\":[0,4]}"), "'dtype' is missing"},
      {one("{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}"), "'dtype' is missing or not a string"},
      {one("{\"dtype\":\"F32\",\"data_offsets\":[0,4]}"), "'shape' is missing"},
      {one("{\"dtype\":\"F32\",\"shape\":[1]}"), "'data_offsets' is missing"},
      {one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}"), "'data_offsets' is missing or not a list of two"},
      {one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}"), "keys other than"},
      {one("{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}"), "unknown dtype \"f32\""},
      {one("{\"dtype\":\"F128\",\"shape\":[1],\"data_offsets\":[0,4]}"), "unknown dtype \"F128\""},
      {one("{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}"), "rank 9 is above"},
      {one("{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}"), "'shape' holds something"},
      {one("{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}"), "'shape' holds something"},
      {one("{\"dtype\":\"F32\",\"shape\":[18446744073709551617],\"data_offsets\":[0,4]}"), "'shape' holds something"},
      {one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,-4]}"), "'data_offsets' holds something"},
      {one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.5]}"), "'data_offsets' holds something"},
      {one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}"), "end before they begin"},
      {one("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"), "lie beyond the file, which holds 4"},
      {one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,18446744073709551615]}"), "lie beyond the file"},
      {one("{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}"), "can be counted"},
      {one("{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,4]}"), "can be counted"},
      {one("{\"dtype\":\"F32\",\"shape\":[0,9223372036854775808,2],\"data_offsets\":[0,0]}"), "can be counted"},
      {one("{\"dtype\":\"F4\",\"shape\":[7],\"data_offsets\":[0,4]}"), "does not fill whole bytes"},
      {one("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}"), "needs 8 bytes, its range 0..4 has 4"},
      {one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}", "abcdX"),
       "belong to no tensor (after the last one)"},
      {one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]}", "Xabcd"),
       "bytes 0..1 of the payload belong to no tensor"},
      {rawFile("{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],"
               "\"data_offsets\":[2,4]}}",
               "abcd"),
       "tensor 'b' overlaps another"},
      {rawFile("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],"
               "\"data_offsets\":[0,4]}}",
               "abcd"),
       "overlaps another"},
      {rawFile("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],"
               "\"data_offsets\":[2,4]}}",
               "abcd"),
       "(before 'b')"},
  };
}

TEST(Safetensors, EveryAttackIsRefusedWithItsReason) {
  for (const Attack &attack : attacks()) {
    auto header = parseSafetensors(bytesOf(attack.file));
    ASSERT_FALSE(header) << attack.message;
    expectFails(header.takeStatus(), attack.message);
  }
}

TEST(Safetensors, EveryTruncationAndGrowthIsRefused) {
  std::string file = safetensorsFile(ToyCheckpoint::make(ToyWeights::random(1)).shards[0]);
  for (size_t length = 0; length != file.size(); ++length)
    EXPECT_FALSE(parseSafetensors(bytesOf(file.substr(0, length)))) << length;
  EXPECT_FALSE(parseSafetensors(bytesOf(file + "x")));
  EXPECT_TRUE(parseSafetensors(bytesOf(file)));
}

TEST(Safetensors, MutantsNeverCrash) {
  std::string file = safetensorsFile(ToyCheckpoint::make(ToyWeights::random(1)).shards[0]);
  uint64_t headerEnd;
  std::memcpy(&headerEnd, file.data(), 8);
  std::mt19937 generator(5);
  unsigned refused = 0;
  for (int round = 0; round != 5000; ++round) {
    std::string copy = file;
    for (unsigned edits = 1 + generator() % 3; edits; --edits)
      copy[generator() % (headerEnd + 8)] = static_cast<char>(generator());
    auto header = parseSafetensors(bytesOf(copy));
    refused += !header;
    for (size_t i = 0; header && i != header->tensors.size(); ++i)
      ASSERT_LE(header->payload + header->tensors[i].end, copy.size());
  }
  EXPECT_GT(refused, 3000u);
}

// ---- Checkpoints and weights
// -------------------------------------------------------------------------------------------

class CheckpointTest : public testing::Test {
protected:
  void SetUp() override {
    toy = ToyCheckpoint::make(ToyWeights::random(3));
    toy.write(path);
    auto file = ModuleFile::copy(bytesOf(moduleBytes(*toyModule())));
    ASSERT_TRUE(file);
    auto loaded = Module::load(std::move(*file), "cpu");
    ASSERT_TRUE(loaded) << loaded.takeStatus().message();
    module = *loaded;
  }

  std::string shardPath(int i) { return path + "/model-0000" + std::to_string(i + 1) + "-of-00002.safetensors"; }
  std::string indexPath() { return path + "/model.safetensors.index.json"; }
  Status open() {
    auto weights = Weights::load(module, path, {});
    return weights ? Status() : weights.takeStatus();
  }
  void editIndex(const std::string &from, const std::string &to) {
    std::string text = readText(indexPath());
    size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    writeText(indexPath(), text.replace(at, from.size(), to));
  }
  TensorData &tensor(const std::string &name) {
    for (auto &shard : toy.shards)
      for (TensorData &candidate : shard)
        if (candidate.name == name)
          return candidate;
    ADD_FAILURE() << name;
    return toy.shards[0][0];
  }

  TempDir dir;
  std::string path = dir / "ckpt";
  ToyCheckpoint toy;
  std::shared_ptr<const Module> module;
};

TEST_F(CheckpointTest, BindsEveryParameter) {
  auto weights = Weights::load(module, path, {});
  ASSERT_TRUE(weights) << weights.takeStatus().message();
  auto same = [&](const std::byte *data, const std::string &bytes, size_t offset, size_t size) {
    return std::memcmp(data, bytes.data() + offset, size) == 0 && reinterpret_cast<uintptr_t>(data) % 2 == 0;
  };
  EXPECT_TRUE(same((*weights)->parameter(0).base, tensor("embed.weight").bytes, 0, 1024));
  EXPECT_TRUE(same((*weights)->parameter(3).base, tensor("bias").bytes, 0, 16));
  const Weights::Bound &experts = (*weights)->parameter(1), &stacked = (*weights)->parameter(2);
  ASSERT_EQ(experts.offsets.size(), 4u);
  for (int e = 0; e != 4; ++e) {
    EXPECT_GE(experts.offsets[e], 0);
    const std::byte *row = experts.base + experts.offsets[e];
    EXPECT_EQ(reinterpret_cast<uintptr_t>(row) % 4, 0u);
    EXPECT_TRUE(same(row, tensor("experts." + std::to_string(e) + ".w").bytes, 0, 32)) << e;
    EXPECT_TRUE(same(stacked.base + stacked.offsets[e], tensor("stacked.w").bytes, e * 64 + 32, 32)) << e;
  }
  EXPECT_GT((*weights)->movedBytes(), 1024u) << "the odd tensors in front misalign some payloads";
}

TEST_F(CheckpointTest, AlignedPayloadsAreNotCopied) {
  tensor("extra.padding").shape = {64};
  tensor("extra.padding").bytes.assign(64, 'x');
  std::erase_if(toy.shards[1], [](const TensorData &t) { return t.name == "extra.byte"; });
  toy.write(path);
  auto weights = Weights::load(module, path, {});
  ASSERT_TRUE(weights) << weights.takeStatus().message();
  EXPECT_EQ((*weights)->movedBytes(), 0u);
}

TEST_F(CheckpointTest, WithoutAnIndex) {
  ::unlink(indexPath().c_str());
  Status status = open();
  EXPECT_TRUE(status.ok()) << status.message();
  // One file.
  ::unlink(shardPath(1).c_str());
  std::vector<TensorData> all = toy.shards[0];
  all.insert(all.end(), toy.shards[1].begin(), toy.shards[1].end());
  writeText(shardPath(0), safetensorsFile(all));
  status = open();
  EXPECT_TRUE(status.ok()) << status.message();
  writeText(shardPath(1), safetensorsFile({tensor("bias")}));
  expectFails(open(), "tensor 'bias' is in two shards");
  ::unlink(shardPath(0).c_str());
  ::unlink(shardPath(1).c_str());
  expectFails(open(), "holds neither model.safetensors.index.json nor a *.safetensors file");
  path = dir / "nothing";
  expectFails(open(), "cannot read the checkpoint directory");
}

TEST_F(CheckpointTest, IndexAndShardsMustAgree) {
  auto defect = [&](const std::string &text, const std::function<void()> &edit) {
    ::unlink((path + "/stray.safetensors").c_str());
    toy.write(path);
    edit();
    expectFails(open(), text);
  };
  std::string second = "model-00002-of-00002.safetensors";
  defect("names shard '" + second + "', which is not in", [&] { ::unlink(shardPath(1).c_str()); });
  defect("names shard 'absent.safetensors'", [&] { editIndex(second, "absent.safetensors"); });
  defect("puts tensor 'ghost' into 'model-00001",
         [&] { editIndex("\"bias\": \"" + second, "\"ghost\": \"model-00001-of-00002.safetensors"); });
  defect("puts tensor 'bias' into 'model-00001-of-00002.safetensors', but it is in",
         [&] { editIndex("\"bias\": \"" + second, "\"bias\": \"model-00001-of-00002.safetensors"); });
  defect("tensor 'bias' is not in the index", [&] { editIndex(",\n\"bias\": \"" + second + "\"", ""); });
  defect("the index does not name this shard", [&] { writeText(path + "/stray.safetensors", safetensorsFile({})); });
  defect("\"../x.safetensors\", which is not a plain file name", [&] { editIndex(second, "../x.safetensors"); });
  defect("which is not a plain file name", [&] { editIndex(second, "/etc/passwd"); });
  defect("which is not a plain file name", [&] { editIndex(second, ".."); });
  defect("which is not a plain file name", [&] { editIndex(second, ""); });
  defect("which is not a plain file name", [&] { editIndex(second, "a\\u0000b"); });
  defect("gives no file name for tensor", [&] { editIndex("\"" + second + "\"", "7"); });
  defect("index.json: parse error", [&] { writeText(indexPath(), "{"); });
  defect("'weight_map' is missing", [&] { writeText(indexPath(), "{}"); });
  defect("'weight_map' is missing or not an object", [&] { writeText(indexPath(), "{\"weight_map\": []}"); });
  defect("'weight_map' is empty", [&] { writeText(indexPath(), "{\"weight_map\": {}}"); });
  defect("appears twice", [&] { editIndex("\"bias\"", "\"head.weight\""); });
  defect("it is a directory", [&] {
    ::unlink(shardPath(1).c_str());
    ::mkdir(shardPath(1).c_str(), 0777);
  });
  ::rmdir(shardPath(1).c_str());
  defect("it is not a regular file", [&] {
    ::unlink(shardPath(1).c_str());
    ::mkfifo(shardPath(1).c_str(), 0666);
  });
  ::unlink(shardPath(1).c_str());
  for (size_t keep : {0, 7, 8, 100, 1500})
    defect("model-00002-of-00002.safetensors: ",
           [&] { writeText(shardPath(1), readText(shardPath(1)).substr(0, keep)); });
  defect("it is truncated", [&] { writeText(shardPath(1), readText(shardPath(1)).substr(0, 100)); });
  defect("the file is truncated", [&] {
    std::string bytes = readText(shardPath(1));
    writeText(shardPath(1), bytes.substr(0, bytes.size() - 1));
  });
  toy.write(path);
  Status status = open();
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST_F(CheckpointTest, TensorsAndParametersMustAgree) {
  auto original = toy;
  auto defect = [&](const std::string &text, const std::function<void()> &edit) {
    toy = original;
    edit();
    toy.write(path);
    expectFails(open(), text);
  };
  auto erase = [&](const std::string &name) {
    for (auto &shard : toy.shards)
      std::erase_if(shard, [&](const TensorData &t) { return t.name == name; });
  };
  defect("tensor 'head.weight' is missing; parameter 'head' of the module reads it", [&] { erase("head.weight"); });
  defect("tensor 'experts.3.w' is missing; parameter 'experts'", [&] { erase("experts.3.w"); });
  defect("tensor 'surprise' is not used by the module",
         [&] { toy.shards[0].push_back(floatTensor("surprise", {1}, {1})); });
  defect("tensor 'experts.4.w' is not used",
         [&] { toy.shards[0].push_back(floatTensor("experts.4.w", {8}, std::vector<float>(8))); });
  defect("tensor 'bias' is F16 [8], the module expects BF16 [8]", [&] { tensor("bias").dtype = "F16"; });
  defect("tensor 'head.weight' is F32 [8, 32], the module expects F32 [32, 8]", [&] {
    tensor("head.weight").shape = {8, 32};
  });
  defect("tensor 'experts.1.w' is F32 [8, 1], the module expects F32 [8]", [&] {
    tensor("experts.1.w").shape = {8, 1};
  });
}

// ---- Files
// -------------------------------------------------------------------------------------------------------------

TEST(RandomTensor, PiecesMakeTheWhole) {
  for (const char *dtype : {"F32", "BF16", "F8_E4M3", "F8_E8M0", "I8", "I64"}) {
    ASSERT_TRUE(RandomTensor::supports(dtype));
    RandomTensor tensor(5, "layers.0.w", dtype, {6, 12});
    std::vector<std::byte> whole(1000), pieces(1000);
    tensor.fill(0, whole);
    for (size_t at = 0, step = 1; at != pieces.size(); at += step, step = std::min(step + 3, pieces.size() - at))
      tensor.fill(at, std::span(pieces).subspan(at, step));
    EXPECT_EQ(whole, pieces) << dtype;
    std::vector<std::byte> other(1000);
    RandomTensor(6, "layers.0.w", dtype, {6, 12}).fill(0, other);
    EXPECT_NE(whole, other) << dtype;
    RandomTensor(5, "layers.1.w", dtype, {6, 12}).fill(0, other);
    EXPECT_NE(whole, other) << dtype;
  }
  EXPECT_FALSE(RandomTensor::supports("F64"));
}

TEST(RandomTensor, ValuesAreSane) {
  auto bytes = [](const char *name, const char *dtype, size_t size) {
    std::vector<std::byte> out(size);
    RandomTensor(1, name, dtype).fill(0, out);
    return out;
  };
  auto moments = [&](const char *name, double &mean, double &deviation) {
    constexpr size_t count = 1 << 16;
    std::vector<std::byte> data = bytes(name, "F32", count * 4);
    double sum = 0, squares = 0;
    for (size_t i = 0; i != count; ++i) {
      float value;
      std::memcpy(&value, data.data() + 4 * i, 4);
      sum += value;
      squares += static_cast<double>(value) * value;
    }
    mean = sum / count;
    deviation = std::sqrt(squares / count - mean * mean);
  };
  double mean, deviation;
  moments("layers.0.ffn.gate.weight", mean, deviation);
  EXPECT_NEAR(mean, 0, 1e-3);
  EXPECT_NEAR(deviation, 0.02, 1e-3);
  moments("layers.0.attn_norm.weight", mean, deviation);
  EXPECT_NEAR(mean, 1, 1e-2);
  EXPECT_NEAR(deviation, 0.1, 1e-2);
  // Codes without NaN, of both signs; scales of two exponents.
  size_t negative = 0;
  for (std::byte code : bytes("w", "F8_E4M3", 1 << 16)) {
    EXPECT_NE(static_cast<unsigned>(code) & 0x7F, 0x7Fu);
    negative += static_cast<unsigned>(code) >> 7;
  }
  EXPECT_NEAR(static_cast<double>(negative) / (1 << 16), 0.5, 0.02);
  for (std::byte scale : bytes("w", "F8_E8M0", 4096))
    EXPECT_TRUE(scale == std::byte(120) || scale == std::byte(121));
}

TEST(RandomTensor, RowsHoldDistinctIds) {
  constexpr size_t rows = 500, perRow = 6, count = 8;
  std::vector<int64_t> ids(rows * perRow);
  RandomTensor(9, "tid2eid", "I64", {perRow, count}).fill(0, std::as_writable_bytes(std::span(ids)));
  std::vector<size_t> uses(count);
  for (size_t row = 0; row != rows; ++row) {
    std::vector<int64_t> sorted(ids.begin() + row * perRow, ids.begin() + (row + 1) * perRow);
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(std::adjacent_find(sorted.begin(), sorted.end()), sorted.end()) << row;
    for (int64_t id : sorted) {
      ASSERT_GE(id, 0);
      ASSERT_LT(id, int64_t(count));
      ++uses[static_cast<size_t>(id)];
    }
  }
  for (size_t used : uses) // 375 each on average
    EXPECT_GT(used, rows / 2);
}

TEST(Files, OutputAppearsOnlyWhenComplete) {
  TempDir dir;
  std::string path = dir / "out";
  {
    auto file = OutputFile::create(path);
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write("half").ok());
    EXPECT_NE(::access(path.c_str(), F_OK), 0);
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  auto file = OutputFile::create(path);
  ASSERT_TRUE(file);
  std::string big(1 << 20, 'b');
  ASSERT_TRUE(file->write(big).ok());
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(readText(path), big);
  struct stat info;
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  mode_t mask = ::umask(0);
  ::umask(mask);
  EXPECT_EQ(info.st_mode & 0777, 0666u & ~mask);
  // An older result survives a failed run, and keeps its mode when replaced.
  ::chmod(path.c_str(), 0640);
  {
    auto again = OutputFile::create(path);
    ASSERT_TRUE(again && again->write("x").ok());
  }
  EXPECT_EQ(readText(path), big);
  auto again = OutputFile::create(path);
  ASSERT_TRUE(again && again->write("new").ok() && again->commit().ok());
  EXPECT_EQ(readText(path), "new");
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
  ::symlink(path.c_str(), (dir / "link").c_str());
  EXPECT_EQ(readText(dir / "link"), "new");
}

TEST(Files, HolesReadAsZeros) {
  TempDir dir;
  auto file = OutputFile::create(dir / "f");
  ASSERT_TRUE(file);
  constexpr uint64_t hole = uint64_t(1) << 30;
  ASSERT_TRUE(file->write("ab").ok());
  ASSERT_TRUE(file->skip(hole).ok());
  ASSERT_TRUE(file->write("c").ok());
  ASSERT_TRUE(file->skip(5).ok());
  ASSERT_TRUE(file->commit().ok());
  auto mapped = MappedFile::open(dir / "f");
  ASSERT_TRUE(mapped);
  ASSERT_EQ(mapped->bytes().size(), hole + 8);
  EXPECT_EQ(mapped->bytes()[1], std::byte('b'));
  EXPECT_EQ(mapped->bytes()[2], std::byte(0));
  EXPECT_EQ(mapped->bytes()[hole + 2], std::byte('c'));
  struct stat info;
  ASSERT_EQ(::stat((dir / "f").c_str(), &info), 0);
  EXPECT_LT(info.st_blocks * 512, 1 << 20);
}

TEST(Files, AvailableMemoryIsKnown) {
  auto available = availableMemory();
  ASSERT_TRUE(available);
  EXPECT_GT(*available, uint64_t(1) << 20);
  EXPECT_LT(*available, uint64_t(1) << 50);
}

TEST(Files, FailuresNameTheFile) {
  TempDir dir;
  expectFails(OutputFile::create(dir.path).takeStatus(), "cannot write '" + dir.path + "': it is a directory");
  expectFails(OutputFile::create(dir / "a/b").takeStatus(), "a/b': No such file");
  auto full = OutputFile::create("/dev/full");
  ASSERT_TRUE(full);
  ASSERT_TRUE(full->write("x").ok());
  expectFails(full->commit(), "/dev/full': No space left", V4_ENVIRONMENT);
  auto large = OutputFile::create("/dev/full");
  ASSERT_TRUE(large);
  expectFails(large->write(std::string(1 << 20, 'x')), "No space left", V4_ENVIRONMENT);
  expectFails(MappedFile::open(dir / "none").takeStatus(), "cannot open");
  expectFails(readFile(dir.path).takeStatus(), "it is a directory");
  expectFails(readFile("/dev/null").takeStatus(), "it is not a regular file");
  if (::geteuid() != 0) {
    writeText(dir / "locked", "x");
    ::chmod((dir / "locked").c_str(), 0);
    expectFails(readFile(dir / "locked").takeStatus(), "Permission denied");
    expectFails(OutputFile::create(dir / "locked").takeStatus(), "Permission denied");
  }
  expectFails(errnoStatus("a", "b", EIO), "a 'b': ", V4_ENVIRONMENT);
  expectFails(Pages::allocate(UINT64_MAX, "x").takeStatus(), "bytes for x", V4_ENVIRONMENT);
  writeText(dir / "empty", "");
  auto empty = MappedFile::open(dir / "empty");
  ASSERT_TRUE(empty);
  EXPECT_EQ(empty->bytes().size(), 0u);
}

TEST(Files, TemporariesCanBeRemovedFromAHandler) {
  TempDir dir;
  std::vector<OutputFile> files;
  for (int i = 0; i != 40; ++i) { // more than the table holds
    auto file = OutputFile::create(dir / ("f" + std::to_string(i)));
    ASSERT_TRUE(file);
    files.push_back(std::move(*file));
  }
  OutputFile::removeTemporaries();
  ASSERT_TRUE(files[0].write("x").ok());
  expectFails(files[0].commit(), "No such file");
  files.clear();
  auto file = OutputFile::create(dir / "later");
  ASSERT_TRUE(file && file->write("x").ok() && file->commit().ok());
}

TEST(Files, PagesStartZeroAndClear) {
  auto pages = Pages::allocate(100000, "test");
  ASSERT_TRUE(pages);
  for (int round = 0; round != 2; ++round) {
    for (size_t i = 0; i < 100000; i += 999)
      EXPECT_EQ(pages->data()[i], std::byte(0));
    std::memset(pages->data(), 1, 100000);
    clearPages(pages->data(), 100000);
  }
  // Parts, whose ends lie inside pages.
  for (auto [first, count] : {std::pair(100, 20), std::pair(4000, 200), std::pair(5000, 50000), std::pair(8192, 4096),
                              std::pair(90000, 10000), std::pair(7, 0)}) {
    std::memset(pages->data(), 1, 100000);
    clearPages(pages->data() + first, count);
    for (int i = 0; i != 100000; ++i)
      ASSERT_EQ(pages->data()[i], std::byte(i < first || i >= first + count)) << first << " " << count << " " << i;
  }
  EXPECT_EQ(Pages::allocate(0, "none")->data(), nullptr);
}

TEST(Files, PopulatedPagesKeepWhatIsThere) {
  auto pages = Pages::allocate(100000, "test");
  ASSERT_TRUE(pages);
  populatePages(pages->data() + 5000, 0);
  pages->data()[9000] = std::byte(7);
  populatePages(pages->data() + 5000, 50000);
  for (int i = 0; i != 100000; ++i)
    ASSERT_EQ(pages->data()[i], std::byte(i == 9000 ? 7 : 0)) << i;
}

} // namespace
