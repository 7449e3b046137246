// What is called from outside: runs of layers forth and back, and an autoregressive layer feature by feature.
#include "run.h"
#include "unroll.h"

using namespace diffeo;

namespace {

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

// Numbers of a vector, rows of a weight that have one range, and columns of the widest panel of a product that skips
// zeros, 0 where none does.
int diffeo_lanes() { return LANES; }
int diffeo_ranged() { return RANGED; }
int diffeo_skipping() { return SKIPS ? MOST_VECTORS * LANES : 0; }

// What the layers make of the rows, one after another, into the last one's y; their log-determinants are added to
// `log_det`. Where no layer keeps anything, all may write to one y.
void diffeo_forward(const Item *items, int64_t count, int64_t rows, const float *x, const float *context,
                    float *log_det, int64_t threads) {
    const long tiles = (rows + TILE - 1) / TILE, together = tiles_together(tiles, threads);
    long blocks = 0;
    for (long i = 0; i < count; i++) blocks += blocks_of(items[i].program->net);
    if (threads > tiles && blocks < 64) threads = std::max(tiles, 1l);  // what is worth their waking
#pragma omp parallel num_threads(threads)
    {
        Workplace place(items, count, false);
        for (long i = 0; i < count; i++) {
            const long own = blocks_of(items[i].program->net);
#pragma omp for schedule(static) nowait
            for (long block = 0; block < own; block++) pack_block(items[i], block);
        }
#pragma omp barrier
#pragma omp for schedule(dynamic, 1)
        for (long first = 0; first < tiles; first += together)
            for (long i = 0; i < count; i++)
                by_law(*items[i].program, [&](auto law) {
                    by_kind(*items[i].program, [&](auto kind) {
                        for (long tile = first; tile < std::min(first + together, tiles); tile++)
                            forth<decltype(law), decltype(kind)>(items[i], law, rows, tile * TILE,
                                                                 i ? items[i - 1].y : x, context, log_det, place);
                    });
                });
    }
}

// The gradients, last layer first: towards the parameters, where the items say; towards x, and the context's where
// there is one. These two are right with `to_input` only. `reached` has room, twice `room` numbers, for what reaches
// the widest layer in one part of the rows: one half is read while the other is filled.
void diffeo_backward(const Item *items, int64_t count, int64_t rows, const float *x, const float *to_y,
                     const float *to_log_det, int to_input, float *to_x, float *to_context, float *reached,
                     int64_t room, int64_t threads) {
    const long part_rows = threads * ROWS_A_THREAD;
#pragma omp parallel num_threads(threads)
    {
        Workplace place(items, count, true);
        long turns = 0;
        for (long i = count - 1; i >= 0; i--) {
            const Item &of = items[i];
            const long shares = Share::all(of.program->net);
            // A layer's gradient takes the place of the one behind it.
            Back from{i ? items[i - 1].y : x, i + 1 < count ? to_x : to_y, to_log_det, i || to_input, to_x,
                      to_input ? to_context : nullptr, i + 1 < count};
            // What reached the layer in one part of the rows is summed into its gradients while it is near.
            for (long part = 0; part < rows; part += part_rows, turns++) {
                const long size = std::min(rows - part, part_rows), tiles = (size + TILE - 1) / TILE;
                float *own = reached + turns % 2 * room;
#pragma omp for schedule(dynamic, 1)
                for (long tile = 0; tile < tiles; tile++)
                    by_law(*of.program, [&](auto law) {
                        by_kind(*of.program, [&](auto kind) {
                            tile_back<decltype(law), decltype(kind)>(of, law, from, rows, part, size, tile, own,
                                                                     place);
                        });
                    });
#pragma omp for schedule(dynamic, 1) nowait
                for (long share = 0; share < shares; share++)
                    by_kind(*of.program, [&](auto kind) {
                        weigh_share<decltype(kind)>(of, share, rows, part, size, own, place);
                    });
            }
        }
    }
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
