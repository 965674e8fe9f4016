// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The file of v4-pack: a module's weights in the module's layouts, ready to be mapped (docs/module-format.md).
#ifndef V4_RUNTIME_PACKEDFILE_H
#define V4_RUNTIME_PACKEDFILE_H

#include "runtime/Mover.h"
#include "runtime/Safetensors.h"

namespace v4 {

/// Names, types, shapes, layouts and sources of the parameters, as 16 hexadecimal digits: a packed file serves every
/// module for which it is the same.
std::string layoutHash(const fbs::Module &module);

/// Every parameter is in the file, as the module wants it and aligned to 64 bytes, and nothing else is.
Expected<SafetensorsFile> openPackedFile(const fbs::Module &module, const std::string &path);

/// Reads the checkpoint once and writes the file. `threads`: 0 for all available. V4_ENVIRONMENT for a full disk; then,
/// and on any other failure, there is no file.
Status writePackedFile(const fbs::Module &module, const std::string &checkpoint, const std::string &path,
                       uint32_t threads, const MoveProgress &progress);

} // namespace v4

#endif // V4_RUNTIME_PACKEDFILE_H
