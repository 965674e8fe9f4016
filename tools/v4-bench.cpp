// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Measures a module against what the machine can do: time, bytes and products of every kernel and of whole steps,
// beside bandwidth and arithmetic peaks from the same run.
#include "runtime/Module.h"
#include "runtime/v4.h"
#include "tools/GpuProbe.h"
#include "tools/Handles.h"
#include "tools/JsonWriter.h"
#include "tools/Options.h"
#include "tools/Probe.h"
#include "tools/Process.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>
#include <set>

using namespace v4;

namespace {

ToolSpec toolSpec() {
  ToolSpec tool;
  tool.name = "v4-bench";
  tool.summary = "measures a compiled module and the machine it runs on";
  tool.usage = "M.v4m --random-weights=SEED|--weights=CHECKPOINT [options]  |  --probe [options]";
  tool.version = concat("v4-bench ", v4_version());
  tool.maxPositionals = 1;
  tool.positionalName = "M.v4m (compile one with v4c)";
  tool.examples = {
      {"v4-bench --probe", "bandwidth and arithmetic peaks of this machine"},
      {"v4-bench m.v4m --random-weights=1 --contexts=4000",
       "decode and prefill, kernel by kernel, without a checkpoint"},
      {"v4-bench m.v4m --random-weights=1 --contexts=4000 --check=test/bench/bounds.json", "against bounds; exit 4"},
      {"v4-bench m.v4m --weights=ckpt --entries=decode --json | jq '.entries[].tokens_per_second'", "for scripts"},
  };
  tool.options = {
      {"weights", "CHECKPOINT", "module", "checkpoint directory"},
      {"random-weights", "SEED", "module", "random weights in the module's formats: no checkpoint is needed"},
      {"contexts", "LIST", "module",
       "contexts of the decode steps, which are the last ones before it (default 4096, or what the module allows)"},
      {"entries",
       "LIST",
       "module",
       "what to measure (default both); decode steps all slots; prefill is the largest bucket, from position 0",
       false,
       {"decode", "prefill"},
       true},
      {"probe", "", "machine", "measure the machine only"},
      {"write-target", "F.json", "machine", "with --probe: write the figures to a file"},
      {"check", "F.json", "checks", "compare shares with the bounds of a file; exit 4 when one is missed"},
      {"device",
       "NAME",
       "run",
       "cpu (the default), or cuda or cuda:N, an NVIDIA GPU",
       false,
       {"cpu", "cuda", "cuda:N"}},
      {"threads", "N", "run", "threads of the CPU (default: one per CPU)"},
      {"json", "", "output", "JSON (schema \"v4-bench\", version 1) instead of tables"},
  };
  tool.footer =
      "Bytes: stored weights that a step uses, each once (of expert tables and token tables the rows of its\n"
      "tokens), and the window and compressed entries behind it. '<': an upper bound, since several tokens may\n"
      "share experts. GFLOP/s: products with weights only. peak %: of the fp32 peak in numerics f32, else of that of\n"
      "bf16 products where it is higher. Every step begins with cold caches. On a GPU the read rate is that of a copy\n"
      "in its memory, bytes read and bytes written, and no peak of arithmetic is measured.\n"
      "Bounds: {\"schema\": \"v4-bench-bounds\", \"schema_version\": 1, \"least\": {FIGURE: NUMBER, ..}}, where FIGURE "
      "is\n"
      "(decode|prefill)[.(bf16|fp8|fp4|fp32|mixed)].(share_of_read|share_of_peak), the lowest of all contexts.\n"
      "Exit codes: 0 ok, 1 input rejected, 2 usage, 3 environment, 4 a bound was missed, 70 internal error.";
  return tool;
}

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// A 64-bit hash, for tokens and states.
uint64_t scramble(uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

// ---- What a step has to move and to multiply

struct Cost {
  uint64_t weightBytes = 0, stateBytes = 0;
  bool isBound = false;
  double flops = 0;                             // products with weights; 0: none known
  std::map<std::string, uint64_t> matrixBytes; // of weightBytes, by format; scales go with what they scale

  uint64_t bytes() const { return weightBytes + stateBytes; }
  void add(const Cost &other) {
    weightBytes += other.weightBytes;
    stateBytes += other.stateBytes;
    isBound |= other.isBound;
    flops += other.flops;
    for (const auto &[format, bytes] : other.matrixBytes)
      matrixBytes[format] += bytes;
  }

  /// The format that nine tenths of the bytes are weights of, "mixed" when there are several; empty when something else
  /// than products with weights moves most.
  std::string format() const {
    uint64_t all = 0;
    for (const auto &[name, part] : matrixBytes)
      all += part;
    if (flops == 0 || all * 10 < bytes() * 9)
      return {};
    for (const auto &[name, part] : matrixBytes)
      if (part * 10 >= bytes() * 9)
        return name;
    return "mixed";
  }
};

std::string_view formatName(fbs::DType dtype) {
  switch (dtype) {
  case fbs::DType::BF16:
    return "bf16";
  case fbs::DType::F8E4M3:
    return "fp8";
  case fbs::DType::I8: // two fp4 values
    return "fp4";
  default:
    return "fp32";
  }
}

/// The costs of one entry at one place of a sequence, from the module's description alone.
class Costs {
public:
  /// `tokens` are fed, in decode one to each slot, and `length` is the length of the sequences behind them.
  Costs(const fbs::Module &module, const fbs::Entry &entry, uint64_t tokens, uint64_t length)
      : module(module), tokens(tokens), length(length), decode(entry.kind() == fbs::EntryKind::Decode) {
    // A state is written before it is read, so the last launch that has it is the one that goes through it.
    std::map<uint32_t, size_t> reader;
    for (uint32_t i = 0; i != entry.launches()->size(); ++i)
      forEach(*entry.launches()->Get(i), fbs::BindingKind::State, [&](uint32_t state) { reader[state] = i; });
    launches.resize(entry.launches()->size());
    std::set<uint32_t> counted;
    for (uint32_t i = 0; i != launches.size(); ++i) {
      const fbs::Launch &launch = *entry.launches()->Get(i);
      std::set<uint32_t> here;
      forEach(launch, fbs::BindingKind::Parameter, [&](uint32_t index) {
        if (!here.insert(index).second)
          return;
        Cost cost = parameter(*module.parameters()->Get(index));
        launches[i].add(cost);
        if (!counted.insert(index).second)
          cost.weightBytes = 0;
        whole.add(cost);
      });
    }
    for (auto [state, launch] : reader) {
      Cost cost;
      cost.stateBytes = liveBytes(*module.states()->Get(state)) * (decode ? tokens : 1);
      launches[launch].add(cost);
      whole.add(cost);
    }
  }

  std::vector<Cost> launches;
  Cost whole;

private:
  template <typename Visit> static void forEach(const fbs::Launch &launch, fbs::BindingKind kind, Visit visit) {
    for (uint32_t i = 0; launch.bindings() && i != launch.bindings()->size(); ++i)
      if (launch.bindings()->Get(i)->kind() == kind)
        visit(launch.bindings()->Get(i)->index());
  }

  Cost parameter(const fbs::Parameter &parameter) const {
    std::string_view name = parameter.name()->string_view();
    const auto &shape = *parameter.shape();
    uint64_t whole = arrayBytes(parameter.dtype(), shape), rowBytes = whole / shape.Get(0);
    // Of these a token reads one row: by its id, or by its place in a block.
    bool tokenTable = name == "embed.weight" || name.ends_with(".tid2eid") || name.ends_with(".ape");
    uint64_t perToken = module.model()->experts_per_token(), rows = parameter.rows();
    Cost cost;
    cost.weightBytes = whole;
    if (tokenTable)
      cost.weightBytes = rowBytes * std::min(tokens, shape.Get(0));
    if (rows && perToken)
      cost.weightBytes = rowBytes * std::min(rows, tokens * perToken);
    cost.isBound = rows && (perToken == 0 || (tokens > 1 && perToken < rows));

    // Matrices that tokens are multiplied with: neither tables of rows nor scales.
    bool matrix = shape.size() == (rows ? 3u : 2u) && !tokenTable && parameter.dtype() != fbs::DType::F8E8M0 &&
                  (!rows || perToken);
    if (!matrix)
      return cost;
    bool lastRowOnly = !decode && (name == "head.weight" || name == "hc_head_fn") && !module.model()->logits_all();
    double products =
        static_cast<double>(shape.Get(shape.size() - 2)) * static_cast<double>(shape.Get(shape.size() - 1));
    if (parameter.dtype() == fbs::DType::I8) // two fp4 values
      products *= 2;
    cost.flops =
        2 * products * static_cast<double>(lastRowOnly ? 1 : tokens) * static_cast<double>(rows ? perToken : 1);
    // One row of a prefill is no figure for kernels of many.
    if (!lastRowOnly || tokens == 1)
      cost.matrixBytes[std::string(formatName(parameter.dtype()))] = cost.weightBytes;
    return cost;
  }

  uint64_t liveBytes(const fbs::State &state) const {
    uint64_t capacity = state.shape()->Get(0), rowBytes = arrayBytes(state.dtype(), *state.shape(), 1);
    switch (state.kind()) {
    case fbs::StateKind::Window:
      return rowBytes * std::min(length, capacity);
    case fbs::StateKind::Entries:
      return rowBytes * std::min(length / state.ratio(), capacity);
    case fbs::StateKind::KvRows:
    case fbs::StateKind::ScoreRows:
      break; // a few rows, whatever the context
    }
    return 0;
  }

  const fbs::Module &module;
  uint64_t tokens, length;
  bool decode;
};

// ---- Results

/// Medians of probes between the steps of one measurement. What was not measured is 0, or missing.
struct StepRates {
  double readBytes = 0, fp32Flops = 0;
  std::optional<double> bf16DotFlops;
  double peakFlops = 0; // of fp32 in numerics f32; else the larger one: some CPUs multiply bf16 slower than fp32
};

/// Where a module runs, and what that can do.
class Machine {
public:
  /// `device` as in --device.
  static Expected<Machine> create(const std::string &device, uint32_t threads) {
    Machine out;
    if (std::optional<uint32_t> gpu = gpuOrdinal(device)) {
      Expected<std::unique_ptr<GpuProbe>> probe = GpuProbe::create(*gpu);
      V4_RETURN_IF_ERROR(probe);
      out.gpu = std::move(*probe);
    } else {
      Expected<std::unique_ptr<Probe>> probe = Probe::create(threads);
      V4_RETURN_IF_ERROR(probe);
      out.cpu = std::move(*probe);
    }
    return out;
  }

  Status measure() {
    Progress progress("probe");
    progress.say("measuring the machine");
    if (cpu) {
      rates = cpu->measureAll();
      return {};
    }
    constexpr unsigned repetitions = 10;
    std::vector<double> copies;
    for (unsigned i = 0; i != repetitions; ++i) {
      Expected<double> copy = gpu->copyOnce();
      V4_RETURN_IF_ERROR(copy);
      copies.push_back(*copy);
    }
    rates.readBytes = {medianOf(copies), *std::max_element(copies.begin(), copies.end())};
    return {};
  }

  /// Probes that take turns with steps, and leave no weight of a step in a cache.
  Status sample() {
    if (gpu) {
      Expected<double> copy = gpu->copyOnce();
      V4_RETURN_IF_ERROR(copy);
      reads.push_back(*copy);
      return {};
    }
    multiplyAdds.push_back(cpu->multiplyAddOnce());
    if (rates.bf16DotFlops)
      dots.push_back(cpu->dotOnce());
    reads.push_back(cpu->readOnce()); // last: its buffer is what the caches hold
    return {};
  }

  /// Of the samples since the last call.
  StepRates takeSamples(std::string_view numerics) {
    StepRates out;
    out.readBytes = medianOf(std::exchange(reads, {}));
    out.fp32Flops = out.peakFlops = medianOf(std::exchange(multiplyAdds, {}));
    if (!dots.empty())
      out.bf16DotFlops = medianOf(std::exchange(dots, {}));
    if (out.bf16DotFlops && numerics != "f32")
      out.peakFlops = std::max(out.fp32Flops, *out.bf16DotFlops);
    return out;
  }

  void print() const;
  void json(JsonWriter &w) const;

private:
  std::unique_ptr<Probe> cpu;    // either this
  std::unique_ptr<GpuProbe> gpu; // or this
  MachineRates rates;
  std::vector<double> reads, multiplyAdds, dots;
};

struct KernelResult {
  std::string kernel, place; // the first launch, layer numbers as '*'
  unsigned launches = 0;
  double seconds = 0;
  Cost cost;
};

struct EntryResult {
  std::string name;
  uint64_t context = 0, tokens = 0; // context: length of every sequence behind the step
  unsigned steps = 0, slots = 1;
  double seconds = 0;
  StepRates rates;        // the probe between these steps
  double firstLogits = 0; // mean magnitude after the first step: the same for the same weights and numerics
  Cost cost;
  std::vector<KernelResult> kernels; // slowest first
  std::vector<KernelResult> layers;  // named by what their launches' names begin with: "layers.3", "head"
  std::vector<KernelResult> formats; // launches that do little but multiply with weights, by the format of these
};

/// "layers.3.attn.wq_a" as "layers.*.attn.wq_a": launches of one kernel differ in the layer.
std::string placeOf(std::string_view launch) {
  std::string out;
  for (const std::string &part : splitList(launch, '.')) {
    bool number = !part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    out += concat(out.empty() ? "" : ".", number ? "*" : part);
  }
  return out;
}

/// "layers.3.attn.wq_a" as "layers.3", and all else as its first part.
std::string layerOf(std::string_view launch) {
  std::vector<std::string> parts = splitList(launch, '.');
  return parts.size() > 1 && parts[0] == "layers" ? concat(parts[0], ".", parts[1]) : parts[0];
}

/// Times of launches, by entry and number. The session reports them in order.
class Recorder {
public:
  explicit Recorder(const fbs::Target &target) {
    for (const fbs::Entry *entry : *target.entries())
      entries[entry->name()->str()].times.resize(entry->launches()->size());
  }

  static void onLaunch(void *user, const v4_launch_event *event) {
    Times &times = static_cast<Recorder *>(user)->entries.find(event->entry)->second;
    times.times[times.next++] += static_cast<double>(event->duration_ns) * 1e-9;
    times.next %= times.times.size();
  }

  /// The launches of `entry` since the last call; `others` gets the time of all other entries, those of the MTP block.
  std::vector<double> takeStep(const std::string &entry, double &others) {
    std::vector<double> out;
    others = 0;
    for (auto &[name, times] : entries) {
      std::vector<double> taken(times.times.size());
      std::swap(taken, times.times);
      if (name == entry)
        out = std::move(taken);
      else
        others += std::accumulate(taken.begin(), taken.end(), 0.0);
    }
    return out;
  }

private:
  struct Times {
    std::vector<double> times;
    size_t next = 0;
  };
  std::map<std::string, Times, std::less<>> entries;
};

// ---- The measurement

struct Command {
  std::string module, device;
  std::vector<uint64_t> contexts;
  uint64_t threads = 0, seed = 0;
  bool decode = true, prefill = true;
};

class Bench {
public:
  Bench(const ParsedOptions &options, Command &command) : options(options), command(command) {}

  Status execute() {
    V4_RETURN_IF_ERROR(load());
    Expected<Machine> created = Machine::create(command.device, static_cast<uint32_t>(command.threads));
    V4_RETURN_IF_ERROR(created);
    machine = std::move(*created);
    V4_RETURN_IF_ERROR(createSession());
    V4_RETURN_IF_ERROR(machine.measure());
    if (command.decode)
      for (uint64_t context : command.contexts)
        V4_RETURN_IF_ERROR(measureDecode(context));
    if (command.prefill)
      V4_RETURN_IF_ERROR(measurePrefill());
    return {};
  }

  const fbs::Module &root() const { return file.root(); }

  v4_module_info info = {};
  Machine machine;
  std::vector<EntryResult> results;

private:
  Status load() {
    Expected<ModuleFile> read = ModuleFile::read(command.module);
    if (!read)
      return read.takeStatus().in(command.module);
    file = std::move(*read);
    v4_module *loaded = nullptr;
    v4_module_options moduleOptions = {sizeof moduleOptions, command.device.c_str()};
    V4_RETURN_IF_ERROR(take(v4_module_load_memory(file.bytes().data(), file.bytes().size(), &moduleOptions, &loaded))
                           .in(command.module));
    module.reset(loaded);
    info.struct_size = sizeof info;
    V4_RETURN_IF_ERROR(take(v4_module_get_info(loaded, &info)));
    for (const fbs::Target *candidate : *root().targets())
      if (candidate->name()->string_view() == info.target)
        target = candidate;
    for (const fbs::Entry *entry : *target->entries()) {
      bool isDecode = entry->kind() == fbs::EntryKind::Decode, isPrefill = entry->kind() == fbs::EntryKind::Prefill;
      if (isDecode)
        decodeEntry = entry;
      if (isPrefill && (!prefillEntry || entry->rows() > prefillEntry->rows()))
        prefillEntry = entry;
    }
    if (command.contexts.empty())
      command.contexts = {std::min<uint64_t>(4096, info.max_context)};
    for (uint64_t context : command.contexts)
      if (context > info.max_context)
        return invalid(command.module, ": a context of ", context, " exceeds the module's max_context of ",
                       info.max_context, "; compile it with a larger --max-context");
    return {};
  }

  Status createSession() {
    v4_weights *loaded = nullptr;
    V4_RETURN_IF_ERROR(options.has("weights")
                           ? take(v4_weights_load(module.get(), options.get("weights").c_str(), nullptr, &loaded))
                           : take(v4_weights_random(module.get(), command.seed, &loaded)));
    weights.reset(loaded);
    recorder = std::make_unique<Recorder>(*target);
    v4_observer observer = {};
    observer.struct_size = sizeof observer;
    observer.user = recorder.get();
    observer.launch = Recorder::onLaunch;
    v4_session_options sessionOptions = {};
    sessionOptions.struct_size = sizeof sessionOptions;
    sessionOptions.threads = static_cast<uint32_t>(command.threads);
    sessionOptions.observer = &observer;
    v4_session *created = nullptr;
    V4_RETURN_IF_ERROR(take(v4_session_create(module.get(), weights.get(), &sessionOptions, &created)));
    session.reset(created);
    return {};
  }

  /// Values in -1..1, as normalised keys have.
  static void randomState(void *, const char *name, uint64_t first, size_t count, float *out) {
    uint64_t key = 0;
    for (const char *c = name; *c; ++c)
      key = scramble(key ^ static_cast<unsigned char>(*c));
    for (size_t i = 0; i != count; ++i)
      out[i] = static_cast<float>(scramble(key + first + i) >> 40) * 0x1p-23f - 1.0f;
  }

  std::vector<int32_t> randomTokens(size_t count) {
    std::vector<int32_t> tokens(count);
    for (int32_t &token : tokens)
      token = static_cast<int32_t>(scramble(++tokenCounter) % info.vocab_size);
    return tokens;
  }

  /// Of the magnitudes; not finite when one is not.
  double meanLogit() const {
    const float *logits = v4_session_logits(session.get(), 0);
    double sum = 0;
    for (uint32_t i = 0; i != info.vocab_size; ++i)
      sum += std::fabs(static_cast<double>(logits[i]));
    return sum / info.vocab_size;
  }

  Status measureDecode(uint64_t context) {
    tokenCounter = 0;             // whatever else is measured, the first step is the same
    constexpr uint64_t span = 16; // steps between two fillings of the state
    uint64_t start = context > span ? context - span : 0;
    return measure(*decodeEntry, concat("decode at ", context), context, info.slots, /*warmUp=*/2, [&]() -> Status {
      uint64_t position = v4_session_position(session.get(), 0);
      if (position < start || position >= context || tokenCounter == 0)
        for (uint32_t slot = 0; slot != info.slots; ++slot)
          V4_RETURN_IF_ERROR(take(v4_session_fill(session.get(), slot, start, randomState, nullptr)));
      return {};
    });
  }

  Status measurePrefill() {
    if (!prefillEntry || prefillEntry->rows() > info.max_context)
      return {};
    uint64_t rows = prefillEntry->rows();
    tokenCounter = 0;
    return measure(*prefillEntry, concat("prefill of ", rows), rows, rows, /*warmUp=*/1,
                   [&] { return take(v4_session_reset(session.get(), 0)); });
  }

  /// Steps until five are done and a second is over. Before each of them the probe goes through a part of
  /// its buffer that is larger than the caches: that is the bandwidth to compare with, and leaves no weight in a cache,
  /// where a model of real size would have none.
  template <typename Prepare>
  Status measure(const fbs::Entry &entry, const std::string &what, uint64_t context, uint64_t tokens, unsigned warmUp,
                 Prepare prepare) {
    constexpr unsigned leastSteps = 5, mostSteps = 64;
    constexpr double enough = 1.0;
    Progress progress(what);
    std::string name = entry.name()->str();
    std::vector<double> times;
    std::vector<std::vector<double>> launchTimes;
    double started = seconds(), firstLogits = 0;
    for (unsigned step = 0;
         step < warmUp + leastSteps || (seconds() - started < enough && step < warmUp + mostSteps); ++step) {
      progress.say(concat("step ", step));
      V4_RETURN_IF_ERROR(prepare());
      std::vector<int32_t> ids = randomTokens(tokens);
      V4_RETURN_IF_ERROR(machine.sample());
      double begin = seconds(), others = 0;
      V4_RETURN_IF_ERROR(take(&entry == decodeEntry ? v4_session_step(session.get(), ids.data(), ids.size())
                                                    : v4_session_append(session.get(), 0, ids.data(), ids.size())));
      double time = seconds() - begin;
      std::vector<double> launches = recorder->takeStep(name, others);
      if (step == 0)
        firstLogits = meanLogit();
      if (step < warmUp)
        continue;
      times.push_back(time - others);
      launchTimes.push_back(std::move(launches));
    }
    if (!std::isfinite(meanLogit()))
      return invalid(what, ": the logits are not finite; the figures would mean nothing");

    EntryResult result;
    result.name = name;
    result.context = context;
    result.tokens = tokens;
    result.slots = &entry == decodeEntry ? info.slots : 1;
    result.steps = static_cast<unsigned>(times.size());
    result.seconds = medianOf(times);
    result.rates = machine.takeSamples(info.numerics);
    result.firstLogits = firstLogits;
    Costs costs(root(), entry, tokens, context);
    result.cost = costs.whole;
    addKernels(entry, costs, launchTimes, result);
    results.push_back(std::move(result));
    return {};
  }

  void addKernels(const fbs::Entry &entry, const Costs &costs, const std::vector<std::vector<double>> &launchTimes,
                  EntryResult &result) {
    Rows kernels(result.kernels, launchTimes), layers(result.layers, launchTimes), formats(result.formats, launchTimes);
    for (uint32_t i = 0; i != entry.launches()->size(); ++i) {
      const fbs::Launch &launch = *entry.launches()->Get(i);
      std::string name = target->kernels()->Get(launch.kernel())->name()->str();
      kernels.add(name, placeOf(launch.name()->string_view()), i, costs.launches[i]);
      layers.add(layerOf(launch.name()->string_view()), {}, i, costs.launches[i]);
      if (std::string format = costs.launches[i].format(); !format.empty())
        formats.add(format, placeOf(launch.name()->string_view()), i, costs.launches[i]);
    }
    kernels.finish();
    layers.finish();
    formats.finish();
  }

  /// Sums launches by name; a row's time is the median of its sums over the steps.
  class Rows {
  public:
    Rows(std::vector<KernelResult> &rows, const std::vector<std::vector<double>> &times) : rows(rows), times(times) {}

    void add(const std::string &name, std::string place, uint32_t launch, const Cost &cost) {
      auto [found, isNew] = indices.try_emplace(name, rows.size());
      if (isNew) {
        KernelResult row;
        row.kernel = name;
        row.place = std::move(place);
        rows.push_back(std::move(row));
        sums.emplace_back(times.size());
      }
      KernelResult &row = rows[found->second];
      row.launches += 1;
      row.cost.add(cost);
      for (size_t step = 0; step != times.size(); ++step)
        sums[found->second][step] += times[step][launch];
    }

    void finish() {
      for (size_t i = 0; i != sums.size(); ++i)
        rows[i].seconds = medianOf(std::move(sums[i]));
      std::sort(rows.begin(), rows.end(), [](const KernelResult &a, const KernelResult &b) {
        return a.seconds != b.seconds ? a.seconds > b.seconds : a.kernel < b.kernel;
      });
    }

  private:
    std::vector<KernelResult> &rows;
    const std::vector<std::vector<double>> &times;
    std::map<std::string, size_t> indices;
    std::vector<std::vector<double>> sums;
  };

  const ParsedOptions &options;
  Command &command;
  ModuleFile file;
  const fbs::Target *target = nullptr;
  const fbs::Entry *decodeEntry = nullptr, *prefillEntry = nullptr;
  ModuleHandle module;
  WeightsHandle weights;
  std::unique_ptr<Recorder> recorder; // outlives the session, which reports to it
  SessionHandle session;
  uint64_t tokenCounter = 0;
};

// ---- Output

void printRate(const char *name, Rate rate, const char *unit) {
  std::printf("  %-9s %8.1f %s (best %.1f)\n", name, rate.median / 1e9, unit, rate.best / 1e9);
}

void Machine::print() const {
  if (gpu) {
    std::printf("machine  %s; medians\n", gpu->description().c_str());
    printRate("copy", rates.readBytes, "GB/s, read and written");
    return;
  }
  std::printf("machine  %s, %u threads, %s; medians\n", cpuName().c_str(), cpu->threads(),
              std::string(cpu->instructions()).c_str());
  printRate("read", rates.readBytes, "GB/s");
  printRate("copy", rates.copyBytes, "GB/s, every byte counted once");
  printRate("fp32 FMA", rates.fp32Flops, "GFLOP/s");
  if (rates.bf16DotFlops)
    printRate("bf16 dot", *rates.bf16DotFlops, "GFLOP/s");
}

/// A number, or "-" where there is nothing to say.
std::string cell(double value, const char *format, bool known, bool isBound = false) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), format, value);
  return concat(known && isBound ? "<" : "", known ? text.data() : "-");
}

