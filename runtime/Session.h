// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A sequence per slot: state buffers, scratch memory, and the walk through the launch lists. Used by one thread at a
// time.
#ifndef V4_RUNTIME_SESSION_H
#define V4_RUNTIME_SESSION_H

#include "runtime/Safetensors.h"
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
    uint64_t emuOrder = 0; // QueueOptions
    bool emuRaces = true;
    std::vector<std::string> taps;
    v4_observer observer{};
  };

  /// Elements first .. first + count of state tensor `name` in its logical shape.
  using StateReader = std::function<void(const std::string &name, uint64_t first, size_t count, float *out)>;

  static Expected<std::unique_ptr<Session>> create(std::shared_ptr<const Module> module,
                                                   std::shared_ptr<const Weights> weights, Options options);

  uint32_t slotCount() const { return module->slots(); }
  /// Fails only where the memory is that of another device.
  Status reset(uint32_t slot);
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
    std::string damage; // why the state is unusable, after a run that failed; empty: it is not
  };
  /// What an entry call takes of one slot: tokens from position `start` on, in the rows from `row` on.
  struct Feed {
    uint32_t slot;
    uint64_t start;
    std::span<const int32_t> tokens;
    uint32_t row = 0;
  };
  /// What the observer is told of a launch.
  struct LaunchCost {
    uint64_t bytes;
    bool bytesIsBound;
    uint32_t workgroups;
  };
  struct PreparedTap {
    const fbs::Tap *tap;
    const std::byte *data; // on the device
    std::vector<uint64_t> rowShape;
    size_t rowBytes;
  };
  struct PreparedEntry {
    const fbs::Entry *entry;
    Program program;
    std::vector<LaunchCost> costs;
    std::vector<std::pair<uint32_t, uint32_t>> stateBindings; // numbers of a binding and of its state
    RunHooks hooks;
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

  /// A buffer that the host and the entries share: the same bytes if the device shares the host's memory.
  struct Buffer {
    std::byte *host = nullptr, *device = nullptr;
    uint64_t bytes = 0;
  };

  Device &device() const { return module->device(); }
  Status allocate();
  Status selectTaps();
  void prepare(const fbs::Entry &entry);
  void addHooks(PreparedEntry &prepared);
  std::byte *address(const fbs::Entry &entry, const fbs::Binding &binding) const;
  uint64_t extent(const fbs::Binding &binding) const;
  Status checkTokens(uint32_t slot, std::span<const int32_t> tokens) const;
  PreparedEntry &pick(bool mtp, uint64_t tokens);
  Status run(std::span<Feed> feeds);
  Status runMtp(std::span<const Feed> feeds);
  /// Element type of the residual between the main entries and those of the MTP block.
  fbs::DType hiddenType() const;
  size_t hiddenFloats() const { return size_t(model().streams()) * model().hidden_size(); }
  void bindSlot(PreparedEntry &entry, uint32_t slot);
  Status runEntry(PreparedEntry &entry, std::span<Feed> feeds);
  const float *logitsOf(const PreparedEntry &entry, const Feed &feed, size_t token) const;
  void reportLogits(const PreparedEntry &entry, std::span<const Feed> feeds);
  Status reportTaps(const PreparedEntry &entry, uint32_t launch);
  void reportLaunch(const PreparedEntry &entry, uint32_t launch, uint64_t begin, uint64_t duration);
  Status checkState(uint32_t slot) const;
  /// On the device.
  std::byte *stateOf(size_t state, uint32_t slot) const;
  StateView view(const fbs::State &state, uint64_t tokens) const;
  std::vector<TensorInfo> stateTensors(uint32_t slot, uint64_t tokens) const;
  Status fillState(size_t index, uint32_t slot, uint64_t tokens, const StateReader &reader);
  Status loadState(uint32_t slot, const SafetensorsFile &file);

  std::shared_ptr<const Module> module;
  std::shared_ptr<const Weights> weights;
  Options options;
  std::unique_ptr<DeviceMemory> stateMemory, arena, io, staging; // staging: of the host, for io
  std::vector<std::byte *> states; // in stateMemory, one per state of the module: its slots one behind the other
  std::vector<Slot> slots;
  // Inputs and outputs in io, shared by all entries. The first three lie together: rowBytes bytes from tokenRows on.
  Buffer tokenRows, positionRows, spanRows, hiddenIn, hiddenOut, logitsOut;
  uint64_t rowBytes = 0;
  std::vector<PreparedEntry> entries;
  std::span<const Feed> running; // the feeds of the run that the hooks report
  std::vector<std::byte> tapBytes;
  uint64_t epoch = 0; // nanoseconds of the steady clock at creation
  std::unique_ptr<Queue> queue; // goes first: it may hold on to entries and memory
};

} // namespace v4

#endif // V4_RUNTIME_SESSION_H
