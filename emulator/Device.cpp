// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The C interface: devices and launches.

#include "emulator/Worker.h"

#include <algorithm>
#include <new>
#include <thread>

using namespace v4::emu;

struct v4_emu_device {
  v4_emu_options options{0, 1, 0};
  std::vector<std::unique_ptr<Worker>> workers;
  std::string report;
  Pages cells;
  uint32_t launches = 0;
  uint64_t threads = 0;
};

static int invalid(v4_emu_device *device, std::string text) {
  device->report = std::move(text);
  return V4_EMU_INVALID;
}

/// Cells for what the kernel writes. The pages are kept from launch to launch; the launch's number tells old contents.
static bool reserveCells(v4_emu_device &device, Launch &launch) {
  const v4_emu_launch_info &info = *launch.info;
  uint64_t granule = launch.kernel->global_granule, total = 0;
  constexpr uint64_t kMost = uint64_t(1) << 46; // bytes; address space ends at 2^47
  launch.cells.assign(info.binding_count, nullptr);
  std::vector<uint64_t> offsets(info.binding_count, 0);
  for (uint32_t i = 0; i != info.binding_count; ++i) {
    if (!launch.kernel->writes[i])
      continue;
    offsets[i] = total;
    if (info.bindings[i].bytes > kMost / sizeof(GlobalCell))
      return false;
    total += (info.bindings[i].bytes / granule + 1) * sizeof(GlobalCell);
    if (total > kMost)
      return false;
  }
  bool grown = false;
  if (launch.races && total && !device.cells.reserve(total, &grown))
    return false;
  if (grown || device.launches == ~0u)
    device.launches = 0;
  launch.number = ++device.launches;
  static GlobalCell unused; // with races off: tells that the binding is written
  for (uint32_t i = 0; i != info.binding_count; ++i)
    if (launch.kernel->writes[i])
      launch.cells[i] = launch.races ? reinterpret_cast<GlobalCell *>(device.cells.data() + offsets[i]) : &unused;
  return true;
}

uint32_t v4_emu_version(void) {
  return V4_EMU_VERSION;
}

int v4_emu_create(const v4_emu_options *options, v4_emu_device **device) {
  *device = new (std::nothrow) v4_emu_device;
  if (!*device)
    return V4_EMU_NO_MEMORY;
  if (options)
    (*device)->options = *options;
  return V4_EMU_OK;
}

void v4_emu_destroy(v4_emu_device *device) {
  delete device;
}

int v4_emu_launch(v4_emu_device *device, const v4_emu_launch_info *info) {
  device->report.clear();
  const v4_emu_kernel *kernel = info->entry(nullptr);
  if (kernel->version != V4_EMU_KERNEL_VERSION)
    return invalid(device, "the kernel was compiled for version " + std::to_string(kernel->version) +
                               " of the emulator, which has version " + std::to_string(V4_EMU_KERNEL_VERSION) + ": compile it again");
  std::string name = kernel->name;
  auto dims = [](const uint32_t *d) { return std::to_string(d[0]) + "x" + std::to_string(d[1]) + "x" + std::to_string(d[2]); };
  // Factors first: the products could overflow.
  uint64_t threads = 1, blocks = 1;
  for (int i = 0; i != 3; ++i) {
    if (info->block[i] == 0 || info->block[i] > kMaxThreads || (threads *= info->block[i]) > kMaxThreads)
      return invalid(device, "kernel " + name + ": a block of " + dims(info->block) + " threads; 1 to 1024 are possible");
    if (info->grid[i] == 0 || (i == 0 ? info->grid[i] > 0x7FFFFFFF : info->grid[i] > 0xFFFF) ||
        (blocks *= info->grid[i]) >= ~0u - 1)
      return invalid(device, "kernel " + name + ": a grid of " + dims(info->grid) + " blocks is not possible");
  }
  if (kernel->block[0] && !std::equal(info->block, info->block + 3, kernel->block))
    return invalid(device, "kernel " + name + " needs blocks of " + dims(kernel->block) + " threads, not " + dims(info->block));
  if (info->binding_count != kernel->binding_count)
    return invalid(device, "kernel " + name + " has " + std::to_string(kernel->binding_count) + " bindings, not " +
                               std::to_string(info->binding_count));
  if (kernel->static_shared_bytes > Worker::kSharedWindow || info->shared_bytes > Worker::kSharedWindow - kernel->static_shared_bytes)
    return invalid(device, "kernel " + name + ": " + std::to_string(info->shared_bytes) + " bytes of shared memory are too many");

  Launch launch;
  launch.info = info;
  launch.kernel = kernel;
  launch.name = std::move(name);
  launch.seed = device->options.seed;
  launch.races = device->options.races != 0;
  launch.blocks = blocks;
  launch.threads = uint32_t(threads);
  launch.sharedBytes = kernel->static_shared_bytes + info->shared_bytes;
  launch.arguments.reserve(size_t(info->binding_count) + 1);
  for (uint32_t i = 0; i != info->binding_count; ++i)
    launch.arguments.push_back(info->bindings[i].base);
  launch.arguments.push_back(nullptr); // a list without bindings is a list too: null would ask for the description
  if (!reserveCells(*device, launch)) {
    device->report = "no address space for the race checks of kernel " + launch.name + ": run with races off";
    return V4_EMU_NO_MEMORY;
  }
  *kernel->api = &kApi;

  uint64_t workers = device->options.threads ? device->options.threads : std::max(1u, std::thread::hardware_concurrency());
  workers = std::min(workers, blocks);
  while (device->workers.size() < workers)
    device->workers.push_back(std::make_unique<Worker>());
  launch.concurrent = workers > 1;
  if (launch.concurrent)
    launch.cellLocks = std::make_unique<std::mutex[]>(kCellLocks);
  std::vector<std::thread> helpers;
  for (uint64_t i = 1; i < workers; ++i)
    helpers.emplace_back([&, i] { device->workers[i]->run(launch); });
  device->workers[0]->run(launch);
  for (std::thread &helper : helpers)
    helper.join();
  device->threads += threads * blocks;
  if (launch.outOfMemory) {
    device->report = "no memory for the threads of kernel " + launch.name;
    return V4_EMU_NO_MEMORY;
  }
  if (launch.firstFault != ~uint64_t(0)) {
    device->report = std::move(launch.report);
    return V4_EMU_FAULT;
  }
  return V4_EMU_OK;
}

const char *v4_emu_report(const v4_emu_device *device) {
  return device->report.c_str();
}

void v4_emu_get_statistics(const v4_emu_device *device, v4_emu_statistics *statistics) {
  *statistics = {device->launches, 0, device->threads, 0, 0};
  for (const std::unique_ptr<Worker> &worker : device->workers) {
    statistics->blocks += worker->blocksRun;
    statistics->accesses += worker->accesses;
    statistics->switches += worker->switches;
  }
}
