// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Stage `kernels` to the bytes of a module file.

#include "lowering/EmitModule.h"

#include "dialects/V4.h"
#include "lowering/emu/EmuImage.h"
#include "lowering/nvptx/GpuImage.h"
#include "runtime/v4_module_generated.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/Endian.h"

using namespace mlir;
using namespace mlir::v4;
namespace fb = ::v4::fbs;
using flatbuffers::Offset;

static uint64_t byteSize(ShapedType type) {
  return type.getNumElements() * llvm::divideCeil(type.getElementTypeBitWidth(), 8);
}

static std::optional<fb::DType> dtypeOf(Type type) {
  if (type.isInteger(8))
    return fb::DType::I8;
  if (type.isInteger(32))
    return fb::DType::I32;
  if (type.isInteger(64))
    return fb::DType::I64;
  if (type.isBF16())
    return fb::DType::BF16;
  if (type.isF32())
    return fb::DType::F32;
  if (isa<Float8E4M3FNType>(type))
    return fb::DType::F8E4M3;
  if (isa<Float8E8M0FNUType>(type))
    return fb::DType::F8E8M0;
  return std::nullopt;
}

static fb::EntryKind entryKindOf(StringRef name) {
  return llvm::StringSwitch<fb::EntryKind>(name)
      .Case("decode", fb::EntryKind::Decode)
      .Case("prefill", fb::EntryKind::Prefill)
      .Case("mtp_decode", fb::EntryKind::MtpDecode)
      .Case("mtp_prefill", fb::EntryKind::MtpPrefill);
}

namespace {
/// Where the bytes of a value are.
struct Place {
  fb::BindingKind kind;
  uint32_t index = 0;
  uint64_t offset = 0;
};

struct ParameterInfo {
  WeightAttr weight;
  RankedTensorType type; // as in the checkpoint, whatever the layout
  StringRef layout;
};

class Emitter {
public:
  explicit Emitter(const EmitOptions &options) : options(options) {}

  FailureOr<std::string> emit(ArrayRef<EmitTarget> graphs, bool &environment) {
    std::vector<Offset<fb::Target>> targets;
    for (const EmitTarget &graph : graphs) {
      FailureOr<Offset<fb::Target>> target = emitTarget(graph, environment);
      if (failed(target))
        return failure();
      targets.push_back(*target);
    }
    auto model = emitModel();
    if (failed(model))
      return failure();
    auto root = fb::CreateModule(b, emitProvenance(), *model, emitParameters(), b.CreateVector(states),
                                 b.CreateVector(targets));
    b.Finish(root, fb::ModuleIdentifier());
    return withHeader(std::string(reinterpret_cast<const char *>(b.GetBufferPointer()), b.GetSize()));
  }

private:
  /// Kernels, entries and code of one target. Parameters and states are the module's.
  FailureOr<Offset<fb::Target>> emitTarget(const EmitTarget &target, bool &environment) {
    module = target.module;
    symbols.emplace(module);
    kernels.clear();
    kernelIndex.clear();
    kernelTables.clear();
    auto isEntry = [](func::FuncOp func) { return func->hasAttr("v4.entry"); };
    if (llvm::none_of(module.getOps<func::FuncOp>(), isEntry))
      return module.emitError("has no entry function (attribute v4.entry)");
    std::vector<std::string> features;
    // Hashes are of the kernels as they are.
    if (failed(collectKernels(target.name != "cpu")))
      return failure();
    FailureOr<std::vector<Offset<fb::Image>>> images = emitImages(target, features, environment);
    if (failed(images))
      return failure();
    std::vector<Offset<fb::Entry>> entries;
    for (auto func : module.getOps<func::FuncOp>()) {
      if (!isEntry(func))
        continue;
      FailureOr<Offset<fb::Entry>> entry = emitEntry(func);
      if (failed(entry))
        return failure();
      entries.push_back(*entry);
    }
    return fb::CreateTarget(b, b.CreateString(target.name), b.CreateVectorOfStrings(features), b.CreateVector(*images),
                            b.CreateVector(kernels), b.CreateVector(entries));
  }

