// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One warp fills two buffers in turn, another one works on them: barriers of 64 threads, at which one side arrives and the other waits.
gpu.module @handover {
  memref.global "private" @buffer : memref<2x32xi32, 3> {alignment = 16}
  gpu.func @k(%x: memref<8x32xi32, 1>, %y: memref<8x32xi32, 1>) kernel attributes {known_block_size = array<i32: 64, 1, 1>, nvvm.reqntid = array<i32: 64, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c8 = arith.constant 8 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %one = arith.constant 1 : i32
    %three = arith.constant 3 : i32
    %threads = arith.constant 64 : i32
    %buffer = memref.get_global @buffer : memref<2x32xi32, 3>
    %tid = gpu.thread_id x
    %warp = arith.divui %tid, %c32 : index
    %lane = arith.remui %tid, %c32 : index
    %fills = arith.cmpi eq, %warp, %c0 : index
    scf.if %fills {
      scf.for %i = %c0 to %c8 step %c1 {
        %s = arith.remui %i, %c2 : index
        %si = arith.index_cast %s : index to i32
        %again = arith.cmpi uge, %i, %c2 : index
        scf.if %again {
          // Barriers 3 and 4: the buffer is free.
          %free = arith.addi %si, %three : i32
          nvvm.barrier id = %free number_of_threads = %threads
        }
        %v = memref.load %x[%i, %lane] : memref<8x32xi32, 1>
        memref.store %v, %buffer[%s, %lane] : memref<2x32xi32, 3>
        %full = arith.addi %si, %one : i32
        nvvm.barrier.arrive id = %full number_of_threads = %threads
      }
    } else {
      scf.for %i = %c0 to %c8 step %c1 {
        %s = arith.remui %i, %c2 : index
        %si = arith.index_cast %s : index to i32
        %full = arith.addi %si, %one : i32
        nvvm.barrier id = %full number_of_threads = %threads
        %other = arith.subi %c31, %lane : index
        %v = memref.load %buffer[%s, %other] : memref<2x32xi32, 3>
        %c6 = arith.constant 6 : index
        %needed = arith.cmpi ult, %i, %c6 : index
        scf.if %needed {
          %free = arith.addi %si, %three : i32
          nvvm.barrier.arrive id = %free number_of_threads = %threads
        }
        memref.store %v, %y[%i, %lane] : memref<8x32xi32, 1>
      }
    }
    gpu.return
  }
}
