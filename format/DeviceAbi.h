/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * What a step compiled for a GPU and the runtime agree on. The step is one
 * kernel, launched cooperatively: its blocks are the workers of StepAbi.h, and
 * all of them must be resident, since they wait for each other.
 */
#ifndef TBQ_FORMAT_DEVICEABI_H
#define TBQ_FORMAT_DEVICEABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Names of the kernels, the last of which is there if a step can carry several
 * sequences. Their parameters, in this order, are those of tbq_step_fn and
 * tbq_batch_fn (StepAbi.h), pointers to device memory, but for the last:
 *   arena, weights, cache, tokens, logits, position (places of a batch), count,
 *   first_logits_row, tbq_device_barrier *barrier
 */
#define TBQ_DEVICE_DECODE "decode"
#define TBQ_DEVICE_PREFILL "prefill"
#define TBQ_DEVICE_BATCH "batch"

/* Bytes past the arena that may be read, and are not used. */
#define TBQ_DEVICE_SLACK 256u

/* Bytes of a value that are shown at a time. */
#define TBQ_DEVICE_WINDOW (1u << 20)

/* Where an artifact whose manifest lists `operations` shows their values, as
 * tbq_observe_fn describes them (StepAbi.h): in memory of the host, zero before
 * the first launch. The device writes a part of a value, then `shown`, and
 * waits for `seen` to be equal; all other blocks wait for it. */
typedef struct tbq_device_window {
  uint32_t shown; /* parts written so far, modulo 2^32, by the device */
  uint32_t pad0[31];
  uint32_t seen; /* of them those that the host has done with */
  uint32_t pad1[31];
  int64_t operation;
  int64_t layer;
  int64_t value;
  int64_t rows;
  int64_t stride;
  int64_t bytes;  /* of the whole value */
  int64_t offset; /* in it of this part */
  uint64_t pad2;
  uint8_t part[TBQ_DEVICE_WINDOW];
} tbq_device_window;

/* When a block came to a barrier, all its threads, and when it went on: cycles
 * of its own processor's clock. */
typedef struct tbq_device_time {
  uint64_t came;
  uint64_t left;
} tbq_device_time;

/* In device memory, zero before the first launch and reusable after each. The
 * counter is in a sector of its own. */
typedef struct tbq_device_barrier {
  uint32_t arrived; /* 2^31 for each completed barrier, modulo 2^32, and what
                       blocks added since */
  uint32_t pad[31];
  tbq_device_window *window; /* null: nobody looks */
  /* In device memory, of an artifact whose manifest lists `phases`: block b at
   * the barrier before phase p of layer l (0 outside of layers) writes number
   * (l * phases + p) * blocks + b. */
  tbq_device_time *times;
} tbq_device_barrier;

#ifdef __cplusplus
}
#endif

#endif /* TBQ_FORMAT_DEVICEABI_H */
