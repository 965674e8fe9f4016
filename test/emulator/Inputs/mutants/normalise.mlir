// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A row of 512 over the root of its mean square: sums over warps by shuffles, over the block through shared memory, twice in a row with
// the same buffer.
gpu.module @normalise {
  memref.global "private" @sums : memref<4xf32, 3> {alignment = 16}
  gpu.func @k(%x: memref<6x512xf32, 1>, %y: memref<6x512xf32, 1>) kernel attributes {known_block_size = array<i32: 128, 1, 1>, nvvm.reqntid = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c3 = arith.constant 3 : index
    %c4 = arith.constant 4 : index
    %c32 = arith.constant 32 : index
    %one = arith.constant 1 : i32
    %two = arith.constant 2 : i32
    %four = arith.constant 4 : i32
    %eight = arith.constant 8 : i32
    %sixteen = arith.constant 16 : i32
    %width = arith.constant 32 : i32
    %scale = arith.constant 0.001953125 : f32
    %zero = arith.constant 0.0 : f32
    %tid = gpu.thread_id x
    %block = gpu.block_id x
    %warp = arith.divui %tid, %c32 : index
    %lane = arith.remui %tid, %c32 : index
    %column = arith.muli %tid, %c4 : index
    %sums = memref.get_global @sums : memref<4xf32, 3>
    scf.for %i = %c0 to %c2 step %c1 {
      %r0 = arith.muli %block, %c2 : index
      %row = arith.addi %r0, %i : index
      %v = vector.load %x[%row, %column] {alignment = 16} : memref<6x512xf32, 1>, vector<4xf32>
      %squares = arith.mulf %v, %v : vector<4xf32>
      %s = vector.reduction <add>, %squares : vector<4xf32> into f32
      %s16, %p16 = gpu.shuffle xor %s, %sixteen, %width : f32
      %a16 = arith.addf %s, %s16 : f32
      %s8, %p8 = gpu.shuffle xor %a16, %eight, %width : f32
      %a8 = arith.addf %a16, %s8 : f32
      %s4, %p4 = gpu.shuffle xor %a8, %four, %width : f32
      %a4 = arith.addf %a8, %s4 : f32
      %s2, %p2 = gpu.shuffle xor %a4, %two, %width : f32
      %a2 = arith.addf %a4, %s2 : f32
      %s1, %p1 = gpu.shuffle xor %a2, %one, %width : f32
      %a1 = arith.addf %a2, %s1 : f32
      %first = arith.cmpi eq, %lane, %c0 : index
      scf.if %first {
        memref.store %a1, %sums[%warp] : memref<4xf32, 3>
      }
      gpu.barrier
      %t = scf.for %w = %c0 to %c4 step %c1 iter_args(%sum = %zero) -> f32 {
        %part = memref.load %sums[%w] : memref<4xf32, 3>
        %next = arith.addf %sum, %part : f32
        scf.yield %next : f32
      }
      gpu.barrier
      %mean = arith.mulf %t, %scale : f32
      %m4 = vector.broadcast %mean : f32 to vector<4xf32>
      %out = arith.divf %v, %m4 : vector<4xf32>
      vector.store %out, %y[%row, %column] {alignment = 16} : memref<6x512xf32, 1>, vector<4xf32>
    }
    gpu.return
  }
}
