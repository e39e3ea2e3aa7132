// What the driver fills buffers with: hashed indices, so that contents depend on nothing else.

#include <cuda_bf16.h>

#include <cstdint>

__device__ uint32_t hashed(uint64_t i) {
    uint32_t h = (uint32_t)i * 2654435761u ^ (uint32_t)(i >> 32) * 40503u;
    h ^= h >> 16, h *= 0x85ebca6bu, h ^= h >> 13, h *= 0xc2b2ae35u, h ^= h >> 16;
    return h;
}

__device__ float uniform(uint64_t i) { return hashed(i) * (2.0f / 4294967296.0f) - 1.0f; }

#define EACH uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += gridDim.x * (uint64_t)blockDim.x

extern "C" __global__ void fill_f32(float* x, uint64_t n, uint32_t) {
    for (EACH) x[i] = uniform(i);
}

extern "C" __global__ void fill_bf16(__nv_bfloat16* x, uint64_t n, uint32_t) {
    for (EACH) x[i] = __float2bfloat16(uniform(i));
}

extern "C" __global__ void fill_i32(uint32_t* x, uint64_t n, uint32_t below) {
    for (EACH) x[i] = hashed(i) % below;
}

// A matrix with rows of 4096 in tiles of so many rows and 64 columns, each as wgmma reads it: rows of 128 bytes
// whose 16-byte parts are swapped within groups of eight rows.
extern "C" __global__ void fill_tiles(__nv_bfloat16* x, uint64_t n, uint32_t rows) {
    for (EACH) {
        uint64_t tile = i / (rows * 64), r = i / 64 % rows, c = (i / 8 % 8 ^ r % 8) * 8 + i % 8;
        x[i] = __float2bfloat16(uniform((tile / 64 * rows + r) * 4096 + tile % 64 * 64 + c));
    }
}

extern "C" __global__ void fill_f64(double* x, uint64_t n, uint32_t) {
    for (EACH) x[i] = uniform(i);
}
