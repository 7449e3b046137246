// An autoregressive layer from noise to data: feature after feature, each hidden unit computed once.
//
// A unit that sees the first features of the order is computed as soon as the last of these is known. Lanes are
// rows. diffeo/kernels/native/levels.py says which units become known when.
#pragma once
#include "perceptron.h"

namespace diffeo {

constexpr long ABREAST = 2;        // vectors of rows that go through together
constexpr long MOST_PARAMS = 208;  // of a law: 64 bins take 193

// Filled in by diffeo/kernels/native/levels.py.
struct Levels {
    int64_t n_levels;
    // Runs of units that become known: the first unit and behind the last, the first input that they read and
    // behind the last. Of each level and step, those from one start to the next.
    const int32_t *runs, *run_starts;
    const int32_t *features, *starts;  // of each level, its features, likewise
    int64_t outs;            // parameters of a feature
};

// Some units of a layer: R rows of the weight over the columns [begin, end).
template <int R>
static inline void units(const float *weight, long row, const float *bias, long begin, long end, const Vec *h,
                         const Vec *add, Vec *out) {
    Vec sum[R][ABREAST];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < ABREAST; v++) sum[r][v] = all(bias[r]) + (add ? add[r * ABREAST + v] : Vec{});
    for (long j = begin; j < end; j++)
#pragma GCC unroll 8
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int v = 0; v < ABREAST; v++) sum[r][v] = fma(all(weight[r * row + j]), h[j * ABREAST + v], sum[r][v]);
    for (int r = 0; r < R; r++)
        for (int v = 0; v < ABREAST; v++) out[r * ABREAST + v] = sum[r][v];
}

static inline void some_units(const float *weight, long row, const float *bias, long from, long to, long begin,
                              long end, const Vec *h, const Vec *add, Vec *out) {
    auto run = [&](auto count, long u) {
        units<decltype(count)::value>(weight + u * row, row, bias + u, begin, end, h,
                                      add ? add + u * ABREAST : add, out + u * ABREAST);
    };
    long u = from;
    for (; LANES == 16 && u + 8 <= to; u += 8) run(std::integral_constant<int, 8>{}, u);
    for (; u + 4 <= to; u += 4) run(std::integral_constant<int, 4>{}, u);
    for (; u + 2 <= to; u += 2) run(std::integral_constant<int, 2>{}, u);
    for (; u < to; u++) run(std::integral_constant<int, 1>{}, u);
}

// Room for one stream after each step, and for the input.
struct Streams {
    std::vector<Vec *> after;
    Vec *input, *z, *x;
    void *owned;

    Streams(const Network &net) {
        long wide = net.width * ABREAST, count = net.n_steps + 3;
        long numbers = (count * wide + 2 * padded(net.features) * ABREAST) * sizeof(Vec);
        owned = std::aligned_alloc(64, numbers);
        std::memset(owned, 0, numbers);  // what is not known yet is read as 0
        Vec *at = (Vec *)owned;
        for (long s = 0; s < net.n_steps; s++) after.push_back(at + s * wide);
        input = at + net.n_steps * wide;
        z = input + 2 * wide;
        x = z + padded(net.features) * ABREAST;
    }
    ~Streams() { std::free(owned); }
};

template <typename Law>
static void unroll(const Law &law, const Network &net, const Levels &levels, const float *const *weights,
                   const float *const *biases, long rows, const float *z, const float *context, bool inverse,
                   float *y, float *log_det, Streams &at) {
    Vec lanes[MOST_PARAMS];
    long features = net.features, params = law.params();
    auto turned_in = [&](const float *from, long row, long columns, Vec *to) {
        for (long c = 0; c < columns; c += LANES)
            for (long v = 0; v < ABREAST; v++) {
                long first = v * LANES, count = rows - first;
                if (count > LANES) count = LANES;
                long base = count > 0 ? first : 0;
                to_lanes(from + base * row + c, row, count > 0 ? count : 1,
                         columns - c < LANES ? columns - c : LANES, lanes);
                for (long l = 0; l < LANES && c + l < columns; l++) to[(c + l) * ABREAST + v] = lanes[l];
            }
    };
    turned_in(z, features, features, at.z);
    if (net.context) turned_in(context, net.context, net.context, at.input + net.n_seen * ABREAST);
    Vec total[ABREAST] = {};
    for (long level = 0; level < levels.n_levels; level++) {
        std::vector<const Vec *> opened;
        for (long s = 0; s < net.n_steps; s++) {
            long step = net.steps[2 * s], k = net.steps[2 * s + 1];
            const Vec *h = s ? at.after[s - 1] : at.input, *more = nullptr;
            Vec *out = at.after[s];
            if (step == BEGIN) opened.push_back(out);
            if (step == END) {
                more = opened.back();
                opened.pop_back();
            }
            const int32_t *start = levels.run_starts + level * net.n_steps + s;
            for (const int32_t *run = levels.runs + 4 * start[0]; run < levels.runs + 4 * start[1]; run += 4) {
                if (step == LINEAR || step == DIRECT) {
                    some_units(weights[k], net.ins[k], biases[k], run[0], run[1], run[2], run[3],
                               step == DIRECT ? at.input : h, step == DIRECT ? h : nullptr, out);
                } else if (step == ACTIVATION) {
                    by_activation(net.activation, [&](auto a) {
                        for (long u = run[0] * ABREAST; u < run[1] * ABREAST; u++)
                            out[u] = activated<decltype(a)::value>(h[u]);
                    });
                } else {
                    for (long u = run[0] * ABREAST; u < run[1] * ABREAST; u++)
                        out[u] = more ? h[u] + more[u] : h[u];
                }
            }
        }
        const Vec *theta = at.after[net.n_steps - 1];
        for (long f = levels.starts[level]; f < levels.starts[level + 1]; f++) {
            long feature = levels.features[f];
            for (long v = 0; v < ABREAST; v++) {
                Vec value, log_slope;
                for (long p = 0; p < params; p++) lanes[p] = theta[(feature * params + p) * ABREAST + v];
                law.apply(at.z[feature * ABREAST + v], lanes, inverse, value, log_slope);
                at.x[feature * ABREAST + v] = value;
                total[v] += log_slope;
                value = value == value ? value : Vec{};
                at.input[feature * ABREAST + v] = clamp(value, -CONDITIONER_LIMIT, CONDITIONER_LIMIT);
            }
        }
    }
    for (long v = 0; v < ABREAST; v++) {
        long first = v * LANES, count = rows - first < LANES ? rows - first : LANES;
        if (count <= 0) break;
        for (long c = 0; c < features; c += LANES) {
            long columns = features - c < LANES ? features - c : LANES;
            for (long l = 0; l < LANES; l++) lanes[l] = l < columns ? at.x[(c + l) * ABREAST + v] : Vec{};
            from_lanes(lanes, y + first * features + c, features, count, columns);
        }
        store_part(log_det + first, load_part(log_det + first, count) + total[v], count);
    }
}

}  // namespace diffeo
