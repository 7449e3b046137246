"""What is compared on: toys, digits, arrays, images, tables; what is left out is said."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import diffeo
from diffeo.comparison.columns import numbers_of_table
from diffeo.comparison.given import rows_of
from diffeo.errors import ConfigError, DataError

from .fakes import Standard


def given(x, most=None):
    return rows_of(x, most=most, share=0.3)


def mixed(n=200):
    draws = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "width": draws.normal(size=n),
            "price": draws.integers(100, 150, n) / 100,
            "count": draws.poisson(20, n),
            "city": draws.choice(["Bern", "Basel"], n),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(draws.integers(0, 99, n), unit="D"),
            "flag": draws.integers(0, 2, n),
            "same": 1.0,
            "rain": np.maximum(draws.normal(size=n), 0),
        }
    )


def test_a_table_is_taken_as_numbers_and_what_is_left_out_is_named():
    table = mixed()
    table.loc[:2, "width"] = np.nan
    rows = given(table)
    assert rows.columns == ("width", "price", "count")
    assert len(rows.train) + len(rows.held) == 197
    said = "\n".join(rows.notes)
    assert "3 of 200 rows were left out, with holes in the columns 'width'" in said
    for name in (
        "'city' (no numbers)",
        "'same' (constant)",
        "'day' (dates and times)",
        "'rain' (some numbers have a probability",
    ):
        assert name in said
    assert "'flag' (fewer than 5 different numbers)" in said
    assert "FlowDensity models such columns" in said
    assert "dequantised, by the same noise for all models: 'price', 'count'" in said


@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
def test_every_frame_gives_the_same_rows(library):
    table = mixed()[["width", "price", "count"]]
    frames = {"pandas": table, "polars": pl.from_pandas(table), "arrow": pl.from_pandas(table).to_arrow()}
    rows, expected = given(frames[library]), given(table)
    assert np.array_equal(rows.train, expected.train)


def test_noise_is_as_wide_as_the_lattice_and_keeps_each_cell():
    table = mixed()
    values, names, _ = numbers_of_table(table, seed=0)
    for name, width in (("price", 0.01), ("count", 1.0)):
        off = values[:, names.index(name)] - table[name].to_numpy()
        assert np.abs(off).max() <= width / 2
        assert off.std() == pytest.approx(width / 12**0.5, rel=0.15)
    assert np.array_equal(values[:, names.index("width")], table["width"])


def test_a_file_is_read(tmp_path):
    mixed().to_csv(tmp_path / "table.csv", index=False)
    rows = given(tmp_path / "table.csv")
    assert rows.name == "table.csv"
    assert rows.columns == ("width", "price", "count")


def test_digits_are_dequantised_images():
    rows = given("digits", most=300)
    assert rows.event == (1, 8, 8)
    assert rows.images
    assert rows.train.min() >= 0
    assert rows.train.max() < 17
    assert not (rows.train == np.rint(rows.train)).all()
    assert any("dequantised" in note for note in rows.notes)
    assert any("300 of 1,797 rows" in note for note in rows.notes)


def test_images_go_through_a_comparison(tmp_path):
    result = diffeo.compare("digits", ["gaussian", Standard()], rows=200)
    assert result.models["standard"].event == (1, 8, 8)  # as they are
    assert [entry.failed for entry in result.entries] == ["", ""]
    assert result.reference.model == "training rows"
    assert result.reference.beside.memorisation is None
    assert "images of 1×8×8" in str(result)
    result.figure(tmp_path / "a.png", ["Gaussian", "standard"])
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.parametrize("columns", [1, 5])
def test_tables_of_any_width_go_through(columns, tmp_path):
    x = np.random.default_rng(0).normal(size=(150, columns))
    result = diffeo.compare(x, ["gaussian", Standard()])
    assert all(not entry.failed for entry in result.entries)
    result.figure(tmp_path / "a.png")
    assert "the density of the data is not known" not in str(result)  # said of models only


def test_toys_are_drawn_as_asked_and_divided_once():
    rows = given("moons", most=100)
    again = given(diffeo.toys.TOYS["moons"], most=100)
    assert (len(rows.train), len(rows.held)) == (70, 30)
    assert np.array_equal(rows.held, again.held)
    assert rows.truth(rows.held).shape == (30,)


@pytest.mark.parametrize(
    ("x", "error", "said"),
    [
        ("moon", ConfigError, "Did you mean 'moons'"),
        ("nowhere.csv", DataError, "nowhere.csv"),
        (np.zeros(9), DataError, r"shape \(9,\)"),
        (np.random.default_rng(0).normal(size=(20, 2)), DataError, "20 rows .* at least 40"),
        (np.full((50, 2), 3.0), DataError, "'x0', 'x1' .constant."),
        (np.full((50, 1, 2, 2), np.nan), DataError, "200 pixels that are not finite"),
        (np.where(np.arange(200).reshape(50, 4) == 9, np.inf, 0.5), DataError, "'x1' has 1 infinite"),
        (
            np.diag(np.full(60, np.nan)) + np.random.default_rng(0).normal(size=(60, 60)),
            DataError,
            "every row",
        ),
    ],
)
def test_what_cannot_be_compared_on_is_named(x, error, said):
    with pytest.raises(error, match=said):
        given(x)
