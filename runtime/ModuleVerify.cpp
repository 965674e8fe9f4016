// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Second-step verification: FlatBuffers guarantees that offsets stay inside the buffer, this file that the numbers mean
// something. Everything later (weights, session, kernels) relies on it and checks nothing again. Comparisons are
// written so that they cannot overflow.
#include "runtime/ModuleVerify.h"
#include "runtime/Checked.h"
#include "runtime/Layout.h"
#include "runtime/StateRows.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

namespace v4 {
namespace {

using fbs::BindingKind;
using fbs::DType;
using fbs::EntryKind;
using fbs::StateKind;
using Shape = flatbuffers::Vector<uint64_t>;
template <typename T> using Tables = flatbuffers::Vector<flatbuffers::Offset<T>>;

constexpr std::string_view rebuild = "; build the module again with v4c";
constexpr uint64_t maxArena = uint64_t(1) << 48;
constexpr uint32_t maxSlots = 1024;

std::string_view text(const flatbuffers::String *string) {
  return string ? std::string_view(string->c_str(), string->size()) : std::string_view();
}

class Verifier {
public:
  explicit Verifier(const fbs::Module &module) : module(module) {}

  Status run() {
    V4_RETURN_IF_ERROR(verifyProvenance());
    V4_RETURN_IF_ERROR(verifyModel());
    V4_RETURN_IF_ERROR(verifyParameters());
    V4_RETURN_IF_ERROR(verifyStates());
    return verifyTargets();
  }

private:
  /// A failure at `where`, with the remedy that fits nearly all of them.
  template <typename... Parts> static Status bad(std::string_view where, const Parts &...parts) {
    return invalid(where, ": ", concat(parts...), rebuild);
  }

  /// "parameter 3 'layers.0.attn.wq_a'"
  static std::string at(std::string_view kind, size_t index, const flatbuffers::String *name) {
    return concat(kind, " ", index, name ? concat(" '", text(name), "'") : std::string());
  }

  static Status checkName(std::string_view where, const flatbuffers::String *name, std::set<std::string_view> &taken) {
    std::string_view value = text(name);
    if (value.empty())
      return bad(where, "it has no name");
    if (value.find('\0') != std::string_view::npos)
      return bad(where, "its name contains a NUL character");
    if (!taken.insert(value).second)
      return bad(where, "its name is taken by an earlier one");
    return {};
  }

  /// FlatBuffers checks where a vector's length is, not that its elements are aligned.
  template <typename T> static bool aligned(const flatbuffers::Vector<T> *vector) {
    return !vector || reinterpret_cast<uintptr_t>(vector->Data()) % alignof(uint64_t) == 0;
  }

  static Status checkShape(std::string_view where, DType dtype, const Shape *shape, uint64_t &bytes) {
    if (elementBytes(dtype) == 0)
      return bad(where, "element type ", static_cast<unsigned>(dtype), " is unknown");
    if (!aligned(shape))
      return bad(where, "its shape is not aligned in the file");
    if (!shape || shape->size() == 0)
      return bad(where, "it has no shape");
    if (shape->size() > 8)
      return bad(where, "rank ", shape->size(), " is above the limit of 8");
    if (std::find(shape->begin(), shape->end(), 0u) != shape->end())
      return bad(where, "shape ", shapeText(*shape), " has an extent of 0");
    std::optional<uint64_t> count = elementCount(*shape);
    std::optional<uint64_t> size = count ? checkedMul(*count, elementBytes(dtype)) : std::nullopt;
    if (!size || *size > PTRDIFF_MAX)
      return bad(where, "shape ", shapeText(*shape), " has more bytes than can be addressed");
    bytes = *size;
    return {};
  }

  Status verifyProvenance() {
    const fbs::Provenance *provenance = module.provenance();
    if (!provenance)
      return bad("module", "it has no provenance");
    if (text(provenance->producer()).empty() || text(provenance->numerics()).empty() || text(provenance->kv()).empty())
      return bad("provenance", "producer, numerics and kv must be given");
    if (provenance->ignored())
      for (const flatbuffers::String *prefix : *provenance->ignored())
        if (text(prefix).empty())
          return bad("provenance", "an empty prefix of ignored tensors would accept any tensor");
    return {};
  }

