// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Splits a prompt into entry calls, fills their inputs, runs their launches, and keeps the state between calls.
#include "runtime/Session.h"
#include "runtime/StateRows.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <xmmintrin.h>

namespace v4 {
namespace {

using fbs::BindingKind;
using fbs::EntryKind;
using fbs::StateKind;

uint64_t now() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

// For a crash handler: best effort when several sessions run at once.
std::atomic<const char *> runningEntry{nullptr}, runningLaunch{nullptr};

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

constexpr uint64_t stateAlignment = 64;

} // namespace

const char *currentLaunch() {
  static char text[512];
  const char *entry = runningEntry.load(), *launch = runningLaunch.load();
  size_t used = 0;
  auto add = [&](const char *part) {
    for (; *part && used + 1 < sizeof text; ++part)
      text[used++] = *part;
  };
  if (entry && launch) {
    add(entry);
    add("/");
    add(launch);
  }
  text[used] = '\0';
  return text;
}

Expected<std::unique_ptr<Session>> Session::create(std::shared_ptr<const Module> module,
                                                   std::shared_ptr<const Weights> weights, Options options) {
  if (weights->module() != module)
    return misuse("the weights were loaded for another module");
  std::unique_ptr<Session> session(new Session(std::move(options)));
  session->module = std::move(module);
  session->weights = std::move(weights);
  session->epoch = now();
  V4_RETURN_IF_ERROR(session->selectTaps());
  V4_RETURN_IF_ERROR(session->allocate());
  for (const fbs::Entry *entry : *session->module->target().entries())
    session->prepare(*entry);
  FloatMode mode;
  uint32_t threads = session->options.threads ? session->options.threads : ThreadPool::available();
  V4_RETURN_IF_ERROR(session->pool.start(threads));
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
  auto take = [](Pages &pages, uint64_t bytes, std::string_view what) -> Status {
    Expected<Pages> allocated = Pages::allocate(bytes, what);
    V4_RETURN_IF_ERROR(allocated);
    pages = std::move(*allocated);
    return {};
  };
  uint64_t total = 0;
  std::vector<uint64_t> offsets;
  for (size_t i = 0; i != module->stateCount(); ++i) {
    offsets.push_back(total);
    uint64_t bytes = arrayBytes(stateInfo(i).dtype(), *stateInfo(i).shape()) * slotCount();
    total += (bytes + stateAlignment - 1) / stateAlignment * stateAlignment;
  }
  uint64_t hiddenBytes = hiddenType() == fbs::DType::BF16 ? 2 : 4;
  uint64_t rows = module->maxRows(), hidden = model().mtp() ? hiddenFloats() * hiddenBytes : 0;
  V4_RETURN_IF_ERROR(take(stateMemory, total, "the state"));
  V4_RETURN_IF_ERROR(take(arena, module->arenaBytes(), "the arena"));
  V4_RETURN_IF_ERROR(take(tokenRows, rows * 4, "tokens"));
  V4_RETURN_IF_ERROR(take(positionRows, rows * 4, "positions"));
  V4_RETURN_IF_ERROR(take(spanRows, uint64_t(slotCount()) * 8, "spans"));
  V4_RETURN_IF_ERROR(take(hiddenIn, rows * hidden, "the residual"));
  V4_RETURN_IF_ERROR(take(hiddenOut, rows * hidden, "the residual"));
  V4_RETURN_IF_ERROR(take(logitsOut, uint64_t(module->logitsRows()) * model().vocab_size() * 4, "logits"));
  for (uint64_t offset : offsets)
    states.push_back(stateMemory.data() + offset);
  slots.resize(slotCount());
  for (uint32_t i = 0; i != slotCount(); ++i) {
    slots[i].lastLogits.resize(model().vocab_size());
    slots[i].lastHidden.resize(hidden);
    reset(i);
  }
  return {};
}

std::byte *Session::stateOf(size_t state, uint32_t slot) const {
  return states[state] + slot * arrayBytes(stateInfo(state).dtype(), *stateInfo(state).shape());
}

void Session::reset(uint32_t slot) {
  for (size_t i = 0; i != states.size(); ++i) {
    const fbs::State &state = stateInfo(i);
    std::byte *data = stateOf(i, slot);
    if (state.kind() == StateKind::ScoreRows)
      std::fill_n(reinterpret_cast<float *>(data), state.shape()->Get(0) * state.shape()->Get(1),
                  -std::numeric_limits<float>::infinity());
    else
      stateMemory.clear(static_cast<uint64_t>(data - stateMemory.data()), arrayBytes(state.dtype(), *state.shape()));
  }
  Slot &empty = slots[slot];
  std::fill(empty.lastHidden.begin(), empty.lastHidden.end(), std::byte(0));
  empty.length = 0;
  empty.haveLogits = false;
  empty.mtpReady = true;
}

std::byte *Session::address(const fbs::Entry &entry, const fbs::Binding &binding) const {
  std::byte *base = nullptr;
  switch (binding.kind()) {
  case BindingKind::Arena:
    base = arena.data();
    break;
  case BindingKind::Parameter:
    base = const_cast<std::byte *>(weights->parameter(binding.index()).base);
    break;
  case BindingKind::TableOffsets:
    base = reinterpret_cast<std::byte *>(const_cast<int64_t *>(weights->parameter(binding.index()).offsets.data()));
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
               .data();
    break;
  }
  case BindingKind::Output:
    base = (entry.outputs()->Get(binding.index())->name()->string_view() == "logits" ? logitsOut : hiddenOut).data();
    break;
  }
  return base + binding.offset();
}

