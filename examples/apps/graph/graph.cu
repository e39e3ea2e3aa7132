// Every way to launch that is not <<<>>> on one stream: several streams, a captured and a hand-made graph, a graph whose
// node is changed, attributes with a cluster, and a cooperative launch.
//
//   graph [ROUNDS] [--graphs-only] [--debug]
//
// Prints the results. --graphs-only leaves out what no graph launches. --debug prints every launch to standard error:
// kernel, grid, block, scalars, times that it runs.
#include <cooperative_groups.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace cg = cooperative_groups;

constexpr int COUNT = 1 << 16, THREADS = 256;
static bool debug = false, graphs_only = false;

__global__ void scale(float *data, int count, float by) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) data[i] *= by;
}

__global__ void add(float *data, const float *other, int count, double by) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) data[i] += float(by) * other[i];
}

__global__ void settle(float *data, int count) {
    for (int step = 1; step <= 2; ++step) {
        const int i = blockIdx.x * blockDim.x + threadIdx.x;
        if (i < count) data[i] += float(step);
        cg::this_grid().sync();
    }
}

static void check(cudaError_t error, int line) {
    if (error == cudaSuccess) return;
    std::fprintf(stderr, "line %d: %s\n", line, cudaGetErrorString(error));
    std::exit(1);
}
#define CHECK(call) check(call, __LINE__)

template <typename... S>
static void say(const char *kernel, int blocks, long runs, const char *scalars, S... values) {
    if (!debug) return;
    std::fprintf(stderr, "launch %s grid %d 1 1 block %d 1 1 runs %ld scalars ", kernel, blocks, THREADS, runs);
    std::fprintf(stderr, scalars, values...);
    std::fprintf(stderr, "\n");
}

int main(int argc, char **argv) {
    long rounds = 5;
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--debug") == 0) debug = true;
        else if (std::strcmp(argv[i], "--graphs-only") == 0) graphs_only = true;
        else rounds = std::atol(argv[i]);
    }
    const int blocks = COUNT / THREADS;
    float *a, *b;
    CHECK(cudaMalloc(&a, COUNT * sizeof(float)));
    CHECK(cudaMalloc(&b, COUNT * sizeof(float)));
    std::vector<float> host(COUNT);
    for (int i = 0; i < COUNT; ++i) host[i] = float(i % 17) * 0.25f;
    CHECK(cudaMemcpy(a, host.data(), COUNT * sizeof(float), cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(b, host.data(), COUNT * sizeof(float), cudaMemcpyHostToDevice));
    cudaStream_t streams[2];
    for (cudaStream_t &stream : streams) CHECK(cudaStreamCreate(&stream));

    // two streams, each on its own half
    for (int s = 0; s < 2 && !graphs_only; ++s) {
        say("scale", blocks / 2, 1, "%d %.9g", COUNT / 2, 1.0f + 0.5f * s);
        scale<<<blocks / 2, THREADS, 0, streams[s]>>>(a + s * COUNT / 2, COUNT / 2, 1.0f + 0.5f * s);
    }
    CHECK(cudaDeviceSynchronize());

    // a stream's work, captured and run many times
    cudaGraph_t graph;
    cudaGraphExec_t made;
    CHECK(cudaStreamBeginCapture(streams[0], cudaStreamCaptureModeGlobal));
    say("add", blocks, rounds, "%d %.17g", COUNT, 0.125);
    add<<<blocks, THREADS, 0, streams[0]>>>(a, b, COUNT, 0.125);
    say("scale", blocks, rounds, "%d %.9g", COUNT, 0.5f);
    scale<<<blocks, THREADS, 0, streams[0]>>>(a, COUNT, 0.5f);
    CHECK(cudaStreamEndCapture(streams[0], &graph));
    CHECK(cudaGraphInstantiate(&made, graph, 0));
    for (long i = 0; i < rounds; ++i) CHECK(cudaGraphLaunch(made, streams[0]));
    CHECK(cudaStreamSynchronize(streams[0]));

    // a graph made by hand, and then given another scalar
    cudaGraph_t second;
    cudaGraphExec_t second_made;
    cudaGraphNode_t node;
    int count = COUNT;
    float by = 2.0f;
    void *arguments[] = {&a, &count, &by};
    cudaKernelNodeParams parameters{};
    parameters.func = (void *)scale;
    parameters.gridDim = dim3(blocks);
    parameters.blockDim = dim3(THREADS);
    parameters.kernelParams = arguments;
    CHECK(cudaGraphCreate(&second, 0));
    CHECK(cudaGraphAddKernelNode(&node, second, nullptr, 0, &parameters));
    CHECK(cudaGraphInstantiate(&second_made, second, 0));
    say("scale", blocks, 1, "%d %.9g", COUNT, by);
    CHECK(cudaGraphLaunch(second_made, streams[1]));
    by = 0.25f;
    CHECK(cudaGraphExecKernelNodeSetParams(second_made, node, &parameters));
    say("scale", blocks, 2, "%d %.9g", COUNT, by);
    CHECK(cudaGraphLaunch(second_made, streams[1]));
    CHECK(cudaGraphLaunch(second_made, streams[1]));
    CHECK(cudaStreamSynchronize(streams[1]));

    // attributes: clusters of two blocks
    int least = 64;
    void *settled[] = {&a, &count};
    if (!graphs_only) {
        cudaLaunchConfig_t config{};
        cudaLaunchAttribute attribute{};
        attribute.id = cudaLaunchAttributeClusterDimension;
        attribute.val.clusterDim.x = 2;
        attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
        config.gridDim = dim3(blocks);
        config.blockDim = dim3(THREADS);
        config.attrs = &attribute;
        config.numAttrs = 1;
        say("add", blocks, 1, "%d %.17g", COUNT, 3.0);
        CHECK(cudaLaunchKernelEx(&config, add, a, (const float *)b, COUNT, 3.0));

        // all blocks at once
        say("settle", least, 1, "%d", COUNT);
        CHECK(cudaLaunchCooperativeKernel((void *)settle, dim3(least), dim3(THREADS), settled, 0, nullptr));
    }
    CHECK(cudaDeviceSynchronize());

    CHECK(cudaMemcpy(host.data(), a, COUNT * sizeof(float), cudaMemcpyDeviceToHost));
    double total = 0;
    for (float value : host) total += value;
    std::printf("total %.6f first %.6g last %.6g\n", total, host[1], host[COUNT - 1]);
    return 0;
}
