// A conditioner's network and the law that it steers, rows by rows: what a tile of rows needs stays near.
#pragma once
#include <type_traits>
#include <vector>

#include "layer.h"
#include "product.h"

namespace diffeo {

// Rows of a tile: some blocks.
constexpr long TILE = LANES == 16 ? 32 : 24;
// Outputs of a layer that one thread weighs at a time: of one panel.
constexpr long WEIGHED = 16;
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
};

// Words down the rows, in panels of columns, one panel after another: a sum over rows reads on and on.
template <typename Word>
struct Down {
    Word *start;
    long depth;  // words down a column
    long first;  // where these rows begin

    Word *at(long column, long m) const {
        return start + column / PANEL * PANEL * depth + (first + m) * PANEL + column % PANEL;
    }
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
                 long column, const float *given, long given_row) {
    for (long r = 0; r < rows; r++)
        for (long n = 0; n < size; n += LANES) {
            Vec v;
            if (A == SILU || A == GELU) {
                v = load(given + r * given_row + n);
            } else {
                std::memcpy(&v, values.at(column + n, r / Kind::PAIR), sizeof v);
                if (Kind::PAIR == 2) v = (Vec)(r & 1 ? (Bits)v & 0xffff0000u : (Bits)v << 16);
            }
            store(g + r * row + n, load(g + r * row + n) * bent<A>(v));
        }
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
        for (long n = 0; n < columns; n += 2 * LANES)
            Kind::along(from + r * row_size + n, to + r * to_row + n / 2);
    return to;
}

// Rows of numbers as words down the rows, for a gradient's sum over rows; an odd last row gets zeros.
template <typename Kind>
static inline void keep(const float *from, long rows, long row_size, long columns,
                        const Down<typename Kind::Word> &to, long column, const float *zeros) {
    for (long r = 0; r < rows; r += Kind::PAIR)
        for (long n = 0; n < columns; n += LANES) {
            const float *here = from + r * row_size + n;
            Kind::words(here, r + 1 < rows ? here + row_size : zeros, to.at(column + n, r / Kind::PAIR));
        }
}

