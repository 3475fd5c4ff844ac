// A module after the cpu stage that does nothing, with a weight that no
// checkpoint of the tests has.
module attributes {
  tbq.model = {activations = "f32", architecture = "llama", context = 16 : i64, ffn = 16 : i64,
               head_dim = 16 : i64, heads = 1 : i64, hidden = 16 : i64, kv_cache = "f32",
               kv_heads = 1 : i64, layers = 1 : i64, name = "nothing", vocab = 16 : i64},
  tbq.arena_bytes = 64 : i64, tbq.cache_bytes = 64 : i64, tbq.decode_tokens = 1 : i64,
  tbq.prefill_tokens = 16 : i64, tbq.logits_stride = 16 : i64} {
  llvm.func @decode(!llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, i64, i64, i64, !llvm.ptr) {
  ^bb0(%arena: !llvm.ptr, %weights: !llvm.ptr, %cache: !llvm.ptr, %tokens: !llvm.ptr, %logits: !llvm.ptr, %position: i64, %count: i64, %first: i64, %team: !llvm.ptr):
    llvm.return
  }
  llvm.func @prefill(!llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, i64, i64, i64, !llvm.ptr) {
  ^bb0(%arena: !llvm.ptr, %weights: !llvm.ptr, %cache: !llvm.ptr, %tokens: !llvm.ptr, %logits: !llvm.ptr, %position: i64, %count: i64, %first: i64, %team: !llvm.ptr):
    llvm.return
  }
  tbq.weights @weights bytes 64 {
    %w = tbq.weight "model.elsewhere.weight" : tensor<16xf32>
    %p = tbq.pack %w : (tensor<16xf32>) -> !tbq.packed<1x16, f32, tile 1>
    tbq.place %p at 0 "model.elsewhere" : !tbq.packed<1x16, f32, tile 1>
  }
}