void printLine(const std::string &name, unsigned launches, double time, double all, const Cost &cost,
               const StepRates &rates) {
  double bytes = static_cast<double>(cost.bytes());
  bool moves = bytes > 0, multiplies = cost.flops > 0;
  std::printf("%-58.58s %5u %11.1f %6.1f %10s %8s %7s %9s %7s\n", name.c_str(), launches, time * 1e6, 100 * time / all,
              cell(bytes / 1e6, "%.3f", moves, cost.isBound).c_str(),
              cell(bytes / time / 1e9, "%.2f", moves, cost.isBound).c_str(),
              cell(100 * bytes / time / rates.readBytes, "%.1f", moves, cost.isBound).c_str(),
              cell(cost.flops / time / 1e9, "%.1f", multiplies).c_str(),
              cell(100 * cost.flops / time / rates.peakFlops, "%.1f", multiplies && rates.peakFlops > 0).c_str());
}

void printEntry(const EntryResult &entry) {
  std::string slots = entry.slots > 1 ? concat(" in each of ", entry.slots, " slots") : std::string();
  std::printf("\n%s, context %llu%s: %.3f ms (median of %u), %.2f tokens/s, %s%s (weights %s, state %s); probe: read "
              "%.1f GB/s, peak %s GFLOP/s\n",
              entry.name.c_str(), static_cast<unsigned long long>(entry.context), slots.c_str(), entry.seconds * 1e3,
              entry.steps, static_cast<double>(entry.tokens) / entry.seconds, entry.cost.isBound ? "<" : "",
              sizeText(entry.cost.bytes()).c_str(), sizeText(entry.cost.weightBytes).c_str(),
              sizeText(entry.cost.stateBytes).c_str(), entry.rates.readBytes / 1e9,
              cell(entry.rates.peakFlops / 1e9, "%.1f", entry.rates.peakFlops > 0).c_str());
  std::printf("%-58s %5s %11s %6s %10s %8s %7s %9s %7s\n", "kernel (first launch)", "calls", "time us", "%", "MB",
              "GB/s", "read %", "GFLOP/s", "peak %");
  unsigned launches = 0;
  for (const KernelResult &kernel : entry.kernels) {
    launches += kernel.launches;
    printLine(concat(kernel.kernel, " (", kernel.place, ")"), kernel.launches, kernel.seconds, entry.seconds,
              kernel.cost, entry.rates);
  }
  for (const KernelResult &format : entry.formats)
    printLine(concat("all of ", format.kernel), format.launches, format.seconds, entry.seconds, format.cost,
              entry.rates);
  printLine("step", launches, entry.seconds, entry.seconds, entry.cost, entry.rates);
}

