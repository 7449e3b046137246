// A network's weights: packed for the products, and their gradients.
#pragma once
#include <algorithm>

#include "perceptron.h"

namespace diffeo {

// A square of a weight that is there whole: turned over its diagonal for the way forth, as it is for the way back.
__attribute__((noinline)) static void pack_square(const float *weight, long row, float *forth, long forth_row, float *back,
                                                  long back_row) {
    Vec square[LANES];
#pragma GCC unroll 16
    for (long r = 0; r < LANES; r++) square[r] = load(weight + r * row);
    if (back) {
#pragma GCC unroll 16
        for (long r = 0; r < LANES; r++) store(back + r * back_row, square[r]);
    }
    turn(square);
#pragma GCC unroll 16
    for (long j = 0; j < LANES; j++) store(forth + j * forth_row, square[j]);
}

// LANES rows [n, n + count) of a layer's weight (out, in), with its mask, into the panels for the way forth, and
// for the way back with `both_ways`.
template <typename Kind>
static void pack(const Network &net, long k, long n, long count, const float *weight, const uint8_t *mask,
                 bool both_ways, typename Kind::Word *packed) {
    typedef typename Kind::Word Word;
    long ins = net.ins[k], outs = net.outs[k];
    long forth = (ins + Kind::PAIR - 1) / Kind::PAIR, back = (outs + Kind::PAIR - 1) / Kind::PAIR;
    long panel = n / net.forth_panel[k] * net.forth_panel[k];
    long vectors = std::min<long>(net.forth_panel[k], padded(outs) - panel) / LANES;
    Word *to = packed + net.forth[k] + panel * forth + (n - panel);
    Vec rows[LANES][Kind::PAIR], square[LANES];
    long i = 0;
    if constexpr (Kind::PAIR == 1)
        for (; count == LANES && !mask && i + LANES <= ins; i += LANES) {
            const long from = i / net.back_panel[k] * net.back_panel[k];
            const long wide = std::min<long>(net.back_panel[k], padded(ins) - from);
            Word *start = packed + net.back[k] + from * back + (i - from) + n * wide;
            pack_square(weight + n * ins + i, ins, to + i * vectors * LANES, vectors * LANES,
                        both_ways ? start : nullptr, wide);
        }
    // A step along the inputs fills a vector of words: of one number each, or of two.
    for (; i < ins; i += LANES * Kind::PAIR) {
        for (long r = 0; r < LANES; r++)
            for (long h = 0; h < Kind::PAIR; h++) {
                long at = i + h * LANES, left = ins - at;
                rows[r][h] = Vec{};
                if (r >= count || left <= 0) continue;
                rows[r][h] = load_part(weight + (n + r) * ins + at, left);
                if (mask) rows[r][h] = allowed(mask + (n + r) * ins + at, left) ? rows[r][h] : Vec{};
            }
        // Forth: the sum runs along the inputs; a panel's columns are outputs.
        for (long r = 0; r < LANES; r++) square[r] = Kind::along(rows[r]);
        turn(square);
        const long here = i / Kind::PAIR;
        if (here + LANES <= forth) {
#pragma GCC unroll 16
            for (long j = 0; j < LANES; j++) store((float *)to + (here + j) * vectors * LANES, square[j]);
        } else {
            for (long j = 0; here + j < forth; j++) store((float *)to + (here + j) * vectors * LANES, square[j]);
        }
        // Back: the sum runs along the outputs; a panel's columns are inputs.
        for (long h = 0; both_ways && h < Kind::PAIR && i + h * LANES < padded(ins); h++) {
            long at = i + h * LANES, from = at / net.back_panel[k] * net.back_panel[k];
            long wide = std::min<long>(net.back_panel[k], padded(ins) - from);
            Word *start = packed + net.back[k] + from * back + (at - from);
            for (long r = 0; r < LANES && n + r < outs; r += Kind::PAIR) {
                Vec line = Kind::words(rows[r][h], r + 1 < LANES ? rows[r + 1][h] : Vec{});
                store((float *)start + (n + r) / Kind::PAIR * wide, line);
            }
        }
    }
}

// Outputs of a layer that one thread weighs at a time: of one panel.
constexpr long WEIGHED = 16;
// Likewise where zeros are skipped, outputs or inputs: a panel of the other side is fetched for them together.
constexpr long SKIPPED = 32;

// Whether zeros are skipped in a gradient: those that reach outputs, else those of inputs.
static inline bool skips_outputs(const Network &net, long k) { return net.kept_panel[k] > PANEL; }
static inline bool skips_inputs(const Network &net, long k) { return net.reached_panel[k] > PANEL; }

// What a layer's gradient is divided into: [begin, end) of its outputs, or of its inputs.
struct Share {
    long layer = 0, begin, end;

