// RUN: v4-opt %s --split-input-file --pass-pipeline='builtin.module(func.func(v4-split-reductions))' | FileCheck %s
// RUN: v4-opt %s --split-input-file --pass-pipeline='builtin.module(func.func(v4-split-reductions{target=nvptx:sm_90a}))' | FileCheck %s --check-prefix=GPU

// One row: parts of 64 keys, of the window and the entries that can be selected; then heads, four at a time.
// CHECK-LABEL: func.func @one_row
// CHECK-SAME:    %[[OUT:[a-z0-9]+]]: tensor<1x8x16xf32>)
// CHECK-DAG:     %[[STATISTICS:.+]] = tensor.empty() : tensor<1x4x2x8xf32>
// CHECK-DAG:     %[[SUMS:.+]] = tensor.empty() : tensor<1x4x8x16xf32>
// CHECK:         %[[PARTS:.+]]:2 = v4.phase
// CHECK:           scf.forall (%[[ROW:.+]], %[[PART:.+]]) in (1, 4) shared_outs(%[[A:.+]] = %[[STATISTICS]], %[[B:.+]] = %[[SUMS]])
// CHECK:             tensor.extract_slice %[[A]][%[[ROW]], %[[PART]], 0, 0] [1, 1, 2, 8]
// CHECK:             v4.kernel "attention" ins({{.*}}, %[[PART]] : {{.*}}, index) outs({{.*}}) {{.*}}parts = 4 : i64, ratio = 4 : i64, scale = 2.500000e-01 : f32, selected, window = 128 : i64}
// CHECK:         v4.phase
// CHECK:           scf.forall ({{.*}}) = (0, 0) to (1, 8) step (1, 4) shared_outs(%{{.*}} = %[[OUT]])
// CHECK:             v4.kernel "combine_attention" ins({{.*}} : tensor<1x4x2x4xf32>, tensor<1x4x4x16xf32>, tensor<4xf32>)
// On a GPU the kernels are blocks.
// GPU-LABEL: func.func @one_row
// GPU:         v4.kernel "attention" {{.*}}parts = 4 : i64, {{.*}}threads = 256 : i64
// GPU:         v4.kernel "combine_attention" {{.*}}{threads = 256 : i64}
func.func @one_row(%q: tensor<1x8x16xf32>, %w: tensor<128x16xf32>, %sink: tensor<8xf32>, %p: tensor<1xi32>,
                   %span: tensor<2xi32>, %e: tensor<2048x16xf32>, %s: tensor<1x100xi32>,
                   %out: tensor<1x8x16xf32>) -> tensor<1x8x16xf32> {
  %y = v4.sparse_attention %q, %w, %sink, %p, %span entries %e ratio 4 selected %s window 128 scale 0.25
      : (tensor<1x8x16xf32>, tensor<128x16xf32>, tensor<8xf32>, tensor<1xi32>, tensor<2xi32>, tensor<2048x16xf32>,
         tensor<1x100xi32>) -> tensor<1x8x16xf32>
  return %y : tensor<1x8x16xf32>
}

// -----

// The number of parts has a bound, whatever the context.
// CHECK-LABEL: func.func @index
// CHECK:         scf.forall ({{.*}}) in (2, 16)
// CHECK:           v4.kernel "index_top_k" {{.*}}parts = 16 : i64, ratio = 4 : i64, scale = 2.500000e-01 : f32}
// CHECK:         scf.forall (%{{.*}}) in (2)
// CHECK:           v4.kernel "merge_top_k" ins({{.*}} : tensor<1x16x2x8xi32>, tensor<1x16xi32>, tensor<1xi32>)
func.func @index(%q: tensor<2x4x16xf32>, %w: tensor<2x4xf32>, %keys: tensor<262144x16xf32>, %p: tensor<2xi32>,
                 %out: tensor<2x8xi32>) -> tensor<2x8xi32> {
  %y = v4.index_top_k %q, %w, %keys, %p ratio 4 scale 0.25
      : (tensor<2x4x16xf32>, tensor<2x4xf32>, tensor<262144x16xf32>, tensor<2xi32>) -> tensor<2x8xi32>
  return %y : tensor<2x8xi32>
}

// -----

