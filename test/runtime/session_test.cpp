// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sessions through the C interface: values, chunks, threads, limits, MTP, state files, taps, events.
#include "runtime/FileIo.h"
#include "runtime/RandomTensor.h"
#include "test/runtime/Fixture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <set>

using namespace v4;
using namespace v4::test;

namespace {

/// Everything that a session reports: of slot 0 here, of the others in `others`; launches belong to no slot.
struct Recording {
  std::map<uint64_t, std::vector<float>> logits, mtpLogits;
  struct Tap {
    std::string dtype;
    std::vector<uint64_t> positions, rowShape;
    std::string data;
  };
  std::map<std::string, Tap> taps;
  std::vector<std::string> launches; // "entry/launch"
  std::vector<v4_launch_event> events;

  Recording &of(uint32_t slot) { return slot == 0 ? *this : others[slot]; }
  std::map<uint32_t, Recording> others;
};

class SessionTest : public testing::Test {
protected:
  void SetUp() override {
    weightData = ToyWeights::random(7);
    ToyCheckpoint::make(weightData).write(checkpoint);
  }

  void TearDown() override {
    for (v4_session *session : sessions)
      v4_session_free(session);
    v4_weights_free(weights);
    v4_module_free(module);
  }

  void load(const fbs::ModuleT &tree) {
    std::string bytes = moduleBytes(tree);
    v4_module_options options = {sizeof options, "cpu"};
    ASSERT_V4_OK(v4_module_load_memory(bytes.data(), bytes.size(), &options, &module));
    ASSERT_V4_OK(v4_weights_load(module, checkpoint.c_str(), nullptr, &weights));
  }
  void load(const ToyOptions &options = {}) { load(*toyModule(options)); }

  /// Runs with poisoned buffers: a kernel that reads what nothing wrote cannot pass by luck.
  v4_session *session(uint32_t threads = 1, uint32_t chunk = 0, Recording *recording = nullptr,
                      std::vector<const char *> taps = {}, bool events = false) {
    v4_observer observer = {};
    observer.struct_size = sizeof observer;
    observer.user = recording;
    observer.logits = [](void *user, uint32_t slot, uint64_t position, const float *row, size_t vocab) {
      static_cast<Recording *>(user)->of(slot).logits[position].assign(row, row + vocab);
    };
    observer.mtp_logits = [](void *user, uint32_t slot, uint64_t position, const float *row, size_t vocab) {
      static_cast<Recording *>(user)->of(slot).mtpLogits[position].assign(row, row + vocab);
    };
    observer.tap = [](void *user, const v4_tap_event *event) {
      Recording::Tap &tap = static_cast<Recording *>(user)->of(event->slot).taps[event->name];
      tap.dtype = event->dtype;
      tap.rowShape.assign(event->row_shape, event->row_shape + event->row_rank);
      for (size_t i = 0; i != event->rows; ++i)
        tap.positions.push_back(event->position + i);
      tap.data.append(static_cast<const char *>(event->data), event->rows * event->row_bytes);
    };
    if (events)
      observer.launch = [](void *user, const v4_launch_event *event) {
        static_cast<Recording *>(user)->launches.push_back(std::string(event->entry) + "/" + event->launch);
        static_cast<Recording *>(user)->events.push_back(*event);
      };
    v4_session_options options = {};
    options.struct_size = sizeof options;
    options.threads = threads;
    options.chunk = chunk;
    options.flags = V4_SESSION_POISON;
    options.taps = taps.data();
    options.num_taps = taps.size();
    options.observer = recording ? &observer : nullptr;
    v4_session *created = nullptr;
    EXPECT_V4_OK(v4_session_create(module, weights, &options, &created));
    sessions.push_back(created);
    return created;
  }

  static void expectRows(const std::map<uint64_t, std::vector<float>> &got, const std::vector<std::vector<float>> &want,
                         uint64_t first = 0) {
    ASSERT_EQ(got.size(), want.size() - first);
    double largest = 0, worst = 0;
    for (uint64_t p = first; p != want.size(); ++p) {
      ASSERT_TRUE(got.contains(p)) << p;
      for (size_t v = 0; v != want[p].size(); ++v) {
        ASSERT_TRUE(std::isfinite(got.at(p)[v])) << p;
        largest = std::max(largest, std::fabs(static_cast<double>(want[p][v])));
        worst = std::max(worst, std::fabs(static_cast<double>(got.at(p)[v]) - want[p][v]));
      }
    }
    EXPECT_GT(largest, 0.5);
    EXPECT_LE(worst, 1e-5 * largest);
  }

  TempDir dir;
  std::string checkpoint = dir / "checkpoint";
  ToyWeights weightData;
  v4_module *module = nullptr;
  v4_weights *weights = nullptr;
  std::vector<v4_session *> sessions;
};

TEST_F(SessionTest, LogitsMatchTheReference) {
  load();
  std::vector<int32_t> tokens = randomTokens(1, 33);
  Recording recording;
  v4_session *s = session(1, 0, &recording);
  EXPECT_EQ(v4_session_logits(s, 0), nullptr);
  ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), tokens.size()));
  EXPECT_EQ(v4_session_position(s, 0), 33u);
  Reference reference(weightData);
  expectRows(recording.logits, reference.logits(tokens));
  expectRows(recording.mtpLogits, reference.mtpLogits(tokens));
  EXPECT_EQ(std::memcmp(v4_session_logits(s, 0), recording.logits[32].data(), toyVocab * 4), 0);
}

TEST_F(SessionTest, ChunksGiveTheSame) {
  load();
  std::vector<int32_t> tokens = randomTokens(2, 37);
  Reference reference(weightData);
  auto wanted = reference.logits(tokens), wantedMtp = reference.mtpLogits(tokens);
  for (uint32_t chunk : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 100u}) {
    SCOPED_TRACE(chunk);
    Recording recording;
    v4_session *s = session(1, chunk, &recording);
    ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), tokens.size()));
    expectRows(recording.logits, wanted);
    expectRows(recording.mtpLogits, wantedMtp);
  }
  Recording recording; // and any split into calls
  v4_session *s = session(1, 0, &recording);
  for (size_t at = 0, step = 1; at != tokens.size(); at += step, step = std::min<size_t>(step + 3, tokens.size() - at))
    ASSERT_V4_OK(v4_session_append(s, 0, tokens.data() + at, step));
  expectRows(recording.logits, wanted);
  expectRows(recording.mtpLogits, wantedMtp);
}

