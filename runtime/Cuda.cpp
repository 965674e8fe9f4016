// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The device `cuda`: an NVIDIA GPU through its driver. The first run of a program goes launch by launch, so that a
// kernel that faults is known by name; then its launches are one graph, unless CUDA_LAUNCH_BLOCKING=1.
#include "runtime/CudaGpu.h"
#include "runtime/Device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <tuple>

namespace v4 {
namespace {

using cuda::Driver;
using cuda::Gpu;
using cuda::OwnedEvent;
using cuda::OwnedModule;
using cuda::Result;

/// Bytes that travel at once in an upload, of which there are two: one that is filled while the other is on its way.
constexpr uint64_t batchBytes = uint64_t(64) << 20, pieceBytes = uint64_t(2) << 20;
constexpr uint64_t viewAlignment = 64;

cuda::DevicePointer pointer(const std::byte *address) {
  return reinterpret_cast<uintptr_t>(address);
}

class CudaMemory : public DeviceMemory {
public:
  CudaMemory(const Gpu &gpu, cuda::OwnedMemory memory, uint64_t bytes)
      : DeviceMemory(reinterpret_cast<std::byte *>(static_cast<uintptr_t>(memory.get())), bytes), gpu(gpu),
        memory(std::move(memory)) {}
  ~CudaMemory() override { gpu.enterAnyway(); }

private:
  const Gpu &gpu;
  cuda::OwnedMemory memory;
};

/// Of the host.
class CudaStaging : public DeviceMemory {
public:
  CudaStaging(const Gpu &gpu, cuda::OwnedHostMemory memory, uint64_t bytes)
      : DeviceMemory(static_cast<std::byte *>(memory.get()), bytes), gpu(gpu), memory(std::move(memory)) {}
  ~CudaStaging() override { gpu.enterAnyway(); }

private:
  const Gpu &gpu;
  cuda::OwnedHostMemory memory;
};

// ---- Chips

/// "sm_90a" as numbers. A suffix ties code to one chip (a) or one family (f).
struct Chip {
  int major = 0, minor = 0;
  char suffix = 0;

  /// `name` is that of a verified module.
  explicit Chip(std::string_view name) {
    int number = 0;
    for (char c : name.substr(name.find('_') + 1))
      if (c >= '0' && c <= '9')
        number = number * 10 + (c - '0');
      else
        suffix = c;
    major = number / 10;
    minor = number % 10;
  }

  bool runsOn(const Gpu &gpu, fbs::ImageKind kind) const {
    if (suffix == 'a')
      return gpu.major == major && gpu.minor == minor;
    if (kind == fbs::ImageKind::Ptx && suffix == 0 && gpu.major > major)
      return true;
    return gpu.major == major && gpu.minor >= minor;
  }
  bool operator<(const Chip &other) const {
    return std::tie(major, minor, suffix) < std::tie(other.major, other.minor, other.suffix);
  }
};

std::string_view chipName(const fbs::Target &target) {
  std::string_view name = target.name()->string_view();
  return name.substr(name.find(':') + 1);
}

bool isGpuTarget(const fbs::Target &target) {
  return target.name()->string_view().starts_with("nvptx:");
}

/// "8.4" of ".version 8.4", which is at the start of a PTX text behind comments.
std::string_view ptxVersion(std::string_view text) {
  constexpr std::string_view directive = ".version ";
  size_t begin = text.find(directive);
  if (begin == std::string_view::npos)
    return "of an unknown number";
  text.remove_prefix(begin + directive.size());
  return text.substr(0, text.find_first_not_of("0123456789."));
}

// ---- The device

class Cuda : public Device {
public:
  struct Phase {
    cuda::Function function;
    const fbs::Phase *phase;
  };

  ~Cuda() override { gpu.enterAnyway(); }

  Status load(const fbs::Module &module, uint32_t ordinal);

  bool sharesHostMemory() const override { return false; }
  std::optional<uint64_t> freeMemory() const override { return gpu.freeMemory(); }
  Expected<std::unique_ptr<DeviceMemory>> allocate(uint64_t bytes, std::string_view what) override;
  Expected<std::unique_ptr<DeviceMemory>> allocateStaging(uint64_t bytes, std::string_view what) override;
  Status fill(std::byte *to, uint64_t bytes, uint32_t pattern) override;
  Status write(std::byte *to, const void *from, uint64_t bytes) override;
  Status read(void *to, const std::byte *from, uint64_t bytes) override;
  Status upload(std::span<const Transfer> transfers, uint32_t threads, const MoveProgress &progress) override;
  Expected<std::unique_ptr<Queue>> createQueue(const QueueOptions &options) override;

