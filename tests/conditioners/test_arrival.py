"""When hidden units can be computed, and in what order."""

import numpy as np
import pytest

from diffeo.conditioners import MaskedMLP, MaskedResidualMLP
from diffeo.conditioners.arrival import arrival, blocks, ends, feature_times, unit_times
from diffeo.conditioners.ordered import levels, ordered


def random_graph(features, share, seed=0):
    """Return a graph without cycles, its features in no order."""
    rng = np.random.default_rng(seed)
    below = np.tril(rng.random((features, features)) < share, -1)
    line = rng.permutation(features)
    return below[line][:, line]


def made(network, graph, context, **settings):
    return network(len(graph), 2, context=context, adjacency=graph.tolist(), **settings)


@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 43, 784])
def test_blocks_divide_the_times(count):
    starts = blocks(count)
    parts = [range(start, end) for start, end in ends(starts, count).items()]
    assert [time for part in parts for time in part] == list(range(count))
    assert len({len(part) for part in parts[:-1]}) <= 1
    assert max(len(starts), *map(len, parts)) <= int(np.ceil(count**0.5))


def test_units_are_sorted_by_time_and_stand_as_they_stood_within_one():
    times = np.array([2, 0, 1, 0, 2, 0])
    line = arrival(times, 3)
    assert line.order == [1, 3, 5, 2, 0, 4]
    assert [line.fresh(t) for t in range(3)] == [(0, 3), (3, 4), (4, 6)]


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize(
    ("network", "settings"),
    [
        (MaskedMLP, {"hidden": (40, 7, 23)}),
        (MaskedMLP, {"hidden": ()}),
        (MaskedMLP, {"hidden": (9,), "period": 1.0}),
        (MaskedResidualMLP, {"width": 31}),
    ],
)
def test_nothing_arrives_before_what_it_reads(network, settings, context, share):
    net = made(network, random_graph(13, share), context, **settings)
    masks = [part.mask.numpy() for part in (net.layers or net.direct).modules() if hasattr(part, "mask")]
    assert len(masks) == len(net.arrivals) - 1
    when = []
    for line in net.arrivals:
        times = np.zeros(len(line.order), int)
        for time in range(len(net.levels) + (line is net.arrivals[0])):
            times[line.order[slice(*line.fresh(time))]] = time
        assert sorted(line.order) == list(range(len(line.order)))
        assert line.known[-1] == len(line.order)
        when.append(times)
    for mask, inputs, outputs in zip(masks, when[:-1], when[1:], strict=True):
        assert (outputs[:, None] >= inputs)[mask].all()
    # θ of a level is asked for when the levels before it are known.
    level = feature_times(net.levels)
    assert np.array_equal(when[-1], level.repeat(2))


def test_a_unit_arrives_as_soon_as_all_that_it_sees_is_known():
    graph = ordered(4, [2, 0, 3, 1])
    features = feature_times(levels(graph))
    assert features.tolist() == [1, 3, 0, 2]
    assert unit_times(graph, features).tolist() == [1, 3, 0, 2]
