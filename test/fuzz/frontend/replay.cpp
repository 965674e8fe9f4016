// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs a fuzz target over the files of its corpus, for builds without libFuzzer.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv) {
  unsigned count = 0;
  for (int i = 1; i < argc; ++i) {
    std::error_code code;
    for (const auto &entry : std::filesystem::directory_iterator(argv[i], code)) {
      std::ifstream file(entry.path(), std::ios::binary);
      std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
      LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t *>(text.data()), text.size());
      ++count;
    }
  }
  std::printf("%u inputs\n", count);
  // An empty corpus would make this test pass without running anything.
  return count == 0;
}
