// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// NumPy's .npy files: arrays of fp32, int32 and int64 in row-major order.
#ifndef V4_RUNTIME_NPY_H
#define V4_RUNTIME_NPY_H

#include "runtime/FileIo.h"

#include <string>
#include <vector>

namespace v4 {

struct NpyArray {
  enum class Type { F32, I32, I64 };
  Type type = Type::F32;
  std::vector<uint64_t> shape;
  Bytes data; // inside the file's bytes; not aligned
};

/// Messages do not name the file.
Expected<NpyArray> parseNpy(Bytes file);

/// The header of a row-major fp32 array.
std::string npyHeader(const std::vector<uint64_t> &shape);

} // namespace v4

#endif // V4_RUNTIME_NPY_H
