// Layers one after another: their weights packed, and the rows taken forth and back, by one team of threads.
//
// Forth a thread takes some tiles of rows through all layers before it takes others, so that no thread waits for
// another, and one that is held up takes fewer. Back, threads meet once a layer: for the gradients of weights it is
// the weights' rows that are divided. No sum depends on how many threads there are.
#pragma once
#include <algorithm>

#include "laws.h"
#include "spline.h"
#include "weights.h"

namespace diffeo {

// What of a layer is the same in every call: filled in by diffeo/kernels/native/program.py.
struct Program {
    Network net;
    int64_t law;  // 0 additive, 1 affine, 2 rational-quadratic
    const float *numbers;
    const int32_t *counts;
    int64_t moved;
    const int32_t *index;
    int64_t half;  // whether products are of bfloat16
};

// A layer of a run: filled in by diffeo/kernels/native/table.py, field by field.
struct Item {
    const Program *program;
    int64_t inverse;                 // the direction of the law
    const uint8_t *const *masks;     // of each weight, or null
    const float *const *parameters;  // each weight, (out, in), and its bias
    float *const *gradients;         // likewise
    void *packed;                    // the weights as products read them
    float *biases;                   // likewise
    float *y;                        // what the layer makes of its rows
    float *theta;                    // for the way back, or null: θ,
    void *kept;                      // what each layer of the network was given,
    float *given;                    // and what activations were
};

// Rows of a thread between two sums into the gradients of weights: what reached them fits in its cache.
constexpr long ROWS_A_THREAD = 256;

static inline long rows_of(long tile, long rows) { return tile * TILE + TILE > rows ? rows - tile * TILE : TILE; }

template <typename Call>
static inline void by_law(const Program &of, Call call) {
    if (of.law == 0) return call(Additive(of.numbers, of.counts));
    if (of.law == 1) return call(Affine(of.numbers, of.counts));
    call(RationalQuadratic(of.numbers, of.counts));
}

template <typename Call>
static inline void by_kind(const Program &of, Call call) {
#ifdef __AVX512BF16__
    if (of.half) return call(Pair{});
#endif
    call(Single{});
}

static inline long params_of(const Program &of) {
    long found = 0;
    by_law(of, [&](auto law) { found = of.moved * law.params(); });
    return found;
}

// What a thread needs for itself, whichever layer it is at.
struct Workplace {
    Scratch at;
    Lanes lanes;
    float *theta;
    Crossing crossing;

    Workplace(const Item *items, long count, bool back)
        : at(widest(items, count)), lanes(items->program->net.features, most_params(items, count), back),
          theta(at.numbers()) {}