TEST_F(SessionTest, BucketsAreTheSmallestThatFits) {
  load();
  std::vector<int32_t> tokens = randomTokens(3, 40);
  struct Want {
    size_t count;
    uint32_t chunk;
    std::vector<std::string> entries;
  };
  const Want wants[] = {
      {1, 0, {"decode"}},
      {2, 0, {"prefill_4", "mtp_decode"}},
      {4, 0, {"prefill_4", "mtp_prefill_4"}},
      {5, 0, {"prefill_8", "mtp_prefill_4"}},
      {8, 0, {"prefill_8", "mtp_prefill_8"}},
      {21, 0, {"prefill_8", "mtp_prefill_8", "prefill_8", "mtp_prefill_8", "prefill_8", "mtp_prefill_8"}},
      {9, 0, {"prefill_8", "mtp_prefill_8", "decode", "mtp_decode"}},
      {6, 3, {"prefill_4", "mtp_prefill_4", "prefill_4", "mtp_prefill_4"}},
      {2, 1, {"decode", "decode", "mtp_decode"}},
  };
  for (const Want &want : wants) {
    Recording recording;
    v4_session *s = session(1, want.chunk, &recording, {}, /*events=*/true);
    ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), want.count));
    std::vector<std::string> entries;
    for (const std::string &launch : recording.launches)
      if (launch.ends_with("/embed"))
        entries.push_back(launch.substr(0, launch.find('/')));
    EXPECT_EQ(entries, want.entries) << want.count << " in chunks of " << want.chunk;
  }
}

TEST_F(SessionTest, ThreadsChangeNoBit) {
  load();
  std::vector<int32_t> tokens = randomTokens(4, 40);
  std::map<uint64_t, std::vector<float>> first;
  for (uint32_t threads : {1u, 2u, 3u, 8u}) {
    Recording recording;
    v4_session *s = session(threads, 0, &recording);
    ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), tokens.size()));
    if (threads == 1)
      first = recording.logits;
    ASSERT_EQ(recording.logits.size(), first.size());
    for (auto &[position, row] : first)
      EXPECT_EQ(std::memcmp(row.data(), recording.logits[position].data(), row.size() * 4), 0) << position;
  }
}

TEST_F(SessionTest, LastLogitsOnly) {
  load(ToyOptions{.logitsAll = false});
  std::vector<int32_t> tokens = randomTokens(5, 14);
  Recording recording;
  v4_session *s = session(2, 0, &recording);
  ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), tokens.size()));
  auto wanted = Reference(weightData).logits(tokens);
  std::set<uint64_t> positions;
  for (auto &[position, row] : recording.logits) {
    positions.insert(position);
    for (int v = 0; v != toyVocab; ++v)
      EXPECT_NEAR(row[v], wanted[position][v], 1e-4) << position;
  }
  EXPECT_EQ(positions, (std::set<uint64_t>{7, 13})); // the ends of two calls
  auto wantedMtp = Reference(weightData).mtpLogits(tokens);
  ASSERT_TRUE(recording.mtpLogits.contains(12));
  EXPECT_NEAR(recording.mtpLogits[12][3], wantedMtp[12][3], 1e-4);
}

TEST_F(SessionTest, ResetStartsOver) {
  load();
  std::vector<int32_t> tokens = randomTokens(6, 20);
  Recording recording;
  v4_session *s = session(1, 0, &recording);
  std::vector<int32_t> other = randomTokens(60, 20);
  ASSERT_V4_OK(v4_session_append(s, 0, other.data(), other.size()));
  ASSERT_V4_OK(v4_session_reset(s, 0));
  EXPECT_EQ(v4_session_position(s, 0), 0u);
  EXPECT_EQ(v4_session_logits(s, 0), nullptr);
  recording = {};
  ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), tokens.size()));
  expectRows(recording.logits, Reference(weightData).logits(tokens));
}

TEST_F(SessionTest, LimitsAreErrorsBeforeAnythingChanges) {
  load();
  std::vector<int32_t> tokens = randomTokens(7, toyContext + 1);
  Recording recording;
  v4_session *s = session(1, 0, &recording);
  EXPECT_V4_FAILS(v4_session_append(s, 0, tokens.data(), tokens.size()), V4_INVALID,
                  "41 tokens at position 0 exceed the module's max_context of 40");
  EXPECT_V4_FAILS(v4_session_append(s, 0, tokens.data(), 0), V4_MISUSE, "no tokens");
  for (int32_t bad : {-1, 32, INT32_MIN, INT32_MAX}) {
    std::vector<int32_t> copy(tokens.begin(), tokens.begin() + 10);
    copy[9] = bad;
    EXPECT_V4_FAILS(v4_session_append(s, 0, copy.data(), copy.size()), V4_INVALID,
                    "token " + std::to_string(bad) + " (number 9) is outside the vocabulary of 32");
  }
  EXPECT_EQ(v4_session_position(s, 0), 0u);
  EXPECT_TRUE(recording.logits.empty());
  ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), toyContext)); // exactly full
  expectRows(recording.logits, Reference(weightData).logits({tokens.begin(), tokens.end() - 1}));
  EXPECT_V4_FAILS(v4_session_append(s, 0, tokens.data(), 1), V4_INVALID, "1 tokens at position 40");
}

