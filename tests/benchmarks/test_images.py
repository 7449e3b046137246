"""Bits per dimension: the constant is right, a fit is done once, and the page says who is ahead."""

import math

import numpy as np
import pytest

from benchmarks.images import protocol, run
from benchmarks.images.page import page
from benchmarks.images.protocol import dequantised
from benchmarks.images.sets import SETS, ImageSet
from diffeo.bijections import Identity
from diffeo.distributions import Uniform
from diffeo.flows import Flow
from diffeo.images import ImageModel

PIXELS = np.random.default_rng(0).integers(0, 17, (40, 1, 2, 2)).astype(np.uint8)
DATA = ImageSet("digits", 17, PIXELS, PIXELS[:10], PIXELS[:10], "as the test has it")


def test_noise_stays_in_the_cell_of_its_pixel():
    y = dequantised(PIXELS, 17, 0)
    assert y.dtype == np.float32
    assert y.min() >= 0
    assert y.max() < 1
    assert np.array_equal(np.floor(y * np.float32(17)), PIXELS)


@pytest.mark.parametrize("method", ["Gaussian", "NICE"])
def test_figures_of_one_fit_agree_with_one_another(method):
    found = protocol.measured(DATA, method, seed=0, seconds=0.2)
    assert found["bits"] == pytest.approx(math.log2(17) - found["nats"] / (4 * math.log(2)))
    assert found["weighted bits"] <= found["bits"]
    assert math.log2(17) / 2 < found["bits"] < 2 * math.log2(17)
    assert (found["steps"] > 0) == bool(found["course"]) == (method == "NICE")


def test_a_uniform_density_costs_the_logarithm_of_the_levels(monkeypatch):
    uniform = Flow(Uniform((1, 2, 2), low=0.0, high=17.0), Identity(3))
    monkeypatch.setattr(protocol, "built", lambda *given: ImageModel(uniform, 17))
    found = protocol.measured(DATA, "Glow", seed=0, seconds=0.1)
    assert found["stopped_by"] == "nothing to train"
    assert found["bits"] == pytest.approx(math.log2(17))
    assert found["weighted bits"] == pytest.approx(math.log2(17))
    assert found["nats"] == pytest.approx(0.0, abs=1e-5)


def test_mnist_is_read_as_it_is_published(tmp_path):
    home = tmp_path / "mnist"
    home.mkdir()
    rows = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    for stem, count in (("train", 5), ("t10k", 2)):
        images, labels = rows[:count], np.arange(count, dtype=np.uint8)
        for kind, data in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, data.ndim]) + b"".join(n.to_bytes(4, "big") for n in data.shape)
            (home / f"{stem}-{kind}-ubyte").write_bytes(head + data.tobytes())
    found = SETS["mnist"](tmp_path, 0)
    assert found.shape == (1, 28, 28)
    assert np.array_equal(found.train[:, 0], rows)
    assert np.array_equal(found.test[:, 0], rows[:2])


def test_a_fit_is_measured_once_and_the_page_says_who_is_ahead(tmp_path, monkeypatch, capsys):
    asked = []

    def fake(data, method, seed, seconds):
        asked.append((method, seed, seconds))
        course = [] if method in protocol.CLASSICAL else [[0, 0.0, 4.0], [50, 1.0, 2.0]]
        figure = 2.5 if method in protocol.CLASSICAL else 2.1
        told = {
            "bits": figure,
            "weighted bits": figure - 0.1,
            "nats": 1.0,
            "seconds": 1.0,
            "course": course,
        }
        return {**told, "parameters": 1000, "steps": 50, "stopped_by": "time budget"}

    monkeypatch.setattr(run, "measured", fake)
    monkeypatch.setattr(run, "busy", lambda: 0.0)
    monkeypatch.setitem(run.SETS, "digits", lambda folder, seed: DATA)
    journal = tmp_path / "images.jsonl"
    told = ["--quick", "--journal", str(journal), "--methods", "Gaussian", "Glow", "Nonsense"]
    for _ in range(2):
        run.main(told)
    assert asked == [("Gaussian", 0, 0.0), ("Glow", 0, run.QUICK)]
    assert "no recipe for Nonsense" in capsys.readouterr().out
    page = journal.with_suffix(".md").read_text("utf-8")
    assert "Glow is 0.400 bits/dim ahead of the Gaussian (wanted: 0.3; kept)." in page
    assert "4.000 at 0, 2.000 at 50" in page
    assert "| Glow | 2.100 | 2.000 | 1 |" in page


def test_a_part_of_the_test_images_is_said_and_a_course_projected():
    few = DATA.tested_on(4)
    assert (len(few.test), few.note) == (4, "as the test has it; measured on the first 4")
    assert DATA.tested_on(None) is DATA
    assert DATA.tested_on(10) is DATA
    course = [[n, 0.0, 1.0 + 8 * n**-0.5] for n in range(50, 1001, 50)]
    machine = {"processor": "Abacus", "cores": 2, "date": "2026-01-01", "versions": {}}
    record = {"set": "mnist", "method": "NICE", "seed": 0, "budget": 9.0, "split": few.note}
    record |= {"bits": 1.25, "nats": 1.0, "seconds": 9.0, "steps": 1000, "parameters": 7}
    record |= {"course": course, "busy": 0.0, "machine": machine}
    whole = {**record, "split": DATA.note, "bits": 1.5}
    text = page([record, whole])
    # 1 + 8 / 100 and 1 + 8 / √100,000, by the power law that the course has.
    assert "| NICE | 0 | 1.08 (" in text
    assert "| 1.03 (" in text
    assert text.count("| NICE | 1.250 |") == text.count("| NICE | 1.500 |") == 1  # not averaged


def test_no_test_images_are_refused(capsys):
    with pytest.raises(SystemExit):
        run.main(["--tested", "0"])
    assert "expected 1 or more" in capsys.readouterr().err
