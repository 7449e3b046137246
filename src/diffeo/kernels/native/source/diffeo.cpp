// Whole layers: what a conditioner sees, its network, the law that it steers, and all their derivatives.
//
// A tile of rows goes through everything while it is near. Rows are divided among threads, and for the
// gradients of weights the weights' rows are: no sum depends on how many threads there are.
#include "laws.h"
#include "perceptron.h"
#include "spline.h"
#include "unroll.h"

using namespace diffeo;

namespace {

// What is the same in every call: filled in by diffeo/kernels/native/program.py.
struct Program {
    Network net;
    int64_t law;  // 0 additive, 1 affine, 2 rational-quadratic
    const float *numbers;
    const int32_t *counts;
    int64_t moved;
    const int32_t *index;
    int64_t half;  // whether products are of bfloat16
};


// Rows of a thread between two sums into the gradients of weights: what reached them fits in its cache.
constexpr long ROWS_A_THREAD = 256;

long rows_of(long tile, long rows) { return tile * TILE + TILE > rows ? rows - tile * TILE : TILE; }

template <typename Law, typename Kind>
void forward(const Program &of, const void *packed, const float *biases, long rows, const float *x,
             const float *context, bool inverse, float *y, float *log_det, float *theta, void *kept,
             float *given, long threads) {
    typedef typename Kind::Word Word;
    const Network &net = of.net;
    Law law(of.numbers, of.counts);
    Layer layer{net.features, of.moved, of.index};
    long tiles = (rows + TILE - 1) / TILE, theta_row = padded(of.moved * law.params());
    long depth = (rows + Kind::PAIR - 1) / Kind::PAIR;
    if (threads > tiles) threads = tiles;
#pragma omp parallel num_threads(threads)
    {
        Scratch at(net.width);
        Lanes lanes(net.features, of.moved * law.params(), false);
        float *own = theta ? nullptr : at.numbers();
#pragma omp for schedule(static)
        for (long tile = 0; tile < tiles; tile++) {
            long row = tile * TILE, count = rows_of(tile, rows);
            float *steered = theta ? theta + row * theta_row : own;
            steer<Kind>(net, (const Word *)packed, biases, count, x + row * net.features,
                        context ? context + row * net.context : context, at, steered, theta_row,
                        Down<Word>{(Word *)kept, depth, row / Kind::PAIR},
                        given ? given + row * net.given_row : nullptr);
            apply(law, layer, count, inverse, x + row * net.features, steered, theta_row,
                  y + row * net.features, log_det + row, lanes);
        }
    }
}

template <typename Law, typename Kind>
void backward(const Program &of, const void *packed, long rows, const float *x, const float *theta,
              const void *kept, const float *given, bool inverse, const float *gy, const float *glog_det,
              bool to_input, float *gx, float *gcontext, void *reached, const uint8_t *const *masks,
              float *const *weights, float *const *biases, long threads) {
    typedef typename Kind::Word Word;
    const Network &net = of.net;
    Law law(of.numbers, of.counts);
    Layer layer{net.features, of.moved, of.index};
    long outs = of.moved * law.params(), theta_row = padded(outs), units = 0;
    long depth = (rows + Kind::PAIR - 1) / Kind::PAIR;
    for (long k = 0; k < net.n_layers; k++) units += (net.outs[k] + LANES - 1) / LANES;
    const long part_rows = threads * ROWS_A_THREAD;
#pragma omp parallel num_threads(threads)
    {
        Scratch at(net.width);
        Lanes lanes(net.features, outs, true);
        // What reached the layers in one part of the rows is summed into their gradients while it is near.
        for (long part = 0; part < rows; part += part_rows) {
            long size = rows - part < part_rows ? rows - part : part_rows;
            const Down<const Word> inputs{(const Word *)kept, depth, part / Kind::PAIR};
            const long near = (size + Kind::PAIR - 1) / Kind::PAIR;
            const Down<Word> outputs{(Word *)reached, near, 0};
#pragma omp for schedule(static)
            for (long tile = 0; tile < (size + TILE - 1) / TILE; tile++) {
                long row = part + tile * TILE, count = rows_of(tile, size);
                const float *here = x + row * net.features;
                float *to = gx + row * net.features;
                back(law, layer, count, inverse, here, theta + row * theta_row, theta_row,
                     gy + row * net.features, glog_det + row, to, at.stream, at.width, lanes);
                steer_back<Kind>(net, (const Word *)packed, count, at,
                                 Down<const Word>{inputs.start, depth, row / Kind::PAIR},
                                 given ? given + row * net.given_row : nullptr,
                                 Down<Word>{outputs.start, near, tile * TILE / Kind::PAIR}, to_input);
                if (!to_input) continue;
                for (long r = 0; r < count; r++) {
                    const float *found = at.input + r * at.width;
                    for (long j = 0; j < net.n_seen; j++) {
                        long i = r * net.features + net.seen[j];
                        if (__builtin_fabsf(here[i]) <= CONDITIONER_LIMIT) to[i] += found[j];
                    }
                    for (long j = 0; gcontext && j < net.context; j++)
                        gcontext[(row + r) * net.context + j] = found[net.n_seen + j];
                }
            }
#pragma omp for schedule(dynamic, 1)
            for (long unit = 0; unit < units; unit++) {
                long k = 0, begin = unit;
                while (begin >= (net.outs[k] + LANES - 1) / LANES)
                    begin -= (net.outs[k++] + LANES - 1) / LANES;
                begin *= LANES;
                long end = begin + LANES < net.outs[k] ? begin + LANES : net.outs[k];
                weigh<Kind>(net, k, begin, end, size, inputs, Down<const Word>{outputs.start, near, 0}, part > 0,
                            masks[k], weights[k], biases[k]);
            }
        }
    }
}

template <typename Kind, typename... Given>
void forward_by(const Program &of, Given... given) {
    if (of.law == 0) forward<Additive, Kind>(of, given...);
    if (of.law == 1) forward<Affine, Kind>(of, given...);
    if (of.law == 2) forward<RationalQuadratic, Kind>(of, given...);
}

template <typename Kind, typename... Given>
void backward_by(const Program &of, Given... given) {
    if (of.law == 0) backward<Additive, Kind>(of, given...);
    if (of.law == 1) backward<Affine, Kind>(of, given...);
    if (of.law == 2) backward<RationalQuadratic, Kind>(of, given...);
}

template <typename Law>
void unroll_rows(const Program &of, const Levels &levels, const float *const *weights,
                 const float *const *biases, long rows, const float *z, const float *context, bool inverse,
                 float *y, float *log_det, long threads) {
    const Network &net = of.net;
    Law law(of.numbers, of.counts);
    constexpr long abreast = ABREAST * LANES;
    long groups = (rows + abreast - 1) / abreast;
    if (threads > groups) threads = groups;
#pragma omp parallel num_threads(threads)
    {
        Streams at(net);
#pragma omp for schedule(static)
        for (long group = 0; group < groups; group++) {
            long row = group * abreast, count = rows - row < abreast ? rows - row : abreast;
            unroll(law, net, levels, weights, biases, count, z + row * net.features,
                   context ? context + row * net.context : context, inverse, y + row * net.features,
                   log_det + row, at);
        }
    }
}

}  // namespace

