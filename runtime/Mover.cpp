// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Pieces are of the size of a huge page, so that one thread's piece delays no other. The destination is fresh memory,
// which the system clears when it gives it: for a whole batch before its pieces are moved. Clearing leaves the lines in
// the caches, and a store that goes past the caches waits for a line that is still in a near one.
#include "runtime/Mover.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace v4 {
namespace {

constexpr uint64_t pieceBytes = uint64_t(2) << 20, batchBytes = uint64_t(128) << 20;

void populatePiece(void *const *bindings, uint32_t workgroup) {
  const Transfer &piece = static_cast<const Transfer *>(bindings[0])[workgroup];
  if (piece.layout.blocks) // std::memcpy stores through the caches
    populatePages(piece.to, piece.bytes);
}

void movePiece(void *const *bindings, uint32_t workgroup) {
  const Transfer &piece = static_cast<const Transfer *>(bindings[0])[workgroup];
  if (piece.layout.blocks)
    packRows16(piece.layout, piece.from, piece.to);
  else
    std::memcpy(piece.to, piece.from, piece.bytes);
  if (piece.file)
    piece.file->drop({piece.from, piece.bytes});
}

} // namespace

std::vector<Transfer> cutTransfer(const Transfer &transfer, uint64_t bytes) {
  uint64_t block = transfer.layout.blocks ? transfer.layout.blockBytes() : 1;
  uint64_t step = std::max<uint64_t>(bytes / block, 1) * block;
  std::vector<Transfer> parts;
  for (uint64_t at = 0; at != transfer.bytes;) {
    Transfer part = transfer;
    part.from = transfer.from ? transfer.from + at : nullptr;
    part.to = transfer.to ? transfer.to + at : nullptr;
    part.bytes = std::min(step, transfer.bytes - at);
    if (part.layout.blocks)
      part.layout.blocks = part.bytes / block;
    at += part.bytes;
    parts.push_back(part);
  }
  return parts;
}

Status Mover::start(uint32_t threads) {
  return pool.start(threads ? threads : ThreadPool::available());
}

Status Mover::run(std::span<const Transfer> transfers, const MoveProgress &progress) {
  uint64_t total = 0, done = 0, waiting = 0;
  for (const Transfer &transfer : transfers)
    total += transfer.bytes;
  std::vector<Transfer> pieces;
  auto flush = [&]() -> Status {
    if (!pieces.empty()) {
      void *binding = pieces.data();
      pool.run(populatePiece, &binding, static_cast<uint32_t>(pieces.size()));
      pool.run(movePiece, &binding, static_cast<uint32_t>(pieces.size()));
      pieces.clear();
    }
    done += std::exchange(waiting, 0);
    if (progress && !progress(done, total))
      return environment("loading the weights was ended after ", done, " of ", total, " bytes");
    return {};
  };
  V4_RETURN_IF_ERROR(flush());
  for (const Transfer &transfer : transfers)
    for (const Transfer &piece : cutTransfer(transfer, pieceBytes)) {
      pieces.push_back(piece);
      waiting += piece.bytes;
      if (waiting >= batchBytes)
        V4_RETURN_IF_ERROR(flush());
    }
  return waiting ? flush() : Status();
}

} // namespace v4
