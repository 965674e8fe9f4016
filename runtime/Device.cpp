// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The names of devices, and what runs on them now.
#include "runtime/Device.h"

#include <atomic>
#include <charconv>
#include <chrono>

namespace v4 {
namespace {

std::atomic<const char *> runningEntry{nullptr}, runningLaunch{nullptr};

} // namespace

uint64_t steadyNow() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

void setCurrentEntry(const char *entry) {
  runningEntry.store(entry);
}

void setCurrentLaunch(const char *launch) {
  runningLaunch.store(launch, std::memory_order_relaxed);
}

const char *currentLaunch() {
  static char text[512];
  const char *entry = runningEntry.load(), *launch = runningLaunch.load();
  size_t used = 0;
  auto add = [&](const char *part) {
    for (; *part && used + 1 < sizeof text; ++part)
      text[used++] = *part;
  };
  if (entry && launch) {
    add(entry);
    add("/");
    add(launch);
  }
  text[used] = '\0';
  return text;
}

std::string targetNames(const fbs::Module &module) {
  std::string found;
  for (const fbs::Target *target : *module.targets())
    found += concat(found.empty() ? "" : ", ", target->name()->string_view());
  return found;
}

std::optional<uint32_t> gpuOrdinal(std::string_view name) {
  if (name == "cuda")
    return 0;
  if (!name.starts_with("cuda:"))
    return std::nullopt;
  name.remove_prefix(5);
  uint32_t ordinal = 0;
  auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), ordinal);
  if (error != std::errc() || end != name.data() + name.size())
    return std::nullopt;
  return ordinal;
}

Status requirePlainLaunch(const fbs::Kernel &kernel, const fbs::Phase &phase, std::string_view device) {
  const fbs::Dim3 *cluster = phase.cluster();
  bool isCluster = cluster && (cluster->x() != 1 || cluster->y() != 1 || cluster->z() != 1);
  if (!isCluster && !phase.cooperative() && !phase.programmatic())
    return {};
  return invalid("kernel '", kernel.name()->string_view(),
                 "' wants a cluster, cooperative or programmatic launch, which device '", device, "' does not have");
}

Expected<std::unique_ptr<Device>> openDevice(const fbs::Module &module, std::string_view name) {
  if (name == "cpu")
    return openCpu(module);
  if (name == "emu")
    return openEmu(module);
  if (std::optional<uint32_t> gpu = gpuOrdinal(name))
    return openCuda(module, *gpu);
  return misuse("device '", name, "' is unknown (accepted: cpu, cuda, cuda:N, emu)");
}

} // namespace v4
