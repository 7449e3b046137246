"""The benchmark's structure, on sizes that say nothing about speed."""

import json
import math

import numpy as np
import pytest

from benchmarks import cases, growth, machine, memory
from benchmarks.cases import Case
from benchmarks.figures import duration, exponent, summary
from benchmarks.libraries import LIBRARIES, PEERS
from benchmarks.page import fastest_peer, floor_of, page
from benchmarks.run import main
from benchmarks.tables import tables
from benchmarks.workers import Handle, asked

FEW = ("diffeo", "zuko", "nflows")


def test_it_times_libraries_side_by_side_and_writes_the_figures(tmp_path, capsys):
    options = [
        "--quick",
        "--only",
        "speed",
        "--match",
        "train, MAF",
        "--rows",
        "32",
        "--rounds",
        "2",
        "--threads",
        "1",
    ]
    assert main([*options, "--libraries", *FEW, "--output", str(tmp_path)]) == 0
    (written,) = tmp_path.glob("*.json")
    report = json.loads(written.read_text())
    (case,) = report["speed"]
    for name in FEW:
        found = case["results"][name]
        assert 0 < found["low"] <= found["median"] <= found["high"], name
        assert found["n"] == 2
        assert found["first_call"] > 0
    # Networks of the same sizes: 8 × (43·256 + 256 + 256² + 256 + 256·86 + 86) numbers.
    assert {case["results"][name]["parameters"] for name in FEW} == {
        8 * (43 * 256 + 256**2 + 256 * 86 + 598)
    }
    assert case["results"]["products float32"]["median"] > 0
    text = written.with_suffix(".md").read_text()
    assert text in capsys.readouterr().out
    for words in ("Against the fastest peer", "train, MAF, D=43, B=32", "≥ 2×", "parameters, MAF"):
        assert words in text
    assert str(tmp_path) not in written.read_text()


@pytest.mark.parametrize("work", ["log_prob", "sample"])
@pytest.mark.parametrize(
    ("law", "structure"), [("affine", "coupling"), ("spline", "coupling"), ("spline", "autoregressive")]
)
@pytest.mark.parametrize("module", ["ours", "zuko", "nflows"])
def test_adapters_do_the_work(module, law, structure, work):
    import importlib

    case = Case(work, law, structure, features=5, rows=32, layers=2, hidden=16)
    adapter = importlib.import_module(f"benchmarks.libraries.{module}").Adapter("auto")
    adapter.build(case)
    assert math.isfinite(adapter.run(case, 1))
    if work == "log_prob":
        # Of standard normal rows and a flow that is not trained, −D (log 2π + 1) / 2 within a nat or so.
        assert adapter.run(case, 1) == pytest.approx(-7.1, abs=2.5)


@pytest.mark.parametrize("module", ["ours", "zuko"])
def test_training_and_fitting_learn(module):
    import importlib

    case = Case("train", features=3, rows=64, layers=2, hidden=16)
    adapter = importlib.import_module(f"benchmarks.libraries.{module}").Adapter("auto")
    adapter.build(case)
    before = adapter.run(case, 1)
    assert adapter.run(case, 60) < before
    adapter.build(Case("fit", features=3, layers=2, hidden=16))
    rows = 0.1 * np.random.default_rng(0).standard_normal((600, 3), dtype=np.float32)
    trace = list(adapter.fit(rows[:500], rows[500:], 1.0, 64))
    assert trace[-1][1] > trace[0][1]
    assert [s for s, _ in trace] == sorted(s for s, _ in trace)


def test_a_worker_measures_memory_and_reports_what_fails():
    worker = Handle("zuko")
    try:
        small = Case("train", rows=256, layers=2)
        found = worker.ask({"op": "memory", "case": asked(small), "steps": 1}, 60)
        assert found["peak"] > 0
        assert found["state"] == 12 * (43 * 256 + 2 * 256**2 + 256 * 86 + 4 * 256 + 86)
        failed = worker.ask({"op": "prepare", "case": {**asked(small), "colour": 1}}, 60)
        assert "colour" in failed["error"]
        assert "error" in worker.ask({"op": "nothing"}, 60)
        slow = worker.ask({"op": "prepare", "case": asked(Case("train", rows=65_536))}, 0.1)
        assert "no answer" in slow["error"]
        assert worker.process is None
    finally:
        worker.close()


def test_every_goal_of_the_full_mode_has_a_case():
    found = cases.speed(quick=False)
    trained = {(c.law, c.structure, c.features, c.rows): c for c in found if c.work == "train"}
    assert trained["affine", "coupling", 784, 4096].goal == 3
    assert trained["spline", "coupling", 6, 512].goal == 2.5
    assert trained["spline", "coupling", 43, 4096].floor == 2
    assert {c.goal for c in found if c.work == "sample" and c.structure == "autoregressive"} == {8}
    assert {c.rows for c in found if c.work == "log_prob"} == {1_000_000}
    quick = cases.speed(quick=True)
    assert {c.work for c in quick} == {"train", "log_prob", "sample"}
    assert all(c in found for c in quick if c.work != "log_prob")
    assert {axis for axis, _ in cases.growth(quick=True)} == set(growth.FIELDS)
    assert [c.layers for c in cases.depths(quick=True)] == [8, 128]


