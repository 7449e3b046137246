"""Residuals are standard normal where the density is right: of mixtures, outcomes with mass, contexts."""

import numpy as np
import polars as pl
import pytest
import torch

from diffeo import FlowDensity
from diffeo.bijections import Standardize
from diffeo.diagnostics.fit import latent_normality
from diffeo.distributions import FullMixture, StandardNormal
from diffeo.estimator import Members
from diffeo.estimator.quantile_residuals import residuals
from diffeo.flows import Flow


def mixture(components, shared):
    draws = np.random.default_rng(0)
    base = FullMixture(2, components, shared=shared, scaled=shared)
    factor = np.tril(draws.normal(size=(1 if shared else components, 2, 2)), -1) + 2 * np.eye(2)
    scale = draws.random(components) + 0.2 if shared else None
    base.place(draws.random(components) + 0.1, 2 * draws.normal(size=(components, 2)), factor, scale=scale)
    scale = Standardize(2)
    scale.get_buffer("scale").copy_(torch.tensor([1.0, 2.0]))
    return Flow(base, Standardize(2)).double(), scale.double()


def members():
    """Two members of far apart flows, one of them of two flows."""
    kernel, view = mixture(50, shared=True)
    normals, _ = mixture(3, shared=False)
    plain = Flow(StandardNormal(2), Standardize(2)).double()
    plain.bijection.get_buffer("loc").fill_(3.0)
    views = [view, Standardize(2).double()]
    return Members(views, [kernel, normals, plain], [0, 1, 1], [0, 1, 1], [0.4, 0.6], ["kernel", "two"])


def test_residuals_of_a_mixture_are_normal_though_its_noise_is_not():
    model = members()
    x = model.sample(4000, seed=1)
    assert latent_normality(residuals(model, x, 2)).p > 0.01
    assert latent_normality(model.encode(2, x)).p < 0.01
    assert latent_normality(residuals(model, 1.2 * x, 2)).p < 0.01
    np.testing.assert_array_equal(residuals(model, x, 2), residuals(model, x, 2))


def table(rows=400):
    draws = np.random.default_rng(0)
    label = draws.choice(["a", "b"], size=rows)
    x = draws.normal(size=rows)
    return pl.DataFrame(
        {
            "label": label,
            "count": draws.poisson(np.where(label == "a", 1, 4)),
            "rain": np.where(draws.random(rows) < 0.4, 0.0, draws.exponential(size=rows)),
            "x": x,
            "hole": [None if u < 0.2 else v for u, v in zip(draws.random(rows), x + 1, strict=True)],
        }
    )


@pytest.fixture(scope="module")
def fitted():
    frame = table()
    context = frame.select(c="x") * 2
    model = FlowDensity("gaussian", max_steps=3, random_state=0).fit(frame, context=context)
    return model, frame, context


def test_outcomes_with_mass_are_spread_over_their_step(fitted):
    model, _, context = fitted
    context = pl.concat([context] * 6)
    drawn = model.sample(1, random_state=1, context=context)
    z = model.residuals(drawn, context, random_state=2)
    assert z.shape == (2400, 5)
    assert latent_normality(z, model.order_).p > 0.01
    np.testing.assert_array_equal(z, model.residuals(drawn, context, random_state=2))


def test_impossible_cells_are_nan(fitted):
    model, frame, context = fitted
    odd = frame.head(3).with_columns(pl.Series("label", ["a", "never", "b"]))
    with pytest.warns(UserWarning, match="never"):
        z = model.residuals(odd, context.head(3), random_state=0)
    assert np.isnan(z[1]).sum() == 1
    assert np.isfinite(z[[0, 2]]).all()