// With slots every row has states of its own.
// CHECK-LABEL: func.func @slots
// CHECK:         scf.forall (%[[SLOT:.+]], %{{.+}}) in (3, 16)
// CHECK:           %[[KEYS:.+]] = tensor.extract_slice %arg2[%[[SLOT]], 0, 0] [1, 4096, 16] [1, 1, 1] : tensor<3x4096x16xf32> to tensor<4096x16xf32>
// CHECK:           v4.kernel "index_top_k" ins({{.*}}, %[[KEYS]], {{.*}} : tensor<1x4x16xf32>, tensor<1x4xf32>, tensor<4096x16xf32>, tensor<1xi32>, index)
// CHECK:         scf.forall (%[[SLOT:.+]], %{{.+}}) in (3, 3)
// CHECK-DAG:       tensor.extract_slice %arg4[%[[SLOT]], 0, 0] [1, 128, 16] [1, 1, 1] : tensor<3x128x16xf32> to tensor<128x16xf32>
// CHECK-DAG:       tensor.extract_slice %arg6[%[[SLOT]], 0] [1, 2] [1, 1] : tensor<3x2xi32> to tensor<2xi32>
// CHECK-DAG:       tensor.extract_slice %arg2[%[[SLOT]], 0, 0] [1, 4096, 16] [1, 1, 1] : tensor<3x4096x16xf32> to tensor<4096x16xf32>
// CHECK:           v4.kernel "attention"
func.func @slots(%q: tensor<3x4x16xf32>, %w: tensor<3x4xf32>, %keys: tensor<3x4096x16xf32>, %p: tensor<3xi32>,
                 %ring: tensor<3x128x16xf32>, %sink: tensor<4xf32>, %span: tensor<3x2xi32>, %s: tensor<3x8xi32>,
                 %y: tensor<3x4x16xf32>) -> (tensor<3x8xi32>, tensor<3x4x16xf32>) {
  %a = v4.index_top_k %q, %w, %keys, %p ratio 4 scale 0.25
      : (tensor<3x4x16xf32>, tensor<3x4xf32>, tensor<3x4096x16xf32>, tensor<3xi32>) -> tensor<3x8xi32>
  %b = v4.sparse_attention %q, %ring, %sink, %p, %span entries %keys ratio 4 selected %s window 128 scale 0.25
      : (tensor<3x4x16xf32>, tensor<3x128x16xf32>, tensor<4xf32>, tensor<3xi32>, tensor<3x2xi32>, tensor<3x4096x16xf32>,
         tensor<3x8xi32>) -> tensor<3x4x16xf32>
  return %a, %b : tensor<3x8xi32>, tensor<3x4x16xf32>
}

// -----

// Many rows, few keys, or keys that are all chosen: one part.
// CHECK-LABEL: func.func @whole
// CHECK-NOT:     v4.phase
func.func @whole(%q: tensor<8x4x16xf32>, %w: tensor<8x4xf32>, %keys: tensor<1024x16xf32>, %p: tensor<8xi32>,
                 %q1: tensor<1x4x16xf32>, %w1: tensor<1x4xf32>, %p1: tensor<1xi32>, %ring: tensor<64x16xf32>,
                 %sink: tensor<4xf32>, %span: tensor<2xi32>, %out0: tensor<8x8xi32>, %out1: tensor<1x1024xi32>,
                 %out2: tensor<1x4x16xf32>)
    -> (tensor<8x8xi32>, tensor<1x1024xi32>, tensor<1x4x16xf32>) {
  %a = v4.index_top_k %q, %w, %keys, %p ratio 4 scale 0.25
      : (tensor<8x4x16xf32>, tensor<8x4xf32>, tensor<1024x16xf32>, tensor<8xi32>) -> tensor<8x8xi32>
  %b = v4.index_top_k %q1, %w1, %keys, %p1 ratio 4 scale 0.25
      : (tensor<1x4x16xf32>, tensor<1x4xf32>, tensor<1024x16xf32>, tensor<1xi32>) -> tensor<1x1024xi32>
  %c = v4.sparse_attention %q1, %ring, %sink, %p1, %span window 64 scale 0.25
      : (tensor<1x4x16xf32>, tensor<64x16xf32>, tensor<4xf32>, tensor<1xi32>, tensor<2xi32>) -> tensor<1x4x16xf32>
  return %a, %b, %c : tensor<8x8xi32>, tensor<1x1024xi32>, tensor<1x4x16xf32>
}

