// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The places of the keys in the top bins: a histogram by atomics, a scan of it by shuffles, and a list in order by ballots.
gpu.module @select {
  memref.global "private" @bins : memref<32xi32, 3> {alignment = 16}
  memref.global "private" @threshold : memref<1xi32, 3> {alignment = 16}
  memref.global "private" @counts : memref<4xi32, 3> {alignment = 16}
  gpu.func @k(%keys: memref<2x128xi32, 1>, %list: memref<2x129xi32, 1>) kernel attributes {known_block_size = array<i32: 128, 1, 1>, nvvm.reqntid = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c32 = arith.constant 32 : index
    %z = arith.constant 0 : i32
    %one = arith.constant 1 : i32
    %three = arith.constant 3 : i32
    %wanted = arith.constant 40 : i32
    %width = arith.constant 32 : i32
    %all = arith.constant -1 : i32
    %tid = gpu.thread_id x
    %t32 = arith.index_cast %tid : index to i32
    %block = gpu.block_id x
    %warp = arith.divui %tid, %c32 : index
    %lane = arith.remui %tid, %c32 : index
    %l32 = arith.index_cast %lane : index to i32
    %bins = memref.get_global @bins : memref<32xi32, 3>
    %threshold = memref.get_global @threshold : memref<1xi32, 3>
    %counts = memref.get_global @counts : memref<4xi32, 3>
    %inFirst = arith.cmpi eq, %warp, %c0 : index
    scf.if %inFirst {
      memref.store %z, %bins[%lane] : memref<32xi32, 3>
    }
    gpu.barrier
    %key = memref.load %keys[%block, %tid] : memref<2x128xi32, 1>
    %bin0 = arith.shrui %key, %three : i32
    %bin = arith.index_cast %bin0 : i32 to index
    %old = memref.atomic_rmw addi %one, %bins[%bin] : (i32, memref<32xi32, 3>) -> i32
    gpu.barrier
    // From the last bin down: how many keys are in this one or above.
    scf.if %inFirst {
      %c31 = arith.constant 31 : index
      %mirror = arith.subi %c31, %lane : index
      %n = memref.load %bins[%mirror] : memref<32xi32, 3>
      %sum = scf.for %i = %c0 to %c32 step %c1 iter_args(%s = %n) -> i32 {
        %powers = arith.constant 5 : index
        %small = arith.cmpi ult, %i, %powers : index
        %r = scf.if %small -> i32 {
          %i32 = arith.index_cast %i : index to i32
          %by = arith.shli %one, %i32 : i32
          %o, %valid = gpu.shuffle up %s, %by, %width : i32
          %added = arith.addi %s, %o : i32
          %new = arith.select %valid, %added, %s : i32
          scf.yield %new : i32
        } else {
          scf.yield %s : i32
        }
        scf.yield %r : i32
      }
      %enough = arith.cmpi uge, %sum, %wanted : i32
      %ballot = nvvm.vote.sync ballot %all, %enough -> i32
      %leading = math.cttz %ballot : i32
      %isFirst = arith.cmpi eq, %lane, %c0 : index
      scf.if %isFirst {
        %last = arith.constant 31 : i32
        %t = arith.subi %last, %leading : i32
        memref.store %t, %threshold[%c0] : memref<1xi32, 3>
      }
    }
    gpu.barrier
    %t = memref.load %threshold[%c0] : memref<1xi32, 3>
    %take = arith.cmpi uge, %bin0, %t : i32
    %mask = nvvm.vote.sync ballot %all, %take -> i32
    %below0 = arith.shli %one, %l32 : i32
    %below = arith.subi %below0, %one : i32
    %before = arith.andi %mask, %below : i32
    %rank = math.ctpop %before : i32
    %n = math.ctpop %mask : i32
    %isFirst = arith.cmpi eq, %lane, %c0 : index
    scf.if %isFirst {
      memref.store %n, %counts[%warp] : memref<4xi32, 3>
    }
    gpu.barrier
    %base = scf.for %w = %c0 to %warp step %c1 iter_args(%s = %z) -> i32 {
      %c = memref.load %counts[%w] : memref<4xi32, 3>
      %next = arith.addi %s, %c : i32
      scf.yield %next : i32
    }
    scf.if %take {
      %place = arith.addi %base, %rank : i32
      %p = arith.index_cast %place : i32 to index
      memref.store %t32, %list[%block, %p] : memref<2x129xi32, 1>
    }
    %lastThread = arith.constant 127 : index
    %isLast = arith.cmpi eq, %tid, %lastThread : index
    scf.if %isLast {
      %total = arith.addi %base, %n : i32
      %c128 = arith.constant 128 : index
      memref.store %total, %list[%block, %c128] : memref<2x129xi32, 1>
    }
    gpu.return
  }
}
