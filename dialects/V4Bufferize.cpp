// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Bufferization of the structure ops (external models, so that the dialect itself stays free of buffers).

#include "dialects/V4.h"

#include "mlir/Dialect/Bufferization/IR/BufferizableOpInterface.h"
#include "mlir/Dialect/Bufferization/IR/DstBufferizableOpInterfaceImpl.h"

using namespace mlir;
using namespace mlir::v4;
using namespace mlir::bufferization;

namespace {
/// A launch reads its inputs and updates its outputs in place.
struct LaunchModel : DstBufferizableOpInterfaceExternalModel<LaunchModel, LaunchOp> {
  LogicalResult bufferize(Operation *op, RewriterBase &rewriter, const BufferizationOptions &options,
                          BufferizationState &state) const {
    auto launch = cast<LaunchOp>(op);
    SmallVector<Value> inputs, outputs;
    auto convert = [&](ValueRange values, SmallVector<Value> &buffers) -> LogicalResult {
      for (Value value : values) {
        FailureOr<Value> buffer = getBuffer(rewriter, value, options, state);
        if (failed(buffer))
          return failure();
        buffers.push_back(*buffer);
      }
      return success();
    };
    if (failed(convert(launch.getInputs(), inputs)) || failed(convert(launch.getOutputs(), outputs)))
      return failure();
    LaunchOp::create(rewriter, op->getLoc(), TypeRange(), launch.getKernelAttr(), launch.getNameAttr(), inputs, outputs);
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
    for (Value operand : op->getOperands()) {
      if (!isa<TensorType>(operand.getType())) {
        values.push_back(operand);
        continue;
      }
      FailureOr<Value> buffer = getBuffer(rewriter, operand, options, state);
      if (failed(buffer))
        return failure();
      values.push_back(*buffer);
    }
    replaceOpWithNewBufferizedOp<YieldOp>(rewriter, op, values);
    return success();
  }
};
} // namespace

void v4::registerBufferizableOpInterfaceModels(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, V4Dialect *) {
    LaunchOp::attachInterface<LaunchModel>(*context);
    PhaseOp::attachInterface<PhaseModel>(*context);
    YieldOp::attachInterface<YieldModel>(*context);
  });
}
