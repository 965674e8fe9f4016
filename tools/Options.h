// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Command lines of the tools: one table per tool says what the parser accepts and what --help prints, so that the two
// cannot disagree. Links nothing: v4-run and v4-dump stay free of LLVM, and v4c uses the same syntax.
#ifndef V4_TOOLS_OPTIONS_H
#define V4_TOOLS_OPTIONS_H

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace v4 {

/// Exit codes of every tool. A tool never ends by a signal of its own making.
enum ExitCode : int {
  ExitOk = 0,
  ExitRejected = 1,    // input rejected, with a diagnostic
  ExitUsage = 2,       // the command line is wrong
  ExitEnvironment = 3, // no device, memory, disk space or instruction set
  ExitComparison = 4,  // a comparison failed
  ExitInternal = 70,   // a bug of ours
  ExitInterrupted = 130,
};

/// One option. Long options are spelled `--name` or `--name=value`; a one-letter name is spelled `-o value`.
struct OptionSpec {
  std::string_view name;
  /// Placeholder of the value in the help. Empty: a bare flag. "[json]": the value may be left out.
  std::string_view argument;
  std::string_view group;
  std::string_view help;
  bool repeatable = false;
  /// Accepted values; empty means any. Upper-case text after the last ':' stands for any non-empty text, so
  /// "plan:FILE" accepts `plan:a.json`.
  std::vector<std::string_view> values = {};
  /// The value is a comma-separated list and each part must be one of `values`.
  bool list = false;
};

struct ExampleSpec {
  std::string_view command;
  std::string_view what;
};

/// Everything about a tool's command line.
struct ToolSpec {
  std::string_view name;
  std::string_view summary;
  std::string_view usage; // "CHECKPOINT|GRAPH.mlir -o M.v4m"
  std::string version;    // printed by --version
  std::vector<ExampleSpec> examples;
  std::vector<OptionSpec> options;
  unsigned minPositionals = 0;
  unsigned maxPositionals = 0;
  std::string_view positionalName = "FILE";
  /// Options that start with one of these are collected, unparsed, in ParsedOptions::passedThrough ("--mlir-").
  std::vector<std::string_view> passThrough = {};
  std::string_view footer = {}; // printed at the end of --help
};

/// What a command line said. Every accessor takes the option's name without dashes.
struct ParsedOptions {
  /// Set when there is nothing left to do: --help, --version or a usage error, already printed. Return it from main.
  std::optional<int> exit;
  std::vector<std::string> positionals;
  std::vector<std::string> passedThrough;
  /// Values in the order of the command line; a bare flag holds one empty string.
  std::map<std::string, std::vector<std::string>, std::less<>> given;

  bool has(std::string_view name) const { return given.find(name) != given.end(); }
  /// The last value, or `otherwise` when the option was not given.
  std::string get(std::string_view name, std::string_view otherwise = {}) const;
  std::vector<std::string> all(std::string_view name) const;
};

/// Parses; prints help and version to stdout and usage errors to stderr.
ParsedOptions parseOptions(const ToolSpec &tool, int argc, const char *const *argv);

/// The same without printing: `error` gets the usage error (empty: none), `text` the help or version asked for.
ParsedOptions parseOptions(const ToolSpec &tool, int argc, const char *const *argv, std::string &text,
                           std::string &error);

std::string helpText(const ToolSpec &tool);

/// Prints "tool: error: message" and the hint to --help on stderr, and returns ExitUsage.
int usageError(const ToolSpec &tool, std::string_view message);

/// Strict numbers: the whole text, no sign for unsigned, no overflow, no inf or nan. False leaves `value` alone.
bool parseUnsigned(std::string_view text, uint64_t &value);
bool parseReal(std::string_view text, double &value);
/// "1,2,3"; empty parts are refused.
bool parseUnsignedList(std::string_view text, std::vector<uint64_t> &values);
std::vector<std::string> splitList(std::string_view text, char separator = ',');

/// The candidate nearest to `text` by edit distance, or empty when nothing is near.
std::string_view nearest(std::string_view text, const std::vector<std::string_view> &candidates);

} // namespace v4

#endif // V4_TOOLS_OPTIONS_H
