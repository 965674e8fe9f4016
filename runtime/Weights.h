// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Weights bound to a module's parameters. Immutable.
#ifndef V4_RUNTIME_WEIGHTS_H
#define V4_RUNTIME_WEIGHTS_H

#include "runtime/Module.h"
#include "runtime/Mover.h"
#include "runtime/Sources.h"

namespace v4 {

class Weights {
public:
  struct Bound {
    const std::byte *base = nullptr; // a table: its lowest row
    std::vector<int64_t> offsets;    // a table: bytes of every row from `base`,
    const std::byte *table = nullptr; // and the same where kernels read them
  };

  struct Options {
    uint32_t threads = 0;  // 0: all available
    MoveProgress progress; // of what is moved into memory; may be empty
  };

  /// `path` is a checkpoint directory or a file of v4-pack. For a device that shares the host's memory payloads stay where
  /// they are mapped, but for parameters of a checkpoint that have a layout or are not aligned as the device needs them:
  /// these are moved into memory. For another device all are moved into its memory. Parameters that only
  /// other targets of the module use are checked and left alone.
  static Expected<std::shared_ptr<const Weights>> load(std::shared_ptr<const Module> module, const std::string &path,
                                                       const Options &options);

  /// The bytes that RandomTensor gives the checkpoint's tensors, in memory.
  static Expected<std::shared_ptr<const Weights>> random(std::shared_ptr<const Module> module, uint64_t seed);

  /// Addresses of the device; none for a parameter that the target does not use.
  const Bound &parameter(uint32_t index) const { return bound[index]; }
  const std::shared_ptr<const Module> &module() const { return owner; }
  /// Bytes in memory of their own, not mapped.
  uint64_t movedBytes() const { return moved; }

private:
  static Expected<std::shared_ptr<const Weights>> loadCheckpoint(std::shared_ptr<const Module> module,
                                                                 const std::string &path, const Options &options);
  static Expected<std::shared_ptr<const Weights>> loadPacked(std::shared_ptr<const Module> module,
                                                             const std::string &path, const Options &options);
  /// A row of a table, or a whole parameter, in a file.
  struct View {
    Bytes bytes;
    Rows16 layout; // into which it must be brought
    const MappedFile *file;
  };
  Status bring(const std::vector<std::vector<View>> &views, const Options &options);
  static Expected<Pages> generate(const fbs::Parameter &parameter, uint64_t seed, uint64_t experts);
  void bind(const fbs::Parameter &parameter, const std::vector<const std::byte *> &addresses);
  uint64_t tableBytes() const;
  void placeTables(std::byte *to, std::vector<Transfer> &transfers);

  std::shared_ptr<const Module> owner;
  Sources sources;        // of a checkpoint
  SafetensorsFile packed; // or a file of v4-pack
  std::vector<Bound> bound;
  std::vector<Pages> generated;
  std::unique_ptr<DeviceMemory> memory; // what was moved
  uint64_t moved = 0;
};

} // namespace v4

#endif // V4_RUNTIME_WEIGHTS_H
