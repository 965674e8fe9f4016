// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A small ELF loader. Every offset is checked before it is used; what the image could ask for beyond segments,
// relocations against itself and symbols (dependencies, constructors, thread-local storage) is refused.
#include "runtime/ElfImage.h"
#include "runtime/Checked.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <elf.h>
#include <sys/mman.h>
#include <vector>

namespace v4 {
namespace {

constexpr uint64_t pageSize = 4096;
constexpr uint64_t maxSpan = uint64_t(1) << 31;

/// Unaligned reads of plain structs at checked offsets.
template <typename T> bool read(Bytes bytes, uint64_t offset, T &out) {
  if (!rangeFits(offset, sizeof(T), bytes.size()))
    return false;
  std::memcpy(&out, bytes.data() + offset, sizeof(T));
  return true;
}

struct Dynamic {
  uint64_t symtab = 0, strtab = 0, strsz = 0, hash = 0, gnuHash = 0;
  uint64_t rela = 0, relaSize = 0, jmprel = 0, jmprelSize = 0, relr = 0, relrSize = 0;
};

class Loader {
public:
  explicit Loader(Bytes file) : file(file) {}

  Status run(Pages &memory, std::unordered_map<std::string, uint64_t> &functions) {
    V4_RETURN_IF_ERROR(readHeader());
    Expected<Pages> pages = Pages::allocate(span, "the module's code");
    V4_RETURN_IF_ERROR(pages);
    memory = std::move(*pages);
    for (const Elf64_Phdr &segment : segments)
      std::memcpy(memory.data() + segment.p_vaddr, file.data() + segment.p_offset, segment.p_filesz);
    image = memory.bytes();
    base = memory.data();
    V4_RETURN_IF_ERROR(readDynamic());
    V4_RETURN_IF_ERROR(readSymbols(functions));
    V4_RETURN_IF_ERROR(relocate(dynamic.rela, dynamic.relaSize));
    V4_RETURN_IF_ERROR(relocate(dynamic.jmprel, dynamic.jmprelSize));
    V4_RETURN_IF_ERROR(relocateRelr());
    return protect();
  }

private:
  Status readHeader() {
    Elf64_Ehdr header;
    if (!read(file, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
      return invalid("it is not an ELF file");
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
        header.e_machine != EM_X86_64 || header.e_type != ET_DYN)
      return invalid("it is not an x86-64 shared object");
    if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 || header.e_phnum > 64)
      return invalid("its program header table is malformed");
    uint64_t end = 0;
    for (unsigned i = 0; i != header.e_phnum; ++i) {
      Elf64_Phdr segment;
      std::optional<uint64_t> at = checkedAdd(header.e_phoff, i * sizeof(Elf64_Phdr));
      if (!at || !read(file, *at, segment))
        return invalid("its program header table lies outside it");
      if (segment.p_type == PT_INTERP || segment.p_type == PT_TLS)
        return invalid("it asks for a program interpreter or for thread-local storage");
      if (segment.p_type == PT_DYNAMIC)
        dynamicSegment = segment;
      if (segment.p_type != PT_LOAD)
        continue;
      if (!rangeFits(segment.p_offset, segment.p_filesz, file.size()) || segment.p_filesz > segment.p_memsz)
        return invalid("a segment lies outside it");
      if (!rangeFits(segment.p_vaddr, segment.p_memsz, maxSpan))
        return invalid("its segments span more than ", maxSpan, " bytes");
      // Each page gets one protection, so two segments must not share one.
      if (segment.p_vaddr / pageSize * pageSize < end)
        return invalid("its segments are out of order or share a page");
      if ((segment.p_flags & PF_W) && (segment.p_flags & PF_X))
        return invalid("a segment is both writable and executable");
      if (segment.p_memsz == 0)
        continue;
      end = (segment.p_vaddr + segment.p_memsz + pageSize - 1) / pageSize * pageSize;
      segments.push_back(segment);
    }
    if (segments.empty())
      return invalid("it has no segment to load");
    if (dynamicSegment.p_type != PT_DYNAMIC)
      return invalid("it has no dynamic section");
    span = end;
    return {};
  }

