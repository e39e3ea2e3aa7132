// One mistake for each tool of compute-sanitizer, by which the judge knows that the tool was at work. Launched by the
// same launcher, after the candidate, with a scratch buffer of 256 bytes that nobody wrote, by one block of 64 threads.
extern "C" __global__ void planted_memcheck(float* scratch)
{
    if (threadIdx.x == 0) scratch[0] = ((volatile float*)scratch)[64];
}

extern "C" __global__ void planted_initcheck(float* scratch)
{
    if (threadIdx.x == 0) scratch[1] = ((volatile float*)scratch)[0];
}

extern "C" __global__ void planted_racecheck(float* scratch)
{
    __shared__ volatile float part[64];
    part[threadIdx.x] = threadIdx.x;
    scratch[threadIdx.x] = part[63 - threadIdx.x];
}

extern "C" __global__ void planted_synccheck(float* scratch)
{
    if (threadIdx.x % 2) __syncthreads();
    scratch[threadIdx.x] = 1;
}
