"""The demo, on a small budget of time: what it prints is what it measured."""

import contextlib
import io
import json

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import diffeo as library
from diffeo.cli import run
from diffeo.cli.demo_text import Competitor, standing, strangest_table


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["demo", "-o", str(folder), "--json", "--time-budget", "1", "--device", "cpu"])
    return folder, code, json.loads(out.getvalue()), err.getvalue()


def test_it_verifies_the_model_and_writes_what_it_promises(ran):
    folder, code, facts, said = ran
    assert code == 0
    assert facts["verified"]
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors",
        "data.csv",
        "samples.csv",
        "moulding.png",
        "report.html",
    }
    assert (folder / "moulding.png").read_bytes().startswith(b"\x89PNG")
    assert "The five least likely rows" in said
    assert "by sex" in said
    assert any("Between groups of 'sex'" in line for line in facts["report"])
    assert pl.read_csv(folder / "samples.csv").shape == (1000, 9)


def test_the_model_file_scores_the_data_file_as_the_demo_did(ran):
    folder, _, facts, _ = ran
    scores = library.load(folder / "model.safetensors").score(pl.read_csv(folder / "data.csv"))
    assert [int(row) + 1 for row in np.argsort(scores)[:5]] == facts["least_likely_rows"]


def test_every_density_is_compared_and_the_verdict_follows_the_numbers(ran):
    _, _, facts, said = ran
    nats = facts["held_out_log_prob"]
    assert len(nats) == 7
    assert facts["flow_wins"] == (max(nats, key=nats.get) == "normalizing flow of logarithms")
    assert ("The flow wins" in said) == facts["flow_wins"]


@pytest.mark.parametrize(("ours", "words"), [(2.0, "The flow wins: 1.00"), (0.5, "does not win here")])
def test_the_verdict_tells_a_loss_as_it_tells_a_win(ours, words):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=50)
    flow = Competitor("flow", "values", "", rows + ours, 0.0)
    rivals = [Competitor(name, "values", "", rows + by, 0.0) for name, by in (("a", 1.0), ("b", -3.0))]
    table, verdict, wins = standing(flow, rivals)
    assert words in verdict
    assert wins == (ours > 1)
    assert f"{ours - 1:+.2f}" in printed(table)


def test_a_row_is_explained_by_what_breaks_its_relation():
    rng = np.random.default_rng(0)
    side = np.exp(rng.normal(size=200))
    data = np.stack([side, side**2 * np.exp(0.01 * rng.normal(size=200))], 1)
    data[7, 1] *= 1.5
    text = printed(strangest_table([7], np.zeros(200), data, ["?"] * 200, ["side", "area"]))
    assert f"where {data[7, 0] ** 2:.2g}"[:9] in text
    assert " 8 " in text


def printed(table):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()
