// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GPU kernels to one ELF image that the emulator runs.

#include "lowering/emu/EmuImage.h"
#include "emulator/KernelApi.h"
#include "lowering/Passes.h"
#include "lowering/cpu/CpuImage.h"
#include "lowering/cpu/HostImage.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Module.h"
#include "llvm/Transforms/Utils/ModuleUtils.h"

using namespace mlir;
using namespace mlir::v4;

/// The least processor that the emulator runs on; the library is compiled for it too.
static const char *const kCpu = "x86-64-v3";

namespace {

/// Services in the order of v4_emu_api.
const char *const kServices[] = {
#define V4_EMU_NAME(result, name, parameters) #name,
    V4_EMU_SERVICES(V4_EMU_NAME)
#undef V4_EMU_NAME
};

/// Completes the LLVM IR of one kernel module: the services' bodies, the table of sites, descriptions and entries.
class Completer {
public:
  Completer(ModuleOp source, llvm::Module &code)
      : source(source), code(code), context(code.getContext()), b(context), ptr(b.getPtrTy()), i32(b.getInt32Ty()) {}

  void run() {
    api = new llvm::GlobalVariable(code, ptr, /*isConstant=*/false, llvm::GlobalValue::InternalLinkage,
                                   llvm::ConstantPointerNull::get(ptr), "v4_emu_api");
    for (auto [index, name] : llvm::enumerate(kServices))
      if (llvm::Function *function = code.getFunction((kEmuServicePrefix + name).str()))
        defineService(*function, unsigned(index), name);
    llvm::Constant *table = defineSites();
    for (auto kernel : source.getOps<LLVM::LLVMFuncOp>())
      if (kernel->hasAttr("v4.emu.writes"))
        addEntry(kernel, table);
    if (llvm::Function *function = code.getFunction((kEmuServicePrefix + kWiden).str()))
      defineWidening(*function);
    roundToBf16();
  }

private:
  static constexpr llvm::StringLiteral kWiden = "widen_e4m3";

  /// Two e4m3 codes in the low half of the argument to two f16, by a table: no call, as kernels do little else.
  void defineWidening(llvm::Function &function) {
    SmallVector<uint16_t> halves;
    for (unsigned value = 0; value != 256; ++value) {
      llvm::APFloat number(llvm::APFloat::Float8E4M3FN(), llvm::APInt(8, value));
      bool lossy;
      number.convert(llvm::APFloat::IEEEhalf(), llvm::APFloat::rmNearestTiesToEven, &lossy);
      // The only NaN of e4m3 is canonical in f16 as the conversion of the GPU gives it.
      halves.push_back(number.isNaN() ? 0x7FFF : uint16_t(number.bitcastToAPInt().getZExtValue()));
    }
    llvm::Type *i16 = b.getInt16Ty();
    llvm::Constant *table = data(llvm::ConstantDataArray::get(context, ArrayRef<uint16_t>(halves)), "");
    function.setLinkage(llvm::GlobalValue::InternalLinkage);
    function.addFnAttr(llvm::Attribute::AlwaysInline);
    b.SetInsertPoint(llvm::BasicBlock::Create(context, "", &function));
    auto widen = [&](llvm::Value *code) {
      llvm::Value *index = b.CreateZExt(b.CreateAnd(code, number(0xFF)), b.getInt64Ty());
      return b.CreateZExt(b.CreateLoad(i16, b.CreateInBoundsGEP(i16, table, index)), i32);
    };
    llvm::Value *pair = function.getArg(0);
    b.CreateRet(b.CreateOr(widen(pair), b.CreateShl(widen(b.CreateLShr(pair, number(8))), number(16))));
  }