// ---- Bounds

/// The lowest share that `figure` ("decode.fp8.share_of_read") names among the results; nothing when none has it.
std::optional<double> findShare(const std::vector<EntryResult> &results, const std::vector<std::string> &figure) {
  std::optional<double> lowest;
  for (const EntryResult &entry : results) {
    if ((entry.name == "decode") != (figure.front() == "decode"))
      continue;
    auto take = [&](const Cost &cost, double time) {
      bool ofRead = figure.back() == "share_of_read";
      double amount = ofRead ? static_cast<double>(cost.bytes()) : cost.flops;
      double most = ofRead ? entry.rates.readBytes : entry.rates.peakFlops, share = amount / time / most;
      if (amount > 0 && most > 0)
        lowest = std::min(lowest.value_or(share), share);
    };
    if (figure.size() == 2)
      take(entry.cost, entry.seconds);
    for (const KernelResult &format : entry.formats)
      if (figure.size() == 3 && figure[1] == format.kernel)
        take(format.cost, format.seconds);
  }
  return lowest;
}

/// The lower bounds of a file. What was not measured is missed, so that no check passes by being left out.
class Bounds {
public:
  static Expected<Bounds> read(const std::string &path) {
    Expected<json::Value> root = json::parseFile(path);
    V4_RETURN_IF_ERROR(root);
    const json::Value *schema = root->find("schema"), *version = root->find("schema_version");
    if (!schema || schema->string != "v4-bench-bounds" || !version || version->number != 1)
      return invalid(path, ": expected \"schema\": \"v4-bench-bounds\" and \"schema_version\": 1");
    const json::Value *least = root->find("least");
    if (!least || !least->isObject() || least->members.empty())
      return invalid(path, ": 'least' is missing, or no object of figures and numbers");
    Bounds out;
    for (const json::Member &member : least->members) {
      Bound bound = {member.name, splitList(member.name, '.'), member.value.real};
      if (!isFigure(bound.parts))
        return invalid(path, ": '", member.name, "' is no figure; expected (decode|prefill)[.(bf16|fp8|fp4|fp32|mixed)]"
                       ".(share_of_read|share_of_peak)");
      if (!member.value.isNumber() || !(bound.least > 0))
        return invalid(path, ": the bound of '", member.name, "' is not a number above 0");
      out.bounds.push_back(std::move(bound));
    }
    return out;
  }

