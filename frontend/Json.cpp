// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The event parser of nlohmann-json with the checks that it leaves to its caller.

#include "frontend/Json.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/Twine.h"
#include <cstdlib>

// The library never throws on the event interface; these make that a property of the build rather than of its version.
#define JSON_THROW_USER(exception) std::abort()
#define JSON_TRY_USER if (true)
#define JSON_CATCH_USER(exception) if (false)
#define JSON_INTERNAL_CATCH_USER(exception) if (false)
#include <nlohmann/json.hpp>

using namespace mlir::v4;
using namespace mlir::v4::json;

namespace {

constexpr unsigned maxDepth = 32;

/// Reads bytes and tells the handler how far the lexer has come: the event interface itself reports no positions.
class Cursor {
public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char *;
  using reference = const char &;

  Cursor(const char *position, const char *begin, size_t *offset) : position(position), begin(begin), offset(offset) {}
  reference operator*() const { return *position; }
  Cursor &operator++() {
    ++position;
    *offset = position - begin;
    return *this;
  }
  Cursor operator++(int) {
    Cursor old = *this;
    ++*this;
    return old;
  }
  bool operator==(const Cursor &other) const { return position == other.position; }
  bool operator!=(const Cursor &other) const { return position != other.position; }

private:
  const char *position;
  const char *begin;
  size_t *offset;
};

/// Adapts the library's events to `Handler`, and checks depth, NUL bytes and numbers out of range.
class Adapter : public nlohmann::json_sax<nlohmann::json> {
public:
  explicit Adapter(Handler &handler) : handler(handler) {}
  std::string syntaxError;

  bool null() override { return handler.onNull(); }
  bool boolean(bool value) override { return handler.onBool(value); }
  bool number_integer(int64_t value) override {
    return handler.onNumber({Number::Kind::Signed, value, 0, static_cast<double>(value)});
  }
  bool number_unsigned(uint64_t value) override {
    if (value <= static_cast<uint64_t>(INT64_MAX))
      return number_integer(static_cast<int64_t>(value));
    return handler.onNumber({Number::Kind::Unsigned, 0, value, static_cast<double>(value)});
  }
  bool number_float(double value, const std::string &) override {
    return handler.onNumber({Number::Kind::Real, 0, 0, value});
  }
  bool string(std::string &value) override { return checkText(value) && handler.onString(value); }
  bool key(std::string &value) override { return checkText(value) && handler.onKey(value); }
  bool start_object(size_t) override { return enter() && handler.onStart(/*isObject=*/true); }
  bool end_object() override { return leave() && handler.onEnd(/*isObject=*/true); }
  bool start_array(size_t) override { return enter() && handler.onStart(/*isObject=*/false); }
  bool end_array() override { return leave() && handler.onEnd(/*isObject=*/false); }
  // Only the binary formats of the library produce this event.
  bool binary(nlohmann::json::binary_t &) override { return handler.fail("binary value"); }
  bool parse_error(size_t, const std::string &, const nlohmann::json::exception &error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ...": the part that says what.
    llvm::StringRef text(error.what());
    text = text.substr(text.find("] ") + 2);
    auto [before, after] = text.split(": ");
    // The text repeats the token that was being read, however long.
    syntaxError = (before.starts_with("parse error") && !after.empty() ? after : text).take_front(200).str();
    return false;
  }

private:
  bool checkText(const std::string &value) {
    return value.find('\0') == std::string::npos || handler.fail("a string holds a NUL character");
  }
  bool enter() {
    return ++depth <= maxDepth || handler.fail("nested deeper than " + llvm::Twine(maxDepth) + " levels");
  }
  bool leave() {
    --depth;
    return true;
  }

  Handler &handler;
  unsigned depth = 0;
};

/// Builds a `Value`.
class TreeBuilder : public Handler {
public:
  explicit TreeBuilder(Value &root) : root(root) {}

