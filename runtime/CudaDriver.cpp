// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/CudaDriver.h"

#include <cstdlib>
#include <dlfcn.h>
#include <string>

using namespace tbq;

/// What a program looks for unless $TBQ_LIBCUDA names another.
static constexpr const char *libraryName = "libcuda.so.1";
static constexpr int outOfMemory = 2;

namespace {
struct Symbol {
  void *to;
  const char *name;
};
} // namespace

template <class Function>
static Symbol symbol(Function &function, const char *name) {
  return {&function, name};
}

static Outcome refuse(const std::string &what, const std::string &detail) {
  return Outcome::failure(TBQ_ERROR_DEVICE, what, detail);
}

static Outcome openDriver(CudaDriver &d) {
  const char *chosen = std::getenv("TBQ_LIBCUDA");
  const char *name = chosen && *chosen ? chosen : libraryName;
  // Never closed: the driver has threads of its own.
  void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return refuse(name,
                  "the model is compiled for an NVIDIA GPU, and no driver "
                  "for one can be opened: " +
                      std::string(dlerror()));
  // Names with _v2 are those that cuda.h gives the calls of today.
  const Symbol symbols[] = {
      symbol(d.cuInit, "cuInit"),
      symbol(d.cuGetErrorString, "cuGetErrorString"),
      symbol(d.cuDeviceGetCount, "cuDeviceGetCount"),
      symbol(d.cuDeviceGet, "cuDeviceGet"),
      symbol(d.cuDeviceGetAttribute, "cuDeviceGetAttribute"),
      symbol(d.cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain"),
      symbol(d.cuDevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2"),
      symbol(d.cuCtxSetCurrent, "cuCtxSetCurrent"),
      symbol(d.cuModuleLoadDataEx, "cuModuleLoadDataEx"),
      symbol(d.cuModuleUnload, "cuModuleUnload"),
      symbol(d.cuModuleGetFunction, "cuModuleGetFunction"),
      symbol(d.cuFuncSetAttribute, "cuFuncSetAttribute"),
      symbol(d.cuOccupancyMaxActiveBlocksPerMultiprocessor,
             "cuOccupancyMaxActiveBlocksPerMultiprocessor"),
      symbol(d.cuMemAlloc, "cuMemAlloc_v2"),
      symbol(d.cuMemFree, "cuMemFree_v2"),
      symbol(d.cuMemAllocHost, "cuMemAllocHost_v2"),
      symbol(d.cuMemFreeHost, "cuMemFreeHost"),
      symbol(d.cuMemsetD8Async, "cuMemsetD8Async"),
      symbol(d.cuMemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2"),
      symbol(d.cuMemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2"),
      symbol(d.cuStreamCreate, "cuStreamCreate"),
      symbol(d.cuStreamDestroy, "cuStreamDestroy_v2"),
      symbol(d.cuStreamSynchronize, "cuStreamSynchronize"),
      symbol(d.cuStreamQuery, "cuStreamQuery"),
      symbol(d.cuLaunchCooperativeKernel, "cuLaunchCooperativeKernel"),
  };
  for (const Symbol &wanted : symbols) {
    void *found = dlsym(library, wanted.name);
    if (!found)
      return refuse(name, "the driver has no " + std::string(wanted.name) +
                              ": a newer one is needed");
    *static_cast<void **>(wanted.to) = found;
  }
  if (Outcome ready = d.check(d.cuInit(0), "cuInit", "starting the driver");
      !ready)
    return ready;
  int count = 0;
  if (Outcome counted = d.check(d.cuDeviceGetCount(&count), "cuDeviceGetCount",
                                "looking for a GPU");
      !counted)
    return counted;
  if (count == 0)
    return refuse(name, "the driver finds no NVIDIA GPU");
  return Outcome::ok();
}

Outcome CudaDriver::get(const CudaDriver *&driver) {
  static CudaDriver opened = {};
  // What failed once fails again: a process does not gain a GPU.
  static const Outcome outcome = openDriver(opened);
  if (outcome)
    driver = &opened;
  return outcome;
}

Outcome CudaDriver::check(int result, const char *call,
                          const std::string &purpose) const {
  if (result == 0)
    return Outcome::ok();
  const char *text = nullptr;
  if (cuGetErrorString(result, &text) != 0 || !text)
    text = "unknown error";
  return Outcome::failure(
      result == outOfMemory ? TBQ_ERROR_MEMORY : TBQ_ERROR_DEVICE, call,
      purpose + ": " + text + " (" + std::to_string(result) + ")");
}
