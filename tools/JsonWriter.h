// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// JSON output of the tools.
#ifndef V4_TOOLS_JSONWRITER_H
#define V4_TOOLS_JSONWRITER_H

#include "runtime/Json.h"

#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>

namespace v4 {

/// Writes JSON as it goes; commas and nesting are its business.
class JsonWriter {
public:
  void open(char bracket) {
    separate();
    out += bracket;
    first = true;
  }
  void close(char bracket) {
    out += bracket;
    first = false;
  }
  JsonWriter &key(std::string_view name) {
    separate();
    out += json::quoted(name) + ":";
    first = true; // the value follows without a comma
    return *this;
  }
  void value(std::string_view string) {
    separate();
    out += json::quoted(string);
  }
  template <typename T> void number(T value) {
    separate();
    out += std::to_string(value);
  }
  void boolean(bool value) {
    separate();
    out += value ? "true" : "false";
  }
  /// Six significant digits.
  void real(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.6g", value);
    separate();
    out += std::isfinite(value) ? text : "null"; // JSON has no other word for it
  }
  std::string out;

private:
  void separate() {
    if (!first)
      out += ',';
    first = false;
  }
  bool first = true;
};

} // namespace v4

#endif // V4_TOOLS_JSONWRITER_H
