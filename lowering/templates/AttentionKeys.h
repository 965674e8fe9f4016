// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The keys that a kernel `attention` has: those of a row, numbered through, window first, or a part of them.

#ifndef V4_LOWERING_TEMPLATES_ATTENTIONKEYS_H
#define V4_LOWERING_TEMPLATES_ATTENTIONKEYS_H

#include "lowering/templates/KernelBuilder.h"

namespace mlir::v4 {

struct AttentionKeys {
  /// Keys of the blocks that parts consist of.
  static constexpr int64_t kBlock = 64;

  /// inputs of the kernel: query, window, sink, positions, span, entries and selected where it has them, and of a part
  /// its number (spec 4.4).
  explicit AttentionKeys(KernelBuilder &b);

  /// The row of `entries` that holds key number `key`, one behind those of the window.
  Value entryOf(KernelBuilder &b, Value key) const;

  /// Null where the op has none.
  Value entries, selected;
  /// Keys from the window and the first of its rows that is seen; first and past-the-end key.
  Value windowKeys, windowRow, begin, end;
};

} // namespace mlir::v4

#endif