  std::string_view kernelName(const fbs::Launch &launch) const {
    return selected->kernels()->Get(launch.kernel())->name()->string_view();
  }

  Gpu gpu;
  std::vector<std::vector<Phase>> kernels;

private:
  Status select(const fbs::Module &module);
  Status loadImages();
  Status loadImage(const fbs::Image &image, OwnedModule &out) const;
  Status addPhase(std::vector<Phase> &kernel, const fbs::Phase &phase, std::string_view name) const;

  std::vector<OwnedModule> images;
};

Status Cuda::load(const fbs::Module &module, uint32_t ordinal) {
  if (std::none_of(module.targets()->begin(), module.targets()->end(),
                   [](const fbs::Target *target) { return isGpuTarget(*target); }))
    return invalid("the module has no code for device 'cuda' (it has: ", targetNames(module),
                   "); compile it with --target=nvptx");
  V4_RETURN_IF_ERROR(gpu.open(ordinal));
  text = gpu.text;
  V4_RETURN_IF_ERROR(select(module));
  V4_RETURN_IF_ERROR(loadImages());
  for (const fbs::Entry *entry : *selected->entries())
    for (const fbs::Launch *launch : *entry->launches())
      if (launch->tensor_maps() && launch->tensor_maps()->size())
        return invalid("launch '", launch->name()->string_view(),
                       "' wants tensor maps, which device 'cuda' does not have");
  kernels.resize(selected->kernels() ? selected->kernels()->size() : 0);
  for (uint32_t i = 0; i != kernels.size(); ++i) {
    const fbs::Kernel &kernel = *selected->kernels()->Get(i);
    for (const fbs::Phase *phase : *kernel.phases()) {
      V4_RETURN_IF_ERROR(requirePlainLaunch(kernel, *phase, "cuda"));
      V4_RETURN_IF_ERROR(addPhase(kernels[i], *phase, kernel.name()->string_view()));
    }
  }
  return {};
}

/// Takes the target of the newest chip whose code the GPU runs.
Status Cuda::select(const fbs::Module &module) {
  std::string chips;
  for (const fbs::Target *target : *module.targets()) {
    if (!isGpuTarget(*target))
      continue;
    chips += concat(chips.empty() ? "" : ", ", chipName(*target));
    bool runs = std::any_of(target->images()->begin(), target->images()->end(), [&](const fbs::Image *image) {
      return Chip(image->arch()->string_view()).runsOn(gpu, image->kind());
    });
    if (runs && (!selected || Chip(chipName(*selected)) < Chip(chipName(*target))))
      selected = target;
  }
  if (!selected)
    return environment("the module has code for ", chips, ", which ", gpu.text, " does not run; ",
                       gpu.major >= 8 ? "compile it with --target=nvptx:sm_80, which all later GPUs run"
                                      : "a GPU of compute capability 8.0 or later is needed");
  return {};
}

/// Machine code if the GPU runs it, else PTX, which the driver compiles. A driver older than the tools that made the
/// machine code refuses it, and may still know the PTX.
Status Cuda::loadImages() {
  Status failure;
  bool found = false;
  for (fbs::ImageKind kind : {fbs::ImageKind::Cubin, fbs::ImageKind::Ptx}) {
    std::vector<OwnedModule> loaded;
    Status status;
    for (const fbs::Image *image : *selected->images()) {
      if (image->kind() != kind || !status.ok() || !Chip(image->arch()->string_view()).runsOn(gpu, kind))
        continue;
      found = true;
      loaded.emplace_back();
      status = loadImage(*image, loaded.back());
    }
    if (status.ok() && !loaded.empty()) {
      images = std::move(loaded);
      return {};
    }
    if (!status.ok())
      failure = std::move(status);
  }
  if (!found)
    return invalid("the module has no image for device 'cuda' in its target '", selected->name()->string_view(),
                   "'; build the module again with v4c");
  return failure;
}

Status Cuda::loadImage(const fbs::Image &image, OwnedModule &out) const {
  bool ptx = image.kind() == fbs::ImageKind::Ptx;
  // Text for the driver ends in a NUL.
  std::string code(reinterpret_cast<const char *>(image.data()->data()), image.data()->size());
  std::string log;
  Result result = gpu.loadCode(code.c_str(), ptx, out, log);
  if (result == cuda::success)
    return {};
  if (result == cuda::errorOutOfMemory)
    return gpu.checkMemory(result, code.size(), "the module's code");
  if (result == cuda::errorUnsupportedPtxVersion)
    return environment("the driver of ", gpu.text, " is too old: the module is PTX ", ptxVersion(code),
                       ", which CUDA ", gpu.driverVersion, " does not know; install a newer driver");
  return gpu.check(result, concat("does not take the module's ", ptx ? "PTX " : "machine code",
                                  ptx ? ptxVersion(code) : std::string_view(), log.empty() ? "" : " (", log,
                                  log.empty() ? "" : ")"));
}

Status Cuda::addPhase(std::vector<Phase> &kernel, const fbs::Phase &phase, std::string_view name) const {
  Phase added = {nullptr, &phase};
  Result result = cuda::errorNotFound;
  for (size_t i = 0; i != images.size() && result == cuda::errorNotFound; ++i)
    result = gpu.driver->moduleGetFunction(&added.function, images[i].get(), phase.symbol()->c_str());
  if (result == cuda::errorNotFound)
    return invalid("the module's images do not define '", phase.symbol()->string_view(), "', which kernel '", name,
                   "' needs; build the module again with v4c");
  V4_RETURN_IF_ERROR(gpu.check(result, concat("does not load kernel '", name, "'")));
  // Without asking a kernel gets 48 KiB, less what it has declared for itself, which is not known here.
  if (phase.shared_bytes()) {
    if (phase.shared_bytes() > static_cast<uint32_t>(std::max(gpu.sharedBytes, 0)))
      return environment("kernel '", name, "' needs ", phase.shared_bytes(), " bytes of shared memory, and ", gpu.text,
                         " gives a block ", gpu.sharedBytes, "; compile the module for this GPU's chip");
    V4_RETURN_IF_ERROR(gpu.check(gpu.driver->functionSetAttribute(added.function, cuda::maxDynamicSharedSizeBytes,
                                                                  static_cast<int>(phase.shared_bytes())),
                                 concat("gives kernel '", name, "' no ", phase.shared_bytes(),
                                        " bytes of shared memory")));
  }
  kernel.push_back(added);
  return {};
}

// ---- Memory

Expected<std::unique_ptr<DeviceMemory>> Cuda::allocate(uint64_t bytes, std::string_view what) {
  Expected<cuda::OwnedMemory> memory = gpu.allocate(bytes, what);
  V4_RETURN_IF_ERROR(memory);
  auto owner = std::make_unique<CudaMemory>(gpu, std::move(*memory), bytes);
  V4_RETURN_IF_ERROR(fill(owner->data(), bytes, 0));
  return std::unique_ptr<DeviceMemory>(std::move(owner));
}

Expected<std::unique_ptr<DeviceMemory>> Cuda::allocateStaging(uint64_t bytes, std::string_view what) {
  Expected<cuda::OwnedHostMemory> memory = gpu.allocateHost(bytes, what);
  V4_RETURN_IF_ERROR(memory);
  std::memset(memory->get(), 0, bytes);
  return std::unique_ptr<DeviceMemory>(std::make_unique<CudaStaging>(gpu, std::move(*memory), bytes));
}

Status Cuda::fill(std::byte *to, uint64_t bytes, uint32_t pattern) {
  if (bytes == 0)
    return {};
  V4_RETURN_IF_ERROR(gpu.enter());
  bool equal = pattern == (pattern & 0xFF) * 0x01010101u;
  Result result = equal ? gpu.driver->memset8(pointer(to), static_cast<unsigned char>(pattern), bytes, gpu.stream.get())
                        : gpu.driver->memset32(pointer(to), pattern, bytes / sizeof pattern, gpu.stream.get());
  V4_RETURN_IF_ERROR(gpu.check(result, "cannot fill memory"));
  return gpu.synchronize("cannot fill memory");
}

Status Cuda::write(std::byte *to, const void *from, uint64_t bytes) {
  if (bytes == 0)
    return {};
  V4_RETURN_IF_ERROR(gpu.enter());
  V4_RETURN_IF_ERROR(gpu.check(gpu.driver->memcpyHostToDevice(pointer(to), from, bytes, gpu.stream.get()),
                               "cannot take bytes of the host"));
  return gpu.synchronize("cannot take bytes of the host");
}

Status Cuda::read(void *to, const std::byte *from, uint64_t bytes) {
  if (bytes == 0)
    return {};
  V4_RETURN_IF_ERROR(gpu.enter());
  V4_RETURN_IF_ERROR(gpu.check(gpu.driver->memcpyDeviceToHost(to, pointer(from), bytes, gpu.stream.get()),
                               "cannot give bytes to the host"));
  return gpu.synchronize("cannot give bytes to the host");
}

/// The pieces of a batch are brought to locked memory of the host, by several threads and in their layout, while the
/// batch before is on its way.
Status Cuda::upload(std::span<const Transfer> transfers, uint32_t threads, const MoveProgress &progress) {
  V4_RETURN_IF_ERROR(gpu.enter());
  uint64_t total = 0, size = 0, done = 0;
  for (const Transfer &transfer : transfers) {
    total += transfer.bytes;
    size = std::max(size, transfer.layout.blocks ? transfer.layout.blockBytes() : 0);
  }
  size = std::max(size, std::min(batchBytes, total + transfers.size() * viewAlignment));
  auto report = [&]() -> Status {
    if (progress && !progress(done, total))
      return environment("loading the weights was ended after ", done, " of ", total, " bytes");
    return {};
  };
  V4_RETURN_IF_ERROR(report());
  if (total == 0)
    return {};

  struct Batch {
    cuda::OwnedHostMemory memory;
    OwnedEvent arrived;
  } batches[2];
  /// Locked memory is given back only when nothing is on its way from it.
  struct Settle {
    const Gpu &gpu;
    ~Settle() { (void)gpu.driver->streamSynchronize(gpu.stream.get()); }
  } settle{gpu};
  for (Batch &batch : batches) {
    Expected<cuda::OwnedHostMemory> memory = gpu.allocateHost(size, "the upload of the weights");
    V4_RETURN_IF_ERROR(memory);
    batch.memory = std::move(*memory);
    V4_RETURN_IF_ERROR(gpu.makeEvent(batch.arrived));
  }
  Mover mover;
  V4_RETURN_IF_ERROR(mover.start(threads));

  unsigned current = 0;
  uint64_t used = 0;
  std::vector<Transfer> pieces; // to the locked memory,
  std::vector<std::byte *> goals; // and from there
  auto flush = [&]() -> Status {
    Batch &batch = batches[current];
    // An event that was never recorded counts as past.
    V4_RETURN_IF_ERROR(gpu.check(gpu.driver->eventSynchronize(batch.arrived.get()), "cannot take the weights"));
    V4_RETURN_IF_ERROR(mover.run(pieces, {}));
    for (size_t i = 0; i != pieces.size(); ++i) {
      V4_RETURN_IF_ERROR(gpu.check(gpu.driver->memcpyHostToDevice(pointer(goals[i]), pieces[i].to, pieces[i].bytes,
                                                                  gpu.stream.get()),
                                   "cannot take the weights"));
      done += pieces[i].bytes;
    }
    V4_RETURN_IF_ERROR(
        gpu.check(gpu.driver->eventRecord(batch.arrived.get(), gpu.stream.get()), "cannot take the weights"));
    pieces.clear();
    goals.clear();
    used = 0;
    current ^= 1;
    return report();
  };
  for (const Transfer &transfer : transfers)
    for (Transfer &piece : cutTransfer(transfer, pieceBytes)) {
      if (used + piece.bytes > size)
        V4_RETURN_IF_ERROR(flush());
      goals.push_back(piece.to);
      piece.to = static_cast<std::byte *>(batches[current].memory.get()) + used;
      used += (piece.bytes + viewAlignment - 1) / viewAlignment * viewAlignment;
      pieces.push_back(std::move(piece));
    }
  V4_RETURN_IF_ERROR(flush());
  return gpu.synchronize("cannot take the weights");
}

// ---- The queue

/// CUDA's own variable for finding the kernel that faults.
bool launchesAreBlocking() {
  const char *value = std::getenv("CUDA_LAUNCH_BLOCKING");
  return value && std::string_view(value) == "1";
}

class CudaQueue : public Queue {
public:
  explicit CudaQueue(const Cuda &device) : device(device), gpu(device.gpu), driver(*device.gpu.driver) {}
  ~CudaQueue() override { gpu.enterAnyway(); }