  bool onNull() override { return add(Value()) != nullptr; }
  bool onBool(bool value) override {
    Value node;
    node.kind = Value::Kind::Bool;
    node.boolean = value;
    return add(std::move(node)) != nullptr;
  }
  bool onNumber(const Number &value) override {
    Value node;
    node.kind = Value::Kind::Number;
    node.number = value;
    return add(std::move(node)) != nullptr;
  }
  bool onString(std::string &value) override {
    Value node;
    node.kind = Value::Kind::String;
    node.string = std::move(value);
    return add(std::move(node)) != nullptr;
  }
  bool onKey(std::string &value) override {
    Level &level = levels.back();
    if (!level.keys.insert(value).second)
      return fail("key " + json::quoted(value) + " appears twice");
    level.value->keys.push_back(std::move(value));
    return true;
  }
  bool onStart(bool isObject) override {
    Value node;
    node.kind = isObject ? Value::Kind::Object : Value::Kind::Array;
    levels.push_back({add(std::move(node)), {}});
    return true;
  }
  bool onEnd(bool) override {
    levels.pop_back();
    return true;
  }

private:
  struct Level {
    Value *value;
    llvm::StringSet<> keys;
  };

  // Pointers to open containers stay valid: only the innermost one grows, and it holds none of the others.
  Value *add(Value node) {
    node.offset = offset();
    if (levels.empty()) {
      root = std::move(node);
      return &root;
    }
    Value &parent = *levels.back().value;
    parent.elements.push_back(std::move(node));
    return &parent.elements.back();
  }

  Value &root;
  std::vector<Level> levels;
};

} // namespace

bool Handler::fail(const llvm::Twine &text) {
  message = text.str();
  return false;
}

bool mlir::v4::json::parse(llvm::StringRef text, Handler &handler, Error &error) {
  // The library skips a byte order mark and accepts scalars as documents; no file of a checkpoint has either.
  llvm::StringRef start = text.ltrim(" \t\r\n");
  if (!start.starts_with("{")) {
    error = {text.empty() ? "the file is empty" : "a JSON object must start with '{'", text.size() - start.size()};
    return false;
  }
  Adapter adapter(handler);
  Cursor first(text.begin(), text.begin(), &handler.cursor), last(text.end(), text.begin(), &handler.cursor);
  if (nlohmann::json::sax_parse(first, last, &adapter))
    return true;
  error = {handler.message.empty() ? adapter.syntaxError : handler.message, handler.cursor};
  return false;
}

bool mlir::v4::json::parse(llvm::StringRef text, Value &root, Error &error) {
  TreeBuilder builder(root);
  return parse(text, builder, error);
}

const Value *Value::find(llvm::StringRef key) const {
  for (size_t i = 0; i < keys.size(); ++i)
    if (keys[i] == key)
      return &elements[i];
  return nullptr;
}

std::string Value::describe() const {
  switch (kind) {
  case Kind::Null:
    return "null";
  case Kind::Bool:
    return boolean ? "true" : "false";
  case Kind::String:
    return json::quoted(string);
  case Kind::Array:
    return "an array of " + std::to_string(elements.size()) + " values";
  case Kind::Object:
    return "an object";
  case Kind::Number:
    break;
  }
  if (number.kind == Number::Kind::Signed)
    return std::to_string(number.asSigned);
  if (number.kind == Number::Kind::Unsigned)
    return std::to_string(number.asUnsigned);
  char text[32];
  snprintf(text, sizeof(text), "%g", number.asReal);
  return text;
}

std::string mlir::v4::json::quoted(llvm::StringRef text) {
  constexpr size_t limit = 120;
  std::string result = "\"";
  for (unsigned char c : text.take_front(limit)) {
    if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\') {
      result += "\\x";
      result += llvm::hexdigit(c >> 4, /*LowerCase=*/true);
      result += llvm::hexdigit(c & 15, /*LowerCase=*/true);
    } else {
      result += static_cast<char>(c);
    }
  }
  return result + (text.size() > limit ? "...\"" : "\"");
}

std::pair<unsigned, unsigned> mlir::v4::json::lineAndColumn(llvm::StringRef text, size_t offset) {
  llvm::StringRef before = text.take_front(offset);
  size_t lineStart = before.rfind('\n');
  unsigned column = lineStart == llvm::StringRef::npos ? before.size() : before.size() - lineStart - 1;
  return {before.count('\n') + 1, std::max(column, 1u)};
}
