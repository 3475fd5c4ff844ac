/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * The runtime's public interface: load a compiled model, give it tokens, get
 * logits, sample, and turn text into tokens and back.
 *
 * Ownership. What a create or load call gives is the caller's and goes back
 * through the matching destroy call, in any order: sessions and samplers keep
 * what they need of their model alive. Memory passed in is borrowed for the
 * call. Memory handed out as const stays the object's, valid as said there.
 *
 * Errors. Every call that can fail returns a status; outputs are then
 * unchanged, and tbq_last_error says in one line which file, field and value.
 * To such a call null is an error, except where it says what null means. A
 * call that returns no status must be given what it asks for, but destroying
 * null does nothing.
 *
 * Threads. A model may be used from any thread at a time. A session, a sampler
 * or a stream belongs to one thread at a time.
 */
#ifndef TBQ_RUNTIME_TBQ_H
#define TBQ_RUNTIME_TBQ_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TBQ_API __attribute__((visibility("default")))
#else
#define TBQ_API
#endif

typedef enum tbq_status {
  TBQ_OK = 0,
  TBQ_ERROR_ARGUMENT = 1,      /* a value passed in is out of its range */
  TBQ_ERROR_FILE = 2,          /* the file cannot be opened or read */
  TBQ_ERROR_ARTIFACT = 3,      /* not an artifact, damaged, or of another ABI */
  TBQ_ERROR_CPU = 4,           /* made for another CPU; the feature is named */
  TBQ_ERROR_CONTEXT_FULL = 5,  /* more tokens than the session has room for */
  TBQ_ERROR_BUFFER = 6,        /* the buffer is too small; the size is set */
  TBQ_ERROR_UNSUPPORTED = 7,   /* the model has no tokenizer or chat format */
  TBQ_ERROR_MEMORY = 8,        /* the system gave no memory or threads */
  TBQ_ERROR_INTERNAL = 9,      /* our fault */
  TBQ_ERROR_VERIFICATION = 10, /* weights do not have their recorded hashes */
  TBQ_ERROR_DEVICE = 11 /* no GPU, no driver for it, or it reports an error */
} tbq_status;

/* The message of this thread's last failed call, "" if there was none. Valid
 * until the thread's next failing call. */
TBQ_API const char *tbq_last_error(void);

/* A status in words, "context full"; "unknown" for what is no status. */
TBQ_API const char *tbq_status_text(tbq_status status);

/* "0.1.0 (git 1234abc)". */
TBQ_API const char *tbq_version(void);

/* ---- Models ------------------------------------------------------------ */

typedef struct tbq_model tbq_model;

typedef struct tbq_model_options {
  int verify_weights; /* also compare every MiB of weights with its hash: 0 */
  int huge_pages; /* copy the weights into huge pages: 0. Opening takes longer
                     (0.1 to 1.3 s for 330 MB), and the copy is no longer
                     shared with others; decoding may be faster. */
} tbq_model_options;

TBQ_API tbq_model_options tbq_model_defaults(void);

/* Checks trailer, hash, manifest, ABI and CPU, and the file of weights beside
 * the artifact if it has one, and only then runs code of the file. `options`
 * may be null. */
TBQ_API tbq_status tbq_model_load(const char *path,
                                  const tbq_model_options *options,
                                  tbq_model **model);
TBQ_API void tbq_model_destroy(tbq_model *model);

/* The manifest, JSON, NUL-terminated; valid as long as the model. It says what
 * the model is: architecture, sizes, target, and each layer's scheme and bytes.
 */
TBQ_API const char *tbq_model_manifest(const tbq_model *model);
TBQ_API int32_t tbq_model_vocab(const tbq_model *model);
TBQ_API int32_t tbq_model_context(const tbq_model *model);
/* Sequences that a step can carry (tbqc --max-batch). */
TBQ_API int32_t tbq_model_max_batch(const tbq_model *model);
/* The token a text starts with, or -1. */
TBQ_API int32_t tbq_model_first_token(const tbq_model *model);
/* Whether generation ends at this token. */
TBQ_API int tbq_model_is_end(const tbq_model *model, int32_t token);
/* Without a tokenizer the calls on text fail, without a chat format
 * tbq_chat_render does, with TBQ_ERROR_UNSUPPORTED. */
