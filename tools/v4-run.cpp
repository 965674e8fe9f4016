// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs a compiled module: prompt, generation, state files, comparison with expected logits, profile. Everything that
// touches the model goes through the C interface.
#include "runtime/FileIo.h"
#include "runtime/Json.h"
#include "runtime/Npy.h"
#include "runtime/Safetensors.h"
#include "runtime/v4.h"
#include "tools/Handles.h"
#include "tools/Options.h"
#include "tools/Process.h"

#include <algorithm>
#include <array>
#include <climits>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <unistd.h>

using namespace v4;

namespace {

ToolSpec toolSpec() {
  ToolSpec tool;
  tool.name = "v4-run";
  tool.summary = "runs a compiled module on a prompt of token ids";
  tool.usage = "M.v4m|- --weights=CHECKPOINT --tokens=1,2,3 [options]  |  M.v4m|- --case=GOLDEN_DIR [options]";
  tool.version = concat("v4-run ", v4_version(), " (module format 1.0)");
  tool.minPositionals = tool.maxPositionals = 1;
  tool.positionalName = "M.v4m (compile one with v4c)";
  tool.examples = {
      {"v4-run m.v4m --weights=ckpt --tokens=1,2,3 --generate=8", "continue a prompt greedily"},
      {"v4-run m.v4m --weights=packed.safetensors --tokens=1,2,3", "weights from v4-pack: mapped as they are"},
      {"v4-run m.v4m --case=golden/tiny-bf16", "compare tokens and logits with a stored case"},
      {"v4-run b.v4m --weights=ckpt --tokens=1,2 --tokens=7 --generate=8", "two sequences, of v4c --slots=2"},
      {"v4-run m.v4m --weights=ckpt --tokens=@p.npy --generate=64 --profile", "where the time goes, by kernel"},
  };
  tool.options = {
      {"weights", "PATH", "input", "checkpoint directory, or a file of v4-pack; checked against the module"},
      {"tokens", "LIST", "input", "prompt: 1,2,3 or @F.npy (int32 or int64, one dimension); repeat it: one per slot",
       true},
      {"load-state", "FILE", "input", "start from a state file instead of an empty sequence (once per slot)", true},
      {"case", "DIR", "input", "golden case: implies weights, prompt, length, state and bounds; exit 4 if it fails"},
      {"generate", "N", "generation", "continue with N tokens (exactly N: an end token does not stop)"},
      {"temperature", "X", "generation",
       "sample; 0 (the default) takes the likeliest token, the lowest id among equals"},
      {"top-p", "X", "generation", "sample among the likeliest tokens that together reach probability X"},
      {"seed", "N", "generation", "seed of the sampling (default 0); slot s samples with N + s"},
      {"logits", "OUT.npy", "output",
       "logits after every token, [prompt + generated, vocabulary]; needs --logits=all in v4c (once per slot)", true},
      {"mtp-logits", "OUT.npy", "output", "logits of the MTP block; needs --mtp --logits=all in v4c (once per slot)",
       true},
      {"save-state", "FILE", "output", "state after the last token, as a safetensors file (once per slot)", true},
      {"taps", "NAMES", "output", "values between kernels to record: layers.0,layers.* ('*' is any text without '.')"},
      {"taps-out", "FILE", "output", "safetensors file for --taps, one row per token (once per slot)", true},
      {"profile", "", "output",
       "print calls, time, bytes and GB/s of every kernel ('<': upper bound, expert tables whole)"},
      {"trace", "FILE", "output", "launches as a Chrome trace (JSON)"},
      {"expect", "F.npy", "checks", "compare the logits with these; exit 4 if --check fails (once per slot)", true},
      {"check", "RULE", "checks", "maxrel:X, or cosine:median=X[,share@Y=Z]: share of rows with cosine Y or more"},
      {"device",
       "NAME",
       "run",
       "where to run: cpu (the default), cuda or cuda:N, an NVIDIA GPU, or emu, GPU kernels on the CPU",
       false,
       {"cpu", "cuda", "cuda:N", "emu"}},
      {"emu-order", "SEED", "run", "device emu: order in which the threads of a block run; does not change any result"},
      {"emu-races", "on|off", "run", "device emu: check for races (default on); off is faster", false, {"on", "off"}},
      {"threads", "N", "run", "threads of the CPU (default: one per CPU); does not change any result"},
      {"chunk", "S", "run", "at most S tokens per call of the module"},
  };
  tool.footer = "Options marked 'once per slot' are given as often as --tokens, in the same order.\n"
                "Exit codes: 0 ok, 1 input rejected, 2 usage, 3 environment, 4 comparison failed, 70 internal error.";
  return tool;
}

// ---- Comparison
// ------------------------------------------------------------------------------------------------------

struct Rule {
  bool cosine = false;
  double bound = 0;                   // maxrel, or the median cosine
  double shareCosine = 0, share = -1; // share of rows that must reach shareCosine; none when negative
};

bool parseRule(std::string_view text, Rule &rule) {
  if (text.starts_with("maxrel:"))
    return parseReal(text.substr(7), rule.bound) && rule.bound >= 0;
  if (!text.starts_with("cosine:median="))
    return false;
  rule.cosine = true;
  std::vector<std::string> parts = splitList(text.substr(14));
  if (parts.size() > 2 || !parseReal(parts[0], rule.bound))
    return false;
  if (parts.size() == 1)
    return true;
  std::string_view share = parts[1];
  size_t equals = share.find('=');
  return share.starts_with("share@") && equals != std::string_view::npos &&
         parseReal(share.substr(6, equals - 6), rule.shareCosine) && parseReal(share.substr(equals + 1), rule.share) &&
         rule.share >= 0;
}

/// Compares rows with a file as they appear.
class Comparison {
public:
  static Expected<Comparison> open(const std::string &what, const std::string &path, Rule rule, uint64_t rows,
                                   uint64_t vocab) {
    Comparison out;
    out.what = what;
    out.rule = rule;
    Expected<MappedFile> file = MappedFile::open(path);
    V4_RETURN_IF_ERROR(file);
    Expected<NpyArray> array = parseNpy(file->bytes());
    if (!array)
      return array.takeStatus().in(path);
    if (array->type != NpyArray::Type::F32 || array->shape != std::vector<uint64_t>{rows, vocab})
      return invalid(path, ": expected float32 ", shapeText({rows, vocab}), ", found ",
                     array->type == NpyArray::Type::F32 ? "float32 " : "integers ", shapeText(array->shape));
    out.file = std::move(*file);
    out.data = array->data;
    out.rows = rows;
    return out;
  }

