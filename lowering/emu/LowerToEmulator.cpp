// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// v4-lower-to-emulator: GPU kernels at the NVVM level to host code that calls the emulator.

#include "emulator/KernelApi.h"
#include "lowering/Passes.h"
#include "lowering/emu/EmuImage.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::v4 {
#define GEN_PASS_DEF_LOWERTOEMULATORPASS
#include "lowering/Passes.h.inc"
} // namespace mlir::v4

using namespace mlir;
using namespace mlir::v4;

namespace {

constexpr unsigned kGlobal = V4_EMU_GLOBAL, kShared = V4_EMU_SHARED, kConstant = 4, kLocal = 5;
/// Between two static buffers of shared memory, so that a step past the end of one is not a step into the next.
constexpr uint64_t kGapBytes = 64;

/// Intrinsics that mean the same on the host and become instructions there, not calls of a library.
bool isPortable(StringRef intrinsic) {
  static const llvm::StringSet<> names = {
      "abs",      "assume",   "bitreverse", "bswap",   "copysign", "ctlz",   "ctpop",     "cttz",      "expect",
      "fabs",     "ceil",     "floor",      "fma",     "fmuladd",  "fshl",   "fshr",      "is.fpclass", "maximum",
      "maxnum",   "minimum",  "minnum",     "nearbyint", "rint",   "roundeven", "scmp",   "smax",      "smin",
      "sqrt",     "ssa.copy", "trunc",      "ucmp",    "umax",     "umin",   "lifetime.start", "lifetime.end",
      "sadd.sat", "uadd.sat", "ssub.sat",   "usub.sat", "sadd.with.overflow", "uadd.with.overflow", "smul.with.overflow",
      "umul.with.overflow", "ssub.with.overflow", "usub.with.overflow", "stacksave", "stackrestore"};
  return names.contains(intrinsic) || intrinsic.starts_with("vector.");
}

std::string describe(Location loc) {
  if (auto file = dyn_cast<FileLineColLoc>(loc))
    return (file.getFilename().getValue() + ":" + Twine(file.getLine()) + ":" + Twine(file.getColumn())).str();
  if (auto name = dyn_cast<NameLoc>(loc)) {
    std::string child = describe(name.getChildLoc());
    return child.empty() ? name.getName().str() : name.getName().str() + " at " + child;
  }
  if (auto call = dyn_cast<CallSiteLoc>(loc))
    return describe(call.getCallee());
  if (auto fused = dyn_cast<FusedLoc>(loc))
    for (Location part : fused.getLocations())
      if (std::string text = describe(part); !text.empty())
        return text;
  return "";
}

unsigned spaceOf(Value pointer) {
  return cast<LLVM::LLVMPointerType>(pointer.getType()).getAddressSpace();
}

/// Bytes that a load or a store of the type touches.
uint64_t bytesOf(Type type, const DataLayout &layout) {
  if (auto vector = dyn_cast<VectorType>(type))
    return llvm::divideCeil(vector.getNumElements() * layout.getTypeSizeInBits(vector.getElementType()).getFixedValue(), 8);
  return layout.getTypeSize(type).getFixedValue();
}

/// What a pointer points into.
struct Root {
  enum Kind { Argument, Local, Constant, Unknown } kind = Unknown;
  unsigned argument = 0;
  bool operator==(const Root &other) const { return kind == other.kind && argument == other.argument; }
};

/// Follows addresses to where they come from. Pointers that meet in a block or a select must agree.
class Roots {
public:
  Root of(Value value) {
    auto [it, isNew] = known.try_emplace(value, Root());
    if (!isNew)
      return it->second;
    SmallPtrSet<Value, 8> seen;
    std::optional<Root> found;
    bool agree = walk(value, seen, found);
    return known[value] = agree && found ? *found : Root();
  }

private:
  static bool merge(std::optional<Root> &found, Root root) {
    if (!found)
      found = root;
    return *found == root && root.kind != Root::Unknown;
  }

  bool walk(Value value, SmallPtrSet<Value, 8> &seen, std::optional<Root> &found) {
    while (true) {
      if (!seen.insert(value).second)
        return true; // a cycle adds nothing
      Operation *op = value.getDefiningOp();
      if (!op) {
        auto argument = cast<BlockArgument>(value);
        Block *block = argument.getOwner();
        if (block->isEntryBlock()) {
          auto function = dyn_cast<LLVM::LLVMFuncOp>(block->getParentOp());
          bool kernel = function && function->hasAttr("nvvm.kernel");
          return merge(found, kernel ? Root{Root::Argument, argument.getArgNumber()} : Root());
        }
        for (auto it = block->pred_begin(), end = block->pred_end(); it != end; ++it) {
          auto branch = dyn_cast<BranchOpInterface>((*it)->getTerminator());
          if (!branch)
            return merge(found, Root());
          SuccessorOperands operands = branch.getSuccessorOperands(it.getSuccessorIndex());
          Value incoming = operands[argument.getArgNumber()];
          if (!incoming || !walk(incoming, seen, found))
            return false;
        }
        return true;
      }
      if (auto gep = dyn_cast<LLVM::GEPOp>(op))
        value = gep.getBase();
      else if (isa<LLVM::AddrSpaceCastOp, LLVM::BitcastOp, LLVM::FreezeOp>(op))
        value = op->getOperand(0);
      else if (auto select = dyn_cast<LLVM::SelectOp>(op)) {
        if (!walk(select.getTrueValue(), seen, found))
          return false;
        value = select.getFalseValue();
      } else if (isa<LLVM::AllocaOp>(op))
        return merge(found, Root{Root::Local, 0});
      else if (auto address = dyn_cast<LLVM::AddressOfOp>(op)) {
        auto global = SymbolTable::lookupNearestSymbolFrom<LLVM::GlobalOp>(op, address.getGlobalNameAttr());
        return merge(found, global && global.getConstant() ? Root{Root::Constant, 0} : Root());
      } else
        return merge(found, Root());
    }
  }