TEST_F(SessionTest, StateFileRoundTrip) {
  load();
  std::vector<int32_t> tokens = randomTokens(8, 40);
  auto wanted = Reference(weightData).logits(tokens);
  auto wantedMtp = Reference(weightData).mtpLogits(tokens);
  // Around every block boundary of ratios 3 and 4, and before the window is full.
  for (size_t split : {1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 24, 39}) {
    SCOPED_TRACE(split);
    std::string path = dir / ("state-" + std::to_string(split));
    v4_session *first = session(1);
    ASSERT_V4_OK(v4_session_append(first, 0, tokens.data(), split));
    ASSERT_V4_OK(v4_session_save(first, 0, path.c_str()));

    Recording recording;
    v4_session *second = session(2, 3, &recording);
    std::vector<int32_t> other = randomTokens(80, 11); // leaves something behind that loading must replace
    ASSERT_V4_OK(v4_session_append(second, 0, other.data(), other.size()));
    recording = {};
    ASSERT_V4_OK(v4_session_load(second, 0, path.c_str()));
    EXPECT_EQ(v4_session_position(second, 0), split);
    EXPECT_EQ(v4_session_logits(second, 0), nullptr);
    EXPECT_TRUE(v4_session_mtp_active(second, 0));
    ASSERT_V4_OK(v4_session_append(second, 0, tokens.data() + split, tokens.size() - split));
    expectRows(recording.logits, wanted, split);
    expectRows(recording.mtpLogits, wantedMtp, split - 1);
  }
}

TEST_F(SessionTest, StateFileHasTheDocumentedForm) {
  load();
  std::vector<int32_t> tokens = randomTokens(9, 14);
  std::map<std::string, std::string> chunked;
  for (uint32_t chunk : {0u, 1u, 5u}) {
    v4_session *s = session(1, chunk);
    ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), tokens.size()));
    std::string path = dir / "state";
    ASSERT_V4_OK(v4_session_save(s, 0, path.c_str()));
    auto file = SafetensorsFile::open(path);
    ASSERT_TRUE(file) << file.takeStatus().message();
    std::map<std::string, std::pair<std::string, std::string>> got;
    for (const TensorInfo &tensor : file->tensors())
      got[tensor.name] = {std::string(tensor.dtype), shapeText(tensor.shape)};
    const std::map<std::string, std::pair<std::string, std::string>> want = {
        {"position", {"I64", "[1]"}},
        {"layers.0.attn.window", {"F32", "[4, 8]"}},
        {"layers.0.attn.compressed", {"F32", "[3, 8]"}},
        {"layers.0.attn.compressor.kv_rows", {"F32", "[8, 8]"}},
        {"layers.0.attn.compressor.score_rows", {"F32", "[8, 8]"}},
        {"layers.1.attn.compressed", {"F32", "[4, 8]"}},
        {"layers.1.attn.compressor.kv_rows", {"F32", "[3, 8]"}},
        {"layers.1.attn.compressor.score_rows", {"F32", "[3, 8]"}},
        {"mtp.0.attn.window", {"F32", "[4, 8]"}},
        {"mtp.hidden", {"F32", "[2, 4]"}},
    };
    EXPECT_EQ(got, want);
    auto at = [&](const char *name, size_t row, size_t column) {
      float value;
      std::memcpy(&value, file->bytes(*file->find(name)).data() + (row * 8 + column) * 4, 4);
      return value;
    };
    int64_t position;
    std::memcpy(&position, file->bytes(*file->find("position")).data(), 8);
    EXPECT_EQ(position, 14);
    // 14 % 4 = 2 rows of the current block, after 4 of the previous; 14 % 3 = 2.
    const float inf = std::numeric_limits<float>::infinity();
    for (size_t row = 0; row != 8; ++row) {
      EXPECT_EQ(at("layers.0.attn.compressor.score_rows", row, 1) == -inf, row >= 6) << row;
      EXPECT_EQ(at("layers.0.attn.compressor.kv_rows", row, 1) == 0, row >= 6) << row;
    }
    for (size_t row = 0; row != 3; ++row) {
      EXPECT_EQ(at("layers.1.attn.compressor.score_rows", row, 1) == -inf, row >= 2) << row;
      EXPECT_EQ(at("layers.1.attn.compressor.kv_rows", row, 1) == 0, row >= 2) << row;
    }
    // Position 13 is in row 13 % 4 of the window.
    EXPECT_EQ(at("layers.0.attn.window", 1, 2), weightData.embedding[static_cast<size_t>(tokens[13]) * 8 + 2]);
    std::string bytes = readText(path);
    EXPECT_EQ(chunked.emplace("state", bytes).first->second, bytes) << chunk;
  }
}

/// Edits one tensor of a saved state and tries to load it.
class StateFileTest : public SessionTest {
protected:
  void SetUp() override {
    SessionTest::SetUp();
    load();
    tokens = randomTokens(10, 10);
    saved = dir / "saved";
    v4_session *s = session();
    ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), tokens.size()));
    ASSERT_V4_OK(v4_session_save(s, 0, saved.c_str()));
    auto file = SafetensorsFile::open(saved);
    ASSERT_TRUE(file);
    for (const TensorInfo &tensor : file->tensors()) {
      Bytes bytes = file->bytes(tensor);
      tensors.push_back({tensor.name, std::string(tensor.dtype), tensor.shape,
                         std::string(reinterpret_cast<const char *>(bytes.data()), bytes.size())});
    }
  }

  TensorData &tensor(const std::string &name) {
    for (TensorData &candidate : tensors)
      if (candidate.name == name)
        return candidate;
    ADD_FAILURE() << name;
    return tensors[0];
  }

  v4_status *loadEdited(v4_session *s) {
    writeText(dir / "edited", safetensorsFile(tensors));
    return v4_session_load(s, 0, (dir / "edited").c_str());
  }

  static void store(TensorData &tensor, size_t index, float value) {
    std::memcpy(tensor.bytes.data() + index * 4, &value, 4);
  }

  std::vector<int32_t> tokens;
  std::string saved;
  std::vector<TensorData> tensors;
};

TEST_F(StateFileTest, DeadRowsAreIgnored) {
  // 10 % 4 = 2, so rows 6 and 7 hold nothing; 10 % 3 = 1.
  store(tensor("layers.0.attn.compressor.kv_rows"), 6 * 8, NAN);
  store(tensor("layers.0.attn.compressor.score_rows"), 7 * 8 + 3, 1e30f);
  store(tensor("layers.1.attn.compressor.score_rows"), 1 * 8, INFINITY);
  Recording recording;
  v4_session *s = session(1, 0, &recording);
  ASSERT_V4_OK(loadEdited(s));
  std::vector<int32_t> more = randomTokens(11, 12), all = tokens;
  all.insert(all.end(), more.begin(), more.end());
  ASSERT_V4_OK(v4_session_append(s, 0, more.data(), more.size()));
  expectRows(recording.logits, Reference(weightData).logits(all), 10);
}

