// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A step on a GPU: the workers are the blocks of one cooperative launch
// (format/DeviceAbi.h). Weights go to the device once, when the workers are
// created, by two pinned buffers in turn; arena and cache live there. A step
// reads its tokens from pinned memory of the host and writes its logits there,
// so that nothing is copied before or after it.
// Invariant: run returns when the step is done; what a call has of the host's
// arena and cache is not touched.

#include "runtime/CudaDriver.h"
#include "runtime/CudaKernels.h"
#include "runtime/CudaWindow.h"
#include "runtime/Workers.h"

#include "format/CheckedSize.h"
#include "format/DeviceAbi.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string>

using namespace tbq;

/// As the compiler's lib/GPU has them in the kernels' .reqntid.
static constexpr unsigned threadsOfBlock = 512;
/// Bytes of weights that travel at a time.
static constexpr uint64_t uploadBytes = uint64_t(16) << 20;

namespace {

class CudaWorkers final : public Workers {
public:
  CudaWorkers(std::shared_ptr<const Model> model, int64_t sequences)
      : model(std::move(model)), sequences(sequences) {}
  ~CudaWorkers() override;

  Outcome open();
  int64_t count() const override { return blocks; }
  Outcome run(const StepCall &call) override;
  float *logitsMemory() override { return logits; }
  PhaseTimes *phaseTimes() override { return phases.get(); }

private:
  Outcome openDevice();
  Outcome chooseBlocks();
  Outcome loadKernels();
  Outcome loadEntry(CudaFunction &function, const char *name,
                    const std::string &purpose);
  Outcome allocate();
  Outcome openWindow();
  Outcome openTimes();
  Outcome clearTimes(const std::string &purpose);
  Outcome takeTimes(const std::string &purpose);
  Outcome uploadWeights();
  Outcome check(int result, const char *call, const std::string &purpose) {
    return driver->check(result, call, purpose);
  }

  std::shared_ptr<const Model> model;
  const int64_t sequences; // whose caches the device has
  const CudaDriver *driver = nullptr;
  int device = 0;
  CudaContext context = nullptr;
  CudaModule kernels = nullptr;
  CudaFunction decode = nullptr, prefill = nullptr, batch = nullptr;
  CudaStream stream = nullptr;
  CudaDevicePointer weights = 0, arena = 0, caches = 0, barrier = 0, times = 0;
  CudaDevicePointer places = 0; // of a batch, which all layers read
  // Pinned, which the device has at the same addresses; weights are on their
  // way in it before the first step.
  void *pinned = nullptr;
  float *logits = nullptr;
  int32_t *tokens = nullptr;
  CudaWindow window; // open if the artifact shows its operations
  std::unique_ptr<PhaseTimes> phases; // if it times them
  int64_t blocks = 0;
};

} // namespace

Outcome CudaWorkers::open() {
  if (Outcome got = CudaDriver::get(driver); !got)
    return got;
  for (auto step : {&CudaWorkers::openDevice, &CudaWorkers::loadKernels,
                    &CudaWorkers::allocate, &CudaWorkers::openWindow,
                    &CudaWorkers::openTimes, &CudaWorkers::uploadWeights})
    if (Outcome done = (this->*step)(); !done)
      return done;
  return Outcome::ok();
}

Outcome CudaWorkers::openDevice() {
  const std::string purpose = "opening the GPU";
  int cooperative = 0, processors = 0;
  if (Outcome found =
          check(driver->cuDeviceGet(&device, 0), "cuDeviceGet", purpose);
      !found)
    return found;
  const std::pair<int *, int> attributes[] = {
      {&cooperative, cudaCooperativeLaunch},
      {&processors, cudaMultiprocessors}};
  for (auto [value, attribute] : attributes)
    if (Outcome got =
            check(driver->cuDeviceGetAttribute(value, attribute, device),
                  "cuDeviceGetAttribute", purpose);
        !got)
      return got;
  if (!cooperative)
    return Outcome::failure(TBQ_ERROR_DEVICE, "GPU",
                            "cannot launch blocks that wait for each other");
  if (Outcome retained =
          check(driver->cuDevicePrimaryCtxRetain(&context, device),
                "cuDevicePrimaryCtxRetain", purpose);
      !retained)
    return retained;
  if (Outcome current =
          check(driver->cuCtxSetCurrent(context), "cuCtxSetCurrent", purpose);
      !current)
    return current;
  constexpr unsigned nonBlocking = 1;
  blocks = processors;
  if (Outcome chosen = chooseBlocks(); !chosen)
    return chosen;
  return check(driver->cuStreamCreate(&stream, nonBlocking), "cuStreamCreate",
               purpose);
}

