// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A toy module and its checkpoint, for tests: small enough to mutate byte by byte, complete enough that every part of
// the runtime has something to do. The expected values come from Reference, which knows no state, ring or chunk: it
// recomputes each token from the whole history.
#ifndef V4_TEST_RUNTIME_FIXTURE_H
#define V4_TEST_RUNTIME_FIXTURE_H

#include "runtime/ModuleVerify.h"
#include "runtime/Safetensors.h"
#include "runtime/v4.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

namespace v4::test {

constexpr int toyVocab = 32, toyWidth = 8, toyStreams = 2, toyContext = 40;

/// A directory that goes away with the object.
class TempDir {
public:
  TempDir();
  ~TempDir();
  std::string operator/(const std::string &name) const { return path + "/" + name; }
  std::string path;
};

std::string readText(const std::string &path);
void writeText(const std::string &path, std::string_view bytes);
inline Bytes bytesOf(std::string_view text) {
  return {reinterpret_cast<const std::byte *>(text.data()), text.size()};
}

struct TensorData {
  std::string name, dtype;
  std::vector<uint64_t> shape;
  std::string bytes;
};
TensorData floatTensor(std::string name, std::vector<uint64_t> shape, const std::vector<float> &values);
/// The bytes of a safetensors file, in the given order; only the shapes are trusted.
std::string safetensorsFile(const std::vector<TensorData> &tensors);

/// The toy's weights as plain numbers.
struct ToyWeights {
  std::vector<float> embedding;  // [vocab, width]
  std::vector<float> experts[4]; // [width] each, one tensor per expert
  std::vector<float> stacked;    // [4, 2, width], row 1 of each is used
  std::vector<uint16_t> bias;    // [width], bf16
  std::vector<float> head;       // [vocab, width]
  static ToyWeights random(uint32_t seed);
};

/// Two shards and an index. A family that the module ignores is in it too, of odd length, so that the tensors behind it
/// are not aligned.
struct ToyCheckpoint {
  std::vector<TensorData> shards[2];
  static ToyCheckpoint make(const ToyWeights &weights);
  void write(const std::string &directory) const;
};

struct ToyOptions {
  bool logitsAll = true;
  bool mtp = true;
  uint64_t maxContext = toyContext;
  std::vector<uint32_t> buckets = {4, 8};
  uint32_t slots = 1;
  bool gpu = false; // targets nvptx:sm_90a and emu:sm_90a too
};

/// The module as an editable tree.
std::unique_ptr<fbs::ModuleT> toyModule(const ToyOptions &options = {});
/// A complete module file, header and checksum included.
std::string moduleBytes(const fbs::ModuleT &module);
/// A module file around a payload of any kind.
std::string withHeader(std::string_view payload);

/// What the toy must compute.
class Reference {
public:
  explicit Reference(const ToyWeights &weights) : weights(weights) {}
  /// Logits after every token.
  std::vector<std::vector<float>> logits(const std::vector<int32_t> &tokens) const;
  /// Of the MTP block, one row less.
  std::vector<std::vector<float>> mtpLogits(const std::vector<int32_t> &tokens) const;
  /// The residual before the head.
  std::vector<std::vector<float>> hidden(const std::vector<int32_t> &tokens) const;

private:
  std::vector<float> project(const std::vector<float> &row) const;
  const ToyWeights &weights;
};

std::vector<int32_t> randomTokens(uint32_t seed, size_t count);

/// Owns a status of the C interface.
struct CStatus {
  explicit CStatus(v4_status *status) : status(status) {}
  CStatus(const CStatus &) = delete;
  ~CStatus() { v4_status_free(status); }
  v4_code code() const { return v4_status_code(status); }
  std::string message() const { return v4_status_message(status); }
  v4_status *status;
};

} // namespace v4::test

#define EXPECT_V4_OK(call)                                                                                             \
  do {                                                                                                                 \
    ::v4::test::CStatus v4Result(call);                                                                                \
    EXPECT_EQ(v4Result.code(), V4_OK) << v4Result.message();                                                           \
  } while (false)
#define ASSERT_V4_OK(call)                                                                                             \
  do {                                                                                                                 \
    ::v4::test::CStatus v4Result(call);                                                                                \
    ASSERT_EQ(v4Result.code(), V4_OK) << v4Result.message();                                                           \
  } while (false)
/// The call fails with that code and a message that contains the text.
#define EXPECT_V4_FAILS(call, wantedCode, text)                                                                        \
  do {                                                                                                                 \
    ::v4::test::CStatus v4Result(call);                                                                                \
    EXPECT_EQ(v4Result.code(), wantedCode) << v4Result.message();                                                      \
    EXPECT_NE(v4Result.message().find(text), std::string::npos) << v4Result.message();                                 \
  } while (false)

#endif // V4_TEST_RUNTIME_FIXTURE_H