  /// Compares, and says whether all are kept.
  bool check(const std::vector<EntryResult> &results) {
    bool passed = true;
    for (Bound &bound : bounds) {
      bound.share = findShare(results, bound.parts);
      passed &= bound.kept();
    }
    return passed;
  }

  void print() const {
    std::printf("\n%-40s %9s %9s\n", "figure", "measured", "at least");
    for (const Bound &bound : bounds)
      std::printf("%-40s %9s %9.3f  %s\n", bound.name.c_str(),
                  cell(bound.share.value_or(0), "%.3f", bound.share.has_value()).c_str(), bound.least,
                  bound.kept() ? "ok" : bound.share ? "MISSED" : "MISSED: nothing measured has it");
  }

  void json(JsonWriter &w) const {
    w.key("checks").open('[');
    for (const Bound &bound : bounds) {
      w.open('{');
      w.key("figure").value(bound.name);
      if (bound.share)
        w.key("measured").real(*bound.share);
      w.key("least").real(bound.least);
      w.key("ok").boolean(bound.kept());
      w.close('}');
    }
    w.close(']');
  }

private:
  struct Bound {
    std::string name;
    std::vector<std::string> parts;
    double least = 0;
    std::optional<double> share = {};

    bool kept() const { return share && *share >= least; }
  };

