// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Splits a prompt into entry calls, fills their inputs, runs their launches, and keeps the state between calls.
#include "runtime/Session.h"
#include "runtime/StateRows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <xmmintrin.h>

namespace v4 {
namespace {

using fbs::BindingKind;
using fbs::EntryKind;
using fbs::StateKind;

/// Rounding and denormals as IEEE has them while kernels run, whatever the host program set: results must not depend on
/// a library that was linked with fast-math. Threads of the pool inherit the mode of their creator.
class FloatMode {
public:
  FloatMode() : saved(_mm_getcsr()) { _mm_setcsr(0x1F80); }
  ~FloatMode() { _mm_setcsr(saved); }
  FloatMode(const FloatMode &) = delete;
  FloatMode &operator=(const FloatMode &) = delete;

private:
  unsigned saved;
};

/// '*' stands for any text without '.'.
bool matchesPattern(std::string_view pattern, std::string_view name) {
  if (pattern.empty())
    return name.empty();
  if (pattern[0] != '*')
    return !name.empty() && pattern[0] == name[0] && matchesPattern(pattern.substr(1), name.substr(1));
  for (size_t taken = 0;; ++taken) {
    if (matchesPattern(pattern.substr(1), name.substr(taken)))
      return true;
    if (taken == name.size() || name[taken] == '.')
      return false;
  }
}

bool isMtp(const fbs::Entry &entry) {
  return entry.kind() == EntryKind::MtpDecode || entry.kind() == EntryKind::MtpPrefill;
}

bool isDecode(const fbs::Entry &entry) {
  return entry.kind() == EntryKind::Decode || entry.kind() == EntryKind::MtpDecode;
}

constexpr uint64_t stateAlignment = 64, bufferAlignment = 4096;
/// Bytes of a state that travel at once.
constexpr uint64_t pieceBytes = uint64_t(1) << 20;

uint64_t alignUp(uint64_t bytes, uint64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

} // namespace

Expected<std::unique_ptr<Session>> Session::create(std::shared_ptr<const Module> module,
                                                   std::shared_ptr<const Weights> weights, Options options) {
  if (weights->module() != module)
    return misuse("the weights were loaded for another module");
  std::unique_ptr<Session> session(new Session(std::move(options)));
  session->module = std::move(module);
  session->weights = std::move(weights);
  session->epoch = steadyNow();
  V4_RETURN_IF_ERROR(session->selectTaps());
  V4_RETURN_IF_ERROR(session->allocate());
  for (const fbs::Entry *entry : *session->module->target().entries())
    session->prepare(*entry);
  for (PreparedEntry &entry : session->entries)
    session->addHooks(entry);
  FloatMode mode;
  QueueOptions queueOptions;
  queueOptions.threads = session->options.threads;
  queueOptions.emuOrder = session->options.emuOrder;
  queueOptions.emuRaces = session->options.emuRaces;
  Expected<std::unique_ptr<Queue>> queue = session->device().createQueue(queueOptions);
  V4_RETURN_IF_ERROR(queue);
  session->queue = std::move(*queue);
  return session;
}

Status Session::selectTaps() {
  for (const std::string &pattern : options.taps) {
    bool found = false;
    for (const fbs::Entry *entry : *module->target().entries())
      for (size_t i = 0; entry->taps() && i != entry->taps()->size(); ++i)
        found |= matchesPattern(pattern, entry->taps()->Get(i)->name()->string_view());
    if (!found)
      return invalid("the module has no value named '", pattern,
                     "' that crosses kernels; compile it with --plan=none "
                     "to see values that were fused away, and see v4-dump for the names");
  }
  return {};
}

Status Session::allocate() {
  auto take = [&](std::unique_ptr<DeviceMemory> &memory, uint64_t bytes, std::string_view what) -> Status {
    Expected<std::unique_ptr<DeviceMemory>> allocated = device().allocate(bytes, what);
    V4_RETURN_IF_ERROR(allocated);
    memory = std::move(*allocated);
    return {};
  };
  uint64_t total = 0;
  std::vector<uint64_t> offsets;
  for (size_t i = 0; i != module->stateCount(); ++i) {
    offsets.push_back(total);
    uint64_t bytes = arrayBytes(stateInfo(i).dtype(), *stateInfo(i).shape()) * slotCount();
    total += alignUp(bytes, stateAlignment);
  }
  V4_RETURN_IF_ERROR(take(stateMemory, total, "the state"));
  for (uint64_t offset : offsets)
    states.push_back(stateMemory->data() + offset);
  V4_RETURN_IF_ERROR(take(arena, module->arenaBytes(), "the arena"));

  uint64_t hiddenBytes = hiddenType() == fbs::DType::BF16 ? 2 : 4;
  uint64_t rows = module->maxRows(), hidden = model().mtp() ? hiddenFloats() * hiddenBytes : 0;
  std::pair<Buffer *, uint64_t> buffers[] = {
      {&tokenRows, rows * 4},
      {&positionRows, rows * 4},
      {&spanRows, uint64_t(slotCount()) * 8},
      {&hiddenIn, rows * hidden},
      {&hiddenOut, rows * hidden},
      {&logitsOut, uint64_t(module->logitsRows()) * model().vocab_size() * 4}};
  uint64_t ioBytes = 0;
  for (auto [buffer, bytes] : buffers) {
    ioBytes = alignUp(ioBytes, bytes < bufferAlignment ? stateAlignment : bufferAlignment);
    buffer->device = reinterpret_cast<std::byte *>(ioBytes); // an offset, until the memory is there
    buffer->bytes = bytes;
    ioBytes += bytes;
    if (buffer == &spanRows)
      rowBytes = ioBytes;
  }
  V4_RETURN_IF_ERROR(take(io, ioBytes, "inputs and outputs"));
  std::byte *host = io->data();
  if (!device().sharesHostMemory()) {
    Expected<std::unique_ptr<DeviceMemory>> allocated = device().allocateStaging(ioBytes, "inputs and outputs");
    V4_RETURN_IF_ERROR(allocated);
    staging = std::move(*allocated);
    host = staging->data();
  }
  for (auto [buffer, bytes] : buffers) {
    uint64_t offset = reinterpret_cast<uintptr_t>(buffer->device);
    buffer->host = host + offset;
    buffer->device = io->data() + offset;
  }

  slots.resize(slotCount());
  for (uint32_t i = 0; i != slotCount(); ++i) {
    slots[i].lastLogits.resize(model().vocab_size());
    slots[i].lastHidden.resize(hidden);
    V4_RETURN_IF_ERROR(reset(i));
  }
  return {};
}

std::byte *Session::stateOf(size_t state, uint32_t slot) const {
  return states[state] + slot * arrayBytes(stateInfo(state).dtype(), *stateInfo(state).shape());
}

Status Session::reset(uint32_t slot) {
  Slot &empty = slots[slot];
  std::fill(empty.lastHidden.begin(), empty.lastHidden.end(), std::byte(0));
  empty.length = 0;
  empty.haveLogits = false;
  empty.mtpReady = true;
  for (size_t i = 0; i != states.size(); ++i) {
    const fbs::State &state = stateInfo(i);
    constexpr uint32_t minusInfinity = 0xFF800000; // float32
    uint32_t pattern = state.kind() == StateKind::ScoreRows ? minusInfinity : 0;
    Status status = device().fill(stateOf(i, slot), arrayBytes(state.dtype(), *state.shape()), pattern);
    if (!status.ok()) {
      empty.damage = status.message();
      return status;
    }
  }
  empty.damage.clear();
  return {};
}

/// Whether the slot's state is that of its tokens.
Status Session::checkState(uint32_t slot) const {
  if (slots[slot].damage.empty())
    return {};
  return environment("the state", slotCount() > 1 ? concat(" of slot ", slot) : std::string(),
                     " is lost since a run failed (", slots[slot].damage,
                     "); empty the slot, or load a state that was saved before");
}

std::byte *Session::address(const fbs::Entry &entry, const fbs::Binding &binding) const {
  std::byte *base = nullptr;
  switch (binding.kind()) {
  case BindingKind::Arena:
    base = arena->data();
    break;
  case BindingKind::Parameter:
    base = const_cast<std::byte *>(weights->parameter(binding.index()).base);
    break;
  case BindingKind::TableOffsets:
    base = const_cast<std::byte *>(weights->parameter(binding.index()).table);
    break;
  case BindingKind::State:
    base = states[binding.index()];
    break;
  case BindingKind::Input: {
    std::string_view name = entry.inputs()->Get(binding.index())->name()->string_view();
    base = (name == "tokens"      ? tokenRows
            : name == "positions" ? positionRows
            : name == "span"      ? spanRows
                                  : hiddenIn)
               .device;
    break;
  }
  case BindingKind::Output:
    base =
        (entry.outputs()->Get(binding.index())->name()->string_view() == "logits" ? logitsOut : hiddenOut).device;
    break;
  }
  return base + binding.offset();
}

/// Bytes that a kernel may touch from the address on; of a table all from its lowest to the end of its highest row.
uint64_t Session::extent(const fbs::Binding &binding) const {
  if (binding.kind() != BindingKind::Parameter || binding.bytes() != 0)
    return binding.bytes();
  const fbs::Parameter &parameter = *module->root().parameters()->Get(binding.index());
  if (parameter.rows() == 0)
    return 0;
  const std::vector<int64_t> &offsets = weights->parameter(binding.index()).offsets;
  return static_cast<uint64_t>(*std::max_element(offsets.begin(), offsets.end())) +
         arrayBytes(parameter.dtype(), *parameter.shape(), 1) - binding.offset();
}

void Session::prepare(const fbs::Entry &entry) {
  PreparedEntry prepared;
  prepared.entry = &entry;
  Program &program = prepared.program;
  program.entry = &entry;
  program.arena = arena->data();
  for (const fbs::Launch *launch : *entry.launches()) {
    uint32_t count = launch->bindings() ? launch->bindings()->size() : 0;
    program.launches.push_back({launch, static_cast<uint32_t>(program.bindings.size()), count});
    LaunchCost cost = {};
    for (const fbs::Phase *phase : *module->target().kernels()->Get(launch->kernel())->phases())
      cost.workgroups += phase->grid()->x() * phase->grid()->y() * phase->grid()->z();
    for (uint32_t i = 0; i != count; ++i) {
      const fbs::Binding &binding = *launch->bindings()->Get(i);
      if (binding.kind() == BindingKind::State)
        prepared.stateBindings.emplace_back(static_cast<uint32_t>(program.bindings.size()), binding.index());
      program.bindings.push_back(address(entry, binding));
      program.extents.push_back(extent(binding));
      cost.bytes += binding.bytes();
      if (binding.kind() == BindingKind::Parameter) {
        const fbs::Parameter &parameter = *module->root().parameters()->Get(binding.index());
        // Which rows of a table a launch reads is decided on the device.
        cost.bytesIsBound |= parameter.rows() != 0;
        if (parameter.rows() && binding.bytes() == 0)
          cost.bytes += arrayBytes(parameter.dtype(), *parameter.shape());
      }
    }
    prepared.costs.push_back(cost);
  }
  for (unsigned i = 0; entry.taps() && i != entry.taps()->size(); ++i) {
    const fbs::Tap &tap = *entry.taps()->Get(i);
    bool wanted = std::any_of(options.taps.begin(), options.taps.end(), [&](const std::string &pattern) {
      return matchesPattern(pattern, tap.name()->string_view());
    });
    if (!wanted)
      continue;
    // An entry of one row may leave out the extent of 1.
    const auto &shape = *tap.shape();
    unsigned first = shape.Get(0) == entry.rows() ? 1 : 0;
    PreparedTap out{&tap, address(entry, *tap.buffer()), {}, arrayBytes(tap.dtype(), shape, first)};
    out.rowShape.assign(shape.begin() + first, shape.end());
    prepared.taps.push_back(std::move(out));
  }
  std::sort(prepared.taps.begin(), prepared.taps.end(), [](const PreparedTap &a, const PreparedTap &b) {
    return std::make_pair(a.tap->launch(), a.tap) < std::make_pair(b.tap->launch(), b.tap);
  });
  entries.push_back(std::move(prepared));
}

/// The entry stays where it is from now on.
void Session::addHooks(PreparedEntry &prepared) {
  if (options.observer.launch)
    prepared.hooks.timed = [this, &prepared](uint32_t launch, uint64_t begin, uint64_t duration) {
      reportLaunch(prepared, launch, begin, duration);
    };
  if (!options.observer.tap)
    return;
  for (const PreparedTap &tap : prepared.taps)
    if (prepared.hooks.stops.empty() || prepared.hooks.stops.back() != tap.tap->launch())
      prepared.hooks.stops.push_back(tap.tap->launch());
  prepared.hooks.stopped = [this, &prepared](uint32_t launch) { return reportTaps(prepared, launch); };
}

fbs::DType Session::hiddenType() const {
  for (const fbs::Entry *entry : *module->target().entries())
    for (const fbs::Value *output : *entry->outputs())
      if (output->name()->string_view() == "hidden")
        return output->dtype();
  return fbs::DType::F32;
}

Session::PreparedEntry &Session::pick(bool mtp, uint64_t tokens) {
  PreparedEntry *best = nullptr;
  // The rows of decode are slots: it takes one token of a sequence.
  auto capacity = [](const PreparedEntry &entry) { return isDecode(*entry.entry) ? 1 : entry.entry->rows(); };
  for (PreparedEntry &candidate : entries) {
    if (isMtp(*candidate.entry) != mtp)
      continue;
    if (!best) {
      best = &candidate;
      continue;
    }
    // The smallest that fits, else the largest. Of equals (a bucket of one row beside decode), decode.
    uint32_t rows = capacity(candidate), bestRows = capacity(*best);
    bool better = bestRows < tokens ? rows > bestRows : rows >= tokens && rows < bestRows;
    better |= rows == bestRows && isDecode(*candidate.entry);
    if (better)
      best = &candidate;
  }
  return *best;
}

Status Session::checkTokens(uint32_t slot, std::span<const int32_t> tokens) const {
  uint64_t length = slots[slot].length;
  std::string where = slotCount() > 1 ? concat(" of slot ", slot) : std::string();
  if (tokens.size() > model().max_context() - length)
    return invalid(tokens.size(), " tokens at position ", length, where, " exceed the module's max_context of ",
                   model().max_context(), "; compile it with a larger --max-context, or give fewer tokens");
  for (size_t i = 0; i != tokens.size(); ++i)
    if (tokens[i] < 0 || static_cast<uint32_t>(tokens[i]) >= model().vocab_size())
      return invalid("token ", tokens[i], " (number ", i, where, ") is outside the vocabulary of ",
                     model().vocab_size());
  return {};
}

Status Session::append(uint32_t slot, std::span<const int32_t> tokens) {
  if (tokens.empty())
    return misuse("no tokens were given");
  V4_RETURN_IF_ERROR(checkTokens(slot, tokens));
  V4_RETURN_IF_ERROR(checkState(slot));
  FloatMode mode;
  while (!tokens.empty()) {
    size_t count = tokens.size();
    if (options.chunk)
      count = std::min<size_t>(count, options.chunk);
    const fbs::Entry &entry = *pick(false, count).entry;
    count = std::min<size_t>(count, isDecode(entry) ? 1 : entry.rows());
    Feed feed{slot, slots[slot].length, tokens.first(count)};
    V4_RETURN_IF_ERROR(run({&feed, 1}));
    tokens = tokens.subspan(count);
  }
  return {};
}

Status Session::step(std::span<const int32_t> tokens) {
  std::vector<Feed> feeds;
  for (uint32_t slot = 0; slot != slotCount(); ++slot) {
    if (tokens[slot] == noToken)
      continue;
    V4_RETURN_IF_ERROR(checkTokens(slot, tokens.subspan(slot, 1)));
    V4_RETURN_IF_ERROR(checkState(slot));
    feeds.push_back({slot, slots[slot].length, tokens.subspan(slot, 1)});
  }
  if (feeds.empty())
    return misuse("no slot was given a token");
  FloatMode mode;
  return run(feeds);
}

/// Several tokens of one slot, or one token of each of several.
Status Session::run(std::span<Feed> feeds) {
  PreparedEntry &entry = pick(false, feeds.front().tokens.size());
  V4_RETURN_IF_ERROR(runEntry(entry, feeds));
  reportLogits(entry, feeds);
  size_t vocab = model().vocab_size();
  std::vector<float> rows; // the MTP block's logits take the place of these
  if (model().mtp()) {
    for (const Feed &feed : feeds) {
      const float *row = logitsOf(entry, feed, feed.tokens.size() - 1);
      rows.insert(rows.end(), row, row + vocab);
    }
    if (Status status = runMtp(feeds); !status.ok()) {
      for (const Feed &feed : feeds)
        slots[feed.slot].damage = status.message();
      return status;
    }
  }
  for (size_t i = 0; i != feeds.size(); ++i) {
    Slot &slot = slots[feeds[i].slot];
    const float *row = rows.empty() ? logitsOf(entry, feeds[i], feeds[i].tokens.size() - 1) : rows.data() + i * vocab;
    std::copy_n(row, vocab, slot.lastLogits.data());
    slot.haveLogits = true;
    slot.length += feeds[i].tokens.size();
  }
  return {};
}

Status Session::runMtp(std::span<const Feed> mainFeeds) {
  // The block pairs the residual at i with token i + 1, so it runs one position behind: the newest residual waits for
  // the next token.
  std::vector<Feed> feeds;
  for (const Feed &main : mainFeeds)
    if (mtpActive(main.slot)) {
      Feed feed = main;
      if (main.start == 0)
        feed.tokens = main.tokens.subspan(1);
      else
        feed.start -= 1;
      if (!feed.tokens.empty())
        feeds.push_back(feed);
    }
  PreparedEntry *entry = feeds.empty() ? nullptr : &pick(true, feeds.front().tokens.size());
  size_t row = slots.front().lastHidden.size();
  const std::byte *fresh = hiddenOut.host;
  std::byte *input = hiddenIn.host;
  for (const Feed &feed : feeds) {
    const Feed &main =
        *std::find_if(mainFeeds.begin(), mainFeeds.end(), [&](const Feed &other) { return other.slot == feed.slot; });
    std::byte *to = input + (isDecode(*entry->entry) ? feed.slot : 0) * row;
    size_t waiting = main.start == 0 ? 0 : 1;
    std::copy_n(slots[feed.slot].lastHidden.data(), waiting * row, to);
    std::copy_n(fresh + main.row * row, (feed.tokens.size() - waiting) * row, to + waiting * row);
  }
  for (const Feed &main : mainFeeds)
    if (mtpActive(main.slot))
      std::copy_n(fresh + (main.row + main.tokens.size() - 1) * row, row, slots[main.slot].lastHidden.data());
  if (!entry)
    return {};
  V4_RETURN_IF_ERROR(runEntry(*entry, feeds));
  reportLogits(*entry, feeds);
  return {};
}

/// A prefill entry works on the state of one slot.
void Session::bindSlot(PreparedEntry &entry, uint32_t slot) {
  Program &program = entry.program;
  for (auto [binding, state] : entry.stateBindings) {
    std::byte *&address = reinterpret_cast<std::byte *&>(program.bindings[binding]);
    address = stateOf(state, slot) + (address - stateOf(state, program.variant));
  }
  program.variant = slot;
}

/// Fills in the rows of the feeds.
Status Session::runEntry(PreparedEntry &prepared, std::span<Feed> feeds) {
  const fbs::Entry &entry = *prepared.entry;
  bool decode = isDecode(entry);
  int32_t *tokenRow = reinterpret_cast<int32_t *>(tokenRows.host);
  int32_t *positionRow = reinterpret_cast<int32_t *>(positionRows.host);
  int32_t *spanRow = reinterpret_cast<int32_t *>(spanRows.host);
  std::fill_n(tokenRow, entry.rows(), 0);
  std::fill_n(positionRow, entry.rows(), -1);
  std::fill_n(spanRow, 2 * slotCount(), 0);
  uint64_t rows = 0; // from the first to the last that holds a token
  for (Feed &feed : feeds) {
    feed.row = decode ? feed.slot : 0;
    for (size_t i = 0; i != feed.tokens.size(); ++i) {
      tokenRow[feed.row + i] = feed.tokens[i];
      positionRow[feed.row + i] = static_cast<int32_t>(feed.start + i);
    }
    spanRow[2 * feed.row] = static_cast<int32_t>(feed.start);
    spanRow[2 * feed.row + 1] = static_cast<int32_t>(feed.tokens.size());
    rows = feed.row + feed.tokens.size();
  }
  if (!decode)
    bindSlot(prepared, feeds.front().slot);

  std::vector<Copy> inputs, outputs;
  if (!device().sharesHostMemory()) {
    uint64_t hiddenRow = slots.front().lastHidden.size();
    inputs.push_back({tokenRows.device, tokenRows.host, rowBytes});
    if (isMtp(entry))
      inputs.push_back({hiddenIn.device, hiddenIn.host, rows * hiddenRow});
    else if (model().mtp())
      outputs.push_back({hiddenOut.device, hiddenOut.host, rows * hiddenRow});
    uint64_t logitsRows = model().logits_all() || decode ? rows : 1;
    outputs.push_back({logitsOut.device, logitsOut.host, logitsRows * model().vocab_size() * 4});
  }

  running = feeds;
  bool hooks = prepared.hooks.timed || !prepared.hooks.stops.empty();
  auto run = [&]() -> Status {
    if (options.poison) {
      V4_RETURN_IF_ERROR(device().fill(arena->data(), arena->size(), UINT32_MAX));
      V4_RETURN_IF_ERROR(device().fill(logitsOut.device, logitsOut.bytes, UINT32_MAX));
      if (!isMtp(entry))
        V4_RETURN_IF_ERROR(device().fill(hiddenOut.device, hiddenOut.bytes, UINT32_MAX));
    }
    return queue->run(prepared.program, inputs, outputs, hooks ? &prepared.hooks : nullptr);
  };
  Status status = run();
  if (!status.ok())
    for (const Feed &feed : feeds)
      slots[feed.slot].damage = status.message();
  return status;
}

void Session::reportLaunch(const PreparedEntry &prepared, uint32_t index, uint64_t begin, uint64_t duration) {
  const fbs::Launch &launch = *prepared.program.launches[index].launch;
  v4_launch_event event{};
  event.entry = prepared.entry->name()->c_str();
  event.launch = launch.name()->c_str();
  event.kernel = module->target().kernels()->Get(launch.kernel())->name()->c_str();
  event.begin_ns = begin - epoch;
  event.duration_ns = duration;
  event.bytes = prepared.costs[index].bytes;
  event.bytes_is_bound = prepared.costs[index].bytesIsBound;
  event.workgroups = prepared.costs[index].workgroups;
  options.observer.launch(options.observer.user, &event);
}

Status Session::reportTaps(const PreparedEntry &prepared, uint32_t launch) {
  for (const PreparedTap &tap : prepared.taps) {
    if (tap.tap->launch() != launch)
      continue;
    for (const Feed &feed : running) {
      const std::byte *data = tap.data + feed.row * tap.rowBytes;
      if (!device().sharesHostMemory()) {
        tapBytes.resize(feed.tokens.size() * tap.rowBytes);
        V4_RETURN_IF_ERROR(device().read(tapBytes.data(), data, tapBytes.size()));
        data = tapBytes.data();
      }
      v4_tap_event event{};
      event.name = tap.tap->name()->c_str();
      event.dtype = dtypeName(tap.tap->dtype()).data();
      event.slot = feed.slot;
      event.position = feed.start;
      event.rows = feed.tokens.size();
      event.row_bytes = tap.rowBytes;
      event.row_shape = tap.rowShape.data();
      event.row_rank = tap.rowShape.size();
      event.data = data;
      options.observer.tap(options.observer.user, &event);
    }
  }
  return {};
}

/// The logits after a token of a feed; after the last one only when the module has no others.
const float *Session::logitsOf(const PreparedEntry &prepared, const Feed &feed, size_t token) const {
  const float *logits = reinterpret_cast<const float *>(logitsOut.host);
  size_t row = model().logits_all() || isDecode(*prepared.entry) ? feed.row + token : 0;
  return logits + row * model().vocab_size();
}

void Session::reportLogits(const PreparedEntry &prepared, std::span<const Feed> feeds) {
  auto *callback = isMtp(*prepared.entry) ? options.observer.mtp_logits : options.observer.logits;
  if (!callback)
    return;
  for (const Feed &feed : feeds)
    for (size_t i = model().logits_all() ? 0 : feed.tokens.size() - 1; i != feed.tokens.size(); ++i)
      callback(options.observer.user, feed.slot, feed.start + i, logitsOf(prepared, feed, i), model().vocab_size());
}

// ---- State files ---------------------------------------------------------------------------------------------------

Session::StateView Session::view(const fbs::State &state, uint64_t tokens) const {
  uint64_t capacity = state.shape()->Get(0), columns = StateRows(state).columns, ratio = state.ratio();
  // The MTP block has seen one token less.
  if (state.name()->string_view().starts_with("mtp.") && tokens)
    tokens -= 1;
  switch (state.kind()) {
  case StateKind::Window:
    return {capacity, columns, 0, capacity, 0, 0, 0.0f};
  case StateKind::Entries:
    return {tokens / ratio, columns, 0, tokens / ratio, 0, 0, 0.0f};
  case StateKind::KvRows:
  case StateKind::ScoreRows:
    break;
  }
  float filler = state.kind() == StateKind::KvRows ? 0.0f : -std::numeric_limits<float>::infinity();
  if (!state.overlap())
    return {capacity, columns, 0, tokens % ratio, 0, 0, filler};
  return {capacity, columns, 0, tokens >= ratio ? ratio : 0, ratio, ratio + tokens % ratio, filler};
}

std::vector<TensorInfo> Session::stateTensors(uint32_t slot, uint64_t tokens) const {
  std::vector<TensorInfo> tensors;
  tensors.push_back({"position", "I64", {1}});
  for (size_t i = 0; i != states.size(); ++i) {
    StateView shape = view(stateInfo(i), tokens);
    tensors.push_back({stateInfo(i).name()->str(), "F32", {shape.rows, shape.columns}});
  }
  if (mtpActive(slot) && tokens)
    tensors.push_back({"mtp.hidden", "F32", {model().streams(), model().hidden_size()}});
  return tensors;
}

Status Session::save(uint32_t slot, const std::string &path) const {
  V4_RETURN_IF_ERROR(checkState(slot));
  Expected<OutputFile> file = OutputFile::create(path);
  V4_RETURN_IF_ERROR(file);
  uint64_t length = slots[slot].length;
  std::vector<TensorInfo> tensors = stateTensors(slot, length);
  V4_RETURN_IF_ERROR(file->write(safetensorsHeader(tensors)));
  int64_t position = static_cast<int64_t>(length);
  V4_RETURN_IF_ERROR(file->write(&position, sizeof position));
  for (size_t i = 0; i != states.size(); ++i) {
    StateView shape = view(stateInfo(i), length);
    StateRows form(stateInfo(i));
    std::vector<float> values(shape.columns);
    uint64_t step = std::max<uint64_t>(pieceBytes / form.rowBytes, 1);
    std::vector<std::byte> piece(std::min(step, shape.rows) * form.rowBytes);
    for (uint64_t row = 0; row != shape.rows; ++row) {
      if (row % step == 0)
        V4_RETURN_IF_ERROR(device().read(piece.data(), stateOf(i, slot) + row * form.rowBytes,
                                         std::min(step, shape.rows - row) * form.rowBytes));
      if (shape.live(row))
        form.read(piece.data() + row % step * form.rowBytes, values.data());
      else
        std::fill(values.begin(), values.end(), shape.filler);
      V4_RETURN_IF_ERROR(file->write(values.data(), values.size() * sizeof(float)));
    }
  }
  if (tensors.back().name == "mtp.hidden") {
    std::vector<float> values(hiddenFloats());
    StateRows(hiddenType(), values.size()).read(slots[slot].lastHidden.data(), values.data());
    V4_RETURN_IF_ERROR(file->write(values.data(), values.size() * sizeof(float)));
  }
  return file->commit();
}

Status Session::fillState(size_t index, uint32_t slot, uint64_t tokens, const StateReader &reader) {
  const fbs::State &state = stateInfo(index);
  StateView shape = view(state, tokens);
  std::string name = state.name()->str();
  StateRows form(state);
  std::vector<float> values(shape.columns);
  uint64_t step = std::max<uint64_t>(pieceBytes / form.rowBytes, 1);
  std::vector<std::byte> piece(std::min(step, shape.rows) * form.rowBytes);
  for (uint64_t row = 0; row != shape.rows; ++row) {
    if (shape.live(row)) {
      reader(name, row * shape.columns, shape.columns, values.data());
      if (!std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }))
        return invalid("state tensor '", name, "', row ", row, ": NaN or infinity where ", tokens,
                       " tokens have left a value");
    } else {
      std::fill(values.begin(), values.end(), shape.filler);
    }
    form.write(values.data(), piece.data() + row % step * form.rowBytes);
    uint64_t count = row % step + 1; // rows in the piece
    if (count == step || row + 1 == shape.rows)
      V4_RETURN_IF_ERROR(
          device().write(stateOf(index, slot) + (row + 1 - count) * form.rowBytes, piece.data(), count * form.rowBytes));
  }
  return {};
}

