"""The density of whole levels: known probabilities, exact constants, there and back, fits."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import diffeo
from diffeo.bijections import Chain, Scale
from diffeo.distributions import StandardNormal, Uniform
from diffeo.errors import ConfigError, DataError, DtypeError, ShapeError
from diffeo.images import (
    Dequantisation,
    ImageModel,
    Images,
    Pixels,
    bits_per_dim,
    image_model,
    nats_in_unit,
    read,
    with_noise,
)
from diffeo.images.model.circle import along
from diffeo.testing import stress
from diffeo.training import TrainConfig

SHAPE, LEVELS = (1, 1, 2), 6
QUICK = TrainConfig(max_steps=12, batch_size=32, learning_rate=5e-3, averaging=0.5, evaluate_every=4)
SMALL = {"settings": {"scales": 2, "width": 4, "blocks": 1}}


def known(*last):
    """A normal density of two pixels, 1.2 levels wide: P(x) is a product of differences of Φ."""
    return ImageModel(
        diffeo.Flow(StandardNormal(SHAPE), Chain(Pixels(SHAPE, LEVELS, -2.5, 2.5), *last)), LEVELS
    )


def all_images():
    levels = np.arange(LEVELS, dtype=np.uint8)
    pairs = np.stack(np.meshgrid(levels, levels, indexing="ij"), -1).reshape(-1, *SHAPE)
    return Images(pairs, LEVELS)


def probabilities(images):
    """P(x) of the known density, exactly."""
    normal = torch.distributions.Normal(0.0, 1.0)
    low = torch.from_numpy(images.pixels.astype(np.float64)) / (LEVELS / 5) - 2.5
    cells = normal.cdf(low + 5 / LEVELS) - normal.cdf(low)
    return cells.flatten(1).prod(-1).numpy()


def entropy(weights):
    return float(-(weights * np.log(weights)).sum())


# -- known probabilities ----------------------------------------------------------------------------


def many(images, times):
    return Images(np.concatenate([images.pixels] * times), images.levels)


def averaged(model, images, draws, times):
    """Return log of the mean of P's estimates over ``draws`` × ``times`` draws."""
    found = model.log_prob(many(images, times), draws=draws).reshape(times, -1)
    return np.log(np.exp(found).mean(0))


def test_the_bound_is_below_and_closes_with_draws():
    images, model = all_images(), known()
    weights = probabilities(images)
    exact = np.log(weights)
    # The mean gap of images of the density, at each K.
    means = [
        float(((exact - model.log_prob(many(images, 60), draws=k).reshape(60, -1)) * weights).sum(1).mean())
        for k in (1, 4, 16)
    ]
    assert means[0] > 2 * means[1] > 4 * means[2] > 0
    np.testing.assert_allclose(averaged(model, images, 100, 70), exact, atol=0.03)


def test_the_bits_of_images_drawn_from_the_model_are_its_entropy():
    images, model = all_images(), known()
    weights = probabilities(images)
    inside = weights.sum()
    assert inside == pytest.approx(1, abs=0.03)  # the normal has a little beyond the levels
    weights = weights / inside
    bits = bits_per_dim(float((weights * averaged(model, images, 100, 70)).sum()), 2)
    assert bits == pytest.approx((entropy(weights) - math.log(inside)) / (2 * math.log(2)), abs=0.005)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_uniform_density_takes_log_2_levels_bits(levels):
    shape = (3, 2, 2)
    base = Uniform(shape, 0.0, 1.0)
    model = ImageModel(diffeo.Flow(base, Pixels(shape, levels)), levels)
    images = Images(np.random.default_rng(0).integers(0, levels, (5, *shape), dtype=np.uint8), levels)
    np.testing.assert_allclose(model.log_prob(images, draws=3), -12 * math.log(levels), rtol=1e-6)
    np.testing.assert_allclose(model.bits_per_dim(images), math.log2(levels), rtol=1e-6)
    np.testing.assert_allclose(model.unit_nats(images), 0, atol=1e-4)


def test_units_are_those_of_the_papers():
    assert round(bits_per_dim(1980.50 - 784 * math.log(256), 784), 2) == 4.36
    # The 4.48 bits that are quoted for NICE's 5371.78 nats on CIFAR-10 are of pixels in [−1, 1].
    assert round(bits_per_dim(5371.78 - 3072 * math.log(256), 3072), 2) == 5.48
    assert round(bits_per_dim(5371.78 - 3072 * math.log(128), 3072), 2) == 4.48
    assert nats_in_unit(-3 * math.log(256), 3, 256) == pytest.approx(0)
    assert bits_per_dim(-3 * math.log(256), 3) == pytest.approx(8)


