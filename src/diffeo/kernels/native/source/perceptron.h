// A conditioner's network and the law that it steers, rows by rows: what a tile of rows needs stays near.
#pragma once
#include <type_traits>
#include <vector>

#include "layer.h"
#include "product.h"
#include "skipping.h"

namespace diffeo {

// Rows of a tile: some blocks.
constexpr long TILE = LANES == 16 ? 32 : 24;
constexpr float CONDITIONER_LIMIT = 1e6f;  // as in diffeo/kernels/safe.py

enum Step : int32_t { LINEAR, ACTIVATION, BEGIN, END, DIRECT };
enum Activation : int32_t { RELU, TANH, SILU, ELU, LEAKY_RELU, GELU };

// Filled in by diffeo/kernels/native/network.py, field by field.
struct Network {
    int64_t n_steps, n_layers;
    const int32_t *steps;           // (step, layer) each
    const int64_t *ins, *outs;      // of each layer
    const int64_t *forth, *back;    // where a layer's packed weights begin, in words
    const int64_t *bias;            // where its bias begins, in numbers
    const int32_t *const *forth_ranges, *const *back_ranges;  // the part of each panel's sum that is not 0
    const int32_t *const *row_ranges;  // of each RANGED rows of a weight, the columns that are not 0
    int64_t activation, width;      // the widest stream, padded
    int64_t n_seen, context;        // the input: features of the row, then the context
    const int32_t *seen;
    int64_t features;
    // What is kept for the way back: the column where the input of each layer begins (see Down), and, in numbers
    // a row, what an activation was given (SiLU and GELU).
    const int64_t *kept, *given;
    int64_t given_row;
    // The column where the gradients that reach each layer's output begin.
    const int64_t *reached;
    // Columns of a panel, of each layer: of the weights packed for either way, of what is kept, and of what reaches
    // it. More than PANEL where a product goes along it that skips zeros (see skipping.h).
    const int64_t *forth_panel, *back_panel, *kept_panel, *reached_panel;
};

// Words down the rows of what each layer keeps, or is reached by.
template <typename Word>
struct Kept {
    Word *start;
    long depth;  // words down a column
    long first;  // where these rows begin
    const int64_t *columns, *panels;

    Down<Word> of(long k) const { return {start + columns[k] * depth, depth, first, panels[k]}; }
};

static inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exp(-x)); }

// erf: Abramowitz & Stegun 7.1.26, to 1.5e-7.
static inline Vec erf(Vec x) {
    Vec a = abs(x), t = 1.0f / (1.0f + 0.3275911f * a);
    Vec p = all(1.061405429f);
    p = fma(p, t, all(-1.453152027f));
    p = fma(p, t, all(1.421413741f));
    p = fma(p, t, all(-0.284496736f));
    p = fma(p, t, all(0.254829592f));
    Vec y = 1.0f - p * t * exp(-a * a);
    return x < 0.0f ? -y : y;
}

template <int A>
static inline Vec activated(Vec x) {
    switch (A) {
        case RELU: return relu(x);
        case TANH: return tanh(x);
        case SILU: return x * sigmoid(x);
        case ELU: return x > 0.0f ? x : exp(x) - 1.0f;
        case LEAKY_RELU: return x > 0.0f ? x : 0.01f * x;
        default: return 0.5f * x * (1.0f + erf(x * 0.70710678f));
    }
}

// The derivative, by the value; by what was given for SiLU and GELU.
template <int A>
static inline Vec bent(Vec v) {
    switch (A) {
        case RELU: return v > 0.0f ? all(1.0f) : Vec{};
        case TANH: return 1.0f - v * v;
        case SILU: {
            Vec s = sigmoid(v);
            return s * (1.0f + v * (1.0f - s));
        }
        case ELU: return v > 0.0f ? all(1.0f) : v + 1.0f;
        case LEAKY_RELU: return v > 0.0f ? all(1.0f) : all(0.01f);
        default:
            return 0.5f * (1.0f + erf(v * 0.70710678f)) + v * 0.39894228f * exp(-0.5f * v * v);
    }
}