// θ of a tile of rows, into `theta`; what the way back needs into `kept` and `given`, where they are there.
template <typename Kind>
static void steer(const Network &net, const typename Kind::Word *packed, const float *biases, long rows,
                  const float *x, const float *context, Scratch &at, float *theta, long theta_row,
                  const Down<typename Kind::Word> &kept, float *given) {
    typedef typename Kind::Word Word;
    static const float zeros[LANES] = {0};
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
            if (kept.start) keep<Kind>(from, rows, wide, ins, kept, net.kept[k], zeros);
            bool out = straight && s + 1 == net.n_steps;
            float *to = out ? theta : step == DIRECT ? h : stream;
            long to_row = out ? theta_row : wide;
            long words = (net.ins[k] + Kind::PAIR - 1) / Kind::PAIR;
            // ReLU is taken where the sums are stored.
            bool rectified = net.activation == RELU && s + 1 < net.n_steps && net.steps[2 * s + 2] == ACTIVATION;
            product<Kind>(rows, a, wide, packed + net.forth[k], words, outs, net.forth_ranges[k],
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
                       const Down<const typename Kind::Word> &kept, const float *given,
                       const Down<typename Kind::Word> &reached, bool to_input) {
    typedef typename Kind::Word Word;
    static const float zeros[LANES] = {0};
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
            keep<Kind>(g, rows, wide, outs, reached, net.reached[k], zeros);
            if ((s == first || step == DIRECT) && !to_input) continue;
            const Word *a = as_words<Kind>(g, rows, wide, outs, (Word *)at.words, wide);
            long words = (net.outs[k] + Kind::PAIR - 1) / Kind::PAIR;
            float *to = step == DIRECT || s == first ? at.input : stream;
            product<Kind>(rows, a, wide, packed + net.back[k], words, ins, net.back_ranges[k],
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
                bend<decltype(a)::value, Kind>(rows, g, wide, size, kept, net.kept[next], from, net.given_row);
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

// Words of rows that are summed over before others: what is read of two panels stays in the nearest cache.
constexpr long DEEP = 128;

// At most R outputs of a layer, [n, n + count), and one panel of its inputs, from j on: the gradient of these weights,
// of `deep` words of rows from m on.
template <typename Kind, int R>
static inline void weigh_some(const Network &net, long k, long n, long count, long j, long m, long deep,
                              const Down<const typename Kind::Word> &kept,
                              const Down<const typename Kind::Word> &reached, bool more, const uint8_t *mask,
                              float *weight) {
    long ins = net.ins[k], width = ins - j < PANEL ? ins - j : PANEL;
    bool any = false;
    for (long r = n / RANGED; r <= (n + count - 1) / RANGED; r++) {
        const int32_t *range = net.row_ranges[k] + 2 * r;
        any = any || (range[0] < j + width && range[1] > j);
    }
    if (more && !any) return;
    float tile[R * PANEL];
    for (long r = 0; more && r < count; r++)
        for (long i = 0; i < width; i += LANES)
            store(tile + r * PANEL + i, load_part(weight + (n + r) * ins + j + i, width - i));
    const auto *a = reached.at(net.reached[k] + n, m), *b = kept.at(net.kept[k] + j, m);
    if (any && width > LANES)
        crossed<Kind, R, 2>(a, PANEL, b, PANEL, deep, more, tile, PANEL);
    else if (any)
        crossed<Kind, R, 1>(a, PANEL, b, PANEL, deep, more, tile, PANEL);
    for (long r = 0; r < count; r++)
        for (long i = 0; i < width; i += LANES) {
            long at = (n + r) * ins + j + i;
            Vec sum = any ? load(tile + r * PANEL + i) : Vec{};
            if (mask) sum = allowed(mask + at, width - i) ? sum : Vec{};
            store_part(weight + at, sum, width - i);
        }
}

// The gradient of a layer's weight and bias: of outputs [begin, end), which are of one panel. With `more`, it is added
// to what is there.
template <typename Kind>
static void weigh(const Network &net, long k, long begin, long end, long rows,
                  const Down<const typename Kind::Word> &kept, const Down<const typename Kind::Word> &reached,
                  bool more, const uint8_t *mask, float *weight, float *bias) {
    long depth = (rows + Kind::PAIR - 1) / Kind::PAIR;
    for (long m = 0; m < depth; m += DEEP) {
        long deep = depth - m < DEEP ? depth - m : DEEP;
        for (long j = 0; j < net.ins[k]; j += PANEL) {
            long n = begin;  // a panel of sixteen is six, six and four
            for (; end - n > 4; n += BLOCK)
                weigh_some<Kind, BLOCK>(net, k, n, end - n < BLOCK ? end - n : BLOCK, j, m, deep, kept, reached,
                                        more || m, mask, weight);
            if (n < end) weigh_some<Kind, 4>(net, k, n, end - n, j, m, deep, kept, reached, more || m, mask, weight);
        }
    }
    for (long n = begin; n < end; n += LANES) {
        long count = end - n < LANES ? end - n : LANES;
        const auto *g = reached.at(net.reached[k] + n, 0);
        Vec sum = more ? load_part(bias + n, count) : Vec{};
        for (long m = 0; m < depth; m++) {
            Vec each;
            std::memcpy(&each, g + m * PANEL, sizeof each);
            sum = Kind::multiply(sum, Kind::one(), each);
        }
        store_part(bias + n, sum, count);
    }
}

// LANES rows [n, n + count) of a layer's weight (out, in), with its mask, into the panels for the way forth, and
// for the way back with `both_ways`.
template <typename Kind>
static void pack(const Network &net, long k, long n, long count, const float *weight, const uint8_t *mask,
                 bool both_ways, typename Kind::Word *packed) {
    typedef typename Kind::Word Word;
    static const float zeros[LANES] = {0};
    long ins = net.ins[k], outs = net.outs[k];
    long forth = (ins + Kind::PAIR - 1) / Kind::PAIR, back = (outs + Kind::PAIR - 1) / Kind::PAIR;
    long panel = n / PANEL * PANEL, vectors = padded(outs) - panel >= PANEL ? 2 : 1;
    Word *to = packed + net.forth[k] + panel * forth + (n - panel);
    float rows[LANES][2 * LANES];
    Word words[LANES], line[LANES];
    Vec square[LANES];
    // A step along the inputs fills a vector of words: of one number each, or of two.
    for (long i = 0; i < ins; i += LANES * Kind::PAIR) {
        for (long r = 0; r < LANES; r++)
            for (long h = 0; h < Kind::PAIR; h++) {
                long at = i + h * LANES, left = ins - at;
                Vec some{};
                if (r < count && left > 0) {
                    some = load_part(weight + (n + r) * ins + at, left);
                    if (mask) some = allowed(mask + (n + r) * ins + at, left) ? some : Vec{};
                }
                store(rows[r] + h * LANES, some);
            }
        // Forth: the sum runs along the inputs; a panel's columns are outputs.
        for (long r = 0; r < LANES; r++) {
            Kind::along(rows[r], words);
            std::memcpy(square + r, words, sizeof(Vec));
        }
        turn(square);
        for (long j = 0; j < LANES && i / Kind::PAIR + j < forth; j++)
            std::memcpy(to + (i / Kind::PAIR + j) * vectors * LANES, square + j, sizeof(Vec));
        // Back: the sum runs along the outputs; a panel's columns are inputs.
        for (long h = 0; both_ways && h < Kind::PAIR && i + h * LANES < padded(ins); h++) {
            long at = i + h * LANES, from = at / PANEL * PANEL, both = padded(ins) - from >= PANEL ? 2 : 1;
            Word *start = packed + net.back[k] + from * back + (at - from);
            for (long r = 0; r < LANES && n + r < outs; r += Kind::PAIR) {
                Kind::words(rows[r] + h * LANES, r + 1 < LANES ? rows[r + 1] + h * LANES : zeros, line);
                std::memcpy(start + (n + r) / Kind::PAIR * both * LANES, line, sizeof(Vec));
            }
        }
    }
}

}  // namespace diffeo
