// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See CudaKernels.h. A cubin that the driver does not take, being of a newer
// toolkit, is no failure: there is the PTX.
#include "runtime/CudaKernels.h"

#include <algorithm>
#include <cstdlib>

using namespace tbq;

const Manifest::Target::Cubin *tbq::findCubin(const Manifest::Target &target,
                                              int major, int minor) {
  const Manifest::Target::Cubin *best = nullptr;
  int bestMinor = -1;
  for (const Manifest::Target::Cubin &cubin : target.cubins) {
    if (cubin.device.rfind("sm_", 0) != 0)
      continue;
    char *rest = nullptr;
    auto version = int(std::strtol(cubin.device.c_str() + 3, &rest, 10));
    int most = *rest ? version % 10 : 9;
    if (version / 10 == major && version % 10 <= minor && minor <= most &&
        version % 10 >= bestMinor) {
      best = &cubin;
      bestMinor = version % 10;
    }
  }
  return best;
}

Outcome tbq::loadCudaModule(const CudaDriver &driver, const Model &model,
                            int device, const std::string &purpose,
                            CudaModule &module) {
  const Manifest::Target &target = model.manifest().target;
  const tbq_model_table &table = model.table();
  const auto *kernels = reinterpret_cast<const char *>(table.kernels);
  uint64_t ptxBytes = table.kernels_bytes;
  for (const Manifest::Target::Cubin &cubin : target.cubins)
    ptxBytes = std::min(ptxBytes, cubin.offset);
  int version[2] = {0, 0};
  for (int i : {0, 1})
    if (Outcome got = driver.check(
            driver.cuDeviceGetAttribute(
                &version[i], i ? cudaCapabilityMinor : cudaCapabilityMajor,
                device),
            "cuDeviceGetAttribute", purpose);
        !got)
      return got;
  auto load = [&](uint64_t offset, uint64_t bytes) {
    // PTX ends with a zero byte.
    std::string image(kernels + offset, bytes);
    return driver.check(
        driver.cuModuleLoadDataEx(&module, image.c_str(), 0, nullptr, nullptr),
        "cuModuleLoadDataEx", purpose);
  };
  const auto *cubin = findCubin(target, version[0], version[1]);
  if (cubin && cubin->offset + cubin->bytes <= table.kernels_bytes &&
      load(cubin->offset, cubin->bytes))
    return Outcome::ok();
  return load(0, ptxBytes);
}
