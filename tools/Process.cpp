// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Signal handlers use nothing that is not async-signal-safe.
#include "tools/Process.h"
#include "runtime/FileIo.h"

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>
#include <unistd.h>

namespace v4 {
namespace {

const char *toolName = "v4";
const char *(*currentActivity)() = nullptr;

void writeText(const char *text) {
  if (::write(STDERR_FILENO, text, std::strlen(text)) < 0)
    return; // nothing more can be done in a handler
}

extern "C" void onInterrupt(int) {
  OutputFile::removeTemporaries();
  ::_exit(ExitInterrupted);
}

/// A mapped checkpoint that shrinks under us raises SIGBUS; a module whose code is damaged can raise the others.
extern "C" void onCrash(int signal) {
  OutputFile::removeTemporaries();
  writeText(toolName);
  if (signal == SIGBUS) {
    writeText(": error: a mapped file became unreadable while it was used: it was shortened, or the disk failed\n");
    ::_exit(ExitEnvironment);
  }
  const char *activity = currentActivity ? currentActivity() : "";
  writeText(": internal error: crashed");
  writeText(*activity ? " in launch " : "");
  writeText(activity);
  writeText(currentActivity ? "; the module's code is damaged or v4c has a bug" : "; this is a bug");
  writeText(". Run the same command again to reproduce it\n");
  ::_exit(ExitInternal);
}

void onNoMemory() {
  OutputFile::removeTemporaries();
  writeText(toolName);
  writeText(": error: out of memory\n");
  ::_exit(ExitEnvironment);
}

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

} // namespace

void installHandlers(const char *tool, const char *(*activity)()) {
  toolName = tool;
  currentActivity = activity;
  std::set_new_handler(onNoMemory);
  struct sigaction action = {};
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &action, nullptr); // a closed stdout becomes an ordinary write error
  ::sigaction(SIGXFSZ, &action, nullptr); // and so does the file size limit
  action.sa_handler = onInterrupt;
  for (int signal : {SIGINT, SIGTERM, SIGHUP})
    ::sigaction(signal, &action, nullptr);
#if !defined(__SANITIZE_ADDRESS__) && !(defined(__has_feature) && __has_feature(address_sanitizer))
  action.sa_handler = onCrash;
  for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT})
    ::sigaction(signal, &action, nullptr);
#endif
}

int report(const char *kind, v4_code code, std::string_view message) {
  std::fflush(stdout);
  std::fprintf(stderr, "%s: %s: %.*s\n", toolName, kind, static_cast<int>(message.size()), message.data());
  return code;
}

std::string sizeText(uint64_t bytes) {
  constexpr const char *units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1000 && unit + 1 != std::size(units); ++unit)
    value /= 1000;
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
  return text.data();
}

Progress::Progress(std::string what, uint64_t total)
    : what(std::move(what)), total(total), terminal(::isatty(STDERR_FILENO) == 1), started(seconds()) {}

Progress::~Progress() {
  if (drawn)
    std::fprintf(stderr, "\r\033[K");
}

void Progress::reach(uint64_t bytes) {
  done = bytes;
  if (!terminal || seconds() < next)
    return;
  double elapsed = seconds() - started;
  uint64_t rate = elapsed > 0 ? static_cast<uint64_t>(static_cast<double>(done) / elapsed) : 0;
  draw(concat(sizeText(done), " of ", sizeText(total), ", ", sizeText(rate), "/s"));
}

void Progress::count(uint64_t number, uint64_t all, std::string_view things) {
  if (!terminal || seconds() < next)
    return;
  double elapsed = seconds() - started;
  std::array<char, 32> rate;
  std::snprintf(rate.data(), rate.size(), "%.1f", elapsed > 0 ? static_cast<double>(number) / elapsed : 0.0);
  draw(concat(number, " of ", all, " ", things, ", ", rate.data(), "/s"));
}

void Progress::say(std::string_view text) {
  if (terminal && seconds() >= next)
    draw(text);
}

void Progress::draw(std::string_view text) {
  constexpr double interval = 0.2;
  next = seconds() + interval;
  drawn = true;
  std::fprintf(stderr, "\r\033[K%s: %s: %.*s", toolName, what.c_str(), static_cast<int>(text.size()), text.data());
}

} // namespace v4
