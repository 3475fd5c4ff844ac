# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""As much of CUDA's driver as it takes to time kernels: memory, modules, launches in a graph.

Output: calls of libcuda.so.1; one that fails raises RuntimeError with its name and number.
"""

import ctypes

MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
PROCESSORS = 16  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
THREADS = 512


class Gpu:
    def __init__(self):
        self.library = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)
        device, context, count = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)
        self.call("cuDeviceGetAttribute", ctypes.byref(count), PROCESSORS, device)
        name = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, 256, device)
        self.name, self.processors = name.value.decode(), count.value
        self.stream = ctypes.c_void_p()
        self.call("cuStreamCreate", ctypes.byref(self.stream), 1)

    def call(self, name, *arguments):
        result = getattr(self.library, name)(*arguments)
        if result:
            raise RuntimeError(f"{name}: error {result}")

    def allocate(self, size):
        pointer = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        self.call("cuMemsetD8_v2", pointer, 0, ctypes.c_size_t(size))
        return pointer

    def free(self, pointer):
        self.call("cuMemFree_v2", pointer)

    def write(self, pointer, offset, array):
        self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(pointer.value + offset), ctypes.c_void_p(array.ctypes.data),
                  ctypes.c_size_t(array.nbytes))

    def read(self, pointer, offset, array):
        self.synchronize()
        self.call("cuMemcpyDtoH_v2", ctypes.c_void_p(array.ctypes.data), ctypes.c_uint64(pointer.value + offset),
                  ctypes.c_size_t(array.nbytes))
        return array

    def synchronize(self):
        self.call("cuStreamSynchronize", self.stream)

    def load(self, ptx):
        module = ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(ptx.encode()))
        return module

    def function(self, module, name, sharedBytes):
        found = ctypes.c_void_p()
        self.call("cuModuleGetFunction", ctypes.byref(found), module, name.encode())
        self.call("cuFuncSetAttribute", found, MAX_DYNAMIC_SHARED, sharedBytes)
        return found

    def launch(self, function, sharedBytes, values):
        """One block a processor, all of them there at once. values: of 8 bytes each."""
        held = [ctypes.c_uint64(value) for value in values]
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(value) for value in held))
        self.call("cuLaunchCooperativeKernel", function, self.processors, 1, 1, THREADS, 1, 1, sharedBytes,
                  self.stream, pointers)

    def microseconds(self, work, repetitions):
        """Of a graph of what `work` launches, once for each repetition."""
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuStreamBeginCapture_v2", self.stream, 0)
        work()
        self.call("cuStreamEndCapture", self.stream, ctypes.byref(graph))
        self.call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_uint64(0))
        events = [ctypes.c_void_p() for _ in range(repetitions + 1)]
        for event in events:
            self.call("cuEventCreate", ctypes.byref(event), 0)
        for _ in range(3):
            self.call("cuGraphLaunch", executable, self.stream)
        self.call("cuEventRecord", events[0], self.stream)
        for event in events[1:]:
            self.call("cuGraphLaunch", executable, self.stream)
            self.call("cuEventRecord", event, self.stream)
        self.synchronize()
        times, elapsed = [], ctypes.c_float()
        for before, after in zip(events, events[1:]):
            self.call("cuEventElapsedTime", ctypes.byref(elapsed), before, after)
            times.append(1e3 * elapsed.value)
        self.call("cuGraphExecDestroy", executable)
        self.call("cuGraphDestroy", graph)
        return times
