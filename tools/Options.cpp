// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The command-line parser and the help printer; both read the same table (Options.h).
#include "tools/Options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace v4 {
namespace {

/// "-o" or "--name": how a user spells an option.
std::string spelled(std::string_view name) {
  return (name.size() == 1 ? "-" : "--") + std::string(name);
}

bool valueIsOptional(const OptionSpec &option) {
  return option.argument.starts_with('[');
}

bool isPlaceholder(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= 'A' && c <= 'Z') || c == '_'; });
}

bool matches(std::string_view accepted, std::string_view value) {
  size_t colon = accepted.rfind(':');
  if (colon == std::string_view::npos || !isPlaceholder(accepted.substr(colon + 1)))
    return accepted == value;
  std::string_view prefix = accepted.substr(0, colon + 1);
  return value.size() > prefix.size() && value.starts_with(prefix);
}

std::string join(const std::vector<std::string_view> &parts, std::string_view separator) {
  std::string out;
  for (std::string_view part : parts)
    out.append(out.empty() ? "" : separator).append(part);
  return out;
}

/// Empty when the value is fine, else what is wrong with it.
std::string checkValue(const OptionSpec &option, std::string_view value) {
  if (value.empty() && !valueIsOptional(option))
    return spelled(option.name) + " needs a value";
  if (option.values.empty() || value.empty())
    return {};
  std::vector<std::string> parts = option.list ? splitList(value) : std::vector<std::string>{std::string(value)};
  for (const std::string &part : parts) {
    if (std::any_of(option.values.begin(), option.values.end(), [&](auto v) { return matches(v, part); }))
      continue;
    std::string message = "unknown value '" + part + "' for " + spelled(option.name);
    std::string_view near = nearest(part, option.values);
    if (!near.empty())
      message += "; did you mean '" + std::string(near) + "'?";
    // One choice is a flag that can be copied as it is.
    std::string_view separator = option.name.size() == 1 ? " " : "=";
    std::string only = option.values.size() == 1 ? spelled(option.name).append(separator) : std::string();
    return message + " (accepted: " + only + join(option.values, ", ") + ")";
  }
  return {};
}

