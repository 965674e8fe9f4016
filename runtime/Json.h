// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// JSON from outside: a small document tree, read with limits on depth and size, without duplicate keys, invalid UTF-8,
// numbers that do not fit, or anything after the document.
#ifndef V4_RUNTIME_JSON_H
#define V4_RUNTIME_JSON_H

#include "runtime/FileIo.h"

#include <cstdint>
#include <string>
#include <vector>

namespace v4::json {

struct Member;

struct Value {
  enum class Kind { Null, Bool, Unsigned, Negative, Real, String, Array, Object };

  Kind kind = Kind::Null;
  bool boolean = false;
  uint64_t number = 0;  // Unsigned
  int64_t negative = 0; // Negative
  double real = 0;      // every numeric kind
  std::string string;
  std::vector<Value> elements;
  std::vector<Member> members;

  bool isObject() const { return kind == Kind::Object; }
  bool isArray() const { return kind == Kind::Array; }
  bool isString() const { return kind == Kind::String; }
  bool isUnsigned() const { return kind == Kind::Unsigned; }
  bool isNumber() const { return kind == Kind::Unsigned || kind == Kind::Negative || kind == Kind::Real; }
  /// The member of that name, or null. Linear: for objects with few members.
  const Value *find(std::string_view name) const;
};

struct Member {
  std::string name;
  Value value;
};

struct Limits {
  size_t maxBytes = size_t(1) << 28;
  unsigned maxDepth = 64;
};

/// Messages say what is wrong and at which byte or line; the caller adds the file's name.
Expected<Value> parse(std::string_view text, const Limits &limits = {});

/// Maps and parses a file; messages begin with its path.
Expected<Value> parseFile(const std::string &path, const Limits &limits = {});

/// `text` as a JSON string, quotes included.
std::string quoted(std::string_view text);

} // namespace v4::json

#endif // V4_RUNTIME_JSON_H