  Status verifyModel() {
    model = module.model();
    if (!model)
      return bad("module", "it has no model");
    if (text(model->model_type()).empty())
      return bad("model", "model_type must be given");
    if (model->vocab_size() == 0 || model->vocab_size() > INT32_MAX)
      return bad("model", "vocab_size ", model->vocab_size(), " is outside 1..", INT32_MAX);
    if (model->hidden_size() == 0 || model->streams() == 0)
      return bad("model", "hidden_size ", model->hidden_size(), " and streams ", model->streams(), " must not be 0");
    // Positions are int32 on the device, and -1 marks an unused row.
    if (model->max_context() == 0 || model->max_context() > INT32_MAX)
      return bad("model", "max_context ", model->max_context(), " is outside 1..", INT32_MAX);
    if (model->slots() == 0 || model->slots() > maxSlots)
      return bad("model", "slots ", model->slots(), " is outside 1..", maxSlots);
    if (model->eos_token() < -1 || model->eos_token() >= static_cast<int64_t>(model->vocab_size()))
      return bad("model", "eos_token ", model->eos_token(), " is neither -1 nor a token of ", model->vocab_size());
    return {};
  }

  Status verifyParameters() {
    std::set<std::string_view> names;
    const auto *parameters = module.parameters();
    for (size_t i = 0; parameters && i != parameters->size(); ++i) {
      const fbs::Parameter &parameter = *parameters->Get(i);
      std::string where = at("parameter", i, parameter.name());
      uint64_t bytes = 0;
      V4_RETURN_IF_ERROR(checkName(where, parameter.name(), names));
      V4_RETURN_IF_ERROR(checkShape(where, parameter.dtype(), parameter.shape(), bytes));
      uint64_t rows = parameter.rows();
      if (rows && parameter.shape()->Get(0) != rows)
        return bad(where, "a table of ", rows, " rows has the shape ", shapeText(*parameter.shape()));
      if (rows && rows < model->experts_per_token())
        return bad(where, "a table of ", rows, " rows is too small for the model's ", model->experts_per_token(),
                   " experts per token");
      if (text(parameter.layout()) != layoutAsStored && text(parameter.layout()) != layoutRows16)
        return bad(where, "layout '", text(parameter.layout()), "' is unknown to this runtime");
      if (text(parameter.layout()) == layoutRows16 && !rows16For(parameter.dtype(), *parameter.shape(), rows != 0))
        return bad(where, "layout rows16 needs a multiple of 16 rows of whole dwords (F8_E8M0: bytes), found ",
                   dtypeName(parameter.dtype()), " ", shapeText(*parameter.shape()), rows ? " as a table" : "");
      V4_RETURN_IF_ERROR(verifySource(where, parameter, rows ? bytes / rows : bytes));
      parameterBytes.push_back(bytes);
    }
    return {};
  }

  Status verifySource(std::string_view where, const fbs::Parameter &parameter, uint64_t rowBytes) {
    const fbs::Source *source = parameter.source();
    if (!source || text(source->tensor()).empty())
      return bad(where, "it names no checkpoint tensor");
    uint64_t tensorBytes = 0;
    std::string inner = concat(where, ", source '", text(source->tensor()), "'");
    V4_RETURN_IF_ERROR(checkShape(inner, source->dtype(), source->shape(), tensorBytes));
    if (elementBytes(source->dtype()) != elementBytes(parameter.dtype()))
      return bad(inner, dtypeName(source->dtype()), " elements cannot be read as ", dtypeName(parameter.dtype()));
    if (source->offset() % elementBytes(source->dtype()) != 0 || source->stride() % elementBytes(source->dtype()) != 0)
      return bad(inner, "offset ", source->offset(), " or stride ", source->stride(), " falls inside an element");
    size_t placeholder = text(source->tensor()).find("{e}");
    bool perRow = placeholder != std::string_view::npos;
    if (perRow && text(source->tensor()).find("{e}", placeholder + 1) != std::string_view::npos)
      return bad(inner, "its name holds {e} twice");
    if (perRow && parameter.rows() == 0)
      return bad(inner, "its name holds {e}, but the parameter is not a table");
    if (source->stride() != 0 && (perRow || parameter.rows() == 0))
      return bad(inner, "stride ", source->stride(), " has no meaning here");
    bool shared = !perRow && parameter.rows() > 1;
    if (shared && source->stride() < rowBytes)
      return bad(inner, "stride ", source->stride(), " makes rows of ", rowBytes, " bytes overlap");
    std::optional<uint64_t> last = checkedMul(source->stride(), shared ? parameter.rows() - 1 : 0);
    last = last ? checkedAdd(*last, source->offset()) : std::nullopt;
    if (!last || !rangeFits(*last, rowBytes, tensorBytes))
      return bad(inner, "the parameter reaches beyond the tensor's ", tensorBytes, " bytes");
    return {};
  }

