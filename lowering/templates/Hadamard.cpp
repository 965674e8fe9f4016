// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Template `hadamard`: v4.hadamard as butterflies, the strides below a vector within it, the others between vectors.
// The definition is a product with a matrix of signs: n instead of log n additions for every element.

#include "lowering/templates/KernelBuilder.h"


using namespace mlir;
using namespace mlir::v4;

/// Most elements of a row: they stay in registers, or close to them.
constexpr int64_t kMaxWidth = 512;

bool v4::selectHadamard(Operation *tile) {
  auto op = dyn_cast<HadamardOp>(tile);
  if (!op)
    return false;
  int64_t width = op.getResult().getType().getShape().back();
  if (width < kVector || width > kMaxWidth || !llvm::isPowerOf2_64(width))
    return false;
  replaceByKernel(op, "hadamard");
  op.erase();
  return true;
}

/// input, output: [.., width].
LogicalResult v4::expandHadamard(KernelOp op, const TemplateTarget &target) {
  KernelBuilder b(op);
  Value input = op.getInputs()[0], output = op.getOutputs()[0];
  ArrayRef<int64_t> shape = cast<MemRefType>(input.getType()).getShape();
  int64_t width = shape.back(), vectors = width / kVector;
  Value factor = b.splat(b.f32s(), 1.0 / std::sqrt(static_cast<double>(width)));
  std::function<void(SmallVector<Value>)> rows = [&](SmallVector<Value> at) {
    if (at.size() + 1 < shape.size()) {
      b.loop(b.index(0), b.index(shape[at.size()]), 1, [&](Value i) {
        SmallVector<Value> next(at);
        next.push_back(i);
        rows(next);
      });
      return;
    }
    SmallVector<Value> x;
    auto place = [&](int64_t i) {
      SmallVector<Value> next(at);
      next.push_back(b.index(i * kVector));
      return next;
    };
    for (int64_t i = 0; i < vectors; ++i)
      x.push_back(b.widen(b.load(input, place(i), kVector)));
    for (int64_t stride = 1; stride < kVector; stride *= 2) {
      // The partner of every lane, and whether the lane is the second of the two.
      SmallVector<int64_t> partner;
      SmallVector<float> signs;
      for (int64_t lane = 0; lane < kVector; ++lane) {
        partner.push_back(lane ^ stride);
        signs.push_back(lane & stride ? -1 : 1);
      }
      Value sign = arith::ConstantOp::create(b, DenseElementsAttr::get(b.f32s(), ArrayRef<float>(signs)));
      for (Value &v : x)
        v = b.mulAdd(v, sign, vector::ShuffleOp::create(b, v, v, partner));
    }
    b.butterfly(x);
    for (int64_t i = 0; i < vectors; ++i)
      b.store(b.mul(x[i], factor), output, place(i));
  };
  rows({});
  return success();
}