  void row(uint64_t index, const float *got, size_t vocab) {
    if (index >= rows)
      return;
    ++seen;
    double dot = 0, gotNorm = 0, wantNorm = 0;
    for (size_t i = 0; i != vocab; ++i) {
      float want;
      std::memcpy(&want, data.data() + (index * vocab + i) * sizeof want, sizeof want);
      // NaN compares false with everything, so it is caught by name.
      if (!std::isfinite(got[i]) || !std::isfinite(want))
        ++notFinite;
      worst = std::max(worst, std::fabs(static_cast<double>(got[i]) - want));
      largest = std::max(largest, std::fabs(static_cast<double>(want)));
      dot += static_cast<double>(got[i]) * want;
      gotNorm += static_cast<double>(got[i]) * got[i];
      wantNorm += static_cast<double>(want) * want;
    }
    double norm = std::sqrt(gotNorm) * std::sqrt(wantNorm);
    cosines.push_back(norm > 0 ? dot / norm : gotNorm == wantNorm);
  }

  /// Prints the outcome and says whether it passes.
  bool finish() {
    bool passed = notFinite == 0 && seen == rows;
    std::array<char, 256> text;
    if (rule.cosine) {
      std::vector<double> sorted = cosines;
      std::sort(sorted.begin(), sorted.end());
      size_t n = sorted.size();
      double median = n ? (sorted[(n - 1) / 2] + sorted[n / 2]) / 2 : 0;
      double share = n ? static_cast<double>(std::count_if(sorted.begin(), sorted.end(),
                                                           [&](double c) { return c >= rule.shareCosine; })) /
                             static_cast<double>(n)
                       : 0;
      passed &= median >= rule.bound && (rule.share < 0 || share >= rule.share);
      int used = std::snprintf(text.data(), text.size(), "median cosine %.7f (needs %g)", median, rule.bound);
      if (rule.share >= 0)
        std::snprintf(text.data() + used, text.size() - static_cast<size_t>(used),
                      ", share of rows at %g or more %.4f (needs %g)", rule.shareCosine, share, rule.share);
    } else {
      double relative = largest > 0 ? worst / largest : worst;
      passed &= worst <= rule.bound * largest;
      std::snprintf(text.data(), text.size(), "largest difference %.3g of the largest value (bound %g)", relative,
                    rule.bound);
    }
    std::printf("%s: %s over %llu rows: %s", what.c_str(), text.data(), static_cast<unsigned long long>(seen),
                passed ? "ok\n" : "FAILED");
    if (!passed)
      std::printf("%s%s\n", notFinite ? " (NaN or infinity)" : "", seen != rows ? " (rows are missing)" : "");
    return passed;
  }

private:
  std::string what;
  Rule rule;
  MappedFile file;
  Bytes data;
  uint64_t rows = 0, seen = 0, notFinite = 0;
  double worst = 0, largest = 0;
  std::vector<double> cosines;
};

// ---- What a run records
// ------------------------------------------------------------------------------------------------

/// Rows of one tap, widened to the two types of the output file.
struct TapRows {
  bool integers = false;
  std::vector<uint64_t> rowShape;
  uint64_t rows = 0;
  std::vector<std::byte> data;
};

struct KernelTotals {
  uint64_t calls = 0, nanoseconds = 0, bytes = 0;
  bool bound = false;
};

/// What the run takes in and gives out in one slot.
struct Sequence {
  std::vector<int32_t> prompt, generated;
  SamplerHandle sampler;
  uint64_t start = 0;    // position of row 0 of the logits
  uint64_t mtpStart = 0; // and of the MTP logits
  std::optional<OutputFile> logits, mtpLogits, tapFile;
  std::optional<Comparison> expected, mtpExpected;
  std::map<std::string, TapRows> taps;