  /// Element type, and the form of packed rows.
  Status verifyStateRows(const std::string &where, const fbs::State &state) {
    bool cache = state.kind() == StateKind::Window || state.kind() == StateKind::Entries;
    bool packed = state.dtype() == DType::I8;
    if (state.dtype() != DType::F32 && !(cache && (packed || state.dtype() == DType::BF16)))
      return bad(where, "state of type ", dtypeName(state.dtype()), " is not supported by this runtime");
    StateRows form(state);
    if (form.bits != 0 && form.bits != 4 && form.bits != 8)
      return bad(where, "codes of ", form.bits, " bits are unknown");
    if ((form.quantized != 0) != (form.bits != 0) || (packed && form.bits == 0) ||
        (state.dtype() == DType::F32 && form.bits != 0))
      return bad(where, form.quantized, " quantised columns of ", form.bits, " bits do not fit its type");
    if (form.quantized > form.columns || form.quantized % form.block())
      return bad(where, form.quantized, " quantised columns of ", form.columns, " are no whole blocks of ",
                 form.block());
    uint64_t width = state.shape()->Get(1), expected = packed ? form.packedBytes() : form.columns;
    if (width != expected)
      return bad(where, "rows of ", width, packed ? " bytes" : " columns", " where ", expected, " are needed");
    return {};
  }

  Status verifyStates() {
    std::set<std::string_view> names;
    const auto *states = module.states();
    for (size_t i = 0; states && i != states->size(); ++i) {
      const fbs::State &state = *states->Get(i);
      std::string where = at("state", i, state.name());
      uint64_t bytes = 0;
      V4_RETURN_IF_ERROR(checkName(where, state.name(), names));
      if (text(state.name()) == "position" || text(state.name()) == "mtp.hidden")
        return bad(where, "the name has another meaning in a state file");
      V4_RETURN_IF_ERROR(checkShape(where, state.dtype(), state.shape(), bytes));
      if (state.shape()->size() != 2)
        return bad(where, "shape ", shapeText(*state.shape()), " is not of rank 2");
      if (state.kind() < StateKind::MIN || state.kind() > StateKind::MAX)
        return bad(where, "state kind ", static_cast<unsigned>(state.kind()), " is unknown");
      if ((state.kind() == StateKind::Window) != (state.ratio() == 0))
        return bad(where, "ratio ", state.ratio(), " does not fit its kind");
      V4_RETURN_IF_ERROR(verifyStateRows(where, state));
      uint64_t rows = state.shape()->Get(0);
      if (state.kind() == StateKind::Entries && rows < model->max_context() / state.ratio())
        return bad(where, rows, " entries of ", state.ratio(), " tokens are too few for max_context ",
                   model->max_context());
      bool blocks = state.kind() == StateKind::KvRows || state.kind() == StateKind::ScoreRows;
      if (blocks && rows != uint64_t(state.ratio()) * (state.overlap() ? 2 : 1))
        return bad(where, rows, " rows do not hold the blocks of ratio ", state.ratio());
      std::optional<uint64_t> all = checkedMul(bytes, model->slots());
      std::optional<uint64_t> total = all ? checkedAdd(stateTotal, *all) : std::nullopt;
      if (!total || *total > maxArena)
        return bad(where, "the states together have more bytes than can be addressed");
      stateTotal = *total;
      stateBytes.push_back(bytes);
    }
    return {};
  }

  Status verifyTargets() {
    std::set<std::string_view> names;
    const auto *targets = module.targets();
    if (!targets || targets->size() == 0)
      return bad("module", "it has no target");
    for (size_t i = 0; i != targets->size(); ++i) {
      const fbs::Target &target = *targets->Get(i);
      std::string where = at("target", i, target.name());
      V4_RETURN_IF_ERROR(checkName(where, target.name(), names));
      onCpu = text(target.name()) == "cpu";
      constexpr std::string_view gpu = "nvptx:";
      if (text(target.name()).starts_with(gpu) && !isChip(text(target.name()).substr(gpu.size())))
        return bad(where, "it is for no chip like sm_90a");
      V4_RETURN_IF_ERROR(verifyImages(where, target));
      V4_RETURN_IF_ERROR(verifyKernels(where, target));
      V4_RETURN_IF_ERROR(verifyEntries(where, target));
    }
    return {};
  }