  Status readDynamic() {
    uint64_t symbolEntry = sizeof(Elf64_Sym), relaEntry = sizeof(Elf64_Rela);
    for (uint64_t i = 0; i < dynamicSegment.p_memsz / sizeof(Elf64_Dyn); ++i) {
      Elf64_Dyn entry;
      std::optional<uint64_t> at = checkedAdd(dynamicSegment.p_vaddr, i * sizeof(Elf64_Dyn));
      if (!at || !read(image, *at, entry))
        return invalid("its dynamic section lies outside it");
      uint64_t value = entry.d_un.d_val;
      switch (entry.d_tag) {
      case DT_NULL:
        return symbolEntry == sizeof(Elf64_Sym) && relaEntry == sizeof(Elf64_Rela)
                   ? Status()
                   : invalid("its tables have entries of an unknown size");
      case DT_NEEDED:
        return invalid("it depends on another library");
      case DT_INIT:
      case DT_FINI:
      case DT_INIT_ARRAY:
      case DT_FINI_ARRAY:
        return invalid("it has constructors or destructors");
      case DT_REL:
      case DT_TEXTREL:
        return invalid("it has relocations of a kind that is not supported");
      case DT_SYMTAB:
        dynamic.symtab = value;
        break;
      case DT_STRTAB:
        dynamic.strtab = value;
        break;
      case DT_STRSZ:
        dynamic.strsz = value;
        break;
      case DT_SYMENT:
        symbolEntry = value;
        break;
      case DT_RELAENT:
        relaEntry = value;
        break;
      case DT_HASH:
        dynamic.hash = value;
        break;
      case DT_GNU_HASH:
        dynamic.gnuHash = value;
        break;
      case DT_RELA:
        dynamic.rela = value;
        break;
      case DT_RELASZ:
        dynamic.relaSize = value;
        break;
      case DT_JMPREL:
        dynamic.jmprel = value;
        break;
      case DT_PLTRELSZ:
        dynamic.jmprelSize = value;
        break;
      case 36 /* DT_RELR */:
        dynamic.relr = value;
        break;
      case 35 /* DT_RELRSZ */:
        dynamic.relrSize = value;
        break;
      default:
        break;
      }
    }
    return invalid("its dynamic section does not end");
  }

  /// The dynamic symbol table has no length of its own; the hash tables imply it.
  bool symbolCount(uint64_t &count) const {
    uint32_t words[2];
    if (dynamic.hash) {
      if (!read(image, dynamic.hash, words))
        return false;
      count = words[1];
      return true;
    }
    uint32_t header[4]; // buckets, first symbol, bloom words, shift
    if (!dynamic.gnuHash || !read(image, dynamic.gnuHash, header))
      return false;
    uint64_t buckets = dynamic.gnuHash + 16 + uint64_t(header[2]) * 8, chains = buckets + uint64_t(header[0]) * 4;
    if (!rangeFits(buckets, uint64_t(header[0]) * 4, image.size()))
      return false;
    uint32_t last = 0;
    for (uint64_t i = 0; i != header[0]; ++i) {
      uint32_t bucket = 0;
      if (!read(image, buckets + i * 4, bucket))
        return false;
      last = std::max(last, bucket);
    }
    count = header[1];
    if (last < header[1])
      return true; // nothing is hashed
    for (uint32_t hash = 0; !(hash & 1); ++last)
      if (!read(image, chains + uint64_t(last - header[1]) * 4, hash))
        return false;
    count = last;
    return true;
  }

  Status readSymbols(std::unordered_map<std::string, uint64_t> &functions) {
    uint64_t count = 0;
    if (!dynamic.symtab || !dynamic.strtab || !symbolCount(count) ||
        !rangeFits(dynamic.strtab, dynamic.strsz, image.size()) ||
        !rangeFits(dynamic.symtab, count * sizeof(Elf64_Sym), image.size()))
      return invalid("its symbol table is malformed");
    symbols.resize(count);
    if (count)
      std::memcpy(symbols.data(), image.data() + dynamic.symtab, count * sizeof(Elf64_Sym));
    std::string_view strings(reinterpret_cast<const char *>(image.data() + dynamic.strtab), dynamic.strsz);
    for (uint64_t i = 1; i < count; ++i) {
      const Elf64_Sym &symbol = symbols[i];
      if (symbol.st_name >= strings.size())
        return invalid("a symbol's name lies outside the string table");
      std::string_view tail = strings.substr(symbol.st_name);
      size_t length = tail.find('\0');
      if (length == std::string_view::npos)
        return invalid("its string table does not end in NUL");
      std::string name(tail.substr(0, length));
      if (symbol.st_shndx == SHN_UNDEF)
        return invalid("it refers to the undefined symbol '", name, "'");
      unsigned type = ELF64_ST_TYPE(symbol.st_info);
      if (type == STT_FUNC && symbol.st_shndx != SHN_ABS && executable(symbol.st_value))
        functions.emplace(std::move(name), symbol.st_value);
    }
    return {};
  }

