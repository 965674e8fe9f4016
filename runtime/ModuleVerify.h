// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The checks of a module file before anything of it is used: header, structure, meaning (docs/module-format.md).
#ifndef V4_RUNTIME_MODULEVERIFY_H
#define V4_RUNTIME_MODULEVERIFY_H

#include "runtime/FileIo.h"
#include "runtime/v4_module_generated.h"

#include <string_view>

namespace v4 {

inline constexpr size_t moduleHeaderSize = 64;
inline constexpr uint16_t moduleMajor = 1;
inline constexpr uint16_t moduleMinor = 0;

/// FNV-1a 64, the checksum of the header.
uint64_t fnv1a(Bytes bytes);

/// The 64 bytes in front of `payload`.
std::string moduleHeader(Bytes payload);

/// All three steps. `file` must be aligned to 8 bytes and outlive the result. Messages do not name the file.
Expected<const fbs::Module *> verifyModule(Bytes file);

/// Bytes of one element; 0 for a value outside the enumeration.
unsigned elementBytes(fbs::DType dtype);
/// The safetensors name of the type.
std::string_view dtypeName(fbs::DType dtype);

/// Bytes of an array of that type. Only for what was verified, or where the result is checked by the caller.
uint64_t arrayBytes(fbs::DType dtype, const flatbuffers::Vector<uint64_t> &shape, unsigned first = 0);

/// "[2, 3]"
std::string shapeText(const flatbuffers::Vector<uint64_t> &shape);

} // namespace v4

#endif // V4_RUNTIME_MODULEVERIFY_H
