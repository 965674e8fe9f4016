// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Modules, and kernels that run on the emulator.
#include "test/runtime/fake-cuda/Driver.h"

#include "emulator/KernelApi.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace v4::fake {
namespace {

struct Shape {
  std::array<uint32_t, 3> grid, block;
  uint32_t sharedBytes;
};

/// One execution, with the parameters as they were when it was launched.
int execute(const Function &function, const Shape &shape, const std::vector<uint64_t> &parameters) {
  State &s = state();
  const Kernel &kernel = function.kernel;
  ++s.counters.executions;
  if (fires(s.fault, kernel.name.c_str()))
    return s.fault.code;
  if (!kernel.code) {
    complain("kernel %s has no code for the emulator (V4_FAKE_CUDA_KERNELS)", kernel.name.c_str());
    return launchFailed;
  }
  std::vector<v4_emu_binding> bindings;
  for (uint64_t parameter : parameters) {
    uint64_t rest = 0;
    std::byte *memory = translate(kernel.name.c_str(), parameter, 0, &rest);
    if (!memory)
      return illegalAddress;
    bindings.push_back({memory, rest, nullptr});
  }
  Context &context = *function.context;
  if (!context.emulator) {
    v4_emu_options options{0, 0, 0};
    if (v4_emu_create(&options, &context.emulator) != V4_EMU_OK)
      return outOfMemory;
  }
  v4_emu_launch_info info{};
  info.entry = kernel.code;
  std::copy(shape.grid.begin(), shape.grid.end(), info.grid);
  std::copy(shape.block.begin(), shape.block.end(), info.block);
  info.shared_bytes = shape.sharedBytes;
  info.binding_count = static_cast<uint32_t>(bindings.size());
  info.bindings = bindings.data();
  if (v4_emu_launch(context.emulator, &info) == V4_EMU_OK)
    return success;
  std::fprintf(stderr, "fake-cuda: %s\n", v4_emu_report(context.emulator));
  return illegalAddress;
}

int checkLaunch(const Function &function, const Shape &shape) {
  const Kernel &kernel = function.kernel;
  auto refuse = [&](const char *why) {
    complain("cuLaunchKernel of %s: %s", kernel.name.c_str(), why);
    return invalidValue;
  };
  auto [gridX, gridY, gridZ] = shape.grid;
  if (gridX == 0 || gridY == 0 || gridZ == 0 || gridX > 0x7FFFFFFF || gridY > 65535 || gridZ > 65535)
    return refuse("wrong grid");
  auto [blockX, blockY, blockZ] = shape.block;
  uint64_t threads = uint64_t(blockX) * blockY * blockZ;
  if (threads == 0 || threads > 1024 || blockZ > 64)
    return refuse("wrong block");
  if (kernel.block[0] && !std::equal(shape.block.begin(), shape.block.end(), kernel.block))
    return refuse("the block is not that of .reqntid");
  if (shape.sharedBytes > function.dynamicLimit && shape.sharedBytes + kernel.sharedBytes > 48 << 10)
    return refuse("more shared memory than 48 KiB and than cuFuncSetAttribute allowed");
  return success;
}

/// The parameters, from a list of their addresses or from a packed buffer. False where their size is wrong.
bool readParameters(std::vector<uint64_t> &parameters, void **list, void **extra) {
  if (!extra) {
    for (size_t i = 0; i != parameters.size(); ++i)
      std::memcpy(&parameters[i], list[i], 8);
    return true;
  }
  const void *buffer = nullptr;
  size_t bytes = 0;
  bool both = list != nullptr;
  for (void **word = extra; *word; word += 2)
    if (*word == reinterpret_cast<void *>(1))
      buffer = word[1];
    else if (*word == reinterpret_cast<void *>(2))
      bytes = *static_cast<size_t *>(word[1]);
    else
      both = true;
  if (both || (bytes && !buffer) || bytes != parameters.size() * 8)
    return false;
  std::memcpy(parameters.data(), buffer, bytes);
  return true;
}

int launch(Function &function, Stream &stream, const Shape &shape, void **list, void **extra) {
  const Kernel &kernel = function.kernel;
  if (int code = checkLaunch(function, shape))
    return code;
  std::vector<uint64_t> parameters(kernel.parameters);
  if (!readParameters(parameters, list, extra)) {
    complain("cuLaunchKernel of %s: its parameters are not %u pointers", kernel.name.c_str(), kernel.parameters);
    return invalidValue;
  }
  ++(stream.capture == Stream::Active ? state().counters.captured_launches : state().counters.launches);
  return enqueue(stream, {[=, keep = shared(function)]() -> int {
                            if (keep->alive)
                              return execute(*keep, shape, parameters);
                            complain("kernel %s: its module was unloaded before it ran", keep->kernel.name.c_str());
                            return illegalAddress;
                          },
                          nullptr});
}

} // namespace
} // namespace v4::fake

