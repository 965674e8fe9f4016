// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Our declarations of the driver API against NVIDIA's header, where a toolkit is installed. It compiles, or a declaration
// is wrong.
#include "runtime/CudaDriver.h"

#include <cuda.h>

#include <type_traits>

#if CUDA_VERSION >= 11040 // before, the header lacks some
namespace {

/// What a calling convention tells apart: pointers, floating point and integers of a size.
template <typename T> constexpr int kind() {
  return std::is_pointer_v<T> ? -1 : std::is_floating_point_v<T> ? -int(sizeof(T)) * 8 : int(sizeof(T));
}

template <typename Ours, typename Theirs> struct Same;
template <typename R, typename... Ours, typename S, typename... Theirs> struct Same<R(Ours...), S(Theirs...)> {
  static constexpr bool value = [] {
    if constexpr (sizeof...(Ours) != sizeof...(Theirs))
      return false;
    else
      return sizeof(R) == sizeof(S) && ((kind<Ours>() == kind<Theirs>()) && ...);
  }();
};

#define V4_CHECK(symbol, member, parameters)                                                                           \
  static_assert(Same<std::remove_pointer_t<decltype(v4::cuda::Driver::member)>, decltype(::symbol)>::value);
V4_CUDA_FUNCTIONS(V4_CHECK)
#undef V4_CHECK

#define V4_CHECK(ours, theirs) static_assert(int(v4::cuda::ours) == int(theirs));
V4_CHECK(success, CUDA_SUCCESS)
V4_CHECK(errorOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY)
V4_CHECK(errorDeviceUnavailable, CUDA_ERROR_DEVICE_UNAVAILABLE)
V4_CHECK(errorNoDevice, CUDA_ERROR_NO_DEVICE)
V4_CHECK(errorInvalidImage, CUDA_ERROR_INVALID_IMAGE)
V4_CHECK(errorNoBinaryForGpu, CUDA_ERROR_NO_BINARY_FOR_GPU)
V4_CHECK(errorEccUncorrectable, CUDA_ERROR_ECC_UNCORRECTABLE)
V4_CHECK(errorInvalidPtx, CUDA_ERROR_INVALID_PTX)
V4_CHECK(errorUnsupportedPtxVersion, CUDA_ERROR_UNSUPPORTED_PTX_VERSION)
V4_CHECK(errorNotFound, CUDA_ERROR_NOT_FOUND)
V4_CHECK(errorIllegalAddress, CUDA_ERROR_ILLEGAL_ADDRESS)
V4_CHECK(errorLaunchTimeout, CUDA_ERROR_LAUNCH_TIMEOUT)
V4_CHECK(errorAssert, CUDA_ERROR_ASSERT)
V4_CHECK(errorHardwareStackError, CUDA_ERROR_HARDWARE_STACK_ERROR)
V4_CHECK(errorIllegalInstruction, CUDA_ERROR_ILLEGAL_INSTRUCTION)
V4_CHECK(errorMisalignedAddress, CUDA_ERROR_MISALIGNED_ADDRESS)
V4_CHECK(errorInvalidAddressSpace, CUDA_ERROR_INVALID_ADDRESS_SPACE)
V4_CHECK(errorInvalidPc, CUDA_ERROR_INVALID_PC)
V4_CHECK(errorLaunchFailed, CUDA_ERROR_LAUNCH_FAILED)
V4_CHECK(errorUnknown, CUDA_ERROR_UNKNOWN)
V4_CHECK(computeCapabilityMajor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
V4_CHECK(computeCapabilityMinor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
V4_CHECK(maxSharedMemoryPerBlockOptin, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
V4_CHECK(maxDynamicSharedSizeBytes, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
V4_CHECK(jitErrorLogBuffer, CU_JIT_ERROR_LOG_BUFFER)
V4_CHECK(jitErrorLogBufferSizeBytes, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
V4_CHECK(captureThreadLocal, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
V4_CHECK(streamNonBlocking, CU_STREAM_NON_BLOCKING)
V4_CHECK(eventDefault, CU_EVENT_DEFAULT)
V4_CHECK(eventRecordExternal, CU_EVENT_RECORD_EXTERNAL)
#undef V4_CHECK

} // namespace
#endif