@pytest.mark.parametrize("pixels", ["logit", "unit", "centred", "symmetric"])
def test_preprocessing_changes_no_constant(pixels):
    """An untrained flow of uniform noise under any preprocessing integrates to one over pixels."""
    model = image_model((1, 1, 2), 3, flow="nice", pixels=pixels, settings={"hidden": (4,)}).double().eval()
    points = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    wide = 12 * (points - 0.5) * 3 + 1.5 if pixels != "logit" else (points - 0.5) * (3 / 0.9) + 1.5
    grid = torch.stack(torch.meshgrid(wide, wide, indexing="ij"), -1).reshape(-1, 1, 1, 2)
    mass = float(model(grid).detach().exp().sum() * (wide[1] - wide[0]) ** 2)
    assert mass == pytest.approx(1, abs=0.02)


# -- noise ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_stays_in_its_cell(dtype):
    cells = torch.arange(256, dtype=dtype).repeat(2000, 1)
    noisy = with_noise(cells, torch.Generator().manual_seed(0))
    assert torch.equal(noisy.floor(), cells)
    assert (noisy >= cells).all()
    assert float((noisy - cells).mean()) == pytest.approx(0.5, abs=1e-3)
    assert (noisy[:, 0] > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gain", [1.0, 4.0, 16.0])
def test_variational_noise_stays_in_its_cell_and_keeps_probabilities(dtype, gain):
    torch.manual_seed(0)
    layer = Dequantisation(SHAPE, LEVELS, couplings=2, width=4)
    flow = diffeo.Flow(StandardNormal(SHAPE), Chain(Pixels(SHAPE, LEVELS, -2.5, 2.5), layer))
    model = ImageModel(stress(flow, gain).to(dtype), LEVELS)
    layer, images = model.flow.bijection.bijections[-1], all_images()
    cells = torch.from_numpy(images.pixels).to(dtype)
    noisy = with_noise(cells.repeat(50, 1, 1, 1), torch.Generator().manual_seed(0))
    for direction in (layer.forward, layer.inverse):
        assert torch.equal(direction(noisy)[0].detach().floor(), noisy.floor())
    if gain == 1.0:
        np.testing.assert_allclose(
            averaged(model, images, 100, 70), np.log(probabilities(images)), atol=0.1
        )


def test_variational_noise_learns_to_tighten_the_bound():
    """A density that is steep within cells: uniform noise pays for it, noise that is learnt does not."""
    torch.manual_seed(0)
    narrow = Pixels(SHAPE, LEVELS, -12.0, 12.0)  # a standard deviation of a quarter of a level
    layers = Chain(narrow, Dequantisation(SHAPE, LEVELS, width=8))
    model = ImageModel(diffeo.Flow(StandardNormal(SHAPE), layers), LEVELS)
    normal = torch.distributions.Normal(0.0, 1.0)
    values, cell = np.array([2, 3], np.uint8), 24 / LEVELS
    images = Images(values[np.random.default_rng(0).integers(0, 2, (256, *SHAPE))], LEVELS)
    low = torch.from_numpy(images.pixels.astype(np.float64)) * cell - 12
    exact = (normal.cdf(low + cell) - normal.cdf(low)).log().flatten(1).sum(-1).numpy().mean()
    before = exact - model.log_prob(images, draws=1).mean()
    model.fit(images, config=TrainConfig(max_steps=150, batch_size=64, learning_rate=2e-2, averaging=0.9))
    after = exact - model.log_prob(images, draws=1).mean()
    assert before > 1.5
    assert 0 < after < before / 3


# -- there and back ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return read("digits")


@pytest.fixture(scope="module")
def fitted(digits):
    model = image_model(
        (1, 8, 8), 17, dequantisation="variational", noise_width=4, classes=digits.classes, **SMALL
    )
    result = model.fit(digits[:200], config=QUICK)
    return model, result


def test_what_is_encoded_comes_back_exactly(fitted, digits):
    model, _ = fitted
    some = digits[500:560]
    z = model.encode(some)
    assert z.shape == (60, 1, 8, 8)
    assert np.array_equal(model.decode(z, some.labels).pixels, some.pixels)
    assert np.array_equal(model.reconstruct(some).pixels, some.pixels)


def test_ways_begin_and_end_at_their_images(fitted, digits):
    model, _ = fitted
    ways = model.interpolate(digits[:3], digits[10:13], 5)
    assert [len(way) for way in ways] == [5, 5, 5]
    for k, way in enumerate(ways):
        assert np.array_equal(way.pixels[0], digits.pixels[k])
    a, b = torch.randn(4, 1, 2, 2), torch.randn(4, 1, 2, 2)
    sizes = [along(a, b, t).flatten(1).norm(dim=1) for t in (0.0, 0.25, 1.0)]
    torch.testing.assert_close(sizes[1], 0.75 * sizes[0] + 0.25 * sizes[2])
    torch.testing.assert_close(along(a, 2 * a, 0.5), 1.5 * a)


def test_samples_are_images_of_the_classes_asked_for(fitted):
    model, _ = fitted
    drawn = model.sample(12, seed=3)
    assert (drawn.levels, drawn.shape, drawn.labels.tolist()) == (17, (1, 8, 8), [*range(10), 0, 1])
    assert np.array_equal(drawn.pixels, model.sample(12, seed=3).pixels)
    assert not np.array_equal(drawn.pixels, model.sample(12, seed=4).pixels)
    assert model.sample(3, labels="7").labels.tolist() == [7, 7, 7]
    still = model.sample(3, labels=2, temperature=0.0).pixels
    assert (still == still[0]).all()


def test_a_file_gives_the_model_back(fitted, digits, tmp_path):
    model, _ = fitted
    model.save(tmp_path / "m.safetensors", extra={"note": 1})
    again = diffeo.load(tmp_path / "m.safetensors")
    assert isinstance(again, ImageModel)
    assert again.classes == digits.classes
    assert np.array_equal(again.log_prob(digits[:5], draws=2), model.log_prob(digits[:5], draws=2))


# -- fits -------------------------------------------------------------------------------------------


def test_a_fit_lowers_the_bits(fitted, digits):
    model, result = fitted
    history = [bits_per_dim(-row.held_out_nats, 64) for row in result.history]
    assert result.steps == 12
    assert history[-1] < history[0]
    assert model.bits_per_dim(digits[500:700]).mean() == pytest.approx(history[-1], abs=0.2)
    assert not model.training


def test_the_same_seed_gives_the_same_weights_also_resumed(digits, tmp_path):
    def weights(**options):
        torch.manual_seed(0)
        model = image_model((1, 8, 8), 17, **SMALL)
        model.fit(digits[:200], config=QUICK, flip=True, **options)
        return model.state_dict()

    whole = weights()

    def interrupt(evaluation):
        if evaluation.step == 8:
            raise KeyboardInterrupt

    state = tmp_path / "state"
    weights(checkpoint=state, callback=interrupt)
    resumed = weights(checkpoint=state)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_flips_are_seen():
    images = Images(np.repeat(np.array([[[[0, 5]]]], np.uint8), 64, 0), 6)
    cells = []

    class Spy(diffeo.Flow):
        def log_prob(self, x, context=None):
            cells.append(x.floor())
            return super().log_prob(x, context)

    spy = Spy(StandardNormal(SHAPE), Chain(Scale(SHAPE), Pixels(SHAPE, 6)))
    ImageModel(spy, 6).fit(
        images, flip=True, validation=None, config=replace(QUICK, max_steps=4, patience=None)
    )
    seen = torch.cat(cells)[:, 0, 0, 0]
    assert set(seen.tolist()) == {0.0, 5.0}
    assert 0.2 < float((seen == 5).float().mean()) < 0.8


class Writer:
    def __init__(self):
        self.scalars, self.images = [], []

    def add_scalar(self, name, value, step):
        self.scalars.append((name, step, value))

    def add_image(self, name, picture, step, dataformats):
        self.images.append((name, step, picture.shape, dataformats))


def test_bits_and_grids_are_told_while_it_runs(digits):
    writer, model = Writer(), image_model((1, 8, 8), 17, **SMALL)
    result = model.fit(digits[:200], config=QUICK, log=writer)
    held = {step: value for name, step, value in writer.scalars if name == "bits_per_dim/held_out"}
    assert held == {row.step: bits_per_dim(-row.held_out_nats, 64) for row in result.history}
    assert [step for name, step, _ in writer.scalars if name == "bits_per_dim/train"] == [4, 8, 12]
    assert writer.images == [("samples", step, (42, 42, 1), "HWC") for step in (4, 8, 12)]
    with pytest.raises(ConfigError, match=r"log is a int; expected a folder for TensorBoard"):
        model.fit(digits[:200], config=QUICK, log=7)


def test_tensorboard_writes_its_files(digits, tmp_path):
    pytest.importorskip("tensorboard")
    model = image_model((1, 8, 8), 17, **SMALL)
    model.fit(digits[:100], config=replace(QUICK, max_steps=4), log=tmp_path / "log")
    assert sum(file.stat().st_size for file in (tmp_path / "log").iterdir()) > 500


def test_without_tensorboard_it_is_said_what_to_install(digits, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"pip install 'diffeo\[tensorboard\]'"):
        image_model((1, 8, 8), 17, **SMALL).fit(digits[:100], log=tmp_path / "log")


# -- what cannot be -------------------------------------------------------------------------------


def test_wrong_images_and_labels_are_told(fitted, digits):
    model, _ = fitted
    with pytest.raises(ShapeError, match=r"shape \(1, 4, 4\); expected \(1, 8, 8\)"):
        model.log_prob(np.zeros((2, 1, 4, 4), np.uint8))
    with pytest.raises(DataError, match=r"levels up to 200; expected 0 to 16"):
        model.log_prob(Images(np.full((2, 1, 8, 8), 200, np.uint8)))
    with pytest.raises(DataError, match=r"no labels, and the model is conditional on 10 classes"):
        model.log_prob(digits.pixels[:2])
    with pytest.raises(DataError, match=r"label 'cat' is no class.*0, 1, 2"):
        model.sample(2, labels="cat")
    with pytest.raises(DataError, match=r"expected 0 to 9"):
        model.sample(2, labels=10)
    with pytest.raises(ShapeError, match=r"expected one class, or 2"):
        model.sample(2, labels=[1, 2, 3])
    with pytest.raises(ShapeError, match=r"first has 1 images, last 2"):
        model.interpolate(digits[:1], digits[:2])
    with pytest.raises(DtypeError, match=r"images is a ndarray; expected diffeo.images.Images"):
        model.fit(digits.pixels)
    with pytest.raises(ConfigError, match=r"labels were given to a model without classes"):
        known().sample(2, labels=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"flow": "realnpv"}, "flow='realnpv' is not known.*Did you mean 'realnvp'"),
        ({"pixels": "log"}, "pixels='log'"),
        ({"dequantisation": "none"}, "dequantisation='none'"),
        ({"levels": 1}, "levels=1"),
        ({"settings": {"colour": 1}}, "colour=1 is no setting of RealNVP; expected one of scales"),
        ({"settings": {"scales": 5}}, "expected multiples of 16"),
    ],
)
def test_a_model_that_cannot_be_built_is_told(arguments, said):
    with pytest.raises(ConfigError, match=said):
        image_model((1, 8, 8), **arguments)


