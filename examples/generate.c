/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * generate [--ids] MODEL TEXT [COUNT [TEMPERATURE]]: continues a text.
 * Input: a compiled model and UTF-8 text. Output: at most COUNT tokens (100) on
 * stdout, as text or as ids. Without TEMPERATURE the model's own is used.
 * Each part of the interface once, with libtbq and the C library alone.
 */
#include <tbq/tbq.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The message names file, field and value. The system takes back the rest. */
static void require(tbq_status status) {
  if (status == TBQ_OK)
    return;
  fprintf(stderr, "generate: %s: %s\n", tbq_status_text(status),
          tbq_last_error());
  exit(1);
}

/* The caller's, to free. The first call only counts. */
static int32_t *tokenize(const tbq_model *model, const char *text,
                         size_t *count) {
  const unsigned flags = TBQ_ADD_SPECIAL | TBQ_PARSE_SPECIAL;
  const size_t size = strlen(text);
  int32_t *tokens;
  tbq_status status = tbq_tokenize(model, text, size, flags, NULL, 0, count);
  if (status != TBQ_ERROR_BUFFER)
    require(status);
  tokens = malloc((*count + 1) * sizeof(*tokens));
  if (!tokens || *count == 0) {
    fprintf(stderr, "generate: %s\n",
            tokens ? "the text has no tokens" : "out of memory");
    exit(1);
  }
  require(tbq_tokenize(model, text, size, flags, tokens, *count, count));
  return tokens;
}

static void show(const char *text, size_t size) {
  fwrite(text, 1, size, stdout);
  fflush(stdout);
}

int main(int argc, char **argv) {
  const int ids = argc > 1 && strcmp(argv[1], "--ids") == 0;
  char **given = argv + 1 + ids; /* MODEL TEXT [COUNT [TEMPERATURE]] */
  const int arguments = argc - 1 - ids;
  tbq_model *model;
  tbq_session *session;
  tbq_sampler *sampler;
  tbq_sampler_options options;
  tbq_stream *stream; /* characters may need several tokens */
  const char *piece;
  int32_t *prompt, token;
  size_t count, size, i;
  long left;

  if (arguments < 2 || arguments > 4) {
    fprintf(stderr, "generate [--ids] MODEL TEXT [COUNT [TEMPERATURE]]\n");
    return 1;
  }
  left = arguments > 2 ? strtol(given[2], NULL, 10) : 100;

  require(tbq_model_load(given[0], NULL, &model));
  require(tbq_session_create(model, NULL, &session));
  options = tbq_sampler_defaults(model);
  if (arguments > 3)
    options.temperature = strtof(given[3], NULL);
  require(tbq_sampler_create(model, &options, &sampler));
  require(tbq_stream_create(model, 0, &stream));

  /* The prompt: one call, computed in chunks. The stream reads it too, since
   * what a token's text is may depend on those before it. */
  prompt = tokenize(model, given[1], &count);
  require(tbq_session_eval(session, prompt, count, NULL));
  for (i = 0; i < count; ++i) {
    require(tbq_sampler_accept(sampler, prompt[i]));
    require(tbq_stream_push(stream, prompt[i], &piece, &size));
  }
  free(prompt);

  while (left-- > 0) {
    require(tbq_session_sample(session, sampler, &token));
    if (tbq_model_is_end(model, token))
      break;
    require(tbq_sampler_accept(sampler, token));
    if (ids) {
      printf("%d ", (int)token);
    } else {
      require(tbq_stream_push(stream, token, &piece, &size));
      show(piece, size);
    }
    if (tbq_session_position(session) == tbq_session_context(session))
      break;
    require(tbq_session_eval(session, &token, 1, NULL));
  }
  require(tbq_stream_finish(stream, &piece, &size));
  if (!ids)
    show(piece, size);
  printf("\n");

  tbq_stream_destroy(stream);
  tbq_sampler_destroy(sampler);
  tbq_session_destroy(session);
  tbq_model_destroy(model);
  return 0;
}