  Status writeTaps() {
    std::vector<TensorInfo> tensors;
    for (const auto &[name, tap] : taps) {
      std::vector<uint64_t> shape = tap.rowShape;
      shape.insert(shape.begin(), tap.rows);
      tensors.push_back({name, tap.integers ? "I32" : "F32", std::move(shape)});
    }
    V4_RETURN_IF_ERROR(tapFile->write(safetensorsHeader(tensors)));
    for (const auto &[name, tap] : taps)
      V4_RETURN_IF_ERROR(tapFile->write(tap.data.data(), tap.data.size()));
    return tapFile->commit();
  }
};

/// Receives every event of the session. The first failure is kept: callbacks cannot return one.
struct Recorder {
  std::vector<Sequence> sequences; // by slot
  std::optional<OutputFile> trace;
  std::map<std::string, KernelTotals> kernels;
  bool firstTraceEvent = true;
  Status failure;

  void keep(Status status) {
    if (failure.ok())
      failure = std::move(status);
  }

  static Recorder &of(void *user) { return *static_cast<Recorder *>(user); }

  static void onLogits(void *user, uint32_t slot, uint64_t position, const float *row, size_t vocab) {
    Recorder &self = of(user);
    Sequence &sequence = self.sequences[slot];
    if (sequence.logits)
      self.keep(sequence.logits->write(row, vocab * sizeof(float)));
    if (sequence.expected)
      sequence.expected->row(position - sequence.start, row, vocab);
  }

  static void onMtpLogits(void *user, uint32_t slot, uint64_t position, const float *row, size_t vocab) {
    Recorder &self = of(user);
    Sequence &sequence = self.sequences[slot];
    if (sequence.mtpLogits)
      self.keep(sequence.mtpLogits->write(row, vocab * sizeof(float)));
    if (sequence.mtpExpected)
      sequence.mtpExpected->row(position - sequence.mtpStart, row, vocab);
  }

  static void onTap(void *user, const v4_tap_event *event) {
    TapRows &tap = of(user).sequences[event->slot].taps[event->name];
    std::string_view dtype = event->dtype;
    if (tap.rows == 0) {
      tap.integers = dtype == "I32";
      tap.rowShape.assign(event->row_shape, event->row_shape + event->row_rank);
    }
    tap.rows += event->rows;
    const std::byte *source = static_cast<const std::byte *>(event->data);
    size_t bytes = event->rows * event->row_bytes;
    if (dtype != "BF16") {
      tap.data.insert(tap.data.end(), source, source + bytes);
      return;
    }
    for (size_t i = 0; i != bytes / 2; ++i) { // a bf16 is the upper half of an fp32
      tap.data.insert(tap.data.end(), 2, std::byte(0));
      tap.data.insert(tap.data.end(), source + 2 * i, source + 2 * i + 2);
    }
  }

  static void onLaunch(void *user, const v4_launch_event *event) {
    Recorder &self = of(user);
    KernelTotals &totals = self.kernels[event->kernel];
    totals.calls += 1;
    totals.nanoseconds += event->duration_ns;
    totals.bytes += event->bytes;
    totals.bound |= event->bytes_is_bound != 0;
    if (!self.trace)
      return;
    char times[96];
    std::snprintf(times, sizeof times, "\"ts\":%.3f,\"dur\":%.3f", static_cast<double>(event->begin_ns) / 1e3,
                  static_cast<double>(event->duration_ns) / 1e3);
    self.keep(self.trace->write(concat(self.firstTraceEvent ? "" : ",\n", "{\"name\":", json::quoted(event->launch),
                                       ",\"cat\":", json::quoted(event->entry), ",\"ph\":\"X\",\"pid\":1,\"tid\":1,",
                                       times, ",\"args\":{\"kernel\":", json::quoted(event->kernel),
                                       ",\"bytes\":", event->bytes, ",\"workgroups\":", event->workgroups, "}}")));
    self.firstTraceEvent = false;
  }