  /// sm_80, sm_90a, sm_100f.
  static bool isChip(std::string_view name) {
    if (!name.starts_with("sm_"))
      return false;
    name.remove_prefix(3);
    if (name.ends_with('a') || name.ends_with('f'))
      name.remove_suffix(1);
    return (name.size() == 2 || name.size() == 3) &&
           std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
  }

  Status verifyImages(const std::string &target, const fbs::Target &value) {
    if (value.features())
      for (const flatbuffers::String *feature : *value.features())
        if (text(feature).empty())
          return bad(target, "it needs a feature without a name");
    const auto *images = value.images();
    if (!images || images->size() == 0)
      return bad(target, "it has no executable image");
    for (size_t i = 0; i != images->size(); ++i) {
      const fbs::Image &image = *images->Get(i);
      std::string where = concat(target, ", image ", i);
      if (image.kind() < fbs::ImageKind::MIN || image.kind() > fbs::ImageKind::MAX)
        return bad(where, "image kind ", static_cast<unsigned>(image.kind()), " is unknown");
      if (text(image.arch()).empty())
        return bad(where, "it names no architecture");
      if (image.kind() != fbs::ImageKind::Elf && !isChip(text(image.arch())))
        return bad(where, "GPU code is for a chip like sm_90a, not '", text(image.arch()), "'");
      if (!image.data() || image.data()->size() == 0)
        return bad(where, "it holds no code");
    }
    return {};
  }

  Status verifyKernels(const std::string &target, const fbs::Target &value) {
    std::set<std::string_view> names;
    const auto *kernels = value.kernels();
    for (size_t i = 0; kernels && i != kernels->size(); ++i) {
      const fbs::Kernel &kernel = *kernels->Get(i);
      std::string where = concat(target, ", ", at("kernel", i, kernel.name()));
      V4_RETURN_IF_ERROR(checkName(where, kernel.name(), names));
      if (!kernel.phases() || kernel.phases()->size() == 0)
        return bad(where, "it has no phase");
      for (size_t j = 0; j != kernel.phases()->size(); ++j) {
        const fbs::Phase &phase = *kernel.phases()->Get(j);
        std::string inner = concat(where, ", phase ", j);
        if (text(phase.symbol()).empty())
          return bad(inner, "it names no symbol");
        if (!phase.grid())
          return bad(inner, "it has no grid");
        V4_RETURN_IF_ERROR(checkDim(inner, "grid", *phase.grid()));
        if (phase.block())
          V4_RETURN_IF_ERROR(checkDim(inner, "block", *phase.block()));
        if (phase.cluster())
          V4_RETURN_IF_ERROR(checkDim(inner, "cluster", *phase.cluster()));
        if (onCpu && ((phase.block() && !isOne(*phase.block())) || (phase.cluster() && !isOne(*phase.cluster())) ||
                      phase.shared_bytes() || phase.cooperative() || phase.programmatic()))
          return bad(inner, "a workgroup on a CPU has one thread and no shared memory");
        if (!onCpu)
          V4_RETURN_IF_ERROR(checkGpuLaunch(inner, phase));
      }
    }
    return {};
  }

  /// What every GPU can launch.
  static Status checkGpuLaunch(const std::string &where, const fbs::Phase &phase) {
    constexpr uint64_t maxThreads = 1024;
    constexpr uint32_t maxPlane = 65535, maxShared = 227 << 10;
    if (!phase.block())
      return bad(where, "it has no block");
    const fbs::Dim3 &block = *phase.block(), &grid = *phase.grid();
    uint64_t threads = uint64_t(block.x()) * block.y();
    if (threads > maxThreads || threads * block.z() > maxThreads)
      return bad(where, "block ", block.x(), "x", block.y(), "x", block.z(), " has more than ", maxThreads, " threads");
    if (grid.x() > INT32_MAX || grid.y() > maxPlane || grid.z() > maxPlane)
      return bad(where, "grid ", grid.x(), "x", grid.y(), "x", grid.z(), " exceeds ", INT32_MAX, "x", maxPlane, "x", maxPlane);
    if (phase.shared_bytes() > maxShared)
      return bad(where, phase.shared_bytes(), " bytes of shared memory are more than ", maxShared);
    return {};
  }

