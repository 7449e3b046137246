"""LU beside LULinear of nflows 0.14, with its weights."""

import pytest
import torch
from nflows.transforms.lu import LULinear

from diffeo.bijections import LU


def unbounded(value, bound):
    """Return what is bounded to ``value``."""
    return bound * torch.atanh(value / bound)


@pytest.mark.filterwarnings("ignore:torch.triangular_solve is deprecated:UserWarning")
@pytest.mark.parametrize("features", [1, 2, 3, 8])
@pytest.mark.parametrize("seed", [0, 1])
def test_lu_is_that_of_nflows(features, seed):
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    peer, own = LULinear(features).double(), LU(features, shear=1e3).double()
    rows = 3 * drawn(20, features)
    with torch.no_grad():
        for parameter in (peer.lower_entries, peer.upper_entries, peer.unconstrained_upper_diag):
            parameter.copy_(drawn(*parameter.shape))
        scale = peer.upper_diag[peer.upper_indices[0]]  # our U has its diagonal as a factor
        own.factors[tuple(peer.lower_indices)] = unbounded(peer.lower_entries, own.shear)
        own.factors[tuple(peer.upper_indices)] = unbounded(peer.upper_entries / scale, own.shear)
        own.raw_log_diagonal.copy_(unbounded(peer.upper_diag.log(), own.bound))
        wanted, wanted_log_det = peer(rows)  # its bias is 0
        found, log_det = own(rows)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_det, wanted_log_det, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(own.matrix(), peer.weight(), rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        wanted, wanted_log_det = peer.inverse(rows)
        found, log_det = own.inverse(rows)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_det, wanted_log_det, rtol=1e-9, atol=1e-9)