TBQ_API int tbq_model_has_tokenizer(const tbq_model *model);
TBQ_API int tbq_model_has_chat(const tbq_model *model);

/* ---- Text -------------------------------------------------------------- */

enum {
  TBQ_ADD_SPECIAL = 1,  /* put the tokens around it that the model expects */
  TBQ_PARSE_SPECIAL = 2 /* "<|im_end|>" in the text is that one token */
};

/* UTF-8 text of `size` bytes to tokens. *count is set to their number; if that
 * is more than `capacity`, TBQ_ERROR_BUFFER and no token is written (so a first
 * call may pass capacity 0, and then null for tokens). Ill-formed UTF-8 is read
 * as U+FFFD. */
TBQ_API tbq_status tbq_tokenize(const tbq_model *model, const char *text,
                                size_t size, unsigned flags, int32_t *tokens,
                                size_t capacity, size_t *count);

/* Tokens to text, not NUL-terminated; sizes as in tbq_tokenize. Special tokens
 * are left out unless `keep_special`; tokens that stand for nothing always are.
 */
TBQ_API tbq_status tbq_detokenize(const tbq_model *model, const int32_t *tokens,
                                  size_t count, int keep_special, char *text,
                                  size_t capacity, size_t *size);

/* Text of tokens as they come. */
typedef struct tbq_stream tbq_stream;

TBQ_API tbq_status tbq_stream_create(const tbq_model *model, int keep_special,
                                     tbq_stream **stream);
TBQ_API void tbq_stream_destroy(tbq_stream *stream);
/* The bytes that `token` completes, possibly none: always whole UTF-8
 * characters. Valid until the stream's next call. */
TBQ_API tbq_status tbq_stream_push(tbq_stream *stream, int32_t token,
                                   const char **text, size_t *size);
/* What is left at the end of the text; the stream then starts over. */
TBQ_API tbq_status tbq_stream_finish(tbq_stream *stream, const char **text,
                                     size_t *size);

typedef struct tbq_chat_message {
  const char *role;    /* "system", "user" or "assistant" */
  const char *content; /* UTF-8, NUL-terminated */
} tbq_chat_message;

/* The conversation as tokens in the model's chat format; with `answer`, the
 * start of an assistant's turn follows. Sizes as in tbq_tokenize. */
TBQ_API tbq_status tbq_chat_render(const tbq_model *model,
                                   const tbq_chat_message *messages,
                                   size_t messages_count, int answer,
                                   int32_t *tokens, size_t capacity,
                                   size_t *count);

/* ---- Sessions ---------------------------------------------------------- */

/* One sequence or several: their KV caches, scratch memory and worker threads.
 */
typedef struct tbq_session tbq_session;

typedef struct tbq_session_options {
  int32_t threads;   /* 0: one for each usable CPU */
  int32_t context;   /* tokens a sequence may hold, at most the model's; 0: as
                        many */
  int32_t sequences; /* at most tbq_model_max_batch; 0: one */
} tbq_session_options;

TBQ_API tbq_session_options tbq_session_defaults(void);
/* `options` may be null. */
TBQ_API tbq_status tbq_session_create(const tbq_model *model,
                                      const tbq_session_options *options,
                                      tbq_session **session);
TBQ_API void tbq_session_destroy(tbq_session *session);

/* Appends tokens: one is a decode step, more are prefilled in chunks; logits
 * are the same either way. If `logits` is not null it receives count rows of
 * tbq_model_vocab floats, one for every token; else only the last token's are
 * computed. At least one token, each below tbq_model_vocab. Tokens that do not
 * fit: TBQ_ERROR_CONTEXT_FULL, none is appended. */