  static bool isOne(const fbs::Dim3 &dim) { return dim.x() == 1 && dim.y() == 1 && dim.z() == 1; }

  static Status checkDim(std::string_view where, std::string_view what, const fbs::Dim3 &dim) {
    uint64_t plane = uint64_t(dim.x()) * dim.y();
    std::optional<uint64_t> volume = checkedMul(plane, dim.z());
    if (!volume || *volume == 0 || *volume > UINT32_MAX)
      return bad(where, what, " ", dim.x(), "x", dim.y(), "x", dim.z(), " is empty or has 2^32 workgroups or more");
    return {};
  }

  Status verifyEntries(const std::string &target, const fbs::Target &value) {
    std::set<std::string_view> names;
    std::map<std::pair<EntryKind, uint32_t>, const fbs::Entry *> byKind;
    const auto *entries = value.entries();
    for (size_t i = 0; entries && i != entries->size(); ++i) {
      const fbs::Entry &entry = *entries->Get(i);
      std::string where = concat(target, ", ", at("entry", i, entry.name()));
      V4_RETURN_IF_ERROR(checkName(where, entry.name(), names));
      if (entry.kind() < EntryKind::MIN || entry.kind() > EntryKind::MAX)
        return bad(where, "entry kind ", static_cast<unsigned>(entry.kind()), " is unknown");
      if (entry.rows() == 0 || entry.rows() > INT32_MAX || (isDecode(entry) && entry.rows() != model->slots()))
        return bad(where, entry.rows(), " rows do not fit its kind");
      if (isMtp(entry) && !model->mtp())
        return bad(where, "the model has no MTP block");
      if (!byKind.emplace(std::make_pair(entry.kind(), entry.rows()), &entry).second)
        return bad(where, "an earlier entry has the same kind and rows");
      if (entry.arena_bytes() > maxArena)
        return bad(where, "an arena of ", entry.arena_bytes(), " bytes cannot be addressed");
      V4_RETURN_IF_ERROR(verifyValues(where, entry));
      V4_RETURN_IF_ERROR(verifyLaunches(where, value, entry));
      V4_RETURN_IF_ERROR(verifyTaps(where, entry));
    }
    if (!byKind.contains({EntryKind::Decode, model->slots()}))
      return bad(target, "it has no decode entry");
    if (model->mtp())
      for (auto &[key, entry] : byKind)
        if (!isMtp(*entry) &&
            !byKind.contains(
                {key.first == EntryKind::Decode ? EntryKind::MtpDecode : EntryKind::MtpPrefill, key.second}))
          return bad(target, "entry '", text(entry->name()), "' has no MTP entry of the same rows");
    return {};
  }

  static bool isMtp(const fbs::Entry &entry) {
    return entry.kind() == EntryKind::MtpDecode || entry.kind() == EntryKind::MtpPrefill;
  }
  /// Whether the rows are slots.
  static bool isDecode(const fbs::Entry &entry) {
    return entry.kind() == EntryKind::Decode || entry.kind() == EntryKind::MtpDecode;
  }

  /// The residual is f32 or bf16, the same in all entries.
  Status findHiddenType(const std::string &where, const fbs::Entry &entry) {
    for (const auto *values : {entry.inputs(), entry.outputs()})
      for (size_t i = 0; values && i != values->size(); ++i) {
        const fbs::Value &value = *values->Get(i);
        if (text(value.name()) != "hidden" || (value.dtype() != DType::F32 && value.dtype() != DType::BF16))
          continue;
        if (hiddenType && *hiddenType != value.dtype())
          return bad(where, "'hidden' is ", dtypeName(value.dtype()), " here and ", dtypeName(*hiddenType),
                     " in another entry");
        hiddenType = value.dtype();
      }
    return {};
  }