extern "C" {

// Whether products of bfloat16 are there.
int diffeo_has_half() {
#ifdef __AVX512BF16__
    return 1;
#else
    return 0;
#endif
}

// Weights and biases as the kernels read them: the biases begin behind the words of all weights.
void diffeo_pack(const Program *of, const float *const *weights, const float *const *given,
                 const uint8_t *const *masks, void *packed, float *biases, int64_t threads) {
    const Network &net = of->net;
    long blocks = 0;
    for (long k = 0; k < net.n_layers; k++) blocks += padded(net.outs[k]) / LANES;
    if (blocks < 16) threads = 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long block = 0; block < blocks; block++) {
        long k = 0, n = block;
        while (n >= padded(net.outs[k]) / LANES) n -= padded(net.outs[k++]) / LANES;
        n *= LANES;
        long count = net.outs[k] - n < LANES ? net.outs[k] - n : LANES;
        store(biases + net.bias[k] + n, load_part(given[k] + n, count));
#ifdef __AVX512BF16__
        if (of->half) {
            pack<Pair>(net, k, n, count, weights[k], masks[k], (Pair::Word *)packed);
            continue;
        }
#endif
        pack<Single>(net, k, n, count, weights[k], masks[k], (Single::Word *)packed);
    }
}

void diffeo_forward(const Program *of, const void *packed, const float *biases, int64_t rows, const float *x,
                    const float *context, int inverse, float *y, float *log_det, float *theta, void *kept,
                    float *given, int64_t threads) {
#ifdef __AVX512BF16__
    if (of->half)
        return forward_by<Pair>(*of, packed, biases, (long)rows, x, context, (bool)inverse, y, log_det, theta,
                                kept, given, (long)threads);
#endif
    forward_by<Single>(*of, packed, biases, (long)rows, x, context, (bool)inverse, y, log_det, theta, kept,
                       given, (long)threads);
}

void diffeo_backward(const Program *of, const void *packed, int64_t rows, const float *x, const float *theta,
                     const void *kept, const float *given, int inverse, const float *gy,
                     const float *glog_det, int to_input, float *gx, float *gcontext, void *reached,
                     const uint8_t *const *masks, float *const *weights, float *const *biases,
                     int64_t threads) {
#ifdef __AVX512BF16__
    if (of->half)
        return backward_by<Pair>(*of, packed, (long)rows, x, theta, kept, given, (bool)inverse, gy, glog_det,
                                 (bool)to_input, gx, gcontext, reached, masks, weights, biases,
                                 (long)threads);
#endif
    backward_by<Single>(*of, packed, (long)rows, x, theta, kept, given, (bool)inverse, gy, glog_det,
                        (bool)to_input, gx, gcontext, reached, masks, weights, biases, (long)threads);
}

// Of an autoregressive layer, what takes a pass for each feature; weights and biases are masked, not packed.
void diffeo_unroll(const Program *of, const Levels *levels, const float *const *weights,
                   const float *const *biases, int64_t rows, const float *z, const float *context, int inverse,
                   float *y, float *log_det, int64_t threads) {
    auto run = of->law == 0 ? unroll_rows<Additive>
               : of->law == 1 ? unroll_rows<Affine> : unroll_rows<RationalQuadratic>;
    run(*of, *levels, weights, biases, rows, z, context, inverse, y, log_det, threads);
}
}
