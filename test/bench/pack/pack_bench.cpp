// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Packing weights, against this machine's copy bandwidth (share_of_copy; the probe runs first, in the same process).
// Every byte counts once. "resident" packs memory into memory that is there already; "load" is what v4-run does: from a
// mapped file in the page cache into memory that the system has yet to give; "load_as_stored" does the same without a
// permutation; "memory_alone" only takes the memory from the system.
#include "runtime/Mover.h"
#include "tools/Probe.h"

#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

using namespace v4;

namespace {

constexpr uint64_t totalBytes = uint64_t(512) << 20;

double copyBytes = 0; // of the probe, per second

/// A file of `totalBytes` in the page cache that is there as long as it is mapped.
Expected<MappedFile> makeFile() {
  const char *base = std::getenv("TMPDIR");
  std::string path = concat(base ? base : "/tmp", "/v4-pack-bench.bin");
  Expected<OutputFile> out = OutputFile::create(path);
  V4_RETURN_IF_ERROR(out);
  std::string block(size_t(1) << 20, '\0');
  for (size_t i = 0; i != block.size(); ++i)
    block[i] = static_cast<char>(i * 2654435761u >> 13);
  for (uint64_t at = 0; at != totalBytes; at += block.size())
    V4_RETURN_IF_ERROR(out->write(block));
  V4_RETURN_IF_ERROR(out->commit());
  Expected<MappedFile> file = MappedFile::open(path);
  std::remove(path.c_str());
  return file;
}

Rows16 layoutOf(uint64_t rowBytes, unsigned unit) {
  return {totalBytes / (packedRows * rowBytes), rowBytes, unit};
}

void report(benchmark::State &state) {
  double bytes = static_cast<double>(state.iterations()) * totalBytes;
  state.SetBytesProcessed(static_cast<int64_t>(bytes));
  state.counters["share_of_copy"] = benchmark::Counter(bytes / copyBytes, benchmark::Counter::kIsRate);
}

void resident(benchmark::State &state, uint64_t rowBytes, unsigned unit) {
  Expected<Pages> from = Pages::allocate(totalBytes, "source"), to = Pages::allocate(totalBytes, "destination");
  Mover mover;
  Status status = mover.start(0);
  if (!from || !to || !status.ok())
    return state.SkipWithError("no memory or threads");
  std::fill_n(from->data(), totalBytes, std::byte(1));
  std::fill_n(to->data(), totalBytes, std::byte(2));
  Transfer transfer = {from->data(), to->data(), totalBytes, layoutOf(rowBytes, unit), nullptr};
  for (auto _ : state)
    status = mover.run({&transfer, 1}, {});
  report(state);
}

void load(benchmark::State &state, const MappedFile *file, const Rows16 &layout) {
  Mover mover;
  Status status = mover.start(0);
  for (auto _ : state) {
    Expected<Pages> to = Pages::allocate(totalBytes, "destination");
    if (!to || !status.ok())
      return state.SkipWithError("no memory or threads");
    useHugePages(to->data(), to->size());
    Transfer transfer = {file->bytes().data(), to->data(), totalBytes, layout, file};
    status = mover.run({&transfer, 1}, {});
    state.PauseTiming();
    *to = Pages();
    state.ResumeTiming();
  }
  report(state);
}

void takeMemory(benchmark::State &state) {
  ThreadPool pool;
  Status status = pool.start(ThreadPool::available());
  constexpr uint64_t pieceBytes = uint64_t(2) << 20;
  auto take = [](void *const *bindings, uint32_t workgroup) {
    populatePages(static_cast<std::byte *>(bindings[0]) + workgroup * pieceBytes, pieceBytes);
  };
  for (auto _ : state) {
    Expected<Pages> to = Pages::allocate(totalBytes, "destination");
    if (!to || !status.ok())
      return state.SkipWithError("no memory or threads");
    useHugePages(to->data(), to->size());
    void *binding = to->data();
    pool.run(take, &binding, totalBytes / pieceBytes);
    state.PauseTiming();
    *to = Pages();
    state.ResumeTiming();
  }
  report(state);
}

} // namespace

int main(int argc, char **argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv))
    return 2;
  auto probe = Probe::create(ThreadPool::available());
  Expected<MappedFile> file = makeFile();
  if (!probe || !file) {
    std::fprintf(stderr, "%s\n", std::string((probe ? file.takeStatus() : probe.takeStatus()).message()).c_str());
    return 3;
  }
  copyBytes = (*probe)->measureAll().copyBytes.best;
  std::printf("copy: %.2f GB/s\n", copyBytes / 1e9);
  for (auto [name, rowBytes, unit] : {std::tuple("bf16_4096", 8192u, 4u), std::tuple("fp8_4096", 4096u, 4u),
                                      std::tuple("fp4_4096", 2048u, 4u), std::tuple("scale_4096", 128u, 1u)}) {
    benchmark::RegisterBenchmark(concat("resident/", name).c_str(), resident, rowBytes, unit)->UseRealTime();
    benchmark::RegisterBenchmark(concat("load/", name).c_str(), load, &*file, layoutOf(rowBytes, unit))->UseRealTime();
  }
  benchmark::RegisterBenchmark("load_as_stored", load, &*file, Rows16())->UseRealTime();
  benchmark::RegisterBenchmark("memory_alone", takeMemory)->UseRealTime();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
