// What the kernels of all laws share: a layer moves some elements of each row, and steers them by θ.
#pragma once
#include <cstdlib>

#include "vector.h"

namespace diffeo {

// Formulas are evaluated within this size; beyond it nothing goes back to the parameters.
constexpr float SAFE = 1e16f;

// Which features of a row are moved.
struct Layer {
    long features, moved;
    const int32_t *index;  // the features that are moved, in order
};

static inline long padded(long n) { return (n + LANES - 1) / LANES * LANES; }

// The first `n` numbers of a vector, zeros behind them; and the way back.
static inline Vec load_part(const float *from, long n) {
    if (n >= LANES) return load(from);
#ifdef __AVX512F__
    return (Vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), from);
#else
    Vec x{};
    std::memcpy(&x, from, n * sizeof(float));
    return x;
#endif
}

static inline void store_part(float *to, Vec x, long n) {
    if (n >= LANES) return store(to, x);
#ifdef __AVX512F__
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << n) - 1u), (__m512)x);
#else
    std::memcpy(to, &x, n * sizeof(float));
#endif
}

// Where a mask is true, of its next `n` bytes; false behind them.
static inline Int allowed(const uint8_t *mask, long n) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    __mmask16 here = n >= LANES ? (__mmask16)0xffff : (__mmask16)((1u << n) - 1u);
    return (Int)_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(here, mask)) != 0;
#else
    Int found{};
    for (long l = 0; l < LANES && l < n; l++) found[l] = mask[l] ? -1 : 0;
    return found;
#endif
}

// LANES rows turned to one vector a column, a lane a row; with fewer rows the last is repeated.
static inline void to_lanes(const float *from, long row, long count, long columns, Vec *out) {
    for (long c = 0; c < columns; c += LANES) {
        for (long l = 0; l < LANES; l++)
            out[c + l] = load_part(from + (l < count ? l : count - 1) * row + c, columns - c);
        turn(out + c);
    }
}

static inline void from_lanes(Vec *in, float *to, long row, long count, long columns) {
    for (long c = 0; c < columns; c += LANES) {
        turn(in + c);
        for (long l = 0; l < count; l++) store_part(to + l * row + c, in[c + l], columns - c);
    }
}

// Room for LANES rows of x, of θ, and of their gradients, a lane a row.
struct Lanes {
    Vec *x, *theta, *to_x, *to_theta;
    void *owned;

    Lanes(long features, long params, bool back) {
        long one = padded(features) + padded(params);
        owned = std::aligned_alloc(64, (back ? 2 : 1) * one * sizeof(Vec));
        x = (Vec *)owned;
        theta = x + padded(features);
        to_x = theta + padded(params);
        to_theta = to_x + padded(features);
    }
    ~Lanes() { std::free(owned); }
};

// y = the law of x's moved elements, and x's others; the log-slopes are added to `log_det`. θ lies `theta_row`
// numbers a row.
template <typename Law>
static void apply(const Law &law, const Layer &layer, long rows, bool inverse, const float *x,
                  const float *theta, long theta_row, float *y, float *log_det, Lanes &at) {
    long params = law.params();
    for (long r = 0; r < rows; r += LANES) {
        long count = rows - r < LANES ? rows - r : LANES;
        to_lanes(x + r * layer.features, layer.features, count, layer.features, at.x);
        to_lanes(theta + r * theta_row, theta_row, count, layer.moved * params, at.theta);
        Vec sum = Vec{};
        for (long j = 0; j < layer.moved; j++) {
            Vec &u = at.x[layer.index[j]], v, log_slope;
            law.apply(u, at.theta + j * params, inverse, v, log_slope);
            u = v;
            sum += log_slope;
        }
        from_lanes(at.x, y + r * layer.features, layer.features, count, layer.features);
        store_part(log_det + r, load_part(log_det + r, count) + sum, count);
    }
}

// Gradients towards x, of what the law did, and towards θ, which lies `to_row` numbers a row, zeros behind.
template <typename Law>
static void back(const Law &law, const Layer &layer, long rows, bool inverse, const float *x,
                 const float *theta, long theta_row, const float *gy, const float *glog_det, float *gx,
                 float *gtheta, long to_row, Lanes &at) {
    long params = law.params(), steered = layer.moved * params;
    for (long r = 0; r < rows; r += LANES) {
        long count = rows - r < LANES ? rows - r : LANES;
        to_lanes(x + r * layer.features, layer.features, count, layer.features, at.x);
        to_lanes(gy + r * layer.features, layer.features, count, layer.features, at.to_x);
        to_lanes(theta + r * theta_row, theta_row, count, steered, at.theta);
        Vec gl = load_part(glog_det + r, count);
        for (long j = 0; j < layer.moved; j++) {
            Vec &gu = at.to_x[layer.index[j]], gv = gu;
            law.back(at.x[layer.index[j]], at.theta + j * params, inverse, gv, gl, gu, at.to_theta + j * params);
        }
        for (long p = steered; p < padded(steered); p++) at.to_theta[p] = Vec{};
        from_lanes(at.to_x, gx + r * layer.features, layer.features, count, layer.features);
        from_lanes(at.to_theta, gtheta + r * to_row, to_row, count, padded(steered));
    }
}

}  // namespace diffeo