  Status start() {
    V4_RETURN_IF_ERROR(gpu.enter());
    V4_RETURN_IF_ERROR(
        gpu.check(driver.streamCreate(stream.out(driver), cuda::streamNonBlocking), "cannot make a stream"));
    V4_RETURN_IF_ERROR(gpu.makeEvent(begin));
    return gpu.makeEvent(end);
  }

  Status run(const Program &program, std::span<const Copy> inputs, std::span<const Copy> outputs,
             const RunHooks *hooks) override {
    V4_RETURN_IF_ERROR(gpu.enter());
    std::string_view entry = program.entry->name()->string_view();
    setCurrentEntry(program.entry->name()->c_str());
    for (const Copy &copy : inputs)
      V4_RETURN_IF_ERROR(gpu.check(
          driver.memcpyHostToDevice(pointer(copy.device), copy.host, copy.bytes, stream.get()),
          concat("cannot take the inputs of entry '", entry, "'")));
    Replay &replay = replays[{&program, program.variant}];
    if (replay.checked && !singly && !(hooks && !hooks->stops.empty())) {
      V4_RETURN_IF_ERROR(runGraph(program, replay, hooks && hooks->timed ? hooks : nullptr));
    } else {
      V4_RETURN_IF_ERROR(runSingly(program, hooks));
      replay.checked = true;
    }
    for (const Copy &copy : outputs)
      V4_RETURN_IF_ERROR(gpu.check(
          driver.memcpyDeviceToHost(copy.host, pointer(copy.device), copy.bytes, stream.get()),
          concat("cannot give the outputs of entry '", entry, "'")));
    return gpu.check(driver.streamSynchronize(stream.get()), concat("failed in entry '", entry, "'"));
  }

private:
  /// The launches of a program with one set of addresses.
  struct Replay {
    bool checked = false; // has run launch by launch
    cuda::OwnedGraphExec graph;
    std::vector<OwnedEvent> events; // if launches are timed: one before each, and one at the end
  };

