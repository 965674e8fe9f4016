// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One launch of one kernel, described by words, for tests on the emulator and on a GPU.

#include "Launch.h"
#include "emulator/v4emu.h"
#include "runtime/CudaGpu.h"
#include "runtime/ElfImage.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <sys/mman.h>

namespace v4::test {

bool readFile(const std::string &path, std::vector<char> &out) {
  std::error_code unknown;
  std::ifstream file;
  if (!std::filesystem::is_directory(path, unknown)) // reading one would throw
    file.open(path, std::ios::binary);
  out.assign(std::istreambuf_iterator<char>(file), {});
  if (!file.is_open()) {
    std::fprintf(stderr, "cannot read '%s'\n", path.c_str());
    return false;
  }
  return true;
}

/// A decimal number of at most `most`; false for anything else.
template <typename T> static bool parseNumber(std::string_view text, T &out, uint64_t most) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  out = T(value);
  return error == std::errc() && end == text.data() + text.size() && value <= most;
}

static bool parseDims(const std::string &text, uint32_t *dims) {
  std::stringstream in(text);
  std::string part;
  int i = 0;
  for (; std::getline(in, part, ','); ++i)
    if (i == 3 || !parseNumber(part, dims[i], ~uint32_t(0)))
      return false;
  return i != 0;
}

/// Of one binding.
constexpr uint64_t kMostBytes = uint64_t(1) << 33;

/// Small numbers in the bytes of `type`; empty for a type that does not exist.
static std::vector<char> randomBytes(const std::string &type, size_t count) {
  std::vector<char> out;
  uint64_t state = 0x9E3779B97F4A7C15ull;
  auto next = [&](uint32_t bound) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return uint32_t((state >> 33) % bound);
  };
  auto put = [&](auto value) { out.insert(out.end(), reinterpret_cast<char *>(&value), reinterpret_cast<char *>(&value) + sizeof value); };
  for (size_t i = 0; i != count; ++i) {
    if (type == "f32")
      put((float(next(17)) - 8.0f) / 4);
    else if (type == "bf16") {
      float value = (float(next(17)) - 8.0f) / 4;
      uint32_t bits;
      std::memcpy(&bits, &value, 4);
      put(uint16_t(bits >> 16));
    } else if (type == "f16")
      put(static_cast<_Float16>((float(next(17)) - 8.0f) / 4));
    else if (type == "e4m3")
      put(uint8_t(0x20 + next(0x26) + 0x80 * next(2)));
    else if (type == "e8m0")
      put(uint8_t(126 + next(4)));
    else if (type == "i8")
      put(uint8_t(next(256)));
    else if (type == "i32")
      put(next(0x7FFFFFFF));
    else if (type.rfind("below", 0) == 0 && std::strtoul(type.c_str() + 5, nullptr, 10))
      put(next(uint32_t(std::strtoul(type.c_str() + 5, nullptr, 10))));
    else
      return {};
  }
  return out;
}

bool LaunchText::parse(const std::string &word) {
  if (word.rfind('@', 0) == 0) {
    std::vector<char> text;
    if (!readFile(word.substr(1), text))
      return false;
    folder = word.substr(1, word.find_last_of('/'));
    std::stringstream in(std::string(text.begin(), text.end()));
    for (std::string next; in >> next;)
      if (!parse(next))
        return false;
    return true;
  }
  size_t equals = word.find('=');
  std::string key = word.substr(0, equals), value = equals == std::string::npos ? "" : word.substr(equals + 1);
  std::vector<std::string> parts;
  std::stringstream in(value);
  for (std::string part; std::getline(in, part, ':');)
    parts.push_back(part);
  auto bad = [&] {
    std::fprintf(stderr, "cannot read '%s' (see test/emulator/Launch.h)\n", word.c_str());
    return false;
  };
  if (parts.empty())
    return bad();
  if (key == "kernel")
    kernel = value;
  else if (key == "grid")
    return parseDims(value, grid) || bad();
  else if (key == "block")
    return parseDims(value, block) || bad();
  else if (key == "shared")
    return parseNumber(value, shared, ~uint32_t(0)) || bad();
  else if (parts.size() < 2)
    return bad();
  else if (key == "random" && parts.size() == 3) {
    Binding binding;
    binding.name = parts[0];
    uint64_t count = 0;
    if (!parseNumber(parts[2], count, kMostBytes / 4))
      return bad();
    binding.initial = randomBytes(parts[1], count);
    if (binding.initial.empty())
      return bad();
    bindings.push_back(std::move(binding));
  } else if (key == "in" || key == "zero" || key == "poison" || key == "iota") {
    Binding binding;
    binding.name = parts[0];
    uint64_t count = 0;
    if (key != "in" && !parseNumber(parts[1], count, key == "iota" ? kMostBytes / 4 : kMostBytes))
      return bad();
    if (key == "in") {
      if (!readFile(folder + parts[1], binding.initial))
        return false;
    } else if (key == "iota") {
      binding.initial.resize(4 * count);
      for (uint32_t i = 0; i != count; ++i)
        std::memcpy(binding.initial.data() + 4 * size_t(i), &i, 4);
    } else {
      binding.initial.assign(count, key == "zero" ? 0 : char(0xFF));
    }
    bindings.push_back(std::move(binding));
  } else if (key == "expect" || key == "print") {
    auto it = std::find_if(bindings.begin(), bindings.end(), [&](const Binding &b) { return b.name == parts[0]; });
    if (it == bindings.end())
      return bad();
    if (key == "print") {
      it->print = parts[1];
      return true;
    }
    it->compared = true;
    if (parts.size() > 2)
      it->tolerance = std::strtod(parts[2].c_str(), nullptr);
    return readFile(folder + parts[1], it->expected);
  } else
    return bad();
  return true;
}

