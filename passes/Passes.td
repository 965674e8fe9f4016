// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Passes from tensors to tensors that know no target, alphabetical.

#ifndef V4_PASSES_TD
#define V4_PASSES_TD

include "mlir/Pass/PassBase.td"

def DecomposePass : Pass<"v4-decompose"> {
  let summary = "replace every v4 compute op by its definition";
  let description = [{
    Applies `AggregatedOpInterface::decomposeOperation` to every op of the v4 dialect that has it. What remains is linalg, tensor,
    scf, arith and math; structure ops (`v4.group`, `v4.phase`, `v4.launch`) stay. Upstream's `transform.structured.decompose_interface`
    does the same for the ops behind one handle; this pass needs no script and leaves no op of ours.
  }];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect",
    "::mlir::math::MathDialect", "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect"];
}

def FormGroupsPass : Pass<"v4-form-groups", "::mlir::ModuleOp"> {
  let summary = "decide which ops share a kernel";
  let description = [{
    Wraps the compute ops of every function into `v4.group` ops; the only place where a fusion decision is made.

    * `none`: one op, one group.
    * `basic`: an elementwise or norm op (trait `Rowwise`) joins the group of its consumer when all its uses are in that group.

    Every decision is a remark: passed `fused`, or missed with the reason (`cost.recompute`: several consumers).

    ```mlir
    %0 = v4.rms_norm %x eps 1.0e-6 {v4.name = "norm"} : (tensor<4x64xf32>) -> tensor<4x64xf32>
    %1 = v4.linear %0, %w {v4.name = "wq"} : (tensor<4x64xf32>, tensor<32x64xf32>) -> tensor<4x32xf32>
    ==> (basic)
    %1 = v4.group "wq" -> tensor<4x32xf32> {
      %2 = v4.rms_norm %x eps 1.0e-6 ...
      %3 = v4.linear %2, %w ...
      v4.yield %3 : tensor<4x32xf32>
    }
    ```
    The stable model path `v4.name` of the last op names the group. Ops that are already in a group stay as they are.
  }];
  let options = [Option<"strategy", "strategy", "std::string", "\"basic\"", "none or basic">];
}

#endif
