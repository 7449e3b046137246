// Sixteen float32 numbers at a time, or eight, with the functions that laws are made of.
//
// Written in the vector types of GCC and Clang. With AVX-512 and AVX they are a register wide: compilers take a
// comparison of wider ones apart into numbers, and products of them do not fit the registers that there are. What
// a lane returns depends on what that lane was given, and on nothing else.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__AVX512F__) || defined(__FMA__)
#include <immintrin.h>
#endif

namespace diffeo {

#if defined(__AVX512F__)
constexpr long LANES = 16;
#else
constexpr long LANES = 8;
#endif
typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef int32_t Int __attribute__((vector_size(LANES * 4)));
typedef uint32_t Bits __attribute__((vector_size(LANES * 4)));
typedef uint16_t Half __attribute__((vector_size(LANES * 2)));

static inline Vec all(float x) { return x - Vec{}; }
static inline Int whole(int32_t x) { return x - Int{}; }
static inline Int bits(Vec x) { return (Int)x; }
static inline Vec abs(Vec x) { return (Vec)(bits(x) & 0x7fffffff); }
// NaN in the first argument stays NaN.
static inline Vec min(Vec a, Vec b) { return a > b ? b : a; }
static inline Vec max(Vec a, Vec b) { return a < b ? b : a; }
static inline Vec relu(Vec x) { return x < 0.0f ? Vec{} : x; }
static inline Vec clamp(Vec x, float low, float high) { return min(max(x, all(low)), all(high)); }

static inline Vec load(const float *from) {
    Vec x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

static inline void store(float *to, Vec x) { std::memcpy(to, &x, sizeof x); }

// a b + c, rounded once where the processor can. It is written out, and -ffp-contract=off: a compiler that may
// contract products and sums does so in one copy of a loop and not in another, and the bits of a row would depend on
// which of them it goes through.
static inline Vec fma(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
    return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__) && defined(__AVX__)
    return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

// exp: x = n log 2 + r, a polynomial in r, and n into the exponent (after Moshier's Cephes, expf).
static inline Vec exp(Vec x) {
    x = clamp(x, -87.0f, 88.0f);
    Vec shifted = fma(x, all(1.44269504f), all(12582912.0f));  // 1.5 · 2²³ rounds to the nearest whole number
    Int n = bits(shifted) - 0x4b400000;
    Vec whole_part = shifted - 12582912.0f;
    Vec r = fma(whole_part, all(-0.693359375f), x);
    r = fma(whole_part, all(2.12194440e-4f), r);
    Vec p = all(1.9875691500e-4f);
    p = fma(p, r, all(1.3981999507e-3f));
    p = fma(p, r, all(8.3334519073e-3f));
    p = fma(p, r, all(4.1665795894e-2f));
    p = fma(p, r, all(1.6666665459e-1f));
    p = fma(p, r, all(5.0000001201e-1f));
    p = fma(p, r * r, r) + 1.0f;
    return x == x ? (Vec)(bits(p) + (n << 23)) : x;
}

// log of a positive normal number: x = 2ⁿ m with m in [√½, √2), a polynomial in m − 1 (Cephes, logf).
static inline Vec log(Vec x) {
    Int b = bits(x);
    Int n = (b >> 23) - 126;
    Vec m = (Vec)((b & 0x007fffff) | 0x3f000000);  // [½, 1)
    Int low = m < 0.707106781f;
    m = low ? m + m - 1.0f : m - 1.0f;
    Vec e = __builtin_convertvector(n + low, Vec);  // a true comparison is −1
    Vec z = m * m;
    Vec p = all(7.0376836292e-2f);
    p = fma(p, m, all(-1.1514610310e-1f));
    p = fma(p, m, all(1.1676998740e-1f));
    p = fma(p, m, all(-1.2420140846e-1f));
    p = fma(p, m, all(1.4249322787e-1f));
    p = fma(p, m, all(-1.6668057665e-1f));
    p = fma(p, m, all(2.0000714765e-1f));
    p = fma(p, m, all(-2.4999993993e-1f));
    p = fma(p, m, all(3.3333331174e-1f));
    p = p * m * z;
    p = fma(all(-0.5f), z, fma(e, all(-2.12194440e-4f), p));
    return x == x ? fma(e, all(0.693359375f), m + p) : x;
}

// tanh, an odd rational function within ±7.9 (that of Eigen), and ±1 beyond ±9.02, where its slope is 0 in float32.
static inline Vec tanh(Vec x) {
    Vec given = x;
    x = clamp(x, -7.90531110763549805f, 7.90531110763549805f);
    Vec z = x * x;
    Vec p = all(-2.76076847742355e-16f);
    p = fma(p, z, all(2.00018790482477e-13f));
    p = fma(p, z, all(-8.60467152213735e-11f));
    p = fma(p, z, all(5.12229709037114e-08f));
    p = fma(p, z, all(1.48572235717979e-05f));
    p = fma(p, z, all(6.37261928875436e-04f));
    p = fma(p, z, all(4.89352455891786e-03f));
    Vec q = all(1.19825839466702e-06f);
    q = fma(q, z, all(1.18534705686654e-04f));
    q = fma(q, z, all(2.26843463243900e-03f));
    q = fma(q, z, all(4.89352518554385e-03f));
    Vec y = x * p / q;
    y = given > 9.02f ? all(1.0f) : y;
    return given < -9.02f ? all(-1.0f) : y;
}

// As many vectors as a vector has numbers, turned over their diagonal: halves change places, then quarters, and so on.
template <int D>
static inline void exchange(Vec *m) {
    for (int i = 0; i < LANES; i++) {
        if (i & D) continue;
        Vec a = m[i], b = m[i + D];
#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector)
#define DIFFEO_LOW(l) ((l) & D ? (l)-D + LANES : (l))
#define DIFFEO_HIGH(l) ((l) & D ? (l) + LANES : (l) + D)
#define DIFFEO_FOUR(f, l) f(l), f(l + 1), f(l + 2), f(l + 3)
#if defined(__AVX512F__)
#define DIFFEO_ALL(f) DIFFEO_FOUR(f, 0), DIFFEO_FOUR(f, 4), DIFFEO_FOUR(f, 8), DIFFEO_FOUR(f, 12)
#else
#define DIFFEO_ALL(f) DIFFEO_FOUR(f, 0), DIFFEO_FOUR(f, 4)
#endif
        m[i] = __builtin_shufflevector(a, b, DIFFEO_ALL(DIFFEO_LOW));
        m[i + D] = __builtin_shufflevector(a, b, DIFFEO_ALL(DIFFEO_HIGH));
#else
        for (int l = 0; l < LANES; l++) {
            m[i][l] = l & D ? b[l - D] : a[l];
            m[i + D][l] = l & D ? b[l] : a[l + D];
        }
#endif
    }
}

static inline void turn(Vec *m) {
    if constexpr (LANES == 16) exchange<8>(m);
    exchange<4>(m);
    exchange<2>(m);
    exchange<1>(m);
}

static inline Vec sqrt(Vec x) {
    for (long l = 0; l < LANES; l++) x[l] = __builtin_sqrtf(x[l]);
    return x;
}

}  // namespace diffeo