/// As many as the GPU has processors, or as $TBQ_CUDA_BLOCKS says: what a step
/// computes does not depend on it.
Outcome CudaWorkers::chooseBlocks() {
  const char *chosen = std::getenv("TBQ_CUDA_BLOCKS");
  if (!chosen)
    return Outcome::ok();
  int64_t count = 0;
  const char *end = chosen + std::strlen(chosen);
  auto [stop, error] = std::from_chars(chosen, end, count);
  if (error != std::errc() || stop != end || count < 1 || count > blocks)
    return Outcome::failure(TBQ_ERROR_ARGUMENT, "TBQ_CUDA_BLOCKS",
                            "must be 1 to the GPU's " + std::to_string(blocks) +
                                " processors (got '" + chosen + "')");
  blocks = count;
  return Outcome::ok();
}

Outcome CudaWorkers::loadKernels() {
  const std::string purpose = "loading the kernels of " + model->path() +
                              ", for " + *model->manifest().target.device +
                              " or later";
  const tbq_model_table &table = model->table();
  if (Outcome loaded =
          loadCudaModule(*driver, *model, device, purpose, kernels);
      !loaded)
    return loaded;
  const std::pair<CudaFunction *, const char *> entries[] = {
      {&decode, TBQ_DEVICE_DECODE},
      {&prefill, TBQ_DEVICE_PREFILL},
      {&batch, TBQ_DEVICE_BATCH}};
  for (auto [function, name] : entries)
    if (function != &batch || table.batch_tokens > 1)
      if (Outcome found = loadEntry(*function, name, purpose); !found)
        return found;
  return Outcome::ok();
}

/// One block of it fits a processor: more of them would only wait longer for
/// each other.
Outcome CudaWorkers::loadEntry(CudaFunction &function, const char *name,
                               const std::string &purpose) {
  const uint64_t sharedBytes = model->table().shared_bytes;
  int resident = 0;
  if (Outcome found =
          check(driver->cuModuleGetFunction(&function, kernels, name),
                "cuModuleGetFunction", purpose);
      !found)
    return found;
  if (Outcome set =
          check(driver->cuFuncSetAttribute(function, cudaMaxDynamicSharedBytes,
                                           int(sharedBytes)),
                "cuFuncSetAttribute", purpose);
      !set)
    return set;
  if (Outcome asked =
          check(driver->cuOccupancyMaxActiveBlocksPerMultiprocessor(
                    &resident, function, threadsOfBlock, sharedBytes),
                "cuOccupancyMaxActiveBlocksPerMultiprocessor", purpose);
      !asked)
    return asked;
  if (resident == 0)
    return Outcome::failure(TBQ_ERROR_DEVICE, "GPU",
                            "no block of the step fits one of its processors");
  return Outcome::ok();
}

