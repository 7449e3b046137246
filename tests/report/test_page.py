"""The page: whole, inert, small, and readable without a picture; what it says follows the figures."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
import torch

import diffeo
from diffeo.errors import ConfigError, DataError
from diffeo.report import examine
from diffeo.report.page import embedded
from diffeo.report.svg import ticks
from diffeo.report.terminal import show, sparkline
from tests.report.conftest import HOSTILE, table


class Reader(HTMLParser):
    """Elements with their attributes, and the text of scripts."""

    VOID = frozenset({"meta", "input", "br", "img", "link"})

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.open, self.strays = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.strays.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module", params=["examined", "numbers"])
def page(request):
    text = request.getfixturevalue(request.param).html()
    return text, Reader(text)


def test_it_is_one_whole_document_without_any_address(page):
    text, read = page
    assert not read.open
    assert not read.strays
    assert len(text) < 5_000_000
    without = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//cdn|@import|url\(", without)
    fetched = [a for _, a in read.elements if {"src", "srcset", "action", "data"} & set(a)]
    assert not fetched
    assert all(a["href"].startswith("#") for a in read.all("a"))
    assert "default-src 'none'" in text


def test_hostile_names_are_text(page):
    _, read = page
    assert not read.all("img")
    assert not read.all("i")
    assert not [a for _, a in read.elements for name in a if name.startswith("on")]
    assert len(read.scripts) == 2
    assert "hacked" not in read.scripts[1]
    json.loads(read.scripts[0])
    assert json.loads(embedded({HOSTILE: [HOSTILE]})) == {HOSTILE: [HOSTILE]}


def test_pictures_have_words_and_tables_and_controls_have_labels(page):
    _, read = page
    ids = [a["id"] for _, a in read.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert read.all("html")[0]["lang"] == "en"
    for svg in read.all("svg"):
        assert svg["role"] == "img"
        assert set(svg.get("aria-labelledby", "").split()) <= set(ids)
        assert "aria-labelledby" in svg or svg["aria-label"]
    pictures = [a for a in read.all("div") if a.get("class") == "picture"]
    assert pictures
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in pictures)
    assert len(read.all("details")) == len(pictures)
    labelled = {a.get("for") for a in read.all("label")}
    assert {a["id"] for a in read.all("select")} <= labelled
    assert all(a["href"][1:] in ids for a in read.all("a"))
    assert len(read.all("main")) == len(read.all("h1")) == 1


def test_the_summary_says_what_was_found(examined, numbers):
    said = str(examined)
    assert "they drifted; a" in said
    assert f"Between groups of {HOSTILE!r} an audit finds nothing" in said
    assert examined.figures["drift"]["drifted"]
    assert not [one for one in examined.figures["audit"]["tests"] if one["adjusted"] <= 0.05]
    assert "while the fit held them out" in str(numbers) or "as likely as" in str(numbers)
    assert [section.key for section in examined.sections] == [
        "fit", "columns", "likelihoods", "groups", "drift", "training", "verification", "card"
    ]  # fmt: skip
    assert "moulding" in [section.key for section in numbers.sections]
    assert numbers.figures["verify"]["ok"]
    assert len(numbers.payload["moulding"]["stages"]) == len(numbers.payload["moulding"]["names"])


def test_the_same_seed_gives_the_same_page(fitted):
    one, other = (examine(fitted, table(60, seed=1), seed=3).html() for _ in range(2))
    assert one == other


def test_json_and_terminal_tell_the_same(examined, capsys):
    told = json.loads(json.dumps(examined.to_json(), allow_nan=False))
    assert told["rows"] == 200
    assert [one["words"] for one in told["summary"]] == examined.in_words().split("\n")
    examined.print()
    out = capsys.readouterr().out
    assert "Is the fit right?" in out
    assert "<img src=x" in out.replace("\n", "")
    assert "<script>" not in examined._repr_html_()
    assert sparkline([]) == ""
    show(examined)


def test_strange_rows_are_named_with_what_is_strange_in_them(fitted):
    frame = table(100, seed=4)
    odd = frame.with_columns(pl.when(pl.int_range(100) == 41).then(9.0).otherwise(pl.col("a")).alias("a"))
    first = examine(fitted, odd).figures["strangest"][0]
    assert first["row"] == 42
    assert "a = 9" in first["why"]
    assert "σ" in first["why"]


def test_impossible_rows_are_counted_and_left_out(fitted):
    frame = table(100, seed=5)
    odd = frame.with_columns(pl.Series(HOSTILE, ["never", *frame[HOSTILE][1:]]))
    with pytest.warns(UserWarning, match="never"):
        found = examine(fitted, odd)
    assert found.figures["impossible_rows"] == 1
    assert "1 row(s) have density 0" in str(found)


def test_table_models_and_flows_are_reported_on():
    x = np.random.default_rng(0).normal(size=(120, 2))
    schema = diffeo.tables.NumericSchema(tuple(diffeo.tables.NumericColumn(name) for name in ("a", "b")))
    flow = diffeo.flows.RealNVP(2, couplings=2, hidden=(8,))
    model = diffeo.tables.TableModel(schema, flow).eval()
    right = examine(model, pl.DataFrame(dict(zip("ab", x.T, strict=True))))
    assert "find nothing wrong" in str(right)
    wrong = examine(flow, torch.from_numpy(2 * x), reference=x, group="x0")
    assert "say so" in str(wrong) or "says so" in str(wrong)
    assert "of 2 columns moved since the reference" in str(wrong)
    assert flow.dtype == torch.float32  # the caller's own is left as it was
    assert "pit" not in wrong.figures
    with pytest.raises(DataError, match="lacks the columns"):
        examine(model, pl.DataFrame({"a": x[:, 0]}))


@pytest.mark.parametrize("spacing", [1, 100, "days", "atoms"])
def test_simple_densities_are_of_the_same_measure_as_the_model(spacing):
    draws = np.random.default_rng(0)
    whole = np.rint(draws.normal(5000, 1500, 300)).astype(int)
    if spacing == "days":
        column = np.datetime64("2000-01-01", "ms") + whole * np.timedelta64(1, "D")
    elif spacing == "atoms":
        column = np.where(draws.random(300) < 0.2, 0.0, draws.normal(size=300))
    else:
        column = whole * spacing
    rows = pl.DataFrame({"price": column, "x": draws.normal(size=300)})
    model = diffeo.FlowDensity("gaussian", max_steps=20, random_state=0).fit(rows)
    section = next(one for one in examine(model, rows).sections if one.key == "fit")
    if spacing == "atoms":  # a probability beside a density
        assert "simple densities" not in " ".join(section.words)
        return
    (ahead,) = re.findall(r"([.\d]+) ± [.\d]+ ahead of|it \(([-+.\d]+) ± ", section.words[0])
    assert abs(float("".join(ahead))) < 0.2
    assert "with a spacing (price)" in section.words[1]


def test_what_cannot_be_reported_on_is_named(fitted):
    with pytest.raises(ConfigError, match="model is a str"):
        examine("model", np.zeros((3, 1)))
    with pytest.raises(ConfigError, match="Did you mean 'hole'"):
        examine(fitted, table(50), group="holes")
    with pytest.raises(DataError, match="at least 10"):
        examine(fitted, table(5))
    with pytest.raises(ConfigError, match="not fitted"):
        examine(diffeo.FlowDensity(), np.zeros((3, 1)))


def test_ticks_are_round_and_within():
    assert ticks(-1.0, 1.0, 4) == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert ticks(3.0, 3.0) == []
    assert all(0.0013 <= v <= 0.0041 for v in ticks(0.0013, 0.0041))
