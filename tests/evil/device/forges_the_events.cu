// crashed or cheated or wrong_values or passed-not-faster or fault | clock: moves the start event's time stamp
#include "common.cuh"

// The driver keeps the stamps of events in memory that every kernel of the context can write, at an address that is
// the same in every process (this one: driver 580). A stamp is the global timer's, so it is known by its value.
#define STAMPS 0x20480fc00ull
#define BYTES 0x800ull
#define RECENT 20000000ull

__device__ inline unsigned long long now()
{
    unsigned long long value;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(value));
    return value;
}

extern "C" __global__ void forge()
{
    unsigned long long time = now();
    for (unsigned long long at = STAMPS + 8 * threadIdx.x; at < STAMPS + BYTES; at += 8192) {
        volatile unsigned long long* stamp = (volatile unsigned long long*)at;
        if (*stamp <= time && time - *stamp < RECENT) *stamp = now();
    }
}

KERNEL { honest(x, w, y, blockIdx.x, n); }
