// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Where the parameters of a module are in a checkpoint, found and checked. No payload is touched.
#ifndef V4_RUNTIME_SOURCES_H
#define V4_RUNTIME_SOURCES_H

#include "runtime/Checkpoint.h"
#include "runtime/ModuleVerify.h"

namespace v4 {

class Sources {
public:
  /// The bytes of a parameter, or of one row of a table.
  struct View {
    Bytes bytes;
    uint32_t shard;
  };

  /// Every tensor that the module reads must be there as it says, and every other one must belong to a family that it
  /// leaves out on purpose. `module` outlives the result.
  static Expected<Sources> open(const fbs::Module &module, const std::string &directory);

  /// One view, or one for every row of a table.
  std::span<const View> views(uint32_t parameter) const {
    return std::span(all).subspan(first[parameter], first[parameter + 1] - first[parameter]);
  }
  const MappedFile &file(const View &view) const { return checkpoint.shard(view.shard).mapping(); }

private:
  Status find(const fbs::Parameter &parameter, std::vector<bool> &seen);
  Status checkTensor(const fbs::Parameter &parameter, const std::string &name, std::vector<bool> &seen,
                     const Checkpoint::Tensor *&out) const;
  Status checkUnused(const fbs::Module &module, const std::vector<bool> &seen) const;

  Checkpoint checkpoint;
  std::vector<View> all;
  std::vector<size_t> first = {0}; // of every parameter in `all`, and the end
};

/// The table's row `e` of a name with "{e}" in it.
std::string rowName(std::string_view pattern, uint32_t row);

/// Bytes of a parameter, or of one row of a table.
uint64_t viewBytes(const fbs::Parameter &parameter);

} // namespace v4

#endif // V4_RUNTIME_SOURCES_H
