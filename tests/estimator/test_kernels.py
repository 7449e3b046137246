"""The kernel density: its widths, what neighbours do to them, and where there are none."""

import math

import numpy as np
import pytest
import torch

from diffeo.estimator import kernels
from diffeo.estimator.classical import Part, Rows, fit_gaussian
from diffeo.estimator.kernels import fit_kernel


def table(u, held):
    part = Part(u, u.new_zeros(len(u), 0), held, held.new_zeros(len(held), 0), np.zeros(len(held)))
    return Rows([part], part)


def towns(rows, seed, columns=2):
    """Rows close to few places, and far around them: scales that differ by hundreds."""
    draws = np.random.default_rng(seed)
    places = np.random.default_rng(7).normal(size=(30, columns))
    wide = np.exp(np.random.default_rng(8).normal(-4, 1.5, size=30))
    which = draws.integers(30, size=rows)
    return torch.from_numpy(places[which] + wide[which, None] * draws.normal(size=(rows, columns)))


def fitted(train, held, seconds=math.inf):
    rows = table(train, held)
    _, ridge = fit_gaussian(rows)
    return rows, fit_kernel(rows, ridge, seconds, 0)


@pytest.mark.parametrize("columns", [2, 8])
def test_held_out_values_are_those_of_the_base(columns):
    rows, found = fitted(towns(1_500, 0, columns), towns(500, 1, columns))
    assert found.base.log_prob(rows.parts[0].held).numpy() == pytest.approx(found.held, abs=1e-8)
    assert found.base.scaled == (rows.columns <= kernels.NEAR)


def test_one_width_is_chosen_for_one_scale_and_is_near_the_best_of_a_grid():
    draws = torch.Generator().manual_seed(0)
    u = torch.randn(800, 2, generator=draws, dtype=torch.float64)
    u = u @ torch.tensor([[1.0, 0.8], [0.0, 0.3]], dtype=torch.float64)
    rows, found = fitted(u[:400], u[400:])
    factor = found.base.get_buffer("factor").clone()
    best = -np.inf
    for stretch in np.geomspace(0.3, 3, 25):
        found.base.get_buffer("factor").copy_(factor * float(stretch))
        best = max(best, float(found.base.log_prob(rows.parts[0].held).mean()))
    assert found.held.mean() > best - 0.01


def test_kernels_are_wider_where_rows_are_few(monkeypatch):
    train, held = towns(3_000, 0), towns(1_000, 1)
    _, found = fitted(train, held)
    assert found.base.scaled
    scale, loc = found.base.get_buffer("scale"), found.base.get_buffer("loc")
    assert float(scale.max() / scale.min()) > 30
    near = torch.cdist(loc, loc).fill_diagonal_(torch.inf).topk(8, largest=False).values[:, -1]
    assert np.corrcoef(near.log().numpy(), scale.log().numpy())[0, 1] > 0.95
    monkeypatch.setattr(kernels, "BENDS", ())
    _, plain = fitted(train, held)
    assert not plain.base.scaled
    assert found.held.mean() > plain.held.mean() + 0.3


def test_its_draws_are_of_its_density():
    _, found = fitted(towns(1_500, 0), towns(500, 1))
    drawn = found.base.sample((4_000,), generator=torch.Generator().manual_seed(0))
    again = found.base.sample((4_000,), generator=torch.Generator().manual_seed(1))
    # E over p of log p is the same whichever draws it is taken over.
    first, second = found.base.log_prob(drawn), found.base.log_prob(again)
    error = math.sqrt(float(first.var() + second.var()) / 4_000)
    assert abs(float(first.mean() - second.mean())) < 4 * error
    loc = found.base.get_buffer("loc")
    for column in (0, 1):
        low = torch.quantile(drawn[:, column], 0.1)
        assert float((loc[:, column] < low).double().mean()) == pytest.approx(0.1, abs=0.03)


def test_rows_that_are_repeated_have_a_density():
    u = towns(600, 0)
    u[:300] = u[0]
    rows, found = fitted(u, towns(200, 1))
    assert found.base.log_prob(rows.parts[0].held).isfinite().all()
    assert np.isfinite(found.held).all()


def test_little_time_is_fewer_rows_and_none_is_no_kernel():
    train, held = towns(6_000, 0), towns(1_000, 1)
    assert fitted(train, held, seconds=1e-6)[1] is None
    _, some = fitted(train, held, seconds=0.3)
    assert some is None or len(some.base.get_buffer("loc")) <= 6_000
