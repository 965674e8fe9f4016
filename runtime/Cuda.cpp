// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The device `cuda`: an NVIDIA GPU through its driver. Every call that can wait is given to a stream. The first run of a
// program goes launch by launch, so that a kernel that faults is known by name; then its launches are one graph.
#include "runtime/CudaDriver.h"
#include "runtime/Device.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace v4 {
namespace {

using cuda::Driver;
using cuda::Result;

/// Bytes that travel at once in an upload, of which there are two: one that is filled while the other is on its way.
constexpr uint64_t batchBytes = uint64_t(64) << 20, pieceBytes = uint64_t(2) << 20;
constexpr uint64_t viewAlignment = 64;

cuda::DevicePointer pointer(const std::byte *address) {
  return reinterpret_cast<uintptr_t>(address);
}

/// A handle of the driver that is given back by `destroy`. The context is current whenever one goes.
template <typename Handle, auto destroy> class Owned {
public:
  Owned() = default;
  Owned(Owned &&other) noexcept : driver(other.driver), handle(std::exchange(other.handle, nullptr)) {}
  Owned &operator=(Owned &&other) noexcept {
    std::swap(driver, other.driver);
    std::swap(handle, other.handle);
    return *this;
  }
  ~Owned() {
    if (handle)
      (void)(driver->*destroy)(handle);
  }

  /// Where a function of the driver puts a new one.
  Handle *out(const Driver &by) {
    driver = &by;
    return &handle;
  }
  Handle get() const { return handle; }

private:
  const Driver *driver = nullptr;
  Handle handle = nullptr;
};

using OwnedStream = Owned<cuda::Stream, &Driver::streamDestroy>;
using OwnedEvent = Owned<cuda::Event, &Driver::eventDestroy>;
using OwnedModule = Owned<cuda::Module, &Driver::moduleUnload>;
using OwnedGraph = Owned<cuda::Graph, &Driver::graphDestroy>;
using OwnedGraphExec = Owned<cuda::GraphExec, &Driver::graphExecDestroy>;

// ---- The GPU

/// A GPU, its primary context, and a stream for single copies. Nothing here knows of modules.
class Gpu {
public:
  ~Gpu() {
    if (!context)
      return;
    (void)driver->contextSetCurrent(context);
    stream = OwnedStream();
    (void)driver->contextSetCurrent(nullptr);
    (void)driver->primaryContextRelease(device);
  }

  Status open(uint32_t ordinal) {
    Expected<const Driver *> opened = Driver::open();
    V4_RETURN_IF_ERROR(opened);
    driver = *opened;
    Expected<std::string> version = driver->version();
    V4_RETURN_IF_ERROR(version);
    driverVersion = *version;
    text = concat("GPU ", ordinal);
    Result result = driver->init(0);
    int count = 0;
    if (result == cuda::success)
      result = driver->deviceGetCount(&count);
    if (result == cuda::errorNoDevice || (result == cuda::success && count == 0))
      return environment("there is no NVIDIA GPU: the driver (CUDA ", driverVersion,
                         ") finds none; see what nvidia-smi and CUDA_VISIBLE_DEVICES say");
    if (result != cuda::success)
      return environment("the NVIDIA driver (CUDA ", driverVersion, ") does not start: ", driver->describe(result),
                         "; see what nvidia-smi says");
    if (ordinal >= static_cast<uint32_t>(count))
      return environment("there is no GPU ", ordinal, ": the driver finds ", count, count == 1 ? " GPU" : " GPUs",
                         "; the last one is --device=cuda:", count - 1);
    V4_RETURN_IF_ERROR(check(driver->deviceGet(&device, static_cast<int>(ordinal)), "cannot be opened"));
    char name[256] = {};
    V4_RETURN_IF_ERROR(check(driver->deviceGetName(name, sizeof name - 1, device), "does not tell its name"));
    V4_RETURN_IF_ERROR(attribute(cuda::computeCapabilityMajor, major));
    V4_RETURN_IF_ERROR(attribute(cuda::computeCapabilityMinor, minor));
    V4_RETURN_IF_ERROR(attribute(cuda::maxSharedMemoryPerBlockOptin, sharedBytes));
    text = concat("GPU ", ordinal, " (", name, ", compute capability ", major, '.', minor, ", driver CUDA ",
                  driverVersion, ")");
    V4_RETURN_IF_ERROR(check(driver->primaryContextRetain(&context, device), "cannot be used"));
    V4_RETURN_IF_ERROR(enter());
    return check(driver->streamCreate(stream.out(*driver), cuda::streamNonBlocking), "cannot make a stream");
  }