  /// What the session fills and reads is fixed by the format, so inputs and outputs are compared with that list.
  Status verifyValues(const std::string &where, const fbs::Entry &entry) {
    uint64_t rows = entry.rows();
    uint64_t logitsRows = model->logits_all() || isDecode(entry) ? rows : 1;
    std::vector<uint64_t> span = {2};
    if (isDecode(entry) && rows > 1)
      span = {rows, 2};
    struct Want {
      std::string_view name;
      DType dtype;
      std::vector<uint64_t> shape;
    };
    std::vector<Want> inputs = {
        {"tokens", DType::I32, {rows}}, {"positions", DType::I32, {rows}}, {"span", DType::I32, span}};
    std::vector<Want> outputs = {{"logits", DType::F32, {logitsRows, model->vocab_size()}}};
    V4_RETURN_IF_ERROR(findHiddenType(where, entry));
    Want hidden = {"hidden", hiddenType.value_or(DType::F32), {rows, model->streams(), model->hidden_size()}};
    if (isMtp(entry))
      inputs.push_back(hidden);
    else if (model->mtp())
      outputs.push_back(hidden);

    auto check = [&](std::string_view kind, const Tables<fbs::Value> *values, const std::vector<Want> &wanted,
                     std::vector<uint64_t> &bytes) -> Status {
      std::set<std::string_view> names;
      bytes.clear();
      for (size_t i = 0; values && i != values->size(); ++i) {
        const fbs::Value &value = *values->Get(i);
        std::string inner = concat(where, ", ", at(kind, i, value.name()));
        uint64_t size = 0;
        V4_RETURN_IF_ERROR(checkName(inner, value.name(), names));
        V4_RETURN_IF_ERROR(checkShape(inner, value.dtype(), value.shape(), size));
        auto want =
            std::find_if(wanted.begin(), wanted.end(), [&](const Want &w) { return w.name == text(value.name()); });
        if (want == wanted.end())
          return bad(inner, "this kind of entry has no such ", kind);
        if (value.dtype() != want->dtype ||
            !std::equal(value.shape()->begin(), value.shape()->end(), want->shape.begin(), want->shape.end()))
          return bad(inner, "expected ", dtypeName(want->dtype), " with ", want->shape.size(), " extents for ", rows,
                     " rows, found ", dtypeName(value.dtype()), " ", shapeText(*value.shape()));
        bytes.push_back(size);
      }
      for (const Want &want : wanted)
        if (!names.contains(want.name))
          return bad(where, "it lacks the ", kind, " '", want.name, "'");
      return {};
    };
    V4_RETURN_IF_ERROR(check("input", entry.inputs(), inputs, inputBytes));
    return check("output", entry.outputs(), outputs, outputBytes);
  }

  Status verifyBinding(std::string_view where, const fbs::Entry &entry, const fbs::Binding &binding) {
    uint64_t limit = 0, count = 0, size = 0;
    std::string_view what;
    auto object = [&](std::string_view name, const std::vector<uint64_t> &sizes) {
      what = name;
      limit = sizes.size();
      size = binding.index() < limit ? sizes[binding.index()] : 0;
    };
    switch (binding.kind()) {
    case BindingKind::Arena:
      what = "arena";
      limit = 1;
      size = entry.arena_bytes();
      break;
    case BindingKind::Parameter:
      object("parameter", parameterBytes);
      break;
    case BindingKind::TableOffsets:
      object("parameter", parameterBytes);
      if (binding.index() < limit) {
        count = module.parameters()->Get(binding.index())->rows();
        if (count == 0)
          return bad(where, "parameter ", binding.index(), " is not a table and has no row offsets");
        size = count * sizeof(int64_t);
      }
      break;
    case BindingKind::State:
      object("state", stateBytes);
      if (isDecode(entry))
        size *= model->slots(); // verifyStates has seen that this fits
      break;
    case BindingKind::Input:
      object("input", inputBytes);
      break;
    case BindingKind::Output:
      object("output", outputBytes);
      break;
    default:
      return bad(where, "binding kind ", static_cast<unsigned>(binding.kind()), " is unknown");
    }
    if (binding.index() >= limit)
      return bad(where, what, " ", binding.index(), " does not exist; there are ", limit);
    if (!rangeFits(binding.offset(), binding.bytes(), size))
      return bad(where, "bytes ", binding.offset(), " + ", binding.bytes(), " reach beyond the ", size, " of its ",
                 what);
    return {};
  }