  static bool isFigure(const std::vector<std::string> &parts) {
    auto oneOf = [](const std::string &part, std::initializer_list<std::string_view> names) {
      return std::find(names.begin(), names.end(), part) != names.end();
    };
    return (parts.size() == 2 || (parts.size() == 3 && oneOf(parts[1], {"bf16", "fp8", "fp4", "fp32", "mixed"}))) &&
           oneOf(parts.front(), {"decode", "prefill"}) && oneOf(parts.back(), {"share_of_read", "share_of_peak"});
  }

  std::vector<Bound> bounds;
};

void rateJson(JsonWriter &w, const std::string &name, Rate rate) {
  w.key(name).real(rate.median);
  w.key("best_" + name).real(rate.best);
}

void Machine::json(JsonWriter &w) const {
  if (gpu) {
    w.key("gpu").value(gpu->description());
    w.key("buffer_bytes").number(gpu->bufferBytes());
    rateJson(w, "read_bytes_per_second", rates.readBytes);
    return;
  }
  w.key("cpu").value(cpuName());
  w.key("threads").number(cpu->threads());
  w.key("instructions").value(cpu->instructions());
  w.key("buffer_bytes").number(cpu->bufferBytes());
  rateJson(w, "read_bytes_per_second", rates.readBytes);
  rateJson(w, "copy_bytes_per_second", rates.copyBytes);
  rateJson(w, "fp32_flops", rates.fp32Flops);
  if (rates.bf16DotFlops)
    rateJson(w, "bf16_dot_flops", *rates.bf16DotFlops);
}

