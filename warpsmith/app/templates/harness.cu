// A stand-alone harness of one kernel: nothing but this file and nvcc is needed.
//
//   nvcc -O3 -std=c++17 -arch=native -o harness harness.cu && ./harness
//
// Edit between the two lines below, and nowhere else. One line is printed per configuration that the application was
// seen with: times of the original and of yours, and what the original takes in the application itself. The exit status
// is 0 where every output is right. Contents are the same in every run.
{head}
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

struct Configuration {{
    const char *name;
    dim3 grid, block;
    unsigned shared;
    double share, real_us;
    std::vector<std::vector<unsigned char>> parameters;  // as they are passed; addresses are put in
}};

{begin}
namespace edited {{
{section}
{caller}
}}  // namespace edited

// The geometry of your launches; the original's as it stands.
static void geometry(const Configuration &c, dim3 *grid, dim3 *block, unsigned *shared) {{
    *grid = c.grid, *block = c.block, *shared = c.shared;
}}
{end}

// ======== frozen: the original, the configurations, and how both are compared ========
namespace original {{
{section}
{caller}
}}  // namespace original

enum Kind {{ F64, F32, F16, BF16, I64, I32, I8, U8 }};
struct Buffer {{
    Kind kind;
    bool output;
    double low, high;  // of the contents
    bool sorted;
}};
struct Pointer {{
    int configuration, parameter, at, buffer;
    long long offset;
}};
static const Buffer BUFFERS[] = {{
{buffers}
}};
static const size_t SIZES[][{count}] = {{  // bytes of each buffer, by configuration
{sizes}
}};
static const Pointer POINTERS[] = {{
{pointers}
}};
static std::vector<Configuration> configurations() {{
    return {{
{configurations}
    }};
}}
static const double LIMIT = {limit};  // relative RMS beside the original; whole numbers must be equal
static const int BUFFER_COUNT = {count}, CALLS = 20;

static void check(cudaError_t error, const char *what) {{
    if (error != cudaSuccess) {{
        std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
        std::exit(2);
    }}
}}

static size_t width(Kind kind) {{
    static const size_t WIDTHS[] = {{8, 4, 2, 2, 8, 4, 1, 1}};
    return WIDTHS[kind];
}}

static float half_value(unsigned short bits) {{
    const int power = bits >> 10 & 31, digits = bits & 1023;
    const float size = power ? std::ldexp(float(digits | 1024), power - 25) : std::ldexp(float(digits), -24);
    return bits >> 15 ? -size : size;
}}

static unsigned short half_bits(float value) {{
    int power;
    const float digits = std::frexp(std::fabs(value), &power);  // 0.5 to 1
    if (value == 0 || power < -13) return value < 0 ? 0x8000 : 0;
    return static_cast<unsigned short>((value < 0 ? 0x8000 : 0) | (power + 14) << 10 | (int(digits * 2048) & 1023));
}}

static double value(Kind kind, const unsigned char *at) {{
    switch (kind) {{
        case F64: {{ double v; std::memcpy(&v, at, 8); return v; }}
        case F32: {{ float v; std::memcpy(&v, at, 4); return v; }}
        case F16: {{ unsigned short v; std::memcpy(&v, at, 2); return half_value(v); }}
        case BF16: {{ unsigned v = unsigned(at[0] | at[1] << 8) << 16; float f; std::memcpy(&f, &v, 4); return f; }}
        case I64: {{ long long v; std::memcpy(&v, at, 8); return double(v); }}
        case I32: {{ int v; std::memcpy(&v, at, 4); return v; }}
        case I8: return static_cast<signed char>(*at);
        default: return *at;
    }}
}}

static void put(Kind kind, unsigned char *at, double v) {{
    switch (kind) {{
        case F64: std::memcpy(at, &v, 8); break;
        case F32: {{ float f = float(v); std::memcpy(at, &f, 4); break; }}
        case F16: {{ unsigned short h = half_bits(float(v)); std::memcpy(at, &h, 2); break; }}
        case BF16: {{ float f = float(v); unsigned u; std::memcpy(&u, &f, 4); at[0] = u >> 16; at[1] = u >> 24; break; }}
        case I64: {{ long long i = (long long)v; std::memcpy(at, &i, 8); break; }}
        case I32: {{ int i = int(v); std::memcpy(at, &i, 4); break; }}
        default: *at = static_cast<unsigned char>(int(v)); break;
    }}
}}

static std::vector<unsigned char> content(const Buffer &buffer, size_t bytes, unsigned seed) {{
    std::vector<unsigned char> made(bytes);
    const size_t step = width(buffer.kind), count = bytes / step;
    unsigned long long state = 0x9e3779b97f4a7c15ull + seed;
    for (size_t i = 0; i < count; ++i) {{
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        double share = double(state >> 33) / double(1ull << 31);
        if (buffer.sorted) share = count > 1 ? double(i) / double(count - 1) : 0;
        double v = buffer.low + share * (buffer.high - buffer.low);
        if (buffer.kind >= I64) v = std::floor(v + 0.5);
        put(buffer.kind, made.data() + i * step, v);
    }}
    return made;
}}

