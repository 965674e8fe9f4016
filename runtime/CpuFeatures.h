// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The instruction-set features of this CPU, under the names that LLVM's target features use.
#ifndef V4_RUNTIME_CPUFEATURES_H
#define V4_RUNTIME_CPUFEATURES_H

#include <string_view>
#include <vector>

namespace v4 {

/// Whether the CPU has the feature and the operating system saves its registers. A name that this table does not know
/// counts as missing: running code that needs it would be a guess.
bool cpuHasFeature(std::string_view name);

/// Every name in the table, for messages and tests.
std::vector<std::string_view> knownCpuFeatures();

} // namespace v4

#endif // V4_RUNTIME_CPUFEATURES_H