  void printProfile() const {
    std::vector<std::pair<std::string, KernelTotals>> rows(kernels.begin(), kernels.end());
    std::sort(rows.begin(), rows.end(), [](const auto &a, const auto &b) {
      return a.second.nanoseconds != b.second.nanoseconds ? a.second.nanoseconds > b.second.nanoseconds
                                                          : a.first < b.first;
    });
    KernelTotals all;
    for (const auto &[name, totals] : rows) {
      all.calls += totals.calls;
      all.nanoseconds += totals.nanoseconds;
      all.bytes += totals.bytes;
      all.bound |= totals.bound;
    }
    std::printf("%-44s %9s %11s %7s %15s %9s\n", "kernel", "calls", "time ms", "share", "bytes", "GB/s");
    auto line = [&](const std::string &name, const KernelTotals &totals) {
      double time = static_cast<double>(totals.nanoseconds);
      std::printf("%-44s %9llu %11.3f %6.1f%% %s%14llu %s%8.2f\n", name.c_str(),
                  static_cast<unsigned long long>(totals.calls), time / 1e6,
                  all.nanoseconds ? 100 * time / static_cast<double>(all.nanoseconds) : 0.0, totals.bound ? "<" : " ",
                  static_cast<unsigned long long>(totals.bytes), totals.bound ? "<" : " ",
                  totals.nanoseconds ? static_cast<double>(totals.bytes) / time : 0.0);
    };
    for (const auto &[name, totals] : rows)
      line(name, totals);
    line("total", all);
  }
};

// ---- Cases
// -----------------------------------------------------------------------------------------------------------

struct Case {
  std::vector<int32_t> prompt, generated;
  std::optional<uint64_t> statePosition;
  Rule rule;            // of the logits
  const char *expected; // the file that they are compared with
  bool sameTokens;      // whether tokens are generated and must be equal; else the stored ones are fed
};

Status readTokens(const json::Value &root, std::string_view key, std::vector<int32_t> &out) {
  const json::Value *list = root.find(key);
  if (!list || !list->isArray())
    return invalid("'", key, "' is missing or not a list");
  for (const json::Value &element : list->elements) {
    if (!element.isUnsigned() || element.number > INT32_MAX)
      return invalid("'", key, "' holds something that is not a token id");
    out.push_back(static_cast<int32_t>(element.number));
  }
  return {};
}

Expected<Case> readCase(const std::string &directory, std::string_view numerics) {
  std::string path = directory + "/case.json";
  Expected<json::Value> root = json::parseFile(path);
  V4_RETURN_IF_ERROR(root);
  Case out;
  Status status = readTokens(*root, "prompt", out.prompt);
  if (status.ok())
    status = readTokens(*root, "generated", out.generated);
  if (!status.ok())
    return std::move(status).in(path);
  if (const json::Value *position = root->find("state_position")) {
    if (!position->isUnsigned())
      return invalid(path, ": 'state_position' is not a whole number from 0");
    out.statePosition = position->number;
  }
  struct Mode {
    std::string_view numerics, bound;
    const char *expected;
  };
  static constexpr Mode modes[] = {{"f32", "max_abs_over_max_logit", "logits_f32.npy"},
                                   {"reference", "median_cosine", "logits_reference.npy"},
                                   {"fast", "median_cosine_to_f32", "logits_f32.npy"}};
  const json::Value *object = root->find(numerics), *bound = nullptr;
  for (const Mode &mode : modes)
    if (object && mode.numerics == numerics) {
      bound = object->find(mode.bound);
      out.expected = mode.expected;
    }
  if (!bound || !bound->isNumber()) {
    std::string others;
    for (const Mode &mode : modes)
      if (const json::Value *other = root->find(mode.numerics); other && other->find(mode.bound))
        others += concat(others.empty() ? "" : " or ", "--numerics=", mode.numerics);
    return invalid(path, ": there is no bound to check numerics '", numerics, "' against; compile the module with ",
                   others.empty() ? "another case in mind" : others);
  }
  out.sameTokens = numerics == "f32";
  out.rule.cosine = !out.sameTokens;
  out.rule.bound = bound->real;
  constexpr std::string_view share = "share_of_positions_with_cosine_";
  for (const auto &[key, value] : object->members)
    if (std::string_view name = key; out.rule.cosine && name.starts_with(share) && value.isNumber() &&
                                     parseReal(name.substr(share.size()), out.rule.shareCosine))
      out.rule.share = value.real;
  return out;
}

uint32_t crc32(std::string_view text) {
  uint32_t crc = ~0u;
  for (char c : text) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit != 8; ++bit)
      crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

/// The formula that gives a case its starting state: element i of a tensor from its index and its name alone.
void stateFormula(void *, const char *name, uint64_t first, size_t count, float *out) {
  uint32_t seed = crc32(name);
  for (size_t i = 0; i != count; ++i) {
    uint32_t x = static_cast<uint32_t>(first + i) * 0x9E3779B9u + seed;
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    x ^= x >> 16;
    out[i] = static_cast<float>(x >> 8) * 0x1p-23f - 1.0f;
  }
}

// ---- Command line
// ------------------------------------------------------------------------------------------------------

struct Command {
  std::string module, weights, casePath;
  std::vector<std::vector<int32_t>> prompts; // by slot; empty where a file holds it
  uint64_t generate = 0, threads = 0, chunk = 0, seed = 0, emuOrder = 0;
  double temperature = 0, topP = 1;
  Rule rule;
  std::vector<std::string> taps;
  std::string device = "cpu";
  bool emuRaces = true;
};

/// Empty, or what is wrong with the combination or a value: exit 2.
std::string readCommand(const ParsedOptions &options, Command &command) {
  command.module = options.positionals[0];
  if (options.has("case")) {
    for (const char *name :
         {"weights", "tokens", "generate", "temperature", "top-p", "seed", "expect", "check", "load-state"})
      if (options.has(name))
        return concat("--", name, " cannot be combined with --case, which implies it");
    command.casePath = options.get("case");
    command.weights = command.casePath + "/checkpoint";
  } else {
    for (const char *name : {"weights", "tokens"})
      if (!options.has(name))
        return concat("--", name, " is missing (or give --case=DIR)");
    command.weights = options.get("weights");
  }
  auto pair = [&](const char *a, const char *b) {
    return options.has(a) == options.has(b) ? std::string() : concat("--", a, " and --", b, " need each other");
  };
  if (std::string wrong = pair("expect", "check") + pair("taps", "taps-out"); !wrong.empty())
    return wrong;
  command.prompts.resize(std::max<size_t>(1, options.all("tokens").size()));
  for (const char *name : {"load-state", "logits", "mtp-logits", "save-state", "taps-out", "expect"})
    if (size_t count = options.all(name).size(); count != 0 && count != command.prompts.size())
      return concat("--", name, " is given ", count, " times for ", command.prompts.size(),
                    " sequences; give it once for each, in the order of --tokens");

  struct Number {
    const char *name;
    uint64_t *value;
    uint64_t low, high;
  };
  for (const Number &number :
       {Number{"generate", &command.generate, 0, INT32_MAX}, Number{"threads", &command.threads, 1, 1024},
        Number{"chunk", &command.chunk, 1, INT32_MAX}, Number{"seed", &command.seed, 0, UINT64_MAX},
        Number{"emu-order", &command.emuOrder, 0, UINT64_MAX}})
    if (options.has(number.name) && (!parseUnsigned(options.get(number.name), *number.value) ||
                                     *number.value < number.low || *number.value > number.high))
      return concat("--", number.name, "=", options.get(number.name), " is not a whole number from ", number.low,
                    " to ", number.high);
  if (options.has("temperature") &&
      (!parseReal(options.get("temperature"), command.temperature) || command.temperature < 0))
    return concat("--temperature=", options.get("temperature"), " is not a number from 0");
  if (options.has("top-p") && (!parseReal(options.get("top-p"), command.topP) || command.topP <= 0 || command.topP > 1))
    return concat("--top-p=", options.get("top-p"), " is not a number above 0 and up to 1");
  for (const char *name : {"top-p", "seed"})
    if (options.has(name) && command.temperature == 0)
      return concat("--", name, " has no effect without --temperature above 0");
  if (options.has("check") && !parseRule(options.get("check"), command.rule))
    return concat("--check=", options.get("check"), " is neither maxrel:X nor cosine:median=X[,share@Y=Z]");
  command.device = options.get("device", "cpu");
  for (const char *name : {"emu-order", "emu-races"})
    if (options.has(name) && command.device != "emu")
      return concat("--", name, " has no effect without --device=emu");
  command.emuRaces = !options.has("emu-races") || options.get("emu-races") == "on";
  if (options.has("taps"))
    command.taps = splitList(options.get("taps"));
  for (size_t slot = 0; slot != options.all("tokens").size(); ++slot) {
    std::string text = options.all("tokens")[slot];
    if (text.starts_with('@'))
      continue;
    std::vector<uint64_t> list;
    if (!parseUnsignedList(text, list))
      return concat("--tokens=", text, " is neither a list like 1,2,3 nor @F.npy");
    // An id that does not fit is outside every vocabulary; the session says so.
    for (uint64_t token : list)
      command.prompts[slot].push_back(token > INT32_MAX ? INT32_MAX : static_cast<int32_t>(token));
  }
  return {};
}

Status readTokenFile(const std::string &path, std::vector<int32_t> &out) {
  Expected<MappedFile> file = MappedFile::open(path);
  V4_RETURN_IF_ERROR(file);
  Expected<NpyArray> array = parseNpy(file->bytes());
  if (!array)
    return array.takeStatus().in(path);
  if (array->type == NpyArray::Type::F32 || array->shape.size() != 1)
    return invalid(path, ": tokens are a list of int32 or int64, found ",
                   array->type == NpyArray::Type::F32 ? "float32 " : "integers ", shapeText(array->shape));
  size_t width = array->type == NpyArray::Type::I64 ? 8 : 4;
  for (size_t i = 0; i != array->data.size() / width; ++i) {
    int64_t token = 0;
    int32_t narrow = 0;
    if (width == 8) {
      std::memcpy(&token, array->data.data() + i * 8, 8);
    } else {
      std::memcpy(&narrow, array->data.data() + i * 4, 4);
      token = narrow;
    }
    if (token < 0 || token > INT32_MAX)
      return invalid(path, ": token ", token, " (number ", i, ") is not a token id");
    out.push_back(static_cast<int32_t>(token));
  }
  return {};
}

// ---- The run
// -----------------------------------------------------------------------------------------------------------

class Run {
public:
  Run(const ParsedOptions &options, Command &command) : options(options), command(command) {}

