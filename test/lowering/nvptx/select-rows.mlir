// RUN: v4-opt %s --split-input-file --v4-form-phases=target=nvptx:sm_90a --v4-select-templates=target=nvptx:sm_90a | FileCheck %s

// Tiles of eight heads: one row occupies several blocks.
// CHECK-LABEL: func.func @attention
// CHECK: scf.forall {{.*}} = (0, 0) to (2, 16) step (1, 8)
// CHECK: v4.kernel "attention" ins({{.*}}tensor<1x8x64xf32>, {{.*}}) {{.*}} {ratio = 4 : i64, scale = 1.250000e-01 : f32, selected, threads = 256 : i64, window = 16 : i64}
func.func @attention(%q: tensor<2x16x64xf32>, %context: tensor<18x64xf32>, %sink: tensor<16xf32>, %positions: tensor<2xi32>,
                     %span: tensor<2xi32>, %entries: tensor<64x64xf32>, %selected: tensor<2x8xi32>, %y: tensor<2x16x64xf32>) -> tensor<2x16x64xf32> {
  %0 = v4.sparse_attention %q, %context, %sink, %positions, %span entries %entries ratio 4 selected %selected window 16 scale 0.125
      : (tensor<2x16x64xf32>, tensor<18x64xf32>, tensor<16xf32>, tensor<2xi32>, tensor<2xi32>, tensor<64x64xf32>, tensor<2x8xi32>)
      -> tensor<2x16x64xf32>
  return %0 : tensor<2x16x64xf32>
}

// -----

// Rounding points belong to the order of the decomposition.
// CHECK-LABEL: func.func @rounded
// CHECK-NOT: v4.kernel
// CHECK: v4.sparse_attention {{.*}} rounded
// CHECK-SAME: tensor<1x16x64xf32>
func.func @rounded(%q: tensor<1x16x64xf32>, %ring: tensor<16x64xf32>, %sink: tensor<16xf32>, %positions: tensor<1xi32>,
                   %span: tensor<2xi32>, %y: tensor<1x16x64xf32>) -> tensor<1x16x64xf32> {
  %0 = v4.sparse_attention %q, %ring, %sink, %positions, %span window 16 scale 0.125 rounded
      : (tensor<1x16x64xf32>, tensor<16x64xf32>, tensor<16xf32>, tensor<1xi32>, tensor<2xi32>) -> tensor<1x16x64xf32>
  return %0 : tensor<1x16x64xf32>
}

// -----

// A row of keys that shared memory does not hold keeps its decomposition.
// CHECK-LABEL: func.func @wide
// CHECK-NOT: v4.kernel
func.func @wide(%q: tensor<1x8x1024xf32>, %ring: tensor<16x1024xf32>, %sink: tensor<8xf32>, %positions: tensor<1xi32>,
                %span: tensor<2xi32>, %y: tensor<1x8x1024xf32>) -> tensor<1x8x1024xf32> {
  %0 = v4.sparse_attention %q, %ring, %sink, %positions, %span window 16 scale 0.125
      : (tensor<1x8x1024xf32>, tensor<16x1024xf32>, tensor<8xf32>, tensor<1xi32>, tensor<2xi32>) -> tensor<1x8x1024xf32>
  return %0 : tensor<1x8x1024xf32>
}

// -----

// CHECK-LABEL: func.func @lists
// CHECK: v4.kernel "index_top_k" {{.*}} {ratio = 4 : i64, scale = 1.250000e-01 : f32, threads = 256 : i64}
// CHECK: v4.kernel "top_k" {{.*}} {ratio = 4 : i64, threads = 256 : i64}
// CHECK: v4.kernel "top_k" {{.*}} {threads = 256 : i64}
func.func @lists(%q: tensor<4x2x32xf32>, %weights: tensor<4x2xf32>, %keys: tensor<64x32xf32>, %positions: tensor<4xi32>,
                 %scores: tensor<4x64xf32>, %a: tensor<4x8xi32>, %b: tensor<4x8xi32>, %c: tensor<4x6xi32>) -> (tensor<4x8xi32>, tensor<4x8xi32>, tensor<4x6xi32>) {
  %0 = v4.index_top_k %q, %weights, %keys, %positions ratio 4 scale 0.125
      : (tensor<4x2x32xf32>, tensor<4x2xf32>, tensor<64x32xf32>, tensor<4xi32>) -> tensor<4x8xi32>
  %1 = v4.top_k %scores visible %positions ratio 4 : (tensor<4x64xf32>, tensor<4xi32>) -> tensor<4x8xi32>
  %2 = v4.top_k %scores : (tensor<4x64xf32>) -> tensor<4x6xi32>
  return %0, %1, %2 : tensor<4x8xi32>, tensor<4x8xi32>, tensor<4x6xi32>
}

// -----

