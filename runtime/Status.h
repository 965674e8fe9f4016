// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How the runtime reports failure: a move-only status that must be looked at, and a value-or-status.
#ifndef V4_RUNTIME_STATUS_H
#define V4_RUNTIME_STATUS_H

#include "runtime/v4.h"

#include <cassert>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

/// The payload behind the C interface's opaque handle.
struct v4_status {
  v4_code code;
  std::string message;
};

namespace v4 {

namespace detail {
inline void append(std::string &out, std::string_view text) {
  out += text;
}
inline void append(std::string &out, char c) {
  out += c;
}
template <typename T, typename = std::enable_if_t<std::is_arithmetic_v<T> && !std::is_same_v<T, char>>>
void append(std::string &out, T number) {
  out += std::to_string(number);
}
} // namespace detail

/// Text from pieces: strings, characters and numbers.
template <typename... Parts> std::string concat(const Parts &...parts) {
  std::string out;
  (detail::append(out, parts), ...);
  return out;
}

/// Success, or a code and a message. One pointer wide; success allocates nothing.
class [[nodiscard]] Status {
public:
  Status() = default;
  Status(v4_code code, std::string message) : payload(new v4_status{code, std::move(message)}) {}
  Status(Status &&) = default;
  Status &operator=(Status &&) = default;

  bool ok() const { return !payload; }
  v4_code code() const { return payload ? payload->code : V4_OK; }
  std::string_view message() const { return payload ? std::string_view(payload->message) : std::string_view(); }

  /// Hands the payload to a C caller.
  v4_status *release() && { return payload.release(); }

  /// Puts "context: " in front of the message of a failure.
  Status in(std::string_view context) && {
    if (payload)
      payload->message = concat(context, ": ", payload->message);
    return std::move(*this);
  }

private:
  std::unique_ptr<v4_status> payload;
};

/// The input is wrong.
template <typename... Parts> Status invalid(const Parts &...parts) {
  return Status(V4_INVALID, concat(parts...));
}
/// The call is wrong.
template <typename... Parts> Status misuse(const Parts &...parts) {
  return Status(V4_MISUSE, concat(parts...));
}
/// The machine cannot do it.
template <typename... Parts> Status environment(const Parts &...parts) {
  return Status(V4_ENVIRONMENT, concat(parts...));
}

/// A value or the reason why there is none.
template <typename T> class [[nodiscard]] Expected {
public:
  Expected(T value) : value(std::move(value)) {}
  Expected(Status status) : status(std::move(status)) { assert(!this->status.ok() && "a value is missing"); }

  explicit operator bool() const { return value.has_value(); }
  T &operator*() & { return *value; }
  T &&operator*() && { return std::move(*value); }
  T *operator->() { return &*value; }
  Status takeStatus() { return std::move(status); }

private:
  Status status;
  std::optional<T> value;
};

inline Status takeStatus(Status &&status) {
  return std::move(status);
}
template <typename T> Status takeStatus(Expected<T> &expected) {
  return expected.takeStatus();
}

} // namespace v4

/// Leaves the function with the status of `expr` (a Status, or an Expected variable) unless it is success.
#define V4_RETURN_IF_ERROR(expr)                                                                                       \
  do {                                                                                                                 \
    if (::v4::Status v4Status = ::v4::takeStatus(expr); !v4Status.ok())                                                \
      return v4Status;                                                                                                 \
  } while (false)

#endif // V4_RUNTIME_STATUS_H