  /// `passed` is false when a comparison failed.
  Status execute(bool &passed) {
    V4_RETURN_IF_ERROR(loadModule());
    V4_RETURN_IF_ERROR(readInputs());
    V4_RETURN_IF_ERROR(checkModule());
    V4_RETURN_IF_ERROR(loadWeights());
    V4_RETURN_IF_ERROR(createSession());
    V4_RETURN_IF_ERROR(openFiles());
    V4_RETURN_IF_ERROR(generate());
    V4_RETURN_IF_ERROR(finish(passed));
    return {};
  }

private:
  Status loadModule() {
    v4_module_options moduleOptions = {sizeof moduleOptions, command.device.c_str()};
    v4_module *loaded = nullptr;
    if (command.module == "-") {
      Expected<std::string> bytes = readStandardInput();
      V4_RETURN_IF_ERROR(bytes);
      V4_RETURN_IF_ERROR(take(v4_module_load_memory(bytes->data(), bytes->size(), &moduleOptions, &loaded)));
    } else {
      V4_RETURN_IF_ERROR(take(v4_module_load(command.module.c_str(), &moduleOptions, &loaded)));
    }
    module.reset(loaded);
    info.struct_size = sizeof info;
    return take(v4_module_get_info(loaded, &info));
  }

  Status readInputs() {
    recorder.sequences.resize(command.prompts.size());
    if (!command.casePath.empty()) {
      Expected<Case> read = readCase(command.casePath, info.numerics);
      V4_RETURN_IF_ERROR(read);
      golden = std::move(*read);
      command.prompts[0] = golden->prompt;
      command.generate = golden->generated.size();
    }
    for (size_t slot = 0; slot != recorder.sequences.size(); ++slot) {
      std::vector<int32_t> &prompt = recorder.sequences[slot].prompt;
      prompt = std::move(command.prompts[slot]);
      std::string tokens = given("tokens", slot);
      if (tokens.starts_with('@'))
        V4_RETURN_IF_ERROR(readTokenFile(tokens.substr(1), prompt));
      if (prompt.empty())
        return invalid("the prompt", of(slot), " is empty; at least one token is needed");
    }
    return {};
  }

