// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Entry points and layer bodies of the `model` stage: named arguments, one private function per distinct body.

#include "frontend/ImportModel.h"
#include "frontend/Blocks.h"
#include "frontend/Files.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SmallSet.h"

using namespace mlir;
using namespace mlir::v4;

namespace {

/// Angles of rotary tables are exact up to this position (v4.rope_table).
constexpr int64_t maxContextLimit = int64_t(1) << 21;
constexpr int64_t maxRows = int64_t(1) << 20, maxSlots = 1024;

Type elementType(MLIRContext *context, DType dtype) {
  switch (dtype) {
  case DType::F32:
    return Float32Type::get(context);
  case DType::BF16:
    return BFloat16Type::get(context);
  case DType::F8E4M3:
    return Float8E4M3FNType::get(context);
  case DType::F8E8M0:
    return Float8E8M0FNUType::get(context);
  case DType::I8:
    return IntegerType::get(context, 8);
  case DType::I64:
    return IntegerType::get(context, 64);
  default:
    llvm_unreachable("no parameter is stored in this type");
  }
}

/// Arguments of one function under construction: types and attributes first, values once the function exists.
class Signature {
public:
  explicit Signature(MLIRContext *context) : builder(context) {}

  unsigned add(Type type, StringRef attrName = "", Attribute attr = {}) {
    types.push_back(type);
    attrs.push_back(attr ? builder.getDictionaryAttr(builder.getNamedAttr(attrName, attr)) : DictionaryAttr());
    return types.size() - 1;
  }
  unsigned addWeight(const SourceView &view) {
    MLIRContext *context = builder.getContext();
    Type element = elementType(context, view.dtype);
    return add(RankedTensorType::get(view.shape, element), "v4.weight",
               WeightAttr::get(context, view.tensor, element, view.tensorShape, view.offset, view.stride));
  }

  SmallVector<Type> types;
  SmallVector<DictionaryAttr> attrs;

private:
  Builder builder;
};

/// The parameters and states of one layer, or the parameters of one end of the model.
struct Unit {
  std::string path; // "layers.3", "mtp.0", "" for the ends
  int64_t ratio = 0;
  bool hash = false;
  SmallVector<const Parameter *> parameters;
  SmallVector<StateSpec> states;
};

/// Where the arguments of a unit start in a function.
struct UnitArguments {
  unsigned firstWeight = 0, firstState = 0;
};

class Importer {
public:
  Importer(MLIRContext *context, const Config &config, const ImportOptions &options, ModelParameters parameters)
      : context(context), config(config), options(options), parameters(std::move(parameters)), b(context) {}

  FailureOr<OwningOpRef<ModuleOp>> run();

private:
  enum class EntryKind { Main, Mtp };
  /// What one run of an entry takes: `rows` tokens of a sequence, or in decode one of each of `rows` slots.
  struct Call {
    int64_t rows;
    bool decode;
    /// Whether states have a leading dimension. A single slot needs none.
    bool slots() const { return decode && rows > 1; }
  };

  void collectUnits();
  FailureOr<const Unit *> findLayer();
  void setModuleAttributes();
  void buildEntry(EntryKind kind, Call call, bool inlineBody);
  void buildLayer(const Unit &unit, Call call);
  void buildHead(Call call);

  //===--- Functions ---===//
  func::FuncOp startFunction(StringRef name, const Signature &signature, TypeRange results);
  void markEntry(func::FuncOp func, EntryKind kind, Call call);
  /// Result attributes of an entry: named outputs first, then the states.
  void setResultAttrs(func::FuncOp func, ArrayRef<StringRef> outputs, ArrayRef<const Unit *> units);
  func::FuncOp getBody(const Unit &unit, Call call, const LayerValues &shared, Value streams);

