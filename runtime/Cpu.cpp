// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The device `cpu`: a phase is a function of the module's image, its workgroups run on a pool of threads.
#include "runtime/HostDevice.h"
#include "runtime/ThreadPool.h"

#include <cstring>

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
    V4_RETURN_IF_ERROR(loadImage(*selected, "--target=cpu:x86-64-v2"));
    for (size_t i = 0; selected->kernels() && i != selected->kernels()->size(); ++i) {
      const fbs::Kernel &kernel = *selected->kernels()->Get(i);
      std::vector<Phase> &phases = kernels.emplace_back();
      for (const fbs::Phase *phase : *kernel.phases()) {
        Expected<void *> address = symbol(kernel, *phase);
        V4_RETURN_IF_ERROR(address);
        const fbs::Dim3 &grid = *phase->grid();
        phases.push_back({reinterpret_cast<KernelFunction>(*address), grid.x() * grid.y() * grid.z()});
      }
    }
    return {};
  }

  Expected<std::unique_ptr<Queue>> createQueue(const QueueOptions &options) override;

  std::vector<std::vector<Phase>> kernels;
};

class CpuQueue : public Queue {
public:
  explicit CpuQueue(const Cpu &device) : device(device) {}

  Status start(uint32_t threads) { return pool.start(threads ? threads : ThreadPool::available()); }

  Status run(const Program &program, std::span<const Copy>, std::span<const Copy>, const RunHooks *hooks) override {
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
      void *const *bindings = program.bindings.data() + launch.firstBinding;
      uint64_t begin = timed ? steadyNow() : 0;
      for (const Cpu::Phase &phase : device.kernels[launch.launch->kernel()])
        pool.run(phase.function, bindings, phase.workgroups);
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

private:
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
