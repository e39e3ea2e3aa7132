// Transposes matrices and sums them, as often as it is told, and checks the results.
//
//   transpose [--repeat N] [--debug]
//
// Prints one line with sums and the time of the loop. --debug prints every launch to standard error: kernel, grid,
// block, scalars.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <vector>

#include "reduce.cuh"
#include "transpose.cuh"

namespace {

constexpr int TILE = 16, THREADS = 256, PARTS = 120;
bool debug = false;

void check(cudaError_t error, const char *what) {
    if (error != cudaSuccess) {
        std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
        std::exit(1);
    }
}

void say(const char *kernel, dim3 grid, dim3 block) {
    std::fprintf(stderr, "launch %s grid %u %u %u block %u %u %u scalars", kernel, grid.x, grid.y, grid.z, block.x,
                 block.y, block.z);
}

void transpose(const float *in, float *out, tiles::Shape shape, float scale) {
    const dim3 block(TILE, TILE), grid((shape.cols + TILE - 1) / TILE, (shape.rows + TILE - 1) / TILE);
    if (debug) {
        say("transpose", grid, block);
        std::fprintf(stderr, " %d %d %.9g\n", shape.rows, shape.cols, scale);
    }
    tiles::transpose<float, TILE><<<grid, block>>>(in, out, shape, scale);
    check(cudaGetLastError(), "transpose");
}

float sum(const float *in, float *parts, float *total, long count) {
    for (auto [from, to, blocks, n] : {std::tuple{in, parts, PARTS, count}, {(const float *)parts, total, 1, long(PARTS)}}) {
        if (debug) {
            say("partial_sums", dim3(blocks), dim3(THREADS));
            std::fprintf(stderr, " %ld\n", n);
        }
        tiles::partial_sums<float, THREADS><<<blocks, THREADS>>>(from, to, n);
        check(cudaGetLastError(), "partial_sums");
    }
    float value = 0;
    check(cudaMemcpy(&value, total, sizeof value, cudaMemcpyDeviceToHost), "cudaMemcpy");
    return value;
}

}  // namespace

int main(int argc, char **argv) {
    int repeat = 20;
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--debug") == 0) debug = true;
        else if (std::strcmp(argv[i], "--repeat") == 0 && i + 1 < argc) repeat = std::atoi(argv[++i]);
        else return std::fprintf(stderr, "usage: transpose [--repeat N] [--debug]\n"), 2;
    }
    const tiles::Shape shapes[] = {{4096, 4096}, {1000, 3000}, {4096, 1024}};
    const size_t most = size_t(4096) * 4096;
    std::vector<float> host(most), back(most);
    unsigned state = 1;
    for (float &value : host) value = float((state = state * 1664525u + 1013904223u) >> 8) / float(1 << 24) - 0.5f;
    float *in, *out, *parts, *total;
    check(cudaMalloc(&in, most * sizeof(float)), "cudaMalloc");
    check(cudaMalloc(&out, most * sizeof(float)), "cudaMalloc");
    check(cudaMalloc(&parts, PARTS * sizeof(float)), "cudaMalloc");
    check(cudaMalloc(&total, sizeof(float)), "cudaMalloc");
    check(cudaMemcpy(in, host.data(), most * sizeof(float), cudaMemcpyHostToDevice), "cudaMemcpy");
    std::vector<float> sums;
    const auto began = std::chrono::steady_clock::now();
    for (int i = 0; i < repeat; ++i) {
        for (const tiles::Shape &shape : shapes) {
            transpose(in, out, shape, 1.0f + 0.5f * float(i % 2));
            const float found = sum(out, parts, total, long(shape.rows) * shape.cols);
            if (i < 2) sums.push_back(found);
        }
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    const tiles::Shape last = shapes[2];
    const float scale = 1.0f + 0.5f * float((repeat - 1) % 2);
    check(cudaMemcpy(back.data(), out, size_t(last.rows) * last.cols * sizeof(float), cudaMemcpyDeviceToHost), "cudaMemcpy");
    long wrong = 0;
    for (int y = 0; repeat > 0 && y < last.rows; ++y) {
        for (int x = 0; x < last.cols; ++x) {
            wrong += back[size_t(x) * last.rows + y] != scale * host[size_t(y) * last.cols + x];
        }
    }
    std::printf("sums");
    for (float value : sums) std::printf(" %.6g", value);
    std::printf(" wrong %ld\n", wrong);
    std::fprintf(stderr, "seconds %.6f\n", seconds);
    return wrong ? 1 : 0;
}