Status Session::fill(uint32_t slot, uint64_t tokens, const StateReader &reader) {
  if (tokens > model().max_context())
    return invalid("a state of ", tokens, " tokens exceeds the module's max_context of ", model().max_context(),
                   "; compile it with a larger --max-context");
  V4_RETURN_IF_ERROR(reset(slot));
  for (size_t i = 0; i != states.size(); ++i) {
    Status status = fillState(i, slot, tokens, reader);
    if (!status.ok()) {
      (void)reset(slot); // if this fails too, the slot knows
      return status;
    }
  }
  slots[slot].length = tokens;
  slots[slot].mtpReady = tokens == 0;
  return {};
}

Status Session::load(uint32_t slot, const std::string &path) {
  Expected<SafetensorsFile> file = SafetensorsFile::open(path);
  V4_RETURN_IF_ERROR(file);
  return loadState(slot, *file).in(path);
}

Status Session::loadState(uint32_t slot, const SafetensorsFile &file) {
  const TensorInfo *position = file.find("position");
  if (!position || position->dtype != "I64" || position->shape != std::vector<uint64_t>{1})
    return invalid("this is not a state file: it has no tensor 'position' of type I64 and shape [1]");
  int64_t tokens;
  std::memcpy(&tokens, file.bytes(*position).data(), sizeof tokens);
  if (tokens < 0)
    return invalid("position ", tokens, " is negative");

  // Names and shapes first, so that a file of another model changes nothing.
  std::vector<TensorInfo> wanted = stateTensors(slot, static_cast<uint64_t>(tokens));
  if (wanted.back().name == "mtp.hidden")
    wanted.pop_back();
  if (static_cast<uint64_t>(tokens) <= model().max_context()) {
    for (const TensorInfo &want : wanted) {
      const TensorInfo *have = file.find(want.name);
      if (!have)
        return invalid("state tensor '", want.name, "' is missing; the file is of another model");
      if (have->dtype != want.dtype || have->shape != want.shape)
        return invalid("state tensor '", want.name, "' is ", have->dtype, " ", shapeText(have->shape), ", expected ",
                       want.dtype, " ", shapeText(want.shape), " after ", tokens, " tokens");
    }
  }
  const TensorInfo *hidden = model().mtp() && tokens ? file.find("mtp.hidden") : nullptr;
  if (hidden &&
      (hidden->dtype != "F32" || hidden->shape != std::vector<uint64_t>{model().streams(), model().hidden_size()}))
    return invalid("state tensor 'mtp.hidden' is ", hidden->dtype, " ", shapeText(hidden->shape), ", expected F32 [",
                   model().streams(), ", ", model().hidden_size(), "]");
  if (static_cast<uint64_t>(tokens) <= model().max_context()) {
    for (const TensorInfo &have : file.tensors()) {
      bool known = &have == hidden || std::any_of(wanted.begin(), wanted.end(),
                                                  [&](const TensorInfo &want) { return want.name == have.name; });
      if (!known)
        return invalid("state tensor '", have.name, "' is unknown to the module; the file is of another model");
    }
  }

  V4_RETURN_IF_ERROR(
      fill(slot, static_cast<uint64_t>(tokens), [&](const std::string &name, uint64_t first, size_t count, float *out) {
        Bytes bytes = file.bytes(*file.find(name)).subspan(first * sizeof(float));
        std::memcpy(out, bytes.data(), count * sizeof(float));
      }));
  if (hidden) {
    std::vector<float> values(hiddenFloats());
    std::memcpy(values.data(), file.bytes(*hidden).data(), values.size() * sizeof(float));
    if (!std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); })) {
      V4_RETURN_IF_ERROR(reset(slot));
      return invalid("state tensor 'mtp.hidden' holds NaN or infinity");
    }
    StateRows(hiddenType(), values.size()).write(values.data(), slots[slot].lastHidden.data());
    slots[slot].mtpReady = true;
  }
  return {};
}

} // namespace v4
