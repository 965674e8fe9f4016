// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Passes that leave tensors, alphabetical.

#ifndef V4_LOWERING_PASSES_TD
#define V4_LOWERING_PASSES_TD

include "mlir/Pass/PassBase.td"

def ApplySchedulePass : Pass<"v4-apply-schedule"> {
  let summary = "tile and vectorise a kernel by a transform-dialect schedule";
  let description = [{
    Runs the named sequence `__transform_main` of a schedule (`lowering/schedules/`, embedded in the compiler; `schedule` names a file
    instead) on a kernel. Upstream's `transform-interpreter` needs the schedule inside the payload module or preloaded into the context;
    kernels are compiled in parallel and share one schedule.
  }];
  let options = [Option<"schedule", "schedule", "std::string", "\"cpu\"", "name of an embedded schedule, or a file">];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def FormPhasesPass : Pass<"v4-form-phases", "::mlir::func::FuncOp"> {
  let summary = "cut the ops of a kernel into phases of tiles";
  let description = [{
    Every v4 op of a kernel becomes a `v4.phase` that holds one `scf.forall` over the op's tiles (`TileInterface`); the body is the same
    op on a tile. Consecutive ops whose tiles line up share the grid. An op without loops, or with one tile, is a phase of one workgroup.
    Results go to the kernel's outputs, to the state they update, or to a `tensor.empty` outside the phases.

    ```mlir
    %0 = v4.linear %x, %w : (tensor<1x64xf32>, tensor<96x64xf32>) -> tensor<1x96xf32>
    ==>
    %0 = v4.phase -> tensor<1x96xf32> {
      %1 = scf.forall (%i) = (0) to (96) step (32) shared_outs(%o = %out) -> (tensor<1x96xf32>) {
        %2 = tensor.extract_slice %w[%i, 0] [32, 64] [1, 1]
        %3 = v4.linear %x, %2 : (tensor<1x64xf32>, tensor<32x64xf32>) -> tensor<1x32xf32>
        scf.forall.in_parallel { tensor.parallel_insert_slice %3 into %o[0, %i] [1, 32] [1, 1] }
      }
      v4.yield %1 : tensor<1x96xf32>
    }
    ```
  }];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::bufferization::BufferizationDialect", "::mlir::scf::SCFDialect",
    "::mlir::tensor::TensorDialect"];
}

def OutlineGroupsPass : Pass<"v4-outline-groups", "::mlir::ModuleOp"> {
  let summary = "turn groups into launches of kernels";
  let description = [{
    Moves the body of every `v4.group` into a function in a module of its own and leaves a `v4.launch`. Groups of the same structure (ops, types,
    attributes other than `v4.name`) share one kernel. A state that the group updates in place is an output of the launch; other results get
    a `tensor.empty`. Upstream's `gpu-kernel-outlining` works on `gpu.launch` regions, after bufferization, and shares nothing.
  }];
  let dependentDialects = ["::mlir::func::FuncDialect", "::mlir::tensor::TensorDialect"];
}

#endif