Outcome CudaWorkers::allocate() {
  const tbq_model_table &table = model->table();
  const struct {
    const char *what;
    uint64_t bytes;
    CudaDevicePointer &pointer;
  } memories[] = {
      {"weights", table.weights_bytes + TBQ_DEVICE_SLACK, weights},
      {"arena", table.arena_bytes + TBQ_DEVICE_SLACK, arena},
      {"KV cache", uint64_t(sequences) * cacheStride(table) + TBQ_DEVICE_SLACK,
       caches},
      {"places",
       table.batch_tokens > 1 ? uint64_t(table.batch_tokens) * sizeof(tbq_place)
                              : 0,
       places},
      {"barrier", sizeof(tbq_device_barrier), barrier}};
  for (const auto &memory : memories) {
    if (memory.bytes == 0)
      continue;
    std::string purpose = "asking the GPU for " + std::to_string(memory.bytes) +
                          " bytes (" + memory.what + ")";
    if (Outcome made = check(driver->cuMemAlloc(&memory.pointer, memory.bytes),
                             "cuMemAlloc", purpose);
        !made)
      return made;
    if (&memory.pointer == &weights)
      continue; // written as a whole
    if (Outcome cleared = check(
            driver->cuMemsetD8Async(memory.pointer, 0, memory.bytes, stream),
            "cuMemsetD8Async", purpose);
        !cleared)
      return cleared;
  }
  auto most = uint64_t(countStepTokens(table));
  uint64_t logitsBytes = checkedMul(checkedMul(uint64_t(countLogitsRows(table)),
                                               uint64_t(table.logits_stride)),
                                    sizeof(float))
                             .value_or(UINT64_MAX);
  uint64_t pinnedBytes = std::max<uint64_t>(
      checkedAdd(logitsBytes, most * sizeof(int32_t)).value_or(UINT64_MAX),
      2 * uploadBytes);
  if (Outcome made =
          check(driver->cuMemAllocHost(&pinned, pinnedBytes), "cuMemAllocHost",
                "asking for " + std::to_string(pinnedBytes) +
                    " bytes of pinned memory");
      !made)
    return made;
  logits = static_cast<float *>(pinned);
  tokens =
      reinterpret_cast<int32_t *>(static_cast<uint8_t *>(pinned) + logitsBytes);
  return Outcome::ok();
}

Outcome CudaWorkers::openWindow() {
  if (model->manifest().operations.empty())
    return Outcome::ok();
  const std::string purpose = "opening a window on the operations";
  if (Outcome opened = window.open(*driver, purpose); !opened)
    return opened;
  return check(driver->cuMemcpyHtoDAsync(
                   barrier + offsetof(tbq_device_barrier, window),
                   window.address(), sizeof(tbq_device_window *), stream),
               "cuMemcpyHtoDAsync", purpose);
}

Outcome CudaWorkers::openTimes() {
  const Manifest &manifest = model->manifest();
  if (manifest.phases.empty())
    return Outcome::ok();
  const std::string purpose = "making room for the times of phases";
  int kilohertz = 0;
  if (Outcome got = check(
          driver->cuDeviceGetAttribute(&kilohertz, cudaClockKilohertz, device),
          "cuDeviceGetAttribute", purpose);
      !got)
    return got;
  phases = std::make_unique<PhaseTimes>(int64_t(manifest.phases.size()),
                                        manifest.model.layers, blocks,
                                        1e3 * kilohertz);
  if (Outcome made =
          check(driver->cuMemAlloc(&times, phases->memory().size() *
                                               sizeof(tbq_device_time)),
                "cuMemAlloc", purpose);
      !made)
    return made;
  return check(
      driver->cuMemcpyHtoDAsync(barrier + offsetof(tbq_device_barrier, times),
                                &times, sizeof times, stream),
      "cuMemcpyHtoDAsync", purpose);
}

Outcome CudaWorkers::clearTimes(const std::string &purpose) {
  if (!phases)
    return Outcome::ok();
  return check(
      driver->cuMemsetD8Async(
          times, 0, phases->memory().size() * sizeof(tbq_device_time), stream),
      "cuMemsetD8Async", purpose);
}

Outcome CudaWorkers::takeTimes(const std::string &purpose) {
  if (!phases)
    return Outcome::ok();
  auto &memory = phases->memory();
  if (Outcome copied = check(
          driver->cuMemcpyDtoHAsync(memory.data(), times,
                                    memory.size() * sizeof memory[0], stream),
          "cuMemcpyDtoHAsync", purpose);
      !copied)
    return copied;
  if (Outcome done = check(driver->cuStreamSynchronize(stream),
                           "cuStreamSynchronize", purpose);
      !done)
    return done;
  phases->add();
  return Outcome::ok();
}

