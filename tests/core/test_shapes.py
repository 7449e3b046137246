"""A part that has a shape says so: nothing broadcasts into a wrong determinant."""

import pytest
import torch

from diffeo.bijections import (
    ActNorm,
    Affine,
    BatchNorm,
    Coupling,
    Mask,
    Permutation,
    Scale,
    Standardize,
    Whiten,
)
from diffeo.conditioners import MLP
from diffeo.errors import ShapeError
from diffeo.laws import Additive

LAYERS = {
    "Affine": Affine(2),
    "Scale": Scale(2),
    "Standardize": Standardize(2),
    "Whiten": Whiten(2),
    "ActNorm": ActNorm(2),
    "BatchNorm": BatchNorm(2).eval(),
    "Permutation": Permutation([1, 0]),
    "Coupling": Coupling(Additive(), MLP(1, 1, n_params=1), Mask.halves(2)),
}


@pytest.mark.parametrize("shape", [(4, 1), (4, 3), (1,), ()])
@pytest.mark.parametrize("name", LAYERS)
def test_a_row_of_another_length_is_refused(name, shape):
    value = torch.zeros(shape)
    for method in (LAYERS[name].forward, LAYERS[name].inverse):
        with pytest.raises(ShapeError, match=r"expected \(\.\.\., 2\)"):
            method(value)
