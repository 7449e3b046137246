"""Masks of whole channels, as Jet draws them."""

import pytest
import torch

from diffeo.bijections import Mask
from diffeo.errors import ConfigError
from diffeo.registry import from_spec, to_spec


def test_channels_are_passed_whole():
    mask = Mask.channels((3, 2, 2), [True, False, True])
    assert (mask.n_passed, mask.n_moved) == (8, 4)
    assert mask.tensor().flatten(1).all(1).tolist() == [True, False, True]
    turned = Mask.channels((3, 2, 2), [True, False, True], flip=True)
    assert (turned.n_passed, turned.n_moved) == (4, 8)
    assert torch.equal(turned.tensor(), ~mask.tensor())
    assert from_spec(to_spec(mask)) == mask


@pytest.mark.parametrize("passed", [None, [True], [True] * 12])
def test_as_many_booleans_as_channels_are_asked_for(passed):
    with pytest.raises(ConfigError, match="one boolean for each channel"):
        Mask.channels((3, 2, 2), passed)