// -----

// Parts of the columns lie within a stream.
// CHECK-LABEL: func.func @hyper_connections
// CHECK:         scf.forall ({{.*}}) in (1, 4)
// CHECK:           v4.kernel "hc_mix" ins({{.*}}) outs({{.*}} : tensor<1x1x25xf32>) {{.*}} {columns = 1024 : i64}
// CHECK:         scf.forall (%{{.*}}) in (1)
// CHECK:           v4.kernel "hc_close" ins({{.*}} : tensor<1x4x25xf32>, tensor<1x4x1024xf32>, tensor<3xf32>, tensor<24xf32>)
// GPU-LABEL: func.func @hyper_connections
// GPU:         scf.forall ({{.*}}) in (1, 8)
// GPU:           v4.kernel "hc_mix" ins({{.*}}) outs({{.*}} : tensor<1x1x25xf32>) {{.*}} {columns = 512 : i64, threads = 256 : i64}
// GPU:         scf.forall (%{{.*}}) in (1)
// GPU:           v4.kernel "hc_close" {{.*}} {eps = 9.99999997E-7 : f32, hc_eps = 9.99999997E-7 : f32, iterations = 20 : i64, threads = 256 : i64}
func.func @hyper_connections(%x: tensor<1x4x1024xf32>, %fn: tensor<24x4096xf32>, %scale: tensor<3xf32>,
                             %base: tensor<24xf32>, %out: tensor<1x1024xf32>, %out_post: tensor<1x4xf32>,
                             %out_comb: tensor<1x4x4xf32>)
    -> (tensor<1x1024xf32>, tensor<1x4xf32>, tensor<1x4x4xf32>) {
  %y, %post, %comb = v4.hc_pre %x, %fn, %scale, %base eps 1.0e-6 hc_eps 1.0e-6 iterations 20
      : (tensor<1x4x1024xf32>, tensor<24x4096xf32>, tensor<3xf32>, tensor<24xf32>)
      -> (tensor<1x1024xf32>, tensor<1x4xf32>, tensor<1x4x4xf32>)
  return %y, %post, %comb : tensor<1x1024xf32>, tensor<1x4xf32>, tensor<1x4x4xf32>
}

// -----

// Rows of 4,096 columns are too wide for the shared memory of a block.
// CHECK-LABEL: func.func @wide
// CHECK:         v4.kernel "attention"
// GPU-LABEL: func.func @wide
// GPU-NOT:     v4.phase
// GPU:         v4.sparse_attention
func.func @wide(%q: tensor<1x2x4096xf32>, %w: tensor<128x4096xf32>, %sink: tensor<2xf32>, %p: tensor<1xi32>,
                %span: tensor<2xi32>, %out: tensor<1x2x4096xf32>) -> tensor<1x2x4096xf32> {
  %y = v4.sparse_attention %q, %w, %sink, %p, %span window 128 scale 0.25
      : (tensor<1x2x4096xf32>, tensor<128x4096xf32>, tensor<2xf32>, tensor<1xi32>, tensor<2xi32>) -> tensor<1x2x4096xf32>
  return %y : tensor<1x2x4096xf32>
}

// -----