  /// The code of the kernels.
  FailureOr<std::vector<Offset<fb::Image>>> emitImages(const EmitTarget &target, std::vector<std::string> &features,
                                                       bool &environment) {
    std::vector<Offset<fb::Image>> images;
    auto add = [&](fb::ImageKind kind, StringRef arch, StringRef bytes) {
      auto data = b.CreateVector(reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size());
      images.push_back(fb::CreateImage(b, kind, b.CreateString(arch.str()), data));
    };
    const GpuTarget *gpu = findGpuTarget(target.name);
    if (!gpu) {
      FailureOr<CpuImage> image = compileCpuImage(module, target.cpu, environment);
      if (failed(image))
        return failure();
      features = image->features;
      add(fb::ImageKind::Elf, "x86-64", image->elf);
    } else if (StringRef(target.name).starts_with("emu")) {
      FailureOr<EmuImage> image = compileEmuImage(module, environment);
      if (failed(image))
        return failure();
      features = image->features;
      add(fb::ImageKind::Elf, "x86-64", image->elf);
    } else {
      FailureOr<GpuImage> image = compileGpuImage(module, *gpu, environment);
      if (failed(image))
        return failure();
      add(fb::ImageKind::Ptx, gpu->chip, image->ptx);
      if (!image->cubin.empty())
        add(fb::ImageKind::Cubin, gpu->chip, image->cubin);
    }
    return images;
  }

  LogicalResult collectKernels(bool isGpu) {
    for (auto kernel : module.getOps<ModuleOp>()) {
      if (!kernel->hasAttr("v4.kernel"))
        continue;
      // A phase is a function `<kernel>.<number>` (`<kernel>_p<number>` on a GPU), and they stand in order.
      std::vector<Offset<fb::Phase>> phases;
      size_t arguments = 0;
      WalkResult result = kernel.walk([&](LLVM::LLVMFuncOp func) {
        auto grid = func->getAttrOfType<IntegerAttr>("v4.grid");
        if (!grid)
          return WalkResult::advance();
        // CUDA counts the blocks of a grid with 31 bits.
        int64_t most = isGpu ? std::numeric_limits<int32_t>::max() : std::numeric_limits<uint32_t>::max();
        if (grid.getInt() < 1 || grid.getInt() > most) {
          func.emitError() << "has a grid of " << grid.getInt() << " workgroups; accepted: 1 to " << most;
          return WalkResult::interrupt();
        }
        fb::Dim3 gridDim(grid.getInt(), 1, 1), one(1, 1, 1), block = one;
        if (auto threads = func->getAttrOfType<DenseI32ArrayAttr>(NVVM::NVVMDialect::getReqntidAttrName());
            isGpu && threads)
          block = fb::Dim3(threads[0], 1, 1);
        auto shared = func->getAttrOfType<IntegerAttr>("v4.shared");
        phases.push_back(fb::CreatePhase(b, b.CreateString(func.getName().str()), &gridDim, &block, &one,
                                         shared ? shared.getInt() : 0));
        // On a CPU the last argument is the workgroup's number.
        arguments = func.getNumArguments() - (isGpu ? 0 : 1);
        return WalkResult::advance();
      });
      if (result.wasInterrupted())
        return failure();
      StringRef name = *kernel.getSymName();
      DenseI64ArrayAttr tables = kernel->getAttrOfType<DenseI64ArrayAttr>("v4.tables");
      kernelIndex[name] = kernels.size();
      kernelTables[name] = tables ? SmallVector<int64_t>(tables.asArrayRef()) : SmallVector<int64_t>();
      kernels.push_back(fb::CreateKernel(b, b.CreateString(name.str()), arguments, b.CreateVector(phases),
                                         isGpu ? b.CreateString(hashOfKernel(kernel)) : Offset<flatbuffers::String>()));
    }
    return success();
  }

