"""What all image flows have in common: X(shape, context=0, **published defaults), exact there and back."""

import inspect
import warnings

import pytest
import torch

import diffeo
from diffeo import flows as vector_flows
from diffeo import images
from diffeo.bijections import Coupling, set_memory
from diffeo.bijections.fused import Fused
from diffeo.distributions import DiagonalNormal
from diffeo.errors import ConfigError
from diffeo.flows.accelerated import accelerated
from diffeo.images import flows
from diffeo.kernels.native import library
from diffeo.testing import stress
from diffeo.testing.cases.images import SMALL_IMAGES, small_image_flow

NAMES = sorted(SMALL_IMAGES)
SHAPE = (2, 4, 4)

NICE_SHAPES = {"mnist": (1, 28, 28), "tfd": (1, 48, 48), "svhn": (3, 32, 32), "cifar10": (3, 32, 32)}
REAL_NVP_SHAPES = {
    name: (3, size, size)
    for name, size in (("cifar10", 32), ("imagenet32", 32), ("imagenet64", 64), ("celeba", 64))
}
GLOW_SIZES = {"imagenet64": 64}  # the others are no larger, and shapes take a while


def stressed(name, context=3, dtype=torch.float64, gain=1.0, **settings):
    torch.manual_seed(0)
    flow = small_image_flow(name, **settings)(SHAPE, context)
    x = torch.randn(40, *SHAPE)
    given = torch.randn(40, context) if context else None
    flow = stress(flow, gain, x=x, context=given).to(dtype)
    return flow, x[:6].to(dtype), None if given is None else given[:6].to(dtype)


def test_every_named_flow_is_tried():
    functions = {name for name in flows.__all__ if inspect.isfunction(getattr(flows, name))}
    made = {name for name in functions if "shape" in inspect.signature(getattr(flows, name)).parameters}
    assert {name for name in made if name[0].isupper()} == set(NAMES)
    assert all(getattr(images, name) is getattr(flows, name) for name in flows.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_called_as_all_others_are(name):
    shape, context, *rest = inspect.signature(getattr(images, name)).parameters.values()
    assert (shape.name, context.name, context.default) == ("shape", "context", 0)
    assert all(setting.kind is setting.KEYWORD_ONLY for setting in rest)
    assert rest[-1].name == "base"
    flow = small_image_flow(name, base=DiagonalNormal(SHAPE))(SHAPE, 0)
    assert isinstance(flow.base, DiagonalNormal)
    for wrong in (4, (4,), (3, 0, 4), "image"):
        with pytest.raises(ConfigError, match="shape="):
            small_image_flow(name)(wrong, 0)
    with pytest.raises(ConfigError, match="context=-1"):
        small_image_flow(name)(SHAPE, -1)


@pytest.mark.parametrize("name", NAMES)
def test_its_published_size_can_be_built(name):
    with torch.device("meta"):
        flow = getattr(images, name)((3, 32, 32), 10)
    assert (flow.event_shape, flow.context_features) == ((3, 32, 32), 10)


@pytest.mark.parametrize("name", NAMES)
def test_the_density_is_that_of_the_whole_jacobian(name):
    flow, x, given = stressed(name)
    z, found = flow.encode(x, given), flow.log_prob(x, given)
    for row in range(2):
        jacobian = torch.autograd.functional.jacobian(
            lambda at, row=row: flow.encode(at, given[row]), x[row]
        )
        log_det = torch.linalg.slogdet(jacobian.reshape(32, 32))[1]
        torch.testing.assert_close(found[row], flow.base.log_prob(z[row]) + log_det, rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_what_is_encoded_comes_back_and_every_class_has_its_own_density(name):
    flow, x, given = stressed(name)
    z = flow.encode(x, given)
    assert z.shape == x.shape, "all latents are kept, those factored out too"
    torch.testing.assert_close(flow.decode(z, given), x, rtol=1e-9, atol=1e-9)
    found = flow.log_prob(x, given)
    assert found.isfinite().all()
    assert (flow.log_prob(x, given + 0.5) != found).all(), "the context changes nothing"
    assert flow.sample((2,), given).shape == (2, 6, *SHAPE)


@torch.no_grad()
@pytest.mark.parametrize("name", sorted({*NAMES} - {"FlowPP"}))  # whose components begin apart
def test_untrained_it_is_its_base(name):
    """Up to ActNorm, 1 × 1 convolutions (which permute) and what reads data, it moves nothing."""
    torch.manual_seed(0)
    flow = small_image_flow(name)(SHAPE, 0).eval()
    x = torch.randn(5, *SHAPE)
    torch.testing.assert_close(flow.log_prob(x), flow.base.log_prob(flow.encode(x)))
    torch.testing.assert_close(flow.encode(x).flatten(1).sort()[0], x.flatten(1).sort()[0])


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_a_file_gives_it_back(name, tmp_path):
    flow, x, given = stressed(name, dtype=torch.float32)
    flow.save(tmp_path / "flow.safetensors")
    again = diffeo.load(tmp_path / "flow.safetensors").eval()
    assert torch.equal(again.log_prob(x, given), flow.log_prob(x, given))


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_is_one_graph(name):
    torch.manual_seed(0)
    flow = small_image_flow(name)(SHAPE, 2).train()
    x, given = torch.randn(8, *SHAPE), torch.randn(8, 2)
    flow.initialise(x, given)
    torch.compiler.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own compiler warns of itself
        torch.compile(flow, fullgraph=True, backend="eager")(x, given).mean().backward()
    torch.compiler.reset()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in flow.parameters())


@torch.no_grad()
def test_vectors_within_images_go_through_the_compiled_kernels():
    if library() is None:
        pytest.skip("there is no compiler here")
    flow, x, given = stressed("NICE", dtype=torch.float32)
    fused = accelerated(flow.bijection)
    assert any(isinstance(part, Fused) for part in fused.modules())
    torch.testing.assert_close(
        fused.inverse(x, given), flow.bijection.inverse(x, given), rtol=1e-4, atol=1e-4
    )
    z = torch.randn_like(x)
    torch.testing.assert_close(fused(z, given), flow.bijection(z, given), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_recovered_activations_give_the_same_gradients(name):
    flow, x, given = stressed(name, dtype=torch.float64)
    flow.train()
    gradients = []
    for memory in ("full", "constant"):
        set_memory(flow, memory)
        flow.zero_grad()
        flow.log_prob(x, given).mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in flow.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-8)


@pytest.mark.proof  # its small version: every promise of these flows, in tests/conformance
@pytest.mark.parametrize("name", NAMES)
def test_verify_finds_nothing(name):
    flow, x, _ = stressed(name, context=0, dtype=torch.float32)
    report = diffeo.verify(flow, x)
    assert report.ok, report


@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(vector_flows, name)])
def test_the_vector_flow_of_that_name_says_where_images_go(name):
    with pytest.raises(ConfigError, match=rf"diffeo\.images\.{name}\(\(3, 32, 32\)\)"):
        getattr(vector_flows, name)((3, 32, 32))


