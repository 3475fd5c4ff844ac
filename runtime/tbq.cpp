// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The C interface over the classes: checks pointers, copies into the caller's
// buffers, keeps each thread's last error.
// Invariant: no exception leaves; outputs are written only on success (sizes
// also with TBQ_ERROR_BUFFER).
#include "runtime/tbq.h"

#include "runtime/Chat.h"
#include "runtime/Model.h"
#include "runtime/Sampler.h"
#include "runtime/Session.h"
#include "runtime/Tokenizer.h"
#include "tbq/Version.h"

#include <cstdio>
#include <cstring>
#include <new>

using namespace tbq;

struct tbq_model {
  std::shared_ptr<const Model> model;
  std::string manifest;
};

struct tbq_stream {
  std::shared_ptr<const Model> model;
  StreamDecoder decoder;
  std::string text;
};

struct tbq_session {
  std::unique_ptr<Session> session;
};

struct tbq_sampler {
  std::unique_ptr<Sampler> sampler;
};

// A fixed buffer: reporting that memory ran out must not need memory.
static thread_local char lastError[8192];

static tbq_status fail(tbq_status status, const char *message) {
  std::snprintf(lastError, sizeof(lastError), "%s", message);
  return status;
}

/// Runs the body of a call and turns what comes out of it into a status.
template <class Body> static tbq_status guarded(Body body) {
  try {
    Outcome outcome = body();
    return outcome ? TBQ_OK : fail(outcome.status, outcome.message.c_str());
  } catch (const std::bad_alloc &) {
    return fail(TBQ_ERROR_MEMORY, "out of memory");
  } catch (const std::exception &error) {
    return fail(TBQ_ERROR_INTERNAL, error.what());
  }
}

static Outcome requirePointers(std::initializer_list<const void *> pointers) {
  for (const void *pointer : pointers)
    if (!pointer)
      return Outcome::failure(TBQ_ERROR_ARGUMENT, "argument", "is null");
  return Outcome::ok();
}

static Outcome requireTokenizer(const tbq_model *model) {
  if (model->model->tokenizer())
    return Outcome::ok();
  return Outcome::failure(
      TBQ_ERROR_UNSUPPORTED,
      makeError(model->model->path(), "tokenizer", "the model has none"));
}

/// Copies `size` elements out if they fit; *needed is their number either way.
template <class T>
static Outcome copyOut(const T *from, size_t size, T *to, size_t capacity,
                       size_t *needed) {
  *needed = size;
  if (size > capacity || (size && !to))
    return Outcome::failure(TBQ_ERROR_BUFFER, "capacity",
                            "must be at least " + std::to_string(size) +
                                " (got " + std::to_string(capacity) + ")");
  std::copy(from, from + size, to);
  return Outcome::ok();
}

const char *tbq_last_error(void) { return lastError; }

const char *tbq_status_text(tbq_status status) {
  switch (status) {
  case TBQ_OK:
    return "ok";
  case TBQ_ERROR_ARGUMENT:
    return "bad argument";
  case TBQ_ERROR_FILE:
    return "unreadable file";
  case TBQ_ERROR_ARTIFACT:
    return "bad artifact";
  case TBQ_ERROR_CPU:
    return "wrong CPU";
  case TBQ_ERROR_CONTEXT_FULL:
    return "context full";
  case TBQ_ERROR_BUFFER:
    return "buffer too small";
  case TBQ_ERROR_UNSUPPORTED:
    return "not supported by the model";
  case TBQ_ERROR_MEMORY:
    return "out of memory";
  case TBQ_ERROR_INTERNAL:
    return "internal error";
  case TBQ_ERROR_VERIFICATION:
    return "verification failed";
  case TBQ_ERROR_DEVICE:
    return "device error";
  }
  return "unknown";
}

const char *tbq_version(void) {
  return TBQ_VERSION " (git " TBQ_GIT_REVISION ")";
}

// ---- Models ----------------------------------------------------------------

tbq_model_options tbq_model_defaults(void) { return {0, 0}; }

tbq_status tbq_model_load(const char *path, const tbq_model_options *options,
                          tbq_model **model) {
  return guarded([&] {
    if (Outcome checked = requirePointers({path, model}); !checked)
      return checked;
    auto handle = std::make_unique<tbq_model>();
    ModelOptions how;
    how.verifyWeights = options && options->verify_weights;
    how.hugePages = options && options->huge_pages;
    if (Outcome opened = Model::open(path, how, handle->model); !opened)
      return opened;
    handle->manifest = handle->model->manifestJson();
    *model = handle.release();
    return Outcome::ok();
  });
}

void tbq_model_destroy(tbq_model *model) { delete model; }

const char *tbq_model_manifest(const tbq_model *model) {
  return model->manifest.c_str();
}

int32_t tbq_model_vocab(const tbq_model *model) {
  return static_cast<int32_t>(model->model->vocab());
}

int32_t tbq_model_context(const tbq_model *model) {
  return static_cast<int32_t>(model->model->context());
}

int32_t tbq_model_max_batch(const tbq_model *model) {
  return static_cast<int32_t>(model->model->table().batch_tokens);
}