  DenseMap<Value, Root> known;
};

/// Rewrites the content of one gpu.module into a module for the host.
class Rewriter {
public:
  Rewriter(gpu::GPUModuleOp gpuModule)
      : context(gpuModule.getContext()), b(context), gpuModule(gpuModule), layout(gpuModule), i32(b.getI32Type()), i64(b.getI64Type()),
        ptr(LLVM::LLVMPointerType::get(context)) {
    siteType = LLVM::LLVMStructType::getLiteral(context, {ptr, ptr, i32, i32, i32, i32, i32, i32});
  }

  FailureOr<ModuleOp> run();

private:
  LogicalResult layOutSharedMemory();
  LogicalResult checkKernel(LLVM::LLVMFuncOp function);
  LogicalResult rewrite(Operation *op);
  LogicalResult rewriteNvvm(Operation *op);
  LogicalResult rewriteMma(NVVM::MmaOp op);
  /// Barriers in shared memory have 8 bytes, and order any threads.
  void barrierInMemory() {
    sharedGranule = std::min<uint64_t>(sharedGranule, 8);
    partialSync = true;
  }
  LogicalResult arriveAt(Operation *op, Value barrier, Value count, Value bytes, unsigned how);
  LogicalResult waitAt(Operation *op, Value barrier, Value what, unsigned how);
  void checkDivision(Operation *op, bool isSigned);
  LogicalResult access(Operation *op, Value pointer, Type type, std::optional<uint64_t> alignment, v4_emu_access kind);
  void stripAddressSpaces();
  void setKernelAttributes();

  LogicalResult unknown(Operation *op, const Twine &why = "") {
    InFlightDiagnostic diagnostic = op->emitError() << "the emulator has no '" << op->getName() << "'";
    if (!why.isTriviallyEmpty())
      diagnostic << ": " << why;
    return diagnostic;
  }

  Value constant(int64_t value) { return LLVM::ConstantOp::create(b, loc, i32, b.getI32IntegerAttr(int32_t(value))); }

  /// The address of the op's record.
  Value site(Operation *op, uint64_t bytes = 0, uint64_t alignment = 1, v4_emu_access kind = V4_EMU_NO_ACCESS, unsigned space = 0,
             int binding = -1) {
    unsigned number = ++ordinals[op->getName().getStringRef()];
    std::string at = describe(op->getLoc());
    if (at.empty())
      at = "number " + std::to_string(number) + " of the kernel";
    NamedAttrList record;
    record.set("op", b.getStringAttr(op->getName().getStringRef()));
    record.set("at", b.getStringAttr(at));
    if (bytes) {
      record.set("bytes", b.getI32IntegerAttr(int32_t(bytes)));
      record.set("alignment", b.getI32IntegerAttr(int32_t(alignment)));
      record.set("access", b.getI32IntegerAttr(kind));
      record.set("space", b.getI32IntegerAttr(int32_t(space)));
      record.set("binding", b.getI32IntegerAttr(binding));
    }
    Value base = LLVM::AddressOfOp::create(b, loc, ptr, kEmuSites);
    Value address = LLVM::GEPOp::create(b, loc, ptr, siteType, base, ArrayRef<LLVM::GEPArg>{int32_t(sites.size())},
                                        LLVM::GEPNoWrapFlags::inbounds);
    sites.push_back(record.getDictionary(context));
    return address;
  }

  /// A call of the service `name`, declared at its first use.
  Value call(StringRef name, Type result, ValueRange arguments) {
    std::string symbol = (kEmuServicePrefix + name).str();
    auto function = host.lookupSymbol<LLVM::LLVMFuncOp>(symbol);
    if (!function) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(host.getBody());
      SmallVector<Type> types(arguments.getTypes());
      for (Type &type : types)
        if (isa<LLVM::LLVMPointerType>(type))
          type = ptr;
      Type resultType = result ? result : LLVM::LLVMVoidType::get(context);
      function = LLVM::LLVMFuncOp::create(b, host.getLoc(), symbol, LLVM::LLVMFunctionType::get(resultType, types));
    }
    SmallVector<Value> operands;
    for (Value argument : arguments)
      operands.push_back(generic(argument));
    auto op = LLVM::CallOp::create(b, loc, function, operands);
    return result ? op.getResult() : Value();
  }

  Value generic(Value value) {
    auto type = dyn_cast<LLVM::LLVMPointerType>(value.getType());
    if (!type || type.getAddressSpace() == 0)
      return value;
    return LLVM::AddrSpaceCastOp::create(b, loc, ptr, value);
  }

  /// A field of the thread's record (v4_emu_thread); constant for the thread.
  Value threadField(uint64_t offset, Type type) {
    Value thread = call("thread", ptr, {});
    Value address = LLVM::GEPOp::create(b, loc, ptr, b.getI8Type(), thread, ArrayRef<LLVM::GEPArg>{int32_t(offset)},
                                        LLVM::GEPNoWrapFlags::inbounds);
    auto load = LLVM::LoadOp::create(b, loc, type, address);
    load.setInvariant(true);
    return load;
  }
  Value sharedBase() { return threadField(offsetof(v4_emu_thread, shared), ptr); }

