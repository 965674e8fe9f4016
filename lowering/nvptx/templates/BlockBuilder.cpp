// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Builds what every thread of a block does in a kernel template of GPUs.

#include "lowering/nvptx/templates/BlockBuilder.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"

using namespace mlir;
using namespace mlir::v4;

BlockBuilder::BlockBuilder(KernelOp op) : KernelBuilder(op), blockThreads(kBlockThreads) {
  if (auto threads = op->getAttrOfType<IntegerAttr>("threads"))
    blockThreads = threads.getInt();
  threadId = gpu::ThreadIdOp::create(*this, gpu::Dimension::x);
  warpId = div(threadId, kWarp);
  laneId = rem(threadId, kWarp);
}

void BlockBuilder::forThreads(int64_t number, function_ref<void(Value)> body) {
  if (number == blockThreads)
    return body(threadId);
  if (number < blockThreads)
    return when(compare(arith::CmpIPredicate::ult, threadId, index(number)), [&] { body(threadId); });
  forThreads(index(number), body);
}

void BlockBuilder::warpBarrier() {
  NVVM::SyncWarpOp::create(*this, i32(-1));
}

Value BlockBuilder::shared(ArrayRef<int64_t> shape, Type element) {
  auto type = MemRefType::get(shape, element, MemRefLayoutAttrInterface(), getI64IntegerAttr(kSharedMemory));
  return memref::AllocaOp::create(*this, type, getI64IntegerAttr(16));
}

Value BlockBuilder::loadAligned(Value memory, ValueRange at, int64_t lanes) {
  auto type = VectorType::get({lanes}, cast<MemRefType>(memory.getType()).getElementType());
  auto load = vector::LoadOp::create(*this, type, memory, at);
  load.setAlignment(wideAlignment(memory, lanes));
  return load;
}

void BlockBuilder::storeAligned(Value value, Value memory, ValueRange at) {
  auto store = vector::StoreOp::create(*this, value, memory, at);
  store.setAlignment(wideAlignment(memory, cast<VectorType>(value.getType()).getDimSize(0)));
}

bool BlockBuilder::isAligned(Value memory, int64_t lanes) {
  return hasAlignedRows(memory, wideAlignment(memory, lanes));
}

Value BlockBuilder::loadRow(Value memory, ValueRange at, int64_t lanes, bool isAligned) {
  return isAligned ? loadAligned(memory, at, lanes) : load(memory, at, lanes);
}

void BlockBuilder::storeRow(Value value, Value memory, ValueRange at, bool isAligned) {
  if (!isAligned)
    return store(value, memory, at);
  auto type = cast<VectorType>(value.getType()).clone(cast<MemRefType>(memory.getType()).getElementType());
  if (type != value.getType())
    value = arith::TruncFOp::create(*this, type, value);
  storeAligned(value, memory, at);
}

void BlockBuilder::copyAsync(Value from, ValueRange fromAt, Value to, ValueRange toAt, Value elements) {
  int64_t count = 16 * 8 / cast<MemRefType>(from.getType()).getElementTypeBitWidth();
  auto token = nvgpu::DeviceAsyncTokenType::get(getContext());
  nvgpu::DeviceAsyncCopyOp::create(*this, token, to, toAt, from, fromAt, getIndexAttr(count), elements, getUnitAttr());
}

void BlockBuilder::commitCopies() {
  NVVM::CpAsyncCommitGroupOp::create(*this);
}
void BlockBuilder::waitForCopies(int64_t sets) {
  NVVM::CpAsyncWaitGroupOp::create(*this, getI32IntegerAttr(sets));
}

Value BlockBuilder::shiftLeft(Value value, int64_t bits) {
  return bits ? arith::ShLIOp::create(*this, value, splat(value.getType(), bits)).getResult() : value;
}
Value BlockBuilder::shiftRight(Value value, int64_t bits) {
  return bits ? arith::ShRUIOp::create(*this, value, splat(value.getType(), bits)).getResult() : value;
}
Value BlockBuilder::mask(Value value, uint32_t bits) {
  return arith::AndIOp::create(*this, value, i32(static_cast<int32_t>(bits)));
}
Value BlockBuilder::rem(Value a, int64_t b) {
  return arith::RemUIOp::create(*this, a, splat(a.getType(), b));
}