TBQ_API tbq_status tbq_session_eval(tbq_session *session, const int32_t *tokens,
                                    size_t count, float *logits);

/* Appends tokens[i] to sequence sequences[i], for each of `count`, 1 to the
 * session's, which must differ: in one step, which reads the weights once for
 * all of them, or one after the other where so few are faster so (on a GPU up
 * to five). Logits are those of tbq_session_eval; if `logits` is not null it
 * receives count rows of tbq_model_vocab floats, in the same order. If a
 * sequence is full: TBQ_ERROR_CONTEXT_FULL; whatever is refused, no token is
 * appended. */
TBQ_API tbq_status tbq_session_eval_batch(tbq_session *session,
                                          const int32_t *sequences,
                                          const int32_t *tokens, size_t count,
                                          float *logits);

/* From now on tbq_session_eval, _logits, _sample, _position and _rollback are
 * about this sequence, of those that the session was created for; at first they
 * are about number 0. */
TBQ_API tbq_status tbq_session_select(tbq_session *session, int32_t sequence);

/* tbq_model_vocab floats, those of the sequence's last token; null before the
 * first eval and after a rollback, or another sequence's eval. Valid until the
 * session's next call but tbq_session_select. */
TBQ_API const float *tbq_session_logits(const tbq_session *session);

/* Tokens held, and how many it can hold. */
TBQ_API int32_t tbq_session_position(const tbq_session *session);
TBQ_API int32_t tbq_session_context(const tbq_session *session);
/* The threads of each step, the caller's among them. */
TBQ_API int32_t tbq_session_threads(const tbq_session *session);

/* Forgets all tokens from `position` on; 0 starts over. */
TBQ_API tbq_status tbq_session_rollback(tbq_session *session, int32_t position);

/* ---- Sampling ---------------------------------------------------------- */

typedef struct tbq_sampler tbq_sampler;

/* Applied in this order: repeat_penalty, top_k, top_p, min_p, temperature. The
 * same seed and logits give the same tokens on every machine. */
typedef struct tbq_sampler_options {
  float temperature;    /* 0: always the likeliest token */
  int32_t top_k;        /* 0: all */
  float top_p;          /* 1: all */
  float min_p;          /* 0: all; relative to the likeliest token's */
  float repeat_penalty; /* 1: none */
  int32_t repeat_last;  /* tokens it looks back */
  uint64_t seed;
} tbq_sampler_options;

/* 0.8, 40, 0.95, 0.05, 1, 64, seed 0; with a model, what its generation config
 * says instead. `model` may be null. */
TBQ_API tbq_sampler_options tbq_sampler_defaults(const tbq_model *model);
/* `options` null: the model's defaults. */
TBQ_API tbq_status tbq_sampler_create(const tbq_model *model,
                                      const tbq_sampler_options *options,
                                      tbq_sampler **sampler);
TBQ_API void tbq_sampler_destroy(tbq_sampler *sampler);

/* Chooses from tbq_model_vocab logits. Logits that are not numbers are an
 * error, never a token. */
TBQ_API tbq_status tbq_sampler_sample(tbq_sampler *sampler, const float *logits,
                                      int32_t *token);
/* Chooses from the logits of the session's last token, as that does, but may
 * know of them which are large: on a GPU it is much faster. The session must be
 * of a model with the sampler's vocabulary, and have logits. */
TBQ_API tbq_status tbq_session_sample(const tbq_session *session,
                                      tbq_sampler *sampler, int32_t *token);
/* Tells the repeat penalty about a token of the text. */
TBQ_API tbq_status tbq_sampler_accept(tbq_sampler *sampler, int32_t token);
/* As created: no token accepted, the seed's first number next. */
TBQ_API tbq_status tbq_sampler_reset(tbq_sampler *sampler);

#ifdef __cplusplus
}
#endif

#endif /* TBQ_RUNTIME_TBQ_H */
