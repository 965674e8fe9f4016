// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One launch of one kernel, described by words, for tests on the emulator and on a GPU.
//
//   kernel=NAME grid=X[,Y[,Z]] block=X[,Y[,Z]] shared=BYTES
//   in=NAME:FILE         a binding with the bytes of a file
//   zero=NAME:BYTES      ... of zeros;  poison=NAME:BYTES of 0xFF (a NaN);  iota=NAME:COUNT the 32-bit numbers 0, 1, ...
//   random=NAME:TYPE:COUNT   ... small random numbers of a type, whose products add up exactly: f32, bf16, f16, e4m3, e8m0, i8, i32; or integers
//                        below a bound, as in below16 (32 bits)
//   expect=NAME:FILE     after the launch the binding must have the bytes of the file; expect=NAME:FILE:X compares f32 values within X of
//                        the largest one
//   print=NAME:TYPE      prints it: i32, f32 or bytes
//   @FILE                reads words from a file; the files that it names lie beside it
//
// Bindings are the kernel's parameters in the order in which they are named.
#ifndef V4_TEST_EMULATOR_LAUNCH_H
#define V4_TEST_EMULATOR_LAUNCH_H

#include "runtime/FileIo.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace v4::test {

struct Binding {
  std::string name;
  std::vector<char> initial, expected;
  bool compared = false;
  double tolerance = -1; // negative: bit for bit
  std::string print;
};

struct LaunchText {
  std::string kernel;
  uint32_t grid[3] = {1, 1, 1}, block[3] = {1, 1, 1}, shared = 0;
  std::vector<Binding> bindings;
  std::string folder;

  /// False with a message on stderr.
  bool parse(const std::string &word);
};

/// Compares with what is expected; says on stderr where they differ first. NaN equals nothing but the same bits.
bool check(const LaunchText &launch, const std::vector<std::vector<char>> &results);
void print(const LaunchText &launch, const std::vector<std::vector<char>> &results);

bool readFile(const std::string &path, std::vector<char> &out);

struct EmulatorOptions {
  uint64_t seed = 0;
  bool races = true;
  unsigned threads = 0;
  unsigned repeat = 1; // launches; the time is that of the shortest
};

/// Runs the launch from an image's bytes. The bindings lie in one allocation, 4 KiB apart. Returns a status of v4emu.h; `report` says
/// what is wrong, `seconds` how long it took.
int runOnEmulator(Bytes image, const LaunchText &launch, const EmulatorOptions &options, std::vector<std::vector<char>> &results,
                  std::string &report, double *seconds = nullptr, std::string *statistics = nullptr);

/// Runs the launch on a GPU from PTX, each binding in an allocation of its own. V4_EMU_OK, V4_EMU_FAULT when the kernel faults (`report` is
/// the driver's word for it), V4_EMU_INVALID without a driver or a GPU that takes the PTX, or when something else fails.
int runOnCuda(const std::vector<char> &ptx, const LaunchText &launch, unsigned ordinal, std::vector<std::vector<char>> &results,
              std::string &report);

} // namespace v4::test

#endif
