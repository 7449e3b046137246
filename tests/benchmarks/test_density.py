import json
import math
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from benchmarks import machine
from benchmarks.density import journal, run
from benchmarks.density.figures import cell, difference, failure, standings
from benchmarks.density.journal import Journal
from benchmarks.density.methods import ASKED, NATIVE, NUMERIC, Fitted, Lacks, classical, method, ours
from benchmarks.density.methods.method import trained
from benchmarks.density.page import page
from benchmarks.density.worker import measured, scored
from diffeo.errors import DataError

# -- methods -------------------------------------------------------------------------------------


def test_training_keeps_the_best_and_stops():
    values = iter([1.0, 3.0, 2.0, 2.5, 2.9])
    kept = []
    told = trained(lambda: iter([None]), lambda: next(values), lambda: kept.append(1), 60.0, 3)
    assert len(kept) == 2
    assert told == "5 steps, 5 epochs, stopped early"
    values = iter([1.0, math.nan])
    assert "NaN" in trained(lambda: iter([None]), lambda: next(values), lambda: None, 60.0, 3)
    with pytest.raises(FloatingPointError, match="no finite"):
        trained(lambda: iter([None]), lambda: math.nan, lambda: None, 60.0, 3)
    assert "time over" in trained(lambda: iter([None] * 10), lambda: 0.0, lambda: None, 0.0, 3)


@pytest.mark.parametrize("name", ["Gaussian", "mixture", "kernel"])
def test_classical_densities_are_those_of_the_rows(name):
    rng = np.random.default_rng(1)
    x = 100 + 5 * rng.normal(size=(3000, 2))
    fitted = method(name, native=False)(x[:2000], x[2000:2200], 2.0, 0)
    # Of independent normal columns of deviation 5: −(1 + log 2π + 2 log 5) a pair.
    assert fitted.log_prob(x[2200:]).mean() == pytest.approx(-1 - math.log(2 * math.pi * 25), abs=0.15)


@pytest.mark.parametrize(("library", "kind"), [("zuko", "MAF"), ("flowjax", "MAF")])
def test_peers_learn_correlated_columns(library, kind):
    pytest.importorskip(library)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2500, 2)) @ np.array([[1.0, 0.9], [0.0, 0.4]]) + 7
    fitted = method(f"{library} {kind}", native=False)(x[:2000], x[2000:2200], 10.0, 0)
    exact = -1 - math.log(2 * math.pi * 0.4)
    assert fitted.log_prob(x[2200:]).mean() == pytest.approx(exact, abs=0.25), fitted.told
    assert "steps" in fitted.told


def test_the_kernel_density_is_scikit_learns():
    from sklearn.neighbors import KernelDensity

    x = np.random.default_rng(2).normal(size=(300, 3))
    fitted = classical.kernel(x[:200], x[200:250], 5.0, 0)
    width = float(fitted.told.split()[1].rstrip(","))
    mean, scale = x[:200].mean(0), x[:200].std(0)
    theirs = KernelDensity(bandwidth=width).fit((x[:250] - mean) / scale)
    expected = theirs.score_samples((x[250:] - mean) / scale) - np.log(scale).sum()
    np.testing.assert_allclose(fitted.log_prob(x[250:]), expected, rtol=5e-3)


def test_methods_that_are_not_installed_are_named(monkeypatch, tmp_path):
    def gone(name):
        raise ModuleNotFoundError("No module named 'zuko'", name="zuko")

    monkeypatch.setattr("importlib.import_module", gone)
    with pytest.raises(Lacks, match="zuko is not installed"):
        method("zuko NSF", native=False)
    np.savez(tmp_path / "parts.npz")
    assert measured("zuko NSF", tmp_path, 1.0, 0) == {"missing": "zuko is not installed"}
    assert set(NUMERIC) >= {"diffeo", "Gaussian", "mixture", "kernel", "zuko NSF", "zuko MAF"}
    assert not set(ASKED) & set(NUMERIC)
    assert set(NATIVE) == {"diffeo", "marginals"}


class Stub:
    """Stands where FlowDensity will: a standard normal density of frames and arrays."""

    plain = True

    def __init__(self, time_budget, random_state, verbose):
        assert (random_state, verbose) == (3, False)
        self.report_, self.seconds = "tried\nchosen\nfitted", time_budget

    def fit(self, x):
        self.rows, self.schema_ = (
            len(x),
            SimpleNamespace(variables=[SimpleNamespace(name="x0", plain=self.plain)]),
        )
        if hasattr(x, "columns") and x.columns == ["name"]:
            raise DataError("text")
        return self

    def score_samples(self, x):
        return -np.square(np.asarray(x, float)).sum(1)


