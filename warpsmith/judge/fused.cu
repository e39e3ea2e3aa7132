// How far outputs miss the float64 oracle, and whether anything around them changed: one pass over memory each.
// Trusted code of the judge's own context. In `sizes` and `misses` a block takes one part of one row: rows of few
// columns have one part, a one-dimensional tensor has many. In `total`, `worst` and `where` a thread takes some rows.
typedef long long i64;
typedef unsigned long long u64;
#define THREADS 256
#define MOST_PIECES 64

__device__ double block_sum(double v)
{
    __shared__ double parts[THREADS / 32];
    for (int d = 16; d > 0; d >>= 1)
        v += __shfl_down_sync(0xffffffffu, v, d);
    if (threadIdx.x % 32 == 0)
        parts[threadIdx.x / 32] = v;
    __syncthreads();
    v = 0.0;
    if (threadIdx.x == 0)
        for (int w = 0; w < THREADS / 32; w++)
            v += parts[w];
    __syncthreads();
    return v;
}

__device__ double wide(float v) { return v; }
__device__ double wide(double v) { return v; }
struct half_bits { unsigned short bits; };
struct bfloat_bits { unsigned short bits; };
__device__ double wide(half_bits v)
{
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v.bits));
    return f;
}
__device__ double wide(bfloat_bits v) { return __uint_as_float((unsigned)v.bits << 16); }

extern "C" __global__ void __launch_bounds__(THREADS)
sizes(const double *ref, double *size, i64 columns, i64 span, i64 parts)
{
    i64 row = blockIdx.x / parts, from = blockIdx.x % parts * span;
    i64 to = min(columns, from + span);
    double sum = 0.0;
    for (i64 c = from + threadIdx.x; c < to; c += THREADS) {
        double r = ref[row * columns + c];
        sum += r * r;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        atomicAdd(size + row, sum);
}

// What was found of a tensor: sums over all rows, and the bits of non-negative doubles, which are ordered as they are.
struct Found {
    double total, missed, near;
    u64 worst, below; // relative RMS of the worst row; rows that follow it
};

extern "C" __global__ void __launch_bounds__(THREADS) total(const double *size, i64 rows, Found *found)
{
    double sum = 0.0;
    for (i64 r = blockIdx.x * THREADS + threadIdx.x; r < rows; r += (i64)gridDim.x * THREADS)
        sum += size[r];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        atomicAdd(&found->total, sum);
}

// The sum of squares that a row's misses are measured against: its own, or a share of the mean.
__device__ double scale_of(double size, double floor, i64 rows, const Found *found)
{
    return fmax(size, floor * found->total / (double)rows);
}

__device__ double row_error(const double *size, const double *missed, i64 r, i64 rows, double floor, const Found *found)
{
    double scale = scale_of(size[r], floor, rows, found), error = sqrt(missed[r] / (scale > 0.0 ? scale : 1.0));
    return isnan(error) ? __longlong_as_double(0x7ff0000000000000ll) : error;
}

extern "C" __global__ void __launch_bounds__(THREADS)
worst(const double *size, const double *missed, i64 rows, double floor, Found *found)
{
    double sum = 0.0, most = 0.0;
    for (i64 r = blockIdx.x * THREADS + threadIdx.x; r < rows; r += (i64)gridDim.x * THREADS) {
        sum += missed[r];
        most = fmax(most, row_error(size, missed, r, rows, floor, found));
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        atomicAdd(&found->missed, sum);
    for (int d = 16; d > 0; d >>= 1)
        most = fmax(most, __shfl_down_sync(0xffffffffu, most, d));
    if (threadIdx.x % 32 == 0)
        atomicMax(&found->worst, (u64)__double_as_longlong(most));
}

extern "C" __global__ void __launch_bounds__(THREADS)
where(const double *size, const double *missed, i64 rows, double floor, Found *found)
{
    for (i64 r = blockIdx.x * THREADS + threadIdx.x; r < rows; r += (i64)gridDim.x * THREADS)
        if ((u64)__double_as_longlong(row_error(size, missed, r, rows, floor, found)) == found->worst)
            atomicMax(&found->below, (u64)__double_as_longlong((double)(rows - 1 - r)));
}

template <typename T>
__device__ void misses(const T *out, const double *ref, const double *size, double *missed, i64 rows, double floor,
                       Found *found, i64 columns, i64 span, i64 parts, double element)
{
    i64 row = blockIdx.x / parts, from = blockIdx.x % parts * span;
    i64 to = min(columns, from + span);
    double rms = sqrt(scale_of(size[row], floor, rows, found) / (double)columns), sum = 0.0, hits = 0.0;
    for (i64 c = from + threadIdx.x; c < to; c += THREADS) {
        double r = ref[row * columns + c], d = wide(out[row * columns + c]) - r;
        sum += d * d;
        hits += fabs(d) <= element * (fabs(r) + rms) ? 1.0 : 0.0; // false for NaN
    }
    sum = block_sum(sum);
    hits = block_sum(hits);
    if (threadIdx.x == 0) {
        atomicAdd(missed + row, sum);
        atomicAdd(&found->near, hits); // whole numbers below 2^53: exact in any order
    }
}

#define MISSES(name, type)                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                           \
    name(const type *out, const double *ref, const double *size, double *missed, i64 rows, double floor,            \
         Found *found, i64 columns, i64 span, i64 parts, double element)                                            \
    {                                                                                                               \
        misses(out, ref, size, missed, rows, floor, found, columns, span, parts, element);                          \
    }
MISSES(misses_f64, double)
MISSES(misses_f32, float)
MISSES(misses_f16, half_bits)
MISSES(misses_bf16, bfloat_bits)

// Memory that must be as it was: equal to `other`, or all of it `guard` where there is no other.
struct Piece {
    const unsigned char *at, *other;
    u64 bytes;
};
struct Pieces {
    Piece piece[MOST_PIECES];
};

extern "C" __global__ void __launch_bounds__(THREADS)
changes(const __grid_constant__ Pieces pieces, unsigned guard, int *changed)
{
    const Piece p = pieces.piece[blockIdx.y];
    const u64 first = blockIdx.x * (u64)THREADS + threadIdx.x, step = gridDim.x * (u64)THREADS;
    const u64 word = guard * 0x0101010101010101ull;
    const u64 pairs = ((u64)p.at | (u64)p.other) % 16 == 0 ? p.bytes / 16 : 0;
    bool differs = false;
    for (u64 i = first; i < pairs; i += step) {
        const ulonglong2 mine = ((const ulonglong2 *)p.at)[i];
        const ulonglong2 given = p.other ? ((const ulonglong2 *)p.other)[i] : make_ulonglong2(word, word);
        differs |= mine.x != given.x || mine.y != given.y;
    }
    for (u64 i = 16 * pairs + first; i < p.bytes; i += step)
        differs |= p.at[i] != (p.other ? p.other[i] : (unsigned char)guard);
    if (differs)
        changed[blockIdx.y] = 1;
}
