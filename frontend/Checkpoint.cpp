// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Strict reading of safetensors headers and of the index that ties shards together.

#include "frontend/Checkpoint.h"
#include "frontend/Files.h"
#include "frontend/Json.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/CheckedArithmetic.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Path.h"
#include <limits>
#include <optional>

using namespace mlir;
using namespace mlir::v4;
namespace fs = llvm::sys::fs;

namespace {

// The caps of the safetensors format (header) and generous ones where it has none. The index of the largest release has
// 150,000 names in 15 MB.
constexpr uint64_t maxHeaderSize = 100'000'000;
constexpr uint64_t maxIndexSize = 256'000'000;
constexpr size_t maxNameSize = 512;
constexpr size_t maxRank = 8;
constexpr size_t maxMetadataSize = 1 << 20;
constexpr llvm::StringLiteral indexName = "model.safetensors.index.json";

struct DTypeInfo {
  llvm::StringLiteral name;
  unsigned bits;
};
// In the order of the enum.
constexpr DTypeInfo dtypes[] = {{"BOOL", 8}, {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
                                {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},
                                {"U16", 16}, {"F16", 16},    {"BF16", 16},   {"I32", 32},    {"U32", 32},
                                {"F32", 32}, {"F64", 64},    {"I64", 64},    {"U64", 64}};

std::optional<DType> parseDType(StringRef name) {
  for (auto [index, info] : llvm::enumerate(dtypes))
    if (name == info.name)
      return static_cast<DType>(index);
  return std::nullopt;
}

/// Events of a header: {"__metadata__": {string: string}, NAME: {"dtype": s, "shape": [n...], "data_offsets": [a, b]}}.
class HeaderHandler : public json::Handler {
public:
  struct Range {
    uint64_t begin = 0, end = 0;
    StringRef name; // key of the checkpoint's map
  };

  HeaderHandler(unsigned file, Checkpoint &checkpoint) : file(file), checkpoint(checkpoint) {}
  std::vector<Range> ranges;

  bool onNull() override { return unexpected("null"); }
  bool onBool(bool) override { return unexpected("a boolean"); }
  bool onString(std::string &value) override {
    if (place == Place::Metadata) {
      metadataSize += value.size();
      return metadataSize <= maxMetadataSize || fail("\"__metadata__\" has more than 1 MiB");
    }
    if (place != Place::Field || field != Field::DType)
      return unexpected("a string");
    std::optional<DType> dtype = parseDType(value);
    if (!dtype)
      return fail(where() + "unknown dtype " + json::quoted(value));
    record.dtype = *dtype;
    seenDType = true;
    place = Place::Tensor;
    return true;
  }
  bool onNumber(const json::Number &value) override {
    if (place != Place::Numbers)
      return unexpected("a number");
    // Sizes and offsets beyond 2^63 cannot occur in a file; the parser gives them as unsigned or real numbers.
    if (value.kind != json::Number::Kind::Signed || value.asSigned < 0)
      return fail(where() + "\"" + fieldName() + "\" holds a number that is not an integer from 0 to 2^63 - 1");
    if (field == Field::Shape && record.shape.size() == maxRank)
      return fail(where() + "more than " + Twine(maxRank) + " dimensions");
    if (field == Field::Offsets && offsets.size() == 2)
      return fail(where() + "\"data_offsets\" must have two numbers");
    if (field == Field::Shape)
      record.shape.push_back(value.asSigned);
    else
      offsets.push_back(value.asSigned);
    return true;
  }
  bool onKey(std::string &key) override {
    if (place == Place::Metadata) {
      metadataSize += key.size();
      return true;
    }
    if (place == Place::Top) {
      name = key;
      if (key == "__metadata__") {
        if (std::exchange(seenMetadata, true))
          return fail("\"__metadata__\" appears twice");
        place = Place::MetadataValue;
        return true;
      }
      if (key.empty() || key.size() > maxNameSize)
        return fail("a tensor name must have 1 to " + Twine(maxNameSize) + " bytes");
      record = TensorRecord();
      record.file = file;
      offsets.clear();
      seenDType = seenShape = seenOffsets = false;
      place = Place::TensorValue;
      return true;
    }
    // Place::Tensor
    field = llvm::StringSwitch<Field>(key)
                .Case("dtype", Field::DType)
                .Case("shape", Field::Shape)
                .Case("data_offsets", Field::Offsets)
                .Default(Field::None);
    if (field == Field::None)
      return fail(where() + "unknown key " + json::quoted(key));
    bool seen = field == Field::DType ? seenDType : field == Field::Shape ? seenShape : seenOffsets;
    if (seen)
      return fail(where() + "\"" + fieldName() + "\" appears twice");
    place = Place::Field;
    if (field == Field::DType)
      return true;
    place = Place::NumbersValue;
    return true;
  }
  bool onStart(bool isObject) override {
    if (place == Place::Document && isObject)
      place = Place::Top;
    else if (place == Place::MetadataValue && isObject)
      place = Place::Metadata;
    else if (place == Place::TensorValue && isObject)
      place = Place::Tensor;
    else if (place == Place::NumbersValue && !isObject)
      place = Place::Numbers;
    else
      return unexpected(isObject ? "an object" : "an array");
    return true;
  }
  bool onEnd(bool) override {
    switch (place) {
    case Place::Metadata:
      place = Place::Top;
      return true;
    case Place::Numbers:
      (field == Field::Shape ? seenShape : seenOffsets) = true;
      place = Place::Tensor;
      return true;
    case Place::Tensor:
      place = Place::Top;
      return finishTensor();
    default:
      return true; // the end of the document
    }
  }

private:
  enum class Place { Document, Top, MetadataValue, Metadata, TensorValue, Tensor, Field, NumbersValue, Numbers };
  enum class Field { None, DType, Shape, Offsets };

  std::string where() const { return "tensor " + json::quoted(name) + ": "; }
  StringRef fieldName() const {
    return field == Field::DType ? "dtype" : field == Field::Shape ? "shape" : "data_offsets";
  }
  bool unexpected(StringRef what) {
    switch (place) {
    case Place::MetadataValue:
    case Place::Metadata:
      return fail("\"__metadata__\" must map strings to strings, found " + Twine(what));
    case Place::TensorValue:
      return fail(where() + "expected an object, found " + what);
    case Place::Field:
      return fail(where() + "\"dtype\" must be a string, found " + what);
    default:
      return fail(where() + "\"" + fieldName() + "\" must be an array of integers, found " + what);
    }
  }

  bool finishTensor() {
    if (!seenDType || !seenShape || !seenOffsets || offsets.size() != 2)
      return fail(where() + "needs \"dtype\", \"shape\" and two \"data_offsets\"");
    std::optional<int64_t> bits = dtypeBits(record.dtype);
    for (int64_t dim : record.shape)
      if (bits)
        bits = llvm::checkedMul(*bits, dim);
    if (!bits)
      return fail(where() + "the size of its shape does not fit into 64 bits");
    if (*bits % 8 != 0)
      return fail(where() + describeTensor(record.dtype, record.shape) + " does not fill whole bytes");
    if (offsets[0] > offsets[1])
      return fail(where() + "\"data_offsets\" end before they begin");
    if (offsets[1] - offsets[0] != *bits / 8)
      return fail(where() + describeTensor(record.dtype, record.shape) + " needs " + Twine(*bits / 8) +
                  " bytes, \"data_offsets\" give it " + Twine(offsets[1] - offsets[0]));
    auto [entry, inserted] = checkpoint.tensors.try_emplace(name, record);
    if (!inserted)
      return fail(where() + (entry->second.file == file
                                 ? std::string("appears twice")
                                 : "is also in " + json::quoted(checkpoint.files[entry->second.file])));
    ranges.push_back({static_cast<uint64_t>(offsets[0]), static_cast<uint64_t>(offsets[1]), entry->first()});
    return true;
  }

  unsigned file;
  Checkpoint &checkpoint;
  Place place = Place::Document;
  Field field = Field::None;
  std::string name;
  TensorRecord record;
  SmallVector<int64_t, 2> offsets;
  bool seenDType = false, seenShape = false, seenOffsets = false, seenMetadata = false;
  size_t metadataSize = 0;
};

/// Events of an index: {"metadata": anything, "weight_map": {NAME: FILE}}; other keys are accepted and skipped.
class IndexHandler : public json::Handler {
public:
  IndexHandler(llvm::StringMap<unsigned> &map, std::vector<std::string> &files) : map(map), files(files) {}

  bool sawMap = false;

  bool onNull() override { return scalar("null"); }
  bool onBool(bool) override { return scalar("a boolean"); }
  bool onNumber(const json::Number &) override { return scalar("a number"); }
  bool onString(std::string &value) override {
    if (!(inMap && depth == 2))
      return scalar("a string");
    // A plain file name: the index must not reach outside its directory.
    if (value.empty() || value.front() == '.' || value.find_first_of("/\\") != std::string::npos ||
        !StringRef(value).ends_with(".safetensors"))
      return fail("tensor " + json::quoted(name) + ": " + json::quoted(value) +
                  " is not the name of a safetensors file in the same directory");
    auto [entry, inserted] = numbers.try_emplace(value, files.size());
    if (inserted)
      files.push_back(value);
    if (!map.try_emplace(name, entry->second).second)
      return fail("tensor " + json::quoted(name) + " appears twice");
    return true;
  }
  bool onKey(std::string &key) override {
    if (depth == 1) {
      inMap = key == "weight_map";
      if (inMap && std::exchange(sawMap, true))
        return fail("\"weight_map\" appears twice");
    }
    if (inMap && key.size() > maxNameSize)
      return fail("a tensor name must have 1 to " + Twine(maxNameSize) + " bytes");
    name = std::move(key);
    return true;
  }
  bool onStart(bool isObject) override {
    if (inMap && (depth == 2 || !isObject))
      return scalar(isObject ? "an object" : "an array");
    ++depth;
    return true;
  }
  bool onEnd(bool) override {
    --depth;
    return true;
  }

private:
  bool scalar(StringRef what) {
    if (!inMap || depth == 0)
      return true;
    return fail(depth == 1 ? "\"weight_map\" must be an object, found " + Twine(what)
                           : "tensor " + json::quoted(name) + ": expected a file name, found " + what);
  }

  llvm::StringMap<unsigned> &map;
  std::vector<std::string> &files;
  llvm::StringMap<unsigned> numbers;
  std::string name;
  unsigned depth = 0;
  bool inMap = false;
};

/// Reads the header of one file.
LogicalResult readHeader(MLIRContext *context, unsigned number, Checkpoint &checkpoint) {
  std::string path = joinPath(checkpoint.directory, checkpoint.files[number]);
  FailureOr<InputFile> file = InputFile::open(context, path);
  if (failed(file))
    return failure();
  if (file->size() < 8)
    return fileError(context, path) << "is not a safetensors file: it has " << file->size()
                                    << " bytes, fewer than the 8 of the header length; the file is truncated";
  FailureOr<std::string> lengthBytes = file->read(context, 0, 8);
  if (failed(lengthBytes))
    return failure();
  uint64_t length = llvm::support::endian::read64le(lengthBytes->data());
  if (length > maxHeaderSize)
    return fileError(context, path) << "is not a safetensors file: its header claims " << length
                                    << " bytes, more than the format allows (" << maxHeaderSize << ")";
  if (length > file->size() - 8)
    return fileError(context, path) << "is truncated: its header has " << length << " bytes, the file only "
                                    << file->size();
  FailureOr<std::string> text = file->read(context, 8, length);
  if (failed(text))
    return failure();
  return parseHeader(context, *text, file->size() - 8 - length, path, number, checkpoint);
}

/// Names of the safetensors files of a directory, sorted.
FailureOr<std::vector<std::string>> listShards(MLIRContext *context, StringRef directory) {
  std::vector<std::string> names;
  std::error_code code;
  fs::directory_iterator it(directory, code), end;
  for (; !code && it != end; it.increment(code)) {
    StringRef name = llvm::sys::path::filename(it->path());
    if (name.ends_with(".safetensors"))
      names.push_back(name.str());
  }
  if (code)
    return fileError(context, directory) << "cannot be listed: " << code.message();
  llvm::sort(names);
  return names;
}

/// At most a few of many names, quoted.
std::string someNames(std::vector<std::string> names) {
  llvm::sort(names);
  constexpr size_t shown = 5;
  std::string text;
  for (const std::string &name : ArrayRef(names).take_front(shown))
    text += (text.empty() ? "" : ", ") + json::quoted(name);
  if (names.size() > shown)
    text += " and " + std::to_string(names.size() - shown) + " more";
  return text;
}

/// Every tensor of the index is in its file, and every tensor of a file is in the index.
LogicalResult checkIndex(MLIRContext *context, StringRef indexPath, const llvm::StringMap<unsigned> &map,
                         const Checkpoint &checkpoint) {
  std::vector<std::string> absent, elsewhere, unlisted;
  for (const auto &entry : map) {
    const TensorRecord *record = checkpoint.find(entry.first());
    if (!record)
      absent.push_back(entry.first().str());
    else if (record->file != entry.second)
      elsewhere.push_back(entry.first().str());
  }
  for (const auto &entry : checkpoint.tensors)
    if (!map.contains(entry.first()))
      unlisted.push_back(entry.first().str());
  if (!absent.empty())
    return fileError(context, indexPath) << "lists tensors that its files do not hold: " << someNames(absent);
  if (!elsewhere.empty())
    return fileError(context, indexPath) << "names the wrong file for " << someNames(elsewhere);
  if (!unlisted.empty())
    return fileError(context, indexPath) << "does not list tensors that its files hold: " << someNames(unlisted);
  return success();
}

} // namespace

StringRef mlir::v4::dtypeName(DType dtype) {
  return dtypes[static_cast<size_t>(dtype)].name;
}
unsigned mlir::v4::dtypeBits(DType dtype) {
  return dtypes[static_cast<size_t>(dtype)].bits;
}

std::string mlir::v4::describeTensor(DType dtype, ArrayRef<int64_t> shape) {
  std::string text = dtypeName(dtype).str() + " [";
  for (auto [index, dim] : llvm::enumerate(shape))
    text += (index ? ", " : "") + std::to_string(dim);
  return text + "]";
}

std::string Checkpoint::pathOf(const TensorRecord &record) const {
  return joinPath(directory, files[record.file]);
}

LogicalResult mlir::v4::parseHeader(MLIRContext *context, StringRef text, uint64_t payloadSize, StringRef path,
                                    unsigned file, Checkpoint &checkpoint) {
  HeaderHandler handler(file, checkpoint);
  json::Error error;
  // The format allows spaces behind the object but nothing before it.
  if (!text.starts_with("{"))
    return fileError(context, path) << "is not a safetensors file: its header must start with '{'";
  if (!json::parse(text, handler, error))
    return contentError(context, path) << "header, byte " << 8 + error.offset << ": " << error.message;

  auto &ranges = handler.ranges;
  llvm::sort(ranges, [](const auto &a, const auto &b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t expected = 0;
  StringRef previous;
  for (const auto &range : ranges) {
    if (range.begin < expected)
      return contentError(context, path) << "the bytes of tensors " << json::quoted(previous) << " and "
                                         << json::quoted(range.name) << " overlap";
    if (range.begin > expected)
      return contentError(context, path) << "bytes " << expected << " to " << range.begin
                                         << " of the payload belong to no tensor";
    expected = range.end;
    previous = range.name;
  }
  if (expected > payloadSize)
    return fileError(context, path) << "is truncated: its tensors need " << expected << " bytes, the payload has "
                                    << payloadSize;
  if (expected < payloadSize)
    return fileError(context, path) << "has " << payloadSize - expected << " bytes behind its last tensor";
  return success();
}

LogicalResult mlir::v4::parseIndex(MLIRContext *context, StringRef text, StringRef path, llvm::StringMap<unsigned> &map,
                                   std::vector<std::string> &files) {
  IndexHandler handler(map, files);
  json::Error error;
  if (!json::parse(text, handler, error)) {
    auto [line, column] = json::lineAndColumn(text, error.offset);
    return emitError(FileLineColLoc::get(context, path, line, column)) << "not a valid index: " << error.message;
  }
  if (!handler.sawMap)
    return contentError(context, path) << "not a valid index: \"weight_map\" is missing";
  return success();
}

FailureOr<std::unique_ptr<Checkpoint>> mlir::v4::readCheckpoint(MLIRContext *context, StringRef directory) {
  auto checkpoint = std::make_unique<Checkpoint>();
  checkpoint->directory = directory.str();
  FailureOr<std::vector<std::string>> shards = listShards(context, directory);
  if (failed(shards))
    return failure();

  std::string indexPath = joinPath(directory, indexName);
  llvm::StringMap<unsigned> map;
  bool hasIndex = fs::exists(indexPath);
  if (hasIndex) {
    FailureOr<std::string> text = readTextFile(context, indexPath, maxIndexSize);
    if (failed(text) || failed(parseIndex(context, *text, indexPath, map, checkpoint->files)))
      return failure();
    for (const std::string &name : checkpoint->files)
      if (!llvm::is_contained(*shards, name))
        return fileError(context, indexPath) << "names the file " << json::quoted(name)
                                             << ", which is not in the directory; the checkpoint is incomplete";
    for (const std::string &name : *shards)
      if (!llvm::is_contained(checkpoint->files, name))
        return fileError(context, joinPath(directory, name))
               << "is not named by " << indexName << "; remove it or repair the index";
  } else if (shards->empty()) {
    return std::unique_ptr<Checkpoint>();
  } else if (shards->size() > 1) {
    return fileError(context, indexPath) << "is missing although the directory has " << shards->size()
                                         << " safetensors files";
  } else {
    checkpoint->files = std::move(*shards);
  }

  for (unsigned number = 0; number < checkpoint->files.size(); ++number)
    if (failed(readHeader(context, number, *checkpoint)))
      return failure();
  if (hasIndex && failed(checkIndex(context, indexPath, map, *checkpoint)))
    return failure();
  return checkpoint;
}