  /// The value of an option that is given once per slot, or "".
  std::string given(const char *name, size_t slot) const {
    return options.has(name) ? options.all(name)[slot] : std::string();
  }

  /// " of slot 3" where there are several.
  std::string of(size_t slot) const {
    return recorder.sequences.size() > 1 ? concat(" of slot ", slot) : std::string();
  }

  Status checkModule() const {
    if (recorder.sequences.size() > info.slots)
      return invalid(command.module, ": ", recorder.sequences.size(), " token lists for ", info.slots,
                     info.slots > 1 ? " slots" : " slot",
                     "; compile the module with --slots=", recorder.sequences.size());
    for (const char *name : {"logits", "mtp-logits", "expect", "case"})
      if (options.has(name) && !info.logits_all)
        return invalid(command.module, ": --", name,
                       " needs the logits after every token; compile the module with "
                       "--logits=all");
    if (options.has("mtp-logits") && !info.mtp)
      return invalid(command.module, ": --mtp-logits needs the MTP block; compile the module with --mtp --logits=all");
    return {};
  }

  /// Sizes first: a run that needs too much memory should say so before it takes it.
  Status loadWeights() {
    if (options.has("device"))
      std::fprintf(stderr, "device: %s\n", info.device);
    std::string slots = info.slots > 1 ? concat(" for ", info.slots, " slots") : std::string();
    std::fprintf(stderr, "arena: %llu bytes\nstate: %llu bytes%s (cache %llu, compressor rows %llu)\n",
                 static_cast<unsigned long long>(info.arena_bytes),
                 static_cast<unsigned long long>(info.state_cache_bytes + info.state_rows_bytes), slots.c_str(),
                 static_cast<unsigned long long>(info.state_cache_bytes),
                 static_cast<unsigned long long>(info.state_rows_bytes));
    struct Loading {
      const char *what;
      std::optional<Progress> progress;
    } loading = {command.device.starts_with("cuda") ? "weights" : "packed weights", {}};
    v4_weights_options weightsOptions = {};
    weightsOptions.struct_size = sizeof weightsOptions;
    weightsOptions.threads = static_cast<uint32_t>(command.threads);
    weightsOptions.user = &loading;
    weightsOptions.progress = [](void *user, uint64_t done, uint64_t total) {
      auto &[what, progress] = *static_cast<Loading *>(user);
      if (!progress) {
        std::fprintf(stderr, "%s: %llu bytes\n", what, static_cast<unsigned long long>(total));
        progress.emplace("loading", total);
      }
      if (total)
        progress->reach(done);
      return 0;
    };
    v4_weights *loaded = nullptr;
    V4_RETURN_IF_ERROR(take(v4_weights_load(module.get(), command.weights.c_str(), &weightsOptions, &loaded)));
    weights.reset(loaded);
    return {};
  }