TEST_F(StateFileTest, EveryDefectIsNamed) {
  v4_session *s = session();
  ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), 3));
  auto original = tensors;
  auto defect = [&](const char *text, auto edit) {
    tensors = original;
    edit();
    EXPECT_V4_FAILS(loadEdited(s), V4_INVALID, text);
  };
  auto erase = [&](const char *name) { std::erase_if(tensors, [&](const TensorData &t) { return t.name == name; }); };
  defect("it has no tensor 'position'", [&] { erase("position"); });
  defect("it has no tensor 'position'", [&] { tensor("position").dtype = "F64"; });
  defect("state tensor 'layers.0.attn.window' is missing", [&] { erase("layers.0.attn.window"); });
  defect("state tensor 'layers.9.attn.window' is unknown",
         [&] { tensors.push_back(floatTensor("layers.9.attn.window", {1}, {0.0f})); });
  defect("state tensor 'layers.0.attn.window' is I32 [4, 8], expected F32 [4, 8] after 10 tokens",
         [&] { tensor("layers.0.attn.window").dtype = "I32"; });
  defect("is F32 [8, 4], expected F32 [4, 8]", [&] { tensor("layers.0.attn.window").shape = {8, 4}; });
  defect("state tensor 'layers.0.attn.compressed' is F32 [2, 8], expected F32 [3, 8] after 13 tokens",
         [&] { tensor("position").bytes[0] = 13; });
  defect("is missing", [&] { tensors.erase(tensors.begin() + 1, tensors.end()); });
  defect("position -1 is negative", [&] { tensor("position").bytes = std::string(8, '\xFF'); });
  defect("a state of 41 tokens exceeds the module's max_context of 40", [&] { tensor("position").bytes[0] = 41; });
  defect("state tensor 'mtp.hidden' is F32 [8], expected F32 [2, 4]", [&] { tensor("mtp.hidden").shape = {8}; });
  EXPECT_EQ(v4_session_position(s, 0), 3u) << "a file of the wrong form must leave the session alone";

  defect("state tensor 'layers.0.attn.window', row 2: NaN or infinity",
         [&] { store(tensor("layers.0.attn.window"), 2 * 8 + 5, NAN); });
  EXPECT_EQ(v4_session_position(s, 0), 0u);
  defect("row 5: NaN or infinity", [&] { store(tensor("layers.0.attn.compressor.score_rows"), 5 * 8, -INFINITY); });
  defect("'mtp.hidden' holds NaN or infinity", [&] { store(tensor("mtp.hidden"), 3, INFINITY); });
  EXPECT_EQ(v4_session_position(s, 0), 0u);
  Recording unused;
  ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), 3)); // and it still works
  writeText(dir / "edited", "short");
  EXPECT_V4_FAILS(v4_session_load(s, 0, (dir / "edited").c_str()), V4_INVALID, "edited: the file has 5 bytes");
  EXPECT_V4_FAILS(v4_session_load(s, 0, (dir / "absent").c_str()), V4_INVALID, "cannot open");
}

TEST_F(StateFileTest, WithoutTheResidualMtpStops) {
  std::erase_if(tensors, [](const TensorData &t) { return t.name == "mtp.hidden"; });
  Recording recording;
  v4_session *s = session(1, 0, &recording);
  ASSERT_V4_OK(loadEdited(s));
  EXPECT_FALSE(v4_session_mtp_active(s, 0));
  std::vector<int32_t> more = randomTokens(12, 5), all = tokens;
  all.insert(all.end(), more.begin(), more.end());
  ASSERT_V4_OK(v4_session_append(s, 0, more.data(), more.size()));
  EXPECT_TRUE(recording.mtpLogits.empty());
  expectRows(recording.logits, Reference(weightData).logits(all), 10);
  ASSERT_V4_OK(v4_session_reset(s, 0));
  EXPECT_TRUE(v4_session_mtp_active(s, 0));
}

TEST_F(StateFileTest, SaveFailsCleanly) {
  v4_session *s = session();
  EXPECT_V4_FAILS(v4_session_save(s, 0, dir.path.c_str()), V4_INVALID, "it is a directory");
  EXPECT_V4_FAILS(v4_session_save(s, 0, (dir / "no/such").c_str()), V4_INVALID, "No such file");
  EXPECT_V4_FAILS(v4_session_save(s, 0, "/dev/full"), V4_ENVIRONMENT, "cannot write '/dev/full'");
}

TEST_F(SessionTest, FillTakesComputedValues) {
  load();
  std::vector<int32_t> tokens = randomTokens(13, 9);
  // The state after 9 tokens, read back from a file, is handed over through the callback.
  v4_session *first = session();
  ASSERT_V4_OK(v4_session_append(first, 0, tokens.data(), tokens.size()));
  std::string path = dir / "state";
  ASSERT_V4_OK(v4_session_save(first, 0, path.c_str()));
  auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file);
  Recording recording;
  v4_session *second = session(1, 0, &recording);
  auto source = [](void *user, const char *name, uint64_t first, size_t count, float *out) {
    auto &from = *static_cast<SafetensorsFile *>(user);
    const TensorInfo *tensor = from.find(name);
    ASSERT_NE(tensor, nullptr) << name;
    ASSERT_LE((first + count) * 4, tensor->end - tensor->begin);
    std::memcpy(out, from.bytes(*tensor).data() + first * 4, count * 4);
  };
  ASSERT_V4_OK(v4_session_fill(second, 0, 9, source, &*file));
  EXPECT_EQ(v4_session_position(second, 0), 9u);
  EXPECT_FALSE(v4_session_mtp_active(second, 0));
  std::vector<int32_t> more = randomTokens(14, 9), all = tokens;
  all.insert(all.end(), more.begin(), more.end());
  ASSERT_V4_OK(v4_session_append(second, 0, more.data(), more.size()));
  expectRows(recording.logits, Reference(weightData).logits(all), 9);
  auto nan = [](void *, const char *, uint64_t, size_t count, float *out) { std::fill_n(out, count, NAN); };
  EXPECT_V4_FAILS(v4_session_fill(second, 0, 9, nan, nullptr), V4_INVALID, "NaN or infinity");
  EXPECT_V4_FAILS(v4_session_fill(second, 0, 41, nan, nullptr), V4_INVALID, "max_context");
}

