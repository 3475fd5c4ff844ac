/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * What compiled code and the runtime agree on. The artifact exports one symbol,
 * tbq_model_query; everything else is reached through the table it returns.
 * All memory belongs to the caller; a step allocates nothing, locks nothing and
 * does no I/O. Change anything here and TBQ_STEP_ABI goes up by one.
 */
#ifndef TBQ_FORMAT_STEPABI_H
#define TBQ_FORMAT_STEPABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TBQ_STEP_ABI 5u

/* One for all workers of a step, zero-initialised before first use and reusable
 * after. The two counters are on cache lines of their own. */
typedef struct tbq_barrier {
  uint32_t arrived; /* workers that reached the current barrier */
  uint32_t pad0[15];
  uint32_t generation; /* barriers completed so far, modulo 2^32 */
  uint32_t pad1[15];
} tbq_barrier;

/* Called by a worker that has waited `spins` rounds for `*generation` to leave
 * `seen`. May return at any time; the worker looks again and calls again. */
typedef void (*tbq_wait_fn)(void *context, const uint32_t *generation,
                            uint32_t seen);

/* Shows a value of an operation, for verification: called by worker 0 of an
 * artifact whose manifest lists `operations`, while all others wait, for what
 * an operation reads before it runs and for what it wrote after it. operation
 * its number in the list layer      of the model; -1: the operation is in none
 *   value      its number among the operation's values
 *   data       `rows` rows, `stride` elements from one to the next; of a cache
 *              all its bytes */
typedef void (*tbq_observe_fn)(void *context, int64_t operation, int64_t layer,
                               int64_t value, const void *data, int64_t rows,
                               int64_t stride);

/* One per worker: its number, how many there are, and how to wait. */
typedef struct tbq_team {
  int64_t worker;  /* 0 .. workers-1 */
  int64_t workers; /* >= 1 */
  tbq_barrier *barrier;
  int64_t spins; /* polls of the generation before `wait` is called; >= 0 */
  tbq_wait_fn wait;
  void *wait_context;
  tbq_observe_fn observe; /* null: nobody looks */
  void *observe_context;
} tbq_team;

/* Where the manifest says that logits are summarised, and not of prefill:
 * behind a row's logits, from the next multiple of so many floats on, stands
 * the largest of each so many of them, NaN if one is. */
#define TBQ_LOGITS_GROUP 64

/* Run by every worker of the team, with equal arguments but for `team`.
 *   arena    arena_bytes, 64-byte aligned, zero-filled once at creation
 *   weights  weights_bytes, of the artifact's section or its sidecar, on a
 *            page
 *   cache    cache_bytes of one sequence, 64-byte aligned, zero-filled once
 *   tokens   count token ids, each in [0, vocab)
 *   logits   (count - first_logits_row) rows of logits_stride floats: row i
 *            belongs to token first_logits_row + i. Nothing is written, and the
 *            output projection is skipped, if first_logits_row == count.
 *   position of tokens[0]; position + count <= context
 *   count    1 .. the entry's token capacity (decode_tokens, prefill_tokens)
 */
typedef void (*tbq_step_fn)(uint8_t *arena, const uint8_t *weights,
                            uint8_t *cache, const int32_t *tokens,
                            float *logits, int64_t position, int64_t count,
                            int64_t first_logits_row, const tbq_team *team);

/* Where a token of a batch stands. */
typedef struct tbq_place {
  int64_t position; /* in its sequence; below the context */
  int64_t cache;    /* byte of `caches` at which its sequence's cache begins, a
                       multiple of 64; no two of a batch are equal */
} tbq_place;

/* A token of each of several sequences. As tbq_step_fn, but:
 *   caches   memory that holds the caches of all sequences
 *   places   of each token
 *   count    1 .. batch_tokens
 */
typedef void (*tbq_batch_fn)(uint8_t *arena, const uint8_t *weights,
                             uint8_t *caches, const int32_t *tokens,
                             float *logits, const tbq_place *places,
                             int64_t count, int64_t first_logits_row,
                             const tbq_team *team);

typedef struct tbq_model_table {
  uint32_t abi;         /* TBQ_STEP_ABI of the compiler that wrote it */
  uint32_t size;        /* sizeof(tbq_model_table) */
  const char *manifest; /* JSON, manifest_bytes long, not NUL-terminated */
  uint64_t manifest_bytes;
  const uint8_t *tokenizer; /* format/TokenizerTables.h */
  uint64_t tokenizer_bytes;
  const uint8_t *weights; /* embedded weights, or null: a sidecar file */
  uint64_t weights_bytes;
  uint64_t arena_bytes;
  uint64_t cache_bytes;
  uint64_t shared_bytes; /* of a GPU's block, beside what its kernels declare */
  int64_t decode_tokens;
  int64_t prefill_tokens;
  int64_t batch_tokens;  /* sequences that a step can carry, at least 1 */
  int64_t logits_stride; /* floats from one row of logits to the next */
  tbq_step_fn decode;    /* null, as the next two: the step runs on a GPU */
  tbq_step_fn prefill;
  tbq_batch_fn batch;     /* null, too, if batch_tokens is 1 */
  const uint8_t *kernels; /* format/DeviceAbi.h; null: the step is code above */
  uint64_t kernels_bytes;
} tbq_model_table;

/* Returns null if the artifact does not speak this ABI version. */
typedef const tbq_model_table *(*tbq_model_query_fn)(uint32_t abi_version);

#ifdef __cplusplus
}
#endif

#endif /* TBQ_FORMAT_STEPABI_H */