void costJson(JsonWriter &w, const Cost &cost, double time, const StepRates &rates) {
  w.key("seconds").real(time);
  if (cost.bytes()) {
    w.key("weight_bytes").number(cost.weightBytes);
    w.key("state_bytes").number(cost.stateBytes);
    w.key("bytes_are_bound").boolean(cost.isBound);
    w.key("bytes_per_second").real(static_cast<double>(cost.bytes()) / time);
    w.key("share_of_read").real(static_cast<double>(cost.bytes()) / time / rates.readBytes);
  }
  if (cost.flops > 0) {
    w.key("flop").real(cost.flops);
    w.key("flops").real(cost.flops / time);
    if (rates.peakFlops > 0) {
      w.key("share_of_fp32").real(cost.flops / time / rates.fp32Flops);
      w.key("share_of_peak").real(cost.flops / time / rates.peakFlops);
    }
    if (rates.bf16DotFlops)
      w.key("share_of_bf16_dot").real(cost.flops / time / *rates.bf16DotFlops);
  }
}

void entryJson(JsonWriter &w, const EntryResult &entry) {
  w.open('{');
  w.key("name").value(entry.name);
  w.key("context").number(entry.context);
  w.key("slots").number(entry.slots);
  w.key("tokens").number(entry.tokens);
  w.key("steps").number(entry.steps);
  w.key("tokens_per_second").real(static_cast<double>(entry.tokens) / entry.seconds);
  w.key("read_bytes_per_second").real(entry.rates.readBytes);
  if (entry.rates.fp32Flops > 0)
    w.key("fp32_flops").real(entry.rates.fp32Flops);
  if (entry.rates.bf16DotFlops)
    w.key("bf16_dot_flops").real(*entry.rates.bf16DotFlops);
  w.key("first_logits").real(entry.firstLogits);
  costJson(w, entry.cost, entry.seconds, entry.rates);
  w.key("kernels").open('[');
  for (const KernelResult &kernel : entry.kernels) {
    w.open('{');
    w.key("name").value(kernel.kernel);
    w.key("first_launch").value(kernel.place);
    w.key("launches").number(kernel.launches);
    costJson(w, kernel.cost, kernel.seconds, entry.rates);
    w.close('}');
  }
  w.close(']');
  auto rows = [&](const char *key, const std::vector<KernelResult> &rows) {
    w.key(key).open('[');
    for (const KernelResult &row : rows) {
      w.open('{');
      w.key("name").value(row.kernel);
      w.key("launches").number(row.launches);
      costJson(w, row.cost, row.seconds, entry.rates);
      w.close('}');
    }
    w.close(']');
  };
  rows("layers", entry.layers);
  rows("formats", entry.formats);
  w.close('}');
}

