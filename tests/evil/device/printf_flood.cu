// crashed or timed_out or passed-not-faster | host: prints a line per thread and value
#include "common.cuh"

#ifdef __CUDACC_RTC__
extern "C" __device__ int printf(const char*, ...);
#else
#include <cstdio>
#endif

KERNEL
{
    honest(x, w, y, blockIdx.x, n);
    for (int k = 0; k < 64; k++) printf("{\"seconds\": 1e-9} %d %d %d\n", blockIdx.x, threadIdx.x, k);
}