bool check(const LaunchText &launch, const std::vector<std::vector<char>> &results) {
  bool good = true;
  for (size_t i = 0; i != launch.bindings.size(); ++i) {
    const Binding &binding = launch.bindings[i];
    const std::vector<char> &result = results[i];
    if (!binding.compared)
      continue;
    if (binding.expected.size() != result.size()) {
      std::fprintf(stderr, "%s has %zu bytes, expected are %zu\n", binding.name.c_str(), result.size(), binding.expected.size());
      good = false;
      continue;
    }
    if (binding.tolerance < 0) {
      auto [a, b] = std::mismatch(result.begin(), result.end(), binding.expected.begin());
      if (a != result.end()) {
        std::fprintf(stderr, "%s differs at byte %td: %02x, expected %02x\n", binding.name.c_str(), a - result.begin(), uint8_t(*a),
                     uint8_t(*b));
        good = false;
      }
      continue;
    }
    size_t count = result.size() / 4;
    std::vector<float> got(count), want(count);
    std::memcpy(got.data(), result.data(), count * 4);
    std::memcpy(want.data(), binding.expected.data(), count * 4);
    double largest = 0;
    for (float w : want)
      largest = std::max(largest, std::fabs(double(w)));
    for (size_t k = 0; k != count; ++k)
      if (std::memcmp(&got[k], &want[k], 4) != 0 && !(std::fabs(double(got[k]) - double(want[k])) <= binding.tolerance * largest)) {
        std::fprintf(stderr, "%s differs at element %zu: %.9g, expected %.9g, bound %.3g of %.9g\n", binding.name.c_str(), k,
                     double(got[k]), double(want[k]), binding.tolerance, largest);
        good = false;
        break;
      }
  }
  return good;
}

void print(const LaunchText &launch, const std::vector<std::vector<char>> &results) {
  for (size_t i = 0; i != launch.bindings.size(); ++i) {
    const Binding &binding = launch.bindings[i];
    if (binding.print.empty())
      continue;
    std::printf("%s:", binding.name.c_str());
    size_t step = binding.print == "bytes" ? 1 : 4;
    for (size_t at = 0; at + step <= results[i].size(); at += step) {
      uint32_t bits = 0;
      std::memcpy(&bits, results[i].data() + at, step);
      float value;
      std::memcpy(&value, &bits, 4);
      if (binding.print == "f32")
        std::printf(" %.9g", double(value));
      else if (binding.print == "i32")
        std::printf(" %d", int32_t(bits));
      else
        std::printf(" %02x", bits);
    }
    std::printf("\n");
  }
}

int runOnEmulator(Bytes image, const LaunchText &launch, const EmulatorOptions &options, std::vector<std::vector<char>> &results,
                  std::string &report, double *seconds, std::string *statistics) {
  Expected<ElfImage> elf = ElfImage::load(image);
  if (!elf) {
    report = elf.takeStatus().message();
    return V4_EMU_INVALID;
  }
  void *symbol = elf->symbol(launch.kernel);
  if (!symbol) {
    report = "the image has no kernel '" + launch.kernel + "'";
    return V4_EMU_INVALID;
  }
  // One arena, as a session has it: an index that leaves its binding is still inside the arena.
  constexpr size_t page = 4096;
  size_t total = page;
  for (const Binding &binding : launch.bindings)
    total += (binding.initial.size() + page - 1) / page * page + page;
  void *arena = ::mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (arena == MAP_FAILED) {
    report = "no memory for the bindings";
    return V4_EMU_NO_MEMORY;
  }
  std::memset(arena, 0xFF, total);
  std::vector<v4_emu_binding> bindings;
  size_t at = page;
  for (const Binding &binding : launch.bindings) {
    char *base = static_cast<char *>(arena) + at;
    std::memcpy(base, binding.initial.data(), binding.initial.size());
    bindings.push_back({base, binding.initial.size(), binding.name.c_str()});
    at += (binding.initial.size() + page - 1) / page * page + page;
  }
  v4_emu_options deviceOptions{options.seed, options.races, options.threads};
  v4_emu_device *device = nullptr;
  if (v4_emu_create(&deviceOptions, &device) != V4_EMU_OK) {
    report = "no memory for a device";
    ::munmap(arena, total);
    return V4_EMU_NO_MEMORY;
  }
  v4_emu_launch_info info{};
  info.entry = reinterpret_cast<v4_emu_entry>(symbol);
  std::copy(launch.grid, launch.grid + 3, info.grid);
  std::copy(launch.block, launch.block + 3, info.block);
  info.shared_bytes = launch.shared;
  info.binding_count = uint32_t(bindings.size());
  info.bindings = bindings.data();
  int status = V4_EMU_OK;
  for (unsigned i = 0; i != std::max(1u, options.repeat) && status == V4_EMU_OK; ++i) {
    auto start = std::chrono::steady_clock::now();
    status = v4_emu_launch(device, &info);
    double now = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (seconds)
      *seconds = i == 0 ? now : std::min(*seconds, now);
  }
  report = v4_emu_report(device);
  if (statistics) {
    v4_emu_statistics totals;
    v4_emu_get_statistics(device, &totals);
    *statistics = std::to_string(totals.blocks) + " blocks, " + std::to_string(totals.threads) + " threads, " +
                  std::to_string(totals.accesses) + " accesses, " + std::to_string(totals.switches) + " switches";
  }
  results.clear();
  for (const v4_emu_binding &binding : bindings)
    results.emplace_back(static_cast<char *>(binding.base), static_cast<char *>(binding.base) + binding.bytes);
  v4_emu_destroy(device);
  ::munmap(arena, total);
  return status;
}

