// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Layouts of a parameter in memory (docs/module-format.md): permutations of the bytes that the checkpoint has.
#ifndef V4_RUNTIME_LAYOUT_H
#define V4_RUNTIME_LAYOUT_H

#include "runtime/FileIo.h"
#include "runtime/v4_module_generated.h"

#include <optional>
#include <string_view>
#include <vector>

namespace v4 {

inline constexpr std::string_view layoutAsStored = "as-stored";
inline constexpr std::string_view layoutRows16 = "rows16";

/// Rows that rows16 interleaves.
inline constexpr unsigned packedRows = 16;

/// What rows16 does to one view (of a table: to one row of the table): `blocks` times, 16 rows of `rowBytes` bytes are
/// interleaved in units of `unit` bytes.
struct Rows16 {
  uint64_t blocks = 0;
  uint64_t rowBytes = 0;
  unsigned unit = 0; // 4, or 1 for F8E8M0

  uint64_t blockBytes() const { return packedRows * rowBytes; }
};

/// Whether the parameter is stored in rows16; empty if not. The parameter is verified.
std::optional<Rows16> rows16Of(const fbs::Parameter &parameter);

/// The same for any parameter of a rank and extents that were checked: empty where the layout is not possible.
std::optional<Rows16> rows16For(fbs::DType dtype, const flatbuffers::Vector<uint64_t> &shape, bool table);

/// The bytes of a view from `from` to `to`, which do not overlap; `to` is aligned to 16 bytes.
void packRows16(const Rows16 &layout, const std::byte *from, std::byte *to);

/// The shape of the bytes as they lie: [.., N/16, units of a row, 16, elements of a unit], the last for units of
/// several elements or more than one byte; the parameter's own when it is as stored.
std::vector<uint64_t> layoutShape(const fbs::Parameter &parameter);

} // namespace v4

#endif // V4_RUNTIME_LAYOUT_H