  //===--- Arguments ---===//
  void addWeights(Signature &signature, const Unit &unit, bool named);
  void addStates(Signature &signature, const Unit &unit, Call call, bool named);
  StateAttr stateAttr(const Unit &unit, const StateSpec &state) {
    return StateAttr::get(context, unit.path + "." + state.name, state.kind, state.ratio, state.overlap,
                          state.quantized, state.bits);
  }
  RankedTensorType stateType(const StateSpec &state, Call call) {
    Type element = state.format == KvFormat::Packed ? Type(b.getI8Type())
                   : state.format == KvFormat::BF16 ? Type(b.getBF16Type())
                                                    : Type(b.getF32Type());
    SmallVector<int64_t> shape(state.shape.begin(), state.shape.end());
    if (call.slots())
      shape.insert(shape.begin(), call.rows);
    return RankedTensorType::get(shape, element);
  }
  /// Type of the residual and of other values between ops.
  RankedTensorType act(ArrayRef<int64_t> shape) {
    return RankedTensorType::get(shape, options.form.bf16() ? Type(b.getBF16Type()) : Type(b.getF32Type()));
  }
  RankedTensorType spanType(Call call) { return call.slots() ? i32({call.rows, 2}) : i32({2}); }
  RankedTensorType f32(ArrayRef<int64_t> shape) { return RankedTensorType::get(shape, b.getF32Type()); }
  RankedTensorType i32(ArrayRef<int64_t> shape) { return RankedTensorType::get(shape, b.getI32Type()); }
  /// Fills in the weights and states of a unit from consecutive arguments.
  void bind(LayerValues &values, const Unit &unit, Block &block, unsigned firstWeight, unsigned firstState);
  unsigned weightCount(const Unit &unit) {
    unsigned count = 0;
    for (const Parameter *parameter : unit.parameters)
      count += parameter->scale ? 2 : 1;
    return count;
  }

  std::string suffix(Call call) { return call.decode ? "decode" : "prefill_" + std::to_string(call.rows); }
  std::string bodyName(const Unit &unit) { return (layerKind(unit.ratio) + (unit.hash ? "_hash" : "_scored")).str(); }
  int64_t logitRows(Call call) { return options.logitsAll || call.decode ? call.rows : 1; }

  MLIRContext *context;
  const Config &config;
  const ImportOptions &options;
  ModelParameters parameters;
  OpBuilder b;
  ModuleOp module;
  Unit embedding, headUnit, mtpFrame, mtpUnit;
  std::vector<Unit> layers;
  /// Bodies by name and type: layers of one kind differ only where their weights are stored differently.
  llvm::MapVector<std::pair<StringAttr, Type>, func::FuncOp> bodies;
  llvm::StringMap<unsigned> bodyNames;
};

/// The rotary tables of one entry, each made when the first layer needs it.
class Tables {
public:
  Tables(BlockBuilder &blocks, Value positions, Value span) : blocks(blocks), positions(positions), span(span) {}

