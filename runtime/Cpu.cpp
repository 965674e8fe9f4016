// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The device `cpu`: a phase is a function of the module's image, its workgroups run on a pool of threads.
#include "runtime/HostDevice.h"
#include "runtime/ThreadPool.h"

namespace v4 {
namespace {

class Cpu : public HostDevice {
public:
  struct Phase {
    KernelFunction function;
    uint32_t workgroups;
  };

  Status load(const fbs::Module &module) {
    text = "cpu";
    for (const fbs::Target *target : *module.targets())
      if (target->name()->string_view() == "cpu")
        selected = target;
    if (!selected)
      return invalid("the module has no code for device 'cpu' (it has: ", targetNames(module),
                     "); compile it with --target=cpu");
    V4_RETURN_IF_ERROR(loadImage(*selected, "compile it for an older one, v4c --target=cpu:x86-64-v2"));
    kernels.resize(selected->kernels() ? selected->kernels()->size() : 0);
    return forPhases([&](size_t kernel, const fbs::Phase &phase, void *address) -> Status {
      const fbs::Dim3 &grid = *phase.grid();
      kernels[kernel].push_back({reinterpret_cast<KernelFunction>(address), grid.x() * grid.y() * grid.z()});
      return {};
    });
  }

  Expected<std::unique_ptr<Queue>> createQueue(const QueueOptions &options) override;

  std::vector<std::vector<Phase>> kernels;
};

class CpuQueue : public HostQueue {
public:
  explicit CpuQueue(const Cpu &device) : device(device) {}

  Status start(uint32_t threads) { return pool.start(threads ? threads : ThreadPool::available()); }

private:
  Status runLaunch(const Program &program, const Program::Launch &launch) override {
    for (const Cpu::Phase &phase : device.kernels[launch.launch->kernel()])
      pool.run(phase.function, program.bindings.data() + launch.firstBinding, phase.workgroups);
    return {};
  }

  const Cpu &device;
  ThreadPool pool;
};

Expected<std::unique_ptr<Queue>> Cpu::createQueue(const QueueOptions &options) {
  auto queue = std::make_unique<CpuQueue>(*this);
  V4_RETURN_IF_ERROR(queue->start(options.threads));
  return std::unique_ptr<Queue>(std::move(queue));
}

} // namespace

Expected<std::unique_ptr<Device>> openCpu(const fbs::Module &module) {
  auto device = std::make_unique<Cpu>();
  V4_RETURN_IF_ERROR(device->load(module));
  return std::unique_ptr<Device>(std::move(device));
}

} // namespace v4
