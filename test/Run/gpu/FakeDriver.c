/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * TEST DOUBLE: stands in for NVIDIA's driver, so that what the runtime does
 * with it is tested without a GPU. Memory of the device is the host's; a launch
 * writes nothing, unless Emulator.cpp is linked in. FAKE_FAIL=CALL[:RESULT]
 * makes a call fail, FAKE_SKIP=N but for the first N of its name. At exit it
 * says what was taken and not given back.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int held; /* modules, streams, contexts, memory */

/* Emulator.cpp's. */
__attribute__((weak)) void emulateLaunch(const char *name, void **parameters);
__attribute__((weak)) int launchIsRunning(void);
__attribute__((weak)) void finishLaunch(void);

static unsigned countProcessors(void) { return emulateLaunch ? 1 : 3; }

static unsigned countBlocks(void) {
  const char *chosen = getenv("TBQ_CUDA_BLOCKS");
  return chosen ? (unsigned)atoi(chosen) : countProcessors();
}

/* What a stream is asked to do waits for the launch before it. */
static void wait(void) {
  if (finishLaunch)
    finishLaunch();
}

__attribute__((destructor)) static void report(void) {
  if (held)
    fprintf(stderr, "fake driver: %d held at exit\n", held);
}

static int getCapability(void) {
  const char *capability = getenv("FAKE_CAPABILITY");
  return capability ? atoi(capability) : 90;
}

/* Whether the module is one; FAKE_SHOW=1 says the first line of each tried. */
static int isModule(const char *image) {
  if (getenv("FAKE_SHOW"))
    fprintf(stderr, "fake driver: %.*s\n", (int)strcspn(image, "\n"), image);
  return strstr(image, ".visible .entry decode") != NULL;
}

static int result(const char *call) {
  const char *wish = getenv("FAKE_FAIL");
  size_t length = strlen(call);
  if (!wish || strncmp(wish, call, length) != 0 ||
      (wish[length] && wish[length] != ':'))
    return 0;
  static int calls;
  const char *skip = getenv("FAKE_SKIP");
  if (skip && calls++ < atoi(skip))
    return 0;
  return wish[length] ? atoi(wish + length + 1) : 999;
}

#define CALL(name, parameters, effect)                                         \
  int name parameters {                                                        \
    int code = result(#name);                                                  \
    if (code)                                                                  \
      return code;                                                             \
    effect;                                                                    \
    return 0;                                                                  \
  }

CALL(cuInit, (unsigned flags), (void)flags)
int cuGetErrorString(int code, const char **text) {
  *text = code == 2 ? "out of memory" : "made up";
  return 0;
}
CALL(cuDeviceGetCount, (int *count), *count = getenv("FAKE_NONE") ? 0 : 1)
CALL(cuDeviceGet, (int *device, int ordinal), *device = ordinal)
CALL(cuDeviceGetAttribute, (int *value, int attribute, int device),
     (void)device;
     *value = attribute == 95   ? !getenv("FAKE_ALONE")
              : attribute == 13 ? 1000000 /* kHz: a cycle is a nanosecond */
              : attribute == 75 ? getCapability() / 10
              : attribute == 76 ? getCapability() % 10
                                : (int)countProcessors())
CALL(cuDevicePrimaryCtxRetain, (void **context, int device), (void)device;
     *context = &held; ++held)
CALL(cuDevicePrimaryCtxRelease_v2, (int device), (void)device; --held)
CALL(cuCtxSetCurrent, (void *context), (void)context)
CALL(cuModuleLoadDataEx,
     (void **module, const void *image, unsigned n, int *o, void **v), (void)n;
     (void)o; (void)v; if (!isModule(image)) return 218; *module = &held;
     ++held)
CALL(cuModuleUnload, (void *module), (void)module; --held)
CALL(cuModuleGetFunction, (void **function, void *module, const char *name),
     (void)module;
     *function = strdup(name))
CALL(cuFuncSetAttribute, (void *function, int attribute, int value),
     (void)function;
     (void)attribute; (void)value)
CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor,
     (int *blocks, void *function, int threads, size_t bytes), (void)function;
     (void)threads; (void)bytes; *blocks = getenv("FAKE_FULL") ? 0 : 1)
CALL(cuMemAlloc_v2, (uint64_t *pointer, size_t bytes),
     *pointer = (uint64_t)(uintptr_t)aligned_alloc(256,
                                                   (bytes + 255) / 256 * 256);
     ++held)
CALL(cuMemFree_v2, (uint64_t pointer), free((void *)(uintptr_t)pointer); --held)
CALL(cuMemAllocHost_v2, (void **pointer, size_t bytes),
     *pointer = malloc(bytes);
     ++held)
CALL(cuMemFreeHost, (void *pointer), free(pointer); --held)
CALL(cuMemsetD8Async,
     (uint64_t pointer, unsigned char value, size_t bytes, void *stream),
     (void)stream;
     wait(); memset((void *)(uintptr_t)pointer, value, bytes))
CALL(cuMemcpyHtoDAsync_v2,
     (uint64_t to, const void *from, size_t bytes, void *stream), (void)stream;
     wait(); memcpy((void *)(uintptr_t)to, from, bytes))
CALL(cuMemcpyDtoHAsync_v2,
     (void *to, uint64_t from, size_t bytes, void *stream), (void)stream;
     wait(); memcpy(to, (void *)(uintptr_t)from, bytes))
CALL(cuStreamCreate, (void **stream, unsigned flags), (void)flags;
     *stream = &held; ++held)
CALL(cuStreamDestroy_v2, (void *stream), (void)stream; --held)
CALL(cuStreamSynchronize, (void *stream), (void)stream; wait())
CALL(cuStreamQuery, (void *stream), (void)stream;
     if (launchIsRunning && launchIsRunning()) return 600)
CALL(cuLaunchCooperativeKernel,
     (void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
      unsigned by, unsigned bz, unsigned bytes, void *stream,
      void **parameters),
     (void)bytes;
     (void)stream; if (gx != countBlocks() || gy != 1 || gz != 1 ||
                       bx != 512 || by != 1 || bz != 1) return 1;
     wait(); if (emulateLaunch) emulateLaunch(function, parameters))