  /// Memory of the function for `bytes` bytes, shared by all ops that ask for the same `use`.
  Value scratch(Operation *op, StringRef use, unsigned bytes) {
    auto function = op->getParentOfType<LLVM::LLVMFuncOp>();
    Value &slot = scratches[{function, use}];
    if (!slot) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(&function.getBody().front());
      Value one = LLVM::ConstantOp::create(b, function.getLoc(), i32, b.getI32IntegerAttr(1));
      slot = LLVM::AllocaOp::create(b, function.getLoc(), ptr, LLVM::LLVMArrayType::get(b.getI8Type(), bytes), one, 16);
    }
    return slot;
  }
  Value element(Value base, int index, Type type) {
    return LLVM::GEPOp::create(b, loc, ptr, type, base, ArrayRef<LLVM::GEPArg>{index}, LLVM::GEPNoWrapFlags::inbounds);
  }
  void spill(Value memory, ValueRange values) {
    for (auto [i, value] : llvm::enumerate(values))
      LLVM::StoreOp::create(b, loc, value, element(memory, int(i), value.getType()));
  }
  /// A value of `type`, a struct of equal members or one of them, from memory.
  Value reload(Value memory, Type type) {
    auto structure = dyn_cast<LLVM::LLVMStructType>(type);
    if (!structure)
      return LLVM::LoadOp::create(b, loc, type, memory);
    Value result = LLVM::PoisonOp::create(b, loc, type);
    for (auto [i, member] : llvm::enumerate(structure.getBody())) {
      Value value = LLVM::LoadOp::create(b, loc, member, element(memory, int(i), member));
      result = LLVM::InsertValueOp::create(b, loc, result, value, int64_t(i));
    }
    return result;
  }
  /// The low half of a 64-bit result as `type`, or with the predicate a struct of both.
  Value unpack(Value packed, Type type) {
    auto structure = dyn_cast<LLVM::LLVMStructType>(type);
    Type valueType = structure ? structure.getBody()[0] : type;
    Value value = LLVM::TruncOp::create(b, loc, i32, packed);
    if (valueType != i32)
      value = LLVM::BitcastOp::create(b, loc, valueType, value);
    if (!structure)
      return value;
    Value high = LLVM::LShrOp::create(b, loc, packed, LLVM::ConstantOp::create(b, loc, i64, b.getI64IntegerAttr(32)));
    Value predicate = LLVM::TruncOp::create(b, loc, b.getI1Type(), high);
    Value result = LLVM::PoisonOp::create(b, loc, type);
    result = LLVM::InsertValueOp::create(b, loc, result, value, int64_t(0));
    return LLVM::InsertValueOp::create(b, loc, result, predicate, int64_t(1));
  }
  Value bits(Value value) { return value.getType() == i32 ? value : LLVM::BitcastOp::create(b, loc, i32, value).getResult(); }

  void replace(Operation *op, Value value) {
    if (value)
      op->getResult(0).replaceAllUsesWith(value);
    op->erase();
  }

  /// Whether the mask is all ones; any other orders a part of a warp.
  static bool isFull(Value mask) {
    APInt value;
    return matchPattern(mask, m_ConstantInt(&value)) && value.isAllOnes();
  }

  MLIRContext *context;
  OpBuilder b;
  gpu::GPUModuleOp gpuModule;
  DataLayout layout;
  Type i32, i64;
  LLVM::LLVMPointerType ptr;
  LLVM::LLVMStructType siteType;
  Location loc = UnknownLoc::get(context);
  ModuleOp host;
  Roots roots;
  SmallVector<Attribute> sites;
  llvm::StringMap<unsigned> ordinals;
  llvm::StringMap<uint64_t> sharedOffsets;
  SmallVector<int32_t> gaps; // begin, end, begin, end, ...
  uint64_t staticBytes = 0;
  DenseMap<std::pair<LLVM::LLVMFuncOp, StringRef>, Value> scratches;
  DenseMap<LLVM::LLVMFuncOp, SmallVector<bool>> writes; // per kernel and argument
  bool writesUnknown = false, partialSync = false;
  uint64_t sharedGranule = 16, globalGranule = 16;
};

} // namespace

LogicalResult Rewriter::layOutSharedMemory() {
  uint64_t end = 0, dynamicAlignment = 16;
  SmallVector<StringRef> dynamic;
  auto next = [&](uint64_t alignment) {
    uint64_t begin = end == 0 ? 0 : llvm::alignTo(end + kGapBytes, alignment);
    if (begin > end) {
      gaps.push_back(int32_t(end));
      gaps.push_back(int32_t(begin));
    }
    return begin;
  };
  for (auto global : gpuModule.getOps<LLVM::GlobalOp>()) {
    if (global.getAddrSpace() != kShared) {
      if (!global.getConstant())
        return global.emitError("a variable outside shared memory: kernels keep nothing from launch to launch");
      continue;
    }
    uint64_t alignment = std::max<uint64_t>(global.getAlignment().value_or(16), 16), bytes = layout.getTypeSize(global.getType());
    if (bytes == 0) {
      dynamic.push_back(global.getSymName());
      dynamicAlignment = std::max(dynamicAlignment, alignment);
      continue;
    }
    uint64_t begin = next(alignment);
    sharedOffsets[global.getSymName()] = begin;
    end = begin + bytes;
  }
  if (!dynamic.empty())
    end = next(dynamicAlignment);
  for (StringRef name : dynamic)
    sharedOffsets[name] = end;
  staticBytes = end;
  return success();
}

LogicalResult Rewriter::checkKernel(LLVM::LLVMFuncOp function) {
  for (auto [i, type] : llvm::enumerate(function.getArgumentTypes())) {
    auto pointer = dyn_cast<LLVM::LLVMPointerType>(type);
    if (!pointer || pointer.getAddressSpace() > kGlobal)
      return function.emitError() << "parameter " << i << " of a kernel is no pointer to global memory: " << type;
    if (function.getArgAttr(i, LLVM::LLVMDialect::getByValAttrName()))
      return function.emitError() << "parameter " << i << " is passed by value: the emulator has no tensor maps";
  }
  writes[function].assign(function.getNumArguments(), false);
  return success();
}