  /// The body jumps to the service. The function itself stays: its attributes tell LLVM what may be moved or merged.
  void defineService(llvm::Function &function, unsigned index, StringRef name) {
    function.setLinkage(llvm::GlobalValue::InternalLinkage);
    function.addFnAttr(llvm::Attribute::NoInline);
    b.SetInsertPoint(llvm::BasicBlock::Create(context, "", &function));
    llvm::Value *table = b.CreateLoad(ptr, api);
    llvm::Value *service = b.CreateLoad(ptr, b.CreateConstInBoundsGEP1_32(ptr, table, index));
    SmallVector<llvm::Value *> arguments;
    for (llvm::Argument &argument : function.args())
      arguments.push_back(&argument);
    llvm::CallInst *call = b.CreateCall(function.getFunctionType(), service, arguments);
    call->setTailCallKind(llvm::CallInst::TCK_MustTail);
    if (function.getReturnType()->isVoidTy())
      b.CreateRetVoid();
    else
      b.CreateRet(call);
    if (name == "thread") {
      // The table is set before a kernel runs and the thread's record does not move.
      function.setMemoryEffects(llvm::MemoryEffects::none());
      function.addFnAttr(llvm::Attribute::WillReturn);
    } else if (name == "access" || name == "check_division") {
      // It looks at its arguments only. It may not return, so nothing moves above it.
      function.setMemoryEffects(llvm::MemoryEffects::inaccessibleMemOnly());
      function.addFnAttr(llvm::Attribute::NoMerge);
    } else {
      // Which threads meet depends on where the call is.
      function.addFnAttr(llvm::Attribute::Convergent);
      function.addFnAttr(llvm::Attribute::NoMerge);
      call->setConvergent();
    }
  }

  llvm::Constant *text(StringRef value) {
    llvm::Constant *&slot = texts[value];
    if (!slot) {
      auto *data = llvm::ConstantDataArray::getString(context, value);
      slot = new llvm::GlobalVariable(code, data->getType(), true, llvm::GlobalValue::PrivateLinkage, data);
    }
    return slot;
  }

  llvm::Constant *number(int64_t value) { return llvm::ConstantInt::get(i32, uint64_t(value) & 0xFFFFFFFFu); }

  llvm::Constant *data(llvm::Constant *value, const llvm::Twine &name) {
    return new llvm::GlobalVariable(code, value->getType(), true, llvm::GlobalValue::InternalLinkage, value, name);
  }

  llvm::Constant *defineSites() {
    auto *type = llvm::StructType::get(context, {ptr, ptr, i32, i32, i32, i32, i32, i32});
    SmallVector<llvm::Constant *> records;
    for (auto site : source->getAttrOfType<ArrayAttr>("v4.emu.sites").getAsRange<DictionaryAttr>()) {
      auto integer = [&](StringRef name, int64_t otherwise) {
        auto value = site.getAs<IntegerAttr>(name);
        return number(value ? value.getInt() : otherwise);
      };
      records.push_back(llvm::ConstantStruct::get(
          type, {text(site.getAs<StringAttr>("op")), text(site.getAs<StringAttr>("at")), integer("bytes", 0), integer("alignment", 1),
                 integer("access", V4_EMU_NO_ACCESS), integer("space", 0), integer("binding", -1), number(int64_t(records.size()))}));
    }
    if (records.empty())
      return llvm::ConstantPointerNull::get(ptr);
    auto *value = llvm::ConstantArray::get(llvm::ArrayType::get(type, records.size()), records);
    llvm::Constant *table = data(value, "");
    llvm::GlobalVariable *declared = code.getGlobalVariable(kEmuSites);
    declared->replaceAllUsesWith(table);
    declared->eraseFromParent();
    return table;
  }