  bool executable(uint64_t address) const {
    return std::any_of(segments.begin(), segments.end(), [&](const Elf64_Phdr &segment) {
      return (segment.p_flags & PF_X) && address >= segment.p_vaddr && address - segment.p_vaddr < segment.p_memsz;
    });
  }

  Status relocate(uint64_t table, uint64_t bytes) {
    if (!rangeFits(table, bytes, image.size()))
      return invalid("its relocation table lies outside it");
    for (uint64_t i = 0; i != bytes / sizeof(Elf64_Rela); ++i) {
      Elf64_Rela entry;
      if (!read(image, table + i * sizeof(Elf64_Rela), entry))
        return invalid("its relocation table lies outside it");
      uint64_t type = ELF64_R_TYPE(entry.r_info), index = ELF64_R_SYM(entry.r_info),
               value = reinterpret_cast<uint64_t>(base);
      switch (type) {
      case R_X86_64_NONE:
        continue;
      case R_X86_64_RELATIVE:
        value += static_cast<uint64_t>(entry.r_addend);
        break;
      case R_X86_64_64:
      case R_X86_64_GLOB_DAT:
      case R_X86_64_JUMP_SLOT:
        if (index == 0 || index >= symbols.size())
          return invalid("a relocation names symbol ", index, " of ", symbols.size());
        value += symbols[index].st_value + (type == R_X86_64_64 ? static_cast<uint64_t>(entry.r_addend) : 0);
        break;
      default:
        return invalid("relocation type ", type, " is not supported");
      }
      V4_RETURN_IF_ERROR(store(entry.r_offset, value));
    }
    return {};
  }

  Status relocateRelr() {
    if (!rangeFits(dynamic.relr, dynamic.relrSize, image.size()))
      return invalid("its relocation table lies outside it");
    uint64_t where = 0;
    for (uint64_t i = 0; i != dynamic.relrSize / 8; ++i) {
      uint64_t entry = 0;
      if (!read(image, dynamic.relr + i * 8, entry))
        return invalid("its relocation table lies outside it");
      // An even entry is an address; an odd one is a bitmap of the 63 words that follow.
      if ((entry & 1) == 0) {
        V4_RETURN_IF_ERROR(addBase(entry));
        where = entry + 8;
        continue;
      }
      for (unsigned bit = 1; bit != 64; ++bit)
        if (entry >> bit & 1)
          V4_RETURN_IF_ERROR(addBase(where + (bit - 1) * 8));
      where += 63 * 8;
    }
    return {};
  }

  Status addBase(uint64_t offset) {
    uint64_t value = 0;
    if (!read(image, offset, value))
      return invalid("a relocation lies outside its segments");
    return store(offset, value + reinterpret_cast<uint64_t>(base));
  }

  Status store(uint64_t offset, uint64_t value) {
    if (!rangeFits(offset, sizeof value, image.size()))
      return invalid("a relocation lies outside its segments");
    std::memcpy(base + offset, &value, sizeof value);
    return {};
  }

  Status protect() {
    for (const Elf64_Phdr &segment : segments) {
      uint64_t begin = segment.p_vaddr / pageSize * pageSize;
      int flags = PROT_READ | (segment.p_flags & PF_W ? PROT_WRITE : 0) | (segment.p_flags & PF_X ? PROT_EXEC : 0);
      if (::mprotect(base + begin, segment.p_vaddr + segment.p_memsz - begin, flags) != 0)
        return environment("the system refuses to make the module's code executable: ", std::strerror(errno));
    }
    return {};
  }

  Bytes file, image;
  std::byte *base = nullptr;
  uint64_t span = 0;
  std::vector<Elf64_Phdr> segments;
  Elf64_Phdr dynamicSegment{};
  Dynamic dynamic;
  std::vector<Elf64_Sym> symbols;
};

} // namespace

Expected<ElfImage> ElfImage::load(Bytes file) {
  ElfImage out;
  Status status = Loader(file).run(out.memory, out.functions);
  if (!status.ok())
    return status;
  return out;
}

void *ElfImage::symbol(const std::string &name) const {
  auto it = functions.find(name);
  return it == functions.end() ? nullptr : memory.data() + it->second;
}

} // namespace v4
