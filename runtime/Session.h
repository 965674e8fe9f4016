// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A sequence per slot: state buffers, scratch memory, and the walk through the launch lists. Used by one thread at a
// time.
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

  uint32_t slotCount() const { return module->slots(); }
  void reset(uint32_t slot);
  Status append(uint32_t slot, std::span<const int32_t> tokens);
  /// One token of every slot, or `noToken`.
  Status step(std::span<const int32_t> tokens);
  static constexpr int32_t noToken = -1;
  uint64_t position(uint32_t slot) const { return slots[slot].length; }
  const float *logits(uint32_t slot) const { return slots[slot].haveLogits ? slots[slot].lastLogits.data() : nullptr; }
  bool mtpActive(uint32_t slot) const { return model().mtp() && slots[slot].mtpReady; }

  Status save(uint32_t slot, const std::string &path) const;
  Status load(uint32_t slot, const std::string &path);
  /// As if a file of `tokens` tokens had been loaded. Leaves an empty slot behind on failure.
  Status fill(uint32_t slot, uint64_t tokens, const StateReader &reader);

private:
  struct Slot {
    uint64_t length = 0;
    std::vector<float> lastLogits;
    std::vector<std::byte> lastHidden; // residual of the newest token: the MTP block is one token behind
    bool haveLogits = false;
    bool mtpReady = true;
  };
  /// What an entry call takes of one slot: tokens from position `start` on, in the rows from `row` on.
  struct Feed {
    uint32_t slot;
    uint64_t start;
    std::span<const int32_t> tokens;
    uint32_t row = 0;
  };
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
    std::vector<std::pair<uint32_t, uint32_t>> stateBindings; // numbers of a binding and of its state
    uint32_t slot = 0;                                        // whose state the bindings of a prefill entry are
    std::vector<PreparedTap> taps;                            // ordered by launch
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
  Status checkTokens(uint32_t slot, std::span<const int32_t> tokens) const;
  PreparedEntry &pick(bool mtp, uint64_t tokens);
  void run(std::span<Feed> feeds);
  void runMtp(std::span<const Feed> feeds);
  /// Element type of the residual between the main entries and those of the MTP block.
  fbs::DType hiddenType() const;
  size_t hiddenFloats() const { return size_t(model().streams()) * model().hidden_size(); }
  void bindSlot(PreparedEntry &entry, uint32_t slot);
  void runEntry(PreparedEntry &entry, std::span<Feed> feeds);
  const float *logitsOf(const PreparedEntry &entry, const Feed &feed, size_t token) const;
  void reportLogits(const PreparedEntry &entry, std::span<const Feed> feeds);
  void reportTaps(const PreparedEntry &entry, size_t &next, uint32_t launch, std::span<const Feed> feeds);
  std::byte *stateOf(size_t state, uint32_t slot) const;
  StateView view(const fbs::State &state, uint64_t tokens) const;
  std::vector<TensorInfo> stateTensors(uint32_t slot, uint64_t tokens) const;
  Status fillState(size_t index, uint32_t slot, uint64_t tokens, const StateReader &reader);
  Status loadState(uint32_t slot, const SafetensorsFile &file);

  std::shared_ptr<const Module> module;
  std::shared_ptr<const Weights> weights;
  Options options;
  ThreadPool pool;
  std::vector<PreparedEntry> entries;
  Pages stateMemory;
  std::vector<std::byte *> states; // in stateMemory, one per state of the module: its slots one behind the other
  std::vector<Slot> slots;
  Pages arena;
  // Inputs and outputs, shared by all entries.
  Pages tokenRows, positionRows, spanRows, hiddenIn, hiddenOut, logitsOut;
  uint64_t epoch = 0; // nanoseconds of the steady clock at creation
};

/// "entry/launch" that runs now in this process, or "".
const char *currentLaunch();

} // namespace v4

#endif // V4_RUNTIME_SESSION_H
