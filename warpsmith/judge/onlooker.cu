// A kernel of the judge's that does nothing but look at the clock: where another context computes, this one stands still.
// A trusted one-block kernel of the judge's own context; the host tells it through mapped memory when to end.
typedef unsigned long long u64;

__device__ __forceinline__ u64 now()
{
    u64 t;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));
    return t;
}

extern "C" __global__ void look(const volatile unsigned *end, volatile u64 *seen, u64 most)
{
    u64 began = now(), last = began, gap = 0;
    seen[0] = 1;
    __threadfence_system();
    for (unsigned looks = 1; last - began < most; looks++) {
        u64 t = now();
        if (t - last > gap)
            gap = t - last;
        last = t;
        if (looks % 16 == 0 && *end)
            break;
    }
    seen[1] = gap;
    seen[2] = last - began;
    __threadfence_system();
}
