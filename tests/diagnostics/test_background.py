"""The likelihood ratio against a background: exact, calibrated, right where a raw likelihood is wrong."""

import numpy as np
import pytest
import torch

from diffeo.diagnostics import likelihood_ratio, perturbed
from diffeo.distributions import FullNormal, StandardNormal
from diffeo.errors import ConfigError, DataError, ShapeError
from diffeo.friends import Gaussian

#: Two cells that belong together, and thirty that mean nothing.
MEANING, NOISE = 2, 30


def rows(n, seed):
    draws = np.random.default_rng(seed)
    first = draws.normal(size=(n, 1))
    return np.hstack([first, first + 0.5 * draws.normal(size=(n, 1)), draws.normal(size=(n, NOISE))])


@pytest.fixture(scope="module")
def found():
    model, background = Gaussian().fit(rows(4000, 0)), Gaussian().fit(perturbed(rows(4000, 0), 0.5))
    odd = rows(300, 1)
    odd[:, 1] *= -1  # no longer together,
    odd[:, MEANING:] *= 0.5  # and plainer than any row of the training
    held, usual = rows(1999, 2), rows(2000, 3)
    return likelihood_ratio(model, background, odd, held), likelihood_ratio(model, background, usual, held)


def share_above(low, high):
    """Return P(a row of ``low`` is below one of ``high``): the area under the ROC curve."""
    return float((low[:, None] < high[None, :]).mean())


def test_the_raw_likelihood_is_fooled_and_the_ratio_is_not(found):
    odd, usual = found
    assert share_above(odd.log_p, usual.log_p) < 0.3  # most of them are likelier than usual rows
    assert share_above(odd.ratio, usual.ratio) > 0.8
    assert len(odd.unusual()) > 3 * (odd.raw_p <= 0.05).sum()
    assert "Beware of the raw likelihood" in odd.in_words()


def test_false_alarms_come_at_the_stated_rate(found):
    _, usual = found
    for rate in (0.01, 0.05, 0.2):
        spread = np.sqrt(rate * (1 - rate) * (1 / 2000 + 1 / 1999))
        assert abs((usual.p <= rate).mean() - rate) < 4 * spread
        assert abs((usual.raw_p <= rate).mean() - rate) < 4 * spread


def test_the_ratio_is_the_difference_of_log_densities():
    draws = torch.Generator().manual_seed(0)
    p, background = StandardNormal(3), FullNormal(3)
    with torch.no_grad():
        background.loc += 1.0
    x, held = torch.randn(20, 3, generator=draws), torch.randn(99, 3, generator=draws)
    found = likelihood_ratio(p, background, x, held)
    expected = -0.5 * (x**2).sum(1) + 0.5 * ((x - 1) ** 2).sum(1)
    torch.testing.assert_close(torch.from_numpy(found.ratio).float(), expected, atol=1e-5, rtol=0)
    assert (found.p * 100).round(9).tolist() == [
        1 + int((found.held_ratio <= r).sum()) for r in found.ratio
    ]


def test_an_impossible_row_is_the_most_unusual():
    class Bounded:
        def log_prob(self, x):
            return np.where(np.abs(x[:, 0]) < 1, 0.0, -np.inf)

    x = np.array([[0.5, 0.0], [2.0, 0.0]])
    found = likelihood_ratio(Bounded(), Bounded(), x, np.zeros((19, 2)))
    assert found.ratio.tolist() == [0.0, -np.inf]
    assert found.p.tolist() == [1.0, 0.05]


def test_perturbed_rows_keep_their_columns_and_lose_what_ties_them():
    x = rows(20_000, 4)
    y = perturbed(x, 0.3, random_state=1)
    assert (y != x).mean() == pytest.approx(0.3, abs=0.005)
    assert np.isin(y[:, 0], x[:, 0]).all()
    before, after = np.corrcoef(x[:, :2].T)[0, 1], np.corrcoef(y[:, :2].T)[0, 1]
    assert after == pytest.approx(0.49 * before, abs=0.03)  # both cells kept: .7²
    assert np.array_equal(perturbed(x, 0.3, random_state=1), y)
    images = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2)
    assert perturbed(images, 1.0).dtype == torch.uint8
    assert perturbed(images, 1.0).shape == images.shape


def test_bad_input_is_named():
    x = np.zeros((3, 2))
    with pytest.raises(ConfigError, match="background is a int without log_prob"):
        likelihood_ratio(Gaussian().fit(rows(50, 0)), 3, x, x)

    class Wrong:
        def __init__(self, values):
            self.values = values

        def log_prob(self, x):
            return self.values

    with pytest.raises(ShapeError, match=r"model.log_prob\(rows\) has shape \(3, 1\)"):
        likelihood_ratio(Wrong(np.zeros((3, 1))), Wrong(np.zeros(3)), x, x)
    with pytest.raises(DataError, match="infinite for 3 of 3 rows"):
        likelihood_ratio(Wrong(np.zeros(3)), Wrong(np.full(3, -np.inf)), x, x)
    with pytest.raises(ShapeError, match="expected rows of cells"):
        perturbed(np.zeros(3))
    with pytest.raises(ConfigError, match="rate"):
        perturbed(x, 0.0)