// h = σ(h) over rows; what was given into `given` where it is there.
template <int A>
static void activate(long rows, float *h, long row, long size, float *given, long given_row) {
    for (long r = 0; r < rows; r++)
        for (long n = 0; n < size; n += LANES) {
            Vec v = load(h + r * row + n);
            if (given) store(given + r * given_row + n, v);
            store(h + r * row + n, activated<A>(v));
        }
}

// g = g σ′ over rows, by the values that were kept as words, or by what was given.
template <int A, typename Kind>
static void bend(long rows, float *g, long row, long size, const Down<const typename Kind::Word> &values,
                 const float *given, long given_row) {
    values.by_panel(size, [&](long begin, long end) {
        const auto *from = values.at(begin, 0);
        for (long r = 0; r < rows; r++)
            for (long n = begin; n < end; n += LANES) {
                Vec v;
                if (A == SILU || A == GELU) {
                    v = load(given + r * given_row + n);
                } else {
                    std::memcpy(&v, from + r / Kind::PAIR * values.panel + (n - begin), sizeof v);
                    if (Kind::PAIR == 2) v = (Vec)(r & 1 ? (Bits)v & 0xffff0000u : (Bits)v << 16);
                }
                store(g + r * row + n, load(g + r * row + n) * bent<A>(v));
            }
    });
}

template <int A>
using Chosen = std::integral_constant<int, A>;

// Calls with the activation as a constant, so that a loop inside knows which it is.
template <typename Call>
static inline void by_activation(long kind, Call call) {
    switch (kind) {
        case RELU: return call(Chosen<RELU>{});
        case TANH: return call(Chosen<TANH>{});
        case SILU: return call(Chosen<SILU>{});
        case ELU: return call(Chosen<ELU>{});
        case LEAKY_RELU: return call(Chosen<LEAKY_RELU>{});
        default: return call(Chosen<GELU>{});
    }
}

static inline bool by_given(long kind) { return kind == SILU || kind == GELU; }

struct Scratch {
    float *stream, *other, *input;
    void *words;
    std::vector<float *> opened;
    long width;
    std::vector<void *> owned;

    explicit Scratch(long width) : width(width) {
        stream = numbers();
        other = numbers();
        input = numbers();
        words = numbers();
    }
    ~Scratch() {
        for (void *each : owned) std::free(each);
    }
    float *numbers() {
        void *found = std::aligned_alloc(64, (TILE * (width + PANEL) * 4 + 63) / 64 * 64);
        std::memset(found, 0, TILE * (width + PANEL) * 4);
        owned.push_back(found);
        return (float *)found;
    }
};

// What the network sees of a row: clamped, NaN as 0; then the context; then zeros to a whole vector.
static inline void look(const Network &net, long rows, const float *x, const float *context, float *out,
                        long row_size) {
    for (long r = 0; r < rows; r++) {
        const float *from = x + r * net.features;
        float *to = out + r * row_size;
        for (long j = 0; j < net.n_seen; j++) {
            float u = from[net.seen[j]];
            u = u == u ? u : 0.0f;
            u = u > CONDITIONER_LIMIT ? CONDITIONER_LIMIT : u;
            to[j] = u < -CONDITIONER_LIMIT ? -CONDITIONER_LIMIT : u;
        }
        for (long j = 0; j < net.context; j++) to[net.n_seen + j] = context[r * net.context + j];
        for (long j = net.n_seen + net.context; j < padded(net.n_seen + net.context); j++) to[j] = 0.0f;
    }
}