    static long widest(const Item *items, long count) {
        long found = 0;
        for (long i = 0; i < count; i++) found = std::max<long>(found, items[i].program->net.width);
        return found;
    }
    static long most_params(const Item *items, long count) {
        long found = 0;
        for (long i = 0; i < count; i++) found = std::max(found, params_of(*items[i].program));
        return found;
    }
};

// How often LANES outputs of one layer there are in a network.
static inline long blocks_of(const Network &net) {
    long found = 0;
    for (long k = 0; k < net.n_layers; k++) found += (net.outs[k] + LANES - 1) / LANES;
    return found;
}

// The tiles that a thread takes at a time: some, since a layer's weights are fetched for them together.
static inline long tiles_together(long tiles, long threads) {
    return std::min(std::max(tiles / (2 * threads), 1l), ROWS_A_THREAD / TILE);
}

// LANES outputs of one layer of the network: weights and biases as the kernels read them; for the way back where
// there is one.
static void pack_block(const Item &of, long block) {
    const Network &net = of.program->net;
    long k = 0;
    for (; block * LANES >= net.outs[k]; k++) block -= (net.outs[k] + LANES - 1) / LANES;
    long begin = block * LANES, count = std::min(LANES, net.outs[k] - begin);
    const float *weight = of.parameters[2 * k], *bias = of.parameters[2 * k + 1];
    store(of.biases + net.bias[k] + begin, load_part(bias + begin, count));
    by_kind(*of.program, [&](auto kind) {
        typedef decltype(kind) Kind;
        pack<Kind>(net, k, begin, count, weight, of.masks[k], of.kept != nullptr,
                   (typename Kind::Word *)of.packed);
    });
}

// A tile of rows through one layer, from `row` on.
template <typename Law, typename Kind>
static void forth(const Item &of, const Law &law, long rows, long row, const float *x, const float *context,
                  float *log_det, Workplace &place) {
    typedef typename Kind::Word Word;
    const Network &net = of.program->net;
    Layer layer{net.features, of.program->moved, of.program->index};
    long theta_row = padded(layer.moved * law.params()), depth = (rows + Kind::PAIR - 1) / Kind::PAIR;
    long count = rows_of(row / TILE, rows);
    float *theta = of.theta ? of.theta + row * theta_row : place.theta;
    steer<Kind>(net, (const Word *)of.packed, of.biases, count, x + row * net.features,
                context ? context + row * net.context : context, place.at, theta, theta_row,
                Kept<Word>{(Word *)of.kept, depth, row / Kind::PAIR, net.kept, net.kept_panel},
                of.given ? of.given + row * net.given_row : nullptr);
    apply(law, layer, count, of.inverse, x + row * net.features, theta, theta_row, of.y + row * net.features,
          log_det + row, place.lanes);
}

// What comes back through a layer.
struct Back {
    const float *x, *gy, *glog_det;
    bool to_input;
    float *gx, *gcontext;
    bool more;  // whether layers before have added to `gcontext`
};

// A tile of the rows [part, part + size) back through one layer; what reached its network into `reached`.
template <typename Law, typename Kind>
static void tile_back(const Item &of, const Law &law, const Back &from, long rows, long part, long size, long tile,
                      void *reached, Workplace &place) {
    typedef typename Kind::Word Word;
    const Network &net = of.program->net;
    Layer layer{net.features, of.program->moved, of.program->index};
    Scratch &at = place.at;
    long theta_row = padded(layer.moved * law.params());
    long depth = (rows + Kind::PAIR - 1) / Kind::PAIR, near = (size + Kind::PAIR - 1) / Kind::PAIR;
    long row = part + tile * TILE, count = rows_of(tile, size);
    const float *here = from.x + row * net.features;
    float *to = from.gx + row * net.features;
    back(law, layer, count, of.inverse, here, of.theta + row * theta_row, theta_row, from.gy + row * net.features,
         from.glog_det + row, to, at.stream, at.width, place.lanes);
    steer_back<Kind>(net, (const Word *)of.packed, count, at,
                     Kept<const Word>{(const Word *)of.kept, depth, row / Kind::PAIR, net.kept, net.kept_panel},
                     of.given ? of.given + row * net.given_row : nullptr,
                     Kept<Word>{(Word *)reached, near, tile * TILE / Kind::PAIR, net.reached, net.reached_panel},
                     from.to_input);
    if (!from.to_input) return;
    for (long r = 0; r < count; r++) {
        const float *found = at.input + r * at.width;
        for (long j = 0; j < net.n_seen; j++) {
            long i = r * net.features + net.seen[j];
            if (__builtin_fabsf(here[i]) <= CONDITIONER_LIMIT) to[i] += found[j];
        }
        for (long j = 0; from.gcontext && j < net.context; j++) {
            float &sum = from.gcontext[(row + r) * net.context + j];
            sum = from.more ? sum + found[net.n_seen + j] : found[net.n_seen + j];
        }
    }
}

// A share of the gradients of a layer, of the rows [part, part + size).
template <typename Kind>
static void weigh_share(const Item &of, long share, long rows, long part, long size, const void *reached,
                        Workplace &place) {
    typedef typename Kind::Word Word;
    const Network &net = of.program->net;
    long depth = (rows + Kind::PAIR - 1) / Kind::PAIR, near = (size + Kind::PAIR - 1) / Kind::PAIR;
    Share own(net, share);
    long k = own.layer;
    auto kept = Kept<const Word>{(const Word *)of.kept, depth, part / Kind::PAIR, net.kept, net.kept_panel}.of(k);
    auto came = Kept<const Word>{(const Word *)reached, near, 0, net.reached, net.reached_panel}.of(k);
    float *weight = of.gradients[2 * k], *bias = of.gradients[2 * k + 1];
    bool done = false;
    if constexpr (SKIPS && Kind::PAIR == 1)
        if ((done = skips_outputs(net, k) || skips_inputs(net, k)))
            weigh_skipping(net, k, own.begin, own.end, size, kept, came, part > 0, of.masks[k], weight, place.crossing);
    if (!done) weigh<Kind>(net, k, own.begin, own.end, near, kept, came, part > 0, of.masks[k], weight);
    if (!skips_inputs(net, k))
        weigh_bias<Kind>(own.begin, own.end, near, came, part > 0, bias);
    else if (!own.begin)
        weigh_bias<Kind>(0, net.outs[k], near, came, part > 0, bias);
}

}  // namespace diffeo
