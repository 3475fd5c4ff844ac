// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// TEST DOUBLE: stands in for compiled code so that loader, session and workers
// are tested without the compiler. No model: the logits of a row are a hash of
// the tokens up to it, computed in three phases between barriers.
// The sections are blank; FakeArtifact.cpp fills them in and seals the file.
#include "TestDouble.h"

__attribute__((section(".tbq.manifest")))
const char manifest[TEST_MANIFEST_BYTES] = {' '};
__attribute__((section(".tbq.tokenizer"), aligned(8)))
const uint8_t tokenizerBytes[TEST_TOKENIZER_BYTES] = {1};
#ifdef TEST_SIDECAR
#define weightBytes 0
#else
__attribute__((section(".tbq.weights"), aligned(4096)))
const uint8_t weightBytes[TEST_WEIGHTS_BYTES] = {1};
#endif

static void barrier(const tbq_team *team) {
  tbq_barrier *b = team->barrier;
  uint32_t seen = __atomic_load_n(&b->generation, __ATOMIC_RELAXED);
  if (__atomic_add_fetch(&b->arrived, 1, __ATOMIC_ACQ_REL) == team->workers) {
    __atomic_store_n(&b->arrived, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&b->generation, seen + 1, __ATOMIC_RELEASE);
    return;
  }
  for (int64_t polls = 0;
       __atomic_load_n(&b->generation, __ATOMIC_ACQUIRE) == seen; ++polls)
    if (polls >= team->spins)
      team->wait(team->wait_context, &b->generation, seen);
}

static void step(uint8_t *arena, const uint8_t *weights, uint8_t *cache,
                 const int32_t *tokens, float *logits, int64_t position,
                 int64_t count, int64_t first, const tbq_team *team) {
  int32_t *history = (int32_t *)cache;
  int32_t *rowsWritten = history + TEST_CONTEXT;
  uint32_t *hashes = (uint32_t *)arena;
  for (int64_t i = team->worker; i < count; i += team->workers)
    history[position + i] = tokens[i];
#ifndef TEST_MISSING_BARRIER
  barrier(team);
#endif
  for (int64_t i = team->worker; i < count; i += team->workers) {
    hashes[i] = weights[0];
    for (int64_t j = 0; j <= position + i; ++j)
      hashes[i] = hashes[i] * 31 + (uint32_t)history[j] + 1;
  }
  barrier(team);
  if (team->worker == 0)
    *rowsWritten += (int32_t)(count - first);
  barrier(team);
  for (int64_t i = first; i < count; ++i)
    for (int64_t e = team->worker; e < TEST_STRIDE; e += team->workers)
      logits[(i - first) * TEST_STRIDE + e] =
          e < TEST_VOCAB ? (float)((hashes[i] >> e) % 1000)
                         : (float)*rowsWritten;
  barrier(team);
}

static void decode(uint8_t *arena, const uint8_t *weights, uint8_t *cache,
                   const int32_t *tokens, float *logits, int64_t position,
                   int64_t count, int64_t first, const tbq_team *team) {
  step(arena, weights, cache, tokens, logits, position, count, first, team);
}

static void prefill(uint8_t *arena, const uint8_t *weights, uint8_t *cache,
                    const int32_t *tokens, float *logits, int64_t position,
                    int64_t count, int64_t first, const tbq_team *team) {
  step(arena, weights, cache, tokens, logits, position, count, first, team);
}

/* The caches are one behind the other; each token is a step of its own. */
static void batch(uint8_t *arena, const uint8_t *weights, uint8_t *caches,
                  const int32_t *tokens, float *logits, const tbq_place *places,
                  int64_t count, int64_t first, const tbq_team *team) {
  (void)first;
  for (int64_t i = 0; i < count; ++i)
    step(arena, weights, caches + places[i].cache, tokens + i,
         logits + i * TEST_STRIDE, places[i].position, 1, 0, team);
}

__attribute__((section(".tbq.table"))) tbq_model_table table = {
    .abi = TBQ_STEP_ABI,
    .size = sizeof(tbq_model_table),
    .manifest = manifest,
    .manifest_bytes = TEST_MANIFEST_BYTES,
    .tokenizer = tokenizerBytes,
    .tokenizer_bytes = 0,
    .weights = weightBytes,
    .weights_bytes = TEST_WEIGHTS_BYTES,
    .arena_bytes = TEST_ARENA_BYTES,
    .cache_bytes = TEST_CACHE_BYTES,
    .decode_tokens = 1,
    .prefill_tokens = TEST_PREFILL,
    .batch_tokens = TEST_BATCH,
    .logits_stride = TEST_STRIDE,
    .decode = decode,
    .prefill = prefill,
    .batch = batch,
};

__attribute__((visibility("default"))) const tbq_model_table *
tbq_model_query(uint32_t abi) {
  return abi == table.abi ? &table : 0;
}
