"""CSV typed as the model's own table was, and models fitted to frames of every library."""

import datetime
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from diffeo import FlowDensity

from .conftest import QUICK

ROWS = 90


def people():
    draws = np.random.default_rng(0)
    start = pd.Timestamp("2020-01-01")
    return pd.DataFrame(
        {
            "a": draws.normal(size=ROWS),
            "count": draws.poisson(3, ROWS),
            "city": pd.Categorical(draws.choice(["Bern", "Basel"], ROWS)),
            "day": start + pd.to_timedelta(draws.integers(0, 900, ROWS), unit="D"),
            "when": start + pd.to_timedelta(draws.uniform(0, 9e6, ROWS), unit="s"),
            "true": draws.choice([True, False], ROWS),
        }
    )


TABLES = {
    "pandas": people(),
    "arrow": pa.Table.from_pandas(people()),
    "polars": pl.from_pandas(people()),
    "numpy": people()[["a", "count"]].to_numpy(),
}


def saved(table, folder):
    model = FlowDensity("gaussian", max_steps=1, random_state=0).fit(table)
    model.save(folder / "model.safetensors")
    return model, folder / "model.safetensors"


@pytest.mark.parametrize("library", TABLES)
def test_a_model_of_any_library_is_drawn_from_and_scores_csv(diffeo, tmp_path, library):
    table = TABLES[library]
    model, path = saved(table, tmp_path)
    scores = []
    for name in ("rows.csv", "rows.parquet"):
        rows, score = tmp_path / name, tmp_path / f"{name}.scores.csv"
        drawn = diffeo("sample", path, "-n", 20, "-o", rows, "--json")
        assert drawn.code == 0, drawn.err
        assert drawn.json["columns"] == list(model.schema_.order)
        scored = diffeo("score", path, rows, "-o", score, "--json")
        assert scored.code == 0, scored.err
        assert scored.json["rows_without_score"] == 0
        scores.append(pl.read_csv(score)["log_prob"].to_numpy())
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    frame = (
        pl.DataFrame(table, schema=["x0", "x1"]) if library == "numpy" else pl.from_arrow(pa.table(table))
    )
    frame.write_csv(tmp_path / "own.csv")
    assert diffeo("score", path, tmp_path / "own.csv", "-o", tmp_path / "s.csv").code == 0
    own = pl.read_csv(tmp_path / "s.csv")["log_prob"].to_numpy()
    assert own == pytest.approx(model.score_samples(table), abs=1e-9)
    assert ", None)" not in diffeo("info", path).out


def test_labels_of_numbers_and_mixed_ones_are_drawn(diffeo, tmp_path):
    draws = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "number": pd.Categorical(draws.choice([1, 2], ROWS)),
            "mixed": pd.Series(draws.choice([0, 1], ROWS)).map({0: "a", 1: 7}).astype(object),
            "second": np.array("2024-01-01", "datetime64[s]") + draws.integers(0, 40, ROWS),
        }
    )
    _, path = saved(table, tmp_path)
    assert diffeo("sample", path, "-n", 20, "-o", tmp_path / "rows.parquet").code == 0
    drawn = pl.read_parquet(tmp_path / "rows.parquet")
    assert drawn.schema == {"number": pl.Int64, "mixed": pl.String, "second": pl.Datetime("ms")}
    assert drawn["second"].min() >= datetime.datetime(2024, 1, 1)
    assert drawn["second"].max() <= datetime.datetime(2024, 1, 1, 0, 1)


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4"])
def test_an_atom_is_met_in_an_array_of_less_precision(diffeo, tmp_path, dtype):
    draws = np.random.default_rng(0)
    x = draws.normal(size=(ROWS, 2))
    x[::2, 0] = 0.1
    wide = pl.DataFrame(x, schema=["x0", "x1"])
    kinds = {"x0": {"kind": "continuous", "atoms": (0.1,)}}
    model = FlowDensity("gaussian", max_steps=1, random_state=0, kinds=kinds).fit(wide)
    model.save(tmp_path / "m")
    np.save(tmp_path / "x.npy", x.astype(dtype))
    out = tmp_path / "s.csv"
    assert diffeo("score", tmp_path / "m", tmp_path / "x.npy", "-o", out, "--append").code == 0
    found = pl.read_csv(out)["log_prob"].to_numpy()
    assert found == pytest.approx(model.score_samples(wide), abs=0.02)
    assert diffeo("fit", tmp_path / "x.npy", "-o", tmp_path / "flow", *QUICK).code == 0
    assert diffeo("score", tmp_path / "flow", tmp_path / "x.npy", "-o", out).code == 0