LogicalResult Rewriter::access(Operation *op, Value pointer, Type type, std::optional<uint64_t> alignment, v4_emu_access kind) {
  unsigned space = spaceOf(pointer);
  Root root = roots.of(pointer);
  if (space == kLocal || space == kConstant || root.kind == Root::Local || root.kind == Root::Constant)
    return success();
  if (space != 0 && space != kGlobal && space != kShared)
    return op->emitError() << "accesses address space " << space << ", which the emulator does not have";
  if (space == 0 && root.kind == Root::Argument)
    space = kGlobal;
  uint64_t bytes = bytesOf(type, layout);
  uint64_t promised = alignment.value_or(layout.getTypeABIAlignment(type));
  if (!llvm::isPowerOf2_64(promised))
    return op->emitError() << "alignment " << promised << " is no power of two";
  uint64_t granule = std::min(promised, bytes & -bytes);
  int binding = space == kGlobal && root.kind == Root::Argument ? int(root.argument) : -1;
  if (space != kGlobal)
    sharedGranule = std::min(sharedGranule, granule);
  if (space != kShared) {
    globalGranule = std::min(globalGranule, granule);
    if (kind != V4_EMU_READ) {
      if (binding >= 0)
        writes[op->getParentOfType<LLVM::LLVMFuncOp>()][unsigned(binding)] = true;
      else
        writesUnknown = true;
    }
  }
  call("access", {}, {pointer, site(op, bytes, promised, kind, space, binding)});
  return success();
}

/// A GPU gives some number where the host raises a signal.
void Rewriter::checkDivision(Operation *op, bool isSigned) {
  Value dividend = op->getOperand(0), divisor = op->getOperand(1);
  Type type = divisor.getType();
  APInt constantDivisor;
  if (matchPattern(divisor, m_ConstantInt(&constantDivisor)) && !constantDivisor.isZero() && !(isSigned && constantDivisor.isAllOnes()))
    return;
  unsigned width = cast<IntegerType>(getElementTypeOrSelf(type)).getWidth();
  auto filled = [&](const APInt &value) -> Value {
    if (auto vector = dyn_cast<VectorType>(type))
      return LLVM::ConstantOp::create(b, loc, type, DenseElementsAttr::get(vector, value));
    return LLVM::ConstantOp::create(b, loc, type, b.getIntegerAttr(type, value));
  };
  Value undefined = LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::eq, divisor, filled(APInt::getZero(width)));
  if (isSigned) {
    Value minus = LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::eq, divisor, filled(APInt::getAllOnes(width)));
    Value least = LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::eq, dividend, filled(APInt::getSignedMinValue(width)));
    undefined = LLVM::OrOp::create(b, loc, undefined, LLVM::AndOp::create(b, loc, minus, least));
  }
  Value any = undefined;
  if (isa<VectorType>(type))
    any = LLVM::vector_reduce_or::create(b, loc, b.getI1Type(), undefined);
  call("check_division", {}, {LLVM::ZExtOp::create(b, loc, i32, any).getResult(), site(op)});
  // The host may compute the quotient before the check.
  op->setOperand(1, LLVM::SelectOp::create(b, loc, undefined, filled(APInt(width, 1)), divisor));
}

LogicalResult Rewriter::rewriteMma(NVVM::MmaOp op) {
  auto shape = op.getShape();
  std::optional<NVVM::MMATypes> a = op.getMultiplicandAPtxType(), bType = op.getMultiplicandBPtxType();
  Type first = op.getOperandA().front().getType();
  if (!a && isa<VectorType>(first) && cast<VectorType>(first).getElementType().isF16())
    a = bType = NVVM::MMATypes::f16;
  if (shape.getM() != 16 || shape.getN() != 8 || (shape.getK() != 16 && shape.getK() != 8) || a != bType ||
      (a != NVVM::MMATypes::f16 && a != NVVM::MMATypes::bf16) || op.getLayoutA() != NVVM::MMALayout::row ||
      op.getLayoutB() != NVVM::MMALayout::col || op.getB1Op())
    return unknown(op, "of this shape; it has m16n8k16 and m16n8k8 of f16 and bf16");
  auto structure = dyn_cast<LLVM::LLVMStructType>(op.getType());
  Type result = structure ? structure.getBody()[0] : Type(op.getType());
  bool narrow = !result.isF32();
  if (narrow && a != NVVM::MMATypes::f16)
    return unknown(op, "with this result");
  Value memoryA = scratch(op, "a", 16), memoryB = scratch(op, "b", 8), memoryC = scratch(op, "c", 16), memoryD = scratch(op, "d", 16);
  spill(memoryA, op.getOperandA());
  spill(memoryB, op.getOperandB());
  spill(memoryC, op.getOperandC());
  v4_emu_mma types = narrow ? V4_EMU_F16_F16 : a == NVVM::MMATypes::bf16 ? V4_EMU_BF16_F32 : V4_EMU_F16_F32;
  call("mma", {}, {memoryA, memoryB, memoryC, memoryD, constant(shape.getK()), constant(types), site(op)});
  replace(op, reload(memoryD, op.getType()));
  return success();
}

LogicalResult Rewriter::arriveAt(Operation *op, Value barrier, Value count, Value bytes, unsigned how) {
  barrierInMemory();
  Value state = call("mbarrier_arrive", i64,
                     {barrier, count ? count : constant(1), bytes ? bytes : constant(0), constant(how), site(op)});
  replace(op, op->getNumResults() ? state : Value());
  return success();
}

LogicalResult Rewriter::waitAt(Operation *op, Value barrier, Value what, unsigned how) {
  barrierInMemory();
  if (what.getType() != i64) {
    how |= V4_EMU_WAIT_PARITY;
    what = LLVM::ZExtOp::create(b, loc, i64, what);
  }
  Value done = call("mbarrier_wait", i32, {barrier, what, constant(how), site(op)});
  replace(op, op->getNumResults() ? LLVM::TruncOp::create(b, loc, b.getI1Type(), done).getResult() : Value());
  return success();
}