  /// Whatever is wrong at a launch, with its name.
  Status check(Result result, const Program &program, const fbs::Launch &launch) const {
    if (result == cuda::success)
      return {};
    return gpu.check(result, concat("failed in launch '", launch.name()->string_view(), "' (kernel '",
                                    device.kernelName(launch), "') of entry '", program.entry->name()->string_view(),
                                    "'"));
  }

  /// Hands the work of a launch to the stream.
  Result launch(const Program &program, const Program::Launch &launch) const {
    for (unsigned j = 0; launch.launch->zero() && j != launch.launch->zero()->size(); ++j) {
      const fbs::Binding &counter = *launch.launch->zero()->Get(j);
      Result result = driver.memset8(pointer(program.arena + counter.offset()), 0, counter.bytes(), stream.get());
      if (result != cuda::success)
        return result;
    }
    // The parameters of a kernel are the addresses of its bindings, one behind the other, as they lie here.
    static_assert(sizeof(void *) == sizeof(cuda::DevicePointer));
    size_t bytes = launch.bindingCount * sizeof(void *);
    void *const *bindings = program.bindings.data() + launch.firstBinding;
    void *extra[] = {cuda::launchParamBufferPointer, const_cast<void **>(bindings), cuda::launchParamBufferSize, &bytes,
                     cuda::launchParamEnd};
    for (const Cuda::Phase &phase : device.kernels[launch.launch->kernel()]) {
      const fbs::Dim3 &grid = *phase.phase->grid(), &block = *phase.phase->block();
      Result result = driver.launchKernel(phase.function, grid.x(), grid.y(), grid.z(), block.x(), block.y(), block.z(),
                                          phase.phase->shared_bytes(), stream.get(), nullptr, extra);
      if (result != cuda::success)
        return result;
    }
    return cuda::success;
  }