/// Appends `text` wrapped at 100 columns, continued at column `indent`; a newline in it begins a new line there.
void wrap(std::string &out, std::string_view text, size_t indent, size_t column) {
  constexpr size_t width = 100;
  for (size_t end; (end = text.find('\n')) != std::string_view::npos; column = indent) {
    wrap(out, text.substr(0, end), indent, column);
    text.remove_prefix(end + 1);
    if (text.empty())
      return;
    out.append(indent, ' ');
  }
  while (!text.empty()) {
    size_t end = std::min(text.find(' '), text.size());
    std::string_view word = text.substr(0, end);
    if (column > indent && column + 1 + word.size() > width) {
      out.append("\n").append(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  out += '\n';
}

std::string leftColumn(const OptionSpec &option) {
  std::string left = spelled(option.name);
  if (option.argument.empty())
    return left;
  if (valueIsOptional(option))
    return left + "[=" + std::string(option.argument.substr(1));
  return left + (option.name.size() == 1 ? " " : "=") + std::string(option.argument);
}

struct Parser {
  const ToolSpec &tool;
  ParsedOptions out;
  std::string error;

  const OptionSpec *find(std::string_view name) const {
    for (const OptionSpec &option : tool.options)
      if (option.name == name)
        return &option;
    return nullptr;
  }

  void unknown(std::string_view text, std::string_view name) {
    std::vector<std::string_view> names = {"help", "version"};
    for (const OptionSpec &option : tool.options)
      names.push_back(option.name);
    error = "unknown option '" + std::string(text) + "'";
    std::string_view near = nearest(name, names);
    if (!near.empty())
      error += "; did you mean '" + spelled(near) + "'?";
  }

  void record(const OptionSpec &option, std::string_view value) {
    auto &values = out.given[std::string(option.name)];
    if (!values.empty() && !option.repeatable) {
      error = spelled(option.name) + " is given twice; it takes one value";
      return;
    }
    if (!option.argument.empty())
      error = checkValue(option, value);
    values.emplace_back(value);
  }

  /// Handles the option at argv[i]; may advance `i` over the value of a one-letter option.
  void option(std::string_view text, int argc, const char *const *argv, int &i) {
    bool isLong = text.starts_with("--");
    std::string_view body = text.substr(isLong ? 2 : 1);
    size_t equals = body.find('=');
    std::string_view name = body.substr(0, equals);
    const OptionSpec *option = (name.size() == 1) != isLong ? find(name) : nullptr;
    if (!isLong && !option && find(body.substr(0, 1))) { // -oFILE
      option = find(body.substr(0, 1));
      return record(*option, body.substr(1));
    }
    if (!option)
      return unknown(text.substr(0, text.find('=')), name);
    if (equals != std::string_view::npos) {
      if (option->argument.empty())
        error = spelled(name) + " takes no value";
      else if (body.size() == equals + 1)
        error = spelled(name) + " needs a value after '='";
      else
        record(*option, body.substr(equals + 1));
      return;
    }
    if (option->argument.empty() || valueIsOptional(*option))
      return record(*option, {});
    if (!isLong && i + 1 < argc)
      return record(*option, argv[++i]);
    error = spelled(name) + " needs a value: " + leftColumn(*option);
  }

  void parse(int argc, const char *const *argv) {
    bool optionsEnded = false;
    for (int i = 1; i < argc && error.empty(); ++i) {
      std::string_view text = argv[i];
      if (optionsEnded || text == "-" || !text.starts_with('-')) {
        if (out.positionals.size() == tool.maxPositionals)
          error = "unexpected argument '" + std::string(text) + "'";
        else
          out.positionals.emplace_back(text);
      } else if (text == "--") {
        optionsEnded = true;
      } else if (std::any_of(tool.passThrough.begin(), tool.passThrough.end(),
                             [&](std::string_view prefix) { return text.starts_with(prefix); })) {
        out.passedThrough.emplace_back(text);
      } else {
        option(text, argc, argv, i);
      }
    }
    if (error.empty() && out.positionals.size() < tool.minPositionals)
      error = "missing argument: " + std::string(tool.positionalName);
  }
};

} // namespace

std::string ParsedOptions::get(std::string_view name, std::string_view otherwise) const {
  auto it = given.find(name);
  return it == given.end() || it->second.empty() ? std::string(otherwise) : it->second.back();
}

std::vector<std::string> ParsedOptions::all(std::string_view name) const {
  auto it = given.find(name);
  return it == given.end() ? std::vector<std::string>() : it->second;
}

std::string helpText(const ToolSpec &tool) {
  std::string out = std::string(tool.name) + ": " + std::string(tool.summary) + "\n\nusage: " + std::string(tool.name) +
                    " " + std::string(tool.usage) + "\n";
  if (!tool.examples.empty())
    out += "\nexamples:\n";
  for (const ExampleSpec &example : tool.examples)
    out += "  " + std::string(example.command) + "\n" + (example.what.empty() ? "" : "      ") +
           std::string(example.what) + (example.what.empty() ? "" : "\n");

  std::vector<std::string_view> groups;
  size_t column = 0;
  for (const OptionSpec &option : tool.options) {
    if (std::find(groups.begin(), groups.end(), option.group) == groups.end())
      groups.push_back(option.group);
    size_t width = leftColumn(option).size();
    if (width <= 30)
      column = std::max(column, width + 4);
  }
  column = std::max<size_t>(column, 14);
  auto line = [&](const std::string &left, std::string_view help) {
    out += "  " + left;
    if (left.size() + 4 > column)
      out.append("\n").append(column, ' ');
    else
      out.append(column - left.size() - 2, ' ');
    wrap(out, help, column, column);
  };
  for (std::string_view group : groups) {
    out.append("\n").append(group).append(":\n");
    for (const OptionSpec &option : tool.options)
      if (option.group == group)
        line(leftColumn(option), option.help);
  }
  out += "\nother:\n";
  line("--help", "this text");
  line("--version", "version and formats");
  if (!tool.footer.empty()) {
    out += '\n';
    wrap(out, tool.footer, 0, 0);
  }
  return out;
}

ParsedOptions parseOptions(const ToolSpec &tool, int argc, const char *const *argv, std::string &text,
                           std::string &error) {
  text.clear();
  error.clear();
  // --help answers even when the rest of the line is wrong: that is when it is needed.
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    bool help = std::string_view(argv[i]) == "--help", version = std::string_view(argv[i]) == "--version";
    if (help || version) {
      text = help ? helpText(tool) : tool.version + "\n";
      ParsedOptions out;
      out.exit = ExitOk;
      return out;
    }
  }
  Parser parser{tool, {}, {}};
  parser.parse(argc, argv);
  error = parser.error;
  if (!error.empty())
    parser.out.exit = ExitUsage;
  return std::move(parser.out);
}

ParsedOptions parseOptions(const ToolSpec &tool, int argc, const char *const *argv) {
  std::string text, error;
  ParsedOptions out = parseOptions(tool, argc, argv, text, error);
  if (!text.empty())
    std::fputs(text.c_str(), stdout);
  if (!error.empty())
    usageError(tool, error);
  return out;
}

int usageError(const ToolSpec &tool, std::string_view message) {
  std::string name(tool.name), text(message);
  std::fprintf(stderr, "%s: error: %s\n%s: see '%s --help'\n", name.c_str(), text.c_str(), name.c_str(), name.c_str());
  return ExitUsage;
}

bool parseUnsigned(std::string_view text, uint64_t &value) {
  uint64_t result = 0;
  if (text.empty())
    return false;
  for (char c : text) {
    if (c < '0' || c > '9' || result > (UINT64_MAX - (c - '0')) / 10)
      return false;
    result = result * 10 + (c - '0');
  }
  value = result;
  return true;
}

bool parseReal(std::string_view text, double &value) {
  // from_chars also takes "inf", "nan" and leading '-'; the first two are never meant on a command line. It ignores the
  // locale, which strtod does not.
  double result = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), result);
  if (code != std::errc() || end != text.data() + text.size() || !std::isfinite(result))
    return false;
  value = result;
  return true;
}

std::vector<std::string> splitList(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    size_t end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos)
      return parts;
    text.remove_prefix(end + 1);
  }
}

bool parseUnsignedList(std::string_view text, std::vector<uint64_t> &values) {
  std::vector<uint64_t> result;
  for (const std::string &part : splitList(text)) {
    uint64_t value;
    if (!parseUnsigned(part, value))
      return false;
    result.push_back(value);
  }
  values = std::move(result);
  return true;
}

std::string_view nearest(std::string_view text, const std::vector<std::string_view> &candidates) {
  std::string_view best;
  size_t bestDistance = text.size() / 3 + 2; // a typo or two, not another word
  for (std::string_view candidate : candidates) {
    std::vector<size_t> row(candidate.size() + 1);
    for (size_t j = 0; j <= candidate.size(); ++j)
      row[j] = j;
    for (size_t i = 1; i <= text.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= candidate.size(); ++j) {
        size_t substituted = diagonal + (text[i - 1] != candidate[j - 1]);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
      }
    }
    if (row.back() < bestDistance) {
      bestDistance = row.back();
      best = candidate;
    }
  }
  return best;
}

} // namespace v4
