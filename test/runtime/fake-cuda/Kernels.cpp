// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// PTX and cubins as far as a driver must know them to refuse what it cannot run.
#include "test/runtime/fake-cuda/Kernels.h"

#include "emulator/KernelApi.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <fstream>
#include <iterator>
#include <span>
#include <sstream>

namespace v4::fake {
namespace {

enum { invalidImage = 200, noBinary = 209, invalidPtx = 218, unsupportedVersion = 222 };

/// The CUDA version, as cuDriverGetVersion has it, that came with a PTX version: 8.0 with 12.0, 8.8 with 12.9, 9.0
/// with 13.0.
int cudaOfPtx(int major, int minor) {
  if (major >= 9)
    return (major + 4) * 1000 + minor * 10;
  if (major == 8)
    return 12000 + (minor > 5 ? minor + 1 : minor) * 10; // 8.6 came with 12.7
  return 11000 + minor * 10;
}

/// "sm_90a" on a device of 9.0: an 'a' binds to one capability, a cubin to one major.
bool runs(const std::string &arch, bool ptx, int major, int minor) {
  int number = std::atoi(arch.c_str() + 3), targetMajor = number / 10, targetMinor = number % 10;
  if (arch.back() == 'a')
    return targetMajor == major && targetMinor == minor;
  if (ptx)
    return number <= major * 10 + minor;
  return targetMajor == major && targetMinor <= minor;
}

uint32_t numberBehind(const std::string &line, char mark) {
  size_t at = line.find(mark);
  return at == std::string::npos ? 0 : uint32_t(std::strtoul(line.c_str() + at + 1, nullptr, 10));
}

LoadedImage readPtx(const char *text, int major, int minor, int driver) {
  LoadedImage out;
  out.isPtx = true;
  auto fail = [&](int result, std::string error) {
    out.result = result;
    out.error = std::move(error);
    out.kernels.clear();
    return std::move(out);
  };
  std::istringstream lines(text);
  std::string line, target;
  Kernel *kernel = nullptr;
  bool version = false, inParameters = false;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string first, second, third;
    words >> first >> second >> third;
    if (first == ".version") {
      int ptxMajor = 0, ptxMinor = 0;
      if (std::sscanf(second.c_str(), "%d.%d", &ptxMajor, &ptxMinor) != 2)
        return fail(invalidPtx, "ptxas application ptx input, line 1; fatal : invalid .version");
      version = true;
      if (cudaOfPtx(ptxMajor, ptxMinor) > driver)
        return fail(unsupportedVersion,
                    concat("ptxas application ptx input, line 1; fatal : Unsupported .version ", second));
    } else if (first == ".target") {
      target = second.substr(0, second.find(','));
      if (!runs(target, true, major, minor))
        return fail(target.back() == 'a' ? noBinary : invalidPtx,
                    concat("ptxas fatal : SM version specified by .target (", target, ") does not fit the device (sm_",
                           major, minor, ")"));
    } else if (first == ".visible" && second == ".entry") {
      std::string name = third.substr(0, third.find_first_of("( \t"));
      kernel = &out.kernels[name];
      kernel->name = name;
      inParameters = third.find(')') == std::string::npos;
    } else if (inParameters && first == ".param") {
      if (second != ".u64" && second != ".b64")
        return fail(invalidPtx, concat("the fake knows pointers as parameters only: ", line));
      ++kernel->parameters;
    } else if (inParameters && first.find(')') == 0) {
      inParameters = false;
    } else if (first == ".reqntid" && kernel) {
      std::sscanf(line.c_str(), " .reqntid %u , %u , %u", &kernel->block[0], &kernel->block[1], &kernel->block[2]);
      for (uint32_t &extent : kernel->block)
        extent = extent ? extent : 1;
    } else if (first == ".shared" && kernel) {
      kernel->sharedBytes += numberBehind(line, '[');
    }
  }
  if (!version || target.empty())
    return fail(invalidPtx, "ptxas application ptx input, line 1; fatal : Missing .version directive at start of file");
  return out;
}

/// What the section .nv.info.KERNEL says: attributes of a format, a number, and two bytes that are the value (HVAL), or
/// the size of the value behind them (SVAL).
void readAttributes(const char *bytes, uint64_t size, Kernel &kernel) {
  constexpr uint8_t hval = 3, sval = 4, required = 0x10, parameterBytes = 0x19;
  while (size >= 4) {
    uint8_t format = uint8_t(bytes[0]), attribute = uint8_t(bytes[1]);
    uint16_t value;
    std::memcpy(&value, bytes + 2, sizeof value);
    if (format == hval && attribute == parameterBytes) {
      kernel.parameters = value / 8;
    }
    uint64_t step = format == sval ? 4u + value : 4u;
    if (step > size)
      return;
    if (format == sval && attribute == required && value == sizeof kernel.block)
      std::memcpy(kernel.block, bytes + 4, sizeof kernel.block);
    bytes += step;
    size -= step;
  }
}

/// The driver is given no size either: it trusts the header.
LoadedImage readCubin(const char *image, int major, int minor, int driver) {
  LoadedImage out;
  const auto *header = reinterpret_cast<const Elf64_Ehdr *>(image);
  constexpr unsigned machineCuda = 190;
  bool since13 = header->e_ident[EI_ABIVERSION] >= 8; // the chip's number is in the second byte then
  unsigned sm = header->e_flags >> (since13 ? 8 : 0) & 0xFF;
  if (header->e_machine != machineCuda || (since13 && driver < 13000)) {
    out.result = invalidImage;
    return out;
  }
  if (!runs(concat("sm_", sm), false, major, minor)) {
    out.result = noBinary;
    return out;
  }
  const auto *sections = reinterpret_cast<const Elf64_Shdr *>(image + header->e_shoff);
  const char *names = image + sections[header->e_shstrndx].sh_offset;
  auto forSections = [&](std::string_view prefix, auto visit) {
    for (unsigned i = 0; i != header->e_shnum; ++i)
      if (std::string_view name = names + sections[i].sh_name; name.starts_with(prefix))
        visit(std::string(name.substr(prefix.size())), sections[i]);
  };
  forSections(".text.", [&](std::string name, const Elf64_Shdr &) { out.kernels[name].name = name; });
  // Since 9.0 a block has 1 KiB that is the system's.
  uint32_t system = sm >= 90 ? 1024 : 0;
  forSections(".nv.shared.", [&](const std::string &name, const Elf64_Shdr &section) {
    if (auto found = out.kernels.find(name); found != out.kernels.end())
      found->second.sharedBytes = uint32_t(section.sh_size) - std::min(system, uint32_t(section.sh_size));
  });
  forSections(".nv.info.", [&](const std::string &name, const Elf64_Shdr &section) {
    if (auto found = out.kernels.find(name); found != out.kernels.end())
      readAttributes(image + section.sh_offset, section.sh_size, found->second);
  });
  return out;
}

} // namespace