void openDocument(JsonWriter &w, std::string_view schema) {
  w.open('{');
  w.key("schema").value(schema);
  w.key("schema_version").number(1);
}

int finish() {
  if (std::fflush(stdout) != 0)
    return fail(environment("cannot write to standard output"));
  return ExitOk;
}

int runProbe(const ParsedOptions &options, const Command &command) {
  std::optional<OutputFile> file; // opened before the measurement: a path that cannot be written is found out at once
  if (options.has("write-target")) {
    Expected<OutputFile> created = OutputFile::create(options.get("write-target"));
    if (!created)
      return fail(created.takeStatus());
    file = std::move(*created);
  }
  Expected<Machine> machine = Machine::create(command.device, static_cast<uint32_t>(command.threads));
  if (!machine)
    return fail(machine.takeStatus());
  if (Status status = machine->measure(); !status.ok())
    return fail(status);
  if (file) {
    JsonWriter w;
    openDocument(w, "v4-target");
    machine->json(w);
    w.close('}');
    Status status = file->write(w.out + "\n");
    if (status.ok())
      status = file->commit();
    if (!status.ok())
      return fail(status);
  }
  if (options.has("json")) {
    JsonWriter w;
    openDocument(w, "v4-bench");
    w.key("machine").open('{');
    machine->json(w);
    w.close('}');
    w.close('}');
    std::printf("%s\n", w.out.c_str());
  } else {
    machine->print();
  }
  return finish();
}