static Status launchOnCuda(const cuda::Gpu &gpu, const std::vector<char> &ptx, const LaunchText &launch,
                           std::vector<std::vector<char>> &results, bool &faulted) {
  const cuda::Driver &driver = *gpu.driver;
  cuda::Stream stream = gpu.stream.get();
  std::string text(ptx.begin(), ptx.end()), log;
  cuda::OwnedModule module;
  cuda::Result loaded = gpu.loadCode(text.c_str(), /*isPtx=*/true, module, log);
  V4_RETURN_IF_ERROR(gpu.check(loaded, concat("does not take the PTX (", log, ")")));
  cuda::Function function = nullptr;
  V4_RETURN_IF_ERROR(gpu.check(driver.moduleGetFunction(&function, module.get(), launch.kernel.c_str()), "has no such kernel"));
  if (launch.shared)
    V4_RETURN_IF_ERROR(gpu.check(driver.functionSetAttribute(function, cuda::maxDynamicSharedSizeBytes, int(launch.shared)),
                                 "has not that much shared memory"));
  std::vector<cuda::OwnedMemory> memory;
  std::vector<cuda::DevicePointer> pointers;
  for (const Binding &binding : launch.bindings) {
    Expected<cuda::OwnedMemory> bytes = gpu.allocate(std::max<size_t>(binding.initial.size(), 1), binding.name);
    V4_RETURN_IF_ERROR(bytes);
    pointers.push_back(bytes->get());
    memory.push_back(std::move(*bytes));
    V4_RETURN_IF_ERROR(gpu.check(driver.memcpyHostToDevice(pointers.back(), binding.initial.data(), binding.initial.size(), stream),
                                 "takes no data"));
  }
  V4_RETURN_IF_ERROR(gpu.synchronize("takes no data"));
  size_t size = pointers.size() * sizeof pointers[0];
  void *extra[] = {cuda::launchParamBufferPointer, pointers.data(), cuda::launchParamBufferSize, &size, cuda::launchParamEnd};
  V4_RETURN_IF_ERROR(gpu.check(driver.launchKernel(function, launch.grid[0], launch.grid[1], launch.grid[2], launch.block[0],
                                                   launch.block[1], launch.block[2], launch.shared, stream, nullptr, extra),
                               concat("does not launch kernel '", launch.kernel, "'")));
  Status ran = gpu.synchronize(concat("did not finish kernel '", launch.kernel, "'"));
  faulted = !ran.ok();
  V4_RETURN_IF_ERROR(std::move(ran));
  results.clear();
  for (size_t i = 0; i != pointers.size(); ++i) {
    results.emplace_back(launch.bindings[i].initial.size());
    V4_RETURN_IF_ERROR(gpu.check(driver.memcpyDeviceToHost(results[i].data(), pointers[i], results[i].size(), stream), "gives no data"));
  }
  return gpu.synchronize("gives no data");
}

int runOnCuda(const std::vector<char> &ptx, const LaunchText &launch, unsigned ordinal, std::vector<std::vector<char>> &results,
              std::string &report) {
  cuda::Gpu gpu;
  bool faulted = false;
  Status status = gpu.open(ordinal);
  if (status.ok())
    status = launchOnCuda(gpu, ptx, launch, results, faulted);
  if (status.ok())
    return V4_EMU_OK;
  report = status.message();
  return faulted ? V4_EMU_FAULT : V4_EMU_INVALID;
}

} // namespace v4::test