LoadedImage readImage(const void *image, int major, int minor, int driver) {
  const char *bytes = static_cast<const char *>(image);
  if (std::memcmp(bytes, ELFMAG, SELFMAG) == 0)
    return readCubin(bytes, major, minor, driver);
  return readPtx(bytes, major, minor, driver);
}

Status KernelCode::open(const std::string &path) {
  std::ifstream stream(path, std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(stream), {});
  if (bytes.starts_with(ELFMAG)) {
    Expected<ElfImage> elf = ElfImage::load(std::as_bytes(std::span(bytes)));
    V4_RETURN_IF_ERROR(elf);
    images.push_back(std::move(*elf));
    return {};
  }
  Expected<ModuleFile> read = ModuleFile::read(path);
  V4_RETURN_IF_ERROR(read);
  file = std::make_unique<ModuleFile>(std::move(*read));
  return {};
}

v4_emu_entry KernelCode::find(const std::string &symbol) {
  if (file && !loaded) {
    loaded = true;
    for (const fbs::Target *target : *file->root().targets())
      if (target->name()->string_view().substr(0, 4) == "emu:")
        for (const fbs::Image *image : *target->images()) {
          Expected<ElfImage> elf =
              ElfImage::load({reinterpret_cast<const std::byte *>(image->data()->data()), image->data()->size()});
          if (elf)
            images.push_back(std::move(*elf));
          else
            std::fprintf(stderr, "fake-cuda: %s\n", std::string(elf.takeStatus().message()).c_str());
        }
  }
  for (const ElfImage &image : images)
    if (void *address = image.symbol(symbol))
      return reinterpret_cast<v4_emu_entry>(address);
  return nullptr;
}

} // namespace v4::fake