using namespace v4::fake;

V4_DRIVER cuModuleLoadDataEx(void **module, const void *image, unsigned optionCount, int *options, void **values) {
  return drive(__func__, InContext | Unsafe, {}, [&] {
    if (!image)
      return invalidValue;
    State &s = state();
    LoadedImage loaded = readImage(image, s.major, s.minor, s.driver);
    char *log = nullptr;
    void **size = nullptr;
    for (unsigned i = 0; i != optionCount; ++i) {
      if (options[i] == 5)
        log = static_cast<char *>(values[i]);
      if (options[i] == 6)
        size = &values[i];
    }
    if (log && size) {
      auto capacity = reinterpret_cast<uintptr_t>(*size);
      int written = capacity ? std::snprintf(log, capacity, "%s", loaded.error.c_str()) : 0;
      *size = reinterpret_cast<void *>(std::min<uintptr_t>(uintptr_t(written), capacity));
    }
    if (loaded.result)
      return loaded.result;
    for (auto &[name, kernel] : loaded.kernels) {
      kernel.code = s.code.find(name);
      if (kernel.code && kernel.code(nullptr)->binding_count != kernel.parameters)
        complain("kernel %s has %u parameters in its image and %u on the emulator", name.c_str(), kernel.parameters,
                 kernel.code(nullptr)->binding_count);
    }
    ++(loaded.isPtx ? s.counters.ptx_texts : s.counters.cubins);
    auto *made = create<Module>();
    made->image = std::move(loaded);
    *module = made;
    return success;
  });
}

V4_DRIVER cuModuleUnload(void *handle) {
  return drive<Module>(__func__, InContext | Releases, {handle}, [](Module &module) {
    for (auto &[name, function] : module.functions)
      function->alive = false;
    return destroy(module);
  });
}

V4_DRIVER cuModuleGetFunction(void **function, void *handle, const char *name) {
  return drive<Module>(__func__, InContext, {handle}, [&](Module &module) {
    auto found = module.image.kernels.find(name);
    if (found == module.image.kernels.end())
      return notFound;
    std::shared_ptr<Function> &slot = module.functions[name];
    if (!slot) {
      slot = std::make_shared<Function>();
      slot->context = current;
      slot->kernel = found->second;
      state().objects[slot.get()] = slot;
    }
    *function = slot.get();
    return success;
  });
}

V4_DRIVER cuFuncSetAttribute(void *handle, int attribute, int value) {
  return drive<Function>(__func__, InContext, {handle}, [&](Function &function) {
    if (attribute != 8 || value < 0 || value + int(function.kernel.sharedBytes) > sharedMemory()) {
      complain("cuFuncSetAttribute(%s, %d, %d)", function.kernel.name.c_str(), attribute, value);
      return invalidValue;
    }
    function.dynamicLimit = uint32_t(value);
    return success;
  });
}

V4_DRIVER cuLaunchKernel(void *handle, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY,
                         unsigned blockZ, unsigned sharedBytes, void *streamHandle, void **parameters, void **extra) {
  return drive<Function, Stream>(__func__, InContext, {handle, streamHandle}, [&](Function &function, Stream &stream) {
    Shape shape = {{gridX, gridY, gridZ}, {blockX, blockY, blockZ}, sharedBytes};
    return launch(function, stream, shape, parameters, extra);
  });
}