int runBench(const ParsedOptions &options, Command &command) {
  std::optional<Bounds> bounds; // read before the measurement: a mistake in the file is found out at once
  if (options.has("check")) {
    Expected<Bounds> read = Bounds::read(options.get("check"));
    if (!read)
      return fail(read.takeStatus());
    bounds = std::move(*read);
  }
  Bench bench(options, command);
  Status status = bench.execute();
  if (!status.ok())
    return fail(status);
  bool passed = !bounds || bounds->check(bench.results);
  if (options.has("json")) {
    JsonWriter w;
    openDocument(w, "v4-bench");
    w.key("machine").open('{');
    bench.machine.json(w);
    w.close('}');
    w.key("numerics").value(bench.info.numerics);
    w.key("kv").value(bench.info.kv);
    w.key("plan").value(bench.info.plan);
    w.key("entries").open('[');
    for (const EntryResult &entry : bench.results)
      entryJson(w, entry);
    w.close(']');
    if (bounds)
      bounds->json(w);
    w.close('}');
    std::printf("%s\n", w.out.c_str());
  } else {
    bench.machine.print();
    for (const EntryResult &entry : bench.results)
      printEntry(entry);
    if (bounds)
      bounds->print();
  }
  if (int code = finish(); code != ExitOk)
    return code;
  return passed ? int(ExitOk)
                : report("error", static_cast<v4_code>(ExitComparison),
                         concat("a bound of ", options.get("check"), " is missed"));
}

/// Empty, or what is wrong with the command line.
std::string readCommand(const ParsedOptions &options, Command &command) {
  bool probe = options.has("probe");
  if (probe != options.positionals.empty())
    return probe ? "--probe measures the machine and takes no module" : "give a module, or --probe";
  for (const char *name : {"weights", "random-weights", "contexts", "entries", "check"})
    if (probe && options.has(name))
      return concat("--", name, " needs a module, not --probe");
  if (!probe && options.has("write-target"))
    return "--write-target needs --probe";
  if (!probe && options.has("weights") == options.has("random-weights"))
    return "give one of --weights=CHECKPOINT and --random-weights=SEED";
  if (options.has("random-weights") && !parseUnsigned(options.get("random-weights"), command.seed))
    return concat("--random-weights=", options.get("random-weights"), " is not a whole number from 0");
  if (options.has("threads") &&
      (!parseUnsigned(options.get("threads"), command.threads) || command.threads < 1 || command.threads > 1024))
    return concat("--threads=", options.get("threads"), " is not a whole number from 1 to 1024");
  if (options.has("contexts") &&
      (!parseUnsignedList(options.get("contexts"), command.contexts) ||
       std::find(command.contexts.begin(), command.contexts.end(), 0u) != command.contexts.end()))
    return concat("--contexts=", options.get("contexts"), " is not a list of whole numbers from 1");
  if (options.has("entries")) {
    std::vector<std::string> entries = splitList(options.get("entries"));
    command.decode = std::find(entries.begin(), entries.end(), "decode") != entries.end();
    command.prefill = std::find(entries.begin(), entries.end(), "prefill") != entries.end();
  }
  command.device = options.get("device", "cpu");
  if (!probe)
    command.module = options.positionals[0];
  return {};
}

} // namespace

int main(int argc, char **argv) {
  installHandlers("v4-bench", v4_current_launch);
  ToolSpec tool = toolSpec();
  ParsedOptions options = parseOptions(tool, argc, argv);
  if (options.exit)
    return *options.exit;
  Command command;
  if (std::string wrong = readCommand(options, command); !wrong.empty())
    return usageError(tool, wrong);
  return options.has("probe") ? runProbe(options, command) : runBench(options, command);
}