def test_ours_gets_all_rows_and_its_measure_is_checked(monkeypatch):
    monkeypatch.setattr(ours, "ESTIMATOR", Stub)
    x = np.ones((9, 2))
    fitted = ours.numbers(x, x[:3], 5.0, 3)
    assert fitted.told == "tried | chosen | fitted"
    np.testing.assert_array_equal(fitted.log_prob(x), -2)
    frame = pl.DataFrame({"a": [1.0, 2.0], "name": ["x", "y"], "b": [0.0, 3.0]})
    np.testing.assert_array_equal(ours.frame(frame, 6.0, 3).log_prob(frame.select("b")), [0, -9])
    alone = ours.marginals(frame, 6.0, 3)
    assert alone.told == "2 of 3 columns, each alone"
    np.testing.assert_array_equal(alone.log_prob(frame), [-1, -13])
    monkeypatch.setattr(Stub, "plain", False)
    with pytest.raises(ValueError, match="other than continuous: x0"):
        ours.numbers(x, x[:3], 5.0, 3)
    monkeypatch.setattr(ours, "ESTIMATOR", None)
    with pytest.raises(Lacks, match="FlowDensity"):
        ours.frame(frame, 6.0, 3)


def test_rows_without_a_density_are_counted():
    values = np.array([0.0, -np.inf, np.nan, 2.0])
    found = scored(Fitted(lambda x: values, "told"), np.zeros((4, 1)))
    assert (found["nats"], found["finite_nats"]) == (None, 1.0)
    assert (found["impossible"], found["undefined"]) == (1, 1)
    assert found["blocks"][:4] == [0.0, None, None, 2.0]
    with pytest.raises(ValueError, match="shape"):
        scored(Fitted(lambda x: values[:2], ""), np.zeros((4, 1)))


# -- journal, figures, page ----------------------------------------------------------------------


def record(method="diffeo", seed=0, nats=0.0, **more):
    blocks = [nats + 0.1 * (k % 2) for k in range(20)]
    made = {
        "part": "numeric",
        "set": "s",
        "seed": seed,
        "method": method,
        "budget": 5.0,
        "columns": 2,
        "dropped": {"discrete": ["few"]},
        "spread": 1,
        "said": "",
        "fixed": False,
        "train": 80,
        "validation": 10,
        "test": 20,
        "shift": 1.0,
        "busy": 0.0,
        "fit_seconds": 4.0,
        "score_seconds": 0.1,
        "nats": nats,
        "finite_nats": nats,
        "impossible": 0,
        "undefined": 0,
        "blocks": blocks,
        "told": "",
    }
    return {**made, **more}


def test_a_journal_survives_a_torn_line(tmp_path):
    path = tmp_path / "folder" / "j.jsonl"
    book = Journal(path)
    book.append(record())
    with path.open("a") as file:
        file.write('{"part": "numeric", "se')
    book = Journal(path)
    assert book.has(record())
    assert not book.has(record(seed=1))
    book.append(record(seed=1))
    book.append(record(nats=7.0))
    book.append({**journal_name(record(seed=2)), "missing": "not installed"})
    again = Journal(path)
    assert [r.get("nats") for r in again.records()] == [7.0, 0.0, None]
    assert not again.has(record(seed=2)), "what was missing is tried again"


def journal_name(made):
    return {field: made[field] for field in journal.NAME}


def test_differences_are_paired_and_failures_lose():
    ours = [record(seed=k, nats=1.0 + k) for k in range(3)]
    theirs = [record("zuko NSF", k, 0.5 + k) for k in range(3)]
    found = difference(ours, theirs)
    assert found.nats == pytest.approx(0.5)
    assert found.error == pytest.approx(0, abs=1e-12)
    assert found.ahead
    assert not found.behind
    noisy = [record("zuko NSF", k, 1.0 + k + (k - 1)) for k in range(3)]
    found = difference(ours, noisy)
    assert found.nats == pytest.approx(0)
    assert found.error == pytest.approx(1 / math.sqrt(3))
    lost = [*theirs[:2], record("zuko NSF", 2, impossible=1)]
    assert difference(ours, lost).nats == math.inf
    assert difference(lost, ours).nats == -math.inf
    assert difference(ours, [record("zuko NSF", 9)]) is None
    assert "1 of 20 test rows" in failure(lost[2])
    assert cell(lost).failures == ("seed 2: 1 of 20 test rows without a finite log-density",)
    assert cell(ours).nats == pytest.approx(3.0)  # in the units stated: 1 higher


def test_one_seed_has_the_error_of_its_blocks():
    other = record("zuko NSF", nats=0.0, blocks=[0.2 * (k % 2) for k in range(20)])
    found = difference([record()], [other])
    assert found.error == pytest.approx(np.std([0.0, 0.1] * 10, ddof=1) / math.sqrt(20))
    fixed = difference(
        [record(seed=k, fixed=True) for k in range(4)], [{**other, "seed": k} for k in range(4)]
    )
    assert fixed.error == pytest.approx(found.error)


def report_of(records):
    facts = {**machine.facts(), "processor": "Abacus", "cores": 2, "gpu": "", "date": "2026-01-01"}
    return {
        "machine": facts,
        "budget": 5.0,
        "threads": 2,
        "skipped": {"numeric: x": "gone"},
        "records": records,
    }


