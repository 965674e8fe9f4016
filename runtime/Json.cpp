// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The document tree is built from nlohmann's event parser: it is iterative (deep input cannot overflow the stack),
// checks UTF-8 and number ranges, and reports through a callback, so it works without exceptions. Depth, size and
// duplicate keys are checked here because it does not.
#include "runtime/Json.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace v4::json {
namespace {

class Builder final : public nlohmann::json_sax<nlohmann::json> {
public:
  explicit Builder(const Limits &limits) : limits(limits) {}

  Value root;
  std::string error;

  bool null() override { return add(Value()); }
  bool boolean(bool value) override {
    Value out;
    out.kind = Value::Kind::Bool;
    out.boolean = value;
    return add(std::move(out));
  }
  bool number_integer(number_integer_t value) override {
    Value out;
    out.kind = Value::Kind::Negative;
    out.negative = value;
    out.real = static_cast<double>(value);
    return add(std::move(out));
  }
  bool number_unsigned(number_unsigned_t value) override {
    Value out;
    out.kind = Value::Kind::Unsigned;
    out.number = value;
    out.real = static_cast<double>(value);
    return add(std::move(out));
  }
  bool number_float(number_float_t value, const string_t &) override {
    Value out;
    out.kind = Value::Kind::Real;
    out.real = value;
    return add(std::move(out));
  }
  bool string(string_t &value) override {
    Value out;
    out.kind = Value::Kind::String;
    out.string = std::move(value);
    return add(std::move(out));
  }
  bool binary(binary_t &) override { return fail("binary values are not JSON"); }

  bool start_object(std::size_t) override { return open(Value::Kind::Object); }
  bool start_array(std::size_t) override { return open(Value::Kind::Array); }
  bool key(string_t &name) override {
    stack.back()->members.push_back({std::move(name), Value()});
    return true;
  }
  bool end_object() override {
    const auto &members = stack.back()->members;
    std::vector<std::string_view> names;
    names.reserve(members.size());
    for (const Member &member : members)
      names.push_back(member.name);
    std::sort(names.begin(), names.end());
    auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end())
      return fail(concat("key ", quoted(*twice), " appears twice in one object"));
    stack.pop_back();
    return true;
  }
  bool end_array() override {
    stack.pop_back();
    return true;
  }
  bool parse_error(std::size_t, const std::string &, const nlohmann::detail::exception &exception) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."; the tag says nothing to a user.
    std::string_view text = exception.what();
    size_t end = text.find("] ");
    return fail(std::string(end == std::string_view::npos ? text : text.substr(end + 2)));
  }

private:
  bool fail(std::string message) {
    if (error.empty())
      error = std::move(message);
    return false;
  }
  bool open(Value::Kind kind) {
    if (stack.size() == limits.maxDepth)
      return fail(concat("nested deeper than ", limits.maxDepth));
    Value value;
    value.kind = kind;
    Value *slot = place(std::move(value));
    stack.push_back(slot);
    return true;
  }
  bool add(Value value) {
    place(std::move(value));
    return true;
  }
  /// Pointers on the stack stay valid: only the innermost open container grows.
  Value *place(Value value) {
    if (stack.empty())
      return &(root = std::move(value));
    Value *parent = stack.back();
    if (parent->isArray())
      return &parent->elements.emplace_back(std::move(value));
    return &(parent->members.back().value = std::move(value));
  }

  Limits limits;
  std::vector<Value *> stack;
};

} // namespace

const Value *Value::find(std::string_view name) const {
  for (const Member &member : members)
    if (member.name == name)
      return &member.value;
  return nullptr;
}

Expected<Value> parse(std::string_view text, const Limits &limits) {
  if (text.size() > limits.maxBytes)
    return invalid(text.size(), " bytes of JSON, more than the limit of ", limits.maxBytes);
  if (text.starts_with("\xEF\xBB\xBF"))
    return invalid("the JSON begins with a byte-order mark; save it as plain UTF-8");
  Builder builder(limits);
  bool ok = nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  if (!ok || !builder.error.empty())
    return invalid(builder.error.empty() ? "malformed JSON" : builder.error);
  return std::move(builder.root);
}

Expected<Value> parseFile(const std::string &path, const Limits &limits) {
  Expected<MappedFile> file = MappedFile::open(path);
  V4_RETURN_IF_ERROR(file);
  Bytes bytes = file->bytes();
  Expected<Value> value = parse({reinterpret_cast<const char *>(bytes.data()), bytes.size()}, limits);
  if (!value)
    return value.takeStatus().in(path);
  return value;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    unsigned char u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (u < 0x20 || u == 0x7F) {
      constexpr char digits[] = "0123456789abcdef";
      out += "\\u00";
      out += digits[u >> 4];
      out += digits[u & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

} // namespace v4::json
