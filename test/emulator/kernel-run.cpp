// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// kernel-run IMAGE WORDS [--seed=N] [--races=off] [--threads=N] [--time] [--repeat=N]: runs one kernel of an image on the emulator and compares what it
// leaves (Launch.h has the words).
// kernel-run PTX WORDS --device=cuda[:N]: the same on a GPU.
// Exit code 1 for a fault, which is printed, 2 for a wrong result, 3 for a bad command, or no GPU that can run it.

#include "Launch.h"
#include "emulator/v4emu.h"

#include <cstdio>
#include <cstdlib>
#include <span>

using namespace v4::test;

int main(int argc, char **argv) {
  LaunchText launch;
  EmulatorOptions options;
  bool time = false;
  std::string image;
  int gpu = -1;
  for (int i = 1; i != argc; ++i) {
    std::string word = argv[i];
    if (word.rfind("--seed=", 0) == 0)
      options.seed = std::strtoull(word.c_str() + 7, nullptr, 10);
    else if (word == "--races=off")
      options.races = false;
    else if (word.rfind("--threads=", 0) == 0)
      options.threads = unsigned(std::strtoul(word.c_str() + 10, nullptr, 10));
    else if (word.rfind("--repeat=", 0) == 0)
      options.repeat = unsigned(std::strtoul(word.c_str() + 9, nullptr, 10));
    else if (word == "--device=cuda" || word.rfind("--device=cuda:", 0) == 0)
      gpu = word.size() > 14 ? std::atoi(word.c_str() + 14) : 0;
    else if (word == "--time")
      time = true;
    else if (image.empty())
      image = word;
    else if (!launch.parse(word))
      return 3;
  }
  std::vector<char> bytes;
  if (!readFile(image, bytes))
    return 3;
  std::vector<std::vector<char>> results;
  std::string report, statistics;
  double seconds = 0;
  int status = gpu >= 0 ? runOnCuda(bytes, launch, unsigned(gpu), results, report)
                        : runOnEmulator(v4::Bytes(reinterpret_cast<const std::byte *>(bytes.data()), bytes.size()), launch, options, results,
                                        report, &seconds, &statistics);
  if (status != V4_EMU_OK) {
    std::printf("%s: %s\n", status == V4_EMU_FAULT ? "fault" : "error", report.c_str());
    return gpu >= 0 && status != V4_EMU_FAULT ? 3 : 1;
  }
  print(launch, results);
  if (time)
    std::printf("%.3f ms, %s\n", seconds * 1e3, statistics.c_str());
  return check(launch, results) ? 0 : 2;
}
