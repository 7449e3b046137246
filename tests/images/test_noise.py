"""Gaussian noise on pixels, its removal from samples, and samples pushed towards their class."""

import math

import numpy as np
import pytest
import torch

import diffeo
from diffeo.bijections import Chain, Scale
from diffeo.distributions import StandardNormal
from diffeo.errors import ConfigError
from diffeo.images import ImageModel, Images, Pixels, guided, image_model
from diffeo.training import TrainConfig

SHAPE = (1, 4, 4)
TINY = {"patch": 2, "width": 16, "transforms": 2, "blocks": 1, "heads": 2}


def normal(width, noise):
    """Levels that are normal around the middle of 256, ``width`` wide with the noise."""
    unit = Pixels(SHAPE, 256, -128.0, 128.0)
    flow = diffeo.Flow(StandardNormal(SHAPE), Chain(Scale(SHAPE, bound=1e4), unit))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.fill_(math.log(width))
    return ImageModel(flow, 256, noise=noise)


def by_class(noise=0.0):
    torch.manual_seed(0)
    model = image_model(SHAPE, 17, flow="tarflow", settings=TINY, classes=("a", "b"), noise=noise)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def test_samples_are_freed_from_the_noise_as_a_normal_density_says():
    width, noise = 20.0, 12.0
    plain, noisy = normal(width, 0.0).sample(2000), normal(width, noise).sample(2000)
    # E[x | y] = μ + (1 − σ²/s²) (y − μ), whose deviation is s − σ²/s; the cells' own is 1/12.
    for images, deviation in ((plain, width), (noisy, width - noise**2 / width)):
        x = images.pixels + 0.5
        assert x.mean() == pytest.approx(128, abs=0.5)
        assert x.std() == pytest.approx(math.sqrt(deviation**2 + 1 / 12), rel=0.02)


def test_a_fit_sees_the_noise():
    pixels = np.full((400, *SHAPE), 128, np.uint8)
    config = TrainConfig(max_steps=300, learning_rate=3e-2, averaging=0.9)
    model = normal(3.0, 6.0)
    model.fit(Images(pixels, 256), validation=None, config=config, progress=False)
    # x + u is around 128 by 0.5, and 1/12 + σ² wide.
    learnt = torch.cat([p.flatten() for p in model.parameters()]).exp()
    assert learnt.mean().item() == pytest.approx(math.sqrt(0.5**2 + 1 / 12 + 6.0**2), rel=0.03)


def test_guidance_draws_from_the_guided_flow():
    model = by_class()
    plain, pushed = model.sample(6, labels="b"), model.sample(6, labels="b", guidance=2.0)
    assert (plain.pixels != pushed.pixels).any()
    assert pushed.labels.tolist() == [1] * 6
    context = torch.tensor([[0.0, 1.0]]).expand(6, 2)
    z = model.flow.base.sample((6,), context, generator=torch.Generator().manual_seed(0))
    x = guided(model.flow, 2.0).decode(z, context).detach()
    np.testing.assert_array_equal(pushed.pixels, x.floor().clamp(0, 16).numpy().astype(np.uint8))


def test_noise_and_guidance_go_together_and_into_a_file(tmp_path):
    model = by_class(noise=0.7)
    model.save(tmp_path / "m.safetensors")
    again = diffeo.load(tmp_path / "m.safetensors")
    assert again.noise == 0.7
    first, second = (m.sample(4, guidance=1.0, seed=3) for m in (model, again))
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert (first.pixels != by_class().sample(4, guidance=1.0, seed=3).pixels).any()


def test_classes_that_are_left_out_are_learnt_as_none():
    """With all of them left out, classes make no difference to the loss, and the weights they meet stay."""
    images = Images(np.zeros((40, *SHAPE), np.uint8), 17, np.arange(40) % 2, classes=("a", "b"))
    moved = {}
    for drop in (0.0, 1.0):
        model = by_class()
        before = {name: value.clone() for name, value in model.named_parameters() if "given" in name}
        assert before
        config = TrainConfig(max_steps=3, weight_decay=0.0)
        model.fit(images, validation=None, config=config, drop=drop, progress=False)
        after = dict(model.named_parameters())
        weights = [name for name in before if before[name].ndim == 2]
        moved[drop] = max(float((after[name] - before[name]).detach().abs().max()) for name in weights)
    assert moved[0.0] > 1e-5
    assert moved[1.0] == 0.0


def test_what_cannot_be_is_told():
    with pytest.raises(ConfigError, match=r"noise=2 with pixels='logit'.*expected pixels \"unit\""):
        image_model(SHAPE, flow="tarflow", settings=TINY, noise=2.0, pixels="logit")
    with pytest.raises(ConfigError, match=r"noise=2 with .*dequantisation='variational'"):
        image_model(SHAPE, flow="tarflow", settings=TINY, noise=2.0, dequantisation="variational")
    with pytest.raises(ConfigError, match=r"guidance=1 for a model without classes"):
        normal(3.0, 0.0).sample(2, guidance=1.0)
    glow = image_model(SHAPE, flow="glow", settings={"levels": 1, "steps": 1, "width": 4}, classes=("a",))
    with pytest.raises(ConfigError, match=r"no autoregressive layer that reads a context"):
        glow.sample(2, guidance=1.0)
    with pytest.raises(ConfigError, match=r"drop=0.1 for a model without classes"):
        normal(3.0, 0.0).fit(Images(np.zeros((4, *SHAPE), np.uint8)), drop=0.1)