  /// `const v4_emu_kernel *name(void *const *bindings)` around the kernel, which takes its bindings one by one.
  void addEntry(LLVM::LLVMFuncOp kernel, llvm::Constant *sites) {
    llvm::Function *body = code.getFunction(kernel.getName());
    std::string name = kernel.getName().str();
    body->setName(name + ".body");
    body->setLinkage(llvm::GlobalValue::InternalLinkage);
    auto attribute = [&](StringRef attr) { return number(source->getAttrOfType<IntegerAttr>(attr).getInt()); };
    ArrayRef<bool> writes = kernel->getAttrOfType<DenseBoolArrayAttr>("v4.emu.writes").asArrayRef();
    SmallVector<uint8_t> writesBytes(writes.begin(), writes.end());
    ArrayRef<int32_t> gaps = source->getAttrOfType<DenseI32ArrayAttr>("v4.emu.gaps").asArrayRef();
    SmallVector<uint32_t> gapWords(gaps.begin(), gaps.end());
    SmallVector<int32_t> block(3, 0);
    if (auto required = kernel->getAttrOfType<DenseI32ArrayAttr>("v4.emu.block"))
      block.assign(required.asArrayRef().begin(), required.asArrayRef().end());
    llvm::Constant *null = llvm::ConstantPointerNull::get(ptr);
    // The members of v4_emu_kernel; LLVM pads as C does.
    llvm::Constant *members[] = {
        number(V4_EMU_KERNEL_VERSION),
        number(int64_t(source->getAttrOfType<ArrayAttr>("v4.emu.sites").size())),
        sites,
        text(name),
        api,
        number(int64_t(writes.size())),
        number(int64_t(gaps.size() / 2)),
        writesBytes.empty() ? null : data(llvm::ConstantDataArray::get(context, ArrayRef<uint8_t>(writesBytes)), ""),
        gapWords.empty() ? null : data(llvm::ConstantDataArray::get(context, ArrayRef<uint32_t>(gapWords)), ""),
        attribute("v4.emu.shared"),
        attribute("v4.emu.shared_granule"),
        attribute("v4.emu.global_granule"),
        number(source->hasAttr("v4.emu.partial_sync")),
        number(block[0]),
        number(block[1]),
        number(block[2]),
        number(0),
    };
    llvm::Constant *description = data(llvm::ConstantStruct::getAnon(members), name + ".description");

    auto *type = llvm::FunctionType::get(ptr, {ptr}, false);
    auto *entry = llvm::Function::Create(type, llvm::GlobalValue::ExternalLinkage, name, code);
    auto *start = llvm::BasicBlock::Create(context, "", entry), *describe = llvm::BasicBlock::Create(context, "", entry),
         *run = llvm::BasicBlock::Create(context, "", entry);
    b.SetInsertPoint(start);
    b.CreateCondBr(b.CreateIsNull(entry->getArg(0)), describe, run);
    b.SetInsertPoint(describe);
    b.CreateRet(description);
    b.SetInsertPoint(run);
    SmallVector<llvm::Value *> arguments;
    for (unsigned i = 0; i != body->arg_size(); ++i)
      arguments.push_back(b.CreateLoad(ptr, b.CreateConstInBoundsGEP1_64(ptr, entry->getArg(0), i)));
    b.CreateCall(body, arguments);
    b.CreateRet(null);
  }

  /// f32 to bf16, to nearest even; a NaN keeps its upper bits and becomes quiet.
  llvm::Value *toBf16(llvm::IRBuilder<> &at, llvm::Value *value) {
    llvm::Type *words = i32, *halves = at.getInt16Ty();
    if (auto *vector = dyn_cast<llvm::VectorType>(value->getType())) {
      words = llvm::VectorType::get(words, vector->getElementCount());
      halves = llvm::VectorType::get(halves, vector->getElementCount());
    }
    auto constant = [&](uint64_t bits) { return llvm::ConstantInt::get(words, bits); };
    llvm::Value *bits = at.CreateBitCast(value, words);
    llvm::Value *odd = at.CreateAnd(at.CreateLShr(bits, constant(16)), constant(1));
    llvm::Value *rounded = at.CreateAdd(bits, at.CreateAdd(odd, constant(0x7FFF)));
    llvm::Value *nan = at.CreateOr(bits, constant(0x400000));
    llvm::Value *chosen = at.CreateSelect(at.CreateFCmpUNO(value, value), nan, rounded);
    llvm::Value *half = at.CreateTrunc(at.CreateLShr(chosen, constant(16)), halves);
    llvm::Type *result = at.getBFloatTy();
    if (auto *vector = dyn_cast<llvm::VectorType>(value->getType()))
      result = llvm::VectorType::get(result, vector->getElementCount());
    return at.CreateBitCast(half, result);
  }

