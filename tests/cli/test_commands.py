"""Each command on its happy path, for people and for machines."""

import io
import subprocess
import sys
import time
import types

import numpy as np
import polars as pl
import pytest

import diffeo as library
from diffeo.tables import read_table

from .conftest import QUICK


def scores_in(path):
    values = read_table(path)
    return values[values.columns[-1]].to_numpy()


def test_fit_writes_a_model_and_says_how_good_it_is(diffeo, data, frame, tmp_path):
    outcome = diffeo("fit", data, "-o", tmp_path / "m.safetensors", "--json", *QUICK)
    assert outcome.code == 0
    facts = outcome.json
    assert facts["columns"] == ["width", "height"]
    assert facts["rows"] == 300
    assert facts["warnings"] == []
    assert facts["stopped_by"] == "max_epochs"
    assert "modelling 2 column(s) of 300 rows: 'width', 'height'" in outcome.err
    model = library.load(tmp_path / "m.safetensors")
    assert model.score(frame).mean() == pytest.approx(facts["held_out_log_prob"], abs=1.0)


def test_the_same_seed_writes_the_same_bytes(diffeo, data, tmp_path):
    files = [tmp_path / name for name in ("a", "b", "c")]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        assert diffeo("fit", data, "-o", file, "--seed", seed, *QUICK).code == 0
    first, second, third = (file.read_bytes() for file in files)
    assert first == second != third


def test_a_time_budget_ends_training(diffeo, data, tmp_path):
    options = ("--time-budget", "0.3", "--couplings", "2", "--hidden", "8", "--device", "cpu")
    outcome = diffeo("fit", data, "-o", tmp_path / "m", "--json", *options)
    assert outcome.json["stopped_by"] == "time budget"


def test_a_checkpoint_is_gone_on_from(diffeo, data, tmp_path):
    command = ("fit", data, "-o", tmp_path / "m", "--checkpoint", tmp_path / "state", "--json", *QUICK)
    first = diffeo(*command)
    written = (tmp_path / "m").read_bytes()
    assert (tmp_path / "state").exists()
    again = diffeo(*command)
    assert again.json["steps"] == first.json["steps"]
    assert (tmp_path / "m").read_bytes() == written


@pytest.mark.parametrize("flow", ["realnvp", "nice"])
def test_each_architecture_can_be_chosen(diffeo, data, tmp_path, flow):
    assert diffeo("fit", data, "-o", tmp_path / "m", "--flow", flow, *QUICK).code == 0
    about = diffeo("info", tmp_path / "m", "--json").json
    assert about["extra"]["flow"] == flow


@pytest.mark.parametrize("extension", ["csv", "tsv", "parquet", "arrow", "feather"])
def test_every_format_scores_the_same(diffeo, model, frame, data, tmp_path, extension):
    from diffeo.tables import open_writer

    with open_writer(tmp_path / f"in.{extension}") as write:
        write(frame.select(pl.lit("text").alias("note"), "height", "width"))
    outcome = diffeo("score", model, tmp_path / f"in.{extension}", "-o", tmp_path / f"out.{extension}")
    assert outcome.code == 0
    assert "columns that the model does not use: 'note'" in outcome.err
    expected = library.load(model).score(frame)
    assert np.array_equal(scores_in(tmp_path / f"out.{extension}"), expected)


def test_arrays_are_scored_by_the_names_they_get(diffeo, frame, tmp_path):
    values = frame.to_numpy()
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", X=values, y=values[:, 0])
    frame.rename({"width": "x0", "height": "x1"}).write_csv(tmp_path / "a.csv")
    assert diffeo("fit", tmp_path / "a.npy", "-o", tmp_path / "m", *QUICK).code == 0
    for name in ("a.npy", "a.npz", "a.csv"):
        assert (
            diffeo("score", tmp_path / "m", tmp_path / name, "-o", tmp_path / f"{name}.out.npy").code == 0
        )
    first, second, third = (np.load(tmp_path / f"a.{e}.out.npy") for e in ("npy", "npz", "csv"))
    assert first.shape == (300,)
    assert np.array_equal(first, second)
    assert np.array_equal(first, third)


def test_standard_input_and_output(diffeo, model, data, frame, monkeypatch):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(data.read_bytes())))
    outcome = diffeo("score", model, "-")
    assert outcome.code == 0
    scores = pl.read_csv(io.StringIO(outcome.out))["log_prob"].to_numpy()
    assert np.array_equal(scores, library.load(model).score(frame))
    assert "300 rows scored" in outcome.err  # the summary keeps out of the data's way


def test_score_names_the_least_likely_rows(diffeo, model, frame, tmp_path):
    frame.write_parquet(tmp_path / "in.parquet")
    facts = diffeo(
        "score", model, tmp_path / "in.parquet", "-o", tmp_path / "s.npy", "--json", "--batch-rows", 7
    ).json
    scores = library.load(model).score(frame)
    order = np.argsort(scores, kind="stable")[:5]
    assert [row["row"] for row in facts["lowest"]] == (order + 1).tolist()
    np.testing.assert_allclose([row["log_prob"] for row in facts["lowest"]], scores[order], atol=1e-5)
    assert facts["mean_log_prob"] == pytest.approx(scores.mean(), abs=1e-5)
    assert facts["rows"] == 300


def test_append_keeps_the_columns_of_the_data(diffeo, model, frame, tmp_path):
    whole = frame.with_columns(note=pl.lit('héllo, "w"'))
    whole.write_csv(tmp_path / "in.csv")
    assert diffeo("score", model, tmp_path / "in.csv", "-o", tmp_path / "o.parquet", "--append").code == 0
    out = pl.read_parquet(tmp_path / "o.parquet")
    assert out.columns == ["width", "height", "note", "log_prob"]
    assert out.drop("log_prob").equals(whole)