  /// The shape that a packed argument has in the checkpoint: `[.., N/16, units, 16, elements of a unit]` is
  /// `[.., N, K]`, and the last dimension is absent where a unit is one byte (docs/module-format.md).
  static FailureOr<SmallVector<int64_t>> unpackedShape(MemRefType memref, WeightAttr weight) {
    Type element = memref.getElementType();
    int64_t bits = element.getIntOrFloatBitWidth(), unitBits = isa<Float8E8M0FNUType>(element) ? 8 : 32;
    bool hasElements = unitBits != 8;
    ArrayRef<int64_t> shape = memref.getShape();
    int64_t elements = bits <= unitBits ? unitBits / bits : 0;
    if (hasElements) {
      if (shape.empty() || shape.back() != elements)
        return failure();
      shape = shape.drop_back();
    }
    constexpr int64_t packedRows = 16;
    if (shape.size() < (weight.isTable() ? 4 : 3) || shape.back() != packedRows)
      return failure();
    SmallVector<int64_t> result(shape.drop_back(3));
    result.push_back(shape[shape.size() - 3] * packedRows);
    result.push_back(shape[shape.size() - 2] * elements);
    return result;
  }

  FailureOr<uint32_t> parameterIndex(func::FuncOp func, unsigned argument, MemRefType memref, WeightAttr weight) {
    auto layout = func.getArgAttrOfType<StringAttr>(argument, "v4.layout");
    SmallVector<int64_t> shape(memref.getShape());
    if (layout) {
      FailureOr<SmallVector<int64_t>> unpacked = unpackedShape(memref, weight);
      if (failed(unpacked))
        return func.emitError()
               << "argument " << argument << " is " << memref << ", which is no shape of layout rows16; "
               << "accepted: [.., N/16, units of a row, 16, elements of a unit], a unit being a dword or an "
               << "f8E8M0FNU, whose dimension is left out";
      shape = *unpacked;
    }
    ParameterInfo info{weight, RankedTensorType::get(shape, memref.getElementType()),
                       layout ? layout.getValue() : "as-stored"};
    auto key = std::make_tuple(Attribute(weight), Type(info.type), info.layout);
    return static_cast<uint32_t>(parameters.insert({key, info}).first - parameters.begin());
  }

  FailureOr<Offset<fb::Entry>> emitEntry(func::FuncOp func) {
    Location loc = func.getLoc();
    // The dialect's verifier has seen that both attributes are there, and their values.
    fb::EntryKind kind = entryKindOf(func->getAttrOfType<StringAttr>("v4.entry").getValue());
    auto rows = func->getAttrOfType<IntegerAttr>("v4.rows");
    std::vector<Offset<fb::Value>> inputs, outputs;
    DenseMap<Value, Place> places;
    uint64_t arena = 0;
    for (BlockArgument argument : func.getArguments()) {
      unsigned i = argument.getArgNumber();
      auto type = dyn_cast<MemRefType>(argument.getType());
      if (!type || !type.hasStaticShape() || !dtypeOf(type.getElementType()))
        return emitError(loc)
               << "argument " << i << " of entry '" << func.getName() << "' is " << argument.getType()
               << "; accepted: buffers of static shape of i8, i32, i64, bf16, f32, f8E4M3FN or f8E8M0FNU";
      auto value = [&](StringRef name) {
        std::vector<uint64_t> shape(type.getShape().begin(), type.getShape().end());
        return fb::CreateValue(b, b.CreateString(name.str()), *dtypeOf(type.getElementType()), b.CreateVector(shape));
      };
      if (auto name = func.getArgAttrOfType<StringAttr>(i, "v4.input")) {
        places[argument] = {fb::BindingKind::Input, static_cast<uint32_t>(inputs.size())};
        inputs.push_back(value(name.getValue()));
      } else if (auto name = func.getArgAttrOfType<StringAttr>(i, "v4.output")) {
        places[argument] = {fb::BindingKind::Output, static_cast<uint32_t>(outputs.size())};
        outputs.push_back(value(name.getValue()));
      } else if (auto weight = func.getArgAttrOfType<WeightAttr>(i, "v4.weight")) {
        FailureOr<uint32_t> index = parameterIndex(func, i, type, weight);
        if (failed(index))
          return failure();
        places[argument] = {fb::BindingKind::Parameter, *index};
      } else if (auto state = func.getArgAttrOfType<StateAttr>(i, "v4.state")) {
        // The module describes the state of one slot; the runtime keeps those of all slots one behind the other.
        if (type.getRank() == 3) {
          if (type.getDimSize(0) != slots())
            return emitError(loc) << "state '" << state.getName() << "' has " << type.getDimSize(0)
                                  << " slots, the model (v4.model) has " << slots();
          type = MemRefType::get(type.getShape().drop_front(), type.getElementType());
        }
        FailureOr<uint32_t> index = stateIndex(func, state, type);
        if (failed(index))
          return failure();
        places[argument] = {fb::BindingKind::State, *index};
      } else if (func.getArgAttr(i, "v4.arena")) {
        places[argument] = {fb::BindingKind::Arena};
        arena = byteSize(type);
      } else {
        return emitError(loc) << "argument " << i << " of entry '" << func.getName()
                              << "' has none of v4.input, v4.weight, v4.state";
      }
    }
    launches.clear();
    taps.clear();
    entryRows = rows.getInt();
    if ((kind == fb::EntryKind::Decode || kind == fb::EntryKind::MtpDecode) && entryRows != slots())
      return emitError(loc) << "entry '" << func.getName() << "' decodes " << entryRows
                            << " slots, the model (v4.model) has " << slots();
    if (failed(flatten(func, places, "")))
      return failure();
    return fb::CreateEntry(b, b.CreateString(func.getName().str()), kind, rows.getInt(), arena, b.CreateVector(inputs),
                           b.CreateVector(outputs), b.CreateVector(launches), b.CreateVector(taps));
  }