/// Offsets in v4_emu_thread of the special registers.
static std::optional<uint64_t> registerOffset(StringRef name) {
  uint64_t axis = name.ends_with(".y") ? 4 : name.ends_with(".z") ? 8 : 0;
  StringRef stem = name.size() > 2 && (name.ends_with(".x") || name.ends_with(".y") || name.ends_with(".z")) ? name.drop_back(2) : name;
  return llvm::StringSwitch<std::optional<uint64_t>>(stem)
      .Case("tid", offsetof(v4_emu_thread, tid) + axis)
      .Case("ntid", offsetof(v4_emu_thread, ntid) + axis)
      .Case("ctaid", offsetof(v4_emu_thread, ctaid) + axis)
      .Case("nctaid", offsetof(v4_emu_thread, nctaid) + axis)
      .Case("laneid", offsetof(v4_emu_thread, laneid))
      .Case("warpid", offsetof(v4_emu_thread, warpid))
      .Case("nwarpid", offsetof(v4_emu_thread, nwarpid))
      .Case("lanemask.eq", offsetof(v4_emu_thread, lanemask_eq))
      .Case("lanemask.le", offsetof(v4_emu_thread, lanemask_le))
      .Case("lanemask.lt", offsetof(v4_emu_thread, lanemask_lt))
      .Case("lanemask.ge", offsetof(v4_emu_thread, lanemask_ge))
      .Case("lanemask.gt", offsetof(v4_emu_thread, lanemask_gt))
      .Default(std::nullopt);
}