int32_t tbq_model_first_token(const tbq_model *model) {
  return model->model->firstToken().value_or(-1);
}

int tbq_model_is_end(const tbq_model *model, int32_t token) {
  return model->model->isEnd(token);
}

int tbq_model_has_tokenizer(const tbq_model *model) {
  return model->model->tokenizer() != nullptr;
}

int tbq_model_has_chat(const tbq_model *model) {
  return model->model->chat() != nullptr;
}

// ---- Text ------------------------------------------------------------------

tbq_status tbq_tokenize(const tbq_model *model, const char *text, size_t size,
                        unsigned flags, int32_t *tokens, size_t capacity,
                        size_t *count) {
  return guarded([&] {
    if (Outcome checked = requirePointers({model, text, count}); !checked)
      return checked;
    if (flags & ~unsigned(TBQ_ADD_SPECIAL | TBQ_PARSE_SPECIAL))
      return Outcome::failure(TBQ_ERROR_ARGUMENT, "flags",
                              "has unknown bits (got " + std::to_string(flags) +
                                  ")");
    if (Outcome has = requireTokenizer(model); !has)
      return has;
    Result<std::vector<int32_t>> ids = model->model->tokenizer()->encode(
        std::string_view(text, size), flags & TBQ_ADD_SPECIAL,
        flags & TBQ_PARSE_SPECIAL);
    if (!ids)
      return Outcome::failure(TBQ_ERROR_ARGUMENT, ids.error());
    return copyOut(ids->data(), ids->size(), tokens, capacity, count);
  });
}

tbq_status tbq_detokenize(const tbq_model *model, const int32_t *tokens,
                          size_t count, int keep_special, char *text,
                          size_t capacity, size_t *size) {
  return guarded([&] {
    if (Outcome checked = requirePointers({model, size}); !checked)
      return checked;
    if (count && !tokens)
      return requirePointers({tokens});
    if (Outcome has = requireTokenizer(model); !has)
      return has;
    std::string decoded = model->model->tokenizer()->decode(
        std::vector<int32_t>(tokens, tokens + count), !keep_special);
    return copyOut(decoded.data(), decoded.size(), text, capacity, size);
  });
}

tbq_status tbq_stream_create(const tbq_model *model, int keep_special,
                             tbq_stream **stream) {
  return guarded([&] {
    if (Outcome checked = requirePointers({model, stream}); !checked)
      return checked;
    if (Outcome has = requireTokenizer(model); !has)
      return has;
    *stream =
        new tbq_stream{model->model,
                       StreamDecoder(*model->model->tokenizer(), !keep_special),
                       {}};
    return Outcome::ok();
  });
}

void tbq_stream_destroy(tbq_stream *stream) { delete stream; }

tbq_status tbq_stream_push(tbq_stream *stream, int32_t token, const char **text,
                           size_t *size) {
  return guarded([&] {
    if (Outcome checked = requirePointers({stream, text, size}); !checked)
      return checked;
    stream->text = stream->decoder.push(token);
    *text = stream->text.data();
    *size = stream->text.size();
    return Outcome::ok();
  });
}

tbq_status tbq_stream_finish(tbq_stream *stream, const char **text,
                             size_t *size) {
  return guarded([&] {
    if (Outcome checked = requirePointers({stream, text, size}); !checked)
      return checked;
    stream->text = stream->decoder.finish();
    *text = stream->text.data();
    *size = stream->text.size();
    return Outcome::ok();
  });
}

tbq_status tbq_chat_render(const tbq_model *model,
                           const tbq_chat_message *messages,
                           size_t messages_count, int answer, int32_t *tokens,
                           size_t capacity, size_t *count) {
  return guarded([&] {
    if (Outcome checked = requirePointers({model, count}); !checked)
      return checked;
    const Model &loaded = *model->model;
    if (!loaded.chat())
      return Outcome::failure(
          TBQ_ERROR_UNSUPPORTED,
          makeError(loaded.path(), "manifest.chat",
                    "the model has no chat format that is known"));
    if (Outcome has = requireTokenizer(model); !has)
      return has;
    if (messages_count && !messages)
      return requirePointers({messages});
    std::vector<ChatMessage> conversation;
    for (size_t i = 0; i < messages_count; ++i) {
      if (Outcome checked =
              requirePointers({messages[i].role, messages[i].content});
          !checked)
        return checked;
      conversation.push_back({messages[i].role, messages[i].content});
    }
    Result<std::string> text = renderChat(*loaded.chat(), conversation, answer);
    if (!text)
      return Outcome::failure(TBQ_ERROR_ARGUMENT, text.error());
    Result<std::vector<int32_t>> ids =
        loaded.tokenizer()->encode(*text, false, true);
    if (!ids)
      return Outcome::failure(TBQ_ERROR_ARGUMENT, ids.error());
    return copyOut(ids->data(), ids->size(), tokens, capacity, count);
  });
}

// ---- Sessions --------------------------------------------------------------

tbq_session_options tbq_session_defaults(void) { return {0, 0, 0}; }

