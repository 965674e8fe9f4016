// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Bounded JSON reading for files that come from outside: configuration, index and tensor headers.

#ifndef V4_FRONTEND_JSON_H
#define V4_FRONTEND_JSON_H

#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/Twine.h"
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace mlir::v4::json {

/// A number as written: an integer when it has neither fraction nor exponent and fits, else a double.
struct Number {
  enum class Kind { Signed, Unsigned, Real } kind = Kind::Signed;
  int64_t asSigned = 0;
  uint64_t asUnsigned = 0;
  double asReal = 0;
};

/// What went wrong and the byte where it was noticed.
struct Error {
  std::string message;
  size_t offset = 0;
};

/// Receives a document piece by piece, so that a reader with a fixed schema never builds what it does not want. A
/// method that returns false has called `fail`, which ends the parse. `offset` is the byte just behind the current
/// token.
class Handler {
public:
  virtual ~Handler() = default;
  virtual bool onNull() = 0;
  virtual bool onBool(bool value) = 0;
  virtual bool onNumber(const Number &value) = 0;
  virtual bool onString(std::string &value) = 0;
  virtual bool onKey(std::string &value) = 0;
  virtual bool onStart(bool isObject) = 0;
  virtual bool onEnd(bool isObject) = 0;

  bool fail(const llvm::Twine &message);
  size_t offset() const { return cursor; }

private:
  friend bool parse(llvm::StringRef, Handler &, Error &);
  std::string message;
  size_t cursor = 0;
};

/// Parses `text`, which must be one JSON object without a byte order mark. Returns false and fills `error` otherwise.
/// Depth is limited to 32, which no file of a checkpoint comes near; strings must be UTF-8 without NUL.
bool parse(llvm::StringRef text, Handler &handler, Error &error);

/// A parsed document, for files small enough to be held whole.
struct Value {
  enum class Kind { Null, Bool, Number, String, Array, Object } kind = Kind::Null;
  bool boolean = false;
  Number number;
  std::string string;
  std::vector<Value> elements;   // of an array or object, in file order
  std::vector<std::string> keys; // of an object, one per element, none twice
  size_t offset = 0;             // where the value ends (containers: where they start)

  const Value *find(llvm::StringRef key) const;
  /// How a message shows the value: the text of a scalar, the kind of a container.
  std::string describe() const;
};

/// Parses a whole document; duplicate keys are errors.
bool parse(llvm::StringRef text, Value &root, Error &error);

/// A name from a file as a message shows it: in double quotes, unprintable bytes escaped, cut after 120 bytes.
std::string quoted(llvm::StringRef text);

/// Line and column, both from 1, of a byte of `text`.
std::pair<unsigned, unsigned> lineAndColumn(llvm::StringRef text, size_t offset);

} // namespace mlir::v4::json

#endif