def test_a_flow_that_is_none_of_images_is_told():
    with pytest.raises(ConfigError, match=r"flow is of \(3,\); expected a Flow of events"):
        ImageModel(diffeo.Flow(StandardNormal(3), Scale(3)), 256)
    with pytest.raises(ConfigError, match=r"0 context features, classes 2 names"):
        ImageModel(known().flow, 6, ("a", "b"))


def test_classes_are_matched_by_their_names():
    pixels = np.zeros((2, 1, 4, 4), np.uint8)
    model = image_model((1, 4, 4), 256, flow="nice", settings={"hidden": (8,)}, classes=("cat", "dog"))
    dogs = Images(pixels, labels=np.zeros(2, np.int64), classes=("dog",))
    assert model.context_of(dogs).tolist() == [[0.0, 1.0]] * 2
    assert model.context_of(Images(pixels, labels=np.array([0, 1]))).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    with pytest.raises(DataError, match="label 'bird' is no class of the model; expected one of cat, dog"):
        model.context_of(Images(pixels, labels=np.zeros(2, np.int64), classes=("bird",)))


def test_images_of_fewer_levels_are_not_scored_as_if_they_had_more():
    model = image_model((1, 4, 4), 256, flow="nice", settings={"hidden": (8,)})
    few = Images(np.zeros((2, 1, 4, 4), np.uint8), levels=17)
    with pytest.raises(DataError, match="images have 17 levels; expected 256"):
        model.log_prob(few)


def test_noise_of_the_engine_is_refused():
    model = image_model((1, 4, 4), 2, flow="nice", settings={"hidden": (8,)})
    images = Images(np.zeros((9, 1, 4, 4), np.uint8), levels=2)
    with pytest.raises(ConfigError, match=r"config.noise=0.5 would move levels.*image_model"):
        model.fit(images, config=TrainConfig(max_steps=1, noise=0.5))