  Status createSession() {
    std::vector<const char *> taps;
    for (const std::string &tap : command.taps)
      taps.push_back(tap.c_str());
    v4_observer observer = {};
    observer.struct_size = sizeof observer;
    observer.user = &recorder;
    observer.logits = Recorder::onLogits;
    observer.mtp_logits = Recorder::onMtpLogits;
    observer.tap = Recorder::onTap;
    if (options.has("profile") || options.has("trace"))
      observer.launch = Recorder::onLaunch;
    v4_session_options sessionOptions = {};
    sessionOptions.struct_size = sizeof sessionOptions;
    sessionOptions.threads = static_cast<uint32_t>(command.threads);
    sessionOptions.chunk = static_cast<uint32_t>(command.chunk);
    sessionOptions.taps = taps.data();
    sessionOptions.num_taps = taps.size();
    sessionOptions.observer = &observer;
    sessionOptions.emu_order = command.emuOrder;
    sessionOptions.emu_unchecked = command.emuRaces ? 0 : 1;
    v4_session *created = nullptr;
    V4_RETURN_IF_ERROR(take(v4_session_create(module.get(), weights.get(), &sessionOptions, &created)));
    session.reset(created);

    if (golden && golden->statePosition)
      V4_RETURN_IF_ERROR(take(v4_session_fill(created, 0, *golden->statePosition, stateFormula, nullptr)));
    for (uint32_t slot = 0; slot != recorder.sequences.size(); ++slot) {
      if (options.has("load-state"))
        V4_RETURN_IF_ERROR(take(v4_session_load(created, slot, given("load-state", slot).c_str())));
      size_t prompt = recorder.sequences[slot].prompt.size();
      uint64_t position = v4_session_position(created, slot), rows = prompt + command.generate;
      if (rows > info.max_context - position)
        return invalid("a prompt", of(slot), " of ", prompt, " and ", command.generate,
                       " generated tokens from position ", position, " exceed the module's max_context of ",
                       info.max_context, "; compile it with a larger --max-context");
    }
    return {};
  }

  /// Outputs are opened before anything runs: a path that cannot be written is found out at once.
  Status openFiles() {
    V4_RETURN_IF_ERROR(open("trace", options.get("trace"), recorder.trace));
    if (recorder.trace)
      V4_RETURN_IF_ERROR(recorder.trace->write("{\"traceEvents\":[\n"));
    for (uint32_t slot = 0; slot != recorder.sequences.size(); ++slot)
      V4_RETURN_IF_ERROR(openFiles(slot));
    return {};
  }

  Status open(const char *name, const std::string &path, std::optional<OutputFile> &file) const {
    if (!options.has(name))
      return {};
    Expected<OutputFile> created = OutputFile::create(path);
    V4_RETURN_IF_ERROR(created);
    file = std::move(*created);
    return {};
  }

  Status openFiles(uint32_t slot) {
    Sequence &sequence = recorder.sequences[slot];
    std::optional<OutputFile> state; // written by the library at the end; opened here to test the path
    V4_RETURN_IF_ERROR(open("logits", given("logits", slot), sequence.logits));
    V4_RETURN_IF_ERROR(open("mtp-logits", given("mtp-logits", slot), sequence.mtpLogits));
    V4_RETURN_IF_ERROR(open("taps-out", given("taps-out", slot), sequence.tapFile));
    V4_RETURN_IF_ERROR(open("save-state", given("save-state", slot), state));

    uint64_t rows = sequence.prompt.size() + command.generate, position = v4_session_position(session.get(), slot);
    bool mtp = v4_session_mtp_active(session.get(), slot);
    if (options.has("mtp-logits") && !mtp)
      return invalid(given("load-state", slot), ": the state lacks 'mtp.hidden', without which the MTP block cannot go "
                                                "on; save it with a module that has the block");
    // The MTP block is one token behind: from an empty sequence it has one row less.
    sequence.start = position;
    sequence.mtpStart = position ? position - 1 : 0;
    if (sequence.logits)
      V4_RETURN_IF_ERROR(sequence.logits->write(npyHeader({rows, info.vocab_size})));
    if (sequence.mtpLogits)
      V4_RETURN_IF_ERROR(sequence.mtpLogits->write(npyHeader({position ? rows : rows - 1, info.vocab_size})));

    auto compare = [&](const std::string &what, const std::string &path, Rule rule, uint64_t count,
                       std::optional<Comparison> &out) -> Status {
      Expected<Comparison> opened = Comparison::open(what, path, rule, count, info.vocab_size);
      V4_RETURN_IF_ERROR(opened);
      out = std::move(*opened);
      return {};
    };
    if (options.has("expect"))
      V4_RETURN_IF_ERROR(compare("logits" + of(slot), given("expect", slot), command.rule, rows, sequence.expected));
    if (golden) {
      Rule rule = golden->rule;
      V4_RETURN_IF_ERROR(
          compare("logits", command.casePath + "/" + golden->expected, rule, rows, sequence.expected));
      std::string mtpPath = command.casePath + "/mtp_logits_f32.npy";
      if (mtp && std::string_view(golden->expected) == "logits_f32.npy" && ::access(mtpPath.c_str(), F_OK) == 0)
        V4_RETURN_IF_ERROR(compare("mtp logits", mtpPath, rule, sequence.prompt.size() - 1, sequence.mtpExpected));
    }
    return {};
  }

