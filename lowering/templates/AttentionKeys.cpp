// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which keys a row of attention sees.

#include "lowering/templates/AttentionKeys.h"

using namespace mlir;
using namespace mlir::v4;

AttentionKeys::AttentionKeys(KernelBuilder &b) {
  OperandRange inputs = b.op.getInputs();
  auto rowsOf = [](Value memory, int64_t dim) { return cast<MemRefType>(memory.getType()).getDimSize(dim); };
  Value zero = b.index(0), position = b.toIndex(b.load(inputs[3], zero));
  int64_t size = b.attribute("window"), next = 5;
  windowKeys = b.min(b.add(position, 1), b.index(size));
  windowRow = zero;
  if (rowsOf(inputs[1], 0) > size) {
    // Row i of the call, the position less the start, is row w + i of a context.
    Value row = b.sub(position, b.toIndex(b.load(inputs[4], zero)));
    windowRow = b.add(row, b.sub(b.index(size + 1), windowKeys));
  }
  begin = zero;
  end = windowKeys;
  if (b.op->hasAttr("ratio")) {
    entries = inputs[next++];
    int64_t limit = rowsOf(entries, 0);
    if (b.op->hasAttr("selected")) {
      selected = inputs[next++];
      limit = std::min(limit, rowsOf(selected, 1));
    }
    end = b.add(end, b.visibleEntries(inputs[3], limit));
  }
  if (b.op->hasAttr("parts"))
    std::tie(begin, end) = b.partOf(end, kBlock, inputs[next]);
}

Value AttentionKeys::entryOf(KernelBuilder &b, Value key) const {
  Value row = b.sub(key, windowKeys);
  return selected ? b.toIndex(b.load(selected, {b.index(0), row})) : row;
}