LogicalResult Rewriter::rewriteNvvm(Operation *op) {
  StringRef name = op->getName().stripDialect();
  if (name.consume_front("read.ptx.sreg.")) {
    if (name == "warpsize") {
      replace(op, constant(32));
      return success();
    }
    std::optional<uint64_t> offset = registerOffset(name);
    if (!offset)
      return unknown(op);
    replace(op, threadField(*offset, i32));
    return success();
  }
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](NVVM::Barrier0Op barrier) {
        call("barrier", {}, {constant(0), constant(0), site(op)});
        replace(op, {});
        return success();
      })
      .Case([&](NVVM::BarrierOp barrier) {
        if (barrier.getReductionOp())
          return unknown(op, "with a reduction");
        partialSync |= bool(barrier.getNumberOfThreads());
        Value id = barrier.getBarrierId() ? barrier.getBarrierId() : constant(0);
        Value threads = barrier.getNumberOfThreads() ? barrier.getNumberOfThreads() : constant(0);
        call("barrier", {}, {id, threads, site(op)});
        replace(op, {});
        return success();
      })
      .Case([&](NVVM::BarrierArriveOp barrier) {
        partialSync = true;
        Value id = barrier.getBarrierId() ? barrier.getBarrierId() : constant(0);
        call("barrier_arrive", {}, {id, barrier.getNumberOfThreads(), site(op)});
        replace(op, {});
        return success();
      })
      .Case([&](NVVM::SyncWarpOp sync) {
        partialSync |= !isFull(sync.getMask());
        call("warp_sync", {}, {sync.getMask(), site(op)});
        replace(op, {});
        return success();
      })
      .Case([&](NVVM::ShflOp shuffle) {
        v4_emu_shuffle kind = V4_EMU_INDEX;
        switch (shuffle.getKind()) {
        case NVVM::ShflKind::bfly:
          kind = V4_EMU_BUTTERFLY;
          break;
        case NVVM::ShflKind::up:
          kind = V4_EMU_UP;
          break;
        case NVVM::ShflKind::down:
          kind = V4_EMU_DOWN;
          break;
        case NVVM::ShflKind::idx:
          kind = V4_EMU_INDEX;
          break;
        }
        Value packed = call("shuffle", i64,
                            {shuffle.getThreadMask(), bits(shuffle.getVal()), shuffle.getOffset(), shuffle.getMaskAndClamp(),
                             constant(kind), site(op)});
        replace(op, unpack(packed, shuffle.getType()));
        return success();
      })
      .Case([&](NVVM::VoteSyncOp vote) {
        v4_emu_vote kind = V4_EMU_BALLOT;
        switch (vote.getKind()) {
        case NVVM::VoteSyncKind::any:
          kind = V4_EMU_ANY;
          break;
        case NVVM::VoteSyncKind::all:
          kind = V4_EMU_ALL;
          break;
        case NVVM::VoteSyncKind::ballot:
          kind = V4_EMU_BALLOT;
          break;
        case NVVM::VoteSyncKind::uni:
          kind = V4_EMU_UNIFORM;
          break;
        }
        Value predicate = LLVM::ZExtOp::create(b, loc, i32, vote.getPred());
        Value result = call("vote", i32, {vote.getMask(), predicate, constant(kind), site(op)});
        if (vote.getType() != i32)
          result = LLVM::TruncOp::create(b, loc, vote.getType(), result);
        replace(op, result);
        return success();
      })
      .Case([&](NVVM::MatchSyncOp match) {
        bool all = match.getKind() == NVVM::MatchSyncKind::all;
        Value value = match.getVal();
        if (value.getType() != i64)
          value = LLVM::ZExtOp::create(b, loc, i64, value);
        Value packed = call("match", i64, {match.getThreadMask(), value, constant(all), site(op)});
        replace(op, unpack(packed, match.getType()));
        return success();
      })
      .Case([&](NVVM::ReduxOp redux) {
        std::optional<v4_emu_redux> kind;
        switch (redux.getKind()) {
        case NVVM::ReduxKind::ADD:
          kind = V4_EMU_ADD;
          break;
        case NVVM::ReduxKind::AND:
          kind = V4_EMU_AND;
          break;
        case NVVM::ReduxKind::OR:
          kind = V4_EMU_OR;
          break;
        case NVVM::ReduxKind::XOR:
          kind = V4_EMU_XOR;
          break;
        case NVVM::ReduxKind::MAX:
          kind = V4_EMU_MAX;
          break;
        case NVVM::ReduxKind::MIN:
          kind = V4_EMU_MIN;
          break;
        case NVVM::ReduxKind::UMAX:
          kind = V4_EMU_UMAX;
          break;
        case NVVM::ReduxKind::UMIN:
          kind = V4_EMU_UMIN;
          break;
        default:
          break;
        }
        if (!kind || redux.getType() != i32)
          return unknown(op, "of floats");
        replace(op, call("redux", i32, {redux.getMaskAndClamp(), redux.getVal(), constant(*kind), site(op)}));
        return success();
      })
      .Case([&](NVVM::ElectSyncOp elect) {
        Value mask = elect.getMembermask() ? elect.getMembermask() : constant(-1);
        Value packed = call("elect", i64, {mask, site(op)});
        Value high = LLVM::LShrOp::create(b, loc, packed, LLVM::ConstantOp::create(b, loc, i64, b.getI64IntegerAttr(32)));
        replace(op, LLVM::TruncOp::create(b, loc, b.getI1Type(), high));
        return success();
      })
      .Case([&](NVVM::MmaOp mma) { return rewriteMma(mma); })
      .Case([&](NVVM::LdMatrixOp load) {
        auto shape = load.getShape();
        if (shape.getM() != 8 || shape.getN() != 8 || load.getEltType() != NVVM::LdStMatrixEltType::B16)
          return unknown(op, "of this shape; it has m8n8 of b16");
        Value out = scratch(op, "matrix", 16);
        call("ldmatrix", {}, {load.getPtr(), out, constant(load.getNum()), constant(load.getLayout() == NVVM::MMALayout::col), site(op)});
        replace(op, reload(out, load.getType()));
        return success();
      })
      .Case([&](NVVM::StMatrixOp store) {
        auto shape = store.getShape();
        if (shape.getM() != 8 || shape.getN() != 8 || store.getEltType() != NVVM::LdStMatrixEltType::B16)
          return unknown(op, "of this shape; it has m8n8 of b16");
        Value in = scratch(op, "matrix", 16);
        spill(in, store.getSources());
        call("stmatrix", {}, {store.getPtr(), in, constant(int64_t(store.getSources().size())),
                              constant(store.getLayout() == NVVM::MMALayout::col), site(op)});
        replace(op, {});
        return success();
      })
      .Case([&](NVVM::CpAsyncOp copy) {
        uint64_t bytes = copy.getSize();
        Root root = roots.of(copy.getSrc());
        sharedGranule = std::min<uint64_t>(sharedGranule, bytes);
        globalGranule = std::min<uint64_t>(globalGranule, bytes);
        Value source = copy.getCpSize() ? copy.getCpSize() : constant(int64_t(bytes));
        call("copy_async", {}, {copy.getDst(), copy.getSrc(), source,
                                site(op, bytes, bytes, V4_EMU_READ, kGlobal, root.kind == Root::Argument ? int(root.argument) : -1)});
        replace(op, {});
        return success();
      })
      .Case([&](NVVM::CpAsyncCommitGroupOp commit) {
        call("copy_commit", {}, {site(op)});
        replace(op, {});
        return success();
      })
      .Case([&](NVVM::CpAsyncWaitGroupOp wait) {
        call("copy_wait", {}, {constant(wait.getN()), site(op)});
        replace(op, {});
        return success();
      })
      .Case([&](NVVM::CpAsyncBulkGlobalToSharedClusterOp copy) {
        if (copy.getMulticastMask())
          return unknown(op, "to several blocks of a cluster");
        Root root = roots.of(copy.getSrcMem());
        barrierInMemory();
        call("copy_bulk", {},
             {copy.getDstMem(), copy.getSrcMem(), copy.getMbar(), copy.getSize(),
              site(op, 16, 16, V4_EMU_READ, kGlobal, root.kind == Root::Argument ? int(root.argument) : -1)});
        replace(op, {});
        return success();
      })
      .Case([&](NVVM::MBarrierInitOp init) {
        if (init.getPredicate())
          return unknown(op, "with a predicate");
        barrierInMemory();
        call("mbarrier_init", {}, {init.getAddr(), init.getCount(), site(op)});
        replace(op, {});
        return success();
      })
      .Case([&](NVVM::MBarrierInvalOp inval) {
        barrierInMemory();
        call("mbarrier_inval", {}, {inval.getAddr(), site(op)});
        replace(op, {});
        return success();
      })
      .Case<NVVM::MBarrierArriveOp, NVVM::MBarrierArriveDropOp>([&](auto arrive) {
        if (arrive.getRelaxed())
          return unknown(op, "that is relaxed");
        bool drop = isa<NVVM::MBarrierArriveDropOp>(op);
        return arriveAt(op, arrive.getAddr(), arrive.getCount(), {}, drop ? V4_EMU_ARRIVE_DROP : 0);
      })
      .Case([&](NVVM::MBarrierArriveNocompleteOp arrive) {
        return arriveAt(op, arrive.getAddr(), arrive.getCount(), {}, V4_EMU_ARRIVE_NO_COMPLETE);
      })
      .Case([&](NVVM::MBarrierArriveDropNocompleteOp arrive) {
        return arriveAt(op, arrive.getAddr(), arrive.getCount(), {}, V4_EMU_ARRIVE_NO_COMPLETE | V4_EMU_ARRIVE_DROP);
      })
      .Case([&](NVVM::MBarrierArriveExpectTxOp arrive) {
        if (arrive.getPredicate() || arrive.getRelaxed())
          return unknown(op, "with a predicate, or relaxed");
        return arriveAt(op, arrive.getAddr(), {}, arrive.getTxcount(), V4_EMU_ARRIVE_EXPECT);
      })
      .Case([&](NVVM::MBarrierExpectTxOp expect) {
        barrierInMemory();
        call("mbarrier_expect", {}, {expect.getAddr(), expect.getTxcount(), site(op)});
        replace(op, {});
        return success();
      })
      .Case([&](NVVM::MBarrierTryWaitParityOp wait) {
        return waitAt(op, wait.getAddr(), wait.getPhase(), V4_EMU_WAIT_SUSPEND);
      })
      .Case<NVVM::MBarrierTestWaitOp, NVVM::MBarrierTryWaitOp>([&](auto wait) {
        if (wait.getRelaxed())
          return unknown(op, "that is relaxed");
        return waitAt(op, wait.getAddr(), wait.getStateOrPhase(),
                      isa<NVVM::MBarrierTryWaitOp>(op) ? V4_EMU_WAIT_SUSPEND : 0);
      })
      .Case([&](NVVM::FenceMbarrierInitOp) {
        call("fence_bulk", {}, {});
        replace(op, {});
        return success();
      })
      .Case([&](NVVM::FenceProxyOp fence) {
        // Threads are ordered by the barrier that follows.
        if (llvm::is_contained({NVVM::ProxyKind::async, NVVM::ProxyKind::async_shared}, fence.getKind()))
          call("fence_bulk", {}, {});
        replace(op, {});
        return success();
      })
      .Case([&](NVVM::ConvertF8x2ToF16x2Op convert) {
        if (!isa<Float8E4M3FNType>(convert.getSrcType()) || convert.getRelu())
          return unknown(op, "of this type; it has f8E4M3FN");
        Value pair = LLVM::BitcastOp::create(b, loc, b.getI16Type(), convert.getSrc());
        Value wide = call("widen_e4m3", i32, {LLVM::ZExtOp::create(b, loc, i32, pair).getResult()});
        replace(op, LLVM::BitcastOp::create(b, loc, convert.getType(), wide));
        return success();
      })
      .Case([&](NVVM::MembarOp) {
        // Blocks are not ordered by fences (their races are found without them); within a block only barriers order.
        replace(op, {});
        return success();
      })
      .Default([&](Operation *) { return unknown(op); });
}

