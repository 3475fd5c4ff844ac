// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// NVIDIA's driver, opened when a model first asks for it: no toolkit is needed
// to build or to run. Input: the few calls that a step takes. Invariant: a
// failed call is an error that names it, what it was for and what CUDA says.
#ifndef TBQ_RUNTIME_CUDADRIVER_H
#define TBQ_RUNTIME_CUDADRIVER_H

#include "runtime/Outcome.h"

#include <cstddef>
#include <cstdint>

namespace tbq {

/// Handles as cuda.h has them.
using CudaDevicePointer = uint64_t;
using CudaModule = struct CudaModuleHandle *;
using CudaFunction = struct CudaFunctionHandle *;
using CudaStream = struct CudaStreamHandle *;
using CudaContext = struct CudaContextHandle *;

/// The calls used, by the names of the driver API. CUresult is an int.
struct CudaDriver {
  int (*cuInit)(unsigned flags);
  int (*cuGetErrorString)(int result, const char **text);
  int (*cuDeviceGetCount)(int *count);
  int (*cuDeviceGet)(int *device, int ordinal);
  int (*cuDeviceGetAttribute)(int *value, int attribute, int device);
  int (*cuDevicePrimaryCtxRetain)(CudaContext *context, int device);
  int (*cuDevicePrimaryCtxRelease)(int device);
  int (*cuCtxSetCurrent)(CudaContext context);
  int (*cuModuleLoadDataEx)(CudaModule *module, const void *image,
                            unsigned count, int *options, void **values);
  int (*cuModuleUnload)(CudaModule module);
  int (*cuModuleGetFunction)(CudaFunction *function, CudaModule module,
                             const char *name);
  int (*cuFuncSetAttribute)(CudaFunction function, int attribute, int value);
  int (*cuOccupancyMaxActiveBlocksPerMultiprocessor)(int *blocks,
                                                     CudaFunction function,
                                                     int threads,
                                                     size_t sharedBytes);
  int (*cuMemAlloc)(CudaDevicePointer *pointer, size_t bytes);
  int (*cuMemFree)(CudaDevicePointer pointer);
  int (*cuMemAllocHost)(void **pointer, size_t bytes);
  int (*cuMemFreeHost)(void *pointer);
  int (*cuMemsetD8Async)(CudaDevicePointer pointer, unsigned char value,
                         size_t bytes, CudaStream stream);
  int (*cuMemcpyHtoDAsync)(CudaDevicePointer to, const void *from, size_t bytes,
                           CudaStream stream);
  int (*cuMemcpyDtoHAsync)(void *to, CudaDevicePointer from, size_t bytes,
                           CudaStream stream);
  int (*cuStreamCreate)(CudaStream *stream, unsigned flags);
  int (*cuStreamDestroy)(CudaStream stream);
  int (*cuStreamSynchronize)(CudaStream stream);
  int (*cuStreamQuery)(CudaStream stream);
  int (*cuLaunchCooperativeKernel)(CudaFunction function, unsigned gridX,
                                   unsigned gridY, unsigned gridZ,
                                   unsigned blockX, unsigned blockY,
                                   unsigned blockZ, unsigned sharedBytes,
                                   CudaStream stream, void **parameters);

  /// The driver of this process, opened and initialised once.
  /// TBQ_ERROR_DEVICE if there is none, or it finds no GPU.
  static Outcome get(const CudaDriver *&driver);

  /// TBQ_ERROR_DEVICE (or _MEMORY) unless `result` is success.
  Outcome check(int result, const char *call, const std::string &purpose) const;
};

/// What cuStreamQuery says of a stream that is at work.
constexpr int cudaNotReady = 600;

/// Attributes of a device, by cuda.h's numbers.
enum CudaAttribute : int {
  cudaClockKilohertz = 13, // the highest
  cudaMultiprocessors = 16,
  cudaCapabilityMajor = 75,
  cudaCapabilityMinor = 76,
  cudaCooperativeLaunch = 95
};

/// An attribute of a function: shared memory asked for at its launch, at most.
constexpr int cudaMaxDynamicSharedBytes = 8;

} // namespace tbq

#endif // TBQ_RUNTIME_CUDADRIVER_H
