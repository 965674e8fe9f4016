// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Bufferization of the structure ops (external models, so that the dialect itself stays free of buffers).

#include "dialects/V4.h"

#include "mlir/Dialect/Bufferization/IR/BufferizableOpInterface.h"
#include "mlir/Dialect/Bufferization/IR/DstBufferizableOpInterfaceImpl.h"

using namespace mlir;
using namespace mlir::v4;
using namespace mlir::bufferization;

namespace {
/// The buffers of tensors, other values as they are.
LogicalResult toBuffers(RewriterBase &rewriter, ValueRange values, const BufferizationOptions &options,
                        BufferizationState &state, SmallVector<Value> &buffers) {
  for (Value value : values) {
    if (!isa<TensorType>(value.getType())) {
      buffers.push_back(value);
      continue;
    }
    FailureOr<Value> buffer = getBuffer(rewriter, value, options, state);
    if (failed(buffer))
      return failure();
    buffers.push_back(*buffer);
  }
  return success();
}

/// A template reads its inputs and writes its outputs.
struct KernelModel : DstBufferizableOpInterfaceExternalModel<KernelModel, KernelOp> {
  bool bufferizesToMemoryRead(Operation *op, OpOperand &operand, const AnalysisState &) const {
    return cast<KernelOp>(op).isDpsInput(&operand);
  }

  LogicalResult bufferize(Operation *op, RewriterBase &rewriter, const BufferizationOptions &options,
                          BufferizationState &state) const {
    auto kernel = cast<KernelOp>(op);
    SmallVector<Value> inputs, outputs;
    if (failed(toBuffers(rewriter, kernel.getInputs(), options, state, inputs)) ||
        failed(toBuffers(rewriter, kernel.getOutputs(), options, state, outputs)))
      return failure();
    auto buffered = KernelOp::create(rewriter, op->getLoc(), TypeRange(), kernel.getNameAttr(), inputs, outputs);
    buffered->setDiscardableAttrs(kernel->getDiscardableAttrDictionary());
    replaceOpWithBufferizedValues(rewriter, op, outputs);
    return success();
  }
};

/// A launch reads its inputs and updates its outputs in place.
struct LaunchModel : DstBufferizableOpInterfaceExternalModel<LaunchModel, LaunchOp> {
  LogicalResult bufferize(Operation *op, RewriterBase &rewriter, const BufferizationOptions &options,
                          BufferizationState &state) const {
    auto launch = cast<LaunchOp>(op);
    SmallVector<Value> inputs, outputs;
    if (failed(toBuffers(rewriter, launch.getInputs(), options, state, inputs)) ||
        failed(toBuffers(rewriter, launch.getOutputs(), options, state, outputs)))
      return failure();
    LaunchOp::create(rewriter, op->getLoc(), TypeRange(), launch.getKernelAttr(), launch.getNameAttr(), inputs,
                     outputs);
    replaceOpWithBufferizedValues(rewriter, op, outputs);
    return success();
  }
};

/// A phase has no tensor operands; its results are what its terminator yields.
struct PhaseModel : BufferizableOpInterface::ExternalModel<PhaseModel, PhaseOp> {
  AliasingOpOperandList getAliasingOpOperands(Operation *op, Value value, const AnalysisState &state) const {
    auto yield = cast<PhaseOp>(op).getBody().front().getTerminator();
    return {{&yield->getOpOperand(cast<OpResult>(value).getResultNumber()), BufferRelation::Equivalent}};
  }

  FailureOr<BufferLikeType> getBufferType(Operation *op, Value value, const BufferizationOptions &options,
                                          const BufferizationState &state, SmallVector<Value> &stack) const {
    auto yield = cast<PhaseOp>(op).getBody().front().getTerminator();
    Value yielded = yield->getOperand(cast<OpResult>(value).getResultNumber());
    if (auto type = dyn_cast<BufferLikeType>(yielded.getType()))
      return type;
    return bufferization::getBufferType(yielded, options, state, stack);
  }

  LogicalResult bufferize(Operation *op, RewriterBase &rewriter, const BufferizationOptions &options,
                          BufferizationState &state) const {
    auto phase = cast<PhaseOp>(op);
    // The terminator is bufferized first (PhaseModel runs after the ops of its region), so that its types are final.
    SmallVector<Type> types;
    for (Value result : phase.getResults()) {
      SmallVector<Value> stack;
      FailureOr<BufferLikeType> type = bufferization::getBufferType(result, options, state, stack);
      if (failed(type))
        return failure();
      types.push_back(cast<Type>(*type));
    }
    auto newPhase = PhaseOp::create(rewriter, op->getLoc(), types);
    newPhase->setAttrs(phase->getAttrs());
    newPhase.getBody().takeBody(phase.getBody());
    replaceOpWithBufferizedValues(rewriter, op, newPhase.getResults());
    return success();
  }
};

struct YieldModel : BufferizableOpInterface::ExternalModel<YieldModel, YieldOp> {
  bool bufferizesToMemoryRead(Operation *, OpOperand &, const AnalysisState &) const { return true; }
  bool bufferizesToMemoryWrite(Operation *, OpOperand &, const AnalysisState &) const { return false; }
  bool mustBufferizeInPlace(Operation *, OpOperand &, const AnalysisState &) const { return true; }

  AliasingValueList getAliasingValues(Operation *op, OpOperand &operand, const AnalysisState &) const {
    if (!isa<PhaseOp>(op->getParentOp()))
      return {};
    return {{op->getParentOp()->getResult(operand.getOperandNumber()), BufferRelation::Equivalent}};
  }

  LogicalResult bufferize(Operation *op, RewriterBase &rewriter, const BufferizationOptions &options,
                          BufferizationState &state) const {
    SmallVector<Value> values;
    if (failed(toBuffers(rewriter, op->getOperands(), options, state, values)))
      return failure();
    replaceOpWithNewBufferizedOp<YieldOp>(rewriter, op, values);
    return success();
  }
};
} // namespace

void v4::registerBufferizableOpInterfaceModels(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, V4Dialect *) {
    KernelOp::attachInterface<KernelModel>(*context);
    LaunchOp::attachInterface<LaunchModel>(*context);
    PhaseOp::attachInterface<PhaseModel>(*context);
    YieldOp::attachInterface<YieldModel>(*context);
  });
}
