// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The C interface (v4.h) as the tools use it: handles that free themselves, statuses as values.
#ifndef V4_TOOLS_HANDLES_H
#define V4_TOOLS_HANDLES_H

#include "runtime/Status.h"

#include <memory>

namespace v4 {

/// Turns a status of the C interface into one of ours.
inline Status take(v4_status *status) {
  if (!status)
    return {};
  Status out(v4_status_code(status), v4_status_message(status));
  v4_status_free(status);
  return out;
}

template <auto Free> struct Freer {
  template <typename T> void operator()(T *handle) const { Free(handle); }
};
using ModuleHandle = std::unique_ptr<v4_module, Freer<v4_module_free>>;
using WeightsHandle = std::unique_ptr<v4_weights, Freer<v4_weights_free>>;
using SessionHandle = std::unique_ptr<v4_session, Freer<v4_session_free>>;
using SamplerHandle = std::unique_ptr<v4_sampler, Freer<v4_sampler_free>>;

} // namespace v4

#endif // V4_TOOLS_HANDLES_H