  FailureOr<uint32_t> stateIndex(func::FuncOp func, StateAttr state, MemRefType type) {
    auto [entry, inserted] = stateTypes.try_emplace(state.getName(), std::make_pair(states.size(), type));
    if (!inserted) {
      if (entry->second.second != type)
        return func.emitError() << "state '" << state.getName() << "' is " << type << " here and "
                                << entry->second.second << " in another entry";
      return static_cast<uint32_t>(entry->second.first);
    }
    std::vector<uint64_t> shape(type.getShape().begin(), type.getShape().end());
    states.push_back(fb::CreateState(b, b.CreateString(state.getName().str()), *dtypeOf(type.getElementType()),
                                     b.CreateVector(shape), static_cast<fb::StateKind>(state.getKind()),
                                     state.getRatio(), state.getOverlap(), state.getColumns(type), state.getQuantized(),
                                     state.getBits()));
    return static_cast<uint32_t>(entry->second.first);
  }

  /// Walks the straight line of launches and calls, keeping track of where every value is.
  LogicalResult flatten(func::FuncOp func, DenseMap<Value, Place> &places, const std::string &prefix) {
    for (Operation &op : func.getBody().front()) {
      if (isa<arith::ConstantOp, func::ReturnOp>(op))
        continue;
      if (auto view = dyn_cast<memref::ViewOp>(op)) {
        std::optional<int64_t> offset = getConstantIntValue(view.getByteShift());
        if (!offset)
          return view.emitOpError("has an offset that is no constant");
        Place place = places.lookup(view.getSource());
        place.offset += *offset;
        places[view] = place;
      } else if (auto view = dyn_cast<memref::SubViewOp>(op)) {
        auto [strides, offset] = view.getType().getStridesAndOffset();
        if (ShapedType::isDynamic(offset))
          return view.emitOpError("has an offset that is no constant");
        Place place = places.lookup(view.getSource());
        place.offset += offset * llvm::divideCeil(view.getType().getElementTypeBitWidth(), 8);
        places[view] = place;
      } else if (auto view = dyn_cast<ViewLikeOpInterface>(op)) {
        places[op.getResult(0)] = places.lookup(view.getViewSource());
      } else if (auto call = dyn_cast<func::CallOp>(op)) {
        auto callee = symbols->lookup<func::FuncOp>(call.getCallee());
        DenseMap<Value, Place> inner;
        for (auto [argument, operand] : llvm::zip(callee.getArguments(), call.getOperands()))
          inner[argument] = places.lookup(operand);
        auto path = call->getAttrOfType<StringAttr>("v4.path");
        std::string name = path ? path.getValue().str() : callee.getName().str();
        if (failed(flatten(callee, inner, prefix + name + ".")))
          return failure();
        // The first result of a body is the residual after the layer; its path is the layer's own.
        for (unsigned i = 0; i < callee.getNumArguments(); ++i)
          if (callee.getArgAttr(i, "v4.result")) {
            addTap(prefix + name, callee.getArgumentTypes()[i], inner[callee.getArgument(i)]);
            break;
          }
      } else if (auto launch = dyn_cast<LaunchOp>(op)) {
        if (failed(addLaunch(launch, places, prefix)))
          return failure();
      } else {
        return op.emitOpError("cannot be part of a launch list; accepted: launches, calls, views");
      }
    }
    return success();
  }