SmallVector<Value> BlockBuilder::dwords(Value vector) {
  auto type = cast<VectorType>(vector.getType());
  int64_t size = type.getElementTypeBitWidth() * type.getNumElements() / 32;
  Value cast = vector::BitCastOp::create(*this, i32s(size), vector);
  SmallVector<Value> words;
  for (int64_t i = 0; i < size; ++i)
    words.push_back(vector::ExtractOp::create(*this, cast, i));
  return words;
}

Value BlockBuilder::zeroIfNot(Value condition, Value value) {
  return select(condition, value, arith::ConstantOp::create(*this, getZeroAttr(value.getType())));
}

Value BlockBuilder::orderKey(Value number) {
  // -0 becomes 0. Negative numbers: all bits turned; others: the sign.
  Value bits = bitcast(getI32Type(), add(number, f32(0)));
  Value sign = arith::ShRSIOp::create(*this, bits, i32(31));
  Value turned = bitOr(sign, i32(INT32_MIN));
  Value isNan = arith::CmpFOp::create(*this, arith::CmpFPredicate::UNO, number, number);
  return select(isNan, i32(0), arith::XOrIOp::create(*this, bits, turned));
}

Value BlockBuilder::shuffleXor(Value value, int64_t mask) {
  return gpu::ShuffleOp::create(*this, value, mask, kWarp, gpu::ShuffleMode::XOR).getShuffleResult();
}

Value BlockBuilder::shuffleFrom(Value value, Value lane) {
  return gpu::ShuffleOp::create(*this, value, lane, i32(kWarp), gpu::ShuffleMode::IDX).getShuffleResult();
}

Value BlockBuilder::warpSum(Value value, int64_t lanes) {
  for (int64_t mask = 1; mask < lanes; mask *= 2)
    value = add(value, shuffleXor(value, mask));
  return value;
}

Value BlockBuilder::warpMax(Value value, int64_t lanes) {
  for (int64_t mask = 1; mask < lanes; mask *= 2)
    value = max(value, shuffleXor(value, mask));
  return value;
}

Value BlockBuilder::warpPrefix(Value value) {
  for (int64_t distance = 1; distance < kWarp; distance *= 2) {
    Value other = gpu::ShuffleOp::create(*this, value, distance, kWarp, gpu::ShuffleMode::UP).getShuffleResult();
    value = add(value, zeroIfNot(compare(arith::CmpIPredicate::uge, lane(), index(distance)), other));
  }
  return value;
}

Value BlockBuilder::warpMost(Value value) {
  return NVVM::ReduxOp::create(*this, getI32Type(), value, NVVM::ReduxKind::UMAX, i32(-1));
}

Value BlockBuilder::warpLeast(Value value) {
  return NVVM::ReduxOp::create(*this, getI32Type(), value, NVVM::ReduxKind::UMIN, i32(-1));
}

Value BlockBuilder::ballot(Value flag) {
  return NVVM::VoteSyncOp::create(*this, getI32Type(), i32(-1), flag, NVVM::VoteSyncKind::ballot);
}

Value BlockBuilder::equalLanes(Value value) {
  return NVVM::MatchSyncOp::create(*this, getI32Type(), i32(-1), value, NVVM::MatchSyncKind::any);
}

Value BlockBuilder::lanesBelow() {
  return sub(arith::ShLIOp::create(*this, i32(1), toI32(lane())), i32(1));
}

SmallVector<Value> BlockBuilder::mma(ArrayRef<Value> a, ArrayRef<Value> b, ArrayRef<Value> c) {
  auto type = LLVM::LLVMStructType::getLiteral(getContext(), SmallVector<Type>(4, getF32Type()));
  std::array<NVVM::MMATypes, 2> types = {NVVM::MMATypes::bf16, NVVM::MMATypes::bf16};
  std::array<NVVM::MMALayout, 2> layouts = {NVVM::MMALayout::row, NVVM::MMALayout::col};
  Value product = NVVM::MmaOp::create(*this, type, a, b, c, ArrayRef<int64_t>{16, 8, 16}, std::nullopt, std::nullopt,
                                      types, layouts);
  SmallVector<Value> sums;
  for (int64_t i = 0; i < 4; ++i)
    sums.push_back(LLVM::ExtractValueOp::create(*this, product, i));
  return sums;
}

void v4::setThreads(KernelOp kernel, int64_t threads) {
  kernel->setAttr("threads", Builder(kernel.getContext()).getI64IntegerAttr(threads));
}

KernelOp v4::replaceByBlockKernel(Operation *op, StringRef name, int64_t threads) {
  KernelOp kernel = replaceByKernel(op, name);
  setThreads(kernel, threads);
  return kernel;
}