def test_rows_with_missing_values_can_be_kept_without_a_score(diffeo, model, tmp_path):
    (tmp_path / "in.csv").write_text("width,height\n5,5000\n,5000\n5,inf\n5,5000\n")
    outcome = diffeo("score", model, tmp_path / "in.csv", "--missing", "keep")
    lines = outcome.out.splitlines()
    assert lines[2:4] == ["", "-inf"] or lines[2:4] == ['""', "-inf"]
    assert lines[1] == lines[4]
    assert "2 row(s) have no finite score" in outcome.err


def test_sample_draws_rows_in_the_units_of_the_data(diffeo, model, frame, tmp_path):
    for name, seed in (("a.csv", 1), ("b.parquet", 1), ("c.csv", 2)):
        outcome = diffeo("sample", model, "-n", 2000, "-o", tmp_path / name, "--seed", seed)
        assert outcome.code == 0
    first, second, third = (read_table(tmp_path / name) for name in ("a.csv", "b.parquet", "c.csv"))
    assert first.equals(second)
    assert not first.equals(third)
    assert first.columns == frame.columns
    assert first.shape == (2000, 2)
    spread = frame["height"].std()
    assert abs(first["height"].mean() - frame["height"].mean()) < 0.5 * spread
    piped = diffeo("sample", model, "-n", 5, "--seed", 1)
    assert len(piped.out.splitlines()) == 6


def test_info_describes_without_building(diffeo, model, monkeypatch):
    def forbidden(*arguments):
        raise AssertionError("info must not build the model")

    monkeypatch.setattr("diffeo.registry.from_spec", forbidden)
    monkeypatch.setattr("diffeo.files.model.from_spec", forbidden)
    facts = diffeo("info", model, "--json").json
    assert facts["columns"] == [
        {"name": "width", "dtype": "Float64"},
        {"name": "height", "dtype": "Float64"},
    ]
    assert facts["architecture"][0].startswith("StandardNormal")
    assert facts["architecture"][-1].startswith("Whiten")
    assert facts["extra"]["rows"] == 300
    assert facts["extra"]["seed"] == 0
    assert len(facts["digest"]) == 64
    text = diffeo("info", model).out
    assert "'width' (Float64)" in text
    assert "held out log prob:" in text


def test_verify_says_yes_of_a_fitted_model(diffeo, model):
    outcome = diffeo("verify", model, "--json", "--rows", 16)
    assert outcome.code == 0, outcome.err
    assert outcome.json["ok"] is True


def test_verify_says_no_of_a_broken_model_and_exits_with_1(diffeo, tmp_path, model, monkeypatch):
    from diffeo.bijections import Whiten

    right = Whiten.inverse

    def wrong_sign(self, x, context=None):
        value, log_det = right(self, x, context)
        return value, -log_det

    monkeypatch.setattr(Whiten, "inverse", wrong_sign)
    outcome = diffeo("verify", model, "--json", "--rows", 16)
    assert outcome.code == 1
    assert outcome.json["ok"] is False


def test_help_answers_at_once_and_names_every_command():
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "diffeo.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.perf_counter() - started
    for command in ("fit", "score", "sample", "verify", "info", "demo"):
        assert f" {command} " in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "polars", "numpy", "sklearn", "matplotlib"}
    assert seconds < 5  # 0.2 s on an idle machine; what costs time is named above


def test_scoring_takes_the_memory_of_a_batch_however_long_the_table(tmp_path, model):
    """Nine times the rows, the same peak, measured in processes of their own, in small blocks."""
    # The high-water mark of the process itself: what getrusage says includes its parent's memory.
    code = (
        "import pathlib, sys\n"
        "from diffeo.cli import run\n"
        "from diffeo.tables.delimited import Delimited\n"
        "Delimited.__init__.__defaults__ = (2**18,)\n"
        "code = run(sys.argv[1:])\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(status.split('VmHWM:')[1].split()[0], file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    block = "".join(f"{3 + k % 7 / 7},{3000 + 10 * (k % 113)}\n" for k in range(20_000))
    peaks = []
    for copies in (5, 45):
        (tmp_path / "in.csv").write_text("width,height\n" + block * copies)
        arguments = ["score", str(model), str(tmp_path / "in.csv"), "-o", str(tmp_path / "out.csv")]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments, "--batch-rows", "8192"],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stderr.splitlines()[-1]) / 1024)
        assert f"{20_000 * copies} rows scored" in done.stdout
    # Held as a whole, 800,000 rows more would take 18 MiB as text, 12 as numbers, 6 as scores.
    assert peaks[1] < peaks[0] + 6
    assert peaks[1] < 1024


def test_rows_are_written_as_they_are_scored(diffeo, model, frame, tmp_path, monkeypatch):
    """A batch is read, scored and forgotten before the next is read."""
    import diffeo.tables as tables

    events, right_score, right_batches = [], tables.TableModel.score, tables.iter_batches

    def score(self, values):
        events.append(("scored", len(values)))
        return right_score(self, values)

    def iter_batches(*arguments):
        for batch in right_batches(*arguments):
            events.append(("read", batch.height))
            yield batch

    monkeypatch.setattr(tables.TableModel, "score", score)
    monkeypatch.setattr(tables, "iter_batches", iter_batches)
    frame.write_csv(tmp_path / "in.csv")
    arguments = ("score", model, tmp_path / "in.csv", "-o", tmp_path / "out.csv", "--batch-rows", 90)
    assert diffeo(*arguments).code == 0
    assert events == [(what, rows) for rows in (90, 90, 90, 30) for what in ("read", "scored")]
    assert len(scores_in(tmp_path / "out.csv")) == 300