def test_lengths_of_time_are_refused_as_text(diffeo, tmp_path):
    span = pd.to_timedelta(np.random.default_rng(0).normal(size=ROWS), unit="s")
    _, path = saved(pd.DataFrame({"span": span, "a": people()["a"]}), tmp_path)
    said = diffeo("sample", path, "-n", 5, "-o", tmp_path / "rows.csv")
    assert said.code == 2
    assert "column 'span' holds lengths of time" in said.err
    assert diffeo("sample", path, "-n", 5, "-o", tmp_path / "rows.parquet").code == 0


def test_whole_numbers_beyond_the_floats_are_told_apart(diffeo, tmp_path):
    numbers = [9007199254740993, 9007199254740995, 9007199254740997] * 30
    frame = pl.DataFrame({"k": numbers, "a": people()["a"].to_numpy()})
    frame.write_csv(tmp_path / "big.csv")
    arguments = ("-o", tmp_path / "m", "--model", "mixed", "--max-steps", 1)
    assert diffeo("fit", tmp_path / "big.csv", *arguments).code == 0
    output = tmp_path / "s.csv"
    scored = diffeo("score", tmp_path / "m", tmp_path / "big.csv", "-o", output, "--append", "--json")
    assert scored.json["rows_without_score"] == 0
    assert pl.read_csv(output)["k"].to_list() == numbers


@pytest.mark.parametrize("first", [2**64 - 1, 10**25, 10**45])
def test_longer_whole_numbers_are_names_too(diffeo, tmp_path, first):
    frame = pl.DataFrame(
        {"k": [str(first - k) for k in range(3)] * 30, "a": people()["a"].to_numpy()},
    )
    frame.write_csv(tmp_path / "big.csv")
    fitted = diffeo("fit", tmp_path / "big.csv", "-o", tmp_path / "m", "--max-steps", 1, "--json")
    assert fitted.json["kinds"]["k"] == "categorical"
    drawn = tmp_path / "drawn.csv"
    assert diffeo("sample", tmp_path / "m", "-n", 50, "-o", drawn).code == 0
    assert set(pl.read_csv(drawn, infer_schema=False)["k"]) == set(frame["k"])
    text = f"k,a\n{first},0\n{first - 2},0\n{first - 3},0\n5,0\n{first - 1},0\n"
    known = scores_by_batch(diffeo, tmp_path / "m", tmp_path / "new.csv", text)
    assert known == [True, True, False, False, True]


def test_truth_values_are_read_from_csv(diffeo, tmp_path):
    draws = np.random.default_rng(0)
    frame = pl.DataFrame({"true": draws.choice([True, False], ROWS), "a": draws.normal(size=ROWS)})
    _, path = saved(frame, tmp_path)
    (tmp_path / "new.csv").write_text("true,a\ntrue,0.5\nFalse,1\nmaybe,0\n")
    scored = diffeo("score", path, tmp_path / "new.csv", "-o", tmp_path / "s.csv", "--json")
    assert scored.json["rows_without_score"] == 1
    (tmp_path / "new.csv").write_text("true,a\ntrue,0.5\nFalse,1\n")
    scored = diffeo("score", path, tmp_path / "new.csv", "-o", tmp_path / "s.csv", "--json")
    assert scored.json["rows_without_score"] == 0


def test_a_report_reads_a_table_as_the_model_had_it(diffeo, tmp_path):
    draws = np.random.default_rng(0)
    frame = pl.DataFrame({"grade": draws.choice(["1", "2", "A"], 150), "a": draws.normal(size=150)})
    _, path = saved(frame, tmp_path)
    new = tmp_path / "new.csv"
    frame.filter(pl.col("grade") != "A").write_csv(new)
    said = diffeo("report", path, new, "--text", "--reference", new)
    assert said.code == 0, said.err
    assert "cannot be" not in said.out


