// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The schedules embedded in the compiler (lowering/schedules/*.mlir).

#ifndef V4_LOWERING_SCHEDULES_H
#define V4_LOWERING_SCHEDULES_H

#include "llvm/ADT/StringRef.h"
#include <optional>

namespace mlir::v4 {
/// The text of the schedule `name`, or nothing when the compiler has no such schedule.
std::optional<llvm::StringRef> getEmbeddedSchedule(llvm::StringRef name);
} // namespace mlir::v4

#endif