def timed(seconds, **more):
    return {**summary([seconds] * 3), "first_call": 1.0, "precision": "float32", **more}


def report_of(ours, theirs, floor, busy=0.0):
    case = Case("train", rows=4096, goal=3.0, floor=1.5)
    results = {
        "diffeo": timed(ours, parameters=7, precision="bfloat16"),
        "zuko": timed(theirs, parameters=7),
        "nflows": timed(2 * theirs, parameters=8, differs="one layer more"),
        "FrEIA": {"missing": "no such layer"},
        "products float32": timed(floor),
        "products bfloat16": timed(floor / 2, precision="bfloat16"),
    }
    speed = [{"case": asked(case), "name": case.name, "results": results}]
    return {
        "machine": {**machine.facts(), "processor": "Abacus", "cores": 2, "gpu": "", "date": "2026-01-01"},
        "settings": {"quick": True, "rounds": 3, "libraries": list(FEW), "device": "cpu", "threads": 2},
        "busy": [0.01, busy],
        "speed": speed,
        "memory": [],
        "growth": [],
        "fits": [],
        "data": "",
        "skipped": ["growth: all"],
    }


def test_the_page_says_whether_goals_are_met():
    text = page(report_of(ours=0.01, theirs=0.04, floor=0.016))
    assert "| 4.00× | ≥ 3× | yes |" in text
    # 0.01 s over the bfloat16 products of 0.008 s: 1.25 ≤ 1.5.
    assert "| bfloat16 | 8 ms | 1.25 | ≤ 1.5 | yes |" in text
    for words in ("FrEIA: no such layer", "nflows: one layer more", "for want of time: growth: all"):
        assert words in text
    assert "shared" not in text
    assert "used at most 40% of the processors: **the machine was shared" in page(report_of(1, 1, 1, 0.4))
    assert "| 2.00× | ≥ 3× | **no** |" in page(report_of(ours=0.02, theirs=0.04, floor=0.016))
    assert "2.50 | ≤ 1.5 | **no** |" in page(report_of(ours=0.02, theirs=0.04, floor=0.016))


def test_the_floor_is_that_of_the_precision():
    results = {
        "products float32": timed(3.0),
        "products float32 oneDNN": timed(2.0),
        "products bfloat16": timed(1.0, precision="bfloat16"),
    }
    assert floor_of(results, "float32") == 2.0
    assert floor_of(results, "float32", ["amx_bf16"]) == 3.0
    assert floor_of(results, "bfloat16") == 1.0
    assert floor_of(results, "auto") == 1.0
    assert floor_of(results, "float64") is None
    assert fastest_peer({"diffeo": timed(1.0), "zuko": timed(3.0), "nflows": timed(2.0)}) == ("nflows", 2.0)
    assert fastest_peer({"diffeo": timed(1.0)}) is None


def test_growth_is_fitted_per_axis_and_library():
    points = [
        {"axis": "B", "case": asked(Case("train", rows=rows)), "results": {"zuko": timed(rows**1.5)}}
        for rows in (64, 128, 256)
    ]
    assert growth.fitted(points)["B"]["zuko"] == pytest.approx(1.5)
    assert exponent([1], [1]) is None


def test_memory_ratios_are_of_the_deepest_over_the_shallowest():
    def point(layers, peak, state, step, seconds):
        ours = {"peak": peak << 20, "state": state << 20, "step": step << 20, "seconds": seconds}
        return {"case": {"layers": layers}, "results": {"diffeo": ours, "zuko": {"error": "none"}}}

    found = memory.ratios([point(8, 100, 10, 50, 1.0), point(128, 340, 160, 55, 24.0)])
    assert list(found) == ["diffeo"]
    expected = {
        "peak": 3.4,
        "peak less state": 2,
        "step": 1.1,
        "time per layer": 1.5,
        "exponent in K": 0.25,
    }
    assert found["diffeo"] == pytest.approx(expected)
    freed = memory.ratios([point(8, 100, 10, 0, 1.0), point(128, 340, 160, 55, 24.0)])
    assert math.isnan(freed["diffeo"]["step"])


def test_numbers_are_summed_up():
    assert summary([1.0, 2.0, 3.0, 4.0, 5.0]) == {"median": 3.0, "low": 1.4, "high": 4.6, "n": 5}
    assert [duration(s) for s in (0.00123, 1.5, 2000.0)] == ["1.23 ms", "1.5 s", "2000 s"]


def test_without_a_folder_the_bundled_table_is_taken(tmp_path):
    found, said = tables(None)
    assert list(found) == ["breast cancer"]
    assert "DIFFEO_DATA" in said
    train, held = found["breast cancer"]
    assert train.shape == (513, 30)
    assert held.shape == (56, 30)
    np.testing.assert_allclose(train.std(0), 1, rtol=1e-4)
    rng = np.random.default_rng(0)
    (tmp_path / "miniboone").mkdir()
    parts = {part: rng.standard_normal((50, 43)).astype(np.float32) for part in ("val", "test")}
    np.savez(tmp_path / "miniboone" / "miniboone_maf_val_test.npz", **parts)
    found, said = tables(tmp_path)
    assert found["miniboone"][0].shape == (90, 43)


def test_names_of_peers_are_those_of_libraries():
    assert set(PEERS) == set(LIBRARIES) - {"diffeo", "diffeo float32", "diffeo own loop"}