  Status verifyLaunches(const std::string &entryName, const fbs::Target &target, const fbs::Entry &entry) {
    const auto *launches = entry.launches();
    if (!launches || launches->size() == 0)
      return bad(entryName, "it launches nothing");
    size_t kernels = target.kernels() ? target.kernels()->size() : 0;
    for (size_t i = 0; i != launches->size(); ++i) {
      const fbs::Launch &launch = *launches->Get(i);
      std::string where = concat(entryName, ", ", at("launch", i, launch.name()));
      if (text(launch.name()).empty())
        return bad(where, "it has no name");
      if (!aligned(launch.bindings()) || !aligned(launch.zero()))
        return bad(where, "its bindings are not aligned in the file");
      if (launch.kernel() >= kernels)
        return bad(where, "kernel ", launch.kernel(), " does not exist; there are ", kernels);
      uint32_t wanted = target.kernels()->Get(launch.kernel())->bindings();
      uint32_t found = launch.bindings() ? launch.bindings()->size() : 0;
      if (wanted != found)
        return bad(where, "its kernel takes ", wanted, " bindings, it gives ", found);
      for (uint32_t j = 0; j != found; ++j)
        V4_RETURN_IF_ERROR(verifyBinding(concat(where, ", binding ", j), entry, *launch.bindings()->Get(j)));
      for (uint32_t j = 0; launch.zero() && j != launch.zero()->size(); ++j) {
        const fbs::Binding &counter = *launch.zero()->Get(j);
        std::string inner = concat(where, ", counter ", j);
        if (counter.kind() != BindingKind::Arena)
          return bad(inner, "only the arena can be cleared");
        V4_RETURN_IF_ERROR(verifyBinding(inner, entry, counter));
      }
      if (launch.tensor_maps() && launch.tensor_maps()->size()) {
        if (onCpu)
          return bad(where, "tensor maps have no meaning on a CPU");
        for (uint32_t map : *launch.tensor_maps())
          if (map >= found)
            return bad(where, "tensor map of binding ", map, ", which does not exist");
      }
    }
    return {};
  }

  Status verifyTaps(const std::string &entryName, const fbs::Entry &entry) {
    std::set<std::string_view> names;
    for (size_t i = 0; entry.taps() && i != entry.taps()->size(); ++i) {
      const fbs::Tap &tap = *entry.taps()->Get(i);
      std::string where = concat(entryName, ", ", at("tap", i, tap.name()));
      uint64_t bytes = 0;
      V4_RETURN_IF_ERROR(checkName(where, tap.name(), names));
      V4_RETURN_IF_ERROR(checkShape(where, tap.dtype(), tap.shape(), bytes));
      if (tap.dtype() != DType::F32 && tap.dtype() != DType::I32 && tap.dtype() != DType::BF16)
        return bad(where, "values of type ", dtypeName(tap.dtype()), " cannot be reported");
      if (tap.shape()->Get(0) != entry.rows() && entry.rows() != 1)
        return bad(where, "shape ", shapeText(*tap.shape()), " does not begin with the ", entry.rows(),
                   " rows of the entry");
      if (tap.launch() >= entry.launches()->size())
        return bad(where, "launch ", tap.launch(), " does not exist; there are ", entry.launches()->size());
      if (!tap.buffer())
        return bad(where, "it names no buffer");
      V4_RETURN_IF_ERROR(verifyBinding(where, entry, *tap.buffer()));
      if (tap.buffer()->kind() == BindingKind::Parameter || tap.buffer()->kind() == BindingKind::TableOffsets)
        return bad(where, "a parameter is not a value of the run");
      if (tap.buffer()->bytes() != bytes)
        return bad(where, "its buffer has ", tap.buffer()->bytes(), " bytes, shape ", shapeText(*tap.shape()),
                   " needs ", bytes);
    }
    return {};
  }

