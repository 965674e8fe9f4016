// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How a tool ends and what it says on the way: messages, exit codes for signals, progress on a terminal.
#ifndef V4_TOOLS_PROCESS_H
#define V4_TOOLS_PROCESS_H

#include "runtime/Status.h"
#include "tools/Options.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace v4 {

/// Makes every way to end early one of the exit codes: an interrupt, a crash, a file that shrinks while it is mapped,
/// memory that runs out. Temporary files of OutputFile go away. `tool` begins the messages; `activity`, if given, says
/// for a crash what was running ("" for nothing) and must be async-signal-safe.
void installHandlers(const char *tool, const char *(*activity)() = nullptr);

/// Prints "tool: kind: message" on stderr, behind what stdout holds so far, and returns `code`.
int report(const char *kind, v4_code code, std::string_view message);
inline int fail(const Status &status) {
  return report("error", status.code(), status.message());
}

/// One line on stderr that is rewritten while something long runs; nothing at all unless stderr is a terminal.
class Progress {
public:
  /// `total` bytes are expected; 0 for work that is not measured in bytes.
  explicit Progress(std::string what, uint64_t total = 0);
  ~Progress();
  Progress(const Progress &) = delete;
  Progress &operator=(const Progress &) = delete;

  void advance(uint64_t bytes) { reach(done + bytes); }
  /// `bytes` are done in all.
  void reach(uint64_t bytes);
  /// `number` of `all` things are done.
  void count(uint64_t number, uint64_t all, std::string_view things);
  void say(std::string_view text);

private:
  void draw(std::string_view text);

  std::string what;
  uint64_t total, done = 0;
  bool terminal, drawn = false;
  double started, next = 0; // seconds
};

/// "12.3 GB", in powers of 1000.
std::string sizeText(uint64_t bytes);

} // namespace v4

#endif // V4_TOOLS_PROCESS_H