Outcome CudaWorkers::uploadWeights() {
  const std::string purpose = "copying the weights to the GPU";
  const uint64_t size = model->table().weights_bytes;
  auto *buffers = static_cast<uint8_t *>(pinned);
  for (uint64_t done = 0, number = 0; done < size; ++number) {
    uint64_t bytes = std::min(uploadBytes, size - done);
    // Every other time: both buffers are free when all copies have ended.
    if (number >= 2 && number % 2 == 0)
      if (Outcome waited = check(driver->cuStreamSynchronize(stream),
                                 "cuStreamSynchronize", purpose);
          !waited)
        return waited;
    uint8_t *buffer = buffers + (number % 2) * uploadBytes;
    std::memcpy(buffer, model->weights() + done, bytes);
    if (Outcome copied = check(
            driver->cuMemcpyHtoDAsync(weights + done, buffer, bytes, stream),
            "cuMemcpyHtoDAsync", purpose);
        !copied)
      return copied;
    done += bytes;
  }
  return check(driver->cuStreamSynchronize(stream), "cuStreamSynchronize",
               purpose);
}

Outcome CudaWorkers::run(const StepCall &call) {
  const tbq_model_table &table = model->table();
  const std::string purpose = "running a step of " + model->path();
  // Sessions may be used from any thread, one at a time.
  if (Outcome current =
          check(driver->cuCtxSetCurrent(context), "cuCtxSetCurrent", purpose);
      !current)
    return current;
  std::memcpy(tokens, call.tokens, size_t(call.count) * sizeof(int32_t));
  if (Outcome cleared = clearTimes(purpose); !cleared)
    return cleared;
  int64_t position = call.place.position, count = call.count,
          first = call.firstLogitsRow;
  CudaDevicePointer cache = caches + uint64_t(call.place.cache);
  float *to = call.logits;
  void *parameters[] = {&arena,    &weights, &cache, &tokens, &to,
                        &position, &count,   &first, &barrier};
  CudaFunction step = count <= table.decode_tokens ? decode : prefill;
  if (call.places) {
    if (Outcome copied = check(
            driver->cuMemcpyHtoDAsync(
                places, call.places, size_t(count) * sizeof(tbq_place), stream),
            "cuMemcpyHtoDAsync", purpose);
        !copied)
      return copied;
    step = batch;
    cache = caches;
    parameters[5] = &places;
  }
  if (Outcome launched =
          check(driver->cuLaunchCooperativeKernel(
                    step, unsigned(blocks), 1, 1, threadsOfBlock, 1, 1,
                    unsigned(table.shared_bytes), stream, parameters),
                "cuLaunchCooperativeKernel", purpose);
      !launched)
    return launched;
  if (window.isOpen())
    if (Outcome done = window.look(stream, call, purpose); !done)
      return done;
  if (Outcome done = check(driver->cuStreamSynchronize(stream),
                           "cuStreamSynchronize", purpose);
      !done)
    return done;
  return takeTimes(purpose);
}

CudaWorkers::~CudaWorkers() {
  if (!context)
    return;
  // What fails here has nobody to tell.
  driver->cuCtxSetCurrent(context);
  if (stream) {
    driver->cuStreamSynchronize(stream);
    driver->cuStreamDestroy(stream);
  }
  for (CudaDevicePointer pointer :
       {weights, arena, caches, places, barrier, times})
    if (pointer)
      driver->cuMemFree(pointer);
  if (pinned)
    driver->cuMemFreeHost(pinned);
  window.close();
  if (kernels)
    driver->cuModuleUnload(kernels);
  driver->cuDevicePrimaryCtxRelease(device);
}

Outcome tbq::createWorkers(std::shared_ptr<const Model> model, int64_t threads,
                           std::unique_ptr<Workers> &workers,
                           int64_t sequences) {
  if (!model->onDevice())
    return createThreads(threads, workers);
  if (Outcome checked = checkSequences(*model, sequences); !checked)
    return checked;
  auto fresh = std::make_unique<CudaWorkers>(std::move(model), sequences);
  if (Outcome opened = fresh->open(); !opened)
    return opened;
  workers = std::move(fresh);
  return Outcome::ok();
}