  /// The prompts one after another, then a token of every sequence in each step.
  Status generate() {
    for (uint32_t slot = 0; slot != recorder.sequences.size(); ++slot) {
      Sequence &sequence = recorder.sequences[slot];
      v4_sampler_options samplerOptions = {sizeof samplerOptions, command.temperature, command.topP,
                                           command.seed + slot};
      v4_sampler *created = nullptr;
      V4_RETURN_IF_ERROR(take(v4_sampler_create(&samplerOptions, &created)));
      sequence.sampler.reset(created);
      V4_RETURN_IF_ERROR(take(v4_session_append(session.get(), slot, sequence.prompt.data(), sequence.prompt.size())));
      V4_RETURN_IF_ERROR(std::move(recorder.failure));
    }
    std::vector<int32_t> tokens(info.slots, -1);
    Progress progress("generating");
    for (uint64_t i = 0; i != command.generate; ++i) {
      progress.count(i, command.generate, "tokens");
      for (uint32_t slot = 0; slot != recorder.sequences.size(); ++slot) {
        if (golden && !golden->sameTokens) {
          tokens[slot] = golden->generated[i];
          continue;
        }
        Sequence &sequence = recorder.sequences[slot];
        const float *logits = v4_session_logits(session.get(), slot);
        V4_RETURN_IF_ERROR(take(v4_sampler_pick(sequence.sampler.get(), logits, info.vocab_size, &tokens[slot])));
        sequence.generated.push_back(tokens[slot]);
      }
      // The last one is fed too: logits and state always cover prompt and generated tokens.
      V4_RETURN_IF_ERROR(take(v4_session_step(session.get(), tokens.data(), tokens.size())));
      V4_RETURN_IF_ERROR(std::move(recorder.failure));
    }
    return {};
  }

  Status finish(bool &passed) {
    for (uint32_t slot = 0; slot != recorder.sequences.size(); ++slot) {
      Sequence &sequence = recorder.sequences[slot];
      if (!sequence.generated.empty()) {
        std::printf("tokens%s:", of(slot).c_str());
        for (int32_t token : sequence.generated)
          std::printf(" %d", token);
        std::printf("\n");
      }
      for (std::optional<OutputFile> *file : {&sequence.logits, &sequence.mtpLogits})
        if (*file)
          V4_RETURN_IF_ERROR((*file)->commit());
      if (sequence.tapFile)
        V4_RETURN_IF_ERROR(sequence.writeTaps());
      if (options.has("save-state"))
        V4_RETURN_IF_ERROR(take(v4_session_save(session.get(), slot, given("save-state", slot).c_str())));
    }
    if (recorder.trace) {
      V4_RETURN_IF_ERROR(recorder.trace->write("\n]}\n"));
      V4_RETURN_IF_ERROR(recorder.trace->commit());
    }
    if (options.has("profile"))
      recorder.printProfile();

    passed = true;
    for (Sequence &sequence : recorder.sequences) {
      const std::vector<int32_t> &generated = sequence.generated;
      if (golden && golden->sameTokens && generated != golden->generated) {
        size_t i = static_cast<size_t>(
            std::mismatch(generated.begin(), generated.end(), golden->generated.begin()).first - generated.begin());
        std::printf("tokens: number %zu is %d, expected %d: FAILED\n", i, generated[i], golden->generated[i]);
        passed = false;
      }
      if (sequence.expected)
        passed &= sequence.expected->finish();
      if (sequence.mtpExpected)
        passed &= sequence.mtpExpected->finish();
    }
    if (std::fflush(stdout) != 0)
      return environment("cannot write to standard output");
    return {};
  }

  const ParsedOptions &options;
  Command &command;
  ModuleHandle module;
  WeightsHandle weights;
  Recorder recorder; // outlives the session, which reports to it
  SessionHandle session;
  v4_module_info info = {};
  std::optional<Case> golden;
};

} // namespace

int main(int argc, char **argv) {
  installHandlers("v4-run", v4_current_launch);
  ToolSpec tool = toolSpec();
  ParsedOptions options = parseOptions(tool, argc, argv);
  if (options.exit)
    return *options.exit;
  Command command;
  if (std::string wrong = readCommand(options, command); !wrong.empty())
    return usageError(tool, wrong);
  bool passed = false;
  Status status = Run(options, command).execute(passed);
  if (!status.ok())
    return fail(status);
  if (!passed)
    return report("error", static_cast<v4_code>(ExitComparison), "the comparison failed");
  return ExitOk;
}
