"""Log and Logit: inside at both ends of the number line, torch's own transforms in between."""

import math

import pytest
import torch
from torch.distributions import transforms

from diffeo.bijections import Log, Logit

LAYERS = {
    "unit": lambda: Logit(),
    "padded": lambda: Logit(alpha=0.05),
    "pixels": lambda: Logit(0, 255, alpha=1e-6),
    "shifted": lambda: Logit(-3.0, 5.0),
    "below 0": lambda: Logit(-1000.0, 0.0),
    "positive": lambda: Log(),
    "above a shift": lambda: Log(shift=1000.0),
    "above a negative shift": lambda: Log(shift=-0.5),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_no_sample_falls_on_the_edge(name, dtype):
    layer = LAYERS[name]()
    largest = 80.0 if isinstance(layer, Log) else 1e10
    z = torch.tensor([-1e30, -800.0, -40.0, -16.0, 0.0, 16.0, 40.0, largest], dtype=dtype)[:, None]
    x, _ = layer(z)
    assert layer.codomain.check(x).all()
    again, log_det = layer.inverse(x)
    assert again.isfinite().all()
    assert log_det.isfinite().all()


def test_the_slope_does_not_round_to_zero_where_the_sigmoid_rounds_to_one():
    z = torch.tensor([[-45.0], [45.0]], dtype=torch.float64, requires_grad=True)
    x, log_det = Logit()(z)
    (slope,) = torch.autograd.grad(x.sum(), z)
    torch.testing.assert_close(slope.log().squeeze(-1), log_det)
    assert log_det[1].item() == pytest.approx(-45.0)


def test_infinities_and_nan():
    x, log_det = Log()(torch.tensor([[math.inf], [-math.inf], [math.nan]]))
    assert x[0].isposinf()
    assert x[1] == torch.finfo(torch.float32).tiny
    assert x[2].isnan()
    assert log_det.tolist()[:2] == [math.inf, -math.inf]
    z, _ = Log(shift=2.0).inverse(torch.tensor([[2.0], [1.0], [math.inf], [-math.inf], [math.nan]]))
    assert z.squeeze().tolist()[:4] == [-math.inf, -math.inf, math.inf, -math.inf]
    assert z[4].isnan()
    z, _ = Logit().inverse(torch.tensor([[0.0], [1.0], [-3.0], [7.0], [math.nan]]))
    assert z.squeeze().tolist()[:4] == [-math.inf, math.inf, -math.inf, math.inf]
    assert z[4].isnan()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Logit(), transforms.SigmoidTransform()),
        (Log(), transforms.ExpTransform()),
        (
            Logit(-3.0, 5.0),
            transforms.ComposeTransform(
                [transforms.SigmoidTransform(), transforms.AffineTransform(-3.0, 8.0)]
            ),
        ),
        (
            Log(2.0),
            transforms.ComposeTransform([transforms.ExpTransform(), transforms.AffineTransform(2.0, 1.0)]),
        ),
    ],
    ids=["logit", "log", "box", "shifted log"],
)
def test_they_are_torchs_transforms(ours, theirs):
    z = torch.linspace(-6, 6, 25, dtype=torch.float64)[:, None]
    x, log_det = ours(z)
    torch.testing.assert_close(x, theirs(z))
    torch.testing.assert_close(log_det, theirs.log_abs_det_jacobian(z, theirs(z)).sum(-1))
    torch.testing.assert_close(ours.inverse(x)[0], theirs.inv(x))


def test_the_slope_in_the_middle_is_a_quarter():
    z = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    x, log_det = Logit()(z)
    (slope,) = torch.autograd.grad(x.sum(), z)
    assert slope.item() == 0.25
    assert log_det.exp().item() == pytest.approx(0.25)
