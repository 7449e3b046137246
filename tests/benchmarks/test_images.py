"""Bits per dimension: the constant is right, a fit is done once, and the page says who is ahead."""

import math

import numpy as np
import pytest
import torch

from benchmarks.images import protocol, run
from benchmarks.images.protocol import Dequantised, bits, dequantised
from benchmarks.images.sets import ImageSet
from diffeo.bijections import Identity
from diffeo.distributions import Uniform
from diffeo.flows import Flow
from diffeo.objectives.objective import Batch

PIXELS = np.random.default_rng(0).integers(0, 17, (40, 1, 2, 2)).astype(np.uint8)
DATA = ImageSet("digits", 17, PIXELS, PIXELS[:10], PIXELS[:10], "as the test has it")


def test_a_uniform_density_costs_the_logarithm_of_the_levels():
    assert bits(0.0, 64, 17) == pytest.approx(math.log2(17))
    assert bits(64 * math.log(17), 64, 17) == pytest.approx(0.0)


def test_noise_stays_in_the_cell_of_its_pixel_and_is_drawn_anew():
    y = dequantised(PIXELS, 17, 0)
    assert y.dtype == np.float32
    assert y.min() >= 0
    assert y.max() < 1
    assert np.array_equal(np.floor(y * np.float32(17)), PIXELS)
    seen = []

    class Seen(Flow):
        def log_prob(self, x, context=None):
            seen.append(x)
            return super().log_prob(x, context)

    flow = Seen(Uniform((1, 2, 2), low=0.0, high=1.0), Identity(3))
    for _ in range(2):
        loss = Dequantised(17).loss(flow, Batch(torch.from_numpy(y)))
        assert loss.item() == pytest.approx(0.0, abs=1e-5)
    assert not torch.equal(*seen)
    assert all(np.array_equal(np.floor(x.numpy() * np.float32(17)), PIXELS) for x in seen)


def test_a_fit_is_measured_once_and_the_page_says_who_is_ahead(tmp_path, monkeypatch, capsys):
    asked = []

    def fake(data, method, seed, seconds):
        asked.append((method, seed, seconds))
        course = [] if method in protocol.CLASSICAL else [[0, 0.0, 4.0], [50, 1.0, 2.0]]
        figure = 2.5 if method in protocol.CLASSICAL else 2.1
        told = {"bits": figure, "nats": 1.0, "seconds": 1.0, "course": course}
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
