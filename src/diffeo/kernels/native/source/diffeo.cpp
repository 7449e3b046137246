// What is called from outside: runs of layers forth and back, and an autoregressive layer feature by feature.
#include <utility>
#include <vector>

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

// Of each block of sixteen outputs of a run's layers, the layer and its number there.
std::vector<std::pair<long, long>> blocks_in(const Item *items, long first, long last) {
    std::vector<std::pair<long, long>> found;
    for (long i = first; i < last; i++)
        for (long block = 0; block < blocks_of(items[i].program->net); block++) found.emplace_back(i, block);
    return found;
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

// What the layers make of the rows, one after another, into the last one's y; their log-determinants are added to
// `log_det`. Where no layer keeps anything, all may write to one y.
void diffeo_forward(const Item *items, int64_t count, int64_t rows, const float *x, const float *context,
                    float *log_det, int64_t threads) {
    const auto blocks = blocks_in(items, 0, count);
    const long tiles = (rows + TILE - 1) / TILE, together = tiles_together(tiles, threads);
    if (threads > tiles && blocks.size() < 64) threads = std::max(tiles, 1l);  // what is worth their waking
#pragma omp parallel num_threads(threads)
    {
        Workplace place(items, count, false);
#pragma omp for schedule(dynamic, 8)
        for (size_t b = 0; b < blocks.size(); b++) pack_block(items[blocks[b].first], blocks[b].second);
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
// there is one. These two are right with `to_input` only.
void diffeo_backward(const Item *items, int64_t count, int64_t rows, const float *x, const float *to_y,
                     const float *to_log_det, int to_input, float *to_x, float *to_context, int64_t threads) {
    const long part_rows = threads * ROWS_A_THREAD;
    // What reaches the networks is summed into the gradients of their weights before the next rows, or layers.
    for (long last = count; last > 0; last -= SPAN) {
        const long start = std::max(last - SPAN, 0l);
        const auto blocks = blocks_in(items, start, last);
#pragma omp parallel num_threads(threads)
        {
            Workplace place(items + start, last - start, true);
            for (long part = 0; part < rows; part += part_rows) {
                const long size = std::min(rows - part, part_rows), tiles = (size + TILE - 1) / TILE;
                const long together = tiles_together(tiles, threads);
#pragma omp for schedule(dynamic, 1)
                for (long first = 0; first < tiles; first += together)
                    for (long i = last - 1; i >= start; i--) {
                        // A layer's gradient takes the place of the one behind it.
                        Back from{i ? items[i - 1].y : x, i + 1 < count ? to_x : to_y, to_log_det, i || to_input,
                                  to_x, to_input ? to_context : nullptr, i + 1 < count};
                        by_law(*items[i].program, [&](auto law) {
                            by_kind(*items[i].program, [&](auto kind) {
                                for (long tile = first; tile < std::min(first + together, tiles); tile++)
                                    tile_back<decltype(law), decltype(kind)>(items[i], law, from, rows, part, size,
                                                                             tile, items[i].reached, place);
                            });
                        });
                    }
#pragma omp for schedule(dynamic, 1)
                for (size_t b = 0; b < blocks.size(); b++) {
                    const Item &of = items[blocks[b].first];
                    by_kind(*of.program, [&](auto kind) {
                        weigh_block<decltype(kind)>(of, blocks[b].second, rows, part, size, of.reached);
                    });
                }
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