  /// Every launch is over before the next one begins.
  Status runSingly(const Program &program, const RunHooks *hooks) {
    size_t nextStop = 0;
    for (uint32_t i = 0; i != program.launches.size(); ++i) {
      const fbs::Launch &info = *program.launches[i].launch;
      setCurrentLaunch(info.name()->c_str());
      uint64_t start = steadyNow();
      V4_RETURN_IF_ERROR(check(driver.eventRecord(begin.get(), stream.get()), program, info));
      V4_RETURN_IF_ERROR(check(launch(program, program.launches[i]), program, info));
      V4_RETURN_IF_ERROR(check(driver.eventRecord(end.get(), stream.get()), program, info));
      V4_RETURN_IF_ERROR(check(driver.streamSynchronize(stream.get()), program, info));
      if (hooks && hooks->timed) {
        Expected<uint64_t> duration = gpu.between(begin, end);
        V4_RETURN_IF_ERROR(duration);
        hooks->timed(i, start, *duration);
      }
      if (hooks && nextStop != hooks->stops.size() && hooks->stops[nextStop] == i) {
        ++nextStop;
        V4_RETURN_IF_ERROR(hooks->stopped(i));
      }
    }
    setCurrentLaunch(nullptr);
    return {};
  }

  /// `timed` is null where no launch is to be timed.
  Status runGraph(const Program &program, Replay &replay, const RunHooks *timed) {
    if (!replay.graph.get())
      V4_RETURN_IF_ERROR(capture(program, replay, timed));
    std::string failed = concat("failed in entry '", program.entry->name()->string_view(),
                                "', whose launches ran as one graph (with CUDA_LAUNCH_BLOCKING=1 in the environment "
                                "each is waited for, and the one that fails is named)");
    uint64_t start = steadyNow();
    V4_RETURN_IF_ERROR(gpu.check(driver.graphLaunch(replay.graph.get(), stream.get()), failed));
    V4_RETURN_IF_ERROR(gpu.check(driver.streamSynchronize(stream.get()), failed));
    for (uint32_t i = 0; timed && i != program.launches.size(); ++i) {
      Expected<uint64_t> before = gpu.between(replay.events[0], replay.events[i]);
      V4_RETURN_IF_ERROR(before);
      Expected<uint64_t> duration = gpu.between(replay.events[i], replay.events[i + 1]);
      V4_RETURN_IF_ERROR(duration);
      timed->timed(i, start + *before, *duration);
    }
    return {};
  }

