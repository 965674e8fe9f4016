// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Moves weights from mapped files to memory, in their layout, on several threads.
#ifndef V4_RUNTIME_MOVER_H
#define V4_RUNTIME_MOVER_H

#include "runtime/Layout.h"
#include "runtime/ThreadPool.h"

#include <functional>
#include <span>

namespace v4 {

/// One view on its way. Whole blocks of a view are a view.
struct Transfer {
  const std::byte *from;
  std::byte *to;        // aligned to 64 bytes when there is a layout
  uint64_t bytes;       // equally many on both sides
  Rows16 layout;        // no blocks: the same order
  const MappedFile *file; // holds `from`; its pages are given back. Null: other memory
};

/// Told how many bytes of how many are done; false ends the work.
using MoveProgress = std::function<bool(uint64_t done, uint64_t total)>;

class Mover {
public:
  /// `threads` counts the caller; 0: all available.
  Status start(uint32_t threads);

  /// Pages of the files are resident for the pieces in work only. V4_ENVIRONMENT when `progress` (which may be empty)
  /// ends the work; what is at the destinations is then undefined.
  Status run(std::span<const Transfer> transfers, const MoveProgress &progress);

private:
  ThreadPool pool;
};

/// A transfer cut into parts of about `bytes`, each of whole blocks. An end that is null stays so.
std::vector<Transfer> cutTransfer(const Transfer &transfer, uint64_t bytes);

} // namespace v4

#endif // V4_RUNTIME_MOVER_H
