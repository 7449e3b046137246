"""What all named flows have in common: X(features, context=0, **published defaults)."""

import inspect
import re
import warnings

import pytest
import torch

import diffeo
from diffeo import flows, images
from diffeo.distributions import ConditionalNormal, DiagonalNormal
from diffeo.testing import stress
from diffeo.testing.cases.images import SMALL_IMAGES
from diffeo.testing.cases.named_flows import SMALL

SETTINGS = {**SMALL, "NICE": {"hidden": (12,)}, "RealNVP": {"couplings": 3, "hidden": (12,)}}
SETTINGS |= {name: {"hidden": (12,)} for name in ("CNF", "FFJORD", "FlowMatching")}
NAMES = sorted(set(flows.__all__) - {"Flow", "GivenFlow"})


def build(name, features, context=0, **settings):
    with warnings.catch_warnings():
        # Some say that one feature leaves them nothing to condition on.
        warnings.filterwarnings("ignore", message=".*nothing to condition on", category=UserWarning)
        return getattr(flows, name)(features, context, **settings)


@pytest.mark.parametrize(
    ("folder", "name"), [(flows, n) for n in NAMES] + [(images, n) for n in SMALL_IMAGES]
)
def test_the_docstring_names_a_paper_and_every_argument(folder, name):
    text = inspect.getdoc(getattr(folder, name))
    source = text.partition("Source: ")[2].partition("Args:")[0]
    assert re.search(r"\*[A-Z].*\* \((19|20)\d\d\)", source.replace("\n", " ")), source
    arguments = text.partition("Args:")[2]
    for argument in inspect.signature(getattr(folder, name)).parameters:
        assert re.search(rf"^ +([\w, ]+, )?{argument}(, \w+)*: ", arguments, re.MULTILINE), argument


@pytest.mark.parametrize("name", NAMES)
def test_it_is_called_as_all_others_are(name):
    features, context, *rest = inspect.signature(getattr(flows, name)).parameters.values()
    assert (features.name, features.default) == ("features", inspect.Parameter.empty)
    assert (context.name, context.default) == ("context", 0)
    assert all(setting.kind is setting.KEYWORD_ONLY for setting in rest)
    assert all(setting.default is not inspect.Parameter.empty for setting in rest)
    assert rest[-1].name == "base"


@pytest.mark.parametrize("name", NAMES)
def test_its_published_size_can_be_built(name):
    with torch.device("meta"):  # the shapes, without the numbers
        flow = build(name, 3, 2)
    assert (flow.event_shape, flow.context_features) == ((3,), 2)


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("features", [1, 2, 5])
@pytest.mark.parametrize("name", NAMES)
def test_any_size_is_built_saved_and_loaded(name, features, context, tmp_path):
    torch.manual_seed(0)
    flow = build(name, features, context, **SETTINGS[name])
    x = torch.randn(12, features)
    given = torch.randn(12, context) if context else None
    flow = stress(flow, x=x, context=given)
    path = tmp_path / "flow.safetensors"
    flow.save(path)
    again = diffeo.load(path).eval()
    with torch.no_grad():
        log_prob = flow.log_prob(x, given)
        assert torch.equal(again.log_prob(x, given), log_prob)
        assert log_prob.isfinite().all()
        assert flow.sample((2,), given).shape == ((2, 12, features) if context else (2, features))
        if given is not None:
            moved = flow.log_prob(x, given + 0.5)
            assert (moved != log_prob).all(), "the context changes nothing"


@pytest.mark.parametrize("name", NAMES)
def test_another_base_may_be_given(name):
    flow = build(name, 2, base=DiagonalNormal(2), **SETTINGS[name])
    assert isinstance(flow.base, DiagonalNormal)