// A row of less than a warp keeps its decomposition.
// CHECK-LABEL: func.func @hadamard
// CHECK: v4.kernel "hadamard"
// CHECK-NOT: v4.kernel
func.func @hadamard(%x: tensor<1x2x32xf32>, %y: tensor<1x2x16xf32>, %a: tensor<1x2x32xf32>, %b: tensor<1x2x16xf32>) -> (tensor<1x2x32xf32>, tensor<1x2x16xf32>) {
  %0 = v4.hadamard %x : (tensor<1x2x32xf32>) -> tensor<1x2x32xf32>
  %1 = v4.hadamard %y : (tensor<1x2x16xf32>) -> tensor<1x2x16xf32>
  return %0, %1 : tensor<1x2x32xf32>, tensor<1x2x16xf32>
}

// -----

// One row of the streams at a time.
// CHECK-LABEL: func.func @hc_post
// CHECK: scf.forall {{.*}} = (0, 0) to (2, 2048) step (1, 1024)
// CHECK: v4.kernel "hc_post" ins({{.*}} : tensor<1x1024xbf16>, tensor<1x4x1024xbf16>, tensor<1x4xf32>, tensor<1x4x4xf32>) {{.*}} {threads = 128 : i64}
func.func @hc_post(%f: tensor<2x2048xbf16>, %x: tensor<2x4x2048xbf16>, %post: tensor<2x4xf32>, %comb: tensor<2x4x4xf32>,
                   %y: tensor<2x4x2048xbf16>) -> tensor<2x4x2048xbf16> {
  %0 = v4.hc_post %f, %x, %post, %comb : (tensor<2x2048xbf16>, tensor<2x4x2048xbf16>, tensor<2x4xf32>, tensor<2x4x4xf32>) -> tensor<2x4x2048xbf16>
  return %0 : tensor<2x4x2048xbf16>
}

// -----

// Routing by a warp for each row, dispatch by one block. Its warps have a counter for every expert: with many of them there are fewer warps.
// CHECK-LABEL: func.func @routing
// CHECK: v4.kernel "route" ins({{.*}} : tensor<1x256xf32>, tensor<256xf32>) {{.*}} {scale = 1.500000e+00 : f32, threads = 32 : i64}
// CHECK: v4.kernel "route_hash" ins({{.*}} : tensor<1x256xf32>, tensor<1xi32>, tensor<64x6xi64>) {{.*}} {scale = 1.500000e+00 : f32, threads = 32 : i64}
// CHECK: v4.kernel "dispatch" {{.*}} {experts = 256 : i64, threads = 96 : i64}
// CHECK: v4.kernel "dispatch" {{.*}} {experts = 4096 : i64, threads = 64 : i64}
func.func @routing(%x: tensor<16x256xf32>, %bias: tensor<256xf32>, %tokens: tensor<16xi32>, %table: tensor<64x6xi64>, %positions: tensor<16xi32>,
                   %o0: tensor<96xi32>, %o1: tensor<97xi32>, %o2: tensor<96xi32>, %o3: tensor<96xf32>, %o4: tensor<16x6xi32>,
                   %p0: tensor<96xi32>, %p1: tensor<97xi32>, %p2: tensor<96xi32>, %p3: tensor<96xf32>, %p4: tensor<16x6xi32>)
    -> (tensor<96xi32>, tensor<97xi32>, tensor<96xi32>, tensor<96xf32>, tensor<16x6xi32>, tensor<96xi32>, tensor<97xi32>, tensor<96xi32>,
        tensor<96xf32>, tensor<16x6xi32>) {
  %0:2 = v4.route %x, %bias scale 1.5 : (tensor<16x256xf32>, tensor<256xf32>) -> (tensor<16x6xi32>, tensor<16x6xf32>)
  %1:2 = v4.route_hash %x, %tokens, %table scale 1.5
      : (tensor<16x256xf32>, tensor<16xi32>, tensor<64x6xi64>) -> (tensor<16x6xi32>, tensor<16x6xf32>)
  %2:5 = v4.dispatch %0#0, %0#1, %positions experts 256 : (tensor<16x6xi32>, tensor<16x6xf32>, tensor<16xi32>)
      -> (tensor<96xi32>, tensor<97xi32>, tensor<96xi32>, tensor<96xf32>, tensor<16x6xi32>)
  %3:5 = v4.dispatch %1#0, %1#1, %positions experts 4096 : (tensor<16x6xi32>, tensor<16x6xf32>, tensor<16xi32>)
      -> (tensor<96xi32>, tensor<97xi32>, tensor<96xi32>, tensor<96xf32>, tensor<16x6xi32>)
  return %2#0, %2#1, %2#2, %2#3, %2#4, %3#0, %3#1, %3#2, %3#3, %3#4 : tensor<96xi32>, tensor<97xi32>, tensor<96xi32>, tensor<96xf32>,
      tensor<16x6xi32>, tensor<96xi32>, tensor<97xi32>, tensor<96xi32>, tensor<96xf32>, tensor<16x6xi32>
}

