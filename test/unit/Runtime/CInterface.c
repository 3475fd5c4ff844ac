/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * runtime/tbq.h used as its users do: from C, as C99 and pedantic.
 * Output: a line of what went wrong first, or null.
 */
#include "runtime/tbq.h"

#include <string.h>

#define REQUIRE(condition)                                                     \
  if (!(condition))                                                            \
  return #condition

const char *useFromC(const char *good, const char *bad);

const char *useFromC(const char *good, const char *bad) {
  tbq_model *model = 0;
  tbq_session *session = 0;
  tbq_sampler *sampler = 0;
  tbq_session_options sessionOptions = tbq_session_defaults();
  tbq_sampler_options samplerOptions;
  int32_t tokens[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  int32_t token = -1, sampled = -1, sequences[3] = {1, 0, 1};
  float rows[10 * 15];
  size_t count = 0;
  int status;

  REQUIRE(tbq_model_load(bad, 0, &model) == TBQ_ERROR_ARTIFACT && !model);
  REQUIRE(strstr(tbq_last_error(), bad) == tbq_last_error());
  REQUIRE(tbq_model_load(0, 0, &model) == TBQ_ERROR_ARGUMENT);
  REQUIRE(tbq_model_load(good, 0, &model) == TBQ_OK && model);
  REQUIRE(strstr(tbq_model_manifest(model), "\"test double\""));
  REQUIRE(tbq_model_vocab(model) == 15 && tbq_model_context(model) == 64);
  REQUIRE(tbq_model_is_end(model, 2) && !tbq_model_is_end(model, 3));
  REQUIRE(tbq_model_first_token(model) == -1 && !tbq_model_has_chat(model));
  REQUIRE(!tbq_model_has_tokenizer(model));
  REQUIRE(tbq_tokenize(model, "a", 1, 0, tokens, 10, &count) ==
          TBQ_ERROR_UNSUPPORTED);
  REQUIRE(tbq_tokenize(model, "a", 1, 4, tokens, 10, &count) ==
          TBQ_ERROR_ARGUMENT);
  REQUIRE(strstr(tbq_last_error(), "flags"));
  REQUIRE(tbq_chat_render(model, 0, 0, 1, tokens, 10, &count) ==
          TBQ_ERROR_UNSUPPORTED);

  sessionOptions.threads = -1;
  REQUIRE(tbq_session_create(model, &sessionOptions, &session) ==
          TBQ_ERROR_ARGUMENT);
  sessionOptions.threads = 2;
  REQUIRE(tbq_model_max_batch(model) == 3);
  sessionOptions.sequences = 4;
  REQUIRE(tbq_session_create(model, &sessionOptions, &session) ==
          TBQ_ERROR_ARGUMENT);
  sessionOptions.sequences = 2;
  REQUIRE(tbq_session_create(model, &sessionOptions, &session) == TBQ_OK);
  REQUIRE(tbq_session_threads(session) == 2);
  samplerOptions = tbq_sampler_defaults(model);
  REQUIRE(samplerOptions.temperature == 0.5f && samplerOptions.top_k == 40);
  samplerOptions.temperature = 0;
  REQUIRE(tbq_sampler_create(model, &samplerOptions, &sampler) == TBQ_OK);
  tbq_model_destroy(model); /* both keep what they need */

  REQUIRE(!tbq_session_logits(session));
  REQUIRE(tbq_session_sample(session, sampler, &token) == TBQ_ERROR_ARGUMENT);
  REQUIRE(strstr(tbq_last_error(), "has no logits"));
  REQUIRE(tbq_session_eval(session, tokens, 10, rows) == TBQ_OK);
  REQUIRE(tbq_session_position(session) == 10);
  REQUIRE(!memcmp(tbq_session_logits(session), rows + 9 * 15, 15 * 4));
  REQUIRE(tbq_session_eval(session, tokens, (size_t)-1, 0) ==
          TBQ_ERROR_CONTEXT_FULL);
  REQUIRE(tbq_session_eval_batch(session, sequences, tokens, 3, 0) ==
          TBQ_ERROR_ARGUMENT);
  REQUIRE(tbq_session_eval_batch(session, sequences, tokens, 2, rows) ==
          TBQ_OK);
  REQUIRE(tbq_session_position(session) == 11);
  REQUIRE(!memcmp(tbq_session_logits(session), rows + 15, 15 * 4));
  REQUIRE(tbq_session_select(session, 2) == TBQ_ERROR_ARGUMENT);
  REQUIRE(tbq_session_select(session, 1) == TBQ_OK);
  REQUIRE(tbq_session_position(session) == 1);
  REQUIRE(!memcmp(tbq_session_logits(session), rows, 15 * 4));
  REQUIRE(tbq_session_select(session, 0) == TBQ_OK);
  REQUIRE(tbq_sampler_sample(sampler, tbq_session_logits(session), &token) ==
          TBQ_OK);
  REQUIRE(token >= 0 && token < 15);
  REQUIRE(tbq_session_sample(session, sampler, &sampled) == TBQ_OK);
  REQUIRE(sampled == token);
  REQUIRE(tbq_session_sample(0, sampler, &sampled) == TBQ_ERROR_ARGUMENT);
  REQUIRE(tbq_sampler_accept(sampler, 99) == TBQ_ERROR_ARGUMENT);
  REQUIRE(tbq_sampler_reset(0) == TBQ_ERROR_ARGUMENT);
  REQUIRE(tbq_session_rollback(session, 0) == TBQ_OK);
  REQUIRE(!tbq_session_logits(session));
  REQUIRE(tbq_session_rollback(session, 1) == TBQ_ERROR_ARGUMENT);
  REQUIRE(strlen(tbq_version()) > 0);
  for (status = TBQ_OK; status <= TBQ_ERROR_DEVICE; ++status)
    REQUIRE(strcmp(tbq_status_text((tbq_status)status), "unknown"));
  REQUIRE(!strcmp(tbq_status_text((tbq_status)status), "unknown"));

  tbq_session_destroy(session);
  tbq_sampler_destroy(sampler);
  tbq_session_destroy(0);
  return 0;
}
