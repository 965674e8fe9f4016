// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The device `emu`: GPU kernels compiled for this CPU, run by libv4emu, which is opened when a module asks for it.
#include "emulator/v4emu.h"
#include "runtime/HostDevice.h"

#include <dlfcn.h>

namespace v4 {
namespace {

/// The emulator's functions.
struct Library {
  decltype(&v4_emu_version) version = nullptr;
  decltype(&v4_emu_create) create = nullptr;
  decltype(&v4_emu_destroy) destroy = nullptr;
  decltype(&v4_emu_launch) launch = nullptr;
  decltype(&v4_emu_report) report = nullptr;

  /// Found by the system's rules, or beside the library or tool that this code is in. It stays open: its code may run on.
  Status open() {
    constexpr const char *name = "libv4emu.so.0";
    std::string why;
    void *handle = tryOpen(name, why);
    Dl_info info{};
    if (!handle && ::dladdr(reinterpret_cast<const void *>(&steadyNow), &info) != 0 && info.dli_fname) {
      std::string folder = info.dli_fname;
      folder.erase(folder.find_last_of('/') + 1);
      for (const char *below : {"", "../lib/"})
        if (!handle)
          handle = tryOpen(folder + below + name, why);
    }
    if (!handle)
      return environment("the emulator cannot be loaded: ", why, "; it is built as lib/", name);
    bool complete = find(handle, "v4_emu_version", version) && find(handle, "v4_emu_create", create) &&
                    find(handle, "v4_emu_destroy", destroy) && find(handle, "v4_emu_launch", launch) &&
                    find(handle, "v4_emu_report", report);
    if (!complete || version() != V4_EMU_VERSION)
      return environment("the emulator ", name, " is of another version; build it again with this libv4");
    return {};
  }

private:
  static void *tryOpen(const std::string &path, std::string &why) {
    void *handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle)
      why = ::dlerror();
    return handle;
  }
  template <typename F> static bool find(void *handle, const char *name, F &function) {
    function = reinterpret_cast<F>(::dlsym(handle, name));
    return function != nullptr;
  }
};

class Emu : public HostDevice {
public:
  struct Phase {
    v4_emu_entry entry;
    const fbs::Phase *phase;
  };

  /// Vector accesses of kernels are aligned, on a GPU by the allocation that holds the weights.
  uint64_t parameterAlignment() const override { return 16; }

  Status load(const fbs::Module &given) {
    module = &given;
    for (const fbs::Target *target : *given.targets())
      if (!selected && target->name()->string_view().substr(0, 4) == "emu:")
        selected = target;
    if (!selected)
      return invalid("the module has no code for device 'emu' (it has: ", targetNames(given), "); compile it with --target=emu");
    text = concat("emulator of ", selected->name()->string_view().substr(4));
    V4_RETURN_IF_ERROR(loadImage(*selected, "the emulator needs a CPU of x86-64-v3"));
    V4_RETURN_IF_ERROR(emulator.open());
    kernels.resize(selected->kernels() ? selected->kernels()->size() : 0);
    return forPhases([&](size_t kernel, const fbs::Phase &phase, void *address) -> Status {
      V4_RETURN_IF_ERROR(requirePlainLaunch(*selected->kernels()->Get(kernel), phase, "emu"));
      kernels[kernel].push_back({reinterpret_cast<v4_emu_entry>(address), &phase});
      return {};
    });
  }

  Expected<std::unique_ptr<Queue>> createQueue(const QueueOptions &options) override;

  /// What reports call a binding.
  const char *bindingName(const fbs::Binding &binding) const {
    switch (binding.kind()) {
    case fbs::BindingKind::Parameter:
    case fbs::BindingKind::TableOffsets:
      return module->parameters()->Get(binding.index())->name()->c_str();
    case fbs::BindingKind::State:
      return module->states()->Get(binding.index())->name()->c_str();
    default:
      return fbs::EnumNameBindingKind(binding.kind());
    }
  }

  const fbs::Module *module = nullptr;
  Library emulator;
  std::vector<std::vector<Phase>> kernels;
};

class EmuQueue : public HostQueue {
public:
  explicit EmuQueue(const Emu &device) : device(device) {}
  ~EmuQueue() override {
    if (handle)
      device.emulator.destroy(handle);
  }

  Status start(const QueueOptions &options) {
    v4_emu_options given{options.emuOrder, options.emuRaces, options.threads};
    if (device.emulator.create(&given, &handle) != V4_EMU_OK)
      return environment("no memory for the emulator");
    return {};
  }

private:
  Status runLaunch(const Program &program, const Program::Launch &launch) override {
    bindings.clear();
    for (uint32_t j = 0; j != launch.bindingCount; ++j)
      bindings.push_back({program.bindings[launch.firstBinding + j], program.extents[launch.firstBinding + j],
                          device.bindingName(*launch.launch->bindings()->Get(j))});
    for (const Emu::Phase &phase : device.kernels[launch.launch->kernel()])
      V4_RETURN_IF_ERROR(runPhase(phase, *launch.launch));
    return {};
  }

  Status runPhase(const Emu::Phase &phase, const fbs::Launch &launch) {
    const fbs::Dim3 &grid = *phase.phase->grid(), &block = *phase.phase->block();
    v4_emu_launch_info info{};
    info.entry = phase.entry;
    info.grid[0] = grid.x(), info.grid[1] = grid.y(), info.grid[2] = grid.z();
    info.block[0] = block.x(), info.block[1] = block.y(), info.block[2] = block.z();
    info.shared_bytes = phase.phase->shared_bytes();
    info.binding_count = static_cast<uint32_t>(bindings.size());
    info.bindings = bindings.data();
    switch (device.emulator.launch(handle, &info)) {
    case V4_EMU_OK:
      return {};
    case V4_EMU_NO_MEMORY:
      return environment("launch '", launch.name()->string_view(), "': ", device.emulator.report(handle));
    case V4_EMU_INVALID:
      return invalid("launch '", launch.name()->string_view(), "': ", device.emulator.report(handle));
    default:
      return environment("launch '", launch.name()->string_view(), "': the emulator found a fault: ",
                         device.emulator.report(handle), "; the session's state holds anything now");
    }
  }

  const Emu &device;
  v4_emu_device *handle = nullptr;
  std::vector<v4_emu_binding> bindings;
};

Expected<std::unique_ptr<Queue>> Emu::createQueue(const QueueOptions &options) {
  auto queue = std::make_unique<EmuQueue>(*this);
  V4_RETURN_IF_ERROR(queue->start(options));
  return std::unique_ptr<Queue>(std::move(queue));
}

} // namespace

Expected<std::unique_ptr<Device>> openEmu(const fbs::Module &module) {
  auto device = std::make_unique<Emu>();
  V4_RETURN_IF_ERROR(device->load(module));
  return std::unique_ptr<Device>(std::move(device));
}

} // namespace v4