TEST_F(SessionTest, RandomWeightsAreThoseOfAFile) {
  // A checkpoint whose tensors hold what the generator gives their names.
  ToyCheckpoint random = ToyCheckpoint::make(weightData);
  for (std::vector<TensorData> &shard : random.shards)
    for (TensorData &tensor : shard)
      RandomTensor(11, tensor.name, tensor.dtype)
          .fill(0, {reinterpret_cast<std::byte *>(tensor.bytes.data()), tensor.bytes.size()});
  random.write(checkpoint);
  load();
  std::vector<int32_t> tokens = randomTokens(3, 10);
  auto lastLogits = [&](v4_weights *bound) {
    v4_session *made = nullptr;
    EXPECT_V4_OK(v4_session_create(module, bound, nullptr, &made));
    EXPECT_V4_OK(v4_session_append(made, 0, tokens.data(), tokens.size()));
    std::vector<float> out(v4_session_logits(made, 0), v4_session_logits(made, 0) + toyVocab);
    v4_session_free(made);
    return out;
  };
  v4_weights *same = nullptr, *other = nullptr;
  ASSERT_V4_OK(v4_weights_random(module, 11, &same));
  ASSERT_V4_OK(v4_weights_random(module, 12, &other));
  EXPECT_EQ(lastLogits(same), lastLogits(weights));
  EXPECT_NE(lastLogits(other), lastLogits(weights));
  v4_weights_free(same);
  v4_weights_free(other);
}

TEST_F(SessionTest, RandomWeightsNeedMemory) {
  auto tree = toyModule();
  // Petabytes, which no machine has: said before anything is taken.
  tree->parameters[0]->shape[0] = tree->parameters[0]->source->shape[0] = uint64_t(1) << 46;
  load(*toyModule());
  std::string bytes = moduleBytes(*tree);
  v4_module *huge = nullptr;
  ASSERT_V4_OK(v4_module_load_memory(bytes.data(), bytes.size(), nullptr, &huge));
  v4_weights *made = nullptr;
  EXPECT_V4_FAILS(v4_weights_random(huge, 1, &made), V4_ENVIRONMENT, "2251799813686544 bytes of memory, and ");
  v4_module_free(huge);
}

TEST_F(SessionTest, TapsCoverEveryToken) {
  load();
  std::vector<int32_t> tokens = randomTokens(15, 13); // 8 + 5 rows in two calls of 8
  auto residual = Reference(weightData).hidden(tokens);
  for (uint32_t chunk : {0u, 1u, 3u}) {
    SCOPED_TRACE(chunk);
    Recording recording;
    v4_session *s = session(1, chunk, &recording, {"layers.*", "embed"});
    ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), tokens.size()));
    ASSERT_EQ(recording.taps.size(), 2u);
    const Recording::Tap &tap = recording.taps["layers.0"];
    EXPECT_EQ(tap.dtype, "F32");
    EXPECT_EQ(tap.rowShape, (std::vector<uint64_t>{2, 4}));
    ASSERT_EQ(tap.data.size(), 13 * 8 * 4u);
    for (size_t p = 0; p != 13; ++p) {
      EXPECT_EQ(tap.positions[p], p);
      for (int c = 0; c != 8; ++c) {
        float value;
        std::memcpy(&value, tap.data.data() + (p * 8 + c) * 4, 4);
        EXPECT_NEAR(value, residual[p][c], 1e-5) << p << " " << c;
      }
    }
  }
}

TEST_F(SessionTest, TapsOfSomeEntriesAndTypes) {
  load();
  std::vector<int32_t> tokens = randomTokens(16, 9); // 8 in a bucket, 1 in decode
  Recording recording;
  v4_session *s = session(2, 0, &recording, {"count", "*.bits"});
  ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), tokens.size()));
  ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), 2));
  EXPECT_EQ(recording.taps["count"].dtype, "I32");
  EXPECT_EQ(recording.taps["count"].positions.size(), 10u);
  int32_t counted[10];
  std::memcpy(counted, recording.taps["count"].data.data(), sizeof counted);
  EXPECT_EQ(counted[0], 5) << "the counter is cleared before each launch";
  EXPECT_EQ(counted[8], 5);
  EXPECT_EQ(recording.taps["prefill.bits"].dtype, "BF16");
  EXPECT_EQ(recording.taps["prefill.bits"].data.size(), 20u);
}

TEST_F(SessionTest, UnknownTapHasARemedy) {
  load();
  for (const char *name : {"layers.7", "layers.*.attn", "", "*"}) {
    v4_session_options options = {};
    options.struct_size = sizeof options;
    const char *taps[] = {"embed", name};
    options.taps = taps;
    options.num_taps = 2;
    v4_session *created = nullptr;
    if (std::string(name) == "*") { // matches embed and count
      ASSERT_V4_OK(v4_session_create(module, weights, &options, &created));
      v4_session_free(created);
    } else {
      EXPECT_V4_FAILS(v4_session_create(module, weights, &options, &created), V4_INVALID, "--plan=none");
      EXPECT_EQ(created, nullptr);
    }
  }
}

