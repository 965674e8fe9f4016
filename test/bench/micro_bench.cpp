// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Micro-benchmarks of single kernels at real shapes, through the interface of libv4: the modules that graphs.py describes
// and the build compiled. Times are those of one launch; beside them stand the shares of what the probe measured between
// the same iterations.
//
//   v4-micro-bench [--threads=N] [--benchmark_filter=linear] [any flag of Google Benchmark]
#include "runtime/v4.h"
#include "tools/Handles.h"
#include "tools/Probe.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <numeric>
#include <random>

using namespace v4;

namespace {

uint32_t threads = 0;

[[noreturn]] void die(const Status &status) {
  std::fprintf(stderr, "v4-micro-bench: error: %s\n", std::string(status.message()).c_str());
  std::exit(status.code());
}

Probe &probe() {
  static std::unique_ptr<Probe> instance = [] {
    Expected<std::unique_ptr<Probe>> created = Probe::create(threads);
    if (!created)
      die(created.takeStatus());
    return std::move(*created);
  }();
  return *instance;
}

/// One op of a module, at one number of rows.
struct Case {
  std::string module;
  uint32_t rows = 1;
  double bytes = 0; // weights, or rows of the state that are read
  double flops = 0; // 0: none to speak of
  bool cold = true; // whether its inputs come from memory in a model
};

/// A loaded module with random weights, and the time of its launch `measured`.
class Runner {
public:
  explicit Runner(const std::string &name) {
    v4_module *loadedModule = nullptr;
    std::string path = std::string(V4_BENCH_MODULES) + "/" + name + ".v4m";
    check(take(v4_module_load(path.c_str(), nullptr, &loadedModule)));
    module.reset(loadedModule);
    info.struct_size = sizeof info;
    check(take(v4_module_get_info(loadedModule, &info)));
    v4_weights *loadedWeights = nullptr;
    check(take(v4_weights_random(loadedModule, 1, &loadedWeights)));
    weights.reset(loadedWeights);
    v4_observer observer = {};
    observer.struct_size = sizeof observer;
    observer.user = this;
    observer.launch = onLaunch;
    v4_session_options options = {};
    options.struct_size = sizeof options;
    options.threads = threads;
    options.observer = &observer;
    v4_session *created = nullptr;
    check(take(v4_session_create(loadedModule, loadedWeights, &options, &created)));
    session.reset(created);
  }

  /// Seconds of the launch in one step of `rows` tokens near the end of the context.
  double step(uint32_t rows) {
    uint64_t most = info.max_context - std::min<uint64_t>(info.max_context, 1024);
    uint64_t position = v4_session_position(session.get(), 0);
    if (position < most || position + rows > info.max_context)
      check(take(v4_session_fill(session.get(), 0, most, fillState, nullptr)));
    std::vector<int32_t> tokens(rows);
    std::iota(tokens.begin(), tokens.end(), 0);
    launchSeconds = -1;
    prepare();
    check(take(v4_session_append(session.get(), 0, tokens.data(), tokens.size())));
    return launchSeconds;
  }

  bool isFinite() const {
    const float *logits = v4_session_logits(session.get(), 0);
    return std::all_of(logits, logits + info.vocab_size, [](float x) { return std::isfinite(x); });
  }

  void (*prepare)() = [] {};

private:
  void check(const Status &status) {
    if (!status.ok())
      die(status);
  }

  static void onLaunch(void *user, const v4_launch_event *event) {
    if (std::strcmp(event->launch, "measured") == 0)
      static_cast<Runner *>(user)->launchSeconds = static_cast<double>(event->duration_ns) * 1e-9;
  }

  static void fillState(void *, const char *, uint64_t first, size_t count, float *out) {
    for (size_t i = 0; i != count; ++i)
      out[i] = static_cast<float>(((first + i) * 0x9E3779B97F4A7C15u) >> 40) * 0x1p-23f - 1.0f;
  }

