// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A checkpoint directory: its shards, and one table of all tensors, checked against the index both ways.
#ifndef V4_RUNTIME_CHECKPOINT_H
#define V4_RUNTIME_CHECKPOINT_H

#include "runtime/Safetensors.h"

#include <string>
#include <vector>

namespace v4 {

class Checkpoint {
public:
  struct Tensor {
    const TensorInfo *info;
    uint32_t shard;
  };

  /// With `model.safetensors.index.json`: the shards that it names. Without: every `*.safetensors` of the directory.
  static Expected<Checkpoint> open(const std::string &directory);

  const std::vector<Tensor> &tensors() const { return table; } // sorted by name
  const Tensor *find(std::string_view name) const;
  const SafetensorsFile &shard(uint32_t index) const { return shards[index]; }
  Bytes bytes(const Tensor &tensor) const { return shards[tensor.shard].bytes(*tensor.info); }
  const std::string &directory() const { return path; }

private:
  Status openIndexed(const std::string &indexPath, const std::vector<std::string> &present);
  Status openAll(const std::vector<std::string> &present);
  Status buildTable();

  std::string path;
  std::vector<SafetensorsFile> shards;
  std::vector<Tensor> table;
};

/// The `weight_map` of an index file's text, as (tensor, shard) pairs. Shards are plain file names.
Expected<std::vector<std::pair<std::string, std::string>>> parseIndex(std::string_view text);

} // namespace v4

#endif // V4_RUNTIME_CHECKPOINT_H