  /// Makes the context the calling thread's. First in whatever a caller of the runtime calls.
  Status enter() const { return check(driver->contextSetCurrent(context), "cannot be used"); }

  /// Success, or "GPU 0 (...) WHAT: CUDA_ERROR_...", and what to do about it.
  Status check(Result result, std::string_view what) const {
    if (result == cuda::success)
      return {};
    return environment(text, " ", what, ": ", driver->describe(result), remedy(result));
  }

  /// The same where memory may be what is missing: says how much there is.
  Status checkMemory(Result result, uint64_t bytes, std::string_view what) const {
    if (result != cuda::errorOutOfMemory)
      return check(result, concat("gives no memory for ", what));
    std::optional<uint64_t> free = freeMemory();
    return environment("not enough memory on ", text, " for ", what, ": ", bytes, " bytes are needed, ",
                       free ? concat(*free) : std::string("an unknown number"),
                       " are free; end what else uses the GPU, or compile the module with a smaller --max-context, "
                       "--slots or --prefill");
  }

  std::optional<uint64_t> freeMemory() const {
    size_t free = 0, total = 0;
    if (driver->contextSetCurrent(context) != cuda::success || driver->memGetInfo(&free, &total) != cuda::success)
      return std::nullopt;
    return free;
  }

  Status synchronize(std::string_view what) const {
    return check(driver->streamSynchronize(stream.get()), what);
  }

  const Driver *driver = nullptr;
  cuda::Device device = 0;
  cuda::Context context = nullptr;
  OwnedStream stream;
  int major = 0, minor = 0, sharedBytes = 0;
  std::string text, driverVersion;

private:
  Status attribute(cuda::DeviceAttribute which, int &value) const {
    return check(driver->deviceGetAttribute(&value, which, device), "does not tell its properties");
  }

  /// What a user can do about an error.
  static std::string_view remedy(Result result) {
    switch (result) {
    case cuda::errorOutOfMemory:
      return "; end what else uses the GPU";
    case cuda::errorDeviceUnavailable:
    case cuda::errorEccUncorrectable:
    case cuda::errorUnknown:
      return "; the GPU is lost: see what nvidia-smi and the system's log say, and start again";
    case cuda::errorIllegalAddress:
    case cuda::errorLaunchTimeout:
    case cuda::errorAssert:
    case cuda::errorHardwareStackError:
    case cuda::errorIllegalInstruction:
    case cuda::errorMisalignedAddress:
    case cuda::errorInvalidAddressSpace:
    case cuda::errorInvalidPc:
    case cuda::errorLaunchFailed:
      return "; a kernel has faulted, and the GPU takes no more work of this process: start again, and look for the "
             "fault with --device=emu";
    default:
      return "";
    }
  }
};

class CudaMemory : public DeviceMemory {
public:
  CudaMemory(const Gpu &gpu, std::byte *base, uint64_t bytes) : DeviceMemory(base, bytes), gpu(gpu) {}
  ~CudaMemory() override {
    (void)gpu.driver->contextSetCurrent(gpu.context);
    (void)gpu.driver->memFree(pointer(data()));
  }

private:
  const Gpu &gpu;
};

/// Of the host, locked in place.
class CudaStaging : public DeviceMemory {
public:
  CudaStaging(const Gpu &gpu, std::byte *base, uint64_t bytes) : DeviceMemory(base, bytes), gpu(gpu) {}
  ~CudaStaging() override {
    (void)gpu.driver->contextSetCurrent(gpu.context);
    (void)gpu.driver->memFreeHost(data());
  }

private:
  const Gpu &gpu;
};

/// Not cleared.
Expected<std::unique_ptr<DeviceMemory>> takeMemory(const Gpu &gpu, uint64_t bytes, std::string_view what) {
  V4_RETURN_IF_ERROR(gpu.enter());
  cuda::DevicePointer address = 0;
  // The driver has no memory of no bytes.
  V4_RETURN_IF_ERROR(gpu.checkMemory(gpu.driver->memAlloc(&address, std::max<uint64_t>(bytes, 1)), bytes, what));
  std::byte *base = reinterpret_cast<std::byte *>(static_cast<uintptr_t>(address));
  return std::unique_ptr<DeviceMemory>(std::make_unique<CudaMemory>(gpu, base, bytes));
}

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