  LogicalResult addLaunch(LaunchOp launch, DenseMap<Value, Place> &places, const std::string &prefix) {
    auto kernel = kernelIndex.find(launch.getKernel());
    if (kernel == kernelIndex.end())
      return launch.emitOpError() << "names the kernel '" << launch.getKernel() << "', which is not in the module";
    ArrayRef<int64_t> tables = kernelTables[launch.getKernel()];
    std::vector<fb::Binding> bindings;
    SmallVector<Value> operands(launch.getInputs());
    operands.append(launch.getOutputs().begin(), launch.getOutputs().end());
    for (auto [i, operand] : llvm::enumerate(operands)) {
      auto found = places.find(operand);
      if (found == places.end())
        return launch.emitOpError() << "operand " << i << " is neither an argument nor a part of the arena";
      Place place = found->second;
      bool wantsTable = llvm::is_contained(tables, static_cast<int64_t>(i));
      bool isTable =
          place.kind == fb::BindingKind::Parameter && (parameters.begin() + place.index)->second.weight.isTable();
      if (wantsTable != isTable)
        return launch.emitOpError() << "operand " << i
                                    << (wantsTable ? " is read as a table of experts, but its v4.weight is one tensor"
                                                   : " is a table of experts, which only v4.grouped_linear reads");
      uint64_t bytes = isTable ? 0 : byteSize(cast<MemRefType>(operand.getType()));
      bindings.emplace_back(place.offset, bytes, place.index, place.kind);
      if (isTable)
        bindings.emplace_back(0, 8 * cast<MemRefType>(operand.getType()).getDimSize(0), place.index,
                              fb::BindingKind::TableOffsets);
    }
    std::string name = prefix + launch.getName().str();
    launches.push_back(fb::CreateLaunch(b, b.CreateString(name), kernel->second, b.CreateVectorOfStructs(bindings)));
    // Everything that crosses kernels can be tapped; workspaces and updated states have no name of their own.
    auto workspaces = launch->getAttrOfType<IntegerAttr>("v4.workspaces");
    for (auto [number, output] : llvm::enumerate(launch.getOutputs().drop_back(workspaces ? workspaces.getInt() : 0)))
      addTap(number == 0 ? name : name + "." + std::to_string(number), output.getType(), places.lookup(output));
    return success();
  }

  void addTap(const std::string &name, Type type, Place place) {
    auto memref = cast<MemRefType>(type);
    auto dtype = dtypeOf(memref.getElementType());
    if (place.kind == fb::BindingKind::State || memref.getRank() == 0 || memref.getDimSize(0) != entryRows ||
        launches.empty() || (dtype != fb::DType::F32 && dtype != fb::DType::BF16 && dtype != fb::DType::I32))
      return;
    std::vector<uint64_t> shape(memref.getShape().begin(), memref.getShape().end());
    fb::Binding binding(place.offset, byteSize(memref), place.index, place.kind);
    taps.push_back(
        fb::CreateTap(b, b.CreateString(name), launches.size() - 1, &binding, *dtype, b.CreateVector(shape)));
  }

  /// Sequences of the model; a model that does not say has one.
  int64_t slots() {
    auto model = module->getAttrOfType<DictionaryAttr>("v4.model");
    auto count = model ? model.getAs<IntegerAttr>("slots") : IntegerAttr();
    return count ? count.getInt() : 1;
  }

  FailureOr<Offset<fb::Model>> emitModel() {
    auto model = module->getAttrOfType<DictionaryAttr>("v4.model");
    if (!model)
      return module.emitError("has no attribute v4.model; entries need the model's vocabulary, widths and context");
    auto integer = [&](StringRef name) -> int64_t {
      auto attr = model.getAs<IntegerAttr>(name);
      return attr ? attr.getInt() : 0;
    };
    auto boolean = [&](StringRef name) {
      auto attr = model.getAs<BoolAttr>(name);
      return attr && attr.getValue();
    };
    auto type = model.getAs<StringAttr>("model_type");
    return fb::CreateModel(b, b.CreateString(type ? type.getValue().str() : ""), integer("vocab_size"),
                           integer("hidden_size"), integer("streams"), integer("layers"), integer("max_context"),
                           integer("eos_token"), boolean("logits_all"), boolean("mtp"), integer("experts_per_token"),
                           slots());
  }