tbq_status tbq_session_create(const tbq_model *model,
                              const tbq_session_options *options,
                              tbq_session **session) {
  return guarded([&] {
    if (Outcome checked = requirePointers({model, session}); !checked)
      return checked;
    tbq_session_options how = options ? *options : tbq_session_defaults();
    const int64_t sequences = how.sequences ? how.sequences : 1;
    std::unique_ptr<Workers> workers;
    if (Outcome created =
            createWorkers(model->model, how.threads, workers, sequences);
        !created)
      return created;
    auto handle = std::make_unique<tbq_session>();
    if (Outcome created =
            Session::create(model->model, std::move(workers), how.context,
                            handle->session, sequences);
        !created)
      return created;
    *session = handle.release();
    return Outcome::ok();
  });
}

void tbq_session_destroy(tbq_session *session) { delete session; }

tbq_status tbq_session_eval(tbq_session *session, const int32_t *tokens,
                            size_t count, float *logits) {
  return guarded([&] {
    if (Outcome checked = requirePointers({session, tokens}); !checked)
      return checked;
    // More than any context, and still more once it is signed.
    auto bounded = static_cast<int64_t>(std::min<size_t>(count, INT64_MAX));
    return session->session->eval(tokens, bounded, logits);
  });
}

tbq_status tbq_session_eval_batch(tbq_session *session,
                                  const int32_t *sequences,
                                  const int32_t *tokens, size_t count,
                                  float *logits) {
  return guarded([&] {
    if (Outcome checked = requirePointers({session, sequences, tokens});
        !checked)
      return checked;
    auto bounded = static_cast<int64_t>(std::min<size_t>(count, INT64_MAX));
    return session->session->evalBatch(sequences, tokens, bounded, logits);
  });
}

tbq_status tbq_session_select(tbq_session *session, int32_t sequence) {
  return guarded([&] {
    if (Outcome checked = requirePointers({session}); !checked)
      return checked;
    return session->session->select(sequence);
  });
}

const float *tbq_session_logits(const tbq_session *session) {
  return session->session->logits();
}

int32_t tbq_session_position(const tbq_session *session) {
  return static_cast<int32_t>(session->session->position());
}

int32_t tbq_session_context(const tbq_session *session) {
  return static_cast<int32_t>(session->session->context());
}

int32_t tbq_session_threads(const tbq_session *session) {
  return static_cast<int32_t>(session->session->workers());
}

tbq_status tbq_session_rollback(tbq_session *session, int32_t position) {
  return guarded([&] {
    if (Outcome checked = requirePointers({session}); !checked)
      return checked;
    return session->session->rollback(position);
  });
}

// ---- Sampling --------------------------------------------------------------

tbq_sampler_options tbq_sampler_defaults(const tbq_model *model) {
  return samplerDefaults(model ? &model->model->manifest().generation
                               : nullptr);
}

tbq_status tbq_sampler_create(const tbq_model *model,
                              const tbq_sampler_options *options,
                              tbq_sampler **sampler) {
  return guarded([&] {
    if (Outcome checked = requirePointers({model, sampler}); !checked)
      return checked;
    auto handle = std::make_unique<tbq_sampler>();
    if (Outcome created = Sampler::create(
            model->model->vocab(),
            options ? *options : tbq_sampler_defaults(model), handle->sampler);
        !created)
      return created;
    *sampler = handle.release();
    return Outcome::ok();
  });
}

void tbq_sampler_destroy(tbq_sampler *sampler) { delete sampler; }

tbq_status tbq_sampler_sample(tbq_sampler *sampler, const float *logits,
                              int32_t *token) {
  return guarded([&] {
    if (Outcome checked = requirePointers({sampler, logits, token}); !checked)
      return checked;
    return sampler->sampler->sample(logits, *token);
  });
}

tbq_status tbq_session_sample(const tbq_session *session, tbq_sampler *sampler,
                              int32_t *token) {
  return guarded([&] {
    if (Outcome checked = requirePointers({session, sampler, token}); !checked)
      return checked;
    const Session &from = *session->session;
    if (!from.logits())
      return Outcome::failure(TBQ_ERROR_ARGUMENT, "session", "has no logits");
    if (sampler->sampler->vocabulary() != from.model().vocab())
      return Outcome::failure(
          TBQ_ERROR_ARGUMENT, "sampler",
          "is for " + std::to_string(sampler->sampler->vocabulary()) +
              " tokens, not the model's " +
              std::to_string(from.model().vocab()));
    return sampler->sampler->sample(from.logits(), *token,
                                    from.largestLogits());
  });
}

tbq_status tbq_sampler_accept(tbq_sampler *sampler, int32_t token) {
  return guarded([&] {
    if (Outcome checked = requirePointers({sampler}); !checked)
      return checked;
    return sampler->sampler->accept(token);
  });
}

tbq_status tbq_sampler_reset(tbq_sampler *sampler) {
  return guarded([&] {
    if (Outcome checked = requirePointers({sampler}); !checked)
      return checked;
    sampler->sampler->reset();
    return Outcome::ok();
  });
}