TEST_F(SessionTest, EventsDescribeEveryLaunch) {
  load();
  Recording recording;
  v4_session *s = session(1, 0, &recording, {}, /*events=*/true);
  std::vector<int32_t> tokens = randomTokens(17, 4);
  ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), tokens.size()));
  EXPECT_EQ(recording.launches,
            (std::vector<std::string>{"prefill_4/embed", "prefill_4/layers.0.mix", "prefill_4/hidden",
                                      "prefill_4/count", "prefill_4/head", "mtp_prefill_4/embed",
                                      "mtp_prefill_4/mtp.mix", "mtp_prefill_4/head"}));
  EXPECT_STREQ(recording.events[0].kernel, "toy_embed_4");
  EXPECT_EQ(recording.events[0].workgroups, 4u);
  EXPECT_EQ(recording.events[0].bytes, 4 * 4 + 8 + 32 * 32 + 4 * 32u);
  EXPECT_FALSE(recording.events[0].bytes_is_bound);
  EXPECT_TRUE(recording.events[1].bytes_is_bound) << "it reads tables of experts";
  for (size_t i = 1; i != recording.events.size(); ++i)
    EXPECT_GE(recording.events[i].begin_ns, recording.events[i - 1].begin_ns + recording.events[i - 1].duration_ns);
}

TEST_F(SessionTest, HandlesMayBeFreedInAnyOrder) {
  load();
  Recording recording;
  v4_session *s = session(2, 0, &recording);
  v4_module_free(module);
  v4_weights_free(weights);
  module = nullptr;
  weights = nullptr;
  std::vector<int32_t> tokens = randomTokens(18, 12);
  ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), tokens.size()));
  expectRows(recording.logits, Reference(weightData).logits(tokens));
}

TEST_F(SessionTest, ModuleInfo) {
  load();
  v4_module_info info = {};
  info.struct_size = sizeof info;
  ASSERT_V4_OK(v4_module_get_info(module, &info));
  EXPECT_STREQ(info.model_type, "toy");
  EXPECT_STREQ(info.numerics, "f32");
  EXPECT_STREQ(info.kv, "f32");
  EXPECT_STREQ(info.plan, "none");
  EXPECT_EQ(info.vocab_size, 32u);
  EXPECT_EQ(info.max_context, 40u);
  EXPECT_EQ(info.max_rows, 8u);
  EXPECT_EQ(info.logits_all, 1);
  EXPECT_EQ(info.mtp, 1);
  EXPECT_EQ(info.slots, 1u);
  EXPECT_EQ(info.eos_token, -1);
  EXPECT_EQ(info.arena_bytes, 2 * 8 * 32 + 64u);
  EXPECT_EQ(info.state_cache_bytes, (4 + 11 + 14 + 4) * 32u);
  EXPECT_EQ(info.state_rows_bytes, (8 + 8 + 3 + 3) * 32u);
  // A caller built against an older header: fields beyond its struct stay alone.
  info.struct_size = offsetof(v4_module_info, vocab_size);
  info.vocab_size = 77;
  ASSERT_V4_OK(v4_module_get_info(module, &info));
  EXPECT_EQ(info.vocab_size, 77u);
}

TEST_F(SessionTest, MisuseIsAnError) {
  load();
  v4_session *created = nullptr;
  v4_module *other = nullptr;
  EXPECT_V4_FAILS(v4_module_load(nullptr, nullptr, &other), V4_MISUSE, "path is NULL");
  EXPECT_V4_FAILS(v4_module_load("x", nullptr, nullptr), V4_MISUSE, "out is NULL");
  EXPECT_V4_FAILS(v4_module_load_memory(nullptr, 1, nullptr, &other), V4_MISUSE, "data is NULL");
  EXPECT_V4_FAILS(v4_module_get_info(module, nullptr), V4_MISUSE, "info is NULL");
  EXPECT_V4_FAILS(v4_weights_load(nullptr, "x", nullptr, &weights), V4_MISUSE, "module is NULL");
  EXPECT_V4_FAILS(v4_weights_random(nullptr, 1, &weights), V4_MISUSE, "module is NULL");
  EXPECT_V4_FAILS(v4_weights_random(module, 1, nullptr), V4_MISUSE, "out is NULL");
  EXPECT_V4_FAILS(v4_session_create(module, nullptr, nullptr, &created), V4_MISUSE, "weights is NULL");
  v4_session_options options = {};
  EXPECT_V4_FAILS(v4_session_create(module, weights, &options, &created), V4_MISUSE, "struct_size is not set");
  options.struct_size = sizeof options;
  options.flags = 64;
  EXPECT_V4_FAILS(v4_session_create(module, weights, &options, &created), V4_MISUSE, "unknown flags");
  options.flags = 0;
  options.threads = 5000;
  EXPECT_V4_FAILS(v4_session_create(module, weights, &options, &created), V4_MISUSE, "threads");
  options.threads = 1;
  options.num_taps = 1;
  EXPECT_V4_FAILS(v4_session_create(module, weights, &options, &created), V4_MISUSE, "a tap is NULL");
  EXPECT_V4_FAILS(v4_session_append(nullptr, 0, nullptr, 0), V4_MISUSE, "session is NULL");
  EXPECT_V4_FAILS(v4_session_reset(nullptr, 0), V4_MISUSE, "session is NULL");
  EXPECT_V4_FAILS(v4_session_save(nullptr, 0, "x"), V4_MISUSE, "session is NULL");
  EXPECT_V4_FAILS(v4_session_load(nullptr, 0, "x"), V4_MISUSE, "session is NULL");
  EXPECT_V4_FAILS(v4_session_fill(nullptr, 0, 0, nullptr, nullptr), V4_MISUSE, "session is NULL");
  std::string bytes = moduleBytes(*toyModule());
  v4_module_options moduleOptions = {sizeof moduleOptions, "gpu"};
  EXPECT_V4_FAILS(v4_module_load_memory(bytes.data(), bytes.size(), &moduleOptions, &other), V4_MISUSE,
                  "device 'gpu' is unknown");
  ASSERT_V4_OK(v4_module_load_memory(bytes.data(), bytes.size(), nullptr, &other));
  EXPECT_V4_FAILS(v4_session_create(other, weights, nullptr, &created), V4_MISUSE, "another module");
  v4_module_free(other);
  EXPECT_EQ(created, nullptr);
  v4_module_free(nullptr);
  v4_weights_free(nullptr);
  v4_session_free(nullptr);
  v4_sampler_free(nullptr);
  v4_status_free(nullptr);
  EXPECT_EQ(v4_status_code(nullptr), V4_OK);
  EXPECT_STREQ(v4_status_message(nullptr), "");
  EXPECT_STREQ(v4_current_launch(), "");
  EXPECT_STRNE(v4_version(), "");
}

