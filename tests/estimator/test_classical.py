"""Classical members: EM, kernels, and what they make of a context."""

import numpy as np
import pytest
import torch

from diffeo.estimator.classical import Part, Rows, fit_gaussian, fit_mixture
from diffeo.estimator.expectation import fit_normals


def clusters(rows, seed=0):
    draws = np.random.default_rng(seed)
    which = draws.integers(3, size=rows)
    centre = np.array([[-3.0, 0.0], [0.0, 3.0], [3.0, 0.0]])
    factor = np.array([[[1.0, 0.0], [0.8, 0.3]], [[0.3, 0.0], [0.0, 1.0]], [[0.5, 0.0], [-0.4, 0.2]]])
    noise = draws.normal(size=(rows, 2))
    return torch.from_numpy(centre[which] + np.einsum("nij,nj->ni", factor[which], noise))


def table(u, held, context=None, held_context=None):
    own = u.new_zeros(len(u), 0) if context is None else context
    other = u.new_zeros(len(held), 0) if held_context is None else held_context
    part = Part(u, own, held, other, np.zeros(len(held)))
    return Rows([part], part)


@pytest.mark.parametrize("rows", [2_000, 12_000])
def test_em_finds_the_clusters_from_all_rows_and_from_batches(rows):
    u, other = clusters(rows), clusters(2_000, seed=1)
    found = fit_normals(u, 3, strength=1.0)
    assert sorted(found.loc[:, 0].tolist()) == pytest.approx([-3, 0, 3], abs=0.15)
    assert found.weights.tolist() == pytest.approx([1 / 3] * 3, abs=0.05)
    mixture = pytest.importorskip("sklearn.mixture")
    theirs = mixture.GaussianMixture(3, random_state=0, n_init=3).fit(u.numpy()).score(other.numpy())
    assert float(found.log_prob(other).mean()) > theirs - 0.02


def test_em_never_loses_on_its_own_rows():
    u = clusters(500)
    reached = [
        float(fit_normals(u, 4, strength=0.01, ridge=0.0, steps=k, tolerance=-1.0).log_prob(u).mean())
        for k in range(1, 12)
    ]
    assert (np.diff(reached) > -1e-3).all()


def test_collinear_and_duplicated_columns_have_a_density():
    u = clusters(300)
    u = torch.cat([u, u[:, :1], u.sum(1, keepdim=True)], 1)
    for components in (1, 3):
        assert fit_normals(u, components, strength=4.0).log_prob(u).isfinite().all()


def test_more_components_than_distinct_rows_stay_finite():
    u = torch.cat([torch.zeros(50, 2), torch.ones(50, 2)]).double()
    found = fit_normals(u, 8, strength=3.0)
    assert found.log_prob(u).isfinite().all()
    assert float(found.weights.sum()) == pytest.approx(1)


def test_held_out_values_are_those_of_the_base():
    rows = table(clusters(1_000), clusters(400, seed=1))
    gaussian, ridge = fit_gaussian(rows)
    found = fit_mixture(rows, ridge, 60.0, 0)
    assert found.base.log_prob(rows.parts[0].held).numpy() == pytest.approx(found.held, abs=1e-8)
    assert found.held.mean() > gaussian.held.mean() + 0.3


def test_clusters_far_flatter_than_all_rows_keep_their_own_shape():
    """Two planes in four columns, rows within 0.01 of one: what they have in common is no plane."""
    draws = np.random.default_rng(0)
    slopes = np.array([[[1.0, 0.5], [-0.5, 1.0]], [[-1.0, 1.0], [1.0, 1.0]]])
    which = draws.integers(2, size=1_200)
    a = draws.normal(size=(1_200, 2)) + 3 * which[:, None]
    b = np.einsum("nij,nj->ni", slopes[which], a) + 1e-2 * draws.normal(size=(1_200, 2))
    u = torch.from_numpy(np.concatenate([a, b], 1))
    rows = table(u[:900], u[900:])
    _, ridge = fit_gaussian(rows)
    entropy = 4 * 0.5 * np.log(2 * np.pi * np.e) + 2 * np.log(1e-2) + np.log(2)
    assert fit_mixture(rows, ridge, 60.0, 0).held.mean() > -entropy - 0.3


def test_the_location_moves_with_the_context():
    draws = torch.Generator().manual_seed(0)
    c = torch.randn(2_000, 2, generator=draws, dtype=torch.float64)
    slope = torch.tensor([[1.0, -0.5], [0.0, 2.0]], dtype=torch.float64)
    u = c @ slope.T + 0.3 * torch.randn(2_000, 2, generator=draws, dtype=torch.float64)
    rows = table(u[:1_500], u[1_500:], c[:1_500], c[1_500:])
    gaussian, _ = fit_gaussian(rows)
    negative_entropy = -2 * (0.5 * np.log(2 * np.pi * np.e) + np.log(0.3))
    assert gaussian.held.mean() == pytest.approx(negative_entropy, abs=0.1)
    assert gaussian.base.get_buffer("slope").numpy() == pytest.approx(slope.numpy(), abs=0.05)
    given = gaussian.base.log_prob(u[1_500:], c[1_500:])
    assert given.numpy() == pytest.approx(gaussian.held, abs=1e-9)