  ~Cuda() override {
    if (gpu.context)
      (void)gpu.driver->contextSetCurrent(gpu.context);
  }

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
  Status sendBatches(std::span<const Transfer> transfers, uint32_t threads, const MoveProgress &progress);

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
  kernels.resize(selected->kernels() ? selected->kernels()->size() : 0);
  for (uint32_t i = 0; i != kernels.size(); ++i) {
    const fbs::Kernel &kernel = *selected->kernels()->Get(i);
    for (const fbs::Phase *phase : *kernel.phases())
      V4_RETURN_IF_ERROR(addPhase(kernels[i], *phase, kernel.name()->string_view()));
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

/// Machine code if the GPU runs it, else PTX, which the driver compiles. A driver that is older than the tools that made
/// the machine code refuses it, and may still know the PTX.
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
  std::string log(8192, '\0');
  cuda::JitOption jitOptions[] = {cuda::jitErrorLogBuffer, cuda::jitErrorLogBufferSizeBytes};
  void *values[] = {log.data(), reinterpret_cast<void *>(log.size() - 1)};
  Result result = gpu.driver->moduleLoadData(out.out(*gpu.driver), code.c_str(), ptx ? 2 : 0, jitOptions, values);
  if (result == cuda::success)
    return {};
  *out.out(*gpu.driver) = nullptr;
  if (result == cuda::errorOutOfMemory)
    return gpu.checkMemory(result, code.size(), "the module's code");
  if (result == cuda::errorUnsupportedPtxVersion)
    return environment("the driver of ", gpu.text, " is too old: the module is PTX ", ptxVersion(code),
                       ", which CUDA ", gpu.driverVersion, " does not know; install a newer driver");
  log.resize(std::strlen(log.c_str()));
  std::replace(log.begin(), log.end(), '\n', ' ');
  return gpu.check(result, concat("does not take the module's ", ptx ? "PTX " : "machine code",
                                  ptx ? ptxVersion(code) : std::string_view(), log.empty() ? "" : " (", log,
                                  log.empty() ? "" : ")"));
}

Status Cuda::addPhase(std::vector<Phase> &kernel, const fbs::Phase &phase, std::string_view name) const {
  const fbs::Dim3 *cluster = phase.cluster();
  bool isCluster = cluster && (cluster->x() != 1 || cluster->y() != 1 || cluster->z() != 1);
  if (isCluster || phase.cooperative() || phase.programmatic())
    return invalid("kernel '", name,
                   "' wants a cluster, cooperative or programmatic launch, which device 'cuda' does not have");
  Phase added = {nullptr, &phase};
  Result result = cuda::errorNotFound;
  for (size_t i = 0; i != images.size() && result == cuda::errorNotFound; ++i)
    result = gpu.driver->moduleGetFunction(&added.function, images[i].get(), phase.symbol()->c_str());
  if (result == cuda::errorNotFound)
    return invalid("the module's images do not define '", phase.symbol()->string_view(), "', which kernel '", name,
                   "' needs; build the module again with v4c");
  V4_RETURN_IF_ERROR(gpu.check(result, concat("does not load kernel '", name, "'")));
  constexpr uint32_t unasked = 48 << 10; // shared memory that a kernel gets without asking
  if (phase.shared_bytes() > unasked) {
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
  Expected<std::unique_ptr<DeviceMemory>> memory = takeMemory(gpu, bytes, what);
  V4_RETURN_IF_ERROR(memory);
  V4_RETURN_IF_ERROR(fill((*memory)->data(), bytes, 0));
  return memory;
}

Expected<std::unique_ptr<DeviceMemory>> Cuda::allocateStaging(uint64_t bytes, std::string_view what) {
  V4_RETURN_IF_ERROR(gpu.enter());
  void *base = nullptr;
  Result result = gpu.driver->memHostAlloc(&base, std::max<uint64_t>(bytes, 1), 0);
  if (result == cuda::errorOutOfMemory) {
    std::optional<uint64_t> free = availableMemory();
    return environment("not enough memory of the host that ", gpu.text, " can reach for ", what, ": ", bytes,
                       " bytes are needed, ", free ? concat(*free) : std::string("an unknown number"),
                       " are available");
  }
  V4_RETURN_IF_ERROR(gpu.check(result, concat("gives no memory of the host for ", what)));
  std::memset(base, 0, bytes);
  return std::unique_ptr<DeviceMemory>(std::make_unique<CudaStaging>(gpu, static_cast<std::byte *>(base), bytes));
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

Status Cuda::upload(std::span<const Transfer> transfers, uint32_t threads, const MoveProgress &progress) {
  V4_RETURN_IF_ERROR(gpu.enter());
  return sendBatches(transfers, threads, progress);
}

/// The pieces of a batch are brought to locked memory of the host, by several threads and in their layout, while the
/// batch before is on its way.
Status Cuda::sendBatches(std::span<const Transfer> transfers, uint32_t threads, const MoveProgress &progress) {
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
    std::unique_ptr<DeviceMemory> memory;
    OwnedEvent arrived;
  } batches[2];
  /// Locked memory is given back only when nothing is on its way from it.
  struct Settle {
    const Gpu &gpu;
    ~Settle() { (void)gpu.driver->streamSynchronize(gpu.stream.get()); }
  } settle{gpu};
  for (Batch &batch : batches) {
    Expected<std::unique_ptr<DeviceMemory>> memory = allocateStaging(size, "the way of the weights");
    V4_RETURN_IF_ERROR(memory);
    batch.memory = std::move(*memory);
    V4_RETURN_IF_ERROR(gpu.check(gpu.driver->eventCreate(batch.arrived.out(*gpu.driver), cuda::eventDefault),
                                 "cannot make an event"));
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
      piece.to = batches[current].memory->data() + used;
      used += (piece.bytes + viewAlignment - 1) / viewAlignment * viewAlignment;
      pieces.push_back(std::move(piece));
    }
  V4_RETURN_IF_ERROR(flush());
  return gpu.synchronize("cannot take the weights");
}

// ---- The queue

class CudaQueue : public Queue {
public:
  explicit CudaQueue(const Cuda &device) : device(device), gpu(device.gpu), driver(*device.gpu.driver) {}
  ~CudaQueue() override { (void)driver.contextSetCurrent(gpu.context); }

  Status start() {
    V4_RETURN_IF_ERROR(gpu.enter());
    V4_RETURN_IF_ERROR(
        gpu.check(driver.streamCreate(stream.out(driver), cuda::streamNonBlocking), "cannot make a stream"));
    V4_RETURN_IF_ERROR(makeEvent(begin));
    return makeEvent(end);
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
    if (replay.checked && !(hooks && !hooks->stops.empty())) {
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
    OwnedGraphExec graph;
    std::vector<OwnedEvent> events; // if launches are timed: one before each, and one at the end
  };

  Status makeEvent(OwnedEvent &event) const {
    return gpu.check(driver.eventCreate(event.out(driver), cuda::eventDefault), "cannot make an event");
  }

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
        Expected<uint64_t> duration = between(begin, end);
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
                                "', in a run whose launches are not checked one by one (the first one was)");
    uint64_t start = steadyNow();
    V4_RETURN_IF_ERROR(gpu.check(driver.graphLaunch(replay.graph.get(), stream.get()), failed));
    V4_RETURN_IF_ERROR(gpu.check(driver.streamSynchronize(stream.get()), failed));
    for (uint32_t i = 0; timed && i != program.launches.size(); ++i) {
      Expected<uint64_t> before = between(replay.events[0], replay.events[i]);
      V4_RETURN_IF_ERROR(before);
      Expected<uint64_t> duration = between(replay.events[i], replay.events[i + 1]);
      V4_RETURN_IF_ERROR(duration);
      timed->timed(i, start + *before, *duration);
    }
    return {};
  }

  Status capture(const Program &program, Replay &replay, const RunHooks *timed) {
    std::string what = concat("cannot make a graph of entry '", program.entry->name()->string_view(), "'");
    while (timed && replay.events.size() != program.launches.size() + 1) {
      OwnedEvent event;
      V4_RETURN_IF_ERROR(makeEvent(event));
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
    OwnedGraph graph; // a capture is ended, whatever happened
    Result result = driver.streamEndCapture(stream.get(), graph.out(driver));
    V4_RETURN_IF_ERROR(std::move(recorded));
    V4_RETURN_IF_ERROR(gpu.check(result, what));
    return gpu.check(driver.graphInstantiate(replay.graph.out(driver), graph.get(), 0), what);
  }

  /// Nanoseconds.
  Expected<uint64_t> between(const OwnedEvent &first, const OwnedEvent &last) const {
    float milliseconds = 0;
    V4_RETURN_IF_ERROR(
        gpu.check(driver.eventElapsedTime(&milliseconds, first.get(), last.get()), "cannot time a launch"));
    return static_cast<uint64_t>(std::max(milliseconds, 0.0f) * 1e6);
  }

  const Cuda &device;
  const Gpu &gpu;
  const Driver &driver;
  OwnedStream stream;
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