// Rows of numbers as words along the rows, for A.
template <typename Kind>
static inline const typename Kind::Word *as_words(const float *from, long rows, long row_size, long columns,
                                                  typename Kind::Word *to, long to_row) {
    if (Kind::PAIR == 1) return (const typename Kind::Word *)from;
    for (long r = 0; r < rows; r++)
        for (long n = 0; n < columns; n += 2 * LANES) {
            Vec numbers[2] = {load(from + r * row_size + n), load(from + r * row_size + n + LANES)};
            Vec words = Kind::along(numbers);
            std::memcpy(to + r * to_row + n / 2, &words, sizeof words);
        }
    return to;
}

// Rows of numbers as words down the rows, for a gradient's sum over rows; an odd last row gets zeros.
template <typename Kind>
static inline void keep(const float *from, long rows, long row_size, long columns,
                        const Down<typename Kind::Word> &to) {
    to.by_panel(columns, [&](long begin, long end) {
        auto *panel = to.at(begin, 0);
        for (long r = 0; r < rows; r += Kind::PAIR, panel += to.panel)
            for (long n = begin; n < end; n += LANES) {
                const float *here = from + r * row_size + n;
                Vec words = Kind::words(load(here), r + 1 < rows ? load(here + row_size) : Vec{});
                std::memcpy(panel + (n - begin), &words, sizeof words);
            }
    });
}

// C = A B + start through the packed weights of a layer, or max(0, that): what A says is 0 is left out where the
// panels say so.
template <typename Kind>
static inline void through(long rows, const typename Kind::Word *a, long a_row, const typename Kind::Word *b, long depth,
                           long columns, long panel, const int32_t *ranges, const float *start, long start_row,
                           float *c, long c_row, bool rectified) {
    if constexpr (SKIPS && Kind::PAIR == 1)
        if (panel > PANEL)
            return skipping_product<TILE>(rows, a, a_row, b, depth, columns, panel, ranges, start, start_row, c, c_row,
                                          rectified);
    product<Kind>(rows, a, a_row, b, depth, columns, ranges, start, start_row, c, c_row, rectified);
}

// θ of a tile of rows, into `theta`; what the way back needs into `kept` and `given`, where they are there.
template <typename Kind>
static void steer(const Network &net, const typename Kind::Word *packed, const float *biases, long rows,
                  const float *x, const float *context, Scratch &at, float *theta, long theta_row,
                  const Kept<typename Kind::Word> &kept, float *given) {
    typedef typename Kind::Word Word;
    long wide = at.width, size = padded(net.ins[0]), depth = 0;
    look(net, rows, x, context, at.input, wide);
    float *h = at.input, *stream = at.stream;
    long activations = 0;
    bool straight = net.steps[2 * (net.n_steps - 1)] == LINEAR;
    for (long s = 0; s < net.n_steps; s++) {
        long step = net.steps[2 * s], k = net.steps[2 * s + 1];
        if (step == LINEAR || step == DIRECT) {
            const float *from = step == DIRECT ? at.input : h;
            long ins = padded(net.ins[k]), outs = padded(net.outs[k]);
            const Word *a = as_words<Kind>(from, rows, wide, ins, (Word *)at.words, wide);
            if (kept.start) keep<Kind>(from, rows, wide, ins, kept.of(k));
            bool out = straight && s + 1 == net.n_steps;
            float *to = out ? theta : step == DIRECT ? h : stream;
            long to_row = out ? theta_row : wide;
            long words = (net.ins[k] + Kind::PAIR - 1) / Kind::PAIR;
            // ReLU is taken where the sums are stored.
            bool rectified = net.activation == RELU && s + 1 < net.n_steps && net.steps[2 * s + 2] == ACTIVATION;
            through<Kind>(rows, a, wide, packed + net.forth[k], words, outs, net.forth_panel[k], net.forth_ranges[k],
                          step == DIRECT ? h : biases + net.bias[k], step == DIRECT ? wide : 0, to, to_row,
                          rectified);
            s += rectified;
            activations += rectified;
            if (step == DIRECT) {
                for (long r = 0; r < rows; r++)
                    for (long n = 0; n < outs; n += LANES)
                        store(h + r * wide + n, load(h + r * wide + n) + load(biases + net.bias[k] + n));
            } else {
                h = to;
                stream = h == at.stream ? at.other : at.stream;
            }
            size = outs;
        } else if (step == ACTIVATION) {
            float *to_keep = given && by_given(net.activation) ? given + net.given[activations] : nullptr;
            by_activation(net.activation, [&](auto a) {
                activate<decltype(a)::value>(rows, h, wide, size, to_keep, net.given_row);
            });
            activations++;
        } else if (step == BEGIN) {
            if ((long)at.opened.size() == depth) at.opened.push_back(at.numbers());
            std::memcpy(at.opened[depth], h, rows * wide * sizeof(float));
            depth++;
        } else {
            depth--;
            for (long r = 0; r < rows; r++)
                for (long n = 0; n < size; n += LANES)
                    store(h + r * wide + n, load(h + r * wide + n) + load(at.opened[depth] + r * wide + n));
        }
    }
    if (!straight)
        for (long r = 0; r < rows; r++) std::memcpy(theta + r * theta_row, h + r * wide, size * sizeof(float));
}