TEST_F(SessionTest, TooMuchMemoryIsAnEnvironmentError) {
  auto tree = toyModule();
  for (auto &entry : tree->targets[0]->entries)
    entry->arena_bytes = uint64_t(1) << 47;
  load(*tree);
  v4_session *created = nullptr;
  EXPECT_V4_FAILS(v4_session_create(module, weights, nullptr, &created), V4_ENVIRONMENT, "for the arena");
}

// ---- Slots

class SlotsTest : public SessionTest {
protected:
  static constexpr uint32_t slots = 3;

  /// The state of a slot as the bytes of its file.
  std::string stateOf(v4_session *s, uint32_t slot) {
    std::string path = dir / "slot-state";
    EXPECT_V4_OK(v4_session_save(s, slot, path.c_str()));
    return readText(path);
  }

  static bool same(const std::vector<float> &a, const std::vector<float> &b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
  }
};

TEST_F(SlotsTest, EverySlotMatchesTheReference) {
  load(ToyOptions{.slots = slots});
  for (uint32_t chunk : {0u, 1u, 3u}) {
    SCOPED_TRACE(chunk);
    Recording recording;
    v4_session *s = session(2, chunk, &recording);
    // Prompts of different lengths, one of them begun by a step, then steps that some slots sit out.
    std::vector<int32_t> all[slots] = {randomTokens(40, 33), randomTokens(41, 30), randomTokens(42, 20)};
    size_t done[slots] = {13, 4, 0};
    for (uint32_t slot : {1u, 0u})
      ASSERT_V4_OK(v4_session_append(s, slot, all[slot].data(), done[slot]));
    for (unsigned step = 0; done[0] + done[1] + done[2] != 83; ++step) {
      int32_t tokens[slots] = {-1, -1, -1};
      for (uint32_t slot = 0; slot != slots; ++slot)
        if (done[slot] != all[slot].size() && (step + slot) % 4 != 0)
          tokens[slot] = all[slot][done[slot]++];
      if (tokens[0] >= 0 || tokens[1] >= 0 || tokens[2] >= 0)
        ASSERT_V4_OK(v4_session_step(s, tokens, slots));
    }
    for (uint32_t slot = 0; slot != slots; ++slot) {
      SCOPED_TRACE(slot);
      EXPECT_EQ(v4_session_position(s, slot), all[slot].size());
      expectRows(recording.of(slot).logits, Reference(weightData).logits(all[slot]));
      expectRows(recording.of(slot).mtpLogits, Reference(weightData).mtpLogits(all[slot]));
      EXPECT_EQ(
          std::memcmp(v4_session_logits(s, slot), recording.of(slot).logits[all[slot].size() - 1].data(), toyVocab * 4),
          0);
    }
  }
}

TEST_F(SlotsTest, LastLogitsOnly) {
  load(ToyOptions{.logitsAll = false, .slots = slots});
  Recording recording;
  v4_session *s = session(1, 0, &recording);
  std::vector<int32_t> a = randomTokens(43, 10), b = randomTokens(44, 10);
  ASSERT_V4_OK(v4_session_append(s, 2, a.data(), 9));
  ASSERT_V4_OK(v4_session_append(s, 1, b.data(), 9));
  int32_t tokens[slots] = {-1, b[9], a[9]};
  ASSERT_V4_OK(v4_session_step(s, tokens, slots));
  EXPECT_EQ(v4_session_logits(s, 0), nullptr);
  std::vector<float> wantA = Reference(weightData).logits(a)[9], wantB = Reference(weightData).logits(b)[9];
  for (int v = 0; v != toyVocab; ++v) {
    EXPECT_NEAR(v4_session_logits(s, 2)[v], wantA[v], 1e-4);
    EXPECT_NEAR(v4_session_logits(s, 1)[v], wantB[v], 1e-4);
  }
}

TEST_F(SlotsTest, OthersAreLeftAlone) {
  load(ToyOptions{.slots = slots});
  v4_session *s = session();
  std::vector<int32_t> tokens = randomTokens(45, 40);
  ASSERT_V4_OK(v4_session_append(s, 1, tokens.data(), 11));
  std::string before = stateOf(s, 1), empty = stateOf(s, 2);
  ASSERT_V4_OK(v4_session_append(s, 0, tokens.data(), 9));     // a bucket and decode
  ASSERT_V4_OK(v4_session_append(s, 2, tokens.data() + 9, 5)); // beyond it
  int32_t step[slots] = {3, -1, 4};
  ASSERT_V4_OK(v4_session_step(s, step, slots));
  EXPECT_EQ(stateOf(s, 1), before);
  ASSERT_V4_OK(v4_session_reset(s, 2));
  EXPECT_EQ(stateOf(s, 2), empty);
  EXPECT_EQ(v4_session_position(s, 2), 0u);
  EXPECT_EQ(stateOf(s, 1), before);
  auto nan = [](void *, const char *, uint64_t, size_t count, float *out) { std::fill_n(out, count, NAN); };
  EXPECT_V4_FAILS(v4_session_fill(s, 0, 9, nan, nullptr), V4_INVALID, "NaN or infinity");
  EXPECT_EQ(v4_session_position(s, 0), 0u);
  EXPECT_EQ(stateOf(s, 1), before);
}

TEST_F(SlotsTest, StepsEqualAppendsBitForBit) {
  load(ToyOptions{.slots = slots});
  std::vector<int32_t> tokens = randomTokens(46, 30);
  Recording together, alone;
  v4_session *a = session(1, 0, &together), *b = session(1, 0, &alone);
  for (uint32_t slot = 0; slot != slots; ++slot)
    ASSERT_V4_OK(v4_session_append(a, slot, tokens.data() + slot, 2 + 4 * slot));
  ASSERT_V4_OK(v4_session_append(b, 2, tokens.data() + 2, 10));
  for (int i = 0; i != 9; ++i) {
    int32_t step[slots] = {tokens[i], tokens[i + 1], tokens[i + 12]};
    ASSERT_V4_OK(v4_session_step(a, step, slots));
    ASSERT_V4_OK(v4_session_append(b, 2, &step[2], 1));
  }
  ASSERT_EQ(together.of(2).logits.size(), 19u);
  for (auto &[position, row] : together.of(2).logits)
    EXPECT_TRUE(same(row, alone.of(2).logits[position])) << position;
  EXPECT_EQ(stateOf(a, 2), stateOf(b, 2));
}

