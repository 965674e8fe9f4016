// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Replays the fuzzing corpus through the targets as an ordinary test, whole, truncated and with single bytes changed.
#include "test/fuzz/Targets.h"

#include <gtest/gtest.h>

#include <dirent.h>
#include <fstream>
#include <random>
#include <sstream>
#include <string>

namespace {

using Target = void (*)(const uint8_t *, size_t);

void replay(const char *name, Target target) {
  std::string directory = std::string(V4_FUZZ_CORPUS) + "/" + name;
  DIR *handle = ::opendir(directory.c_str());
  ASSERT_NE(handle, nullptr) << directory;
  unsigned files = 0;
  while (const dirent *entry = ::readdir(handle)) {
    if (entry->d_name[0] == '.')
      continue;
    std::ifstream stream(directory + "/" + entry->d_name, std::ios::binary);
    std::ostringstream text;
    text << stream.rdbuf();
    std::string bytes = text.str();
    ++files;
    // Copies of the exact size on the heap, so that a sanitizer sees a read past the end.
    auto run = [&](const std::string &input) {
      std::vector<uint8_t> copy(input.begin(), input.end());
      target(copy.data(), copy.size());
    };
    run(bytes);
    for (size_t length = 0; length < bytes.size(); length += 1 + bytes.size() / 200)
      run(bytes.substr(0, length));
    std::mt19937 generator(static_cast<uint32_t>(bytes.size()));
    for (int i = 0; i != 200 && !bytes.empty(); ++i) {
      std::string mutant = bytes;
      mutant[generator() % mutant.size()] = static_cast<char>(generator());
      run(mutant);
    }
  }
  ::closedir(handle);
  EXPECT_GE(files, 3u) << directory;
}

TEST(FuzzCorpus, Module) {
  replay("module", v4::fuzz::module);
}
TEST(FuzzCorpus, Safetensors) {
  replay("safetensors", v4::fuzz::safetensors);
}
TEST(FuzzCorpus, Json) {
  replay("json", v4::fuzz::json);
}
TEST(FuzzCorpus, Index) {
  replay("index", v4::fuzz::index);
}
TEST(FuzzCorpus, Npy) {
  replay("npy", v4::fuzz::npy);
}

} // namespace