@pytest.mark.parametrize("name", NAMES)
def test_a_base_of_torch_is_told_how_it_goes_in(name):
    base = torch.distributions.Normal(torch.zeros(2), 1.0)
    with pytest.raises(diffeo.errors.ConfigError, match=r"diffeo\.distributions\.Wrapped\(distribution\)"):
        build(name, 2, base=base, **SETTINGS[name])


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_the_base_alone_may_read_the_context(name):
    """What the layers do is the same for every context, and a row of context changes its row alone."""
    torch.manual_seed(0)
    flow = build(name, 2, base=ConditionalNormal(2, context=3, hidden=(8,)), **SETTINGS[name])
    x, given = torch.rand(6, 2), torch.randn(6, 3)
    flow = stress(flow, x=x, context=given)
    assert flow.context_features == 3
    with torch.enable_grad():  # by torch in both: the compiled kernels round otherwise
        z, log_det = flow.bijection.inverse(x)
        plain = flow.log_prob(x, given)
    torch.testing.assert_close(plain, flow.base.log_prob(z, given) + log_det, rtol=0, atol=0)
    z, found = flow.encode(x, given), flow.log_prob(x, given)
    assert found.isfinite().all()
    assert (flow.log_prob(x, given + 0.5) != found).all()
    assert flow.log_prob(x[0], given).shape == (6,)
    assert flow.sample((4,), given).shape == (4, 6, 2)
    hostile = given.clone()
    hostile[2] = torch.nan
    marked = flow.log_prob(x, hostile)
    assert marked[2].isnan()
    assert torch.equal(marked[given[:, 0] == hostile[:, 0]], found[given[:, 0] == hostile[:, 0]])
    assert torch.equal(flow.encode(x, hostile), z), "layers that read no context are not marked by it"


@pytest.mark.parametrize("name", NAMES)
def test_contexts_of_two_sizes_are_refused_when_it_is_built(name):
    base = ConditionalNormal(2, context=3, hidden=(8,))
    with pytest.raises(
        diffeo.errors.ConfigError, match=r"contexts of 3 and 2 features \(base reads 3, bij"
    ):
        build(name, 2, 2, base=base, **SETTINGS[name])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [{"features": 0}, {"features": 2.5}, {"context": -1}])
def test_a_wrong_size_is_named(name, wrong):
    argument, value = next(iter(wrong.items()))
    with pytest.raises(diffeo.errors.ConfigError, match=rf"{argument}={re.escape(repr(value))}"):
        build(name, **{"features": 2, "context": 0, **wrong}, **SETTINGS[name])


@torch.no_grad()
@pytest.mark.parametrize("name", ["BPF", "FlowPP", "GF", "NAF", "SOSPF"])
def test_beyond_the_box_that_its_docstring_names_it_is_straight(name):
    text = inspect.getdoc(getattr(flows, name))
    edge = float(re.search(r"in \[−(\d+), \1\],\s+and\s+straight\s+beyond", text)[1])
    flow = build(name, 1, **{**SETTINGS[name], "transforms" if name != "FlowPP" else "couplings": 1})
    law = next(m for m in flow.bijection.modules() if hasattr(m, "law")).law
    theta = torch.randn(1, law.n_params, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = edge * torch.tensor([1.0, 1.5, 9.0], dtype=torch.float64)
    inside = edge * torch.tensor([0.0, 0.1, 0.3], dtype=torch.float64)
    for side in (-1, 1):
        slopes = law.inverse(side * x, theta.expand(3, -1))[1]
        torch.testing.assert_close(slopes, slopes[:1].expand(3), rtol=1e-9, atol=1e-9)
        bent = law.inverse(side * inside, theta.expand(3, -1))[1]
        assert (bent.diff().abs() > 1e-6).all()


@pytest.mark.parametrize("name", sorted({*NAMES} - {"CNF", "FFJORD", "FlowMatching"}))  # they solve
def test_a_training_step_is_one_graph(name):
    torch.manual_seed(0)
    flow = build(name, 3, 2, **SETTINGS[name]).train()
    x, given = torch.randn(8, 3), torch.randn(8, 2)
    flow.initialise(x, given)
    torch.compiler.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own compiler warns of itself
        torch.compile(flow, fullgraph=True, backend="eager")(x, given).mean().backward()
    torch.compiler.reset()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in flow.parameters())