void Session::prepare(const fbs::Entry &entry) {
  PreparedEntry prepared;
  prepared.entry = &entry;
  for (const fbs::Launch *launch : *entry.launches()) {
    PreparedLaunch out{launch, &module->kernel(launch->kernel()), static_cast<uint32_t>(prepared.bindings.size()), 0,
                       false};
    for (unsigned i = 0; launch->bindings() && i != launch->bindings()->size(); ++i) {
      const fbs::Binding &binding = *launch->bindings()->Get(i);
      if (binding.kind() == BindingKind::State)
        prepared.stateBindings.emplace_back(static_cast<uint32_t>(prepared.bindings.size()), binding.index());
      prepared.bindings.push_back(address(entry, binding));
      out.bytes += binding.bytes();
      if (binding.kind() == BindingKind::Parameter) {
        const fbs::Parameter &parameter = *module->root().parameters()->Get(binding.index());
        // Which rows of a table a launch reads is decided on the device.
        out.bytesIsBound |= parameter.rows() != 0;
        if (parameter.rows() && binding.bytes() == 0)
          out.bytes += arrayBytes(parameter.dtype(), *parameter.shape());
      }
    }
    prepared.launches.push_back(out);
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
  FloatMode mode;
  while (!tokens.empty()) {
    size_t count = tokens.size();
    if (options.chunk)
      count = std::min<size_t>(count, options.chunk);
    const fbs::Entry &entry = *pick(false, count).entry;
    count = std::min<size_t>(count, isDecode(entry) ? 1 : entry.rows());
    Feed feed{slot, slots[slot].length, tokens.first(count)};
    run({&feed, 1});
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
    feeds.push_back({slot, slots[slot].length, tokens.subspan(slot, 1)});
  }
  if (feeds.empty())
    return misuse("no slot was given a token");
  FloatMode mode;
  run(feeds);
  return {};
}

/// Several tokens of one slot, or one token of each of several.
void Session::run(std::span<Feed> feeds) {
  PreparedEntry &entry = pick(false, feeds.front().tokens.size());
  runEntry(entry, feeds);
  for (const Feed &feed : feeds) {
    Slot &slot = slots[feed.slot];
    std::copy_n(logitsOf(entry, feed, feed.tokens.size() - 1), model().vocab_size(), slot.lastLogits.data());
    slot.haveLogits = true;
  }
  reportLogits(entry, feeds);
  if (model().mtp())
    runMtp(feeds);
  for (const Feed &feed : feeds)
    slots[feed.slot].length += feed.tokens.size();
}

void Session::runMtp(std::span<const Feed> mainFeeds) {
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
  const std::byte *fresh = hiddenOut.data();
  std::byte *input = hiddenIn.data();
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
    return;
  runEntry(*entry, feeds);
  reportLogits(*entry, feeds);
}

/// A prefill entry works on the state of one slot.
void Session::bindSlot(PreparedEntry &entry, uint32_t slot) {
  for (auto [binding, state] : entry.stateBindings) {
    uint64_t offset = static_cast<uint64_t>(static_cast<std::byte *>(entry.bindings[binding]) -
                                            stateOf(state, entry.slot));
    entry.bindings[binding] = stateOf(state, slot) + offset;
  }
  entry.slot = slot;
}

/// Fills in the rows of the feeds.
void Session::runEntry(PreparedEntry &prepared, std::span<Feed> feeds) {
  const fbs::Entry &entry = *prepared.entry;
  bool decode = isDecode(entry);
  int32_t *tokenRow = reinterpret_cast<int32_t *>(tokenRows.data());
  int32_t *positionRow = reinterpret_cast<int32_t *>(positionRows.data());
  int32_t *spanRow = reinterpret_cast<int32_t *>(spanRows.data());
  std::fill_n(tokenRow, entry.rows(), 0);
  std::fill_n(positionRow, entry.rows(), -1);
  std::fill_n(spanRow, 2 * slotCount(), 0);
  for (Feed &feed : feeds) {
    feed.row = decode ? feed.slot : 0;
    for (size_t i = 0; i != feed.tokens.size(); ++i) {
      tokenRow[feed.row + i] = feed.tokens[i];
      positionRow[feed.row + i] = static_cast<int32_t>(feed.start + i);
    }
    spanRow[2 * feed.row] = static_cast<int32_t>(feed.start);
    spanRow[2 * feed.row + 1] = static_cast<int32_t>(feed.tokens.size());
  }
  if (!decode)
    bindSlot(prepared, feeds.front().slot);
  if (options.poison) {
    std::memset(arena.data(), 0xFF, arena.size());
    std::memset(logitsOut.data(), 0xFF, logitsOut.size());
    if (!isMtp(entry) && hiddenOut.size())
      std::memset(hiddenOut.data(), 0xFF, hiddenOut.size());
  }

  runningEntry.store(entry.name()->c_str());
  size_t nextTap = 0;
  for (uint32_t i = 0; i != prepared.launches.size(); ++i) {
    const PreparedLaunch &launch = prepared.launches[i];
    runningLaunch.store(launch.launch->name()->c_str(), std::memory_order_relaxed);
    for (unsigned j = 0; launch.launch->zero() && j != launch.launch->zero()->size(); ++j) {
      const fbs::Binding &counter = *launch.launch->zero()->Get(j);
      std::memset(arena.data() + counter.offset(), 0, counter.bytes());
    }
    void *const *bindings = prepared.bindings.data() + launch.firstBinding;
    uint64_t begin = options.observer.launch ? now() : 0;
    uint32_t workgroups = 0;
    for (const Module::Phase &phase : *launch.phases) {
      pool.run(phase.function, bindings, phase.workgroups);
      workgroups += phase.workgroups;
    }
    if (options.observer.launch) {
      v4_launch_event event{};
      event.entry = entry.name()->c_str();
      event.launch = launch.launch->name()->c_str();
      event.kernel = module->target().kernels()->Get(launch.launch->kernel())->name()->c_str();
      event.begin_ns = begin - epoch;
      event.duration_ns = now() - begin;
      event.bytes = launch.bytes;
      event.bytes_is_bound = launch.bytesIsBound;
      event.workgroups = workgroups;
      options.observer.launch(options.observer.user, &event);
    }
    reportTaps(prepared, nextTap, i, feeds);
  }
  runningLaunch.store(nullptr);
}

void Session::reportTaps(const PreparedEntry &prepared, size_t &next, uint32_t launch, std::span<const Feed> feeds) {
  for (; next != prepared.taps.size() && prepared.taps[next].tap->launch() == launch; ++next) {
    const PreparedTap &tap = prepared.taps[next];
    for (const Feed &feed : feeds) {
      if (!options.observer.tap)
        continue;
      v4_tap_event event{};
      event.name = tap.tap->name()->c_str();
      event.dtype = dtypeName(tap.tap->dtype()).data();
      event.slot = feed.slot;
      event.position = feed.start;
      event.rows = feed.tokens.size();
      event.row_bytes = tap.rowBytes;
      event.row_shape = tap.rowShape.data();
      event.row_rank = tap.rowShape.size();
      event.data = tap.data + feed.row * tap.rowBytes;
      options.observer.tap(options.observer.user, &event);
    }
  }
}

/// The logits after a token of a feed; after the last one only when the module has no others.
const float *Session::logitsOf(const PreparedEntry &prepared, const Feed &feed, size_t token) const {
  const float *logits = reinterpret_cast<const float *>(logitsOut.data());
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
    for (uint64_t row = 0; row != shape.rows; ++row) {
      if (shape.live(row))
        form.read(stateOf(i, slot) + row * form.rowBytes, values.data());
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
  for (uint64_t row = 0; row != shape.rows; ++row) {
    if (shape.live(row)) {
      reader(name, row * shape.columns, shape.columns, values.data());
      if (!std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }))
        return invalid("state tensor '", name, "', row ", row, ": NaN or infinity where ", tokens,
                       " tokens have left a value");
    } else {
      std::fill(values.begin(), values.end(), shape.filler);
    }
    form.write(values.data(), stateOf(index, slot) + row * form.rowBytes);
  }
  return {};
}

Status Session::fill(uint32_t slot, uint64_t tokens, const StateReader &reader) {
  if (tokens > model().max_context())
    return invalid("a state of ", tokens, " tokens exceeds the module's max_context of ", model().max_context(),
                   "; compile it with a larger --max-context");
  reset(slot);
  for (size_t i = 0; i != states.size(); ++i) {
    Status status = fillState(i, slot, tokens, reader);
    if (!status.ok()) {
      reset(slot);
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
      reset(slot);
      return invalid("state tensor 'mtp.hidden' holds NaN or infinity");
    }
    StateRows(hiddenType(), values.size()).write(values.data(), slots[slot].lastHidden.data());
    slots[slot].mtpReady = true;
  }
  return {};
}

} // namespace v4