@pytest.mark.parametrize("library", ["polars", "pandas", "arrow"])
def test_times_of_a_zone_go_through_csv_with_their_offset(diffeo, tmp_path, library):
    frame = pl.from_pandas(people()).select("a", "when")
    zoned = frame.with_columns(pl.col("when").dt.replace_time_zone("Asia/Tokyo"))
    table = {"polars": zoned, "pandas": zoned.to_pandas(), "arrow": zoned.to_arrow()}[library]
    model, path = saved(table, tmp_path)
    rows, scores = tmp_path / "rows.csv", tmp_path / "scores.csv"
    assert diffeo("sample", path, "-n", 5, "-o", rows).code == 0
    assert diffeo("score", path, rows, "-o", scores, "--json").json["rows_without_score"] == 0
    zoned.write_csv(rows)
    assert diffeo("score", path, rows, "-o", scores, "--json").code == 0
    assert pl.read_csv(scores)["log_prob"].to_numpy() == pytest.approx(model.score_samples(table), abs=1e-6)
    frame.write_csv(rows)
    refused = diffeo("score", path, rows, "-o", scores)
    assert refused.code != 0
    assert "'when' now holds times without a time zone" in refused.err


def test_a_csv_with_offsets_is_a_table_of_instants(diffeo, tmp_path):
    rows, model = tmp_path / "rows.csv", tmp_path / "model.safetensors"
    frame = people()
    frame["when"] = frame["when"].dt.floor("s").dt.strftime("%Y-%m-%dT%H:%M:%S+09:00")
    frame.to_csv(rows, index=False)
    fitted = diffeo("fit", rows, "-o", model, "--max-steps", 1)
    assert fitted.code == 0, fitted.err
    frame["when"] = frame["when"].str.removesuffix("+09:00")
    frame.to_csv(rows, index=False)
    assert "without a time zone" in diffeo("score", model, rows, "-o", tmp_path / "s.csv").err


def scores_by_batch(diffeo, path, rows, text):
    """Return the scores of a text, read row by row and in one batch; both must be the same."""
    rows.write_text(text)
    found = []
    for size in (1, 2, 100):
        output = rows.with_suffix(f".{size}.csv")
        assert diffeo("score", path, rows, "-o", output, "--batch-rows", size).code == 0
        found.append(pl.read_csv(output)["log_prob"].to_list())
    assert found[0] == found[1] == found[2]
    return np.isfinite(found[0]).tolist()


def test_one_unreadable_cell_is_unknown_and_leaves_the_others(diffeo, tmp_path):
    draws = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "number": pd.Series(draws.choice([1.0, 2.0, np.nan], ROWS)),
            "huge": draws.choice([2**60, 2**60 + 1], ROWS),
            "price": [decimal.Decimal(text) for text in draws.choice(["1.25", "2.50"], ROWS)],
            "true": draws.choice([True, False], ROWS),
        }
    )
    kinds = {"number": "categorical", "price": "categorical"}
    model = FlowDensity("gaussian", max_steps=1, random_state=0, kinds=kinds).fit(table)
    model.save(tmp_path / "m")
    rows = {
        f"1,{2**60},1.25,true": True,
        f"2.0,{2**60 + 1},2.5,FALSE": True,
        f"NA,{2**60}, 2.500,True": True,
        f",{2**60},1.25,true": True,
        f"x,{2**60},1.25,true": False,
        f"1.5,{2**60},1.25,true": False,
        "1,many,1.25,true": False,
        f"1,{2**60}.5,1.25,true": False,
        f"1,{2**60 + 2},1.25,true": False,
        f"1,{2**60},1.255,true": False,
        f"1,{2**60},cheap,true": False,
        f"1,{2**60},1.25,maybe": False,
        f"1,{2**60},1.25,": False,
    }
    text = "\n".join(["number,huge,price,true", *rows, ""])
    assert scores_by_batch(diffeo, tmp_path / "m", tmp_path / "new.csv", text) == list(rows.values())
    output = ("-o", tmp_path / "s.csv", "--json")
    (said,) = diffeo("score", tmp_path / "m", tmp_path / "new.csv", *output).json["warnings"]
    assert "2 in column 'number' (such as 'x')" in said


@pytest.mark.parametrize("size", [1, 100])
def test_an_unreadable_amount_is_named_with_its_row(diffeo, tmp_path, size):
    _, path = saved(people()[["a", "count"]], tmp_path)
    (tmp_path / "new.csv").write_text("a,count\n0.5,1\n0.5,many\n")
    said = diffeo("score", path, tmp_path / "new.csv", "-o", tmp_path / "s.csv", "--batch-rows", size)
    assert said.code == 2
    assert "column 'count' holds 'many' in row 2; expected numbers" in said.err