// -----

// More experts than the lanes of a warp hold, and counters that shared memory does not.
// CHECK-LABEL: func.func @many_experts
// CHECK-NOT: v4.kernel
func.func @many_experts(%x: tensor<2x1025xf32>, %bias: tensor<1025xf32>, %positions: tensor<2xi32>,
                        %o0: tensor<12xi32>, %o1: tensor<13xi32>, %o2: tensor<12xi32>, %o3: tensor<12xf32>, %o4: tensor<2x6xi32>)
    -> (tensor<12xi32>, tensor<13xi32>, tensor<12xi32>, tensor<12xf32>, tensor<2x6xi32>) {
  %0:2 = v4.route %x, %bias scale 1.5 : (tensor<2x1025xf32>, tensor<1025xf32>) -> (tensor<2x6xi32>, tensor<2x6xf32>)
  %1:5 = v4.dispatch %0#0, %0#1, %positions experts 8193 : (tensor<2x6xi32>, tensor<2x6xf32>, tensor<2xi32>)
      -> (tensor<12xi32>, tensor<13xi32>, tensor<12xi32>, tensor<12xf32>, tensor<2x6xi32>)
  return %1#0, %1#1, %1#2, %1#3, %1#4 : tensor<12xi32>, tensor<13xi32>, tensor<12xi32>, tensor<12xf32>, tensor<2x6xi32>
}

// -----

// Rows into a ring or cache, in place: few rows leave the threads to other ops of the phase.
// CHECK-LABEL: func.func @append
// CHECK: v4.kernel "append_rows" ins(%{{.+}}, %{{.+}} : tensor<1x64xf32>, tensor<2xi32>) outs(%[[RING:.+]] : tensor<16x64xf32>) {{.*}} {threads = 128 : i64}
// CHECK: v4.kernel "append_rows" ins(%{{.+}}, %{{.+}} : tensor<9x128xf32>, tensor<9xi32>) outs(%{{.+}} : tensor<64x68xi8>) {{.*}} {ratio = 4 : i64, threads = 512 : i64}
func.func @append(%kv: tensor<1x64xf32>, %ring: tensor<16x64xf32>, %span: tensor<2xi32>, %entries: tensor<9x128xf32>,
                  %cache: tensor<64x68xi8>, %positions: tensor<9xi32>) -> (tensor<16x64xf32>, tensor<64x68xi8>) {
  %0 = v4.window_append %kv, %ring, %span : (tensor<1x64xf32>, tensor<16x64xf32>, tensor<2xi32>) -> tensor<16x64xf32>
  %1 = v4.cache_append %entries, %cache, %positions ratio 4
      : (tensor<9x128xf32>, tensor<64x68xi8>, tensor<9xi32>) -> tensor<64x68xi8>
  return %0, %1 : tensor<16x64xf32>, tensor<64x68xi8>
}

// -----

// Norms and round trips take the threads of their phase. Rounding points belong to the order of the decomposition; so does a block of
// numbers that eight lanes do not share, or a row that a block's registers do not hold.
// CHECK-LABEL: func.func @norms
// CHECK: v4.kernel "rms_norm" ins(%{{.+}}, %{{.+}} : tensor<1x512xf32>, tensor<512xf32>) {{.*}} {eps = 9.99999997E-7 : f32}
// CHECK: v4.kernel "round_trip" {{.*}} {block = 64 : i64, columns = 448 : i64, format = 0 : i32}
// CHECK-NOT: v4.kernel
func.func @norms(%x: tensor<2x512xf32>, %w: tensor<512xf32>, %wide: tensor<1x8224xf32>, %a: tensor<2x512xf32>, %b: tensor<2x512xf32>,
                 %c: tensor<2x512xf32>, %d: tensor<1x8224xf32>) -> (tensor<2x512xf32>, tensor<2x512xf32>, tensor<2x512xf32>, tensor<1x8224xf32>) {
  %0 = v4.rms_norm %x weight %w eps 1.0e-6 : (tensor<2x512xf32>, tensor<512xf32>) -> tensor<2x512xf32>
  %1 = v4.round_trip %0 format e4m3 block 64 columns 448 : (tensor<2x512xf32>) -> tensor<2x512xf32>
  %2 = v4.rms_norm %x eps 1.0e-6 rounded : (tensor<2x512xf32>) -> tensor<2x512xf32>
  %3 = v4.round_trip %2 format e4m3 block 60 columns 480 : (tensor<2x512xf32>) -> tensor<2x512xf32>
  %4 = v4.rms_norm %wide eps 1.0e-6 : (tensor<1x8224xf32>) -> tensor<1x8224xf32>
  return %0, %1, %3, %4 : tensor<2x512xf32>, tensor<2x512xf32>, tensor<2x512xf32>, tensor<1x8224xf32>
}