  Status capture(const Program &program, Replay &replay, const RunHooks *timed) {
    std::string what = concat("cannot make a graph of entry '", program.entry->name()->string_view(), "'");
    while (timed && replay.events.size() != program.launches.size() + 1) {
      OwnedEvent event;
      V4_RETURN_IF_ERROR(gpu.makeEvent(event));
      replay.events.push_back(std::move(event));
    }
    // Other threads may go on to use the GPU.
    V4_RETURN_IF_ERROR(gpu.check(driver.streamBeginCapture(stream.get(), cuda::captureThreadLocal), what));
    auto record = [&]() -> Status {
      for (uint32_t i = 0; i != program.launches.size(); ++i) {
        if (timed)
          V4_RETURN_IF_ERROR(gpu.check(driver.eventRecordWithFlags(replay.events[i].get(), stream.get(),
                                                                   cuda::eventRecordExternal),
                                       what));
        V4_RETURN_IF_ERROR(check(launch(program, program.launches[i]), program, *program.launches[i].launch));
      }
      if (timed)
        V4_RETURN_IF_ERROR(gpu.check(driver.eventRecordWithFlags(replay.events.back().get(), stream.get(),
                                                                 cuda::eventRecordExternal),
                                     what));
      return {};
    };
    Status recorded = record();
    cuda::OwnedGraph graph; // a capture is ended, whatever happened
    Result result = driver.streamEndCapture(stream.get(), graph.out(driver));
    V4_RETURN_IF_ERROR(std::move(recorded));
    V4_RETURN_IF_ERROR(gpu.check(result, what));
    return gpu.check(driver.graphInstantiate(replay.graph.out(driver), graph.get(), 0), what);
  }

  const Cuda &device;
  const Gpu &gpu;
  const Driver &driver;
  const bool singly = launchesAreBlocking(); // no graphs
  cuda::OwnedStream stream;
  OwnedEvent begin, end;
  std::map<std::pair<const Program *, uint32_t>, Replay> replays;
};

Expected<std::unique_ptr<Queue>> Cuda::createQueue(const QueueOptions &) {
  auto queue = std::make_unique<CudaQueue>(*this);
  V4_RETURN_IF_ERROR(queue->start());
  return std::unique_ptr<Queue>(std::move(queue));
}

} // namespace

Expected<std::unique_ptr<Device>> openCuda(const fbs::Module &module, uint32_t ordinal) {
  auto device = std::make_unique<Cuda>();
  V4_RETURN_IF_ERROR(device->load(module, ordinal));
  return std::unique_ptr<Device>(std::move(device));
}

} // namespace v4
