// Many short launches, from several threads where asked: what watching costs shows here.
//
//   launches [COUNT] [THREADS]
//
// Prints what the launches counted, and to standard error the microseconds that one took.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

__global__ void bump(unsigned long long *counter, int by) {
    if (threadIdx.x == 0) atomicAdd(counter, (unsigned long long)by);
}

int main(int argc, char **argv) {
    const long count = argc > 1 ? std::atol(argv[1]) : 200000;
    const int threads = argc > 2 ? std::atoi(argv[2]) : 1;
    unsigned long long *counter, counted = 0;
    if (cudaMalloc(&counter, sizeof *counter) != cudaSuccess) return std::fprintf(stderr, "no device\n"), 1;
    cudaMemset(counter, 0, sizeof *counter);
    bump<<<1, 32>>>(counter, 0);
    cudaDeviceSynchronize();
    const auto began = std::chrono::steady_clock::now();
    std::vector<std::thread> workers;
    for (int t = 0; t < threads; ++t) {
        workers.emplace_back([=] {
            cudaStream_t stream;
            cudaStreamCreate(&stream);
            for (long i = t; i < count; i += threads) bump<<<1, 32, 0, stream>>>(counter, int(i % 3));
            cudaStreamSynchronize(stream);
        });
    }
    for (std::thread &worker : workers) worker.join();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    const cudaError_t ended = cudaMemcpy(&counted, counter, sizeof counted, cudaMemcpyDeviceToHost);
    std::printf("launches %ld counted %llu\n", count, counted);
    std::fprintf(stderr, "us %.4f\n", seconds / double(count) * 1e6);
    return ended == cudaSuccess ? 0 : 1;
}