  /// x86-64-v3 has no instruction for it and the backend would call a library, which an image does not have. Conversions that the kernel
  /// names are expanded; those that the backend makes of bf16 arithmetic find a function of that name here.
  void roundToBf16() {
    SmallVector<llvm::Instruction *> conversions;
    for (llvm::Function &function : code)
      for (llvm::Instruction &inst : llvm::instructions(function))
        if (isa<llvm::FPTruncInst>(inst) && inst.getType()->getScalarType()->isBFloatTy() &&
            inst.getOperand(0)->getType()->getScalarType()->isFloatTy())
          conversions.push_back(&inst);
    for (llvm::Instruction *inst : conversions) {
      llvm::IRBuilder<> at(inst);
      inst->replaceAllUsesWith(toBf16(at, inst->getOperand(0)));
      inst->eraseFromParent();
    }
    bool arithmetic = false;
    for (llvm::Function &function : code)
      for (llvm::Instruction &inst : llvm::instructions(function))
        arithmetic |= inst.getType()->getScalarType()->isBFloatTy() && isa<llvm::FPMathOperator>(inst);
    if (!arithmetic)
      return;
    auto *type = llvm::FunctionType::get(b.getBFloatTy(), {b.getFloatTy()}, false);
    auto *function = llvm::Function::Create(type, llvm::GlobalValue::LinkOnceODRLinkage, "__truncsfbf2", code);
    function->setVisibility(llvm::GlobalValue::HiddenVisibility);
    llvm::IRBuilder<> at(llvm::BasicBlock::Create(context, "", function));
    at.CreateRet(toBf16(at, function->getArg(0)));
    llvm::appendToUsed(code, {function});
  }

  ModuleOp source;
  llvm::Module &code;
  llvm::LLVMContext &context;
  llvm::IRBuilder<> b;
  llvm::PointerType *ptr;
  llvm::Type *i32;
  llvm::GlobalVariable *api = nullptr;
  llvm::StringMap<llvm::Constant *> texts;
};

} // namespace

FailureOr<EmuImage> v4::compileEmuImage(ModuleOp module, bool &environment) {
  environment = false;
  OwningOpRef<ModuleOp> clone = module.clone();
  SmallVector<ModuleOp> holders;
  clone->walk([&](gpu::GPUModuleOp kernels) {
    auto holder = kernels->getParentOfType<ModuleOp>();
    if (!llvm::is_contained(holders, holder))
      holders.push_back(holder);
  });
  // Nested passes would need the holders at one depth.
  for (ModuleOp holder : holders) {
    PassManager passes(holder.getContext());
    passes.addPass(createLowerToEmulatorPass());
    if (failed(passes.run(holder)))
      return failure();
  }
  SmallVector<ModuleOp> kernels;
  clone->walk([&](ModuleOp nested) {
    if (nested->hasAttr("v4.emu.sites"))
      kernels.push_back(nested);
  });
  HostOptions options;
  options.cpu = kCpu;
  // The code of one thread is scalar or has the vectors of its loads; there is nothing to gain from wider ones.
  options.tuning.LoopVectorization = options.tuning.SLPVectorization = options.tuning.LoopUnrolling = false;
  options.prepare = [](ModuleOp source, llvm::Module &code, const llvm::TargetMachine &) { Completer(source, code).run(); };
  FailureOr<std::string> elf = compileHostImage(*clone, kernels, options, environment);
  if (failed(elf))
    return failure();
  EmuImage image;
  image.elf = std::move(*elf);
  CpuTarget target;
  target.cpu = kCpu;
  image.features = target.instructionSets();
  return image;
}
