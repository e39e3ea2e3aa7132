
// What follows the kernel of tasks/cuda/rmsnorm: host code that launches it as the plan of that task does.
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/c_env_api.h>
#include <tvm/ffi/function.h>

void run(tvm::ffi::TensorView x, tvm::ffi::TensorView w, tvm::ffi::TensorView y, int64_t m, int64_t n, double eps)
{
    static int processors = 0;
    if (!processors)
        cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, x.device().device_id);
    const int64_t all = (m + ROWS - 1) / ROWS, most = (int64_t)processors * PERSIST;
    const unsigned blocks = (unsigned)(PERSIST && most < all ? most : all);
    auto stream = (cudaStream_t)TVMFFIEnvGetStream(x.device().device_type, x.device().device_id);
    if (blocks)
        rmsnorm<<<blocks, THREADS * ROWS, 0, stream>>>(
            (const __nv_bfloat16 *)x.data_ptr(), (const __nv_bfloat16 *)w.data_ptr(), (__nv_bfloat16 *)y.data_ptr(), m,
            n, (float)eps);
}
TVM_FFI_DLL_EXPORT_TYPED_FUNC(launch, run);
