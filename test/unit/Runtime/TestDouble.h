/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * The sizes of the test double, for its code and for the tests.
 * Invariant: the cache holds one int32 a position and one counter of the rows
 * of logits written so far; every row shows that counter at its last element,
 * past the vocabulary.
 */
#ifndef TBQ_TEST_UNIT_RUNTIME_TESTDOUBLE_H
#define TBQ_TEST_UNIT_RUNTIME_TESTDOUBLE_H

#include "format/StepAbi.h"

enum {
  TEST_VOCAB = 15,
  TEST_STRIDE = 16,
  TEST_CONTEXT = 64,
  TEST_PREFILL = 8,
  TEST_BATCH = 3,
  TEST_MANIFEST_BYTES = 8192,
  TEST_TOKENIZER_BYTES = 16384, /* room: the artifact says how much is used */
  TEST_WEIGHTS_BYTES = (1 << 20) + 123,
  TEST_ARENA_BYTES = TEST_PREFILL * 4,
  TEST_CACHE_BYTES = (TEST_CONTEXT + 1) * 4
};

#endif /* TBQ_TEST_UNIT_RUNTIME_TESTDOUBLE_H */
