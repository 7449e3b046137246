// Products that leave out what is 0: a ReLU makes half of a layer's input 0, and half of what reaches its output.
//
// A row's sums, some vectors of them, stay in the registers while the row's numbers that are not 0 are taken one by
// one. Nothing is rounded otherwise than in product.h, where a 0 is added. (Gong et al., SparseTrain, 2020, leave out
// the same numbers in convolutions.) Along a row, or down the rows for gradients of weights, bits say what is not 0.
#pragma once
#include <algorithm>

#include "product.h"

namespace diffeo {

// Measured with eight lanes only, where it takes two thirds of the time.
#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr bool SKIPS = true;
#else
constexpr bool SKIPS = false;
#endif
// Vectors of a panel: a number is read once for them, and their sums hide the time that each addition takes. With
// BITS numbers along the sum a panel stays in the nearest cache.
constexpr long MOST_VECTORS = 8;
constexpr long BITS = 64;

// Bits of the lanes that are not 0; NaN is not.
static inline uint32_t where(Vec x) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)x, _mm512_setzero_ps(), _CMP_NEQ_UQ);
#elif defined(__AVX__)
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps((__m256)x, _mm256_setzero_ps(), _CMP_NEQ_UQ));
#else
    uint32_t found = 0;
    for (long l = 0; l < LANES; l++) found |= (uint32_t)(x[l] != 0.0f) << l;
    return found;
#endif
}

// Of at most BITS numbers along a row, which may be read to a whole vector.
static inline uint64_t live_along(const float *row, long count) {
    uint64_t found = 0;
    for (long k = 0; k < count; k += LANES) found |= (uint64_t)where(load(row + k)) << k;
    return count < BITS ? found & ((uint64_t(1) << count) - 1) : found;
}

// Eight bytes of eight bits, turned over their diagonal.
static inline uint64_t turned(uint64_t x) {
    uint64_t t = (x ^ (x >> 7)) & 0x00aa00aa00aa00aaull;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000cccc0000ccccull;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000f0f0f0f0ull;
    return x ^ t ^ (t << 28);
}

// Of at most BITS rows of a panel of PANEL columns, down each column: eight rows at a time.
__attribute__((noinline)) static void live_down(const float *panel, long rows, uint64_t *live) {
    for (long n = 0; n < PANEL; n++) live[n] = 0;
    for (long m = 0; m < rows; m += 8)
        for (long n = 0; n < PANEL; n += LANES) {
            uint64_t bytes[LANES / 8] = {};
#pragma GCC unroll 8
            for (long r = 0; r < 8; r++) {
                uint64_t found = m + r < rows ? where(load(panel + (m + r) * PANEL + n)) : 0;
                for (long b = 0; b < LANES / 8; b++) bytes[b] |= (found >> (8 * b) & 0xff) << (8 * r);
            }
            for (long b = 0; b < LANES / 8; b++) {
                uint64_t eight = turned(bytes[b]);
#pragma GCC unroll 8
                for (long c = 0; c < 8; c++) live[n + 8 * b + c] |= (eight >> (8 * c) & 0xff) << m;
            }
        }
}

// C = start + A B, of some rows, at most BITS numbers along the sum, and V vectors of columns.
template <int V>
static void skipping_rows(long rows, const float *a, long a_row, long a_step, const uint64_t *live, long live_row,
                          uint64_t only, const float *b, long b_row, const float *start, long start_row, float *c,
                          long c_row, bool rectified) {
    for (long r = 0; r < rows; r++) {
        Vec sum[V];
        for (int v = 0; v < V; v++) sum[v] = start ? load(start + r * start_row + v * LANES) : Vec{};
        const float *row = a + r * a_row;
        for (uint64_t left = live[r * live_row] & only; left; left &= left - 1) {
            long k = __builtin_ctzll(left);
            Vec each = all(row[k * a_step]);
            const float *from = b + k * b_row;
#pragma GCC unroll 8
            for (int v = 0; v < V; v++) sum[v] = fma(each, load(from + v * LANES), sum[v]);
        }
        for (int v = 0; v < V; v++) store(c + r * c_row + v * LANES, rectified ? relu(sum[v]) : sum[v]);
    }
}

static inline void skipping(long vectors, long rows, const float *a, long a_row, long a_step, const uint64_t *live,
                            long live_row, uint64_t only, const float *b, long b_row, const float *start,
                            long start_row, float *c, long c_row, bool rectified) {
    static constexpr decltype(&skipping_rows<1>) BY_VECTORS[MOST_VECTORS] = {
        skipping_rows<1>, skipping_rows<2>, skipping_rows<3>, skipping_rows<4>,
        skipping_rows<5>, skipping_rows<6>, skipping_rows<7>, skipping_rows<8>};
    BY_VECTORS[vectors - 1](rows, a, a_row, a_step, live, live_row, only, b, b_row, start, start_row, c, c_row,
                            rectified);
}

// `product` for at most MOST_ROWS rows of a float32 A that is often 0, and a B in panels of `panel` columns.
template <long MOST_ROWS>
static void skipping_product(long rows, const float *a, long a_row, const float *b, long depth, long columns, long panel,
                             const int32_t *ranges, const float *start, long start_row, float *c, long c_row,
                             bool rectified) {
    uint64_t live[MOST_ROWS];
    const long words = (depth + BITS - 1) / BITS;
    // Bits are found again for each panel, in a fortieth of its time: kept, they would need room for the whole sum.
    for (long n = 0; n < columns; n += panel, ranges += 2) {
        const long width = std::min(panel, columns - n), begin = ranges[0], end = ranges[1];
        const long first = begin / BITS, last = std::max(first, (end - 1) / BITS);
        for (long w = first; w <= last && w < words; w++) {
            const long at = w * BITS, count = std::min(BITS, depth - at);
            for (long r = 0; r < rows; r++) live[r] = live_along(a + r * a_row + at, count);
            uint64_t only = ~uint64_t(0);
            if (begin > at) only &= ~uint64_t(0) << (begin - at);
            if (end < at + BITS) only &= end > at ? (uint64_t(1) << (end - at)) - 1 : 0;
            const bool fresh = w == first;
            skipping(width / LANES, rows, a + at, a_row, 1, live, 1, only, b + at * width, width,
                     fresh ? (start ? start + n : start) : c + n, fresh ? start_row : c_row, c + n, c_row,
                     rectified && w == last);
        }
        b += depth * width;
    }
}

}  // namespace diffeo