LogicalResult Rewriter::rewrite(Operation *op) {
  loc = op->getLoc();
  b.setInsertionPoint(op);
  if (isa_and_nonnull<NVVM::NVVMDialect>(op->getDialect()))
    return rewriteNvvm(op);
  if (!isa_and_nonnull<LLVM::LLVMDialect>(op->getDialect()))
    return unknown(op);
  StringRef name = op->getName().stripDialect();
  if (name.consume_front("intr."))
    return isPortable(name) ? success() : unknown(op);
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](LLVM::LoadOp load) {
        return access(op, load.getAddr(), load.getType(), load.getAlignment(), V4_EMU_READ);
      })
      .Case([&](LLVM::StoreOp store) {
        return access(op, store.getAddr(), store.getValue().getType(), store.getAlignment(), V4_EMU_WRITE);
      })
      .Case([&](LLVM::AtomicRMWOp atomic) {
        atomic.removeSyncscopeAttr();
        return access(op, atomic.getPtr(), atomic.getVal().getType(), atomic.getAlignment(), V4_EMU_ATOMIC);
      })
      .Case([&](LLVM::AtomicCmpXchgOp atomic) {
        atomic.removeSyncscopeAttr();
        return access(op, atomic.getPtr(), atomic.getVal().getType(), atomic.getAlignment(), V4_EMU_ATOMIC);
      })
      .Case([&](LLVM::FenceOp fence) {
        fence.removeSyncscopeAttr();
        return success();
      })
      .Case([&](LLVM::AddressOfOp address) -> LogicalResult {
        auto offset = sharedOffsets.find(address.getGlobalName());
        if (offset == sharedOffsets.end())
          return success();
        Value pointer = LLVM::GEPOp::create(b, loc, ptr, b.getI8Type(), sharedBase(), ArrayRef<LLVM::GEPArg>{int32_t(offset->second)},
                                            LLVM::GEPNoWrapFlags::inbounds);
        replace(op, LLVM::AddrSpaceCastOp::create(b, loc, address.getType(), pointer));
        return success();
      })
      .Case([&](LLVM::PtrToIntOp convert) -> LogicalResult {
        if (spaceOf(convert.getArg()) != kShared)
          return success();
        // Addresses of shared memory are offsets into the block's window.
        Value address = LLVM::PtrToIntOp::create(b, loc, i64, generic(convert.getArg()));
        Value base = LLVM::PtrToIntOp::create(b, loc, i64, sharedBase());
        Value offset = LLVM::SubOp::create(b, loc, address, base);
        if (convert.getType() != i64)
          offset = LLVM::TruncOp::create(b, loc, convert.getType(), offset);
        replace(op, offset);
        return success();
      })
      .Case([&](LLVM::IntToPtrOp convert) -> LogicalResult {
        if (cast<LLVM::LLVMPointerType>(convert.getType()).getAddressSpace() != kShared)
          return success();
        Value offset = convert.getArg();
        if (offset.getType() != i64)
          offset = LLVM::ZExtOp::create(b, loc, i64, offset);
        Value pointer = LLVM::GEPOp::create(b, loc, ptr, b.getI8Type(), sharedBase(), ArrayRef<LLVM::GEPArg>{offset});
        replace(op, LLVM::AddrSpaceCastOp::create(b, loc, convert.getType(), pointer));
        return success();
      })
      .Case([&](LLVM::CallOp callOp) -> LogicalResult {
        auto callee = callOp.getCallee() ? gpuModule.lookupSymbol<LLVM::LLVMFuncOp>(*callOp.getCallee()) : LLVM::LLVMFuncOp();
        if (!callee)
          callee = callOp.getCallee() ? host.lookupSymbol<LLVM::LLVMFuncOp>(*callOp.getCallee()) : LLVM::LLVMFuncOp();
        if (!callee || callee.isExternal())
          return op->emitError() << "calls '" << (callOp.getCallee() ? *callOp.getCallee() : "a function pointer")
                                 << "', which the module does not define";
        return success();
      })
      .Case<LLVM::PoisonOp, LLVM::UndefOp>([&](Operation *) -> LogicalResult {
        // Like shared memory that nobody has written; LLVM would choose what suits it.
        auto type = op->getResult(0).getType();
        auto vector = dyn_cast<VectorType>(type);
        Type element = vector ? vector.getElementType() : type;
        if (!element.isIntOrFloat())
          return success();
        Type integer = b.getIntegerType(element.getIntOrFloatBitWidth());
        if (vector)
          integer = vector.clone(integer);
        TypedAttr ones = b.getIntegerAttr(getElementTypeOrSelf(integer), APInt::getAllOnes(element.getIntOrFloatBitWidth()));
        if (vector)
          ones = DenseElementsAttr::get(cast<ShapedType>(integer), ones);
        Value value = LLVM::ConstantOp::create(b, loc, integer, ones);
        replace(op, type == integer ? value : LLVM::BitcastOp::create(b, loc, type, value));
        return success();
      })
      .Case<LLVM::InsertElementOp, LLVM::ExtractElementOp>([&](Operation *) -> LogicalResult {
        APInt position;
        int64_t lanes = cast<VectorType>(op->getOperand(0).getType()).getDimSize(0);
        if (matchPattern(op->getOperands().back(), m_ConstantInt(&position)) && position.uge(uint64_t(lanes)))
          return op->emitError() << "lane " << position.getSExtValue() << " of a vector of " << lanes;
        return success();
      })
      .Case<LLVM::UDivOp, LLVM::URemOp>([&](Operation *) -> LogicalResult {
        checkDivision(op, false);
        return success();
      })
      .Case<LLVM::SDivOp, LLVM::SRemOp>([&](Operation *) -> LogicalResult {
        checkDivision(op, true);
        return success();
      })
      .Case([&](LLVM::InlineAsmOp) { return unknown(op, "kernels for it have no inline assembly"); })
      .Case([&](LLVM::CallIntrinsicOp intrinsic) { return unknown(op, intrinsic.getIntrin()); })
      .Default([&](Operation *) { return success(); });
}