// On a GPU rows share the parts of fn, eight at a time; v4.hc_head too. Three streams, or columns with no part of a useful size, stay.
// CHECK-LABEL: func.func @hyper_connections_of_rows
// CHECK-NOT:     v4.phase
// GPU-LABEL: func.func @hyper_connections_of_rows
// GPU:         scf.forall ({{.*}}) = (0, 0) to (24, 8) step (8, 1)
// GPU:           v4.kernel "hc_mix" ins({{.*}} : tensor<8x4x1024xbf16>, tensor<4x4096xf32>, index) outs({{.*}} : tensor<8x1x5xf32>)
// GPU:         scf.forall (%{{.*}}) in (24)
// GPU:           v4.kernel "hc_close" ins({{.*}} : tensor<1x8x5xf32>, tensor<1x4x1024xbf16>, tensor<1xf32>, tensor<4xf32>) outs({{.*}} : tensor<1x1024xbf16>)
// GPU-NOT:     v4.phase
// GPU:         v4.hc_head {{.*}}(tensor<24x3x1024xbf16>
// GPU-NOT:     v4.phase
// GPU:         v4.hc_head {{.*}}(tensor<24x4x4124xbf16>
func.func @hyper_connections_of_rows(%x: tensor<24x4x1024xbf16>, %fn: tensor<4x4096xf32>, %scale: tensor<1xf32>, %base: tensor<4xf32>,
                                     %x3: tensor<24x3x1024xbf16>, %fn3: tensor<3x3072xf32>, %base3: tensor<3xf32>,
                                     %odd: tensor<24x4x4124xbf16>, %fn_odd: tensor<4x16496xf32>, %a: tensor<24x1024xbf16>,
                                     %b: tensor<24x1024xbf16>, %c: tensor<24x4124xbf16>)
    -> (tensor<24x1024xbf16>, tensor<24x1024xbf16>, tensor<24x4124xbf16>) {
  %0 = v4.hc_head %x, %fn, %scale, %base eps 1.0e-6 hc_eps 1.0e-6
      : (tensor<24x4x1024xbf16>, tensor<4x4096xf32>, tensor<1xf32>, tensor<4xf32>) -> tensor<24x1024xbf16>
  %1 = v4.hc_head %x3, %fn3, %scale, %base3 eps 1.0e-6 hc_eps 1.0e-6
      : (tensor<24x3x1024xbf16>, tensor<3x3072xf32>, tensor<1xf32>, tensor<3xf32>) -> tensor<24x1024xbf16>
  %2 = v4.hc_head %odd, %fn_odd, %scale, %base eps 1.0e-6 hc_eps 1.0e-6
      : (tensor<24x4x4124xbf16>, tensor<4x16496xf32>, tensor<1xf32>, tensor<4xf32>) -> tensor<24x4124xbf16>
  return %0, %1, %2 : tensor<24x1024xbf16>, tensor<24x1024xbf16>, tensor<24x4124xbf16>
}

// -----

// On a GPU the channels of a compressor are cut, those of both halves of a row together; its states are updated where they are.
// CHECK-LABEL: func.func @compress
// CHECK-NOT:     v4.phase
// GPU-LABEL: func.func @compress
// GPU-SAME:    %[[OUT:[a-z0-9]+]]: tensor<2x64xf32>)
// GPU:         v4.phase
// GPU-DAG:       %[[KV:.+]] = tensor.expand_shape %arg3 {{.*}} tensor<8x128xf32> into tensor<1x8x2x64xf32>
// GPU-DAG:       %[[SCORE:.+]] = tensor.expand_shape %arg4 {{.*}} tensor<8x128xf32> into tensor<1x8x2x64xf32>
// GPU:           %[[R:.+]]:3 = scf.forall (%{{.+}}, %[[C:.+]]) = (0, 0) to (1, 64) step (1, 32) shared_outs(%[[Y:.+]] = %[[OUT]], %{{.+}} = %[[KV]], %{{.+}} = %[[SCORE]])
// GPU:             tensor.extract_slice %[[Y]][0, %[[C]]] [2, 32] [1, 1]
// GPU:             v4.kernel "compress" ins({{.*}} : tensor<8x2x32xf32>, tensor<8x2x32xf32>, tensor<4x2x32xf32>, tensor<2xi32>) outs({{.*}} : tensor<2x32xf32>, tensor<1x8x2x32xf32>, tensor<1x8x2x32xf32>) {{.*}} {threads = 256 : i64}
// GPU:           tensor.collapse_shape %[[R]]#1 {{.*}} into tensor<8x128xf32>
func.func @compress(%kv: tensor<8x128xf32>, %gate: tensor<8x128xf32>, %ape: tensor<4x128xf32>, %kv_rows: tensor<8x128xf32>,
                    %score_rows: tensor<8x128xf32>, %span: tensor<2xi32>, %out: tensor<2x64xf32>)
    -> (tensor<8x128xf32>, tensor<8x128xf32>, tensor<2x64xf32>) {
  %y, %a, %b = v4.compress %kv, %gate, %ape, %kv_rows, %score_rows, %span ratio 4 overlap
      : (tensor<8x128xf32>, tensor<8x128xf32>, tensor<4x128xf32>, tensor<8x128xf32>, tensor<8x128xf32>, tensor<2xi32>)
      -> (tensor<2x64xf32>, tensor<8x128xf32>, tensor<8x128xf32>)
  return %a, %b, %y : tensor<8x128xf32>, tensor<8x128xf32>, tensor<2x64xf32>
}

