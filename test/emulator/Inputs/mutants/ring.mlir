// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tiles of A and B through a ring of three buffers by asynchronous copies, matrices by ldmatrix, products by mma.sync: two warps, 16x8 each.
gpu.module @ring {
  memref.global "private" @as : memref<3x16x40xf16, 3> {alignment = 16}
  memref.global "private" @bs : memref<3x16x40xf16, 3> {alignment = 16}
  gpu.func @k(%a: memref<16x160xf16, 1>, %b: memref<16x160xf16, 1>, %d: memref<16x16xf32, 1>) kernel attributes {known_block_size = array<i32: 64, 1, 1>, nvvm.reqntid = array<i32: 64, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c3 = arith.constant 3 : index
    %c4 = arith.constant 4 : index
    %c5 = arith.constant 5 : index
    %c8 = arith.constant 8 : index
    %c16 = arith.constant 16 : index
    %c32 = arith.constant 32 : index
    %z = arith.constant dense<0.0> : vector<2x2xf32>
    %sa = memref.get_global @as : memref<3x16x40xf16, 3>
    %sb = memref.get_global @bs : memref<3x16x40xf16, 3>
    %tid = gpu.thread_id x
    %warp = arith.divui %tid, %c32 : index
    %lane = arith.remui %tid, %c32 : index
    %row = arith.divui %tid, %c4 : index
    %quarter = arith.remui %tid, %c4 : index
    %column = arith.muli %quarter, %c8 : index
    scf.for %s = %c0 to %c2 step %c1 {
      %k = arith.muli %s, %c32 : index
      %kc = arith.addi %k, %column : index
      %t0 = nvgpu.device_async_copy %a[%row, %kc], %sa[%s, %row, %column], 8 {bypassL1} : memref<16x160xf16, 1> to memref<3x16x40xf16, 3>
      %t1 = nvgpu.device_async_copy %b[%row, %kc], %sb[%s, %row, %column], 8 {bypassL1} : memref<16x160xf16, 1> to memref<3x16x40xf16, 3>
      nvvm.cp.async.commit.group
    }
    %lr = arith.remui %lane, %c16 : index
    %lh = arith.divui %lane, %c16 : index
    %lc = arith.muli %lh, %c8 : index
    %br0 = arith.remui %lane, %c8 : index
    %w8 = arith.muli %warp, %c8 : index
    %br = arith.addi %br0, %w8 : index
    %bh0 = arith.divui %lane, %c8 : index
    %bh = arith.remui %bh0, %c2 : index
    %bc = arith.muli %bh, %c8 : index
    %acc = scf.for %i = %c0 to %c5 step %c1 iter_args(%sum = %z) -> vector<2x2xf32> {
      nvvm.cp.async.wait.group 1
      gpu.barrier
      %next = arith.addi %i, %c2 : index
      %more = arith.cmpi ult, %next, %c5 : index
      scf.if %more {
        %s = arith.remui %next, %c3 : index
        %k = arith.muli %next, %c32 : index
        %kc = arith.addi %k, %column : index
        %t0 = nvgpu.device_async_copy %a[%row, %kc], %sa[%s, %row, %column], 8 {bypassL1} : memref<16x160xf16, 1> to memref<3x16x40xf16, 3>
        %t1 = nvgpu.device_async_copy %b[%row, %kc], %sb[%s, %row, %column], 8 {bypassL1} : memref<16x160xf16, 1> to memref<3x16x40xf16, 3>
      }
      nvvm.cp.async.commit.group
      %now = arith.remui %i, %c3 : index
      %r = scf.for %h = %c0 to %c32 step %c16 iter_args(%c = %sum) -> vector<2x2xf32> {
        %ac = arith.addi %lc, %h : index
        %bcol = arith.addi %bc, %h : index
        %fa = nvgpu.ldmatrix %sa[%now, %lr, %ac] {numTiles = 4 : i32, transpose = false} : memref<3x16x40xf16, 3> -> vector<4x2xf16>
        %fb = nvgpu.ldmatrix %sb[%now, %br, %bcol] {numTiles = 2 : i32, transpose = false} : memref<3x16x40xf16, 3> -> vector<2x2xf16>
        %p = nvgpu.mma.sync (%fa, %fb, %c) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
        scf.yield %p : vector<2x2xf32>
      }
      scf.yield %r : vector<2x2xf32>
    }
    %g4 = arith.divui %lane, %c4 : index
    %low = arith.remui %lane, %c4 : index
    %n0 = arith.muli %low, %c2 : index
    %n = arith.addi %n0, %w8 : index
    %g8 = arith.addi %g4, %c8 : index
    %e = vector.extract %acc[0] : vector<2xf32> from vector<2x2xf32>
    %f = vector.extract %acc[1] : vector<2xf32> from vector<2x2xf32>
    vector.store %e, %d[%g4, %n] {alignment = 8} : memref<16x16xf32, 1>, vector<2xf32>
    vector.store %f, %d[%g8, %n] {alignment = 8} : memref<16x16xf32, 1>, vector<2xf32>
    gpu.return
  }
}