void Rewriter::stripAddressSpaces() {
  for (auto global : llvm::make_early_inc_range(host.getOps<LLVM::GlobalOp>())) {
    if (sharedOffsets.contains(global.getSymName()))
      global.erase();
    else if (global.getAddrSpace() != 0)
      global.setAddrSpace(0);
  }
  AttrTypeReplacer replacer;
  replacer.addReplacement([&](LLVM::LLVMPointerType) { return Type(ptr); });
  replacer.recursivelyReplaceElementsIn(host, /*replaceAttrs=*/true, /*replaceLocs=*/false, /*replaceTypes=*/true);
  host.walk([](LLVM::AddrSpaceCastOp cast) {
    cast.getResult().replaceAllUsesWith(cast.getArg());
    cast.erase();
  });
}

void Rewriter::setKernelAttributes() {
  host->setAttr("v4.emu.sites", b.getArrayAttr(sites));
  host->setAttr("v4.emu.shared", b.getI64IntegerAttr(int64_t(staticBytes)));
  host->setAttr("v4.emu.gaps", b.getDenseI32ArrayAttr(gaps));
  host->setAttr("v4.emu.shared_granule", b.getI64IntegerAttr(int64_t(sharedGranule)));
  host->setAttr("v4.emu.global_granule", b.getI64IntegerAttr(int64_t(globalGranule)));
  if (partialSync)
    host->setAttr("v4.emu.partial_sync", b.getUnitAttr());
  for (auto function : host.getOps<LLVM::LLVMFuncOp>()) {
    SmallVector<bool> written;
    SmallVector<int32_t> block;
    bool kernel = writes.contains(function);
    if (kernel) {
      written = writes[function];
      if (writesUnknown)
        written.assign(written.size(), true);
      if (auto required = function->getAttrOfType<DenseI32ArrayAttr>("nvvm.reqntid"))
        block.assign(required.asArrayRef().begin(), required.asArrayRef().end());
    }
    for (NamedAttribute attribute : llvm::to_vector(function->getDiscardableAttrs()))
      function->removeDiscardableAttr(attribute.getName());
    for (unsigned i = 0; i != function.getNumArguments(); ++i)
      function.setArgAttrs(i, ArrayRef<NamedAttribute>());
    if (!kernel)
      continue;
    function->setAttr("v4.emu.writes", b.getDenseBoolArrayAttr(written));
    if (!block.empty()) {
      block.resize(3, 1);
      function->setAttr("v4.emu.block", b.getDenseI32ArrayAttr(block));
    }
  }
}

FailureOr<ModuleOp> Rewriter::run() {
  if (failed(layOutSharedMemory()))
    return failure();
  OpBuilder outer(gpuModule);
  host = ModuleOp::create(outer, gpuModule.getLoc(), gpuModule.getName());
  LogicalResult result = success();
  SmallVector<Operation *> ops;
  for (auto function : gpuModule.getOps<LLVM::LLVMFuncOp>()) {
    if (function->hasAttr("nvvm.kernel") && failed(checkKernel(function)))
      result = failure();
    // In the order of the text, so that sites are numbered as a reader counts.
    function.walk<WalkOrder::PreOrder>([&](Operation *op) {
      if (op != function)
        ops.push_back(op);
    });
  }
  if (failed(result))
    return failure();
  // Roots are looked up while the globals still are where they were; every op that the emulator does not know is reported.
  for (Operation *op : ops)
    if (failed(rewrite(op)))
      result = failure();
  if (failed(result))
    return failure();
  if (sites.size() > 65535)
    return gpuModule.emitError() << "has " << sites.size() << " ops to watch; the emulator counts to 65535";
  for (Operation &op : llvm::make_early_inc_range(*gpuModule.getBody()))
    op.moveBefore(host.getBody(), host.getBody()->end());
  if (!sites.empty()) {
    b.setInsertionPointToStart(host.getBody());
    LLVM::GlobalOp::create(b, host.getLoc(), LLVM::LLVMArrayType::get(siteType, sites.size()), /*isConstant=*/true,
                           LLVM::Linkage::External, kEmuSites, Attribute());
  }
  stripAddressSpaces();
  setKernelAttributes();
  gpuModule.erase();
  return host;
}

namespace {
struct LowerToEmulatorPass : v4::impl::LowerToEmulatorPassBase<LowerToEmulatorPass> {
  using LowerToEmulatorPassBase::LowerToEmulatorPassBase;

  void runOnOperation() override {
    for (auto gpuModule : llvm::make_early_inc_range(getOperation().getOps<gpu::GPUModuleOp>()))
      if (failed(Rewriter(gpuModule).run()))
        return signalPassFailure();
  }
};
} // namespace