def test_the_page_says_who_is_ahead_and_who_failed():
    records = [
        *(record(seed=k, nats=2.0) for k in range(2)),
        *(record("zuko NSF", k, 1.0) for k in range(2)),
        *(record("zuko MAF", k, 1.5) for k in range(2)),
        record("flowjax NSF", 0, error="timeout: not over within 315 s"),
        {**record("flowjax MAF"), "missing": "flowjax is not installed"},
        record(part="native", set="n", impossible=2),
        record("marginals", part="native", set="n", nats=-1.0),
    ]
    (standing,) = standings(records, "numeric")
    assert standing.best == "diffeo"
    assert standing.among_the_best
    assert standing.ahead_of_rivals
    told = page(report_of(records))
    for words in (
        "| fits that failed | 0 of 2 | 0 | yes |",
        "| 1 of 1 (100%) | ≥ 90% | yes |",
        "| 1 of 1 (100%) | ≥ 75% | yes |",
        "| s | 80 × 2 | **3.000 ± 0.000** |",
        "+1.000 ± 0.000",
        "s (numeric), flowjax NSF, seed 0: timeout",
        "flowjax MAF was not measured: flowjax is not installed",
        "2 of 20 test rows are impossible",
        "numeric: x: gone",
        "discrete: few",
    ):
        assert words in told, words
    assert "trusted" not in told
    behind = [record(nats=0.0), record("zuko NSF", nats=1.0), record("zuko MAF", nats=-1.0)]
    told = page(report_of([{**r, "busy": 0.5, "fit_seconds": 9.0} for r in behind]))
    for words in (
        "3 of 3 fits began while other programs used more than 10% (at most 50%)",
        "| 0 of 1 (0%) | ≥ 90% | **no** |",
        "at most +80% | all | **no** |",
        "**-1.000 ± ",
    ):
        assert words in told, words
    failed = page(report_of([record(undefined=3), record("zuko NSF"), record("zuko MAF")]))
    assert "| fits that failed | 1 of 1 | 0 | **no** |" in failed
    assert "**diffeo failed**" in failed


# -- the run -------------------------------------------------------------------------------------


def test_a_run_goes_on_where_it_was_ended(folder, tmp_path, capsys):
    out, book = tmp_path / "out", tmp_path / "j.jsonl"
    given = ["--data", str(folder), "--only", "adbench 14_glass", "power", "--budget", "2", "--seeds", "1"]
    given += [
        "--threads",
        "1",
        "--journal",
        str(book),
        "--output",
        str(out),
        "--part",
        "numeric",
        "--methods",
    ]
    assert run.main([*given, "Gaussian", "zuko MAF"]) == 0
    told = capsys.readouterr()
    assert "SKIPPED power (numeric)" in told.err
    assert "adbench 14_glass" in told.out
    first = list(journal.read(book))
    assert [r["method"] for r in first] == ["Gaussian", "zuko MAF"]
    for made in first:
        assert failure(made) == ""
        assert made["nats"] + made["shift"] == pytest.approx(-4.5, abs=2)  # three normal columns
        assert (made["train"], made["validation"], made["test"]) == (44, 4, 12)
    assert run.main([*given, "Gaussian", "zuko MAF", "kernel"]) == 0
    assert [r["method"] for r in journal.read(book)] == ["Gaussian", "zuko MAF", "kernel"]
    assert run.main([*given, "Gaussian", "--again", "Gaussian"]) == 0
    assert [r["method"] for r in journal.read(book)][3:] == ["Gaussian"]
    written = json.loads(next(out.glob("tables-*.json")).read_text())
    assert len(written["records"]) == 3
    assert str(tmp_path) not in next(out.glob("*.md")).read_text()


def test_options_are_checked(capsys, monkeypatch):
    monkeypatch.setenv("DIFFEO_DATA", "somewhere")
    assert str(run.arguments(["--quick"]).data) == "somewhere"
    with pytest.raises(SystemExit):
        run.arguments(["--only", "atlantis"])
    assert "no such set" in capsys.readouterr().err
    monkeypatch.delenv("DIFFEO_DATA")
    with pytest.raises(SystemExit):
        run.arguments(["--download"])


def test_the_published_flow_trains_and_its_density_has_the_units_of_the_data():
    pytest.importorskip("nflows")
    from benchmarks.density.methods import nflows

    x = np.random.default_rng(0).normal(size=(500, 2)) * [10.0, 0.1] + 5
    fitted = nflows.fit(x[:400], x[400:], 1.0, 0)
    axes = [np.linspace(-12, 12, 241) * scale + 5 for scale in (10.0, 0.1)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    mass = np.exp(fitted.log_prob(grid)).sum() * np.prod([axis[1] - axis[0] for axis in axes])
    assert mass == pytest.approx(1.0, abs=0.02)
    assert fitted.told.endswith("time over")
    assert nflows.settings_for(50_000) is nflows.LARGE
    assert nflows.settings_for(49_999) is nflows.SMALL