// -----

// With slots, states, rows and entries of one slot.
// GPU-LABEL: func.func @compress_slots
// GPU:         scf.forall (%[[SLOT:.+]], %[[C:.+]]) = (0, 0) to (3, 32) step (1, 32)
// GPU:           tensor.extract_slice %{{.+}}[%[[SLOT]], 0, 0, %[[C]]] [1, 128, 1, 32]
// GPU:           v4.kernel "compress" ins({{.*}} : tensor<1x1x32xf32>, tensor<1x1x32xf32>, tensor<128x1x32xf32>, tensor<1x2xi32>) outs({{.*}} : tensor<1x32xf32>, tensor<1x128x1x32xf32>, tensor<1x128x1x32xf32>)
// Rows that the warps do not share evenly stay.
// GPU-NOT:     v4.phase
// GPU:         v4.compress {{.*}} ratio 100
func.func @compress_slots(%kv: tensor<3x32xf32>, %gate: tensor<3x32xf32>, %ape: tensor<128x32xf32>, %kv_rows: tensor<3x128x32xf32>,
                          %score_rows: tensor<3x128x32xf32>, %span: tensor<3x2xi32>, %ape100: tensor<100x32xf32>,
                          %kv100: tensor<3x100x32xf32>, %score100: tensor<3x100x32xf32>, %out: tensor<3x32xf32>, %out100: tensor<3x32xf32>)
    -> (tensor<3x128x32xf32>, tensor<3x128x32xf32>, tensor<3x100x32xf32>, tensor<3x100x32xf32>, tensor<3x32xf32>, tensor<3x32xf32>) {
  %y, %a, %b = v4.compress %kv, %gate, %ape, %kv_rows, %score_rows, %span ratio 128
      : (tensor<3x32xf32>, tensor<3x32xf32>, tensor<128x32xf32>, tensor<3x128x32xf32>, tensor<3x128x32xf32>, tensor<3x2xi32>)
      -> (tensor<3x32xf32>, tensor<3x128x32xf32>, tensor<3x128x32xf32>)
  %z, %c, %d = v4.compress %kv, %gate, %ape100, %kv100, %score100, %span ratio 100
      : (tensor<3x32xf32>, tensor<3x32xf32>, tensor<100x32xf32>, tensor<3x100x32xf32>, tensor<3x100x32xf32>, tensor<3x2xi32>)
      -> (tensor<3x32xf32>, tensor<3x100x32xf32>, tensor<3x100x32xf32>)
  return %a, %b, %c, %d, %y, %z : tensor<3x128x32xf32>, tensor<3x128x32xf32>, tensor<3x100x32xf32>, tensor<3x100x32xf32>, tensor<3x32xf32>,
      tensor<3x32xf32>
}

// -----

// On a GPU the context of a call is made by several blocks.
// CHECK-LABEL: func.func @context
// CHECK-NOT:     v4.phase
// GPU-LABEL: func.func @context
// GPU-SAME:    %[[OUT:[a-z0-9]+]]: tensor<24x64xf32>)
// GPU:         scf.forall (%[[FIRST:.+]]) = (0) to (24) step (12) shared_outs(%{{.+}} = %[[OUT]])
// GPU:           v4.kernel "window_context" ins(%arg0, %arg1, %arg2, %[[FIRST]] : {{.*}}) outs({{.*}} : tensor<12x64xf32>) {{.*}} {threads = 256 : i64}
func.func @context(%kv: tensor<8x64xf32>, %ring: tensor<16x64xf32>, %span: tensor<2xi32>, %out: tensor<24x64xf32>) -> tensor<24x64xf32> {
  %y = v4.window_context %kv, %ring, %span : (tensor<8x64xf32>, tensor<16x64xf32>, tensor<2xi32>) -> tensor<24x64xf32>
  return %y : tensor<24x64xf32>
}