// From the gradient towards θ, in at.stream, to that towards the network's input, in at.input; what
// reached each layer's output into `reached`.
template <typename Kind>
static void steer_back(const Network &net, const typename Kind::Word *packed, long rows, Scratch &at,
                       const Kept<const typename Kind::Word> &kept, const float *given,
                       const Kept<typename Kind::Word> &reached, bool to_input) {
    typedef typename Kind::Word Word;
    long wide = at.width, depth = 0, activations = 0;
    for (long s = 0; s < net.n_steps; s++) activations += net.steps[2 * s] == ACTIVATION;
    float *g = at.stream, *stream = at.other;
    bool added = false;
    long first = 0;
    while (net.steps[2 * first] != LINEAR) first++;
    for (long s = net.n_steps - 1; s >= 0; s--) {
        long step = net.steps[2 * s], k = net.steps[2 * s + 1];
        if (step == LINEAR || step == DIRECT) {
            long ins = padded(net.ins[k]), outs = padded(net.outs[k]);
            keep<Kind>(g, rows, wide, outs, reached.of(k));
            if ((s == first || step == DIRECT) && !to_input) continue;
            const Word *a = as_words<Kind>(g, rows, wide, outs, (Word *)at.words, wide);
            long words = (net.outs[k] + Kind::PAIR - 1) / Kind::PAIR;
            float *to = step == DIRECT || s == first ? at.input : stream;
            through<Kind>(rows, a, wide, packed + net.back[k], words, ins, net.back_panel[k], net.back_ranges[k],
                          s == first && added ? at.input : nullptr, wide, to, wide, false);
            if (step == DIRECT) {
                added = true;
            } else if (s != first) {
                g = to;
                stream = g == at.stream ? at.other : at.stream;
            }
        } else if (step == ACTIVATION) {
            activations--;
            // An activation is followed by the layer whose input was kept.
            long next = net.steps[2 * (s + 1) + 1];
            long size = padded(net.ins[next]);
            const float *from = given ? given + net.given[activations] : given;
            by_activation(net.activation, [&](auto a) {
                bend<decltype(a)::value, Kind>(rows, g, wide, size, kept.of(next), from, net.given_row);
            });
        } else if (step == END) {
            if ((long)at.opened.size() == depth) at.opened.push_back(at.numbers());
            std::memcpy(at.opened[depth], g, rows * wide * sizeof(float));
            depth++;
        } else {
            depth--;
            for (long r = 0; r < rows; r++)
                for (long n = 0; n < wide; n += LANES) {
                    float *here = g + r * wide + n;
                    store(here, load(here) + load(at.opened[depth] + r * wide + n));
                }
        }
    }
}

}  // namespace diffeo
