"""A command line run in this process, and a model that it fitted once."""

import json
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from diffeo.cli import run

QUICK = ("--epochs", "2", "--couplings", "2", "--hidden", "8", "--device", "cpu")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self):
        """The one JSON object on standard output; anything beside it fails."""
        lines = self.out.splitlines()
        assert len(lines) == 1, self.out
        return json.loads(lines[0])


@pytest.fixture
def diffeo(capsys):
    """Run a command line and return what it said."""

    def call(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return call


@pytest.fixture(scope="session")
def frame():
    rng = np.random.default_rng(0)
    width = rng.gamma(3.0, 2.0, 300)
    return pl.DataFrame({"width": width, "height": 1000 * width + 500 * rng.normal(size=300)})


@pytest.fixture(scope="session")
def data(frame, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "table.csv"
    frame.write_csv(path)
    return path


@pytest.fixture(scope="session")
def model(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    assert run(["fit", str(data), "-o", str(path), *QUICK]) == 0
    return path
