// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the frontend tests share: captured diagnostics, temporary directories, edited configurations, written
// checkpoints.

#ifndef V4_TEST_FRONTEND_TESTSUPPORT_H
#define V4_TEST_FRONTEND_TESTSUPPORT_H

#include "frontend/ImportModel.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/raw_ostream.h"
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace mlir::v4::test {

/// A context that records what it is told.
struct Session {
  Session() {
    context.getDiagEngine().registerHandler([this](Diagnostic &diagnostic) {
      std::string text;
      llvm::raw_string_ostream os(text);
      if (auto loc = dyn_cast<FileLineColLoc>(diagnostic.getLocation()))
        os << loc.getFilename().getValue() << ':' << loc.getLine() << ':' << loc.getColumn() << ": ";
      os << diagnostic.str();
      auto &list = diagnostic.getSeverity() == DiagnosticSeverity::Error     ? errors
                   : diagnostic.getSeverity() == DiagnosticSeverity::Warning ? warnings
                                                                             : remarks;
      list.push_back(text);
      return success();
    });
  }
  MLIRContext context;
  std::vector<std::string> errors, warnings, remarks;

  std::string allErrors() const { return llvm::join(errors, "\n"); }
  /// Exactly one error, which contains every one of these texts.
  void expectError(ArrayRef<StringRef> texts) const {
    EXPECT_EQ(errors.size(), 1u) << allErrors();
    for (StringRef text : texts)
      EXPECT_NE(allErrors().find(text.str()), std::string::npos)
          << "expected: " << text.str() << "\nfound: " << allErrors();
  }
};

class TempDir {
public:
  TempDir() { (void)llvm::sys::fs::createUniqueDirectory("v4-frontend", path); }
  ~TempDir() { (void)llvm::sys::fs::remove_directories(path); }
  std::string str() const { return path.str().str(); }
  std::string file(StringRef name) const { return str() + "/" + name.str(); }
  void write(StringRef name, StringRef text) const {
    std::error_code code;
    llvm::raw_fd_ostream os(file(name), code);
    ASSERT_FALSE(code) << code.message();
    os << text;
  }

private:
  SmallString<128> path;
};

inline std::string readText(const std::string &path) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  EXPECT_TRUE(bool(buffer)) << path;
  return buffer ? (*buffer)->getBuffer().str() : "";
}

inline std::string goldenCheckpoint(StringRef name) {
  return std::string(V4_TEST_GOLDEN) + "/" + name.str() + "/checkpoint";
}

/// A configuration file with some keys set to other JSON values, or removed when the value is empty.
inline std::string editConfig(StringRef name, ArrayRef<std::pair<StringRef, StringRef>> edits = {}) {
  llvm::Expected<llvm::json::Value> root =
      llvm::json::parse(readText(std::string(V4_TEST_CONFIGS) + "/" + name.str() + ".json"));
  EXPECT_TRUE(bool(root));
  llvm::json::Object &object = *root->getAsObject();
  for (auto [key, value] : edits) {
    if (value.empty())
      object.erase(key);
    else
      object[key] = llvm::cantFail(llvm::json::parse(value));
  }
  std::string text;
  llvm::raw_string_ostream(text) << llvm::formatv("{0:2}", *root);
  return text;
}

inline ImportOptions importOptions(int64_t maxContext, ArrayRef<int64_t> prefill = {}) {
  ImportOptions options;
  options.maxContext = maxContext;
  options.prefill.assign(prefill.begin(), prefill.end());
  return options;
}

struct TestTensor {
  std::string name, dtype;
  std::vector<int64_t> shape;
};

inline int64_t tensorBytes(const TestTensor &tensor) {
  int64_t bits = llvm::StringSwitch<int64_t>(tensor.dtype)
                     .Cases({"I64", "F64"}, 64)
                     .Cases({"F32", "I32"}, 32)
                     .Cases({"BF16", "F16"}, 16)
                     .Default(8);
  for (int64_t dim : tensor.shape)
    bits *= dim;
  return bits / 8;
}

/// The header of a shard, without the length in front.
inline std::string headerText(ArrayRef<TestTensor> tensors) {
  std::string text = "{";
  int64_t offset = 0;
  for (const TestTensor &tensor : tensors) {
    std::string shape;
    for (int64_t dim : tensor.shape)
      shape += (shape.empty() ? "" : ",") + std::to_string(dim);
    int64_t end = offset + tensorBytes(tensor);
    text += (offset || text.size() > 1 ? ",\"" : "\"") + tensor.name + "\":{\"dtype\":\"" + tensor.dtype +
            "\",\"shape\":[" + shape + "],\"data_offsets\":[" + std::to_string(offset) + "," + std::to_string(end) +
            "]}";
    offset = end;
  }
  return text + "}";
}

inline std::string withLength(StringRef header) {
  std::string text(8, '\0');
  llvm::support::endian::write64le(text.data(), header.size());
  return text + header.str();
}

/// A shard whose payload is a hole.
inline void writeShard(const TempDir &dir, StringRef name, ArrayRef<TestTensor> tensors) {
  std::string text = withLength(headerText(tensors));
  dir.write(name, text);
  int64_t size = text.size();
  for (const TestTensor &tensor : tensors)
    size += tensorBytes(tensor);
  int fd = 0;
  ASSERT_FALSE(
      llvm::sys::fs::openFileForReadWrite(dir.file(name), fd, llvm::sys::fs::CD_OpenExisting, llvm::sys::fs::OF_None));
  ASSERT_FALSE(llvm::sys::fs::resize_file(fd, size));
  llvm::sys::Process::SafelyCloseFileDescriptor(fd);
}

/// The tensors of a configuration in the official layout.
inline std::vector<TestTensor> officialTensors(Session &session, const Config &config, bool mtp) {
  std::vector<TestTensor> tensors;
  FailureOr<ModelParameters> parameters = resolveParameters(&session.context, config, nullptr, mtp);
  EXPECT_TRUE(succeeded(parameters));
  auto add = [&](const SourceView &view) {
    StringRef name(view.tensor);
    std::vector<int64_t> shape(view.tensorShape.begin(), view.tensorShape.end());
    if (!name.contains("{e}"))
      return tensors.push_back({view.tensor, dtypeName(view.dtype).str(), shape});
    auto [before, after] = name.split("{e}");
    for (int64_t row = 0; row < view.shape[0]; ++row)
      tensors.push_back({(before + llvm::Twine(row) + after).str(), dtypeName(view.dtype).str(), shape});
  };
  for (const Parameter &parameter : parameters->list) {
    add(parameter.weight);
    if (parameter.scale)
      add(*parameter.scale);
  }
  return tensors;
}

inline TestTensor &findTensor(std::vector<TestTensor> &tensors, StringRef name) {
  for (TestTensor &tensor : tensors)
    if (tensor.name == name)
      return tensor;
  ADD_FAILURE() << "no tensor " << name.str();
  return tensors.front();
}

inline void eraseTensor(std::vector<TestTensor> &tensors, StringRef name) {
  findTensor(tensors, name);
  llvm::erase_if(tensors, [&](const TestTensor &tensor) { return tensor.name == name; });
}

} // namespace mlir::v4::test

#endif