struct Side {{
    void *kernel;
    dim3 grid, block;
    unsigned shared;
    std::vector<void *> device;
    std::vector<std::vector<unsigned char>> parameters;
}};

static double run(Side *side, const std::vector<std::vector<unsigned char>> &before, int calls) {{
    std::vector<void *> arguments;
    for (auto &parameter : side->parameters) arguments.push_back(parameter.data());
    if (side->shared > 48 * 1024) {{
        check(cudaFuncSetAttribute(side->kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(side->shared)), "shared");
    }}
    cudaEvent_t begin, end;
    check(cudaEventCreate(&begin), "event");
    check(cudaEventCreate(&end), "event");
    std::vector<float> times;
    for (int i = 0; i < calls; ++i) {{
        for (size_t b = 0; b < before.size(); ++b) {{
            if (!before[b].empty()) {{
                check(cudaMemcpy(side->device[b], before[b].data(), before[b].size(), cudaMemcpyHostToDevice), "copy");
            }}
        }}
        check(cudaEventRecord(begin), "event");
        check(cudaLaunchKernel(side->kernel, side->grid, side->block, arguments.data(), side->shared, nullptr), "launch");
        check(cudaEventRecord(end), "event");
        check(cudaDeviceSynchronize(), "kernel");
        float ms = 0;
        check(cudaEventElapsedTime(&ms, begin, end), "event");
        times.push_back(ms * 1000);
    }}
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}}

static double difference(Kind kind, const std::vector<unsigned char> &a, const std::vector<unsigned char> &b) {{
    double missed = 0, size = 0;
    const size_t step = width(kind);
    for (size_t at = 0; at + step <= a.size(); at += step) {{
        if (std::memcmp(&a[at], &b[at], step) == 0) {{
            const double same = value(kind, &b[at]);
            if (std::isfinite(same)) size += same * same;
            continue;
        }}
        if (kind >= I64) return INFINITY;
        const double x = value(kind, &a[at]), y = value(kind, &b[at]);
        if (!std::isfinite(x) || !std::isfinite(y)) return INFINITY;
        missed += (x - y) * (x - y), size += y * y;
    }}
    return missed == 0 ? 0 : size == 0 ? INFINITY : std::sqrt(missed / size);
}}

int main() {{
    bool right = true;
    double gain = 0, whole = 0;
    const auto all = configurations();
    for (int c = 0; c < int(all.size()); ++c) {{
        const Configuration &one = all[c];
        std::vector<std::vector<unsigned char>> before(BUFFER_COUNT);
        Side sides[2] = {{
            {{reinterpret_cast<void *>({original}), one.grid, one.block, one.shared, {{}}, one.parameters}},
            {{reinterpret_cast<void *>({edited}), one.grid, one.block, one.shared, {{}}, one.parameters}},
        }};
        geometry(one, &sides[1].grid, &sides[1].block, &sides[1].shared);
        for (int b = 0; b < BUFFER_COUNT; ++b) before[b] = content(BUFFERS[b], SIZES[c][b], unsigned(17 * c + b));
        std::vector<std::vector<unsigned char>> outputs[2];
        double times[2];
        for (int s = 0; s < 2; ++s) {{
            for (int b = 0; b < BUFFER_COUNT; ++b) {{
                void *at = nullptr;
                check(cudaMalloc(&at, SIZES[c][b] + 1), "memory");
                sides[s].device.push_back(at);
            }}
            for (const Pointer &p : POINTERS) {{
                if (p.configuration != c) continue;
                const char *at = static_cast<char *>(sides[s].device[p.buffer]) + p.offset;
                std::memcpy(sides[s].parameters[p.parameter].data() + p.at, &at, 8);
            }}
            times[s] = run(&sides[s], before, CALLS);
            for (int b = 0; b < BUFFER_COUNT; ++b) {{
                outputs[s].emplace_back(SIZES[c][b]);
                check(cudaMemcpy(outputs[s][b].data(), sides[s].device[b], SIZES[c][b], cudaMemcpyDeviceToHost), "copy");
                check(cudaFree(sides[s].device[b]), "memory");
            }}
        }}
        double worst = 0;
        for (int b = 0; b < BUFFER_COUNT; ++b) {{
            if (BUFFERS[b].output) worst = std::max(worst, difference(BUFFERS[b].kind, outputs[1][b], outputs[0][b]));
        }}
        const bool well = worst <= LIMIT;
        right = right && well;
        std::printf("%-44s original %9.2f us  yours %9.2f us  %6.3fx  in the application %9.2f us  gap %5.2fx  %s %.3g\n",
                    one.name, times[0], times[1], times[0] / times[1], one.real_us,
                    one.real_us > 0 ? times[0] / one.real_us : 0, well ? "right" : "WRONG", worst);
        gain += one.share * std::log(times[0] / times[1]), whole += one.share;
    }}
    std::printf("weighted by the time in the application: %.3fx, %s\n", std::exp(gain / whole), right ? "right" : "WRONG");
    return right ? 0 : 1;
}}