@pytest.mark.parametrize(
    ("settings", "shape", "name"),
    [
        *((images.NICE_SETTINGS[name], shape, "NICE") for name, shape in NICE_SHAPES.items()),
        *((images.REAL_NVP_SETTINGS[name], shape, "RealNVP") for name, shape in REAL_NVP_SHAPES.items()),
        *((images.GLOW_SETTINGS[name], (3, size, size), "Glow") for name, size in GLOW_SIZES.items()),
    ],
)
def test_published_settings_build_what_was_published(settings, shape, name):
    with torch.device("meta"):
        flow = getattr(images, name)(shape, **settings)
    if name == "NICE":
        widths = [layer.out_features for layer in flow.modules() if isinstance(layer, torch.nn.Linear)]
        depth = len(settings["hidden"])
        assert len(widths) == 4 * (depth + 1)
        assert sorted(widths)[-4 * depth :] == [settings["hidden"][0]] * 4 * depth
    if name == "RealNVP":  # section 4.1: three checkerboards, squeeze, three of channels; at the end four
        scales, width = settings["scales"], settings["width"]
        wanted = [width * 2 ** (scales - 1)] * 4
        for scale in reversed(range(scales - 1)):
            wanted += [width * 2 ** (scale + 1)] * 3 + [width * 2**scale] * 3
        nets = [filters(layer.conditioner) for layer in flow.modules() if isinstance(layer, Coupling)]
        assert [net[0] for net in nets] == wanted
        assert {len(net) for net in nets} == {2 * settings["blocks"] + 2}
    if name == "Glow":  # table 4: levels, depth of a level; three convolutions a coupling, 512 channels
        nets = [filters(layer.conditioner) for layer in flow.modules() if isinstance(layer, Coupling)]
        steps = [net for net in nets if len(net) == 3]
        assert len(steps) == settings["levels"] * settings["steps"]
        assert all(net[:2] == [512, 512] for net in steps)
        assert len(nets) - len(steps) == settings["levels"] - 1  # the priors of what is factored out
    assert flow.event_shape == shape


def filters(net):
    return [layer.out_channels for layer in net.modules() if isinstance(layer, torch.nn.Conv2d)]


@pytest.mark.parametrize(
    ("name", "millions"),
    [("FlowPP", 31.4), ("TarFlow", 463.0)],  # the papers': table 2 of Flow++, [2-768-8-8] of TarFlow
)
def test_the_default_has_about_as_many_parameters_as_published(name, millions):
    with torch.device("meta"):
        flow = getattr(images, name)((3, 32, 32) if name == "FlowPP" else (3, 64, 64))
    count = sum(parameter.numel() for parameter in flow.parameters())
    assert abs(count / 1e6 / millions - 1) < 0.1


def test_sizes_that_do_not_divide_are_named():
    with pytest.raises(ConfigError, match=r"multiples of 4, since scales=3 halve them 2 time"):
        images.RealNVP((1, 6, 8), scales=3)
    with pytest.raises(ConfigError, match=r"multiples of 8"):
        images.Glow((1, 28, 28))
