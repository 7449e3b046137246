"""MixedRows: what depends on what, hostile rows, its start, and the pass that goes column by column."""

import math

import pytest
import torch

import diffeo
from diffeo.bijections import Identity
from diffeo.errors import ConfigError, ShapeError
from diffeo.flows import Flow
from diffeo.tables.mixed import MixedRows
from diffeo.testing import stress

#: A category, a category of too many levels for one bit each, a number, a number with an atom and holes,
#: a lattice with two atoms and holes.
STATES, NUMERIC = [3, 40, 1, 3, 4], [False, False, True, True, True]
LATTICE = [False, False, False, False, True]


def rows_of(seed=0, gain=1.0, **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = MixedRows(STATES, NUMERIC, LATTICE, **{"hidden": 20, "components": 3, **settings})
    return stress(made, gain, seed)


def packed(n=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.zeros(n, 9, dtype=torch.float64)
    for place, states in ((0, 3), (1, 40), (3, 3), (5, 4)):
        z[:, place] = torch.randint(states, (n,), generator=generator)
    z[:, 2] = torch.randn(n, generator=generator)
    z[:, 4] = torch.randn(n, generator=generator) * (z[:, 3] < 2)
    below = torch.randn(n, generator=generator)
    width = torch.rand(n, generator=generator) + 0.01
    z[:, 6:] = torch.stack([below, below + width, width], -1) * (z[:, 5:6] < 3)
    return z


#: Column of each place of a packed row.
COLUMN = torch.tensor([0, 1, 2, 3, 3, 4, 4, 4, 4])


@pytest.mark.parametrize("settings", [{}, {"blocks": 0}, {"hidden": 0}, {"hidden": 3}, {"blocks": 3}])
def test_column_by_column_gives_what_one_pass_gives(settings):
    rows, z = rows_of(gain=2.0, **settings).double(), packed(32)
    going, total = rows.columns(32), torch.zeros(32, dtype=torch.float64)
    layout = rows.layout
    for column in range(5):
        state = torch.zeros(32, dtype=torch.long)
        chosen = first = torch.zeros(32, dtype=torch.float64)
        if STATES[column] > 1:
            state = z[:, layout.state_at[column]].long()
            log_p = going.log_states(column)
            chosen, first = log_p.gather(1, state[:, None])[:, 0], log_p[:, 0]
        total = total + chosen
        if column in layout.continuous:
            u = z[:, layout.number_at[layout.continuous.index(column)]]
            total = total + torch.where(state == 0, going.mixture(column).log_density(u), 0.0)
        if column == 4:
            total = total + rows.beside(chosen, first, state == 0, going.mixture(4), z[:, 6:].T)
        going.show(column, z)
    torch.testing.assert_close(total, rows.log_prob(z), rtol=1e-10, atol=1e-10)


def test_a_column_depends_on_earlier_columns_only():
    rows, z = rows_of(gain=2.0).double(), packed(16)
    for column in range(5):
        going = rows.columns(16)
        changed = rows.columns(16)
        other = packed(16, seed=9)
        other[:, column > COLUMN] = z[:, column > COLUMN]
        for k in range(column):
            going.show(k, z)
            changed.show(k, other)
        if STATES[column] > 1:
            assert torch.equal(going.log_states(column), changed.log_states(column))
    # In one pass: log p of the columns before j does not move with what column j shows.
    inputs = torch.randn(16, len(rows.layout.shown()), dtype=torch.float64)
    wanted, shown = torch.tensor(rows.layout.wanted()), torch.tensor(rows.layout.shown())
    for column in range(5):
        moved = inputs + (shown >= column) * torch.randn(16, len(shown), dtype=torch.float64)
        same = torch.isclose(rows.network(inputs), rows.network(moved), rtol=1e-12, atol=1e-12).all(0)
        assert same[wanted <= column].all()
        assert column == 4 or not same[wanted > column].all()


def test_an_atom_of_a_lattice_is_reached_both_ways():
    rows = rows_of().double()
    z = packed(1)
    z[:, 5] = 1
    z[:, 6:] = torch.tensor([0.1, 0.4, 0.3])
    both = rows.log_prob(z).exp()
    alone, number = z.clone(), z.clone()
    alone[:, 6:] = 0.0
    number[:, 5] = 0
    # What follows sees another state, and this is the last column: the two ways add up.
    torch.testing.assert_close(both, rows.log_prob(alone).exp() + rows.log_prob(number).exp())


def test_what_is_impossible_has_density_zero_and_what_is_nan_is_nan():
    rows, z = rows_of().double(), packed(6)
    z[0, 0], z[1, 1], z[2, 3], z[3, 0] = -1, 40, 0.5, math.inf
    z[4, 5], z[4, 6:] = 0, 0.0
    z[5, 2] = math.nan
    found = rows.log_prob(z)
    assert found[:5].tolist() == [-math.inf] * 5
    assert found[5].isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gain", [1.0, 16.0])
def test_a_hostile_row_stays_in_its_row(dtype, gain):
    rows, good = rows_of(gain=gain).to(dtype), packed(5).to(dtype)
    hostile = torch.tensor([math.nan, math.inf, -math.inf, 3e38, -1e17, 1e7, -1.0], dtype=dtype)
    bad = packed(1).to(dtype).repeat(len(hostile) * 9, 1)
    for k, value in enumerate(hostile):
        for place in range(9):
            bad[9 * k + place, place] = value
    alone = torch.autograd.grad(rows.log_prob(good).sum(), list(rows.parameters()))
    z = torch.cat([good, bad]).requires_grad_()
    found = rows.log_prob(z)
    assert torch.equal(found[:5], rows.log_prob(good))
    masked = torch.where(torch.arange(len(z)) < 5, found, 0.0).sum()
    together = torch.autograd.grad(masked, [*rows.parameters(), z], retain_graph=True)
    for one, other in zip(together[:-1], alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert together[-1].isfinite().all()
    # And its own gradient times 0 is 0, in whatever it is.
    zeroed = torch.autograd.grad((found * 0.0).nan_to_num(0.0).sum(), list(rows.parameters()))
    assert all(gradient.isfinite().all() for gradient in zeroed)


def test_it_begins_as_the_product_of_its_marginals():
    z = packed(500)
    rows = MixedRows(STATES, NUMERIC, LATTICE, hidden=20).double().eval().initialise(z)
    product = MixedRows(STATES, NUMERIC, LATTICE, hidden=0, components=1).double().eval().initialise(z)
    torch.testing.assert_close(rows.log_prob(z), product.log_prob(z), rtol=0, atol=0.2)
    assert (rows.log_prob(z) - product.log_prob(z)).mean().abs() < 1e-3
    going = product.columns(1)
    share = going.log_states(0).exp()[0]
    counted = torch.bincount(z[:, 0].long(), minlength=3) / 500
    torch.testing.assert_close(share, counted.double(), rtol=0, atol=0.01)
    assert (going.log_states(1).exp() > 0).all()
    again = product.log_prob(z)
    assert torch.equal(product.initialise(packed(100, seed=3)).log_prob(z), again)


def test_dropout_is_of_training_only_and_units_and_columns_are_dropped():
    rows, z = rows_of(dropout=0.5), packed(64).float()
    assert torch.equal(rows.eval().log_prob(z), rows.log_prob(z))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert not torch.equal(rows.train().log_prob(z), rows.log_prob(z))


def test_with_a_context_every_column_sees_it():
    rows = stress(MixedRows([2, 1], [False, True], [False, False], hidden=16, context=2)).double()
    z = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    given = torch.randn(7, 2, dtype=torch.float64)
    found = rows.log_prob(z, given)
    assert found.shape == (7,)
    assert len(found.unique()) == 7
    one = [rows.log_prob(z[0], row).item() for row in given]
    torch.testing.assert_close(found, torch.tensor(one, dtype=torch.float64))
    given[3, 0] = math.nan
    assert rows.log_prob(z, given).isnan().tolist() == [k == 3 for k in range(7)]
    assert rows.sample((4, 7), given).shape == (4, 7, 2)
    assert rows.sample((4, 0), given[:0]).shape == (4, 0, 2)
    with pytest.raises(ShapeError, match="context is missing"):
        rows.log_prob(z)


def test_many_columns_and_many_categories_fit_in_memory():
    states = [10_000] + [2 + k % 5 for k in range(499)]
    numeric = [False] + [k % 3 == 0 for k in range(499)]
    rows = MixedRows(states, numeric, [False] * 500, hidden=64, blocks=1)
    z = torch.zeros(32, rows.layout.width)
    rows.log_prob(z).mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in rows.parameters())
    assert rows.eval().sample((3,)).shape == (3, rows.layout.width)


def test_nothing_to_model_has_density_one():
    rows = MixedRows([1, 1], [False, False], [False, False])
    assert rows.log_prob(torch.zeros(2, 1)).tolist() == [0.0, 0.0]


def test_a_file_gives_back_the_same_density(tmp_path):
    flow, z = Flow(rows_of(gain=2.0), Identity()), packed(16).float()
    flow.save(tmp_path / "rows.safetensors")
    assert torch.equal(diffeo.load(tmp_path / "rows.safetensors").log_prob(z), flow.log_prob(z))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], []), "states=.* at least one"),
        (([2], [False, True], [False]), "numeric=.* one length"),
        (([0], [True], [False]), "states=0"),
        (([2], ["yes"], [False]), "True or False"),
        (([2], [False], [True]), "lattice=.* no numbers"),
    ],
)
def test_a_wrong_description_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        MixedRows(*arguments)


def test_packed_rows_of_a_lattice_are_not_sampled_without_its_cells():
    with pytest.raises(ConfigError, match="sample from the MixedDensity"):
        rows_of().sample((3,))
