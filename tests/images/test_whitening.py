"""Whitened images: an exact density, read off many images in parts, once."""

import numpy as np
import pytest
import torch

import diffeo
from diffeo.bijections import Chain, Flattened, Scale, Whiten
from diffeo.distributions import StandardNormal
from diffeo.errors import DataError
from diffeo.images import Images, Pixels, image_model, with_noise
from diffeo.images.model.whitening import read_whitening
from diffeo.training import TrainConfig


@pytest.mark.parametrize("whiten", ["zca", "pca", "cholesky"])
def test_whitened_images_keep_their_constant(whiten):
    """log p(x) of an untrained flow behind a whitening is that of the Gaussian of the images."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 16, (400, 1, 2, 3), dtype=np.uint8)
    pixels[:, :, 1] = (pixels[:, :, 0] + pixels[:, :, 1]) // 2
    images = Images(pixels, 16)
    flow = diffeo.Flow(StandardNormal((1, 2, 3)), Scale((1, 2, 3)))
    model = image_model((1, 2, 3), 16, flow=flow, pixels="symmetric", whiten=whiten)
    model.fit(images, validation=None, config=TrainConfig(max_steps=1, learning_rate=1e-9))
    rows = (
        with_noise(torch.from_numpy(pixels).float(), torch.Generator().manual_seed(1)).flatten(1).double()
    )
    law = torch.distributions.MultivariateNormal(rows.mean(0), torch.cov(rows.T, correction=0))
    found = model.flow.double().log_prob(rows.reshape(-1, 1, 2, 3))
    assert torch.allclose(found, law.log_prob(rows), atol=1e-3)
    assert (model.decode(model.encode(images[:9])).pixels == pixels[:9]).all()


@pytest.mark.parametrize("dequantisation", ["uniform", "variational"])
def test_whitening_of_classes_is_read_in_parts_and_not_again_on_going_on(dequantisation, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 16, (700, 1, 2, 3), dtype=np.uint8)
    images = Images(pixels, 16, labels=np.arange(700) % 2)
    found = []
    for _ in range(2):  # the second goes on from the end of the first
        torch.manual_seed(0)
        model = image_model(
            (1, 2, 3), 16, flow="nice", settings={"hidden": (4,)}, classes=("a", "b"), whiten="zca",
            dequantisation=dequantisation, noise_width=4,
        )  # fmt: skip
        model.fit(
            images,
            config=TrainConfig(max_steps=12, batch_size=32, evaluate_every=4),
            checkpoint=tmp_path / "state",
            scratch=tmp_path,
        )
        layer = next(part for part in model.flow.modules() if isinstance(part, Whiten))
        assert bool(layer.get_buffer("initialised"))
        found.append(layer.get_buffer("mean"))
    assert 0 < float(found[0].abs().max()) < 1  # pixels of the unit interval
    assert torch.equal(*found)


def test_a_whitening_inside_of_a_flow_is_left_to_it():
    inner = Chain(Flattened((1, 2, 3), Whiten(6)), Scale((1, 2, 3)), Pixels((1, 2, 3), 16, 0.0, 1.0))
    read_whitening(diffeo.Flow(StandardNormal((1, 2, 3)), inner), torch.rand(50, 1, 2, 3), None, 0)
    assert not bool(inner.bijections[0].bijection.get_buffer("initialised"))


def test_whitening_needs_more_images_than_pixels():
    images = Images(np.random.default_rng(0).integers(0, 16, (20, 1, 5, 5), dtype=np.uint8), 16)
    model = image_model((1, 5, 5), 16, flow="nice", settings={"hidden": (4,)}, whiten="zca")
    with pytest.raises(DataError, match="18 training images of 25 pixels"):
        model.fit(images)
