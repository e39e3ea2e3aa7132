// The driver's functions, looked up in the libcuda that loaded us: the library builds where there is none.
#pragma once

#include <cuda.h>
#include <dlfcn.h>

#include <string>

#if CUDA_VERSION < 12040
#error "the headers of CUDA 12.4 or newer are needed: cuFuncGetParamInfo"
#endif

struct Driver {
#define OWN(name) decltype(&::name) name = nullptr
    OWN(cuDriverGetVersion);
    OWN(cuKernelGetParamInfo);
    OWN(cuFuncGetParamInfo);
    OWN(cuKernelGetFunction);
    OWN(cuKernelGetAttribute);
    OWN(cuFuncGetAttribute);
    OWN(cuFuncSetAttribute);
    OWN(cuFuncGetName);
    OWN(cuKernelGetName);
    OWN(cuFuncGetModule);
    OWN(cuMemGetAddressRange);
    OWN(cuCtxGetDevice);
    OWN(cuDeviceGetName);
    OWN(cuCtxSynchronize);
    OWN(cuMemcpy);
    OWN(cuStreamIsCapturing);
    OWN(cuThreadExchangeStreamCaptureMode);
    OWN(cuModuleLoadData);
    OWN(cuModuleGetFunction);
    OWN(cuModuleGetGlobal);
    OWN(cuLibraryGetGlobal);
#undef OWN
    CUresult (*cuKernelGetLibrary)(CUlibrary *, CUkernel) = nullptr;  // 12.5

    // False where the driver is too old to say what a kernel's parameters are.
    bool load() {
        void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
        if (library == nullptr) library = dlopen("libcuda.so.1", RTLD_NOW);
        if (library == nullptr) return false;
#define LOOK(name) name = reinterpret_cast<decltype(name)>(dlsym(library, #name))
#define LOOK_2(name) name = reinterpret_cast<decltype(name)>(dlsym(library, #name "_v2"))
        LOOK(cuDriverGetVersion);
        LOOK(cuKernelGetParamInfo);
        LOOK(cuFuncGetParamInfo);
        LOOK(cuKernelGetFunction);
        LOOK(cuKernelGetAttribute);
        LOOK(cuFuncGetAttribute);
        LOOK(cuFuncSetAttribute);
        LOOK(cuFuncGetName);
        LOOK(cuKernelGetName);
        LOOK(cuFuncGetModule);
        LOOK_2(cuMemGetAddressRange);
        LOOK(cuCtxGetDevice);
        LOOK(cuDeviceGetName);
        LOOK(cuCtxSynchronize);
        LOOK(cuMemcpy);
        LOOK(cuStreamIsCapturing);
        LOOK(cuThreadExchangeStreamCaptureMode);
        LOOK(cuModuleLoadData);
        LOOK(cuModuleGetFunction);
        LOOK_2(cuModuleGetGlobal);
        LOOK(cuLibraryGetGlobal);
        LOOK(cuKernelGetLibrary);
#undef LOOK
#undef LOOK_2
        return cuKernelGetParamInfo && cuFuncGetParamInfo && cuKernelGetFunction && cuKernelGetAttribute &&
               cuFuncGetAttribute && cuFuncSetAttribute && cuFuncGetName && cuKernelGetName && cuFuncGetModule &&
               cuMemGetAddressRange && cuCtxGetDevice && cuDeviceGetName && cuCtxSynchronize && cuMemcpy &&
               cuStreamIsCapturing && cuThreadExchangeStreamCaptureMode && cuModuleLoadData && cuModuleGetFunction &&
               cuModuleGetGlobal && cuLibraryGetGlobal && cuDriverGetVersion;
    }

    uint32_t version() const {
        int version = 0;
        cuDriverGetVersion(&version);
        return uint32_t(version);
    }
};

// While it lives, calls that a stream capture forbids are allowed on this thread, and do not spoil the capture.
class Relaxed {
  public:
    explicit Relaxed(const Driver &driver) : driver_(driver) { driver_.cuThreadExchangeStreamCaptureMode(&mode_); }
    ~Relaxed() { driver_.cuThreadExchangeStreamCaptureMode(&mode_); }
    Relaxed(const Relaxed &) = delete;
    Relaxed &operator=(const Relaxed &) = delete;

  private:
    const Driver &driver_;
    CUstreamCaptureMode mode_ = CU_STREAM_CAPTURE_MODE_RELAXED;
};
