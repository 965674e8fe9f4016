// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The parameters of a model: what the graph needs, by official name, and where the checkpoint keeps each.

#ifndef V4_FRONTEND_PARAMETERS_H
#define V4_FRONTEND_PARAMETERS_H

#include "frontend/Checkpoint.h"
#include "frontend/Config.h"
#include "llvm/ADT/StringMap.h"
#include <optional>
#include <string>
#include <vector>

namespace mlir::v4 {

/// What a parameter is to the graph, which decides the formats it may be stored in.
enum class ParameterRole {
  Linear,    ///< [out, in]: f32, bf16, or fp8 with scales
  Expert,    ///< a table of [out, in]: f32, bf16, fp8 or fp4 with scales
  Plain,     ///< f32 or bf16
  Float32,   ///< f32 only
  TokenTable ///< i64 expert ids by token; not counted as parameters
};

/// Where in the model a parameter is used. The frame of the MTP block is what surrounds its layer: projections and
/// head.
enum class ParameterPart { Embedding, Layer, Head, MtpFrame, MtpLayer };

/// One parameter by its official name, without the ".weight" of linears and experts.
struct ParameterSpec {
  std::string name;
  ParameterRole role;
  ParameterPart part;
  /// Logical shape; experts without their leading dimension.
  llvm::SmallVector<int64_t, 2> shape;
  int64_t layer = -1;

  bool isMtp() const { return part == ParameterPart::MtpFrame || part == ParameterPart::MtpLayer; }
  /// The name behind "layers.N." or "mtp.0.".
  llvm::StringRef localName() const;
};

/// A strided view of a checkpoint tensor, or of a family of them with "{e}" in the name.
struct SourceView {
  std::string tensor;
  DType dtype = DType::F32;
  llvm::SmallVector<int64_t, 3> tensorShape;
  int64_t offset = 0;
  int64_t stride = 0;
  /// Shape of the argument: a leading row count for tables.
  llvm::SmallVector<int64_t, 3> shape;
};

struct Parameter {
  ParameterSpec spec;
  SourceView weight;
  std::optional<SourceView> scale;
};

/// Every parameter of a model in the order of its use: embedding, layers, head, then frame and layer of the MTP block
/// when it is wanted.
struct ModelParameters {
  std::vector<Parameter> list;
  /// Name prefixes of checkpoint tensors that are left out on purpose; each ends in '.'.
  std::vector<std::string> ignored;
  /// The checkpoint holds a DSpark drafter (spec 12.1), which is among what is ignored.
  bool hasDrafter = false;
};

/// What the configuration asks for, whatever the checkpoint holds.
std::vector<ParameterSpec> listParameters(const Config &config, bool mtp);

/// Finds every parameter in the checkpoint, and every tensor of the checkpoint a parameter or an ignored family.
/// Without a checkpoint the official layout in the formats of the configuration is assumed.
FailureOr<ModelParameters> resolveParameters(MLIRContext *context, const Config &config, const Checkpoint *checkpoint,
                                             bool mtp);

} // namespace mlir::v4

#endif
