/* The copy ceiling: what one core can move. STREAM writes past the cache where the machine can. */
#include <stdint.h>
#include <string.h>
#if defined(__AVX512F__) || defined(__AVX__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define WIDTH 64
#define LOAD(p) _mm512_loadu_si512((const void *)(p))
#define STREAM_STORE(p, v) _mm512_stream_si512((void *)(p), (v))
#elif defined(__AVX__)
#define WIDTH 32
#define LOAD(p) _mm256_loadu_si256((const __m256i *)(p))
#define STREAM_STORE(p, v) _mm256_stream_si256((__m256i *)(p), (v))
#endif

#define AHEAD 4096 /* bytes: across the page border, where hardware prefetchers stop */

void copy(const uint8_t *from, uint8_t *to, int64_t bytes, int64_t stream)
{
#ifdef WIDTH
    if (stream) { /* both buffers begin on a page */
        int64_t i = 0;
        for (; i + 4 * WIDTH <= bytes; i += 4 * WIDTH) {
            for (int line = 0; line < 4 * WIDTH; line += 64)
                __builtin_prefetch(from + i + AHEAD + line); /* one line in four was slower than none */
            STREAM_STORE(to + i, LOAD(from + i));
            STREAM_STORE(to + i + WIDTH, LOAD(from + i + WIDTH));
            STREAM_STORE(to + i + 2 * WIDTH, LOAD(from + i + 2 * WIDTH));
            STREAM_STORE(to + i + 3 * WIDTH, LOAD(from + i + 3 * WIDTH));
        }
        memcpy(to + i, from + i, (size_t)(bytes - i));
        _mm_sfence();
        return;
    }
#endif
    (void)stream;
    memcpy(to, from, (size_t)bytes);
}