TEST_F(SlotsTest, StatesMoveBetweenSlots) {
  load(ToyOptions{.slots = slots});
  std::vector<int32_t> tokens = randomTokens(47, 24);
  v4_session *first = session();
  ASSERT_V4_OK(v4_session_append(first, 2, tokens.data(), 14));
  std::string path = dir / "moved";
  ASSERT_V4_OK(v4_session_save(first, 2, path.c_str()));
  Recording recording;
  v4_session *second = session(1, 0, &recording);
  ASSERT_V4_OK(v4_session_load(second, 1, path.c_str()));
  ASSERT_V4_OK(v4_session_append(second, 1, tokens.data() + 14, 10));
  expectRows(recording.of(1).logits, Reference(weightData).logits(tokens), 14);
  expectRows(recording.of(1).mtpLogits, Reference(weightData).mtpLogits(tokens), 13);
  // And into a module with one slot.
  v4_weights_free(weights);
  v4_module_free(module);
  load();
  Recording single;
  v4_session *third = session(1, 0, &single);
  ASSERT_V4_OK(v4_session_load(third, 0, path.c_str()));
  ASSERT_V4_OK(v4_session_append(third, 0, tokens.data() + 14, 10));
  expectRows(single.logits, Reference(weightData).logits(tokens), 14);
}

TEST_F(SlotsTest, TapsNameTheSlot) {
  load(ToyOptions{.slots = slots});
  Recording recording;
  v4_session *s = session(1, 0, &recording, {"layers.0"});
  std::vector<int32_t> a = randomTokens(48, 6), b = randomTokens(49, 4);
  ASSERT_V4_OK(v4_session_append(s, 0, a.data(), 4));
  ASSERT_V4_OK(v4_session_append(s, 2, b.data(), 2));
  for (int i = 0; i != 2; ++i) {
    int32_t step[slots] = {a[4 + i], -1, b[2 + i]};
    ASSERT_V4_OK(v4_session_step(s, step, slots));
  }
  EXPECT_TRUE(recording.of(1).taps.empty());
  for (auto [slot, tokens] : {std::pair(0u, a), std::pair(2u, b)}) {
    auto residual = Reference(weightData).hidden(tokens);
    const Recording::Tap &tap = recording.of(slot).taps["layers.0"];
    ASSERT_EQ(tap.positions.size(), tokens.size());
    ASSERT_EQ(tap.data.size(), tokens.size() * 32);
    for (size_t p = 0; p != tokens.size(); ++p) {
      EXPECT_EQ(tap.positions[p], p);
      float value;
      std::memcpy(&value, tap.data.data() + p * 32 + 4, 4);
      EXPECT_NEAR(value, residual[p][1], 1e-5) << slot << " " << p;
    }
  }
}

TEST_F(SlotsTest, LimitsAndMisuse) {
  load(ToyOptions{.slots = slots});
  Recording recording;
  v4_session *s = session(1, 0, &recording);
  std::vector<int32_t> tokens = randomTokens(50, toyContext);
  const int32_t none[slots] = {-1, -1, -1}, bad[slots] = {1, -1, 32}, negative[slots] = {1, -2, -1};
  EXPECT_V4_FAILS(v4_session_step(s, none, slots), V4_MISUSE, "no slot was given a token");
  EXPECT_V4_FAILS(v4_session_step(s, none, 2), V4_MISUSE, "2 tokens for 3 slots");
  EXPECT_V4_FAILS(v4_session_step(s, nullptr, slots), V4_MISUSE, "tokens is NULL");
  EXPECT_V4_FAILS(v4_session_step(nullptr, none, slots), V4_MISUSE, "session is NULL");
  EXPECT_V4_FAILS(v4_session_step(s, bad, slots), V4_INVALID, "token 32 (number 0 of slot 2) is outside");
  EXPECT_V4_FAILS(v4_session_step(s, negative, slots), V4_INVALID, "token -2 (number 0 of slot 1)");
  EXPECT_TRUE(recording.logits.empty()) << "nothing runs before all tokens are checked";
  ASSERT_V4_OK(v4_session_append(s, 1, tokens.data(), toyContext));
  const int32_t full[slots] = {1, 1, -1};
  EXPECT_V4_FAILS(v4_session_step(s, full, slots), V4_INVALID, "1 tokens at position 40 of slot 1 exceed");
  EXPECT_EQ(v4_session_position(s, 0), 0u);
  const char *text = "there is no slot 3; the module has 3";
  EXPECT_V4_FAILS(v4_session_append(s, 3, tokens.data(), 1), V4_MISUSE, text);
  EXPECT_V4_FAILS(v4_session_reset(s, 3), V4_MISUSE, text);
  EXPECT_V4_FAILS(v4_session_save(s, 3, "x"), V4_MISUSE, text);
  EXPECT_V4_FAILS(v4_session_load(s, 3, "x"), V4_MISUSE, text);
  EXPECT_V4_FAILS(v4_session_fill(s, UINT32_MAX, 0, nullptr, nullptr), V4_MISUSE, "there is no slot 4294967295");
  EXPECT_EQ(v4_session_position(s, 3), 0u);
  EXPECT_EQ(v4_session_logits(s, 3), nullptr);
  EXPECT_FALSE(v4_session_mtp_active(s, 3));
}

TEST_F(SlotsTest, InfoCountsAllSlots) {
  load(ToyOptions{.slots = slots});
  v4_module_info info = {};
  info.struct_size = sizeof info;
  ASSERT_V4_OK(v4_module_get_info(module, &info));
  EXPECT_EQ(info.slots, 3u);
  EXPECT_EQ(info.state_cache_bytes, 3 * (4 + 11 + 14 + 4) * 32u);
  EXPECT_EQ(info.state_rows_bytes, 3 * (8 + 8 + 3 + 3) * 32u);
}

} // namespace
