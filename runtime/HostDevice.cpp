// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "runtime/HostDevice.h"
#include "runtime/CpuFeatures.h"

#include <algorithm>
#include <cstring>

namespace v4 {
namespace {

class HostMemory : public DeviceMemory {
public:
  explicit HostMemory(Pages given) : DeviceMemory(given.data(), given.size()), pages(std::move(given)) {}

private:
  Pages pages;
};

} // namespace

Expected<std::unique_ptr<DeviceMemory>> HostDevice::allocate(uint64_t bytes, std::string_view what) {
  Expected<Pages> pages = Pages::allocate(bytes, what);
  V4_RETURN_IF_ERROR(pages);
  return std::unique_ptr<DeviceMemory>(std::make_unique<HostMemory>(std::move(*pages)));
}

Expected<std::unique_ptr<DeviceMemory>> HostDevice::allocateStaging(uint64_t bytes, std::string_view what) {
  return allocate(bytes, what);
}

Status HostDevice::fill(std::byte *to, uint64_t bytes, uint32_t pattern) {
  if (pattern == 0)
    clearPages(to, bytes);
  else if (pattern == (pattern & 0xFF) * 0x01010101u)
    std::memset(to, static_cast<int>(pattern & 0xFF), bytes);
  else
    std::fill_n(reinterpret_cast<uint32_t *>(to), bytes / sizeof pattern, pattern);
  return {};
}

Status HostDevice::write(std::byte *to, const void *from, uint64_t bytes) {
  if (bytes)
    std::memcpy(to, from, bytes);
  return {};
}

Status HostDevice::read(void *to, const std::byte *from, uint64_t bytes) {
  if (bytes)
    std::memcpy(to, from, bytes);
  return {};
}

Status HostDevice::upload(std::span<const Transfer> transfers, uint32_t threads, const MoveProgress &progress) {
  Mover mover;
  if (!transfers.empty())
    V4_RETURN_IF_ERROR(mover.start(threads));
  return mover.run(transfers, progress);
}

Status HostDevice::loadImage(const fbs::Target &target, std::string_view remedy) {
  if (target.features())
    for (const flatbuffers::String *feature : *target.features())
      if (!cpuHasFeature(feature->string_view()))
        return environment("the module needs the instruction set '", feature->string_view(),
                           "', which this CPU does not have; ", remedy);
  const fbs::Image *found = nullptr;
  for (const fbs::Image *candidate : *target.images())
    if (candidate->kind() == fbs::ImageKind::Elf && candidate->arch()->string_view() == "x86-64")
      found = candidate;
  if (!found)
    return invalid("the module has no x86-64 image in its target '", target.name()->string_view(),
                   "'; build the module again with v4c");
  Expected<ElfImage> loaded =
      ElfImage::load({reinterpret_cast<const std::byte *>(found->data()->data()), found->data()->size()});
  if (!loaded)
    return loaded.takeStatus().in("the module's image cannot be loaded");
  image = std::move(*loaded);
  return {};
}

Status HostDevice::forPhases(const AddPhase &add) const {
  for (size_t i = 0; selected->kernels() && i != selected->kernels()->size(); ++i) {
    const fbs::Kernel &kernel = *selected->kernels()->Get(i);
    for (const fbs::Phase *phase : *kernel.phases()) {
      void *address = image.symbol(phase->symbol()->str());
      if (!address)
        return invalid("the module's image does not define '", phase->symbol()->string_view(), "', which kernel '",
                       kernel.name()->string_view(), "' needs; build the module again with v4c");
      V4_RETURN_IF_ERROR(add(i, *phase, address));
    }
  }
  return {};
}

Status HostQueue::run(const Program &program, std::span<const Copy>, std::span<const Copy>, const RunHooks *hooks) {
  bool timed = hooks && hooks->timed;
  size_t nextStop = 0;
  setCurrentEntry(program.entry->name()->c_str());
  for (uint32_t i = 0; i != program.launches.size(); ++i) {
    const Program::Launch &launch = program.launches[i];
    setCurrentLaunch(launch.launch->name()->c_str());
    for (unsigned j = 0; launch.launch->zero() && j != launch.launch->zero()->size(); ++j) {
      const fbs::Binding &counter = *launch.launch->zero()->Get(j);
      std::memset(program.arena + counter.offset(), 0, counter.bytes());
    }
    uint64_t begin = timed ? steadyNow() : 0;
    V4_RETURN_IF_ERROR(runLaunch(program, launch));
    if (timed)
      hooks->timed(i, begin, steadyNow() - begin);
    if (hooks && nextStop != hooks->stops.size() && hooks->stops[nextStop] == i) {
      ++nextStop;
      V4_RETURN_IF_ERROR(hooks->stopped(i));
    }
  }
  setCurrentLaunch(nullptr);
  return {};
}

} // namespace v4
