"""Models that go through a file come back with the same bits: here, and in another process."""

import importlib.util
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import diffeo
from diffeo import registry
from diffeo.bijections import Chain, Scale
from diffeo.distributions import StandardNormal
from diffeo.errors import ConfigError, UnknownKindError
from diffeo.files import container, describe_file
from diffeo.flows import Flow
from diffeo.testing import CASES, Variant
from diffeo.testing.stored import file_and_back, same_bytes

PARTS = Path(__file__).with_name("parts.py")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_a_case_comes_back_and_is_written_with_the_same_bytes(name, dtype):
    case = CASES[name]
    size = case.sizes[:3][1 if dtype == torch.float32 else -1]
    variant = Variant(case, size, case.contexts[-1], dtype, seed=3)
    figure = file_and_back(variant.flow, variant.x, variant.given)
    assert figure.ok, figure
    assert same_bytes(variant.flow).ok


@pytest.fixture
def odd(monkeypatch):
    """Return the user's class, registered for this test only."""
    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    monkeypatch.setattr(registry, "_names", dict(registry._names))
    spec = importlib.util.spec_from_file_location("parts", PARTS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return diffeo.register("mylab.Odd")(module.Odd)


def bits(tensor):
    return tensor.dtype, tensor.shape, tensor.flatten().contiguous().view(torch.uint8).tolist()


@torch.no_grad()
def test_unusual_tensors_keep_every_bit(odd, tmp_path):
    flow = Flow(StandardNormal(2), Chain(odd(3, "größe 😀", sizes=(), options={"a": [1, None]}), Scale(2)))
    flow.save(tmp_path / "flow.safetensors")
    loaded = diffeo.load(tmp_path / "flow.safetensors")
    before, after = flow.state_dict(), loaded.state_dict()
    assert {name: bits(t) for name, t in before.items()} == {name: bits(t) for name, t in after.items()}
    part = loaded.bijection.bijections[0]
    assert (part.power, part.note, part.sizes) == (3, "größe 😀", [])
    assert part.options == {"a": [1, None]}
    assert isinstance(part.scalar, torch.nn.Parameter)
    assert same_bytes(flow).ok


def test_a_class_that_is_not_registered_cannot_be_saved(odd, tmp_path):
    class Mine(odd):
        pass

    with pytest.raises(ConfigError, match=r"Mine is not registered.*@diffeo\.register\('yourname\.Mine'\)"):
        Flow(StandardNormal(2), Mine()).save(tmp_path / "flow.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [torch.zeros(3), len, {1, 2}, {1: 2}, object(), float("nan")])
def test_what_a_file_cannot_say_is_refused_before_it_is_written(odd, tmp_path, value):
    with pytest.raises(ConfigError):
        Flow(StandardNormal(2), odd(options=value)).save(tmp_path / "flow.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_chain_nested_too_deeply_is_refused_before_it_is_written(tmp_path):
    deep = Scale(2)
    for _ in range(400):
        deep = Chain(deep)
    with pytest.raises(ConfigError, match="nested too deeply"):
        diffeo.files.save(deep, tmp_path / "deep.safetensors")
    assert not list(tmp_path.iterdir())


def test_the_header_holds_no_time_no_path_and_no_name(tmp_path):
    model = CASES["flows.RealNVP"].flow(3)
    model.save(tmp_path / "model.safetensors")
    about = describe_file(tmp_path / "model.safetensors")
    assert set(about) == {"format", "version", "model", "extra", "digest", "tensors"}
    assert str(tmp_path) not in json.dumps(about)


def test_a_dtype_chosen_for_a_part_is_kept(tmp_path):
    flow = CASES["flows.RealNVP"].flow(3)
    flow.bijection.bijections[1].conditioner.bfloat16()
    flow.save(tmp_path / "model.safetensors")
    loaded = diffeo.load(tmp_path / "model.safetensors")
    assert {n: t.dtype for n, t in loaded.state_dict().items()} == {
        n: t.dtype for n, t in flow.state_dict().items()
    }


def test_loading_leaves_the_random_state_alone(tmp_path):
    flow = CASES["flows.RealNVP"].flow(3)
    flow.save(tmp_path / "model.safetensors")
    before = torch.get_rng_state()
    diffeo.load(tmp_path / "model.safetensors")
    assert torch.equal(before, torch.get_rng_state())


@torch.no_grad()
def test_another_process_gives_the_same_bits(odd, tmp_path):
    names = ["flows.NICE", "flows.RealNVP, Whiten, Standardize", "distributions.Wrapped, mixture"]
    flows = {str(k): Variant(CASES[name], 3, seed=1).flow for k, name in enumerate(names)}
    flows["own"] = Flow(StandardNormal(3), Chain(odd(2), Scale(3)))
    x = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = {}
    for name, flow in flows.items():
        flow.save(tmp_path / f"{name}.safetensors")
        draws = flow.sample((5,), generator=torch.Generator().manual_seed(1))
        wanted[f"{name} log_prob"], wanted[f"{name} draws"] = flow.log_prob(x.to(flow.dtype)), draws
    container.write(tmp_path / "x.safetensors", {"x": x}, {})
    code = f"""
        import sys
        from pathlib import Path
        import torch, diffeo
        from diffeo.errors import UnknownKindError
        from diffeo.files import container
        folder = Path({str(tmp_path)!r})
        about, _ = container.read_header(folder / "x.safetensors")
        x = container.read_tensors(folder / "x.safetensors", about)["x"]
        try:
            diffeo.load(folder / "own.safetensors")
        except UnknownKindError as error:
            print(error)
        sys.path.insert(0, {str(PARTS.parent)!r})
        import parts
        diffeo.register("mylab.Odd")(parts.Odd)
        found = {{}}
        with torch.no_grad():
            for name in {list(flows)!r}:
                flow = diffeo.load(folder / f"{{name}}.safetensors")
                found[f"{{name}} log_prob"] = flow.log_prob(x.to(flow.dtype))
                found[f"{{name}} draws"] = flow.sample((5,), generator=torch.Generator().manual_seed(1))
        container.write(folder / "found.safetensors", found, {{}})
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "kind='mylab.Odd' is not registered" in done.stdout
    assert "import the module that registers it" in done.stdout
    about, _ = container.read_header(tmp_path / "found.safetensors")
    found = container.read_tensors(tmp_path / "found.safetensors", about)
    assert {name: bits(t) for name, t in found.items()} == {name: bits(t) for name, t in wanted.items()}


def test_an_unknown_kind_in_this_process_is_an_error_of_its_own(odd, tmp_path):
    Flow(StandardNormal(2), odd()).save(tmp_path / "flow.safetensors")
    del registry._kinds["mylab.Odd"]
    with pytest.raises(UnknownKindError, match=r"kind='mylab\.Odd' is not registered"):
        diffeo.load(tmp_path / "flow.safetensors")
