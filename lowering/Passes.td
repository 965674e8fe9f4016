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

def ApproximateMathPass : Pass<"v4-approximate-math"> {
  let summary = "exp, log, log1p and tanh by polynomials";
  let description = [{
    Upstream's `populateMathPolynomialApproximationPatterns`, which upstream exposes as a test pass only. Relative error at most 2.8e-7. Without
    it each lane would call libm.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::vector::VectorDialect"];
}

def BindOutputsPass : Pass<"v4-bind-outputs", "::mlir::ModuleOp"> {
  let summary = "make the results of kernels, bodies and entries arguments";
  let description = [{
    The results of a kernel are its last arguments, in which they were built; they are dropped. A state result of an entry must be the state's
    argument, updated in place; it is dropped. Every other result lives in a buffer of its own, which becomes a new last argument: `v4.output` of
    an entry, `v4.result` of a body. Upstream's `drop-equivalent-buffer-results` and `buffer-results-to-out-params` do the like for private
    functions, but lose the attributes of calls (`v4.path`) and the names of outputs.
  }];
  let dependentDialects = ["::mlir::memref::MemRefDialect"];
}

def ContractMultiplyAddsPass : Pass<"v4-contract-multiply-adds"> {
  let summary = "products and the sums they enter as math.fma";
  let description = [{
    An `arith.addf` with the flag `contract` of a product with that flag and no other use becomes `math.fma`; the flags are dropped. Which
    operations are fused is then said in the IR, so that all code made from it rounds the same: LLVM's back ends decide on their own.
  }];
  let dependentDialects = ["::mlir::math::MathDialect"];
}

def ConvertGpuToNvvmPass : Pass<"v4-convert-gpu-to-nvvm", "::mlir::gpu::GPUModuleOp"> {
  let summary = "ops of the gpu dialect to NVVM, and nothing else";
  let description = [{
    Upstream's patterns for the gpu dialect, with bare pointers for buffers. Upstream's `convert-gpu-to-nvvm` also turns ops of `math` into calls
    of libdevice, a library that the CUDA toolkit has and the emulator has not, and rejects the intrinsics of LLVM that
    `convert-math-to-llvm` makes of them.
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect"];
}

def DistributeThreadsPass : Pass<"v4-distribute-threads", "::mlir::func::FuncOp"> {
  let summary = "share the work of a workgroup out among the threads of a block";
  let description = [{
    On the function of a workgroup (`v4.grid`), on buffers: the iterations of every linalg op are numbered and thread t of T takes number t,
    t + T and so on. Of an op without sums it takes several neighbours at a time, up to 16 bytes, where all operands are known to be aligned
    for that and all threads still have work. A reduction of few results is cut into partial sums that are added up in order. Loops and
    conditions around them are followed by all threads. Stores of single elements, and loops of nothing else, are done by thread 0. A `gpu.barrier` stands between two
    steps that access one buffer, if one of them writes it. T is 128, or what the templates (`v4.kernel`) in the function want; those that want
    nothing get T as attribute `threads`. Upstream's
    `gpu-map-parallel-loops` and `convert-parallel-loops-to-gpu` make a launch per loop and no barriers;
    `transform.gpu.map_nested_forall_to_threads` wants loops of at most T iterations and puts a barrier behind each.

    ```mlir
    linalg.fill ins(%c : f32) outs(%y : memref<256xf32>)
    ==>
    %t = gpu.thread_id x
    scf.for %i = %t to %c256 step %c128 {
      memref.store %c, %y[%i] : memref<256xf32>
    }
    ```
  }];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect", "::mlir::gpu::GPUDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def ExpandTablesPass : Pass<"v4-expand-tables", "::mlir::func::FuncOp"> {
  let summary = "read tables of tensors through a base address and row offsets";
  let description = [{
    The arguments that `v4.tables` of the kernel's module lists (the weights of experts, one checkpoint tensor each) become two each: the base address as bytes, and the
    `i64` byte offset of every row. A `memref.subview` of one row becomes a `memref.view` at that row's offset.

    ```mlir
    %0 = memref.subview %w[%e, %n, 0] [1, 32, 64] [1, 1, 1] : memref<8x96x64xbf16> to memref<32x64xbf16, ...>
    ==>
    %1 = memref.load %offsets[%e] : memref<8xi64>
    %2 = memref.view %base[%1][] : memref<..xi8> to memref<96x64xbf16>
    %0 = memref.subview %2[%n, 0] [32, 64] [1, 1] : memref<96x64xbf16> to memref<32x64xbf16, ...>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect"];
}

def ExpandTemplatesPass : Pass<"v4-expand-templates", "::mlir::func::FuncOp"> {
  let summary = "build the bodies of kernel templates";
  let description = [{
    Every `v4.kernel` becomes the loops and vectors of its template (`lowering/templates/`), for a processor with the instruction sets that
    `features` lists, in LLVM's spelling, or what every thread of a block does on a GPU (`lowering/nvptx/templates/`). Operands that a template does not support are an error.
  }];
  let options = [Option<"features", "features", "std::string", "\"\"", "instruction sets of the processor, separated by commas">,
                 Option<"target", "target", "std::string", "\"cpu\"", "cpu, or a GPU: nvptx:sm_90a">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::gpu::GPUDialect", "::mlir::LLVM::LLVMDialect",
                           "::mlir::math::MathDialect", "::mlir::NVVM::NVVMDialect", "::mlir::memref::MemRefDialect", "::mlir::nvgpu::NVGPUDialect", "::mlir::NVVM::NVVMDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def FlattenVectorsPass : Pass<"v4-flatten-vectors"> {
  let summary = "transfers of contiguous rows as one-dimensional vectors";
  let description = [{
    Upstream's patterns that flatten contiguous vector transfers and drop unit dimensions, which upstream exposes as test passes only. A 16x2
    transfer is otherwise split into 16 loads. A transpose of a broadcast becomes a broadcast, which upstream's patterns leave to
    element-by-element moves, and a read of every second element a read of pairs and a `vector.deinterleave`.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect", "::mlir::vector::VectorDialect"];
}

def FormPhasesPass : Pass<"v4-form-phases", "::mlir::func::FuncOp"> {
  let summary = "cut the ops of a kernel into phases of tiles";
  let description = [{
    Every v4 op of a kernel becomes a `v4.phase` that holds one `scf.forall` over the op's tiles (`TileInterface`); the body is the same
    op on a tile. Consecutive ops whose tiles line up share the grid. An op without loops, or with one tile, is a phase of one workgroup.
    Results go to the kernel's outputs, to the state they update, or to a `tensor.empty` outside the phases. An op with slots runs one
    workgroup or more per slot; its tiles lack the dimension of the slots (`TileDim::dropped`) and update the slot's part of the state.

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
  let options = [Option<"target", "target", "std::string", "\"cpu\"", "cpu, or a GPU: nvptx:sm_90a">];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::bufferization::BufferizationDialect", "::mlir::scf::SCFDialect",
    "::mlir::tensor::TensorDialect"];
}

def FuseElementwisePass : Pass<"v4-fuse-elementwise"> {
  let summary = "elementwise linalg ops into the only op that reads them";
  let description = [{
    Fuses an elementwise `linalg.generic` into its only reader where that computes no element twice, or only cheap ones (a widened weight that
    several rows share). Upstream's `linalg-fuse-elementwise-ops` also replaces destinations that are only written by new empty tensors, so
    that results would be copied to where `v4-thread-destinations` had them built.
  }];
  let dependentDialects = ["::mlir::linalg::LinalgDialect"];
}

def HoistWorkspacesPass : Pass<"v4-hoist-workspaces", "::mlir::ModuleOp"> {
  let summary = "give the temporaries of kernels a place";
  let description = [{
    A buffer that lives between the phases of a kernel, and a large temporary of a phase of one workgroup, becomes an output of every launch of the
    kernel. Temporaries of a workgroup become `memref.alloca` at its start; more than 4 MiB of them is an error. On a GPU they live in the
    block's shared memory; the largest of what exceeds 48 KiB moves to a workspace, of which every block has its part. After this
    pass no kernel allocates. Upstream's `promote-buffers-to-stack` has no way to hand a buffer to the caller.
  }];
  let options = [Option<"target", "target", "std::string", "\"cpu\"", "cpu, or a GPU: nvptx:sm_90a">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::gpu::GPUDialect", "::mlir::memref::MemRefDialect"];
}

def LowerCopiesPass : Pass<"v4-lower-copies", "::mlir::func::FuncOp"> {
  let summary = "copies of buffers as linalg ops";
  let description = [{
    `memref.copy` becomes a `linalg.generic`. Upstream lowers it to a call of memcpy or of its own run-time library; the image of a
    module has neither.
  }];
  let dependentDialects = ["::mlir::linalg::LinalgDialect"];
}

def LowerToEmulatorPass : Pass<"v4-lower-to-emulator", "::mlir::ModuleOp"> {
  let summary = "GPU kernels to host code that calls the emulator";
  let description = [{
    Turns every `gpu.module` at the NVVM level (before `convert-nvvm-to-llvm`, the module that PTX is made from too) into a module for the host, one
    call of a kernel being one GPU thread. `nvvm` ops become calls of the emulator's services (`emulator/KernelApi.h`), loads, stores and atomics get
    a check before them with the size and alignment that the op promises, addresses of shared memory become offsets into the block's, and
    address spaces disappear. An op that the emulator does not have is an error. `v4.emu.sites` lists the ops that call; attributes of the kernels say
    which parameters they write. Upstream's `convert-gpu-to-nvvm` has no counterpart that runs on a CPU.

    ```mlir
    nvvm.barrier0
    %0 = llvm.load %p {alignment = 16 : i64} : !llvm.ptr<1> -> vector<4xf32>
    ==>
    llvm.call @v4_emu_barrier(%c0, %c0, %site0) : (i32, i32, !llvm.ptr) -> ()
    llvm.call @v4_emu_access(%p, %site1) : (!llvm.ptr, !llvm.ptr) -> ()
    %0 = llvm.load %p {alignment = 16 : i64} : !llvm.ptr -> vector<4xf32>
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

def OutlineGpuKernelsPass : Pass<"v4-outline-gpu-kernels", "::mlir::ModuleOp"> {
  let summary = "the phases of a kernel as functions of a gpu.module";
  let description = [{
    Every function of a phase becomes a `gpu.func` of the same arguments but the workgroup's number, which is the block's. Buffers that are
    allocated are laid out in the block's shared memory (memory space 3), the arguments are global memory (memory space 1). Up to 48 KiB of
    shared memory are static; more are dynamic (`v4.shared`), up to what the chip has. Arguments that are only read are `llvm.readonly`.
    Upstream's `gpu-kernel-outlining` takes `gpu.launch` ops and leaves memory spaces alone.
  }];
  let options = [Option<"target", "target", "std::string", "\"nvptx\"", "the GPU: nvptx:sm_90a">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::gpu::GPUDialect", "::mlir::LLVM::LLVMDialect",
                           "::mlir::NVVM::NVVMDialect", "::mlir::memref::MemRefDialect"];
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

def PackWeightsPass : Pass<"v4-pack-weights", "::mlir::ModuleOp"> {
  let summary = "weights of linears in the layout that their kernels read";
  let description = [{
    Arguments that only linears read as weights, in every entry, get the packed type and, at the entries, `v4.layout = "rows16"`: the
    runtime permutes the bytes once at load. Rows that are no multiple of 16, or no whole number of dwords, stay as they are stored.

    ```mlir
    func.func @decode(%x: tensor<1x64xf32>, %w: tensor<32x64xbf16> {v4.weight = ...})
    ==>
    func.func @decode(%x: tensor<1x64xf32>, %w: tensor<2x32x16x2xbf16> {v4.layout = "rows16", v4.weight = ...})
    ```
  }];
  let dependentDialects = ["::mlir::tensor::TensorDialect"];
}

def PlanArenaPass : Pass<"v4-plan-arena", "::mlir::ModuleOp"> {
  let summary = "place all buffers of a function in one arena";
  let description = [{
    Every `memref.alloc` of a function of launches becomes a `memref.view` of a new last argument `memref<Nxi8> {v4.arena}`. Buffers
    whose lives do not overlap share bytes; a call lends its callee a part of the caller's arena. Upstream merges no allocations.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect"];
}

def RotatePairsPass : Pass<"v4-rotate-pairs", "::mlir::func::FuncOp"> {
  let summary = "v4.rope on vectors of pairs";
  let description = [{
    The template of `v4.rope` on a tile: the pairs of a row are read as one vector, `vector.deinterleave` splits them, `vector.interleave` joins
    the results. The decomposition walks every second column, and no upstream pattern vectorises that.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect", "::mlir::vector::VectorDialect"];
}

def SelectTemplatesPass : Pass<"v4-select-templates", "::mlir::func::FuncOp"> {
  let summary = "choose the tiles that a kernel template computes";
  let description = [{
    Tiles of ops for which a template exists (`lowering/templates/`) and whose operands it supports become `v4.kernel`; the others keep
    their decomposition.
  }];
  let options = [Option<"target", "target", "std::string", "\"cpu\"", "cpu, or a GPU: nvptx:sm_90a">];
  let dependentDialects = ["::mlir::tensor::TensorDialect"];
}

def SplitReductionsPass : Pass<"v4-split-reductions", "::mlir::func::FuncOp"> {
  let summary = "cut reductions into parts when rows are few";
  let description = [{
    `v4.sparse_attention`, `v4.index_top_k` and `v4.hc_pre` of few rows become two phases each: a grid over rows and parts of the keys (of
    `v4.hc_pre`: of the columns), so that a row alone occupies all threads and every key is read once for all heads, and a grid that combines
    the parts in order. The number of parts follows from the shapes; which keys belong to a part, from the number of keys that a row sees.
    Calls of many rows stay; their tiles are whole rows. On a GPU `v4.hc_pre` and `v4.hc_head` of any number of rows are cut, up to eight rows
    sharing a part of the columns, and `v4.compress` becomes a grid over slots and channels, which know nothing of each other; `v4.window_context` becomes
    a grid over its rows. A row of the others that needs more shared memory than a block has stays.

    ```mlir
    %0 = v4.sparse_attention %q, %ring, %sink, %positions, %span window 128 scale 0.125 : (tensor<1x64x64xf32>, ..) -> tensor<1x64x64xf32>
    ==>
    %1:3 = v4.phase -> tensor<1x2x64xf32>, tensor<1x2x64xf32>, tensor<1x2x64x64xf32> {
      %2:3 = scf.forall (%s, %p) in (1, 2) shared_outs(..) {
        v4.kernel "attention" ins(%q, %ring, %sink, %positions, %span, %p : ..) outs(..) {parts = 2, ..}
      }
    }
    %3 = v4.phase -> tensor<1x64x64xf32> {
      %4 = scf.forall (%s, %h) = (0, 0) to (1, 64) step (1, 4) shared_outs(..) {
        v4.kernel "combine_attention" ins(..) outs(..)
      }
    }
    ```
  }];
  let options = [Option<"target", "target", "std::string", "\"cpu\"", "cpu, or a GPU: nvptx:sm_90a">];
  let dependentDialects = ["::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect"];
}

def SplitPhasesPass : Pass<"v4-split-phases", "::mlir::ModuleOp"> {
  let summary = "one function of one workgroup per phase";
  let description = [{
    In a kernel's module, every `v4.phase` becomes a function `@<kernel>.<n>` of the kernel's arguments and a workgroup number; the
    `scf.forall` inside becomes the work of that number, and `v4.grid` on the function says how many there are.
  }];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect", "::mlir::func::FuncDialect"];
}

def ThreadDestinationsPass : Pass<"v4-thread-destinations", "::mlir::func::FuncOp"> {
  let summary = "build results where they belong";
  let description = [{
    A value that `bufferization.materialize_in_destination` copies, and that is built step by step in a `tensor.empty` (destination-style ops,
    loops, insertions, conditions), is built in the destination from the start; likewise the tile that a grid inserts into its output. Upstream's `eliminate-empty-tensors` puts the destination in place of the
    empty tensor too, but keeps the copy, and one-shot bufferization then finds a conflict with every loop in between.
  }];
}

def VerifyStagePass : Pass<"v4-verify-stage", "::mlir::ModuleOp"> {
  let summary = "check what the IR may hold at the end of a stage";
  let description = [{ The contract of each stage (docs/architecture.md). An error names the pass that should have removed the offender. }];
  let options = [Option<"stage", "stage", "std::string", "\"model\"", "model, graph, groups, tiles, buffers or kernels">];
}

def StoreBf16AsIntegersPass : Pass<"v4-store-bf16-as-integers"> {
  let summary = "bf16 that is only moved, as i16";
  let description = [{
    Types and constants of bf16 become i16 of the same bits, in ops of the LLVM dialect that compute nothing with them: arithmetic was
    expanded to integers before. Where the processor has no bf16, LLVM would convert every element that it moves, by a library call.
  }];
}

def WidenNarrowFloatsPass : Pass<"v4-widen-narrow-floats"> {
  let summary = "fp8 to fp32 by integer operations";
  let description = [{
    `arith.extf` of f8E4M3FN (scalar or vector) has no lowering upstream: sign, exponent and mantissa are moved by integer operations, and
    subnormals converted from the integer. Exact for all 256 codes; NaN stays NaN. `arith.extf` of f8E8M0FNU is upstream's `arith-expand`.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::vector::VectorDialect"];
}

#endif