  void fill(LayerValues &values, int64_t ratio) {
    Value &table = ratio == 0 ? plain : compressed;
    if (!table)
      table = blocks.ropeTable(ratio == 0 ? "rope.window" : "rope.compressed", positions, ratio != 0);
    values.table = table;
    if (ratio == 0)
      return;
    auto &[entryPositions, entryTable] = entries[ratio];
    if (!entryPositions) {
      std::string name = "entries_" + std::to_string(ratio);
      entryPositions = blocks.entryPositions(name + ".positions", span, ratio);
      entryTable = blocks.ropeTable(name + ".rope", entryPositions, /*compressed=*/true);
    }
    values.entryPositions = entryPositions;
    values.entryTable = entryTable;
  }

private:
  BlockBuilder &blocks;
  Value positions, span, plain, compressed;
  DenseMap<int64_t, std::pair<Value, Value>> entries;
};

void Importer::collectUnits() {
  layers.resize(config.layers);
  for (auto [index, unit] : llvm::enumerate(layers)) {
    unit.path = "layers." + std::to_string(index);
    unit.ratio = config.ratios[index];
    unit.hash = config.isHash(index);
    unit.states = listStates(config, unit.ratio, options.maxContext, options.form);
  }
  mtpUnit.path = "mtp.0";
  mtpUnit.states = listStates(config, 0, options.maxContext, options.form);
  for (const Parameter &parameter : parameters.list) {
    switch (parameter.spec.part) {
    case ParameterPart::Embedding:
      embedding.parameters.push_back(&parameter);
      break;
    case ParameterPart::Layer:
      layers[parameter.spec.layer].parameters.push_back(&parameter);
      break;
    case ParameterPart::Head:
      headUnit.parameters.push_back(&parameter);
      break;
    case ParameterPart::MtpFrame:
      mtpFrame.parameters.push_back(&parameter);
      break;
    case ParameterPart::MtpLayer:
      mtpUnit.parameters.push_back(&parameter);
      break;
    }
  }
}

void Importer::addWeights(Signature &signature, const Unit &unit, bool named) {
  for (const Parameter *parameter : unit.parameters) {
    for (const SourceView *view : {&parameter->weight, parameter->scale ? &*parameter->scale : nullptr}) {
      if (!view)
        continue;
      signature.addWeight(*view);
      if (!named)
        signature.attrs.back() = {};
    }
  }
}

void Importer::addStates(Signature &signature, const Unit &unit, Call call, bool named) {
  for (const StateSpec &state : unit.states)
    signature.add(stateType(state, call), "v4.state", named ? stateAttr(unit, state) : StateAttr());
}

void Importer::bind(LayerValues &values, const Unit &unit, Block &block, unsigned firstWeight, unsigned firstState) {
  for (const Parameter *parameter : unit.parameters) {
    Value weight = block.getArgument(firstWeight++);
    Value scale = parameter->scale ? block.getArgument(firstWeight++) : Value();
    values.weights[parameter->spec.localName()] = {weight, scale};
  }
  for (const StateSpec &state : unit.states)
    values.states[state.name] = block.getArgument(firstState++);
}

func::FuncOp Importer::startFunction(StringRef name, const Signature &signature, TypeRange results) {
  auto func =
      func::FuncOp::create(NameLoc::get(b.getStringAttr(name)), name, b.getFunctionType(signature.types, results));
  for (auto [index, attrs] : llvm::enumerate(signature.attrs))
    if (attrs)
      func.setArgAttrs(index, attrs);
  b.setInsertionPointToStart(func.addEntryBlock());
  return func;
}

void Importer::markEntry(func::FuncOp func, EntryKind kind, Call call) {
  std::string prefix = kind == EntryKind::Mtp ? "mtp_" : "";
  func->setAttr("v4.entry", b.getStringAttr(prefix + (call.decode ? "decode" : "prefill")));
  func->setAttr("v4.rows", b.getI64IntegerAttr(call.rows));
}

void Importer::setResultAttrs(func::FuncOp func, ArrayRef<StringRef> outputs, ArrayRef<const Unit *> units) {
  unsigned index = 0;
  for (StringRef output : outputs)
    func.setResultAttr(index++, "v4.output", b.getStringAttr(output));
  for (const Unit *unit : units)
    for (const StateSpec &state : unit->states)
      func.setResultAttr(index++, "v4.state", stateAttr(*unit, state));
}

/// The body that a layer calls: found by name and type, or built.
func::FuncOp Importer::getBody(const Unit &unit, Call call, const LayerValues &shared, Value streams) {
  Signature signature(context);
  unsigned streamsIndex = signature.add(streams.getType());
  auto addShared = [&](Value value) { return value ? signature.add(value.getType()) : ~0u; };
  unsigned tokens = addShared(unit.hash ? shared.tokens : Value());
  unsigned positions = addShared(shared.positions), span = addShared(shared.span), table = addShared(shared.table);
  unsigned entryPositions = addShared(shared.entryPositions), entryTable = addShared(shared.entryTable);
  unsigned firstWeight = signature.types.size();
  addWeights(signature, unit, /*named=*/false);
  unsigned firstState = signature.types.size();
  addStates(signature, unit, call, /*named=*/false);
  SmallVector<Type> results{streams.getType()};
  for (const StateSpec &state : unit.states)
    results.push_back(stateType(state, call));

  std::string name = bodyName(unit) + "_" + suffix(call);
  auto [entry, inserted] =
      bodies.insert({{b.getStringAttr(name), b.getFunctionType(signature.types, results)}, func::FuncOp()});
  if (!inserted)
    return entry->second;
  if (unsigned number = ++bodyNames[name]; number > 1)
    name += "_" + std::to_string(number);

  OpBuilder::InsertionGuard guard(b);
  func::FuncOp func = startFunction(name, signature, results);
  func.setPrivate();
  entry->second = func;
  module.push_back(func);

  Block &block = func.getBody().front();
  auto argument = [&](unsigned index) { return index == ~0u ? Value() : Value(block.getArgument(index)); };
  LayerValues values;
  values.tokens = argument(tokens);
  values.positions = argument(positions);
  values.span = argument(span);
  values.table = argument(table);
  values.entryPositions = argument(entryPositions);
  values.entryTable = argument(entryTable);
  bind(values, unit, block, firstWeight, firstState);
  BlockBuilder blocks(b, config, call.rows, call.slots(), options.form);
  SmallVector<Value> returned{blocks.layer(block.getArgument(streamsIndex), unit.ratio, unit.hash, values)};
  for (const StateSpec &state : unit.states)
    returned.push_back(values.states.lookup(state.name));
  func::ReturnOp::create(b, func.getLoc(), returned);
  return func;
}

/// The whole model, or the MTP block, for one number of rows.
void Importer::buildEntry(EntryKind kind, Call call, bool inlineBody) {
  bool isMtp = kind == EntryKind::Mtp;
  SmallVector<const Unit *> blocksOfEntry;
  if (isMtp)
    blocksOfEntry.push_back(&mtpUnit);
  else
    for (const Unit &unit : layers)
      blocksOfEntry.push_back(&unit);
  // The MTP block has a head of its own, except for the projection to logits, which is the last head parameter.
  Unit headWeights;
  if (isMtp)
    headWeights.parameters.push_back(headUnit.parameters.back());
  else
    headWeights.parameters = headUnit.parameters;

  Signature signature(context);
  auto streamsType = act({call.rows, config.streams, config.hiddenSize});
  unsigned tokens = signature.add(i32({call.rows}), "v4.input", b.getStringAttr("tokens"));
  unsigned positions = signature.add(i32({call.rows}), "v4.input", b.getStringAttr("positions"));
  unsigned span = signature.add(spanType(call), "v4.input", b.getStringAttr("span"));
  unsigned hidden = isMtp ? signature.add(streamsType, "v4.input", b.getStringAttr("hidden")) : 0;
  unsigned embed = signature.types.size();
  addWeights(signature, embedding, /*named=*/true);
  unsigned frame = signature.types.size();
  if (isMtp)
    addWeights(signature, mtpFrame, /*named=*/true);
  SmallVector<UnitArguments> arguments(blocksOfEntry.size());
  for (auto [unit, argument] : llvm::zip_equal(blocksOfEntry, arguments)) {
    argument.firstWeight = signature.types.size();
    addWeights(signature, *unit, /*named=*/true);
  }
  unsigned headFirst = signature.types.size();
  addWeights(signature, headWeights, /*named=*/true);
  for (auto [unit, argument] : llvm::zip_equal(blocksOfEntry, arguments)) {
    argument.firstState = signature.types.size();
    addStates(signature, *unit, call, /*named=*/true);
  }

  SmallVector<Type> results{f32({logitRows(call), config.vocabSize})};
  SmallVector<StringRef> outputs{"logits"};
  if (!isMtp && options.mtp) {
    results.push_back(streamsType);
    outputs.push_back("hidden");
  }
  for (const Unit *unit : blocksOfEntry)
    for (const StateSpec &state : unit->states)
      results.push_back(stateType(state, call));

  func::FuncOp func = startFunction((isMtp ? "mtp_" : "") + suffix(call), signature, results);
  markEntry(func, kind, call);
  setResultAttrs(func, outputs, blocksOfEntry);

  Block &block = func.getBody().front();
  BlockBuilder blocks(b, config, call.rows, call.slots(), options.form);
  LayerValues shared;
  shared.tokens = block.getArgument(tokens);
  shared.positions = block.getArgument(positions);
  shared.span = block.getArgument(span);
  Tables tables(blocks, shared.positions, shared.span);
  LayerValues mtpValues;
  Value streams;
  if (isMtp) {
    bind(mtpValues, mtpFrame, block, frame, /*firstState=*/0);
    streams = blocks.mtpInput(shared.tokens, block.getArgument(hidden), block.getArgument(embed), mtpValues);
  } else {
    streams = blocks.expand(blocks.embed(shared.tokens, block.getArgument(embed)));
  }

  SmallVector<Value> newStates;
  for (auto [unit, argument] : llvm::zip_equal(blocksOfEntry, arguments)) {
    LayerValues values = shared;
    tables.fill(values, unit->ratio);
    if (inlineBody) {
      bind(values, *unit, block, argument.firstWeight, argument.firstState);
      streams = blocks.layer(streams, unit->ratio, unit->hash, values);
      for (const StateSpec &state : unit->states)
        newStates.push_back(values.states.lookup(state.name));
      continue;
    }
    func::FuncOp body = getBody(*unit, call, values, streams);
    SmallVector<Value> operands{streams};
    if (unit->hash)
      operands.push_back(values.tokens);
    operands.append({values.positions, values.span, values.table});
    if (unit->ratio != 0)
      operands.append({values.entryPositions, values.entryTable});
    llvm::append_range(operands, block.getArguments().slice(argument.firstWeight, weightCount(*unit)));
    llvm::append_range(operands, block.getArguments().slice(argument.firstState, unit->states.size()));
    auto call = func::CallOp::create(b, NameLoc::get(b.getStringAttr(unit->path)), body, operands);
    call->setAttr("v4.path", b.getStringAttr(unit->path));
    streams = call.getResult(0);
    llvm::append_range(newStates, call.getResults().drop_front());
  }

  Value logits;
  if (isMtp) {
    logits = blocks.head("mtp.0", streams, shared.span, options.logitsAll, mtpValues.weight("hc_head_fn"),
                         mtpValues.weight("hc_head_scale"), mtpValues.weight("hc_head_base"),
                         mtpValues.weight("norm.weight"), block.getArgument(headFirst));
  } else {
    LayerValues headValues;
    bind(headValues, headWeights, block, headFirst, 0);
    logits = blocks.head("head", streams, shared.span, options.logitsAll, headValues.weight("hc_head_fn"),
                         headValues.weight("hc_head_scale"), headValues.weight("hc_head_base"),
                         headValues.weight("norm.weight"), headValues.weight("head.weight"));
  }
  SmallVector<Value> returned{logits};
  if (outputs.size() > 1)
    returned.push_back(streams);
  llvm::append_range(returned, newStates);
  func::ReturnOp::create(b, func.getLoc(), returned);
  module.push_back(func);
}

/// One layer with its rotary tables as a public function: what a pass test wants to look at.
void Importer::buildLayer(const Unit &unit, Call call) {
  Signature signature(context);
  auto streamsType = act({call.rows, config.streams, config.hiddenSize});
  unsigned tokens = unit.hash ? signature.add(i32({call.rows}), "v4.input", b.getStringAttr("tokens")) : 0;
  unsigned positions = signature.add(i32({call.rows}), "v4.input", b.getStringAttr("positions"));
  unsigned span = signature.add(spanType(call), "v4.input", b.getStringAttr("span"));
  unsigned hidden = signature.add(streamsType, "v4.input", b.getStringAttr("hidden"));
  unsigned firstWeight = signature.types.size();
  addWeights(signature, unit, /*named=*/true);
  unsigned firstState = signature.types.size();
  addStates(signature, unit, call, /*named=*/true);
  SmallVector<Type> results{streamsType};
  for (const StateSpec &state : unit.states)
    results.push_back(stateType(state, call));

  func::FuncOp func = startFunction(bodyName(unit) + "_" + suffix(call), signature, results);
  markEntry(func, EntryKind::Main, call);
  setResultAttrs(func, {"hidden"}, {&unit});
  Block &block = func.getBody().front();
  BlockBuilder blocks(b, config, call.rows, call.slots(), options.form);
  LayerValues values;
  if (unit.hash)
    values.tokens = block.getArgument(tokens);
  values.positions = block.getArgument(positions);
  values.span = block.getArgument(span);
  Tables(blocks, values.positions, values.span).fill(values, unit.ratio);
  bind(values, unit, block, firstWeight, firstState);
  SmallVector<Value> returned{blocks.layer(block.getArgument(hidden), unit.ratio, unit.hash, values)};
  for (const StateSpec &state : unit.states)
    returned.push_back(values.states.lookup(state.name));
  func::ReturnOp::create(b, func.getLoc(), returned);
  module.push_back(func);
}

void Importer::buildHead(Call call) {
  Signature signature(context);
  unsigned span = signature.add(spanType(call), "v4.input", b.getStringAttr("span"));
  unsigned hidden =
      signature.add(act({call.rows, config.streams, config.hiddenSize}), "v4.input", b.getStringAttr("hidden"));
  unsigned firstWeight = signature.types.size();
  addWeights(signature, headUnit, /*named=*/true);
  func::FuncOp func = startFunction("head_" + suffix(call), signature, f32({logitRows(call), config.vocabSize}));
  markEntry(func, EntryKind::Main, call);
  setResultAttrs(func, {"logits"}, {});
  Block &block = func.getBody().front();
  LayerValues values;
  bind(values, headUnit, block, firstWeight, 0);
  Value logits = BlockBuilder(b, config, call.rows, call.slots(), options.form)
                     .head("head", block.getArgument(hidden), block.getArgument(span), options.logitsAll,
                           values.weight("hc_head_fn"), values.weight("hc_head_scale"), values.weight("hc_head_base"),
                           values.weight("norm.weight"), values.weight("head.weight"));
  func::ReturnOp::create(b, func.getLoc(), logits);
  module.push_back(func);
}

/// The first layer of the kind that `options.layer` names.
FailureOr<const Unit *> Importer::findLayer() {
  auto [kind, router] = StringRef(options.layer).split('-');
  SmallVector<std::string> present;
  for (const Unit &unit : layers) {
    std::string name = (layerKind(unit.ratio) + (unit.hash ? "-hash" : "-scored")).str();
    if (layerKind(unit.ratio) == kind && (router.empty() || router == (unit.hash ? "hash" : "scored")))
      return &unit;
    if (!llvm::is_contained(present, name))
      present.push_back(name);
  }
  return contentError(context, config.file) << "the model has no layer '" << options.layer << "'; it has "
                                            << llvm::join(present, ", ") << ", mtp and head";
}

void Importer::setModuleAttributes() {
  auto integer = [&](StringRef name, int64_t value) { return b.getNamedAttr(name, b.getI64IntegerAttr(value)); };
  module->setAttr(
      "v4.model",
      b.getDictionaryAttr({b.getNamedAttr("model_type", b.getStringAttr(config.modelType)),
                           integer("vocab_size", config.vocabSize), integer("hidden_size", config.hiddenSize),
                           integer("streams", config.streams), integer("layers", config.layers),
                           integer("max_context", options.maxContext), integer("slots", options.slots),
                           integer("eos_token", config.eosToken), integer("experts_per_token", config.expertsPerToken),
                           b.getNamedAttr("logits_all", b.getBoolAttr(options.logitsAll)),
                           b.getNamedAttr("mtp", b.getBoolAttr(options.mtp || options.layer == "mtp"))}));
  auto name = [](auto value, ArrayRef<StringRef> names) { return names[static_cast<size_t>(value)]; };
  module->setAttr("v4.numerics", b.getStringAttr(name(options.form.numerics, {"f32", "reference", "fast"})));
  module->setAttr("v4.kv", b.getStringAttr(name(options.form.kv, {"f32", "bf16", "packed"})));
  SmallVector<StringRef> ignored(parameters.ignored.begin(), parameters.ignored.end());
  module->setAttr("v4.ignored", b.getStrArrayAttr(ignored));
}

FailureOr<OwningOpRef<ModuleOp>> Importer::run() {
  collectUnits();
  OwningOpRef<ModuleOp> owner = ModuleOp::create(UnknownLoc::get(context));
  module = *owner;
  setModuleAttributes();

  const Unit *layer = nullptr;
  if (!options.layer.empty() && options.layer != "mtp" && options.layer != "head") {
    FailureOr<const Unit *> found = findLayer();
    if (failed(found))
      return failure();
    layer = *found;
  }
  SmallVector<int64_t> buckets(options.prefill);
  llvm::sort(buckets);
  buckets.erase(llvm::unique(buckets), buckets.end());
  auto build = [&](Call call) {
    if (layer)
      return buildLayer(*layer, call);
    if (options.layer == "head")
      return buildHead(call);
    if (options.layer != "mtp")
      buildEntry(EntryKind::Main, call, /*inlineBody=*/false);
    if (options.mtp || options.layer == "mtp")
      buildEntry(EntryKind::Mtp, call, /*inlineBody=*/options.layer == "mtp");
  };
  build({options.slots, /*decode=*/true});
  for (int64_t rows : buckets)
    build({rows, /*decode=*/false});
  return owner;
}

} // namespace

