// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See CudaWindow.h. Invariant: each part that is shown is answered, whoever
// looks: the device waits for it.
#include "runtime/CudaWindow.h"

#include <algorithm>
#include <cstring>

using namespace tbq;

Outcome CudaWindow::open(const CudaDriver &opened, const std::string &purpose) {
  driver = &opened;
  void *memory = nullptr;
  if (Outcome made = driver->check(
          driver->cuMemAllocHost(&memory, sizeof(tbq_device_window)),
          "cuMemAllocHost", purpose);
      !made)
    return made;
  std::memset(memory, 0, sizeof(tbq_device_window));
  window = static_cast<tbq_device_window *>(memory);
  return Outcome::ok();
}

void CudaWindow::close() {
  if (window)
    driver->cuMemFreeHost(window);
}

Outcome CudaWindow::look(CudaStream stream, const StepCall &call,
                         const std::string &purpose) {
  for (;;) {
    // Asked for first: what was shown before the end is not missed, since the
    // device goes on only when it has been seen.
    int state = driver->cuStreamQuery(stream);
    uint32_t shown = __atomic_load_n(&window->shown, __ATOMIC_ACQUIRE);
    if (shown != window->seen) {
      takePart(call);
      __atomic_store_n(&window->seen, shown, __ATOMIC_RELEASE);
    } else if (state != cudaNotReady) {
      return driver->check(state, "cuStreamQuery", purpose);
    }
  }
}

void CudaWindow::takePart(const StepCall &call) {
  if (!call.observe)
    return;
  auto bytes = size_t(window->bytes), offset = size_t(window->offset);
  value.resize(bytes);
  size_t size = std::min<size_t>(TBQ_DEVICE_WINDOW, bytes - offset);
  std::memcpy(value.data() + offset, window->part, size);
  if (offset + size == bytes)
    call.observe(call.observeContext, window->operation, window->layer,
                 window->value, value.data(), window->rows, window->stride);
}
