// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One sequence: state buffers, scratch memory, and the walk through the launch lists. Used by one thread at a time.
#ifndef V4_RUNTIME_SESSION_H
#define V4_RUNTIME_SESSION_H

#include "runtime/Safetensors.h"
#include "runtime/ThreadPool.h"
#include "runtime/Weights.h"

#include <functional>
#include <span>

namespace v4 {

class Session {
public:
  struct Options {
    uint32_t threads = 0; // 0: all available
    uint32_t chunk = 0;   // 0: the largest entry
    bool poison = false;
    std::vector<std::string> taps;
    v4_observer observer{};
  };

  /// Elements first .. first + count of state tensor `name` in its logical shape.
  using StateReader = std::function<void(const std::string &name, uint64_t first, size_t count, float *out)>;

  static Expected<std::unique_ptr<Session>> create(std::shared_ptr<const Module> module,
                                                   std::shared_ptr<const Weights> weights, Options options);

  void reset();
  Status append(std::span<const int32_t> tokens);
  uint64_t position() const { return length; }
  const float *logits() const { return haveLogits ? lastLogits.data() : nullptr; }
  bool mtpActive() const { return model().mtp() && mtpReady; }

  Status save(const std::string &path) const;
  Status load(const std::string &path);
  /// As if a file of `tokens` tokens had been loaded. Leaves an empty session behind on failure.
  Status fill(uint64_t tokens, const StateReader &reader);

private:
  /// An entry with every address resolved: running it touches no metadata.
  struct PreparedLaunch {
    const fbs::Launch *launch;
    const std::vector<Module::Phase> *phases;
    uint32_t firstBinding; // in PreparedEntry::bindings
    uint64_t bytes;
    bool bytesIsBound;
  };
  struct PreparedTap {
    const fbs::Tap *tap;
    const std::byte *data;
    std::vector<uint64_t> rowShape;
    size_t rowBytes;
  };
  struct PreparedEntry {
    const fbs::Entry *entry;
    std::vector<PreparedLaunch> launches;
    std::vector<void *> bindings;
    std::vector<PreparedTap> taps; // ordered by launch
  };
  /// Where a state tensor stands after `length` tokens: rows that hold something, and the shape in a file.
  struct StateView {
    uint64_t rows, columns;      // of the file
    uint64_t liveBegin, liveEnd; // the part that holds something,
    uint64_t tailBegin, tailEnd; // and a second one: the current block of an overlapping compressor
    float filler;                // what the other rows hold
    bool live(uint64_t row) const { return (row >= liveBegin && row < liveEnd) || (row >= tailBegin && row < tailEnd); }
  };

  explicit Session(Options options) : options(std::move(options)) {}
  const fbs::Model &model() const { return module->model(); }
  const fbs::State &stateInfo(size_t i) const { return *module->root().states()->Get(static_cast<uint32_t>(i)); }

  Status allocate();
  Status selectTaps();
  void prepare(const fbs::Entry &entry);
  std::byte *address(const fbs::Entry &entry, const fbs::Binding &binding) const;
  const PreparedEntry &pick(bool mtp, uint64_t tokens) const;
  void runChunk(std::span<const int32_t> tokens);
  void runMtp(std::span<const int32_t> tokens);
  /// Element type of the residual between the main entries and those of the MTP block.
  fbs::DType hiddenType() const;
  size_t hiddenFloats() const { return size_t(model().streams()) * model().hidden_size(); }
  void runEntry(const PreparedEntry &entry, std::span<const int32_t> tokens, uint64_t start);
  void reportLogits(uint64_t start, size_t rows, bool mtp);
  void reportTaps(const PreparedEntry &entry, size_t &next, uint32_t launch, uint64_t start, size_t rows);
  StateView view(const fbs::State &state, uint64_t tokens) const;
  std::vector<TensorInfo> stateTensors(uint64_t tokens) const;
  Status fillState(size_t index, uint64_t tokens, const StateReader &reader);
  Status loadState(const SafetensorsFile &file);

  std::shared_ptr<const Module> module;
  std::shared_ptr<const Weights> weights;
  Options options;
  ThreadPool pool;
  std::vector<PreparedEntry> entries;
  Pages stateMemory;
  std::vector<std::byte *> states; // in stateMemory, one per state of the module
  Pages arena;
  // Inputs and outputs, shared by all entries.
  Pages tokenRows, positionRows, spanPair, hiddenIn, hiddenOut, logitsOut;
  std::vector<float> lastLogits;
  std::vector<std::byte> lastHidden; // residual of the newest token: the MTP block is one token behind
  bool haveLogits = false;
  bool mtpReady = true;
  uint64_t length = 0;
  uint64_t epoch = 0; // nanoseconds of the steady clock at creation
};

/// "entry/launch" that runs now in this process, or "".
const char *currentLaunch();

} // namespace v4

#endif // V4_RUNTIME_SESSION_H
