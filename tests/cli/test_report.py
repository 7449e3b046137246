"""``diffeo report``: the page, the terminal, JSON, and errors that name what is wrong."""

import json

import numpy as np
import polars as pl
import pytest

from diffeo import FlowDensity


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    draws = np.random.default_rng(0)
    frame = pl.DataFrame({"a": draws.normal(size=200), "sex": draws.choice(["f", "m"], size=200)})
    frame.write_csv(folder / "data.csv")
    FlowDensity("gaussian", max_steps=2, random_state=0).fit(frame).save(folder / "model.safetensors")
    return folder


def test_it_writes_a_page_and_says_what_is_on_it(diffeo, files):
    page = files / "page.html"
    data = files / "data.csv"
    said = diffeo(
        "report", files / "model.safetensors", data, "-o", page, "--group", "sex", "--reference", data
    )
    assert said.code == 0, said.err
    assert "current rows against" in said.out
    assert str(page) in said.out
    assert page.read_text("utf-8").startswith("<!doctype html>")


def test_json_is_one_object_and_text_writes_no_page(diffeo, files):
    page = files / "none.html"
    said = diffeo("report", files / "model.safetensors", files / "data.csv", "-o", page, "--text", "--json")
    assert said.json["rows"] == 200
    assert said.json["output"] is None
    told = diffeo("report", files / "model.safetensors", files / "data.csv", "-o", page, "--text")
    assert "Columns and pairs" in told.out
    assert not page.exists()


def test_a_model_of_diffeo_fit_is_read_too(diffeo, model, data, tmp_path):
    said = diffeo("report", model, data, "-o", tmp_path / "page.html", "--json")
    assert said.code == 0, said.err
    assert json.dumps(said.json["columns"]) == '["width", "height"]'


def test_wrong_arguments_are_named(diffeo, files):
    model, data = files / "model.safetensors", files / "data.csv"
    for given, words in [
        (("-o", "page.pdf"), "no page"),
        (("-o", files / "no" / "page.html"), "folder"),
        (("--text", "--group", "sx"), "Did you mean 'sex'"),
        (("--text", "--reference", files / "no.csv"), "no.csv"),
    ]:
        said = diffeo("report", model, data, *given)
        assert said.code == 2
        assert words in said.err
