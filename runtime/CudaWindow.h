// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where a step on a GPU shows the values of its operations, while it runs
// (format/DeviceAbi.h).
#ifndef TBQ_RUNTIME_CUDAWINDOW_H
#define TBQ_RUNTIME_CUDAWINDOW_H

#include "format/DeviceAbi.h"
#include "runtime/CudaDriver.h"
#include "runtime/Workers.h"

#include <vector>

namespace tbq {

class CudaWindow {
public:
  Outcome open(const CudaDriver &driver, const std::string &purpose);
  void close();
  bool isOpen() const { return window; }
  /// What the device must know of it: where the pointer is.
  const void *address() const { return &window; }

  /// Shows the call's observer, if it has one, all that the launch on the
  /// stream shows, until that has ended.
  Outcome look(CudaStream stream, const StepCall &call,
               const std::string &purpose);

private:
  void takePart(const StepCall &call);

  const CudaDriver *driver = nullptr;
  tbq_device_window *window = nullptr; // pinned: the device writes it
  std::vector<uint8_t> value;          // its parts so far
};

} // namespace tbq

#endif // TBQ_RUNTIME_CUDAWINDOW_H
