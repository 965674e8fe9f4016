// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The part of NVIDIA's driver API that the device `cuda` uses, declared here: neither a toolkit nor a driver is needed
// to build. Types and numbers are those of the driver's stable binary interface (cuda.h).
#ifndef V4_RUNTIME_CUDADRIVER_H
#define V4_RUNTIME_CUDADRIVER_H

#include "runtime/Status.h"

#include <cstddef>
#include <cstdint>
#include <string>

namespace v4::cuda {

/// CUresult. Other numbers exist.
enum Result : int {
  success = 0,
  errorOutOfMemory = 2,
  errorDeviceUnavailable = 46,
  errorNoDevice = 100,
  errorInvalidImage = 200,
  errorNoBinaryForGpu = 209,
  errorEccUncorrectable = 214,
  errorInvalidPtx = 218,
  errorUnsupportedPtxVersion = 222,
  errorNotFound = 500,
  errorIllegalAddress = 700,
  errorLaunchTimeout = 702,
  errorAssert = 710,
  errorHardwareStackError = 714,
  errorIllegalInstruction = 715,
  errorMisalignedAddress = 716,
  errorInvalidAddressSpace = 717,
  errorInvalidPc = 718,
  errorLaunchFailed = 719,
  errorUnknown = 999,
};

using Device = int;
using DevicePointer = unsigned long long;
using Context = struct ContextTag *;
using Module = struct ModuleTag *;
using Function = struct FunctionTag *;
using Stream = struct StreamTag *;
using Event = struct EventTag *;
using Graph = struct GraphTag *;
using GraphExec = struct GraphExecTag *;

enum DeviceAttribute : int { // CUdevice_attribute
  computeCapabilityMajor = 75,
  computeCapabilityMinor = 76,
  maxSharedMemoryPerBlockOptin = 97,
};
enum FunctionAttribute : int { maxDynamicSharedSizeBytes = 8 }; // CUfunction_attribute
enum JitOption : int {                                          // CUjit_option
  jitErrorLogBuffer = 5,
  jitErrorLogBufferSizeBytes = 6,
};
enum CaptureMode : int { captureThreadLocal = 1 }; // CUstreamCaptureMode

constexpr unsigned streamNonBlocking = 1; // CU_STREAM_NON_BLOCKING
constexpr unsigned eventDefault = 0;      // CU_EVENT_DEFAULT: with timing
constexpr unsigned eventRecordExternal = 1; // CU_EVENT_RECORD_EXTERNAL: captured as a node of its own

/// Entries of the list `extra` of cuLaunchKernel (CU_LAUNCH_PARAM_*).
inline void *const launchParamEnd = nullptr;
inline void *const launchParamBufferPointer = reinterpret_cast<void *>(1);
inline void *const launchParamBufferSize = reinterpret_cast<void *>(2);

/// Of the CUDA version that first had all of the functions below, as cuDriverGetVersion gives it.
constexpr int oldestVersion = 11040;

/// X(exported symbol, member, parameters): the functions that are used, all returning a Result.
#define V4_CUDA_FUNCTIONS(X)                                                                                           \
  X(cuInit, init, (unsigned flags))                                                                                    \
  X(cuDriverGetVersion, driverGetVersion, (int *version))                                                              \
  X(cuGetErrorName, getErrorName, (Result error, const char **text))                                                   \
  X(cuGetErrorString, getErrorString, (Result error, const char **text))                                               \
  X(cuDeviceGetCount, deviceGetCount, (int *count))                                                                    \
  X(cuDeviceGet, deviceGet, (Device * device, int ordinal))                                                            \
  X(cuDeviceGetName, deviceGetName, (char *name, int length, Device device))                                           \
  X(cuDeviceGetAttribute, deviceGetAttribute, (int *value, DeviceAttribute attribute, Device device))                  \
  X(cuDevicePrimaryCtxRetain, primaryContextRetain, (Context * context, Device device))                                \
  X(cuDevicePrimaryCtxRelease_v2, primaryContextRelease, (Device device))                                              \
  X(cuCtxSetCurrent, contextSetCurrent, (Context context))                                                             \
  X(cuMemGetInfo_v2, memGetInfo, (size_t *free, size_t *total))                                                        \
  X(cuMemAlloc_v2, memAlloc, (DevicePointer * pointer, size_t bytes))                                                  \
  X(cuMemFree_v2, memFree, (DevicePointer pointer))                                                                    \
  X(cuMemHostAlloc, memHostAlloc, (void **pointer, size_t bytes, unsigned flags))                                      \
  X(cuMemFreeHost, memFreeHost, (void *pointer))                                                                       \
  X(cuMemcpyHtoDAsync_v2, memcpyHostToDevice, (DevicePointer to, const void *from, size_t bytes, Stream stream))       \
  X(cuMemcpyDtoHAsync_v2, memcpyDeviceToHost, (void *to, DevicePointer from, size_t bytes, Stream stream))             \
  X(cuMemcpyDtoDAsync_v2, memcpyDeviceToDevice, (DevicePointer to, DevicePointer from, size_t bytes, Stream stream))   \
  X(cuMemsetD8Async, memset8, (DevicePointer to, unsigned char value, size_t count, Stream stream))                    \
  X(cuMemsetD32Async, memset32, (DevicePointer to, unsigned value, size_t count, Stream stream))                       \
  X(cuStreamCreate, streamCreate, (Stream * stream, unsigned flags))                                                   \
  X(cuStreamDestroy_v2, streamDestroy, (Stream stream))                                                                \
  X(cuStreamSynchronize, streamSynchronize, (Stream stream))                                                           \
  X(cuStreamBeginCapture_v2, streamBeginCapture, (Stream stream, CaptureMode mode))                                    \
  X(cuStreamEndCapture, streamEndCapture, (Stream stream, Graph * graph))                                              \
  X(cuGraphInstantiateWithFlags, graphInstantiate, (GraphExec * executable, Graph graph, unsigned long long flags))    \
  X(cuGraphLaunch, graphLaunch, (GraphExec executable, Stream stream))                                                 \
  X(cuGraphDestroy, graphDestroy, (Graph graph))                                                                       \
  X(cuGraphExecDestroy, graphExecDestroy, (GraphExec executable))                                                      \
  X(cuEventCreate, eventCreate, (Event * event, unsigned flags))                                                       \
  X(cuEventDestroy_v2, eventDestroy, (Event event))                                                                    \
  X(cuEventRecord, eventRecord, (Event event, Stream stream))                                                          \
  X(cuEventRecordWithFlags, eventRecordWithFlags, (Event event, Stream stream, unsigned flags))                        \
  X(cuEventSynchronize, eventSynchronize, (Event event))                                                               \
  X(cuEventElapsedTime, eventElapsedTime, (float *milliseconds, Event begin, Event end))                               \
  X(cuModuleLoadDataEx, moduleLoadData,                                                                                \
    (Module * module, const void *image, unsigned optionCount, JitOption *options, void **values))                     \
  X(cuModuleUnload, moduleUnload, (Module module))                                                                     \
  X(cuModuleGetFunction, moduleGetFunction, (Function * function, Module module, const char *name))                    \
  X(cuFuncSetAttribute, functionSetAttribute, (Function function, FunctionAttribute attribute, int value))             \
  X(cuLaunchKernel, launchKernel,                                                                                      \
    (Function function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY,              \
     unsigned blockZ, unsigned sharedBytes, Stream stream, void **parameters, void **extra))

/// The functions of libcuda.so.1, opened on demand.
struct Driver {
#define V4_CUDA_MEMBER(symbol, member, parameters) Result(*member) parameters = nullptr;
  V4_CUDA_FUNCTIONS(V4_CUDA_MEMBER)
#undef V4_CUDA_MEMBER

  /// Finds every function, once per process; the library stays open. V4_ENVIRONMENT without a driver, or with one that
  /// lacks a function.
  static Expected<const Driver *> open();

  /// "12.4": the newest CUDA that the driver knows.
  Expected<std::string> version() const;
  /// "CUDA_ERROR_LAUNCH_FAILED (unspecified launch failure)".
  std::string describe(Result result) const;
};

} // namespace v4::cuda

#endif // V4_RUNTIME_CUDADRIVER_H