  Offset<fb::Provenance> emitProvenance() {
    std::vector<std::string> ignored;
    if (auto names = module->getAttrOfType<ArrayAttr>("v4.ignored"))
      for (auto name : names.getAsRange<StringAttr>())
        ignored.push_back(name.getValue().str());
    auto hash = module->getAttrOfType<StringAttr>("v4.graph_hash");
    return fb::CreateProvenance(b, b.CreateString("v4c " V4_VERSION " (LLVM " LLVM_VERSION_STRING ")"),
                                b.CreateString(hash ? hash.getValue().str() : ""),
                                b.CreateVectorOfStrings(options.options), b.CreateString(options.plan),
                                b.CreateString(options.numerics), b.CreateString(options.kv),
                                b.CreateVectorOfStrings(ignored));
  }

  Offset<flatbuffers::Vector<Offset<fb::Parameter>>> emitParameters() {
    std::vector<Offset<fb::Parameter>> result;
    llvm::StringSet<> names;
    for (auto &[key, info] : parameters) {
      WeightAttr weight = info.weight;
      std::vector<uint64_t> shape(info.type.getShape().begin(), info.type.getShape().end());
      std::vector<uint64_t> sourceShape(weight.getShape().begin(), weight.getShape().end());
      auto source = fb::CreateSource(b, b.CreateString(weight.getTensor().str()), *dtypeOf(weight.getDtype()),
                                     b.CreateVector(sourceShape), weight.getOffset(), weight.getStride());
      // Two views of one tensor differ in their offset (the halves of a fused one), their shape or their layout.
      std::string name = weight.getTensor().str();
      if (weight.getOffset())
        name += "+" + std::to_string(weight.getOffset());
      if (!names.insert(name).second) {
        for (uint64_t size : shape)
          name += ":" + std::to_string(size);
        if (!names.insert(name).second)
          names.insert(name += "@" + info.layout.str());
      }
      result.push_back(fb::CreateParameter(b, b.CreateString(name), *dtypeOf(info.type.getElementType()),
                                           b.CreateVector(shape), weight.isTable() ? shape[0] : 0,
                                           b.CreateString(info.layout.str()), source));
    }
    return b.CreateVector(result);
  }

  /// The fixed header of docs/module-format.md.
  static std::string withHeader(const std::string &payload) {
    uint64_t checksum = 0xcbf29ce484222325;
    for (unsigned char byte : payload)
      checksum = (checksum ^ byte) * 0x100000001b3;
    std::string file(64, '\0');
    file.replace(0, 4, "V4CM");
    llvm::support::endian::write16le(file.data() + 4, 1);
    llvm::support::endian::write16le(file.data() + 6, 0);
    llvm::support::endian::write32le(file.data() + 8, 64);
    llvm::support::endian::write64le(file.data() + 16, payload.size());
    llvm::support::endian::write64le(file.data() + 24, checksum);
    return file + payload;
  }

  ModuleOp module; // of the target at hand
  const EmitOptions &options;
  std::optional<SymbolTable> symbols; // of `module`
  flatbuffers::FlatBufferBuilder b{1 << 20};
  llvm::StringMap<uint32_t> kernelIndex;
  llvm::StringMap<SmallVector<int64_t>> kernelTables;
  std::vector<Offset<fb::Kernel>> kernels;
  llvm::MapVector<std::tuple<Attribute, Type, StringRef>, ParameterInfo> parameters;
  llvm::StringMap<std::pair<size_t, MemRefType>> stateTypes;
  std::vector<Offset<fb::State>> states;
  std::vector<Offset<fb::Launch>> launches;
  std::vector<Offset<fb::Tap>> taps;
  int64_t entryRows = 0;
};
} // namespace

FailureOr<std::string> mlir::v4::emitModule(ArrayRef<EmitTarget> targets, const EmitOptions &options,
                                            bool &environment) {
  return Emitter(options).emit(targets, environment);
}
