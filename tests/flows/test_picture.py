"""``flow.plot``: a panel for each thing that a flow knows, of any number of features."""

import numpy as np
import pytest
import torch

from diffeo.errors import ConfigError, ShapeError
from diffeo.flows import NSF, RealNVP


def titles(picture):
    picture.canvas.draw()
    return [ax.get_title() for ax in picture.axes]


@pytest.mark.parametrize("features", [1, 2, 5])
def test_every_panel_is_drawn(features):
    flow = NSF(features, transforms=1, hidden=(8,)).eval() if features == 1 else RealNVP(features).eval()
    x = torch.randn(50, features, generator=torch.Generator().manual_seed(0))
    found = titles(flow.plot(x))
    expected = ["draws, and rows", "the latent of the rows", "log p of draws, and of rows"]
    assert found == (["p(x), exact"] if features < 3 else []) + expected
    assert len(titles(flow.plot())) == len(found) - 1


def test_the_shaded_density_is_the_flow_s():
    flow = RealNVP(2, couplings=2).eval()
    mesh = flow.plot().axes[0].collections[0]
    shown, corners = np.asarray(mesh.get_array()), mesh.get_coordinates()
    middles = 0.25 * (corners[:-1, :-1] + corners[1:, :-1] + corners[:-1, 1:] + corners[1:, 1:])
    points = torch.tensor(middles[[3, 60, 90], [10, 60, 30]], dtype=torch.float32)
    expected = flow.log_prob(points).exp().detach().numpy()
    np.testing.assert_allclose(shown[[3, 60, 90], [10, 60, 30]], expected, rtol=1e-4)


def test_a_context_is_needed_where_it_is_read():
    flow = RealNVP(2, context=3, couplings=2).eval()
    with pytest.raises(ConfigError, match="context is none"):
        flow.plot()
    with pytest.raises(ConfigError, match=r"one of shape \(4, 3\)"):
        flow.plot(context=torch.zeros(4, 3))
    assert len(titles(flow.plot(torch.zeros(7, 2), torch.zeros(3)))) == 4
    with pytest.raises(ShapeError):
        RealNVP(2).eval().plot(torch.zeros(7, 3))
    with pytest.raises(ConfigError, match="columns"):
        RealNVP(2).eval().plot(columns=["a"])