    Share(const Network &net, long share) {
        while (share >= of(net, layer)) share -= of(net, layer++);
        begin = share * size(net, layer);
        end = std::min(begin + size(net, layer), along(net, layer));
    }
    static long size(const Network &net, long k) {
        return skips_outputs(net, k) || skips_inputs(net, k) ? SKIPPED : WEIGHED;
    }
    static long along(const Network &net, long k) { return skips_inputs(net, k) ? net.ins[k] : net.outs[k]; }
    static long of(const Network &net, long k) { return (along(net, k) + size(net, k) - 1) / size(net, k); }
    static long all(const Network &net) {
        long found = 0;
        for (long k = 0; k < net.n_layers; k++) found += of(net, k);
        return found;
    }
};

// Whether there are weights in outputs [n, n_end) and inputs [j, j_end).
static inline bool weighs(const Network &net, long k, long n, long n_end, long j, long j_end) {
    for (long r = n / RANGED; r <= (n_end - 1) / RANGED; r++) {
        const int32_t *range = net.row_ranges[k] + 2 * r;
        if (range[0] < j_end && range[1] > j) return true;
    }
    return false;
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
    bool any = weighs(net, k, n, n + count, j, j + width);
    if (more && !any) return;
    float tile[R * PANEL];
    for (long r = 0; more && r < count; r++)
        for (long i = 0; i < width; i += LANES)
            store(tile + r * PANEL + i, load_part(weight + (n + r) * ins + j + i, width - i));
    const auto *a = reached.at(n, m), *b = kept.at(j, m);
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

// The gradient of a layer's weight, of outputs [begin, end), which are of one panel. With `more`, it is added to what
// is there.
template <typename Kind>
static void weigh(const Network &net, long k, long begin, long end, long depth,
                  const Down<const typename Kind::Word> &kept, const Down<const typename Kind::Word> &reached,
                  bool more, const uint8_t *mask, float *weight) {
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
}

// Likewise of the bias.
template <typename Kind>
static void weigh_bias(long begin, long end, long depth, const Down<const typename Kind::Word> &reached, bool more,
                       float *bias) {
    for (long n = begin; n < end; n += LANES) {
        long count = end - n < LANES ? end - n : LANES;
        const auto *g = reached.at(n, 0);
        Vec sum = more ? load_part(bias + n, count) : Vec{};
        for (long m = 0; m < depth; m++) {
            Vec each;
            std::memcpy(&each, g + m * reached.panel, sizeof each);
            sum = Kind::multiply(sum, Kind::one(), each);
        }
        store_part(bias + n, sum, count);
    }
}

// Calls with each square of LANES outputs from n on and LANES inputs from j on, and where it lies among the sums.
template <typename Call>
static inline void each_square(bool outputs, long begin, long end, long from, long to,
                               Call call) {
    for (long u = 0; u < end - begin; u += LANES)
        for (long i = 0; i < to - from; i += LANES)
            call(outputs ? begin + u : from + i, outputs ? from + i : begin + u, u, i);
}

// The sums of some columns of one side with a panel of the other's.
struct Crossing {
    float sums[SKIPPED][MOST_VECTORS * LANES] = {};
    std::vector<uint64_t> live;  // of BITS rows each, of each of the columns
};

// The gradient of a layer's weight where one side is often 0: of outputs [begin, end), each with panels of inputs, or,
// where it is inputs that are often 0, of inputs [begin, end) with panels of outputs.
static inline void weigh_skipping(const Network &net, long k, long begin, long end, long rows, const Down<const float> &kept,
                           const Down<const float> &reached, bool more, const uint8_t *mask, float *weight,
                           Crossing &at) {
    const bool outputs = skips_outputs(net, k);
    const Down<const float> &often = outputs ? reached : kept, &other = outputs ? kept : reached;
    const long ins = net.ins[k], outs = net.outs[k], count = end - begin;
    constexpr long ROW = MOST_VECTORS * LANES;
    at.live.resize((rows + BITS - 1) / BITS * SKIPPED);
    for (long m = 0; m < rows; m += BITS)
        for (long u = 0; u < count; u += PANEL)
            live_down(often.at(begin + u, m), std::min(BITS, rows - m), at.live.data() + m / BITS * SKIPPED + u);
    other.by_panel(outputs ? ins : outs, [&](long from, long to) {
        const long width = padded(to - from);
        const bool any = outputs ? weighs(net, k, begin, end, from, to) : weighs(net, k, from, to, begin, end);
        if (more && !any) return;
        if (more)
            each_square(outputs, begin, end, from, to, [&](long n, long j, long u, long i) {
                Vec square[LANES];
                for (long l = 0; l < LANES; l++)
                    square[l] = n + l < outs ? load_part(weight + (n + l) * ins + j, ins - j) : Vec{};
                if (!outputs) turn(square);
                for (long l = 0; l < LANES; l++) store(at.sums[u + l] + i, square[l]);
            });
        for (long m = 0; any && m < rows; m += BITS)
            for (long u = 0; u < count; u += PANEL)
                skipping(width / LANES, std::min(PANEL, count - u), often.at(begin + u, m), 1, PANEL,
                         at.live.data() + m / BITS * SKIPPED + u, 1, ~uint64_t(0), other.at(from, m), other.panel,
                         more || m ? at.sums[u] : nullptr, ROW, at.sums[u], ROW, false);
        each_square(outputs, begin, end, from, to, [&](long n, long j, long u, long i) {
            Vec square[LANES] = {};
            for (long l = 0; any && l < LANES; l++) square[l] = load(at.sums[u + l] + i);
            if (!outputs) turn(square);
            for (long l = 0; l < LANES && n + l < outs; l++) {
                const long place = (n + l) * ins + j;
                if (mask) square[l] = allowed(mask + place, ins - j) ? square[l] : Vec{};
                store_part(weight + place, square[l], ins - j);
            }
        });
    });
}

}  // namespace diffeo
