"""The logistic density has all its derivatives, also at its peak."""

import torch

from diffeo.distributions import StandardLogistic


def test_the_second_derivative_at_the_peak_is_minus_one_half():
    z = torch.tensor([0.0, 1e-3], dtype=torch.float64)
    density = torch.func.vmap(
        torch.func.grad(torch.func.grad(lambda u: StandardLogistic(1).double().log_prob(u[None])))
    )
    curvature = density(z)
    torch.testing.assert_close(curvature, -torch.cosh(z / 2).pow(-2) / 2)