  const fbs::Module &module;
  const fbs::Model *model = nullptr;
  bool onCpu = false;
  std::optional<DType> hiddenType;
  uint64_t stateTotal = 0;
  std::vector<uint64_t> parameterBytes, stateBytes, inputBytes, outputBytes;
};

template <typename T> T load(Bytes file, size_t offset) {
  T value;
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

} // namespace

unsigned elementBytes(fbs::DType dtype) {
  switch (dtype) {
  case DType::I8:
  case DType::F8E4M3:
  case DType::F8E8M0:
    return 1;
  case DType::BF16:
    return 2;
  case DType::I32:
  case DType::F32:
    return 4;
  case DType::I64:
    return 8;
  }
  return 0;
}

std::string_view dtypeName(fbs::DType dtype) {
  switch (dtype) {
  case DType::I8:
    return "I8";
  case DType::I32:
    return "I32";
  case DType::I64:
    return "I64";
  case DType::BF16:
    return "BF16";
  case DType::F32:
    return "F32";
  case DType::F8E4M3:
    return "F8_E4M3";
  case DType::F8E8M0:
    return "F8_E8M0";
  }
  return "?";
}

uint64_t arrayBytes(fbs::DType dtype, const flatbuffers::Vector<uint64_t> &shape, unsigned first) {
  return elementCount(shape, first).value_or(0) * elementBytes(dtype);
}

std::string shapeText(const flatbuffers::Vector<uint64_t> &shape) {
  std::string out = "[";
  for (unsigned i = 0; i != shape.size(); ++i)
    out += concat(i ? ", " : "", shape.Get(i));
  return out + "]";
}

uint64_t fnv1a(Bytes bytes) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (std::byte byte : bytes)
    hash = (hash ^ static_cast<uint64_t>(byte)) * 0x100000001B3u;
  return hash;
}

std::string moduleHeader(Bytes payload) {
  std::string header(moduleHeaderSize, '\0');
  auto store = [&](size_t offset, auto value) { std::memcpy(header.data() + offset, &value, sizeof value); };
  std::memcpy(header.data(), "V4CM", 4);
  store(4, moduleMajor);
  store(6, moduleMinor);
  store(8, uint32_t(moduleHeaderSize));
  store(16, uint64_t(payload.size()));
  store(24, fnv1a(payload));
  return header;
}

Expected<const fbs::Module *> verifyModule(Bytes file) {
  if (file.size() < 8 || std::memcmp(file.data(), "V4CM", 4) != 0)
    return invalid("this is not a v4 module: it does not begin with V4CM; compile one with v4c -o M.v4m");
  uint16_t major = load<uint16_t>(file, 4), minor = load<uint16_t>(file, 6);
  if (major != moduleMajor)
    return invalid("the module has format ", major, ".", minor, ", this runtime reads ", moduleMajor,
                   ".x; compile it again with the v4c of this runtime, or use a matching v4-run");
  if (file.size() < moduleHeaderSize)
    return invalid("the module is truncated inside its header (", file.size(), " of ", moduleHeaderSize, " bytes)");
  if (load<uint32_t>(file, 8) != moduleHeaderSize)
    return invalid("the module's header size is ", load<uint32_t>(file, 8), ", expected ", moduleHeaderSize, rebuild);
  bool zeroes = load<uint32_t>(file, 12) == 0;
  for (size_t i = 32; i != moduleHeaderSize; ++i)
    zeroes &= file[i] == std::byte(0);
  if (!zeroes)
    return invalid(
        "flags or reserved bytes of the module's header are set; the file is damaged or needs a newer runtime");
  uint64_t payloadSize = load<uint64_t>(file, 16);
  if (payloadSize != file.size() - moduleHeaderSize)
    return invalid("the module's header promises ", payloadSize, " bytes after it, the file has ",
                   file.size() - moduleHeaderSize, "; it is truncated or damaged, copy it again");
  Bytes payload = file.subspan(moduleHeaderSize);
  if (load<uint64_t>(file, 24) != fnv1a(payload))
    return invalid("the module's checksum is wrong; the file is damaged, copy or compile it again");

  if (payload.size() < 16 || payload.size() >= FLATBUFFERS_MAX_BUFFER_SIZE)
    return invalid("a payload of ", payload.size(), " bytes is too short or too long for a module", rebuild);
  const uint8_t *data = reinterpret_cast<const uint8_t *>(payload.data());
  if (!fbs::ModuleBufferHasIdentifier(data))
    return invalid("the module's payload does not carry the identifier V4MD", rebuild);
  flatbuffers::Verifier structure(data, payload.size(), /*max_depth=*/16, /*max_tables=*/4'000'000);
  if (!fbs::VerifyModuleBuffer(structure))
    return invalid("the module's structure is damaged: an offset or length points outside the file", rebuild);
  const fbs::Module *module = fbs::GetModule(data);
  V4_RETURN_IF_ERROR(Verifier(*module).run());
  return module;
}

} // namespace v4
