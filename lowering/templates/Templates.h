// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernel templates: code for tiles whose best form no schedule makes from their decomposition.

#ifndef V4_LOWERING_TEMPLATES_TEMPLATES_H
#define V4_LOWERING_TEMPLATES_TEMPLATES_H

#include "dialects/V4.h"

#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "llvm/ADT/StringSet.h"

namespace mlir::v4 {

/// The processor that a template is expanded for.
struct TemplateTarget {
  /// Instruction sets, in LLVM's spelling (`avx512vbmi`).
  llvm::StringSet<> features;

  bool has(llvm::StringRef feature) const { return features.contains(feature); }
};

struct KernelTemplate {
  /// The name of its `v4.kernel` ops.
  llvm::StringRef name;
  /// Replaces `op`, a tile of the op that the template computes, by a `v4.kernel`; false when the template does not
  /// support its operands. Null for a template that only `v4-split-reductions` uses.
  bool (*select)(Operation *op);
  /// Builds the body in front of a `v4.kernel` on memrefs. The op is erased by the caller.
  LogicalResult (*expand)(KernelOp op, const TemplateTarget &target);
};

/// Gemv.cpp: few rows times a packed weight.
bool selectGemv(Operation *op);
bool selectGroupedGemv(Operation *op);
LogicalResult expandGemv(KernelOp op, const TemplateTarget &target);
LogicalResult expandGroupedGemv(KernelOp op, const TemplateTarget &target);

/// Gemm.cpp: many rows times a packed weight.
bool selectGemm(Operation *op);
bool selectGroupedGemm(Operation *op);
LogicalResult expandGemm(KernelOp op, const TemplateTarget &target);
LogicalResult expandGroupedGemm(KernelOp op, const TemplateTarget &target);

/// Attention.cpp: attention of a row, or of a part of its keys, and the combination of the parts.
bool selectAttention(Operation *op);
LogicalResult expandAttention(KernelOp op, const TemplateTarget &target);
LogicalResult expandCombineAttention(KernelOp op, const TemplateTarget &target);
/// What a kernel `attention` needs to know of its op.
void setAttentionAttributes(SparseAttentionOp op, KernelOp kernel);

/// TopK.cpp: the best of a row of scores, or of index keys, or of the candidates of parts.
bool selectTopK(Operation *op);
bool selectIndexTopK(Operation *op);
LogicalResult expandTopK(KernelOp op, const TemplateTarget &target);
LogicalResult expandIndexTopK(KernelOp op, const TemplateTarget &target);
LogicalResult expandMergeTopK(KernelOp op, const TemplateTarget &target);
/// What a kernel `index_top_k` needs to know of its op.
void setIndexAttributes(IndexTopKOp op, KernelOp kernel);

/// HyperConnections.cpp: hc_pre as products of parts of the columns and what follows them.
LogicalResult expandHcMix(KernelOp op, const TemplateTarget &target);
LogicalResult expandHcClose(KernelOp op, const TemplateTarget &target);

/// Hadamard.cpp.
bool selectHadamard(Operation *op);
LogicalResult expandHadamard(KernelOp op, const TemplateTarget &target);

/// Row `index` of a table of tensors, or of a cut of all its rows, without the leading dimension: a view that
/// `v4-expand-tables` understands.
Value tableRow(ImplicitLocOpBuilder &b, Value table, Value index);

/// Puts a kernel `name` of the same operands and results in the place of `op`, which the caller erases once it has set
/// the kernel's attributes.
KernelOp replaceByKernel(Operation *op, llvm::StringRef name);

/// All templates.
llvm::ArrayRef<KernelTemplate> getKernelTemplates();

} // namespace mlir::v4

#endif
