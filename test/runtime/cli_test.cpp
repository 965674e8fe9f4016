// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-run, v4-dump and v4-bench as processes: outputs, comparisons, exit codes, messages, nothing left behind.
#include "runtime/FileIo.h"
#include "runtime/Json.h"
#include "runtime/Module.h"
#include "runtime/Npy.h"
#include "test/runtime/Fixture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <functional>
#include <set>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace v4;
using namespace v4::test;

namespace {

struct Outcome {
  int exit = -1; // 128 + signal when it died of one
  long peak = 0; // bytes resident at most
  std::string out, err;
};

class CliTest : public testing::Test {
protected:
  void SetUp() override {
    weightData = ToyWeights::random(21);
    ToyCheckpoint::make(weightData).write(dir / "ckpt");
    writeText(module, moduleBytes(*toyModule()));
  }

  /// `during` runs in the parent while the tool runs.
  Outcome runTool(const char *tool, std::vector<std::string> arguments, const std::string &stdoutPath = {},
                  rlim_t memory = 0, const std::function<void(pid_t)> &during = {},
                  const std::string &stdinPath = "/dev/null") {
    std::string outPath = stdoutPath.empty() ? dir / "stdout" : stdoutPath, errPath = dir / "stderr";
    std::vector<char *> argv = {const_cast<char *>(tool)};
    for (std::string &argument : arguments)
      argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_t child = ::fork();
    if (child == 0) {
      int out = ::open(outPath.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
      int err = ::open(errPath.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
      ::dup2(::open(stdinPath.c_str(), O_RDONLY), 0);
      ::dup2(out, 1);
      ::dup2(err, 2);
      if (memory) {
        rlimit limit = {memory, memory};
        ::setrlimit(RLIMIT_AS, &limit);
      }
      ::execv(tool, argv.data());
      ::_exit(127);
    }
    if (during)
      during(child);
    int status = 0;
    rusage usage = {};
    ::wait4(child, &status, 0, &usage);
    Outcome outcome;
    outcome.peak = usage.ru_maxrss * 1024;
    outcome.exit = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (stdoutPath.empty())
      outcome.out = readText(outPath);
    outcome.err = readText(errPath);
    return outcome;
  }
  Outcome run(std::vector<std::string> arguments) { return runTool(V4_RUN, std::move(arguments)); }

  /// v4-run on the toy with these further arguments.
  Outcome toy(std::vector<std::string> more) {
    std::vector<std::string> arguments = {module, "--weights=" + (dir / "ckpt"), "--threads=2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }

  static std::string tokenList(const std::vector<int32_t> &tokens) {
    std::string out = "--tokens=";
    for (size_t i = 0; i != tokens.size(); ++i)
      out += (i ? "," : "") + std::to_string(tokens[i]);
    return out;
  }

  /// Greedy continuation by the reference.
  std::vector<int32_t> continuation(std::vector<int32_t> tokens, size_t count) {
    std::vector<int32_t> out;
    for (size_t i = 0; i != count; ++i) {
      auto logits = Reference(weightData).logits(tokens).back();
      out.push_back(static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
      tokens.push_back(out.back());
    }
    return out;
  }

  static void writeNpy(const std::string &path, const std::vector<std::vector<float>> &rows) {
    std::string bytes = npyHeader({rows.size(), rows[0].size()});
    for (const auto &row : rows)
      bytes.append(reinterpret_cast<const char *>(row.data()), row.size() * 4);
    writeText(path, bytes);
  }

  /// A golden case for the toy.
  void writeCase(const std::string &path, size_t generated = 6) {
    ::mkdir(path.c_str(), 0777);
    ToyCheckpoint::make(weightData).write(path + "/checkpoint");
    std::vector<int32_t> prompt = randomTokens(31, 13), more = continuation(prompt, generated), all = prompt;
    all.insert(all.end(), more.begin(), more.end());
    auto list = [](const std::vector<int32_t> &tokens) {
      std::string text = "[";
      for (size_t i = 0; i != tokens.size(); ++i)
        text += (i ? "," : "") + std::to_string(tokens[i]);
      return text + "]";
    };
    writeText(path + "/case.json", "{\"prompt\": " + list(prompt) + ", \"generated\": " + list(more) +
                                       ", \"f32\": {\"max_abs_over_max_logit\": 2e-05}}");
    writeNpy(path + "/logits_f32.npy", Reference(weightData).logits(all));
    writeNpy(path + "/mtp_logits_f32.npy", Reference(weightData).mtpLogits(prompt));
  }

  /// Files of the directory whose name shows a temporary.
  std::set<std::string> leftovers() {
    std::set<std::string> out;
    DIR *handle = ::opendir(dir.path.c_str());
    while (const dirent *entry = ::readdir(handle))
      if (std::string_view(entry->d_name).find(".tmp-") != std::string_view::npos)
        out.insert(entry->d_name);
    ::closedir(handle);
    return out;
  }

  static void expectExit(const Outcome &outcome, int exit, const std::string &text) {
    EXPECT_EQ(outcome.exit, exit) << outcome.err;
    EXPECT_NE((outcome.err + outcome.out).find(text), std::string::npos) << outcome.err << outcome.out;
  }

  TempDir dir;
  std::string module = dir / "toy.v4m";
  ToyWeights weightData;
};

TEST_F(CliTest, GeneratesGreedily) {
  std::vector<int32_t> prompt = randomTokens(30, 9), more = continuation(prompt, 7);
  Outcome outcome = toy({tokenList(prompt), "--generate=7"});
  ASSERT_EQ(outcome.exit, 0) << outcome.err;
  std::string want = "tokens:";
  for (int32_t token : more)
    want += " " + std::to_string(token);
  EXPECT_EQ(outcome.out, want + "\n");
  EXPECT_NE(outcome.err.find("arena: 576 bytes\nstate: 1760 bytes (cache 1056, compressor rows 704)\n"),
            std::string::npos)
      << outcome.err;
}

TEST_F(CliTest, TokenFiles) {
  std::vector<int32_t> prompt = randomTokens(32, 6);
  std::string wanted = toy({tokenList(prompt), "--generate=5"}).out;
  for (bool wide : {false, true}) {
    std::string header = npyHeader({prompt.size()}), data;
    header.replace(header.find("<f4"), 3, wide ? "<i8" : "<i4");
    for (int64_t token : prompt)
      data.append(reinterpret_cast<const char *>(&token), wide ? 8 : 4);
    writeText(dir / "p.npy", header + data);
    Outcome outcome = toy({"--tokens=@" + (dir / "p.npy"), "--generate=5"});
    EXPECT_EQ(outcome.exit, 0) << outcome.err;
    EXPECT_EQ(outcome.out, wanted);
  }
  writeText(dir / "p.npy", npyHeader({1}) + std::string(4, '\0'));
  expectExit(toy({"--tokens=@" + (dir / "p.npy")}), 1, "tokens are a list of int32 or int64");
  std::string negative = npyHeader({1});
  negative.replace(negative.find("<f4"), 3, "<i4");
  writeText(dir / "p.npy", negative + std::string(4, '\xFF'));
  expectExit(toy({"--tokens=@" + (dir / "p.npy")}), 1, "token -1 (number 0)");
  writeText(dir / "p.npy", "junk");
  expectExit(toy({"--tokens=@" + (dir / "p.npy")}), 1, "p.npy: this is not a .npy file");
  expectExit(toy({"--tokens=@" + (dir / "absent")}), 1, "cannot open");
}

TEST_F(CliTest, WritesLogits) {
  std::vector<int32_t> prompt = randomTokens(33, 9), all = prompt, more = continuation(prompt, 3);
  all.insert(all.end(), more.begin(), more.end());
  Outcome outcome =
      toy({tokenList(prompt), "--generate=3", "--logits=" + (dir / "l.npy"), "--mtp-logits=" + (dir / "m.npy")});
  ASSERT_EQ(outcome.exit, 0) << outcome.err;
  auto check = [&](const std::string &path, const std::vector<std::vector<float>> &want) {
    std::string bytes = readText(path);
    auto array = parseNpy(bytesOf(bytes));
    ASSERT_TRUE(array) << array.takeStatus().message();
    EXPECT_EQ(array->shape, (std::vector<uint64_t>{want.size(), toyVocab}));
    for (size_t p = 0; p != want.size(); ++p)
      for (size_t v = 0; v != toyVocab; ++v) {
        float got;
        std::memcpy(&got, array->data.data() + (p * toyVocab + v) * 4, 4);
        ASSERT_NEAR(got, want[p][v], 1e-4) << p;
      }
  };
  check(dir / "l.npy", Reference(weightData).logits(all));
  check(dir / "m.npy", Reference(weightData).mtpLogits(all));
  EXPECT_TRUE(leftovers().empty());
}

TEST_F(CliTest, ExpectedLogits) {
  std::vector<int32_t> prompt = randomTokens(34, 9);
  auto rows = Reference(weightData).logits(prompt);
  std::string expect = "--expect=" + (dir / "e.npy");
  writeNpy(dir / "e.npy", rows);
  expectExit(toy({tokenList(prompt), expect, "--check=maxrel:1e-5"}), 0, "logits: largest difference");
  expectExit(toy({tokenList(prompt), expect, "--check=cosine:median=0.999,share@0.999=1"}), 0, "median cosine");
  rows[4][7] += 0.5f; // one wrong row of nine
  writeNpy(dir / "e.npy", rows);
  expectExit(toy({tokenList(prompt), expect, "--check=maxrel:1e-5"}), 4, "FAILED");
  expectExit(toy({tokenList(prompt), expect, "--check=maxrel:0.9"}), 0, "ok");
  expectExit(toy({tokenList(prompt), expect, "--check=cosine:median=0.99999"}), 0, "ok");
  expectExit(toy({tokenList(prompt), expect, "--check=cosine:median=0.99999,share@0.99999=0.95"}), 4, "FAILED");
  for (auto &row : rows)
    std::swap(row[0], row[1]);
  writeNpy(dir / "e.npy", rows);
  expectExit(toy({tokenList(prompt), expect, "--check=cosine:median=0.99999"}), 4, "FAILED");
  rows[8][0] = NAN;
  writeNpy(dir / "e.npy", rows);
  expectExit(toy({tokenList(prompt), expect, "--check=maxrel:100"}), 4, "NaN or infinity");
  rows.pop_back();
  writeNpy(dir / "e.npy", rows);
  expectExit(toy({tokenList(prompt), expect, "--check=maxrel:1"}), 1,
             "expected float32 [9, 32], found float32 [8, 32]");
}

TEST_F(CliTest, NanLogitsAreAnError) {
  weightData.head[5] = NAN;
  ToyCheckpoint::make(weightData).write(dir / "ckpt");
  expectExit(toy({"--tokens=1,2", "--generate=1"}), 1, "is NaN or infinity");
}

TEST_F(CliTest, Case) {
  std::string path = dir / "case";
  writeCase(path);
  Outcome outcome = run({module, "--case=" + path});
  EXPECT_EQ(outcome.exit, 0) << outcome.out << outcome.err;
  EXPECT_NE(outcome.out.find("tokens: "), std::string::npos);
  EXPECT_NE(outcome.out.find("\nlogits: largest difference"), std::string::npos);
  EXPECT_NE(outcome.out.find("over 19 rows: ok"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("mtp logits: largest difference"), std::string::npos);
  EXPECT_NE(outcome.out.find("over 12 rows: ok"), std::string::npos) << outcome.out;
  for (const char *chunk : {"--chunk=1", "--chunk=3", "--chunk=8"})
    EXPECT_EQ(run({module, "--case=" + path, chunk}).exit, 0);

  std::string text = readText(path + "/case.json"), edited = text;
  size_t at = edited.find("\"generated\": [") + 14;
  edited.replace(at, edited.find(',', at) - at, edited[at] == '9' ? "8" : "9");
  writeText(path + "/case.json", edited);
  expectExit(run({module, "--case=" + path}), 4, "tokens: number 0 is");
  writeText(path + "/case.json", text);
  for (const char *name :
       {"/logits_f32.npy", "/mtp_logits_f32.npy"}) { // one value, off by a little more than the bound
    std::string stored = readText(path + name), changed = stored;
    float value;
    std::memcpy(&value, changed.data() + changed.size() - 4, 4);
    value += 0.01f;
    std::memcpy(changed.data() + changed.size() - 4, &value, 4);
    writeText(path + name, changed);
    expectExit(run({module, "--case=" + path}), 4, "FAILED");
    writeText(path + name, stored);
  }
  edited = text;
  edited.replace(edited.find("\"f32\""), 5, "\"f16\"");
  writeText(path + "/case.json", edited);
  expectExit(run({module, "--case=" + path}), 1, "there is no bound to check numerics 'f32'");
  writeText(path + "/case.json", "{\"prompt\": [1], \"generated\": [1.5]}");
  expectExit(run({module, "--case=" + path}), 1, "'generated' holds something that is not a token id");
  writeText(path + "/case.json", "{\"generated\": []}");
  expectExit(run({module, "--case=" + path}), 1, "'prompt' is missing");
  writeText(path + "/case.json", "{");
  expectExit(run({module, "--case=" + path}), 1, "case.json: ");
  writeText(path + "/case.json", text);
  auto tree = toyModule();
  tree->provenance->numerics = "fast";
  writeText(module, moduleBytes(*tree));
  expectExit(run({module, "--case=" + path}), 1, "numerics 'fast'");
}

TEST_F(CliTest, CaseFromAState) {
  // The formula's state, written to a file here by hand, must give what --case gives.
  std::string path = dir / "case";
  writeCase(path, 0);
  std::string text = readText(path + "/case.json");
  text.replace(text.find('{'), 1, "{\"state_position\": 9, ");
  writeText(path + "/case.json", text);
  Outcome first = toy({"--tokens=1,2,3,4,5,6,7,8,9", "--save-state=" + (dir / "s")});
  ASSERT_EQ(first.exit, 0) << first.err;
  auto file = SafetensorsFile::open(dir / "s");
  ASSERT_TRUE(file);
  std::vector<TensorData> tensors;
  for (const TensorInfo &tensor : file->tensors()) {
    Bytes bytes = file->bytes(tensor);
    std::string data(reinterpret_cast<const char *>(bytes.data()), bytes.size());
    if (tensor.name == "mtp.hidden")
      continue;
    if (tensor.dtype == "F32") {
      uint32_t seed = ~0u;
      for (unsigned char c : tensor.name) {
        seed ^= c;
        for (int bit = 0; bit != 8; ++bit)
          seed = seed >> 1 ^ ((seed & 1) ? 0xEDB88320u : 0);
      }
      seed = ~seed;
      for (uint32_t i = 0; i != data.size() / 4; ++i) {
        uint32_t x = i * 0x9E3779B9u + seed;
        x ^= x >> 16, x *= 0x7FEB352Du, x ^= x >> 15, x *= 0x846CA68Bu, x ^= x >> 16;
        float value = static_cast<float>(static_cast<double>(x >> 8) / 8388608.0 - 1.0);
        std::memcpy(data.data() + i * 4, &value, 4);
      }
    }
    tensors.push_back({tensor.name, std::string(tensor.dtype), tensor.shape, data});
  }
  writeText(dir / "formula", safetensorsFile(tensors));
  std::vector<int32_t> prompt = randomTokens(31, 13);
  Outcome loaded =
      toy({tokenList(prompt), "--load-state=" + (dir / "formula"), "--logits=" + path + "/logits_f32.npy"});
  ASSERT_EQ(loaded.exit, 0) << loaded.err;
  Outcome outcome = run({module, "--case=" + path});
  EXPECT_EQ(outcome.exit, 0) << outcome.out << outcome.err;
  EXPECT_NE(outcome.out.find("over 13 rows: ok"), std::string::npos) << outcome.out;
  EXPECT_EQ(outcome.out.find("mtp"), std::string::npos) << "the block cannot run from such a state";
  expectExit(toy({tokenList(prompt), "--load-state=" + (dir / "formula"), "--mtp-logits=" + (dir / "m.npy")}), 1,
             "the state lacks 'mtp.hidden'");
}

TEST_F(CliTest, StateContinues) {
  std::vector<int32_t> prompt = randomTokens(35, 11);
  std::string whole = toy({tokenList(prompt), "--generate=8"}).out;
  Outcome first = toy({tokenList({prompt.begin(), prompt.begin() + 6}), "--save-state=" + (dir / "s")});
  ASSERT_EQ(first.exit, 0) << first.err;
  Outcome second = toy({tokenList({prompt.begin() + 6, prompt.end()}), "--load-state=" + (dir / "s"), "--generate=8",
                        "--mtp-logits=" + (dir / "m.npy")});
  EXPECT_EQ(second.out, whole) << second.err;
  std::string bytes = readText(dir / "m.npy");
  auto array = parseNpy(bytesOf(bytes));
  ASSERT_TRUE(array);
  EXPECT_EQ(array->shape, (std::vector<uint64_t>{13, toyVocab})) << "one row for the token before, too";
}

TEST_F(CliTest, Sampling) {
  auto sample = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {tokenList(randomTokens(36, 4)), "--generate=20"});
    Outcome outcome = toy(more);
    EXPECT_EQ(outcome.exit, 0) << outcome.err;
    return outcome.out;
  };
  std::string greedy = sample({});
  EXPECT_EQ(sample({"--temperature=0"}), greedy);
  EXPECT_EQ(sample({"--temperature=5", "--seed=1"}), sample({"--temperature=5", "--seed=1"}));
  EXPECT_NE(sample({"--temperature=5", "--seed=1"}), sample({"--temperature=5", "--seed=2"}));
  EXPECT_NE(sample({"--temperature=5", "--seed=1"}), greedy);
  EXPECT_EQ(sample({"--temperature=5", "--seed=1", "--top-p=1e-9"}), greedy);
}

TEST_F(CliTest, TapsAndTraceAndProfile) {
  std::vector<int32_t> prompt = randomTokens(37, 9);
  auto residual = Reference(weightData).hidden(prompt);
  Outcome outcome = toy({tokenList(prompt), "--taps=layers.0,count,prefill.bits", "--taps-out=" + (dir / "t"),
                         "--trace=" + (dir / "trace"), "--profile"});
  ASSERT_EQ(outcome.exit, 0) << outcome.err;
  auto file = SafetensorsFile::open(dir / "t");
  ASSERT_TRUE(file) << file.takeStatus().message();
  const TensorInfo *tap = file->find("layers.0");
  ASSERT_NE(tap, nullptr);
  EXPECT_EQ(tap->dtype, "F32");
  EXPECT_EQ(tap->shape, (std::vector<uint64_t>{9, 2, 4}));
  for (size_t i = 0; i != 72; ++i) {
    float value;
    std::memcpy(&value, file->bytes(*tap).data() + i * 4, 4);
    EXPECT_NEAR(value, residual[i / 8][i % 8], 1e-5);
  }
  ASSERT_NE(file->find("count"), nullptr);
  EXPECT_EQ(file->find("count")->dtype, "I32");
  EXPECT_EQ(file->find("count")->shape, (std::vector<uint64_t>{8})) << "only the bucket has this value";
  ASSERT_NE(file->find("prefill.bits"), nullptr);
  EXPECT_EQ(file->find("prefill.bits")->dtype, "F32") << "bf16 is widened";
  EXPECT_EQ(file->find("prefill.bits")->shape, (std::vector<uint64_t>{8}));
  uint32_t widened, raw;
  std::memcpy(&widened, file->bytes(*file->find("prefill.bits")).data() + 4, 4);
  std::memcpy(&raw, file->bytes(*tap).data(), 4); // the same memory, seen as pairs of bf16
  EXPECT_EQ(widened, raw & 0xFFFF0000u);

  auto trace = json::parseFile(dir / "trace");
  ASSERT_TRUE(trace) << trace.takeStatus().message();
  const json::Value *events = trace->find("traceEvents");
  ASSERT_TRUE(events && events->isArray());
  EXPECT_EQ(events->elements.size(), 5 + 3 + 5 + 3u); // a bucket and a decode, each with MTP
  EXPECT_EQ(events->elements[0].find("name")->string, "embed");
  EXPECT_NE(outcome.out.find("kernel "), std::string::npos);
  EXPECT_NE(outcome.out.find("toy_mix_1 "), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("\ntotal "), std::string::npos);
  EXPECT_NE(outcome.out.find("100.0%"), std::string::npos);
  EXPECT_EQ(toy({tokenList(prompt)}).out, "");
}

TEST_F(CliTest, ChunkAndThreadsTakeEffect) {
  auto entries = [&](std::vector<std::string> more) {
    more.insert(more.end(), {tokenList(randomTokens(38, 8)), "--trace=" + (dir / "trace")});
    EXPECT_EQ(toy(more).exit, 0);
    auto trace = json::parseFile(dir / "trace");
    std::vector<std::string> names;
    for (const json::Value &event : trace->find("traceEvents")->elements)
      if (event.find("name")->string == "embed" && !event.find("cat")->string.starts_with("mtp"))
        names.push_back(event.find("cat")->string);
    return names;
  };
  EXPECT_EQ(entries({}), (std::vector<std::string>{"prefill_8"}));
  EXPECT_EQ(entries({"--chunk=3"}), (std::vector<std::string>{"prefill_4", "prefill_4", "prefill_4"}));
  EXPECT_EQ(entries({"--chunk=1"}), std::vector<std::string>(8, "decode"));

  writeText(module, moduleBytes(*toyModule({.maxContext = 4000000})));
  for (int threads : {1, 3}) {
    int seen = 0;
    runTool(V4_RUN,
            {module, "--weights=" + (dir / "ckpt"), "--tokens=1", "--generate=3900000",
             "--threads=" + std::to_string(threads)},
            {}, 0, [&](pid_t child) {
              std::string tasks = "/proc/" + std::to_string(child) + "/task";
              for (int i = 0; i != 300 && seen < threads; ++i) {
                ::usleep(10000);
                seen = 0;
                if (DIR *handle = ::opendir(tasks.c_str())) {
                  while (const dirent *entry = ::readdir(handle))
                    seen += entry->d_name[0] != '.';
                  ::closedir(handle);
                }
              }
              ::usleep(50000); // one more than asked for would have started by now
              ::kill(child, SIGINT);
            });
    EXPECT_EQ(seen, threads);
  }
}

TEST_F(CliTest, Slots) {
  writeText(module, moduleBytes(*toyModule({.slots = 3})));
  std::vector<std::vector<int32_t>> prompts = {randomTokens(61, 9), randomTokens(62, 1), randomTokens(63, 14)}, all;
  std::vector<std::string> arguments = {"--generate=6"};
  std::string want;
  for (size_t slot = 0; slot != 3; ++slot) {
    std::vector<int32_t> more = continuation(prompts[slot], 6);
    all.push_back(prompts[slot]);
    all[slot].insert(all[slot].end(), more.begin(), more.end());
    want += "tokens of slot " + std::to_string(slot) + ":";
    for (int32_t token : more)
      want += " " + std::to_string(token);
    want += "\n";
    std::string file = dir / std::to_string(slot);
    writeNpy(file + ".e", Reference(weightData).logits(all[slot]));
    for (const std::string &option :
         {tokenList(prompts[slot]), "--logits=" + file + ".l", "--mtp-logits=" + file + ".m",
          "--save-state=" + file + ".s", "--expect=" + file + ".e", "--taps-out=" + file + ".t"})
      arguments.push_back(option);
  }
  arguments.push_back("--check=maxrel:1e-5");
  arguments.push_back("--taps=layers.0");
  Outcome outcome = toy(arguments);
  ASSERT_EQ(outcome.exit, 0) << outcome.err << outcome.out;
  EXPECT_EQ(outcome.out.substr(0, want.size()), want);
  for (const char *piece : {"logits of slot 0: largest", "over 15 rows: ok", "logits of slot 1: largest",
                            "over 7 rows: ok", "logits of slot 2: largest", "over 20 rows: ok"})
    EXPECT_NE(outcome.out.find(piece), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.err.find("state: 5280 bytes for 3 slots (cache 3168, compressor rows 2112)"), std::string::npos)
      << outcome.err;
  EXPECT_TRUE(leftovers().empty());

  // Each file is that of a run of the sequence alone, in slot 0.
  for (size_t slot = 0; slot != 3; ++slot) {
    std::string file = dir / std::to_string(slot), alone = dir / "alone";
    Outcome single =
        toy({tokenList(prompts[slot]), "--generate=6", "--logits=" + alone + ".l", "--mtp-logits=" + alone + ".m",
             "--save-state=" + alone + ".s", "--taps=layers.0", "--taps-out=" + alone + ".t"});
    ASSERT_EQ(single.exit, 0) << single.err;
    for (const char *kind : {".l", ".m", ".s", ".t"})
      EXPECT_EQ(readText(file + kind), readText(alone + kind)) << slot << kind;
  }

  // The states go on, in another order of slots.
  Outcome onward = toy({"--tokens=5,6", "--tokens=7", "--load-state=" + (dir / "2.s"), "--load-state=" + (dir / "0.s"),
                        "--logits=" + (dir / "a.l"), "--logits=" + (dir / "b.l")});
  ASSERT_EQ(onward.exit, 0) << onward.err;
  for (auto [file, history, more] :
       {std::tuple("a.l", all[2], std::vector<int32_t>{5, 6}), std::tuple("b.l", all[0], std::vector<int32_t>{7})}) {
    history.insert(history.end(), more.begin(), more.end());
    auto rows = Reference(weightData).logits(history);
    std::string bytes = readText(dir / file);
    auto array = parseNpy(bytesOf(bytes));
    ASSERT_TRUE(array);
    ASSERT_EQ(array->shape, (std::vector<uint64_t>{more.size(), toyVocab}));
    float value;
    std::memcpy(&value, array->data.data() + (more.size() - 1) * toyVocab * 4, 4);
    EXPECT_NEAR(value, rows.back()[0], 1e-4);
  }
  expectExit(toy({"--tokens=1", "--tokens=2", "--tokens=3", "--tokens=4"}), 1,
             "4 token lists for 3 slots; compile the module with --slots=4");
  expectExit(toy({"--tokens=1", "--tokens=99"}), 1, "token 99 (number 0 of slot 1) is outside the vocabulary");
  expectExit(toy({"--tokens=1", tokenList(std::vector<int32_t>(39, 1)), "--generate=2"}), 1,
             "a prompt of slot 1 of 39 and 2 generated tokens from position 0 exceed");
  // A comparison that fails in one slot fails the run.
  auto wrong = Reference(weightData).logits(prompts[2]);
  wrong[3][4] += 1;
  writeNpy(dir / "w.e", wrong);
  writeNpy(dir / "r.e", Reference(weightData).logits(prompts[0]));
  expectExit(toy({tokenList(prompts[0]), tokenList(prompts[2]), "--expect=" + (dir / "r.e"),
                  "--expect=" + (dir / "w.e"), "--check=maxrel:1e-5"}),
             4, "logits of slot 1: largest");
  writeText(module, moduleBytes(*toyModule()));
  expectExit(toy({"--tokens=1", "--tokens=2"}), 1, "2 token lists for 1 slot; compile the module with --slots=2");
}

TEST_F(CliTest, SlotsSampleApart) {
  writeText(module, moduleBytes(*toyModule({.slots = 2})));
  std::vector<std::string> more = {"--generate=12", "--temperature=3"};
  auto sample = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    Outcome outcome = toy(arguments);
    EXPECT_EQ(outcome.exit, 0) << outcome.err;
    return outcome.out;
  };
  std::string both = sample({"--tokens=1,2,3", "--tokens=1,2,3", "--seed=4"});
  std::string first = sample({"--tokens=1,2,3", "--seed=4"}), second = sample({"--tokens=1,2,3", "--seed=5"});
  EXPECT_NE(first, second);
  auto list = [](const std::string &line) { return line.substr(line.find(':')); };
  EXPECT_EQ(both, "tokens of slot 0" + list(first) + "tokens of slot 1" + list(second));
}

TEST_F(CliTest, UsageErrors) {
  struct Usage {
    std::vector<std::string> arguments;
    const char *text;
  };
  std::string weights = "--weights=" + (dir / "ckpt");
  const Usage usages[] = {
      {{}, "missing argument: M.v4m"},
      {{module}, "--weights is missing"},
      {{module, weights}, "--tokens is missing"},
      {{module, weights, "--tokens=1,x"}, "--tokens=1,x is neither"},
      {{module, weights, "--tokens=1", "--bogus"}, "unknown option '--bogus'"},
      {{module, weights, "--tokens=1", "--thread=1"}, "did you mean '--threads'?"},
      {{module, weights, "--tokens=1", "--threads=0"}, "--threads=0 is not a whole number from 1 to 1024"},
      {{module, weights, "--tokens=1", "--chunk=0"}, "--chunk=0"},
      {{module, weights, "--tokens=1", "--generate=-1"}, "--generate=-1"},
      {{module, weights, "--tokens=1", "--device=gpu"},
       "unknown value 'gpu' for --device; did you mean 'cpu'? (accepted: cpu, cuda, cuda:N, emu)"},
      {{module, weights, "--tokens=1", "--device=cuda", "--emu-order=1"},
       "--emu-order has no effect without --device=emu"},
      {{module, weights, "--tokens=1", "--temperature=-1"}, "--temperature=-1"},
      {{module, weights, "--tokens=1", "--temperature=nan"}, "--temperature=nan"},
      {{module, weights, "--tokens=1", "--temperature=1", "--top-p=0"}, "--top-p=0"},
      {{module, weights, "--tokens=1", "--top-p=0.5"}, "--top-p has no effect without --temperature"},
      {{module, weights, "--tokens=1", "--seed=1"}, "--seed has no effect"},
      {{module, weights, "--tokens=1", "--expect=x"}, "--expect and --check need each other"},
      {{module, weights, "--tokens=1", "--check=maxrel:1"}, "--expect and --check need each other"},
      {{module, weights, "--tokens=1", "--taps=x"}, "--taps and --taps-out need each other"},
      {{module, weights, "--tokens=1", "--expect=x", "--check=maxrel:x"}, "--check=maxrel:x is neither"},
      {{module, weights, "--tokens=1", "--expect=x", "--check=cosine:0.9"}, "--check=cosine:0.9 is neither"},
      {{module, weights, "--tokens=1", "--expect=x", "--check=cosine:median=0.9,share=1"}, "is neither"},
      {{module, weights, "--tokens=1", "--tokens=2", "--logits=x"}, "--logits is given 1 times for 2 sequences"},
      {{module, weights, "--tokens=1", "--save-state=x", "--save-state=y"}, "--save-state is given 2 times for 1 seq"},
      {{module, weights, "--tokens=1", "--tokens=2", "--expect=x", "--check=maxrel:1"}, "--expect is given 1 times"},
      {{module, "--case=x", "--logits=x", "--logits=y"}, "--logits is given 2 times for 1 sequences"},
      {{module, "--case=x", "--tokens=1"}, "--tokens cannot be combined with --case"},
      {{module, "--case=x", weights}, "--weights cannot be combined with --case"},
  };
  for (const Usage &usage : usages) {
    Outcome outcome = run(usage.arguments);
    expectExit(outcome, 2, usage.text);
    EXPECT_NE(outcome.err.find("v4-run --help"), std::string::npos);
  }
  EXPECT_EQ(run({"--version"}).exit, 0);
  Outcome help = run({"--help"});
  EXPECT_EQ(help.exit, 0);
  EXPECT_LE(std::count(help.out.begin(), help.out.end(), '\n'), 80);
}

/// The tools find the libcuda.so.1 of a folder.
struct DriverPath {
  explicit DriverPath(const std::string &path) { ::setenv("LD_LIBRARY_PATH", path.c_str(), 1); }
  ~DriverPath() { ::unsetenv("LD_LIBRARY_PATH"); }
};

/// On the fake driver (fake-cuda/FakeCuda.h).
TEST_F(CliTest, RunsOnAGpu) {
  // The CPU has a parameter of its own, as for a layout of its own: it stays behind.
  auto tree = toyModule({.gpu = true});
  auto own = std::make_unique<fbs::ParameterT>(*tree->parameters[4]);
  own->name = "head_of_cpu";
  tree->parameters.push_back(std::move(own));
  for (auto &entry : tree->targets[0]->entries)
    for (auto &launch : entry->launches)
      for (fbs::Binding &binding : launch->bindings)
        if (binding.kind() == fbs::BindingKind::Parameter && binding.index() == 4)
          binding = fbs::Binding(binding.offset(), binding.bytes(), 5, binding.kind());
  writeText(module, moduleBytes(*tree));

  DriverPath path(V4_FAKE_CUDA);
  ::setenv("V4_FAKE_CUDA_KERNELS", module.c_str(), 1);
  std::vector<int32_t> prompt = randomTokens(5, 11);
  std::string expected = "tokens:";
  for (int32_t token : continuation(prompt, 4))
    expected += " " + std::to_string(token);
  std::vector<std::string> arguments = {tokenList(prompt), "--generate=4", "--profile", "--trace=" + (dir / "t.json")};
  EXPECT_EQ(toy(arguments).out.find(expected + "\n"), 0u);
  arguments.push_back("--device=cuda");
  Outcome outcome = toy(arguments);
  EXPECT_EQ(outcome.exit, 0) << outcome.err;
  EXPECT_EQ(outcome.out.find(expected + "\n"), 0u) << outcome.out;
  EXPECT_NE(outcome.err.find("device: GPU 0 (Fake GPU, compute capability 9.0, driver CUDA 13.0)\n"),
            std::string::npos);
  // embed, experts, stacked, bias and head, and an offset of 8 bytes for each of the eight experts.
  EXPECT_NE(outcome.err.find("\nweights: 2384 bytes\n"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.out.find("toy_mix_1 "), std::string::npos) << outcome.out;
  // One event for every launch, whether it ran by itself or in a graph: two of prefill and four of decode, with MTP.
  Expected<json::Value> trace = json::parseFile(dir / "t.json");
  ASSERT_TRUE(trace) << trace.takeStatus().message();
  size_t mixes = 0;
  for (const json::Value &event : trace->find("traceEvents")->elements)
    mixes += event.find("name")->string == "layers.0.mix" && event.find("dur")->real >= 0;
  EXPECT_EQ(mixes, 6u);
  ::unsetenv("V4_FAKE_CUDA_KERNELS");
}

/// What --device=cuda says where there is no driver, or one that is too old. The system's own driver, if it has one, is
/// not found: a broken one stands before it.
TEST_F(CliTest, DriversThatDoNotServe) {
  expectExit(toy({"--tokens=1", "--device=cuda"}), 1,
             "the module has no code for device 'cuda' (it has: cpu); compile it with --target=nvptx");
  auto gpu = toyModule();
  gpu->targets[0]->name = "nvptx:sm_90a";
  gpu->targets[0]->images[0]->kind = fbs::ImageKind::Cubin;
  gpu->targets[0]->images[0]->arch = "sm_90a";
  for (auto &kernel : gpu->targets[0]->kernels)
    for (auto &phase : kernel->phases)
      phase->block = std::make_unique<fbs::Dim3>(32, 1, 1);
  writeText(module, moduleBytes(*gpu));
  expectExit(toy({"--tokens=1"}), 1, "no code for device 'cpu' (it has: nvptx:sm_90a)");
  for (const char *name : {"--device=cuda:x", "--device=cuda:-1", "--device=cuda:99999999999"})
    expectExit(toy({"--tokens=1", name}), 2, "is unknown (accepted: cpu, cuda, cuda:N, emu)");
  writeText(dir / "libcuda.so.1", "no library");
  auto fails = [&](const std::string &path, const std::string &text) {
    DriverPath scope(path);
    for (const char *device : {"--device=cuda", "--device=cuda:1"}) {
      expectExit(toy({"--tokens=1", device, "--save-state=" + (dir / "state")}), 3, text);
      expectExit(runTool(V4_BENCH, {module, "--random-weights=1", device}), 3, text);
      expectExit(runTool(V4_BENCH, {"--probe", device}), 3, text);
    }
  };
  fails(dir.path, "there is no NVIDIA driver: ");
  fails(V4_OLD_CUDA, "the NVIDIA driver (CUDA 10.2) is too old: libcuda.so.1 lacks 'cu");
  fails(V4_OLD_CUDA, "; a driver of CUDA 11.4 or later is needed");
  EXPECT_NE(::access((dir / "state").c_str(), F_OK), 0);
}

TEST_F(CliTest, InputErrors) {
  expectExit(run({dir / "absent.v4m", "--weights=x", "--tokens=1"}), 1, "absent.v4m': No such file");
  expectExit(run({dir.path, "--weights=x", "--tokens=1"}), 1, "it is a directory");
  expectExit(run({module, "--weights=" + (dir / "absent"), "--tokens=1"}), 1, "absent': No such file");
  expectExit(toy({"--tokens=1,32"}), 1, "token 32 (number 1) is outside the vocabulary of 32");
  expectExit(toy({"--tokens=99999999999"}), 1, "outside the vocabulary");
  std::string many = "--tokens=1";
  for (int i = 0; i != 38; ++i)
    many += ",1";
  expectExit(toy({many, "--generate=2"}), 1,
             "a prompt of 39 and 2 generated tokens from position 0 exceed the module's max_context of 40");
  EXPECT_EQ(toy({many, "--generate=1"}).exit, 0);
  expectExit(toy({"--tokens=1", "--taps=layers.5", "--taps-out=" + (dir / "t")}), 1, "--plan=none");

  writeText(module, moduleBytes(*toyModule({.logitsAll = false})));
  for (const char *flag : {"--logits=", "--mtp-logits="})
    expectExit(toy({"--tokens=1", flag + (dir / "l")}), 1, "--logits=all");
  writeCase(dir / "case");
  expectExit(run({module, "--case=" + (dir / "case")}), 1, "--logits=all");
  writeText(module, moduleBytes(*toyModule({.mtp = false})));
  expectExit(toy({"--tokens=1", "--mtp-logits=" + (dir / "l")}), 1, "--mtp --logits=all");

  auto tree = toyModule();
  tree->targets[0]->features.push_back("avx9000");
  writeText(module, moduleBytes(*tree));
  expectExit(toy({"--tokens=1"}), 3, "needs the instruction set 'avx9000'");
  expectExit(toy({"--tokens=1"}), 3, "v4c --target=cpu:x86-64-v2");
  tree = toyModule();
  tree->targets[0]->images.clear();
  writeText(module, moduleBytes(*tree));
  expectExit(toy({"--tokens=1"}), 1, "it has no executable image");
}

TEST_F(CliTest, OutputErrors) {
  for (const char *flag : {"--logits=", "--mtp-logits=", "--save-state=", "--trace="}) {
    SCOPED_TRACE(flag);
    expectExit(toy({"--tokens=1,2,3", flag + dir.path}), 1, "cannot write '" + dir.path + "': it is a directory");
    expectExit(toy({"--tokens=1,2,3", flag + (dir / "no/such/file")}), 1, "no/such/file': No such file");
    expectExit(toy({"--tokens=1,2,3", flag + std::string("/dev/full")}), 3, "cannot write '/dev/full': No space left");
  }
  std::string taps = "--taps=embed";
  expectExit(toy({"--tokens=1,2,3", taps, "--taps-out=" + dir.path}), 1, "it is a directory");
  expectExit(toy({"--tokens=1,2,3", taps, "--taps-out=/dev/full"}), 3, "No space left");
  // A run that fails leaves neither the file nor a temporary, and does not touch an older result.
  writeText(dir / "old.npy", "precious");
  expectExit(toy({"--tokens=1,2,99", "--logits=" + (dir / "old.npy"), "--trace=" + (dir / "new.json")}), 1, "token 99");
  EXPECT_EQ(readText(dir / "old.npy"), "precious");
  EXPECT_NE(::access((dir / "new.json").c_str(), F_OK), 0);
  EXPECT_TRUE(leftovers().empty());
  Outcome outcome = runTool(V4_RUN, {module, "--weights=" + (dir / "ckpt"), "--tokens=1", "--generate=2"}, "/dev/full");
  expectExit(outcome, 3, "cannot write to standard output");
  EXPECT_EQ(runTool(V4_DUMP, {module}, "/dev/full").exit, 3);
}

TEST_F(CliTest, CrashesAndInterruptsAreReported) {
#if defined(__SANITIZE_ADDRESS__) || (defined(__has_feature) && __has_feature(address_sanitizer))
  GTEST_SKIP() << "the sanitizer owns these signals";
#endif
  auto tree = toyModule();
  for (auto &kernel : tree->targets[0]->kernels)
    for (auto &phase : kernel->phases)
      if (phase->symbol == "toy_hidden")
        phase->symbol = "toy_crash";
  writeText(module, moduleBytes(*tree));
  Outcome outcome = toy({"--tokens=1", "--logits=" + (dir / "l.npy")});
  expectExit(outcome, 70, "internal error: crashed in launch decode/hidden");
  EXPECT_TRUE(leftovers().empty());
}

TEST_F(CliTest, InterruptsAndLostFilesWhileRunning) {
#if defined(__SANITIZE_ADDRESS__) || (defined(__has_feature) && __has_feature(address_sanitizer))
  GTEST_SKIP() << "the sanitizer owns these signals";
#endif
  // The toy's work grows with the context, so this run would take hours.
  writeText(module, moduleBytes(*toyModule({.maxContext = 4000000})));
  std::vector<std::string> arguments = {module,
                                        "--weights=" + (dir / "ckpt"),
                                        "--tokens=1",
                                        "--generate=3900000",
                                        "--logits=" + (dir / "l.npy"),
                                        "--trace=" + (dir / "t.json")};
  auto waitForStart = [&] {
    for (int i = 0; i != 1000 && leftovers().size() < 2; ++i)
      ::usleep(10000);
    EXPECT_EQ(leftovers().size(), 2u);
    ::usleep(50000);
  };
  for (int signal : {SIGINT, SIGTERM}) {
    Outcome outcome = runTool(V4_RUN, arguments, {}, 0, [&](pid_t child) {
      waitForStart();
      ::kill(child, signal);
    });
    EXPECT_EQ(outcome.exit, 130);
    EXPECT_TRUE(leftovers().empty());
    EXPECT_NE(::access((dir / "l.npy").c_str(), F_OK), 0);
  }
  Outcome outcome = runTool(V4_RUN, arguments, {}, 0, [&](pid_t) {
    waitForStart();
    EXPECT_EQ(::truncate((dir / "ckpt/model-00002-of-00002.safetensors").c_str(), 0), 0);
  });
  expectExit(outcome, 3, "a mapped file became unreadable");
  EXPECT_TRUE(leftovers().empty());
}

TEST_F(CliTest, ModuleFromStandardInput) {
  std::string wanted = toy({"--tokens=1,2", "--generate=4"}).out;
  Outcome outcome =
      runTool(V4_RUN, {"-", "--weights=" + (dir / "ckpt"), "--tokens=1,2", "--generate=4"}, {}, 0, {}, module);
  EXPECT_EQ(outcome.exit, 0) << outcome.err;
  EXPECT_EQ(outcome.out, wanted);
  EXPECT_EQ(runTool(V4_DUMP, {"-"}, {}, 0, {}, module).out, runTool(V4_DUMP, {module}).out);
  expectExit(runTool(V4_DUMP, {"-"}), 1, "does not begin with V4CM");
  expectExit(runTool(V4_RUN, {"-", "--weights=x", "--tokens=1"}, {}, 0, {}, dir.path), 1,
             "cannot read 'standard input'");
}

TEST_F(CliTest, MemoryLimitIsAnEnvironmentError) {
#if defined(__SANITIZE_ADDRESS__) || (defined(__has_feature) && __has_feature(address_sanitizer))
  GTEST_SKIP() << "the sanitizer needs address space";
#endif
  auto tree = toyModule();
  for (auto &entry : tree->targets[0]->entries)
    entry->arena_bytes = uint64_t(1) << 30;
  writeText(module, moduleBytes(*tree));
  Outcome outcome =
      runTool(V4_RUN, {module, "--weights=" + (dir / "ckpt"), "--tokens=1", "--threads=1"}, {}, 512u << 20);
  expectExit(outcome, 3, "cannot allocate 1073741824 bytes for the arena");
  EXPECT_NE(outcome.err.find("arena: 1073741824 bytes"), std::string::npos) << "printed before it is taken";
}

TEST_F(CliTest, PeakMemory) {
#if defined(__SANITIZE_ADDRESS__) || (defined(__has_feature) && __has_feature(address_sanitizer))
  GTEST_SKIP() << "the sanitizer has its own memory";
#endif
  // What a run may hold: the checkpoint bytes it touches, state, arena and 64 MiB. A weight that is not aligned in its
  // file is copied but not held twice, and weights that the module leaves out are not touched.
  constexpr uint64_t big = 48 << 20, mib = 1 << 20;
  auto tree = toyModule();
  auto parameter = std::make_unique<fbs::ParameterT>(*tree->parameters[0]);
  parameter->name = "big";
  parameter->shape = {big / 4};
  parameter->source->tensor = "big.weight";
  parameter->source->shape = {big / 4};
  tree->parameters.push_back(std::move(parameter));
  writeText(module, moduleBytes(*tree));
  { // gone before the fork: a child's peak begins with its parent's memory
    ToyCheckpoint files = ToyCheckpoint::make(weightData);
    files.shards[0].insert(files.shards[0].begin() + 1, {"big.weight", "F32", {big / 4}, std::string(big, 'b')});
    files.shards[1].push_back({"extra.big", "U8", {2 * big}, std::string(2 * big, 'e')});
    files.write(dir / "ckpt");
  }
  Outcome outcome = toy({"--tokens=1,2,3", "--generate=3"});
  ASSERT_EQ(outcome.exit, 0) << outcome.err;
  EXPECT_GE(outcome.peak, static_cast<long>(big)) << "the copy at least is resident";
  EXPECT_LE(outcome.peak, static_cast<long>(big + 16 * mib));
}

TEST_F(CliTest, DamagedModulesNeverEndInASignal) {
  std::string good = readText(module);
  auto file = ModuleFile::copy(bytesOf(good));
  ASSERT_TRUE(file);
  const auto *image = file->root().targets()->Get(0)->images()->Get(0)->data();
  size_t imageBegin = static_cast<size_t>(reinterpret_cast<const std::byte *>(image->data()) - file->bytes().data());
  std::mt19937 generator(77);
  std::set<int> exits;
  int runs = 0;
  for (int round = 0; round != 80; ++round) {
    std::string payload = good.substr(moduleHeaderSize);
    for (unsigned edits = 1 + generator() % 2; edits; --edits) {
      size_t at; // the code itself is trusted
      do
        at = generator() % payload.size();
      while (at + moduleHeaderSize >= imageBegin && at + moduleHeaderSize < imageBegin + image->size());
      payload[at] = static_cast<char>(generator() % 2 ? generator() : 0xFF);
    }
    std::string mutant = withHeader(payload);
    auto verified = ModuleFile::copy(bytesOf(mutant));
    bool slow = false; // a grid of billions is legal, and takes its time
    for (unsigned i = 0; verified && i != verified->root().targets()->Get(0)->kernels()->size(); ++i)
      for (const fbs::Phase *phase : *verified->root().targets()->Get(0)->kernels()->Get(i)->phases())
        slow |= uint64_t(phase->grid()->x()) * phase->grid()->y() * phase->grid()->z() > 1 << 20;
    if (slow)
      continue;
    ++runs;
    writeText(module, mutant);
    Outcome outcome = toy({"--tokens=1,2,3,4,5,6", "--generate=3"});
    exits.insert(outcome.exit);
    EXPECT_LT(outcome.exit, 128) << "round " << round;
    EXPECT_EQ(outcome.exit == 0, outcome.err.find("error: ") == std::string::npos) << outcome.exit << outcome.err;
    EXPECT_LT(runTool(V4_DUMP, {module}).exit, 128);
  }
  EXPECT_GE(runs, 50);
  EXPECT_TRUE(exits.contains(1));
}

/// The figures of v4-bench as JSON.
class BenchTest : public CliTest {
protected:
  json::Value bench(std::vector<std::string> arguments) {
    arguments.push_back("--json");
    Outcome outcome = runTool(V4_BENCH, arguments);
    EXPECT_EQ(outcome.exit, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    auto root = json::parse(outcome.out);
    EXPECT_TRUE(root) << outcome.out;
    return root ? std::move(*root) : json::Value();
  }

  static double number(const json::Value &object, std::string_view key) {
    const json::Value *value = object.find(key);
    return value && value->isNumber() ? value->real : std::nan("");
  }

  static const json::Value &kernel(const json::Value &entry, std::string_view name) {
    static const json::Value none;
    for (const json::Value &candidate : entry.find("kernels")->elements)
      if (candidate.find("name")->string == name)
        return candidate;
    ADD_FAILURE() << "no kernel " << name;
    return none;
  }
};

TEST_F(BenchTest, ProbeMeasuresTheMachine) {
  json::Value root = bench({"--probe", "--threads=1", "--write-target=" + (dir / "target.json")});
  EXPECT_EQ(root.find("schema")->string, "v4-bench");
  auto file = json::parseFile(dir / "target.json");
  ASSERT_TRUE(file);
  const json::Value *target = &*file;
  EXPECT_EQ(target->find("schema")->string, "v4-target");
  for (const json::Value *figures : {root.find("machine"), target}) {
    EXPECT_EQ(number(*figures, "threads"), 1);
    for (const char *key : {"read_bytes_per_second", "copy_bytes_per_second", "fp32_flops"}) {
      EXPECT_GT(number(*figures, key), 1e6) << key;
      EXPECT_LT(number(*figures, key), 1e14) << key;
      EXPECT_GE(number(*figures, std::string("best_") + key), number(*figures, key)) << key;
    }
    EXPECT_GE(number(*figures, "buffer_bytes"), 1 << 28);
  }
  Outcome text = runTool(V4_BENCH, {"--probe", "--threads=1"});
  EXPECT_NE(text.out.find("1 threads"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("fp32 FMA"), std::string::npos) << text.out;
}

TEST_F(BenchTest, CountsWhatAStepUses) {
  auto tree = toyModule();
  tree->model->experts_per_token = 2;
  writeText(module, moduleBytes(*tree));
  json::Value root = bench({module, "--random-weights=1", "--threads=1", "--contexts=8,40"});
  EXPECT_EQ(root.find("numerics")->string, "f32");
  const std::vector<json::Value> &entries = root.find("entries")->elements;
  ASSERT_EQ(entries.size(), 3u);
  // Embedding and head of 32 x 8 floats, two of four rows of both tables, the bias.
  constexpr double embedding = 1024, tables = 2 * 2 * 32, bias = 16, head = 1024, row = 32;
  for (size_t i = 0; i != 2; ++i) {
    double context = i ? 40 : 8;
    EXPECT_EQ(entries[i].find("name")->string, "decode");
    EXPECT_EQ(number(entries[i], "context"), context);
    EXPECT_EQ(number(entries[i], "tokens"), 1);
    EXPECT_GE(number(entries[i], "steps"), 5);
    EXPECT_EQ(number(entries[i], "weight_bytes"), embedding + tables + bias + head);
    EXPECT_EQ(number(entries[i], "state_bytes"), (4 + context / 4 + std::floor(context / 3)) * row);
    EXPECT_FALSE(entries[i].find("bytes_are_bound")->boolean);
    EXPECT_NEAR(number(entries[i], "tokens_per_second") * number(entries[i], "seconds"), 1, 1e-4);
    EXPECT_NEAR(number(entries[i], "share_of_read") * number(entries[i], "read_bytes_per_second"),
                number(entries[i], "bytes_per_second"), 1e-3 * number(entries[i], "bytes_per_second"));
  }
  const json::Value &headKernel = kernel(entries[0], "toy_head_all_1");
  EXPECT_EQ(headKernel.find("first_launch")->string, "head");
  EXPECT_EQ(number(headKernel, "launches"), 1);
  EXPECT_EQ(number(headKernel, "weight_bytes"), head);
  EXPECT_EQ(number(headKernel, "flop"), 2 * 32 * 8);
  // By format: matrices, of which the toy's embedding is one by its name. The others are rows of tables, and a vector.
  for (size_t i = 0; i != 2; ++i) {
    const std::vector<json::Value> &formats = entries[i].find("formats")->elements;
    ASSERT_EQ(formats.size(), 1u);
    EXPECT_EQ(formats[0].find("name")->string, "fp32");
    EXPECT_EQ(number(formats[0], "weight_bytes"), embedding + head);
    EXPECT_NEAR(number(formats[0], "share_of_peak") * number(entries[i], "fp32_flops"), number(formats[0], "flops"),
                1e-3 * number(formats[0], "flops"));
  }
  // Eight tokens of two experts each touch all four, or fewer.
  EXPECT_EQ(entries[2].find("name")->string, "prefill_8");
  EXPECT_EQ(number(entries[2], "tokens"), 8);
  EXPECT_EQ(number(entries[2], "weight_bytes"), embedding + 2 * tables + bias + head);
  EXPECT_TRUE(entries[2].find("bytes_are_bound")->boolean);
  EXPECT_EQ(number(kernel(entries[2], "toy_head_all_8"), "flop"), 8 * 2 * 32 * 8);
}

TEST_F(BenchTest, OptionsSelect) {
  json::Value decode = bench({module, "--weights=" + (dir / "ckpt"), "--entries=decode", "--threads=1"});
  ASSERT_EQ(decode.find("entries")->elements.size(), 1u);
  EXPECT_EQ(number(decode.find("entries")->elements[0], "context"), 40); // all that the module allows
  json::Value prefill = bench({module, "--random-weights=1", "--entries=prefill", "--threads=1"});
  ASSERT_EQ(prefill.find("entries")->elements.size(), 1u);
  // The first step is reproducible and depends on the weights.
  json::Value again = bench({module, "--random-weights=1", "--threads=2"});
  json::Value other = bench({module, "--random-weights=2", "--entries=prefill", "--threads=1"});
  EXPECT_EQ(number(*again.find("machine"), "threads"), 2);
  double first = number(prefill.find("entries")->elements[0], "first_logits");
  EXPECT_EQ(number(again.find("entries")->elements[1], "first_logits"), first);
  EXPECT_NE(number(other.find("entries")->elements[0], "first_logits"), first);
  EXPECT_NE(number(decode.find("entries")->elements[0], "first_logits"),
            number(again.find("entries")->elements[0], "first_logits"));
  Outcome table = runTool(V4_BENCH, {module, "--random-weights=1", "--threads=1"});
  EXPECT_EQ(table.exit, 0) << table.err;
  for (const char *piece : {"decode, context 40: ", " tokens/s", "kernel (first launch)", "toy_mix_1 (layers.*.mix)",
                            "prefill_8, context 8: "})
    EXPECT_NE(table.out.find(piece), std::string::npos) << piece << "\n" << table.out;
}

TEST_F(BenchTest, ChecksBounds) {
  std::string file = dir / "bounds.json";
  auto check = [&](const std::string &least, std::vector<std::string> more = {}) {
    writeText(file, R"({"schema": "v4-bench-bounds", "schema_version": 1, "least": {)" + least + "}}");
    std::vector<std::string> arguments = {module, "--random-weights=1", "--threads=1", "--entries=decode",
                                          "--check=" + file};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return runTool(V4_BENCH, arguments);
  };
  Outcome kept = check(R"("decode.share_of_read": 1e-9, "decode.fp32.share_of_peak": 1e-12)");
  EXPECT_EQ(kept.exit, 0) << kept.err;
  EXPECT_NE(kept.out.find("ok"), std::string::npos) << kept.out;
  EXPECT_EQ(kept.out.find("MISSED"), std::string::npos) << kept.out;
  // What nothing measured has is missed.
  Outcome missed = check(R"("decode.fp4.share_of_read": 1e-9, "decode.fp32.share_of_read": 1e9)");
  expectExit(missed, 4, "a bound of " + file + " is missed");
  EXPECT_NE(missed.out.find("MISSED: nothing measured has it"), std::string::npos) << missed.out;
  EXPECT_NE(missed.out.find("MISSED\n"), std::string::npos) << missed.out;
  // The lowest of the contexts counts, and the JSON says what was compared.
  Outcome both = check(R"("decode.share_of_read": 1e-9, "prefill.share_of_peak": 1e-12)", {"--contexts=8,40", "--json"});
  EXPECT_EQ(both.exit, 4);
  auto root = json::parse(both.out);
  ASSERT_TRUE(root) << both.out;
  const std::vector<json::Value> &checks = root->find("checks")->elements, &entries = root->find("entries")->elements;
  ASSERT_EQ(checks.size(), 2u);
  EXPECT_EQ(checks[0].find("figure")->string, "decode.share_of_read");
  EXPECT_EQ(number(checks[0], "measured"), std::min(number(entries[0], "share_of_read"), number(entries[1], "share_of_read")));
  EXPECT_TRUE(checks[0].find("ok")->boolean);
  EXPECT_FALSE(checks[1].find("ok")->boolean);
  EXPECT_EQ(checks[1].find("measured"), nullptr);

  expectExit(check(""), 1, "'least' is missing");
  expectExit(check(R"("decode.share": 1)"), 1, "'decode.share' is no figure");
  expectExit(check(R"("decode.f64.share_of_read": 1)"), 1, "is no figure");
  expectExit(check(R"("decode.share_of_read": 0)"), 1, "is not a number above 0");
  expectExit(check(R"("decode.share_of_read": "x")"), 1, "is not a number above 0");
  writeText(file, R"({"schema": "v4-target", "schema_version": 1})");
  expectExit(runTool(V4_BENCH, {module, "--random-weights=1", "--check=" + file}), 1, "v4-bench-bounds");
  writeText(file, "{");
  expectExit(runTool(V4_BENCH, {module, "--random-weights=1", "--check=" + file}), 1, file);
}

/// On the fake driver: what is measured of a GPU, and what is not.
TEST_F(BenchTest, MeasuresAGpu) {
  writeText(module, moduleBytes(*toyModule({.gpu = true})));
  DriverPath path(V4_FAKE_CUDA);
  ::setenv("V4_FAKE_CUDA_KERNELS", module.c_str(), 1);
  std::string bounds = dir / "bounds.json";
  writeText(bounds, R"({"schema": "v4-bench-bounds", "schema_version": 1, "least": {"decode.share_of_peak": 1e-9}})");
  Outcome outcome = runTool(V4_BENCH, {module, "--random-weights=1", "--contexts=20", "--entries=decode",
                                       "--device=cuda:0", "--json", "--check=" + bounds});
  ::unsetenv("V4_FAKE_CUDA_KERNELS");
  EXPECT_EQ(outcome.exit, 4) << outcome.err; // no peak of arithmetic is known
  auto root = json::parse(outcome.out);
  ASSERT_TRUE(root) << outcome.out;
  const json::Value &machine = *root->find("machine");
  EXPECT_EQ(machine.find("gpu")->string, "GPU 0 (Fake GPU, compute capability 9.0, driver CUDA 13.0)");
  EXPECT_GT(machine.find("read_bytes_per_second")->real, 0);
  EXPECT_EQ(machine.find("cpu"), nullptr);
  const json::Value &entry = root->find("entries")->elements[0];
  EXPECT_GT(entry.find("share_of_read")->real, 0);
  EXPECT_EQ(entry.find("share_of_peak"), nullptr);
  EXPECT_EQ(entry.find("fp32_flops"), nullptr);
  EXPECT_GT(entry.find("kernels")->elements[0].find("seconds")->real, 0);
}

TEST_F(BenchTest, MistakesAreNamed) {
  auto fails = [&](std::vector<std::string> arguments, int exit, const std::string &text) {
    expectExit(runTool(V4_BENCH, std::move(arguments)), exit, text);
  };
  fails({}, 2, "give a module, or --probe");
  fails({module}, 2, "give one of --weights=CHECKPOINT and --random-weights=SEED");
  fails({module, "--weights=x", "--random-weights=1"}, 2, "give one of");
  fails({module, "--probe"}, 2, "takes no module");
  fails({"--probe", "--contexts=4"}, 2, "--contexts needs a module");
  fails({"--probe", "--check=x"}, 2, "--check needs a module");
  fails({module, "--random-weights=1", "--write-target=x"}, 2, "--write-target needs --probe");
  fails({module, "--random-weights=x"}, 2, "--random-weights=x is not a whole number");
  fails({module, "--random-weights=1", "--contexts=0"}, 2, "--contexts=0 is not a list of whole numbers from 1");
  fails({module, "--random-weights=1", "--threads=0"}, 2, "--threads=0");
  fails({module, "--random-weights=1", "--entries=x"}, 2, "decode, prefill");
  fails({module, "--random-weights=1", "--contexts=41"}, 1, "a context of 41 exceeds the module's max_context of 40");
  fails({module, "--weights=" + (dir / "absent")}, 1, "absent");
  fails({dir / "absent.v4m", "--random-weights=1"}, 1, "absent.v4m");
  fails({"--probe", "--write-target=" + (dir / "no/such/f.json")}, 1, "no/such/f.json");
}

TEST_F(CliTest, DumpText) {
  Outcome outcome = runTool(V4_DUMP, {module});
  ASSERT_EQ(outcome.exit, 0) << outcome.err;
  for (const char *piece :
       {"producer   toy", "option     --logits=all", "left out   extra.", "model toy", "max context 40",
        "experts F32 [4, 8] table as-stored <- experts.{e}.w F32 [8] + 0",
        "layers.0.attn.compressor.kv_rows KvRows F32 [8, 8] ratio 4 overlapping", "needs      sse2",
        "image      Elf x86-64", "entry prefill_8 (Prefill, 8 rows): 5 launches", "layers.0.mix = toy_mix_1",
        "phase toy_mix grid 1x1x1", "TableOffsets experts[0+32]", "tap layers.0 F32 [8, 2, 4] after launch 1"})
    EXPECT_NE(outcome.out.find(piece), std::string::npos) << piece << "\n" << outcome.out;
  writeText(dir / "slots.v4m", moduleBytes(*toyModule({.slots = 3})));
  expectExit(runTool(V4_DUMP, {dir / "slots.v4m"}), 0, "state 8, 1760 bytes per slot, 5280 bytes in all");
  expectExit(runTool(V4_DUMP, {dir / "slots.v4m"}), 0, "max context 40, slots 3, end token -1");
  expectExit(runTool(V4_DUMP, {dir / "absent"}), 1, "cannot open");
  expectExit(runTool(V4_DUMP, {}), 2, "missing argument");
  writeText(dir / "cut.v4m", readText(module).substr(0, 500));
  expectExit(runTool(V4_DUMP, {dir / "cut.v4m"}), 1, "truncated");
}

TEST_F(CliTest, DumpJson) {
  Outcome outcome = runTool(V4_DUMP, {module, "--json"});
  ASSERT_EQ(outcome.exit, 0) << outcome.err;
  auto root = json::parse(outcome.out);
  ASSERT_TRUE(root) << root.takeStatus().message();
  EXPECT_EQ(root->find("schema")->string, "v4-dump");
  EXPECT_EQ(root->find("provenance")->find("numerics")->string, "f32");
  EXPECT_EQ(root->find("model")->find("max_context")->number, 40u);
  EXPECT_EQ(root->find("model")->find("slots")->number, 1u);
  EXPECT_EQ(root->find("model")->find("experts_per_token")->number, 0u);
  EXPECT_EQ(root->find("parameters")->elements.size(), 5u);
  EXPECT_EQ(root->find("parameters")->elements[2].find("source")->find("stride")->number, 64u);
  EXPECT_EQ(root->find("states")->elements[2].find("kind")->string, "KvRows");
  const json::Value &target = root->find("targets")->elements[0];
  EXPECT_EQ(target.find("features")->elements[0].string, "sse2");
  EXPECT_GT(target.find("images")->elements[0].find("bytes")->number, 1000u);
  EXPECT_EQ(target.find("entries")->elements.size(), 6u);
  const json::Value &decode = target.find("entries")->elements[0];
  EXPECT_EQ(decode.find("launches")->elements[1].find("kernel")->string, "toy_mix_1");
  EXPECT_EQ(decode.find("launches")->elements[3].find("zero")->elements.size(), 1u);
  EXPECT_EQ(target.find("kernels")->elements[0].find("phases")->elements[0].find("grid")->elements.size(), 3u);
  EXPECT_EQ(decode.find("taps")->elements[0].find("name")->string, "embed");
}

} // namespace
