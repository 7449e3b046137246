// Products of matrices, blocked for the registers: float32, and bfloat16 with float32 sums.
//
// A is read along its rows. B lies packed in panels of two vectors of columns, or one for the last, so that one step
// along the sum reads a panel's next vectors. bfloat16 numbers go in pairs along the sum, as the processor
// multiplies them. The sum of an entry runs in one order, whatever rows are beside it and however many
// threads there are: a row's result has the same bits in every batch.
#pragma once
#include "layer.h"

namespace diffeo {

constexpr long PANEL = 2 * LANES;  // columns of a panel
// Rows that go through a panel together: their sums, two vectors each, stay in the registers, of which there are 32
// where they are of sixteen numbers, else 16. A processor adds two products at once and takes four steps for each,
// so that eight sums or more have to be under way.
constexpr long BLOCK = LANES == 16 ? 8 : 6;
// Rows of a weight for which it is said where they are not 0.
constexpr long RANGED = LANES == 16 ? 8 : 2;

// One float32 number along the sum.
struct Single {
    typedef float Word;
    static constexpr long PAIR = 1;
    static inline Word word(const float *from) { return *from; }
    static inline Vec multiply(Vec sum, Word a, Vec b) { return fma(all(a), b, sum); }
    // A vector of words from some columns of one row (of two for pairs).
    static inline Vec words(Vec row, Vec) { return row; }
    // A vector of words along a row: pairs of neighbours, of two vectors of numbers.
    static inline Vec along(const Vec *numbers) { return *numbers; }
    static inline Word one() { return 1.0f; }
};

#ifdef __AVX512BF16__
// Two bfloat16 numbers along the sum, in 32 bits.
struct Pair {
    typedef uint32_t Word;
    static constexpr long PAIR = 2;
    static inline Vec multiply(Vec sum, Word a, Vec b) {
        return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32((int)a), (__m512bh)b);
    }
    static inline Bits rounded(Vec x) {
        return __builtin_convertvector((Half)_mm512_cvtneps_pbh((__m512)x), Bits);
    }
    static inline Vec words(Vec row, Vec next) { return (Vec)(rounded(row) | (rounded(next) << 16)); }
    static inline Vec along(const Vec *numbers) {
        __m512bh both = _mm512_cvtne2ps_pbh((__m512)numbers[1], (__m512)numbers[0]);
        Vec found;
        std::memcpy(&found, &both, sizeof found);
        return found;
    }
    static inline Word one() { return 0x3f803f80u; }
};
#endif

// Words down the rows, in panels of columns, one panel after another: a sum over rows reads on and on.
template <typename Word>
struct Down {
    Word *start;
    long depth;  // words down a column
    long first;  // where these rows begin
    long panel;  // columns of a panel

    Word *at(long column, long m) const {
        return start + column / panel * panel * depth + (first + m) * panel + column % panel;
    }
    // Calls with the first column of each panel, and the one behind its last.
    template <typename Call>
    void by_panel(long columns, Call call) const {
        for (long begin = 0; begin < columns; begin += panel)
            call(begin, begin + panel < columns ? begin + panel : columns);
    }
};

// R rows of C = A B + bias through V vectors of a panel, from `begin` to `end` along the sum.
template <typename Kind, int R, int V>
static inline void block(const typename Kind::Word *a, long a_row, const typename Kind::Word *b, long begin,
                         long end, const float *start, long start_row, float *c, long c_row, bool rectified) {
    Vec sum[R][V];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++)
            sum[r][v] = start ? load(start + r * start_row + v * LANES) : Vec{};
    for (long k = begin; k < end; k++) {
        Vec column[V];
        for (int v = 0; v < V; v++) std::memcpy(&column[v], b + (k * V + v) * LANES, sizeof(Vec));
#pragma GCC unroll 8
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int v = 0; v < V; v++) sum[r][v] = Kind::multiply(sum[r][v], a[r * a_row + k], column[v]);
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++)
            store(c + r * c_row + v * LANES, rectified ? relu(sum[r][v]) : sum[r][v]);
}

template <typename Kind, int V>
static inline void rows_through(long rows, const typename Kind::Word *a, long a_row,
                                const typename Kind::Word *b, long begin, long end, const float *start,
                                long start_row, float *c, long c_row, bool rectified) {
    long r = 0;
    for (; r + BLOCK <= rows; r += BLOCK)
        block<Kind, BLOCK, V>(a + r * a_row, a_row, b, begin, end, start ? start + r * start_row : start,
                              start_row, c + r * c_row, c_row, rectified);
    for (; r + 4 <= rows; r += 4)
        block<Kind, 4, V>(a + r * a_row, a_row, b, begin, end, start ? start + r * start_row : start,
                          start_row, c + r * c_row, c_row, rectified);
    for (; r + 2 <= rows; r += 2)
        block<Kind, 2, V>(a + r * a_row, a_row, b, begin, end, start ? start + r * start_row : start,
                          start_row, c + r * c_row, c_row, rectified);
    for (; r < rows; r++)
        block<Kind, 1, V>(a + r * a_row, a_row, b, begin, end, start ? start + r * start_row : start,
                          start_row, c + r * c_row, c_row, rectified);
}

// C = A B + start for a few rows, or max(0, that), of a B in panels of two vectors; `ranges` holds for each panel the part of the sum that is not 0.
template <typename Kind>
static void product(long rows, const typename Kind::Word *a, long a_row, const typename Kind::Word *b,
                    long depth, long columns, const int32_t *ranges, const float *start, long start_row,
                    float *c, long c_row, bool rectified) {
    long n = 0;
    for (; n + PANEL <= columns; n += PANEL, b += depth * PANEL, ranges += 2)
        rows_through<Kind, 2>(rows, a, a_row, b, ranges[0], ranges[1], start ? start + n : start, start_row,
                              c + n, c_row, rectified);
    if (n < columns)
        rows_through<Kind, 1>(rows, a, a_row, b, ranges[0], ranges[1], start ? start + n : start, start_row,
                              c + n, c_row, rectified);
}

// One panel of Aᵀ B over rows: R columns of A, V vectors of columns of B.
template <typename Kind, int R, int V>
static inline void crossed(const typename Kind::Word *a, long a_row, const typename Kind::Word *b, long b_row,
                           long depth, bool more, float *c, long c_row) {
    Vec sum[R][V];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) sum[r][v] = more ? load(c + r * c_row + v * LANES) : Vec{};
    for (long k = 0; k < depth; k++) {
        Vec column[V];
        for (int v = 0; v < V; v++) std::memcpy(&column[v], b + k * b_row + v * LANES, sizeof(Vec));
#pragma GCC unroll 8
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int v = 0; v < V; v++) sum[r][v] = Kind::multiply(sum[r][v], a[k * a_row + r], column[v]);
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) store(c + r * c_row + v * LANES, sum[r][v]);
}

}  // namespace diffeo