StringRef mlir::v4::layerKind(int64_t ratio) {
  return ratio == 0 ? "swa" : ratio == overlapRatio ? "csa" : "hca";
}

void mlir::v4::loadFrontendDialects(MLIRContext *context) {
  context->loadDialect<V4Dialect, func::FuncDialect, tensor::TensorDialect>();
}

FailureOr<OwningOpRef<ModuleOp>> mlir::v4::importModel(MLIRContext *context, const Config &config,
                                                       const Checkpoint *checkpoint, const ImportOptions &options) {
  if (options.maxContext < 1 || options.maxContext > maxContextLimit)
    return contentError(context, config.file)
           << "a maximum context of " << options.maxContext << " is not supported; accepted: 1 to " << maxContextLimit;
  int64_t mostRows = std::min<int64_t>(maxRows, INT32_MAX / config.expertsPerToken);
  for (int64_t rows : options.prefill)
    if (rows < 1 || rows > mostRows)
      return contentError(context, config.file)
             << "a prefill bucket of " << rows << " rows is not supported; accepted: 1 to " << mostRows;
  if (options.slots < 1 || options.slots > std::min(maxSlots, mostRows))
    return contentError(context, config.file)
           << options.slots << " slots are not supported; accepted: 1 to " << std::min(maxSlots, mostRows);
  if (options.form.kv == KvFormat::Packed && !canPack(config))
    return contentError(context, config.file)
           << "rows of " << config.headDim - config.ropeDim << " columns without rotation and index keys of "
           << config.indexDim << " cannot be packed, which takes multiples of 64 and 32; use --kv=bf16";
  loadFrontendDialects(context);
  FailureOr<ModelParameters> parameters =
      resolveParameters(context, config, checkpoint, options.mtp || options.layer == "mtp");
  if (failed(parameters))
    return failure();
  if (parameters->hasDrafter)
    emitRemark(UnknownLoc::get(context)) << "'" << checkpoint->directory
                                         << "' holds a DSpark drafter, which is left out";
  return Importer(context, config, options, std::move(*parameters)).run();
}
