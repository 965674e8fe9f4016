// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// libv4 from outside: it exports the C interface and nothing else, computes no model maths of its own, needs no LLVM,
// and is small together with v4-run.
#include <gtest/gtest.h>

#include <cstdio>
#include <set>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace {

std::string output(const std::string &command) {
  std::string text;
  FILE *pipe = ::popen(command.c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  char buffer[4096];
  while (size_t count = std::fread(buffer, 1, sizeof buffer, pipe))
    text.append(buffer, count);
  EXPECT_EQ(::pclose(pipe), 0) << command;
  return text;
}

/// The last word of every line, without its version.
std::set<std::string> symbols(const std::string &text) {
  std::set<std::string> out;
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find('\n', at);
    std::string line = text.substr(at, end - at);
    line = line.substr(line.rfind(' ') + 1);
    out.insert(line.substr(0, line.find('@')));
    at = end == std::string::npos ? text.size() : end + 1;
  }
  return out;
}

TEST(Library, ExportsTheInterfaceOnly) {
  if (V4_INSTRUMENTED)
    GTEST_SKIP() << "instrumentation adds symbols";
  std::set<std::string> names = symbols(output(std::string(V4_NM) + " -D --defined-only " V4_LIBRARY));
  EXPECT_GE(names.size(), 20u);
  for (const std::string &name : names)
    EXPECT_TRUE(name.starts_with("v4_")) << name;
}

TEST(Library, ComputesNoModelMaths) {
  // Every float operation of a model is in a module's kernels; exp belongs to the softmax of sampling.
  const std::set<std::string> allowed = {"exp"};
  std::set<std::string> names = symbols(output(std::string(V4_NM) + " -D --undefined-only " V4_LIBRARY));
  for (const char *base : {"exp", "exp2", "expm1", "log", "log1p", "log2", "sin", "cos", "sincos", "tanh", "pow",
                           "sqrt", "erf", "fma", "cblas_sgemm"})
    for (const char *suffix : {"", "f", "l"})
      EXPECT_TRUE(!names.contains(std::string(base) + suffix) || allowed.contains(std::string(base) + suffix))
          << base << suffix;
  EXPECT_TRUE(names.contains("exp")) << "the list of imports was read";
}

TEST(Library, NeedsNoLlvm) {
  for (const char *binary : {V4_LIBRARY, V4_RUN}) {
    std::string needed = output(std::string(V4_READELF) + " -d " + binary);
    EXPECT_NE(needed.find("libc.so"), std::string::npos);
    for (const char *library : {"LLVM", "MLIR"})
      EXPECT_EQ(needed.find(library), std::string::npos) << needed;
  }
}

TEST(Library, IsSmall) {
  if (V4_INSTRUMENTED)
    GTEST_SKIP() << "instrumentation adds code";
  off_t total = 0;
  for (const char *binary : {V4_LIBRARY, V4_RUN}) {
    std::string stripped = ::testing::TempDir() + "/v4-stripped-" + std::to_string(::getpid());
    output(std::string(V4_STRIP) + " -o " + stripped + " " + binary);
    struct stat info = {};
    EXPECT_EQ(::stat(stripped.c_str(), &info), 0);
    ::unlink(stripped.c_str());
    EXPECT_GT(info.st_size, 10000);
    total += info.st_size;
  }
  EXPECT_LT(total, 2 << 20);
}

} // namespace
