"""Files of every version that was ever released load, and give the densities that were recorded then."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import diffeo
from diffeo.estimator import Members, Stored
from diffeo.files import describe_file
from diffeo.friends import GAN, VAE
from diffeo.friends.friend import Friend
from diffeo.registry import registered
from diffeo.tables import Encoded, MixedDensity

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"
FILES = sorted(GOLDEN.rglob("*.safetensors"))


def named(path: Path) -> str:
    return path.relative_to(GOLDEN).as_posix()


class Answers:
    def __init__(self, members):
        self.members = members

    def log_prob(self, x, context):
        return torch.from_numpy(self.members.log_prob(x.numpy(), context))

    def encode(self, x, context):
        return torch.from_numpy(self.members.encode(0, x.numpy(), context))

    def decode(self, z, context):
        return torch.from_numpy(self.members.decode(0, z.numpy(), context))


def check_friend(model, numbers):
    # Networks compute in float32, where machines differ in the last bits.
    tolerance = {"rtol": 1e-4, "atol": 1e-4}
    if isinstance(model, VAE):
        np.testing.assert_allclose(model.encode(numbers["x"]), numbers["z"], **tolerance)
        np.testing.assert_allclose(model.decode(numbers["z"]), numbers["decoded"], **tolerance)
    elif isinstance(model, GAN):
        np.testing.assert_allclose(model.criticise(numbers["x"]), numbers["judged"], **tolerance)
        np.testing.assert_allclose(model.generate(numbers["z"]), numbers["decoded"], **tolerance)
    else:
        np.testing.assert_allclose(model.log_prob(numbers["x"]), numbers["log_prob"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("path", FILES, ids=named)
@torch.no_grad()
def test_a_golden_file_gives_its_recorded_numbers(path):
    numbers = json.loads(path.with_suffix(".json").read_text("utf-8"))
    model = diffeo.load(path)
    model = model.members if isinstance(model, Stored) else model
    if isinstance(model, MixedDensity):
        rows = Encoded(np.array(numbers["state"]), np.array(numbers["value"], dtype=float))
        wanted = [-np.inf if p is None else p for p in numbers["log_prob"]]
        np.testing.assert_allclose(model.log_prob(rows), wanted, rtol=1e-6, atol=1e-9)
        return
    if isinstance(model, Friend):
        check_friend(model, numbers)
        return
    given = {k: torch.tensor(v, dtype=torch.float64) for k, v in numbers.items() if isinstance(v, list)}
    x, context = given["x"], given.get("context")
    flow = model.double().as_flow() if hasattr(model, "as_flow") else model.double()
    flow = Answers(flow) if isinstance(flow, Members) else flow
    torch.testing.assert_close(flow.log_prob(x, context), given["log_prob"], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(flow.encode(x, context), given["z"], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(flow.decode(given["z"], context), given["decoded"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_golden_file_says_what_it_is(path):
    about = describe_file(path)
    assert about["version"] == path.parent.name
    assert about["extra"] == {"recipe": path.stem}
    assert sum(len(shape) for shape in about["tensors"].values())


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_golden_file_is_written_back_with_the_same_tensors(path, tmp_path):
    model = diffeo.load(path)
    diffeo.files.save(model, tmp_path / "again.safetensors")
    before, after = model.state_dict(), diffeo.load(tmp_path / "again.safetensors").state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_every_kind_stands_in_a_golden_file():
    def kinds(spec):
        if isinstance(spec, list):
            return {kind for item in spec for kind in kinds(item)}
        if not isinstance(spec, dict):
            return set()
        found = {spec["kind"]} if isinstance(spec.get("args"), dict) and "kind" in spec else set()
        return found | {kind for item in spec.values() for kind in kinds(item)}

    golden = set().union(*(kinds(describe_file(path)["model"]) for path in FILES))
    ours = {name for name, cls in registered().items() if cls.__module__.startswith("diffeo.")}
    doctests = {name for name in ours if name.startswith("mylab.")}
    missing = ours - doctests - golden
    assert not missing, (
        f"add a recipe with {sorted(missing)} to scripts/golden, and run scripts/make_golden.py"
    )


def test_golden_files_are_never_written_again(tmp_path, monkeypatch, capsys):
    scripts = HERE.parents[1] / "scripts"
    monkeypatch.syspath_prepend(scripts)
    spec = importlib.util.spec_from_file_location("make_golden", scripts / "make_golden.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "FOLDER", tmp_path)
    monkeypatch.setattr(script, "RECIPES", {"box": script.RECIPES["box"]})
    assert script.main() == 0
    written = {path: path.read_bytes() for path in tmp_path.rglob("box.*")}
    assert script.main() == 1
    assert "stays as it is" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in tmp_path.rglob("box.*")} == written
