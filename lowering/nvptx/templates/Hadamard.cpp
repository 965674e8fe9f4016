// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Template `hadamard` of GPUs: v4.hadamard as butterflies, a row for each warp. The strides below a warp are exchanges
// between lanes, the others are between registers.

#include "lowering/nvptx/templates/Rows.h"

#include "lowering/templates/Templates.h"

using namespace mlir;
using namespace mlir::v4;

/// Most elements of a row: 32 for a lane.
constexpr int64_t kMaxWidth = 1024;

bool v4::selectBlockHadamard(Operation *tile, const GpuTarget &target) {
  auto op = dyn_cast<HadamardOp>(tile);
  if (!op)
    return false;
  int64_t width = op.getResult().getType().getShape().back();
  if (width < kWarp || width > kMaxWidth || !llvm::isPowerOf2_64(width))
    return false;
  replaceByKernel(op, "hadamard");
  op->erase();
  return true;
}

/// input, output: [.., width].
LogicalResult v4::expandBlockHadamard(KernelOp op, const GpuTarget &target) {
  if (failed(verifyOperands(op, 1, 1)))
    return failure();
  Value input = op.getInputs()[0], output = op.getOutputs()[0];
  MemRefType type = typeOf(input);
  int64_t width = type.getShape().back(), numbers = width / kWarp;
  if (width < kWarp || width > kMaxWidth || !llvm::isPowerOf2_64(width))
    return op.emitOpError() << "expected a power of two from " << kWarp << " to " << kMaxWidth
                            << " as width, found " << width;
  BlockBuilder b(op);
  Value factor = b.f32(1.0 / std::sqrt(static_cast<double>(width)));
  b.loop(b.warp(), b.index(rowsOf(type)), b.warps(), [&](Value row) {
    SmallVector<Value> x;
    auto place = [&](int64_t i) { return placeOf(b, type, row, b.add(b.lane(), i * kWarp)); };
    for (int64_t i = 0; i < numbers; ++i)
      x.push_back(b.widen(b.load(input, place(i))));
    for (int64_t stride = 1; stride < kWarp; stride *= 2) {
      Value isSecond = b.compare(arith::CmpIPredicate::ne, b.rem(b.div(b.lane(), stride), 2), b.index(0));
      Value sign = b.select(isSecond, b.f32(-1), b.f32(1));
      for (Value &number : x)
        number = b.fma(number, sign, b.shuffleXor(number, stride));
    }
    b.butterfly(x);
    for (int64_t i = 0; i < numbers; ++i)
      b.store(b.mul(x[i], factor), output, place(i));
  });
  return success();
}