  ModuleHandle module;
  WeightsHandle weights;
  SessionHandle session;
  v4_module_info info = {};
  double launchSeconds = -1;
};

Runner &runner(const std::string &module) {
  static std::map<std::string, std::unique_ptr<Runner>> runners;
  std::unique_ptr<Runner> &found = runners[module];
  if (!found)
    found = std::make_unique<Runner>(module);
  return *found;
}

/// What is printed: of the median, since other work may run on the machine. 0: no such figure. All cases have all of them,
/// for then they make one table.
void report(benchmark::State &state, const Case &what, const std::vector<double> &times,
            const std::vector<double> &reads, const std::vector<double> &peaks) {
  double time = medianOf(times);
  state.counters["median_us"] = time * 1e6;
  state.counters["GB/s"] = what.bytes / time / 1e9;
  state.counters["GFLOP/s"] = what.flops / time / 1e9;
  state.counters["read%"] = reads.empty() ? 0 : 100 * what.bytes / time / medianOf(reads);
  state.counters["FMA%"] = peaks.empty() ? 0 : 100 * what.flops / time / medianOf(peaks);
}

void runCase(benchmark::State &state, const Case &what) {
  Runner &run = runner(what.module);
  std::vector<double> times, reads, peaks;
  static std::vector<double> *readRates = nullptr;
  readRates = what.cold ? &reads : nullptr;
  // Between the filling of the state and the step: the caches hold the probe's buffer then.
  run.prepare = [] {
    if (readRates)
      readRates->push_back(probe().readOnce());
  };
  if (!what.cold)
    run.step(what.rows);
  for (auto _ : state) {
    if (what.flops > 0)
      peaks.push_back(probe().multiplyAddOnce());
    double time = run.step(what.rows);
    if (time <= 0) {
      state.SkipWithError("the module has no launch 'measured'");
      return;
    }
    state.SetIterationTime(time);
    times.push_back(time);
  }
  if (!run.isFinite())
    return state.SkipWithError("the result is not finite");
  report(state, what, times, reads, peaks);
}

/// What top-k competes with: the standard library on a copy of such scores.
void nthElement(benchmark::State &state, size_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> scores(count), copy;
  for (float &score : scores)
    score = normal(random);
  std::vector<double> times;
  for (auto _ : state) {
    copy = scores;
    auto begin = std::chrono::steady_clock::now();
    std::nth_element(copy.begin(), copy.begin() + 511, copy.end(), std::greater<>());
    benchmark::DoNotOptimize(copy.data());
    double time = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    state.SetIterationTime(time);
    times.push_back(time);
  }
  report(state, {.module = {}, .bytes = 4.0 * static_cast<double>(count)}, times, {}, {});
}

void add(const std::string &name, const Case &what) {
  benchmark::RegisterBenchmark(name.c_str(), runCase, what)->UseManualTime()->Unit(benchmark::kMicrosecond);
}

void registerAll() {
  constexpr double width = 4096, head = 512, heads = 64, keys = 128 + 512;
  // Bytes per number, block scales included.
  const std::pair<const char *, double> formats[] = {
      {"bf16", 2}, {"fp8", 1 + 1 / 16384.0}, {"fp4", 0.5 + 1 / 32.0}, {"f32", 4}};
  for (auto [format, bytes] : formats)
    for (uint32_t rows : {1, 2, 4, 8, 16, 512})
      add(concat("linear/", format, "/4096x4096/rows:", rows),
          {concat("linear-", format), rows, bytes * width * width, 2 * width * width * rows});
  for (uint32_t count : {2048, 16384, 65536, 262144}) {
    // The scores were written just before.
    add(concat("top_512_of/", count), {concat("topk-", count), 1, 4.0 * count, 0, false});
    benchmark::RegisterBenchmark(concat("nth_element_512_of/", count).c_str(), nthElement, count)
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
  }
  add("attention/64x512/keys:640", {"attention", 1, keys * head * 4, 4 * keys * head * heads});
  for (uint32_t rows : {1, 512}) {
    add(concat("rms_norm/4096/rows:", rows), {"norm", rows, 8 * width * rows, 0, false});
    // The matrix is read from memory; its products count.
    add(concat("hc_pre/4096/rows:", rows), {"mhc", rows, 24 * 4 * width * 4, 2 * 24 * 4 * width * rows});
  }
  for (uint32_t rows : {1, 16})
    add(concat("rope/64x512/rows:", rows), {"rope", rows, 8 * heads * head * rows, 0, false});
}

} // namespace

int main(int argc, char **argv) {
  // Google Benchmark's half second per case would be minutes of flushing caches.
  std::vector<std::string> arguments = {argv[0], "--benchmark_counters_tabular=true", "--benchmark_min_time=0.02"};
  for (int i = 1; i != argc; ++i) {
    std::string_view argument = argv[i];
    if (argument.starts_with("--threads="))
      threads = static_cast<uint32_t>(std::strtoul(argument.substr(10).data(), nullptr, 10));
    else
      arguments.emplace_back(argument);
  }
  std::vector<char *> pointers;
  for (std::string &argument : arguments)
    pointers.push_back(argument.data());
  int count = static_cast<int>(pointers.size());
  registerAll();
  benchmark::Initialize(&count, pointers.data());
  if (benchmark::ReportUnrecognizedArguments(count, pointers.data()))
    return 2;
  return benchmark::RunSpecifiedBenchmarks() ? 0 : 1;
}
