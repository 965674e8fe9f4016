// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A checkpoint bound to a module's parameters. Immutable.
#ifndef V4_RUNTIME_WEIGHTS_H
#define V4_RUNTIME_WEIGHTS_H

#include "runtime/Checkpoint.h"
#include "runtime/Module.h"

namespace v4 {

class Weights {
public:
  struct Bound {
    const std::byte *base = nullptr; // a table: its lowest row
    std::vector<int64_t> offsets;    // a table: bytes of every row from `base`
  };

  static Expected<std::shared_ptr<const Weights>> load(std::shared_ptr<const Module> module, const std::string &path);

  /// The bytes that RandomTensor gives the checkpoint's tensors, in memory.
  static Expected<std::shared_ptr<const Weights>> random(std::shared_ptr<const Module> module, uint64_t seed);

  const Bound &parameter(uint32_t index) const { return bound[index]; }
  const std::shared_ptr<const Module> &module() const { return owner; }
  uint64_t copiedBytes() const { return copied; }

private:
  Status bind(const fbs::Parameter &parameter, std::vector<bool> &seen);
  Status generate(const fbs::Parameter &parameter, uint64_t seed, uint64_t experts);
  Status checkTensor(const fbs::Parameter &parameter, const std::string &name, std::vector<bool> &seen,
                     const Checkpoint::Tensor *&out) const;
  Expected<const std::byte *> aligned(const Checkpoint::Tensor &tensor, Bytes range, unsigned alignment);
  Expected<std::byte *> allocate(uint64_t size);

  std::shared_ptr<const Module> owner;
  Checkpoint checkpoint;
  std::vector<Bound> bound;
  std::vector<Pages> copies; // and what was generated
  uint64_t used = 0;         // bytes taken from the last of `copies`
  uint64_t copied = 0;
};

/// The table's row `e` of a name with "{e}" in it.
std::string rowName(std::string_view pattern, uint32_t row);

} // namespace v4

#endif // V4_RUNTIME_WEIGHTS_H
