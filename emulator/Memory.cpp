// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Checks of loads and stores: alignment, bounds, initialisation, races; and asynchronous copies.

#include "emulator/Worker.h"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>

namespace v4::emu {

Pages::~Pages() {
  if (memory)
    ::munmap(memory, size);
}

bool Pages::reserve(size_t bytes, bool *grown) {
  if (bytes <= size)
    return true;
  void *fresh = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (fresh == MAP_FAILED)
    return false;
  if (memory)
    ::munmap(memory, size);
  memory = static_cast<char *>(fresh);
  size = bytes;
  if (grown)
    *grown = true;
  return true;
}

static const char *verb(v4_emu_access kind) {
  return kind == V4_EMU_READ ? "read" : kind == V4_EMU_WRITE ? "write" : "atomic access";
}

bool Worker::orderedExactly(const Knowledge &now, const uint32_t &set, Accessors *culprit) const {
  auto list = exact.find(&set);
  if (culprit->kind() != Accessors::Many || list == exact.end())
    return false;
  for (Accessors one : list->second)
    if (!now.knows(one)) {
      *culprit = one;
      return false;
    }
  return true;
}

void Worker::addExactly(const Knowledge &now, uint32_t &set) {
  Accessors old = Accessors::fromBits(set);
  if (old.none() || old.clock() <= base || (old.kind() == Accessors::One && old.thread() == now.thread)) {
    set = Accessors(Accessors::One, now.thread, now.clock).bits;
    return;
  }
  std::vector<Accessors> &list = exact[&set];
  if (old.kind() == Accessors::One)
    list.assign(1, old);
  // A later accessor may know this access and not an earlier one, so only what everybody knows is forgotten.
  std::erase_if(list, [&](Accessors one) { return one.clock() <= base || one.thread() == now.thread; });
  list.push_back(Accessors(Accessors::One, now.thread, now.clock));
  set = Accessors(Accessors::Many, now.thread, std::max(old.clock(), now.clock)).bits;
}

void Worker::race(const v4_emu_site *site, const std::string &what, v4_emu_access kind, v4_emu_access otherKind,
                  uint64_t otherBlock, Accessors other, uint16_t otherSite) {
  std::string who;
  if (other.kind() == Accessors::Many || other.kind() == Accessors::Warp)
    who = "several threads, the last of them ";
  who += "thread " + threadName(other.thread());
  if (otherBlock != block)
    who = (otherBlock + 1 == kManyBlocks ? std::string("several blocks") : "block " + blockName(otherBlock) + ", " + who);
  fault(site, "race on %s: this %s and the %s by %s at %s are not ordered by %s", what.c_str(), verb(kind), verb(otherKind),
        who.c_str(), siteName(kernel->sites + otherSite).c_str(),
        otherBlock != block ? "anything, as blocks are not" : "a barrier");
}

void Worker::misaligned(const char *address, uint32_t alignment, const v4_emu_site *site) {
  if (isShared(address))
    fault(site, "misaligned: byte %td of shared memory is no multiple of %u", address - shared, alignment);
  for (uint32_t i = 0; i != launch->info->binding_count; ++i) {
    const v4_emu_binding &b = launch->info->bindings[i];
    const char *base = static_cast<const char *>(b.base);
    if (address >= base && uint64_t(address - base) < b.bytes)
      fault(site, "misaligned: byte %td of binding %u (%s) is no multiple of %u", address - base, i, b.name ? b.name : "unnamed",
            alignment);
  }
  fault(site, "misaligned: address %p is no multiple of %u", static_cast<const void *>(address), alignment);
}

void Worker::accessShared(const char *address, uint32_t bytes, v4_emu_access kind, const v4_emu_site *site) {
  size_t offset = size_t(address - shared);
  if (offset > launch->sharedBytes || launch->sharedBytes - offset < bytes) [[unlikely]]
    fault(site, "out of bounds: %s of %u bytes at byte %td of shared memory, which has %u", verb(kind), bytes, address - shared,
          launch->sharedBytes);
  if (!launch->races)
    return;
  uint16_t index = uint16_t(site->index);
  Knowledge now = knowledge();
  uint32_t self = Accessors(Accessors::One, now.thread, now.clock).bits;
  for (size_t i = offset >> granuleShift, end = (offset + bytes - 1) >> granuleShift; i <= end; ++i) {
    Cell &cell = cells[i];
    if (cell.tag != tag) {
      if (cell.gap) [[unlikely]]
        fault(site, "out of bounds: %s at byte %zu of shared memory, between two buffers", verb(kind), offset);
      cell = Cell();
      cell.tag = tag;
    }
    auto where = [&] { return "byte " + std::to_string(i << granuleShift) + " of shared memory"; };
    if (cell.occupied == Cell::Barrier && !onMemoryBarrier) [[unlikely]]
      fault(site, "%s of byte %zu of shared memory, where a barrier is", verb(kind), i << granuleShift);
    if (cell.occupied == Cell::Copy) [[unlikely]]
      fault(site, "%s of byte %zu of shared memory while an asynchronous copy into it is in flight, started by thread %s at %s",
            verb(kind), i << granuleShift, threadName(Accessors::fromBits(cell.write).thread()).c_str(),
            siteName(kernel->sites + cell.writeSite).c_str());
    Accessors other;
    if (kind != V4_EMU_WRITE && !cell.write && !cell.atomic) [[unlikely]]
      fault(site, "uninitialised: %s of byte %zu of shared memory, which nothing has written", verb(kind), i << granuleShift);
    if (cell.occupied == Cell::Landed) [[unlikely]] {
      Accessors copy = Accessors::fromBits(cell.write);
      if (copy.thread() >= running->landed.size() || running->landed[copy.thread()] < copy.clock())
        fault(site, "race on %s: this %s and the copy at %s are not ordered by a wait for the barrier of the copy",
              where().c_str(), verb(kind), siteName(kernel->sites + cell.writeSite).c_str());
    } else if (cell.write && cell.write != self && !ordered(now, cell.write, &other)) [[unlikely]] {
      race(site, where(), kind, V4_EMU_WRITE, block, other, cell.writeSite);
    }
    if (kind != V4_EMU_ATOMIC && cell.atomic && !ordered(now, cell.atomic, &other)) [[unlikely]]
      race(site, where(), kind, V4_EMU_ATOMIC, block, other, cell.atomicSite);
    if (kind != V4_EMU_READ && cell.read && cell.read != self && !ordered(now, cell.read, &other)) [[unlikely]]
      race(site, where(), kind, V4_EMU_READ, block, other, cell.readSite);
    if (kind == V4_EMU_READ) {
      if (cell.read != self)
        add(now, cell.read);
      cell.readSite = index;
    } else if (kind == V4_EMU_WRITE) {
      cell.write = self;
      cell.writeSite = index;
      if (cell.occupied == Cell::Landed)
        cell.occupied = Cell::Free;
    } else {
      add(now, cell.atomic);
      cell.atomicSite = index;
    }
  }
}

int32_t Worker::findBinding(const char *address, uint32_t bytes, const v4_emu_site *site) const {
  auto inside = [&](uint32_t i) {
    const v4_emu_binding &b = launch->info->bindings[i];
    const char *base = static_cast<const char *>(b.base);
    return address >= base && uint64_t(address - base) <= b.bytes && b.bytes - uint64_t(address - base) >= bytes;
  };
  for (uint32_t i = 0; i != launch->info->binding_count; ++i)
    if (inside(i))
      return int32_t(i);
  return -1;
}

void Worker::accessGlobal(const char *address, uint32_t bytes, v4_emu_access kind, const v4_emu_site *site) {
  const v4_emu_launch_info &info = *launch->info;
  int32_t binding = site->binding;
  if (binding < 0) {
    binding = findBinding(address, bytes, site);
    if (binding < 0) [[unlikely]]
      fault(site, "out of bounds: %s of %u bytes at %p, outside every binding", verb(kind), bytes, address);
  }
  const v4_emu_binding &b = info.bindings[binding];
  int64_t offset = address - static_cast<const char *>(b.base);
  if (offset < 0 || uint64_t(offset) > b.bytes || b.bytes - uint64_t(offset) < bytes) [[unlikely]]
    fault(site, "out of bounds: %s of %u bytes at byte %lld of binding %d (%s), which has %llu", verb(kind), bytes, (long long)offset,
          binding, b.name ? b.name : "unnamed", (unsigned long long)b.bytes);
  GlobalCell *table = launch->cells[size_t(binding)];
  if (!table) // no op of the kernel writes there
    return;
  if (!launch->races)
    return;
  uint16_t index = uint16_t(site->index);
  Knowledge now = knowledge();
  uint32_t self = Accessors(Accessors::One, now.thread, now.clock).bits, me = uint32_t(block) + 1;
  std::mutex *lock = nullptr;
  struct Unlock {
    std::mutex *&lock;
    ~Unlock() {
      if (lock)
        lock->unlock();
    }
  } unlock{lock};
  for (size_t i = size_t(offset) >> globalShift, end = (size_t(offset) + bytes - 1) >> globalShift; i <= end; ++i) {
    if (launch->concurrent) {
      std::mutex *wanted = &launch->cellLocks[((i >> 10) + size_t(binding)) % kCellLocks];
      if (wanted != lock) {
        if (lock)
          lock->unlock();
        lock = wanted;
        lock->lock();
      }
    }
    GlobalCell &cell = table[i];
    if (cell.tag != launch->number) {
      cell = GlobalCell();
      cell.tag = launch->number;
    }
    auto report = [&](v4_emu_access otherKind, uint32_t otherBlock, Accessors other, uint16_t otherSite) {
      if (lock) {
        lock->unlock();
        lock = nullptr;
      }
      race(site, "byte " + std::to_string(i << globalShift) + " of binding " + std::to_string(binding) + " (" +
                     (b.name ? b.name : "unnamed") + ")",
           kind, otherKind, uint64_t(otherBlock) - 1, other, otherSite);
    };
    Accessors other;
    if (cell.write && cell.writeBlock != me) [[unlikely]]
      report(V4_EMU_WRITE, cell.writeBlock, Accessors::fromBits(cell.write), cell.writeSite);
    if (cell.write && cell.write != self && !ordered(now, cell.write, &other)) [[unlikely]]
      report(V4_EMU_WRITE, me, other, cell.writeSite);
    if (kind != V4_EMU_ATOMIC && cell.atomic) {
      if (cell.atomicBlock != me) [[unlikely]]
        report(V4_EMU_ATOMIC, cell.atomicBlock, Accessors::fromBits(cell.atomic), cell.atomicSite);
      if (!ordered(now, cell.atomic, &other)) [[unlikely]]
        report(V4_EMU_ATOMIC, me, other, cell.atomicSite);
    }
    if (kind != V4_EMU_READ && cell.read) {
      if (cell.readBlock != me) [[unlikely]]
        report(V4_EMU_READ, cell.readBlock, Accessors::fromBits(cell.read), cell.readSite);
      if (cell.read != self && !ordered(now, cell.read, &other)) [[unlikely]]
        report(V4_EMU_READ, me, other, cell.readSite);
    }
    auto addTo = [&](uint32_t &set, uint32_t &owner, uint16_t &where) {
      if (owner != 0 && owner != me) {
        owner = kManyBlocks;
        set = self;
      } else {
        owner = me;
        add(now, set);
      }
      where = index;
    };
    if (kind == V4_EMU_READ) {
      addTo(cell.read, cell.readBlock, cell.readSite);
    } else if (kind == V4_EMU_WRITE) {
      cell.write = self;
      cell.writeBlock = me;
      cell.writeSite = index;
    } else {
      addTo(cell.atomic, cell.atomicBlock, cell.atomicSite);
    }
  }
}

void Worker::access(const char *address, const v4_emu_site *site) {
  ++accesses;
  checkAlignment(address, site->alignment, site);
  auto kind = v4_emu_access(site->access);
  bool inShared = site->space == V4_EMU_SHARED || (site->space == V4_EMU_GENERIC && isShared(address));
  if (inShared)
    accessShared(address, site->bytes, kind, site);
  else
    accessGlobal(address, site->bytes, kind, site);
  if (kind == V4_EMU_ATOMIC)
    yieldSometimes();
}

void Worker::copyAsync(char *to, const char *from, uint32_t sourceBytes, const v4_emu_site *site) {
  ++accesses;
  uint32_t bytes = site->bytes;
  if (sourceBytes > bytes)
    fault(site, "reads %u bytes for a copy of %u", sourceBytes, bytes);
  checkAlignment(to, bytes, site);
  if (sourceBytes != 0) {
    checkAlignment(from, bytes, site);
    accessGlobal(from, sourceBytes, V4_EMU_READ, site);
  }
  accessShared(to, bytes, V4_EMU_WRITE, site);
  if (launch->races)
    for (size_t i = size_t(to - shared) >> granuleShift, end = size_t(to - shared + bytes - 1) >> granuleShift; i <= end; ++i)
      cells[i].occupied = Cell::Copy;
  // All ones is a NaN in every float format: who reads too early and escapes the checks still gets no plausible number.
  std::memset(to, 0xFF, bytes);
  running->copies.push_back({to, from, bytes, sourceBytes, site});
}

void Worker::copyWait(uint32_t groups, const v4_emu_site *site) {
  Fiber &fiber = current();
  size_t landed = 0, done = 0;
  for (; fiber.groups.size() - done > groups; ++done)
    landed += fiber.groups[done];
  uint32_t self = Accessors(Accessors::One, fiber.thread, fiber.clock).bits;
  for (size_t i = 0; i != landed; ++i) {
    const Copy &copy = fiber.copies[i];
    std::memcpy(copy.to, copy.from, copy.sourceBytes);
    std::memset(copy.to + copy.sourceBytes, 0, copy.bytes - copy.sourceBytes);
    if (!launch->races)
      continue;
    size_t begin = size_t(copy.to - shared) >> granuleShift, end = size_t(copy.to - shared + copy.bytes - 1) >> granuleShift;
    for (size_t cell = begin; cell <= end; ++cell) {
      cells[cell].occupied = Cell::Free;
      cells[cell].write = self;
    }
  }
  fiber.copies.erase(fiber.copies.begin(), fiber.copies.begin() + ptrdiff_t(landed));
  fiber.groups.erase(fiber.groups.begin(), fiber.groups.begin() + ptrdiff_t(done));
}

} // namespace v4::emu
