"""A table of categories, counts, dates and holes on the command line."""

import datetime

import numpy as np
import polars as pl
import pytest

import diffeo as library
from diffeo import FlowDensity
from diffeo.cli import run
from diffeo.tables import read_table


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    draws, rows = np.random.default_rng(0), 120
    sex = draws.choice(["f", "m"], rows)
    height = np.where(sex == "m", 178.0, 165.0) + 7 * draws.normal(size=rows)
    born = [
        datetime.date(1980, 1, 1) + datetime.timedelta(days=int(k)) for k in draws.integers(0, 9000, rows)
    ]
    income = np.where(draws.random(rows) < 0.2, np.nan, np.exp(draws.normal(size=rows) + 9))
    frame = pl.DataFrame(
        {
            "sex": sex.tolist(),
            "height": height,
            "children": draws.poisson(1.3, rows),
            "born": born,
            "income": pl.Series(income).fill_nan(None),
            "weight": height - 100 + 9 * draws.normal(size=rows),
        }
    )
    path = tmp_path_factory.mktemp("people") / "people.csv"
    frame.write_csv(path)
    return path


@pytest.fixture(scope="module")
def fitted(people, tmp_path_factory):
    path = tmp_path_factory.mktemp("mixed") / "people.safetensors"
    assert run(["fit", str(people), "-o", str(path), "--max-steps", "2", "--first", "sex"]) == 0
    return path


def test_what_a_flow_refuses_becomes_a_density_of_mixed_columns(diffeo, people, fitted):
    facts = diffeo("info", fitted, "--json").json
    assert {column["name"]: column["kind"] for column in facts["columns"]} == {
        "sex": "categorical",
        "height": "continuous",
        "children": "count",
        "born": "datetime",
        "income": "positive",
        "weight": "continuous",
    }
    assert facts["extra"]["max_steps"] == 2
    assert any("held out" in line for line in facts["report"])
    text = diffeo("info", fitted).out
    assert "'born' (datetime, Date)" in text


def test_scores_are_those_of_the_estimator_however_they_are_batched(diffeo, people, fitted, tmp_path):
    expected = FlowDensity.load(fitted).score_samples(read_table(people))
    outcome = diffeo(
        "score", fitted, people, "-o", tmp_path / "s.csv", "--batch-rows", 50, "--append", "--json"
    )
    assert outcome.code == 0, outcome.err
    written = pl.read_csv(tmp_path / "s.csv")
    assert written.columns[:-1] == read_table(people).columns
    assert written["log_prob"].to_numpy() == pytest.approx(expected, abs=1e-9)
    assert outcome.json["rows_without_score"] == 0


def test_a_row_that_cannot_be_is_scored_and_an_absent_column_refused(diffeo, people, fitted, tmp_path):
    frame = read_table(people)
    frame.head(2).with_columns(pl.Series("sex", ["f", "x"])).write_csv(tmp_path / "odd.csv")
    outcome = diffeo("score", fitted, tmp_path / "odd.csv", "-o", tmp_path / "s.csv", "--json")
    assert outcome.json["rows_without_score"] == 1
    assert "column 'sex'" in " ".join(outcome.json["warnings"])
    frame.drop("born").write_csv(tmp_path / "less.csv")
    outcome = diffeo("score", fitted, tmp_path / "less.csv", "-o", tmp_path / "s.csv")
    assert outcome.code == 2
    assert "'born'" in outcome.err


def test_samples_are_rows_of_the_table(diffeo, people, fitted, tmp_path):
    for name in ("a.csv", "b.csv"):
        assert diffeo("sample", fitted, "-n", 20, "--seed", 3, "-o", tmp_path / name).code == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    drawn, frame = read_table(tmp_path / "a.csv"), read_table(people)
    assert drawn.columns == frame.columns
    assert drawn.schema["born"] == pl.Date
    assert set(drawn["sex"]) <= {"f", "m"}


def test_the_model_can_be_chosen(diffeo, people, tmp_path):
    outcome = diffeo("fit", people, "-o", tmp_path / "m", "--model", "flow")
    assert outcome.code == 2
    assert "column 'sex' (String) is not numeric" in outcome.err
    options = ("--columns", "height,weight", "--max-steps", 1, "--json")
    facts = diffeo("fit", people, "-o", tmp_path / "m", "--model", "mixed", *options).json
    assert facts["kinds"] == {"height": "continuous", "weight": "continuous"}
    facts = diffeo("fit", people, "-o", tmp_path / "m", "--kind", "height=integer", *options)
    assert facts.code == 2  # heights are no whole numbers
    facts = diffeo("fit", people, "-o", tmp_path / "m", *options).json
    assert facts["flow"] == "realnvp"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "mixed", "--couplings", 3), "--couplings cannot be given with --model mixed"),
        (("--model", "flow", "--kind", "sex=ordinal"), "--kind cannot be given with --model flow"),
        (("--kind", "sex"), "--kind 'sex' is not NAME=KIND"),
        (("--kind", "sex=colour"), "colour"),
        (("--first", "sax"), "Did you mean 'sex'?"),
        (("--model", "mixed", "--device", "cuda"), "device='cuda'"),
    ],
)
def test_what_is_refused(diffeo, people, tmp_path, options, message):
    outcome = diffeo("fit", people, "-o", tmp_path / "m", *options)
    assert outcome.code == 2
    assert message in outcome.err


def test_the_flows_of_a_mixture_are_verified_where_they_have_density(diffeo, tmp_path, monkeypatch):
    x = np.random.default_rng(1).normal(size=(200, 2))
    x[:, 1] = x[:, 0] ** 2 + 0.1 * x[:, 1]
    frame = pl.DataFrame({"a": 1e6 + x[:, 0], "b": x[:, 1], "c": ["u", "v"] * 100})
    FlowDensity("affine", max_steps=100, random_state=0).fit(frame).save(tmp_path / "m")
    real, seen = library.diagnostics.verify, []

    def quick(flow, u, context):
        seen.append(flow.log_prob(u, context).detach())
        return real(library.bijections.Identity(), u)

    monkeypatch.setattr("diffeo.diagnostics.verify", quick)
    outcome = diffeo("verify", tmp_path / "m", "--rows", 4, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["ok"] is True
    assert [flow["name"].split()[0] for flow in outcome.json["flows"]] == ["affine"] * len(seen)
    assert all(float(log_p.mean()) > -10 for log_p in seen)


def test_a_mixture_without_a_flow_has_nothing_to_verify(diffeo, fitted, tmp_path, people):
    frame = read_table(people).select("height", "weight")
    FlowDensity("gaussian", max_steps=1).fit(frame).save(tmp_path / "m")
    outcome = diffeo("verify", tmp_path / "m")
    assert outcome.code == 2
    assert "has no flow to verify" in outcome.err