@pytest.mark.parametrize(
    ("odd", "size"),
    [("soon", 1), ("soon", 100), ("03/01/24", 100), ("2024-02-30", 1), ("2024-03-01 10:00", 100)],
)
def test_an_unreadable_date_is_named_with_its_row(diffeo, tmp_path, odd, size):
    _, path = saved(people()[["a", "day"]], tmp_path)
    (tmp_path / "new.csv").write_text(f"a,day\n1,\n2,2024-03-01\n3,2024-03-02\n4,{odd}\n5,2024-03-01\n")
    said = diffeo("score", path, tmp_path / "new.csv", "-o", tmp_path / "s.csv", "--batch-rows", size)
    assert said.code == 2
    assert f"column 'day' holds '{odd}' in row 4; expected dates or times, all of one form" in said.err


def test_digits_that_a_model_of_microseconds_does_not_count_depend_on_no_batch(diffeo, tmp_path):
    days = [f"2024-01-{day:02} 10:00:00.1234567" for day in (1, 2, 3)]
    frame = pl.DataFrame(
        {"at": [*days[:2], "9999-12-31 23:59:59.9999999"] * 30, "a": people()["a"].to_numpy()}
    )
    frame.write_csv(tmp_path / "t.csv")
    arguments = ("-o", tmp_path / "m", "--kind", "at=categorical", "--max-steps", 1)
    assert diffeo("fit", tmp_path / "t.csv", *arguments).code == 0
    text = "at,a\n" + "".join(f"{at},0.5\n" for at in (days[0], frame["at"][2], days[2], days[1]))
    known = scores_by_batch(diffeo, tmp_path / "m", tmp_path / "new.csv", text)
    assert known == [True, True, False, True]


def test_every_drawn_row_of_a_single_column_with_holes_is_scored(diffeo, tmp_path):
    values = np.where(np.arange(ROWS) % 3 == 0, np.nan, people()["a"])
    _, path = saved(pl.DataFrame({"a": values}), tmp_path)
    assert diffeo("sample", path, "-n", 20, "-o", tmp_path / "rows.csv").code == 0
    scored = diffeo("score", path, tmp_path / "rows.csv", "-o", tmp_path / "s.csv", "--json")
    assert scored.json["rows"] == 20


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("architecture", ["mixed", "flow"])
def test_appended_columns_are_those_of_the_file(diffeo, tmp_path, architecture, size):
    path = tmp_path / "m"
    if architecture == "mixed":
        table = people()[["a", "count"]].assign(zip=np.arange(ROWS) % 2 + 1234)
        FlowDensity("gaussian", max_steps=1, kinds={"zip": "categorical"}).fit(table).save(path)
        odd, missing = "x", ()
    else:
        people()[["a", "count"]].assign(zip=np.arange(ROWS) % 7 + 1234).to_csv(tmp_path / "t.csv")
        options = ("-o", path, "--columns", "a,count,zip", *QUICK)
        assert diffeo("fit", tmp_path / "t.csv", *options).code == 0
        odd, missing = "NA", ("--missing", "keep")
    lines = [
        "note,zip,count,a",
        f" 007,01234,0,{0.5}",
        f'"1,5",{odd},3,1e0',
        ",1235,02, 2.50",
        '"",1234,1,3',
    ]
    (tmp_path / "new.csv").write_text("\n".join([*lines, ""]))
    options = ("--append", "--batch-rows", size, *missing)
    for name in ("out.csv", "out.parquet"):
        said = diffeo("score", path, tmp_path / "new.csv", "-o", tmp_path / name, *options)
        assert said.code == 0, said.err
    written = (tmp_path / "out.csv").read_text().splitlines()
    assert [line.rpartition(",")[0] for line in written] == lines
    kept = pl.read_parquet(tmp_path / "out.parquet")
    assert kept["note"].to_list() == [" 007", "1,5", None, ""]
    assert kept["a"].to_list() == [0.5, 1.0, 2.5, 3.0]
    assert kept.schema["zip"] == (pl.String if architecture == "mixed" else pl.Float64)


def test_lists_are_refused_as_text(diffeo, tmp_path):
    _, path = saved(people()[["a", "count"]], tmp_path)
    rows = tmp_path / "rows.parquet"
    pl.from_pandas(people()[["a", "count"]]).with_columns(tags=pl.lit([1, 2])).write_parquet(rows)
    said = diffeo("score", path, rows, "-o", tmp_path / "s.csv", "--append")
    assert said.code == 2
    assert "column 'tags' holds values of type List(Int" in said.err
    assert diffeo("score", path, rows, "-o", tmp_path / "s.parquet", "--append").code == 0
